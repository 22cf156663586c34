//! How do many small pieces become one write?
//!
//! Over HTTP/2 the library writes and flushes each answer by itself. What is small is kept here until the connection's task has its next
//! turn, which comes at once: by then everything that one turn had to say has been said. Over TLS that is one record, too.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;

use super::Wire;

/// An answer of at most so many bytes is written as one piece: the kernel takes a list of pieces more slowly than we
/// copy so few bytes.
pub(super) const ONE_PIECE: usize = 2 << 10;

/// A write of more than so many bytes is not worth waiting for others, nor being copied.
const SMALL_BYTES: usize = 4 << 10;

/// What is kept at most.
const MOST_BYTES: usize = 32 << 10;

/// What is kept back, and since when.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    bytes: BytesMut,
    turn: u32,
}

impl<I: AsyncWrite + AsFd + Unpin, H> Wire<I, H> {
    /// Takes what the library writes over HTTP/2.
    pub(super) fn poll_gather(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let is_small = length <= SMALL_BYTES;
        if !is_small || self.gathered.bytes.len() + length > MOST_BYTES {
            ready!(self.poll_gathered(cx))?;
        }
        if !is_small {
            let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
            return self.mark(outcome);
        }
        for slice in slices {
            self.gathered.bytes.extend_from_slice(slice);
        }
        self.gathered.turn = self.pulse.turn();
        Poll::Ready(Ok(length))
    }

    /// Writes what was kept back in an earlier turn; what was in this one waits for the next, which it asks for.
    pub(super) fn poll_earlier(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.gathered.turn == self.pulse.turn() {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        self.poll_gathered(cx)
    }

    /// Writes all of it.
    pub(super) fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.bytes.is_empty() {
            let outcome = Pin::new(&mut self.inner).poll_write(cx, &self.gathered.bytes);
            let written = ready!(self.mark(outcome))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.bytes.advance(written);
            if self.gathered.bytes.is_empty() {
                // Its memory goes back: most connections are idle most of the time.
                self.gathered.bytes = BytesMut::new();
                return Pin::new(&mut self.inner).poll_flush(cx);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The pieces one after the other, where there are several and all of them fit.
pub(super) fn joined<'a>(slices: &[IoSlice<'_>], together: &'a mut [u8; ONE_PIECE]) -> Option<&'a [u8]> {
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    if slices.len() < 2 || length > ONE_PIECE {
        return None;
    }
    let mut filled = 0;
    for slice in slices {
        together[filled..filled + slice.len()].copy_from_slice(slice);
        filled += slice.len();
    }
    Some(&together[..filled])
}
