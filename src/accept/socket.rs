//! What do we read from and write to: the client's socket itself, or something that makes other bytes of ours?

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};

/// Fewer bytes are copied sooner than lent.
pub(crate) const LEAST: usize = 16 << 10;

/// A client's socket, or TLS over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Whether what is written is what goes out.
    fn is_in_the_clear(&self) -> bool;

    /// Whether all that had come when it was last read has been read; what comes between then and a close is nobody's to know.
    /// `false`: that is not known.
    fn is_drained(&self) -> bool {
        false
    }

    /// Writes of these pieces what the client takes, without copying those that lie in files where that can be; how many bytes.
    fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_copy(cx, pieces)
    }

    /// The same with a copy of each.
    fn poll_copy(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match pieces {
            [only] if only.len() < LEAST => Pin::new(self).poll_write(cx, only),
            pieces => Pin::new(self).poll_write_vectored(cx, pieces),
        }
    }

    /// Leaves a message to its thread's batch, behind what was left before. `false`: it is to be sent as any other one.
    fn leave(&self, _: &Context<'_>, _: &[u8]) -> bool {
        false
    }

    /// Sees to it that what was left has gone out.
    fn poll_left(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Has its close reset the connection, whatever is still on its way.
    fn reset_at_close(&self);
}

/// Has the close of a TCP socket reset the connection.
pub(super) fn reset_at_close(socket: BorrowedFd<'_>) {
    // Best effort: a socket that refuses has no peer any more.
    let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
}
