//! An unsafe method succeeded: what is stored of what it changed is invalid. RFC 9111 §4.4.

use http::{HeaderMap, Method};

use super::Shared;
use super::inquiry::{Inquiry, url_scope};
use crate::cache::ledger::Stamp;
use crate::origin::Answer;
use crate::policy::invalidation::{self, Target};
use crate::policy::key::KeyBuffer;
use crate::policy::treatment::KeyRules;

/// Invalidates what the answer to an unsafe request says has changed.
///
/// Gives the stamp of what comes after it, and the number of the last purge of the request's own URL before; `None`
/// where nothing is invalidated.
pub(super) fn after(shared: &Shared, inquiry: &Inquiry, answer: &Answer) -> Option<(Stamp, u64)> {
    if !invalidation::is_unsafe(&inquiry.method) {
        return None;
    }
    let client = &inquiry.client;
    let targets = invalidation::targets(
        &inquiry.method,
        answer.status,
        client.scheme.as_str(),
        &client.authority,
        inquiry.target.as_str(),
        &answer.headers,
    );
    let mut of_own = None;
    for changed in targets {
        let path = changed.target.split('?').next().unwrap_or_default();
        let routed = inquiry.site.rules.route(&Method::GET, &changed.authority, path, &HeaderMap::new());
        let others = invalidate(shared, inquiry, &changed, &routed.treatment.key);
        // Rules that match by a field may give this client's requests another key.
        let rules = &inquiry.treatment().key;
        let own = if *rules == routed.treatment.key { others } else { invalidate(shared, inquiry, &changed, rules) };
        of_own.get_or_insert(own);
        shared.metrics.invalidations.inc();
    }
    of_own
}

fn invalidate(shared: &Shared, inquiry: &Inquiry, changed: &Target, rules: &KeyRules) -> (Stamp, u64) {
    let scheme = inquiry.client.scheme.as_str();
    // The number first: whoever looks up in between finds the stored response dead.
    let done = shared.ledger.invalidate(url_scope(scheme, &changed.authority, &changed.target, rules));
    let key = KeyBuffer::of(scheme, &changed.authority, &changed.target, &HeaderMap::new(), rules);
    shared.memory.remove(key.as_bytes());
    done
}
