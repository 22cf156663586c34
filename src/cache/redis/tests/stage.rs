//! A tier at work before a real Redis.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use super::server::{PATIENCE, Server};
use crate::cache::entry::Entry;
use crate::cache::fields::StoredFields;
use crate::cache::ledger::{STRIDE, Stamp};
use crate::cache::redis::{Links, RedisTier, Settings};
use crate::cache::sample;
use crate::cache::tier::{Extent, Tier, Unreachable};
use crate::clock::Clock;
use crate::link::{self, Link};
use crate::policy::freshness::Freshness;
use crate::policy::key::Key;
use crate::policy::time::Timestamp;
use crate::policy::treatment::KeyRules;
use crate::policy::vary::Selecting;

/// 1 July 2026, 12:00:00.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_782_907_200_000);

pub(super) struct Stage {
    pub(super) tier: Arc<RedisTier>,
    pub(super) server: Arc<Server>,
    registry: Registry,
}

impl Stage {
    /// A tier at work.
    pub(super) async fn new() -> Self {
        let stage = Self::idle(Server::start().await).await;
        stage.work();
        stage
    }

    /// A tier that writes nothing yet.
    pub(super) async fn idle(server: Server) -> Self {
        let links = links(&server.url());
        come_up(&links).await;
        Self::of(Arc::new(server), links, PATIENCE)
    }

    /// A tier whose links are not up.
    pub(super) fn unconnected(server: Server) -> Self {
        let links = links(&server.url());
        let stage = Self::of(Arc::new(server), links, PATIENCE);
        stage.work();
        stage
    }

    fn of(server: Arc<Server>, links: Links, timeout: Duration) -> Self {
        let mut registry = Registry::default();
        let tier = RedisTier::register(links, settings(timeout), Clock::manual(NOW), &mut registry);
        Self { tier: Arc::new(tier), server, registry }
    }

    /// Writes from now on.
    pub(super) fn work(&self) {
        // It ends with the test's run-time.
        let tier = Arc::clone(&self.tier);
        tokio::spawn(async move { tier.run(CancellationToken::new()).await });
    }

    /// Another node's tier before the same server, that waits for so long. It writes nothing yet.
    pub(super) fn beside(&self, timeout: Duration) -> Self {
        Self::of(Arc::clone(&self.server), self.tier.links.clone(), timeout)
    }

    pub(super) async fn get(&self, target: &str, request: &[(&str, &str)]) -> Result<Option<Arc<Entry>>, Unreachable> {
        self.tier.get(&key(target), &fields(request)).await
    }

    pub(super) async fn put(&self, target: &str, entry: &Entry, extent: Extent) {
        let copy = Entry::new(entry.head.clone(), entry.body.clone(), entry.part());
        let done = self.tier.put(&key(target), &Arc::new(copy), extent);
        tokio::time::timeout(PATIENCE, done).await.expect("it is written, or given up");
    }

    /// Removes it, and waits until that is done.
    pub(super) async fn remove(&self, target: &str, entry: &Entry) {
        let entry = Entry::new(entry.head.clone(), entry.body.clone(), None);
        self.tier.remove(&key(target), &Arc::new(entry));
        self.idle_again().await;
    }

    /// Waits until nothing is left to be done.
    pub(super) async fn idle_again(&self) {
        self.until(async || self.value("queue_jobs") == 0).await;
    }

    pub(super) async fn until(&self, mut holds: impl AsyncFnMut() -> bool) {
        let poll = async {
            while !holds().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("it comes about");
    }

    /// Asks Redis past the tier; gives the answer as text, one element a line.
    pub(super) async fn command(&self, words: &[impl AsRef<[u8]>]) -> String {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        let answer: redis::Value = command.query_async(&mut self.server.raw().await).await.expect("Redis answers");
        match answer {
            redis::Value::Int(number) => number.to_string(),
            redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            other => format!("{other:?}"),
        }
    }

    /// All names in Redis.
    pub(super) async fn keys(&self) -> Vec<String> {
        redis::cmd("KEYS").arg("*").query_async(&mut self.server.raw().await).await.expect("names")
    }

    /// Milliseconds until a name expires.
    pub(super) async fn time_left(&self, name: &str) -> i64 {
        self.command(&["PTTL", name]).await.parse().expect("a number")
    }

    /// The number of a metric.
    pub(super) fn value(&self, metric: &str) -> u64 {
        self.metric(&format!("larder_redis_{metric} "))
    }

    /// The numbers of a counter by result.
    pub(super) fn counts(&self, counter: &str, results: &[&str]) -> Vec<u64> {
        let count = |result: &&str| self.metric(&format!("larder_redis_{counter}_total{{result=\"{result}\"}} "));
        results.iter().map(count).collect()
    }

    /// How often values were rejected for this reason.
    pub(super) fn rejected(&self, reason: &str) -> u64 {
        self.metric(&format!("larder_redis_rejected_total{{reason=\"{reason}\"}} "))
    }

    fn metric(&self, prefix: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("metrics are text");
        let line = text.lines().find_map(|line| line.strip_prefix(prefix));
        line.unwrap_or_else(|| panic!("no metric {prefix}in {text}")).parse().expect("a number")
    }
}

fn settings(timeout: Duration) -> Settings {
    Settings { namespace: "shop".to_owned(), timeout, max_object: 4 * 1024 * 1024 }
}

/// Links that are not up.
fn links(url: &str) -> Links {
    let metrics = link::metrics::Metrics::register(&mut Registry::default());
    let link = |purpose| {
        let plan = link::Plan::new(url.parse().expect("a URL of Redis"), purpose);
        Link::new(link::Plan { longest: settings(PATIENCE).longest_write(), ..plan }, &metrics)
    };
    Links { reads: link("reads"), bodies: link("bodies"), writes: link("writes") }
}

async fn come_up(links: &Links) {
    for link in [&links.reads, &links.bodies, &links.writes] {
        tokio::spawn(link.clone().run(CancellationToken::new()));
        tokio::time::timeout(PATIENCE, link.up()).await.expect("it comes up");
    }
}

pub(super) fn key(target: &str) -> Key {
    Key::of("http", "a.test", target, &HeaderMap::new(), &KeyRules::default())
}

pub(super) fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// What selects a response to a request with these fields.
pub(super) fn by(names: &[HeaderName], request: &[(&str, &str)]) -> Selecting {
    Selecting::by(names.iter().cloned(), &fields(request))
}

/// A response that has just come, fresh for a minute, and knows so many purges of the log.
pub(super) fn entry(target: &str, number: u64, body: &[u8]) -> Entry {
    let stamp = Stamp { era: 1, number: number * STRIDE };
    let mut entry = sample::entry(sample::labels(target, &["t"]), stamp, Bytes::copy_from_slice(body));
    entry.head.received_at = NOW;
    entry.head.freshness = Freshness::new(NOW, Duration::ZERO, Duration::from_mins(1));
    entry
}

/// The same with these fields.
pub(super) fn with(mut entry: Entry, lines: &[(&str, &str)]) -> Entry {
    entry.head.headers = StoredFields::from(&fields(lines));
    entry
}
