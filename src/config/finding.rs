//! What is wrong with the file, where, and what should stand there instead?

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

/// Bytes of the file, from the start.
pub(crate) type Span = Range<usize>;

/// Findings that are kept; a file with more is not a configuration, and nobody reads the rest.
const LIMIT: usize = 200;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but something in it does not do what it seems to.
    Warning,
}

impl Severity {
    /// The word in machine output.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0: the file as a whole.
    pub column: usize,
    span: Option<Span>,
    related: Option<(Span, String)>,
}

/// Everything found in one file, in the order of its lines.
#[derive(Debug, Clone)]
pub struct Findings {
    path: Arc<str>,
    source: Arc<str>,
    /// The source as it is shown: of the same length, with asterisks for secrets.
    shown: Arc<str>,
    list: Vec<Finding>,
}

impl Findings {
    /// None yet, for the file `path` whose text is `source`.
    pub fn new(path: &str, source: &str) -> Self {
        Self { path: path.into(), source: source.into(), shown: source.into(), list: Vec::new() }
    }

    /// Adds what makes the file unusable. `span` is `None` where it is about no place in particular.
    pub(crate) fn error(&mut self, span: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Error, span, message.into(), help.into());
    }

    /// Adds what the operator should know.
    pub(crate) fn warning(&mut self, span: Option<Span>, message: impl Into<String>, help: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), help.into());
    }

    /// Gives the latest finding a second place of the file, with a word on it.
    pub(crate) fn related(&mut self, span: Option<Span>, label: impl Into<String>) {
        if let (Some(finding), Some(span)) = (self.list.last_mut(), span) {
            finding.related = Some((span, label.into()));
        }
    }

    /// Shows asterisks for a part of the string at `place`, or for all of it but its quotes.
    pub(crate) fn hide(&mut self, place: &Span, part: Option<&str>) {
        let Some(written) = self.source.get(place.clone()) else { return };
        let (from, length) = match part {
            // An escape within the part makes the two differ: then all of it is hidden.
            Some(part) => written.find(part).map_or((0, written.len()), |at| (at, part.len())),
            None => (0, written.len()),
        };
        let hidden = place.start + from..place.start + from + length;
        let stars = self.source[hidden.clone()].chars().map(|letter| match letter {
            '"' | '\'' | '\n' => letter.to_string(),
            _ => "*".repeat(letter.len_utf8()),
        });
        let stars: String = stars.collect();
        self.shown = format!("{}{stars}{}", &self.shown[..hidden.start], &self.shown[hidden.end..]).into();
    }

    fn add(&mut self, severity: Severity, span: Option<Span>, message: String, help: String) {
        // An error keeps its place even in a flood of warnings: an unusable file must never look usable.
        if self.list.len() >= LIMIT && (severity == Severity::Warning || self.has_errors()) {
            return;
        }
        let (line, column) = span.as_ref().map_or((0, 0), |span| self.position(span.start));
        self.list.push(Finding { severity, message, help, line, column, span, related: None });
    }

    /// The line and column of a byte, both from 1.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let before = self.source.get(..at).unwrap_or(&self.source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// Puts the findings into the order of the file.
    pub(crate) fn sort(&mut self) {
        self.list.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
    }

    /// Whether the file cannot be used.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many findings there are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The findings, in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.list.iter()
    }

    /// The file's name, as it was given.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The findings for a person: place, line, caret, and what to write. With `colour`, in ANSI colours.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for finding in &self.list {
            text.push_str(&self.render_one(&renderer, finding));
            text.push_str("\n\n");
        }
        text
    }

    fn render_one(&self, renderer: &Renderer, finding: &Finding) -> String {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(finding.message.as_str());
        let help = Level::HELP.message(finding.help.as_str());
        let group = match &finding.span {
            Some(span) => {
                let mut snippet = Snippet::source(&*self.shown).path(&*self.path);
                snippet = snippet.annotation(AnnotationKind::Primary.span(self.first_line(span)));
                if let Some((place, label)) = &finding.related {
                    snippet =
                        snippet.annotation(AnnotationKind::Context.span(self.first_line(place)).label(label.as_str()));
                }
                title.element(snippet).element(help)
            }
            None => title.element(annotate_snippets::Origin::path(&*self.path)).element(help),
        };
        renderer.render(&[group])
    }

    /// The part of a span that is underlined: never past its first line, so that a long table shows as one line.
    fn first_line(&self, span: &Span) -> Span {
        let text = self.source.get(span.clone()).unwrap_or_default();
        let length = text.find('\n').unwrap_or(text.len());
        span.start..span.start + length
    }

    /// The findings for a machine.
    ///
    /// `{"file", "errors", "warnings", "findings": [{"severity", "file", "line", "column", "message", "help"}]}`; line
    /// and column are null where the finding is about no place in particular.
    pub fn to_json(&self) -> serde_json::Value {
        let findings: Vec<_> = self
            .list
            .iter()
            .map(|finding| {
                // Lines begin at 1: an editor sent to line 0 would show a place that is not meant.
                let place = (finding.line > 0).then_some((finding.line, finding.column));
                serde_json::json!({
                    "severity": finding.severity.token(),
                    "file": &*self.path,
                    "line": place.map(|(line, _)| line),
                    "column": place.map(|(_, column)| column),
                    "message": finding.message,
                    "help": finding.help,
                })
            })
            .collect();
        serde_json::json!({
            "file": &*self.path,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "findings": findings,
        })
    }
}

impl<'f> IntoIterator for &'f Findings {
    type Item = &'f Finding;
    type IntoIter = std::slice::Iter<'f, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The findings for a person, without colour.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Findings {}
