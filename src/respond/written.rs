//! How does a stored response look on the wire, when nothing but its age is to be added?

use bytes::Bytes;
use http::StatusCode;

use super::cache_status;
use super::head::VIA_LARDER;
use crate::cache::entry::Entry;
use crate::client::Plain;
use crate::policy::conditional;
use crate::policy::outcome::Outcome;
use crate::policy::time::Timestamp;

/// Bodies of at most so many bytes are copied behind the head: one piece is written faster than two.
const SMALL_BODY: usize = 2048;

/// More than what is written of an answer besides its fields and its body: its first line, its age, what we say of it.
const OURS: usize = 256;

/// Writes a whole stored response down as HTTP/1.1 has it, with the same fields as [`super::stored::respond`] and the library
/// would; the body where it is not behind the head. `None`: it is not that simple, or the body has more bytes than there is room
/// for.
pub fn whole(
    entry: &Entry,
    outcome: &Outcome,
    now: Timestamp,
    request: &Plain<'_>,
    answer: &mut Vec<u8>,
) -> Option<Bytes> {
    let body = entry.body.as_single().filter(|body| body.len() <= request.room && entry.part.is_none())?;
    let status = entry.head.status;
    // No body may follow these, whatever is stored; and what has no name the library completes.
    let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let reason = status.canonical_reason().filter(|_| has_body && entry.is_ready())?;
    let behind = if body.len() > SMALL_BODY { &[][..] } else { body };
    let fields = entry.head.headers.as_bytes();
    answer.reserve(fields.len() + OURS + behind.len());
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        answer.extend_from_slice(part.as_bytes());
    }
    answer.extend_from_slice(fields);
    finish(entry, outcome, now, request, answer);
    answer.extend_from_slice(behind);
    Some(if behind.is_empty() { body.clone() } else { Bytes::new() })
}

/// The same of "not modified", which has no body. `None`: the library has to complete it.
pub fn not_modified(
    entry: &Entry,
    outcome: &Outcome,
    now: Timestamp,
    request: &Plain<'_>,
    answer: &mut Vec<u8>,
) -> Option<()> {
    entry.is_ready().then_some(())?;
    answer.reserve(entry.head.headers.as_bytes().len() + OURS);
    answer.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    for line in conditional::not_modified_lines(&entry.head.headers) {
        answer.extend_from_slice(line.whole);
    }
    finish(entry, outcome, now, request, answer);
    Some(())
}

/// What differs from answer to answer, and the empty line.
fn finish(entry: &Entry, outcome: &Outcome, now: Timestamp, request: &Plain<'_>, answer: &mut Vec<u8>) {
    answer.extend_from_slice(b"age: ");
    answer.extend_from_slice(itoa::Buffer::new().format(entry.head.freshness.age(now).as_secs()).as_bytes());
    answer.extend_from_slice(b"\r\nvia: ");
    answer.extend_from_slice(VIA_LARDER.as_bytes());
    answer.extend_from_slice(b"\r\ncache-status: ");
    cache_status::write(outcome, answer);
    answer.extend_from_slice(if request.is_last { b"\r\nconnection: close\r\n\r\n" } else { b"\r\n\r\n" });
}
