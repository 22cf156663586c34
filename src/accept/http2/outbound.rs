//! What goes to the client: the library's frames, and answers that it never hears of between them.
//!
//! The library writes and flushes each answer by itself. What is small is kept here until the connection's task has its next
//! turn, which comes at once: by then everything that one turn had to say has been said. Over TLS that is one record, too.

use bytes::{BufMut, Bytes};
use http::StatusCode;

use super::frame::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fault, GOAWAY, HEADER_BYTES, HEADERS, Header, PUSH_PROMISE,
};
use super::hpack;
use super::window::Window;

/// A piece of a body of at least so many bytes is not worth waiting for others, nor being copied.
const LARGE_BYTES: usize = 4 << 10;

/// What is kept at most, before the next answer or frame.
const MOST_BYTES: usize = 32 << 10;

/// Room for what is kept in one turn, mostly: as much as one TLS record takes.
const USUAL_BYTES: usize = 16 << 10;

/// The largest body that is sent from here, copied: what every stream takes if nobody says otherwise.
const MOST_BODY: usize = (64 << 10) - 1;

/// The status line of an answer begins with so many bytes, then come three digits.
const VERSION_BYTES: usize = "HTTP/1.1 ".len();

/// A table of no size: where a block begins, for the client's decoder. RFC 7541 §6.3.
const NO_TABLE: u8 = 0x20;

/// What is on its way to the client.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) window: Window,
    /// What is kept back, how much of it was written nevertheless, and the turn in which the last of it came.
    gathered: Vec<u8>,
    written: usize,
    turn: u32,
    /// The header of the library's frame that has begun; of a GOAWAY with what it says: the last stream, and an error.
    header: [u8; HEADER_BYTES + 8],
    has: usize,
    /// Bytes of its payload still to come.
    left: usize,
    /// The kind of that frame.
    kind: u8,
    /// A field block of the library's has begun, and may not be interrupted.
    is_in_block: bool,
    /// The library has said something.
    has_begun: bool,
    /// It has said that there will be a last stream.
    is_ending: bool,
    /// The client's decoder knows that our blocks have no table.
    has_no_table: bool,
    /// The highest stream that was answered without the library.
    answered: u32,
    /// What the client did, of which the library does not know.
    fault: Option<Fault>,
}

impl Outbound {
    /// Before the first byte.
    pub(super) fn new() -> Self {
        Self {
            window: Window::new(),
            gathered: Vec::new(),
            written: 0,
            turn: 0,
            header: [0; HEADER_BYTES + 8],
            has: 0,
            left: 0,
            kind: 0,
            is_in_block: false,
            has_begun: false,
            is_ending: false,
            has_no_table: false,
            answered: 0,
            fault: None,
        }
    }

    /// The highest stream that was answered without the library.
    pub(super) const fn answered(&self) -> u32 {
        self.answered
    }

    /// The largest body that an answer on a new stream may have now. `None`: there can be no answer now.
    pub(super) fn room(&self) -> Option<usize> {
        let is_between_frames = self.has == 0 && self.left == 0 && !self.is_in_block;
        let is_open = self.has_begun && !self.is_ending && is_between_frames && !self.is_full();
        is_open.then(|| self.window.ours().min(MOST_BODY))
    }

    /// Whether no more may be kept.
    pub(super) fn is_full(&self) -> bool {
        self.gathered().len() >= MOST_BYTES
    }

    /// What is to be written.
    pub(super) fn gathered(&self) -> &[u8] {
        &self.gathered[self.written..]
    }

    /// Whether something of it came in this turn.
    pub(super) const fn is_of_turn(&self, turn: u32) -> bool {
        self.turn == turn
    }

    /// Something was gathered in this turn.
    pub(super) fn set_turn(&mut self, turn: u32) {
        self.turn = turn;
    }

    /// So many of the gathered bytes were written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.gathered.len() {
            // Its memory goes back: most connections are idle most of the time.
            (self.gathered, self.written) = (Vec::new(), 0);
        }
    }

    /// Answers a stream with what is written as HTTP/1.1 has it; `body` where it is not behind that head.
    pub(super) fn answer(&mut self, stream: u32, written: &[u8], body: &Bytes) {
        let pieces = body.len() / frame::MOST_PAYLOAD + 2;
        let length = written.len() + body.len() + pieces * HEADER_BYTES;
        self.gathered.reserve(if self.gathered.is_empty() { length.max(USUAL_BYTES) } else { length });
        let start = self.gathered.len();
        self.gathered.put_bytes(0, HEADER_BYTES);
        if !std::mem::replace(&mut self.has_no_table, true) {
            self.gathered.push(NO_TABLE);
        }
        let behind = write_head(written, &mut self.gathered).unwrap_or_default();
        let body = if behind.is_empty() { body } else { behind };
        self.end_block(start, stream, if body.is_empty() { END_STREAM } else { 0 });
        let mut pieces = body.chunks(frame::MOST_PAYLOAD).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { END_STREAM } else { 0 };
            Header { length: piece.len(), kind: DATA, flags, stream }.write(&mut self.gathered);
            self.gathered.extend_from_slice(piece);
        }
        self.answered = stream;
        self.window.spent(body.len());
    }

    /// Puts a header before the field block that was written from `start` on, with room for it; several where one frame is not
    /// enough.
    fn end_block(&mut self, start: usize, stream: u32, flags: u8) {
        let length = self.gathered.len() - start - HEADER_BYTES;
        if length > frame::MOST_PAYLOAD {
            let block = self.gathered.split_off(start);
            frame::write_block(stream, flags, &block[HEADER_BYTES..], &mut self.gathered);
        } else {
            let header = Header { length, kind: HEADERS, flags: flags | END_HEADERS, stream };
            header.write(&mut &mut self.gathered[start..]);
        }
    }

    /// How many of the library's next bytes are a piece of a body that is better written as it is.
    pub(super) fn large_piece(&self, bytes: &[u8]) -> Option<usize> {
        let length = bytes.len().min(self.left);
        (self.kind == DATA && length >= LARGE_BYTES).then_some(length)
    }

    /// So many bytes of such a piece were written.
    pub(super) fn wrote_piece(&mut self, bytes: usize) {
        self.left -= bytes;
    }

    /// Takes some of the library's bytes; how many.
    pub(super) fn gather(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let taken = bytes.len().min(self.left);
            self.gathered.extend_from_slice(&bytes[..taken]);
            self.left -= taken;
            return taken;
        }
        let wanted = if self.has >= HEADER_BYTES { self.header.len() } else { HEADER_BYTES };
        let taken = bytes.len().min(wanted - self.has);
        self.header[self.has..self.has + taken].copy_from_slice(&bytes[..taken]);
        self.has += taken;
        if self.has == wanted {
            self.begin_frame();
        }
        taken
    }

    /// The library begins a frame.
    fn begin_frame(&mut self) {
        let Some(header) = Header::read(&self.header) else { return };
        match header.kind {
            // What it names comes next.
            GOAWAY if self.has == HEADER_BYTES => return,
            GOAWAY => self.complete_goaway(),
            DATA => self.window.library_sent(header.length),
            HEADERS | PUSH_PROMISE | CONTINUATION => self.is_in_block = !header.has(END_HEADERS),
            _ => {}
        }
        self.gathered.extend_from_slice(&self.header[..self.has]);
        self.left = header.length.saturating_sub(self.has - HEADER_BYTES);
        (self.kind, self.has, self.has_begun) = (header.kind, 0, true);
    }

    /// The connection ends because of this.
    pub(super) fn name_fault(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }

    /// A GOAWAY says which stream is the last that was looked at, or that there will be such a one, and why (RFC 9113 §6.8): the
    /// library knows of its own streams only, and not of every fault.
    fn complete_goaway(&mut self) {
        let [last, error] = [HEADER_BYTES, HEADER_BYTES + 4].map(|at| at..at + 4);
        let named = u32::from_be_bytes(self.header[last.clone()].try_into().expect("four bytes")) & frame::MOST;
        self.header[last].copy_from_slice(&named.max(self.answered).to_be_bytes());
        // From now on all are the library's: the last one is to be its own.
        self.is_ending = true;
        if let Some(fault) = self.fault {
            self.header[error].copy_from_slice(&(fault as u32).to_be_bytes());
        }
    }
}

/// Writes the field block of an answer that is written as HTTP/1.1 has it; what is behind its head.
fn write_head<'a>(written: &'a [u8], block: &mut Vec<u8>) -> Option<&'a [u8]> {
    let status = StatusCode::from_bytes(written.get(VERSION_BYTES..VERSION_BYTES + 3)?).ok()?;
    hpack::write_status(block, status);
    let mut rest = &written[memchr::memchr(b'\n', written)? + 1..];
    loop {
        let end = memchr::memchr(b'\n', rest)?;
        let (line, others) = (&rest[..end - 1], &rest[end + 1..]);
        let Some(colon) = memchr::memchr(b':', line) else { return Some(others) };
        hpack::write_field(block, &line[..colon], &line[colon + 2..], false);
        rest = others;
    }
}
