//! What is counted about the links to Redis?

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::state::{Chorus, State};
use crate::telemetry::histogram::Histogram;

type OfLink = [(&'static str, &'static str); 1];
type OfLinkAndWord = [(&'static str, &'static str); 2];

/// The metrics of all links; a clone shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    up: Family<OfLink, Gauge>,
    state: Family<OfLinkAndWord, Gauge>,
    requests: Family<OfLinkAndWord, Counter>,
    durations: Family<OfLink, Histogram>,
    breaker_open: Family<OfLink, Gauge>,
    reconnects: Family<OfLink, Counter>,
    /// How all of them fare together.
    chorus: Arc<Chorus>,
}

/// What became of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    TimedOut,
    Broken,
    Refused,
    Closed,
}

impl Outcome {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Answered, "ok"),
        (Self::TimedOut, "timeout"),
        (Self::Broken, "broken"),
        (Self::Refused, "refused"),
        (Self::Closed, "closed"),
    ];
}

impl Metrics {
    /// How all links with these metrics fare together.
    pub(super) fn chorus(&self) -> Arc<Chorus> {
        Arc::clone(&self.chorus)
    }

    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            up: Family::default(),
            state: Family::default(),
            requests: Family::default(),
            durations: Family::default(),
            breaker_open: Family::default(),
            reconnects: Family::default(),
            chorus: Arc::default(),
        };
        registry.register("larder_redis_up", "Whether Redis is asked (1) or not (0)", metrics.up.clone());
        registry.register("larder_redis_state", "The state that the link is in has 1", metrics.state.clone());
        let help = "Questions to Redis, by what became of them; closed ones were not sent";
        registry.register("larder_redis_requests", help, metrics.requests.clone());
        let help = "Time from asking Redis to its answer, or to giving up, in seconds";
        registry.register("larder_redis_duration_seconds", help, metrics.durations.clone());
        let help = "Whether Redis is connected, but not asked since it failed too often (1), or not (0)";
        registry.register("larder_redis_breaker_open", help, metrics.breaker_open.clone());
        let help = "Connections made anew, after the first";
        registry.register("larder_redis_reconnects", help, metrics.reconnects.clone());
        metrics
    }

    /// The handles of one link, looked up once.
    pub(super) fn of(&self, link: &'static str) -> LinkMetrics {
        let label = [("link", link)];
        LinkMetrics {
            up: self.up.get_or_create_owned(&label),
            states: State::ALL
                .map(|state| self.state.get_or_create_owned(&[("link", link), ("state", state.as_str())])),
            requests: Outcome::ALL
                .map(|(_, result)| self.requests.get_or_create_owned(&[("link", link), ("result", result)])),
            duration: self.durations.get_or_create_owned(&label),
            breaker_open: self.breaker_open.get_or_create_owned(&label),
            reconnects: self.reconnects.get_or_create_owned(&label),
        }
    }
}

/// The handles of one link.
#[derive(Debug, Clone)]
pub(super) struct LinkMetrics {
    up: Gauge,
    states: [Gauge; State::ALL.len()],
    requests: [Counter; Outcome::ALL.len()],
    pub(super) duration: Histogram,
    pub(super) breaker_open: Gauge,
    pub(super) reconnects: Counter,
}

impl LinkMetrics {
    /// Shows a state, and whether calls are let through.
    pub(super) fn show(&self, state: State, open: bool) {
        self.up.set(i64::from(open));
        for (gauge, of) in self.states.iter().zip(State::ALL) {
            gauge.set(i64::from(of == state));
        }
    }

    /// Counts one question.
    pub(super) fn count(&self, outcome: Outcome) {
        self.requests[outcome as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_and_state_counts_under_its_own_name() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry).of("reads");
        metrics.count(Outcome::Closed);
        metrics.show(State::Full, true);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a string");
        for line in [
            "larder_redis_up{link=\"reads\"} 1",
            "larder_redis_state{link=\"reads\",state=\"full\"} 1",
            "larder_redis_state{link=\"reads\",state=\"up\"} 0",
            "larder_redis_requests_total{link=\"reads\",result=\"closed\"} 1",
            "larder_redis_requests_total{link=\"reads\",result=\"ok\"} 0",
            "larder_redis_duration_seconds_count{link=\"reads\"} 0",
            "larder_redis_breaker_open{link=\"reads\"} 0",
            "larder_redis_reconnects_total{link=\"reads\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
