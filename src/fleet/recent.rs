//! Which entries of the log came last, as this node knows them?
//!
//! After a fail-over the new master may lack the last of them: whoever knows them adds them again. They also tell
//! whether a purge that comes again was taken down already, and what other nodes purged.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::log::Entry;
use super::position::Position;

/// Entries that are remembered: seconds of replication at hundreds of purges a second.
const REMEMBERED: usize = 1024;

/// The bytes that they may take. The largest purge alone has more than this: then it is the only one that is remembered.
const BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// In the order of the log.
    entries: VecDeque<Entry>,
    ids: HashSet<u64, foldhash::fast::RandomState>,
    bytes: usize,
    /// The highest position that any had.
    highest: Position,
    /// Whether some were forgotten for want of room.
    has_forgotten: bool,
}

impl Remembered {
    fn at(&self, position: Position) -> Option<&Entry> {
        let place = self.entries.binary_search_by_key(&position, |entry| entry.position).ok()?;
        self.entries.get(place)
    }
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers one that has been taken down. One that the log had lost and has again is where that has it now.
    pub(super) fn remember(&self, entry: Entry) {
        let mut remembered = self.lock();
        remembered.highest = remembered.highest.max(entry.position);
        if !remembered.ids.insert(entry.id) {
            let Some(place) = remembered.entries.iter().position(|known| known.id == entry.id) else { return };
            let known = &mut remembered.entries[place];
            if known.position == entry.position && known.previous == 0 {
                // Who adds one does not see what stands before it.
                known.previous = entry.previous;
            }
            if known.position >= entry.position {
                return;
            }
            let known = remembered.entries.remove(place);
            remembered.bytes -= known.map_or(0, |known| known.payload.len());
        }
        remembered.bytes += entry.payload.len();
        let place = remembered.entries.partition_point(|other| other.position < entry.position);
        remembered.entries.insert(place, entry);
        while remembered.entries.len() > REMEMBERED || (remembered.bytes > BYTES && remembered.entries.len() > 1) {
            let Some(oldest) = remembered.entries.pop_front() else { break };
            remembered.bytes -= oldest.payload.len();
            remembered.ids.remove(&oldest.id);
            remembered.has_forgotten = true;
        }
    }

    /// Whether this one stands where it was taken down.
    pub(super) fn holds(&self, entry: &Entry) -> bool {
        let remembered = self.lock();
        remembered.ids.contains(&entry.id) && remembered.at(entry.position).is_some_and(|known| known.id == entry.id)
    }

    /// Whether any stands there.
    pub(super) fn holds_at(&self, position: Position) -> bool {
        self.lock().at(position).is_some()
    }

    /// Whether any stands behind `after` and before `before`.
    pub(super) fn holds_between(&self, after: Position, before: Position) -> bool {
        let remembered = self.lock();
        let next = remembered.entries.partition_point(|entry| entry.position <= after);
        remembered.entries.get(next).is_some_and(|entry| entry.position < before)
    }

    /// Behind which the log must go on.
    pub(super) fn highest(&self) -> Position {
        self.lock().highest
    }

    /// The log goes on behind this at the least.
    pub(super) fn raise(&self, position: Position) {
        let mut remembered = self.lock();
        remembered.highest = remembered.highest.max(position);
    }

    /// All that are remembered, in order, and whether those are all that the log ever had.
    pub(super) fn all(&self) -> (Vec<Entry>, bool) {
        let remembered = self.lock();
        (remembered.entries.iter().cloned().collect(), !remembered.has_forgotten)
    }

    /// The latest ones, the last first.
    pub(super) fn latest(&self, limit: usize) -> Vec<Entry> {
        self.lock().entries.iter().rev().take(limit).cloned().collect()
    }

    /// Forgets them: they belong to a log that is no more. How high it went is remembered.
    pub(super) fn forget(&self) {
        let mut remembered = self.lock();
        *remembered = Remembered { highest: remembered.highest, ..Remembered::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(order: u64, bytes: usize) -> Entry {
        let position = Position::new(1_700_000_000_000 + order, 0).expect("a position");
        Entry { position, id: order + 1, previous: order, payload: vec![0; bytes].into() }
    }

    #[test]
    fn the_last_ones_are_remembered_in_order_and_in_bounds() {
        let recent = Recent::default();
        for order in [1, 0, 2, 2, 1] {
            recent.remember(entry(order, 1));
        }
        assert_eq!(recent.all(), (vec![entry(0, 1), entry(1, 1), entry(2, 1)], true), "each once");
        assert_eq!(recent.latest(2), [entry(2, 1), entry(1, 1)]);
        assert_eq!(recent.highest(), entry(2, 1).position);
        for order in 3..2000 {
            recent.remember(entry(order, 1));
        }
        let (all, is_all) = recent.all();
        assert_eq!((all.len(), is_all), (REMEMBERED, false));
        assert!(!recent.holds(&entry(0, 1)) && recent.holds(&entry(1999, 1)));
        recent.remember(entry(2000, BYTES + 1));
        assert_eq!(recent.all().0.len(), 1, "the largest alone");
        let again = Entry { position: entry(3000, 0).position, ..entry(2000, BYTES + 1) };
        recent.remember(again.clone());
        assert_eq!(recent.all().0, [again], "where the log has it again, and only there");
        assert!(
            !recent.holds(&entry(2000, 0)) && recent.holds_between(entry(2999, 0).position, entry(3001, 0).position)
        );
        recent.forget();
        assert!(recent.all() == (Vec::new(), true) && !recent.holds(&entry(2000, 0)));
        assert_eq!(recent.highest(), entry(3000, 0).position, "the next log begins behind it");
    }
}
