//! Where does each message of an HTTP/1 client end, and could anybody read that otherwise? (RFC 9112)
//!
//! The library reads the same bytes after us, and more kindly. What passes here has one reading only: each line ends
//! with CR LF, a head states at most one length, chunks are as the grammar has them. So this reading and the library's
//! are the same, over any number of requests, and where they could part the bytes end and the connection with them.

use http::{HeaderName, StatusCode};

use crate::policy::{chunk, hop};

/// What is kept of a line that comes in pieces. A line that matters is shorter, but for the extensions of a chunk: who
/// needs more of them than fit here is not after their meaning.
const KEPT: usize = 128;

/// Digits of a Content-Length: as many as always fit into 64 bits.
const LENGTH_DIGITS: usize = 19;

/// Empty lines before a request. RFC 9112 §2.2 asks for one; a second one costs nothing.
const EMPTY_LINES: u8 = 2;

/// Trailer fields after one body. The library counts to a hundred; nobody sends so many.
const TRAILERS: u8 = 32;

/// Bytes that may go no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// How many of the bytes at hand may still go on. What is in doubt is never complete without the next one.
    pub(crate) at: usize,
    /// What becomes of the connection.
    pub(crate) place: Place,
    /// 400, or 505 for a version that is none of ours.
    pub(crate) status: StatusCode,
    /// For the client's eyes.
    pub(crate) reason: &'static str,
}

/// Where bytes went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a head: nobody has seen it, it can be refused.
    Head,
    /// In a body whose head has gone on.
    Body,
    /// After a request to become another protocol: they may be meant for that, though it is too early. RFC 9110 §7.8.
    AfterUpgrade,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A request's first line, or one of so many empty lines before it.
    Start(u8),
    Fields,
    /// So many bytes of a body with a length.
    Content(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    /// After the last chunk; so many fields have been there.
    Trailers(u8),
}

/// The framing of a connection's requests, as far as it has come.
#[derive(Debug)]
pub(crate) struct Framing {
    part: Part,
    /// What the head says so far.
    length: Option<u64>,
    is_chunked: bool,
    /// The last head asked for another protocol.
    has_upgrade: bool,
    /// Bytes of the last request line, as far as it has come.
    request_line: usize,
    /// Whole heads, ever.
    heads: u32,
    line: Line,
}

/// A fault without its place: what is wrong with a line.
type Wrong = (StatusCode, &'static str);

const fn bad(reason: &'static str) -> Wrong {
    (StatusCode::BAD_REQUEST, reason)
}

impl Framing {
    /// A connection before its first byte.
    pub(crate) const fn new() -> Self {
        Self {
            part: Part::Start(0),
            length: None,
            is_chunked: false,
            has_upgrade: false,
            request_line: 0,
            heads: 0,
            line: Line::new(),
        }
    }

    /// Whether a request's first line has begun and not ended.
    pub(crate) fn is_in_request_line(&self) -> bool {
        matches!(self.part, Part::Start(_)) && self.line.length > 0
    }

    /// Whether the next byte begins a request.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.part == Part::Start(0) && self.line.length == 0
    }

    /// Bytes of the last request line, as far as it has come.
    pub(crate) const fn request_line(&self) -> usize {
        self.request_line
    }

    /// How many heads have been whole so far; wraps.
    pub(crate) const fn heads(&self) -> u32 {
        self.heads
    }

    /// Reads on. Nothing may be read after a fault.
    ///
    /// # Errors
    /// The bytes are, or may be taken for, something else than what the library will read in them.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut at = 0;
        // Where the last byte of a head is among these bytes: it can still be kept back.
        let mut head_end = None;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.part {
                Part::Content(left) => at += self.skip(left, rest, Part::Content, Part::Start(0)),
                Part::Chunk(left) => at += self.skip(left, rest, Part::Chunk, Part::ChunkEnd),
                _ => {
                    let part = self.part;
                    let length = memchr::memchr(b'\n', rest);
                    if matches!(part, Part::Start(_)) {
                        let before = if self.line.length == 0 { 0 } else { self.request_line };
                        self.request_line = before + length.unwrap_or(rest.len());
                    }
                    if let Err(wrong) = self.read_line(rest, length) {
                        return Err(self.fault(wrong, at + length.unwrap_or(rest.len()), head_end));
                    }
                    at += length.map_or(rest.len(), |length| length + 1);
                    if part == Part::Fields && self.part != Part::Fields {
                        head_end = Some(at - 1);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes of `rest` what is `left` of a part; how much that is.
    fn skip(&mut self, left: u64, rest: &[u8], part: fn(u64) -> Part, next: Part) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let left = left - taken as u64;
        self.part = if left == 0 { next } else { part(left) };
        taken
    }

    fn fault(&self, (status, reason): Wrong, at: usize, head_end: Option<usize>) -> Fault {
        let is_in_head = matches!(self.part, Part::Start(_) | Part::Fields);
        let (at, place) = match head_end {
            // The head came with it: then nobody needs to see even that.
            Some(head_end) if !is_in_head => (head_end, Place::Head),
            None if !is_in_head => (at, Place::Body),
            _ if self.has_upgrade => (at, Place::AfterUpgrade),
            _ => (at, Place::Head),
        };
        Fault { at, place, status, reason }
    }

    /// Reads the line that `rest` goes on with, `length` bytes before its LF, or all of it when that is yet to come.
    fn read_line(&mut self, rest: &[u8], length: Option<usize>) -> Result<(), Wrong> {
        let is_start = matches!(self.part, Part::Start(_));
        if is_start && memchr::memchr(b'#', &rest[..length.unwrap_or(rest.len())]).is_some() {
            // The library would cut it off and go on with what is left.
            return Err(bad("a fragment in the target"));
        }
        let Some(length) = length else {
            self.line.keep(rest, is_start);
            return if self.is_chunk_line() && self.line.length > KEPT { Err(LONG_CHUNK_LINE) } else { Ok(()) };
        };
        if self.line.length == 0 {
            return self.judge(&rest[..length], true);
        }
        self.line.keep(&rest[..length], is_start);
        let mut line = std::mem::replace(&mut self.line, Line::new());
        let is_whole = line.length <= KEPT;
        self.judge(line.kept(), is_whole)
    }

    const fn is_chunk_line(&self) -> bool {
        matches!(self.part, Part::ChunkSize | Part::ChunkEnd)
    }

    /// What follows from a line, given without its LF. Not `is_whole`: only some of it is there, the last byte is not.
    fn judge(&mut self, line: &[u8], is_whole: bool) -> Result<(), Wrong> {
        let Some((b'\r', line)) = line.split_last() else { return Err(bad("a line does not end with CR LF")) };
        match self.part {
            Part::Start(empty) => self.start(line, empty),
            Part::Fields if line.is_empty() => {
                self.end_head();
                Ok(())
            }
            Part::Fields => self.field(line, is_whole),
            Part::ChunkSize => self.chunk_size(line, is_whole),
            Part::ChunkEnd if line.is_empty() => {
                self.part = Part::ChunkSize;
                Ok(())
            }
            Part::ChunkEnd => Err(bad("a chunk is longer than its size")),
            Part::Trailers(count) => self.trailer(line, count),
            Part::Content(_) | Part::Chunk(_) => unreachable!("these are not made of lines"),
        }
    }

    fn start(&mut self, line: &[u8], empty: u8) -> Result<(), Wrong> {
        if line.is_empty() {
            self.part = Part::Start(empty + 1);
            return if empty < EMPTY_LINES { Ok(()) } else { Err(bad("empty lines before the request")) };
        }
        let version = memchr::memrchr(b' ', line).map_or(line, |space| &line[space + 1..]);
        if let [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] = version
            && major.is_ascii_digit()
            && minor.is_ascii_digit()
            && (*major != b'1' || *minor > b'1')
        {
            return Err((StatusCode::HTTP_VERSION_NOT_SUPPORTED, "the version is neither HTTP/1.1 nor HTTP/1.0"));
        }
        (self.part, self.length, self.is_chunked, self.has_upgrade) = (Part::Fields, None, false, false);
        Ok(())
    }

    fn end_head(&mut self) {
        self.heads = self.heads.wrapping_add(1);
        self.part = match self.length {
            _ if self.is_chunked => Part::ChunkSize,
            Some(length) if length > 0 => Part::Content(length),
            _ => Part::Start(0),
        };
    }

    /// Looks at the fields that say where the body ends. RFC 9112 §6.
    fn field(&mut self, line: &[u8], is_whole: bool) -> Result<(), Wrong> {
        // Most fields begin otherwise.
        if !matches!(line[0] | 0x20, b'c' | b't' | b'u') {
            return Ok(());
        }
        let Some(colon) = memchr::memchr(b':', line) else { return Ok(()) };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"content-length") {
            self.read_length(spaceless(value))?;
        } else if is(b"transfer-encoding") {
            if self.is_chunked {
                return Err(bad("more than one Transfer-Encoding"));
            }
            if !is_whole || !spaceless(value).eq_ignore_ascii_case(b"chunked") {
                return Err(bad("a Transfer-Encoding other than chunked alone"));
            }
            self.is_chunked = true;
        } else if is(b"upgrade") {
            self.has_upgrade = true;
        }
        if self.is_chunked && self.length.is_some() {
            return Err(bad("Content-Length together with Transfer-Encoding"));
        }
        Ok(())
    }

    fn read_length(&mut self, digits: &[u8]) -> Result<(), Wrong> {
        if self.length.is_some() {
            // Equal ones may be taken for one (RFC 9112 §6.3), and may be refused: we do not guess.
            return Err(bad("more than one Content-Length"));
        }
        let is_number = (1..=LENGTH_DIGITS).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        if !is_number {
            return Err(bad("Content-Length is not a number"));
        }
        self.length = Some(digits.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn chunk_size(&mut self, line: &[u8], is_whole: bool) -> Result<(), Wrong> {
        if !is_whole || line.len() >= KEPT {
            return Err(LONG_CHUNK_LINE);
        }
        let size = chunk::size(line).map_err(bad)?;
        self.part = if size == 0 { Part::Trailers(0) } else { Part::Chunk(size) };
        Ok(())
    }

    /// RFC 9110 §6.5.1: what a recipient had to know before the body cannot come after it.
    fn trailer(&mut self, line: &[u8], count: u8) -> Result<(), Wrong> {
        if line.is_empty() {
            self.part = Part::Start(0);
            return Ok(());
        }
        let name = memchr::memchr(b':', line).and_then(|colon| HeaderName::from_bytes(&line[..colon]).ok());
        if name.is_none_or(|name| !hop::may_trail(&name)) {
            return Err(bad("a field that may not follow the body"));
        }
        self.part = Part::Trailers(count + 1);
        if count < TRAILERS { Ok(()) } else { Err(bad("too many fields after the body")) }
    }
}

const LONG_CHUNK_LINE: Wrong = bad("the line with a chunk's size is too long");

/// A value without the spaces around it. Tabs stay: the grammar has them, and some readers do not.
fn spaceless(mut value: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = value {
        value = rest;
    }
    value
}

/// A line that has begun and not ended.
#[derive(Debug)]
struct Line {
    bytes: [u8; KEPT],
    /// Bytes so far, of which as many as there is room for are kept.
    length: usize,
    last: u8,
}

impl Line {
    const fn new() -> Self {
        Self { bytes: [0; KEPT], length: 0, last: 0 }
    }

    /// Keeps a piece. `only_version`: nothing before a space is needed, as in a request's first line.
    fn keep(&mut self, mut piece: &[u8], only_version: bool) {
        let Some(&last) = piece.last() else { return };
        self.last = last;
        if only_version && let Some(space) = memchr::memrchr(b' ', piece) {
            self.length = 0;
            piece = &piece[space..];
        }
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        let fits = room.len().min(piece.len());
        room[..fits].copy_from_slice(&piece[..fits]);
        self.length = self.length.saturating_add(piece.len());
    }

    /// What there is of the line, with its last byte in the last place.
    fn kept(&mut self) -> &[u8] {
        if self.length > KEPT {
            self.bytes[KEPT - 1] = self.last;
        }
        &self.bytes[..self.length.min(KEPT)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the bytes are read when they come in pieces of this size: where they stop, and why.
    fn read(text: &[u8], piece: usize) -> Option<(usize, Place, StatusCode)> {
        let mut framing = Framing::new();
        let mut at = 0;
        for piece in text.chunks(piece) {
            if let Err(fault) = framing.read(piece) {
                return Some((at + fault.at, fault.place, fault.status));
            }
            at += piece.len();
        }
        None
    }

    #[test]
    fn what_has_one_reading_passes_however_it_comes() {
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "x".repeat(500), "c".repeat(900));
        let cases: [(&str, &str); 13] = [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\n\r\n", "two requests"),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "an empty line before"),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n", "a body is not looked at"),
            ("POST / HTTP/1.1\r\ncontent-length:  0  \r\n\r\nGET / HTTP/1.1\r\n\r\n", "a body of nothing"),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\n\n\n\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
                "chunks",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0000000a;x=\"y\"\r\n0123456789\r\n00\r\n\r\n",
                "extensions",
            ),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\nEtag: \"z\"\r\n\r\n", "trailers"),
            (
                "GET / HTTP/1.1\r\nUpgrade: x\r\nTE: trailers\r\nX-Content-Length: x\r\n\r\n",
                "names that only look like it",
            ),
            ("nonsense\r\n : \r\n\r\n", "what the library refuses by itself is left to it"),
            ("GET / HTTP/1.1\r\nContent-Length : 3\r\n\r\n", "so is a name with a space"),
            ("GET / HTTP/1.1\r\nTransfer-Encoding\r\n\r\n", "and a field without a colon"),
            ("GET /HTTP/3.0 HTTP/1.1\r\n\r\n", "a version in the target"),
            (&long, "longer than what is kept of a line"),
        ];
        for (text, why) in cases {
            for piece in [1, 2, 3, 7, 64, 4096] {
                assert_eq!(read(text.as_bytes(), piece), None, "{why}, in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_has_two_readings_stops_before_it_is_complete() {
        let [get, post, chunked] =
            ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"];
        let extended = format!("1;{}\r", "x".repeat(130));
        let trailers = format!("0\r\n{}x: y\r", "x: y\r\n".repeat(32));
        let long = format!("Content-Length: {}3\r", "0".repeat(200));
        // What came well, what makes it doubtful without its last LF, where that is, why.
        let cases: [(&str, &str, Place, &str); 48] = [
            (get, "Host: a", Place::Head, "a line that ends with LF alone"),
            ("GET / HTTP/1.1", "", Place::Head, "a request line that does"),
            (get, "Host: a\r\n", Place::Head, "an empty line that does"),
            ("", "", Place::Head, "an empty line before the request that does"),
            ("\r\n\r\n", "\r", Place::Head, "many empty lines"),
            ("", "GET /x#y HTTP/1.1\r", Place::Head, "a fragment"),
            (post, "Content-Length: 3\r\nContent-Length: 3\r", Place::Head, "two lengths, though equal"),
            (post, "Content-Length: 3\r\ncontent-length: 4\r", Place::Head, "two lengths"),
            (post, "Content-Length: 3\r\nTransfer-Encoding: chunked\r", Place::Head, "a length and chunks"),
            (post, "Transfer-Encoding: chunked\r\nContent-Length: 3\r", Place::Head, "chunks and a length"),
            (post, "Content-Length: +3\r", Place::Head, "a sign"),
            (post, "Content-Length: -3\r", Place::Head, "another"),
            (post, "Content-Length: 0x3\r", Place::Head, "hexadecimal"),
            (post, "Content-Length: 3, 3\r", Place::Head, "a list"),
            (post, "Content-Length: 3 3\r", Place::Head, "two numbers"),
            (post, "Content-Length: 3_0\r", Place::Head, "an underscore"),
            (post, "Content-Length: 3.0\r", Place::Head, "a fraction"),
            (post, "Content-Length: \t3\r", Place::Head, "a tab"),
            (post, "Content-Length:\r", Place::Head, "no number"),
            (post, "Content-Length: 18446744073709551616\r", Place::Head, "an overflow"),
            (post, &long, Place::Head, "more zeros than anybody needs"),
            (post, "Transfer-Encoding: xchunked\r", Place::Head, "another coding"),
            (post, "Transfer-Encoding: gzip, chunked\r", Place::Head, "two"),
            (post, "Transfer-Encoding: chunked, identity\r", Place::Head, "the other way round"),
            (post, "Transfer-Encoding: \"chunked\"\r", Place::Head, "quoted"),
            (post, "Transfer-Encoding: chunked;q=1\r", Place::Head, "with a parameter"),
            (post, "Transfer-Encoding: \tchunked\r", Place::Head, "a tab"),
            (post, "Transfer-Encoding: \x0bchunked\r", Place::Head, "a vertical tab"),
            (post, "Transfer-Encoding:\r", Place::Head, "nothing"),
            (post, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r", Place::Head, "twice"),
            (post, "Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: identity\r", Place::Head, "and another"),
            (chunked, "3", Place::Body, "a size that ends with LF alone"),
            (chunked, "+3\r", Place::Body, "a sign"),
            (chunked, "0x3\r", Place::Body, "a prefix"),
            (chunked, "3_0\r", Place::Body, "an underscore"),
            (chunked, " 3\r", Place::Body, "a space before"),
            (chunked, "3 \r", Place::Body, "a space after"),
            (chunked, "3 ;x\r", Place::Body, "a space before an extension"),
            (chunked, "\r", Place::Body, "no size"),
            (chunked, "10000000000000000\r", Place::Body, "an overflow"),
            (chunked, "00000000000000003\r", Place::Body, "more digits than 64 bits have"),
            (chunked, "3;a\0\r", Place::Body, "a control byte in an extension"),
            (chunked, &extended, Place::Body, "a long extension"),
            (chunked, "1\r\nxy\r", Place::Body, "a chunk that is longer than its size"),
            (chunked, "0\r\nx: y", Place::Body, "a trailer that ends with LF alone"),
            (chunked, "0\r\nContent-Length: 3\r", Place::Body, "a forbidden trailer"),
            (chunked, "0\r\n GET / HTTP/1.1\r", Place::Body, "a trailer that is none"),
            (chunked, &trailers, Place::Body, "too many of them"),
        ];
        for (well, doubtful, place, why) in cases {
            let text = [well, doubtful, "\n"].concat();
            for piece in [1, 2, 5, 64] {
                let (at, found, status) = read(text.as_bytes(), piece).unwrap_or_else(|| panic!("{why}: passed"));
                assert!(at < text.len(), "{why}: complete at {at}");
                assert!(at >= well.len().saturating_sub(1), "{why}: stopped at {at} already");
                // A head whose end came with what is doubtful is kept back.
                let may_be_head = piece > 1 && found == Place::Head;
                assert!(found == place || may_be_head, "{why}: {found:?}");
                assert_eq!(status, StatusCode::BAD_REQUEST, "{why}");
            }
        }
    }

    #[test]
    fn a_head_that_came_with_a_bad_body_is_kept_back_too() {
        let text = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let fault = Framing::new().read(format!("{text}x\r\n").as_bytes()).expect_err("x is no size");
        assert_eq!((fault.at, fault.place), (text.len() - 1, Place::Head), "its last byte does not go on");
    }

    #[test]
    fn versions_that_are_not_ours_have_their_own_status() {
        let cases = [
            ("GET / HTTP/1.1", None, "ours"),
            ("GET / HTTP/1.0", None, "ours"),
            ("GET / HTTP/1.2", Some(505), "refused"),
            ("GET / HTTP/2.0", Some(505), "HTTP/2 is not written like this"),
            ("GET / HTTP/0.9", Some(505), "nor HTTP/0.9"),
            ("GET / HTTP/11.1", None, "no version: the library says 400"),
            ("GET /", None, "none: the library says 400"),
        ];
        for (line, want, why) in cases {
            for piece in [1, 3, 64] {
                let found = read(format!("{line}\r\n").as_bytes(), piece).map(|(_, _, status)| status.as_u16());
                assert_eq!(found, want, "{line}: {why}");
            }
        }
    }

    #[test]
    fn what_comes_after_an_upgrade_was_asked_for_may_be_anything() {
        let text = "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\nnot\nHTTP";
        let (_, place, _) = read(text.as_bytes(), 64).expect("not HTTP");
        assert_eq!(place, Place::AfterUpgrade);
    }
}
