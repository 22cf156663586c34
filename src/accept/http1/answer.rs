//! How is the head of an answer written, and how does the client know where its body ends? RFC 9112 §6.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http::{HeaderValue, Method, Response, StatusCode, Version};
use http_body::Body;

use super::head::Head;
use crate::body::http1::outgoing::{Framing, write_field, write_status};
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
        let (stated, connection) = (headers.get(CONTENT_LENGTH), headers.get(CONNECTION));
        let framing = self.framing(answer, stated);
        let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        out.reserve(OURS + fields + framing.room());
        write_status(out, self.is_current, status);
        // A switch of protocols ends what HTTP is spoken, in its own words.
        self.keeps &= status != StatusCode::SWITCHING_PROTOCOLS
            && framing != Framing::UntilClose
            && !connection.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let mut has_date = false;
        for (name, value) in headers {
            has_date |= *name == DATE;
            if *name == CONTENT_LENGTH && framing == Framing::Chunked {
                // It was no number.
                continue;
            }
            write_field(out, name.as_str(), value.as_bytes());
        }
        match framing {
            Framing::Chunked => write_field(out, "transfer-encoding", b"chunked"),
            _ if stated.is_some() => {}
            Framing::Length(length) => {
                write_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::None | Framing::UntilClose => {}
        }
        if connection.is_none() {
            match (self.is_current, self.keeps) {
                (true, false) => write_field(out, "connection", b"close"),
                (false, true) => write_field(out, "connection", b"keep-alive"),
                (true, true) | (false, false) => {}
            }
        }
        if !has_date {
            write_field(out, "date", &format_http_date(Clock::System.now()));
        }
        out.extend_from_slice(b"\r\n");
        if self.is_head { Framing::None } else { framing }
    }

    /// How the body is framed, or would be were it not for HEAD.
    fn framing<B: Body>(self, answer: &Response<B>, stated: Option<&HeaderValue>) -> Framing {
        let has_none = matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || answer.status().is_informational();
        match stated.and_then(number).or_else(|| answer.body().size_hint().exact()) {
            _ if has_none => Framing::None,
            // Of a body that is not sent, nothing is known but what is stated.
            None | Some(0) if self.is_head => Framing::None,
            Some(length) => Framing::Length(length),
            None if self.is_current => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};

    use super::*;

    type Fields = &'static [(&'static str, &'static str)];
    type Bodies = BoxBody<Bytes, std::convert::Infallible>;
    /// How it is to be answered, status, fields, body; how the body is framed, the head but for its date, whether another
    /// request may follow, why.
    type Case = (Manner, u16, Fields, fn() -> Bodies, Framing, &'static str, bool, &'static str);

    fn manner() -> Manner {
        Manner { is_current: true, is_head: false, takes_trailers: false, keeps: true }
    }

    fn unknown() -> Bodies {
        BodyExt::boxed(StreamBody::new(futures_util::stream::pending()))
    }

    #[test]
    fn a_client_is_told_where_the_body_ends_and_whether_there_is_more() {
        let (old, head, last) = (
            Manner { is_current: false, ..manner() },
            Manner { is_head: true, ..manner() },
            Manner { keeps: false, ..manner() },
        );
        let old_last = Manner { keeps: false, ..old };
        let (none, full): (fn() -> _, fn() -> _) = (|| Empty::new().boxed(), || Full::new(Bytes::from("abc")).boxed());
        let length = Framing::Length;
        #[rustfmt::skip]
        let cases: [Case; 18] = [
            (manner(), 200, &[], full, length(3), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", true, "a length that is known"),
            (manner(), 200, &[("content-length", "3")], unknown, length(3), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", true, "or stated"),
            (manner(), 200, &[], unknown, Framing::Chunked, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", true, "neither"),
            (manner(), 404, &[], none, length(0), "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n", true, "nothing"),
            (manner(), 299, &[], none, length(0), "HTTP/1.1 299 \r\ncontent-length: 0\r\n", true, "a status without a name"),
            (manner(), 204, &[], none, Framing::None, "HTTP/1.1 204 No Content\r\n", true, "no body, and no word of one"),
            (manner(), 304, &[], none, Framing::None, "HTTP/1.1 304 Not Modified\r\n", true, "the same"),
            (manner(), 304, &[("content-length", "3")], none, Framing::None, "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n", true, "what 200 would have"),
            (head, 200, &[("content-length", "3")], none, Framing::None, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n", true, "what GET would have"),
            (head, 200, &[], none, Framing::None, "HTTP/1.1 200 OK\r\n", true, "which may be unknown"),
            (head, 200, &[], unknown, Framing::None, "HTTP/1.1 200 OK\r\n", true, "which may be unknown"),
            (last, 200, &[], full, length(3), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n", false, "the last answer"),
            (manner(), 400, &[("connection", "close")], full, length(3), "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 3\r\n", false, "one that says so itself"),
            (old, 200, &[], full, length(3), "HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n", true, "HTTP/1.0 that goes on"),
            (old_last, 200, &[], full, length(3), "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n", false, "HTTP/1.0"),
            (old, 200, &[], unknown, Framing::UntilClose, "HTTP/1.0 200 OK\r\n", false, "which has no chunks"),
            (manner(), 101, &[("connection", "upgrade"), ("upgrade", "x")], none, Framing::None, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n", false, "another protocol"),
            (manner(), 200, &[("set-cookie", "a"), ("set-cookie", "b")], full, length(3), "HTTP/1.1 200 OK\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 3\r\n", true, "lines stay lines"),
        ];
        for (mut manner, status, fields, body, framing, want, keeps, why) in cases {
            let mut answer = Response::builder().status(status);
            for (name, value) in fields {
                answer = answer.header(*name, *value);
            }
            let mut out = b"before ".to_vec();
            let found = manner.write_head(&answer.body(body()).expect("sound"), &mut out);
            let text = String::from_utf8(out).expect("text");
            let (head, date) = text.split_once("date: ").expect("a date");
            assert_eq!((head, found, manner.keeps), (format!("before {want}").as_str(), framing, keeps), "{why}");
            assert!(date.len() == 33 && date.ends_with(" GMT\r\n\r\n"), "{why}: {date}");
        }
    }

    #[test]
    fn an_answer_with_a_date_keeps_it() {
        let answer = Response::builder().header("date", "x").body(Empty::<Bytes>::new()).expect("sound");
        let mut out = Vec::new();
        manner().write_head(&answer, &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\ndate: x\r\ncontent-length: 0\r\n\r\n");
    }
}
