//! May this response be stored, and until when does it serve?

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};

use super::directives::{self, Governing, ResponseDirectives, Source};
use super::freshness::{self, Freshness};
use super::outcome::Detail;
use super::semantics::{self, Canonical};
use super::time::Timestamp;
use super::treatment::Treatment;

/// A request, its answer, and the rules for both.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The method of the request.
    pub method: &'a Method,
    /// The fields of the request, as the client sent them.
    pub request: &'a HeaderMap,
    /// The status of the answer; of a freshened response, its own and not 304.
    pub status: StatusCode,
    /// The fields of the answer; of a freshened response, with the 304's laid over them.
    pub response: &'a HeaderMap,
    /// What the rules of `proxy.toml` say.
    pub treatment: &'a Treatment,
    /// When the request was sent.
    pub requested_at: Timestamp,
    /// When the head of the answer arrived.
    pub received_at: Timestamp,
}

/// Says whether the answer to a `GET` may be stored, and settles its deadlines. The clauses stand in the RFC's order.
///
/// Not asked here: `Vary: *`, the size, whether the body was complete, and that a 206 is stored as a part only.
///
/// # Errors
///
/// Why it may not be stored.
///
/// RFC 9111 §3.
pub fn admit(exchange: &Exchange<'_>) -> Result<Freshness, Detail> {
    // "the request method is understood by the cache": HEAD has no body to store.
    if exchange.method != Method::GET {
        return Err(Detail::Method);
    }
    assess(exchange)
}

/// Says whether the answer to a `POST` may be stored, to answer later `GET`s of the same URI. The caller has made sure
/// that its `Content-Location` is that URI.
///
/// # Errors
///
/// Why it may not be stored.
///
/// RFC 9110 §9.3.3: only "when they include explicit freshness information and a Content-Location header field that
/// has the same value as the POST's target URI". Only a 200: with other statuses the body tells of the act.
pub fn admit_post(exchange: &Exchange<'_>) -> Result<Freshness, Detail> {
    if exchange.method != Method::POST {
        return Err(Detail::Method);
    }
    if exchange.status != StatusCode::OK {
        return Err(Detail::Status);
    }
    let governing = directives::governing(exchange.response);
    freshness::explicit_lifetime(&governing, exchange.response, exchange.received_at).ok_or(Detail::NoLifetime)?;
    assess(exchange)
}

/// Whether it may be stored, but for the method.
fn assess(exchange: &Exchange<'_>) -> Result<Freshness, Detail> {
    // "the response status code is final"; and ours: it can answer a later request.
    if is_answer_to_odd_request(exchange) {
        return Err(Detail::OddRequest);
    }
    if !is_storable_status(exchange.status) || is_ruled_out(exchange) {
        return Err(Detail::Status);
    }
    let governing = directives::governing(exchange.response);
    let governing = Governing { directives: counting(&governing.directives, exchange)?, ..governing };
    let stated = &governing.directives;
    // "the no-store cache directive is not present in the response"; in the request, where a rule honours it.
    if stated.no_store {
        return Err(Detail::NoStore);
    }
    if exchange.treatment.honour_client && directives::request(exchange.request).no_store {
        return Err(Detail::ClientNoStore);
    }
    // "if the cache is shared: the private response directive is either not present or allows a shared cache".
    if stated.private {
        return Err(Detail::Private);
    }
    // "if the cache is shared: the Authorization header field is not present in the request or a response directive
    // is present that explicitly allows shared caching": §3.5 names must-revalidate, public and s-maxage.
    let is_authorized =
        exchange.request.contains_key(header::AUTHORIZATION) && !exchange.treatment.overrides.authorization;
    if is_authorized && !(stated.must_revalidate || stated.public || stated.s_maxage.is_some()) {
        return Err(Detail::Authorization);
    }
    // Stricter than the RFC (§7.3 leaves it to the origin): a cookie is for the client that it was made for.
    if exchange.response.contains_key(header::SET_COOKIE) && !exchange.treatment.overrides.set_cookie {
        return Err(Detail::SetCookie);
    }
    let lifetime = Lifetime::of(exchange, &governing);
    // "at least one of: a public response directive; an Expires header field; a max-age response directive; if the
    // cache is shared: an s-maxage response directive; [...] a status code that is defined as heuristically
    // cacheable". A rule that gives a lifetime is the operator's cache extension (§5.2.3).
    if lifetime == Lifetime::Unknown && !stated.public && !is_ordinary(exchange.status) {
        return Err(Detail::Status);
    }
    Grounds { exchange, governing, lifetime, is_authorized }.freshness()
}

/// Whether a response of this status can answer anybody else.
fn is_storable_status(status: StatusCode) -> bool {
    // Not final, or an answer to one client's conditions and ranges, which are not in the key. And RFC 6585 §3 to
    // §6: "Responses with the 428 status code MUST NOT be stored by a cache", and so with 429, 431 and 511.
    !matches!(status.as_u16(), 0..200 | 304 | 412 | 416 | 428 | 429 | 431 | 511)
}

/// Whether it is an error that one client's odd request got. It must not become everybody's, whatever it states: what
/// made the request odd is not in the key, so we look at the request.
fn is_answer_to_odd_request(exchange: &Exchange<'_>) -> bool {
    matches!(exchange.status.as_u16(), 400 | 404 | 413 | 414 | 501) && is_odd(exchange.request)
}

/// Whether request fields are of the kind that servers stumble over: many bytes, or bytes that are no text.
fn is_odd(request: &HeaderMap) -> bool {
    // Servers in use take 8 KiB at least, and we add fields of our own.
    const MANY_BYTES: usize = 7 * 1024;
    let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    let bytes: usize = request.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    bytes > MANY_BYTES || !request.values().all(|value| value.as_bytes().iter().all(is_text))
}

/// Whether a rule gives this status no lifetime (`5xx = "0s"`): then it is not stored, unless it is an ordinary
/// answer that can be revalidated at every use.
fn is_ruled_out(exchange: &Exchange<'_>) -> bool {
    ttl_of_status(exchange) == Some(Duration::ZERO) && !(is_ordinary(exchange.status) && has_validator(exchange))
}

/// The lifetime that a rule gives to this status.
fn ttl_of_status(exchange: &Exchange<'_>) -> Option<Duration> {
    let mut patterns = exchange.treatment.ttl_by_status.iter();
    patterns.find(|(pattern, _)| pattern.matches(exchange.status)).map(|(_, ttl)| *ttl)
}

/// The directives that count, once `must-understand` and a rule's `override` have had their say.
fn counting(stated: &ResponseDirectives, exchange: &Exchange<'_>) -> Result<ResponseDirectives, Detail> {
    let overrides = exchange.treatment.overrides;
    let mut counting = *stated;
    if stated.must_understand {
        // "if [...] the must-understand cache directive is present: the cache understands the response status code".
        if !is_understood(exchange.status) {
            return Err(Detail::Status);
        }
        // §5.2.2.3: a cache that does "SHOULD ignore the no-store directive".
        counting.no_store = false;
    }
    counting.no_store &= !overrides.no_store;
    counting.private &= !overrides.private;
    counting.no_cache &= !overrides.no_cache;
    Ok(counting)
}

/// The final statuses of RFC 9110 §15, whose requirements for caches are met here or by the callers.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=303 | 307 | 308 | 400..=411 | 413..=415 | 417 | 421 | 422 | 426 | 500..=505
    )
}

/// Whether a rule's lifetime is meant for such an answer even if the origin states none, and whether it may be stored
/// for its validator alone. Not 414 and 501, although §4.2.2 lists them: one client's odd request would fill the key
/// for everybody. (With `Last-Modified` the origin itself takes them for something that lasts.)
fn is_ordinary(status: StatusCode) -> bool {
    freshness::is_heuristically_cacheable(status) && !matches!(status.as_u16(), 414 | 501)
}

/// Whether the origin can be asked if it is still good.
fn has_validator(exchange: &Exchange<'_>) -> bool {
    exchange.response.get(header::ETAG).is_some_and(|tag| !tag.is_empty())
        || freshness::last_modified(exchange.response, exchange.received_at).is_some()
}

/// A lifetime, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifetime {
    /// A rule, counted from arrival: whoever writes `ttl = "5m"` means five minutes here, whatever `Age` says.
    Rule(Duration),
    /// The origin, or a heuristic; counted from birth.
    Origin(Duration),
    /// Nobody, and nothing may be assumed.
    Unknown,
}

impl Lifetime {
    fn of(exchange: &Exchange<'_>, governing: &Governing) -> Self {
        let (treatment, response, received_at) = (exchange.treatment, exchange.response, exchange.received_at);
        if let Some(ttl) = ttl_of_status(exchange) {
            return Self::Rule(ttl);
        }
        let explicit = freshness::explicit_lifetime(governing, response, received_at);
        let may_assume = governing.directives.public || is_ordinary(exchange.status);
        // A rule for a path is made with its pages in mind: an error that states nothing does not live by it.
        if let Some(ttl) = treatment.ttl.filter(|_| explicit.is_some() || may_assume) {
            return Self::Rule(ttl);
        }
        if let Some(lifetime) = explicit {
            return Self::Origin(lifetime);
        }
        if let Some(ttl) = treatment.default_ttl.filter(|_| may_assume) {
            return Self::Rule(ttl);
        }
        // §4.2.2: not "when an explicit expiration time is present", and only for statuses "defined as heuristically
        // cacheable" or responses "marked as explicitly cacheable (e.g., with a public response directive)".
        let may_be_heuristic = governing.directives.public || freshness::is_heuristically_cacheable(exchange.status);
        let heuristic = may_be_heuristic.then(|| freshness::heuristic_lifetime(response, received_at)).flatten();
        heuristic.map_or(Self::Unknown, Self::Origin)
    }
}

/// A response that may be stored, as far as the clauses before the last go.
struct Grounds<'a> {
    exchange: &'a Exchange<'a>,
    /// The directives that count.
    governing: Governing,
    lifetime: Lifetime,
    is_authorized: bool,
}

impl Grounds<'_> {
    /// Settles the deadlines; fails where there is nothing to store it for.
    fn freshness(&self) -> Result<Freshness, Detail> {
        let Exchange { response, requested_at, received_at, .. } = *self.exchange;
        let stated = &self.governing.directives;
        let initial_age = freshness::initial_age(response, requested_at, received_at);
        let lifetime = self.agreed_lifetime(initial_age)?;
        let (stale_while_revalidate, stale_if_error) = self.stale_windows();
        let freshness = Freshness {
            stale_while_revalidate: stale_while_revalidate.into(),
            stale_if_error: stale_if_error.into(),
            validate_always: stated.no_cache,
            must_revalidate: self.forbids_stale(),
            ..Freshness::new(received_at, initial_age, lifetime)
        };
        // What is stale from the start may still stand in for a failing origin. Not by default what the origin gave no
        // time at all (`max-age=0`): it may be one user's page, whose origin trusts that it is asked every time.
        let was_ever_fresh = !lifetime.is_zero();
        let is_kept_for_stale_use = !stale_while_revalidate.is_zero()
            || ((stated.stale_if_error.is_some() || was_ever_fresh) && !stale_if_error.is_zero());
        if freshness.is_fresh(received_at) || has_validator(self.exchange) || is_kept_for_stale_use {
            return Ok(freshness);
        }
        Err(Detail::NoLifetime)
    }

    /// The lifetime from birth on which our reading and the library's agree: the lesser of the two. Doubt about a
    /// rule fails closed. With `no-cache` the library gives none from arrival on, as it should: no use of it is free.
    fn agreed_lifetime(&self, initial_age: Duration) -> Result<Duration, Detail> {
        let ours = match self.lifetime {
            Lifetime::Rule(ttl) => ttl.saturating_add(initial_age),
            Lifetime::Origin(lifetime) => lifetime,
            Lifetime::Unknown => Duration::ZERO,
        };
        let opinion = semantics::opinion(&self.canonical(initial_age));
        if !opinion.is_storable {
            return Err(Detail::Status);
        }
        Ok(ours.min(initial_age.saturating_add(opinion.time_to_live)))
    }

    /// What is put to the library.
    fn canonical(&self, initial_age: Duration) -> Canonical {
        let Exchange { response, status, received_at, .. } = *self.exchange;
        let mut directives = self.governing.directives;
        let expires = freshness::expires(response, received_at);
        if let Lifetime::Rule(ttl) = self.lifetime {
            let from_birth = ttl.saturating_add(initial_age);
            directives.max_age = Some(from_birth);
            directives.s_maxage = directives.s_maxage.map(|_| from_birth);
        }
        Canonical {
            is_heuristically_cacheable: freshness::is_heuristically_cacheable(status),
            directives,
            is_authorized: self.is_authorized,
            date: freshness::date_value(response, received_at),
            expires: expires.filter(|_| self.governing.source == Source::CacheControl),
            last_modified: freshness::last_modified(response, received_at),
            initial_age,
            received_at,
        }
    }

    /// How long it may serve stale: while it is refreshed, and in place of an error.
    fn stale_windows(&self) -> (Duration, Duration) {
        let stated = &self.governing.directives;
        let Exchange { treatment, status, .. } = *self.exchange;
        if stated.no_cache || stated.must_revalidate || stated.proxy_revalidate {
            return (Duration::ZERO, Duration::ZERO);
        }
        // §5.2.2.10: s-maxage stands for proxy-revalidate, too. An origin that states a window beside it (RFC 5861 §3)
        // has said which stale use it means; what it has not said stays forbidden.
        if stated.s_maxage.is_some() {
            return (stated.stale_while_revalidate.unwrap_or_default(), Duration::ZERO);
        }
        // The defaults are not for what nobody gave a lifetime: it may be one user's page, whose origin trusts that
        // it is asked every time. Nor for errors: an old one is no better than a new one.
        let has_defaults = self.lifetime != Lifetime::Unknown && !status.is_server_error();
        let or_default = |window: Option<Duration>, default: Duration| {
            window.unwrap_or(if has_defaults { default } else { Duration::ZERO })
        };
        (
            or_default(stated.stale_while_revalidate, treatment.stale_while_revalidate),
            or_default(stated.stale_if_error, treatment.stale_if_error),
        )
    }

    /// Whether it is never to be used stale.
    ///
    /// RFC 9111 §4.2.4: "prohibited by an explicit in-protocol directive (e.g., by a no-cache response directive, a
    /// must-revalidate response directive, or an applicable s-maxage or proxy-revalidate response directive)".
    /// `no-cache` is a flag of its own.
    fn forbids_stale(&self) -> bool {
        let stated = &self.governing.directives;
        stated.must_revalidate || stated.proxy_revalidate || stated.s_maxage.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

    use super::super::freshness::tests::{NOW, head};
    use super::super::treatment::{Overrides, StatusPattern};
    use super::*;

    const CC: &str = "cache-control";
    const CDN: &str = "cdn-cache-control";
    /// A day before now.
    const CHANGED: (&str, &str) = ("last-modified", "{-86400}");
    const TAG: (&str, &str) = ("etag", "\"a\"");
    const DATE: (&str, &str) = ("date", "{0}");
    const COOKIE: (&str, &str) = ("set-cookie", "a=b");
    const AUTHORIZED: &[(&str, &str)] = &[("authorization", "Basic eA==")];

    type Fields = &'static [(&'static str, &'static str)];

    fn judged(status: u16, request: Fields, response: Fields, treatment: &Treatment) -> Result<Freshness, Detail> {
        admit(&Exchange {
            method: &Method::GET,
            request: &head(request),
            status: StatusCode::from_u16(status).expect("a status"),
            response: &head(response),
            treatment,
            requested_at: NOW,
            received_at: NOW,
        })
    }

    /// The whole seconds for which it would be stored as fresh, or why it would not be stored.
    fn ttl(status: u16, request: Fields, response: Fields, treatment: &Treatment) -> Result<i64, Detail> {
        judged(status, request, response, treatment).map(|freshness| freshness.ttl(NOW).max(0))
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, one row a case")]
    fn clauses_of_rfc_9111_section_3_decide_without_rules() {
        type Case = (u16, Fields, Fields, Result<i64, Detail>, &'static str);
        use Detail::{Authorization, NoLifetime, NoStore, Private, SetCookie, Status};
        let cases: &[Case] = &[
            (200, &[], &[(CC, "max-age=60")], Ok(60), "explicit freshness"),
            (200, &[], &[], Err(NoLifetime), "nothing to store it for"),
            (200, &[], &[("pragma", "no-cache"), (CC, "max-age=60")], Ok(60), "Pragma means nothing in a response"),
            // Status.
            (299, &[], &[(CC, "max-age=60")], Ok(60), "any final status with explicit freshness"),
            (302, &[], &[("expires", "{60}"), DATE], Ok(60), "any final status with explicit freshness"),
            (400, &[], &[(CC, "max-age=60")], Ok(60), "any final status with explicit freshness"),
            (499, &[], &[(CC, "max-age=60")], Ok(60), "any final status with explicit freshness"),
            (503, &[], &[(CC, "max-age=60")], Ok(60), "any final status with explicit freshness"),
            (599, &[], &[(CC, "max-age=60")], Ok(60), "any final status with explicit freshness"),
            (206, &[], &[(CC, "max-age=60")], Ok(60), "a part, which the caller keeps as one"),
            (103, &[], &[(CC, "max-age=60")], Err(Status), "not final"),
            (304, &[], &[(CC, "max-age=60")], Err(Status), "an answer to a condition"),
            (412, &[], &[(CC, "max-age=60")], Err(Status), "an answer to a condition"),
            (416, &[], &[(CC, "max-age=60")], Err(Status), "an answer to a range"),
            (429, &[], &[(CC, "max-age=60")], Err(Status), "RFC 6585 §4"),
            (431, &[], &[(CC, "max-age=60")], Err(Status), "RFC 6585 §5"),
            // no-store and must-understand.
            (200, &[], &[(CC, "no-store")], Err(NoStore), "no-store"),
            (200, &[], &[(CC, "No-Store, max-age=60")], Err(NoStore), "in any case, before freshness"),
            (200, &[], &[(CC, "max-age=60, no-store, must-understand")], Ok(60), "we understand 200"),
            (204, &[], &[(CC, "max-age=60, no-store, must-understand")], Ok(60), "and 204"),
            (599, &[], &[(CC, "max-age=60, no-store, must-understand")], Err(Status), "and not 599"),
            (599, &[], &[(CC, "max-age=60, must-understand")], Err(Status), "with or without no-store"),
            (200, &[(CC, "no-store")], &[(CC, "max-age=60")], Ok(60), "a client's word does not count by default"),
            // private, Authorization, Set-Cookie.
            (200, &[], &[(CC, "Private, max-age=60")], Err(Private), "private"),
            (200, &[], &[(CC, "private=\"x-a\", max-age=60")], Err(Private), "private with a field list"),
            (200, AUTHORIZED, &[("expires", "{60}")], Err(Authorization), "§3.5"),
            (200, AUTHORIZED, &[(CC, "max-age=60")], Err(Authorization), "§3.5"),
            (200, AUTHORIZED, &[(CC, "max-age=60, proxy-revalidate")], Err(Authorization), "not one of the three"),
            (200, AUTHORIZED, &[(CC, "max-age=60, public")], Ok(60), "§3.5: public"),
            (200, AUTHORIZED, &[(CC, "max-age=60, must-revalidate")], Ok(60), "§3.5: must-revalidate"),
            (200, AUTHORIZED, &[(CC, "s-maxage=60")], Ok(60), "§3.5: s-maxage"),
            (200, &[("cookie", "a=b")], &[(CC, "max-age=60")], Ok(60), "a request's cookies do not bypass"),
            (200, &[], &[(CC, "max-age=60"), COOKIE], Err(SetCookie), "our departure, for safety"),
            (200, &[], &[(CC, "max-age=60, public"), COOKIE], Err(SetCookie), "whatever the origin says"),
            // Freshness.
            (200, &[], &[(CC, "proxy-revalidate, max-age=60")], Ok(60), "fresh all the same"),
            (200, &[], &[(CC, "max-age=60"), ("age", "30")], Ok(30), "less its age"),
            (
                200,
                &[],
                &[(CC, "max-age=60"), ("age", "60")],
                Ok(0),
                "as old as its lifetime: for a failing origin only",
            ),
            (200, &[], &[(CC, "max-age=2147483648"), ("age", "2147483648")], Ok(0), "no wrap"),
            (200, &[], &[(CC, "max-age=60"), ("date", "{-3600}")], Ok(0), "the apparent age counts"),
            (200, &[], &[(CC, "max-age=60, must-revalidate"), ("age", "60")], Err(NoLifetime), "no stale use at all"),
            (200, &[], &[(CC, "max-age=0")], Err(NoLifetime), "stale from the start, and nothing to ask with"),
            (200, &[], &[("expires", "0")], Err(NoLifetime), "stale from the start, and nothing to ask with"),
            (200, &[], &[(CC, "max-age='60'")], Err(NoLifetime), "invalid is stale"),
            (200, &[], &[(CC, "max-age=0"), TAG], Ok(0), "stored to be revalidated"),
            (302, &[], &[(CC, "max-age=0"), TAG], Ok(0), "stored to be revalidated: freshness is explicit"),
            (200, &[], &[TAG], Ok(0), "stored to be revalidated"),
            (200, &[], &[("etag", "")], Err(NoLifetime), "no tag"),
            (200, &[], &[("last-modified", "yesterday")], Err(NoLifetime), "no date to ask with"),
            (302, &[], &[TAG], Err(Status), "no freshness, no status of the list"),
            (200, &[], &[(CC, "no-cache"), TAG], Ok(0), "stored to be revalidated"),
            (200, &[], &[(CC, "no-cache, max-age=60"), TAG], Ok(0), "stored to be revalidated"),
            (200, &[], &[(CC, "no-cache, max-age=60")], Err(NoLifetime), "nothing to revalidate with"),
            (200, &[], &[(CC, "max-age=0, stale-while-revalidate=60")], Ok(0), "a window was asked for"),
            (200, &[], &[(CC, "max-age=0, stale-if-error=60")], Ok(0), "a window was asked for"),
            (200, &[], &[(CC, "max-age=0, stale-if-error=0")], Err(NoLifetime), "a window of nothing"),
            // Heuristics.
            (200, &[], &[CHANGED, DATE], Ok(8640), "10 %"),
            (414, &[], &[CHANGED, DATE], Ok(8640), "on the list, and the origin takes it for lasting"),
            (501, &[], &[CHANGED, DATE], Ok(8640), "on the list, and the origin takes it for lasting"),
            (201, &[], &[CHANGED, DATE], Err(Status), "not on the list"),
            (403, &[], &[CHANGED, DATE], Err(Status), "not on the list"),
            (599, &[], &[CHANGED, DATE], Err(Status), "not on the list"),
            (599, &[], &[CHANGED, DATE, (CC, "public")], Ok(8640), "public"),
            (599, &[], &[(CC, "public")], Err(NoLifetime), "public alone is no lifetime"),
            (501, &[], &[TAG], Err(Status), "one client's odd request must not fill the key"),
            (400, &[], &[CHANGED, DATE], Err(Status), "one client's odd request must not fill the key"),
            // Targeted fields.
            (200, &[], &[(CC, "no-store"), (CDN, "max-age=60")], Ok(60), "RFC 9213"),
            (200, &[], &[(CC, "max-age=60"), (CDN, "no-store")], Err(NoStore), "RFC 9213"),
            (200, &[], &[(CC, "max-age=60"), (CDN, "private")], Err(Private), "RFC 9213"),
            (200, &[], &[(CC, "no-store"), (CDN, "max-age=\"60\"")], Err(NoLifetime), "a string is no number"),
            (200, &[], &[(CC, "no-store"), (CDN, "max-age=60, &&&&&")], Err(NoStore), "a parse error"),
            (200, &[], &[("expires", "{60}"), (CDN, "public")], Err(NoLifetime), "it replaces Expires"),
            (200, &[], &[("expires", "0"), (CDN, "public"), CHANGED, DATE], Ok(8640), "a past one as well"),
        ];
        let treatment = Treatment::default();
        for &(status, request, response, want, why) in cases {
            assert_eq!(ttl(status, request, response, &treatment), want, "{status} {request:?} {response:?}: {why}");
        }
    }

    #[test]
    fn rules_replace_and_overrule_what_the_origin_states() {
        type Case<'a> = (&'a Treatment, u16, Fields, Fields, Result<i64, Detail>, &'static str);
        use Detail::{Authorization, ClientNoStore, NoLifetime, NoStore, Private, SetCookie, Status};
        let plain = Treatment::default;
        let secs = |seconds| Some(Duration::from_secs(seconds));
        let minute = Treatment { ttl: secs(60), ..plain() };
        let no_ttl = Treatment { ttl: secs(0), ..plain() };
        let minute_by_default = Treatment { default_ttl: secs(60), ..plain() };
        let no_default = Treatment { default_ttl: secs(0), ..plain() };
        let by_status = Treatment {
            ttl_by_status: vec![
                (StatusPattern::Exact(404), Duration::from_secs(10)),
                (StatusPattern::Exact(410), Duration::ZERO),
                (StatusPattern::Class(5), Duration::ZERO),
                (StatusPattern::Class(4), Duration::from_millis(1500)),
            ],
            stale_while_revalidate: Duration::from_secs(9),
            ..minute.clone()
        };
        let overruling = |overrides| Treatment { overrides, ..minute.clone() };
        let no_store = overruling(Overrides { no_store: true, ..Overrides::default() });
        let private = overruling(Overrides { private: true, ..Overrides::default() });
        let no_cache = overruling(Overrides { no_cache: true, ..Overrides::default() });
        let set_cookie = overruling(Overrides { set_cookie: true, ..Overrides::default() });
        let authorization = overruling(Overrides { authorization: true, ..Overrides::default() });
        let honour = Treatment { honour_client: true, ..plain() };
        let window = Treatment { stale_while_revalidate: Duration::from_secs(9), ..plain() };
        let cases: &[Case<'_>] = &[
            (&minute, 200, &[], &[(CC, "max-age=5")], Ok(60), "ttl replaces what is stated"),
            (&minute, 200, &[], &[], Ok(60), "and what is not stated"),
            (&minute, 200, &[], &[(CC, "s-maxage=5, max-age=9"), ("expires", "0")], Ok(60), "all of it"),
            (&minute, 200, &[], &[("age", "3600"), ("date", "{-7200}")], Ok(60), "it counts from arrival"),
            (&minute, 200, &[], &[("age", "2147483648")], Ok(0), "an age before the epoch stays stale"),
            (&minute, 200, AUTHORIZED, &[(CC, "s-maxage=5")], Ok(60), "s-maxage still allows sharing"),
            (&minute, 500, &[], &[], Err(Status), "an error that states nothing does not live by it"),
            (&minute, 400, &[], &[], Err(Status), "nor an answer to an odd request"),
            (&minute, 501, &[], &[], Err(Status), "nor one that is on the list"),
            (&minute, 302, &[], &[], Err(Status), "nor a redirection for now"),
            (&minute, 500, &[], &[(CC, "max-age=5")], Ok(60), "an error that states a lifetime has it replaced"),
            (&minute, 200, &[], &[(CC, "no-store")], Err(NoStore), "ttl alone never stores no-store"),
            (&minute, 200, &[], &[(CC, "private")], Err(Private), "nor private"),
            (&minute, 200, &[], &[COOKIE], Err(SetCookie), "nor Set-Cookie"),
            (&minute, 200, AUTHORIZED, &[], Err(Authorization), "nor Authorization"),
            (&minute, 200, &[], &[(CC, "no-cache")], Err(NoLifetime), "nor makes no-cache fresh"),
            (&no_ttl, 200, &[], &[(CC, "max-age=60")], Err(NoLifetime), "a lifetime of nothing"),
            (&no_ttl, 200, &[], &[(CC, "max-age=60"), TAG], Ok(0), "but for revalidation"),
            (&minute_by_default, 200, &[], &[], Ok(60), "the origin states none"),
            (&minute_by_default, 200, &[], &[CHANGED], Ok(60), "in place of the heuristic"),
            (&minute_by_default, 200, &[], &[(CC, "max-age=5")], Ok(5), "the origin states one"),
            (&minute_by_default, 200, &[], &[(CC, "max-age=0")], Err(NoLifetime), "zero is a statement"),
            (&minute_by_default, 200, &[], &[("age", "3600")], Ok(60), "it counts from arrival"),
            (&minute_by_default, 400, &[], &[], Err(Status), "not for an odd request"),
            (&minute_by_default, 503, &[], &[], Err(Status), "not for errors"),
            (&minute_by_default, 503, &[], &[(CC, "public")], Ok(60), "but for what is public"),
            (&no_default, 200, &[], &[CHANGED], Ok(0), "no heuristic, but for revalidation"),
            (&no_default, 200, &[], &[], Err(NoLifetime), "nothing"),
            (&by_status, 404, &[], &[(CC, "max-age=99")], Ok(10), "the first that fits, over the origin and ttl"),
            (&by_status, 403, &[], &[], Ok(1), "a class, in whole seconds"),
            (&by_status, 200, &[], &[], Ok(60), "ttl for the others"),
            (&by_status, 500, &[], &[(CC, "max-age=99")], Err(Status), "\"0s\": not this one"),
            (&by_status, 500, &[], &[(CC, "max-age=99"), TAG], Err(Status), "not even for revalidation"),
            (&by_status, 410, &[], &[], Err(Status), "not for a stale window either"),
            (&by_status, 410, &[], &[TAG], Ok(0), "an ordinary answer is revalidated"),
            (&by_status, 429, &[], &[], Err(Status), "RFC 6585 says never"),
            (&no_store, 200, &[], &[(CC, "no-store")], Ok(60), "overruled"),
            (&no_store, 200, &[], &[(CC, "private")], Err(Private), "only that one"),
            (&private, 200, &[], &[(CC, "private")], Ok(60), "overruled"),
            (&private, 200, &[], &[(CC, "no-store")], Err(NoStore), "only that one"),
            (&no_cache, 200, &[], &[(CC, "no-cache")], Ok(60), "overruled"),
            (&set_cookie, 200, &[], &[COOKIE], Ok(60), "overruled"),
            (&authorization, 200, AUTHORIZED, &[], Ok(60), "overruled"),
            (&honour, 200, &[(CC, "no-store")], &[(CC, "max-age=60")], Err(ClientNoStore), "honoured"),
            (&honour, 200, &[(CC, "no-cache")], &[(CC, "max-age=60")], Ok(60), "is about what was stored before"),
            (&window, 200, &[], &[(CC, "max-age=0")], Ok(0), "a rule asks for a stale window by name"),
            (&window, 200, &[], &[(CC, "max-age=0, must-revalidate")], Err(NoLifetime), "but the origin forbids it"),
        ];
        for &(treatment, status, request, response, want, why) in cases {
            assert_eq!(ttl(status, request, response, treatment), want, "{status} {request:?} {response:?}: {why}");
        }
    }

    #[test]
    fn stale_windows_are_the_origins_or_the_rules_and_none_where_forbidden() {
        type Case = (u16, Fields, [u64; 2], [bool; 2], &'static str);
        let treatment = Treatment { stale_while_revalidate: Duration::from_secs(7), ..Treatment::default() };
        let cases: &[Case] = &[
            // status, fields, [while-revalidate, if-error], [validate_always, must_revalidate], why
            (200, &[(CC, "max-age=60")], [7, 600], [false, false], "the rule's"),
            (
                200,
                &[(CC, "max-age=60, stale-while-revalidate=1, stale-if-error=2")],
                [1, 2],
                [false; 2],
                "the origin's",
            ),
            (200, &[(CC, "max-age=60, stale-if-error=0")], [7, 0], [false; 2], "zero is a statement"),
            (200, &[("surrogate-control", "max-age=60+5")], [5, 5], [false; 2], "in the older syntax"),
            (200, &[CHANGED], [7, 600], [false; 2], "with a heuristic"),
            (200, &[(CC, "max-age=60, must-revalidate, stale-if-error=2")], [0, 0], [false, true], "forbidden"),
            (200, &[(CC, "max-age=60, proxy-revalidate")], [0, 0], [false, true], "forbidden"),
            (200, &[(CC, "s-maxage=60, stale-while-revalidate=1")], [1, 0], [false, true], "what the origin states"),
            (200, &[(CC, "s-maxage=60, stale-if-error=1")], [0, 0], [false, true], "forbidden, the rule's window too"),
            (200, &[(CC, "no-cache, max-age=60"), TAG], [0, 0], [true, false], "forbidden"),
            (200, &[TAG], [0, 0], [false; 2], "no default where nobody gave a lifetime"),
            (200, &[TAG, (CC, "stale-if-error=2")], [0, 2], [false; 2], "but what the origin states"),
            (503, &[(CC, "max-age=60")], [0, 0], [false; 2], "an old error is no better than a new one"),
            (404, &[(CC, "max-age=60")], [7, 600], [false; 2], "a 404 is an answer"),
        ];
        for &(status, response, windows, flags, why) in cases {
            let freshness = judged(status, &[], response, &treatment).expect(why);
            let got = [freshness.stale_while_revalidate.as_secs(), freshness.stale_if_error.as_secs()];
            assert_eq!(got, windows, "{status} {response:?}: {why}");
            assert_eq!([freshness.validate_always, freshness.must_revalidate], flags, "{status} {response:?}: {why}");
        }
    }

    #[test]
    fn answers_to_odd_requests_are_not_stored_whatever_they_state() {
        let long = "a".repeat(8192);
        let requests: &[(&str, bool, &str)] = &[
            ("plain", true, "an ordinary request"),
            (&long, false, "more than some servers take"),
            ("caf\u{e9}", false, "bytes that are no text"),
        ];
        for &(value, want, why) in requests {
            for status in [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::OK] {
                let admitted = admit(&Exchange {
                    method: &Method::GET,
                    request: &head(&[("x-any", value)]),
                    status,
                    response: &head(&[(CC, "max-age=60")]),
                    treatment: &Treatment::default(),
                    requested_at: NOW,
                    received_at: NOW,
                });
                assert_eq!(admitted.is_ok(), want || status == StatusCode::OK, "{status}: {why}");
            }
        }
    }

    #[test]
    fn methods_other_than_get_are_not_stored_but_for_a_post_with_explicit_freshness() {
        type Case = (Method, StatusCode, Fields, [Result<i64, Detail>; 2], &'static str);
        let fresh: Fields = &[(CC, "max-age=60")];
        let assumed: Fields = &[CHANGED];
        let cases: &[Case] = &[
            (Method::GET, StatusCode::OK, fresh, [Ok(60), Err(Detail::Method)], "a GET"),
            (Method::HEAD, StatusCode::OK, fresh, [Err(Detail::Method); 2], "a HEAD has no body to store"),
            (Method::PUT, StatusCode::OK, fresh, [Err(Detail::Method); 2], "never"),
            (Method::POST, StatusCode::OK, fresh, [Err(Detail::Method), Ok(60)], "RFC 9110 §9.3.3"),
            (Method::POST, StatusCode::OK, assumed, [Err(Detail::Method), Err(Detail::NoLifetime)], "not explicit"),
            (Method::POST, StatusCode::CREATED, fresh, [Err(Detail::Method), Err(Detail::Status)], "tells of the act"),
        ];
        for (method, status, response, want, why) in cases {
            let exchange = Exchange {
                method,
                request: &HeaderMap::new(),
                status: *status,
                response: &head(response),
                treatment: &Treatment::default(),
                requested_at: NOW,
                received_at: NOW,
            };
            let got = [admit(&exchange), admit_post(&exchange)].map(|it| it.map(|freshness| freshness.ttl(NOW)));
            assert_eq!(got, *want, "{method} {status}: {why}");
        }
    }

    #[test]
    fn the_time_in_transit_is_part_of_the_age() {
        let admitted = admit(&Exchange {
            method: &Method::GET,
            request: &HeaderMap::new(),
            status: StatusCode::OK,
            response: &head(&[(CC, "max-age=60"), DATE]),
            treatment: &Treatment::default(),
            requested_at: NOW.minus(Duration::from_secs(5)),
            received_at: NOW,
        })
        .expect("it may be stored");
        assert_eq!((admitted.age(NOW), admitted.ttl(NOW)), (Duration::from_secs(5), 55));
    }

    /// Pieces of heads, good and bad, so that random ones often mean something.
    fn lines() -> impl Strategy<Value = (&'static str, String)> {
        let directive = prop_oneof![
            Just("no-store"),
            Just("No-Cache"),
            Just("private=\"a, b\""),
            Just("public"),
            Just("must-revalidate"),
            Just("proxy-revalidate"),
            Just("must-understand"),
            Just("max-age=60"),
            Just("MAX-AGE=\"60\""),
            Just("max-age=-1"),
            Just("s-maxage=30"),
            Just("s-maxage=99999999999999999999"),
            Just("x=\"no-store"),
            Just("stale-while-revalidate=9"),
            Just("stale-if-error=9"),
            Just("max-age=60;larder"),
            Just("max-age=6+6"),
        ];
        let list = vec(directive, 1..4).prop_map(|directives| directives.join(", "));
        let date = prop_oneof![
            (-100_000_i64..100_000).prop_map(|offset| format!("{{{offset}}}")),
            "[ -~]{0,30}".prop_map(|text| text.replace(['{', '}'], "")),
        ];
        let list_name = prop_oneof![4 => Just(CC), 1 => Just(CDN), 1 => Just("surrogate-control")];
        let date_name = prop_oneof![Just("date"), Just("expires"), Just("last-modified")];
        prop_oneof![
            3 => (list_name, list),
            3 => (date_name, date),
            1 => (Just("age"), "[0-9]{0,25}|[ -z]{0,4}"),
            1 => (Just("etag"), Just("\"a\"".to_owned())),
            1 => (Just("set-cookie"), Just("a=b".to_owned())),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn whatever_the_head_nothing_is_stored_that_must_not_be_nor_kept_longer_than_stated(
            lines in vec(lines(), 0..7),
            status in 100_u16..1000,
            is_authorized in any::<bool>(),
        ) {
            let fields: Vec<(&'static str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let response = head(&fields);
            let exchange = Exchange {
                method: &Method::GET,
                request: &head(if is_authorized { AUTHORIZED } else { &[] }),
                status: StatusCode::from_u16(status).expect("a status"),
                response: &response,
                treatment: &Treatment::default(),
                requested_at: NOW,
                received_at: NOW,
            };
            let Governing { directives: stated, .. } = directives::governing(&response);
            let Ok(freshness) = admit(&exchange) else { return Ok(()) };
            assert!(!stated.private && !response.contains_key(header::SET_COOKIE), "{fields:?}");
            assert!(!stated.no_store || stated.must_understand, "{fields:?}");
            let allows_sharing = stated.public || stated.must_revalidate || stated.s_maxage.is_some();
            assert!(!is_authorized || allows_sharing, "{fields:?}");
            assert_eq!(freshness.validate_always, stated.no_cache, "{fields:?}");
            if let Some(most) = stated.s_maxage.or(stated.max_age) {
                assert!(Duration::from(freshness.lifetime) <= most, "{fields:?}: {freshness:?}");
            }
            let forbids = stated.must_revalidate || stated.proxy_revalidate || stated.no_cache;
            if forbids || stated.s_maxage.is_some() {
                let while_revalidating = stated.stale_while_revalidate.filter(|_| !forbids).unwrap_or_default();
                let windows = [freshness.stale_while_revalidate, freshness.stale_if_error].map(Duration::from);
                assert_eq!(windows, [while_revalidating, Duration::ZERO], "{fields:?}");
            }
        }
    }
}
