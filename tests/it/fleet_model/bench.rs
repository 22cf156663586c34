//! A few nodes and one Redis for a test that says itself what goes wrong.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use larder::cache::entry::Entry;
use larder::clock::Clock;
use larder::fleet::Announced;
use larder::fleet::notice::{Effect, Notice};
use larder::policy::reuse::Standing;
use larder::policy::scope::{Labels, Scope, Tags};
use larder::policy::time::Timestamp;
use tokio::time::Instant;

use super::node::{MAX_LAG, Node, response};
use super::redis::{BEGIN, Redis};

/// Stale, and to be asked about before it is used.
pub(super) const ASKED_ABOUT: Standing = Standing::Stale { since: Timestamp::EPOCH };

pub(super) struct Bench {
    pub(super) redis: Arc<Redis>,
    pub(super) nodes: Vec<Node>,
    clocks: Vec<Clock>,
}

impl Bench {
    /// So many nodes that hear the log, which keeps so many entries.
    pub(super) async fn of(count: usize, kept: usize) -> Self {
        fastrand::seed(7);
        let redis = Redis::new(Rng::with_seed(7), 2 * MAX_LAG, kept);
        let clocks: Vec<_> = (0..count).map(|_| redis.clock(0)).collect();
        let nodes = (0..count).map(|node| Node::start(&redis, clocks[node].clone(), &format!("n{node}"), 0)).collect();
        let bench = Self { redis, nodes, clocks };
        bench.settle().await;
        bench
    }

    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.redis.tick();
    }

    /// Long enough for everything that is under way, and for every node to say twice that it lives.
    pub(super) async fn settle(&self) {
        self.pass(Duration::from_millis(1200)).await;
    }

    /// Ends a node, and starts it with nothing in memory.
    pub(super) fn restart(&mut self, node: usize) {
        self.nodes[node].kill();
        self.nodes[node] = Node::start(&self.redis, self.clocks[node].clone(), &format!("n{node}"), 1);
    }

    /// A response with this tag that a node begins to fetch now.
    pub(super) fn fetched(&self, node: usize, tag: &str) -> Arc<Entry> {
        response(labels(tag), self.nodes[node].ledger.stamp())
    }

    pub(super) fn standing(&self, node: usize, entry: &Entry) -> Standing {
        entry.standing(&self.nodes[node].ledger)
    }

    /// How nodes find it, each for itself: what one found alive is nothing to another.
    pub(super) fn standings(&self, entry: &Entry) -> Vec<Standing> {
        self.nodes.iter().map(|node| entry.head.standing(&node.ledger)).collect()
    }

    pub(super) async fn purge(&self, node: usize, tag: &str) -> Announced {
        self.nodes[node].fleet.announce(&notice(tag), Duration::from_millis(500)).await
    }

    pub(super) async fn is_known_to_all(&self, node: usize, announced: &Announced) -> bool {
        let place = announced.place.expect("the log took it");
        let deadline = Instant::now() + Duration::from_secs(1);
        self.nodes[node].fleet.acknowledged_by_all(place, deadline).await.is_by_all
    }

    pub(super) fn era(&self) -> u64 {
        self.redis.look(|store| store.meta.expect("there is a log").era)
    }

    /// How often the log has the purge.
    pub(super) fn count(&self, announced: &Announced) -> usize {
        self.redis.look(|store| store.stream.iter().filter(|entry| entry.id == announced.id).count())
    }

    pub(super) fn is_heard(&self) -> bool {
        self.nodes.iter().all(|node| node.ledger.is_heard() && node.ledger.era() == self.era())
    }
}

pub(super) fn labels(tag: &str) -> Labels {
    Labels::new("http", "a.test", "/", Tags::new([], [tag.as_bytes()]))
}

pub(super) fn notice(tag: &str) -> Notice {
    let scopes = vec![Scope::Tag(tag.as_bytes().into())];
    Notice { scopes, effect: Effect::Hard, at: Timestamp::from_millis(BEGIN), who: "the test".to_owned() }
}
