//! What was fetched and purged, in which order, and who was promised what. It knows nothing of stamps.

use std::collections::{HashMap, HashSet};

use larder::fleet::Announced;
use larder::fleet::position::Position;
use larder::policy::reuse::Standing;
use larder::policy::scope::{Labels, Scope, Severity};
use larder::policy::time::Timestamp;

/// One life of one node: which node, and which of its lives.
pub(super) type Life = (usize, usize);

#[derive(Debug)]
pub(super) struct Purge {
    pub(super) by: Life,
    pub(super) scopes: Vec<Scope>,
    pub(super) severity: Severity,
    pub(super) called: u64,
    /// When it was announced, and what came of that.
    pub(super) returned: Option<(u64, Announced)>,
    /// When all that live were said to have it.
    pub(super) by_all: Option<u64>,
    /// Those that were said to have it.
    pub(super) named: HashSet<Life>,
}

impl Purge {
    pub(super) fn id(&self) -> Option<u64> {
        self.returned.map(|(_, announced)| announced.id)
    }

    pub(super) fn place(&self) -> Option<(u64, Position)> {
        self.returned.and_then(|(_, announced)| announced.place)
    }
}

#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) by: Life,
    pub(super) labels: Labels,
    pub(super) began: u64,
    /// Up to where its node had read the log then.
    pub(super) place: Option<(u64, Position)>,
}

/// How a life of a node began.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) at: u64,
    /// The purges that the log held then, and how many masters had gone away.
    pub(super) in_log: HashSet<usize>,
    pub(super) masters: u64,
    /// In milliseconds since all began.
    pub(super) time: u64,
    /// Whether it has heard the log of that master to its end: then it has all of them.
    pub(super) has_replayed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    /// Counts everything that happens.
    now: u64,
    pub(super) purges: Vec<Purge>,
    pub(super) fetches: Vec<Fetch>,
    pub(super) births: HashMap<Life, Birth>,
    /// Purges that everybody has to know, once there are no more faults.
    pub(super) owed: HashSet<usize>,
}

impl Account {
    /// When something happens: after everything before it.
    pub(super) fn next(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// What was promised of this purge to this life of a node.
    fn promise(&self, index: usize, life: Life) -> Option<&'static str> {
        let (purge, birth) = (&self.purges[index], &self.births[&life]);
        if purge.returned.is_some() && purge.by == life {
            return Some("it was announced here");
        }
        if purge.named.contains(&life) {
            return Some("this node was said to have it");
        }
        if birth.has_replayed && birth.in_log.contains(&index) {
            return Some("the log had it when this node began to read it");
        }
        // A node that began later has it from the log: not while a fail-over has taken it away and nobody added it again.
        if purge.by_all.is_some_and(|step| birth.at < step) {
            return Some("every node that lives was said to have it");
        }
        self.owed.contains(&index).then_some("all is well again")
    }

    /// Why what a node finds of a fetch is wrong; `None`: it may be so.
    pub(super) fn forbids(&self, life: Life, fetch: usize, standing: Standing) -> Option<String> {
        let is_kept = |severity| match standing {
            Standing::Alive => true,
            Standing::Stale { since } => severity == Severity::Hard && since != Timestamp::EPOCH,
            Standing::Dead | Standing::Unheard => false,
        };
        let Fetch { labels, began, .. } = &self.fetches[fetch];
        (0..self.purges.len()).find_map(|index| {
            let purge = &self.purges[index];
            let is_named = *began < purge.called && purge.scopes.iter().any(|scope| scope.names(labels));
            let why = self.promise(index, life).filter(|_| is_named && is_kept(purge.severity))?;
            Some(format!("{life:?} finds fetch {fetch} {standing:?}, though purge {index} names it: {why}\n{purge:?}"))
        })
    }

    /// Whether a fetch knew every purge that names it, so that it is alive wherever all of them are known.
    pub(super) fn is_owed(&self, fetch: usize) -> bool {
        let Fetch { by, labels, began, place } = &self.fetches[fetch];
        let is_known = |purge: &Purge| {
            let is_own =
                purge.by == *by && purge.place().is_some() && purge.returned.is_some_and(|(step, _)| step < *began);
            let is_read = place.zip(purge.place()).is_some_and(|(up_to, at)| up_to.0 == at.0 && up_to.1 >= at.1);
            is_own || is_read
        };
        let mut naming = self.purges.iter().filter(|purge| purge.scopes.iter().any(|scope| scope.names(labels)));
        place.is_some() && naming.all(is_known)
    }
}
