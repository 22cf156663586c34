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

    /// Keeps one.
    pub(super) fn keep(&self, draft: Draft, now: Timestamp) {
        let mut kept = self.lock();
        kept.push(draft);
        if kept.drafts.len() > DRAFTS || kept.bytes > BYTES {
            *kept = Kept::default();
            let effect = Effect::Doubt;
            let all = Notice { scopes: vec![Scope::Everything], effect, at: now, who: String::new() };
            kept.push(Draft { id: fastrand::u64(1..), payload: all.encode().into(), again: false });
        }
        self.count.store(kept.drafts.len(), Ordering::Release);
    }

    /// The oldest ones, so many at the most.
    pub(super) fn oldest(&self, most: usize) -> Vec<Draft> {
        self.lock().drafts.iter().take(most).cloned().collect()
    }

    /// Remembers that the one with this id may have reached the log.
    pub(super) fn may_be_there(&self, id: u64) {
        if let Some(draft) = self.lock().drafts.iter_mut().find(|draft| draft.id == id) {
            draft.again = true;
        }
    }

    /// Forgets the one with this id: the log has it, and it was taken down from there.
    pub(super) fn done(&self, id: u64) {
        let mut kept = self.lock();
        // It is one of the oldest, but where all were replaced by one meanwhile.
        if let Some(place) = kept.drafts.iter().position(|draft| draft.id == id) {
            let gone = kept.drafts.remove(place);
            kept.bytes -= gone.map_or(0, |draft| draft.payload.len());
        }
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
        assert_eq!(outbox.oldest(2), [draft(1, 1), draft(2, 1)]);
        outbox.may_be_there(2);
        assert_eq!(outbox.oldest(9)[1], Draft { again: true, ..draft(2, 1) });
        outbox.done(2);
        outbox.done(1);
        assert_eq!((outbox.oldest(9), outbox.len(), outbox.is_empty()), (vec![draft(3, 1)], 1, false));
        outbox.done(3);
        assert!(outbox.oldest(9).is_empty() && outbox.is_empty());
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
            let notice = outbox.oldest(1).pop().map(|draft| Notice::decode(&draft.payload).expect("one of ours"));
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
