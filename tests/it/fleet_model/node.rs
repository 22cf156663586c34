//! One node: a ledger, a fleet of its own making, and what it has stored.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use larder::body::stored::StoredBody;
use larder::cache::entry::{Entry, Head};
use larder::cache::fields::{RareFields, StoredFields};
use larder::cache::ledger::{Ledger, Stamp};
use larder::clock::Clock;
use larder::fleet::Fleet;
use larder::policy::freshness::Freshness;
use larder::policy::scope::Labels;
use larder::policy::time::{Micros, Timestamp};
use larder::policy::vary::Selecting;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::log::SimLog;
use super::redis::Redis;

/// As `redis.max_lag`.
pub(super) const MAX_LAG: Duration = Duration::from_secs(2);

/// What a node stores: the response, and which fetch it came from.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) fetch: usize,
    pub(super) entry: Arc<Entry>,
}

pub(super) struct Node {
    pub(super) name: String,
    /// Another one after each restart.
    pub(super) life: usize,
    pub(super) ledger: Arc<Ledger>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) memory: Vec<Stored>,
    is_cut: Arc<AtomicBool>,
    ice: Arc<Ice>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Node {
    pub(super) fn start(redis: &Arc<Redis>, clock: Clock, name: &str, life: usize) -> Self {
        let is_cut = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Ledger::shared(clock.clone(), MAX_LAG));
        let log = Arc::new(SimLog::new(Arc::clone(redis), Arc::clone(&is_cut)));
        let fleet = Fleet::new(name.to_owned(), log, Arc::clone(&ledger), clock, MAX_LAG);
        let (ice, stop) = (Arc::new(Ice::default()), CancellationToken::new());
        let run = Arc::clone(&fleet).run(stop.clone());
        let running = tokio::spawn(Freezing { ice: Arc::clone(&ice), inner: Box::pin(run) });
        Self { name: name.to_owned(), life, ledger, fleet, memory: Vec::new(), is_cut, ice, stop, running }
    }

    /// Cuts its way to the log, or mends it.
    pub(super) fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// From now on none of its tasks runs.
    pub(super) fn freeze(&self) {
        self.ice.lock().0 = true;
    }

    pub(super) fn thaw(&self) {
        let mut ice = self.ice.lock();
        ice.0 = false;
        ice.1.drain(..).for_each(Waker::wake);
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.ice.lock().0
    }

    /// Ends it as a lost power supply does.
    pub(super) fn kill(&self) {
        self.running.abort();
    }

    /// Ends it as an operator does.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Runs something on this node, for as long as that runs.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(Freezing { ice: Arc::clone(&self.ice), inner: Box::pin(task) })
    }
}

/// Whether a node is frozen, and who is to be woken when it thaws.
#[derive(Debug, Default)]
struct Ice(Mutex<(bool, Vec<Waker>)>);

impl Ice {
    fn lock(&self) -> MutexGuard<'_, (bool, Vec<Waker>)> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

struct Freezing {
    ice: Arc<Ice>,
    inner: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Future for Freezing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut ice = self.ice.lock();
            if ice.0 {
                ice.1.push(context.waker().clone());
                return Poll::Pending;
            }
        }
        self.inner.as_mut().poll(context)
    }
}

/// A response with these labels, fetched under this stamp.
pub(super) fn response(labels: Labels, stamp: Stamp) -> Arc<Entry> {
    let head = Head {
        status: StatusCode::OK,
        headers: StoredFields::default(),
        hidden: RareFields::default(),
        selecting: Selecting::Any,
        freshness: Freshness::new(Timestamp::EPOCH, Duration::ZERO, Duration::from_mins(1)),
        received_at: Timestamp::EPOCH,
        fetch_cost: Micros::default(),
        labels,
        stamp,
    };
    Arc::new(Entry::new(head, StoredBody::from_bytes(Bytes::new()), None))
}
