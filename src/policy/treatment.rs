//! What do the rules of `proxy.toml` say about one request, once all that match are merged?

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};

/// The number of an origin: its place among `[[origins]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginId(pub usize);

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Look up, fetch, store.
    #[default]
    Cache,
    /// Never look up, never store.
    Pass,
    /// Answer 403.
    Deny,
}

/// Statuses that a `ttl_by_status` key names: one (`404`) or a class (`5xx`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatusPattern {
    /// Exactly this status.
    Exact(u16),
    /// Every status of this hundred: `5` is 500 to 599.
    Class(u16),
}

impl StatusPattern {
    /// Whether `status` is meant.
    pub fn matches(self, status: StatusCode) -> bool {
        match self {
            Self::Exact(code) => status.as_u16() == code,
            Self::Class(hundred) => status.as_u16() / 100 == hundred,
        }
    }
}

/// Directives of the origin that a rule overrules (`override`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `no-store` does not keep a response out.
    pub no_store: bool,
    /// `private` does not keep a response out.
    pub private: bool,
    /// `no-cache` does not force a revalidation.
    pub no_cache: bool,
    /// `Set-Cookie` does not keep a response out, and is replayed.
    pub set_cookie: bool,
    /// `Authorization` in the request does not keep a response out.
    pub authorization: bool,
}

/// Which parts of a request make its key, besides scheme, host and path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRules {
    /// Names of query parameters that count; empty: all. Globs.
    pub query_include: Vec<Glob>,
    /// Names of query parameters that do not count. Globs.
    pub query_exclude: Vec<Glob>,
    /// Whether the parameters are put in order.
    pub query_sort: bool,
    /// Request fields whose values count.
    pub headers: Vec<HeaderName>,
    /// Names of cookies whose values count.
    pub cookies: Vec<String>,
}

impl KeyRules {
    /// Whether any of a request's fields counts.
    pub fn names_any(&self) -> bool {
        !self.headers.is_empty() || !self.cookies.is_empty()
    }

    /// Whether this one does, itself or what is in it.
    pub fn names(&self, field: &HeaderName) -> bool {
        self.headers.contains(field) || (*field == header::COOKIE && !self.cookies.is_empty())
    }

    /// Whether the query counts as it came.
    pub fn query_is_plain(&self) -> bool {
        self.query_include.is_empty() && self.query_exclude.is_empty() && !self.query_sort
    }
}

/// A pattern in which `*` stands for any run of characters, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<String>);

impl Glob {
    /// Reads a pattern; every string is one.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.split('*').map(str::to_owned).collect())
    }

    /// Whether `text` fits the whole pattern. Linear in the text for each piece between stars.
    pub fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            let Some(at) = rest.find(piece.as_str()) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last.as_str())
    }

    /// The pattern, as it was written.
    pub fn pattern(&self) -> String {
        self.0.join("*")
    }

    /// The same pattern in lower case, for texts that are put in lower case before.
    pub fn to_ascii_lowercase(&self) -> Self {
        Self(self.0.iter().map(|piece| piece.to_ascii_lowercase()).collect())
    }
}

/// Fields that a rule sets and removes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldEdits {
    /// Fields set to this value, whatever was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields removed.
    pub remove: Vec<HeaderName>,
}

impl FieldEdits {
    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Whether a field of this name, in lower case, is edited.
    pub fn concern(&self, name: &[u8]) -> bool {
        let is = |edited: &HeaderName| edited.as_str().as_bytes() == name;
        self.remove.iter().any(is) || self.set.iter().any(|(edited, _)| is(edited))
    }

    /// Removes, then sets.
    pub fn apply(&self, headers: &mut http::HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// The merged word of all rules that match a request: what `serve` asks, and never the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Treatment {
    /// What to do.
    pub action: Action,
    /// The origin that a rule names, over the choice by host.
    pub origin: Option<OriginId>,
    /// The lifetime where the origin states none; `None`: a heuristic (RFC 9111 §4.2.2).
    pub default_ttl: Option<Duration>,
    /// The lifetime that replaces what the origin states.
    pub ttl: Option<Duration>,
    /// Lifetimes by status, which replace what the origin states; the first that fits.
    pub ttl_by_status: Vec<(StatusPattern, Duration)>,
    /// Directives of the origin that do not count.
    pub overrides: Overrides,
    /// The `max-age` that clients are told.
    pub browser_ttl: Option<Duration>,
    /// The stale-while-revalidate window where the origin states none.
    pub stale_while_revalidate: Duration,
    /// The stale-if-error window where the origin states none.
    pub stale_if_error: Duration,
    /// Whether hot responses are refreshed just before they expire.
    pub early_refresh: bool,
    /// Whether a client's `Cache-Control` counts.
    pub honour_client: bool,
    /// Whether concurrent misses become one fetch.
    pub collapse: bool,
    /// What makes the key.
    pub key: KeyRules,
    /// Request fields normalised to one of these values before `Vary` compares them, best first.
    pub vary: Vec<(HeaderName, Vec<String>)>,
    /// Path prefix taken off towards the origin; empty: none.
    pub strip_prefix: String,
    /// Edits of the request towards the origin.
    pub request_headers: FieldEdits,
    /// Edits of the response towards the client.
    pub response_headers: FieldEdits,
}

impl Default for Treatment {
    fn default() -> Self {
        Self {
            action: Action::Cache,
            origin: None,
            default_ttl: None,
            ttl: None,
            ttl_by_status: Vec::new(),
            overrides: Overrides::default(),
            browser_ttl: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::from_mins(10),
            early_refresh: true,
            honour_client: false,
            collapse: true,
            key: KeyRules::default(),
            vary: Vec::new(),
            strip_prefix: String::new(),
            request_headers: FieldEdits::default(),
            response_headers: FieldEdits::default(),
        }
    }
}

/// What one rule says: the keys it sets, and only those.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// `action`
    pub action: Option<Action>,
    /// `origin`
    pub origin: Option<OriginId>,
    /// `default_ttl`
    pub default_ttl: Option<Duration>,
    /// `ttl`
    pub ttl: Option<Duration>,
    /// `ttl_by_status`
    pub ttl_by_status: Option<Vec<(StatusPattern, Duration)>>,
    /// `override`
    pub overrides: Option<Overrides>,
    /// `browser_ttl`
    pub browser_ttl: Option<Duration>,
    /// `stale_while_revalidate`
    pub stale_while_revalidate: Option<Duration>,
    /// `stale_if_error`
    pub stale_if_error: Option<Duration>,
    /// `early_refresh`
    pub early_refresh: Option<bool>,
    /// `client_cache_control = "honour"`
    pub honour_client: Option<bool>,
    /// `collapse`
    pub collapse: Option<bool>,
    /// `key`
    pub key: Option<KeyRules>,
    /// `vary`
    pub vary: Option<Vec<(HeaderName, Vec<String>)>>,
    /// `tags`: templates, `{n}` is the n-th wildcard of the rule's path pattern.
    pub tags: Option<Vec<String>>,
    /// `strip_prefix`
    pub strip_prefix: Option<String>,
    /// `request_headers`
    pub request_headers: Option<FieldEdits>,
    /// `response_headers`
    pub response_headers: Option<FieldEdits>,
}

impl Changes {
    /// Lays this rule's keys over `treatment`. `tags` are not part of it: they depend on the request's path.
    pub fn apply(&self, treatment: &mut Treatment) {
        fn set<T: Clone>(target: &mut T, change: Option<&T>) {
            if let Some(value) = change {
                target.clone_from(value);
            }
        }
        set(&mut treatment.action, self.action.as_ref());
        if self.origin.is_some() {
            treatment.origin = self.origin;
        }
        if self.default_ttl.is_some() {
            treatment.default_ttl = self.default_ttl;
        }
        if self.ttl.is_some() {
            treatment.ttl = self.ttl;
        }
        set(&mut treatment.ttl_by_status, self.ttl_by_status.as_ref());
        set(&mut treatment.overrides, self.overrides.as_ref());
        if self.browser_ttl.is_some() {
            treatment.browser_ttl = self.browser_ttl;
        }
        set(&mut treatment.stale_while_revalidate, self.stale_while_revalidate.as_ref());
        set(&mut treatment.stale_if_error, self.stale_if_error.as_ref());
        set(&mut treatment.early_refresh, self.early_refresh.as_ref());
        set(&mut treatment.honour_client, self.honour_client.as_ref());
        set(&mut treatment.collapse, self.collapse.as_ref());
        set(&mut treatment.key, self.key.as_ref());
        set(&mut treatment.vary, self.vary.as_ref());
        set(&mut treatment.strip_prefix, self.strip_prefix.as_ref());
        set(&mut treatment.request_headers, self.request_headers.as_ref());
        set(&mut treatment.response_headers, self.response_headers.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn globs_fit_the_whole_text() {
        let cases = [
            ("", "", true, "nothing fits nothing"),
            ("", "a", false, "and nothing else"),
            ("abc", "abc", true, "literal"),
            ("abc", "abcd", false, "the whole text"),
            ("abc", "ABC", false, "case counts"),
            ("*", "", true, "any run, an empty one too"),
            ("a*", "a", true, "an empty run at the end"),
            ("*.shop.example", "shop.example", false, "the dot is asked for"),
            ("*.shop.example", "a.b.shop.example", true, "dots are characters like others"),
            ("ab*ba", "aba", false, "both ends cannot share a letter"),
            ("ab*ba", "abba", true, "both ends, nothing between"),
            ("a*b*c", "aXbYc", true, "pieces in order"),
            ("a*b*c", "acb", false, "pieces in order"),
            ("a*b*b", "ab", false, "a piece is not used twice"),
            ("*a*a*", "aa", true, "pieces side by side"),
            ("**", "x", true, "two stars are one"),
            ("utm_*", "utm_source", true, "a parameter"),
            ("*ä", "xä", true, "beyond ASCII"),
        ];
        for (pattern, text, want, why) in cases {
            assert_eq!(Glob::new(pattern).matches(text), want, "{pattern} on {text}: {why}");
        }
    }

    proptest! {
        /// The glob as a regular expression says the same.
        #[test]
        fn a_glob_fits_what_its_regular_expression_fits(pattern in "[ab*]{0,7}", text in "[ab]{0,8}") {
            let expression = regex::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).unwrap();
            prop_assert_eq!(Glob::new(&pattern).matches(&text), expression.is_match(&text));
            prop_assert_eq!(Glob::new(&pattern).pattern(), pattern);
        }
    }
}
