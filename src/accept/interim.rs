//! How does a 1xx response reach a client before the final one? (RFC 9110 §15.2)
//!
//! It is queued here, by whichever task has it, and the connection writes it before the final one. On HTTP/2 there are none:
//! the library's server cannot send them, and frames are the library's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};

use super::pulse::Pulse;
use crate::body::http1::outgoing::{write_field, write_status};
use crate::client::Interim;

/// Bytes of interim responses that may wait on a connection; an origin may send them without end, clients may be slow.
const QUEUE_BYTES: usize = 16 << 10;

/// A connection's interim responses on their way.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The number of the request that may send; 0: none.
    open_for: AtomicU64,
    has_mail: AtomicBool,
    mail: Mutex<Vec<u8>>,
    socket: AtomicWaker,
}

impl Outbox {
    /// From now on, this request may send. Nothing of an earlier one is left.
    pub(crate) fn open(&self, request: u64) {
        self.discard();
        self.open_for.store(request, Ordering::Release);
    }

    /// Nobody may send any more. What is queued still goes out, before the final response.
    pub(crate) fn close(&self) {
        // Under the lock: who sends at this moment has queued it, or has not.
        let _mail = self.lock();
        self.open_for.store(0, Ordering::Release);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open_for.load(Ordering::Acquire) != 0
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    /// Takes what is queued.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut mail = self.lock();
        self.has_mail.store(false, Ordering::Release);
        std::mem::take(&mut mail)
    }

    pub(crate) fn discard(&self) {
        if self.has_mail() {
            drop(self.take());
        }
    }

    /// The task that writes to the socket is woken by this when mail comes.
    pub(crate) fn wake_on_mail(&self, waker: &Waker) {
        self.socket.register(waker);
    }

    fn send(&self, request: u64, status: StatusCode, headers: &HeaderMap) {
        let mut mail = self.lock();
        // Looked at under the lock: what is queued belongs to the request that is open.
        if self.open_for.load(Ordering::Acquire) == request && mail.len() < QUEUE_BYTES {
            write_head(status, headers, &mut mail);
            self.has_mail.store(true, Ordering::Release);
        }
        drop(mail);
        self.socket.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request gets to send interim responses with. Kept for the next request where nobody else holds it, so that
/// a hit allocates nothing for it.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    last: Option<Interim>,
    request: u64,
}

impl Desk {
    /// Opens the connection's outbox for a new request.
    pub(crate) fn open(&mut self, pulse: &Arc<Pulse>) -> Interim {
        if let Some(last) = self.last.as_ref().filter(|last| !last.is_shared()) {
            pulse.outbox.open(self.request);
            return last.clone();
        }
        self.request += 1;
        let (request, sender) = (self.request, Arc::clone(pulse));
        let interim = Interim::new(move |status, headers| {
            // 101 ends HTTP/1.1, and 100 is sent when the body is wanted.
            if status.is_informational() && status.as_u16() > 101 {
                sender.outbox.send(request, status, headers);
            }
        });
        pulse.outbox.open(self.request);
        self.last.insert(interim).clone()
    }
}

fn write_head(status: StatusCode, headers: &HeaderMap, out: &mut Vec<u8>) {
    write_status(out, true, status);
    for (name, value) in headers {
        write_field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn hints() -> HeaderMap {
        [(http::header::LINK, HeaderValue::from_static("</a.css>"))].into_iter().collect()
    }

    #[test]
    fn only_the_request_under_way_may_send_and_only_before_its_answer() {
        let pulse = Arc::new(Pulse::new(crate::telemetry::Telemetry::silent()));
        let mut desk = Desk::default();
        let first = desk.open(&pulse);
        first.send(StatusCode::SWITCHING_PROTOCOLS, &hints());
        first.send(StatusCode::OK, &hints());
        assert!(!pulse.outbox.has_mail(), "neither 101 nor a final status");
        first.send(StatusCode::EARLY_HINTS, &hints());
        assert_eq!(pulse.outbox.take(), b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
        pulse.outbox.close();
        first.send(StatusCode::EARLY_HINTS, &hints());
        assert!(!pulse.outbox.has_mail(), "the answer has begun");

        let second = desk.open(&pulse);
        first.send(StatusCode::EARLY_HINTS, &hints());
        assert!(!pulse.outbox.has_mail(), "an earlier request's hints are not the next one's");
        second.send(StatusCode::PROCESSING, &HeaderMap::new());
        assert_eq!(pulse.outbox.take(), b"HTTP/1.1 102 Processing\r\n\r\n");
        for _ in 0..1000 {
            second.send(StatusCode::EARLY_HINTS, &hints());
        }
        assert!(pulse.outbox.take().len() < QUEUE_BYTES + 100, "an endless origin is bounded");
    }
}
