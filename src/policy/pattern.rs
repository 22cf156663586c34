//! Does a path fit a pattern of `proxy.toml`, and what did its wildcards stand for?

use std::borrow::Cow;

use smallvec::SmallVec;

/// A path pattern: `*` is one segment or a run of characters within one, `**` any number of segments.
///
/// Compares with a path as [`comparable`] gives it, without its query. `/a/*` fits `/a/b`, not `/a/` or `/a/b/c`; `/a/*.png`
/// fits `/a/.png`; `/a/**` fits `/a/` and all below it, not `/a`; `/a/**/b` fits `/a/b`, `/a/x/b`, `/a/x/y/b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Where its first and its last `*` stand; `None`: it has none.
    stars: Option<(usize, usize)>,
    /// The segments before the first `**`.
    head: Vec<Segment>,
    /// For each `**`, in order, the segments that follow it.
    deep: Vec<Deep>,
}

/// Why a text is no path pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Paths begin with a slash, so nothing would ever fit.
    #[error("a path pattern begins with \"/\": write \"/{0}\"")]
    NoSlash(String),
    /// `**` together with other characters in one segment.
    #[error(
        "\"**\" stands alone between slashes, not in \"{0}\": write \"**/\" before it, or \"*\" for a run within a segment"
    )]
    DeepWithinSegment(String),
    /// Paths are matched without their query.
    #[error("a path pattern has no query: leave out \"{0}\"; paths are matched without theirs")]
    Query(String),
}

/// What the wildcards of a pattern stood for, in the order in which the pattern writes them.
pub type Captures<'a> = SmallVec<[&'a str; 4]>;

/// `**` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Deep {
    /// The number of this `**` among the wildcards.
    wildcard: usize,
    run: Vec<Segment>,
}

/// What one segment of a path has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `*` alone: something.
    Any {
        wildcard: usize,
    },
    /// Pieces with a `*` between each two: any run, also an empty one.
    Mixed {
        wildcard: usize,
        pieces: Vec<String>,
    },
}

/// What is left of a path: `None` when all segments are taken; `Some("")` is one empty segment.
type Rest<'a> = Option<&'a str>;

impl PathPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When nothing could ever fit it, or it is not clear what it means; the message says what to write instead.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let Some(relative) = text.strip_prefix('/') else { return Err(PatternError::NoSlash(text.to_owned())) };
        if let Some(at) = text.find('?') {
            return Err(PatternError::Query(text[at..].to_owned()));
        }
        let mut pattern = Self {
            text: text.to_owned(),
            stars: text.find('*').zip(text.rfind('*')),
            head: Vec::new(),
            deep: Vec::new(),
        };
        let mut wildcard = 0;
        for segment in relative.split('/') {
            if segment == "**" {
                pattern.deep.push(Deep { wildcard, run: Vec::new() });
            } else if segment.contains("**") {
                return Err(PatternError::DeepWithinSegment(segment.to_owned()));
            } else {
                let run = pattern.deep.last_mut().map_or(&mut pattern.head, |deep| &mut deep.run);
                run.push(Segment::parse(segment, wildcard));
            }
            wildcard += if segment == "**" { 1 } else { segment.matches('*').count() };
        }
        Ok(pattern)
    }

    /// How many wildcards it has: the highest number that `{n}` may name.
    pub fn wildcards(&self) -> usize {
        let segments = self.head.iter().chain(self.deep.iter().flat_map(|deep| &deep.run));
        self.deep.len() + segments.map(Segment::wildcards).sum::<usize>()
    }

    /// Whether `path` fits.
    pub fn matches(&self, path: &str) -> bool {
        self.fit(path, &mut |_, _| {})
    }

    /// What the wildcards stood for, the first one at 0; `None`: `path` does not fit.
    ///
    /// Where several readings fit, the earlier wildcards take as little as they can, from left to right; of the
    /// segments after the last `**`, it takes as much as it can.
    pub fn captures<'a>(&self, path: &'a str) -> Option<Captures<'a>> {
        let mut captures: Captures<'a> = SmallVec::from_elem("", self.wildcards());
        self.fit(path, &mut |wildcard, text| captures[wildcard] = text).then_some(captures)
    }

    /// The text before its first wildcard, up to and with the last slash in it: what every path that fits begins
    /// with. For a pattern without wildcards, that is not the whole of it: see [`PathPattern::as_literal`].
    pub fn literal_prefix(&self) -> &str {
        let literal = self.stars.map_or(self.text.as_str(), |(first, _)| &self.text[..first]);
        literal.rfind('/').map_or("", |at| &literal[..=at])
    }

    /// The only path that fits, for a pattern without wildcards.
    pub fn as_literal(&self) -> Option<&str> {
        self.stars.is_none().then_some(self.text.as_str())
    }

    fn fit<'a>(&self, path: &'a str, capture: &mut impl FnMut(usize, &'a str)) -> bool {
        let Some((first, last)) = self.stars else { return self.text == path };
        // Two comparisons settle nearly every path that does not fit.
        path.starts_with(&self.text[..first])
            && path.ends_with(&self.text[last + 1..])
            && self.walk(path, capture).is_some()
    }

    /// Takes the head from the front, what follows the last `**` from the back, and looks for what stands between
    /// two `**` from the left: taking the first fit each time leaves the most for the others, so there is no need to
    /// come back, and the cost stays linear in the path for each segment of the pattern.
    fn walk<'a>(&self, path: &'a str, capture: &mut impl FnMut(usize, &'a str)) -> Option<()> {
        let mut rest = take_run(&self.head, Some(path.strip_prefix('/')?), capture)?;
        let Some((last, between)) = self.deep.split_last() else { return rest.is_none().then_some(()) };
        for segment in last.run.iter().rev() {
            let (text, before) = take_last(rest)?;
            segment.fit(text, capture)?;
            rest = before;
        }
        let mut open = self.deep.first()?.wildcard;
        for (index, deep) in between.iter().enumerate() {
            let (skipped, after) = find_run(&deep.run, rest, capture)?;
            capture(open, skipped);
            open = self.deep[index + 1].wildcard;
            rest = after;
        }
        // A `**` at the end needs its slash: `/a/**` is not `/a`.
        if last.run.is_empty() && rest.is_none() {
            return None;
        }
        capture(open, rest.unwrap_or(""));
        Some(())
    }
}

impl Segment {
    fn parse(text: &str, wildcard: usize) -> Self {
        if text == "*" {
            Self::Any { wildcard }
        } else if text.contains('*') {
            Self::Mixed { wildcard, pieces: text.split('*').map(str::to_owned).collect() }
        } else {
            Self::Literal(text.to_owned())
        }
    }

    fn wildcards(&self) -> usize {
        match self {
            Self::Literal(_) => 0,
            Self::Any { .. } => 1,
            Self::Mixed { pieces, .. } => pieces.len() - 1,
        }
    }

    fn fit<'a>(&self, text: &'a str, capture: &mut impl FnMut(usize, &'a str)) -> Option<()> {
        match self {
            Self::Literal(literal) => (literal == text).then_some(()),
            Self::Any { wildcard } => {
                capture(*wildcard, text);
                (!text.is_empty()).then_some(())
            }
            Self::Mixed { wildcard, pieces } => {
                let [first, middle @ .., last] = pieces.as_slice() else { return None };
                let mut rest = text.strip_prefix(first.as_str())?.strip_suffix(last.as_str())?;
                for (index, piece) in middle.iter().enumerate() {
                    let at = rest.find(piece.as_str())?;
                    capture(wildcard + index, &rest[..at]);
                    rest = &rest[at + piece.len()..];
                }
                capture(wildcard + middle.len(), rest);
                Some(())
            }
        }
    }
}

/// Takes the first segment.
fn take_first(rest: Rest<'_>) -> Option<(&str, Rest<'_>)> {
    let rest = rest?;
    Some(rest.split_once('/').map_or((rest, None), |(first, after)| (first, Some(after))))
}

/// Takes the last segment.
fn take_last(rest: Rest<'_>) -> Option<(&str, Rest<'_>)> {
    let rest = rest?;
    Some(rest.rsplit_once('/').map_or((rest, None), |(before, last)| (last, Some(before))))
}

/// Takes a run of segments from the front; `None`: they do not fit.
fn take_run<'a>(run: &[Segment], mut rest: Rest<'a>, capture: &mut impl FnMut(usize, &'a str)) -> Option<Rest<'a>> {
    for segment in run {
        let (text, after) = take_first(rest)?;
        segment.fit(text, capture)?;
        rest = after;
    }
    Some(rest)
}

/// Skips as few segments as possible until `run` fits; gives what was skipped, and what is left after the run.
fn find_run<'a>(
    run: &[Segment],
    from: Rest<'a>,
    capture: &mut impl FnMut(usize, &'a str),
) -> Option<(&'a str, Rest<'a>)> {
    let mut start = from;
    loop {
        if let Some(after) = take_run(run, start, capture) {
            let whole = from.unwrap_or("");
            // One byte less where a slash divides what is skipped from what follows.
            let skipped = start.map_or(whole.len(), |start| (whole.len() - start.len()).saturating_sub(1));
            return Some((&whole[..skipped], after));
        }
        start = take_first(start)?.1;
    }
}

/// The path as patterns see it: percent-encoded letters, digits, `-`, `.`, `_` and `~` decoded, and nothing else.
///
/// The two spellings are the same path to every origin (RFC 3986 §6.2.2.2), and a rule that denies one denies the other.
/// Keys and what goes to the origin keep the client's bytes.
pub fn comparable(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
            decoded.push(char::from(byte));
            rest = &rest[at + 3..];
        } else {
            decoded.push('%');
            rest = &rest[at + 1..];
        }
    }
    decoded.push_str(rest);
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_path_are_one_to_patterns() {
        let cases = [
            // path          as seen        why
            ("/d/x", "/d/x", "nothing to decode"),
            ("/%64/%78", "/d/x", "letters"),
            ("/a%2Fb%2fc", "/a%2Fb%2fc", "an encoded slash is no slash"),
            ("/%7Euser%20x", "/~user%20x", "unreserved only"),
            ("/%2564", "/%2564", "once, not twice"),
            ("/%6", "/%6", "cut short"),
            ("/%zz%", "/%zz%", "no digits"),
            ("/ä%64", "/äd", "other bytes stay"),
        ];
        for (path, want, why) in cases {
            assert_eq!(comparable(path), want, "{path}: {why}");
        }
    }
    use proptest::prelude::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn paths_fit_or_not_and_wildcards_have_what_they_stood_for() {
        let cases: [(&str, &str, Option<&[&str]>, &str); 42] = [
            ("/", "/", Some(&[]), "the root"),
            ("/", "/a", None, "the root only"),
            ("/a/b", "/a/b", Some(&[]), "literal"),
            ("/a/b", "/a/b/", None, "a slash more is another path"),
            ("/a/b", "/A/b", None, "paths know case"),
            ("/a%20b", "/a b", None, "raw bytes, nothing is decoded"),
            ("/a/*", "/a/b", Some(&["b"]), "one segment"),
            ("/a/*", "/a/", None, "a segment is not empty"),
            ("/a/*", "/a/b/c", None, "one segment only"),
            ("/*/b", "/a/b", Some(&["a"]), "at the front"),
            ("/img/*.png", "/img/x.png", Some(&["x"]), "a run within a segment"),
            ("/img/*.png", "/img/.png", Some(&[""]), "a run may be empty"),
            ("/img/*.png", "/img/x/y.png", None, "a run stays in its segment"),
            ("/v*/x", "/v2/x", Some(&["2"]), "a run at the end of a segment"),
            ("/ab*ba", "/aba", None, "both ends cannot share a letter"),
            ("/ab*ba", "/abba", Some(&[""]), "both ends, nothing between"),
            ("/*-*.js", "/app-1-2.js", Some(&["app", "1-2"]), "the earlier one takes less"),
            ("/a*b*c", "/abbc", Some(&["", "b"]), "pieces from the left"),
            ("/a*b*c", "/acb", None, "pieces in order"),
            ("/api/**", "/api/", Some(&[""]), "nothing after its slash"),
            ("/api/**", "/api", None, "but its slash"),
            ("/api/**", "/api/x/y", Some(&["x/y"]), "the whole of it"),
            ("/api/**", "/api/x/", Some(&["x/"]), "a slash at the end belongs to it"),
            ("/api/**", "/apix/y", None, "whole segments"),
            ("/**", "/", Some(&[""]), "everything"),
            ("/**", "/a/b", Some(&["a/b"]), "everything"),
            ("/**/b", "/b", Some(&[""]), "any number, none too"),
            ("/**/b", "/a/a/b", Some(&["a/a"]), "any number"),
            ("/**/b", "/ab", None, "whole segments"),
            ("/**/*.png", "/x/y/z.png", Some(&["x/y", "z"]), "both kinds"),
            ("/**/*.png", "/z.png", Some(&["", "z"]), "both kinds"),
            ("/a/**/b", "/a/b", Some(&[""]), "none between"),
            ("/a/**/b", "/a/x/b/b", Some(&["x/b"]), "the last takes as much as it can"),
            ("/a/**/b", "/a", None, "what follows is missing"),
            ("/a/**/b/**", "/a/x/b/", Some(&["x", ""]), "two of them"),
            ("/a/**/b/**", "/a/x/b", None, "the second needs its slash"),
            ("/a/**/b/**/c", "/a/b/x/b/c", Some(&["", "x/b"]), "the first takes as little as it can"),
            ("/**/b/*/**", "/a/b/b/c/d", Some(&["a", "b", "c/d"]), "captures in the order of the pattern"),
            ("/**/**", "/a/b", Some(&["", "a/b"]), "two in a row"),
            ("/a/**/", "/a/", Some(&[""]), "a slash at the end"),
            ("/a/**/", "/a/b", None, "a slash at the end is asked for"),
            ("/**/x/**/x", "/x", None, "segments are not used twice"),
        ];
        for (text, path, want, why) in cases {
            let pattern = pattern(text);
            assert_eq!(pattern.captures(path).as_deref(), want, "{text} on {path}: {why}");
            assert_eq!(pattern.matches(path), want.is_some(), "{text} on {path}: {why}");
        }
    }

    #[test]
    fn what_could_not_fit_or_is_unclear_is_refused() {
        let cases = [
            ("api/**", PatternError::NoSlash("api/**".to_owned()), "paths begin with a slash"),
            ("", PatternError::NoSlash(String::new()), "paths begin with a slash"),
            ("/a/**.png", PatternError::DeepWithinSegment("**.png".to_owned()), "segments or characters?"),
            ("/a/***", PatternError::DeepWithinSegment("***".to_owned()), "segments or characters?"),
            ("/a?b=*", PatternError::Query("?b=*".to_owned()), "no query"),
        ];
        for (text, want, why) in cases {
            assert_eq!(PathPattern::parse(text), Err(want), "{why}");
        }
    }

    #[test]
    fn literal_parts_are_known() {
        let cases = [
            ("/a/b", "/a/", Some("/a/b"), "no wildcard"),
            ("/a/b*", "/a/", None, "up to the slash"),
            ("/a/**", "/a/", None, "up to the slash"),
            ("/*", "/", None, "the root only"),
        ];
        for (text, prefix, literal, why) in cases {
            assert_eq!((pattern(text).literal_prefix(), pattern(text).as_literal()), (prefix, literal), "{why}");
        }
    }

    proptest! {
        /// The pattern as a regular expression says the same.
        #[test]
        fn a_pattern_fits_what_its_regular_expression_fits(
            segments in proptest::collection::vec("[ab]|\\*|\\*\\*|a\\*|\\*b|a\\*b|", 1..5),
            path in "(/[ab]{0,3}){1,6}",
        ) {
            let text = format!("/{}", segments.join("/"));
            let mut expression = String::from("^");
            for (index, segment) in segments.iter().enumerate() {
                match segment.as_str() {
                    "**" if index + 1 == segments.len() => expression.push_str("/.*"),
                    "**" => expression.push_str("(?:/.*)?"),
                    "*" => expression.push_str("/[^/]+"),
                    other => { expression.push('/'); expression.push_str(&other.replace('*', "[^/]*")); }
                }
            }
            expression.push('$');
            let expression = regex::Regex::new(&expression).unwrap();
            prop_assert_eq!(pattern(&text).matches(&path), expression.is_match(&path), "{} on {}", text, path);
        }

        #[test]
        fn no_pattern_and_no_path_panics(text in ".*", path in ".*") {
            if let Ok(pattern) = PathPattern::parse(&text) {
                let captures = pattern.captures(&path);
                prop_assert!(captures.is_none_or(|captures| captures.len() == pattern.wildcards()));
            }
        }
    }
}
