//! Which fetches are under way, who leads them, and who waits for them?
//!
//! The first request for a key leads: its fetch runs in a task of its own. The others follow: they wait until the
//! flight lands, and read what it brings, or go on their own when it may not be shared.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, PoisonError};

use smallvec::SmallVec;
use tokio::sync::watch;

use super::entry::{Entry, Head};
use super::ledger::{Ledger, Stamp};
use super::sync::{Mutex, MutexGuard};
use crate::body::shared::SharedBody;
use crate::clock::Moment;
use crate::policy::key::Key;

/// Independent maps, so that misses on different keys do not queue for one lock.
const SHARDS: usize = 32;

/// What a flight has come to, as its followers see it. `F` is what the leader's failure is told as.
#[derive(Debug)]
pub enum Landing<F> {
    /// Nothing is known yet.
    Pending,
    /// A shareable response is arriving; its body is read while it grows.
    Streaming(Arc<Head>, SharedBody),
    /// A stored response was freshened, and may be used.
    Stored(Arc<Entry>),
    /// A stored response came from the second tier. Each follower judges it as one that it had found itself.
    Promoted(Arc<Entry>),
    /// The answer was for its leader alone: everybody goes on their own, at once.
    Unshareable,
    /// The origin failed. What is stored may stand in, each follower judges for itself.
    Failed(Arc<F>),
    /// The origin answered with an error in whose place something stored stands; a follower without one asks itself.
    Troubled,
    /// The leader was lost; somebody else leads.
    Lost,
}

impl<F> Clone for Landing<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Pending => Self::Pending,
            Self::Streaming(head, body) => Self::Streaming(Arc::clone(head), body.clone()),
            Self::Stored(entry) => Self::Stored(Arc::clone(entry)),
            Self::Promoted(entry) => Self::Promoted(Arc::clone(entry)),
            Self::Unshareable => Self::Unshareable,
            Self::Failed(failure) => Self::Failed(Arc::clone(failure)),
            Self::Troubled => Self::Troubled,
            Self::Lost => Self::Lost,
        }
    }
}

/// When a fetch begins, as far as purges go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// What is known of purges.
    pub stamp: Stamp,
    /// The moment: whether the log of purges is heard depends on it.
    pub moment: Moment,
}

impl Departure {
    /// A fetch that begins now.
    pub fn now(ledger: &Ledger) -> Self {
        Self { stamp: ledger.stamp(), moment: ledger.moment() }
    }
}

/// A fetch under way.
#[derive(Debug)]
struct Flight<F> {
    departure: Departure,
    landing: watch::Sender<Landing<F>>,
}

/// The fetches under way, by key.
#[derive(Debug)]
pub struct Flights<F> {
    shards: Box<[Mutex<Shard<F>>]>,
    hasher: foldhash::fast::RandomState,
}

/// Mostly one flight a key; several while variants stream, or after a purge.
type Shard<F> = HashMap<Key, SmallVec<[Arc<Flight<F>>; 1]>, foldhash::fast::RandomState>;

/// A request's part in a flight.
#[derive(Debug)]
pub enum Seat<F> {
    /// This request fetches, for all.
    Leader(Lead<F>),
    /// Another one does; wait for its landing.
    Follower(Follow<F>),
}

impl<F> Flights<F> {
    /// No flights.
    pub fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect();
        Self { shards, hasher: foldhash::fast::RandomState::default() }
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard<F>> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins a flight for `key` that `may_join` allows, by its departure and by what is known of it; else leads a new one.
    /// Those that were not joined keep their followers.
    pub fn board(
        self: &Arc<Self>,
        key: &Key,
        departure: Departure,
        mut may_join: impl FnMut(Departure, &Landing<F>) -> bool,
    ) -> Seat<F> {
        let mut shard = self.shard(key);
        let flights = shard.entry(key.clone()).or_default();
        // A copy is judged: the landing is not locked while the ledger is asked.
        let mut is_open = |flight: &Arc<Flight<F>>| {
            let landing = flight.landing.borrow().clone();
            may_join(flight.departure, &landing)
        };
        if let Some(flight) = flights.iter().find(|flight| is_open(flight)) {
            return Seat::Follower(Follow { landing: flight.landing.subscribe() });
        }
        let flight = Arc::new(Flight { departure, landing: watch::Sender::new(Landing::Pending) });
        flights.push(Arc::clone(&flight));
        drop(shard);
        Seat::Leader(Lead { flights: Arc::clone(self), key: key.clone(), flight })
    }

    /// Whether a request would join a flight for `key` now.
    pub fn may_board(&self, key: &Key, mut may_join: impl FnMut(Departure, &Landing<F>) -> bool) -> bool {
        let shard = self.shard(key);
        let flights = shard.get(key).map(SmallVec::as_slice).unwrap_or_default();
        flights.iter().any(|flight| may_join(flight.departure, &flight.landing.borrow()))
    }

    /// Flights under way.
    pub fn len(&self) -> usize {
        let lock = |shard: &'_ Mutex<Shard<F>>| -> usize {
            shard.lock().unwrap_or_else(PoisonError::into_inner).values().map(SmallVec::len).sum()
        };
        self.shards.iter().map(lock).sum()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<F> Default for Flights<F> {
    fn default() -> Self {
        Self::new()
    }
}

/// The leader's side of a flight. Dropped, it ends the flight: followers that still wait look for another leader.
#[derive(Debug)]
pub struct Lead<F> {
    flights: Arc<Flights<F>>,
    key: Key,
    flight: Arc<Flight<F>>,
}

impl<F> Lead<F> {
    /// Tells the followers what has come. A streaming flight can still be joined; any other has ended.
    pub fn land(&self, landing: Landing<F>) {
        if !matches!(landing, Landing::Streaming(..)) {
            self.leave_board();
        }
        self.flight.landing.send_replace(landing);
    }

    /// Lets nobody join any more.
    pub fn leave_board(&self) {
        let mut shard = self.flights.shard(&self.key);
        let Some(flights) = shard.get_mut(&self.key) else { return };
        flights.retain(|flight| !Arc::ptr_eq(flight, &self.flight));
        if flights.is_empty() {
            shard.remove(&self.key);
        }
    }
}

impl<F> Drop for Lead<F> {
    fn drop(&mut self) {
        self.leave_board();
        self.flight.landing.send_if_modified(|landing| {
            let waiting = matches!(landing, Landing::Pending);
            if waiting {
                *landing = Landing::Lost;
            }
            waiting
        });
    }
}

/// A follower's side of a flight.
#[derive(Debug)]
pub struct Follow<F> {
    landing: watch::Receiver<Landing<F>>,
}

impl<F> Follow<F> {
    /// Waits for the landing; never `Pending`. The origin's deadlines bound the wait.
    pub async fn landed(&mut self) -> Landing<F> {
        let landed = self.landing.wait_for(|landing| !matches!(landing, Landing::Pending)).await;
        landed.map_or(Landing::Lost, |landing| landing.clone())
    }
}

#[cfg(all(test, feature = "interleavings"))]
mod interleavings;
#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::key::Key;
    use crate::policy::treatment::KeyRules;

    const BEGIN: Departure = Departure { stamp: Stamp { era: 1, number: 0 }, moment: Moment::FIRST };

    fn key(target: &str) -> Key {
        Key::of("http", "a.test", target, &http::HeaderMap::new(), &KeyRules::default())
    }

    fn lead(flights: &Arc<Flights<()>>, target: &str) -> Lead<()> {
        match flights.board(&key(target), BEGIN, |_, _| true) {
            Seat::Leader(lead) => lead,
            Seat::Follower(_) => unreachable!("nobody leads yet"),
        }
    }

    fn follow(flights: &Arc<Flights<()>>, target: &str) -> Follow<()> {
        match flights.board(&key(target), BEGIN, |_, _| true) {
            Seat::Follower(follow) => follow,
            Seat::Leader(_) => unreachable!("somebody leads"),
        }
    }

    #[tokio::test]
    async fn followers_are_told_what_the_leader_lands() {
        let flights = Arc::new(Flights::new());
        let lead = lead(&flights, "/a");
        let mut follower = follow(&flights, "/a");
        lead.land(Landing::Unshareable);
        assert!(matches!(follower.landed().await, Landing::Unshareable));
        assert!(flights.is_empty(), "it has ended");
    }

    #[tokio::test]
    async fn a_lost_leader_wakes_its_followers() {
        let flights = Arc::new(Flights::new());
        let lead = lead(&flights, "/a");
        let mut follower = follow(&flights, "/a");
        drop(lead);
        assert!(matches!(follower.landed().await, Landing::Lost));
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_flight_that_may_not_be_joined_does_not_end_its_successor() {
        let flights = Arc::new(Flights::<()>::new());
        let old = lead(&flights, "/a");
        let Seat::Leader(new) = flights.board(&key("/a"), BEGIN, |_, _| false) else {
            unreachable!("it may not be joined")
        };
        drop(old);
        let mut follower = follow(&flights, "/a");
        new.land(Landing::Failed(Arc::new(())));
        assert!(matches!(follower.landed().await, Landing::Failed(_)));
    }
}
