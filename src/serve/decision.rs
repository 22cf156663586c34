//! What is to be done with a request, before anything is done? Live traffic and `explain` both ask here.

use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::failure::Failure;
use super::inquiry::{self, Way};
use super::look_up::{Found, Need, Usable, is_only_if_cached};
use super::site::Site;
use crate::client::Client;
use crate::policy::key::Key;
use crate::policy::outcome::Detail;
use crate::policy::route::Routed;
use crate::policy::treatment::OriginId;
use crate::policy::vary;

/// What the head of a request, and the rules, say of it.
pub(super) struct Course {
    pub(super) routed: Routed,
    pub(super) way: Way,
    pub(super) key: Key,
}

impl Course {
    /// Routes a clean request, normalises the fields that rules name, and builds its key.
    pub(super) fn of(site: &Site, client: &Client, target: &PathAndQuery, parts: &mut Parts, has_body: bool) -> Self {
        let routed = site.rules.route(&parts.method, &client.authority, target.path(), &parts.headers);
        let treatment = &routed.treatment;
        if !treatment.vary.is_empty() {
            vary::normalise(&mut parts.headers, &treatment.vary);
        }
        let way = inquiry::way(&parts.method, &parts.headers, has_body, treatment);
        let scheme = client.scheme.as_str();
        let key = Key::of(scheme, &client.authority, target.as_str(), &parts.headers, &treatment.key);
        Self { routed, way, key }
    }
}

/// What is done with a request.
pub(super) enum Decision {
    /// A stored response answers.
    Answer(Usable),
    /// The origin is asked about what is, or will be, stored.
    Ask(Need),
    /// The origin is asked for this client alone, and why.
    Pass(OriginId, Detail),
    /// We answer ourselves, and why.
    Refuse(Failure, Detail),
}

/// Decides. `look` looks up what is stored; it is asked only where that counts.
pub(super) fn decide(
    way: Way,
    origin: Option<OriginId>,
    (method, headers): (&Method, &HeaderMap),
    look: impl FnOnce() -> Found,
) -> Decision {
    let no_origin = || Decision::Refuse(Failure::no_origin(), Detail::NoOrigin);
    let only_if_cached = || Decision::Refuse(Failure::only_if_cached(), Detail::OnlyIfCached);
    match way {
        Way::Deny => Decision::Refuse(Failure::denied(), Detail::RuleDeny),
        Way::Pass(why) => match origin {
            None => no_origin(),
            Some(_) if is_read(method) && is_only_if_cached(headers) => only_if_cached(),
            Some(origin) => Decision::Pass(origin, why),
        },
        Way::Cache => match (look(), origin) {
            (Found::Usable(usable), Some(_)) => Decision::Answer(usable),
            // There is nobody to refresh it from: what is fresh answers all the same.
            (Found::Usable(usable), None) if usable.outcome.detail != Some(Detail::StaleWhileRevalidate) => {
                Decision::Answer(Usable { refresh: false, ..usable })
            }
            (_, None) => no_origin(),
            (Found::Needed(_), Some(_)) if is_only_if_cached(headers) => only_if_cached(),
            (Found::Needed(need), Some(_)) => Decision::Ask(need),
        },
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
