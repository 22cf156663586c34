//! How does a stored response look on the wire, when it answers as a whole, in one part, or with "not modified"?

use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_RANGE, DATE};

use super::cache_status;
use super::head::{VIA_LARDER, browser_directives};
use super::stored::Asked;
use crate::cache::entry::Entry;
use crate::client::Plain;
use crate::policy::conditional;
use crate::policy::fields::{Fields as _, Line};
use crate::policy::outcome::Outcome;
use crate::policy::range::ContentRange;
use crate::policy::treatment::Treatment;

/// Bodies of at most so many bytes are copied behind the head: one piece is written faster than two.
const SMALL_BODY: usize = 2048;

/// More than what is written of an answer besides its fields and its body: its first line, its age, what we say of it.
const OURS: usize = 256;

/// A stored response that answers a request, with nothing to be added but its age, what we say of it, and what rules do.
pub struct Hit<'a> {
    /// What is stored.
    pub entry: &'a Entry,
    /// What is said of it.
    pub outcome: &'a Outcome,
    /// What it answers.
    pub request: &'a Plain<'a>,
    /// The same, as far as an answer from storage depends on it.
    pub asked: &'a Asked<'a>,
}

impl Hit<'_> {
    /// Whether what rules do to answers can be written here. Where they take off the date, another one is put in; and
    /// what a part is of, they do not change.
    pub fn can_follow(treatment: &Treatment) -> bool {
        ![DATE, CONTENT_RANGE].iter().any(|name| treatment.response_headers.concern(name.as_str().as_bytes()))
    }

    /// Writes all of it down as HTTP/1.1 has it, with the same fields as [`super::stored::respond`] and `accept` would; the
    /// body where it is not behind the head. `None`: it is not that simple, or the body has more bytes than there is room for.
    pub fn whole(&self, answer: &mut Vec<u8>) -> Option<Bytes> {
        let entry = self.entry;
        let body = entry.body.as_single().filter(|body| body.len() <= self.request.room && entry.part().is_none())?;
        let status = entry.head.status;
        // No body may follow these, whatever is stored; and what is not complete is not written here.
        let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let reason = status.canonical_reason().filter(|_| has_body && entry.is_ready())?;
        self.begin(answer, ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"], body);
        if self.is_edited() {
            self.add_lines(answer, entry.head.headers.iter());
        } else {
            write(answer, entry.head.headers.pieces());
        }
        self.end(answer);
        Some(behind(answer, body))
    }

    /// The same of one part of it, 206. RFC 9110 §15.3.7.
    pub fn part(&self, part: &Range<u64>, answer: &mut Vec<u8>) -> Option<Bytes> {
        let entry = self.entry;
        let fits = part.end - part.start <= self.request.room as u64;
        (fits && entry.is_ready() && entry.part().is_none()).then_some(())?;
        let body = entry.body.slice(part.clone());
        let body = body.as_single()?;
        self.begin(answer, ["HTTP/1.1 206 Partial Content\r\n"], body);
        let others =
            entry.head.headers.iter().filter(|line| !matches!(line.name, b"content-length" | b"content-range"));
        self.add_lines(answer, others);
        let range = ContentRange::of(part, entry.complete_length()).to_value();
        self.add(answer, "content-range", range.as_bytes());
        self.add(answer, "content-length", itoa::Buffer::new().format(body.len()).as_bytes());
        self.end(answer);
        Some(behind(answer, body))
    }

    /// The same of "not modified", which has no body. `None`: it has to be completed.
    pub fn not_modified(&self, answer: &mut Vec<u8>) -> Option<()> {
        self.entry.is_ready().then_some(())?;
        self.begin(answer, ["HTTP/1.1 304 Not Modified\r\n"], &[]);
        self.add_lines(answer, conditional::not_modified_lines(self.entry.head.headers.iter()));
        self.end(answer);
        Some(())
    }

    /// The first line, and room for the rest.
    fn begin<const PARTS: usize>(&self, answer: &mut Vec<u8>, status: [&str; PARTS], body: &[u8]) {
        let behind = if body.len() > SMALL_BODY { 0 } else { body.len() };
        answer.reserve(self.entry.head.headers.length() + OURS + behind);
        write(answer, status.map(str::as_bytes));
    }

    /// Whether rules change fields on their way to clients.
    fn is_edited(&self) -> bool {
        let treatment = self.asked.treatment;
        treatment.browser_ttl.is_some() || !treatment.response_headers.is_empty()
    }

    /// Stored lines, but for those that rules take off or write anew.
    fn add_lines<'l>(&self, answer: &mut Vec<u8>, lines: impl Iterator<Item = Line<'l>>) {
        let Treatment { browser_ttl, response_headers, .. } = self.asked.treatment;
        for line in lines {
            let is_told_anew = browser_ttl.is_some() && matches!(line.name, b"cache-control" | b"expires");
            if !is_told_anew && !response_headers.concern(line.name) {
                answer.extend_from_slice(line.whole);
            }
        }
    }

    /// A field of ours, unless rules have their own word on it.
    fn add(&self, answer: &mut Vec<u8>, name: &str, value: &[u8]) {
        if !self.asked.treatment.response_headers.concern(name.as_bytes()) {
            write(answer, [name.as_bytes(), b": ", value, b"\r\n"]);
        }
    }

    /// What differs from answer to answer, what rules set, and the empty line.
    fn end(&self, answer: &mut Vec<u8>) {
        let age = self.entry.head.freshness.age(self.asked.now).as_secs();
        if self.is_edited() {
            self.add_ours(answer, age);
        } else {
            // The same, in as few pieces as there can be.
            write(answer, [b"age: ", itoa::Buffer::new().format(age).as_bytes(), b"\r\nvia: ", VIA_LARDER.as_bytes()]);
            answer.extend_from_slice(b"\r\ncache-status: ");
            cache_status::write(self.outcome, |part| answer.extend_from_slice(part));
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(if self.request.is_last { b"connection: close\r\n\r\n" } else { b"\r\n" });
    }

    /// What every answer gets, and what rules make of it.
    fn add_ours(&self, answer: &mut Vec<u8>, age: u64) {
        let Treatment { browser_ttl, response_headers, .. } = self.asked.treatment;
        let age = if browser_ttl.is_some() { 0 } else { age };
        self.add(answer, "age", itoa::Buffer::new().format(age).as_bytes());
        self.add(answer, "via", VIA_LARDER.as_bytes());
        self.add(answer, cache_status::NAME.as_str(), cache_status::value(self.outcome).as_bytes());
        if let Some(ttl) = browser_ttl {
            let told = browser_directives(self.entry.head.headers.lines(&CACHE_CONTROL), *ttl);
            self.add(answer, "cache-control", told.as_bytes());
        }
        for (name, value) in &response_headers.set {
            write(answer, [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
}

fn write<const PARTS: usize>(answer: &mut Vec<u8>, parts: [&[u8]; PARTS]) {
    for part in parts {
        answer.extend_from_slice(part);
    }
}

/// Puts a small body behind its head; what is left of it to be sent.
fn behind(answer: &mut Vec<u8>, body: &Bytes) -> Bytes {
    if body.len() > SMALL_BODY {
        return body.clone();
    }
    answer.extend_from_slice(body);
    Bytes::new()
}
