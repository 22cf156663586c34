//! Can what is stored answer a plain request as it is?
//!
//! The same steps as [`super::Serve::answer`] and the same pieces decide; what would take more of a request than its URL and
//! the fields that `Vary` names, or more of the answer than its age, is left to that.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, IF_MODIFIED_SINCE, IF_NONE_MATCH, PRAGMA};
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::look_up::{self, Found, Usable, may_refresh_early};
use super::{Serve, Shared};
use crate::cache::variants::Variants;
use crate::client::Plain;
use crate::policy::conditional::Condition;
use crate::policy::key::KeyBuffer;
use crate::policy::vary::Selecting;
use crate::policy::{forwarding, hop, reuse};
use crate::respond::stored::{self, Asked};
use crate::respond::written::Hit;

/// The conditions that a plain request may have: whether what it has is still what is stored.
const CONDITIONS: [HeaderName; 2] = [IF_NONE_MATCH, IF_MODIFIED_SINCE];

impl Serve {
    /// Answers from memory, or not at all: then nothing has been written, counted or changed, but that the key was asked for.
    pub fn at_once(&self, request: &Plain<'_>, answer: &mut Vec<u8>) -> Option<Bytes> {
        let shared = &*self.0;
        let site = shared.site.load();
        if site.rules.look_at_fields() || site.expose_hidden {
            return None;
        }
        let nothing = HeaderMap::new();
        let routed = site.rules.route(&Method::GET, request.authority, request.path(), &nothing);
        let treatment = &*routed.treatment;
        let is_heeded = treatment.honour_client && request.has_any(&[CACHE_CONTROL, PRAGMA]);
        if routed.origin.is_none() || !treatment.lets_answers_be() || is_heeded {
            return None;
        }
        let scheme = request.scheme.as_str();
        let key = KeyBuffer::of(scheme, request.authority, request.target, &nothing, &treatment.key);
        let variants = shared.memory.get(key.as_bytes())?;
        let headers = telling(&variants, request);
        let now = shared.clock.now();
        let asked = Asked { method: &Method::GET, headers: &headers, treatment, expose_hidden: false, now };
        let Usable { entry, outcome, .. } = fresh(shared, &variants, &asked)?;
        let hit = Hit { entry: &entry, outcome: &outcome, now, request };
        let (status, length, body) = match stored::condition(&entry.head, &asked) {
            Condition::Proceed => {
                let body = hit.whole(answer)?;
                (entry.head.status, entry.body.len(), body)
            }
            Condition::NotModified => {
                hit.not_modified(answer)?;
                (StatusCode::NOT_MODIFIED, 0, Bytes::new())
            }
        };
        entry.count_hit();
        if variants.entries().len() > 1 {
            entry.used(now);
        }
        shared.telemetry.answered_at_once(request, status, outcome, length);
        Some(body)
    }
}

/// The fields of the request that count: its conditions, and those by which the stored responses are told apart, cleaned as
/// all are.
fn telling(variants: &Variants, request: &Plain<'_>) -> HeaderMap {
    let has_conditions = request.has_any(&CONDITIONS);
    if !has_conditions && variants.entries().iter().all(|entry| entry.head.selecting == Selecting::Any) {
        return HeaderMap::new();
    }
    let selects = |name: &HeaderName| {
        variants.entries().iter().any(|entry| entry.head.selecting.parts().any(|(selecting, _)| selecting == name))
    };
    let mut headers = request.headers(|name| CONDITIONS.contains(name) || selects(name));
    hop::strip(&mut headers);
    forwarding::drop_untrusted(&mut headers);
    forwarding::drop_unwanted(&mut headers);
    headers
}

/// The stored response that answers without anything to be done behind the client's back.
fn fresh(shared: &Shared, variants: &Variants, asked: &Asked<'_>) -> Option<Usable> {
    let Found::Usable(usable) = look_up::choose(&shared.ledger, Some(variants), asked, None) else { return None };
    let is_as_it_is = usable.outcome.detail.is_none() && !usable.refresh;
    let may_be_refreshed =
        may_refresh_early(&usable.entry, asked) && reuse::is_near_its_end(&usable.entry.head.freshness, asked.now);
    (is_as_it_is && !may_be_refreshed).then_some(usable)
}
