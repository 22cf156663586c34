//! How many bytes pass over a client's connection, and how many connections are there?

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::telemetry::Telemetry;

/// Bytes counted here before they are added to the process's counters: they are shared between threads.
const METER_BYTES: u64 = 16 << 10;

/// Counts a connection's bytes for the process's counters, and the connection itself among those that are open.
pub(crate) struct Meter {
    pub(super) telemetry: Arc<Telemetry>,
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

    pub(super) fn read(&mut self, bytes: usize) {
        self.read += bytes as u64;
        self.settle(METER_BYTES);
    }

    pub(super) fn wrote(&mut self, bytes: usize) {
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
