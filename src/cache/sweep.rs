//! Who gives back the memory of what was purged?
//!
//! A purge is a fact in the ledger and walks nothing: a dead response keeps its bytes until somebody looks it up. The
//! sweep walks instead, behind everybody's back and at its leisure; nothing waits for it, nothing depends on it.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::memory::Memory;
use crate::policy::reuse::Standing;

/// How long what was purged stays before the walk begins: for that long the next request learns that it was a purge,
/// and purges that come together cost one walk.
const PAUSE: Duration = Duration::from_secs(1);

/// Keys looked at in one go. The thread that does it serves nobody meanwhile: well below a millisecond.
const SLICE: usize = 256;

/// After each go it rests for so many times as long as that took: one part in five of a core, whatever is stored.
const REST: u32 = 4;

/// The shortest rest: what a timer can do.
const MIN_REST: Duration = Duration::from_millis(1);

/// The longest rest, after a go that the machine held up.
const MAX_REST: Duration = Duration::from_millis(100);

/// Removes dead responses from the memory tier.
#[derive(Debug, Clone)]
pub struct Sweep {
    ledger: Arc<Ledger>,
    memory: Arc<Memory>,
    /// Stored responses removed.
    swept: Counter,
    /// Walks through the tier that were completed.
    walks: Counter,
}

impl Sweep {
    /// A sweep of `memory` by `ledger`, whose counters `registry` knows.
    pub fn register(ledger: Arc<Ledger>, memory: Arc<Memory>, registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let swept = counter("larder_swept_responses", "Purged responses whose memory was given back by a sweep");
        let walks = counter("larder_sweeps", "Walks through the memory tier for purged responses");
        Self { ledger, memory, swept, walks }
    }

    /// Walks after each hard purge, until `stop`. Those that come during a walk are seen to by one more.
    pub async fn run(self, stop: CancellationToken) {
        let work = async {
            loop {
                self.ledger.deaths().await;
                tokio::time::sleep(PAUSE).await;
                // Those that came meanwhile are seen to by this walk, and ask for no other.
                _ = tokio::time::timeout(Duration::ZERO, self.ledger.deaths()).await;
                self.walk().await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Stored responses removed so far.
    pub fn swept(&self) -> u64 {
        self.swept.get()
    }

    /// Looks at everything that is stored now, once, and removes what is dead.
    async fn walk(&self) {
        let mut stored = self.memory.iter();
        loop {
            let began = Instant::now();
            let (mut looked_at, mut removed) = (0, 0);
            for (_, variants) in stored.by_ref().take(SLICE) {
                looked_at += 1;
                for entry in variants.entries() {
                    if entry.standing(&self.ledger) == Standing::Dead {
                        self.memory.remove_entry(entry);
                        removed += 1;
                    }
                }
            }
            if removed > 0 {
                self.swept.inc_by(removed);
                // Has the bytes counted as free now, not with some later write.
                self.memory.settle();
            }
            if looked_at < SLICE {
                break;
            }
            tokio::time::sleep((began.elapsed() * REST).clamp(MIN_REST, MAX_REST)).await;
        }
        self.walks.inc();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::cache::ledger::Stamp;
    use crate::cache::memory::Limits;
    use crate::cache::sample;
    use crate::policy::key::Key;
    use crate::policy::scope::{Scope, Severity};
    use crate::policy::time::Timestamp;
    use crate::policy::treatment::KeyRules;

    fn sweep() -> Sweep {
        let limits = Limits { capacity: 1 << 28, max_object: 1 << 20, max_variants: 8, threads: 1 };
        Sweep::register(Arc::new(Ledger::new()), Arc::new(Memory::new(limits)), &mut Registry::default())
    }

    fn key(target: &str) -> Key {
        Key::of("http", "a.test", target, &HeaderMap::new(), &KeyRules::default())
    }

    fn store(sweep: &Sweep, target: &str, tag: &str, stamp: Stamp) {
        let entry = sample::entry(sample::labels(target, &[tag]), stamp, Bytes::from(vec![b'x'; 512]));
        sweep.memory.put(Arc::new(entry), None);
    }

    fn purge(sweep: &Sweep, tag: &str, severity: Severity) {
        sweep.ledger.purge(&[Scope::Tag(tag.as_bytes().into())], severity, Timestamp::EPOCH);
    }

    fn is_hit(sweep: &Sweep, target: &str) -> bool {
        let stored = sweep.memory.get(key(target).as_bytes()).unwrap_or_default();
        stored.entries().iter().any(|entry| entry.standing(&sweep.ledger) == Standing::Alive)
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_what_was_purged_comes_back_while_the_rest_is_hit() {
        let (sweep, stop) = (sweep(), CancellationToken::new());
        let before = sweep.ledger.stamp();
        (0..100).for_each(|number| store(&sweep, &format!("/kept/{number}"), "kept", before));
        sweep.memory.settle();
        let rest = sweep.memory.bytes();
        (0..20_000).for_each(|number| store(&sweep, &format!("/gone/{number}"), "gone", before));
        sweep.memory.settle();
        assert!(sweep.memory.bytes() > 100 * rest, "most of it is to go");
        let task = tokio::spawn(sweep.clone().run(stop.clone()));
        purge(&sweep, "gone", Severity::Hard);
        store(&sweep, "/gone/7", "gone", sweep.ledger.stamp());
        tokio::time::sleep(PAUSE).await;
        // Each turn of this loop lets the sweep go on by one slice; the clock is the test's.
        let mut turns = 0;
        while sweep.walks.get() == 0 {
            assert!((0..100).all(|number| is_hit(&sweep, &format!("/kept/{number}"))), "others are hits meanwhile");
            turns += 1;
            assert!(turns < 1000, "{} are swept, and no end", sweep.swept());
            tokio::time::sleep(MIN_REST).await;
        }
        assert!(turns > 20_000 / SLICE / 2, "it rests between slices");
        assert_eq!(sweep.swept(), 19_999);
        assert!(is_hit(&sweep, "/gone/7"), "fetched after the purge");
        assert!(sweep.memory.bytes() < rest + 2000, "{} bytes, of which {rest} stay", sweep.memory.bytes());
        stop.cancel();
        task.await.expect("it ends with the node");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stale_or_of_another_variant_stays() {
        let sweep = sweep();
        let before = sweep.ledger.stamp();
        store(&sweep, "/stale", "soft", before);
        store(&sweep, "/alive", "other", before);
        store(&sweep, "/dead", "hard", before);
        purge(&sweep, "soft", Severity::Soft);
        purge(&sweep, "hard", Severity::Hard);
        sweep.walk().await;
        assert_eq!((sweep.swept(), sweep.memory.objects()), (1, 2));
        assert!(is_hit(&sweep, "/alive") && !is_hit(&sweep, "/stale"));
        assert!(sweep.memory.get(key("/stale").as_bytes()).is_some(), "it may yet serve, and be revalidated");
        assert!(sweep.memory.get(key("/dead").as_bytes()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn purges_that_come_together_cost_one_walk() {
        let (sweep, stop) = (sweep(), CancellationToken::new());
        let task = tokio::spawn(sweep.clone().run(stop.clone()));
        for tag in ["a", "b", "c"] {
            purge(&sweep, tag, Severity::Hard);
            tokio::time::sleep(PAUSE / 10).await;
        }
        tokio::time::sleep(PAUSE * 5).await;
        assert_eq!(sweep.walks.get(), 1);
        stop.cancel();
        task.await.expect("it ends with the node");
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_during_a_walk_is_seen_to_by_another() {
        let (sweep, stop) = (sweep(), CancellationToken::new());
        let before = sweep.ledger.stamp();
        (0..2000).for_each(|number| store(&sweep, &format!("/{number}"), ["a", "b"][number % 2], before));
        let task = tokio::spawn(sweep.clone().run(stop.clone()));
        purge(&sweep, "a", Severity::Hard);
        while sweep.swept() == 0 {
            tokio::time::sleep(MIN_REST).await;
        }
        assert!(sweep.swept() < 1000 && sweep.walks.get() == 0, "the walk is under way");
        purge(&sweep, "b", Severity::Hard);
        for _ in 0..3000 {
            tokio::time::sleep(MIN_REST).await;
        }
        assert_eq!((sweep.swept(), sweep.memory.objects(), sweep.walks.get()), (2000, 0, 2));
        stop.cancel();
        task.await.expect("it ends with the node");
    }
}
