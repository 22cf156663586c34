//! How does a stored response look on the wire, when nothing but its age is to be added?

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, DATE};
use http::{HeaderName, StatusCode};
use smallvec::SmallVec;

use super::cache_status;
use super::head::VIA_LARDER;
use crate::cache::entry::Entry;
use crate::policy::conditional;
use crate::policy::outcome::Outcome;
use crate::policy::time::Timestamp;

/// The bytes of an answer. Most heads fit, and so do small bodies with them.
pub type Written = SmallVec<[u8; 4096]>;

/// Bodies of at most so many bytes are copied behind the head: one piece is written faster than two.
const SMALL_BODY: usize = 2048;

/// The largest body that goes this way: it fits into what the kernel takes at once, or nearly.
const MOST_BODY: usize = 64 << 10;

/// Writes a whole stored response down as HTTP/1.1 has it, with the same fields as [`super::stored::respond`] and the library
/// would; the body where it is not behind the head. `None`: it is not that simple.
pub fn whole(entry: &Entry, outcome: &Outcome, now: Timestamp, answer: &mut Written) -> Option<Bytes> {
    let body = entry.body.as_single().filter(|body| body.len() <= MOST_BODY && entry.part.is_none())?;
    let head = entry.written_head(|| head(entry))?;
    answer.extend_from_slice(head);
    finish(entry, outcome, now, answer);
    if body.len() > SMALL_BODY {
        return Some(body.clone());
    }
    answer.extend_from_slice(body);
    Some(Bytes::new())
}

/// The same of "not modified", which has no body. `None`: the library has to complete it.
pub fn not_modified(entry: &Entry, outcome: &Outcome, now: Timestamp, answer: &mut Written) -> Option<()> {
    let headers = conditional::not_modified_fields(&entry.head.headers);
    headers.contains_key(DATE).then_some(())?;
    answer.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| **name != AGE) {
        line(name, value.as_bytes(), answer);
    }
    finish(entry, outcome, now, answer);
    Some(())
}

/// What differs from answer to answer, and the empty line.
fn finish(entry: &Entry, outcome: &Outcome, now: Timestamp, answer: &mut Written) {
    answer.extend_from_slice(b"age: ");
    answer.extend_from_slice(itoa::Buffer::new().format(entry.head.freshness.age(now).as_secs()).as_bytes());
    answer.extend_from_slice(b"\r\nvia: ");
    answer.extend_from_slice(VIA_LARDER.as_bytes());
    answer.extend_from_slice(b"\r\ncache-status: ");
    cache_status::write(outcome, answer);
    answer.extend_from_slice(b"\r\n\r\n");
}

/// The head without what differs from answer to answer, and without the empty line.
fn head(entry: &Entry) -> Option<Box<[u8]>> {
    let (status, headers) = (entry.head.status, &entry.head.headers);
    // No body may follow these, whatever is stored; and what has no name or no date the library completes.
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || !headers.contains_key(DATE) {
        return None;
    }
    let mut head = Written::new();
    for part in ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason()?, "\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers.iter().filter(|(name, _)| **name != AGE) {
        line(name, value.as_bytes(), &mut head);
    }
    if !headers.contains_key(CONTENT_LENGTH) {
        line(&CONTENT_LENGTH, itoa::Buffer::new().format(entry.body.len()).as_bytes(), &mut head);
    }
    Some(head.as_slice().into())
}

fn line(name: &HeaderName, value: &[u8], to: &mut Written) {
    to.extend_from_slice(name.as_str().as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}
