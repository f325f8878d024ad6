//! The laws of the house that a test can prove by reading the sources.

mod imports;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The folder of the library.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The files that a file may import from: itself, and those below it.
const LEVELS: [(u8, &[&str]); 6] = [
    (
        5,
        &[
            "lib.rs",
            "guide.rs",
            "admin/",
            "handle.rs",
            "metrics.rs",
            "explain.rs",
            "stats/",
            "purger.rs",
            "top.rs",
            "transfers.rs",
            "layer.rs",
            "service.rs",
            "future.rs",
        ],
    ),
    (4, &["engine/"]),
    (3, &["format/", "counters.rs", "observer.rs", "trace.rs", "watchers.rs"]),
    (2, &["store/"]),
    (1, &["semantics/", "policy/", "settings/"]),
    (0, &["error.rs", "clock.rs", "futures.rs", "stripes.rs", "sync.rs"]),
];

/// The rooms of the engine: each uses the rooms above its own row, and no other.
const ENGINE: [&[&str]; 13] = [
    &["config", "inner"],
    &["state"],
    &["current"],
    &["lookup"],
    &["fetch"],
    &["body"],
    &["fill"],
    &["serve"],
    &["invalidate"],
    &["purge"],
    &["hit"],
    &["miss"],
    &["respond"],
];

#[test]
fn imports_point_down_only() {
    let mut arrows = 0;
    for (file, used) in imports::imports(&src()) {
        let own = level(&file);
        for (other, names) in used {
            arrows += 1;
            let below = level(&other);
            let stores_know_no_rules = !(own == 2 && below == 1);
            assert!(below <= own && stores_know_no_rules, "{file} uses {other} for {names:?}");
        }
    }
    assert!(arrows > 200, "the reading found the imports");
}

#[test]
fn no_file_uses_itself_through_others() {
    let imports = imports::imports(&src());
    assert!(imports.len() > 60, "the reading found the files");
    let circles = imports::circles(&imports);
    assert!(circles.is_empty(), "files in a circle:\n\n{}", circles.join("\n"));
}

#[test]
fn a_room_of_the_engine_uses_only_the_rooms_below_it() {
    let row = |file: &str| {
        let room = file.strip_prefix("engine/")?.split(['/', '.']).next()?;
        (room != "mod").then(|| {
            let row = ENGINE.iter().position(|row| row.contains(&room));
            (room.to_owned(), row.unwrap_or_else(|| panic!("{file} is in no row")))
        })
    };
    let mut arrows = 0;
    for (file, used) in imports::imports(&src()) {
        for (other, names) in used {
            if let (Some((room, own)), Some((theirs, below))) = (row(&file), row(&other)) {
                arrows += 1;
                assert!(room == theirs || below < own, "{file} uses {other} for {names:?}");
            }
        }
    }
    assert!(arrows > 100, "the reading found the imports");
}

#[test]
fn the_clock_is_read_in_one_file() {
    for (name, code) in sources() {
        let reads = code.contains("SystemTime::now") || code.contains("Instant::now");
        assert_eq!(reads, name == "clock.rs", "{name}");
    }
}

#[test]
fn only_the_pour_the_commit_and_the_purge_put() {
    let mut puts = Vec::new();
    for (name, code) in sources() {
        let is_in_engine = name.starts_with("engine/") && name != "engine/state/records.rs";
        if is_in_engine && (code.contains(".put_chunk(") || code.contains(".put_record(")) {
            puts.push(name);
        }
    }
    puts.sort();
    assert_eq!(puts, ["engine/fetch/pour.rs", "engine/fill/commit.rs", "engine/purge.rs"]);
}

#[test]
fn only_serve_builds_a_response() {
    for (name, code) in sources() {
        if name.starts_with("engine/") {
            assert_eq!(code.contains("Response::new("), name == "engine/serve/message.rs", "{name}");
        }
    }
}

#[test]
fn no_source_file_exceeds_its_line_limit() {
    for (name, code) in sources() {
        let lines =
            code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(lines <= 300, "{name} has {lines} lines of code");
    }
}

#[test]
fn every_test_that_the_guarantees_name_is_there() {
    let root = Path::new(ROOT);
    let page = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    // In the tables, only test names have this many underscores.
    let named: Vec<_> = rows.filter(|word| word.matches('_').count() > 3).collect();
    assert!(named.len() > 10, "the reading found the tests");
    let mut tests = String::new();
    for folder in ["tests", "tests/it", "tests/memory", "tests/proxy"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            tests += &fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
        }
    }
    for name in named {
        let function = name.rsplit("::").next().unwrap();
        assert!(tests.contains(&format!("fn {function}(")), "{name}");
    }
}

#[test]
fn every_test_that_the_conformance_table_names_is_there() {
    let root = Path::new(ROOT);
    let page = fs::read_to_string(root.join("docs/conformance.md")).unwrap();
    let mut named = 0;
    for word in page.split('`').skip(1).step_by(2) {
        let path: Vec<_> = word.split("::").collect();
        let (folder, file, function) = match path[..] {
            ["it", file, function] if file != "file" => ("tests/it", file, function),
            ["proxy", file, function] if file != "file" => ("tests/proxy", file, function),
            ["rfc9111", file, function] if file != "file" => ("tests/rfc9111", file, function),
            ["semantics", file, function] if file != "file" => ("src/semantics", file, function),
            _ => {
                assert!(!word.contains("::") || word.ends_with("::file::test"), "{word} is nowhere");
                continue;
            }
        };
        let file = root.join(folder).join(file);
        // The tests are in a file, or in a folder.
        let inside = fs::read_dir(&file).into_iter().flatten().map(|entry| entry.unwrap().path());
        let tests = [file.with_extension("rs")].into_iter().chain(inside);
        let tests: String = tests.filter_map(|path| fs::read_to_string(path).ok()).collect();
        assert!(tests.contains(&format!("fn {function}(")), "{word}");
        named += 1;
    }
    assert!(named > 100, "the reading found the tests");
}

#[test]
fn every_page_links_to_files_that_are_there() {
    let root = Path::new(ROOT);
    let mut pages = vec![];
    for folder in ["", "docs", "tests/it"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    let mut links = 0;
    for page in &pages {
        let text = fs::read_to_string(page).unwrap();
        // `[label](target)`, and `[label]: target` at the foot of a guide.
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let targets = targets.chain(
            text.lines()
                .filter(|line| line.starts_with('['))
                .filter_map(|line| Some(line.split_once("]: ")?.1)),
        );
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap();
            assert!(page.parent().unwrap().join(file).exists(), "{} links to {target}", page.display());
            links += 1;
        }
    }
    assert!(pages.len() > 15 && links > 40, "the reading found the links");
}

#[test]
fn a_test_under_our_own_harness_is_in_a_list() {
    let tests = Path::new(ROOT).join("tests");
    let mut to_see = vec![tests.join("real")];
    let mut files = 0;
    while let Some(path) = to_see.pop() {
        if path.is_dir() {
            to_see.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        // Rust silently drops a function with such an attribute from a binary without Rust's harness.
        let lost = code
            .lines()
            .find(|line| ["#[test]", "#[tokio::test"].iter().any(|sign| line.trim().starts_with(sign)));
        assert_eq!(lost, None, "{}", path.display());
        files += 1;
    }
    assert!(files > 20, "the reading found the tests");
}

#[test]
fn the_declared_rust_version_is_true_of_every_dependency() {
    let rustc = std::process::Command::new("rustc").arg("-vV").output().unwrap();
    let about = String::from_utf8(rustc.stdout).unwrap();
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // Packages for other platforms need not be on this machine.
    let cargo = std::process::Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--filter-platform",
            host,
            "--manifest-path",
        ])
        .arg(Path::new(ROOT).join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    let metadata: Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let all = |of: &Value| of.as_array().unwrap().clone();
    let package =
        |id: &Value| all(&metadata["packages"]).into_iter().find(|package| package["id"] == *id).unwrap();
    let node =
        |id: &Value| all(&metadata["resolve"]["nodes"]).into_iter().find(|node| node["id"] == *id).unwrap();

    let root = metadata["resolve"]["root"].clone();
    let declared = minor(&package(&root)["rust_version"]).expect("a rust-version is declared");
    let (mut to_see, mut seen) = (vec![root], Vec::new());
    while let Some(id) = to_see.pop() {
        if seen.contains(&id) {
            continue;
        }
        let needed = minor(&package(&id)["rust_version"]);
        assert!(needed.is_none_or(|needed| needed <= declared), "{id} needs Rust 1.{}", needed.unwrap());
        let built = |kind: &Value| kind["kind"].is_null() || kind["kind"] == "build";
        let dependencies = all(&node(&id)["deps"]);
        to_see.extend(
            dependencies
                .iter()
                .filter(|on| all(&on["dep_kinds"]).iter().any(built))
                .map(|on| on["pkg"].clone()),
        );
        seen.push(id);
    }
    assert!(seen.len() > 10, "the reading found the dependencies");
}

/// The second number of a version. No dependency is older than Rust 1.
fn minor(version: &Value) -> Option<u32> {
    version.as_str()?.split('.').nth(1)?.parse().ok()
}

fn src() -> PathBuf {
    Path::new(ROOT).join("src")
}

/// Every file of `src` by its path there, without its tests.
fn sources() -> Vec<(String, String)> {
    let root = src();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let code = fs::read_to_string(&path).unwrap();
                let code = code.split("#[cfg(test)]\n").next().unwrap().to_owned();
                found.push((path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), code));
            }
        }
    }
    assert!(found.len() > 20, "the reading found the sources");
    // `fuzzing/` gives the fuzzer access to every module, and is not in a build.
    found.retain(|(name, _)| !name.starts_with("fuzzing/"));
    found
}

fn level(name: &str) -> u8 {
    let row = LEVELS.iter().find(|(_, rooms)| rooms.iter().any(|room| name.starts_with(room)));
    row.unwrap_or_else(|| panic!("{name} is on no level")).0
}
