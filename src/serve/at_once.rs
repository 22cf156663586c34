//! Can what is stored answer a plain request at once?
//!
//! The same steps as [`super::Serve::answer`] and the same pieces decide, over those of the request's fields that count. What
//! has to ask, wait or refresh, or is more than a whole body, one range of it or "not modified", is left to that.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HOST, PRAGMA, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::look_up::{self, Found, Usable, may_refresh_early};
use super::{Serve, Shared};
use crate::cache::variants::Variants;
use crate::client::{Plain, WISHES, as_map};
use crate::policy::conditional::Condition;
use crate::policy::key::KeyBuffer;
use crate::policy::range::Wanted;
use crate::policy::treatment::{Action, Treatment};
use crate::policy::vary::{self, Selecting};
use crate::policy::{forwarding, hop, reuse};
use crate::respond::stored::{self, Asked};
use crate::respond::written::Hit;

impl Serve {
    /// Answers from memory, or not at all: then nothing has been written, counted or changed, but that the key was asked for.
    pub fn at_once(&self, request: &Plain<'_>, answer: &mut Vec<u8>) -> Option<Bytes> {
        let shared = &*self.0;
        let site = shared.site.load();
        if site.expose_hidden {
            return None;
        }
        // Most rules look at no fields, and most requests have none that count.
        let nothing = HeaderMap::new();
        let (looked_at, path) = (site.rules.fields(), request.path());
        let fields = chosen(!looked_at.is_empty(), request, |name| looked_at.contains(name));
        let fields = fields.as_ref().unwrap_or(&nothing);
        let (treatment, has_origin) = site.rules.treatment(&Method::GET, request.authority, path, fields);
        let treatment = &**treatment;
        let is_heeded = treatment.honour_client && request.has_any(&[CACHE_CONTROL, PRAGMA]);
        if !has_origin || treatment.action != Action::Cache || is_heeded || !Hit::can_follow(treatment) {
            return None;
        }
        let rules = &treatment.key;
        let named = chosen(rules.names_any(), request, |name| rules.names(name));
        let named = named.map(|fields| normalised(fields, treatment));
        let (scheme, fields) = (request.scheme.as_str(), named.as_ref().unwrap_or(&nothing));
        let key = KeyBuffer::of(scheme, request.authority, request.target, fields, rules);
        let variants = shared.memory.get_stored(key.as_bytes())?;
        let headers = telling(&variants, request).map(|fields| normalised(fields, treatment));
        let (now, headers) = (shared.clock.now(), headers.as_ref().unwrap_or(&nothing));
        let asked = Asked { method: &Method::GET, headers, treatment, expose_hidden: false, now };
        let Usable { entry, outcome, .. } = fresh(shared, &variants, &asked)?;
        let hit = Hit { entry: &entry, outcome: &outcome, asked: &asked, request };
        let (status, length, body) = match stored::condition(&entry.head, &asked) {
            Condition::NotModified => {
                hit.not_modified(answer)?;
                (StatusCode::NOT_MODIFIED, 0, Bytes::new())
            }
            Condition::Proceed => match stored::wanted(&entry, &asked) {
                Wanted::Whole => (entry.head.status, entry.body.len(), hit.whole(answer)?),
                Wanted::Parts(parts) => {
                    let [part] = &*parts else { return None };
                    (StatusCode::PARTIAL_CONTENT, part.end - part.start, hit.part(part, answer)?)
                }
                Wanted::Unsatisfiable => return None,
            },
        };
        entry.count_hit();
        variants.used(&entry, now);
        shared.telemetry.answered_at_once(request, status, outcome, length);
        Some(body)
    }
}

/// Those of the request's fields that `is_wanted`, if `any` is, clean as those of every other request are.
fn chosen(any: bool, request: &Plain<'_>, is_wanted: impl Fn(&HeaderName) -> bool) -> Option<HeaderMap> {
    any.then(|| {
        let mut headers = as_map(request.fields, |name| *name != HOST && is_wanted(name));
        hop::strip(&mut headers);
        if request.takes_trailers && is_wanted(&TE) {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if !request.is_trusted {
            forwarding::drop_untrusted(&mut headers);
        }
        forwarding::drop_unwanted(&mut headers);
        headers
    })
}

fn normalised(mut fields: HeaderMap, treatment: &Treatment) -> HeaderMap {
    vary::normalise(&mut fields, &treatment.vary);
    fields
}

/// The fields of the request that count: its wishes, and those by which the stored responses are told apart.
fn telling(variants: &Variants, request: &Plain<'_>) -> Option<HeaderMap> {
    let tell_apart = variants.entries().iter().any(|entry| entry.head.selecting != Selecting::Any);
    let selects = |name: &HeaderName| {
        variants.entries().iter().any(|entry| entry.head.selecting.parts().any(|(selecting, _)| selecting == name))
    };
    chosen(tell_apart || request.has_wishes, request, |name| WISHES.contains(name) || selects(name))
}

/// The stored response that answers without anything to be done behind the client's back.
fn fresh(shared: &Shared, variants: &Variants, asked: &Asked<'_>) -> Option<Usable> {
    let Found::Usable(usable) = look_up::choose(&shared.ledger, Some(variants), asked, None) else { return None };
    let is_as_it_is = usable.outcome.detail.is_none() && !usable.refresh;
    let may_be_refreshed =
        may_refresh_early(&usable.entry, asked) && reuse::is_near_its_end(&usable.entry.head.freshness, asked.now);
    (is_as_it_is && !may_be_refreshed).then_some(usable)
}
