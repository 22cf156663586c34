//! Is the house built as its plan says: who names whom, what files are called, how long they are?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// Whether a file holds nothing but tests: `tests.rs`, or one below `tests/`.
fn is_tests(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
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

/// Who may name whom: the table of the crate's documentation, one row for one module or several.
///
/// One table for the reader and for the test, so that they cannot differ.
fn table() -> BTreeMap<String, Vec<String>> {
    let documentation = fs::read_to_string(source().join("lib.rs")).expect("the crate has a root");
    let words = |cell: &str| -> Vec<String> {
        let words = cell.split(',').map(|word| word.trim().trim_matches('`').to_owned());
        words.filter(|word| !word.is_empty() && word != "nothing of ours").collect()
    };
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("//! |")?.trim_end().strip_suffix('|'));
    let mut table = BTreeMap::new();
    for (modules, may_name) in rows.filter_map(|row| row.split_once('|')) {
        table.extend(words(modules).into_iter().map(|module| (module, words(may_name))));
    }
    table
}

#[test]
fn no_module_names_another_that_the_table_does_not_allow() {
    let table = table();
    let mut wrong = Vec::new();
    for (path, text) in files(&source()) {
        let module = module_of(&path);
        if module == "lib" || module == "main" || is_tests(&path) {
            continue;
        }
        let Some(allowed) = table.get(&module) else {
            wrong.push(format!("{} belongs to no row of the table in lib.rs", path.display()));
            continue;
        };
        for name in named(&code(&text)) {
            if name != module && !allowed.contains(&name) && !allowed.iter().any(|word| word == "everything") {
                wrong.push(format!("{} names crate::{name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the table in lib.rs lacks:\n{}", wrong.join("\n"));
}

#[test]
fn what_everybody_stands_on_stands_on_nothing_of_ours() {
    let table = table();
    for module in ["policy", "body", "client", "wire", "tls"] {
        assert_eq!(table.get(module), Some(&Vec::new()), "{module}");
    }
    // The rule book's neighbours: a stage that knew another one would decide in which order.
    let stages = ["accept", "serve", "cache", "origin", "admin"];
    for (stage, may_not) in [("accept", &stages[1..]), ("origin", &["accept", "serve", "cache", "admin"][..])] {
        let row = table.get(stage).unwrap_or_else(|| panic!("no row for {stage}"));
        assert!(row.iter().all(|name| !may_not.contains(&name.as_str())), "{stage} may name {row:?}");
    }
}

#[test]
fn the_rule_book_reads_no_clock_and_does_no_input_or_output() {
    let banned = ["std::net", "std::fs", "std::io", "tokio", "async ", ".await", "::now()", "Mutex", "RwLock"];
    for (path, text) in files(&source().join("policy")).into_iter().filter(|(path, _)| !is_tests(path)) {
        let code = code(&text);
        for word in banned {
            assert!(!code.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn no_file_is_a_drawer_and_none_is_too_long() {
    for (path, text) in files(&source()) {
        for part in &path {
            let name = Path::new(part).with_extension("").to_string_lossy().into_owned();
            assert!(!BANNED_NAMES.contains(&name.as_str()), "{}: say what it is about", path.display());
        }
        if is_tests(&path) {
            continue;
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

#[test]
fn the_readme_explains_every_detail_and_has_no_gap() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("it is there");
    for detail in larder::policy::outcome::Detail::ALL {
        let word = format!("`{}`", detail.token());
        assert!(readme.contains(&word), "{word} is not explained");
    }
    for placeholder in ["_TABLE", "TODO", "TBD"] {
        assert!(!readme.contains(placeholder), "{placeholder}");
    }
}
