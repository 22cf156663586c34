//! Is the house built as its plan says: who names whom, what files are called, how long they are?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which module of ours may name which. The crate's documentation shows the same table.
const MAY_NAME: [(&str, &[&str]); 12] = [
    ("policy", &[]),
    ("body", &[]),
    ("client", &[]),
    ("clock", &["policy"]),
    ("config", &["policy"]),
    ("telemetry", &["policy", "body", "client"]),
    ("cache", &["policy", "telemetry", "body", "clock"]),
    ("origin", &["body", "client", "clock", "policy", "telemetry", "config"]),
    ("respond", &["body", "cache", "policy", "client"]),
    ("accept", &["body", "client", "clock", "config", "policy", "respond", "telemetry"]),
    ("serve", &["body", "cache", "client", "clock", "config", "origin", "policy", "respond", "telemetry"]),
    ("admin", &["cache", "config", "policy", "telemetry", "clock"]),
];

/// What `cli` may name besides: the settings, and `run`.
const CLI_MAY_NAME: [&str; 3] = ["config", "run", "cli"];

const BANNED_NAMES: [&str; 4] = ["utils", "helpers", "common", "manager"];

/// Lines of one file, its tests not counted.
const MAX_LINES: usize = 400;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below `folder`, as its path from `src` and its text.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is text");
            found.insert(path.strip_prefix(source()).expect("it lies below src").to_owned(), text);
        }
    }
    found
}

/// The top-level module that a file belongs to: `policy` for `policy/vary.rs`, `clock` for `clock.rs`.
fn module_of(path: &Path) -> String {
    let first = path.iter().next().expect("a path has a part");
    Path::new(first).with_extension("").to_string_lossy().into_owned()
}

/// A file without its comments and its tests, which stand last. The tests may name what they like.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    before_tests.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The modules that follow `crate::` in a piece of code, braces included (`crate::{a, b::c}`).
fn named(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(inner) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for character in inner.chars() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => names.push(word(std::mem::take(&mut item).trim())),
                _ => item.push(character),
            }
        }
        names.push(word(item.trim()));
    }
    names.retain(|name| !name.is_empty());
    names
}

#[test]
fn the_words_after_crate_are_found_also_within_braces() {
    let cases = [
        ("use crate::policy::key::Key;", vec!["policy"], "one path"),
        ("use crate::{body, cache::{entry, tier}, clock::Clock};", vec!["body", "cache", "clock"], "a group"),
        ("fn f(x: crate::body::BoxError) -> crate::client::Client", vec!["body", "client"], "within a line"),
        ("pub(crate) fn f()", vec![], "not a path"),
    ];
    for (text, want, why) in cases {
        assert_eq!(named(text), want, "{why}");
    }
}

#[test]
fn no_module_names_another_that_the_table_does_not_allow() {
    let table: BTreeMap<_, _> = MAY_NAME.into_iter().collect();
    let mut wrong = Vec::new();
    for (path, text) in files(&source()) {
        let module = module_of(&path);
        if module == "lib" || module == "main" {
            continue;
        }
        let allowed = match table.get(module.as_str()) {
            Some(allowed) => *allowed,
            None if module == "cli" => &CLI_MAY_NAME[..],
            None => panic!("{} belongs to no module of the table", path.display()),
        };
        for name in named(&code(&text)) {
            if name != module && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{} names crate::{name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the table lacks:\n{}", wrong.join("\n"));
}

#[test]
fn the_rule_book_reads_no_clock_and_does_no_input_or_output() {
    let banned = ["std::net", "std::fs", "std::io", "tokio", "async ", ".await", "::now()", "Mutex", "RwLock"];
    for (path, text) in files(&source().join("policy")) {
        let code = code(&text);
        for word in banned {
            assert!(!code.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn the_crates_documentation_shows_this_table() {
    let documentation = fs::read_to_string(source().join("lib.rs")).expect("the crate has a root");
    let mut shown = BTreeMap::new();
    for row in documentation.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").map(|cell| cell.replace('`', "")).collect();
        if let [modules, may_name] = cells.as_slice() {
            for module in modules.split(", ") {
                shown.insert(module.to_owned(), may_name.clone());
            }
        }
    }
    for (module, may_name) in MAY_NAME {
        let row = shown.get(module).unwrap_or_else(|| panic!("no row for {module} in the table of lib.rs"));
        let mut names: Vec<_> = row.split(", ").filter(|name| *name != "nothing of ours").collect();
        names.sort_unstable();
        let mut want = may_name.to_vec();
        want.sort_unstable();
        assert_eq!(names, want, "the row of {module} in lib.rs");
    }
}

#[test]
fn no_file_is_a_drawer_and_none_is_too_long() {
    for (path, text) in files(&source()) {
        for part in &path {
            let name = Path::new(part).with_extension("").to_string_lossy().into_owned();
            assert!(!BANNED_NAMES.contains(&name.as_str()), "{}: say what it is about", path.display());
        }
        let lines = text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text).lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines without its tests", path.display());
    }
}

#[test]
fn each_file_begins_with_the_question_it_answers() {
    for (path, text) in files(&source()) {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}
