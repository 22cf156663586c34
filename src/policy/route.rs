//! Which rules match a request, and which origin does it go to?

use http::{HeaderName, Method};

use super::treatment::{Changes, Glob};

/// One of `[[rules]]`, compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, for logs and `explain`; empty where the file gives none.
    pub name: String,
    /// The line of the file where it begins, from 1; 0: not from a file.
    pub line: usize,
    /// Which requests it applies to.
    pub matcher: Matcher,
    /// What it says of them.
    pub changes: Changes,
}

/// The `match` of a rule: every part given must fit; none given: every request.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// Hosts, in lower case; any of these.
    pub hosts: Vec<Glob>,
    /// Path patterns; any of these.
    pub paths: Vec<PathPattern>,
    /// A regular expression over the path (without the query), unanchored.
    pub path_regex: Option<regex::Regex>,
    /// Methods; any of these.
    pub methods: Vec<Method>,
    /// Request fields whose value fits, each of these. Letter case does not count.
    pub headers: Vec<(HeaderName, Glob)>,
}

/// A path pattern: `*` is one segment or a run of characters within one, `**` any number of segments.
#[derive(Debug, Clone)]
pub struct PathPattern {
    /// As written.
    pub text: String,
}
