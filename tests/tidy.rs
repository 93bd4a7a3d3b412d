//! The tree against its own rules: layers, file length, where `serde_yaml` may be named, and what the documents claim.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::print_stdout, missing_docs, reason = "a test talks to its reader")]

use std::fs;
use std::path::{Path, PathBuf};

/// Layers, lowest first. A file may import from its own layer and those below.
const LAYERS: [&[&str]; 5] = [
    &["wire", "route", "prompt", "calendar", "meter", "order"],
    &["config", "observe"],
    &["upstream", "store"],
    &["gateway", "admin"],
    &["front", "cli"],
];
/// Pure rooms, and what must not be named there.
const PURE: [&str; 6] = ["wire", "route", "prompt", "calendar", "meter", "order"];
const IMPURE: [&str; 9] =
    ["tokio::", "reqwest::", "std::fs", "std::net", "std::time", "Instant", "SystemTime", "fastrand", "std::env"];
const LONGEST: usize = 500;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What npm installs is not ours.
            if path.file_name().is_some_and(|name| name != "node_modules") {
                out.extend(files(&path));
            }
        } else {
            out.push(path);
        }
    }
    out.sort();
    out
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files of `src` with their text, tests within them left out, and the room each stands in.
fn sources() -> Vec<(PathBuf, String, String)> {
    let src = root().join("src");
    files(&src)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap().to_owned();
            let room = path.strip_prefix(&src).unwrap().iter().next().unwrap().to_str().unwrap().replace(".rs", "");
            (path, code, room)
        })
        .collect()
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn imports_go_down() {
    let mut seen = 0;
    for (path, code, room) in sources() {
        let Some(own) = layer(&room) else {
            assert!(["lib", "main"].contains(&room.as_str()), "{} stands in no layer", path.display());
            continue;
        };
        for part in code.split("crate::").skip(1) {
            let names = part.strip_prefix('{').map_or_else(
                || vec![part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()],
                |group| {
                    let group = group.split('}').next().unwrap();
                    group.split(',').map(|name| name.trim().split("::").next().unwrap()).collect()
                },
            );
            for name in names {
                let Some(other) = layer(name) else { continue };
                seen += 1;
                assert!(other <= own, "{} imports `{name}` from a higher layer", path.display());
                assert!(own > 0 || other == own, "{}", path.display());
                assert!(room != "wire" || name == "wire", "{}: `wire` imports nothing of ours", path.display());
            }
        }
    }
    assert!(seen > 30, "the check sees no imports: {seen}");
}

#[test]
fn pure_rooms_have_no_clock_no_randomness_and_no_outside() {
    for (path, code, room) in sources() {
        if PURE.contains(&room.as_str()) {
            for word in IMPURE {
                assert!(!code.contains(word), "{} names `{word}`", path.display());
            }
        }
    }
}

#[test]
fn files_are_short_and_serde_yaml_stays_in_its_room() {
    for (path, code, _) in sources() {
        let lines = code.lines().count();
        assert!(lines <= LONGEST, "{} has {lines} lines of code", path.display());
        let in_raw =
            path.components().any(|part| part.as_os_str() == "config") && path.to_str().unwrap().contains("raw");
        assert!(in_raw || !code.contains("serde_yaml::"), "{} names serde_yaml", path.display());
    }
}

#[test]
fn the_map_names_every_room_and_no_other() {
    let map = fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap();
    for (path, _, room) in sources() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let known = map.contains(name)
            || name == "lib.rs"
            || map.contains(&format!("{}/", path.parent().unwrap().file_name().unwrap().to_str().unwrap()));
        assert!(known, "{} ({room}) is not on the map", path.display());
    }
    for line in map.lines().filter(|line| line.starts_with("  ") && line.contains(".rs")) {
        let words = line.split_whitespace().map(|word| word.trim_end_matches(','));
        let name = words.into_iter().find(|word| Path::new(word).extension().is_some()).unwrap();
        assert!(files(&root().join("src")).iter().any(|path| path.ends_with(name)), "the map names `{name}`");
    }
}

/// Of the seventy-five known wire bugs those that no test here can show, and why.
const ELSEWHERE: [(u8, &str); 2] = [
    (17, "of streams of the Responses API, which pass through unread"),
    (74, "of reasoning items of the Responses API, which pass through unread"),
];

#[test]
fn every_known_wire_bug_has_a_test_of_its_name() {
    let mut tested = [false; 76];
    for folder in ["src", "tests"] {
        for path in files(&root().join(folder)) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let names = text.split("fn ").chain(text.split("def test_")).skip(1);
            for name in names.filter_map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()) {
                let numbers = name.split('_').map_while(|word| word.strip_prefix('w')?.parse::<usize>().ok());
                for number in numbers {
                    *tested.get_mut(number).unwrap_or_else(|| panic!("`{name}` names a bug that is not known")) = true;
                }
            }
        }
    }
    for (number, tested) in (0..).zip(tested).skip(1) {
        match ELSEWHERE.iter().find(|(other, _)| *other == number) {
            Some((_, why)) => assert!(!tested, "W{number:02} has a test, but is said to be {why}"),
            None => assert!(tested, "W{number:02} has no test `w{number:02}_…`"),
        }
    }
}

#[test]
fn no_file_holds_a_real_looking_key_or_a_path_of_somebodys_machine() {
    let mut read = 0;
    for folder in ["src", "tests", "config"] {
        for path in files(&root().join(folder)) {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            read += 1;
            for word in [concat!("sk-", "proj-"), concat!("AKI", "A"), concat!("/ho", "me/"), concat!("/wo", "rk/")] {
                assert!(!text.contains(word), "{} holds `{word}`", path.display());
            }
        }
    }
    assert!(read > 30);
}
