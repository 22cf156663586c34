//! How is the origin asked whether a stored response still holds, and what does its answer change?

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::entity_tag::EntityTag;
use super::fields::Fields;
use super::time::{Timestamp, parse_http_date};
use super::{hop, range};

/// The conditions with which a stored response is revalidated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `If-None-Match`
    pub if_none_match: Option<HeaderValue>,
    /// `If-Modified-Since`
    pub if_modified_since: Option<HeaderValue>,
}

impl Conditions {
    /// Whether there is nothing to ask with: the stored response has no validator.
    pub fn is_empty(&self) -> bool {
        self.if_none_match.is_none() && self.if_modified_since.is_none()
    }

    /// Puts them into a request, in place of such conditions of the client.
    pub fn apply(&self, request: &mut HeaderMap) {
        for (name, value) in
            [(header::IF_NONE_MATCH, &self.if_none_match), (header::IF_MODIFIED_SINCE, &self.if_modified_since)]
        {
            match value {
                Some(value) => request.insert(name, value.clone()),
                None => request.remove(name),
            };
        }
    }
}

/// The conditions that ask whether `stored` still holds: its validators as they were, also weak and odd ones.
///
/// RFC 9111 §4.3.1.
pub fn conditions(stored: &impl Fields) -> Conditions {
    let validator = |name| {
        let value = stored.first(name).filter(|value| !value.is_empty())?;
        Some(HeaderValue::from_bytes(value).expect("the value of a field is one"))
    };
    Conditions { if_none_match: validator(&header::ETAG), if_modified_since: validator(&header::LAST_MODIFIED) }
}

/// The fields of a stored response after `update`, which is those of a 304, of a 206 or of a 200 to a `HEAD`.
///
/// Each field in the update replaces all lines of its name; others stay. `Date` and `Age` belong to the message, not
/// to what it carries: the update's count, also where it has none. (An answer without `Date` gets one when it is
/// received, RFC 9110 §6.6.1.) Left as they were are fields of the connection, and those that describe stored bytes,
/// which an update does not bring: `Content-Length`, `Content-Encoding`, `Content-Range` and digests.
///
/// What follows from the fields (whether the response may be stored, for how long, and which fields select it) is to
/// be judged again on the result.
///
/// RFC 9111 §3.2.
pub fn freshen(stored: &HeaderMap, update: &HeaderMap) -> HeaderMap {
    let mut update = update.clone();
    hop::strip(&mut update);
    let mut fields = stored.clone();
    fields.remove(header::AGE);
    fields.remove(header::DATE);
    for name in update.keys().filter(|name| !is_about_stored_bytes(name)) {
        fields.remove(name);
        for value in update.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    fields
}

/// Whether a field describes stored bytes that an update leaves as they are.
///
/// RFC 9111 §3.2 excepts `Content-Length`, and lets implementations except those "necessary to ensure integrity of the
/// stored response": a coding or a digest that is not that of the bytes makes them unreadable. `Content-Type` is not
/// one of them: it is updated.
fn is_about_stored_bytes(name: &HeaderName) -> bool {
    matches!(name.as_str(), "content-digest" | "content-encoding" | "content-length" | "content-md5" | "content-range")
}

/// Whether a 304 to our conditional request is about `stored`, so that it may be updated; if not, the origin has to
/// be asked again without conditions.
///
/// A 304 without any validator is taken to be about the stored response whose validators it was asked with. (The RFC
/// wants that response to lack validators too; but we ask with those of one response, never of several, and many
/// origins leave validators out of their 304.)
///
/// RFC 9111 §4.3.4.
pub fn confirms(stored: &impl Fields, update_304: &HeaderMap) -> bool {
    let (ours, theirs) = (EntityTag::of(stored), EntityTag::of(update_304));
    match theirs {
        // "If none of the initial set contains at least one of the same strong validators, then the cache MUST NOT use
        // the new response to update any stored responses."
        Some(theirs) if !theirs.weak => return ours.is_some_and(|ours| ours.is_strongly(theirs)),
        // "… weak validators, and if those validators correspond to one of the initial set's stored responses …"
        Some(theirs) if ours.is_some() => return ours.is_some_and(|ours| ours.is_weakly(theirs)),
        _ => {}
    }
    match (stored.first(&header::LAST_MODIFIED), update_304.first(&header::LAST_MODIFIED)) {
        (Some(ours), Some(theirs)) => is_same_date(ours, theirs),
        (None, Some(_)) => false,
        (_, None) => theirs.is_none(),
    }
}

/// What the answer to a `HEAD` means for a stored response to `GET` of the same key and selecting fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadEffect {
    /// Nothing.
    None,
    /// It still holds: [`freshen`] it with the answer's fields.
    Freshen,
    /// It does not hold any more: it is to be considered stale.
    Invalidate,
}

/// Judges what the answer to a `HEAD` means for a stored response.
///
/// `stored_length`: the length in bytes of the stored content.
///
/// RFC 9111 §4.3.5.
pub fn head_effect(
    stored_status: StatusCode,
    stored: &impl Fields,
    stored_length: u64,
    head_status: StatusCode,
    head_headers: &HeaderMap,
) -> HeadEffect {
    // "… receives a 200 (OK) response": what other statuses mean for a stored one is not said.
    if head_status != StatusCode::OK {
        return HeadEffect::None;
    }
    let complete = match stored_status {
        StatusCode::OK => Some(stored_length),
        StatusCode::PARTIAL_CONTENT => range::content_range(stored).and_then(|part| part.complete),
        _ => return HeadEffect::Invalidate,
    };
    // "… matching values for any received validator fields (ETag and Last-Modified) and, if the HEAD response has a
    // Content-Length header field, the value of Content-Length matches that of the stored response …"
    let is_same_tag = EntityTag::of(head_headers).is_none_or(|theirs| {
        EntityTag::of(stored).is_some_and(|ours| if theirs.weak { ours.is_weakly(theirs) } else { ours == theirs })
    });
    let is_same_modification = head_headers
        .first(&header::LAST_MODIFIED)
        .is_none_or(|theirs| stored.first(&header::LAST_MODIFIED).is_some_and(|ours| is_same_date(ours, theirs)));
    let is_same_length = head_headers.get(header::CONTENT_LENGTH).is_none_or(|length| {
        complete.is_none_or(|complete| length.to_str().ok().and_then(|text| text.parse().ok()) == Some(complete))
    });
    if is_same_tag && is_same_modification && is_same_length { HeadEffect::Freshen } else { HeadEffect::Invalidate }
}

/// Whether both name the same second, or are the same bytes where they name none.
fn is_same_date(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let [one, other] = [one, other].map(|value| parse_http_date(value.trim_ascii(), Timestamp::EPOCH));
    // Two-digit years from 1970 on are read right, later ones come out as the epoch, which says nothing.
    one.is_some_and(|moment| moment > Timestamp::EPOCH) && one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn fields(lines: Lines) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn validators_are_sent_as_they_were() {
        let cases: [(Lines, Lines, &str); 6] = [
            (&[("etag", "\"a\"")], &[("if-none-match", "\"a\"")], "strong"),
            (&[("etag", "W/\"a\"")], &[("if-none-match", "W/\"a\"")], "weak"),
            (&[("etag", "abc")], &[("if-none-match", "abc")], "as it was, though it is no tag"),
            (&[("last-modified", DATE)], &[("if-modified-since", DATE)], "a date"),
            (
                &[("etag", "\"a\""), ("last-modified", DATE)],
                &[("if-none-match", "\"a\""), ("if-modified-since", DATE)],
                "both",
            ),
            (&[("etag", ""), ("x", "1")], &[], "nothing to ask with"),
        ];
        for (stored, want, why) in cases {
            let conditions = conditions(&fields(stored));
            // The client's own are replaced, also where we have none.
            let mut request = fields(&[("if-none-match", "\"client\""), ("if-modified-since", LATER)]);
            conditions.apply(&mut request);
            assert_eq!(request, fields(want), "{why}");
            assert_eq!(conditions.is_empty(), want.is_empty(), "{why}");
        }
    }

    #[test]
    fn an_update_replaces_what_it_names_and_adds_what_is_new() {
        let cases: [(Lines, Lines, Lines, &str); 9] = [
            (&[("a", "1"), ("b", "2")], &[("a", "3")], &[("a", "3"), ("b", "2")], "named and not named"),
            (&[("a", "1")], &[("b", "2")], &[("a", "1"), ("b", "2")], "new"),
            (&[("a", "1"), ("a", "2")], &[("a", "3")], &[("a", "3")], "all lines of it"),
            (&[("a", "1")], &[("a", "2"), ("a", "3")], &[("a", "2"), ("a", "3")], "by all lines of it"),
            (
                &[("content-length", "5"), ("content-encoding", "br"), ("content-range", "x"), ("content-md5", "x")],
                &[("content-length", "0"), ("content-encoding", "gzip"), ("content-range", "y"), ("content-md5", "y")],
                &[("content-length", "5"), ("content-encoding", "br"), ("content-range", "x"), ("content-md5", "x")],
                "what describes the stored bytes",
            ),
            (
                &[("content-type", "a/a"), ("content-foo", "1"), ("set-cookie", "a=1")],
                &[("content-type", "b/b"), ("content-foo", "2"), ("set-cookie", "a=2")],
                &[("content-type", "b/b"), ("content-foo", "2"), ("set-cookie", "a=2")],
                "a prefix is no exception",
            ),
            (
                &[("a", "1")],
                &[("connection", "a, b"), ("a", "2"), ("b", "2"), ("transfer-encoding", "x"), ("keep-alive", "x")],
                &[("a", "1")],
                "fields of the connection",
            ),
            (&[("age", "50"), ("date", DATE)], &[("date", LATER)], &[("date", LATER)], "its age is the message's"),
            (
                &[("age", "50"), ("date", DATE)],
                &[("age", "1"), ("date", LATER)],
                &[("age", "1"), ("date", LATER)],
                "same",
            ),
        ];
        for (stored, update, want, why) in cases {
            assert_eq!(freshen(&fields(stored), &fields(update)), fields(want), "{why}");
        }
    }

    #[test]
    fn a_304_is_about_the_stored_response_when_validators_agree() {
        let cases: [(Lines, Lines, bool, &str); 16] = [
            (&[("etag", "\"a\"")], &[("etag", "\"a\"")], true, "the same strong one"),
            (&[("etag", "\"a\"")], &[("etag", "\"b\"")], false, "another strong one"),
            (&[("etag", "W/\"a\"")], &[("etag", "\"a\"")], false, "a strong one that we have weakly"),
            (&[], &[("etag", "\"a\"")], false, "a strong one that we do not have"),
            (
                &[("etag", "\"a\""), ("last-modified", DATE)],
                &[("etag", "\"b\""), ("last-modified", DATE)],
                false,
                "the strong one decides",
            ),
            (
                &[("etag", "\"a\""), ("last-modified", DATE)],
                &[("etag", "\"a\""), ("last-modified", LATER)],
                true,
                "the strong one decides",
            ),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], true, "the same weak one"),
            (&[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true, "the same, weakly: a gateway coded the content"),
            (&[("etag", "W/\"a\"")], &[("etag", "W/\"b\"")], false, "another weak one"),
            (&[("last-modified", DATE)], &[("etag", "W/\"a\""), ("last-modified", DATE)], true, "the date agrees"),
            (&[("last-modified", DATE)], &[("last-modified", DATE)], true, "the same date"),
            (&[("last-modified", DATE)], &[("last-modified", "Sun Nov  6 08:49:37 1994")], true, "in another form"),
            (&[("last-modified", DATE)], &[("last-modified", LATER)], false, "another date"),
            (
                &[("last-modified", "Friday, 06-Nov-26 08:49:37 GMT")],
                &[("last-modified", "Friday, 06-Nov-26 08:49:38 GMT")],
                false,
                "another date of a year in two digits",
            ),
            (&[("etag", "\"a\"")], &[("last-modified", DATE)], false, "a validator that we do not have"),
            (&[("etag", "\"a\""), ("last-modified", DATE)], &[("x", "1")], true, "none: it answers what we asked"),
        ];
        for (stored, update, want, why) in cases {
            assert_eq!(confirms(&fields(stored), &fields(update)), want, "{why}");
        }
    }

    #[test]
    fn a_head_freshens_or_invalidates() {
        use HeadEffect::{Freshen, Invalidate, None};
        let cases: [(u16, Lines, u16, Lines, HeadEffect, &str); 16] = [
            (200, &[], 200, &[("a", "1")], Freshen, "nothing speaks against it"),
            (200, &[("etag", "\"a\"")], 200, &[("etag", "\"a\"")], Freshen, "the same tag"),
            (200, &[("etag", "\"a\"")], 200, &[("etag", "W/\"a\"")], Freshen, "the same, weakly"),
            (200, &[("etag", "\"a\"")], 200, &[("etag", "\"b\"")], Invalidate, "another tag"),
            (200, &[("etag", "W/\"a\"")], 200, &[("etag", "\"a\"")], Invalidate, "not the same field value"),
            (200, &[], 200, &[("etag", "\"a\"")], Invalidate, "a tag that we do not have"),
            (200, &[("etag", "\"a\"")], 200, &[], Freshen, "only received validators count"),
            (200, &[("last-modified", DATE)], 200, &[("last-modified", DATE)], Freshen, "the same date"),
            (200, &[("last-modified", DATE)], 200, &[("last-modified", LATER)], Invalidate, "another date"),
            (200, &[], 200, &[("content-length", "10")], Freshen, "the same length"),
            (200, &[], 200, &[("content-length", "11")], Invalidate, "another length"),
            (200, &[], 200, &[("content-length", "x")], Invalidate, "no length"),
            (200, &[("etag", "\"a\"")], 404, &[("etag", "\"b\"")], None, "only a 200 says anything"),
            (404, &[], 200, &[], Invalidate, "what was not there is there"),
            (206, &[("content-range", "bytes 0-9/50")], 200, &[("content-length", "50")], Freshen, "the whole length"),
            (
                206,
                &[("content-range", "bytes 0-9/50")],
                200,
                &[("content-length", "10")],
                Invalidate,
                "the whole length",
            ),
        ];
        for (stored_status, stored, head_status, head, want, why) in cases {
            let [stored_status, head_status] =
                [stored_status, head_status].map(|code| StatusCode::from_u16(code).unwrap());
            let got = head_effect(stored_status, &fields(stored), 10, head_status, &fields(head));
            assert_eq!(got, want, "{why}");
        }
    }
}
