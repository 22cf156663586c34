//! The command line: one file a command, and no decisions.

mod answer;
mod check;
mod client;
mod completions;
mod explain;
mod explanation;
mod listener;
mod purge;
mod receipt;
mod serve;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// The exit code of a usage or configuration error; 1 is a failure (`ExitCode::FAILURE`).
const UNUSABLE: u8 = 2;

/// An HTTP edge cache that you put in front of an origin.
#[derive(Debug, Parser)]
#[command(
    name = "larder",
    version,
    about,
    max_term_width = 100,
    after_help = "\
Examples:
  larder serve --origin http://127.0.0.1:3000
  larder serve --config /etc/larder/proxy.toml
  larder check --strict
  larder purge --tag product-17 --soft
  larder explain https://shop.example/api/products
  larder purge --help"
)]
struct Larder {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Check(check::Arguments),
    Purge(purge::Arguments),
    Explain(explain::Arguments),
    Completions(completions::Arguments),
}

/// Reads the command line and does what it says.
///
/// Exit codes: 0 success, 1 failure, 2 a usage or configuration error.
pub fn main() -> ExitCode {
    let done = match Larder::parse().command {
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Check(arguments) => check::check(&arguments),
        Command::Purge(arguments) => purge::purge(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Completions(arguments) => completions::completions(&arguments, &mut Larder::command()),
    };
    done.unwrap_or_else(|error| {
        say(&format!("error: {error:#}\n"));
        ExitCode::FAILURE
    })
}

/// Tells a person something, on standard error: standard output is for what a program reads.
fn say(text: &str) {
    // Nobody is left to be told that nobody listens.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Prints a result. A reader that has gone away (`| head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether what is said on standard error may have colours.
fn has_colour() -> bool {
    shows_colour(&io::stderr())
}

/// Whether a stream shows colours: a terminal that knows them, and no `NO_COLOR`.
fn shows_colour(stream: &impl IsTerminal) -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

/// A number and what there are so many of.
fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Text from elsewhere, safe on a terminal: what would move the cursor, change colours or turn the order of letters round
/// is written out.
fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character does something, rather than being seen: controls, line ends, and the marks by which Unicode turns
/// the direction of writing (UAX #9), with which one name can be made to look like another.
fn acts(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Larder::command().debug_assert();
    }

    #[test]
    fn text_from_elsewhere_cannot_act_on_the_terminal() {
        let cases = [
            ("products", "products", "nothing to do"),
            ("Größe", "Größe", "letters are letters"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb", "an escape sequence"),
            ("a\u{9b}2J", "a\\u{9b}2J", "the same in one character"),
            ("\u{202e}sdrawkcab", "\\u{202e}sdrawkcab", "letters in the other direction"),
            ("a\u{2028}b", "a\\u{2028}b", "a line end of Unicode's"),
            ("a\nerror: b", "a\\nerror: b", "a line that is not ours"),
        ];
        for (text, want, why) in cases {
            assert_eq!(visible(text), want, "{why}");
        }
    }

    #[test]
    fn every_command_has_examples() {
        let larder = Larder::command();
        for command in larder.get_subcommands().chain([&larder]) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("larder "), "{} has no examples", command.get_name());
        }
    }
}
