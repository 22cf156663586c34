//! Does a client already have what we would send?

use std::borrow::Cow;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};

use super::entity_tag::EntityTag;
use super::fields::{Fields, Line};
use super::time::{Timestamp, parse_http_date};

/// What a request's conditions say of a stored response that could answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// None given, none that counts, or the client has something else: answer in full.
    Proceed,
    /// The client has it: answer 304 with [`not_modified_lines`].
    NotModified,
}

/// Evaluates the conditions of a request against the stored response that was chosen for it.
///
/// `received_at`: when the stored response was received, which stands in for a missing `Last-Modified` and `Date`.
///
/// `If-Match` and `If-Unmodified-Since` are not evaluated, so there is no 412 here: they are an origin's to judge, a
/// cache must not (RFC 9111 §4.3.2) and may ignore them (RFC 9110 §13.1.1, §13.1.4).
///
/// RFC 9111 §4.3.2; RFC 9110 §13.1.2, §13.1.3, §13.2.
pub fn evaluate(
    method: &Method,
    request: &HeaderMap,
    stored_status: StatusCode,
    stored: &impl Fields,
    received_at: Timestamp,
) -> Condition {
    // RFC 9110 §13.2.1: conditions are ignored where the answer without them would not be a success.
    if !(*method == Method::GET || *method == Method::HEAD) || !stored_status.is_success() {
        return Condition::Proceed;
    }
    // RFC 9110 §13.1.3: If-Modified-Since is ignored with If-None-Match, whatever that one says.
    let has_it = if request.contains_key(header::IF_NONE_MATCH) {
        is_any_of(request, stored)
    } else {
        is_unmodified(request, stored, received_at).unwrap_or(false)
    };
    if has_it { Condition::NotModified } else { Condition::Proceed }
}

/// The lines of a 304 that a stored response gives rise to; ours (`Age`, `Via` …) come on top.
///
/// RFC 9110 §15.4.5: those that would have been in the 200, and no other metadata of the representation, but
/// `Last-Modified` where there is no `ETag`.
pub fn not_modified_lines<'a>(stored: impl Iterator<Item = Line<'a>> + Clone) -> impl Iterator<Item = Line<'a>> {
    let has_tag = stored.clone().any(|line| line.name == b"etag");
    stored.filter(move |line| match line.name {
        b"cache-control" | b"content-location" | b"date" | b"etag" | b"expires" | b"vary" => true,
        b"last-modified" => !has_tag,
        _ => false,
    })
}

/// A request's fields without the client's conditions and its range, so that they do not narrow what the origin answers and
/// we store. Most requests have none.
pub fn without_conditions(request: &HeaderMap) -> Cow<'_, HeaderMap> {
    let mut request = Cow::Borrowed(request);
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::RANGE,
        header::IF_RANGE,
    ] {
        if request.contains_key(&name) {
            request.to_mut().remove(name);
        }
    }
    request
}

/// Whether `If-None-Match` lists the stored response's tag, on any of its lines, compared weakly; `*` is every tag.
///
/// RFC 9110 §13.1.2.
fn is_any_of(request: &HeaderMap, stored: &impl Fields) -> bool {
    let tag = EntityTag::of(stored);
    request.get_all(header::IF_NONE_MATCH).iter().any(|line| {
        line.as_bytes().trim_ascii() == b"*"
            || tag.is_some_and(|tag| EntityTag::list(line.as_bytes()).any(|listed| listed.is_weakly(tag)))
    })
}

/// Whether the stored response was last modified at the date of `If-Modified-Since` or before; `None`: the condition
/// does not count, because it is absent, given twice, or no date.
///
/// RFC 9110 §13.1.3. RFC 9111 §4.3.2: without Last-Modified, Date counts, and without that the time of reception.
fn is_unmodified(request: &HeaderMap, stored: &impl Fields, received_at: Timestamp) -> Option<bool> {
    let since = only_date(request, &header::IF_MODIFIED_SINCE, received_at)?;
    let modified = if stored.has(&header::LAST_MODIFIED) {
        only_date(stored, &header::LAST_MODIFIED, received_at)?
    } else {
        only_date(stored, &header::DATE, received_at).unwrap_or(received_at)
    };
    Some(modified.as_secs() <= since.as_secs())
}

/// The date of a field; `None`: absent, on several lines, or no date. `near` settles two-digit years.
pub(super) fn only_date(headers: &impl Fields, name: &HeaderName, near: Timestamp) -> Option<Timestamp> {
    parse_http_date(headers.only(name)?.trim_ascii(), near)
}

#[cfg(test)]
mod tests {
    use super::super::fields::FieldLines;
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    type Lines = &'static [(&'static str, &'static str)];

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    /// `DATE`, and half a second that no field can say.
    const RECEIVED: Timestamp = Timestamp::from_millis(784_111_777_500);

    fn fields(lines: Lines) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn conditions_are_evaluated_in_the_order_of_the_rfc() {
        use Condition::{NotModified, Proceed};
        let cases: [(Lines, Lines, Condition, &str); 26] = [
            (&[], &[("etag", "\"a\"")], Proceed, "no condition"),
            (&[("if-none-match", "\"a\"")], &[("etag", "\"a\"")], NotModified, "the same tag"),
            (&[("if-none-match", "\"b\"")], &[("etag", "\"a\"")], Proceed, "another tag"),
            (&[("if-none-match", "\"a\"")], &[], Proceed, "no tag stored"),
            (&[("if-none-match", "W/\"a\"")], &[("etag", "\"a\"")], NotModified, "weak comparison"),
            (&[("if-none-match", "\"a\"")], &[("etag", "W/\"a\"")], NotModified, "weak comparison"),
            (&[("if-none-match", "\"b\",W/\"a\" , \"c\"")], &[("etag", "\"a\"")], NotModified, "one of a list"),
            (
                &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")],
                &[("etag", "\"a\"")],
                NotModified,
                "second line",
            ),
            (&[("if-none-match", "\"a,b\"")], &[("etag", "\"a")], Proceed, "a comma within the tag"),
            (&[("if-none-match", "*")], &[], NotModified, "any representation, with or without a tag"),
            (&[("if-none-match", "\"*\"")], &[("etag", "\"a\"")], Proceed, "a star in quotes is a tag"),
            (
                &[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)],
                &[("etag", "\"a\""), ("last-modified", DATE)],
                NotModified,
                "the tag decides, not the date",
            ),
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", LATER)],
                &[("etag", "\"a\""), ("last-modified", DATE)],
                Proceed,
                "the tag decides, not the date",
            ),
            (&[("if-none-match", ""), ("if-modified-since", LATER)], &[("last-modified", DATE)], Proceed, "even empty"),
            (&[("if-modified-since", DATE)], &[("last-modified", DATE)], NotModified, "not later"),
            (&[("if-modified-since", LATER)], &[("last-modified", DATE)], NotModified, "not later"),
            (&[("if-modified-since", EARLIER)], &[("last-modified", DATE)], Proceed, "later"),
            (
                &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")],
                &[("last-modified", DATE)],
                NotModified,
                "the form of RFC 850",
            ),
            (&[("if-modified-since", "1994-11-06")], &[("last-modified", DATE)], Proceed, "no date: ignored"),
            (
                &[("if-modified-since", LATER), ("if-modified-since", LATER)],
                &[("last-modified", DATE)],
                Proceed,
                "two dates: ignored",
            ),
            (&[("if-modified-since", LATER)], &[("last-modified", "yesterday")], Proceed, "who knows when"),
            (&[("if-modified-since", DATE)], &[("date", DATE)], NotModified, "without Last-Modified, Date"),
            (&[("if-modified-since", EARLIER)], &[("date", DATE)], Proceed, "without Last-Modified, Date"),
            (&[("if-modified-since", DATE)], &[], NotModified, "without both, the second of reception"),
            (&[("if-modified-since", EARLIER)], &[], Proceed, "without both, the second of reception"),
            (
                &[("if-match", "\"b\""), ("if-unmodified-since", EARLIER)],
                &[("etag", "\"a\""), ("last-modified", DATE)],
                Proceed,
                "not a cache's to judge",
            ),
        ];
        for (request, stored, want, why) in cases {
            for method in [Method::GET, Method::HEAD] {
                let got = evaluate(&method, &fields(request), StatusCode::OK, &fields(stored), RECEIVED);
                assert_eq!(got, want, "{method}: {why}");
            }
        }
    }

    #[test]
    fn conditions_count_for_successful_reads_only() {
        let cases = [
            (Method::GET, 200, Condition::NotModified, "a stored success"),
            (Method::GET, 206, Condition::NotModified, "a stored part"),
            (Method::GET, 404, Condition::Proceed, "not a success: RFC 9110 13.2.1"),
            (Method::GET, 301, Condition::Proceed, "not a success: RFC 9110 13.2.1"),
            (Method::POST, 200, Condition::Proceed, "not a read"),
        ];
        for (method, status, want, why) in cases {
            let status = StatusCode::from_u16(status).unwrap();
            let request = fields(&[("if-none-match", "\"a\"")]);
            assert_eq!(evaluate(&method, &request, status, &fields(&[("etag", "\"a\"")]), RECEIVED), want, "{why}");
        }
    }

    #[test]
    fn a_304_says_what_the_client_needs_and_no_more() {
        let stored = fields(&[
            ("cache-control", "max-age=1"),
            ("cache-control", "public"),
            ("content-location", "/a"),
            ("content-type", "text/plain"),
            ("content-length", "3"),
            ("date", DATE),
            ("etag", "\"a\""),
            ("expires", LATER),
            ("last-modified", EARLIER),
            ("vary", "accept"),
            ("x-other", "1"),
        ]);
        let names = |stored: &HeaderMap| {
            let stored = FieldLines::from(stored);
            not_modified_lines(stored.iter()).map(|line| line.name().to_owned()).collect::<Vec<_>>()
        };
        let with_tag = ["cache-control", "cache-control", "content-location", "date", "etag", "expires", "vary"];
        assert_eq!(names(&stored), with_tag, "lines stay repeated");
        assert_eq!(names(&fields(&[("last-modified", EARLIER)])), ["last-modified"], "the only validator");
    }

    #[test]
    fn a_clients_conditions_do_not_reach_the_origin() {
        let all: Lines = &[
            ("if-match", "*"),
            ("if-none-match", "*"),
            ("if-modified-since", DATE),
            ("if-unmodified-since", DATE),
            ("if-range", "\"a\""),
            ("range", "bytes=0-1"),
            ("accept", "*/*"),
        ];
        assert_eq!(*without_conditions(&fields(all)), fields(&[("accept", "*/*")]));
        let plain = fields(&[("accept", "*/*")]);
        assert!(matches!(without_conditions(&plain), Cow::Borrowed(_)), "nothing to take out: no copy");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
                    let headers = HeaderMap::from_iter([(name, value.clone()), (header::ETAG, value.clone())]);
                    let _ = evaluate(&Method::GET, &headers, StatusCode::OK, &headers, RECEIVED);
                }
            }
        }
    }
}
