//! What does a client prefer, and how much?

use http::HeaderMap;
use http::header::{self, HeaderName};
use smallvec::SmallVec;

/// More members than any client sends. A longer list is compared as it was written, so that sorting it costs nothing.
const MAX_MEMBERS: usize = 64;

/// One member of `Accept-Language`, `Accept-Encoding` or another list with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preference<'a> {
    /// A language range, a coding, as it was written.
    pub(super) range: &'a [u8],
    /// Its weight in thousandths: 1000 is most, 0 is "not at all".
    pub(super) weight: u16,
}

/// The members of such a list, in the order of the field.
pub(super) type Preferences<'a> = SmallVec<[Preference<'a>; 16]>;

/// Reads all lines of a field; `None`: a member is malformed, or there are too many.
///
/// RFC 9110 §12.4.2, §12.5.3, §12.5.4.
pub(super) fn parse<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Preferences<'a>> {
    let mut preferences = Preferences::new();
    for member in members(headers, name) {
        if preferences.len() == MAX_MEMBERS {
            return None;
        }
        preferences.push(Preference::parse(member)?);
    }
    Some(preferences)
}

/// Reads what can be read, at most so many members; malformed ones are left out.
pub(super) fn parse_leniently<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Preferences<'a> {
    members(headers, name).filter_map(Preference::parse).take(MAX_MEMBERS).collect()
}

/// The only member that no other one equals in weight or exceeds.
pub(super) fn first_choice<'a>(preferences: &[Preference<'a>]) -> Option<Preference<'a>> {
    let first = preferences.iter().max_by_key(|preference| preference.weight)?;
    let alone = preferences.iter().filter(|other| other.weight == first.weight).count() == 1;
    (alone && first.weight > 0).then_some(*first)
}

/// How much a client wants `value` of the field `name`, in thousandths; `None`: it does not speak of it.
///
/// The most specific member decides: the value itself; a language range that includes it (`en` and `en-GB`); a
/// more special range that falls back to it (`en-GB` and `en`, RFC 4647 §3.4; refusing it says nothing of the value);
/// `*`. For `Accept`, `text/*` includes `text/html`.
pub(super) fn weight_of(preferences: &[Preference<'_>], name: &HeaderName, value: &str) -> Option<u16> {
    let value = value.as_bytes();
    let best = preferences
        .iter()
        .filter_map(|preference| Some((closeness(preference, name, value)?, preference.weight)))
        .max();
    best.map(|(_, weight)| weight)
}

/// How closely a member speaks of a value, the length of what they share first among equals.
fn closeness(preference: &Preference<'_>, name: &HeaderName, value: &[u8]) -> Option<(u8, usize)> {
    let range = preference.range;
    if range.eq_ignore_ascii_case(value) {
        return Some((4, 0));
    }
    if *name == header::ACCEPT_LANGUAGE {
        if begins_with(value, range, b'-') {
            return Some((3, range.len()));
        }
        if begins_with(range, value, b'-') && preference.weight > 0 {
            return Some((2, 0));
        }
    }
    if *name == header::ACCEPT && range.strip_suffix(b"/*").is_some_and(|kind| begins_with(value, kind, b'/')) {
        return Some((3, range.len()));
    }
    (range == b"*" || range == b"*/*").then_some((1, 0))
}

/// Whether `long` begins with `short`, whatever the letter case, and a divider follows.
fn begins_with(long: &[u8], short: &[u8], divider: u8) -> bool {
    long.get(..short.len()).is_some_and(|start| start.eq_ignore_ascii_case(short))
        && long.get(short.len()) == Some(&divider)
}

fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

impl<'a> Preference<'a> {
    /// `None`: no range, spaces in it, a parameter that is no weight, or no valid weight.
    fn parse(member: &'a [u8]) -> Option<Self> {
        let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let range = parts.next()?;
        let weight = match parts.next() {
            None => 1000,
            Some(parameter) => weight(parameter)?,
        };
        let valid = !range.is_empty() && !range.iter().any(u8::is_ascii_whitespace) && parts.next().is_none();
        valid.then_some(Self { range, weight })
    }
}

/// `q=0.5` is 500: a 0 or 1, a point, at most three digits. RFC 9110 §12.4.2.
fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), fraction @ ..] = parameter else { return None };
    let digits = match fraction {
        [] => fraction,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let mut thousandths = u16::from(whole - b'0') * 1000;
    for (digit, unit) in digits.iter().zip([100, 10, 1]) {
        thousandths += u16::from(digit - b'0') * unit;
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn field(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|&line| (name.clone(), HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn weights_are_read_as_the_rfc_has_it() {
        let cases: [(&str, Option<u16>, &str); 14] = [
            ("en", Some(1000), "none is 1"),
            ("en;q=0.5", Some(500), "one digit"),
            ("en ; Q=0.123", Some(123), "space, capital"),
            ("en;q=1", Some(1000), "whole"),
            ("en;q=1.000", Some(1000), "whole with digits"),
            ("en;q=0", Some(0), "not at all"),
            ("en;q=0.", Some(0), "a point alone"),
            ("en;q=1.001", None, "over 1"),
            ("en;q=0.1234", None, "four digits"),
            ("en;q=.5", None, "no whole part"),
            ("en;q=-1", None, "a sign"),
            ("en;level=1", None, "no weight"),
            ("en;q=1;q=1", None, "two of them"),
            ("e n", None, "a space within"),
        ];
        for (value, want, why) in cases {
            let headers = field(&header::ACCEPT_LANGUAGE, &[value]);
            let read = parse(&headers, &header::ACCEPT_LANGUAGE).map(|list| list[0].weight);
            assert_eq!(read, want, "{value}: {why}");
        }
    }

    #[test]
    fn too_many_members_are_not_read() {
        let line: &'static str = Box::leak("a,".repeat(MAX_MEMBERS + 1).into_boxed_str());
        let headers = field(&header::ACCEPT_ENCODING, &[line]);
        assert_eq!(parse(&headers, &header::ACCEPT_ENCODING), None);
        assert_eq!(parse_leniently(&headers, &header::ACCEPT_ENCODING).len(), MAX_MEMBERS);
    }

    #[test]
    fn the_first_choice_stands_alone() {
        let cases: [(&[&str], Option<&str>, &str); 5] = [
            (&["fr;q=0.5, de"], Some("de"), "the highest weight, not the first place"),
            (&["fr;q=0.5", "de;q=0.6"], Some("de"), "over all lines"),
            (&["en, de"], None, "equal weights are no choice"),
            (&["en;q=0"], None, "what is refused is no choice"),
            (&[""], None, "nothing"),
        ];
        for (lines, want, why) in cases {
            let headers = field(&header::ACCEPT_LANGUAGE, lines);
            let list = parse(&headers, &header::ACCEPT_LANGUAGE).unwrap();
            assert_eq!(first_choice(&list).map(|choice| choice.range), want.map(str::as_bytes), "{why}");
        }
    }

    #[test]
    fn the_most_specific_member_decides_how_much_a_value_is_wanted() {
        let language = header::ACCEPT_LANGUAGE;
        let encoding = header::ACCEPT_ENCODING;
        let cases: [(&HeaderName, &str, &str, Option<u16>, &str); 13] = [
            (&language, "EN;q=0.4", "en", Some(400), "itself, whatever the case"),
            (&language, "en;q=0.4", "en-GB", Some(400), "a range includes it"),
            (&language, "en-GB;q=0.4", "en", Some(400), "a special range falls back to it"),
            (&language, "en-GB;q=0.4, en;q=0.9", "en", Some(900), "itself before what falls back"),
            (&language, "en, en-GB;q=0", "en-GB", Some(0), "itself before what includes it"),
            (&language, "en-GB;q=0", "en", None, "refusing a special one refuses nothing else"),
            (&language, "zh-Hant;q=0.1, zh;q=0.9", "zh-Hant-TW", Some(100), "the longer range"),
            (&language, "en", "eng", None, "whole subtags"),
            (&language, "de, *;q=0.1", "en", Some(100), "anything"),
            (&encoding, "gzip, br;q=0.5", "br", Some(500), "a coding"),
            (&encoding, "x-gzip", "x", None, "codings have no subtags"),
            (&header::ACCEPT, "text/*;q=0.3, */*;q=0.1", "text/html", Some(300), "a kind of media"),
            (&header::ACCEPT, "text/*;q=0.3, */*;q=0.1", "image/png", Some(100), "any media"),
        ];
        for (name, line, value, want, why) in cases {
            let headers: HeaderMap = [(name.clone(), HeaderValue::from_static(line))].into_iter().collect();
            assert_eq!(weight_of(&parse(&headers, name).unwrap(), name, value), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers: HeaderMap = [(header::ACCEPT_LANGUAGE, value)].into_iter().collect();
                let list = parse_leniently(&headers, &header::ACCEPT_LANGUAGE);
                prop_assert!(list.iter().all(|preference| preference.weight <= 1000));
                let _ = weight_of(&list, &header::ACCEPT_LANGUAGE, "en-GB");
            }
        }
    }
}
