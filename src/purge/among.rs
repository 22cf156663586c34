//! A purge among several nodes: told to all of them, confirmed by those that were asked for, and remembered wherever it
//! was ordered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::history::{self, History};
use super::{Done, written};
use crate::cache::ledger::Stamp;
use crate::fleet::log::Entry;
use crate::fleet::notice::{Effect, Notice};
use crate::fleet::position::Position;
use crate::fleet::{Acknowledged, Announced, Fleet};
use crate::policy::scope::{Scope, Severity};
use crate::policy::time::{Timestamp, format_rfc3339};
use crate::wire::purge::{Matched, Nodes, PurgeRecord, Status, Wait};

/// Where the log has a purge: in which era, and at which position.
pub(super) type Place = (u64, Position);

/// How long the log may take to take a purge. An operator would rather wait a little than be told to wait longer.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a receipt waits for the other nodes. Those that live confirm within milliseconds; one that does not is named.
const CONFIRMATION: Duration = Duration::from_secs(2);

/// Records that are looked through for one number.
const REMEMBERED: usize = 1024;

#[derive(Debug)]
pub(super) struct Among {
    fleet: Arc<Fleet>,
    /// How long the log may take to take an invalidation: a client waits for it that did not ask for one.
    timeout: Duration,
}

impl Among {
    pub(super) fn new(fleet: Arc<Fleet>, timeout: Duration) -> Self {
        Self { fleet, timeout }
    }

    pub(super) async fn carry_out(&self, scopes: &[Scope], severity: Severity, at: Timestamp, who: &str) -> Done {
        let notice = Notice { scopes: scopes.to_vec(), effect: severity.into(), at, who: who.to_owned() };
        let Announced { id, stamp, place } = self.fleet.announce(&notice, PATIENCE).await;
        Done { id, seq: place.map_or(0, |(_, position)| position.seq()), stamp, place }
    }

    pub(super) async fn invalidate(&self, scopes: &[Scope], at: Timestamp) -> Stamp {
        let notice = Notice { scopes: scopes.to_vec(), effect: Effect::Hard, at, who: String::new() };
        self.fleet.announce(&notice, self.timeout).await.stamp
    }

    /// Who has it, once those have it that `wait` names, or the time for that is over.
    pub(super) async fn confirm(&self, me: &str, done: &Done, wait: Wait) -> (Status, Nodes) {
        let Some(place) = done.place else {
            let others = self.fleet.members().into_iter().map(|member| member.name).filter(|name| name != me);
            return (Status::Pending, Nodes { acked: vec![me.to_owned()], lagging: others.collect() });
        };
        match wait {
            Wait::Edge => (Status::Ok, Nodes { acked: vec![me.to_owned()], lagging: Vec::new() }),
            Wait::All => {
                let deadline = Instant::now() + CONFIRMATION;
                let acknowledged = self.fleet.acknowledged_by_all(place, deadline).await;
                let status = if acknowledged.is_by_all { Status::Ok } else { Status::Pending };
                (status, nodes(acknowledged))
            }
        }
    }

    /// Recent purges, whichever node was asked, the latest first; those that the log has not taken yet come before all
    /// others.
    pub(super) fn recent(&self, limit: usize, history: &History) -> Vec<PurgeRecord> {
        let told = self.told(history);
        let own = history.recent(REMEMBERED);
        let untold = own.into_iter().filter(|record| record.seq == 0 && !told.iter().any(|told| told.id == record.id));
        untold.chain(told.iter().cloned()).take(limit).collect()
    }

    pub(super) fn record(&self, seq: u64, history: &History) -> Option<PurgeRecord> {
        self.told(history).into_iter().find(|record| record.seq == seq)
    }

    /// What the log told lately, with what is known of it here.
    fn told(&self, history: &History) -> Vec<PurgeRecord> {
        let Some((era, _)) = self.fleet.place() else { return Vec::new() };
        let record = |entry: Entry| {
            let notice = Notice::decode(&entry.payload).ok().filter(|notice| !notice.who.is_empty())?;
            let id = written(entry.id);
            let own = history.with_id(&id);
            let record = PurgeRecord {
                seq: entry.position.seq(),
                id,
                scopes: history::told(&notice.scopes),
                scope_count: notice.scopes.len() as u64,
                soft: notice.effect == Effect::Soft,
                who: notice.who,
                when: format_rfc3339(notice.at),
                // What it named elsewhere is not known here.
                matched: own.map_or(Matched { edge: 0, partial: true }, |own| own.matched),
                nodes: nodes(self.fleet.acknowledged((era, entry.position))),
            };
            Some(record)
        };
        self.fleet.latest(REMEMBERED).into_iter().filter_map(record).collect()
    }
}

fn nodes(acknowledged: Acknowledged) -> Nodes {
    Nodes { acked: acknowledged.by, lagging: acknowledged.lagging }
}
