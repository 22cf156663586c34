//! How does a stored response stand with the purges that are known, and by which of them?

use std::ops::ControlFlow;

use super::fold::EVERYTHING;
use super::marks::Mark;
use super::{Ledger, Stamp, group_name};
use crate::policy::reuse::Standing;
use crate::policy::scope::{Labels, Scope, Severity};
use crate::policy::time::Timestamp;

/// The purge by which a stored response is stale or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// Its number; where purges were folded, the last of them.
    pub number: u64,
    /// What it names.
    pub scope: Scope,
    /// What it does.
    pub severity: Severity,
    /// Whether it stands for purges that were folded into a wider scope.
    pub folded: bool,
}

impl Ledger {
    /// How a response with these labels, fetched under `stamp`, stands.
    pub fn standing(&self, labels: &Labels, stamp: Stamp) -> Standing {
        if stamp.era != self.era() {
            // What was purged in between is not known: it must be asked about before it is used.
            return Standing::Stale { since: Timestamp::EPOCH };
        }
        let mut standing = Standing::Alive;
        let dead = self.visit(labels, |_, mark| {
            if mark.hard > stamp.number {
                return ControlFlow::Break(());
            }
            let since = if mark.doubt > stamp.number {
                Timestamp::EPOCH
            } else if let Some(since) = mark.softs.since(stamp.number) {
                since
            } else {
                return ControlFlow::Continue(());
            };
            standing = match standing {
                Standing::Stale { since: known } => Standing::Stale { since: known.min(since) },
                _ => Standing::Stale { since },
            };
            ControlFlow::Continue(())
        });
        if dead.is_break() { Standing::Dead } else { standing }
    }

    /// Whether such a response was gone before the purge `number`, as far as that is still known: for counts alone.
    pub fn was_dead(&self, labels: &Labels, stamp: Stamp, number: u64) -> bool {
        let is_dead = |mark: Mark| mark.hard_before(number) > stamp.number;
        let found = self
            .visit(labels, |_, mark| if is_dead(mark) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        stamp.era == self.era() && found.is_break()
    }

    /// Whether no purge after `since` and before the purge `number` names such a response. One that is no longer known
    /// was followed by one after `number` of the same scope, by which what has that number for its stamp is judged.
    pub fn was_spared(&self, labels: &Labels, since: Stamp, number: u64) -> bool {
        let latest = |mark: Mark| mark.hard_before(number).max(mark.softs.latest()).max(mark.doubt);
        let is_named = |mark: Mark| latest(mark) > since.number;
        let named = self
            .visit(labels, |_, mark| if is_named(mark) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        since.era == self.era() && named.is_continue()
    }

    /// The purge by which such a response is not alive: the last hard one, else the last soft one. With a stamp of
    /// another era, all that this ledger does not know.
    pub fn blame(&self, labels: &Labels, stamp: Stamp) -> Option<Blame> {
        if stamp.era != self.era() {
            let number = self.position();
            return Some(Blame { number, scope: Scope::Everything, severity: Severity::Soft, folded: true });
        }
        let mut worst: Option<Blame> = None;
        let _ = self.visit(labels, |scope, mark| {
            let hard = (mark.hard > stamp.number).then_some((mark.hard, Severity::Hard, false));
            let soft = mark.softs.latest();
            let soft = (soft > stamp.number).then_some((soft, Severity::Soft, false));
            let doubt = (mark.doubt > stamp.number).then_some((mark.doubt, Severity::Soft, true));
            for (number, severity, folded) in [hard, doubt, soft].into_iter().flatten() {
                let rank = |severity, number| (severity == Severity::Hard, number);
                if worst.as_ref().is_none_or(|known| rank(known.severity, known.number) < rank(severity, number)) {
                    worst = Some(Blame { number, scope: scope.to_scope(), severity, folded });
                }
            }
            ControlFlow::Continue(())
        });
        worst
    }

    /// Shows `visit` every mark that names a response with these labels, the wider scopes last: a scope is folded by
    /// marking the wider one before it is forgotten, so whoever no longer finds it finds the wider one marked.
    fn visit<'a>(
        &self,
        labels: &'a Labels,
        mut visit: impl FnMut(Named<'a>, Mark) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (url, authority, host) = (labels.url(), labels.authority(), labels.host());
        let mut see =
            |named: Named<'a>, mark: Option<Mark>| mark.map_or(ControlFlow::Continue(()), |m| visit(named, m));
        see(Named::Url(url), self.urls.get(url.as_bytes()))?;
        for tag in labels.tags().iter() {
            see(Named::Tag(tag), self.tags.get(tag))?;
        }
        for group in labels.tags().groups() {
            see(Named::Group(labels.origin(), group), self.groups.get(&group_name(labels.origin(), group)))?;
        }
        for (prefix, mark) in self.prefixes.of(url.as_bytes()) {
            see(Named::Prefix(&url[..prefix.len()]), Some(mark))?;
        }
        if authority != host {
            see(Named::Host(authority), self.hosts.get(authority.as_bytes()))?;
        }
        see(Named::Host(host), self.hosts.get(host.as_bytes()))?;
        see(Named::Everything, self.hosts.get(EVERYTHING))
    }
}

/// A scope, borrowed from the labels that it names.
#[derive(Debug, Clone, Copy)]
enum Named<'a> {
    Url(&'a str),
    Tag(&'a [u8]),
    Group(&'a str, &'a [u8]),
    Prefix(&'a str),
    Host(&'a str),
    Everything,
}

impl Named<'_> {
    fn to_scope(self) -> Scope {
        match self {
            Self::Url(url) => Scope::Url(url.into()),
            Self::Tag(tag) => Scope::Tag(tag.into()),
            Self::Group(origin, name) => Scope::Group { origin: origin.into(), name: name.into() },
            Self::Prefix(prefix) => Scope::Prefix(prefix.into()),
            Self::Host(host) => Scope::Host(host.into()),
            Self::Everything => Scope::Everything,
        }
    }
}
