//! What passes between the library and a socket that speaks HTTP/2: frames counted, small ones written together, and plain hits
//! answered before the library hears of them. (RFC 9113)
//!
//! The library speaks to the client through this: [`inbound`] reads what the client says and keeps the hits from it, [`outbound`]
//! puts their answers between what it says.

mod budget;
pub(in crate::accept) mod frame;
pub(in crate::accept) mod hpack;
mod inbound;
mod outbound;
mod question;
mod window;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::inbound::Inbound;
use self::outbound::Outbound;
use super::Handler;
use super::express::Express;
use super::meter::Meter;
use super::pulse::Pulse;
use super::share::Share;

/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;

/// Requests that are answered one after the other before others get a turn.
const AT_ONCE: usize = 128;

/// A client's socket.
pub(crate) struct Wire<I, H> {
    inner: I,
    /// Bytes that were read and not looked at: of a frame that has not come whole, or of one that has to wait.
    unread: BytesMut,
    inbound: Inbound<H>,
    outbound: Outbound,
    share: Share,
    pulse: Arc<Pulse>,
    /// Everything is written, and the client will know it for the end.
    is_shut: bool,
    meter: Meter,
}

impl<I, H: Handler> Wire<I, H> {
    /// A socket whose first bytes, `prefix`, were already read. A head may be as large as the library takes it: `max_header_bytes`.
    pub(crate) fn new(
        inner: I,
        prefix: Bytes,
        express: Express<H>,
        max_header_bytes: usize,
        pulse: Arc<Pulse>,
        meter: Meter,
    ) -> Self {
        Self {
            inner,
            unread: prefix.into(),
            inbound: Inbound::new(express, max_header_bytes),
            outbound: Outbound::new(),
            share: Share::default(),
            pulse,
            is_shut: false,
            meter,
        }
    }

    /// Leaves the marks of having written.
    fn mark(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(bytes)) => {
                self.share.count(*bytes);
                self.pulse.wrote(*bytes);
                self.meter.wrote(*bytes);
                self.inbound.budget.sent(*bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pulse.blocked(),
        }
        outcome
    }

    /// Looks at what was read, and before that at what is still to be looked at; how many requests were answered.
    fn look_at(&mut self, read: &[u8]) -> usize {
        let mut unread = std::mem::take(&mut self.unread);
        let is_joined = !unread.is_empty();
        if is_joined {
            unread.extend_from_slice(read);
        }
        let bytes = if is_joined { &unread[..] } else { read };
        let (taken, answered) = self.inbound.read(bytes, &mut self.outbound, &self.pulse);
        if is_joined {
            unread.advance(taken);
        } else {
            unread.extend_from_slice(&read[taken..]);
        }
        if !unread.is_empty() {
            self.unread = unread;
        }
        if answered > 0 {
            self.outbound.set_turn(self.pulse.turn());
        }
        answered
    }
}

impl<I: AsyncWrite + Unpin, H: Handler> Wire<I, H> {
    /// Writes what was kept back in an earlier turn; what was in this one waits for the next, which it asks for.
    fn poll_earlier(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.outbound.gathered().is_empty() && self.outbound.is_of_turn(self.pulse.turn()) {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        self.poll_gathered(cx)
    }

    /// Writes all of it.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbound.gathered().is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write_with(cx, &[]))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Writes what is kept, and then of `piece` what the client takes at once; how many bytes of that.
    fn poll_write_with(&mut self, cx: &mut Context<'_>, piece: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let kept = self.outbound.gathered();
            let length = kept.len();
            if length == 0 && piece.is_empty() {
                return Poll::Ready(Ok(0));
            }
            ready!(self.share.poll(cx));
            let inner = Pin::new(&mut self.inner);
            let outcome = if piece.is_empty() {
                inner.poll_write(cx, kept)
            } else {
                inner.poll_write_vectored(cx, &[IoSlice::new(kept), IoSlice::new(piece)])
            };
            let written = ready!(self.mark(outcome))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbound.written(written.min(length));
            if written > length {
                return Poll::Ready(Ok(written - length));
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, H: Handler> AsyncRead for Wire<I, H> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let (before, mut answered) = (buffer.filled().len(), 0);
        if let Poll::Ready(Err(error)) = this.poll_earlier(cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            this.inbound.make_up(&mut this.outbound);
            this.inbound.hand_over(buffer);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if this.inbound.is_stopped() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if this.outbound.is_full() {
                // A client that does not take its answers is not listened to.
                ready!(this.poll_gathered(cx))?;
            }
            if answered >= AT_ONCE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if this.unread.is_empty() || this.inbound.is_short() {
                if answered > 0
                    && let Poll::Ready(Err(error)) = this.poll_gathered(cx)
                {
                    return Poll::Ready(Err(error));
                }
                // On the stack: a client that is silent costs no buffer.
                let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
                let mut read = ReadBuf::uninit(&mut bytes);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
                if read.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.meter.read(read.filled().len());
                answered += this.look_at(read.filled());
            } else {
                answered += this.look_at(&[]);
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, H: Handler> AsyncWrite for Wire<I, H> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut taken = 0;
        for slice in slices {
            let mut rest = &**slice;
            while !rest.is_empty() {
                let large = this.outbound.large_piece(rest);
                if (large.is_some() || this.outbound.is_full()) && taken > 0 {
                    return Poll::Ready(Ok(taken));
                }
                if let Some(length) = large {
                    let written = ready!(this.poll_write_with(cx, &rest[..length]))?;
                    this.outbound.wrote_piece(written);
                    return Poll::Ready(Ok(written));
                }
                if this.outbound.is_full() {
                    ready!(this.poll_gathered(cx))?;
                }
                let length = this.outbound.gather(rest);
                (taken, rest) = (taken + length, &rest[length..]);
            }
        }
        this.outbound.set_turn(this.pulse.turn());
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbound.can_make_up(&self.outbound) {
            // The library is given more when it reads, and all that it waits for may be that.
            cx.waker().wake_by_ref();
        }
        ready!(self.poll_earlier(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            ready!(this.poll_gathered(cx))?;
            // Over TLS the last word may have to wait for a slow client: that is not yet the time that it has to close.
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        if this.pulse.close() {
            ready!(this.meter.poll_waste(cx, &mut this.inner));
        }
        Poll::Ready(Ok(()))
    }
}
