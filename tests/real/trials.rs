//! The harness of the tests that need other programs: a server, a browser.
//!
//! If a program is missing, its tests are reported as `ignored` and named at the end of the run. If `CI` is set, they
//! fail instead. Rust's own harness cannot leave out a test at run time, and hides the output of a test that passes.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    future::Future,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use libtest_mimic::{Arguments, FormatSetting, Trial};
use tokio::runtime::Builder;

/// The names of the programs that a test needs.
pub(crate) type Programs = &'static [&'static str];

/// One test, or a process that tests start.
pub(crate) struct Test {
    name: String,
    needed: Programs,
    run: Box<dyn FnOnce() + Send>,
    is_a_process: bool,
}

/// Lists the tests of a file, which need these programs, as the function `tests`. A function in no list is dead code,
/// and Rust says so.
macro_rules! tests {
    ($($needed:expr => $kind:ident: $($test:ident),+;)+) => {
        pub(crate) fn tests() -> Vec<$crate::trials::Test> {
            vec![$($($crate::trials::$kind(
                concat!(module_path!(), "::", stringify!($test)),
                $needed,
                $test,
            )),+),+]
        }
    };
}
pub(crate) use tests;

/// A test that runs as under `#[tokio::test]`.
pub(crate) fn on_one_thread<F: Future<Output = ()> + 'static>(
    path: &str,
    needed: Programs,
    test: fn() -> F,
) -> Test {
    plain(path, needed, move || Builder::new_current_thread().enable_all().build().unwrap().block_on(test()))
}

/// A test that runs as under `#[tokio::test(flavor = "multi_thread")]`.
pub(crate) fn on_threads<F: Future<Output = ()> + 'static>(
    path: &str,
    needed: Programs,
    test: fn() -> F,
) -> Test {
    plain(path, needed, move || Builder::new_multi_thread().enable_all().build().unwrap().block_on(test()))
}

/// A test without a runtime.
pub(crate) fn plain(path: &str, needed: Programs, test: impl FnOnce() + Send + 'static) -> Test {
    // The first name is the binary's.
    let name = path.split_once("::").map_or(path, |(_, name)| name).to_owned();
    Test { name, needed, run: Box::new(test), is_a_process: false }
}

/// Not a test: a test starts it in a process of its own, by its name and `--include-ignored`.
pub(crate) fn process<F: Future<Output = ()> + 'static>(
    path: &str,
    needed: Programs,
    run: fn() -> F,
) -> Test {
    Test { is_a_process: true, ..on_threads(path, needed, run) }
}

/// The path of a program, as the shell would find it. The names `npm:…` and `pypi:…` are packages, which
/// `.ci/origins` installs.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    if let Some((registry, package)) = name.split_once(':') {
        let folder = if registry == "npm" { "npm/node_modules" } else { "pypi" };
        return Some(packages().join(folder).join(package)).filter(|path| path.is_dir());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The folder of the packages for Node and Python.
pub(crate) fn packages() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("origins")
}

/// The first of these programs that is not installed.
pub(crate) fn missing(programs: Programs) -> Option<&'static str> {
    programs.iter().copied().find(|name| program(name).is_none())
}

/// How many tests run at once, unless the command line says so. Most of the time they wait for other programs.
const THREADS: usize = 4;

/// Runs the tests that the command line asks for. Then names the tests that it left out.
pub(crate) fn run(tests: Vec<Test>) -> ExitCode {
    let (line, filters) = split(env::args());
    let mut arguments = Arguments::from_iter(line);
    arguments.test_threads.get_or_insert(THREADS);
    let is_named = |test: &Test| {
        let is = |name: &String| if arguments.exact { test.name == *name } else { test.name.contains(name) };
        filters.is_empty() || filters.iter().any(is)
    };
    let is_asked_for = |test: &Test| (!test.is_a_process || arguments.include_ignored) && is_named(test);
    let mut left_out = Vec::new();
    let trials = tests.into_iter().filter(is_asked_for).map(|test| {
        let name = test.name.clone();
        let (trial, missing) = test.trial(env::var_os("CI").is_some());
        if let Some(missing) =
            missing.filter(|_| arguments.is_ignored(&trial) && !arguments.is_filtered_out(&trial))
        {
            left_out.push((missing, name));
        }
        trial
    });
    let trials = trials.collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        let report = report(&left_out);
        // If nobody reads the output, the report is lost, and that is fine.
        let _ = if arguments.format == Some(FormatSetting::Json) {
            io::stderr().write_all(report.as_bytes())
        } else {
            io::stdout().write_all(report.as_bytes())
        };
    }
    conclusion.exit_code()
}

/// The command line without its filters, if there are several: the harness takes one, and Rust's any number.
fn split(line: impl Iterator<Item = String>) -> (Vec<String>, Vec<String>) {
    let (mut options, mut filters, mut is_value) = (Vec::new(), Vec::new(), true);
    for word in line {
        let is_filter = !is_value && !word.starts_with('-');
        is_value = WITH_A_VALUE.contains(&word.as_str());
        if is_filter { &mut filters } else { &mut options }.push(word);
    }
    if filters.len() == 1 {
        options.append(&mut filters);
    }
    (options, filters)
}

/// The options whose next word is a value and no filter.
const WITH_A_VALUE: [&str; 6] = ["--color", "--format", "--logfile", "--skip", "--test-threads", "-Z"];

impl Test {
    /// Returns the trial. If a program is missing and not all tests `must_run`, it also returns that program, and the
    /// test is left out.
    fn trial(self, must_run: bool) -> (Trial, Option<&'static str>) {
        let Self { name, needed, run, .. } = self;
        let Some(missing) = missing(needed) else {
            let passes = move || {
                run();
                Ok(())
            };
            return (Trial::test(name, passes), None);
        };
        let fails = move || Err(format!("{missing} is not installed").into());
        (Trial::test(name, fails).with_ignored_flag(!must_run), (!must_run).then_some(missing))
    }
}

fn report(left_out: &[(&str, String)]) -> String {
    let said =
        |names: usize| if names == 1 { "1 test was".to_owned() } else { format!("{names} tests were") };
    let mut of_program = BTreeMap::<_, Vec<_>>::new();
    for (program, test) in left_out {
        of_program.entry(program).or_default().push(test);
    }
    let mut report = String::new();
    if !left_out.is_empty() {
        // Writing to a String does not fail.
        let _ = writeln!(report, "{} left out.", said(left_out.len()));
    }
    for (program, names) in of_program {
        let _ = writeln!(report, "\n{} left out for want of {program}:", said(names.len()));
        for name in names {
            let _ = writeln!(report, "    {name}");
        }
    }
    report
}
