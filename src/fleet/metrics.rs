//! What is counted of the fleet and its log.

use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::Fleet;

#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Purges that the log did not take when they were asked for.
    pub(super) kept: Counter,
    /// Entries added again after the log had lost them.
    pub(super) readded: Counter,
    /// Breaks: entries trimmed before they were read.
    pub(super) trimmed: Counter,
    /// Breaks: another log.
    pub(super) lost: Counter,
}

pub(super) fn register(fleet: &Arc<Fleet>, registry: &mut Registry) {
    let metrics = &fleet.metrics;
    let counters = [
        ("larder_purges_kept", "Purges that the log did not take when they were asked for", &metrics.kept),
        ("larder_purge_log_readded", "Entries added to the log again after a fail-over", &metrics.readded),
        ("larder_purge_log_trimmed", "Times the log was trimmed before it was read", &metrics.trimmed),
        ("larder_purge_log_lost", "Times the log was lost, and another one taken up", &metrics.lost),
    ];
    for (name, help, counter) in counters {
        registry.register(name, help, counter.clone());
    }
    registry.register_collector(Box::new(Gauges(Arc::downgrade(fleet))));
}

/// Reads the fleet when somebody asks.
#[derive(Debug)]
struct Gauges(Weak<Fleet>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(fleet) = self.0.upgrade() else { return Ok(()) };
        let lag = fleet.ledger.lag().map_or(f64::INFINITY, |lag| lag.as_secs_f64());
        let help = "Time since every purge of the log was known here";
        encoder.encode_descriptor("larder_purge_log_lag_seconds", help, None, MetricType::Gauge)?.encode_gauge(&lag)?;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let gauges = [
            (
                "larder_purge_log_heard",
                "Whether the log was heard within redis.max_lag",
                i64::from(fleet.ledger.is_heard()),
            ),
            ("larder_purges_untold", "Purges that wait for the log to take them", count(fleet.untold())),
            ("larder_fleet_nodes", "Nodes that live, this one included", count(fleet.members().len())),
        ];
        for (name, help, value) in gauges {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}
