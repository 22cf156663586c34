//! Tier 2: stored responses in Redis, shared by several nodes, and there after a restart.
//!
//! What is stored under a key is a hash of the name `{namespace:o:key}`, with the head, the chunks of the body and what
//! the scripts compare. Where request fields select responses, that hash has the names of these fields, and each response
//! has a hash of its own, `{namespace:o:key}:values`. All of a key lies in one slot of a cluster.
//!
//! Trouble with Redis is a miss. Nothing that it gives is believed: [`codec`] says what is a stored response
//! and what is not; what is not is counted and deleted. Nobody waits for a write.

mod look_up;
mod metrics;
pub mod name;
mod oddity;
mod queue;
mod script;
mod write;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::look_up::{LookUp, Trouble};
use self::metrics::Metrics;
use self::oddity::Oddity;
use self::queue::{Queue, Work};
use super::codec;
use super::entry::Entry;
use super::tier::{Extent, Pending, Tier, Unreachable};
use crate::clock::Clock;
use crate::link::Link;
use crate::policy::key::Key;
use crate::policy::vary::Selecting;

/// What of `[redis]` concerns the tier.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What every name begins with.
    pub namespace: String,
    /// Time for a look-up, however many questions it takes.
    pub timeout: Duration,
    /// Bytes of a body at most, written or read.
    pub max_object: u64,
}

impl Settings {
    /// The longest deadline that the link for writes has to expect: that of the largest body.
    pub fn longest_write(&self) -> Duration {
        // Its head comes on top, and the bytes around them.
        write::deadline(self.timeout, self.max_object.saturating_add(codec::MAX_RECORD as u64 * 2))
    }
}

/// The ways to Redis. Several, so that no look-up waits behind a large body that is being read or written.
#[derive(Debug, Clone)]
pub struct Links {
    /// For look-ups.
    pub reads: Link,
    /// For what is left of large bodies that are looked up.
    pub bodies: Link,
    /// For what nobody waits for.
    pub writes: Link,
}

/// The second tier.
#[derive(Debug)]
pub struct RedisTier {
    links: Links,
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    queue: Queue,
    /// For what is being read.
    room: Semaphore,
}

impl RedisTier {
    /// A tier over these links, whose counters `registry` knows. Nothing is written before [`RedisTier::run`].
    pub fn register(links: Links, settings: Settings, clock: Clock, registry: &mut Registry) -> Self {
        let metrics = Metrics::register(registry);
        let queue = Queue::new(metrics.queue_jobs.clone(), metrics.queue_bytes.clone());
        Self { links, settings, clock, metrics, queue, room: Semaphore::new(look_up::ROOM) }
    }

    async fn look_up(&self, key: &Key, request: &HeaderMap) -> Result<Option<Arc<Entry>>, Unreachable> {
        let began = Instant::now();
        let look_up = LookUp {
            link: &self.links.reads,
            bodies: &self.links.bodies,
            room: &self.room,
            namespace: &self.settings.namespace,
            max_body: self.settings.max_object,
            until: began + self.settings.timeout,
        };
        let result = look_up.find(key, request).await;
        self.metrics.lookup_seconds.observe(began.elapsed());
        let lookups = &self.metrics.lookups;
        match result {
            Ok(Some(entry)) => {
                lookups.hit.inc();
                Ok(Some(Arc::new(entry)))
            }
            Ok(None) => {
                lookups.miss.inc();
                Ok(None)
            }
            Err(Trouble::Unreachable) => {
                lookups.error.inc();
                Err(Unreachable)
            }
            Err(Trouble::Odd { name, oddity, evidence }) => {
                self.metrics.reject(oddity);
                // Where the queue is full it is found odd, and offered, once more.
                drop(self.queue.offer(key, Work::Discard(name, evidence)));
                Ok(None)
            }
        }
    }
}

impl Tier for RedisTier {
    fn get<'a>(&'a self, key: &'a Key, request: &'a HeaderMap) -> Pending<'a, Result<Option<Arc<Entry>>, Unreachable>> {
        Box::pin(self.look_up(key, request))
    }

    fn put(&self, key: &Key, entry: &Arc<Entry>, extent: Extent) -> Pending<'static, ()> {
        let given_up = if entry.part().is_some() {
            &self.metrics.writes.unfit
        } else if entry.body.len() > self.settings.max_object {
            &self.metrics.writes.too_large
        } else {
            let work = Work::Write(key.clone(), Arc::clone(entry), extent);
            if let Some(done) = self.queue.offer(key, work) {
                // Told by the sender's end, whether the job is carried out or dropped.
                return Box::pin(async move { _ = done.await });
            }
            &self.metrics.writes.dropped
        };
        given_up.inc();
        Box::pin(std::future::ready(()))
    }

    fn remove(&self, key: &Key, entry: &Arc<Entry>) {
        let mut name = name::primary(&self.settings.namespace, key);
        if entry.head.selecting != Selecting::Any {
            name = name::variant(&name, &entry.head.selecting);
        }
        // A full queue drops it: the purge that the node knows keeps it from being used.
        drop(self.queue.offer(key, Work::Remove(name, script::order(&entry.head))));
    }
}

#[cfg(test)]
mod tests;
