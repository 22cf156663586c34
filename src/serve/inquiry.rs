//! One request on its way: what was asked, by whom, and what the rules say of it.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CACHE_CONTROL, PRAGMA, RANGE, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};

use super::site::Site;
use crate::body::request::RequestBody;
use crate::client::Client;
use crate::origin::Outbound;
use crate::policy::conditional;
use crate::policy::directives::{self, RequestDirectives};
use crate::policy::key::Key;
use crate::policy::outcome::Detail;
use crate::policy::route::Routed;
use crate::policy::scope::Labels;
use crate::policy::tag_fields;
use crate::policy::time::Timestamp;
use crate::policy::treatment::{Action, OriginId, Treatment};
use crate::respond::stored::Asked;

/// A request that needs more than a fresh stored response.
pub(super) struct Inquiry {
    pub(super) site: Arc<Site>,
    pub(super) method: Method,
    pub(super) target: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) client: Client,
    pub(super) routed: Routed,
    pub(super) key: Key,
}

/// What is done with a request before anything is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Look up, fetch, store.
    Cache,
    /// Straight to the origin.
    Pass(Detail),
    /// 403.
    Deny,
}

/// Which way a request goes, by its method, its rules and its form.
pub(super) fn way(method: &Method, headers: &HeaderMap, has_body: bool, treatment: &Treatment) -> Way {
    match treatment.action {
        Action::Deny => Way::Deny,
        Action::Pass => Way::Pass(Detail::RulePass),
        Action::Cache if !matches!(*method, Method::GET | Method::HEAD) => Way::Pass(Detail::Method),
        Action::Cache if headers.contains_key(UPGRADE) => Way::Pass(Detail::Upgrade),
        // The body is not in the key: what it asks for must not be stored under it.
        Action::Cache if has_body => Way::Pass(Detail::RequestBody),
        Action::Cache => Way::Cache,
    }
}

impl Inquiry {
    /// The same request as a refresh behind the client's back asks it: a plain GET, which nobody waits for.
    pub(super) fn for_refresh(&self) -> Self {
        let headers = conditional::without_conditions(&self.headers).into_owned();
        Self {
            site: Arc::clone(&self.site),
            method: Method::GET,
            target: self.target.clone(),
            headers,
            client: Client { interim: None, ..self.client.clone() },
            routed: self.routed.clone(),
            key: self.key.clone(),
        }
    }

    pub(super) fn treatment(&self) -> &Treatment {
        &self.routed.treatment
    }

    pub(super) fn origin(&self) -> Option<OriginId> {
        self.routed.origin
    }

    /// The client's own cache directives, where a rule honours them.
    pub(super) fn directives(&self) -> Option<RequestDirectives> {
        honoured_directives(&self.headers, self.treatment())
    }

    pub(super) fn asked(&self, now: Timestamp) -> Asked<'_> {
        Asked {
            method: &self.method,
            headers: &self.headers,
            treatment: self.treatment(),
            expose_hidden: self.site.expose_hidden,
            now,
        }
    }

    pub(super) fn wants_range(&self) -> bool {
        self.method == Method::GET && self.headers.contains_key(RANGE)
    }

    /// The names by which purges know what is fetched for this request, as far as they are known before the answer is:
    /// its URL, and the tags that rules give it.
    pub(super) fn labels(&self) -> Labels {
        self.tagged_labels(&HeaderMap::new())
    }

    /// The same, with the tags that a response with these fields has.
    pub(super) fn tagged_labels(&self, response: &HeaderMap) -> Labels {
        let of_rules = self.routed.tags.render(self.target.path());
        let tags = tag_fields::tags(response, &self.site.tag_headers, &of_rules);
        Labels::of(self.key.clone(), tags)
    }

    /// The request towards the origin, with these fields.
    pub(super) fn outbound<'a>(&'a self, mut headers: Cow<'a, HeaderMap>, body: RequestBody) -> Outbound<'a> {
        let treatment = self.treatment();
        if !treatment.request_headers.is_empty() {
            treatment.request_headers.apply(headers.to_mut());
        }
        Outbound {
            method: self.method.clone(),
            target: strip_prefix(&self.target, &treatment.strip_prefix),
            headers,
            client: &self.client,
            body,
            affinity: affinity(&self.key),
            upgrade: false,
        }
    }
}

/// The client's cache directives, where it sent any and a rule honours them.
pub(super) fn honoured_directives(headers: &HeaderMap, treatment: &Treatment) -> Option<RequestDirectives> {
    if treatment.honour_client { directives_of(headers) } else { None }
}

/// The client's cache directives, where it sent any.
pub(super) fn directives_of(headers: &HeaderMap) -> Option<RequestDirectives> {
    let stated = headers.contains_key(CACHE_CONTROL) || headers.contains_key(PRAGMA);
    stated.then(|| directives::request(headers))
}

fn affinity(key: &Key) -> u64 {
    use std::hash::BuildHasher;
    foldhash::fast::FixedState::default().hash_one(key.as_bytes())
}

/// The target without the rule's prefix; the root is left of a target that is all prefix.
fn strip_prefix(target: &PathAndQuery, prefix: &str) -> PathAndQuery {
    let Some(rest) = target.as_str().strip_prefix(prefix).filter(|_| !prefix.is_empty()) else { return target.clone() };
    let rooted = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    PathAndQuery::try_from(rooted).unwrap_or_else(|_| target.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripped_target_stays_a_target() {
        let cases = [
            // target       prefix    want        why
            ("/v1/a?b=1", "/v1", "/a?b=1", "the prefix goes"),
            ("/v1", "/v1", "/", "the root is left"),
            ("/v1?x", "/v1", "/?x", "the root is left before a query"),
            ("/v1/a", "/v1/", "/a", "also where the prefix takes the slash along"),
            ("/other", "/v1", "/other", "no prefix, no change"),
            ("/a", "", "/a", "nothing to strip"),
        ];
        for (target, prefix, want, why) in cases {
            let target = PathAndQuery::from_static(target);
            assert_eq!(strip_prefix(&target, prefix).as_str(), want, "{why}");
        }
    }

    #[test]
    fn only_bodiless_reads_are_looked_up() {
        let treat = |action| Treatment { action, ..Treatment::default() };
        let upgrade: HeaderMap = [(UPGRADE, "websocket".parse().expect("valid"))].into_iter().collect();
        let none = HeaderMap::new();
        let cases = [
            // method       fields    body   action         want                            why
            (Method::GET, &none, false, Action::Cache, Way::Cache, "a plain read"),
            (Method::HEAD, &none, false, Action::Cache, Way::Cache, "HEAD shares the key of GET"),
            (Method::POST, &none, true, Action::Cache, Way::Pass(Detail::Method), "an unsafe method"),
            (Method::GET, &none, true, Action::Cache, Way::Pass(Detail::RequestBody), "a body outside the key"),
            (Method::GET, &upgrade, false, Action::Cache, Way::Pass(Detail::Upgrade), "another protocol"),
            (Method::GET, &none, false, Action::Pass, Way::Pass(Detail::RulePass), "the rule's word"),
            (Method::POST, &none, true, Action::Deny, Way::Deny, "the rule's word goes first"),
        ];
        for (method, headers, body, action, want, why) in cases {
            assert_eq!(way(&method, headers, body, &treat(action)), want, "{why}");
        }
    }
}
