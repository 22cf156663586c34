//! How does a stored response answer this request: whole, in parts, or with "not modified"?

use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::head::finish;
use crate::body::response::{BoxResponse, ResponseBody, Source, response};
use crate::body::stored::{Cursor, Section};
use crate::cache::entry::{Entry, Head};
use crate::policy::conditional::{self, Condition};
use crate::policy::fields::FieldLines;
use crate::policy::outcome::Outcome;
use crate::policy::range::{self, ContentRange, Wanted};
use crate::policy::time::Timestamp;
use crate::policy::treatment::Treatment;

/// A request, as far as an answer from storage depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The method: GET or HEAD.
    pub method: &'a Method,
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// What the rules say.
    pub treatment: &'a Treatment,
    /// Whether fields meant for caches are shown (`server.expose_surrogate_headers`).
    pub expose_hidden: bool,
    /// The present moment.
    pub now: Timestamp,
}

/// Answers from a stored response that holds all of the representation, or the part that is wanted.
pub fn respond(entry: &Entry, asked: &Asked<'_>, outcome: &Outcome) -> BoxResponse {
    let head = &entry.head;
    match condition(head, asked) {
        Condition::NotModified => return not_modified(head, asked, outcome),
        Condition::Proceed => {}
    }
    match wanted(entry, asked) {
        Wanted::Whole => whole(entry, asked, outcome),
        Wanted::Parts(parts) => partial(entry, asked, outcome, &parts),
        Wanted::Unsatisfiable => unsatisfiable(entry, asked, outcome),
    }
}

/// What the client's conditions say of a response that is, or is about to be, stored.
pub fn condition(head: &Head, asked: &Asked<'_>) -> Condition {
    conditional::evaluate(asked.method, asked.headers, head.status, &head.headers, head.received_at)
}

/// Which bytes the client wants of it.
pub fn wanted(entry: &Entry, asked: &Asked<'_>) -> Wanted {
    if entry.head.status != StatusCode::OK && entry.part().is_none() {
        return Wanted::Whole;
    }
    range::wanted(asked.method, asked.headers, &entry.head.headers, entry.complete_length())
}

/// Whether a partial stored response holds everything that this request wants.
pub fn covers(entry: &Entry, asked: &Asked<'_>) -> bool {
    let Some(part) = entry.part() else { return true };
    let stored = part.first..part.first + entry.body.len();
    if asked.method != Method::GET {
        return false;
    }
    match wanted(entry, asked) {
        Wanted::Parts(parts) => {
            // Without the complete length, where a suffix or an open range ends is not known.
            part.complete.is_some() && parts.iter().all(|part| stored.start <= part.start && part.end <= stored.end)
        }
        Wanted::Unsatisfiable => part.complete.is_some(),
        Wanted::Whole => false,
    }
}

/// The head that a client gets, complete but for the body's length.
fn base(head: &Head, asked: &Asked<'_>, outcome: &Outcome, mut headers: HeaderMap) -> HeaderMap {
    if asked.expose_hidden {
        headers.extend(head.hidden.to_map());
    }
    finish(&mut headers, Some(head.freshness.age(asked.now).as_secs()), outcome, asked.treatment);
    headers
}

fn whole(entry: &Entry, asked: &Asked<'_>, outcome: &Outcome) -> BoxResponse {
    let headers = base(&entry.head, asked, outcome, entry.head.headers.to_map());
    let body = if asked.method == Method::HEAD {
        ResponseBody::empty()
    } else if let Some(bytes) = entry.body.as_single() {
        ResponseBody::full(bytes.clone())
    } else {
        ResponseBody::new(Source::Stored(Box::new(Cursor::new(entry.body.clone(), 0..u64::MAX))))
    };
    response(entry.head.status, headers, body)
}

/// The head of a response whose body is still arriving; `fields` are those of the head, as a map.
pub fn streaming(
    head: &Head,
    fields: HeaderMap,
    asked: &Asked<'_>,
    outcome: &Outcome,
    body: ResponseBody,
) -> BoxResponse {
    response(head.status, base(head, asked, outcome, fields), body)
}

/// RFC 9110 §15.4.5.
pub fn not_modified(head: &Head, asked: &Asked<'_>, outcome: &Outcome) -> BoxResponse {
    let lines: FieldLines = conditional::not_modified_lines(head.headers.iter()).collect();
    bare(StatusCode::NOT_MODIFIED, lines.into_map(), head, asked, outcome)
}

fn bare(status: StatusCode, headers: HeaderMap, head: &Head, asked: &Asked<'_>, outcome: &Outcome) -> BoxResponse {
    response(status, base(head, asked, outcome, headers), ResponseBody::empty())
}

/// RFC 9110 §15.5.17.
fn unsatisfiable(entry: &Entry, asked: &Asked<'_>, outcome: &Outcome) -> BoxResponse {
    let validators = entry.head.headers.iter().filter(|line| matches!(line.name, b"etag" | b"last-modified"));
    let mut headers = validators.collect::<FieldLines>().into_map();
    headers.insert(CONTENT_RANGE, range::unsatisfied_range(entry.complete_length()));
    bare(StatusCode::RANGE_NOT_SATISFIABLE, headers, &entry.head, asked, outcome)
}

/// RFC 9110 §15.3.7. What a part is of, and where parts end, rules do not change.
fn partial(entry: &Entry, asked: &Asked<'_>, outcome: &Outcome, parts: &[Range<u64>]) -> BoxResponse {
    let mut headers = base(&entry.head, asked, outcome, entry.head.headers.to_map());
    let offset = entry.part().map_or(0, |part| part.first);
    let complete = entry.complete_length();
    let stored = |part: &Range<u64>| part.start.saturating_sub(offset)..part.end.saturating_sub(offset);
    let cursor = if let [part] = parts {
        headers.insert(CONTENT_RANGE, ContentRange::of(part, complete).to_value());
        Cursor::new(entry.body.clone(), stored(part))
    } else {
        headers.remove(CONTENT_RANGE);
        let boundary = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let content_type = headers.insert(CONTENT_TYPE, value(format!("multipart/byteranges; boundary={boundary}")));
        let mut sections = Vec::with_capacity(parts.len() * 2 + 1);
        for part in parts {
            sections.push(Section::Text(part_head(&boundary, content_type.as_ref(), part, complete)));
            sections.push(Section::Range(stored(part)));
        }
        sections.push(Section::Text(format!("\r\n--{boundary}--\r\n").into()));
        Cursor::over(entry.body.clone(), sections)
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(cursor.remaining()));
    response(StatusCode::PARTIAL_CONTENT, headers, ResponseBody::new(Source::Stored(Box::new(cursor))))
}

/// RFC 9110 §14.6.
fn part_head(boundary: &str, content_type: Option<&HeaderValue>, part: &Range<u64>, complete: u64) -> Bytes {
    let mut text = format!("\r\n--{boundary}\r\n").into_bytes();
    if let Some(content_type) = content_type {
        text.extend_from_slice(b"Content-Type: ");
        text.extend_from_slice(content_type.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"Content-Range: ");
    text.extend_from_slice(ContentRange::of(part, complete).to_value().as_bytes());
    text.extend_from_slice(b"\r\n\r\n");
    text.into()
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("digits, spaces and letters are a field value")
}
