//! What is counted of the second tier?

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Oddity;
use crate::telemetry::histogram::Histogram;

type Labels = [(&'static str, &'static str); 1];

/// The tier's counters. A clone counts into the same cells.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) lookups: Lookups,
    pub(super) lookup_seconds: Histogram,
    pub(super) writes: Writes,
    pub(super) removals: Counter,
    pub(super) queue_jobs: Gauge,
    pub(super) queue_bytes: Gauge,
    /// By reason, resolved once.
    rejected: [Counter; Oddity::LABELS.len()],
}

/// Look-ups by what they gave.
#[derive(Debug, Clone)]
pub(super) struct Lookups {
    pub(super) hit: Counter,
    pub(super) miss: Counter,
    pub(super) error: Counter,
    pub(super) rejected: Counter,
}

/// Stored responses by what became of them.
#[derive(Debug, Clone)]
pub(super) struct Writes {
    pub(super) whole: Counter,
    pub(super) head: Counter,
    pub(super) late: Counter,
    pub(super) too_large: Counter,
    pub(super) unfit: Counter,
    pub(super) spent: Counter,
    pub(super) dropped: Counter,
    pub(super) failed: Counter,
}

impl Metrics {
    /// Makes the counters known to `registry`.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut family = |name: &str, help: &str| {
            let family = Family::<Labels, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let lookups = family("larder_redis_lookups", "Look-ups in Redis by result");
        let rejected = family("larder_redis_rejected", "Values found in Redis that could not be used, by reason");
        let writes = family("larder_redis_writes", "Stored responses meant for Redis, by what became of them");
        let lookup = |result| lookups.get_or_create_owned(&[("result", result)]);
        let write = |result| writes.get_or_create_owned(&[("result", result)]);
        let metrics = Self {
            lookups: Lookups {
                hit: lookup("hit"),
                miss: lookup("miss"),
                error: lookup("error"),
                rejected: lookup("rejected"),
            },
            lookup_seconds: Histogram::default(),
            writes: Writes {
                whole: write("whole"),
                head: write("head"),
                late: write("late"),
                too_large: write("too_large"),
                unfit: write("unfit"),
                spent: write("spent"),
                dropped: write("dropped"),
                failed: write("failed"),
            },
            removals: Counter::default(),
            queue_jobs: Gauge::default(),
            queue_bytes: Gauge::default(),
            rejected: Oddity::LABELS.map(|reason| rejected.get_or_create_owned(&[("reason", reason)])),
        };
        let help = "Time of look-ups in Redis, whatever they gave";
        registry.register("larder_redis_lookup_seconds", help, metrics.lookup_seconds.clone());
        let help = "Values deleted from Redis because they were odd, or no longer wanted";
        registry.register("larder_redis_removals", help, metrics.removals.clone());
        let help = "Jobs that wait to be written to Redis, or are being written";
        registry.register("larder_redis_queue_jobs", help, metrics.queue_jobs.clone());
        let help = "Bytes of the stored responses in the queue for Redis";
        registry.register("larder_redis_queue_bytes", help, metrics.queue_bytes.clone());
        metrics
    }

    /// Counts a value that could not be used.
    pub(super) fn reject(&self, oddity: Oddity) {
        self.lookups.rejected.inc();
        self.rejected[oddity.place()].inc();
    }
}
