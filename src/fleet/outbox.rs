//! Which purges of this node has the log not taken yet?
//!
//! They act here from the moment they were asked for, and are kept until the log has them. Meanwhile what other nodes put
//! into the second tier is not used: they have not heard of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::log::Draft;
use super::notice::{Effect, Notice};
use crate::policy::scope::Scope;
use crate::policy::time::Timestamp;

/// Purges that are kept, and their bytes. A day of one a second is more than this; what counts then is that nothing is
/// forgotten: beyond it one entry stands for all, and says that everything is to be asked about.
const DRAFTS: usize = 16_384;
const BYTES: usize = 8 << 20;

/// Purges that wait for the log, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    kept: Mutex<Kept>,
    /// How many there are.
    count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    drafts: VecDeque<Draft>,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, draft: Draft) {
        self.bytes += draft.payload.len();
        self.drafts.push_back(draft);
    }
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        // Acquire: who sees that the log has them sees them applied.
        self.count.load(Ordering::Acquire) == 0
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Keeps one, which may have reached the log or not.
    pub(super) fn keep(&self, draft: Draft, now: Timestamp) {
        let mut kept = self.lock();
        kept.push(Draft { again: true, ..draft });
        if kept.drafts.len() > DRAFTS || kept.bytes > BYTES {
            *kept = Kept::default();
            let effect = Effect::Doubt;
            let all = Notice { scopes: vec![Scope::Everything], effect, at: now, who: String::new() };
            kept.push(Draft { id: fastrand::u64(1..), payload: all.encode().into(), again: true });
        }
        self.count.store(kept.drafts.len(), Ordering::Release);
    }

    /// The oldest one.
    pub(super) fn first(&self) -> Option<Draft> {
        self.lock().drafts.front().cloned()
    }

    /// Forgets the one with this id: the log has it, and it was taken down from there.
    pub(super) fn done(&self, id: u64) {
        let mut kept = self.lock();
        kept.drafts.retain(|draft| draft.id != id);
        kept.bytes = kept.drafts.iter().map(|draft| draft.payload.len()).sum();
        self.count.store(kept.drafts.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(id: u64, bytes: usize) -> Draft {
        Draft { id, payload: vec![0; bytes].into(), again: false }
    }

    #[test]
    fn what_the_log_has_not_taken_is_kept_in_order() {
        let outbox = Outbox::default();
        (1..=3).for_each(|id| outbox.keep(draft(id, 1), Timestamp::EPOCH));
        assert!(outbox.first().is_some_and(|draft| draft.id == 1 && draft.again), "it may be in the log already");
        outbox.done(2);
        outbox.done(1);
        assert_eq!((outbox.first().map(|draft| draft.id), outbox.len(), outbox.is_empty()), (Some(3), 1, false));
        outbox.done(3);
        assert!(outbox.first().is_none() && outbox.is_empty());
    }

    #[test]
    fn too_many_become_one_that_says_to_ask_about_everything() {
        for (count, bytes, why) in [(DRAFTS + 1, 1, "too many"), (9, 1 << 20, "too large")] {
            let outbox = Outbox::default();
            for id in 1..=count {
                assert!(id == 1 || outbox.len() == id - 1, "{why}: not before");
                outbox.keep(draft(id as u64, bytes), Timestamp::from_millis(5));
            }
            assert_eq!(outbox.len(), 1, "{why}");
            let notice = outbox.first().map(|draft| Notice::decode(&draft.payload).expect("one of ours"));
            let want = Notice {
                scopes: vec![Scope::Everything],
                effect: Effect::Doubt,
                at: Timestamp::from_millis(5),
                who: String::new(),
            };
            assert_eq!(notice, Some(want), "{why}");
        }
    }
}
