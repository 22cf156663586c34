//! What passes between the library and the socket: bytes counted, progress marked, 1xx slipped in, refusals spelt out.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::framing::{Fault, Framing, Place};
use super::pulse::Pulse;
use crate::policy::outcome::{Detail, Outcome};
use crate::respond::error::{Problem, error};
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

/// A client's socket. Dropped before it was shut down in an answer that only its end delimits, it resets the connection.
pub(crate) struct Wire<I: AsFd> {
    inner: I,
    /// Bytes that were read to choose the protocol, and are to be read again.
    prefix: Bytes,
    is_http1: bool,
    pulse: Arc<Pulse>,
    /// The library's buffer is written out: the next byte begins a message, or a piece of one.
    is_at_boundary: bool,
    /// Our own bytes that go out before anything else.
    ours: Bytes,
    /// Bytes of the library's that `ours` stand for.
    replaced: Option<usize>,
    /// Everything is written, and the client will know it for the end.
    is_shut: bool,
    framing: Framing,
    /// Why nothing that comes in is read any more.
    fault: Option<Fault>,
    meter: Meter,
}

impl<I: AsFd> Wire<I> {
    /// A socket whose first bytes, `prefix`, were already read.
    pub(crate) fn new(inner: I, prefix: Bytes, is_http1: bool, pulse: Arc<Pulse>, meter: Meter) -> Self {
        Self {
            inner,
            prefix,
            is_http1,
            pulse,
            is_at_boundary: true,
            ours: Bytes::new(),
            replaced: None,
            is_shut: false,
            framing: Framing::new(),
            fault: None,
            meter,
        }
    }
}

impl<I: AsyncWrite + AsFd + Unpin> Wire<I> {
    /// Writes what is ours to write. Ready with a number: so many bytes of the library's are done with already.
    fn poll_ours(&mut self, cx: &mut Context<'_>, first: &[u8]) -> Poll<io::Result<Option<usize>>> {
        if !self.is_http1 || self.pulse.is_tunnel() {
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
        if let Some(fault) = self.fault {
            (status, reason) = (fault.status, Some(fault.reason));
        } else if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && self.framing.is_in_request_line() {
            // What outgrew the limit is the target alone.
            status = StatusCode::URI_TOO_LONG;
        }
        if let Some(ours) = spell_out(status, reason, refusal) {
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

/// The library's refusal of a head it could not read, with the fields that our errors have. Its own fields stay.
fn spell_out(status: StatusCode, reason: Option<&'static str>, refusal: &[u8]) -> Option<Bytes> {
    let reason = match status {
        _ if reason.is_some() => reason?,
        StatusCode::BAD_REQUEST => "the head of the request is malformed",
        StatusCode::URI_TOO_LONG => "the target is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the head is larger than server.max_header_bytes",
        _ => return None,
    };
    let line_end = memchr::memmem::find(refusal, b"\r\n")? + 2;
    let outcome = Outcome::refused(Detail::BadRequest);
    let answer = error(&Problem { status, error: "http_request_error", reason, outcome }, &HeaderMap::new());
    let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
    // The body stays empty: the library has said so in its Content-Length.
    for name in ["cache-control", "age", "via", "proxy-status", "cache-status"] {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(answer.headers().get(name)?.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(&refusal[line_end..]);
    Some(bytes.into())
}

impl<I: AsyncRead + AsFd + Unpin> Wire<I> {
    /// Keeps back what came from `fault` on, and all that will: the library refuses the head, or the body breaks off.
    fn stop(&mut self, fault: Fault, before: usize, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        self.pulse.expect_surplus();
        self.fault = Some(fault);
        buffer.set_filled(before + fault.at);
        self.prefix = Bytes::new();
        if fault.place == Place::Head {
            let (now, later) = POISON.split_at(POISON.len().min(buffer.remaining()));
            buffer.put_slice(now);
            self.prefix = Bytes::from_static(later);
        } else if fault.at == 0 {
            // Nothing read would be taken for the client's end.
            return Err(io::ErrorKind::InvalidData.into());
        }
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
            if this.fault.is_some() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        } else {
            let piece = this.prefix.split_to(this.prefix.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
        }
        let read = buffer.filled().len() - before;
        this.meter.read(read);
        if read == 0 || !this.is_http1 {
            return Poll::Ready(Ok(()));
        }
        if !this.pulse.is_in_flight() {
            this.pulse.head_bytes_came();
        }
        if this.fault.is_none()
            && !this.pulse.is_tunnel()
            && let Err(fault) = this.framing.read(&buffer.filled()[before..])
        {
            return Poll::Ready(this.stop(fault, before, buffer));
        }
        Poll::Ready(Ok(()))
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
        if this.is_http1 {
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
        let may_come_more = this.pulse.close();
        if this.pulse.is_cut_short() {
            // A clean end would make what is there the whole.
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        this.is_shut = true;
        if may_come_more {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_librarys_gets_the_fields_of_ours() {
        let refusal = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        let bytes = spell_out(status, None, refusal).expect("431 is spelt out");
        let text = std::str::from_utf8(&bytes).expect("ASCII");
        assert!(
            text.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\ncache-control: no-store\r\nage: 0\r\n"),
            "{text}"
        );
        assert!(text.contains("proxy-status: larder; error=http_request_error; details="), "{text}");
        assert!(text.ends_with("\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), "{text}");
    }
}
