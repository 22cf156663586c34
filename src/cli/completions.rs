//! `larder completions`: what the shell needs to complete our command line.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::print;

/// Prints completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder completions bash > /etc/bash_completion.d/larder
  larder completions zsh > \"${fpath[1]}/_larder\"
  larder completions fish > ~/.config/fish/completions/larder.fish")]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

/// Prints the completions of `command`.
pub(super) fn completions(arguments: &Arguments, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, command, "larder", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}
