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

/// A stored response that answers a request, with nothing but its age and what we say of it to be added.
pub struct Hit<'a> {
    /// What is stored.
    pub entry: &'a Entry,
    /// What is said of it.
    pub outcome: &'a Outcome,
    /// When it answers.
    pub now: Timestamp,
    /// What it answers.
    pub request: &'a Plain<'a>,
}

impl Hit<'_> {
    /// Writes all of it down as HTTP/1.1 has it, with the same fields as [`super::stored::respond`] and the library would; the
    /// body where it is not behind the head. `None`: it is not that simple, or the body has more bytes than there is room for.
    pub fn whole(&self, answer: &mut Vec<u8>) -> Option<Bytes> {
        let &Self { entry, request, .. } = self;
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
        self.finish(answer);
        answer.extend_from_slice(behind);
        Some(if behind.is_empty() { body.clone() } else { Bytes::new() })
    }

    /// The same of "not modified", which has no body. `None`: the library has to complete it.
    pub fn not_modified(&self, answer: &mut Vec<u8>) -> Option<()> {
        let fields = &self.entry.head.headers;
        self.entry.is_ready().then_some(())?;
        answer.reserve(fields.as_bytes().len() + OURS);
        answer.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
        for line in conditional::not_modified_lines(fields) {
            answer.extend_from_slice(line.whole);
        }
        self.finish(answer);
        Some(())
    }

    /// What differs from answer to answer, and the empty line.
    fn finish(&self, answer: &mut Vec<u8>) {
        let age = self.entry.head.freshness.age(self.now).as_secs();
        answer.extend_from_slice(b"age: ");
        answer.extend_from_slice(itoa::Buffer::new().format(age).as_bytes());
        answer.extend_from_slice(b"\r\nvia: ");
        answer.extend_from_slice(VIA_LARDER.as_bytes());
        answer.extend_from_slice(b"\r\ncache-status: ");
        cache_status::write(self.outcome, |part| answer.extend_from_slice(part));
        answer.extend_from_slice(if self.request.is_last { b"\r\nconnection: close\r\n\r\n" } else { b"\r\n\r\n" });
    }
}
