//! What makes the key, and what is stored under it?

use std::sync::Arc;

use super::Case;
use crate::cache::entry::Entry;
use crate::cache::ledger::{Blame, Stamp};
use crate::policy::scope::{self, Severity};
use crate::serve::inquiry::Inquiry;
use crate::serve::{Shared, describe};
use crate::wire::explain::{KeyParts, PurgedBy, StoredVariant};

/// The key of a request, before and after the rules.
pub(super) fn key(inquiry: &Inquiry) -> KeyParts {
    let client = &inquiry.client;
    let url = scope::absolute(client.scheme.as_str(), &client.authority, inquiry.target.as_str());
    let (headers, cookies) = describe::beside_url(&inquiry.key);
    KeyParts { url, normalised: inquiry.labels().url().to_owned(), headers, cookies }
}

/// Every variant under the key, the latest first.
pub(super) fn stored(case: &Case<'_>) -> Vec<StoredVariant> {
    let is_chosen = |entry: &Arc<Entry>| match case.chosen() {
        Some(chosen) => Arc::ptr_eq(chosen, entry),
        None => case.selected().next().is_some_and(|first| Arc::ptr_eq(first, entry)),
    };
    let variants = case.entries().iter().map(|entry| StoredVariant {
        selected: is_chosen(entry),
        response: describe::variant(entry, &case.shared.ledger, case.now),
        purged_by: purge_of(case, entry),
    });
    variants.collect()
}

/// The purge by which a stored response is stale or gone.
pub(super) fn purge_of(case: &Case<'_>, entry: &Entry) -> Option<PurgedBy> {
    let blame = case.shared.ledger.blame(&entry.head.labels, entry.head.stamp)?;
    Some(purged_by(case.shared, &blame))
}

/// The last purge that names the request's URL, or the tags that rules give it, whatever was stored before it.
pub(super) fn last_purge(case: &Case<'_>) -> Option<PurgedBy> {
    let ledger = &case.shared.ledger;
    let blame = ledger.blame(&case.inquiry.labels(), Stamp { number: 0, ..ledger.stamp() })?;
    Some(purged_by(case.shared, &blame))
}

fn purged_by(shared: &Shared, blame: &Blame) -> PurgedBy {
    // Invalidations have numbers of the same ledger, and no record: it is told by its number.
    let seq = shared.ledger.seq(blame.number);
    let record = shared.purger.record(seq);
    let (who, when) = record.map(|record| (record.who, record.when)).unzip();
    PurgedBy {
        seq,
        kind: blame.scope.kind().to_owned(),
        name: blame.scope.name(),
        soft: blame.severity == Severity::Soft,
        who,
        when,
    }
}

/// A purge in words: `purge 17 of url http://…, asked by 127.0.0.1 admin, 1994-11-06T08:49:37.120Z`.
pub(super) fn words(purge: &PurgedBy) -> String {
    let scope = [purge.kind.as_str(), purge.name.as_str()].join(" ");
    let who = purge.who.as_ref().map(|who| format!(", asked by {who}")).unwrap_or_default();
    let when = purge.when.as_ref().map(|when| format!(", {when}")).unwrap_or_default();
    let kind = if purge.soft { "soft purge" } else { "purge" };
    format!("{kind} {} of {}{who}{when}", purge.seq, scope.trim_end())
}
