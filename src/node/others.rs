//! How is a node joined to others, over Redis?

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acme::sharing;
use crate::cache::ledger::Ledger;
use crate::cache::redis::{self, RedisTier};
use crate::clock::Clock;
use crate::config::settings::Redis;
use crate::fleet::Fleet;
use crate::fleet::lease::Leases;
use crate::fleet::redis_log::{self, RedisLog};
use crate::link::metrics::Metrics;
use crate::link::place::{Place, PlaceError};
use crate::link::{Link, Plan};
use crate::serve::Elsewhere;

/// How long the start waits until the log of purges was heard. With a Redis that answers that takes milliseconds, and what
/// it stores is hit from the first request on; without one, nobody is kept waiting.
const FIRST_HEARING: Duration = Duration::from_secs(1);

/// How long the end waits for what is still to be written, and for taking leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long Redis is given for its connections' own questions, at least.
const PATIENCE: Duration = Duration::from_millis(100);

/// How much longer than it may lag a node lives, beside a fifth of that.
const LEASE_MARGIN: Duration = Duration::from_millis(500);

/// The longest call of the links that purges go over: one of them waits half a second for entries.
const LONGEST: Duration = Duration::from_secs(2);

/// What joins a node to others.
#[derive(Debug)]
pub(super) struct Others {
    pub(super) fleet: Arc<Fleet>,
    pub(super) ledger: Arc<Ledger>,
    /// `redis.timeout`.
    pub(super) timeout: Duration,
    tier: Arc<RedisTier>,
    leases: Leases,
    /// For nodes that obtain certificates together.
    pub(super) authorities: sharing::Others,
    links: [Link; 5],
    /// Ends what writes and follows; the links stay up until that is done.
    stop: CancellationToken,
    tasks: TaskTracker,
    unlink: CancellationToken,
    linked: TaskTracker,
}

impl Others {
    /// Joins the nodes that share this Redis; nothing waits for it.
    pub(super) fn join(
        settings: &Redis,
        name: &str,
        clock: &Clock,
        registry: &mut Registry,
    ) -> Result<Self, PlaceError> {
        let place: Place = settings.url.parse()?;
        let metrics = Metrics::register(registry);
        let link = |purpose, longest| {
            let plan = Plan {
                ca_file: settings.ca_file.clone(),
                patience: settings.timeout.max(PATIENCE),
                longest: settings.timeout.max(longest),
                ..Plan::new(place.clone(), purpose)
            };
            Link::new(plan, &metrics)
        };
        let of_tier = redis::Settings {
            namespace: settings.namespace.clone(),
            timeout: settings.timeout,
            max_object: settings.max_object,
        };
        let links = [
            link("reads", settings.timeout),
            link("bodies", settings.timeout),
            link("writes", of_tier.longest_write()),
            link("log", LONGEST),
            link("fleet", LONGEST),
        ];
        let [reads, bodies, writes, follows, asks] = links.clone();
        let tier =
            Arc::new(RedisTier::register(redis::Links { reads, bodies, writes }, of_tier, clock.clone(), registry));
        let ledger = Arc::new(Ledger::shared(clock.clone(), settings.max_lag));
        // A node lives longer than what it stores may be used without word of the log: who is no longer waited for uses
        // nothing. The margin is for clocks that run unlike, and for a new master that has not all of the old one's.
        let lease = settings.max_lag + settings.max_lag / 5 + LEASE_MARGIN;
        let log = RedisLog::new(
            &settings.namespace,
            redis_log::Links { follows: follows.clone(), asks: asks.clone() },
            lease,
        );
        let fleet = Fleet::new(name.to_owned(), Arc::new(log), Arc::clone(&ledger), clock.clone(), settings.max_lag);
        fleet.register(registry);
        let tasks = TaskTracker::new();
        let leases = Leases::new(asks.clone(), &settings.namespace, settings.timeout, tasks.clone());
        let of_authorities = Leases::new(asks.clone(), &settings.namespace, LONGEST, tasks.clone());
        let authorities = sharing::Others::new(asks, of_authorities, &settings.namespace);
        let (stop, unlink, linked) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        for link in links.clone() {
            linked.spawn(link.run(unlink.clone()));
        }
        let (follower, linked_up, until) = (Arc::clone(&fleet), follows.clone(), stop.clone());
        tasks.spawn(async move {
            // Where Redis cannot be reached, its links say so; nothing more is to be said of the log.
            until.run_until_cancelled(linked_up.up()).await;
            follower.run(until).await;
        });
        let (tier_writes, until) = (Arc::clone(&tier), stop.clone());
        tasks.spawn(async move { tier_writes.run(until).await });
        Ok(Self {
            fleet,
            ledger,
            timeout: settings.timeout,
            tier,
            leases,
            authorities,
            links,
            stop,
            tasks,
            unlink,
            linked,
        })
    }

    /// What requests see of it.
    pub(super) fn elsewhere(&self) -> Elsewhere {
        let tier = Arc::clone(&self.tier);
        let (leases, links) = (Some(self.leases.clone()), self.links.to_vec());
        Elsewhere { tier, fleet: Arc::clone(&self.fleet), leases, links }
    }

    /// Waits until the log of purges was heard, as long as that is worth it.
    pub(super) async fn heard(&self) {
        if tokio::time::timeout(FIRST_HEARING, self.fleet.heard()).await.is_err() {
            tracing::warn!(
                "the log of purges was not heard yet: until it is, what Redis has stored is revalidated before it is used"
            );
        }
    }

    /// Writes what is left, takes leave of the others, and hangs up.
    pub(super) async fn leave(&self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            tracing::debug!("Redis did not answer in time for a farewell");
        }
        self.unlink.cancel();
        self.linked.close();
        // Nothing is left to be said: that takes no time.
        _ = tokio::time::timeout(FAREWELL, self.linked.wait()).await;
    }
}
