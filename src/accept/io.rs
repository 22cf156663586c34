//! What passes between the library and the socket: bytes counted, progress marked, 1xx slipped in, refusals spelt out.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::StatusCode;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::frames::{self, Frames};
use super::framing::{Fault, Framing, Place};
use super::pulse::{Pulse, coarse_now};
use super::refusal;
use crate::telemetry::Telemetry;

/// Bytes counted here before they are added to the process's counters: they are shared between threads.
const METER_BYTES: u64 = 16 << 10;

/// An answer of at most so many bytes is written as one piece: the kernel takes a list of pieces more slowly than we
/// copy so few bytes.
const SMALL_BYTES: usize = 2 << 10;

/// What the library reads in the place of a head that it must not read: an error wherever in a head it stands, and an
/// end, because the library looks at whole heads only.
const POISON: &[u8] = b"\0\r\n\r\n";

/// What is read at once to be thrown away.
const WASTE_BYTES: usize = 16 << 10;

/// What a client speaks, as far as we follow it.
enum Speech {
    Http1(Framing),
    Http2(Frames),
}

/// Why nothing more of a client is read.
#[derive(Clone, Copy)]
enum Stopped {
    /// What it sent could be read in two ways.
    Doubtful(Fault),
    /// It keeps us busy.
    TooMuch,
}

/// A client's socket. Dropped before it was shut down in an answer that only its end delimits, it resets the connection.
pub(crate) struct Wire<I: AsFd> {
    inner: I,
    /// Bytes that were read to choose the protocol, and are to be read again.
    prefix: Bytes,
    speech: Speech,
    pulse: Arc<Pulse>,
    /// The library's buffer is written out: the next byte begins a message, or a piece of one.
    is_at_boundary: bool,
    /// Our own bytes that go out before anything else.
    ours: Bytes,
    /// Bytes of the library's that `ours` stand for.
    replaced: Option<usize>,
    /// Everything is written, and the client will know it for the end.
    is_shut: bool,
    /// Why nothing that comes in is read any more.
    stopped: Option<Stopped>,
    meter: Meter,
}

impl<I: AsFd> Wire<I> {
    /// A socket whose first bytes, `prefix`, were already read.
    pub(crate) fn new(inner: I, prefix: Bytes, is_http1: bool, pulse: Arc<Pulse>, meter: Meter) -> Self {
        let speech = if is_http1 { Speech::Http1(Framing::new()) } else { Speech::Http2(Frames::new(coarse_now())) };
        Self {
            inner,
            prefix,
            speech,
            pulse,
            is_at_boundary: true,
            ours: Bytes::new(),
            replaced: None,
            is_shut: false,
            stopped: None,
            meter,
        }
    }

    const fn is_http1(&self) -> bool {
        matches!(self.speech, Speech::Http1(_))
    }

    /// Whether the request line is what the client is at.
    fn is_in_request_line(&self) -> bool {
        matches!(&self.speech, Speech::Http1(framing) if framing.is_in_request_line())
    }
}

impl<I: AsyncWrite + AsFd + Unpin> Wire<I> {
    /// Writes what is ours to write. Ready with a number: so many bytes of the library's are done with already.
    fn poll_ours(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if !self.is_http1() || self.pulse.is_tunnel() {
            return Poll::Ready(Ok(None));
        }
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
            let written = ready!(self.mark(|inner, ours| Pin::new(inner).poll_write(cx, ours)))?;
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
        if let Some(Stopped::Doubtful(fault)) = self.stopped {
            (status, reason) = (fault.status, Some(fault.reason));
        } else if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && self.is_in_request_line() {
            // What outgrew the limit is the target alone.
            status = StatusCode::URI_TOO_LONG;
        }
        if let Some(ours) = refusal::spell_out(status, reason, refusal) {
            self.pulse.expect_surplus();
            self.meter.telemetry.metrics().malformed_heads.inc();
            self.ours = ours;
            self.replaced = Some(refusal.len());
        }
    }

    /// Writes, and leaves the marks of it.
    fn mark(&mut self, write: impl FnOnce(&mut I, &Bytes) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let outcome = write(&mut self.inner, &self.ours);
        match &outcome {
            Poll::Ready(Ok(bytes)) => {
                self.pulse.wrote(*bytes);
                self.meter.wrote(*bytes);
                if let Speech::Http2(frames) = &mut self.speech {
                    frames.sent(*bytes);
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.pulse.blocked(),
        }
        outcome
    }
}

/// The pieces one after the other, where there are several and all of them fit.
fn gather<'a>(slices: &[IoSlice<'_>], together: &'a mut [u8; SMALL_BYTES]) -> Option<&'a [u8]> {
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    if slices.len() < 2 || length > SMALL_BYTES {
        return None;
    }
    let mut filled = 0;
    for slice in slices {
        together[filled..filled + slice.len()].copy_from_slice(slice);
        filled += slice.len();
    }
    Some(&together[..filled])
}

impl<I: AsyncRead + AsFd + Unpin> Wire<I> {
    /// Looks at what was read, from `before` on, before the library does.
    fn look_at(&mut self, before: usize, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let read = &buffer.filled()[before..];
        if read.is_empty() || self.stopped.is_some() {
            return Ok(());
        }
        match &mut self.speech {
            Speech::Http1(framing) => {
                if !self.pulse.is_in_flight() {
                    self.pulse.head_bytes_came();
                }
                if self.pulse.is_tunnel() {
                    return Ok(());
                }
                let Err(fault) = framing.read(read) else { return Ok(()) };
                self.stop(Stopped::Doubtful(fault), before + fault.at, buffer)
            }
            Speech::Http2(frames) => match frames.read(read, coarse_now) {
                Some(at) => self.stop(Stopped::TooMuch, before + at, buffer),
                None => Ok(()),
            },
        }
    }

    /// Keeps back what came from `at` on, and all that will: the library refuses the head, or the body breaks off.
    fn stop(&mut self, why: Stopped, at: usize, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        self.pulse.expect_surplus();
        self.stopped = Some(why);
        buffer.set_filled(at);
        let mut instead = match why {
            Stopped::Doubtful(fault) if fault.place == Place::Head => Bytes::from_static(POISON),
            // Nothing read would be taken for the client's end.
            Stopped::Doubtful(fault) if fault.at == 0 => return Err(io::ErrorKind::InvalidData.into()),
            Stopped::Doubtful(_) => Bytes::new(),
            Stopped::TooMuch => frames::too_much(),
        };
        let now = instead.split_to(instead.len().min(buffer.remaining()));
        buffer.put_slice(&now);
        self.prefix = instead;
        Ok(())
    }

    /// Reads what still comes, until the client ends it. How long this may go on is the pulse's to say; how much comes
    /// meanwhile does not matter, nothing of it is kept.
    ///
    /// Bytes unread at the close make the kernel send a reset, which may overtake the answer (RFC 9112 §9.6).
    fn poll_waste(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut waste = [MaybeUninit::uninit(); WASTE_BYTES];
            let mut buffer = ReadBuf::uninit(&mut waste);
            let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer));
            if outcome.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
            self.meter.read(buffer.filled().len());
        }
    }
}

impl<I: AsyncRead + AsFd + Unpin> AsyncRead for Wire<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.prefix.is_empty() {
            if this.stopped.is_some() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        } else {
            let piece = this.prefix.split_to(this.prefix.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
        }
        this.meter.read(buffer.filled().len() - before);
        Poll::Ready(this.look_at(before, buffer))
    }
}

impl<I: AsyncRead + AsyncWrite + AsFd + Unpin> AsyncWrite for Wire<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(done) = ready!(self.poll_ours(cx, bytes))? {
            return Poll::Ready(Ok(done));
        }
        self.mark(|inner, _| Pin::new(inner).poll_write(cx, bytes))
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
        let mut together = [0; SMALL_BYTES];
        match gather(slices, &mut together) {
            Some(bytes) => self.mark(|inner, _| Pin::new(inner).poll_write(cx, bytes)),
            None => self.mark(|inner, _| Pin::new(inner).poll_write_vectored(cx, slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_http1() {
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
        }
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
            // Over TLS the last word may have to wait for a slow client: that is not yet the time that it has to close.
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        if this.pulse.close() {
            ready!(this.poll_waste(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsFd> Drop for Wire<I> {
    fn drop(&mut self) {
        if self.pulse.ends_with_connection() && !self.is_shut {
            // Best effort: a socket that refuses has no peer any more.
            let _ = SockRef::from(&self.inner).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Counts a connection's bytes for the process's counters, and the connection itself among those that are open.
pub(crate) struct Meter {
    telemetry: Arc<Telemetry>,
    /// The connection's place among `server.max_connections`, kept by a tunnel to its end.
    _place: OwnedSemaphorePermit,
    read: u64,
    written: u64,
}

impl Meter {
    pub(crate) fn new(telemetry: Arc<Telemetry>, place: OwnedSemaphorePermit) -> Self {
        telemetry.metrics().connections.inc();
        telemetry.metrics().connections_accepted.inc();
        Self { telemetry, _place: place, read: 0, written: 0 }
    }

    fn read(&mut self, bytes: usize) {
        self.read += bytes as u64;
        self.settle(METER_BYTES);
    }

    fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.settle(METER_BYTES);
    }

    fn settle(&mut self, from: u64) {
        if self.read + self.written >= from {
            self.telemetry.metrics().received_bytes.inc_by(std::mem::take(&mut self.read));
            self.telemetry.metrics().sent_bytes.inc_by(std::mem::take(&mut self.written));
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.settle(0);
        self.telemetry.metrics().connections.dec();
    }
}
