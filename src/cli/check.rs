//! `larder check`: what is wrong with the configuration, where, and what should stand there?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{UNUSABLE, counted, has_colour, print, say};
use crate::config::{self, Environment, Severity};

/// Checks the configuration: errors, and what has no effect.
///
/// Each finding names its place and says what to write instead. Exit code: 0 fine (warnings or not), 1 warnings with
/// --strict, 2 invalid.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder check                                       checks proxy.toml of this folder
  larder check --config /etc/larder/proxy.toml --strict
  larder check --json | jq '.findings[].message'
  larder check --schema > proxy.schema.json          for editors")]
pub(super) struct Arguments {
    /// The configuration
    #[arg(short, long, value_name = "FILE", env = "LARDER_CONFIG", default_value = "proxy.toml")]
    config: PathBuf,
    /// Exit with 1 when there are warnings
    #[arg(long)]
    strict: bool,
    /// Print the findings as JSON, on standard output
    #[arg(long)]
    json: bool,
    /// Print the JSON schema of the file, and check nothing
    #[arg(long, conflicts_with_all = ["strict", "json"])]
    schema: bool,
}

/// Checks, and tells.
pub(super) fn check(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.schema {
        print(&format!("{:#}\n", config::schema()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = config::load(&arguments.config, &Environment::of_process());
    let findings = loaded.as_ref().map_or_else(|findings| findings, |loaded| &loaded.warnings);
    if arguments.json {
        print(&format!("{:#}\n", findings.to_json()))?;
    } else {
        say(&findings.render(has_colour()));
        match &loaded {
            Ok(loaded) if findings.is_empty() => print(&fine(&arguments.config, loaded))?,
            _ => say(&summary(findings)),
        }
    }
    Ok(match (findings.has_errors(), findings.is_empty()) {
        (true, _) => ExitCode::from(UNUSABLE),
        (false, false) if arguments.strict => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn fine(path: &Path, loaded: &config::Loaded) -> String {
    let origins = counted(loaded.settings.origins.len() as u64, "origin");
    let rules = counted(loaded.settings.rules.len() as u64, "rule");
    format!("{} is fine: {origins}, {rules}\n", path.display())
}

fn summary(findings: &config::Findings) -> String {
    let errors = counted(findings.count(Severity::Error) as u64, "error");
    let warnings = counted(findings.count(Severity::Warning) as u64, "warning");
    let judgement = if findings.has_errors() { "cannot be used" } else { "can be used" };
    format!("{} {judgement}: {errors}, {warnings}\n", findings.path())
}
