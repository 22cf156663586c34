//! The commands that need no running proxy: what they print, where, and with which exit code.

use std::process::Output;

use assert_cmd::Command;
use tempfile::TempDir;

const VALID: &str = "[[origins]]\nname = \"app\"\nurls = [\"http://127.0.0.1:3000\"]\n";
const WARNED: &str = "[[origins]]\nname = \"app\"\nurls = [\"http://127.0.0.1:3000\"]\n[[rules]]\nname = \"idle\"\n";
const UNWRITABLE: &str = "[telemetry]\naccess_log_file = \"none/access.log\"\n[[origins]]\nname = \"app\"\nurls = [\"http://127.0.0.1:3000\"]\n";
const INVALID: &str = "[server]\nthreads = \"many\"\nmax_boddy = \"1MiB\"\n[[origins]]\nname = \"app\"\nurls = [\"http://127.0.0.1:3000\"]\n";

/// Runs `larder` in a folder that holds this proxy.toml.
fn larder(file: Option<&str>, arguments: &[&str]) -> Output {
    let folder = TempDir::new().expect("there is room for a file");
    if let Some(text) = file {
        std::fs::write(folder.path().join("proxy.toml"), text).expect("the folder is ours");
    }
    let mut command = Command::cargo_bin("larder").expect("the binary is built");
    for variable in ["LARDER_CONFIG", "LARDER_ORIGIN", "LARDER_LISTEN", "LARDER_TOKEN"] {
        command.env_remove(variable);
    }
    command.current_dir(folder.path()).args(arguments).output().expect("the binary runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let cases: [(Option<&str>, &[&str], i32, &str); 16] = [
        (Some(VALID), &["check"], 0, "fine"),
        (Some(VALID), &["check", "--strict"], 0, "fine, strictly"),
        (Some(WARNED), &["check"], 0, "warnings alone"),
        (Some(WARNED), &["check", "--strict"], 1, "warnings, strictly"),
        (Some(INVALID), &["check"], 2, "invalid"),
        (Some(INVALID), &["check", "--strict", "--json"], 2, "invalid, strictly, for a machine"),
        (Some(UNWRITABLE), &["check"], 2, "an access log that cannot be written"),
        (Some(UNWRITABLE), &["serve"], 2, "the same, before anything is opened"),
        (None, &["check"], 2, "no file"),
        (None, &["check", "--schema"], 0, "the schema needs no file"),
        (Some(INVALID), &["serve"], 2, "an invalid file"),
        (None, &["serve"], 2, "no file and no origin"),
        (None, &["serve", "--origin", "ftp://h"], 2, "a flag's value"),
        (None, &["server"], 2, "no such command"),
        (None, &[], 2, "no command"),
        (None, &["--help"], 0, "help is what was asked for"),
    ];
    for (file, arguments, want, why) in cases {
        let output = larder(file, arguments);
        assert_eq!(output.status.code(), Some(want), "{arguments:?}: {why}\n{}{}", out(&output), errors(&output));
    }
}

#[test]
fn findings_name_file_line_and_column_and_show_the_line() {
    let output = larder(Some(INVALID), &["check"]);
    let said = errors(&output);
    for part in ["proxy.toml:2:11", "threads = \"many\"", "^^^^^^", "from 0 to 1024", "proxy.toml:3:1", "`max_body`"] {
        assert!(said.contains(part), "{part} is missing from:\n{said}");
    }
    assert!(said.contains("cannot be used: 2 errors, 0 warnings"), "{said}");
    assert!(!said.contains('\u{1b}'), "no colour where nobody sees it");
    assert_eq!(out(&output), "", "standard output is for results");
}

#[test]
fn machines_get_json_alone_on_standard_output() {
    let output = larder(Some(INVALID), &["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["errors"], 2);
    let first = &report["findings"][0];
    assert_eq!((&first["severity"], &first["line"], &first["column"]), (&"error".into(), &2.into(), &11.into()));
    assert!(first["help"].as_str().is_some_and(|help| help.contains("from 0 to 1024")), "{first}");
    assert_eq!(errors(&output), "");
}

#[test]
fn a_finding_of_no_place_has_neither_line_nor_column() {
    let output = larder(None, &["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let finding = &report["findings"][0];
    assert!(finding["message"].as_str().is_some_and(|message| message.contains("cannot be read")), "{finding}");
    assert!(finding["line"].is_null() && finding["column"].is_null(), "{finding}");
}

#[test]
fn the_schema_is_json_and_knows_the_tables() {
    let output = larder(None, &["check", "--schema"]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for table in ["server", "admin", "purge", "memory", "redis", "telemetry", "origins", "rules"] {
        assert!(schema["properties"].get(table).is_some(), "{table} is missing");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = larder(None, &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let text = out(&output);
        assert!(
            ["serve", "check", "purge", "explain", "completions"].iter().all(|command| text.contains(command)),
            "{shell}: {text}"
        );
    }
}

#[test]
fn every_command_shows_examples() {
    for command in ["serve", "check", "purge", "explain", "completions"] {
        let output = larder(None, &[command, "--help"]);
        assert!(out(&output).contains("Examples:\n"), "{command}: {}", out(&output));
    }
}
