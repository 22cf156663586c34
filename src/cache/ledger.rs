//! Which purges does this node know, and does one of them concern a stored response?
//!
//! A purge is a fact with a number. A stored response carries a stamp: the last number known when its fetch began.
//! A purge concerns every response with a lower number that it names; so a fill that began before a purge can never
//! outlive it, and nothing is walked, scanned or indexed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use papaya::HashMap;

use crate::policy::reuse::Standing;

/// Purges kept one by one. Beyond it, all that are known fold into one soft purge of everything: a ledger that
/// forgot would serve what was purged, and one without a bound would be the memory leak of every busy API.
const LIMIT: usize = 65_536;

/// What was known of purges when a fetch began: the log's era, and the last number of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Which log the number belongs to.
    pub era: u64,
    /// The last number known.
    pub number: u64,
}

impl Stamp {
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

/// A URL as the ledger knows it: a hash, since a collision purges too much and never too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UrlScope(pub u64);

/// The purges that this node knows.
#[derive(Debug)]
pub struct Ledger {
    era: u64,
    /// The last number; published after its purge can be found.
    last: AtomicU64,
    /// Everything with a lower number is stale.
    floor: AtomicU64,
    urls: HashMap<UrlScope, u64, foldhash::fast::RandomState>,
    writer: Mutex<()>,
    limit: usize,
}

impl Ledger {
    /// An empty ledger of its own era.
    pub fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            era: fastrand::u64(1..),
            last: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            urls: HashMap::default(),
            writer: Mutex::new(()),
            limit,
        }
    }

    /// The stamp of a fetch that begins now.
    pub fn stamp(&self) -> Stamp {
        Stamp { era: self.era, number: self.position() }
    }

    /// The last number known. A response found alive at this position stays so while it is the same.
    pub fn position(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Takes down that every response for `url` stored or begun so far is gone. Gives the stamp of what comes after it,
    /// and the number of the last purge of that URL before, zero where there is none.
    pub fn invalidate(&self, url: UrlScope) -> (Stamp, u64) {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.last.load(Ordering::Relaxed) + 1;
        let urls = self.urls.pin();
        if urls.len() >= self.limit {
            self.floor.store(number, Ordering::Release);
            urls.clear();
        }
        let previous = urls.insert(url, number).copied().unwrap_or_else(|| self.floor.load(Ordering::Relaxed));
        // Published last: a look-up that sees the number finds the purge. A fetch that begins in between takes the
        // lower number and is judged too strictly, which is the safe side.
        self.last.store(number, Ordering::Release);
        (Stamp { era: self.era, number }, previous)
    }

    /// How a response for `url`, fetched under `stamp`, stands.
    pub fn standing(&self, url: UrlScope, stamp: Stamp) -> Standing {
        if stamp.era != self.era {
            return Standing::Stale;
        }
        let purged = self.urls.pin().get(&url).is_some_and(|number| *number > stamp.number);
        if purged {
            Standing::Dead
        } else if stamp.number < self.floor.load(Ordering::Acquire) {
            Standing::Stale
        } else {
            Standing::Alive
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: UrlScope = UrlScope(1);
    const B: UrlScope = UrlScope(2);

    #[test]
    fn what_was_fetched_before_is_dead_and_its_neighbours_are_alive() {
        let ledger = Ledger::new();
        let before = ledger.stamp();
        ledger.invalidate(A);
        assert_eq!(ledger.standing(A, before), Standing::Dead);
        assert_eq!(ledger.standing(B, before), Standing::Alive);
        assert_eq!(ledger.standing(A, ledger.stamp()), Standing::Alive, "fetched after it");
    }

    #[test]
    fn another_era_is_stale_whatever_its_number() {
        let ledger = Ledger::new();
        let foreign = Stamp { era: ledger.era.wrapping_add(1), number: u64::MAX };
        assert_eq!(ledger.standing(A, foreign), Standing::Stale);
    }

    #[test]
    fn a_full_ledger_folds_upwards_and_forgets_nothing() {
        let ledger = Ledger::with_limit(3);
        let before = ledger.stamp();
        for url in 1..=3 {
            ledger.invalidate(UrlScope(url));
        }
        let between = ledger.stamp();
        ledger.invalidate(UrlScope(4));
        assert_eq!(ledger.standing(A, before), Standing::Stale, "folded: no longer fresh");
        assert_eq!(ledger.standing(UrlScope(9), between), Standing::Stale, "purged too much rather than too little");
        assert_eq!(ledger.standing(UrlScope(4), between), Standing::Dead);
        assert_eq!(ledger.standing(A, ledger.stamp()), Standing::Alive);
        assert!(ledger.urls.pin().len() <= 3, "bounded");
    }
}
