//! The laws of the house that a reading of the sources can prove.

use std::{fs, path::Path};

use serde_json::Value;

/// The folder of the library.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What a file may import from: itself, and what is below it.
const LEVELS: [(u8, &[&str]); 6] = [
    (5, &["lib.rs", "layer.rs", "service.rs", "future.rs"]),
    (4, &["engine/", "body.rs"]),
    (3, &["format/"]),
    (2, &["store/"]),
    (1, &["semantics/", "policy.rs"]),
    (0, &["error.rs", "clock.rs", "stripes.rs"]),
];

#[test]
fn imports_point_down_only() {
    let mut imports = 0;
    for (name, code) in sources() {
        let own = level(&name);
        for used in code.split("crate::").skip(1) {
            for room in rooms_in(used) {
                imports += 1;
                let theirs = level(&room);
                let stores_know_no_rules = !(own == 2 && theirs == 1);
                assert!(theirs <= own && stores_know_no_rules, "{name} (level {own}) uses {room} ({theirs})");
            }
        }
    }
    assert!(imports > 20, "the reading found the imports");
}

#[test]
fn the_clock_is_read_in_one_file() {
    for (name, code) in sources() {
        let reads = code.contains("SystemTime::now") || code.contains("Instant::now");
        assert_eq!(reads, name == "clock.rs", "{name}");
    }
}

#[test]
fn only_a_fill_puts() {
    let mut puts = Vec::new();
    for (name, code) in sources() {
        let is_in_engine = name.starts_with("engine/") && name != "engine/records.rs";
        if is_in_engine && (code.contains(".put_chunk(") || code.contains(".put_record(")) {
            puts.push(name);
        }
    }
    puts.sort();
    assert_eq!(puts, ["engine/fill/commit.rs", "engine/fill/pour.rs"]);
}

#[test]
fn only_serve_builds_a_response() {
    for (name, code) in sources() {
        if name.starts_with("engine/") {
            assert_eq!(code.contains("Response::new("), name == "engine/serve.rs", "{name}");
        }
    }
}

#[test]
fn no_room_has_outgrown_its_idea() {
    for (name, code) in sources() {
        let lines =
            code.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(lines <= 300, "{name} has {lines} lines of code");
    }
}

#[test]
fn every_test_that_the_readme_names_is_there() {
    let root = Path::new(ROOT);
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    // Nothing else in the tables has so many words.
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
        // A file, or a folder that keeps its tests by themselves.
        let inside = fs::read_dir(&file).into_iter().flatten().map(|entry| entry.unwrap().path());
        let tests = [file.with_extension("rs")].into_iter().chain(inside);
        let tests: String = tests.filter_map(|path| fs::read_to_string(path).ok()).collect();
        assert!(tests.contains(&format!("fn {function}(")), "{word}");
        named += 1;
    }
    assert!(named > 100, "the reading found the tests");
}

#[test]
fn a_test_under_the_harness_of_our_own_is_in_a_list() {
    let tests = Path::new(ROOT).join("tests");
    let mut to_see = vec![tests.join("browser.rs"), tests.join("stores")];
    let mut files = 0;
    while let Some(path) = to_see.pop() {
        if path.is_dir() {
            to_see.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        // Rust drops a function with such an attribute from a binary that has not Rust's harness, and says nothing.
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
    // For other platforms, not all packages need be on this machine.
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

/// The second number of a version: nothing here is older than Rust 1.
fn minor(version: &Value) -> Option<u32> {
    version.as_str()?.split('.').nth(1)?.parse().ok()
}

/// Every file of `src` by its path there, without its tests.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(ROOT).join("src");
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
    // The door to the fuzzer opens on every room, and is not in a build.
    found.retain(|(name, _)| !name.starts_with("fuzz/"));
    found
}

/// The rooms that the path after `crate::` leads into: one, or several in braces.
fn rooms_in(used: &str) -> Vec<String> {
    let first = |path: &str| {
        let room: String = path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let file = format!("{room}.rs");
        if level_of(&file).is_some() {
            file
        } else {
            format!("{room}/")
        }
    };
    let Some(group) = used.strip_prefix('{') else {
        return Some(first(used)).filter(|room| level_of(room).is_some()).into_iter().collect();
    };
    let mut depth = 1;
    let top_level_comma = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        (c == ',' && depth == 1) || depth == 0
    };
    let members = group.split(top_level_comma).take_while(|member| !member.trim_start().starts_with(';'));
    members.map(first).filter(|room| level_of(room).is_some()).collect()
}

fn level(name: &str) -> u8 {
    level_of(name).unwrap_or_else(|| panic!("{name} is on no level"))
}

fn level_of(name: &str) -> Option<u8> {
    LEVELS.iter().find(|(_, rooms)| rooms.iter().any(|room| name.starts_with(room))).map(|(level, _)| *level)
}
