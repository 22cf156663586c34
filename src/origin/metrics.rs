//! What is counted about origins?

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::error::ErrorKind;
use crate::telemetry::histogram::Histogram;

/// The metrics of all origins; a clone shares them.
#[derive(Debug, Clone)]
pub struct Metrics {
    open: Family<OriginLabel, Gauge>,
    idle: Family<OriginLabel, Gauge>,
    waiting: Family<OriginLabel, Gauge>,
    connects: Family<OriginLabel, Counter>,
    retries: Family<OriginLabel, Counter>,
    errors: Family<ErrorLabel, Counter>,
    first_byte: Family<OriginLabel, Histogram>,
    up: Family<AddressLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabel {
    origin: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabel {
    origin: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AddressLabel {
    origin: String,
    address: String,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            open: Family::default(),
            idle: Family::default(),
            waiting: Family::default(),
            connects: Family::default(),
            retries: Family::default(),
            errors: Family::default(),
            first_byte: Family::default(),
            up: Family::default(),
        };
        let mut gauge = |name: &str, help: &str, family: &Family<OriginLabel, Gauge>| {
            registry.register(name, help, family.clone());
        };
        gauge("larder_origin_connections_open", "Connections to the origin, idle ones included", &metrics.open);
        gauge("larder_origin_connections_idle", "Connections to the origin that wait for a request", &metrics.idle);
        gauge("larder_origin_requests_waiting", "Requests that wait for a connection", &metrics.waiting);
        registry.register("larder_origin_connects", "Connections opened to the origin", metrics.connects.clone());
        registry.register(
            "larder_origin_retries",
            "Requests sent again, stale pooled connections included",
            metrics.retries.clone(),
        );
        registry.register("larder_origin_errors", "Failed tries to get an answer, by kind", metrics.errors.clone());
        registry.register(
            "larder_origin_first_byte_seconds",
            "Time from asking to the head of the answer, in seconds",
            metrics.first_byte.clone(),
        );
        registry.register(
            "larder_origin_address_up",
            "Whether the address may be asked (1) or not (0)",
            metrics.up.clone(),
        );
        metrics
    }

    /// The handles of one origin, looked up once.
    pub(super) fn of(&self, origin: &str) -> OriginMetrics {
        let label = OriginLabel { origin: origin.to_owned() };
        let error = |kind: ErrorKind| ErrorLabel { origin: origin.to_owned(), kind: kind.as_str() };
        OriginMetrics {
            open: self.open.get_or_create_owned(&label),
            idle: self.idle.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
            connects: self.connects.get_or_create_owned(&label),
            retries: self.retries.get_or_create_owned(&label),
            errors: ErrorKind::ALL.map(|kind| self.errors.get_or_create_owned(&error(kind))),
            first_byte: self.first_byte.get_or_create_owned(&label),
        }
    }

    /// Says whether an address may be asked.
    pub(super) fn set_up(&self, origin: &str, address: String, up: bool) {
        let label = AddressLabel { origin: origin.to_owned(), address };
        self.up.get_or_create(&label).set(i64::from(up));
    }

    /// Forgets an address that an origin no longer has.
    pub(super) fn forget(&self, origin: &str, address: String) {
        self.up.remove(&AddressLabel { origin: origin.to_owned(), address });
    }
}

/// The handles of one origin.
#[derive(Debug, Clone)]
pub(super) struct OriginMetrics {
    pub(super) open: Gauge,
    pub(super) idle: Gauge,
    pub(super) waiting: Gauge,
    pub(super) connects: Counter,
    pub(super) retries: Counter,
    pub(super) first_byte: Histogram,
    errors: [Counter; ErrorKind::ALL.len()],
}

impl OriginMetrics {
    /// The counter of one kind of error.
    pub(super) fn errors(&self, kind: ErrorKind) -> &Counter {
        &self.errors[kind as usize]
    }
}

/// Counts something for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counted {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
