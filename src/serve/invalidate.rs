//! An unsafe method succeeded: what is stored of what it changed is invalid. RFC 9111 §4.4.

use http::{HeaderMap, Method};

use super::Shared;
use super::inquiry::{Inquiry, url_scope};
use crate::origin::Answer;
use crate::policy::invalidation;
use crate::policy::key::KeyBuffer;

/// Invalidates what the answer to an unsafe request says has changed.
pub(super) fn after(shared: &Shared, inquiry: &Inquiry, answer: &Answer) {
    if !invalidation::is_unsafe(&inquiry.method) {
        return;
    }
    let client = &inquiry.client;
    let scheme = client.scheme.as_str();
    let targets = invalidation::targets(
        &inquiry.method,
        answer.status,
        scheme,
        &client.authority,
        inquiry.target.as_str(),
        &answer.headers,
    );
    let none = HeaderMap::new();
    for changed in targets {
        let path = changed.target.split('?').next().unwrap_or_default();
        let routed = inquiry.site.rules.route(&Method::GET, &changed.authority, path, &none);
        let rules = &routed.treatment.key;
        // The number first: whoever looks up in between finds the stored response dead.
        shared.ledger.invalidate(url_scope(scheme, &changed.authority, &changed.target, rules));
        let key = KeyBuffer::of(scheme, &changed.authority, &changed.target, &none, rules);
        shared.memory.remove(key.as_bytes());
        shared.metrics.invalidations.inc();
    }
}
