//! A message on its way out: its head, and its body piece by piece.

use std::cell::Cell;
use std::io::{self, IoSlice, Write as _};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// So few bytes are copied behind what is before them: the kernel takes a list of pieces more slowly than we copy.
const SMALL_PIECE: usize = 2 << 10;

/// The largest buffer that is handed on from one message to the next.
const HANDED_ON: usize = 32 << 10;

thread_local! {
    /// A buffer with nothing in it, for the next message that this thread writes: it is in the processor's cache already.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How the other end is told where a body ends. RFC 9112 §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is none.
    #[default]
    None,
    /// It has so many bytes; how many of them are to come.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection. Not for requests.
    UntilClose,
}

impl Framing {
    /// Bytes of a body that will lie behind its head.
    pub fn room(self) -> usize {
        match self {
            Self::Length(length) => usize::try_from(length).ok().filter(|length| *length <= SMALL_PIECE).unwrap_or(0),
            Self::None | Self::Chunked | Self::UntilClose => 0,
        }
    }
}

/// A body is not as long as was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not as long as was said")]
pub struct WrongLength;

/// A message on its way out, as far as it is at hand: whatever comes first, a piece of its body, and what frames that from
/// behind.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// The head; later what frames the next piece.
    before: Vec<u8>,
    piece: Bytes,
    behind: &'static [u8],
    /// How much of the three has gone out.
    sent: usize,
    framing: Framing,
}

impl Outgoing {
    /// A message that begins with these bytes.
    pub fn new(head: Vec<u8>, framing: Framing) -> Self {
        Self { before: head, framing, ..Self::default() }
    }

    /// Where a head is written: behind what is there, of whose body no piece may be left.
    pub fn head(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.piece.is_empty() && self.behind.is_empty(), "a head does not begin within a body");
        if self.before.capacity() == 0 {
            self.before = SPARE.take();
        }
        &mut self.before
    }

    /// Holds no buffer while there is nothing to send.
    pub fn let_go(&mut self) {
        if self.left() == 0 && (1..=HANDED_ON).contains(&self.before.capacity()) {
            // Whoever gets it gets none of these bytes.
            self.before.clear();
            SPARE.set(std::mem::take(&mut self.before));
        }
        *self = Self::default();
    }

    /// Says how the body is framed that follows the last head.
    pub fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// Bytes at hand that have not gone out.
    pub fn left(&self) -> usize {
        self.before.len() + self.piece.len() + self.behind.len() - self.sent
    }

    /// Whether there is a piece of a body among them.
    pub fn has_piece(&self) -> bool {
        !self.piece.is_empty() || !self.behind.is_empty()
    }

    /// Has `write` write what is at hand until all of it has gone out. It is given at most three pieces, none of them empty.
    ///
    /// # Errors
    /// Those of `write`; `WriteZero` where it takes nothing.
    pub fn poll_out(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while self.left() > 0 {
            // Nothing is behind a piece that is empty.
            let count = 1 + usize::from(!self.piece.is_empty()) + usize::from(!self.behind.is_empty());
            let mut slices = [&self.before[..], &self.piece, self.behind].map(IoSlice::new);
            let mut slices = &mut slices[..count];
            // What is empty in front goes, too.
            IoSlice::advance_slices(&mut slices, self.sent);
            match ready!(write(cx, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.before.clear();
        (self.piece, self.behind, self.sent) = (Bytes::new(), b"", 0);
        Poll::Ready(Ok(()))
    }

    /// Adds a body as it is, all of it. Nothing of another one may be left.
    pub fn whole(&mut self, body: Bytes) {
        self.put(body);
    }

    /// Frames the next piece of the body; none may be left of the one before. `is_last`: no other one follows, and nothing
    /// else.
    ///
    /// # Errors
    /// It is more than was said, or ends too early.
    pub fn frame(&mut self, piece: Bytes, is_last: bool) -> Result<(), WrongLength> {
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or(WrongLength)?;
                if is_last && *left > 0 {
                    return Err(WrongLength);
                }
                self.put(piece);
            }
            Framing::Chunked => {
                let mut behind: &'static [u8] = if is_last { b"0\r\n\r\n" } else { b"" };
                if !piece.is_empty() {
                    let _ = write!(self.before, "{:x}\r\n", piece.len());
                    behind = if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                }
                self.put(piece);
                if self.piece.is_empty() {
                    self.before.extend_from_slice(behind);
                } else {
                    self.behind = behind;
                }
            }
            Framing::UntilClose => self.put(piece),
            Framing::None if piece.is_empty() => {}
            Framing::None => return Err(WrongLength),
        }
        Ok(())
    }

    /// Frames the end of the body, with the fields that follow it.
    ///
    /// # Errors
    /// It ends too early.
    pub fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), WrongLength> {
        match self.framing {
            Framing::Length(1..) => return Err(WrongLength),
            Framing::Length(0) | Framing::None | Framing::UntilClose => {}
            Framing::Chunked => {
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    write_field(&mut self.before, name.as_str(), value.as_bytes());
                }
                self.before.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn put(&mut self, piece: Bytes) {
        if piece.len() <= SMALL_PIECE {
            self.before.extend_from_slice(&piece);
        } else {
            self.piece = piece;
        }
    }
}

/// Writes the first line of an answer; `is_current`: in HTTP/1.1, not 1.0.
pub fn write_status(out: &mut Vec<u8>, is_current: bool, status: StatusCode) {
    out.extend_from_slice(if is_current { b"HTTP/1.1 " } else { b"HTTP/1.0 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes one field's line.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that goes out, some bytes at a time.
    fn written(out: &mut Outgoing, at_once: usize) -> String {
        let mut text = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let outcome = out.poll_out(&mut cx, |_, slices| {
            assert!((1..=3).contains(&slices.len()) && slices.iter().all(|slice| !slice.is_empty()));
            let taken = slices[0].len().min(at_once);
            text.extend_from_slice(&slices[0][..taken]);
            Poll::Ready(Ok(taken))
        });
        assert!(matches!(outcome, Poll::Ready(Ok(()))) && out.left() == 0);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn bodies_are_framed_as_was_said() {
        let large = "y".repeat(SMALL_PIECE + 1);
        let trailers: HeaderMap = [(http::header::ETAG, http::HeaderValue::from_static("x"))].into_iter().collect();
        let piece = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        for at_once in [1, 7, usize::MAX] {
            let mut out = Outgoing::new(b"H".to_vec(), Framing::Chunked);
            out.frame(piece("abc"), false).expect("chunks have no length");
            assert_eq!(written(&mut out, at_once), "H3\r\nabc\r\n");
            out.frame(piece(&large), false).expect("chunks have no length");
            assert_eq!(written(&mut out, at_once), format!("801\r\n{large}\r\n"));
            out.frame(piece(""), false).expect("an empty chunk would be the end");
            assert_eq!(written(&mut out, at_once), "");
            out.end(Some(&trailers)).expect("chunks have no length");
            assert_eq!(written(&mut out, at_once), "0\r\netag: x\r\n\r\n");
            for (last, want) in [("", "0\r\n\r\n"), ("ab", "2\r\nab\r\n0\r\n\r\n")] {
                let mut out = Outgoing::new(Vec::new(), Framing::Chunked);
                out.frame(piece(last), true).expect("chunks have no length");
                assert_eq!(written(&mut out, at_once), want);
            }
            let mut out = Outgoing::new(b"H".to_vec(), Framing::Length(2051));
            out.frame(piece("ab"), false).expect("there is room");
            assert_eq!(written(&mut out, at_once), "Hab");
            out.frame(piece(&large), true).expect("there is room");
            assert_eq!(written(&mut out, at_once), large);
            out.end(None).expect("all of it was there");
        }
    }

    #[test]
    fn a_buffer_is_handed_on_to_the_next_message_unless_it_is_large() {
        for (bytes, is_handed_on) in [(1 << 10, true), (HANDED_ON + 1, false)] {
            let mut out = Outgoing::default();
            out.head().resize(bytes, b'x');
            let _ = written(&mut out, usize::MAX);
            out.let_go();
            assert_eq!(out.before.capacity(), 0, "who waits holds none");
            let mut next = Outgoing::default();
            let next = next.head();
            assert_eq!((next.capacity() >= bytes, next.len()), (is_handed_on, 0), "{bytes} bytes");
        }
    }

    #[test]
    fn a_body_that_is_not_as_long_as_was_said_is_noticed() {
        let of = |framing| Outgoing::new(Vec::new(), framing);
        let piece = || Bytes::from_static(b"abc");
        assert_eq!(of(Framing::Length(2)).frame(piece(), false), Err(WrongLength), "longer");
        assert_eq!(of(Framing::Length(4)).frame(piece(), true), Err(WrongLength), "shorter");
        assert_eq!(of(Framing::Length(4)).end(None), Err(WrongLength), "shorter");
        assert_eq!(of(Framing::None).frame(piece(), false), Err(WrongLength), "none was to come");
        let mut out = of(Framing::UntilClose);
        out.frame(piece(), false).and_then(|()| out.end(None)).expect("nothing was said");
        assert_eq!(written(&mut out, 2), "abc");
    }
}
