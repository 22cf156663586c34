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
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use foldhash::fast::RandomState;

use super::variants::{Variants, WeakVariants};

/// Pairs of places for what one thread has found: 64 bytes each, 128 KiB to 1 MiB in all. More of them know more, and find
/// what they know more slowly: with a million responses stored, as many again gained nothing.
const PAIRS: RangeInclusive<u64> = 2048..=16_384;

/// What part of the memory tier's capacity the places of all threads take, between these bounds: one in 256. Of what moka
/// has given up, a head stays in memory until something else takes its place here: some 200 bytes each, six times what
/// the place takes.
const SHARE: u64 = 256;

/// Counts of changes.
const COUNTS: usize = 4096;

/// Hits of a response until which moka is told of each use: it counts up to 15, and keeps what it has counted most often.
const EACH: u8 = 16;

/// Of so many later uses it is told of one: it halves its counts from time to time, and what was used last goes last.
const SOME: u8 = 8;

/// The front of one memory tier.
#[derive(Debug)]
pub(super) struct Front {
    /// Tells it from the fronts of other tiers of this process.
    number: u32,
    hasher: RandomState,
    /// Pairs that each thread has for it.
    pairs: usize,
    /// How often something has changed, by the hash of its key; wraps.
    changes: Box<[AtomicU32]>,
}

/// What was found under one key, which is in what was found.
#[derive(Default)]
struct Place {
    found: WeakVariants,
    /// Which front's it is; 0: nobody's.
    front: u32,
    /// Of the key's hash; most other keys have another one.
    tag: u32,
    changes: u32,
    /// Uses of what was known; from 256 it goes back to [`EACH`].
    uses: u8,
}

/// Two places, that of the later use first: one line of the processor's cache.
#[derive(Default)]
#[repr(align(64))]
struct Pair([Place; 2]);

const _: () = assert!(size_of::<Pair>() == 64);

thread_local! {
    /// What this thread has found.
    static FOUND: RefCell<Vec<Pair>> = const { RefCell::new(Vec::new()) };
}

impl Front {
    /// For a tier of `capacity` bytes in which so many threads look things up.
    pub(super) fn new(capacity: u64, threads: usize) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let changes = (0..COUNTS).map(|_| AtomicU32::new(0)).collect();
        let number = NEXT.fetch_add(1, Relaxed);
        Self { number, hasher: RandomState::default(), pairs: pairs(capacity, threads), changes }
    }

    /// What is stored under `key`, as this thread knows it, else as `look` finds it.
    pub(super) fn find(&self, key: &[u8], look: impl FnOnce() -> Option<Variants>) -> Option<Variants> {
        let hash = self.hasher.hash_one(key);
        // Before it is looked up: what changes afterwards is not missed.
        let changes = self.changes(hash).load(Acquire);
        let known = FOUND.with_borrow_mut(|pairs| {
            let place = pairs.get_mut(self.pair_of(hash))?.find(self.number, tag_of(hash))?;
            let found = place.found.upgrade().filter(|found| place.changes == changes && found.is_under(key))?;
            (!place.is_told(&found)).then_some(found)
        });
        known.or_else(|| {
            let stored = look()?;
            let found = stored.downgrade();
            FOUND.with_borrow_mut(|pairs| {
                if pairs.len() < self.pairs {
                    pairs.resize_with(self.pairs, Pair::default);
                }
                let place = pairs[self.pair_of(hash)].place(self.number, tag_of(hash));
                (place.changes, place.found) = (changes, found);
            });
            Some(stored)
        })
    }

    /// Says that what is stored under `key` has changed.
    pub(super) fn changed(&self, key: &[u8]) {
        self.changes(self.hasher.hash_one(key)).fetch_add(1, Release);
    }

    fn changes(&self, hash: u64) -> &AtomicU32 {
        // Other bits than those of the pair.
        &self.changes[index(hash >> 32, COUNTS)]
    }

    fn pair_of(&self, hash: u64) -> usize {
        index(hash, self.pairs)
    }
}

/// Pairs for one of so many threads: a power of two.
fn pairs(capacity: u64, threads: usize) -> usize {
    let pairs = capacity / SHARE / threads.max(1) as u64 / size_of::<Pair>() as u64;
    1 << pairs.clamp(*PAIRS.start(), *PAIRS.end()).ilog2()
}

/// One of `count`, which is a power of two.
fn index(hash: u64, count: usize) -> usize {
    usize::try_from(hash & (count as u64 - 1)).unwrap_or(0)
}

fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl Pair {
    /// The place of such a key, from now on the first one.
    fn find(&mut self, front: u32, tag: u32) -> Option<&mut Place> {
        let is_it = |place: &Place| place.front == front && place.tag == tag;
        if !is_it(&self.0[0]) {
            if !is_it(&self.0[1]) {
                return None;
            }
            self.0.swap(0, 1);
        }
        Some(&mut self.0[0])
    }

    /// The place of such a key; if it has none, that of the earlier use.
    fn place(&mut self, front: u32, tag: u32) -> &mut Place {
        if self.find(front, tag).is_none() {
            self.0.swap(0, 1);
            self.0[0] = Place { front, tag, ..Place::default() };
        }
        &mut self.0[0]
    }
}

impl Place {
    /// Counts one use; whether moka is to be told of it.
    fn is_told(&mut self, found: &Variants) -> bool {
        self.uses = self.uses.checked_add(1).unwrap_or(EACH);
        // Marks alone do not count what they answer.
        self.uses.is_multiple_of(SOME) || found.hits().unwrap_or(self.uses.into()) < EACH.into()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64};
    use std::time::Duration;

    use super::*;
    use crate::cache::entry::Entry;
    use crate::cache::ledger::Stamp;
    use crate::cache::memory::{Limits, Memory};
    use crate::cache::sample;
    use crate::cache::variants::Marks;
    use crate::policy::key::Key;
    use crate::policy::outcome::Detail;
    use crate::policy::scope::Labels;
    use crate::policy::time::Timestamp;

    fn entry() -> Arc<Entry> {
        Arc::new(sample::entry(sample::labels("/", &[]), Stamp::default(), "body".into()))
    }

    /// The key of these entries.
    fn key() -> Key {
        sample::labels("/", &[]).key().clone()
    }

    /// What marks leave where nothing is stored.
    fn marked() -> Variants {
        Variants::default().marked(&key(), Marks::for_everybody(Timestamp::EPOCH, Detail::NoStore))
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
        fn of(stored: Variants) -> Self {
            Self { front: Front::new(0, 1), stored: Some(stored), looks: Cell::new(0) }
        }

        /// Finds what has answered so often that moka is told of some uses only; how many looks there have been.
        fn find_often(&self) -> usize {
            let entries = self.stored.as_ref().map(Variants::entries).unwrap_or_default();
            (0..EACH).for_each(|_| entries.iter().for_each(|entry| entry.count_hit()));
            (0..=EACH).map(|_| self.finds(key().as_bytes(), None).1).last().unwrap_or(0)
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
        let (one, other, key) = (entry(), entry(), key());
        let mut tier = Tier::of(alone(&one));
        let looks = tier.find_often();
        assert_eq!(tier.finds(key.as_bytes(), Some(&one)), (true, looks), "known");
        tier.stored = Some(alone(&other));
        tier.front.changed(key.as_bytes());
        (0..EACH).for_each(|_| other.count_hit());
        assert_eq!(tier.finds(key.as_bytes(), Some(&other)), (true, looks + 1));
        assert_eq!(tier.finds(key.as_bytes(), Some(&other)), (true, looks + 1), "known");
        tier.stored = None;
        tier.front.changed(key.as_bytes());
        assert_eq!(tier.finds(key.as_bytes(), None), (true, looks + 2));
        assert_eq!(tier.finds(key.as_bytes(), None), (true, looks + 3), "nothing is not remembered");
    }

    #[test]
    fn a_key_is_not_taken_for_another_one_whose_hash_is_alike() {
        let (one, key) = (entry(), key());
        let tier = Tier::of(alone(&one));
        let looks = tier.find_often();
        let hash = tier.front.hasher.hash_one(key.as_bytes());
        // What was found under this key comes to stand where another one would have its place.
        let other = tier.front.hasher.hash_one(&b"another"[..]);
        FOUND.with_borrow_mut(|pairs| {
            let found =
                pairs[tier.front.pair_of(hash)].place(tier.front.number, tag_of(hash)).found.upgrade().expect("kept");
            let place = pairs[tier.front.pair_of(other)].place(tier.front.number, tag_of(other));
            (place.found, place.changes) = (found.downgrade(), tier.front.changes(other).load(Acquire));
        });
        assert_eq!(tier.finds(b"another", Some(&one)), (true, looks + 1), "moka was asked");
    }

    #[test]
    fn places_take_a_small_part_of_the_capacity_whatever_the_number_of_threads() {
        let cases = [
            (0, 1, 2048),
            (1 << 30, 0, 16_384),
            (64 << 20, 1, 4096),
            (512 << 20, 2, 16_384),
            (512 << 20, 3, 8192),
            (512 << 20, 24, 2048),
            (u64::MAX, 1024, 16_384),
        ];
        for (capacity, threads, want) in cases {
            assert_eq!(pairs(capacity, threads), want, "{capacity} bytes, {threads} threads");
        }
    }

    #[test]
    fn of_three_keys_in_a_pair_the_two_used_last_are_known() {
        let mut pair = Pair::default();
        for tag in [1, 2, 1, 3] {
            pair.place(7, tag);
        }
        let known = [1, 2, 3].map(|tag| pair.find(7, tag).is_some());
        assert_eq!((known, pair.find(8, 1).is_some()), ([true, false, true], false));
    }

    #[test]
    fn what_changes_while_it_is_looked_up_is_looked_up_again() {
        let (old, new, key) = (entry(), entry(), key());
        let front = Front::new(0, 1);
        for entry in [&old, &new] {
            (0..EACH).for_each(|_| entry.count_hit());
        }
        for _ in 0..=SOME {
            let found = front.find(key.as_bytes(), || {
                front.changed(key.as_bytes());
                Some(alone(&old))
            });
            assert!(found.is_some());
        }
        let found = front.find(key.as_bytes(), || Some(alone(&new))).expect("stored");
        assert!(Arc::ptr_eq(&found.entries()[0], &new));
    }

    #[test]
    fn it_keeps_nothing_alive_and_finds_nothing_that_is_gone() {
        let entry = entry();
        let mut tier = Tier::of(alone(&entry));
        let looks = tier.find_often();
        tier.stored = None;
        let weak = Arc::downgrade(&entry);
        drop(entry);
        assert!(weak.upgrade().is_none());
        assert_eq!(tier.finds(key().as_bytes(), None), (true, looks + 1));
    }

    #[test]
    fn variants_and_marks_are_found_again_too() {
        let (entry, key) = (entry(), key());
        let mark = Marks::for_everybody(Timestamp::EPOCH, Detail::NoStore);
        for stored in [alone(&entry).marked(&key, mark), marked()] {
            let tier = Tier::of(stored.clone());
            let looks = tier.find_often();
            let found = tier.front.find(key.as_bytes(), || None).expect("known");
            assert_eq!((found.entries().len(), found.marks()), (stored.entries().len(), mark));
            assert_eq!(tier.looks.get(), looks);
        }
    }

    #[test]
    fn the_first_uses_are_told_and_later_ones_by_and_by() {
        let (entry, key) = (entry(), key());
        let tier = Tier::of(alone(&entry));
        let uses = |count: usize| {
            let use_once = |_| {
                let (is_it, looks) = tier.finds(key.as_bytes(), Some(&entry));
                assert!(is_it);
                entry.count_hit();
                looks
            };
            (0..count).map(use_once).last().unwrap_or(0)
        };
        assert_eq!(uses(16), 16, "each of the first ones");
        assert_eq!(uses(80), 26);
        let marks = Tier::of(marked());
        let uses = |count: usize| (0..count).map(|_| marks.finds(key.as_bytes(), None).1).last().unwrap_or(0);
        assert_eq!(uses(16), 16, "each of the first ones");
        assert_eq!((uses(80), uses(800)), (26, 126));
    }

    #[test]
    fn tiers_are_told_apart() {
        let (one, other, key) = (entry(), entry(), key());
        let (tier, neighbour) = (Tier::of(alone(&one)), Tier::of(alone(&other)));
        let looks = (tier.find_often(), neighbour.find_often());
        assert_eq!(tier.finds(key.as_bytes(), Some(&one)), (true, looks.0));
        assert_eq!(neighbour.finds(key.as_bytes(), Some(&other)), (true, looks.1));
    }

    #[test]
    fn nobody_finds_what_was_replaced_before_he_looked() {
        let memory = Memory::new(Limits { capacity: 1 << 20, max_object: 1 << 20, max_variants: 1, threads: 3 });
        let labels = ["/a", "/b"].map(|target| sample::labels(target, &[]));
        let (stored, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(Relaxed) {
                        for key in labels.each_ref().map(Labels::key) {
                            let at_least = stored.load(Acquire);
                            let found = memory.get(key.as_bytes()).map(|found| found.entries()[0].head.received_at);
                            let found = found.map_or(0, |at| at.since(Timestamp::EPOCH).as_millis());
                            assert!(found >= u128::from(at_least), "{found} is older than {at_least}");
                        }
                    }
                });
            }
            for number in 1..=20_000 {
                for labels in &labels {
                    let mut entry = sample::entry(labels.clone(), Stamp::default(), "body".into());
                    entry.head.received_at = Timestamp::EPOCH.plus(Duration::from_millis(number));
                    // So often that moka need not be told.
                    (0..EACH).for_each(|_| entry.count_hit());
                    memory.put(Arc::new(entry), None);
                }
                stored.store(number, Release);
            }
            is_over.store(true, Relaxed);
        });
    }
}
