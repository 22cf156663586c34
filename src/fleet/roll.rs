//! Who lives, and who has which purge?

use std::sync::{Mutex, PoisonError};
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
    /// Held by the one who asks: those who wait for it take over what it hears.
    turn: tokio::sync::Mutex<()>,
}

impl Roll {
    /// Takes down what was heard to a question of that moment.
    pub(super) fn call(&self, asked: Instant, muster: Muster) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, muster));
    }

    fn heard_since(&self, moment: Instant) -> Option<Muster> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(asked, _)| *asked >= moment).map(|(_, muster)| muster.clone())
    }

    /// The nodes, as they were last heard of.
    pub(super) fn members(&self) -> Vec<Member> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(_, muster)| muster.members.clone()).unwrap_or_default()
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

    /// Waits until every node that lives has the purge at `position`, or until `deadline`.
    pub(super) async fn wait(
        &self,
        log: &dyn PurgeLog,
        (era, position): (u64, Position),
        deadline: Instant,
    ) -> Acknowledged {
        let mut pause = FIRST_PAUSE;
        loop {
            let acknowledged = match tokio::time::timeout_at(deadline, self.now(log)).await {
                Ok(Ok(muster)) => Acknowledged::of(&muster.members, era, position),
                // A node may have joined since they were last heard of.
                Ok(Err(_)) | Err(_) => {
                    Acknowledged { is_by_all: false, ..Acknowledged::of(&self.members(), era, position) }
                }
            };
            if acknowledged.is_by_all || Instant::now() + pause > deadline {
                return acknowledged;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
