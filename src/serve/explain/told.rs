//! What makes the key, and what is stored under it?

use std::sync::Arc;

use super::Case;
use crate::cache::entry::Entry;
use crate::cache::ledger::{Blame, Stamp};
use crate::policy::reuse::Standing;
use crate::policy::scope::Severity;
use crate::serve::Shared;
use crate::serve::inquiry::Inquiry;
use crate::wire::explain::{KeyParts, PurgedBy, StoredVariant};

/// Recent purges that are searched for who asked and when.
const REMEMBERED: usize = 10_000;

/// The key of a request, before and after the rules.
pub(super) fn key(inquiry: &Inquiry) -> KeyParts {
    let client = &inquiry.client;
    let url = [client.scheme.as_str(), "://", &client.authority, inquiry.target.as_str()].concat();
    let parts = inquiry.key.parts().unwrap_or_default();
    let headers = parts.headers.iter().map(|(name, value)| pair(name, ": ", value.as_deref()));
    let cookies = parts.cookies.iter().flat_map(|(name, values)| {
        let absent = values.is_empty().then(|| pair(name, "=", None));
        absent.into_iter().chain(values.iter().map(|value| pair(name, "=", Some(value))))
    });
    KeyParts {
        url,
        normalised: inquiry.labels().url().to_owned(),
        headers: headers.collect(),
        cookies: cookies.collect(),
    }
}

/// A name with its value; without the sign between them where there is none.
pub(super) fn pair(name: &str, sign: &str, value: Option<&[u8]>) -> String {
    match value {
        Some(value) => format!("{name}{sign}{}", String::from_utf8_lossy(value)),
        None => name.to_owned(),
    }
}

/// Every variant under the key, the latest first.
pub(super) fn stored(case: &Case<'_>) -> Vec<StoredVariant> {
    let is_chosen = |entry: &Arc<Entry>| match case.chosen() {
        Some(chosen) => Arc::ptr_eq(chosen, entry),
        None => case.selected().next().is_some_and(|first| Arc::ptr_eq(first, entry)),
    };
    case.entries().iter().map(|entry| variant(case, entry, is_chosen(entry))).collect()
}

/// One variant.
pub(super) fn variant(case: &Case<'_>, entry: &Arc<Entry>, selected: bool) -> StoredVariant {
    let (head, now) = (&entry.head, case.now);
    let standing = match entry.standing(&case.shared.ledger) {
        Standing::Alive => "alive",
        Standing::Stale { .. } => "stale",
        Standing::Dead => "dead",
    };
    let blame = case.shared.ledger.blame(&head.labels, head.stamp);
    StoredVariant {
        selected,
        status: head.status.as_u16(),
        selecting: head.selecting.values().map(|(name, value)| pair(name.as_str(), ": ", value.as_deref())).collect(),
        age: head.freshness.age(now).as_secs(),
        lifetime: head.freshness.lifetime.as_secs(),
        ttl: head.freshness.ttl(now),
        tags: head.labels.tags().iter().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect(),
        size: entry.body.len(),
        hits: entry.hits(),
        era: format!("{:x}", head.stamp.era),
        stamp: head.stamp.number,
        standing: standing.to_owned(),
        purged_by: blame.map(|blame| purged_by(case.shared, &blame)),
    }
}

/// The last purge that names the request's URL, or the tags that rules give it, whatever was stored before it.
pub(super) fn last_purge(case: &Case<'_>) -> Option<PurgedBy> {
    let labels = case.inquiry.tagged_labels(&http::HeaderMap::new());
    let ledger = &case.shared.ledger;
    let blame = ledger.blame(&labels, Stamp { number: 0, ..ledger.stamp() })?;
    Some(purged_by(case.shared, &blame))
}

fn purged_by(shared: &Shared, blame: &Blame) -> PurgedBy {
    // Invalidations have numbers of the same ledger, and no record: it is told by its number.
    let record = shared.purger.recent(REMEMBERED).into_iter().find(|record| record.seq == blame.number);
    let (who, when) = record.map(|record| (record.who, record.when)).unzip();
    PurgedBy {
        seq: blame.number,
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
