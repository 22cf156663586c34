//! An unsafe method succeeded: what is stored of what it changed is invalid. RFC 9111 §4.4, RFC 9875 §3.

use std::sync::Arc;

use super::Shared;
use super::inquiry::Inquiry;
use crate::cache::ledger::Stamp;
use crate::origin::Answer;
use crate::policy::invalidation;
use crate::policy::scope::{self, Scope};
use crate::policy::tag_fields;

/// Invalidates what the answer to an unsafe request says has changed: all of it by one number.
///
/// Gives the stamp of what comes after it; `None` where nothing is invalidated.
pub(super) async fn after(shared: &Arc<Shared>, inquiry: &Inquiry, answer: &Answer) -> Option<Stamp> {
    if !invalidation::is_unsafe(&inquiry.method) {
        return None;
    }
    let client = &inquiry.client;
    let (scheme, authority) = (client.scheme.as_str(), &*client.authority);
    let (method, target) = (&inquiry.method, inquiry.target.as_str());
    let targets = invalidation::targets(method, answer.status, scheme, authority, target, &answer.headers);
    let mut scopes = Vec::new();
    for changed in targets {
        let forms = inquiry.site.rules.forms(&changed.authority, &changed.target);
        scopes.extend(forms.iter().map(|form| Scope::url(scheme, &changed.authority, form)));
        shared.metrics.invalidations.inc();
    }
    // RFC 9875 §3: the field is ignored "on responses to requests that have a safe method", and nothing else is asked of
    // them: unlike the URLs above, groups that an error names have changed too. Half of a transaction may have been
    // done, and it is the origin's own word. §2.1: groups are those of one origin, scheme and port with the host.
    //
    // What shares a group with the target goes only where the answer names the group. §2.2.1 allows more ("MAY
    // invalidate any stored responses that share groups"), which would let every comment empty a site's `all`.
    let origin: Box<str> = scope::absolute(scheme, authority, "").into();
    let groups = tag_fields::invalidated_groups(&answer.headers);
    scopes.extend(groups.into_iter().map(|name| Scope::Group { origin: origin.clone(), name }));
    if scopes.is_empty() {
        return None;
    }
    if !shared.purger.is_among_others() {
        return Some(shared.purger.invalidate(&scopes).await);
    }
    // In a task of its own: the change has been made, whether or not the client stays for the answer.
    let purger = Arc::clone(&shared.purger);
    shared.tasks.spawn(async move { purger.invalidate(&scopes).await }).await.ok()
}
