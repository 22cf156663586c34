//! What did this thread find last under a key, and is it still what is stored there?
//!
//! A look-up in moka writes: the use goes into a queue that all threads share, and is worked off by one of them. Of a hit
//! in memory that is the larger part. So each thread keeps, in front of moka, what it found last, and asks moka only now
//! and then for what is asked for all the time.
//!
//! Nothing is kept alive by that, and nothing is found that is not stored any more: it is held weakly, so that it goes
//! when moka gives it up; and whatever changes what is stored under a key says so, before it is done, in a count that
//! the key shares with few others. What was found while the count was another one is not found again.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use foldhash::fast::RandomState;

use super::variants::{Variants, WeakVariants};

/// Places for what one thread has found: 128 bytes each, 256 KiB in all. A power of two.
const PLACES: usize = 2048;

/// Counts of changes. A power of two.
const COUNTS: usize = 4096;

/// The longest key that is kept. Longer ones are rare.
const LONGEST: usize = 99;

/// Of so many look-ups that are answered here, moka is told of one: often enough to know what is used.
const TOLD: u8 = 8;

/// The front of one memory tier.
#[derive(Debug)]
pub(super) struct Front {
    /// Tells it from the fronts of other tiers of this process.
    number: u64,
    hasher: RandomState,
    /// How often something has changed, by the hash of its key; wraps.
    changes: Box<[AtomicU32]>,
}

/// What was found under one key.
#[repr(align(128))]
struct Place {
    found: WeakVariants,
    front: u64,
    changes: u32,
    length: u8,
    key: [u8; LONGEST],
}

const _: () = assert!(size_of::<Place>() == 128, "two lines of the processor's cache");

/// What a thread has found.
struct Found {
    places: Vec<Place>,
    /// Answers to come before moka is told of one.
    untold: u8,
}

thread_local! {
    static FOUND: RefCell<Found> = const { RefCell::new(Found { places: Vec::new(), untold: TOLD }) };
}

impl Front {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let changes = (0..COUNTS).map(|_| AtomicU32::new(0)).collect();
        Self { number: NEXT.fetch_add(1, Relaxed), hasher: RandomState::default(), changes }
    }

    /// What is stored under `key`, as this thread knows it, else as `look` finds it.
    pub(super) fn find(&self, key: &[u8], look: impl FnOnce() -> Option<Variants>) -> Option<Variants> {
        if key.len() > LONGEST {
            return look();
        }
        let hash = self.hasher.hash_one(key);
        // Before it is looked up: what changes afterwards is not missed.
        let changes = self.changes(hash).load(Acquire);
        let known = FOUND.with_borrow_mut(|found| {
            let place = found.places.get(place_of(hash))?;
            let is_it = place.changes == changes && place.front == self.number && place.key() == key;
            let known = is_it.then(|| place.found.upgrade()).flatten()?;
            found.untold -= 1;
            if found.untold == 0 {
                found.untold = TOLD;
                return None;
            }
            Some(known)
        });
        known.or_else(|| {
            let stored = look();
            if let Some(stored) = &stored {
                FOUND.with_borrow_mut(|found| found.keep(place_of(hash), key, self.number, changes, stored));
            }
            stored
        })
    }

    /// Says that what is stored under `key` has changed.
    pub(super) fn changed(&self, key: &[u8]) {
        if key.len() <= LONGEST {
            self.changes(self.hasher.hash_one(key)).fetch_add(1, Release);
        }
    }

    fn changes(&self, hash: u64) -> &AtomicU32 {
        // Other bits than those of the place.
        &self.changes[index(hash >> 32, COUNTS)]
    }
}

fn place_of(hash: u64) -> usize {
    index(hash, PLACES)
}

fn index(hash: u64, count: usize) -> usize {
    usize::try_from(hash & (count as u64 - 1)).unwrap_or(0)
}

impl Place {
    fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.length)]
    }
}

impl Found {
    fn keep(&mut self, place: usize, key: &[u8], front: u64, changes: u32, stored: &Variants) {
        if self.places.is_empty() {
            let empty = || Place { found: WeakVariants::Nothing, front: 0, changes: 0, length: 0, key: [0; LONGEST] };
            self.places = std::iter::repeat_with(empty).take(PLACES).collect();
        }
        let place = &mut self.places[place];
        place.found = stored.downgrade();
        (place.front, place.changes) = (front, changes);
        place.length = u8::try_from(key.len()).unwrap_or(0);
        place.key[..key.len()].copy_from_slice(key);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::cache::entry::Entry;
    use crate::cache::ledger::Stamp;
    use crate::cache::memory::{Limits, Memory};
    use crate::cache::sample;
    use crate::cache::variants::Marks;
    use crate::policy::key::Key;
    use crate::policy::outcome::Detail;
    use crate::policy::time::Timestamp;

    fn entry() -> Arc<Entry> {
        received_after(0)
    }

    fn received_after(millis: u64) -> Arc<Entry> {
        let mut entry = sample::entry(sample::labels("/", &[]), Stamp::default(), "body".into());
        entry.head.received_at = Timestamp::EPOCH.plus(Duration::from_millis(millis));
        Arc::new(entry)
    }

    /// What is stored where it is the only one.
    fn alone(entry: &Arc<Entry>) -> Variants {
        Variants::default().with_promoted(Arc::clone(entry))
    }

    /// A front, and what is stored behind it.
    struct Tier {
        front: Front,
        stored: Option<Variants>,
        looks: Cell<usize>,
    }

    impl Tier {
        fn of(entry: &Arc<Entry>) -> Self {
            Self { front: Front::new(), stored: Some(alone(entry)), looks: Cell::new(0) }
        }

        /// Whether that is found under `key`, and how many looks there have been.
        fn finds(&self, key: &[u8], entry: Option<&Arc<Entry>>) -> (bool, usize) {
            let found = self.front.find(key, || {
                self.looks.set(self.looks.get() + 1);
                self.stored.clone()
            });
            let found = found.as_ref().map(Variants::entries).unwrap_or_default();
            let is_it = entry.map_or(found.is_empty(), |entry| found.len() == 1 && Arc::ptr_eq(&found[0], entry));
            (is_it, self.looks.get())
        }
    }

    #[test]
    fn what_was_found_is_found_again_until_it_changes() {
        let (one, other) = (entry(), entry());
        let mut tier = Tier::of(&one);
        assert_eq!(tier.finds(b"key", Some(&one)), (true, 1));
        assert_eq!(tier.finds(b"key", Some(&one)), (true, 1), "known");
        assert_eq!(tier.finds(b"kez", Some(&one)), (true, 2), "another key");
        tier.stored = Some(alone(&other));
        tier.front.changed(b"key");
        assert_eq!(tier.finds(b"key", Some(&other)), (true, 3));
        tier.stored = None;
        tier.front.changed(b"key");
        assert_eq!(tier.finds(b"key", None), (true, 4));
        assert_eq!(tier.finds(b"key", None), (true, 5), "nothing is not remembered");
    }

    #[test]
    fn what_changes_while_it_is_looked_up_is_looked_up_again() {
        let (old, new) = (entry(), entry());
        let front = Front::new();
        let found = front.find(b"key", || {
            front.changed(b"key");
            Some(alone(&old))
        });
        assert!(found.is_some());
        let found = front.find(b"key", || Some(alone(&new))).expect("stored");
        assert!(Arc::ptr_eq(&found.entries()[0], &new));
    }

    #[test]
    fn it_keeps_nothing_alive_and_finds_nothing_that_is_gone() {
        let entry = entry();
        let mut tier = Tier::of(&entry);
        assert_eq!(tier.finds(b"key", Some(&entry)), (true, 1));
        tier.stored = None;
        let weak = Arc::downgrade(&entry);
        drop(entry);
        assert!(weak.upgrade().is_none());
        assert_eq!(tier.finds(b"key", None), (true, 2));
    }

    #[test]
    fn variants_and_marks_are_found_again_too() {
        let entry = entry();
        let mark = Marks::for_everybody(Timestamp::EPOCH, Detail::NoStore);
        for stored in [alone(&entry).marked(mark), Variants::default().marked(mark)] {
            let (front, looks) = (Front::new(), Cell::new(0));
            let look = || {
                looks.set(looks.get() + 1);
                Some(stored.clone())
            };
            for _ in 0..2 {
                let found = front.find(b"key", look).expect("stored");
                assert_eq!((found.entries().len(), found.marks()), (stored.entries().len(), mark));
            }
            assert_eq!(looks.get(), 1);
        }
    }

    #[test]
    fn one_use_of_some_is_told() {
        let entry = entry();
        let tier = Tier::of(&entry);
        let uses = 1 + 10 * usize::from(TOLD);
        let finds = (0..uses).map(|_| tier.finds(b"key", Some(&entry))).last();
        assert_eq!(finds, Some((true, 11)));
    }

    #[test]
    fn tiers_are_told_apart_and_long_keys_are_looked_up() {
        let (one, other) = (entry(), entry());
        let (tier, neighbour) = (Tier::of(&one), Tier::of(&other));
        assert_eq!((tier.finds(b"key", Some(&one)).0, neighbour.finds(b"key", Some(&other)).0), (true, true));
        for (length, looks) in [(LONGEST, 1), (LONGEST + 1, 2)] {
            let (tier, key) = (Tier::of(&one), vec![b'k'; length]);
            let _ = tier.finds(&key, Some(&one));
            assert_eq!(tier.finds(&key, Some(&one)), (true, looks), "{length} bytes");
        }
    }

    #[test]
    fn nobody_finds_what_was_replaced_before_he_looked() {
        let memory = Memory::new(Limits { capacity: 1 << 20, max_object: 1 << 20, max_variants: 1 });
        let keys = [b"a", b"b"].map(|key| Key::from_bytes(key));
        let (stored, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        for key in &keys {
                            let at_least = stored.load(Acquire);
                            let found = memory.get(key.as_bytes()).map(|found| found.entries()[0].head.received_at);
                            let found = found.map_or(0, |at| at.since(Timestamp::EPOCH).as_millis());
                            assert!(found >= u128::from(at_least), "{found} is older than {at_least}");
                        }
                    }
                });
            }
            for number in 1..=20_000 {
                for key in &keys {
                    memory.put(key, received_after(number), None);
                }
                stored.store(number, Release);
            }
            is_over.store(true, Relaxed);
        });
    }
}
