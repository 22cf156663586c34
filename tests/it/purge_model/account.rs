//! What was fetched, purged and stored when, as somebody who only looks on would write it down?

use larder::policy::scope::{Labels, Scope, Severity};
use larder::policy::time::Timestamp;

/// One question to the origin, and what its answer is.
#[derive(Debug)]
pub(super) struct Fetch {
    /// What it confirms, the oldest first, and itself.
    pub(super) chain: Vec<usize>,
    pub(super) labels: Labels,
    /// The value of the field that selects among the variants.
    pub(super) variant: String,
    pub(super) kind: Kind,
    /// When the origin got the question, and settled what it says.
    pub(super) asked: u64,
    /// When the answer was complete; `None`: not yet, or it broke off.
    pub(super) landed: Option<u64>,
    /// Until when it is fresh for certain, where it may be stored.
    pub(super) fresh_until: Option<Timestamp>,
}

/// What an answer is to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A response of its own.
    Response,
    /// It says that a stored response still holds.
    Confirmation,
    /// It answers a `HEAD`: new fields, and no word on the stored bytes.
    Head,
    /// It answers an unsafe request.
    Change,
}

/// A purge that was acknowledged.
#[derive(Debug)]
pub(super) struct Purge {
    pub(super) step: u64,
    pub(super) scopes: Vec<Scope>,
    pub(super) severity: Severity,
    /// The answer to the unsafe request that caused it: what comes after the change.
    pub(super) cause: Option<usize>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) fetches: Vec<Fetch>,
    pub(super) purges: Vec<Purge>,
    /// URLs whose stored responses were taken out, and when.
    pub(super) evicted: Vec<(u64, String)>,
    /// URLs for which a copy was put back from elsewhere, and when.
    pub(super) promoted: Vec<(u64, String)>,
}

impl Account {
    /// Why a request that came at `began` must not get this chain, if it must not.
    pub(super) fn forbids(&self, chain: &[usize], as_fresh: bool, began: u64) -> Option<String> {
        let earlier = self.purges.iter().filter(|purge| purge.step < began);
        let mut wrong = earlier.filter(|purge| self.concerns(purge, chain, as_fresh));
        let purge = wrong.next()?;
        Some(format!("{chain:?} was served (as fresh: {as_fresh}) to a request of step {began}, despite {purge:?}"))
    }

    /// Whether a purge concerns a stored chain, as far as this use of it goes.
    fn concerns(&self, purge: &Purge, chain: &[usize], as_fresh: bool) -> bool {
        let proved = chain.iter().rev().map(|id| &self.fetches[*id]).find(|fetch| fetch.kind != Kind::Head);
        let proved_at = proved.map_or(0, |fetch| fetch.asked);
        let names = chain.iter().enumerate().any(|(index, id)| {
            // Once a confirmation has come, its labels count.
            let replaced = chain.get(index + 1).and_then(|next| self.fetches[*next].landed);
            self.names(purge, *id) && replaced.is_none_or(|landed| purge.step < landed)
        });
        names && (purge.severity == Severity::Hard || (as_fresh && purge.step >= proved_at))
    }

    /// Whether a purge names what was fetched, or being fetched, when it came.
    fn names(&self, purge: &Purge, id: usize) -> bool {
        let fetch = &self.fetches[id];
        let is_earlier = purge.cause != Some(id) && purge.step >= fetch.asked;
        is_earlier && purge.scopes.iter().any(|scope| scope.names(&fetch.labels))
    }

    /// Why a request that came at `began`, and still waits, must not: nobody has asked since a purge named its URL.
    pub(super) fn forbids_waiting(&self, untagged: &Labels, began: u64) -> Option<String> {
        let names = |purge: &&Purge| purge.scopes.iter().any(|scope| scope.names(untagged));
        let purge = self.purges.iter().filter(|purge| purge.step < began).rev().find(names)?;
        let was_asked = |fetch: &Fetch| fetch.labels.url() == untagged.url() && fetch.asked > purge.step;
        let waits_in_vain = purge.cause.is_none() && !self.fetches.iter().any(was_asked);
        waits_in_vain.then(|| format!("it waits for what was asked before {purge:?}"))
    }

    /// What must answer a request for a URL and a variant at once.
    pub(super) fn owed(&self, url: &str, variant: &str, now: Timestamp) -> Option<usize> {
        (0..self.fetches.len()).rev().find(|id| {
            let fetch = &self.fetches[*id];
            fetch.labels.url() == url
                && fetch.variant == variant
                && fetch.landed.is_some()
                && fetch.fresh_until.is_some_and(|until| now < until)
                && !self.purges.iter().any(|purge| self.concerns(purge, &fetch.chain, true))
                && !self.evicted.iter().any(|(step, evicted)| *step >= fetch.asked && evicted == url)
                && !self.is_about_another_copy(fetch)
                && (0..self.fetches.len()).all(|other| other == *id || !self.may_disturb(other, *id))
        })
    }

    /// Whether what was asked about was replaced by a copy before the answer came: then the copy is not freshened.
    fn is_about_another_copy(&self, fetch: &Fetch) -> bool {
        let is_meanwhile = |step: u64| step >= fetch.asked && fetch.landed.is_some_and(|landed| step <= landed);
        let mut promoted = self.promoted.iter();
        fetch.kind == Kind::Confirmation
            && promoted.any(|(step, promoted)| is_meanwhile(*step) && promoted == fetch.labels.url())
    }

    /// Whether what landed while `id` was on its way, or after it, may stand in its place.
    fn may_disturb(&self, other: usize, id: usize) -> bool {
        let (fetch, late) = (&self.fetches[id], &self.fetches[other]);
        let is_elsewhere = late.labels.url() != fetch.labels.url()
            || (late.variant != fetch.variant && late.kind == Kind::Response)
            || late.landed.is_none_or(|landed| landed < fetch.asked);
        if is_elsewhere {
            return false;
        }
        // What is freshened must still be there.
        if fetch.kind == Kind::Confirmation && late.landed <= fetch.landed {
            return true;
        }
        // What was purged before `id` was even asked for must not come in its place.
        let was_purged = late.kind == Kind::Response
            && self.purges.iter().any(|purge| purge.step < fetch.asked && self.names(purge, other));
        !was_purged
    }
}
