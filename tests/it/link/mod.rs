//! The link to Redis: what it does when a real one is well, frozen, killed, full, read-only, loading, or moved.

mod cluster;
mod sentinel;
mod server;
mod telling;

use std::time::Duration;

use larder::link::metrics::Metrics;
use larder::link::state::State;
use larder::link::{Link, LinkError, Plan};
use prometheus_client::registry::Registry;
use redis::{Value, cmd};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{eventually, within};

/// A deadline that a Redis which is well meets also on a loaded machine.
const LONG: Duration = Duration::from_secs(10);

/// A deadline that is missed.
const SHORT: Duration = Duration::from_millis(100);

/// A link with its task.
struct Running {
    link: Link,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A link to `url` that runs, and may not be up yet.
fn run(url: &str) -> Running {
    run_with(url, |_| {})
}

fn run_with(url: &str, change: impl FnOnce(&mut Plan)) -> Running {
    let mut plan = Plan::new(url.parse().expect("a place"), "test");
    // Longer than a loaded machine takes for an answer.
    plan.patience = Duration::from_millis(300);
    plan.longest = LONG;
    change(&mut plan);
    let mut registry = Registry::default();
    let link = Link::new(plan, &Metrics::register(&mut registry));
    let stop = CancellationToken::new();
    let task = tokio::spawn(link.clone().run(stop.clone()));
    Running { link, registry, stop, task }
}

/// A link to `url` that is up.
async fn up(url: &str) -> Running {
    let running = run(url);
    within("a link that is up", running.link.up()).await;
    running
}

impl Running {
    async fn set(&self, key: &str, value: &str) -> Result<Value, LinkError> {
        self.link.call(cmd("SET").arg(key).arg(value), LONG).await
    }

    async fn get(&self, key: &str, deadline: Duration) -> Result<Value, LinkError> {
        self.link.call(cmd("GET").arg(key), deadline).await
    }

    /// Asks until an answer is good.
    async fn set_at_last(&self, key: &str, value: &str) {
        eventually("a write that succeeds", async || {
            self.link.up().await;
            let set = self.link.call(cmd("SET").arg(key).arg(value), SHORT * 5).await.ok();
            pause().await;
            set
        })
        .await;
    }

    async fn reaches(&self, state: State) {
        eventually(state.as_str(), async || {
            pause().await;
            (self.link.state() == state).then_some(())
        })
        .await;
    }

    /// The value of one metric, with its labels as they are written.
    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a string");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in\n{text}"))
    }

    fn requests(&self, result: &str) -> u64 {
        self.metric(&format!("larder_redis_requests_total{{link=\"test\",result=\"{result}\"}}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Between two looks, so that others come to work.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

fn text(value: &str) -> Value {
    Value::BulkString(value.as_bytes().to_vec())
}

/// The first word of the error reply.
fn code(answer: Result<Value, LinkError>) -> String {
    match answer {
        Err(LinkError::Refused(error)) => error.code().unwrap_or_default().to_owned(),
        other => panic!("no error reply: {other:?}"),
    }
}
