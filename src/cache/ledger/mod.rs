//! Which purges does this node know, and does one of them concern a stored response?
//!
//! A purge is a fact with a number. A stored response carries a stamp: the last number known when its fetch began.
//! A purge concerns every response with a lower number that it names; so a fill that began before a purge can never
//! outlive it, and nothing is walked, scanned or indexed.

mod fold;
mod hearing;
mod judging;
mod marks;
mod prefixes;

use std::sync::PoisonError;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::Notify;

use self::fold::EVERYTHING;
use self::hearing::Hearing;
pub use self::judging::Blame;
use self::marks::{Mark, Marks};
use self::prefixes::Prefixes;
use super::sync::Mutex;
use super::sync::atomic::{AtomicU64, Ordering};
use crate::clock::{Clock, Moment};
use crate::policy::scope::{Scope, Severity};
use crate::policy::time::Timestamp;

/// Scopes kept one by one, and the bytes that they may take. Beyond either the older half folds upwards: a ledger
/// that forgot would serve what was purged, and one without a bound would be the memory leak of every busy API.
const LIMITS: Limits = Limits { scopes: 65_536, bytes: 32 << 20 };

#[derive(Debug, Clone, Copy)]
struct Limits {
    scopes: usize,
    bytes: usize,
}

/// The numbers that a log of several nodes gives are multiples of this. Those between them are for purges that a node
/// has not been able to write into the log yet: they come after all that it has heard of, and before all that is to come.
pub const STRIDE: u64 = 1 << 11;

/// A position in a log of purges. As the stamp of a response: what was known of purges when its fetch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Which log the number belongs to.
    pub era: u64,
    /// The last number known.
    pub number: u64,
}

impl Stamp {
    /// The same as other nodes can judge it: without the purges that are known to one node alone, whose numbers mean
    /// something else to each.
    #[must_use]
    pub fn of_log(self) -> Self {
        Self { number: self.number - self.number % STRIDE, ..self }
    }

    /// The stamp by which a node judges what another one fetched, where it knew `known` before it asked for it: one that
    /// knew more, or another log, counts as knowing nothing. Else a purge that this node numbers by itself, behind all that
    /// it knows, would come before it.
    #[must_use]
    pub const fn as_known_to(self, known: Self) -> Self {
        if self.era == known.era && self.number <= known.number { self } else { Self { number: 0, ..self } }
    }

    /// The stamp of what is made of two fetches: only what the older one knew is known to be in both.
    #[must_use]
    pub fn older(self, other: Self) -> Self {
        match (self.era == other.era, self.number <= other.number) {
            (true, false) => other,
            // Of two eras neither is known to be the later one: the own one counts, and is judged stale if foreign.
            _ => self,
        }
    }
}

/// A purge was numbered by a log that this ledger does not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the purge belongs to era {theirs:x} of the log, and this node follows era {ours:x}")]
pub struct OtherEra {
    /// The era of this ledger.
    pub ours: u64,
    /// The era of the purge.
    pub theirs: u64,
}

/// The purges that this node knows.
#[derive(Debug)]
pub struct Ledger {
    era: AtomicU64,
    /// The last number; published after its purge can be found.
    last: AtomicU64,
    /// Another one for each purge taken down; published last.
    revision: AtomicU64,
    urls: Marks,
    prefixes: Prefixes,
    tags: Marks,
    groups: Marks,
    /// Hosts with and without port, and [`EVERYTHING`].
    hosts: Marks,
    /// Held by the one who writes; the bytes that all names take.
    writer: Mutex<usize>,
    limits: Limits,
    folds: AtomicU64,
    /// Whether the log of several nodes is followed, and heard.
    hearing: Hearing,
    /// Told of hard purges: they leave dead responses behind.
    deaths: Notify,
}

impl Ledger {
    /// An empty ledger of its own era.
    pub fn new() -> Self {
        Self::with(LIMITS, Hearing::alone())
    }

    /// An empty ledger that is to follow the log of several nodes, and has heard nothing of it yet. For `max_lag` after
    /// it was heard last, by `clock`, what is stored may be used.
    pub fn shared(clock: Clock, max_lag: Duration) -> Self {
        Self::with(LIMITS, Hearing::of_log(clock, max_lag))
    }

    fn with(limits: Limits, hearing: Hearing) -> Self {
        Self {
            era: AtomicU64::new(fastrand::u64(1..)),
            last: AtomicU64::new(0),
            // Not the same in two ledgers: what one of them found alive is nothing to the other.
            revision: AtomicU64::new(fastrand::u64(1..u64::MAX / 2)),
            urls: Marks::default(),
            prefixes: Prefixes::default(),
            tags: Marks::default(),
            groups: Marks::default(),
            hosts: Marks::default(),
            writer: Mutex::new(0),
            limits,
            folds: AtomicU64::new(0),
            hearing,
            deaths: Notify::new(),
        }
    }

    /// The stamp of a fetch that begins now.
    pub fn stamp(&self) -> Stamp {
        // In this order: where another log is taken up meanwhile, the number is zero or one of the new log, never one of
        // the old log in the name of the new one.
        let era = self.era();
        Stamp { era, number: self.position() }
    }

    /// The log that it follows.
    pub fn era(&self) -> u64 {
        self.era.load(Ordering::Acquire)
    }

    /// The last number known.
    pub fn position(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// What people see of a number: a log of several nodes leaves room between its own.
    pub fn seq(&self, number: u64) -> u64 {
        if self.hearing.is_of_log() { number / STRIDE } else { number }
    }

    /// Which edition of the ledger this is; never zero. A response that was found alive after this was read is alive
    /// while it stays the same. The position would not do: a log may tell of a lower number late.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Whether the log was heard lately enough for what is stored to be used unasked. A node that is alone hears itself.
    pub fn is_heard(&self) -> bool {
        self.hearing.is_heard()
    }

    /// Whether the log is heard, or was not any more at `moment`: what began then began under the same doubt.
    pub fn is_heard_as_at(&self, moment: Moment) -> bool {
        self.hearing.is_heard_as_at(moment)
    }

    /// Takes down that at `moment` every purge of the log was known here.
    pub fn hear(&self, moment: Moment) {
        self.hearing.hear(moment);
    }

    /// How long ago every purge of the log was known here; `None`: that never was.
    pub fn lag(&self) -> Option<Duration> {
        self.hearing.lag()
    }

    /// The present moment, by the clock that hearing is measured with.
    pub fn moment(&self) -> Moment {
        self.hearing.moment()
    }

    /// Scopes that are kept one by one.
    pub fn scopes(&self) -> usize {
        [&self.urls, self.prefixes.marks(), &self.tags, &self.groups, &self.hosts].map(Marks::len).iter().sum()
    }

    /// How often scopes were folded into wider ones.
    pub fn folds(&self) -> u64 {
        self.folds.load(Ordering::Relaxed)
    }

    /// Waits until a hard purge has been taken down, or one was since this last returned. For one who waits.
    pub async fn deaths(&self) {
        self.deaths.notified().await;
    }

    /// Takes a purge down that only this node knows of, for good or for now. Gives its position: what is fetched from now
    /// on has it behind it. All its scopes have one number.
    pub fn purge(&self, scopes: &[Scope], severity: Severity, at: Timestamp) -> Stamp {
        let mut bytes = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = self.last.load(Ordering::Relaxed) + 1;
        if self.hearing.is_of_log() && number.is_multiple_of(STRIDE) {
            // No number is left that the log will not give to another purge. An era of its own makes all that is stored
            // stale, until the log is heard again and taken up anew.
            self.begin(Stamp { era: fastrand::u64(1..), number });
            number += 1;
        }
        self.take_down(&mut bytes, scopes, Mark::of(severity, number, at));
        Stamp { era: self.era(), number }
    }

    /// Takes a purge down that the log has numbered. The same one may come again, and one that comes late acts as the
    /// others do.
    ///
    /// # Errors
    ///
    /// It belongs to another log: what else that one holds is not known here.
    pub fn apply(&self, position: Stamp, scopes: &[Scope], severity: Severity, at: Timestamp) -> Result<(), OtherEra> {
        self.take_down_from(position, scopes, Mark::of(severity, position.number, at))
    }

    /// Takes down that the log may have held purges before `position` that nobody knows any more: what was fetched
    /// before is asked about before it is used.
    ///
    /// # Errors
    ///
    /// It belongs to another log.
    pub fn doubt(&self, position: Stamp) -> Result<(), OtherEra> {
        self.take_down_from(position, &[Scope::Everything], Mark::doubt(position.number))
    }

    fn take_down_from(&self, position: Stamp, scopes: &[Scope], mark: Mark) -> Result<(), OtherEra> {
        let mut bytes = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.era();
        if position.era != ours {
            return Err(OtherEra { ours, theirs: position.era });
        }
        self.take_down(&mut bytes, scopes, mark);
        Ok(())
    }

    /// Takes up another log at its beginning: all that is stored belongs to none that is followed any more. What was
    /// known before stays, so the log must begin with a number that is higher than those before.
    pub fn adopt(&self, beginning: Stamp) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin(beginning);
    }

    /// For the writer.
    fn begin(&self, at: Stamp) {
        // In this order; see `stamp`.
        self.last.store(0, Ordering::Release);
        self.era.store(at.era, Ordering::Release);
        self.last.store(at.number, Ordering::Release);
        self.revise();
    }

    fn revise(&self) {
        let revision = self.revision.load(Ordering::Relaxed);
        self.revision.store(revision + 1, Ordering::Release);
    }

    fn take_down(&self, bytes: &mut usize, scopes: &[Scope], mark: Mark) {
        for scope in scopes {
            *bytes += match scope {
                Scope::Everything => self.hosts.add(EVERYTHING, mark),
                Scope::Host(host) => self.hosts.add(host.as_bytes(), mark),
                Scope::Prefix(prefix) => self.prefixes.add(prefix.as_bytes(), mark),
                Scope::Tag(tag) => self.tags.add(tag, mark),
                Scope::Group { origin, name } => self.groups.add(&group_name(origin, name), mark),
                Scope::Url(url) => self.urls.add(url.as_bytes(), mark),
            };
        }
        if *bytes > self.limits.bytes || self.scopes() > self.limits.scopes {
            self.fold(bytes);
        }
        // Published when the marks are there: a look-up that sees the number finds the purge. A fetch that begins in
        // between takes the lower number and is judged too strictly, which is the safe side.
        let last = self.last.load(Ordering::Relaxed);
        self.last.store(last.max(mark.latest()), Ordering::Release);
        self.revise();
        if mark.hard > 0 {
            self.deaths.notify_one();
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// Injective: an origin holds no NUL.
fn group_name(origin: &str, group: &[u8]) -> SmallVec<[u8; 128]> {
    let mut name = SmallVec::from_slice(origin.as_bytes());
    name.push(0);
    name.extend_from_slice(group);
    name
}

#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
#[cfg(test)]
mod tests;
