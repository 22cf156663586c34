//! What passes between the library and a socket that speaks HTTP/1: bytes counted, progress marked, 1xx slipped in, refusals
//! spelt out, and plain hits answered before the library hears of them.

mod alone;
mod at_once;
mod framing;

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::StatusCode;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use self::alone::{Alone, Left};
use self::framing::{Fault, Framing, Place};
use super::express::Express;
use super::meter::Meter;
use super::pulse::Pulse;
use super::socket::Socket;
use super::{Handler, refusal};
use crate::policy::target;

/// What the library reads in the place of a head that it must not read: an error wherever in a head it stands, and an
/// end, because the library looks at whole heads only.
const POISON: &[u8] = b"\0\r\n\r\n";

/// An answer of at most so many bytes is written as one piece: the kernel takes a list of pieces more slowly than we
/// copy so few bytes.
const ONE_PIECE: usize = 2 << 10;

/// Requests that are answered one after the other before others get a turn.
const AT_ONCE: usize = 32;

/// A client's socket. Dropped before it was shut down in an answer that only its end delimits, it resets the connection.
pub(crate) struct Wire<I: AsFd, H> {
    inner: I,
    /// Bytes that were read before the library did, to choose the protocol or to answer at once, and are to be read again.
    prefix: Bytes,
    /// They are for the library: the express has left them.
    is_left: bool,
    framing: Framing,
    express: Express<H>,
    /// Requests that the library has not heard of, ever; wraps.
    unheard: u32,
    pulse: Arc<Pulse>,
    /// The library's buffer is written out: the next byte begins a message, or a piece of one.
    is_at_boundary: bool,
    /// Our own bytes that go out before anything else.
    ours: Bytes,
    /// Bytes of the library's that `ours` stand for.
    replaced: Option<usize>,
    /// What the client has not taken yet of an answer that was given at once: of its head, and of its body.
    unsent: [Bytes; 2],
    /// What was written of such answers is not known to be on its way.
    is_unflushed: bool,
    /// The last request of the connection was answered at once.
    is_over: bool,
    /// Everything is written, and the client will know it for the end.
    is_shut: bool,
    /// Why nothing that comes in is read any more: it could be read in two ways.
    stopped: Option<Fault>,
    meter: Meter,
}

impl<I: AsFd, H> Wire<I, H> {
    /// A socket whose first bytes, `prefix`, were already read.
    pub(crate) fn new(inner: I, prefix: Bytes, express: Express<H>, pulse: Arc<Pulse>, meter: Meter) -> Self {
        Self {
            inner,
            prefix,
            is_left: false,
            framing: Framing::new(),
            express,
            unheard: 0,
            pulse,
            is_at_boundary: true,
            ours: Bytes::new(),
            replaced: None,
            unsent: [Bytes::new(), Bytes::new()],
            is_unflushed: false,
            is_over: false,
            is_shut: false,
            stopped: None,
            meter,
        }
    }

    /// Whether the last request line is longer than any target may be, or has not come to its end.
    fn has_long_request_line(&self) -> bool {
        self.framing.is_in_request_line() || self.framing.request_line() > target::MAX_TARGET
    }
}

impl<I: Socket, H> Wire<I, H> {
    /// Whether the close that follows at once says all that there is to say, with nothing unread: one system call less for a
    /// connection that is there for one request.
    fn ends_by_closing(&self) -> bool {
        self.is_over && self.inner.in_the_clear().is_some() && !self.pulse.has_surplus()
    }

    /// Writes what is ours to write. Ready with a number: so many bytes of the library's are done with already.
    fn poll_ours(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if self.pulse.is_tunnel() {
            return Poll::Ready(Ok(None));
        }
        ready!(self.poll_unsent(cx))?;
        if self.is_at_boundary {
            self.is_at_boundary = false;
            if self.pulse.outbox.has_mail() {
                self.ours = self.pulse.outbox.take().into();
            } else if !self.pulse.is_in_flight() && !self.pulse.is_owed() {
                // Nobody was asked, and nothing is left to send: the library refuses a head by itself.
                self.replace_refusal(first);
            }
        }
        ready!(self.poll_write_ours(cx))?;
        Poll::Ready(Ok(self.replaced.take()))
    }

    fn poll_write_ours(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ours.is_empty() {
            let outcome = Pin::new(&mut self.inner).poll_write(cx, &self.ours);
            let written = ready!(self.mark(outcome))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.ours.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn replace_refusal(&mut self, refusal: &[u8]) {
        let Some(status) = refusal.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)) else { return };
        let Ok(mut status) = StatusCode::from_bytes(status) else { return };
        let mut reason = None;
        if let Some(fault) = self.stopped {
            (status, reason) = (fault.status, Some(fault.reason));
        } else if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && self.has_long_request_line() {
            // What outgrew the limit is the target alone, or nearly.
            status = StatusCode::URI_TOO_LONG;
        }
        if let Some(ours) = refusal::spell_out(status, reason, refusal) {
            self.pulse.expect_surplus();
            self.meter.telemetry.metrics().malformed_heads.inc();
            self.ours = ours;
            self.replaced = Some(refusal.len());
        }
    }

    /// Leaves the marks of having written.
    fn mark(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &outcome {
            Poll::Ready(Ok(bytes)) => {
                self.pulse.wrote(*bytes);
                self.meter.wrote(*bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pulse.blocked(),
        }
        outcome
    }
}

impl<I: Socket, H> Wire<I, H> {
    /// Looks at what was read, from `before` on, before the library does.
    fn look_at(&mut self, before: usize, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let read = &buffer.filled()[before..];
        if read.is_empty() || self.stopped.is_some() {
            return Ok(());
        }
        if !self.pulse.is_in_flight() {
            self.pulse.head_bytes_came();
        }
        if self.pulse.is_tunnel() {
            return Ok(());
        }
        let Err(fault) = self.framing.read(read) else { return Ok(()) };
        self.stop(fault, before + fault.at, buffer)
    }

    /// Keeps back what came from `at` on, and all that will: the library refuses the head, or the body breaks off.
    fn stop(&mut self, fault: Fault, at: usize, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        self.pulse.expect_surplus();
        self.stopped = Some(fault);
        buffer.set_filled(at);
        let mut instead = match fault.place {
            Place::Head => Bytes::from_static(POISON),
            // Nothing read would be taken for the client's end.
            _ if fault.at == 0 => return Err(io::ErrorKind::InvalidData.into()),
            _ => Bytes::new(),
        };
        let now = instead.split_to(instead.len().min(buffer.remaining()));
        buffer.put_slice(&now);
        self.prefix = instead;
        Ok(())
    }

    /// Reads what the client sends, what is to be read again first.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            if self.stopped.is_some() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        } else {
            let piece = self.prefix.split_to(self.prefix.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if self.stopped.is_none() && buffer.remaining() > 0 && !piece.ends_with(b"\r\n\r\n") {
                // The rest of a request of which some was read before; what is wrong is found the next time.
                let _ = Pin::new(&mut self.inner).poll_read(cx, buffer);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Socket, H: Handler> AsyncRead for Wire<I, H> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let mut answered = 0;
        loop {
            // A client that does not take its answers is not listened to.
            ready!(this.poll_unsent(cx))?;
            if this.is_over {
                // As if the client had ended it: the library has nothing more to say.
                return Poll::Ready(Ok(()));
            }
            if answered >= AT_ONCE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(this.poll_fill(cx, buffer))?;
            this.meter.read(buffer.filled().len() - before);
            let is_end = buffer.filled().len() == before;
            let is_left = std::mem::take(&mut this.is_left);
            let count = if is_left { 0 } else { this.answer_at_once(cx, before, buffer)? };
            if is_end || count == 0 || buffer.filled().len() > before {
                return Poll::Ready(this.look_at(before, buffer));
            }
            answered += count;
        }
    }
}

impl<I: Socket, H> AsyncWrite for Wire<I, H> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(done) = ready!(self.poll_ours(cx, bytes))? {
            return Poll::Ready(Ok(done));
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.mark(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| &**slice);
        if let Some(done) = ready!(self.poll_ours(cx, first))? {
            return Poll::Ready(Ok(done));
        }
        let mut together = [0; ONE_PIECE];
        let outcome = match joined(slices, &mut together) {
            Some(bytes) => Pin::new(&mut self.inner).poll_write(cx, bytes),
            None => self.inner.poll_send(cx, slices),
        };
        self.mark(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_unsent(cx))?;
        // The library flushes when its buffer is empty.
        if this.ours.is_empty() && this.pulse.outbox.has_mail() {
            if this.pulse.outbox.is_open() {
                this.ours = this.pulse.outbox.take().into();
            } else {
                // The final head went out together with what was before it: too late for these.
                this.pulse.outbox.discard();
            }
        }
        ready!(this.poll_write_ours(cx))?;
        if this.pulse.outbox.is_open() {
            this.pulse.outbox.wake_on_mail(cx.waker());
            if this.pulse.outbox.has_mail() {
                // It came between the look and the registration.
                cx.waker().wake_by_ref();
            }
        }
        this.is_at_boundary = true;
        this.pulse.flushed();
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.pulse.is_cut_short() {
            // A clean end would make what is there the whole.
            this.pulse.close();
            return Poll::Ready(Ok(()));
        }
        if !this.is_shut {
            ready!(this.poll_unsent(cx))?;
            // A request that nobody will read any more, mostly. A tunnel's bytes are not ours.
            if !this.pulse.is_tunnel() && this.meter.has_waste(cx, &mut this.inner) {
                this.pulse.expect_surplus();
            }
            // Over TLS the last word may have to wait for a slow client: that is not yet the time that it has to close.
            if !this.ends_by_closing() {
                ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            }
            this.is_shut = true;
        }
        if this.pulse.close() {
            ready!(this.meter.poll_waste(cx, &mut this.inner));
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsFd, H> Drop for Wire<I, H> {
    fn drop(&mut self) {
        if self.pulse.ends_with_connection() && !self.is_shut {
            // Best effort: a socket that refuses has no peer any more.
            let _ = SockRef::from(&self.inner).set_linger(Some(Duration::ZERO));
        }
    }
}

/// The pieces one after the other, where there are several and all of them fit.
fn joined<'a>(slices: &[IoSlice<'_>], together: &'a mut [u8; ONE_PIECE]) -> Option<&'a [u8]> {
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
