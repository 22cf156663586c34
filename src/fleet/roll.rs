//! Who lives, and who has which purge?

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::log::{LogError, Member, Muster, PurgeLog};
use super::position::Position;

/// How soon it is asked again who has a purge, and how long it takes at the most until the next time: nodes have it within
/// a millisecond or two, unless something is wrong with them.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// Which nodes have a purge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Those that have taken it down.
    pub by: Vec<String>,
    /// Those that live, and have not yet.
    pub lagging: Vec<String>,
    /// Whether every node that lives is known to have it.
    pub is_by_all: bool,
}

impl Acknowledged {
    pub(super) fn of(members: &[Member], era: u64, position: Position) -> Self {
        let (by, lagging) = members.iter().partition::<Vec<_>, _>(|member| member.acknowledges(era, position));
        let names = |members: Vec<&Member>| members.into_iter().map(|member| member.name.clone()).collect();
        let is_by_all = lagging.is_empty() && !by.is_empty();
        Self { by: names(by), lagging: names(lagging), is_by_all }
    }
}

/// What was last heard of the nodes.
#[derive(Debug, Default)]
pub(super) struct Roll {
    last: Mutex<Option<(Instant, Muster)>>,
    /// The nodes as they were when the log was what this node has read of it. A position says what a node has only in that
    /// log: one that has lost its end goes on with positions behind those that it lost.
    confirmed: Mutex<Vec<Member>>,
    /// Until when a node may live that the log has forgotten.
    complete_from: Mutex<Option<Instant>>,
    /// Held by the one who asks: those who wait for it take over what it hears.
    turn: tokio::sync::Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Roll {
    /// Takes down what was heard to a question of that moment.
    pub(super) fn call(&self, asked: Instant, muster: Muster) {
        *lock(&self.last) = Some((asked, muster));
    }

    /// Takes down where the nodes were, when the log had all that this node has read of it.
    pub(super) fn confirm(&self, members: Vec<Member>) {
        *lock(&self.confirmed) = members;
    }

    /// Another log knows only of nodes that have found it: those that have not use for so long what they have stored.
    pub(super) fn is_incomplete_for(&self, time: Duration) {
        *lock(&self.complete_from) = Some(Instant::now() + time);
        lock(&self.confirmed).clear();
    }

    fn heard_since(&self, moment: Instant) -> Option<Muster> {
        lock(&self.last).as_ref().filter(|(asked, _)| *asked >= moment).map(|(_, muster)| muster.clone())
    }

    /// The nodes, as they were last heard of.
    pub(super) fn members(&self) -> Vec<Member> {
        lock(&self.last).as_ref().map(|(_, muster)| muster.members.clone()).unwrap_or_default()
    }

    /// The nodes where they were, when the log was what this node has read of it.
    pub(super) fn confirmed(&self) -> Vec<Member> {
        lock(&self.confirmed).clone()
    }

    /// The same, where no node may live that the log has forgotten.
    pub(super) fn settled(&self, acknowledged: Acknowledged) -> Acknowledged {
        let is_complete = lock(&self.complete_from).is_none_or(|from| Instant::now() >= from);
        Acknowledged { is_by_all: acknowledged.is_by_all && is_complete, ..acknowledged }
    }

    /// The nodes as they are now. Of many who ask at once one does.
    async fn now(&self, log: &dyn PurgeLog) -> Result<Muster, LogError> {
        let moment = Instant::now();
        let _turn = self.turn.lock().await;
        if let Some(muster) = self.heard_since(moment) {
            return Ok(muster);
        }
        let asked = Instant::now();
        let muster = log.muster().await?;
        self.call(asked, muster.clone());
        Ok(muster)
    }

    /// Waits until every node that lives has the purge at `position`, or until `deadline`. `None`: the log cannot be
    /// asked, or does not have it there any more.
    pub(super) async fn wait(
        &self,
        log: &dyn PurgeLog,
        (era, position): (u64, Position),
        deadline: Instant,
    ) -> Option<Acknowledged> {
        let mut pause = FIRST_PAUSE;
        loop {
            let is_last = Instant::now() + pause > deadline;
            let asked = async {
                let acknowledged = self.settled(Acknowledged::of(&self.now(log).await?.members, era, position));
                // After they were asked for: where it still is it was then, and whoever is behind it has it.
                let is_done = acknowledged.is_by_all || is_last;
                let is_there = !is_done || !log.between(position, position).await?.is_empty();
                Ok::<_, LogError>((is_done && is_there).then_some(acknowledged))
            };
            let heard = tokio::time::timeout_at(deadline, asked).await;
            let acknowledged = heard.ok().and_then(Result::ok).flatten();
            if is_last || acknowledged.as_ref().is_some_and(|acknowledged| acknowledged.is_by_all) {
                return acknowledged;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
