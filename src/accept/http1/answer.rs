//! How is the head of an answer written, and how does the client know where its body ends? RFC 9112 §6.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body;

use super::head::Head;
use crate::body::http1::outgoing::{Framing, write_field};
use crate::clock::Clock;
use crate::policy::time::format_http_date;

/// More than what is written of a head besides its fields.
const OURS: usize = 128;

/// What an answer depends on besides itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// The client speaks HTTP/1.1, not 1.0.
    pub(super) is_current: bool,
    /// It was asked for a head alone.
    pub(super) is_head: bool,
    /// Fields may follow the body.
    pub(super) takes_trailers: bool,
    /// Another request may follow.
    pub(super) keeps: bool,
}

impl Manner {
    /// How an answer to this request is sent.
    pub(super) fn of(head: &Head) -> Self {
        Self {
            is_current: head.parts.version == Version::HTTP_11,
            is_head: head.parts.method == Method::HEAD,
            takes_trailers: head.takes_trailers,
            keeps: head.keeps,
        }
    }

    /// Writes the head of an answer; how its body is framed. Afterwards it is settled whether another request may follow.
    pub(super) fn write_head<B: Body>(&mut self, answer: &Response<B>, out: &mut Vec<u8>) -> Framing {
        let (status, headers) = (answer.status(), answer.headers());
        out.reserve(OURS + headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>());
        self.write_status(status, out);
        let framing = self.framing(answer);
        // A switch of protocols ends what HTTP is spoken, in its own words.
        self.keeps &= status != StatusCode::SWITCHING_PROTOCOLS && framing != Framing::UntilClose && !closes(headers);
        for (name, value) in headers {
            write_field(out, name.as_str(), value.as_bytes());
        }
        match framing {
            Framing::Chunked => write_field(out, "transfer-encoding", b"chunked"),
            _ if headers.contains_key(CONTENT_LENGTH) => {}
            Framing::Length(length) => {
                write_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::None | Framing::UntilClose => {}
        }
        if !headers.contains_key(CONNECTION) {
            match (self.is_current, self.keeps) {
                (true, false) => write_field(out, "connection", b"close"),
                (false, true) => write_field(out, "connection", b"keep-alive"),
                (true, true) | (false, false) => {}
            }
        }
        if !headers.contains_key(DATE) {
            write_field(out, "date", &format_http_date(Clock::System.now()));
        }
        out.extend_from_slice(b"\r\n");
        if self.is_head { Framing::None } else { framing }
    }

    fn write_status(self, status: StatusCode, out: &mut Vec<u8>) {
        if self.is_current && status == StatusCode::OK {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
            return;
        }
        out.extend_from_slice(if self.is_current { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// How the body is framed, or would be were it not for HEAD.
    fn framing<B: Body>(self, answer: &Response<B>) -> Framing {
        let has_none = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || answer.status().is_informational();
        let stated = answer.headers().get(CONTENT_LENGTH).and_then(number);
        match stated.or_else(|| answer.body().size_hint().exact()) {
            _ if has_none => Framing::None,
            // Of a body that is not sent, nothing is known but what is stated.
            None | Some(0) if self.is_head => Framing::None,
            Some(length) => Framing::Length(length),
            None if self.is_current => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }
}

/// Whether an answer says that it is the last one. Ours name nothing beside it.
fn closes(headers: &HeaderMap) -> bool {
    headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}
