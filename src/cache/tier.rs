//! What is a second tier to those who look something up?

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use http::HeaderMap;

use super::entry::Entry;
use crate::policy::key::Key;

/// What a tier is about to give.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The tier could not be asked. For a look-up that is a miss, and has been counted where it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the second tier could not be asked")]
pub struct Unreachable;

/// How much of a stored response has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it is new.
    Whole,
    /// The head alone: a 304 freshened it, and the tier may have the body already.
    Head,
}

/// Stored responses beyond this process: slower, shared by several nodes, and there after a restart.
///
/// Nothing that it gives is trusted to be alive: whoever asks compares its stamp.
pub trait Tier: Debug + Send + Sync {
    /// The complete response that is stored under `key` for a request with these fields.
    ///
    /// `Ok(None)`: it is not there, or is nothing that can be used.
    ///
    /// # Errors
    ///
    /// The tier could not be asked, or not in time.
    fn get<'a>(&'a self, key: &'a Key, request: &'a HeaderMap) -> Pending<'a, Result<Option<Arc<Entry>>, Unreachable>>;

    /// Stores `entry` in the background. What this gives is ready once it is written, or given up.
    fn put(&self, key: &Key, entry: &Arc<Entry>, extent: Extent) -> Pending<'static, ()>;

    /// Takes out, in the background, what is stored under `key` for requests like the one that `entry` answered.
    fn remove(&self, key: &Key, entry: &Arc<Entry>);
}
