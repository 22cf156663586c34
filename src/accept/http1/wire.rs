//! A client's socket: its bytes counted, its progress marked, and ended so that our last words arrive.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::accept::meter::Meter;
use crate::accept::pulse::Pulse;
use crate::accept::share::Share;
use crate::accept::socket::Socket;

/// Of more bytes than these some may still be on their way when we close: a request that comes meanwhile, which nobody asked
/// for, would make the kernel destroy them. Fewer the client's kernel takes before anybody reads them.
const SOON_TAKEN: u64 = 32 << 10;

/// A client's socket. Dropped within an answer that only its end delimits, it resets the connection.
pub(super) struct Wire<I: Socket> {
    socket: I,
    pulse: Arc<Pulse>,
    meter: Meter,
    /// Bytes written, ever.
    written: u64,
    share: Share,
    /// What was written is not known to be on its way.
    is_unflushed: bool,
    /// It does not get on its way at the moment.
    is_held_up: bool,
    /// A clean end now would make what there is of an answer the whole.
    would_mislead: bool,
    /// Everything is written, and the client will know it for the end.
    is_shut: bool,
}

impl<I: Socket> Wire<I> {
    pub(super) fn new(socket: I, pulse: Arc<Pulse>, meter: Meter) -> Self {
        Self {
            socket,
            pulse,
            meter,
            written: 0,
            share: Share::default(),
            is_unflushed: false,
            is_held_up: false,
            would_mislead: false,
            is_shut: false,
        }
    }

    /// Counts bytes that were read before there was a wire.
    pub(super) fn has_read(&mut self, bytes: usize) {
        self.meter.read(bytes);
    }

    /// Whether the end of the connection would be taken for the end of an answer that is not at its end.
    pub(super) fn set_misleading(&mut self, would_mislead: bool) {
        self.would_mislead = would_mislead;
    }
}

impl<I: Socket> AsyncRead for Wire<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        self.meter.read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<I: Socket> Wire<I> {
    /// Writes of these pieces what the client takes.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.share.poll(cx));
        let written = match self.socket.poll_send(cx, pieces) {
            Poll::Ready(written) => written?,
            Poll::Pending => {
                self.pulse.blocked();
                return Poll::Pending;
            }
        };
        self.is_unflushed = true;
        self.count(written);
        Poll::Ready(Ok(written))
    }

    /// The same; what is small may go with what the thread sends to others.
    pub(super) fn poll_leave(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match pieces {
            [only] if self.socket.leave(cx, only) => {
                self.count(only.len());
                Poll::Ready(Ok(only.len()))
            }
            pieces => self.poll_send(cx, pieces),
        }
    }

    fn count(&mut self, written: usize) {
        self.written += written as u64;
        self.share.count(written);
        self.pulse.wrote(written);
        self.meter.wrote(written);
    }

    /// Sees to it that what was written is on its way: TLS may hold it back, and what was left may be late.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_unflushed && !self.socket.is_in_the_clear() {
            return Poll::Ready(Ok(()));
        }
        let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx) else {
            self.is_held_up = true;
            self.pulse.blocked();
            return Poll::Pending;
        };
        if std::mem::take(&mut self.is_held_up) {
            self.pulse.wrote(0);
        }
        flushed?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Ends our side of the connection, and the whole of it once the client has nothing more to say.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(self.socket.poll_left(cx))?;
            // A request that nobody will read any more, mostly.
            let has_waste = !self.socket.is_drained() && self.meter.has_waste(cx, &mut self.socket);
            if has_waste || self.written > SOON_TAKEN {
                self.pulse.expect_surplus();
            }
            // The close that follows at once says all that there is to say, with nothing unread: one system call less for a
            // connection that is there for one request. Over TLS the last word may have to wait for a slow client: that is
            // not yet the time that it has to close.
            if !self.socket.is_in_the_clear() || self.pulse.has_surplus() {
                ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            }
            self.is_shut = true;
        }
        if self.pulse.close() {
            ready!(self.meter.poll_waste(cx, &mut self.socket));
        }
        Poll::Ready(Ok(()))
    }
}

/// Once another protocol is spoken.
impl<I: Socket> AsyncWrite for Wire<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_sent(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

impl<I: Socket> Drop for Wire<I> {
    fn drop(&mut self) {
        if self.would_mislead {
            self.socket.reset_at_close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::Empty;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::accept::share::SHARE;
    use crate::telemetry::Telemetry;

    /// A client that takes whatever it is sent.
    impl Socket for Empty {
        fn is_in_the_clear(&self) -> bool {
            true
        }

        fn reset_at_close(&self) {}
    }

    #[tokio::test]
    async fn however_fast_a_client_is_the_others_have_their_turn() {
        let pulse = Arc::new(Pulse::new(Telemetry::silent()));
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
        let mut wire = Wire::new(tokio::io::empty(), pulse, Meter::new(Telemetry::silent(), place));
        let piece = vec![0; 300 << 10];
        let mut written = 0;
        for _ in 0..3 {
            let other = tokio::spawn(async {});
            let before = written;
            while !other.is_finished() {
                assert!(written - before < SHARE + (300 << 10), "so much at most");
                let pieces = [IoSlice::new(&piece)];
                written += poll_fn(|cx| wire.poll_send(cx, &pieces)).await.expect("it takes everything");
            }
            assert!(written - before >= SHARE, "not less than its share");
            other.await.expect("no panic");
        }
    }
}
