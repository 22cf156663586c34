//! What is a client told whose request's head is refused before it is a request?

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::policy::outcome::{Detail, Outcome};
use crate::respond::{self, error::Problem};

/// The library's refusal of a head it could not read, with the fields that our errors have. Its own fields stay.
/// `reason`: what we know better than its status says.
pub(super) fn spell_out(status: StatusCode, reason: Option<&'static str>, refusal: &[u8]) -> Option<Bytes> {
    let reason = match status {
        _ if reason.is_some() => reason?,
        StatusCode::BAD_REQUEST => "the head of the request is malformed",
        StatusCode::URI_TOO_LONG => "the target is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the head is larger than server.max_header_bytes",
        _ => return None,
    };
    let line_end = memchr::memmem::find(refusal, b"\r\n")? + 2;
    let mut bytes = head(status, "http_request_error", reason);
    // The body stays empty: the library has said so in its Content-Length.
    bytes.extend_from_slice(&refusal[line_end..]);
    Some(bytes.into())
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
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    let names = ["cache-control", "age", "via", "proxy-status", "retry-after", "cache-status"];
    // Nobody has looked into the cache where not even a head was read.
    let names = names.iter().filter(|name| status.is_client_error() || **name != "cache-status");
    for (name, value) in names.filter_map(|name| Some((name, answer.headers().get(*name)?))) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_librarys_gets_the_fields_of_ours() {
        let refusal = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let bytes = spell_out(status, None, refusal).expect("431 is spelt out");
        let text = std::str::from_utf8(&bytes).expect("ASCII");
        assert!(
            text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\ncache-control: no-store\r\nage: 0\r\n"),
            "{text}"
        );
        assert!(text.contains("proxy-status: larder; error=http_request_error; details="), "{text}");
        assert!(text.ends_with("\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), "{text}");
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
