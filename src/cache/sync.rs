//! Locks and atomics of the ledger, the flights and the memo of an entry: the standard ones, or, to try their
//! interleavings, Shuttle's.

#[cfg(feature = "interleavings")]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(feature = "interleavings"))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic};

/// Stands before each access to a map that Shuttle does not see into: another thread may go on here.
#[inline]
pub(super) fn crossing() {
    #[cfg(feature = "interleavings")]
    atomic::AtomicBool::new(false).load(atomic::Ordering::SeqCst);
}
