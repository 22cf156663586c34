//! An operator purges: from the order, in whichever dialect, to the fact in the ledger and the receipt.
//!
//! One order is one purge with one number, whatever it names. It is in force before anything is counted. Among several
//! nodes it goes through the log that all of them follow.

mod among;
pub mod answer;
mod count;
pub mod gate;
mod history;
mod metrics;
pub mod order;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;

use self::among::Among;
use self::count::Census;
use self::history::History;
use self::metrics::Metrics;
use self::order::Order;
use crate::cache::ledger::{Ledger, Stamp};
use crate::cache::memory::Memory;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::policy::scope::{Scope, Severity};
use crate::policy::time::{Timestamp, format_rfc3339};
use crate::wire::purge::{Matched, Nodes, PurgeRecord, Receipt, Status, Wait};

/// Scopes of a purge that the log names; `GET /purges` tells more.
const LOGGED: usize = 4;

/// Carries purges out.
#[derive(Debug)]
pub struct Purger {
    ledger: Arc<Ledger>,
    clock: Clock,
    /// This node's name in receipts.
    node: Box<str>,
    /// The other nodes, where there are some.
    among: Option<Among>,
    census: Census,
    history: History,
    metrics: Metrics,
}

/// A purge that is in force on this node.
struct Done {
    id: u64,
    /// Its number as people see it; zero: the log has given it none yet.
    seq: u64,
    /// The stamp of what is fetched from now on.
    stamp: Stamp,
    place: Option<among::Place>,
}

impl Purger {
    /// Purges by `ledger` what `memory` holds, on a node that is alone.
    pub fn new(ledger: Arc<Ledger>, memory: Arc<Memory>, clock: Clock, node: Box<str>) -> Self {
        let census = Census::new(Arc::clone(&ledger), memory);
        Self { ledger, clock, node, among: None, census, history: History::default(), metrics: Metrics::default() }
    }

    /// The same, on a node of `fleet`. An unsafe request waits for the log for `timeout` at the most.
    #[must_use]
    pub fn among(self, fleet: Arc<Fleet>, timeout: Duration) -> Self {
        Self { among: Some(Among::new(fleet, timeout)), ..self }
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
        let soft = order.severity == Severity::Soft;
        if order.dry_run {
            let last = self.ledger.position();
            // It finds what a purge would that came next.
            let matched = self.count(&order, last + 1).await;
            let (id, nodes) = (written(fastrand::u64(1..)), Nodes::default());
            let (status, seq, took_ms) = (Status::DryRun, self.ledger.seq(last), milliseconds(began));
            return Receipt { status, id, seq, soft, matched, nodes, took_ms };
        }
        let at = self.clock.now();
        let done = self.carry_out(&order.scopes, order.severity, at, &order.who).await;
        let confirmed = async {
            let (status, nodes) = self.confirm(&done, order.wait).await;
            (status, nodes, milliseconds(began))
        };
        // What waits for other nodes counts meanwhile.
        let ((status, nodes, took_ms), matched) = tokio::join!(confirmed, self.count(&order, done.stamp.number));
        let receipt = Receipt { status, id: written(done.id), seq: done.seq, soft, matched, nodes, took_ms };
        self.tell(&order, &receipt, at);
        receipt
    }

    /// Invalidates what an unsafe request changed; gives the stamp of what comes after it. As [`Purger::purge`], it is not
    /// to be dropped before its end.
    pub async fn invalidate(&self, scopes: &[Scope]) -> Stamp {
        let at = self.clock.now();
        match &self.among {
            Some(among) => among.invalidate(scopes, at).await,
            None => self.ledger.purge(scopes, Severity::Hard, at),
        }
    }

    /// Whether carrying something out may take a while: then it must outlive the request that asks for it.
    pub fn is_among_others(&self) -> bool {
        self.among.is_some()
    }

    async fn carry_out(&self, scopes: &[Scope], severity: Severity, at: Timestamp, who: &str) -> Done {
        if let Some(among) = &self.among {
            return among.carry_out(scopes, severity, at, who).await;
        }
        let stamp = self.ledger.purge(scopes, severity, at);
        Done { id: fastrand::u64(1..), seq: stamp.number, stamp, place: None }
    }

    /// Waits for whom the order says, as long as it may.
    async fn confirm(&self, done: &Done, wait: Wait) -> (Status, Nodes) {
        let me = || vec![self.node.to_string()];
        match &self.among {
            Some(among) => among.confirm(&self.node, done, wait).await,
            None => (Status::Ok, Nodes { acked: me(), lagging: Vec::new() }),
        }
    }

    /// How many stored responses the purge of this number named.
    async fn count(&self, order: &Order, number: u64) -> Matched {
        match &order.keys {
            Some(keys) => self.census.under(keys, number),
            None => self.census.named(&order.scopes, number).await,
        }
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

    /// What this node is called in receipts.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The purge of this number, as people see it, if it is remembered.
    pub fn record(&self, seq: u64) -> Option<PurgeRecord> {
        match &self.among {
            Some(among) => among.record(seq, &self.history),
            None => self.history.record(seq),
        }
    }

    /// Recent purges, the latest first.
    pub fn recent(&self, limit: usize) -> Vec<PurgeRecord> {
        match &self.among {
            Some(among) => among.recent(limit, &self.history),
            None => self.history.recent(limit),
        }
    }
}

/// An id as receipts and records have it.
fn written(id: u64) -> String {
    format!("{id:016x}")
}

/// Since then, in milliseconds. What is finer than a microsecond is noise, and makes long numbers.
fn milliseconds(began: Instant) -> f64 {
    (began.elapsed().as_secs_f64() * 1_000_000.0).round() / 1000.0
}
