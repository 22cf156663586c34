//! Locks and atomics of the ledger and the flights: the standard ones, or, to try their interleavings, Shuttle's.

#[cfg(feature = "interleavings")]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(feature = "interleavings"))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic};
