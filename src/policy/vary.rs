//! Which variant of a response is a request for?

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::fields::Fields;
use super::preference::{self, Preference, Preferences};

/// Fields that tell the origin something of each client, or of each request, that is its own.
const WRITTEN_PER_CLIENT: [&str; 4] = ["forwarded", "x-forwarded-client-cert", "x-forwarded-for", "x-request-id"];

/// Names in `Vary` beyond which it is taken for `*`: nobody would ever be served from such a thing, and each look-up
/// would compare all of them.
const MAX_NAMES: usize = 32;

/// What stands between a member and its weight, two bytes, in a normal form.
const WEIGHT: &[u8] = b";q=";

/// The greatest value of the first byte of a weight: thousandths, 1000 at most.
const MOST_OF_WEIGHT: u8 = 3;

/// A value in its normal form. Most fit without an allocation.
type Normal = SmallVec<[u8; 128]>;

/// The selecting fields of a stored response: what a request must have to be served from it.
///
/// RFC 9111 §4.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selecting {
    /// No `Vary`: every request for this key.
    Any,
    /// The fields that `Vary` names, with the values that the stored response was selected by, in their normal form;
    /// `None`: the request did not have the field.
    Fields(Box<SelectingFields>),
}

/// Selecting fields, each once, with their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectingFields(Box<[(HeaderName, SelectingValue)]>);

/// A value in its normal form; `None`: the request did not have the field.
type SelectingValue = Option<Box<[u8]>>;

/// The selecting fields of `response`, given to `request`.
///
/// `None`: it says `Vary: *`, anywhere on any of its lines, or something that we cannot tell from it (what is no field
/// name, or more than 32 names): no later request can be known to match.
///
/// RFC 9110 §12.5.5; RFC 9111 §4.1.
pub fn selecting(response: &HeaderMap, request: &HeaderMap) -> Option<Selecting> {
    let mut names: Vec<HeaderName> = Vec::new();
    for line in response.get_all(header::VARY) {
        for member in line.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if member.is_empty() {
                continue;
            }
            let name = HeaderName::from_bytes(member).ok().filter(may_select)?;
            if names.contains(&name) {
                continue;
            }
            if names.len() == MAX_NAMES {
                return None;
            }
            names.push(name);
        }
    }
    Some(Selecting::by(names, request))
}

/// Whether later requests can be told apart by this name in `Vary`.
fn may_select(name: &HeaderName) -> bool {
    // A lone `*` would be a valid token, thus a field name. What the origin saw of the others we wrote, and each client's
    // is its own: nobody else can be given that answer.
    name != "*" && !WRITTEN_PER_CLIENT.contains(&name.as_str())
}

impl Selecting {
    /// What selects a response to `request` where `Vary` names these fields, each once.
    pub fn by(names: impl IntoIterator<Item = HeaderName>, request: &HeaderMap) -> Self {
        let value = |name: &HeaderName| normal_form(request, name).map(|value| value.as_slice().into());
        let field = |name: HeaderName| (name.clone(), value(&name));
        let fields: Box<[_]> = names.into_iter().map(field).collect();
        Self::of(fields)
    }

    fn of(fields: Box<[(HeaderName, SelectingValue)]>) -> Self {
        if fields.is_empty() { Self::Any } else { Self::Fields(Box::new(SelectingFields(fields))) }
    }

    fn fields(&self) -> &[(HeaderName, SelectingValue)] {
        match self {
            Self::Any => &[],
            Self::Fields(fields) => &fields.0,
        }
    }

    /// Takes what [`Selecting::parts`] gave, on this node or another one.
    ///
    /// `None`: [`selecting`] gives no such thing: a name that selects nothing or comes twice, or too many names.
    pub fn from_parts<'a>(parts: impl IntoIterator<Item = (HeaderName, Option<&'a [u8]>)>) -> Option<Self> {
        let mut fields: Vec<(HeaderName, SelectingValue)> = Vec::new();
        for (name, value) in parts {
            let is_known = fields.iter().any(|(known, _)| *known == name);
            if is_known || !may_select(&name) || fields.len() == MAX_NAMES {
                return None;
            }
            fields.push((name, value.map(Box::from)));
        }
        Some(Self::of(fields.into_boxed_slice()))
    }

    /// The fields with their values in their normal form, to be written down; `None`: the request did not have it.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.fields().iter().map(|(name, value)| (name, value.as_deref()))
    }

    /// Whether `request` may be served from the stored response that this belongs to, as far as `Vary` goes.
    ///
    /// Values compare in a form that differs only where the meaning does: lines combined, space around commas taken
    /// out, other runs of it made one; `Accept-Language` and `Accept-Encoding` besides without letter case and in the
    /// order of their weights. A different `Accept-Language` matches too when the language that the client wants most,
    /// and none as much, is the one that the response is in.
    ///
    /// RFC 9111 §4.1: both may be normalised "in a way that is known to have identical semantics", and where ranking
    /// is known, the most preferred stored response may be chosen.
    pub fn matches(&self, request: &HeaderMap, stored_response: &impl Fields) -> bool {
        self.fields().iter().all(|(name, stored)| fits(name, stored, request, stored_response))
    }

    /// The fields and their values, to be read or to be sent again: one that is sent so selects the same response.
    /// `None`: the request did not have the field.
    pub fn values(&self) -> impl Iterator<Item = (&HeaderName, Option<Vec<u8>>)> {
        self.fields().iter().map(|(name, value)| (name, value.as_deref().map(|value| written(name, value))))
    }

    /// The fields that keep `request` from being served from the stored response that this belongs to.
    pub fn differing<'a>(&'a self, request: &HeaderMap, stored_response: &impl Fields) -> Vec<&'a HeaderName> {
        let differs = |field: &&(HeaderName, SelectingValue)| !fits(&field.0, &field.1, request, stored_response);
        self.fields().iter().filter(differs).map(|(name, _)| name).collect()
    }

    /// The bytes that it takes besides its own size: what a cache has to count.
    pub fn weight(&self) -> usize {
        let bytes = |(name, value): &(HeaderName, SelectingValue)| {
            size_of::<(HeaderName, SelectingValue)>()
                + name.as_str().len()
                + value.as_ref().map_or(0, |value| value.len())
        };
        self.fields().iter().map(bytes).sum()
    }
}

fn fits(name: &HeaderName, stored: &SelectingValue, request: &HeaderMap, stored_response: &impl Fields) -> bool {
    normal_form(request, name).as_deref() == stored.as_deref()
        || (*name == header::ACCEPT_LANGUAGE && is_in_first_choice(request, stored_response))
}

/// Replaces request fields by the one of the allowed values that the client wants most, so that `Vary` finds few
/// variants and the origin is asked for one of those.
///
/// `rules`: for each field the allowed values, best first: that order decides where the client has no preference. A
/// field of which no allowed value is wanted is removed; a field that is not there is left out.
///
/// RFC 9110 §12.4.2 (weights), RFC 4647 §3 (language ranges).
pub fn normalise(request: &mut HeaderMap, rules: &[(HeaderName, Vec<String>)]) {
    for (name, allowed) in rules {
        if !request.contains_key(name) {
            continue;
        }
        match most_wanted(request, name, allowed).and_then(|value| HeaderValue::from_str(value).ok()) {
            Some(value) => request.insert(name, value),
            None => request.remove(name),
        };
    }
}

fn most_wanted<'a>(request: &HeaderMap, name: &HeaderName, allowed: &'a [String]) -> Option<&'a str> {
    let preferences = preference::parse_leniently(request, name);
    let mut best = (0, None);
    for value in allowed {
        let weight = preference::weight_of(&preferences, name, value).unwrap_or(0);
        if weight > best.0 {
            best = (weight, Some(value.as_str()));
        }
    }
    best.1
}

/// Whether the response is in the language that the request wants most, more than any other.
fn is_in_first_choice(request: &HeaderMap, stored_response: &impl Fields) -> bool {
    let Some(language) = stored_response.only(&header::CONTENT_LANGUAGE) else { return false };
    preference::parse(request, &header::ACCEPT_LANGUAGE)
        .and_then(|preferences| preference::first_choice(&preferences))
        .is_some_and(|choice| choice.range.eq_ignore_ascii_case(language.trim_ascii()))
}

/// The value of a request's field in its normal form; `None`: it does not have the field.
fn normal_form(request: &HeaderMap, name: &HeaderName) -> Option<Normal> {
    if !request.contains_key(name) {
        return None;
    }
    match is_weighted(name).then(|| preference::parse(request, name)).flatten() {
        Some(preferences) => Some(in_order(preferences)),
        None => Some(respaced(request, name)),
    }
}

/// Whether the members of a field have weights, and their order means nothing.
fn is_weighted(name: &HeaderName) -> bool {
    *name == header::ACCEPT_LANGUAGE || *name == header::ACCEPT_ENCODING
}

/// Members by weight, the highest first, then by name; in lower case; each once.
fn in_order(mut preferences: Preferences<'_>) -> Normal {
    preferences.sort_unstable_by(|one, other| {
        other.weight.cmp(&one.weight).then_with(|| lower_case(one).cmp(lower_case(other)))
    });
    preferences.dedup_by(|one, other| one.weight == other.weight && one.range.eq_ignore_ascii_case(other.range));
    let mut normal = Normal::new();
    for preference in &preferences {
        normal.extend(lower_case(preference));
        normal.extend_from_slice(WEIGHT);
        normal.extend(preference.weight.to_be_bytes());
        normal.push(b',');
    }
    normal
}

/// A value as a field has it. A normal form with weights holds a byte that no field does: the first of a weight.
fn written(name: &HeaderName, normal: &[u8]) -> Vec<u8> {
    let is_weighted = is_weighted(name) && normal.iter().any(|&byte| byte <= MOST_OF_WEIGHT);
    if !is_weighted {
        return normal.to_vec();
    }
    let mut members: Vec<Vec<u8>> = Vec::new();
    let mut rest = normal;
    while let Some(at) = memchr::memmem::find(rest, WEIGHT) {
        let (range, after) = (&rest[..at], &rest[at + WEIGHT.len()..]);
        let [high, low, after @ ..] = after else { break };
        let weight = u16::from_be_bytes([*high, *low]);
        members.push(match weight {
            1000 => range.to_vec(),
            weight => [range, format!(";q=0.{weight:03}").as_bytes()].concat(),
        });
        rest = after.strip_prefix(b",").unwrap_or(after);
    }
    members.join(b", ".as_slice())
}

fn lower_case<'a>(preference: &Preference<'a>) -> impl Iterator<Item = u8> + use<'a> {
    preference.range.iter().map(u8::to_ascii_lowercase)
}

/// Lines combined with commas; no space around commas and at the ends, one space for other runs of it (which is what
/// a folded line leaves behind). Quoted strings stay as they are.
fn respaced(request: &HeaderMap, name: &HeaderName) -> Normal {
    let mut normal = Normal::new();
    // Over all lines: a quote that one of them leaves open is open in the next, as if they had been one.
    let mut quotes = Quotes::default();
    for (index, line) in request.get_all(name).iter().enumerate() {
        if index > 0 {
            quotes.is_within(b',');
            normal.push(b',');
        }
        let mut space = false;
        for &byte in line.as_bytes().trim_ascii() {
            let is_literal = quotes.is_within(byte);
            if !is_literal && byte.is_ascii_whitespace() {
                space = true;
                continue;
            }
            if space && byte != b',' && normal.last() != Some(&b',') {
                normal.push(b' ');
            }
            space = false;
            normal.push(byte);
        }
    }
    normal
}

/// Follows a value byte by byte: is this one within a quoted string? RFC 9110 §5.6.4.
#[derive(Default)]
struct Quotes {
    open: bool,
    escaped: bool,
}

impl Quotes {
    fn is_within(&mut self, byte: u8) -> bool {
        let within = self.open;
        if self.escaped {
            self.escaped = false;
        } else if byte == b'"' {
            self.open = !self.open;
        } else if self.open && byte == b'\\' {
            self.escaped = true;
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Lines = &'static [(&'static str, &'static str)];

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_star_anywhere_selects_nothing() {
        let cases: [(Lines, bool, &str); 13] = [
            (&[], true, "no Vary"),
            (&[("vary", "")], true, "an empty one"),
            (&[("vary", "foo, bar")], true, "names"),
            (&[("vary", ",foo,, ,")], true, "empty members"),
            (&[("vary", "*")], false, "alone"),
            (&[("vary", "*, *")], false, "twice"),
            (&[("vary", "accept, X-Forwarded-For")], false, "each client's own address"),
            (&[("vary", "*"), ("vary", "*")], false, "on two lines"),
            (&[("vary", ", *")], false, "after an empty member"),
            (&[("vary", ""), ("vary", "*")], false, "after an empty line"),
            (&[("vary", "*, foo")], false, "before a name"),
            (&[("vary", "foo,*")], false, "after a name"),
            (&[("vary", "foo bar")], false, "what is no name"),
        ];
        for (lines, want, why) in cases {
            assert_eq!(selecting(&fields(lines), &HeaderMap::new()).is_some(), want, "{why}");
        }
    }

    #[test]
    fn too_many_names_are_taken_for_a_star() {
        let vary = |count: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("x-{number}")).collect();
            // The same names once more count once.
            let line = HeaderValue::try_from(format!("{0},{0}", names.join(","))).unwrap();
            HeaderMap::from_iter([(header::VARY, line)])
        };
        let count = |response: &HeaderMap| match selecting(response, &HeaderMap::new()) {
            Some(Selecting::Fields(fields)) => Some(fields.0.len()),
            _ => None,
        };
        assert_eq!((count(&vary(MAX_NAMES)), count(&vary(MAX_NAMES + 1))), (Some(MAX_NAMES), None));
    }

    #[test]
    fn only_what_vary_can_say_is_taken_from_parts() {
        let many: Vec<String> = (0..=MAX_NAMES).map(|number| format!("x-{number}")).collect();
        let most: Vec<&str> = many[1..].iter().map(String::as_str).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let cases: [(&[&str], Option<usize>, &str); 8] = [
            (&[], Some(0), "none is any"),
            (&["accept", "foo"], Some(2), "names"),
            (&["foo", "foo"], None, "one twice"),
            (&["foo", "*"], None, "a star"),
            (&["x-forwarded-for"], None, "each client's own"),
            (&["X-Forwarded-Client-Cert"], None, "each client's own"),
            (&most, Some(MAX_NAMES), "as many as there may be"),
            (&many, None, "one more"),
        ];
        for (names, want, why) in cases {
            let name = |name: &&str| (HeaderName::from_bytes(name.as_bytes()).unwrap(), Some(&b"1"[..]));
            let selecting = Selecting::from_parts(names.iter().map(name));
            assert_eq!(selecting.as_ref().map(|selecting| selecting.parts().len()), want, "{why}");
            assert_eq!(selecting.is_some_and(|selecting| selecting == Selecting::Any), names.is_empty(), "{why}");
        }
    }

    #[test]
    fn a_request_matches_when_its_selecting_fields_mean_the_same() {
        let cases: [(&'static str, Lines, Lines, bool, &str); 31] = [
            ("", &[("foo", "1")], &[("foo", "2")], true, "no Vary: any"),
            ("foo", &[("foo", "1")], &[("foo", "1")], true, "the same"),
            ("FOO", &[("foo", "1")], &[("foo", "2")], false, "names know no case"),
            ("foo", &[("foo", "1"), ("bar", "1")], &[("foo", "1"), ("bar", "2")], true, "others do not count"),
            ("foo", &[], &[("foo", "1")], false, "absent when stored"),
            ("foo", &[("foo", "1")], &[], false, "absent when presented"),
            ("foo", &[("foo", "")], &[], false, "empty is not absent"),
            ("foo, bar", &[("foo", "1")], &[("foo", "1")], true, "absent both times"),
            ("foo, bar", &[("foo", "1"), ("bar", "a")], &[("bar", "b"), ("foo", "1")], false, "each must match"),
            ("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true, "lines are combined"),
            ("foo", &[("foo", "1,2")], &[("foo", " 1 , 2 ")], true, "space around commas"),
            ("foo", &[("foo", "a b")], &[("foo", "a \t b")], true, "runs of space, as folding leaves them"),
            ("foo", &[("foo", "ab")], &[("foo", "a b")], false, "but some is not none"),
            ("foo", &[("foo", "\"a , b\"")], &[("foo", "\"a,b\"")], false, "quoted strings stay as they are"),
            ("foo", &[("foo", "\"\\\" , \"")], &[("foo", "\"\\\",\"")], false, "an escaped quote closes nothing"),
            (
                "foo",
                &[("foo", "\"a"), ("foo", "b\" , c")],
                &[("foo", "\"a,b\",c")],
                true,
                "a quote open over two lines",
            ),
            ("foo", &[("foo", "a")], &[("foo", "A")], false, "case counts in an unknown field"),
            ("foo", &[("foo", "1, 2")], &[("foo", "2, 1")], false, "order counts in an unknown field"),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "de, en")], true, "order"),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", "eN, De")], true, "case"),
            ("accept-language", &[("accept-language", "en, de")], &[("accept-language", " en ,   de")], true, "space"),
            (
                "accept-language",
                &[("accept-language", "en;q=0.5,de")],
                &[("accept-language", "de;q=1.0"), ("accept-language", "EN;q=0.50")],
                true,
                "weights written otherwise, two lines",
            ),
            (
                "accept-language",
                &[("accept-language", "en, de;q=0.5")],
                &[("accept-language", "en;q=0.5, de")],
                false,
                "weights count",
            ),
            ("accept-language", &[("accept-language", "en, en")], &[("accept-language", "en")], true, "each once"),
            ("accept-language", &[("accept-language", "en;q=9")], &[("accept-language", "EN;q=9")], false, "malformed"),
            ("accept-encoding", &[("accept-encoding", "gzip,br")], &[("accept-encoding", "BR, gzip")], true, "codings"),
            ("accept-encoding", &[("accept-encoding", "gzip")], &[("accept-encoding", "br")], false, "codings"),
            ("accept-encoding", &[("accept-encoding", "br")], &[("accept-encoding", "br;q=0")], false, "refused"),
            ("accept-encoding", &[("accept-encoding", "")], &[("accept-encoding", ",")], true, "nothing is acceptable"),
            ("accept-encoding", &[("accept-encoding", "")], &[], false, "empty is not absent"),
            ("accept", &[("accept", "a/a, b/b")], &[("accept", "a/a,b/b")], true, "space around commas"),
        ];
        for (vary, stored, presented, want, why) in cases {
            let response = fields(&[("vary", vary)]);
            let selecting = selecting(&response, &fields(stored)).unwrap();
            assert_eq!(selecting.matches(&fields(presented), &response), want, "{vary}: {why}");
        }
    }

    #[test]
    fn the_fields_that_differ_are_named() {
        let response = fields(&[("vary", "accept-language, foo, bar")]);
        let stored = selecting(&response, &fields(&[("accept-language", "EN;q=0.5, de"), ("foo", "1")])).unwrap();
        let cases: [(Lines, &[&str], &str); 4] = [
            (&[("accept-language", "de, en;q=0.50"), ("foo", "1")], &[], "the same meaning"),
            (&[("accept-language", "de"), ("foo", "1")], &["accept-language"], "another language"),
            (
                &[("accept-language", "de, en;q=0.5"), ("foo", "2"), ("bar", "")],
                &["foo", "bar"],
                "two, one of them new",
            ),
            (&[], &["accept-language", "foo"], "what is not there"),
        ];
        for (lines, want, why) in cases {
            let names: Vec<_> =
                stored.differing(&fields(lines), &response).into_iter().map(HeaderName::as_str).collect();
            assert_eq!(names, want, "{why}");
        }
        let told: Vec<_> =
            stored.values().map(|(_, value)| value.map(|value| String::from_utf8(value).unwrap())).collect();
        assert_eq!(told, [Some("de, en;q=0.500".to_owned()), Some("1".to_owned()), None]);
    }

    #[test]
    fn a_response_in_the_language_wanted_most_matches() {
        let cases: [(Lines, &'static str, bool, &str); 10] = [
            (&[("content-language", "de")], "fr;q=0.5, de;q=1.0", true, "the first choice"),
            (&[("content-language", "DE")], "de, en;q=0.9", true, "whatever the case"),
            (&[("content-language", "de")], "fr, de;q=0.5", false, "the second choice"),
            (&[("content-language", "de")], "fr, de", false, "one of two first choices"),
            (&[("content-language", "de-AT")], "de", false, "only the language itself: there may be a better variant"),
            (&[("content-language", "de, en")], "de", false, "two languages are not the one"),
            (&[("content-language", "de"), ("content-language", "en")], "de", false, "on two lines"),
            (&[("content-language", "de")], "de;q=0", false, "refused"),
            (&[("content-language", "*")], "de", false, "no language"),
            (&[], "de", false, "it does not say its language"),
        ];
        for (language, presented, want, why) in cases {
            let mut response = fields(language);
            response.insert(header::VARY, HeaderValue::from_static("accept-language, foo"));
            let selecting = selecting(&response, &fields(&[("accept-language", "en, de"), ("foo", "1")])).unwrap();
            let request = fields(&[("accept-language", presented), ("foo", "1")]);
            assert_eq!(selecting.matches(&request, &response), want, "{why}");
            let other = fields(&[("accept-language", presented), ("foo", "2")]);
            assert!(!selecting.matches(&other, &response), "the other fields have to match all the same");
        }
    }

    #[test]
    fn request_fields_become_the_allowed_value_that_is_wanted_most() {
        type Case =
            (&'static str, &'static [&'static str], &'static [&'static str], Option<&'static str>, &'static str);
        let cases: [Case; 14] = [
            ("accept-language", &["en", "de"], &["de, en;q=0.5"], Some("de"), "the client's preference"),
            ("accept-language", &["en", "de"], &["de;q=0.5", "en"], Some("en"), "over all lines"),
            ("accept-language", &["en", "de"], &["de, en"], Some("en"), "no preference: the rule's order"),
            ("accept-language", &["en", "de"], &["en-GB, de;q=0.8"], Some("en"), "a special range falls back"),
            ("accept-language", &["en", "de"], &["fr, *;q=0.5"], Some("en"), "anything"),
            ("accept-language", &["en", "de"], &["*, en;q=0"], Some("de"), "anything but"),
            ("accept-language", &["en", "de"], &["fr"], None, "nothing allowed is wanted"),
            ("accept-language", &["en", "de"], &["en;q=0"], None, "refused"),
            ("accept-language", &["en", "de"], &["en;q=x, DE"], Some("de"), "malformed members do not count"),
            ("accept-encoding", &["br", "gzip"], &["gzip, deflate, br, zstd"], Some("br"), "what browsers send"),
            ("accept-encoding", &["br", "gzip"], &["gzip;q=1.0, identity; q=0.5, *;q=0"], Some("gzip"), "RFC 9110"),
            ("accept-encoding", &["br", "gzip"], &[""], None, "none wanted"),
            ("accept-encoding", &["br", "gzip"], &[], None, "what is not there stays out"),
            ("x-device", &["phone", "desktop"], &["Desktop"], Some("desktop"), "any field, any case"),
        ];
        for (name, allowed, lines, want, why) in cases {
            let name = HeaderName::from_static(name);
            let mut request: HeaderMap =
                lines.iter().map(|&line| (name.clone(), HeaderValue::from_static(line))).collect();
            request.insert("other", HeaderValue::from_static("1"));
            normalise(&mut request, &[(name.clone(), allowed.iter().map(|&value| value.to_owned()).collect())]);
            let left: Vec<_> = request.get_all(&name).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(left, want.into_iter().collect::<Vec<_>>(), "{why}");
            assert!(request.contains_key("other"), "other fields stay");
        }
    }

    #[test]
    fn an_ordinary_value_is_compared_without_an_allocation() {
        let request =
            fields(&[("accept-encoding", "gzip, deflate, br, zstd"), ("accept-language", "de-DE,de;q=0.9,en;q=0.8")]);
        for name in [header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE] {
            assert!(!normal_form(&request, &name).unwrap().spilled());
        }
    }

    #[test]
    fn what_it_weighs_grows_with_names_and_values() {
        let weight = |request| selecting(&fields(&[("vary", "foo")]), &fields(request)).unwrap().weight();
        assert_eq!(weight(&[("foo", "12345")]), weight(&[]) + 5);
        assert_eq!(Selecting::Any.weight(), 0);
    }

    proptest! {
        #[test]
        fn what_is_told_of_a_stored_response_selects_it_when_it_is_sent(
            lines in proptest::collection::vec("[a-cA-C*;q=.0159, \"-]{0,12}", 0..4),
        ) {
            let response = fields(&[("vary", "accept-language, accept-encoding, foo")]);
            let names = ["accept-language", "accept-encoding", "foo", "accept-language"].map(HeaderName::from_static);
            let request: HeaderMap = names
                .into_iter()
                .zip(&lines)
                .filter_map(|(name, line)| Some((name, HeaderValue::try_from(line).ok()?)))
                .collect();
            let selecting = selecting(&response, &request).unwrap();
            let told = selecting.values().filter_map(|(name, value)| Some((name.clone(), HeaderValue::try_from(value?).ok()?)));
            let told: HeaderMap = told.collect();
            prop_assert!(selecting.matches(&told, &response), "{told:?}");
            prop_assert!(selecting.differing(&told, &response).is_empty());
        }

        #[test]
        fn a_request_matches_itself_whatever_its_bytes(
            vary in "[a-c*, ]{0,6}",
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..4),
        ) {
            let response = HeaderMap::from_iter([
                (header::VARY, HeaderValue::try_from(format!("accept-language,accept-encoding,{vary}")).unwrap()),
            ]);
            let names = ["accept-language", "accept-encoding", "a", "accept-language"].map(HeaderName::from_static);
            let request: HeaderMap = names
                .into_iter()
                .zip(&values)
                .filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?)))
                .collect();
            if let Some(selecting) = selecting(&response, &request) {
                prop_assert!(selecting.matches(&request, &response));
                let parts = || selecting.parts().map(|(name, value)| (name.clone(), value));
                let again = Selecting::from_parts(parts());
                prop_assert_eq!(again.as_ref(), Some(&selecting), "written down and read");
                prop_assert_eq!(&Selecting::by(parts().map(|(name, _)| name), &request), &selecting);
            }
        }
    }
}
