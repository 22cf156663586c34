//! Which purges were carried out, lately?

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::order::cut;
use crate::policy::scope::Scope;
use crate::wire::purge::{PurgeRecord, ScopeRecord};

/// Purges that are remembered.
const PURGES: usize = 1024;

/// Scopes of one purge that are remembered by name. With [`MAX_NAME`] and [`PURGES`]: 4 MiB at most.
const SCOPES: usize = 16;

/// Bytes of a name that are remembered.
pub(super) const MAX_NAME: usize = 256;

/// The purges of the last while, the latest first.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<VecDeque<PurgeRecord>>);

impl History {
    /// Remembers one; the oldest goes where there are too many.
    pub(super) fn remember(&self, record: PurgeRecord) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two purges at once may come here in the other order than they were numbered in.
        // One that has no number yet comes last, thus first.
        let place = records.iter().take_while(|later| later.seq > record.seq && record.seq > 0).count();
        records.insert(place, record);
        records.truncate(PURGES);
    }

    /// The one with this id.
    pub(super) fn with_id(&self, id: &str) -> Option<PurgeRecord> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().find(|record| record.id == id).cloned()
    }

    /// The one of this number.
    pub(super) fn record(&self, seq: u64) -> Option<PurgeRecord> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The latest first: see above.
        let at = records.binary_search_by(|record| seq.cmp(&record.seq)).ok()?;
        records.get(at).cloned()
    }

    /// The latest ones.
    pub(super) fn recent(&self, limit: usize) -> Vec<PurgeRecord> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().take(limit).cloned().collect()
    }
}

/// The first of the scopes, as they are remembered.
pub(super) fn told(scopes: &[Scope]) -> Vec<ScopeRecord> {
    let told = scopes
        .iter()
        .take(SCOPES)
        .map(|scope| ScopeRecord { kind: scope.kind().to_owned(), name: cut(scope.name(), MAX_NAME) });
    told.collect()
}
