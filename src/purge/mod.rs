//! An operator purges: from the order, in whichever dialect, to the fact in the ledger and the receipt.

pub mod gate;
pub mod order;

use std::sync::Arc;

use self::order::Order;
use crate::cache::ledger::Ledger;
use crate::cache::memory::Memory;
use crate::clock::Clock;
use crate::wire::purge::{PurgeRecord, Receipt};

/// Carries purges out.
#[derive(Debug)]
pub struct Purger {
    ledger: Arc<Ledger>,
    memory: Arc<Memory>,
    clock: Clock,
    /// This node's name in receipts.
    node: Box<str>,
}

impl Purger {
    /// Purges by `ledger` what `memory` holds.
    pub fn new(ledger: Arc<Ledger>, memory: Arc<Memory>, clock: Clock, node: Box<str>) -> Self {
        Self { ledger, memory, clock, node }
    }

    /// Carries an order out; when this returns, nothing that it names and that was fetched before is served as fresh.
    pub async fn purge(&self, order: Order) -> Receipt {
        let _ = (order, &self.ledger, &self.memory, &self.clock, &self.node);
        std::future::pending().await
    }

    /// Recent purges, the latest first.
    pub fn recent(&self, limit: usize) -> Vec<PurgeRecord> {
        let _ = limit;
        Vec::new()
    }
}
