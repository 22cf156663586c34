//! Which node of the fleet fetches what all of them want?
//!
//! The one that has the lease; the others wait for what it brings. Losing Redis, or the holder, loses only that: then
//! more than one fetches.

use std::sync::Arc;
use std::time::Duration;

use redis::{Script, Value};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::cache::redis::name;
use crate::link::Link;
use crate::policy::key::Key;

/// How long a lease lives after its holder was last heard of, in milliseconds: what a dead one costs the others.
const TERM_MILLIS: u64 = 2000;

/// How often it is prolonged: twice may fail.
const RENEWAL: Duration = Duration::from_millis(600);

/// Takes leases for this node.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Office>);

#[derive(Debug)]
struct Office {
    link: Link,
    namespace: String,
    timeout: Duration,
    renew: Script,
    /// Owns what prolongs leases and gives them back.
    tasks: TaskTracker,
}

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Lease),
    /// Another one holds it.
    Theirs,
    /// Redis could not be asked.
    Unknown,
}

/// A lease that is held: prolonged until it is dropped, then given back.
#[derive(Debug)]
pub struct Lease(#[expect(dead_code, reason = "its end is what it is for")] DropGuard);

impl Leases {
    /// Leases in this namespace, asked for over `link` within `timeout`. `tasks` owns what prolongs them.
    pub fn new(link: Link, namespace: &str, timeout: Duration, tasks: TaskTracker) -> Self {
        let renew = Script::new(include_str!("lua/renew.lua"));
        Self(Arc::new(Office { link, namespace: namespace.to_owned(), timeout, renew, tasks }))
    }

    /// Asks for the lease of `key`, for a request that has kept Redis busy since `began`: all of it has one timeout.
    pub async fn take(&self, key: &Key, began: Instant) -> Taken {
        self.take_named(&name::lease(&self.0.namespace, key), began).await
    }

    /// Asks for the lease that has this name in Redis.
    pub async fn take_named(&self, name: &str, began: Instant) -> Taken {
        let office = &self.0;
        let token = format!("{:016x}", fastrand::u64(..));
        let mut command = redis::cmd("SET");
        command.arg(name).arg(&token).arg("NX").arg("PX").arg(TERM_MILLIS);
        match office.link.call(&command, office.timeout.saturating_sub(began.elapsed())).await {
            Ok(Value::Okay) => Taken::Ours(self.hold(name.to_owned(), token)),
            Ok(_) => Taken::Theirs,
            Err(_) => Taken::Unknown,
        }
    }

    fn hold(&self, name: String, token: String) -> Lease {
        let (office, ended) = (Arc::clone(&self.0), CancellationToken::new());
        let guard = ended.clone().drop_guard();
        self.0.tasks.spawn(async move {
            while tokio::time::timeout(RENEWAL, ended.cancelled()).await.is_err() {
                office.prolong(&name, &token, TERM_MILLIS).await;
            }
            office.prolong(&name, &token, 0).await;
        });
        Lease(guard)
    }
}

impl Office {
    /// Nothing comes of its failing but that the lease ends by itself.
    async fn prolong(&self, name: &str, token: &str, millis: u64) {
        let term = millis.to_string();
        let arguments = [token.as_bytes(), term.as_bytes()];
        _ = self.link.script(&self.renew, &[name], &arguments, self.timeout).await;
    }
}
