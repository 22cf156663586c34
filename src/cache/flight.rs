//! Which fetches are under way, who leads them, and who waits for them?
//!
//! The first request for a key leads: its fetch runs in a task of its own. The others follow: they wait until the
//! flight lands, and read what it brings, or go on their own when it may not be shared.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::entry::{Entry, Head};
use super::ledger::Stamp;
use crate::body::shared::SharedBody;
use crate::policy::key::Key;
use crate::policy::outcome::Detail;

/// Independent maps, so that misses on different keys do not queue for one lock.
const SHARDS: usize = 32;

/// What a flight has come to, as its followers see it. `F` is what the leader's failure is told as.
#[derive(Debug)]
pub enum Landing<F> {
    /// Nothing is known yet.
    Pending,
    /// A shareable response is arriving; its body is read while it grows.
    Streaming(Arc<Head>, SharedBody),
    /// A stored response may be used: it was freshened, or is there already. With what is to be said of it.
    Stored(Arc<Entry>, Option<Detail>),
    /// The answer was for its leader alone: everybody goes on their own, at once.
    Unshareable,
    /// The origin failed, and nothing stored would do.
    Failed(Arc<F>),
    /// The leader was lost; somebody else leads.
    Lost,
}

impl<F> Clone for Landing<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Pending => Self::Pending,
            Self::Streaming(head, body) => Self::Streaming(Arc::clone(head), body.clone()),
            Self::Stored(entry, detail) => Self::Stored(Arc::clone(entry), *detail),
            Self::Unshareable => Self::Unshareable,
            Self::Failed(failure) => Self::Failed(Arc::clone(failure)),
            Self::Lost => Self::Lost,
        }
    }
}

/// A fetch under way.
#[derive(Debug)]
struct Flight<F> {
    stamp: Stamp,
    landing: watch::Sender<Landing<F>>,
}

/// The fetches under way, by key.
#[derive(Debug)]
pub struct Flights<F> {
    shards: Box<[Mutex<Shard<F>>]>,
    hasher: foldhash::fast::RandomState,
}

type Shard<F> = HashMap<Key, Arc<Flight<F>>, foldhash::fast::RandomState>;

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

    /// Joins the flight for `key`, or leads one. A flight under way is joined only if `is_current` says that no
    /// purge has come since its `stamp`; otherwise a new one takes its place, and the old one keeps its followers.
    pub fn board(self: &Arc<Self>, key: &Key, stamp: Stamp, is_current: impl FnOnce(Stamp) -> bool) -> Seat<F> {
        let mut shard = self.shard(key);
        if let Some(flight) = shard.get(key)
            && is_current(flight.stamp)
        {
            return Seat::Follower(Follow { landing: flight.landing.subscribe() });
        }
        let flight = Arc::new(Flight { stamp, landing: watch::Sender::new(Landing::Pending) });
        shard.insert(key.clone(), Arc::clone(&flight));
        drop(shard);
        Seat::Leader(Lead { flights: Arc::clone(self), key: key.clone(), flight })
    }

    /// Flights under way.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
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

    /// The leader's own view of its flight, as a follower has it.
    pub fn follow(&self) -> Follow<F> {
        Follow { landing: self.flight.landing.subscribe() }
    }

    /// Whether somebody still waits for the landing.
    pub fn has_followers(&self) -> bool {
        self.flight.landing.receiver_count() > 0
    }

    /// Lets nobody join any more.
    pub fn leave_board(&self) {
        let mut shard = self.flights.shard(&self.key);
        if shard.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::key::KeyBuffer;
    use crate::policy::treatment::KeyRules;

    fn key(target: &str) -> Key {
        KeyBuffer::of("http", "a.test", target, &http::HeaderMap::new(), &KeyRules::default()).to_key()
    }

    fn lead(flights: &Arc<Flights<()>>, target: &str) -> Lead<()> {
        match flights.board(&key(target), Stamp::default(), |_| true) {
            Seat::Leader(lead) => lead,
            Seat::Follower(_) => unreachable!("nobody leads yet"),
        }
    }

    fn follow(flights: &Arc<Flights<()>>, target: &str) -> Follow<()> {
        match flights.board(&key(target), Stamp::default(), |_| true) {
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
    async fn a_purged_flight_is_not_joined_and_does_not_end_its_successor() {
        let flights = Arc::new(Flights::<()>::new());
        let old = lead(&flights, "/a");
        let Seat::Leader(new) = flights.board(&key("/a"), Stamp::default(), |_| false) else {
            unreachable!("a purged flight has no new followers")
        };
        drop(old);
        let mut follower = follow(&flights, "/a");
        new.land(Landing::Failed(Arc::new(())));
        assert!(matches!(follower.landed().await, Landing::Failed(_)));
    }
}
