//! What does the head of a request say, and could anybody read it otherwise? RFC 9112 §2.2, §3, §5, §6.
//!
//! What passes here has one reading only: each line ends with CR LF, a head states at most one length, and codings are
//! `chunked` alone. What is in doubt is refused before anybody hears of it.

use std::mem::MaybeUninit;
use std::time::Instant;

use http::request::Parts;
use http::{Method, Request, StatusCode, Uri, Version};
use httparse::{Error, Header, ParserConfig, Status};

use crate::body::http1::content::Content;
use crate::body::http1::{Copied, has_whole_lines};
use crate::policy::hop::has_member;
use crate::policy::target;

/// Fields of a head; more are as bad as a head that is too large.
const MAX_FIELDS: usize = 100;

/// Empty lines before a request. RFC 9112 §2.2 asks for one; a second one costs nothing.
const EMPTY_LINES: usize = 2;

/// Digits of a Content-Length: as many as always fit into 64 bits.
const LENGTH_DIGITS: usize = 19;

/// The longest target that can be written down as one.
const MAX_URI: usize = u16::MAX as usize - 1;

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// 400, 414, 431 or 505.
    pub(super) status: StatusCode,
    /// For the client's eyes.
    pub(super) reason: &'static str,
}

pub(super) const fn bad(reason: &'static str) -> Fault {
    Fault { status: StatusCode::BAD_REQUEST, reason }
}

const MALFORMED: Fault = bad("the head of the request is malformed");
const BARE_LINE_FEED: Fault = bad("a line does not end with CR LF");
const TOO_LARGE: Fault = Fault {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: "the head is larger than server.max_header_bytes",
};
const TOO_LONG: Fault = Fault { status: StatusCode::URI_TOO_LONG, reason: "the target is too long" };
const OTHER_VERSION: Fault =
    Fault { status: StatusCode::HTTP_VERSION_NOT_SUPPORTED, reason: "the version is neither HTTP/1.1 nor HTTP/1.0" };

/// Room for the fields of one head.
pub(super) type Room<'b> = [MaybeUninit<Header<'b>>; MAX_FIELDS];

pub(super) const fn room<'b>() -> Room<'b> {
    [MaybeUninit::uninit(); MAX_FIELDS]
}

/// A head whose lines are what they should be: views into the bytes that it came in.
pub(super) struct Lines<'b> {
    pub(super) method: &'b str,
    pub(super) target: &'b str,
    /// HTTP/1.1, not 1.0.
    pub(super) is_current: bool,
    pub(super) fields: &'b [Header<'b>],
    /// All of it.
    pub(super) bytes: &'b [u8],
}

/// Reads the head that `bytes` begin with; `None`: it is not all there.
///
/// # Errors
/// It is none, or has more than `limit` bytes.
pub(super) fn read<'b>(bytes: &'b [u8], room: &'b mut Room<'b>, limit: usize) -> Result<Option<Lines<'b>>, Fault> {
    let start = bytes.chunks(2).take_while(|line| *line == b"\r\n").count();
    if start > EMPTY_LINES {
        return Err(bad("empty lines before the request"));
    }
    if bytes.get(2 * start) == Some(&b'\n') {
        return Err(BARE_LINE_FEED);
    }
    let mut request = httparse::Request::new(&mut []);
    let parsed = ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, room);
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= limit => length,
        Ok(Status::Partial) if bytes.len() <= limit => return Ok(None),
        Ok(_) => return Err(too_large(bytes)),
        Err(error) => return fault(error, bytes).map_or(Ok(None), Err),
    };
    let (Some(method), Some(target)) = (request.method, request.path) else { return Err(MALFORMED) };
    let (bytes, is_current) = (&bytes[..length], request.version == Some(1));
    if !has_whole_lines(bytes) {
        return Err(BARE_LINE_FEED);
    }
    Ok(Some(Lines { method, target, is_current, fields: request.headers, bytes }))
}

/// What outgrew the limit may be the target alone, or nearly.
fn too_large(bytes: &[u8]) -> Fault {
    let line = memchr::memchr(b'\n', bytes);
    if line.is_none_or(|end| end > target::MAX_TARGET) { TOO_LONG } else { TOO_LARGE }
}

/// What the client is told of bytes that are no head. `None`: that shows when more have come.
fn fault(error: Error, bytes: &[u8]) -> Option<Fault> {
    Some(match error {
        Error::TooManyHeaders => TOO_LARGE,
        Error::Version => {
            // It may not be all there.
            let line = &bytes[..memchr::memchr(b'\n', bytes).or((bytes.len() > target::MAX_TARGET).then_some(0))?];
            let line = line.trim_ascii_end();
            let version = memchr::memrchr(b' ', line).map_or(line, |space| &line[space + 1..]);
            let is_other = matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() && (*major != b'1' || *minor > b'1'));
            if is_other { OTHER_VERSION } else { MALFORMED }
        }
        _ => MALFORMED,
    })
}

/// A request's head, and what follows from it for its connection.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) content: Content,
    /// Another request may follow on the connection.
    pub(super) keeps: bool,
    /// The client waits for a 100 before it sends its body. RFC 9110 §10.1.1.
    pub(super) expects_continue: bool,
    /// Fields may follow the body of the answer. RFC 9110 §10.1.4.
    pub(super) takes_trailers: bool,
    /// When all of it was there.
    pub(super) received: Instant,
}

impl Head {
    /// Understands a head.
    ///
    /// # Errors
    /// It says what nobody may say, or what has two meanings.
    pub(super) fn of(lines: &Lines<'_>, received: Instant) -> Result<Self, Fault> {
        let Meaning { content, keeps, expects_continue, takes_trailers } = Meaning::of(lines)?;
        let copied = Copied::of(lines.bytes);
        let mut parts = Request::new(()).into_parts().0;
        parts.method = Method::from_bytes(lines.method.as_bytes()).map_err(|_| MALFORMED)?;
        parts.uri = uri(lines.target, &copied)?;
        parts.version = if lines.is_current { Version::HTTP_11 } else { Version::HTTP_10 };
        parts.headers = copied.fields(lines.fields).ok_or(MALFORMED)?;
        Ok(Self { parts, content, keeps, expects_continue, takes_trailers, received })
    }
}

fn uri(target: &str, copied: &Copied<'_>) -> Result<Uri, Fault> {
    if target.len() > MAX_URI {
        return Err(TOO_LONG);
    }
    if target.contains('#') {
        // A library would cut it off and go on with what is left.
        return Err(bad("a fragment in the target"));
    }
    Uri::from_maybe_shared(copied.part(target.as_bytes())).map_err(|_| MALFORMED)
}

/// What fields say of the message and its connection.
struct Meaning {
    content: Content,
    keeps: bool,
    expects_continue: bool,
    takes_trailers: bool,
}

impl Meaning {
    fn of(lines: &Lines<'_>) -> Result<Self, Fault> {
        let (mut length, mut is_chunked) = (None, false);
        let (mut closes, mut keeps) = (false, false);
        let (mut expects_continue, mut takes_trailers) = (false, false);
        for field in lines.fields {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            // By length first: most fields are compared with no name at all.
            match field.name.len() {
                2 if is("te") => takes_trailers |= has_member(field.value, b"trailers"),
                6 if is("expect") => expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue"),
                10 if is("connection") => {
                    closes |= has_member(field.value, b"close");
                    keeps |= has_member(field.value, b"keep-alive");
                }
                14 if is("content-length") => {
                    if length.is_some() {
                        // Equal ones may be taken for one (RFC 9112 §6.3), and may be refused: we do not guess.
                        return Err(bad("more than one Content-Length"));
                    }
                    length = Some(self::length(field, lines.bytes)?);
                }
                17 if is("transfer-encoding") => {
                    if is_chunked {
                        return Err(bad("more than one Transfer-Encoding"));
                    }
                    if !field.value.eq_ignore_ascii_case(b"chunked") || has_tab(field, lines.bytes) {
                        return Err(bad("a Transfer-Encoding other than chunked alone"));
                    }
                    is_chunked = true;
                }
                _ => {}
            }
        }
        let content = match length {
            Some(_) if is_chunked => return Err(bad("Content-Length together with Transfer-Encoding")),
            None if is_chunked && !lines.is_current => return Err(bad("Transfer-Encoding in HTTP/1.0")),
            None if is_chunked => Content::CHUNKED,
            Some(length) if length > 0 => Content::Length(length),
            _ => Content::None,
        };
        let keeps = !closes && (lines.is_current || keeps);
        let expects_continue = expects_continue && lines.is_current;
        Ok(Self { content, keeps, expects_continue, takes_trailers })
    }
}

/// A length: digits. RFC 9112 §6.2.
fn length(field: &Header<'_>, head: &[u8]) -> Result<u64, Fault> {
    let digits = field.value;
    let is_number = (1..=LENGTH_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    if !is_number || has_tab(field, head) {
        return Err(bad("Content-Length is not a number"));
    }
    Ok(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// Whether there are tabs around a field's value: the grammar has them there, and some readers do not.
fn has_tab(field: &Header<'_>, head: &[u8]) -> bool {
    let name_end = field.name.as_ptr() as usize - head.as_ptr() as usize + field.name.len();
    let line = &head[name_end..];
    memchr::memchr(b'\t', &line[..memchr::memchr(b'\r', line).unwrap_or(line.len())]).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const LIMIT: usize = 65_536;

    /// What is made of these bytes: nothing yet, a head and what is behind it, or a refusal's status.
    fn head(bytes: &[u8]) -> Result<Option<(Head, &[u8])>, u16> {
        let mut room = room();
        let understood = read(bytes, &mut room, LIMIT).and_then(|lines| {
            lines.map(|lines| Ok((Head::of(&lines, Instant::now())?, &bytes[lines.bytes.len()..]))).transpose()
        });
        understood.map_err(|fault| fault.status.as_u16())
    }

    #[test]
    fn what_has_one_reading_is_understood_once_it_is_whole() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\nCookie: {}", "x".repeat(500), "c".repeat(900));
        let cases: [(&str, Content, bool, bool, &str); 15] = [
            ("GET / HTTP/1.1\r\nHost: a", Content::None, true, false, "nothing but a host"),
            ("GET / HTTP/1.1\r\nConnection: x, Close", Content::None, false, false, "the last one"),
            (
                "GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive",
                Content::None,
                false,
                false,
                "so is this",
            ),
            ("GET / HTTP/1.0", Content::None, false, false, "HTTP/1.0"),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive", Content::None, true, false, "HTTP/1.0 that goes on"),
            ("\r\nGET / HTTP/1.1\r\nHost: a", Content::None, true, false, "an empty line before"),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a", Content::None, true, false, "or two"),
            ("POST / HTTP/1.1\r\nContent-Length: 3", Content::Length(3), true, false, "a length"),
            ("POST / HTTP/1.1\r\ncontent-length:  0  ", Content::None, true, false, "a body of nothing"),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked", Content::CHUNKED, true, false, "chunks"),
            (
                "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3",
                Content::Length(3),
                true,
                true,
                "an expectation",
            ),
            (
                "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3",
                Content::Length(3),
                false,
                false,
                "which HTTP/1.0 has not",
            ),
            (
                "GET / HTTP/1.1\r\nX-Content-Length: x\r\nX: \t y\t ",
                Content::None,
                true,
                false,
                "names that only look like it",
            ),
            ("GET /HTTP/3.0 HTTP/1.1\r\nEmpty:", Content::None, true, false, "a version in the target"),
            (&long, Content::None, true, false, "long lines"),
        ];
        for (text, content, keeps, expects_continue, why) in cases {
            let whole = format!("{text}\r\n\r\nbehind");
            let end = whole.len() - "behind".len();
            for length in 0..end {
                assert!(matches!(head(&whole.as_bytes()[..length]), Ok(None)), "{why}: {length} bytes of it");
            }
            let (found, behind) = head(whole.as_bytes()).expect(why).expect(why);
            assert_eq!(
                (found.content, found.keeps, found.expects_continue),
                (content, keeps, expects_continue),
                "{why}"
            );
            assert_eq!(behind, b"behind", "{why}");
        }
    }

    #[test]
    fn what_is_understood_is_what_was_written() {
        let text = "BREW /a?b=%20 HTTP/1.1\r\nHost:a\r\nX:  one \r\nx: é\r\nEmpty:\r\nTE: trailers\r\n\r\n";
        let (found, _) = head(text.as_bytes()).expect("sound").expect("whole");
        let Parts { method, uri, version, headers, .. } = found.parts;
        assert_eq!((method.as_str(), uri.to_string().as_str(), version), ("BREW", "/a?b=%20", Version::HTTP_11));
        let fields: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let want: [(&str, &[u8]); 5] =
            [("host", b"a"), ("x", b"one"), ("x", b"\xc3\xa9"), ("empty", b""), ("te", b"trailers")];
        assert_eq!(fields, want);
        assert!(found.takes_trailers);
    }

    #[test]
    fn what_has_two_readings_or_none_is_refused() {
        let (get, post) = ("GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n");
        let long = format!("Content-Length: {}3", "0".repeat(20));
        let cases: [(&str, &str, &str); 40] = [
            (get, "Host: a\nX: y", "a line that ends with LF alone"),
            ("GET / HTTP/1.1\n", "Host: a", "a request line that does"),
            ("\n", "GET / HTTP/1.1\r\nHost: a", "an empty line before the request that does"),
            ("\r\n\r\n\r\n", "GET / HTTP/1.1", "many empty lines"),
            ("GET /x#y HTTP/1.1\r\n", "Host: a", "a fragment"),
            ("GET  / HTTP/1.1\r\n", "Host: a", "two spaces"),
            ("GET /x y HTTP/1.1\r\n", "Host: a", "a space in the target"),
            ("G@T / HTTP/1.1\r\n", "Host: a", "a method that is none"),
            ("nonsense\r\n", "Host: a", "no request line"),
            ("GET /\r\n", "Host: a", "HTTP/0.9"),
            ("GET / HTTP/11.1\r\n", "Host: a", "no version"),
            (get, "Host : a", "a space before the colon"),
            (get, "Host: a\r\n b", "a folded line"),
            (get, "Host", "no colon"),
            (get, "Host: a\0b", "NUL"),
            (get, "Host: a\rb", "a bare CR"),
            (post, "Content-Length: 3\r\nContent-Length: 3", "two lengths, though equal"),
            (post, "Content-Length: 3\r\ncontent-length: 4", "two lengths"),
            (post, "Content-Length: 3\r\nTransfer-Encoding: chunked", "a length and chunks"),
            (post, "Transfer-Encoding: chunked\r\nContent-Length: 3", "chunks and a length"),
            (post, "Content-Length: +3", "a sign"),
            (post, "Content-Length: -3", "another"),
            (post, "Content-Length: 0x3", "hexadecimal"),
            (post, "Content-Length: 3, 3", "a list"),
            (post, "Content-Length: 3 3", "two numbers"),
            (post, "Content-Length: 3_0", "an underscore"),
            (post, "Content-Length: 3.0", "a fraction"),
            (post, "Content-Length: \t3", "a tab"),
            (post, "Content-Length: 3\t", "a tab behind it"),
            (post, "Content-Length:", "no number"),
            (post, "Content-Length: 18446744073709551616", "an overflow"),
            (post, &long, "more zeros than anybody needs"),
            (post, "Transfer-Encoding: xchunked", "another coding"),
            (post, "Transfer-Encoding: gzip, chunked", "two"),
            (post, "Transfer-Encoding: chunked;q=1", "with a parameter"),
            (post, "Transfer-Encoding: \tchunked", "a tab"),
            (post, "Transfer-Encoding: \x0bchunked", "a vertical tab"),
            (post, "Transfer-Encoding:", "nothing"),
            (post, "Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: identity", "and another"),
            ("POST / HTTP/1.0\r\n", "Transfer-Encoding: chunked", "a coding that HTTP/1.0 has not"),
        ];
        for (line, fields, why) in cases {
            let whole = format!("{line}{fields}\r\n\r\n");
            assert_eq!(head(whole.as_bytes()).err(), Some(400), "{why}");
            for length in 0..whole.len() {
                let found = head(&whole.as_bytes()[..length]);
                assert!(matches!(found, Ok(None) | Err(400)), "{why}: {length} bytes of it are a head");
            }
        }
        assert_eq!(head(format!("{get}Host: a\r\n\n").as_bytes()).err(), Some(400), "LF alone at the end");
    }

    #[test]
    fn versions_that_are_not_ours_have_their_own_status() {
        for (version, want) in
            [("HTTP/1.2", 505), ("HTTP/2.0", 505), ("HTTP/0.9", 505), ("HTTP/2", 400), ("http/1.1", 400)]
        {
            let whole = format!("GET / {version}\r\n\r\n");
            assert_eq!(head(whole.as_bytes()).err(), Some(want), "{version}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_for_what_is_large() {
        let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(count));
        let cases = [
            (lines(100), None, "as many fields as there may be"),
            (lines(101), Some(431), "one more"),
            (format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(LIMIT)), Some(431), "a field that does not end"),
            (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(LIMIT)), Some(431), "or does too late"),
            (format!("GET /{}", "x".repeat(LIMIT)), Some(414), "a target that does not end"),
            (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LIMIT)), Some(414), "or does too late"),
        ];
        for (text, want, why) in cases {
            assert_eq!(head(text.as_bytes()).err(), want, "{why}");
        }
    }

    proptest! {
        /// What is a head when it comes at once is that head when it comes in pieces, and what is refused then is not taken
        /// for one before: however much has come, there is one reading.
        #[test]
        fn a_head_reads_the_same_however_it_comes(
            pieces in vec(select(vec![
                "GET", " ", "/", "x", "*", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "\r\n", "\r\n", "\r\n", "\n", "\r", "\t", ":", ": ",
                "Host: a", "Content-Length: ", "3", "Transfer-Encoding: chunked", "Connection: close", "\0", "é", "#",
                "GET / HTTP/1.1\r\n", "X: y\r\n", "\r\n\r\n",
            ]), 0..24)
        ) {
            let text = pieces.concat();
            let whole = head(text.as_bytes()).map(|found| found.map(|(head, behind)| (head.parts.headers, behind.len())));
            for length in 0..text.len() {
                match (head(&text.as_bytes()[..length]), &whole) {
                    (Ok(None), _) | (Err(_), Err(_)) => {}
                    (Ok(Some((early, behind))), Ok(Some((headers, left)))) => {
                        prop_assert_eq!((&early.parts.headers, behind.len() + text.len() - length), (headers, *left));
                    }
                    (early, _) => prop_assert!(false, "{} bytes of {:?}: {:?}", length, text, early.map(|found| found.is_some())),
                }
            }
        }
    }
}
