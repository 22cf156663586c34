//! How many bytes pass over a client's connection, and how many connections are there?

use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::coop::unconstrained;

use crate::telemetry::Telemetry;

/// Bytes counted here before they are added to the process's counters: they are shared between threads.
const METER_BYTES: u64 = 16 << 10;

/// What is read at once to be thrown away.
const WASTE_BYTES: usize = 16 << 10;

/// Counts a connection's bytes for the process's counters, and the connection itself among those that are open.
pub(crate) struct Meter {
    pub(crate) telemetry: Arc<Telemetry>,
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

    pub(crate) fn read(&mut self, bytes: usize) {
        self.read += bytes as u64;
        self.settle(METER_BYTES);
    }

    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        self.settle(METER_BYTES);
    }

    /// Reads what still comes, until the client ends it. How long this may go on is the pulse's to say; how much comes
    /// meanwhile does not matter, nothing of it is kept.
    ///
    /// Bytes unread at the close make the kernel send a reset, which may overtake the answer (RFC 9112 §9.6).
    pub(crate) fn poll_waste(&mut self, cx: &mut Context<'_>, socket: &mut (impl AsyncRead + Unpin)) -> Poll<()> {
        while ready!(self.poll_waste_some(cx, socket)) > 0 {}
        Poll::Ready(())
    }

    /// Whether something has come that nobody has read; some of it is read now, to be thrown away.
    pub(crate) fn has_waste(&mut self, cx: &mut Context<'_>, socket: &mut (impl AsyncRead + Unpin)) -> bool {
        // Outside the task's budget: to a task that has spent it, every socket looks empty.
        let some = pin!(unconstrained(poll_fn(|cx| self.poll_waste_some(cx, socket))));
        matches!(some.poll(cx), Poll::Ready(1..))
    }

    /// How many bytes were read; none at the end, and where there is an error.
    fn poll_waste_some(&mut self, cx: &mut Context<'_>, socket: &mut (impl AsyncRead + Unpin)) -> Poll<usize> {
        let mut waste = [MaybeUninit::uninit(); WASTE_BYTES];
        let mut buffer = ReadBuf::uninit(&mut waste);
        let outcome = ready!(Pin::new(socket).poll_read(cx, &mut buffer));
        let read = outcome.map_or(0, |()| buffer.filled().len());
        self.read(read);
        Poll::Ready(read)
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
