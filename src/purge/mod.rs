//! An operator purges: from the order, in whichever dialect, to the fact in the ledger and the receipt.
//!
//! One order is one purge with one number, whatever it names. It is in force before anything is counted.

mod count;
pub mod gate;
mod history;
mod metrics;
pub mod order;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::registry::Registry;

use self::count::Census;
use self::history::History;
use self::metrics::Metrics;
use self::order::Order;
use crate::cache::ledger::Ledger;
use crate::cache::memory::Memory;
use crate::clock::Clock;
use crate::policy::scope::Severity;
use crate::policy::time::{Timestamp, format_rfc3339};
use crate::wire::purge::{Nodes, PurgeRecord, Receipt, Status};

/// Scopes of a purge that the log names; `GET /purges` tells more.
const LOGGED: usize = 4;

/// Carries purges out.
#[derive(Debug)]
pub struct Purger {
    ledger: Arc<Ledger>,
    clock: Clock,
    /// This node's name in receipts.
    node: Box<str>,
    census: Census,
    history: History,
    metrics: Metrics,
}

impl Purger {
    /// Purges by `ledger` what `memory` holds.
    pub fn new(ledger: Arc<Ledger>, memory: Arc<Memory>, clock: Clock, node: Box<str>) -> Self {
        let census = Census::new(Arc::clone(&ledger), memory);
        Self { ledger, clock, node, census, history: History::default(), metrics: Metrics::default() }
    }

    /// Makes what is counted of purges known to `registry`.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry, &self.ledger);
    }

    /// Carries an order out; when this returns, nothing that it names and that was fetched before is served as fresh.
    ///
    /// Dropped before its end, it may not have been carried out: who wants it done whether or not somebody waits for
    /// the receipt gives it to a task.
    pub async fn purge(&self, order: Order) -> Receipt {
        let began = Instant::now();
        let Order { scopes, keys, severity, dry_run, .. } = &order;
        let at = self.clock.now();
        let (status, seq) = if *dry_run {
            (Status::DryRun, self.ledger.position())
        } else {
            (Status::Ok, self.ledger.purge(scopes, *severity, at).number)
        };
        // Microseconds: what is finer is noise, and makes long numbers.
        let took_ms = (began.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0;
        // A dry run finds what a purge would that came next.
        let number = seq + u64::from(*dry_run);
        let matched = match keys {
            Some(keys) => self.census.under(keys, number),
            None => self.census.named(scopes, number).await,
        };
        let id = format!("{:016x}", fastrand::u64(..));
        let (soft, nodes) = (*severity == Severity::Soft, if *dry_run { Nodes::default() } else { self.nodes() });
        let receipt = Receipt { status, id, seq, soft, matched, nodes, took_ms };
        if !*dry_run {
            self.tell(&order, &receipt, at);
        }
        receipt
    }

    /// Counts a purge, writes it into the log, and remembers it.
    fn tell(&self, order: &Order, receipt: &Receipt, at: Timestamp) {
        let Order { scopes, severity, who, .. } = order;
        let Receipt { id, seq, soft, matched, nodes, .. } = receipt;
        self.metrics.count(scopes, *severity);
        let told = history::told(scopes);
        let named: Vec<_> = told.iter().take(LOGGED).map(|scope| (&scope.kind, &scope.name)).collect();
        let (edge, partial) = (matched.edge, matched.partial);
        tracing::info!(seq, id, soft, who, scopes = scopes.len(), ?named, edge, partial, "purged");
        self.history.remember(PurgeRecord {
            seq: *seq,
            id: id.clone(),
            scopes: told,
            scope_count: scopes.len() as u64,
            soft: *soft,
            who: who.clone(),
            when: format_rfc3339(at),
            matched: *matched,
            nodes: nodes.clone(),
        });
    }

    /// Who has what was purged: this node, which is alone.
    fn nodes(&self) -> Nodes {
        Nodes { acked: vec![self.node.to_string()], lagging: Vec::new() }
    }

    /// What this node is called in receipts.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The purge of this number, if it is remembered.
    pub fn record(&self, seq: u64) -> Option<PurgeRecord> {
        self.history.record(seq)
    }

    /// Recent purges, the latest first.
    pub fn recent(&self, limit: usize) -> Vec<PurgeRecord> {
        self.history.recent(limit)
    }
}
