//! What is counted of purges, and of what the ledger keeps of them.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::cache::ledger::Ledger;
use crate::policy::scope::{Scope, Severity};

/// As [`Scope::kind`] has them; groups are invalidated by answers, not purged.
const KINDS: [&str; 5] = ["url", "tag", "prefix", "host", "everything"];

const SEVERITIES: [(Severity, &str); 2] = [(Severity::Hard, "hard"), (Severity::Soft, "soft")];

type Labels = [(&'static str, &'static str); 2];

/// Purges carried out.
#[derive(Debug)]
pub(super) struct Metrics {
    purges: Family<Labels, Counter>,
    /// By kind and severity, resolved once.
    counters: [[Counter; SEVERITIES.len()]; KINDS.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        let purges = Family::<Labels, Counter>::default();
        let counter = |kind, severity| purges.get_or_create_owned(&[("scope", kind), ("severity", severity)]);
        let counters = KINDS.map(|kind| SEVERITIES.map(|(_, severity)| counter(kind, severity)));
        Self { purges, counters }
    }
}

impl Metrics {
    /// Counts a purge: once for each kind of scope that it names.
    pub(super) fn count(&self, scopes: &[Scope], severity: Severity) {
        for (kind, counters) in KINDS.iter().zip(&self.counters) {
            if scopes.iter().any(|scope| scope.kind() == *kind) {
                let of_severity = SEVERITIES.iter().zip(counters).filter(|((known, _), _)| *known == severity);
                of_severity.for_each(|(_, counter)| _ = counter.inc());
            }
        }
    }

    pub(super) fn register(&self, registry: &mut Registry, ledger: &Arc<Ledger>) {
        let help = "Purges carried out; one that names several kinds of scopes counts for each";
        registry.register("larder_purges", help, self.purges.clone());
        registry.register_collector(Box::new(Gauges(Arc::clone(ledger))));
    }
}

/// Reads the ledger when somebody asks.
#[derive(Debug)]
struct Gauges(Arc<Ledger>);

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let scopes = i64::try_from(self.0.scopes()).unwrap_or(i64::MAX);
        let help = "Scopes of purges that the ledger keeps one by one";
        encoder.encode_descriptor("larder_ledger_scopes", help, None, MetricType::Gauge)?.encode_gauge(&scopes)?;
        let help = "How often a full ledger folded older scopes into wider ones";
        encoder
            .encode_descriptor("larder_ledger_folds", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, u64, u64>(&self.0.folds(), None)
    }
}
