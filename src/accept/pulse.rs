//! Does this connection still get anywhere, and when is it cut?
//!
//! The socket, the requests and their bodies leave marks here; one timer per connection looks at the marks, and is
//! set anew only when it fires too early. A hit costs a few relaxed atomics and no timer.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::interim::Outbox;
use crate::telemetry::Telemetry;

/// How long a connection that we have ended may go on sending. Closing at once would reset it, and the reset would
/// overtake our last answer. A client that reads it within this time gets it, however much it sends.
const LINGER: Duration = Duration::from_secs(2);

/// What the coarse clock may lag behind the timer's: up to a tick of a kernel at 100 Hz.
const SLACK_MILLIS: u64 = 20;

/// The marks of one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    telemetry: Arc<Telemetry>,
    /// Polls of the connection, ever; wraps.
    turn: AtomicU32,
    /// Requests begun, ever.
    requests: AtomicU32,
    /// Requests begun whose answer has not been handed over whole.
    in_flight: AtomicU32,
    /// Of those: answers under way.
    answering: AtomicU32,
    /// Of those: answers that wait for their source, not for the client.
    waiting: AtomicU32,
    /// Pieces of answers handed over, ever.
    pieces: AtomicU32,
    /// A part of a request's head has come (HTTP/1.1).
    has_head_begun: AtomicBool,
    /// The client takes nothing more at the moment.
    is_blocked: AtomicBool,
    /// Bytes written, ever.
    written: AtomicU64,
    /// We have ended the connection and wait for the client to do so.
    is_closing: AtomicBool,
    /// The last request had a body, or a head that made no sense, or others behind it: more of that may be on its way.
    has_surplus: AtomicBool,
    /// Interim responses on their way.
    pub(crate) outbox: Outbox,
}

/// What a connection is doing, with what tells one such state from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// A handler works, or a body waits for its source: they have deadlines of their own.
    Working,
    /// Waits for a whole head.
    Head(u32),
    /// Waits for the next request. On HTTP/2 the library may still be sending what it was handed.
    Idle(u32, u64),
    /// The socket takes no more bytes.
    Blocked(u64),
    /// Every answer under way could go on, but the client's windows are closed (HTTP/2).
    Stalled(u32, u64),
    /// Ended by us.
    Closing,
}

impl Pulse {
    /// The pulse of a new connection.
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self {
            telemetry,
            turn: AtomicU32::new(0),
            requests: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            answering: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            pieces: AtomicU32::new(0),
            has_head_begun: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            written: AtomicU64::new(0),
            is_closing: AtomicBool::new(false),
            has_surplus: AtomicBool::new(false),
            outbox: Outbox::default(),
        }
    }

    /// Where this connection's requests are counted.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// A request's head is complete.
    pub(crate) fn begin(self: &Arc<Self>, has_body: bool) -> InFlight {
        bump(&self.requests);
        self.in_flight.fetch_add(1, Relaxed);
        self.has_head_begun.store(false, Relaxed);
        self.has_surplus.store(has_body, Relaxed);
        InFlight { pulse: Arc::clone(self), is_answering: false, is_waiting: false }
    }

    /// The connection is polled anew.
    pub(crate) fn begin_turn(&self) {
        bump(&self.turn);
    }

    /// Which poll of the connection this is; wraps.
    pub(crate) fn turn(&self) -> u32 {
        self.turn.load(Relaxed)
    }

    /// A request was answered where it was read.
    pub(crate) fn answered_at_once(&self) {
        bump(&self.requests);
        self.has_head_begun.store(false, Relaxed);
        self.has_surplus.store(false, Relaxed);
    }

    /// How many requests have begun so far; wraps.
    pub(crate) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    /// Bytes came while no request was under way: they belong to a head.
    pub(crate) fn head_bytes_came(&self) {
        self.has_head_begun.store(true, Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        // As `bump` counts.
        self.written.store(self.written.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
        self.is_blocked.store(false, Relaxed);
    }

    pub(crate) fn blocked(&self) {
        self.is_blocked.store(true, Relaxed);
    }

    pub(crate) fn expect_surplus(&self) {
        self.has_surplus.store(true, Relaxed);
    }

    /// Whether the client may still be sending when we end the connection.
    pub(crate) fn has_surplus(&self) -> bool {
        self.has_surplus.load(Relaxed)
    }

    /// We end the connection. Whether the client may still be sending, and must be read out.
    pub(crate) fn close(&self) -> bool {
        self.is_closing.store(true, Relaxed);
        self.is_blocked.store(false, Relaxed);
        self.has_surplus()
    }

    fn doing(&self) -> Doing {
        let in_flight = self.in_flight.load(Relaxed);
        let requests = self.requests.load(Relaxed);
        let written = self.written.load(Relaxed);
        if self.is_closing.load(Relaxed) {
            Doing::Closing
        } else if self.is_blocked.load(Relaxed) {
            Doing::Blocked(written)
        } else if in_flight == 0 && (requests == 0 || self.has_head_begun.load(Relaxed)) {
            Doing::Head(requests)
        } else if in_flight == 0 {
            Doing::Idle(requests, written)
        } else if self.answering.load(Relaxed) == in_flight && self.waiting.load(Relaxed) == 0 {
            Doing::Stalled(self.pieces.load(Relaxed), written)
        } else {
            Doing::Working
        }
    }
}

/// Counts on, where nobody but the connection's own task counts: that costs less than an addition that others may share.
fn bump(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}

/// A request under way, from its head to the end of its answer, counted in its connection's pulse.
#[derive(Debug)]
pub(crate) struct InFlight {
    pulse: Arc<Pulse>,
    is_answering: bool,
    is_waiting: bool,
}

impl InFlight {
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The head of the final answer is there: no interim response may follow.
    pub(crate) fn answered(&mut self) {
        self.is_answering = true;
        self.pulse.answering.fetch_add(1, Relaxed);
        self.pulse.outbox.close();
    }

    /// A piece of the answer is there.
    pub(crate) fn piece(&mut self) {
        self.pulse.pieces.fetch_add(1, Relaxed);
        self.set_waiting(false);
    }

    /// The answer waits for its source.
    pub(crate) fn set_waiting(&mut self, is_waiting: bool) {
        if self.is_waiting != is_waiting {
            self.is_waiting = is_waiting;
            let count = &self.pulse.waiting;
            if is_waiting {
                count.fetch_add(1, Relaxed)
            } else {
                count.fetch_sub(1, Relaxed)
            };
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set_waiting(false);
        if self.is_answering {
            self.pulse.answering.fetch_sub(1, Relaxed);
        }
        self.pulse.in_flight.fetch_sub(1, Relaxed);
    }
}

/// The deadlines of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For a whole head: `server.header_timeout`.
    pub(crate) head: Duration,
    /// Between requests, and for every progress in writing: `server.idle_timeout`.
    pub(crate) idle: Duration,
}

impl Limits {
    fn of(&self, doing: Doing) -> Option<Duration> {
        match doing {
            Doing::Working => None,
            Doing::Head(_) => Some(self.head),
            Doing::Idle(..) | Doing::Blocked(_) | Doing::Stalled(..) => Some(self.idle),
            Doing::Closing => Some(LINGER),
        }
    }
}

/// Watches a pulse. Ready when a deadline has passed.
#[derive(Debug)]
pub(crate) struct Watch {
    pulse: Arc<Pulse>,
    limits: Limits,
    doing: Doing,
    /// When it began to do that; coarse milliseconds.
    since: u64,
    /// Connections that end before anybody has to wait for them need none.
    timer: Option<Pin<Box<Sleep>>>,
    /// When the timer fires; `None` where it has fired.
    armed: Option<u64>,
}

impl Watch {
    pub(crate) fn new(pulse: Arc<Pulse>, limits: Limits) -> Self {
        let doing = pulse.doing();
        Self { pulse, limits, doing, since: coarse_now(), timer: None, armed: None }
    }

    /// Call this after every poll of the connection.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let doing = self.pulse.doing();
        let mut now = coarse_now();
        if doing != self.doing {
            (self.doing, self.since) = (doing, now);
        }
        let Some(limit) = self.limits.of(doing) else { return Poll::Pending };
        let deadline = self.since.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        loop {
            match self.armed {
                // The timer fires before the deadline; then it is looked at again.
                Some(armed) if armed <= deadline => {
                    if now.saturating_add(SLACK_MILLIS) < armed {
                        return Poll::Pending;
                    }
                }
                _ => {
                    let left = Duration::from_millis(deadline.saturating_sub(now).max(1));
                    let now = Instant::now();
                    let at = now.checked_add(left).unwrap_or(now + Duration::from_hours(24));
                    match &mut self.timer {
                        Some(timer) => timer.as_mut().reset(at),
                        None => self.timer = Some(Box::pin(sleep_until(at))),
                    }
                    self.armed = Some(deadline);
                }
            }
            if let Some(timer) = &mut self.timer {
                // Outside the task's budget: without any, the timer would not be set, and the task, which is woken at once instead,
                // does not ask it again before `armed`.
                ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
            }
            self.armed = None;
            now = coarse_now();
            if now >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

/// Milliseconds of a clock that never goes back, for a fifth of the cost of an exact one.
pub(crate) fn coarse_now() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use tokio::task::coop::{consume_budget, has_budget_remaining};

    use super::*;

    #[test]
    fn what_a_connection_does_follows_from_its_marks() {
        let pulse = Arc::new(Pulse::new(Telemetry::silent()));
        assert_eq!(pulse.doing(), Doing::Head(0), "a new connection owes a head");
        let mut request = pulse.begin(false);
        assert_eq!(pulse.doing(), Doing::Working, "a handler works");
        request.answered();
        assert_eq!(pulse.doing(), Doing::Stalled(0, 0), "an answer that nobody takes");
        request.piece();
        assert_eq!(pulse.doing(), Doing::Stalled(1, 0), "progress is a new state");
        request.set_waiting(true);
        assert_eq!(pulse.doing(), Doing::Working, "the source is slow, not the client");
        pulse.blocked();
        assert_eq!(pulse.doing(), Doing::Blocked(0), "the socket is full");
        pulse.wrote(7);
        drop(request);
        assert_eq!(pulse.doing(), Doing::Idle(1, 7), "between requests");
        pulse.wrote(1);
        assert_eq!(pulse.doing(), Doing::Idle(1, 8), "what still goes out is progress");
        pulse.head_bytes_came();
        assert_eq!(pulse.doing(), Doing::Head(1), "the next head has begun");
        pulse.close();
        assert_eq!(pulse.doing(), Doing::Closing);
    }

    #[tokio::test]
    async fn a_connection_that_does_nothing_is_cut_and_one_that_works_is_not() {
        let limits = Limits { head: Duration::from_millis(30), idle: Duration::from_millis(60) };
        let pulse = Arc::new(Pulse::new(Telemetry::silent()));
        let mut watch = Watch::new(Arc::clone(&pulse), limits);
        let begun = std::time::Instant::now();
        std::future::poll_fn(|cx| watch.poll(cx)).await;
        assert!(begun.elapsed() >= Duration::from_millis(20), "not before its time: {:?}", begun.elapsed());

        let request = pulse.begin(false);
        let working = tokio::time::timeout(Duration::from_millis(120), std::future::poll_fn(|cx| watch.poll(cx)));
        assert!(working.await.is_err(), "work has no deadline here");
        drop(request);
        std::future::poll_fn(|cx| watch.poll(cx)).await;
    }

    #[tokio::test]
    async fn a_connection_that_has_spent_its_tasks_budget_is_cut_all_the_same() {
        let limits = Limits { head: Duration::from_millis(30), idle: Duration::from_millis(60) };
        let mut watch = Watch::new(Arc::new(Pulse::new(Telemetry::silent())), limits);
        let mut is_spent = false;
        let cut = std::future::poll_fn(|cx| {
            while !is_spent && has_budget_remaining() {
                let _ = pin!(consume_budget()).poll(cx);
            }
            is_spent = true;
            watch.poll(cx)
        });
        // The timeout polls once more when it is over, and would be cut then.
        let begun = std::time::Instant::now();
        let _ = tokio::time::timeout(Duration::from_secs(5), cut).await;
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}
