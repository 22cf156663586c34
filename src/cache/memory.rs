//! Tier 1: stored responses in this process, bounded by the bytes they really cost.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::ops::compute::Op;
use moka::sync::Cache;

use super::entry::Entry;
use super::front::Front;
use super::variants::{Marks, Variants};
use crate::policy::key::Key;
use crate::policy::reuse::Standing;
use crate::policy::time::Timestamp;

/// What part of the capacity is kept for bodies under way: one in eight. More may be used while the rest is empty.
const IN_FLIGHT_SHARE: u64 = 8;

/// What part of the capacity may wait to be counted by moka before it is made to: one in 64. It evicts in batches of
/// up to 384 writes; with large bodies those would overshoot the capacity by half.
const UNCOUNTED_SHARE: u64 = 64;

/// Bytes that a key costs beyond its own: moka's node, its queues' and the map's slots.
const KEY_OVERHEAD: u64 = 310;

/// Stored responses that somebody who has to answer looks through at most: that takes some tens of milliseconds, and the
/// tier may hold millions.
pub const MAX_LOOKS: usize = 100_000;

/// What the tier is cut out for, from `[memory]` and `[server]`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes of one body.
    pub max_object: u64,
    /// Variants of one URL.
    pub max_variants: usize,
    /// Threads that look things up.
    pub threads: usize,
}

/// The memory tier.
#[derive(Debug)]
pub struct Memory {
    cache: Cache<Key, Variants, foldhash::fast::RandomState>,
    front: Front,
    limits: Limits,
    in_flight: AtomicU64,
    uncounted: AtomicU64,
    evicted: Arc<AtomicU64>,
}

impl Memory {
    /// An empty tier.
    pub fn new(limits: Limits) -> Self {
        let evicted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&evicted);
        let cache = Cache::builder()
            .max_capacity(limits.capacity - limits.capacity / IN_FLIGHT_SHARE)
            .weigher(|key: &Key, variants: &Variants| {
                // Each variant may hold a copy of the key of its own: the one that its request was looked up with.
                let keys = key.as_bytes().len() * variants.entries().len().max(1);
                let weight = KEY_OVERHEAD + keys as u64 + variants.weight();
                u32::try_from(weight).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |_, _, cause| {
                if cause.was_evicted() {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build_with_hasher(foldhash::fast::RandomState::default());
        let front = Front::new(limits.capacity, limits.threads);
        Self { cache, front, limits, in_flight: AtomicU64::new(0), uncounted: AtomicU64::new(0), evicted }
    }

    /// What is stored under a key. To have asked counts as a use of the key, also where nothing is stored: what is asked
    /// for again is worth its place. Uses of what a thread has just found may be counted once for several.
    pub fn get(&self, key: &[u8]) -> Option<Variants> {
        self.front.find(key, || self.cache.get(key))
    }

    /// The same, but that to have asked for what is not stored does not count: for all looks of one request but one. What is
    /// asked for once would look as if it were used often. Moka counts whoever gets, and nobody who asks whether it is there.
    pub fn get_stored(&self, key: &[u8]) -> Option<Variants> {
        self.front.find(key, || self.cache.contains_key(key).then(|| self.cache.get(key)).flatten())
    }

    /// Puts something else in the place of what is stored under a key.
    fn change(&self, key: &Key, change: impl FnOnce(Variants) -> Op<Variants>) {
        self.cache
            .entry_by_ref(key)
            .and_compute_with(|stored| change(stored.map(moka::Entry::into_value).unwrap_or_default()));
        self.front.changed(key.as_bytes());
    }

    /// Every key with what is stored under it, as it is met; what comes or goes meanwhile may be met or not. Reading
    /// this does not make anything look used.
    pub fn iter(&self) -> impl Iterator<Item = (Arc<Key>, Variants)> {
        self.cache.iter()
    }

    /// Shows `see` what is stored, key by key, until it breaks off or `most` stored responses were shown; `Break`: there may
    /// be more.
    pub fn look_through(
        &self,
        most: usize,
        mut see: impl FnMut(&Key, &Variants) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut looks = 0;
        self.iter().try_for_each(|(key, stored)| {
            if looks >= most {
                return ControlFlow::Break(());
            }
            // A key under which nothing but a mark is left takes a look, too.
            looks += stored.entries().len().max(1);
            see(&key, &stored)
        })
    }

    /// Stores `entry` under its key, in place of `gone` and of the variant that the same request fields select. One that
    /// was received later stays: the most recent response counts (RFC 9111 §4). So does one that was asked for with
    /// more purges known: what is stale by one of them must not come in the place of what is not.
    pub fn put(&self, entry: Arc<Entry>, gone: Option<&Arc<Entry>>) {
        let key = entry.head.labels.key().clone();
        let weight = entry.weight() + KEY_OVERHEAD;
        let limit = self.limits.max_variants;
        self.change(&key, |stored| {
            let is_late = |other: &Arc<Entry>| {
                other.selects_like(&entry) && other.part().is_none() && other.head.is_later_than(&entry.head)
            };
            if stored.entries().iter().any(is_late) {
                return Op::Nop;
            }
            Op::Put(stored.with(entry, gone, limit))
        });
        self.count(weight);
    }

    /// Puts a freshened response in the place of the one that was asked about. Nothing happens when something else has
    /// come there meanwhile: it is newer.
    pub fn replace(&self, old: &Arc<Entry>, new: Arc<Entry>) {
        let limit = self.limits.max_variants;
        self.change(old.head.labels.key(), |stored| {
            if !stored.holds(old) {
                return Op::Nop;
            }
            Op::Put(stored.with(new, Some(old), limit))
        });
    }

    /// Stores a part of a representation. It never takes the place of a complete response that is still fresh; with
    /// a stored part that it touches, it becomes one, as long as that is not larger than an object may be. What is
    /// dead by its `standing` is in nobody's way, what is not alive lends no bytes, and takes the place of nothing that is.
    pub fn put_part(&self, entry: &Arc<Entry>, now: Timestamp, standing: impl Fn(&Entry) -> Standing) {
        let limits = self.limits;
        self.change(entry.head.labels.key(), |stored| {
            let same = stored.entries().iter().find(|other| other.selects_like(entry));
            let same = same.map(|other| (other, standing(other)));
            let entry = match same {
                Some((other, Standing::Alive | Standing::Stale { .. }))
                    if other.part().is_none() && now < other.head.freshness.fresh_until() =>
                {
                    return Op::Nop;
                }
                Some((_, Standing::Alive)) if standing(entry) != Standing::Alive => return Op::Nop,
                Some((other, Standing::Alive)) => {
                    let joined = other.joined(entry).filter(|joined| joined.body.len() <= limits.max_object);
                    joined.map_or_else(|| Arc::clone(entry), Arc::new)
                }
                Some(_) | None => Arc::clone(entry),
            };
            Op::Put(stored.with(entry, None, limits.max_variants))
        });
        self.count(entry.weight() + KEY_OVERHEAD);
    }

    /// Remembers that answers for `key` cannot be shared. What is stored stays.
    pub fn mark_unshareable(&self, key: &Key, marks: Marks) {
        self.change(key, |stored| Op::Put(stored.marked(key, marks)));
        self.count(KEY_OVERHEAD);
    }

    /// Takes one stored response out, if it is still there.
    pub fn remove_entry(&self, entry: &Arc<Entry>) {
        self.change(entry.head.labels.key(), |stored| {
            if !stored.holds(entry) {
                return Op::Nop;
            }
            stored.without(entry).map_or(Op::Remove, Op::Put)
        });
    }

    /// Takes out all that is stored under `key`.
    pub fn remove(&self, key: &[u8]) {
        self.cache.invalidate(key);
        self.front.changed(key);
    }

    /// Has moka count what was written once that may have overshot the capacity.
    fn count(&self, weight: u64) {
        let uncounted = self.uncounted.fetch_add(weight, Ordering::Relaxed) + weight;
        if uncounted > self.limits.capacity / UNCOUNTED_SHARE {
            self.uncounted.store(0, Ordering::Relaxed);
            self.cache.run_pending_tasks();
        }
    }

    /// Bytes of one body that may be stored.
    pub fn max_object(&self) -> u64 {
        self.limits.max_object
    }

    /// Bytes that may be stored, bodies under way included.
    pub fn capacity(&self) -> u64 {
        self.limits.capacity
    }

    /// Bytes stored.
    pub fn bytes(&self) -> u64 {
        self.cache.weighted_size()
    }

    /// Keys stored.
    pub fn objects(&self) -> u64 {
        self.cache.entry_count()
    }

    /// Bytes of bodies under way.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Keys that had to go for want of room.
    pub fn evictions(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Has everything that was written counted, and evicted where it must be.
    pub fn settle(&self) {
        self.cache.run_pending_tasks();
    }

    /// A place for a body under way.
    pub fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { memory: Arc::clone(self), bytes: 0 }
    }
}

/// The bytes that one body under way has taken; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Reservation {
    /// Takes `bytes` more. `false`: there is no room for a body that is to be stored; nothing was taken.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let memory = &self.memory;
        let wanted = memory.in_flight.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let capacity = memory.limits.capacity;
        let fits = wanted <= capacity / IN_FLIGHT_SHARE || wanted + memory.bytes() <= capacity;
        if fits {
            self.bytes += bytes;
        } else {
            memory.in_flight.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let given_back = self.bytes.saturating_sub(bytes);
        self.bytes -= given_back;
        self.memory.in_flight.fetch_sub(given_back, Ordering::Relaxed);
    }

    /// Bytes taken so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::header::{ETAG, VARY};
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::body::stored::StoredBody;
    use crate::cache::entry::{Head, Part};
    use crate::cache::fields::{RareFields, StoredFields};
    use crate::cache::ledger::Stamp;
    use crate::cache::variants::Mark;
    use crate::policy::freshness::Freshness;
    use crate::policy::key::Key;
    use crate::policy::outcome::Detail;
    use crate::policy::scope::{Labels, Tags};
    use crate::policy::time::Micros;
    use crate::policy::treatment::KeyRules;
    use crate::policy::vary;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn key(target: &str) -> Key {
        Key::of("http", "a.test", target, &HeaderMap::new(), &KeyRules::default())
    }

    fn entry(body: &str, language: &'static str, part: Option<Part>) -> Arc<Entry> {
        entry_at("/", body, language, part)
    }

    fn entry_at(target: &str, body: &str, language: &'static str, part: Option<Part>) -> Arc<Entry> {
        let request = [(http::header::ACCEPT_LANGUAGE, HeaderValue::from_static(language))].into_iter().collect();
        let headers: HeaderMap =
            [(VARY, HeaderValue::from_static("accept-language")), (ETAG, HeaderValue::from_static("\"strong\""))]
                .into_iter()
                .collect();
        let head = Head {
            status: if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK },
            selecting: vary::selecting(&headers, &request).expect("not *"),
            headers: StoredFields::from(&headers),
            hidden: RareFields::default(),
            freshness: Freshness::new(NOW, Duration::ZERO, Duration::from_mins(1)),
            received_at: NOW,
            fetch_cost: Micros::default(),
            labels: Labels::new("http", "a.test", target, Tags::default()),
            stamp: Stamp::default(),
        };
        Arc::new(Entry::new(head, StoredBody::from_bytes(Bytes::copy_from_slice(body.as_bytes())), part))
    }

    fn memory(capacity: u64) -> Arc<Memory> {
        Arc::new(Memory::new(Limits { capacity, max_object: capacity, max_variants: 2, threads: 1 }))
    }

    fn bodies(memory: &Memory, key: &Key) -> Vec<Vec<u8>> {
        let stored = memory.get(key.as_bytes()).unwrap_or_default();
        stored.entries().iter().map(|entry| entry.body.pieces().concat()).collect()
    }

    #[test]
    fn the_least_used_variant_goes_and_the_same_one_is_replaced() {
        let (memory, key) = (memory(1 << 20), key("/"));
        let english = entry("en", "en", None);
        memory.put(Arc::clone(&english), None);
        memory.put(entry("de", "de", None), None);
        let used = |entry, secs| {
            memory.get(key.as_bytes()).expect("stored").used(entry, NOW.plus(Duration::from_secs(secs)));
        };
        used(&english, 3);
        let german = entry("de, anew", "de", None);
        memory.put(Arc::clone(&german), None);
        assert_eq!(bodies(&memory, &key), [b"de, anew".to_vec(), b"en".to_vec()]);
        used(&german, 2);
        let french = entry("fr", "fr", None);
        memory.put(Arc::clone(&french), None);
        assert_eq!(bodies(&memory, &key), [b"fr".to_vec(), b"en".to_vec()], "de was used least recently");
        used(&french, 4);
        memory.put(entry("it", "it", None), None);
        assert_eq!(bodies(&memory, &key), [b"it".to_vec(), b"fr".to_vec()], "now it is en");
    }

    #[test]
    fn parts_that_touch_become_one_and_never_replace_the_whole() {
        let (memory, key) = (memory(1 << 20), key("/"));
        let part = |first| Some(Part { first, complete: Some(10) });
        memory.put_part(&entry("01234", "en", part(0)), NOW, |_| Standing::Alive);
        memory.put_part(&entry("34567", "en", part(3)), NOW, |_| Standing::Alive);
        assert_eq!(bodies(&memory, &key), [b"01234567".to_vec()]);
        memory.put_part(&entry("89", "en", part(8)), NOW, |_| Standing::Alive);
        let whole = memory.get(key.as_bytes()).expect("stored").entries()[0].clone();
        assert_eq!((whole.part(), whole.head.status), (None, StatusCode::OK));
        assert_eq!(whole.body.pieces().concat(), b"0123456789");
        memory.put_part(&entry("XX", "en", part(2)), NOW, |_| Standing::Alive);
        assert_eq!(bodies(&memory, &key), [b"0123456789".to_vec()], "fresh and whole: it stays");
    }

    #[test]
    fn what_came_later_stays_and_what_is_gone_is_not_brought_back() {
        let (memory, key) = (memory(1 << 20), key("/"));
        let old = entry("old", "en", None);
        memory.put(Arc::clone(&old), None);
        let mut head = entry("", "en", None).head.clone();
        head.received_at = NOW.plus(Duration::from_secs(1));
        let newer = Arc::new(Entry::new(head, StoredBody::from_bytes("newer".into()), None));
        memory.put(newer, None);
        memory.put(entry("slow", "en", None), None);
        memory.replace(&old, entry("old, freshened", "en", None));
        assert_eq!(bodies(&memory, &key), [b"newer".to_vec()]);
    }

    #[test]
    fn what_was_asked_for_before_a_purge_does_not_displace_what_was_after() {
        let cases = [
            // stamps, receipts (seconds): of the stored one, of the one that comes   stays   why
            ((2, 5), (1, 9), true, "it was asked for with more purges known"),
            ((1, 9), (2, 5), false, "it was asked for with fewer"),
            ((1, 9), (1, 5), true, "it was received later"),
            ((1, 5), (1, 9), false, "it was received earlier"),
        ];
        for (stored, comes, stays, why) in cases {
            let (memory, key) = (memory(1 << 20), key("/"));
            for (body, (number, seconds)) in [("stored", stored), ("comes", comes)] {
                let mut head = entry("", "en", None).head.clone();
                head.stamp = Stamp { era: 1, number };
                head.received_at = NOW.plus(Duration::from_secs(seconds));
                memory.put(Arc::new(Entry::new(head, StoredBody::from_bytes(body.into()), None)), None);
            }
            assert_eq!(bodies(&memory, &key) == [b"stored".to_vec()], stays, "{why}");
        }
    }

    #[test]
    fn a_part_takes_the_place_of_what_is_dead_and_takes_bytes_from_nothing_but_what_is_alive() {
        let part = |first| Some(Part { first, complete: Some(10) });
        let stale = Standing::Stale { since: NOW };
        let cases = [
            // stored                    its standing     want              why
            (("0123456789", None), Standing::Alive, "0123456789", "whole and fresh: it stays"),
            (("0123456789", None), stale, "0123456789", "it may still serve stale"),
            (("0123456789", None), Standing::Dead, "56789", "gone: it is in nobody's way"),
            (("01234", part(0)), Standing::Alive, "0123456789", "two parts make a whole"),
            (("01234", part(0)), stale, "56789", "its bytes are older than a purge"),
            (("01234", part(0)), Standing::Dead, "56789", "so are these"),
        ];
        for ((body, stored), standing, want, why) in cases {
            let (memory, key) = (memory(1 << 20), key("/"));
            match stored {
                Some(_) => memory.put_part(&entry(body, "en", stored), NOW, |_| Standing::Alive),
                None => memory.put(entry(body, "en", None), None),
            }
            memory.put_part(&entry("56789", "en", part(5)), NOW, |_| standing);
            assert_eq!(bodies(&memory, &key), [want.as_bytes().to_vec()], "{standing:?}: {why}");
        }
    }

    #[test]
    fn a_late_part_that_is_not_alive_takes_the_place_of_none_that_is() {
        let part = |first| Some(Part { first, complete: Some(10) });
        for (first, why) in [(6, "they do not touch"), (5, "as one they would be as stale as it is")] {
            let (memory, key) = (memory(1 << 20), key("/"));
            let alive = entry("01234", "en", part(0));
            memory.put_part(&alive, NOW, |_| Standing::Alive);
            let late = entry("5678", "en", part(first));
            memory.put_part(&late, NOW, |of| match of.part() {
                Some(Part { first: 0, .. }) => Standing::Alive,
                _ => Standing::Stale { since: NOW },
            });
            assert_eq!(bodies(&memory, &key), [b"01234".to_vec()], "{why}");
        }
    }

    #[test]
    fn a_look_through_the_tier_ends_also_where_nothing_but_marks_is_left() {
        let memory = memory(1 << 20);
        for number in 0..5 {
            let marks = Marks::for_everybody(NOW, Detail::NoStore);
            memory.mark_unshareable(&key(&format!("/{number}")), marks);
        }
        for (most, shown, is_all) in [(3, 3, false), (5, 5, true), (9, 5, true)] {
            let mut count = 0;
            let seen = memory.look_through(most, |_, _| {
                count += 1;
                ControlFlow::Continue(())
            });
            assert_eq!((count, seen.is_continue()), (shown, is_all), "{most} at most");
        }
    }

    #[test]
    fn the_tier_stays_within_its_capacity() {
        let memory = memory(1 << 20);
        let body = "x".repeat(10_000);
        for number in 0..500 {
            memory.put(entry_at(&format!("/{number}"), &body, "en", None), None);
            assert!(memory.cache.iter().count() < 150, "what waits to be counted is bounded, too");
        }
        memory.settle();
        assert!(memory.bytes() <= 1 << 20, "{} bytes", memory.bytes());
        assert!(memory.evictions() > 0);
    }

    #[test]
    fn what_is_asked_for_again_and_again_outlasts_what_is_asked_for_once() {
        let (memory, body, mut random) = (memory(2 << 20), "x".repeat(1000), fastrand::Rng::with_seed(7));
        let (mut hits, mut asked) = (0, 0);
        for number in 0..40_000 {
            // Half of all ask for something that nobody asked for before, the others mostly for the same things.
            let is_hot = random.f64() < 0.5;
            let target = if is_hot { format!("/hot/{:.0}", 1000_f64.powf(random.f64())) } else { format!("/{number}") };
            let key = key(&target);
            // As a request does: where it is read, as it is decided, and once it leads a fetch.
            let found = memory.get_stored(key.as_bytes()).or_else(|| memory.get(key.as_bytes()));
            let found = found.or_else(|| memory.get_stored(key.as_bytes()));
            if is_hot && number > 10_000 {
                (hits, asked) = (hits + usize::from(found.is_some()), asked + 1);
            }
            match found {
                Some(found) => found.entries()[0].count_hit(),
                None => memory.put(entry_at(&target, &body, "en", None), None),
            }
        }
        // 0.76. It is 0.74 where each look-up of a miss counts, and 0.73 where the first uses of what is found again do not.
        assert!(hits * 100 > asked * 75, "{hits} of {asked}");
    }

    #[test]
    fn each_variant_is_reckoned_with_a_key_of_its_own() {
        let (memory, target) = (memory(1 << 20), format!("/{}", "p".repeat(10_000)));
        for (language, at_least) in [("en", 10_000), ("de", 20_000)] {
            memory.put(entry_at(&target, "", language, None), None);
            memory.settle();
            let bytes = memory.bytes();
            assert!((at_least..at_least + 3000).contains(&bytes), "{language}: {bytes} bytes");
        }
    }

    #[test]
    fn bodies_under_way_take_what_is_free_and_give_it_back() {
        let memory = memory(1 << 20);
        let mut first = memory.reserve();
        assert!(first.grow(1 << 19), "the tier is empty");
        let mut second = memory.reserve();
        assert!(!second.grow(1 << 20), "more than there is");
        assert_eq!(memory.in_flight(), 1 << 19, "a refusal takes nothing");
        drop(first);
        assert!(second.grow(1 << 20));
        drop(second);
        assert_eq!(memory.in_flight(), 0);
    }

    #[test]
    fn the_mark_that_reaches_furthest_tells_why() {
        let (memory, key) = (memory(1 << 20), key("/"));
        let at = |seconds| NOW.plus(Duration::from_secs(seconds));
        memory.mark_unshareable(&key, Marks::for_everybody(at(5), Detail::NoStore));
        memory.mark_unshareable(&key, Marks::for_authorized(at(9), Detail::Authorization));
        let marks = memory.get(key.as_bytes()).expect("a mark is kept").marks();
        assert_eq!(marks.of(false), Some(Mark { until: at(5), why: Detail::NoStore }));
        assert_eq!(marks.of(true), Some(Mark { until: at(9), why: Detail::Authorization }));
        memory.mark_unshareable(&key, Marks::for_everybody(at(5), Detail::SetCookie));
        let marks = memory.get(key.as_bytes()).expect("a mark is kept").marks();
        assert_eq!(marks.of(false).map(|mark| mark.why), Some(Detail::SetCookie), "of two, the later word");
    }

    #[test]
    fn an_unshareable_mark_leaves_what_is_stored_and_ends_with_the_next_store() {
        let (memory, key) = (memory(1 << 20), key("/"));
        memory.put(entry("en", "en", None), None);
        let later = NOW.plus(Duration::from_secs(5));
        memory.mark_unshareable(&key, Marks::for_authorized(later, Detail::Authorization));
        let stored = memory.get(key.as_bytes()).expect("stored");
        assert!(stored.is_unshareable(true, NOW) && !stored.is_unshareable(true, later));
        assert!(!stored.is_unshareable(false, NOW), "it is about those with Authorization");
        assert_eq!(stored.entries().len(), 1);
        memory.put(entry("de", "de", None), None);
        assert!(!memory.get(key.as_bytes()).expect("stored").is_unshareable(true, NOW));
    }
}
