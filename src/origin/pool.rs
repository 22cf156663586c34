//! How many connections may an origin have, and who gets one?
//!
//! A request needs a permit for as long as it occupies a connection; there are `max_connections` of them over all
//! addresses. Idle connections hold none, but a new connection closes the longest idle one where there would be more
//! than `max_connections` otherwise. Requests without a permit wait in turn: so many, and so long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::alarm::{self, Alarm};
use super::error::OriginError;
use super::http1::Http1;
use super::metrics::{Counted, OriginMetrics};
use super::upload::Turn;

/// Requests that may wait for each connection: with the usual hundred milliseconds an answer, the last of them waits
/// a fraction of a second; many more would only time out.
const QUEUE_PER_CONNECTION: usize = 4;
/// Small pools get a queue of a useful length.
const SHORTEST_QUEUE: usize = 128;
/// Idle connections are closed after this time: before the usual keep-alive of servers (5 s and more) ends, lest a
/// request be sent into a connection that is being closed.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// The connections of one origin.
pub(super) struct Pool {
    pub(super) origin: Arc<str>,
    permits: Arc<Semaphore>,
    limit: usize,
    queue: usize,
    patience: Duration,
    waiting: AtomicUsize,
    /// Sockets, idle ones included.
    open: AtomicUsize,
    /// Nothing is kept any more.
    closed: AtomicBool,
    pub(super) metrics: OriginMetrics,
}

/// The right to occupy one connection.
pub(super) type Permit = OwnedSemaphorePermit;

impl Pool {
    /// A pool of at most `limit` connections; requests wait for at most `patience`.
    pub(super) fn new(origin: Arc<str>, limit: usize, patience: Duration, metrics: OriginMetrics) -> Self {
        let limit = limit.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            origin,
            permits: Arc::new(Semaphore::new(limit)),
            limit,
            queue: limit.saturating_mul(QUEUE_PER_CONNECTION).max(SHORTEST_QUEUE),
            patience,
            waiting: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            metrics,
        }
    }

    /// Waits for the right to occupy a connection.
    ///
    /// # Errors
    ///
    /// Too many wait already, or none became free in time.
    pub(super) async fn permit(&self) -> Result<Permit, OriginError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let (origin, limit) = (|| Arc::clone(&self.origin), self.limit);
        let Some(_waiting) = self.wait() else {
            return Err(OriginError::QueueFull { origin: origin(), queue: self.queue, limit });
        };
        let permit = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(self.patience, permit).await {
            Ok(permit) => Ok(permit.expect("the semaphore is never closed")),
            Err(_) => Err(OriginError::QueueTimeout { origin: origin(), limit, waited: self.patience }),
        }
    }

    fn wait(&self) -> Option<Waiting<'_>> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.queue {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Waiting(&self.waiting, Counted::new(&self.metrics.waiting)))
    }

    /// Whether one more connection would be too many.
    pub(super) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.limit
    }

    /// Keeps nothing from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

struct Waiting<'pool>(&'pool AtomicUsize, #[expect(dead_code, reason = "counts while it lives")] Counted);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection to an origin; dropped, it is closed at once, whatever it was doing.
pub(super) struct Connection {
    /// Closed before the rest is given back, in this order: so there are never more than `max_connections`.
    pub(super) http: Http1,
    _place: Place,
    /// The right of the request that occupies it.
    pub(super) permit: Option<Permit>,
    /// Whether it has carried a request before: the origin may be closing it just now.
    pub(super) is_reused: bool,
    /// Rings when the origin lets us wait too long.
    pub(super) alarm: Alarm,
}

impl Connection {
    pub(super) fn new(http: Http1, pool: &Arc<Pool>) -> Self {
        Self { http, _place: Place::take(pool), permit: None, is_reused: false, alarm: Alarm::default() }
    }

    /// Ready when the origin has had `limit` for what it is to do, since `from`.
    ///
    /// The time runs anew from each piece of the request's body that the origin takes. While we wait for the client's next
    /// piece it does not run: that has a deadline of its own (`server.idle_timeout`). Interim answers do not set it back: the
    /// bound would be theirs otherwise.
    pub(super) fn poll_overdue(&mut self, from: &mut Instant, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.poll_until(alarm::deadline((*from).into(), limit), cx));
            match self.http.turn() {
                Some(Turn::Client) => *from = Instant::now(),
                Some(Turn::Origin(since)) if since > *from => *from = since,
                Some(Turn::Origin(_)) | None => return Poll::Ready(()),
            }
        }
    }
}

/// A connection's place among those that are open.
struct Place(Arc<Pool>, #[expect(dead_code, reason = "counts while it lives")] Counted);

impl Place {
    fn take(pool: &Arc<Pool>) -> Self {
        pool.open.fetch_add(1, Ordering::Relaxed);
        pool.metrics.connects.inc();
        Self(Arc::clone(pool), Counted::new(&pool.metrics.open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
