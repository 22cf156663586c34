//! What is noted of one scope, and of all scopes of one kind.

use papaya::HashMap;

use crate::policy::scope::Severity;
use crate::policy::time::Timestamp;

/// Bytes that one scope costs beside its name: the map's slot, the boxed name, the mark.
const OVERHEAD: usize = 96;

/// The last purges of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// Number of the last hard one; zero: none.
    pub(super) hard: u64,
    /// Number of the last soft one; zero: none.
    pub(super) soft: u64,
    /// When that was.
    pub(super) soft_at: Timestamp,
    /// Purges up to this number that named something narrower were folded into this scope: whether they named a
    /// response, and how hard, is no longer known.
    pub(super) doubt: u64,
}

impl Mark {
    pub(super) fn of(severity: Severity, number: u64, at: Timestamp) -> Self {
        match severity {
            Severity::Hard => Self { hard: number, ..Self::default() },
            Severity::Soft => Self { soft: number, soft_at: at, ..Self::default() },
        }
    }

    pub(super) fn doubt(number: u64) -> Self {
        Self { doubt: number, ..Self::default() }
    }

    /// The number of the last of them.
    pub(super) fn latest(&self) -> u64 {
        self.hard.max(self.soft).max(self.doubt)
    }

    /// Both: of each sort the later one. The same purge may come twice.
    fn and(self, other: Self) -> Self {
        let (soft, soft_at) = (self.soft, self.soft_at).max((other.soft, other.soft_at));
        Self { hard: self.hard.max(other.hard), soft, soft_at, doubt: self.doubt.max(other.doubt) }
    }
}

/// The marks of one kind of scope, by name. One writer at a time, by the ledger's lock; readers never wait.
#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<Box<[u8]>, Mark, foldhash::fast::RandomState>);

impl Marks {
    pub(super) fn get(&self, name: &[u8]) -> Option<Mark> {
        self.0.pin().get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a mark; gives the bytes that it took.
    pub(super) fn add(&self, name: &[u8], mark: Mark) -> usize {
        let marks = self.0.pin();
        let known = marks.get(name).copied();
        marks.insert(name.into(), known.unwrap_or_default().and(mark));
        if known.is_some() { 0 } else { name.len() + OVERHEAD }
    }

    /// Each name with its mark.
    pub(super) fn all(&self) -> Vec<(Box<[u8]>, Mark)> {
        self.0.pin().iter().map(|(name, mark)| (name.clone(), *mark)).collect()
    }

    /// Forgets a name; gives the bytes that it gave back.
    pub(super) fn forget(&self, name: &[u8]) -> usize {
        if self.0.pin().remove(name).is_some() { name.len() + OVERHEAD } else { 0 }
    }
}
