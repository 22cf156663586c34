//! What is a client told whose request's head is refused before it is a request?

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::body::http1::outgoing::{write_field, write_status};
use crate::clock::Clock;
use crate::policy::outcome::{Detail, Outcome};
use crate::policy::time::format_http_date;
use crate::respond::{self, error::Problem};

/// The whole answer to a client whose head is none that we take.
pub(super) fn malformed(status: StatusCode, reason: &'static str) -> Vec<u8> {
    let mut bytes = head(status, "http_request_error", reason);
    bytes.extend_from_slice(b"connection: close\r\ncontent-length: 0\r\n");
    write_field(&mut bytes, "date", &format_http_date(Clock::System.now()));
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// The whole answer to a client for whom there is no place, whatever it would have asked for.
pub(super) fn no_place() -> Bytes {
    let reason = "there are as many connections as server.max_connections allows";
    let mut bytes = head(StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response", reason);
    bytes.extend_from_slice(b"connection: close\r\ncontent-length: 0\r\n\r\n");
    bytes.into()
}

/// The first line of an answer, and the fields of our errors.
fn head(status: StatusCode, error: &'static str, reason: &str) -> Vec<u8> {
    let outcome = Outcome::refused(Detail::BadRequest);
    let answer = respond::error::error(&Problem { status, error, reason, outcome }, &HeaderMap::new());
    let mut bytes = Vec::new();
    write_status(&mut bytes, true, status);
    let names = ["cache-control", "age", "via", "proxy-status", "retry-after", "cache-status"];
    // Nobody has looked into the cache where not even a head was read.
    let names = names.iter().filter(|name| status.is_client_error() || **name != "cache-status");
    for (name, value) in names.filter_map(|name| Some((name, answer.headers().get(*name)?))) {
        write_field(&mut bytes, name, value.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_fields_of_our_errors() {
        let bytes = malformed(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "large");
        let text = std::str::from_utf8(&bytes).expect("ASCII");
        assert!(
            text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\ncache-control: no-store\r\nage: 0\r\n"),
            "{text}"
        );
        assert!(text.contains("proxy-status: larder; error=http_request_error; details=\"large\"\r\n"), "{text}");
        assert!(text.contains("\r\nconnection: close\r\ncontent-length: 0\r\ndate: "), "{text}");
        assert!(text.ends_with(" GMT\r\n\r\n"), "{text}");
    }

    #[test]
    fn whoever_has_no_place_is_told_when_to_come_back() {
        let answer = no_place();
        let text = std::str::from_utf8(&answer).expect("ASCII");
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nretry-after: 5\r\n") && !text.contains("cache-status"), "{text}");
        assert!(text.ends_with("\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), "{text}");
    }
}
