//! What did this thread find last under a key, and is it still what is stored there?
//!
//! A look-up in moka writes: the use goes into a queue that all threads share, and is worked off by one of them. Of a hit
//! in memory that is the larger part. So each thread keeps, in front of moka, what it found last, and asks moka only now
//! and then for what is asked for all the time.
//!
//! It is held weakly: bodies and fields go when moka gives them up, unless somebody is still sending them. And whatever
//! changes what is stored under a key counts that, before it returns, in a count that the key shares with few others: what
//! was found while the count was another one is not found again. While a change is under way, one thread may find the new
//! and another one still the old.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use foldhash::fast::RandomState;

use super::variants::{Variants, WeakVariants};

/// Places for what one thread has found: 128 bytes each, 256 KiB in all.
const PLACES: usize = 2048;

/// Counts of changes.
const COUNTS: usize = 4096;

/// The longest key that is kept. Longer ones are rare.
const LONGEST: usize = 98;

/// The first uses of a key, of each of which moka is told: it counts up to 15, and keeps what it has counted most often.
const EACH: u8 = 16;

/// Of so many later ones it is told of one: it halves its counts from time to time, and what was used last goes last.
const SOME: u8 = 8;

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
    /// Uses that moka was told of, and since then.
    uses: u8,
    length: u8,
    key: [u8; LONGEST],
}

const _: () = assert!(size_of::<Place>() == 128, "two lines of the processor's cache");

thread_local! {
    /// What this thread has found.
    static FOUND: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
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
        let known = FOUND.with_borrow_mut(|places| {
            let place = places.get_mut(place_of(hash)).filter(|place| place.is_of(self.number, key))?;
            let is_told = place.use_once();
            (!is_told && place.changes == changes).then(|| place.found.upgrade()).flatten()
        });
        known.or_else(|| {
            let stored = look();
            if let Some(stored) = &stored {
                let found = (self.number, changes, stored.downgrade());
                FOUND.with_borrow_mut(|places| keep(places, place_of(hash), key, found));
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
    usize::try_from(hash % count as u64).unwrap_or(0)
}

impl Place {
    const EMPTY: Self =
        Self { found: WeakVariants::Nothing, front: 0, changes: 0, uses: 0, length: 0, key: [0; LONGEST] };

    fn is_of(&self, front: u64, key: &[u8]) -> bool {
        self.front == front && self.key[..usize::from(self.length)] == *key
    }

    /// Counts one use; whether moka is to be told of it.
    fn use_once(&mut self) -> bool {
        self.uses += 1;
        if self.uses == EACH + SOME {
            self.uses = EACH;
        }
        self.uses <= EACH
    }
}

/// Keeps what was found under a key in its place. Its uses go on being counted, if it was there.
fn keep(places: &mut Vec<Place>, at: usize, key: &[u8], (front, changes, found): (u64, u32, WeakVariants)) {
    if places.is_empty() {
        places.resize_with(PLACES, || Place::EMPTY);
    }
    let place = &mut places[at];
    if !place.is_of(front, key) {
        (place.front, place.uses) = (front, 0);
        place.length = u8::try_from(key.len()).unwrap_or(0);
        place.key[..key.len()].copy_from_slice(key);
    }
    (place.changes, place.found) = (changes, found);
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

        /// Finds so often that moka is told of some uses only; how many looks there have been.
        fn find_often(&self, key: &[u8]) -> usize {
            (0..=EACH).map(|_| self.finds(key, None).1).last().unwrap_or(0)
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
        let looks = tier.find_often(b"key");
        assert_eq!(tier.finds(b"key", Some(&one)), (true, looks), "known");
        assert_eq!(tier.finds(b"kez", Some(&one)), (true, looks + 1), "another key");
        tier.stored = Some(alone(&other));
        tier.front.changed(b"key");
        assert_eq!(tier.finds(b"key", Some(&other)), (true, looks + 2));
        assert_eq!(tier.finds(b"key", Some(&other)), (true, looks + 2), "known");
        tier.stored = None;
        tier.front.changed(b"key");
        assert_eq!(tier.finds(b"key", None), (true, looks + 3));
        assert_eq!(tier.finds(b"key", None), (true, looks + 4), "nothing is not remembered");
    }

    #[test]
    fn what_changes_while_it_is_looked_up_is_looked_up_again() {
        let (old, new) = (entry(), entry());
        let front = Front::new();
        for _ in 0..=2 * EACH {
            let found = front.find(b"key", || {
                front.changed(b"key");
                Some(alone(&old))
            });
            assert!(found.is_some());
        }
        let found = front.find(b"key", || Some(alone(&new))).expect("stored");
        assert!(Arc::ptr_eq(&found.entries()[0], &new));
    }

    #[test]
    fn it_keeps_nothing_alive_and_finds_nothing_that_is_gone() {
        let entry = entry();
        let mut tier = Tier::of(&entry);
        let looks = tier.find_often(b"key");
        tier.stored = None;
        let weak = Arc::downgrade(&entry);
        drop(entry);
        assert!(weak.upgrade().is_none());
        assert_eq!(tier.finds(b"key", None), (true, looks + 1));
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
            for _ in 0..=EACH + 1 {
                let found = front.find(b"key", look).expect("stored");
                assert_eq!((found.entries().len(), found.marks()), (stored.entries().len(), mark));
            }
            assert_eq!(looks.get(), 1 + usize::from(EACH));
        }
    }

    #[test]
    fn the_first_uses_are_told_and_later_ones_by_and_by() {
        let entry = entry();
        let tier = Tier::of(&entry);
        let first = tier.find_often(b"key");
        assert_eq!(first, 1 + usize::from(EACH), "all, but for the one that was looked up to begin with");
        let later = (0..10 * SOME).map(|_| tier.finds(b"key", Some(&entry)).1).last();
        assert_eq!(later, Some(first + 10));
    }

    #[test]
    fn tiers_are_told_apart_and_long_keys_are_looked_up() {
        let (one, other) = (entry(), entry());
        let (tier, neighbour) = (Tier::of(&one), Tier::of(&other));
        assert_eq!((tier.finds(b"key", Some(&one)).0, neighbour.finds(b"key", Some(&other)).0), (true, true));
        for (length, is_known) in [(LONGEST, true), (LONGEST + 1, false)] {
            let (tier, key) = (Tier::of(&one), vec![b'k'; length]);
            let looks = tier.find_often(&key);
            assert_eq!(tier.finds(&key, Some(&one)), (true, looks + usize::from(!is_known)), "{length} bytes");
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
