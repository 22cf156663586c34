//! Which tags does a rule add to what it stores?

use std::sync::Arc;

use super::pattern::{PathPattern, comparable};

/// Longest tag that is kept, in bytes: what a purge may name.
const MAX_TAG: usize = 1024;

/// The tags of one rule: templates in which `{n}` is the n-th wildcard of the rule's path pattern, from 1.
///
/// Cheap to clone; nothing is rendered before a response is stored.
#[derive(Debug, Clone, Default)]
pub struct RuleTags(Option<Arc<Plan>>);

#[derive(Debug)]
struct Plan {
    templates: Vec<Vec<Piece>>,
    paths: Vec<PathPattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A wildcard, from 0.
    Wildcard(usize),
}

impl RuleTags {
    /// Reads the templates of a rule whose `match` has these path patterns.
    pub fn new(templates: &[String], paths: &[PathPattern]) -> Self {
        let templates: Vec<_> = templates.iter().map(|template| pieces(template)).collect();
        // An empty list is a word too: it takes an earlier rule's tags away.
        Self((!templates.is_empty()).then(|| Arc::new(Plan { templates, paths: paths.to_vec() })))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The tags for a request of this path (without the query), wildcards as patterns see it ([`comparable`]); of several
    /// patterns of the rule, the first that fits counts.
    ///
    /// A tag that names a wildcard which is not there, or comes out empty or over 1024 bytes, is left out: a tag that
    /// is not what was meant would be purged with the wrong things.
    pub fn render(&self, path: &str) -> Vec<String> {
        let Some(plan) = &self.0 else { return Vec::new() };
        let path = &comparable(path);
        let captures = plan.paths.iter().find_map(|pattern| pattern.captures(path)).unwrap_or_default();
        plan.templates.iter().filter_map(|template| render(template, &captures)).collect()
    }
}

/// The highest `{n}` of a template; `None`: it has none.
pub fn highest_wildcard(template: &str) -> Option<usize> {
    let numbers = pieces(template).into_iter().filter_map(|piece| match piece {
        Piece::Wildcard(number) => Some(number + 1),
        Piece::Text(_) => None,
    });
    numbers.max()
}

fn render(template: &[Piece], captures: &[&str]) -> Option<String> {
    let mut tag = String::new();
    for piece in template {
        tag.push_str(match piece {
            Piece::Text(text) => text,
            Piece::Wildcard(number) => captures.get(*number)?,
        });
    }
    (1..=MAX_TAG).contains(&tag.len()).then_some(tag)
}

/// Divides a template; braces around anything but a number from 1 are text.
fn pieces(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let number = rest[open..].find('}').and_then(|close| {
            let digits = &rest[open + 1..open + close];
            let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<usize>().ok())??;
            Some((number.checked_sub(1)?, open + close + 1))
        });
        let (wildcard, end) = number.map_or((None, open + 1), |(wildcard, end)| (Some(wildcard), end));
        text.push_str(&rest[..if wildcard.is_some() { open } else { end }]);
        if let Some(wildcard) = wildcard {
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Wildcard(wildcard));
        }
        rest = &rest[end..];
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn templates_are_filled_with_what_wildcards_stood_for() {
        let long = format!("/p/{}/x", "a".repeat(1024));
        let cases: [(&str, &str, Option<&str>, &str); 12] = [
            ("products", "/p/7/x", Some("products"), "no wildcard"),
            ("product:{1}", "/p/7/x", Some("product:7"), "the first"),
            ("{2}-{1}", "/p/7/x/y", Some("x/y-7"), "any order, ** as a whole"),
            ("{1}{1}", "/p/7/x", Some("77"), "twice"),
            ("{3}", "/p/7/x", None, "not there: left out"),
            ("{2}", "/p/7/", None, "comes out empty: left out"),
            ("{0}", "/p/7/x", Some("{0}"), "counted from 1: text"),
            ("{x}{", "/p/7/x", Some("{x}{"), "no number: text"),
            ("{+1}", "/p/7/x", Some("{+1}"), "no number: text"),
            ("a{{1}b", "/p/7/x", Some("a{7b"), "the inner brace"),
            ("{99999999999999999999}", "/p/7/x", Some("{99999999999999999999}"), "too large for a number: text"),
            ("{1}", &long, Some(&long[3..1027]), "as long as a purge may name"),
        ];
        let paths = [PathPattern::parse("/p/*/**").unwrap()];
        for (template, path, want, why) in cases {
            let tags = RuleTags::new(&[template.to_owned()], &paths).render(path);
            assert_eq!(tags.first().map(String::as_str), want, "{template}: {why}");
        }
        assert!(RuleTags::new(&["x{1}".to_owned()], &paths).render(&long).is_empty(), "over 1024 bytes: left out");
    }

    #[test]
    fn the_first_pattern_that_fits_counts() {
        let paths = ["/b/*", "/a/*", "/**"].map(|text| PathPattern::parse(text).unwrap());
        let tags = RuleTags::new(&["t:{1}".to_owned()], &paths);
        assert_eq!(tags.render("/a/x"), ["t:x"]);
        assert_eq!(tags.render("/c/x"), ["t:c/x"]);
    }

    #[test]
    fn the_highest_wildcard_is_known() {
        let cases = [("a{2}{1}", Some(2), "the highest"), ("a{x}{0}", None, "text"), ("", None, "nothing")];
        for (template, want, why) in cases {
            assert_eq!(highest_wildcard(template), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn text_without_numbers_in_braces_stays_as_it_is(template in "[a{}x ]{0,12}") {
            let want = (!template.is_empty()).then_some(template.clone());
            prop_assert_eq!(RuleTags::new(&[template], &[]).render("/").first().cloned(), want);
        }
    }
}
