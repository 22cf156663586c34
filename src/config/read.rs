//! How does text become a [`File`], with every finding at once rather than the first?
//!
//! Serde stops at the first error. So the part that it complains of is noted and taken out of the tree, and the rest
//! is read again, until nothing is left to complain of. What was taken out is remembered, so that its absence is not
//! reported as a second finding.

use std::borrow::Cow;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::environment::Environment;
use super::file::File;
use super::finding::{Findings, Span};
use super::located::Complaint;

/// Parts that are taken out before we give up: each one costs another reading of the file.
const REPAIRS: usize = 100;

/// How many syntax errors are told: whoever has more has another problem than each of them.
const SYNTAX_ERRORS: usize = 20;

/// A file, and what had to be left out of it.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The file, without its wrong parts.
    pub(crate) file: File,
    /// Keys that were taken out, each with the place of its table.
    taken_out: Vec<(Span, String)>,
    /// Places that a finding was about.
    blamed: Vec<Span>,
}

impl Reading {
    /// Whether the table at `place` had `key`, but a wrong one.
    pub(crate) fn had(&self, place: Option<&Span>, key: &str) -> bool {
        self.taken_out.iter().any(|(table, name)| Some(table) == place && name == key)
    }

    /// Whether any table had `key`, but a wrong one.
    pub(crate) fn had_anywhere(&self, key: &str) -> bool {
        self.taken_out.iter().any(|(_, name)| name == key)
    }

    /// Whether nothing had to be taken out.
    pub(crate) fn is_whole(&self) -> bool {
        self.blamed.is_empty()
    }

    /// Whether something within `place` has been reported.
    pub(crate) fn is_blamed(&self, place: Option<&Span>) -> bool {
        place.is_some_and(|place| self.blamed.iter().any(|it| place.start <= it.start && it.end <= place.end))
    }
}

/// Reads a file. `None`: it is not TOML, or so wrong that reading on makes no sense.
pub(crate) fn read(text: &str, environment: &Environment, findings: &mut Findings) -> Option<Reading> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        tell_syntax_errors(text, &errors, findings);
        return None;
    }
    let span = document.span();
    let mut root = Spanned::new(span, DeValue::Table(document.into_inner()));
    let mut reading = Reading::default();
    let mut unset = Vec::new();
    hide_secrets(&root, "", findings);
    make_lists(&mut root, findings);
    fill(&mut root, environment, &mut unset);
    for (span, complaint) in unset {
        findings.error(Some(span.clone()), complaint.what, complaint.write);
        take_out(&mut root, &span, &mut reading);
    }
    for _ in 0..REPAIRS {
        match File::deserialize(ValueDeserializer::from(root.clone())) {
            Ok(file) => {
                reading.file = file;
                return Some(reading);
            }
            Err(error) => {
                let (what, write) = translate(error.message());
                findings.error(error.span(), what, write);
                let span = error.span()?;
                if !take_out(&mut root, &span, &mut reading) {
                    return None;
                }
            }
        }
    }
    None
}

/// Makes a list of one out of a single `[origins]` or `[rules]`, so that what stands in it is checked as well.
fn make_lists(root: &mut Spanned<DeValue<'_>>, findings: &mut Findings) {
    let DeValue::Table(tables) = root.get_mut() else { return };
    for (key, value) in tables.iter_mut().filter(|(_, value)| matches!(value.get_ref(), DeValue::Table(_))) {
        let name = key.get_ref();
        if !matches!(&**name, "origins" | "rules") {
            continue;
        }
        let what = format!("`{name}` is a list of tables, and this is a single table");
        findings.error(Some(value.span()), what, format!("write [[{name}]], in double brackets, before each of them"));
        *value = Spanned::new(value.span(), DeValue::Array(std::iter::once(value.clone()).collect()));
    }
}

/// Puts the environment into every string of the tree; the places stay those of the file.
fn fill(node: &mut Spanned<DeValue<'_>>, environment: &Environment, unset: &mut Vec<(Span, Complaint)>) {
    let span = node.span();
    match node.get_mut() {
        DeValue::String(text) => match environment.fill(text) {
            Ok(Cow::Borrowed(_)) => {}
            Ok(Cow::Owned(filled)) => *text = Cow::Owned(filled),
            Err(complaint) => unset.push((span, complaint)),
        },
        DeValue::Array(items) => items.iter_mut().for_each(|item| fill(item, environment, unset)),
        DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| fill(value, environment, unset)),
        _ => {}
    }
}

/// Keeps secrets that are written out in the file from being shown with a finding: findings go to logs, too.
fn hide_secrets(node: &Spanned<DeValue<'_>>, key: &str, findings: &mut Findings) {
    match node.get_ref() {
        // What comes from the environment does not stand in the file.
        DeValue::String(text) if matches!(key, "token" | "authorization" | "secret") && !text.contains("${") => {
            findings.hide(&node.span(), None);
        }
        DeValue::String(text) => {
            let user = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
            if user.is_some() {
                findings.hide(&node.span(), user);
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| hide_secrets(item, key, findings)),
        DeValue::Table(table) => {
            table.iter().for_each(|(key, value)| hide_secrets(value, &key.get_ref().to_ascii_lowercase(), findings));
        }
        _ => {}
    }
}

/// Takes the entry or item at exactly this place out of the tree, the innermost one. Whether there was one.
fn take_out(node: &mut Spanned<DeValue<'_>>, place: &Span, reading: &mut Reading) -> bool {
    let own = node.span();
    match node.get_mut() {
        DeValue::Array(items) => {
            if items.iter_mut().any(|item| take_out(item, place, reading)) {
                return true;
            }
            let Some(index) = items.iter().position(|item| item.span() == *place) else { return false };
            let kept = std::mem::replace(items, DeArray::new()).into_iter().enumerate().filter(|(at, _)| *at != index);
            *items = kept.map(|(_, item)| item).collect();
        }
        DeValue::Table(table) => {
            if table.iter_mut().any(|(_, value)| take_out(value, place, reading)) {
                return true;
            }
            let found = table.iter().find(|(key, value)| key.span() == *place || value.span() == *place);
            let Some(name) = found.map(|(key, _)| key.get_ref().clone().into_owned()) else { return false };
            table.remove(name.as_str());
            reading.taken_out.push((own, name));
        }
        _ => return false,
    }
    reading.blamed.push(place.clone());
    true
}

/// Tells each kind of error once a line, and the first few: the parser has one for each byte of what is no text.
fn tell_syntax_errors(text: &str, errors: &[toml::de::Error], findings: &mut Findings) {
    let line = |error: &toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        text.get(..start).map_or(0, |before| before.matches('\n').count())
    };
    let mut told: Vec<(usize, &str)> = Vec::new();
    for error in errors {
        if told.len() == SYNTAX_ERRORS {
            return;
        }
        let kind = (line(error), error.message());
        if !told.contains(&kind) {
            told.push(kind);
            let (what, write) = translate_syntax(error.message());
            findings.error(error.span(), what, write);
        }
    }
}

/// What the TOML parser says, as what is wrong and what to write.
fn translate_syntax(message: &str) -> (String, String) {
    if message.starts_with("duplicate key") {
        let help = "write each key once in a table; a second origin or rule begins with [[origins]] or [[rules]]";
        return (message.to_owned(), help.to_owned());
    }
    match message.split_once(", expected ") {
        Some((what, wanted)) if wanted != "nothing" => (format!("not TOML: {what}"), format!("write {wanted}")),
        _ => {
            let what = message.split(", expected ").next().unwrap_or_default();
            (
                format!("not TOML: {what}"),
                "put strings in quotes; https://toml.io shows how values are written".to_owned(),
            )
        }
    }
}

/// What serde says, as what is wrong and what to write.
fn translate(message: &str) -> (String, String) {
    // Ours (`Complaint`).
    if let Some((what, write)) = message.split_once('\n') {
        return (what.to_owned(), write.to_owned());
    }
    if let Some((key, known)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        let known = quoted_in(known);
        return (format!("unknown key `{key}`"), suggest(key, &known, "the keys of this table are", '`'));
    }
    if let Some((word, known)) = message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once('`')) {
        let known = quoted_in(known);
        return (format!("`{word}` cannot stand here"), suggest(word, &known, "write one of", '"'));
    }
    match message.split_once(", expected ") {
        Some((what, wanted)) => (what.replace("invalid type: ", "wrong type: "), format!("write {}", in_words(wanted))),
        None if message == "wanted string or table" => ("wrong type".to_owned(), "write a string in quotes".to_owned()),
        None => (message.to_owned(), "see proxy.toml, which shows every key".to_owned()),
    }
}

/// The names between backticks.
fn quoted_in(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Serde's word for a type, as a person would say it.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "a boolean" => "true or false, without quotes",
        "a sequence" => r#"a list: ["…", "…"]"#,
        "a string" => "a string in quotes",
        other => other,
    }
}

/// The nearest of the known names, or all of them.
pub(super) fn suggest(word: &str, known: &[&str], otherwise: &str, quote: char) -> String {
    let near = known.iter().map(|name| (strsim::osa_distance(&word.to_lowercase(), name), name)).min();
    // A third of the letters: `max_boddy` is max_body, but `colour` is none of a listener's keys.
    match near {
        Some((distance, name)) if distance <= 1.max(word.chars().count() / 3) => {
            format!("did you mean {quote}{name}{quote}?")
        }
        _ => {
            let all: Vec<_> = known.iter().map(|name| format!("{quote}{name}{quote}")).collect();
            format!("{otherwise} {}", all.join(", "))
        }
    }
}
