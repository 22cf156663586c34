//! How long do things take: a histogram on atomics, without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Upper bounds in microseconds: from a hit in memory to the slowest origin worth waiting for.
const BOUNDS: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// The cells of one histogram.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Cells {
    /// Counts one duration by two additions.
    pub(crate) fn observe(&self, duration: Duration, add: impl Fn(&AtomicU64, u64)) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // Most observations are hits: the first bounds decide, so a walk beats a search.
        let bucket = BOUNDS.iter().position(|&bound| micros <= bound).unwrap_or(BOUNDS.len());
        add(&self.buckets[bucket], 1);
        add(&self.nanos, u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add_to(&self, reading: &mut Reading) {
        for (sum, cell) in reading.buckets.iter_mut().zip(&self.buckets) {
            *sum += cell.load(Relaxed);
        }
        reading.nanos = reading.nanos.wrapping_add(self.nanos.load(Relaxed));
    }
}

/// What cells held at one moment, summed over shards.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    buckets: [u64; BOUNDS.len() + 1],
    nanos: u64,
}

impl Reading {
    pub(crate) fn encode(&self, encoder: &mut MetricEncoder<'_>) -> std::fmt::Result {
        // The encoder writes an infinite bound as +Inf.
        let bounds = BOUNDS.iter().map(|&micros| micros as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.buckets).collect();
        let count = self.buckets.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(self.nanos as f64 / 1e9, count, &buckets, None)
    }
}

/// A histogram of durations, in seconds, from 100 microseconds to 30 seconds. A clone counts into the same cells.
#[derive(Debug, Clone, Default)]
pub struct Histogram(Arc<Cells>);

impl Histogram {
    /// Counts one duration: two relaxed additions.
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration, |cell, by| {
            cell.fetch_add(by, Relaxed);
        });
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let mut reading = Reading::default();
        self.0.add_to(&mut reading);
        reading.encode(&mut encoder)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let cases = [
            (Duration::ZERO, 0, "nothing at all is under the lowest bound"),
            (Duration::from_micros(100), 0, "a bound belongs to its bucket"),
            (Duration::from_micros(101), 1, "beyond a bound is the next bucket"),
            (Duration::from_secs(30), 16, "the highest bound"),
            (Duration::from_secs(31), 17, "beyond every bound"),
            (Duration::MAX, 17, "the longest duration neither panics nor wraps its bucket"),
        ];
        for (duration, bucket, why) in cases {
            let histogram = Histogram::default();
            histogram.observe(duration);
            let mut reading = Reading::default();
            histogram.0.add_to(&mut reading);
            assert_eq!(reading.buckets[bucket], 1, "{why}: {:?}", reading.buckets);
            assert_eq!(reading.buckets.iter().sum::<u64>(), 1, "{why}");
        }
    }

    #[test]
    fn it_is_written_cumulatively_and_in_seconds() {
        let mut registry = prometheus_client::registry::Registry::default();
        let histogram = Histogram::default();
        registry.register("larder_test_seconds", "A test", histogram.clone());
        histogram.observe(Duration::from_micros(200));
        histogram.observe(Duration::from_mins(1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a string");
        for line in [
            "larder_test_seconds_bucket{le=\"0.0001\"} 0",
            "larder_test_seconds_bucket{le=\"0.00025\"} 1",
            "larder_test_seconds_bucket{le=\"30.0\"} 1",
            "larder_test_seconds_bucket{le=\"+Inf\"} 2",
            "larder_test_seconds_sum 60.0002",
            "larder_test_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
