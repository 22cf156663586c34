//! How messages and their bodies are framed in HTTP/1, whoever sends them. RFC 9112 §6 and §7.
//!
//! - [`content`]: reading; where a body ends, and what of it is there.
//! - [`outgoing`]: writing; a head, and a body piece by piece.

mod chunk;
pub mod content;
pub mod outgoing;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, ReadBuf};

/// A buffer with room for fewer bytes gets a new one before it is read into.
const LEAST_ROOM: usize = 4 << 10;

/// Sees to it that `input` can be read into, `wanted` bytes at once if that is a new buffer.
///
/// What was taken off it holds all of the buffer that it came in: so that is read into for as long as there is some room left,
/// however small the pieces are.
pub fn make_room(input: &mut BytesMut, wanted: usize) {
    if input.capacity() - input.len() < LEAST_ROOM.min(wanted) {
        input.reserve(wanted);
    }
}

/// Reads at most `MOST` bytes behind `input` by way of the stack: who waits for nothing holds no buffer. How many they are.
pub fn poll_read_small<const MOST: usize>(
    from: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut bytes = [MaybeUninit::uninit(); MOST];
    let mut buffer = ReadBuf::uninit(&mut bytes);
    ready!(from.poll_read(cx, &mut buffer))?;
    input.extend_from_slice(buffer.filled());
    Poll::Ready(Ok(buffer.filled().len()))
}

/// A head's own copy of its bytes, and of what was found in them: the buffer that it came in is used for other things.
pub struct Copied<'b> {
    head: &'b [u8],
    copy: Bytes,
}

impl<'b> Copied<'b> {
    /// Copies a head.
    pub fn of(head: &'b [u8]) -> Self {
        Self { head, copy: Bytes::copy_from_slice(head) }
    }

    /// The copy of a part of the head.
    ///
    /// # Panics
    /// It is none.
    pub fn part(&self, part: &[u8]) -> Bytes {
        if part.is_empty() {
            return Bytes::new();
        }
        let at = part.as_ptr() as usize - self.head.as_ptr() as usize;
        self.copy.slice(at..at + part.len())
    }

    /// The fields of the head as a map. `None`: one of them is none.
    pub fn fields(&self, fields: &[httparse::Header<'_>]) -> Option<HeaderMap> {
        let mut map = HeaderMap::with_capacity(fields.len());
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            map.append(name, HeaderValue::from_maybe_shared(self.part(field.value)).ok()?);
        }
        Some(map)
    }
}

/// Whether each line of a head, or of what else is made of lines, ends with CR LF. Readers differ in what a LF alone means.
pub fn has_whole_lines(lines: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', lines).all(|at| at > 0 && lines[at - 1] == b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_share_a_buffer() {
        let mut input = BytesMut::new();
        let pieces: Vec<_> = (0..1000)
            .map(|_| {
                make_room(&mut input, 64 << 10);
                input.extend_from_slice(b"x");
                input.split().freeze()
            })
            .collect();
        assert_eq!(pieces[999].as_ptr() as usize - pieces[0].as_ptr() as usize, 999);
        make_room(&mut input, usize::MAX >> 40);
        assert!(input.capacity() >= LEAST_ROOM, "there is always room");
    }

    #[test]
    fn a_line_ends_with_both_its_bytes() {
        for (lines, want) in
            [("a\r\nb\r\n\r\n", true), ("a\nb\r\n", false), ("\n", false), ("a\r\n\n", false), ("", true)]
        {
            assert_eq!(has_whole_lines(lines.as_bytes()), want, "{lines:?}");
        }
    }
}
