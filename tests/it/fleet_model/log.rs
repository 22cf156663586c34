//! The log as one node has it: over a way on which requests and answers are lost or late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::cache::tier::Pending;
use larder::fleet::log::{Draft, Entry, LogError, Member, Muster, PurgeLog};
use larder::fleet::position::Position;
use tokio::sync::oneshot;

use super::redis::Redis;
use super::store::Beat;

/// As the real one waits for an answer beyond what it is asked to wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// One node's way to the log.
#[derive(Debug)]
pub(super) struct SimLog {
    redis: Arc<Redis>,
    /// Whether the way is cut.
    is_cut: Arc<AtomicBool>,
}

impl SimLog {
    pub(super) fn new(redis: Arc<Redis>, is_cut: Arc<AtomicBool>) -> Self {
        Self { redis, is_cut }
    }

    /// Sends a request. Once it is on its way it acts, or not, whatever becomes of the one who asked.
    async fn ask<T, A>(&self, patience: Duration, act: impl FnOnce(Arc<Redis>) -> A) -> Result<T, LogError>
    where
        T: Send + 'static,
        A: Future<Output = Result<T, LogError>> + Send + 'static,
    {
        let (redis, is_cut) = (Arc::clone(&self.redis), Arc::clone(&self.is_cut));
        let (answer, answered) = oneshot::channel();
        let (fate, acting) = (redis.fate(), act(Arc::clone(&redis)));
        tokio::spawn(async move {
            tokio::time::sleep(fate.there).await;
            if fate.is_lost || is_cut.load(Ordering::Relaxed) || redis.is_down() {
                return;
            }
            let said = acting.await;
            tokio::time::sleep(fate.back).await;
            if !fate.is_unanswered && !is_cut.load(Ordering::Relaxed) {
                // Nobody may be waiting any more.
                drop(answer.send(said));
            }
        });
        let said = tokio::time::timeout(patience, answered).await;
        self.redis.tick();
        match said {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Err(LogError::Unreachable("the connection broke".into())),
            Err(_) => Err(LogError::Unreachable("no answer in time".into())),
        }
    }

    async fn script(&self, me: Option<Member>, floor: Position, given_up: u64) -> Result<Muster, LogError> {
        let era = fastrand::u64(1..);
        let act = async move |redis: Arc<Redis>| {
            let (now, lease) = (redis.now(), redis.lease);
            let me = me.as_ref();
            Ok(redis.change(|store| store.beat(&Beat { now, lease, me, floor, era, given_up })))
        };
        self.ask(PATIENCE, act).await
    }
}

/// `XREAD BLOCK`.
async fn read(redis: Arc<Redis>, after: Position, wait: Duration) -> Result<Vec<Entry>, LogError> {
    let mut changes = redis.changes();
    let master = *changes.borrow_and_update();
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let entries = redis.look(|store| store.read(after));
        if !entries.is_empty() || tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
            return Ok(entries);
        }
        if *changes.borrow_and_update() != master {
            return Err(LogError::Unreachable("the master went away".into()));
        }
    }
}

impl PurgeLog for SimLog {
    fn append<'a>(
        &'a self,
        era: u64,
        floor: Position,
        draft: &'a Draft,
        patience: Duration,
    ) -> Pending<'a, Result<Position, LogError>> {
        let draft = draft.clone();
        let act = async move |redis: Arc<Redis>| {
            if redis.refuses_entries() {
                return Err(LogError::Unreachable("it takes no entries".into()));
            }
            let by = (redis.now(), redis.kept);
            redis.change(|store| store.append(by, era, floor, &draft)).ok_or(LogError::OtherEra)
        };
        Box::pin(self.ask(patience, act))
    }

    fn read(&self, after: Position, wait: Duration) -> Pending<'_, Result<Vec<Entry>, LogError>> {
        Box::pin(self.ask(wait + PATIENCE, move |redis| read(redis, after, wait)))
    }

    fn between(&self, first: Position, last: Position) -> Pending<'_, Result<Vec<Entry>, LogError>> {
        let act = async move |redis: Arc<Redis>| Ok(redis.look(|store| store.between(first, last)));
        Box::pin(self.ask(PATIENCE, act))
    }

    fn beat<'a>(&'a self, me: &'a Member, floor: Position) -> Pending<'a, Result<Muster, LogError>> {
        Box::pin(self.script(Some(me.clone()), floor, 0))
    }

    fn muster(&self) -> Pending<'_, Result<Muster, LogError>> {
        Box::pin(self.script(None, Position::default(), 0))
    }

    fn renew(&self, era: u64, floor: Position) -> Pending<'_, Result<(), LogError>> {
        Box::pin(async move { self.script(None, floor, era).await.map(drop) })
    }

    fn leave<'a>(&'a self, name: &'a str) -> Pending<'a, Result<(), LogError>> {
        let name = name.to_owned();
        let act = async move |redis: Arc<Redis>| {
            redis.change(|store| drop(store.nodes.remove(&name)));
            Ok(())
        };
        Box::pin(self.ask(PATIENCE, act))
    }
}
