//! Nodes together, over Redis: one log of purges that all of them follow, who lives and how far each one is, and which
//! node fetches what all of them want.
//!
//! A purge is added to the log, which numbers it, and taken down from there by every node. Where the log cannot be asked
//! it acts here all the same, and is kept until the log has it.

mod breach;
mod follow;
pub mod lease;
pub mod log;
mod metrics;
pub mod notice;
mod outbox;
pub mod position;
mod recent;
pub mod redis_log;
mod roll;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::follow::Follower;
use self::log::{Draft, Entry, LogError, Member, PurgeLog};
use self::metrics::Metrics;
use self::notice::{Effect, Notice};
use self::outbox::Outbox;
use self::position::Position;
use self::recent::Recent;
pub use self::roll::Acknowledged;
use self::roll::Roll;
use crate::cache::ledger::{Ledger, OtherEra, Stamp};
use crate::clock::Clock;
use crate::policy::scope::Severity;

/// How long the follower waits for an entry before it says again that it lives; less where nodes may lag less.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// This node among others.
#[derive(Debug)]
pub struct Fleet {
    name: String,
    log: Arc<dyn PurgeLog>,
    ledger: Arc<Ledger>,
    clock: Clock,
    /// How long a sign of life may be out.
    wait: Duration,
    max_lag: Duration,
    /// Where the follower is: of which log, and up to where it has taken down what that says.
    place: Mutex<Option<(u64, Position)>>,
    outbox: Outbox,
    recent: Recent,
    roll: Roll,
    metrics: Metrics,
    /// Whether the log was ever heard to its end.
    has_heard: watch::Sender<bool>,
}

/// What became of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// Its own id.
    pub id: u64,
    /// The stamp of what is fetched from now on.
    pub stamp: Stamp,
    /// Where the log has it; `None`: it acts on this node alone so far, and is kept until the log takes it.
    pub place: Option<(u64, Position)>,
}

impl Fleet {
    /// A node of this name that follows `log` into `ledger`, once [`Fleet::run`] is polled. `max_lag`: as the ledger has it.
    pub fn new(
        name: String,
        log: Arc<dyn PurgeLog>,
        ledger: Arc<Ledger>,
        clock: Clock,
        max_lag: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            log,
            ledger,
            clock,
            // So that one sign of life may be lost.
            wait: (max_lag / 4).min(LONGEST_WAIT),
            max_lag,
            place: Mutex::default(),
            outbox: Outbox::default(),
            recent: Recent::default(),
            roll: Roll::default(),
            metrics: Metrics::default(),
            has_heard: watch::Sender::new(false),
        })
    }

    /// Makes what is counted known to `registry`.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        metrics::register(self, registry);
    }

    /// Follows the log until `stop`, then takes leave.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(Follower::new(&self).follow()).await;
        // Where the log cannot be asked, the others find out by themselves.
        drop(self.log.leave(&self.name).await);
    }

    /// Waits until the log was heard to its end for the first time: from then on what the second tier holds is known to
    /// be alive or not.
    pub async fn heard(&self) {
        let mut has_heard = self.has_heard.subscribe();
        // The sender lives as long as this does.
        _ = has_heard.wait_for(|has_heard| *has_heard).await;
    }

    /// Carries a purge out: when this returns, it is in force on this node, and in the log where that could be asked
    /// within `patience`. Not to be dropped before: it goes into a task of its own.
    pub async fn announce(&self, notice: &Notice, patience: Duration) -> Announced {
        let mut draft = Draft { id: fastrand::u64(1..), payload: notice.encode().into(), again: false };
        let id = draft.id;
        // What was kept goes first: the log tells of purges in their order.
        if self.outbox.is_empty()
            && let Some((era, _)) = self.place()
        {
            match self.log.append(era, self.recent.highest(), &draft, patience).await {
                Ok(position) => {
                    let stamp = self.taken(era, position, notice);
                    self.recent.remember(Entry { position, id, previous: 0, payload: draft.payload });
                    return Announced { id, stamp, place: Some((era, position)) };
                }
                // It may have been taken all the same.
                Err(error) => draft.again = error != LogError::Unasked,
            }
        }
        // Kept before it acts: from then on nothing is taken from the second tier that has not heard of it.
        self.outbox.keep(draft, self.clock.now());
        self.metrics.kept.inc();
        Announced { id, stamp: self.act_alone(notice), place: None }
    }

    /// Takes down what the log has just taken; gives the stamp of what is fetched from now on.
    fn taken(&self, era: u64, position: Position, notice: &Notice) -> Stamp {
        let stamp = Stamp { era, number: position.number() };
        match self.take_down(stamp, notice) {
            Ok(()) => stamp,
            // The follower is about to take up another log: until then it acts by a number of this node's own.
            Err(OtherEra { .. }) => self.act_alone(notice),
        }
    }

    fn act_alone(&self, notice: &Notice) -> Stamp {
        let severity = if notice.effect == Effect::Hard { Severity::Hard } else { Severity::Soft };
        self.ledger.purge(&notice.scopes, severity, notice.at)
    }

    fn take_down(&self, stamp: Stamp, notice: &Notice) -> Result<(), OtherEra> {
        let severity = match notice.effect {
            Effect::Hard => Severity::Hard,
            Effect::Soft => Severity::Soft,
            Effect::Doubt => return self.ledger.doubt(stamp),
        };
        self.ledger.apply(stamp, &notice.scopes, severity, notice.at)
    }

    /// Waits until every node that lives has a purge, or until `deadline`.
    pub async fn acknowledged_by_all(&self, place: (u64, Position), deadline: Instant) -> Acknowledged {
        match self.roll.wait(&*self.log, place, deadline).await {
            // In a log that this node has not found yet, it does not count itself.
            Some(acknowledged) if self.place().is_some_and(|(era, _)| era == place.0) => acknowledged,
            Some(acknowledged) => Acknowledged { is_by_all: false, ..acknowledged },
            // A node may have joined since.
            None => Acknowledged { is_by_all: false, ..self.acknowledged(place) },
        }
    }

    /// Who has a purge, as was last heard of the others: up to half a second ago. Nobody is known to have one that the log
    /// has lost.
    pub fn acknowledged(&self, (era, position): (u64, Position)) -> Acknowledged {
        if !self.recent.holds_at(position) {
            return Acknowledged::default();
        }
        let members = self.with_me(self.roll.confirmed());
        self.roll.settled(Acknowledged::of(&members, era, position))
    }

    /// Whether the log has all that was purged here. Until then what other nodes store is not to be used.
    pub fn is_told(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Purges that the log has not taken yet.
    pub fn untold(&self) -> usize {
        self.outbox.len()
    }

    /// The nodes that live, as was last heard of the others.
    pub fn members(&self) -> Vec<Member> {
        self.with_me(self.roll.members())
    }

    /// This node knows better than the log where it is.
    fn with_me(&self, mut members: Vec<Member>) -> Vec<Member> {
        let me = members.iter_mut().find(|member| member.name == self.name);
        if let (Some(me), Some((era, position))) = (me, self.place()) {
            (me.era, me.position) = (era, position);
        }
        members
    }

    /// Entries that the log told lately, the last first.
    pub fn latest(&self, limit: usize) -> Vec<Entry> {
        self.recent.latest(limit)
    }

    /// The log that is followed, and up to where; `None`: none yet.
    pub fn place(&self) -> Option<(u64, Position)> {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_place(&self, place: Option<(u64, Position)>) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }
}
