//! What is the log of purges to those who follow it?
//!
//! One ordered list that all nodes of a fleet read and any may add to. It is a trait so that its loss, its delays and its
//! fail-overs can be tried without a Redis that has them at the right moment.

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;

use super::position::Position;
use crate::cache::tier::Pending;

/// Why the log could not be asked, or did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// It was not asked: there is no sound connection to it.
    #[error("the log of purges is not asked: there is no sound connection to it")]
    Unasked,
    /// It gave no answer. What was asked for may have been done, or not.
    #[error("the log of purges cannot be asked: {0}")]
    Unreachable(String),
    /// It is no longer the log that was followed: it was lost, and begun anew.
    #[error("the log of purges is another one than it was")]
    OtherEra,
    /// It answered something that it never says.
    #[error("the log of purges answered something that is no answer: {0}")]
    Garbled(&'static str),
}

/// One entry of the log. Its payload is a [`super::notice::Notice`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// Its own id, whichever position it got; never zero.
    pub id: u64,
    /// The id of the entry before it; zero: it is the first that this log ever had.
    pub previous: u64,
    /// What it says.
    pub payload: Bytes,
}

/// An entry that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Its own id: an entry of this id is not added twice, where `again` says so.
    pub id: u64,
    /// What it says.
    pub payload: Bytes,
    /// Whether it may be in the log already: it was tried before, or by others.
    pub again: bool,
}

/// What the log is at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Tells it from logs before it; never zero.
    pub era: u64,
    /// Where it begins: before all its entries, behind all of logs before it.
    pub base: Position,
    /// Where its last entry stands; `base` where it has none.
    pub last: Position,
    /// The id of its last entry; zero where it has none.
    pub tail: u64,
}

/// A node of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The log that it follows.
    pub era: u64,
    /// Up to where it has taken down what that says.
    pub position: Position,
}

impl Member {
    /// Whether it has taken down what stands at `position` in the log of this era.
    pub fn acknowledges(&self, era: u64, position: Position) -> bool {
        self.era == era && self.position >= position
    }
}

/// Which nodes are alive, and how far each one is: as Redis, whose clock measures it, sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Muster {
    /// What the log is.
    pub state: State,
    /// The nodes.
    pub members: Vec<Member>,
}

/// The log of purges, shared by several nodes.
pub trait PurgeLog: Debug + Send + Sync {
    /// Adds an entry behind all others, and behind `floor`; gives its position.
    ///
    /// # Errors
    ///
    /// The log cannot be asked within `patience`, or is not that of this `era`.
    fn append<'a>(
        &'a self,
        era: u64,
        floor: Position,
        draft: &'a Draft,
        patience: Duration,
    ) -> Pending<'a, Result<Position, LogError>>;

    /// The entries behind `after`, in order, [`PAGE`] at the most; where there are none, waits for some.
    ///
    /// # Errors
    ///
    /// The log cannot be asked.
    fn read(&self, after: Position, wait: Duration) -> Pending<'_, Result<Vec<Entry>, LogError>>;

    /// The entries from `first` to `last`, both included, in order; of very many the first.
    ///
    /// # Errors
    ///
    /// The log cannot be asked.
    fn between(&self, first: Position, last: Position) -> Pending<'_, Result<Vec<Entry>, LogError>>;

    /// Says how far this node is, and thereby that it lives; gives what the log is, and who else lives. Where there is
    /// no log, or what is left of one, it is begun behind `floor`.
    ///
    /// # Errors
    ///
    /// The log cannot be asked.
    fn beat<'a>(&'a self, me: &'a Member, floor: Position) -> Pending<'a, Result<Muster, LogError>>;

    /// What the log is, and who lives.
    ///
    /// # Errors
    ///
    /// The log cannot be asked, or there is none.
    fn muster(&self) -> Pending<'_, Result<Muster, LogError>>;

    /// Gives up the log of this `era`, if it still is the one, and begins another behind `floor`.
    ///
    /// # Errors
    ///
    /// The log cannot be asked.
    fn renew(&self, era: u64, floor: Position) -> Pending<'_, Result<(), LogError>>;

    /// Says that a node is ending.
    ///
    /// # Errors
    ///
    /// The log cannot be asked.
    fn leave<'a>(&'a self, name: &'a str) -> Pending<'a, Result<(), LogError>>;
}

/// Entries that are read in one go.
pub const PAGE: usize = 512;

/// Entries that the log keeps, about: as many as a ledger keeps scopes. What is older is forgotten, and what was stored
/// before it is revalidated.
pub const KEPT: usize = 65_536;
