//! An unsafe method succeeded: what is stored of what it changed is invalid. RFC 9111 §4.4, RFC 9875 §3.

use http::HeaderMap;

use super::Shared;
use super::inquiry::Inquiry;
use crate::cache::ledger::Stamp;
use crate::origin::Answer;
use crate::policy::invalidation;
use crate::policy::key::KeyBuffer;
use crate::policy::scope::{Scope, Severity};
use crate::policy::tag_fields;
use crate::policy::treatment::KeyRules;

/// Invalidates what the answer to an unsafe request says has changed: all of it by one number.
///
/// Gives the stamp of what comes after it; `None` where nothing is invalidated.
pub(super) fn after(shared: &Shared, inquiry: &Inquiry, answer: &Answer) -> Option<Stamp> {
    if !invalidation::is_unsafe(&inquiry.method) {
        return None;
    }
    let client = &inquiry.client;
    let (scheme, authority) = (client.scheme.as_str(), &*client.authority);
    let (method, target) = (&inquiry.method, inquiry.target.as_str());
    let targets = invalidation::targets(method, answer.status, scheme, authority, target, &answer.headers);
    let (mut scopes, mut keys) = (Vec::new(), Vec::new());
    for changed in targets {
        for form in inquiry.site.rules.forms(&changed.authority, &changed.target) {
            scopes.push(Scope::url(scheme, &changed.authority, &form));
            // The form is normalised: under a rule that gives keys nothing but query settings, this is its key.
            keys.push(KeyBuffer::of(scheme, &changed.authority, &form, &HeaderMap::new(), &KeyRules::default()));
        }
        shared.metrics.invalidations.inc();
    }
    // Groups are those of one origin (RFC 9875 §2): another one's are none of its business.
    let origin: Box<str> = [scheme, "://", authority].concat().into();
    let groups = tag_fields::invalidated_groups(&answer.headers);
    scopes.extend(groups.into_iter().map(|name| Scope::Group { origin: origin.clone(), name }));
    let stamp = (!scopes.is_empty()).then(|| shared.ledger.purge(&scopes, Severity::Hard, shared.clock.now()));
    // The number first: whoever looks up in between finds the stored response dead. It is taken out for its memory
    // alone: where every other request writes, bodies would lie dead until they are evicted.
    for key in &keys {
        shared.memory.remove(key.as_bytes());
    }
    stamp
}
