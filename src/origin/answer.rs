//! What came back: is it an answer that we may pass on, and may its connection be used again?
//!
//! A proxy must not be lenient here; see RFC 9112 §6.3 and §11.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::error::Malformed;
use super::http1::Head;
use super::pool::IDLE_LIMIT;
use crate::body::http1::content::Content;
use crate::policy::hop;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Checks the head of an answer to a `method` request, and reduces it to what is meant for others than us.
///
/// Returns what its body is, and for how long the connection may be kept idle afterwards; `None`: not at all.
///
/// # Errors
///
/// What is wrong with the answer; nothing of it may be used.
pub(super) fn accept(
    head: &mut Head,
    method: &Method,
    asked_upgrade: bool,
) -> Result<(Content, Option<Duration>), Malformed> {
    let status = head.status.as_u16();
    if status > 599 {
        return Err(Malformed::Status(status));
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        if !asked_upgrade || !head.headers.contains_key(UPGRADE) {
            return Err(Malformed::UnaskedUpgrade);
        }
        strip_upgrade(&mut head.headers);
        return Ok((Content::None, None));
    }
    let has_no_body =
        method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    // A 204 that announces content may be followed by it.
    let has_odd_body = head.status == StatusCode::NO_CONTENT
        && (head.headers.contains_key(TRANSFER_ENCODING)
            || head.headers.get_all(CONTENT_LENGTH).iter().any(|length| number(length) != Some(0)));
    let content = if has_no_body {
        tolerate_framing(head);
        Content::None
    } else {
        content(head)?
    };
    let keep = keep(head).filter(|_| !has_odd_body);
    hop::strip(&mut head.headers);
    Ok((content, keep))
}

/// Where the body ends: there must be exactly one way to know.
fn content(head: &Head) -> Result<Content, Malformed> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(Content::UntilClose),
        // "ought to be handled as an error" (§6.3): the two may be read differently by others on the way.
        (Some(_), Some(_)) => Err(Malformed::TwoFramings),
        (Some(_), None) if !head.is_current => Err(Malformed::CodingTooEarly),
        // We undo `chunked` only; what else was applied would be passed on as if it were the content.
        (Some(coding), None) => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            is_chunked.then_some(Content::CHUNKED).ok_or(Malformed::TransferCoding)
        }
        // A list of equal lengths may be taken as one (§6.3), and may be refused: we do not guess.
        (None, Some(length)) => {
            let length = number(length).filter(|_| lengths.next().is_none());
            length.map(Content::Length).ok_or(Malformed::Length)
        }
    }
}

/// An answer without a body ends with its head, whatever its framing says: what cannot be true is left out.
fn tolerate_framing(head: &mut Head) {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let is_one_number = lengths.next().is_some_and(|length| number(length).is_some()) && lengths.next().is_none();
    // RFC 9110 §8.6: 204 has no Content-Length.
    if !is_one_number || head.status == StatusCode::NO_CONTENT || head.headers.contains_key(TRANSFER_ENCODING) {
        head.headers.remove(CONTENT_LENGTH);
    }
}

/// A length: digits, and no more than 64 bits have.
fn number(value: &HeaderValue) -> Option<u64> {
    let digits = value.as_bytes();
    let is_decimal = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    value.to_str().ok().filter(|_| is_decimal)?.parse().ok()
}

/// For how long the connection may be kept for another request.
fn keep(head: &Head) -> Option<Duration> {
    // HTTP/1.0 servers differ in what keep-alive means; nothing is lost with a new connection.
    if !head.is_current {
        return None;
    }
    if head.headers.get_all(CONNECTION).iter().any(|line| hop::has_member(line.as_bytes(), b"close")) {
        return None;
    }
    // `Keep-Alive: timeout=5` says when the origin will close it: half a second earlier it is not used any more.
    let announced = head.headers.get(KEEP_ALIVE).and_then(|line| line.to_str().ok()).and_then(announced_timeout);
    let margin = Duration::from_millis(500);
    Some(announced.map_or(IDLE_LIMIT, |announced| announced.saturating_sub(margin).min(IDLE_LIMIT)))
}

fn announced_timeout(line: &str) -> Option<Duration> {
    let parameters = line.split(',').filter_map(|member| member.trim().split_once('='));
    let (_, seconds) = parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("timeout"))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// The client needs to see which protocol it is now; `hop::strip` would take that as well.
fn strip_upgrade(headers: &mut HeaderMap) {
    let protocols: Vec<HeaderValue> = headers.get_all(UPGRADE).iter().cloned().collect();
    hop::strip(headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    for protocol in protocols {
        headers.append(UPGRADE, protocol);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields = &'static [(&'static str, &'static str)];

    fn head(status: u16, is_current: bool, fields: &[(&'static str, &'static str)]) -> Head {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(line) {
            headers.append(name, value);
        }
        Head { status: StatusCode::from_u16(status).unwrap(), is_current, headers }
    }

    #[test]
    fn malformed_answers_are_told_from_odd_ones() {
        #[rustfmt::skip]
        let cases: &[(&str, u16, Fields, &str, &str)] = &[
            ("GET", 200, &[("content-length", "3")], "", "the usual"),
            ("GET", 200, &[("transfer-encoding", "Chunked")], "", "codings have no case"),
            ("GET", 200, &[], "", "until the connection ends"),
            ("GET", 599, &[], "", "unknown, but a status"),
            ("GET", 600, &[], "status 600", "no class of statuses"),
            ("GET", 999, &[], "status 999", "no class of statuses"),
            ("GET", 200, &[("content-length", "3"), ("content-length", "3")], "one number", "a list"),
            ("GET", 200, &[("content-length", "3,3")], "one number", "a list"),
            ("GET", 200, &[("content-length", "+3")], "one number", "a sign"),
            ("GET", 200, &[("content-length", "")], "one number", "empty"),
            ("GET", 200, &[("content-length", "3"), ("transfer-encoding", "chunked")], "both", "smuggling"),
            ("GET", 200, &[("transfer-encoding", "gzip, chunked")], "transfer coding", "we cannot undo gzip"),
            ("GET", 200, &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], "transfer coding", "twice"),
            ("GET", 200, &[("transfer-encoding", "identity")], "transfer coding", "no such coding any more"),
            ("HEAD", 200, &[("transfer-encoding", "gzip")], "", "no body to undo it on"),
            ("HEAD", 200, &[("content-length", "3,4")], "", "no body to measure"),
            ("GET", 304, &[("content-length", "x")], "", "no body to measure"),
            ("GET", 200, &[("content-range", "garbage")], "", "tolerated on a 200"),
            ("GET", 101, &[("upgrade", "websocket")], "unasked", "nobody asked"),
        ];
        for (method, status, fields, want, why) in cases {
            let mut head = head(*status, true, fields);
            let said =
                accept(&mut head, &method.parse().unwrap(), false).map_or_else(|e| e.to_string(), |_| String::new());
            assert!(
                said.contains(want) && said.is_empty() == want.is_empty(),
                "{method} {status} {fields:?}: {why}: {said}"
            );
        }
    }

    #[test]
    fn lengths_that_cannot_be_true_are_left_out() {
        let cases = [
            ("HEAD", 200, "3", Some("3"), "what GET would have"),
            ("HEAD", 200, "3,4", None, "no number"),
            ("GET", 304, "3", Some("3"), "what 200 would have"),
            ("GET", 204, "3", None, "RFC 9110 §8.6"),
            ("GET", 200, "3", Some("3"), "the body's"),
        ];
        for (method, status, length, want, why) in cases {
            let mut head = head(status, true, &[("content-length", length)]);
            accept(&mut head, &method.parse().unwrap(), false).unwrap();
            let left = head.headers.get(CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!(left, want, "{method} {status} {length}: {why}");
        }
    }

    #[test]
    fn a_connection_is_kept_as_long_as_both_sides_mean_to() {
        let millis = Duration::from_millis;
        let cases: &[(bool, Fields, Option<Duration>, &str)] = &[
            (true, &[], Some(IDLE_LIMIT), "by default"),
            (false, &[("connection", "keep-alive")], None, "HTTP/1.0"),
            (true, &[("connection", "x, Close")], None, "the origin closes"),
            (true, &[("keep-alive", "timeout=2, max=5")], Some(millis(1500)), "earlier than the origin"),
            (true, &[("keep-alive", "max=5, timeout=75")], Some(IDLE_LIMIT), "not longer than we want"),
            (true, &[("keep-alive", "timeout=0")], Some(Duration::ZERO), "never"),
            (true, &[("keep-alive", "timeout=99999999999999999999")], Some(IDLE_LIMIT), "garbage"),
        ];
        for (is_current, fields, want, why) in cases {
            let mut head = head(200, *is_current, fields);
            assert_eq!(accept(&mut head, &Method::GET, false).unwrap().1, *want, "{fields:?}: {why}");
        }
    }

    #[test]
    fn a_switch_of_protocols_keeps_the_fields_that_say_so() {
        let fields =
            [("connection", "upgrade, x-hop"), ("upgrade", "websocket"), ("x-hop", "1"), ("sec-websocket-accept", "k")];
        let mut head = head(101, true, &fields);
        assert_eq!(accept(&mut head, &Method::GET, true).unwrap(), (Content::None, None));
        let want = [("connection", "upgrade"), ("sec-websocket-accept", "k"), ("upgrade", "websocket")];
        let mut left: Vec<_> =
            head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, want);
    }
}
