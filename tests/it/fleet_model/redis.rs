//! A Redis that loses what it should not, and the time that passes by its clock and by those of nodes.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use larder::clock::Clock;
use larder::policy::time::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::store::Store;

/// When all clocks begin, in milliseconds since the epoch.
pub(super) const BEGIN: u64 = 1_800_000_000_000;

/// How far a replica may be behind. The lease of a node is as much longer than the time for which it uses what is stored.
const REPLICATED: u64 = 700;

/// The one Redis of a simulation.
#[derive(Debug)]
pub(super) struct Redis {
    inner: Mutex<Inner>,
    /// Told of every change; counts the masters that went away.
    changed: watch::Sender<u64>,
    begun: Instant,
    pub(super) lease: Duration,
    pub(super) kept: usize,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    /// What it was before each of the last scripts that wrote, and when that was.
    before: Vec<(u64, Store)>,
    /// When it lost the log that it had before.
    log_since: u64,
    /// The highest millisecond that any master has given a number.
    numbered: u64,
    /// How far its clock is ahead of time.
    ahead: i64,
    is_down: bool,
    /// Of a thousand requests so many are lost, and so many answers; others take long.
    trouble: u32,
    loses_answers: bool,
    refuses_entries: bool,
    random: Rng,
    /// The clocks of nodes, and how far each is ahead of time. They move when something happens.
    clocks: Vec<(Clock, u64)>,
}

impl Inner {
    fn era(&self) -> Option<u64> {
        self.store.meta.map(|meta| meta.era)
    }
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    pub(super) there: Duration,
    pub(super) back: Duration,
    pub(super) is_lost: bool,
    pub(super) is_unanswered: bool,
}

impl Redis {
    pub(super) fn new(random: Rng, lease: Duration, kept: usize) -> Arc<Self> {
        let inner = Inner {
            store: Store::default(),
            before: Vec::new(),
            log_since: 0,
            numbered: 0,
            ahead: 0,
            is_down: false,
            trouble: 0,
            loses_answers: false,
            refuses_entries: false,
            random,
            clocks: Vec::new(),
        };
        let changed = watch::Sender::new(0);
        Arc::new(Self { inner: Mutex::new(inner), changed, begun: Instant::now(), lease, kept })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it is held")
    }

    /// The highest millisecond that any master has given a number.
    pub(super) fn numbered(&self) -> u64 {
        self.inner().numbered
    }

    /// How long ago it lost a log.
    pub(super) fn lost_a_log_ago(&self) -> Duration {
        Duration::from_millis(self.elapsed() - self.inner().log_since)
    }

    /// Milliseconds since all began.
    pub(super) fn elapsed(&self) -> u64 {
        // Timers count whole milliseconds from another moment than the clock does: rounded, runs are alike.
        u64::try_from((self.begun.elapsed().as_micros() + 500) / 1000).expect("a simulation is short")
    }

    /// A clock that is so far ahead of time.
    pub(super) fn clock(&self, ahead: u64) -> Clock {
        let clock = Clock::manual(Timestamp::from_millis(BEGIN + ahead + self.elapsed()));
        self.inner().clocks.push((clock.clone(), ahead));
        clock
    }

    /// Moves the clocks of all nodes to what time it is.
    pub(super) fn tick(&self) {
        let now = BEGIN + self.elapsed();
        for (clock, ahead) in &self.inner().clocks {
            clock.set(Timestamp::from_millis(now + ahead));
        }
    }

    /// What time it is by its own clock.
    pub(super) fn now(&self) -> u64 {
        (BEGIN + self.elapsed()).checked_add_signed(self.inner().ahead).expect("a clock is off by seconds")
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        look(&self.inner().store)
    }

    /// Changes what it holds, as a script or somebody else does: whole, or not at all.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let changed = {
            let (mut inner, now) = (self.inner(), self.elapsed());
            let before = (now, inner.store.clone());
            inner.before.push(before);
            inner.before.retain(|(when, _)| when + REPLICATED >= now);
            let era = inner.era();
            let changed = change(&mut inner.store);
            inner.numbered = inner.store.meta.map_or(0, |meta| meta.last.millis()).max(inner.numbered);
            // From its loss on, not from the beginning of another one.
            if era.is_some() && inner.era() != era {
                inner.log_since = now;
            }
            changed
        };
        self.changed.send_modify(|_| {});
        changed
    }

    /// Of a thousand requests so many are lost, as many answers, and as many take long.
    pub(super) fn trouble(&self, trouble: u32) {
        self.inner().trouble = trouble;
    }

    /// Every answer is lost from now on, or none.
    pub(super) fn lose_answers(&self, are_lost: bool) {
        self.inner().loses_answers = are_lost;
    }

    /// No entry is added from now on.
    pub(super) fn refuse_entries(&self, are_refused: bool) {
        self.inner().refuses_entries = are_refused;
    }

    pub(super) fn refuses_entries(&self) -> bool {
        self.inner().refuses_entries
    }

    /// How many scripts a replica must have missed for this not to hold of what it has.
    pub(super) fn scripts_since(&self, holds: impl Fn(&Store) -> bool) -> usize {
        let inner = self.inner();
        1 + inner.before.iter().rev().take_while(|(_, store)| holds(store)).count()
    }

    /// Nobody answers until it is up again.
    pub(super) fn set_down(&self, is_down: bool) {
        self.inner().is_down = is_down;
        self.changed.send_modify(|masters| *masters += 1);
    }

    /// A replica takes over that has not heard of the last `lost` scripts, and whose clock is so far ahead of the old one.
    pub(super) fn fail_over(&self, lost: usize, ahead: i64) {
        let mut inner = self.inner();
        // Its own replicas begin with what it has.
        let before = std::mem::take(&mut inner.before);
        if let Some((_, store)) = before.into_iter().rev().take(lost).last() {
            let era = inner.era();
            inner.store = store;
            if inner.era() != era {
                inner.log_since = self.elapsed();
            }
        }
        inner.ahead += ahead;
        drop(inner);
        self.changed.send_modify(|masters| *masters += 1);
    }

    /// Whether nobody answers.
    pub(super) fn is_down(&self) -> bool {
        self.inner().is_down
    }

    /// Follows what changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Settles what becomes of a request.
    pub(super) fn fate(&self) -> Fate {
        let Inner { random, trouble, loses_answers, .. } = &mut *self.inner();
        let mut of_thousand = |count: u32| random.u32(..1000) < count;
        let (is_lost, is_unanswered) = (of_thousand(*trouble), of_thousand(*trouble) || *loses_answers);
        let (there_long, back_long) = (of_thousand(*trouble), of_thousand(*trouble));
        let mut time = |is_long| Duration::from_millis(if is_long { random.u64(..2500) } else { random.u64(..3) });
        Fate { there: time(there_long), back: time(back_long), is_lost, is_unanswered }
    }
}
