//! Which parts of a stored representation does a request ask for?

use std::ops::Range;
use std::time::Duration;

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::conditional::only_date;
use super::entity_tag::EntityTag;
use super::fields::Fields;
use super::time::Timestamp;

/// Ranges in one request beyond which it is answered in full: each costs a part head and a pass over the body.
const MAX_PARTS: usize = 32;

/// The byte ranges of a representation, first byte and one past the last.
pub type Parts = SmallVec<[Range<u64>; 1]>;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The whole: 200.
    Whole,
    /// These parts: 206. Each within the representation and not empty, at least one, at most 32, none overlapping
    /// another; in the order asked for, or ascending where some had to be joined.
    Parts(Parts),
    /// Nothing that there is: 416 with [`unsatisfied_range`].
    Unsatisfiable,
}

/// Finds out which parts of a representation a request asks for.
///
/// `stored`: the fields of the stored response that answers; `length`: of the complete representation, in bytes.
///
/// A `Range` that is malformed, in another unit, given twice, or in more than 32 pieces is ignored, and so is one
/// whose `If-Range` does not hold. Ranges that overlap or touch are joined, so that an answer never has more
/// bytes than the representation and its parts' heads.
///
/// RFC 9110 §13.1.5, §14.1.2, §14.2, §15.3.7.
pub fn wanted(method: &Method, request: &HeaderMap, stored: &impl Fields, length: u64) -> Wanted {
    // RFC 9110 §14.2: "A server MUST ignore a Range header field received with a request method that is unrecognized
    // or for which range handling is not defined", and it is defined for GET only.
    if *method != Method::GET {
        return Wanted::Whole;
    }
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Wanted::Whole };
    let Some(specified) = specified(line.as_bytes()) else { return Wanted::Whole };
    if !if_range_holds(request, stored) {
        return Wanted::Whole;
    }
    let mut parts = Parts::new();
    for spec in specified {
        match spec.within(length) {
            Found::Part(part) => parts.push(part),
            Found::Nothing => {}
            // The end of an empty representation exists, but no Content-Range can say so.
            Found::Empty => return Wanted::Whole,
        }
    }
    if parts.is_empty() {
        return Wanted::Unsatisfiable;
    }
    join(&mut parts);
    Wanted::Parts(parts)
}

/// A `Content-Range` that says which part of a representation a message has. RFC 9110 §14.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte.
    pub first: u64,
    /// The last byte, itself included.
    pub last: u64,
    /// The length of the complete representation; `None`: the sender does not know it.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// The field value of a part of a representation of which the length is known.
    ///
    /// `part` is not empty.
    pub fn of(part: &Range<u64>, complete: u64) -> Self {
        Self { first: part.start, last: part.end.saturating_sub(1), complete: Some(complete) }
    }

    /// The field value: `bytes 0-4/10`.
    pub fn to_value(self) -> HeaderValue {
        let Self { first, last, complete } = self;
        let [mut from, mut to, mut of] = [(); 3].map(|()| itoa::Buffer::new());
        let complete = complete.map_or("*", |complete| of.format(complete));
        let text = ["bytes ", from.format(first), "-", to.format(last), "/", complete].concat();
        HeaderValue::try_from(text).expect("digits and punctuation are a field value")
    }

    /// How many bytes it names.
    pub fn length(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// Reads the `Content-Range` of a 206; `None`: absent, given twice, malformed, in another unit, or it contradicts
/// itself. `bytes */10` is none either: it names no part.
pub fn content_range(headers: &impl Fields) -> Option<ContentRange> {
    let (range, complete) = byte_range(headers)?;
    let (first, last) = range.split_once('-')?;
    let complete = if complete == "*" { None } else { Some(exact(complete)?) };
    let range = ContentRange { first: exact(first)?, last: exact(last)?, complete };
    // The last byte has to leave room for the number after it.
    let valid = range.first <= range.last && range.last < complete.unwrap_or(u64::MAX);
    valid.then_some(range)
}

/// The `Content-Range` of a 416. RFC 9110 §15.5.17.
pub fn unsatisfied_range(complete: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes */{complete}")).expect("digits and punctuation are a field value")
}

/// Whether parts under these two heads are of the same representation, byte for byte, so that they may be put
/// together: both have the same strong validator.
///
/// RFC 9110 §15.3.7.3; RFC 9111 §3.4.
pub fn may_combine(stored: &impl Fields, part: &impl Fields) -> bool {
    match (EntityTag::of(stored), EntityTag::of(part)) {
        (Some(ours), Some(theirs)) => ours.is_strongly(theirs),
        // One has a tag and the other has not: something changed.
        (Some(_), None) | (None, Some(_)) => false,
        (None, None) => {
            let ours = strong_modification(stored);
            ours.is_some() && ours == strong_modification(part)
        }
    }
}

/// One member of a `Range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    /// From here to the end.
    From(u64),
    /// From here to there, both included.
    Between(u64, u64),
    /// So many bytes at the end.
    Suffix(u64),
}

enum Found {
    Part(Range<u64>),
    Nothing,
    Empty,
}

impl Spec {
    /// `None`: malformed. RFC 9110 §14.1.1, §14.1.2.
    fn parse(member: &[u8]) -> Option<Self> {
        let dash = member.iter().position(|&byte| byte == b'-')?;
        match (&member[..dash], &member[dash + 1..]) {
            ([], suffix) => Some(Self::Suffix(saturating(suffix)?)),
            (first, []) => Some(Self::From(saturating(first)?)),
            (first, last) => {
                let (first, last) = (saturating(first)?, saturating(last)?);
                // "An int-range is invalid if the last-pos value is present and less than first-pos."
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    fn within(self, length: u64) -> Found {
        let part = match self {
            Self::From(first) => first..length,
            Self::Between(first, last) => first..last.saturating_add(1).min(length),
            Self::Suffix(0) => return Found::Nothing,
            Self::Suffix(_) if length == 0 => return Found::Empty,
            Self::Suffix(suffix) => length.saturating_sub(suffix)..length,
        };
        if part.is_empty() { Found::Nothing } else { Found::Part(part) }
    }
}

/// Reads a `Range` in bytes; `None`: it is to be ignored.
fn specified(value: &[u8]) -> Option<SmallVec<[Spec; 4]>> {
    let value = value.trim_ascii();
    let equals = value.iter().position(|&byte| byte == b'=')?;
    if !value[..equals].eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let members = value[equals + 1..].split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let mut specified = SmallVec::new();
    for member in members.filter(|member| !member.is_empty()) {
        if specified.len() == MAX_PARTS {
            return None;
        }
        specified.push(Spec::parse(member)?);
    }
    (!specified.is_empty()).then_some(specified)
}

/// Joins parts that overlap or touch; leaves them alone, in their order, where none do.
fn join(parts: &mut Parts) {
    let mut ascending = parts.clone();
    ascending.sort_unstable_by_key(|part| (part.start, part.end));
    let mut joined = Parts::new();
    for part in ascending {
        match joined.last_mut() {
            Some(last) if part.start <= last.end => last.end = last.end.max(part.end),
            _ => joined.push(part),
        }
    }
    if joined.len() < parts.len() {
        *parts = joined;
    }
}

/// Whether there is no `If-Range`, or it names the stored representation strongly: by its tag, or exactly by its date
/// of modification where that is a strong validator.
///
/// RFC 9110 §13.1.5.
fn if_range_holds(request: &HeaderMap, stored: &impl Fields) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return true,
        (Some(line), None) => line.as_bytes().trim_ascii(),
        (Some(_), Some(_)) => return false,
    };
    // "A valid entity-tag can be distinguished from a valid HTTP-date by examining the first three characters for a
    // DQUOTE."
    if line.iter().take(3).any(|&byte| byte == b'"') {
        let tags = (EntityTag::parse(line), EntityTag::of(stored));
        return matches!(tags, (Some(asked), Some(ours)) if asked.is_strongly(ours));
    }
    strong_modification(stored)
        .is_some_and(|modified| only_date(request, &header::IF_RANGE, modified) == Some(modified))
}

/// `Last-Modified`, where it is a strong validator: `Date`, by the same clock, is at least a second later, so that the
/// representation has not changed twice within the second that both name.
///
/// RFC 9110 §8.8.2.2.
fn strong_modification(headers: &impl Fields) -> Option<Timestamp> {
    let date = only_date(headers, &header::DATE, Timestamp::EPOCH)?;
    // A two-digit year is one near that date.
    let modified = only_date(headers, &header::LAST_MODIFIED, date)?;
    (date >= modified.plus(Duration::from_secs(1))).then_some(modified)
}

/// The two sides of a `Content-Range` in bytes: what stands before and after the slash.
fn byte_range(headers: &impl Fields) -> Option<(&str, &str)> {
    let line = headers.only(&header::CONTENT_RANGE)?;
    let (unit, range) = str::from_utf8(line.trim_ascii()).ok()?.split_once(' ')?;
    if unit.eq_ignore_ascii_case("bytes") { range.split_once('/') } else { None }
}

/// A number of digits only; `None`: something else, or too large.
fn exact(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// A number of digits only, the largest that we can count to where it is larger; `None`: something else.
fn saturating(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |number: u64, digit: &u8| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Some(digits.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use proptest::prelude::*;

    type Lines = &'static [(&'static str, &'static str)];

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SECOND_LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn parts(ranges: &[(u64, u64)]) -> Wanted {
        Wanted::Parts(ranges.iter().map(|&(first, last)| first..last + 1).collect())
    }

    #[test]
    fn ranges_are_found_within_the_representation() {
        use Wanted::{Unsatisfiable, Whole};
        let cases: [(&str, u64, Wanted, &str); 35] = [
            ("bytes=0-1", 11, parts(&[(0, 1)]), "the first two"),
            ("bytes=1-", 11, parts(&[(1, 10)]), "to the end"),
            ("bytes=-1", 11, parts(&[(10, 10)]), "the last one"),
            ("bytes=0-10", 11, parts(&[(0, 10)]), "all of it"),
            ("bytes=5-99", 11, parts(&[(5, 10)]), "cut at the end"),
            ("bytes=-99", 11, parts(&[(0, 10)]), "more than there is"),
            ("Bytes= 0-1 ", 11, parts(&[(0, 1)]), "case of the unit, space around"),
            ("bytes=,0-1,,", 11, parts(&[(0, 1)]), "empty members"),
            ("bytes=00-01", 11, parts(&[(0, 1)]), "leading zeros"),
            ("bytes=11-", 11, Unsatisfiable, "past the end"),
            ("bytes=11-12", 11, Unsatisfiable, "past the end"),
            ("bytes=-0", 11, Unsatisfiable, "nothing at the end"),
            ("bytes=0-", 0, Unsatisfiable, "nothing there"),
            ("bytes=-5", 0, Whole, "the end of nothing is there, but cannot be said"),
            ("bytes=11-, 0-1", 11, parts(&[(0, 1)]), "one of them is there"),
            ("bytes=0-99999999999999999999999", 11, parts(&[(0, 10)]), "a large number is a number"),
            ("bytes=99999999999999999999999-", 11, Unsatisfiable, "a large number is a number"),
            ("bytes=-99999999999999999999999", 11, parts(&[(0, 10)]), "a large number is a number"),
            ("bytes=0-18446744073709551615", u64::MAX, parts(&[(0, u64::MAX - 1)]), "no overflow"),
            ("bytes=2-1", 11, Whole, "backwards: malformed"),
            ("bytes=0-1,2-1", 11, Whole, "one malformed spoils all"),
            ("bytes=a-b", 11, Whole, "no numbers"),
            ("bytes=-", 11, Whole, "no numbers"),
            ("bytes=", 11, Whole, "no ranges"),
            ("bytes=,", 11, Whole, "no ranges"),
            ("bytes=+1-2", 11, Whole, "a sign"),
            ("bytes=0 - 1", 11, Whole, "space within"),
            ("bytes 0-1", 11, Whole, "no equals sign"),
            ("bytes =0-1", 11, Whole, "space before it"),
            ("items=0-1", 11, Whole, "another unit"),
            ("bytes=0-1,500-501", 1000, parts(&[(0, 1), (500, 501)]), "two"),
            ("bytes=-2,0-1", 1000, parts(&[(998, 999), (0, 1)]), "in the order asked for"),
            ("bytes=500-600,0-1,550-700", 1000, parts(&[(0, 1), (500, 700)]), "overlapping ones are joined"),
            ("bytes=200-201,0-119", 1000, parts(&[(200, 201), (0, 119)]), "a small gap is a gap"),
            ("bytes=200-201,0-199", 1000, parts(&[(0, 201)]), "those that touch are one"),
        ];
        for (value, length, want, why) in cases {
            let request = HeaderMap::from_iter([(header::RANGE, HeaderValue::try_from(value).unwrap())]);
            assert_eq!(wanted(&Method::GET, &request, &HeaderMap::new(), length), want, "{value}: {why}");
        }
    }

    #[test]
    fn a_range_counts_on_one_line_of_a_get_only() {
        let range = fields(&[("range", "bytes=0-1")]);
        let twice = fields(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
        let cases = [
            (Method::GET, &range, parts(&[(0, 1)]), "a read"),
            (Method::HEAD, &range, Wanted::Whole, "RFC 9110 14.2: GET only"),
            (Method::GET, &twice, Wanted::Whole, "not a list field"),
            (Method::GET, &HeaderMap::new(), Wanted::Whole, "none"),
        ];
        for (method, request, want, why) in cases {
            assert_eq!(wanted(&method, request, &HeaderMap::new(), 11), want, "{why}");
        }
    }

    #[test]
    fn parts_are_bounded() {
        let request = |count: u64| {
            let ranges: Vec<String> = (0..count).map(|number| format!("{0}-{0}", number * 1000)).collect();
            let value = HeaderValue::try_from(format!("bytes={}", ranges.join(","))).unwrap();
            HeaderMap::from_iter([(header::RANGE, value)])
        };
        let count = |count| match wanted(&Method::GET, &request(count), &HeaderMap::new(), 1_000_000) {
            Wanted::Parts(parts) => parts.len(),
            _ => 0,
        };
        assert_eq!((count(32), count(33)), (32, 0));
    }

    #[test]
    fn if_range_must_name_the_representation_strongly() {
        let cases: [(Lines, Lines, bool, &str); 14] = [
            (
                &[("if-range", "Friday, 06-Nov-26 08:49:37 GMT")],
                &[("last-modified", "Friday, 06-Nov-26 08:49:37 GMT"), ("date", "Fri, 06 Nov 2026 08:49:38 GMT")],
                true,
                "a two-digit year is one near the date",
            ),
            (
                &[("if-range", "Friday, 06-Nov-26 08:49:36 GMT")],
                &[("last-modified", "Friday, 06-Nov-26 08:49:37 GMT"), ("date", "Fri, 06 Nov 2026 08:49:38 GMT")],
                false,
                "two seconds of such a year differ",
            ),
            (&[], &[("etag", "\"a\"")], true, "none"),
            (&[("if-range", "\"a\"")], &[("etag", "\"a\"")], true, "the same tag"),
            (&[("if-range", "\"b\"")], &[("etag", "\"a\"")], false, "another tag"),
            (&[("if-range", "W/\"a\"")], &[("etag", "W/\"a\"")], false, "a weak tag promises no bytes"),
            (&[("if-range", "\"a\"")], &[], false, "no tag stored"),
            (&[("if-range", "\"a\""), ("if-range", "\"a\"")], &[("etag", "\"a\"")], false, "two of them"),
            (&[("if-range", DATE)], &[("last-modified", DATE), ("date", SECOND_LATER)], true, "the same date, strong"),
            (&[("if-range", DATE)], &[("last-modified", DATE), ("date", DATE)], false, "a weak date"),
            (&[("if-range", DATE)], &[("last-modified", DATE)], false, "who knows"),
            (&[("if-range", SECOND_LATER)], &[("last-modified", DATE), ("date", SECOND_LATER)], false, "not exactly"),
            (&[("if-range", "a")], &[("etag", "a")], false, "neither tag nor date"),
            (&[("if-range", "")], &[], false, "neither tag nor date"),
        ];
        for (condition, stored, holds, why) in cases {
            let mut request = fields(condition);
            request.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
            let want = if holds { parts(&[(0, 1)]) } else { Wanted::Whole };
            assert_eq!(wanted(&Method::GET, &request, &fields(stored), 11), want, "{why}");
            // Nor is there a 416 when the condition does not hold.
            request.insert(header::RANGE, HeaderValue::from_static("bytes=99-"));
            let want = if holds { Wanted::Unsatisfiable } else { Wanted::Whole };
            assert_eq!(wanted(&Method::GET, &request, &fields(stored), 11), want, "{why}");
        }
    }

    #[test]
    fn content_ranges_are_read_strictly() {
        type Case = (Lines, Option<(u64, u64, Option<u64>)>, &'static str);
        let cases: [Case; 18] = [
            (&[("content-range", "bytes 4-9/10")], Some((4, 9, Some(10))), "a part"),
            (&[("content-range", "BYTES 0-0/1")], Some((0, 0, Some(1))), "case of the unit"),
            (&[("content-range", "bytes 4-9/*")], Some((4, 9, None)), "length unknown"),
            (&[("content-range", "bytes */10")], None, "no part"),
            (&[("content-range", "bytes */0")], None, "no part"),
            (&[("content-range", "bytes */*")], None, "nothing at all"),
            (&[("content-range", "bytes 9-4/10")], None, "backwards"),
            (&[("content-range", "bytes 4-10/10")], None, "past the end"),
            (&[("content-range", "bytes 4-9")], None, "no length"),
            (&[("content-range", "bytes=4-9/10")], None, "no space"),
            (&[("content-range", "bytes 4 - 9/10")], None, "space within"),
            (&[("content-range", "bytes -9/10")], None, "no first byte"),
            (&[("content-range", "bytes +4-9/10")], None, "a sign"),
            (&[("content-range", "items 4-9/10")], None, "another unit"),
            (&[("content-range", "bytes 0-18446744073709551616/*")], None, "too large"),
            (&[("content-range", "bytes 0-18446744073709551615/*")], None, "no number after it"),
            (&[("content-range", "bytes 4-9/10"), ("content-range", "bytes 4-9/10")], None, "given twice"),
            (&[], None, "absent"),
        ];
        for (lines, part, why) in cases {
            let headers = fields(lines);
            let got = content_range(&headers).map(|range| (range.first, range.last, range.complete));
            assert_eq!(got, part, "{why}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let range = ContentRange::of(&(4..10), 10);
        for range in [range, ContentRange { complete: None, ..range }] {
            let headers = HeaderMap::from_iter([(header::CONTENT_RANGE, range.to_value())]);
            assert_eq!(content_range(&headers), Some(range));
            assert_eq!(range.length(), 6);
        }
        assert_eq!(unsatisfied_range(10), "bytes */10");
    }

    #[test]
    fn only_parts_of_the_same_bytes_are_put_together() {
        let strong: Lines = &[("last-modified", DATE), ("date", SECOND_LATER)];
        let cases: [(Lines, Lines, bool, &str); 8] = [
            (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true, "the same strong tag"),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false, "another tag"),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], false, "a weak tag promises no bytes"),
            (&[("etag", "\"a\"")], &[], false, "one of them has none"),
            (&[], &[], false, "no validator"),
            (strong, strong, true, "the same strong date"),
            (
                &[("last-modified", DATE), ("date", DATE)],
                &[("last-modified", DATE), ("date", DATE)],
                false,
                "weak dates",
            ),
            (strong, &[("last-modified", SECOND_LATER), ("date", SECOND_LATER)], false, "another date"),
        ];
        for (stored, part, want, why) in cases {
            assert_eq!(may_combine(&fields(stored), &fields(part)), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn ranges_stay_within_bounds(
            specs in proptest::collection::vec("[0-9]{0,4}-[0-9]{0,4}|[0-9]{18,22}-[0-9]{0,22}|-[0-9]{1,22}", 1..40),
            length in prop_oneof![0_u64..2000, Just(u64::MAX)],
        ) {
            let value = HeaderValue::try_from(format!("bytes={}", specs.join(","))).unwrap();
            let request = HeaderMap::from_iter([(header::RANGE, value)]);
            if let Wanted::Parts(parts) = wanted(&Method::GET, &request, &HeaderMap::new(), length) {
                prop_assert!((1..=MAX_PARTS).contains(&parts.len()));
                let mut sorted = parts.to_vec();
                sorted.sort_by_key(|part| part.start);
                prop_assert!(sorted.iter().all(|part| part.start < part.end && part.end <= length));
                prop_assert!(sorted.windows(2).all(|pair| pair[0].end <= pair[1].start), "{:?}", sorted);
            }
        }

        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let headers: HeaderMap = [header::RANGE, header::IF_RANGE, header::CONTENT_RANGE, header::ETAG]
                    .into_iter()
                    .map(|name| (name, value.clone()))
                    .collect();
                let _ = wanted(&Method::GET, &headers, &headers, 100);
                if let Some(range) = content_range(&headers) {
                    prop_assert!(range.length() > 0);
                }
                let _ = may_combine(&headers, &headers);
            }
        }
    }
}
