//! What is counted of requests and connections, and how does a hit count for a few nanoseconds?

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::histogram::{Cells, Reading};
use crate::policy::outcome::CacheResult;

/// Sets of cells: each thread has one for itself, the last one is for all threads that come when the others are taken.
/// 16 × about 2.5 KiB is 40 KiB for good.
const SHARDS: usize = 16;

/// The hundreds of a status, and one for a request that was never answered.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// The process's counters. A clone counts into the same cells.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Arc<Requests>,
    /// Client connections open now.
    pub connections: Gauge,
    /// Client connections accepted.
    pub connections_accepted: Counter,
    /// Client connections sent away since every place was taken.
    pub connections_shed: Counter,
    /// Failures of `accept`, the lack of descriptors among them.
    pub accept_errors: Counter,
    /// Request heads that no request could be read from.
    pub malformed_heads: Counter,
    /// Connections that a deadline ended: head, keep-alive, or no progress in writing.
    pub connection_timeouts: Counter,
    /// Handlers that panicked; each was answered with 500.
    pub panics: Counter,
    /// Bytes received from clients, heads included.
    pub received_bytes: Counter,
    /// Bytes sent to clients, heads included.
    pub sent_bytes: Counter,
    /// Access-log lines dropped because the log's reader is too slow, or because writing failed.
    pub access_log_dropped: Counter,
    /// Configurations taken over.
    pub reloads_applied: Counter,
    /// Configurations refused.
    pub reloads_rejected: Counter,
}

impl Metrics {
    /// Makes the counters known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let requests = Arc::new(Requests::default());
        registry.register_collector(Box::new(Arc::clone(&requests)));
        registry.register("larder_build", "The build that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let reloads = prometheus_client::metrics::family::Family::<[(&str, &str); 1], Counter>::default();
        registry.register("larder_config_reloads", "Configurations read again, by result", reloads.clone());
        let connections = Gauge::default();
        registry.register("larder_connections", "Client connections open now", connections.clone());
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        Self {
            requests,
            connections,
            connections_accepted: counter("larder_connections_accepted", "Client connections accepted"),
            connections_shed: counter(
                "larder_connections_shed",
                "Client connections sent away since every place was taken",
            ),
            accept_errors: counter("larder_accept_errors", "Failures to accept a connection"),
            malformed_heads: counter("larder_malformed_heads", "Request heads that could not be read"),
            connection_timeouts: counter("larder_connection_timeouts", "Client connections that a deadline ended"),
            panics: counter("larder_panics", "Requests whose handler panicked"),
            received_bytes: counter("larder_client_received_bytes", "Bytes received from clients"),
            sent_bytes: counter("larder_client_sent_bytes", "Bytes sent to clients"),
            access_log_dropped: counter("larder_access_log_dropped", "Access-log lines dropped"),
            reloads_applied: reloads.get_or_create_owned(&[("result", "applied")]),
            reloads_rejected: reloads.get_or_create_owned(&[("result", "rejected")]),
        }
    }

    /// A request has been received.
    pub(crate) fn request_began(&self) {
        let (shard, add) = self.requests.mine();
        add(&shard.began, 1);
    }

    /// A request is over: all that is known of it is counted at once, in this thread's cells.
    pub(crate) fn request_ended(&self, ended: &Ended) {
        let result = ended.result as usize;
        let (shard, add) = self.requests.mine();
        add(&shard.ended, 1);
        add(&shard.counts[result][class(ended.status)], 1);
        add(&shard.body_bytes, ended.body_bytes);
        shard.duration[result].observe(ended.duration, add);
        if let Some(first_byte) = ended.first_byte {
            shard.first_byte[result].observe(first_byte, add);
        }
    }

    /// Requests counted so far with this result, whatever their status.
    pub fn requests(&self, result: CacheResult) -> u64 {
        let cells = self.requests.shards.iter().flat_map(|shard| &shard.counts[result as usize]);
        cells.map(|count| count.load(Relaxed)).sum()
    }

    /// Requests that have been received and are not over.
    pub fn in_flight(&self) -> u64 {
        // What has ended is read first: it cannot exceed what is then found to have begun.
        let ended: u64 = self.requests.sum(|shard| &shard.ended);
        self.requests.sum(|shard| &shard.began).saturating_sub(ended)
    }
}

/// What is counted of a request when it is over.
pub(crate) struct Ended {
    pub(crate) result: CacheResult,
    pub(crate) status: Option<StatusCode>,
    pub(crate) body_bytes: u64,
    pub(crate) duration: Duration,
    pub(crate) first_byte: Option<Duration>,
}

/// The place of a status among [`CLASSES`].
fn class(status: Option<StatusCode>) -> usize {
    status.map_or(5, |status| usize::from(status.as_u16() / 100 - 1).min(5))
}

/// Counters of requests, in shards so that two threads do not fight for a cache line at every hit.
#[derive(Debug, Default)]
struct Requests {
    shards: [Shard; SHARDS],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    began: AtomicU64,
    ended: AtomicU64,
    body_bytes: AtomicU64,
    counts: [[AtomicU64; CLASSES.len()]; CacheResult::ALL.len()],
    duration: [Cells; CacheResult::ALL.len()],
    first_byte: [Cells; CacheResult::ALL.len()],
}

/// Which cells a thread has for itself, until it ends.
struct Mine(Option<usize>);

/// Which are taken.
static TAKEN: [AtomicBool; SHARDS - 1] = [const { AtomicBool::new(false) }; SHARDS - 1];

thread_local! {
    static MINE: Mine = Mine(TAKEN.iter().position(|taken| !taken.swap(true, Acquire)));
}

impl Drop for Mine {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            // What this thread has counted is there for who takes them next.
            TAKEN[place].store(false, Release);
        }
    }
}

impl Requests {
    /// This thread's cells, and how to add to them: where nobody else adds, to write is enough.
    fn mine(&self) -> (&Shard, impl Fn(&AtomicU64, u64) + Copy) {
        // A thread that is ending may have given its cells back.
        let own = MINE.try_with(|mine| mine.0).ok().flatten();
        let add = move |cell: &AtomicU64, by| {
            if own.is_some() {
                cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
            } else {
                cell.fetch_add(by, Relaxed);
            }
        };
        (&self.shards[own.unwrap_or(SHARDS - 1)], add)
    }

    fn sum(&self, cell: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| cell(shard).load(Relaxed)).sum()
    }

    fn encode_counts(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Requests answered, by cache result and class of status";
        let mut metric = encoder.encode_descriptor("larder_requests", help, None, MetricType::Counter)?;
        for (result, word) in CacheResult::ALL.iter().enumerate() {
            for (class, name) in CLASSES.iter().enumerate() {
                let count = self.sum(|shard| &shard.counts[result][class]);
                let labels = [("result", word.token()), ("status_class", name)];
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn encode_times(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help): (&str, &str),
        cells: impl Fn(&Shard) -> &[Cells; CacheResult::ALL.len()],
    ) -> std::fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (result, word) in CacheResult::ALL.iter().enumerate() {
            let mut reading = Reading::default();
            for shard in &self.shards {
                cells(shard)[result].add_to(&mut reading);
            }
            reading.encode(&mut metric.encode_family(&[("result", word.token())])?)?;
        }
        Ok(())
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.encode_counts(&mut encoder)?;
        let whole = ("larder_request_duration_seconds", "From a request's head to the last byte of its answer");
        self.encode_times(&mut encoder, whole, |shard| &shard.duration)?;
        let first = ("larder_first_byte_seconds", "From a request's head to the head of its answer");
        self.encode_times(&mut encoder, first, |shard| &shard.first_byte)?;
        let ended = self.sum(|shard| &shard.ended);
        let in_flight = i64::try_from(self.sum(|shard| &shard.began).saturating_sub(ended)).unwrap_or(i64::MAX);
        let help = "Requests received and not yet over";
        encoder
            .encode_descriptor("larder_requests_in_flight", help, None, MetricType::Gauge)?
            .encode_gauge(&in_flight)?;
        let help = "Bytes of response bodies handed to clients";
        encoder
            .encode_descriptor("larder_response_body_bytes", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&self.sum(|shard| &shard.body_bytes), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(result: CacheResult, status: Option<u16>) -> Ended {
        let status = status.map(|code| StatusCode::from_u16(code).expect("a status"));
        let second = Duration::from_secs(1);
        Ended { result, status, body_bytes: 7, duration: second, first_byte: status.map(|_| second) }
    }

    #[test]
    fn requests_are_counted_by_result_and_class() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        for (result, status) in [
            (CacheResult::Hit, Some(200)),
            (CacheResult::Hit, Some(299)),
            (CacheResult::Miss, Some(502)),
            (CacheResult::Pass, Some(999)),
            (CacheResult::Refused, None),
        ] {
            metrics.request_began();
            metrics.request_ended(&ended(result, status));
        }
        metrics.request_began();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a string");
        for line in [
            "larder_requests_total{result=\"hit\",status_class=\"2xx\"} 2",
            "larder_requests_total{result=\"miss\",status_class=\"5xx\"} 1",
            "larder_requests_total{result=\"pass\",status_class=\"none\"} 1",
            "larder_requests_total{result=\"refused\",status_class=\"none\"} 1",
            "larder_requests_total{result=\"stale\",status_class=\"2xx\"} 0",
            "larder_request_duration_seconds_count{result=\"hit\"} 2",
            "larder_first_byte_seconds_count{result=\"refused\"} 0",
            "larder_requests_in_flight 1",
            "larder_response_body_bytes_total 35",
            "larder_config_reloads_total{result=\"rejected\"} 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.contains("larder_build_info{version="), "{text}");
        assert_eq!((metrics.requests(CacheResult::Hit), metrics.in_flight()), (2, 1));
    }

    #[test]
    fn what_many_threads_count_is_summed() {
        const EACH: u64 = 1000;
        let metrics = Metrics::register(&mut Registry::default());
        let count = || (0..EACH).for_each(|_| metrics.request_ended(&ended(CacheResult::Hit, Some(200))));
        // More at once than there are cells for, and then one after the other, in cells that were given back.
        std::thread::scope(|scope| (0..SHARDS + 3).for_each(|_| drop(scope.spawn(count))));
        for _ in 0..2 * SHARDS {
            std::thread::scope(|scope| drop(scope.spawn(count)));
        }
        assert_eq!(metrics.requests(CacheResult::Hit), EACH * (3 * SHARDS as u64 + 3));
    }
}
