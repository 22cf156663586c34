//! What did the cache do, in the words of RFC 9211 (`Cache-Status`).
//!
//! Every answer that is not a fresh hit carries a [`Detail`] that says why; the list is closed, and the README
//! explains each word.

use http::StatusCode;

/// Why an answer is not a fresh hit. One word each, the same in `Cache-Status`, the access log and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Detail {
    // Why nothing stored was used.
    /// Nothing is stored under this key.
    NotStored,
    /// Something is stored under this key, but no variant for these request fields.
    NoVariant,
    /// The stored response is older than its freshness lifetime.
    Expired,
    /// The stored response says `no-cache`: it is revalidated every time.
    NoCache,
    /// The client asked for something fresher (`client_cache_control = "honour"`).
    ClientNoCache,
    /// A purge made the stored response stale.
    SoftPurged,
    /// The log of purges was not heard for longer than `redis.max_lag`: what is stored may have been purged.
    PurgeLogUnheard,
    /// A purge, or an unsafe method, removed the stored response a moment ago.
    Purged,
    /// Only a part of the representation is stored, and not the part that was asked for.
    Partial,
    // Why a fresh response took longer.
    /// The stored response came from the second tier.
    Redis,
    // Why a stale response was used.
    /// Stale, within `stale-while-revalidate`; a refresh is under way.
    StaleWhileRevalidate,
    /// Stale, because the origin could not be reached or answered with an error.
    StaleIfError,
    /// Stale, because the client's `max-stale` allows it.
    MaxStale,
    // Why it was passed.
    /// A rule says `action = "pass"`.
    RulePass,
    /// The method's answers are not stored.
    Method,
    /// A `GET` or `HEAD` with a body: the body is not in the key.
    RequestBody,
    /// The answer is a part whose `Content-Range` makes no sense.
    Range,
    /// The request asks to change the protocol (`Upgrade`).
    Upgrade,
    /// This URL gave an unshareable answer a moment ago; requests do not queue for it.
    HitForMiss,
    // Why the answer was not stored.
    /// `Cache-Control: no-store`.
    NoStore,
    /// `Cache-Control: private`.
    Private,
    /// `Set-Cookie` in the answer.
    SetCookie,
    /// The request carried `Authorization` and the answer does not allow sharing.
    Authorization,
    /// `Vary: *`.
    VaryStar,
    /// Neither a lifetime nor a validator: nothing to store it for.
    NoLifetime,
    /// The status may not be stored without an explicit lifetime, or not at all.
    Status,
    /// Larger than `memory.max_object`.
    TooLarge,
    /// One client's odd request (very long fields, bytes that are no text) got an error that others must not get.
    OddRequest,
    /// The client's `no-store` asked that the answer be not stored.
    ClientNoStore,
    // Our own answers.
    /// `only-if-cached`, and nothing stored would do.
    OnlyIfCached,
    /// A rule says `action = "deny"`.
    RuleDeny,
    /// A purge was asked for, and was carried out.
    Purge,
    /// A purge was asked for by somebody who may not.
    PurgeDenied,
    /// An authority looked for a token of ours, before it issues a certificate.
    AcmeChallenge,
    /// No origin fits the host.
    NoOrigin,
    /// The origin did not answer, and nothing stored would do.
    OriginError,
    /// The request was refused before it reached the cache.
    BadRequest,
    /// A fault of ours.
    InternalError,
}

impl Detail {
    /// Every word, for the documentation and the metrics.
    pub const ALL: &'static [Self] = &[
        Self::NotStored,
        Self::NoVariant,
        Self::Expired,
        Self::NoCache,
        Self::ClientNoCache,
        Self::SoftPurged,
        Self::PurgeLogUnheard,
        Self::Purged,
        Self::Partial,
        Self::Redis,
        Self::StaleWhileRevalidate,
        Self::StaleIfError,
        Self::MaxStale,
        Self::RulePass,
        Self::Method,
        Self::RequestBody,
        Self::Range,
        Self::Upgrade,
        Self::HitForMiss,
        Self::NoStore,
        Self::Private,
        Self::SetCookie,
        Self::Authorization,
        Self::VaryStar,
        Self::NoLifetime,
        Self::Status,
        Self::TooLarge,
        Self::OddRequest,
        Self::ClientNoStore,
        Self::OnlyIfCached,
        Self::RuleDeny,
        Self::Purge,
        Self::PurgeDenied,
        Self::AcmeChallenge,
        Self::NoOrigin,
        Self::OriginError,
        Self::BadRequest,
        Self::InternalError,
    ];

    /// The word, as a token of RFC 9110 §5.6.2.
    pub const fn token(self) -> &'static str {
        match self {
            Self::NotStored => "not-stored",
            Self::NoVariant => "no-variant",
            Self::Expired => "expired",
            Self::NoCache => "no-cache",
            Self::ClientNoCache => "client-no-cache",
            Self::SoftPurged => "soft-purged",
            Self::PurgeLogUnheard => "purge-log-unheard",
            Self::Redis => "redis",
            Self::Purged => "purged",
            Self::Partial => "partial",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::MaxStale => "max-stale",
            Self::RulePass => "rule-pass",
            Self::Method => "method",
            Self::RequestBody => "request-body",
            Self::Range => "range",
            Self::Upgrade => "upgrade",
            Self::HitForMiss => "hit-for-miss",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Authorization => "authorization",
            Self::VaryStar => "vary-star",
            Self::NoLifetime => "no-lifetime",
            Self::Status => "status",
            Self::TooLarge => "too-large",
            Self::OddRequest => "odd-request",
            Self::ClientNoStore => "client-no-store",
            Self::OnlyIfCached => "only-if-cached",
            Self::RuleDeny => "rule-deny",
            Self::Purge => "purge",
            Self::PurgeDenied => "purge-denied",
            Self::AcmeChallenge => "acme-challenge",
            Self::NoOrigin => "no-origin",
            Self::OriginError => "origin-error",
            Self::BadRequest => "bad-request",
            Self::InternalError => "internal-error",
        }
    }

    /// The rule that decides: of an RFC, or the key of `proxy.toml`.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::NotStored => "RFC 9111 §4 (the presented target URI matches no stored response)",
            Self::NoVariant => "RFC 9111 §4.1 (Vary)",
            Self::Expired => "RFC 9111 §4.2 (freshness), §4.3 (validation)",
            Self::NoCache => "RFC 9111 §5.2.2.4 (no-cache)",
            Self::ClientNoCache => "RFC 9111 §5.2.1 (request directives), rules.client_cache_control",
            Self::PurgeLogUnheard => "redis.max_lag; RFC 9111 §4.3 (validation)",
            Self::Redis => "RFC 9111 §4.2 (freshness)",
            Self::SoftPurged => "a soft purge; RFC 9111 §4.2.4 (serving stale)",
            Self::Purged => "a purge; RFC 9111 §4.4 (invalidation)",
            Self::Partial => "RFC 9111 §3.3 (incomplete responses)",
            Self::StaleWhileRevalidate => "RFC 5861 §3, rules.stale_while_revalidate",
            Self::StaleIfError => "RFC 5861 §4, rules.stale_if_error",
            Self::MaxStale => "RFC 9111 §5.2.1.2 (max-stale), rules.client_cache_control",
            Self::RulePass | Self::RuleDeny => "rules.action",
            Self::Method => "RFC 9110 §9.2.3 (methods and caching)",
            Self::RequestBody => "RFC 9110 §9.3.1 (content in a GET has no defined meaning)",
            Self::Range => "RFC 9110 §14.4 (Content-Range)",
            Self::Upgrade => "RFC 9110 §7.8 (Upgrade)",
            Self::HitForMiss => "RFC 9111 §4 (collapsed requests), rules.collapse",
            Self::NoStore => "RFC 9111 §5.2.2.5 (no-store), rules.override",
            Self::Private => "RFC 9111 §5.2.2.7 (private), rules.override",
            Self::SetCookie => "RFC 9111 §7.3 (Set-Cookie), rules.override",
            Self::Authorization => "RFC 9111 §3.5 (Authorization), rules.override",
            Self::VaryStar => "RFC 9110 §12.5.5 (Vary: *)",
            Self::NoLifetime => "RFC 9111 §4.2.1 (freshness lifetime)",
            Self::Status => "RFC 9111 §3 (which statuses may be stored), rules.ttl_by_status",
            Self::TooLarge => "memory.max_object",
            Self::OddRequest => "RFC 9111 §7.1 (cache poisoning)",
            Self::ClientNoStore => "RFC 9111 §5.2.1.5 (no-store), rules.client_cache_control",
            Self::OnlyIfCached => "RFC 9111 §5.2.1.7 (only-if-cached)",
            Self::Purge => "a PURGE request",
            Self::PurgeDenied => "purge.allow, admin.token",
            Self::AcmeChallenge => "server.tls.acme; RFC 8555 §8.3 (HTTP challenge)",
            Self::NoOrigin => "origins.hosts, rules.origin",
            Self::OriginError => "RFC 9110 §15.6.3 (bad gateway)",
            Self::BadRequest => "RFC 9112 §3 (request line), RFC 9110 §7",
            Self::InternalError => "RFC 9110 §15.6.1 (internal server error)",
        }
    }
}

/// Why the request went forward to the origin. RFC 9211 §2.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// Configured to pass.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing stored under this URI.
    UriMiss,
    /// Something stored, but no fitting variant.
    VaryMiss,
    /// The request's own directives required it.
    Request,
    /// Stored, but stale.
    Stale,
    /// A part is stored, and more is needed.
    Partial,
}

impl Forward {
    /// The word of RFC 9211 §2.2.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// How one request was answered: what `Cache-Status`, the access log and the metrics say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// A stored response answered, without waiting for the origin.
    pub hit: bool,
    /// Why the request went forward, where it did.
    pub forward: Option<Forward>,
    /// What the origin answered, where it did.
    pub forward_status: Option<StatusCode>,
    /// The answer was (or is being) stored.
    pub stored: bool,
    /// The request waited for another one's fetch.
    pub collapsed: bool,
    /// The remaining freshness lifetime in seconds; negative when stale.
    pub ttl: Option<i64>,
    /// Why it is not a fresh hit.
    pub detail: Option<Detail>,
}

impl Outcome {
    /// A fresh hit with `ttl` seconds to go.
    pub const fn fresh_hit(ttl: i64) -> Self {
        Self {
            hit: true,
            forward: None,
            forward_status: None,
            stored: false,
            collapsed: false,
            ttl: Some(ttl),
            detail: None,
        }
    }

    /// A request that goes forward.
    pub const fn forwarded(forward: Forward, detail: Detail) -> Self {
        Self {
            hit: false,
            forward: Some(forward),
            forward_status: None,
            stored: false,
            collapsed: false,
            ttl: None,
            detail: Some(detail),
        }
    }

    /// An answer that neither the cache nor an origin gave.
    pub const fn refused(detail: Detail) -> Self {
        Self {
            hit: false,
            forward: None,
            forward_status: None,
            stored: false,
            collapsed: false,
            ttl: None,
            detail: Some(detail),
        }
    }

    /// The class of the outcome, for logs and metrics.
    pub const fn result(&self) -> CacheResult {
        match (self.hit, self.forward, self.detail) {
            (true, _, None) => CacheResult::Hit,
            (true, _, Some(_)) => CacheResult::Stale,
            (false, None, Some(Detail::Purge)) => CacheResult::Purge,
            (false, None, _) => CacheResult::Refused,
            (false, Some(Forward::Stale), _) => CacheResult::Revalidated,
            (false, Some(Forward::Bypass | Forward::Method), _) => CacheResult::Pass,
            (false, Some(_), _) => CacheResult::Miss,
        }
    }
}

/// The classes in which requests are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// A fresh stored response answered.
    Hit,
    /// A stale stored response answered.
    Stale,
    /// The origin was asked about a stored response first.
    Revalidated,
    /// The origin was asked, nothing stored would do.
    Miss,
    /// Neither looked up nor stored.
    Pass,
    /// We answered ourselves, with an error.
    Refused,
    /// A `PURGE` was carried out.
    Purge,
}

impl CacheResult {
    /// Every class.
    pub const ALL: [Self; 7] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Pass, Self::Refused, Self::Purge];

    /// The word in logs and metrics.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Refused => "refused",
            Self::Purge => "purge",
        }
    }
}
