//! What is counted of the cache itself: its bytes, its fills, and what collapsing spared the origin.

use std::sync::{Arc, OnceLock, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::Shared;

/// The conductor's counters. A clone counts into the same cells.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Requests that were answered by another one's fetch.
    pub collapsed: Counter,
    /// Fetches begun: for misses, revalidations and refreshes.
    pub fills: Counter,
    /// Refreshes behind a client's back.
    pub refreshes: Counter,
    /// Responses stored.
    pub stores: Counter,
    /// URLs invalidated by unsafe methods.
    pub invalidations: Counter,
    gauges: Arc<OnceLock<Weak<Shared>>>,
}

impl Metrics {
    /// Makes the counters known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let metrics = Self {
            collapsed: counter("larder_collapsed_requests", "Requests answered by another one's fetch"),
            fills: counter("larder_fills", "Fetches begun for misses, revalidations and refreshes"),
            refreshes: counter("larder_refreshes", "Fetches begun behind a client's back"),
            stores: counter("larder_stores", "Responses stored"),
            invalidations: counter("larder_invalidations", "URLs invalidated by unsafe methods"),
            gauges: Arc::default(),
        };
        registry.register_collector(Box::new(Gauges(Arc::clone(&metrics.gauges))));
        metrics
    }

    /// Has the gauges read what `shared` holds.
    pub(super) fn watch(&self, shared: &Arc<Shared>) {
        self.gauges.get_or_init(|| Arc::downgrade(shared));
    }
}

/// Reads the tier and the flights when somebody asks.
#[derive(Debug)]
struct Gauges(Arc<OnceLock<Weak<Shared>>>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(shared) = self.0.get().and_then(Weak::upgrade) else { return Ok(()) };
        let memory = &shared.memory;
        // What was written is counted in batches; a reader wants it counted now.
        memory.settle();
        let fills = u64::try_from(shared.flights.len()).unwrap_or(u64::MAX);
        let gauges = [
            ("larder_memory_bytes", "Bytes of the memory tier: heads, bodies, keys, overhead", memory.bytes()),
            ("larder_memory_capacity_bytes", "Bytes that the memory tier may hold", memory.capacity()),
            ("larder_memory_objects", "Keys stored in the memory tier", memory.objects()),
            ("larder_memory_in_flight_bytes", "Bytes of bodies under way", memory.in_flight()),
            ("larder_flights", "Fetches under way that others can join", fills),
        ];
        for (name, help, value) in gauges {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
        }
        let help = "Keys evicted from the memory tier for want of room";
        encoder
            .encode_descriptor("larder_memory_evictions", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&memory.evictions(), None)
    }
}
