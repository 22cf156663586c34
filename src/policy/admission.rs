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
    if !is_storable_status(exchange) || is_ruled_out(exchange) {
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

/// Whether a stored response of this status can answer anybody else.
fn is_storable_status(exchange: &Exchange<'_>) -> bool {
    match exchange.status.as_u16() {
        // Not final, or an answer to one client's conditions and ranges, which are not in the key. And RFC 6585 §3 to
        // §6: "Responses with the 428 status code MUST NOT be stored by a cache", and so with 429, 431 and 511.
        0..200 | 304 | 412 | 416 | 428 | 429 | 431 | 511 => false,
        // An answer to one client's odd request must not become everybody's, whatever it states. What made the
        // request odd is not in the key, so we look at the request.
        400 | 404 | 413 | 414 | 501 => !is_odd(exchange.request),
        _ => true,
    }
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
            stale_while_revalidate,
            stale_if_error,
            validate_always: stated.no_cache,
            must_revalidate: self.forbids_stale(),
            ..Freshness::new(received_at, initial_age, lifetime)
        };
        // A stale window must have been asked for by name to keep what is stale from the start. With the default of
        // `stale_if_error` every `max-age=0` page would be kept, and its readers would queue for each other.
        let is_kept_for_stale_use =
            !stale_while_revalidate.is_zero() || (stated.stale_if_error.is_some() && !stale_if_error.is_zero());
        let is_usable = freshness.is_fresh(received_at) && !stated.no_cache;
        if is_usable || has_validator(self.exchange) || is_kept_for_stale_use {
            return Ok(freshness);
        }
        Err(Detail::NoLifetime)
    }

    /// The lifetime from birth on which our reading and the library's agree: the lesser of the two. Doubt about a
    /// rule fails closed.
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
        if stated.no_cache || self.forbids_stale() {
            return (Duration::ZERO, Duration::ZERO);
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
