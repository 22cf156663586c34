//! How long is a response fresh, and how old is it?

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::directives::{Governing, Source};
use super::time::{Timestamp, parse_http_date};

/// RFC 9111 §1.2.2: the greatest age and the greatest lifetime there are.
pub(super) const GREATEST: Duration = Duration::from_secs(1 << 31);

/// The deadlines of a stored response, settled when it is stored: a fresh hit compares two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The moment at which its age was 0: received, less the age it had then.
    pub born: Timestamp,
    /// The freshness lifetime, counted from `born`.
    pub lifetime: Duration,
    /// How long after its lifetime it may serve while a refresh is under way; zero where that is forbidden.
    pub stale_while_revalidate: Duration,
    /// How long after its lifetime it may serve in place of an error; zero where that is forbidden.
    pub stale_if_error: Duration,
    /// `no-cache`: never used without asking the origin first.
    pub validate_always: bool,
    /// `must-revalidate`, `proxy-revalidate`, `s-maxage`: never used stale, whatever a client accepts.
    pub must_revalidate: bool,
}

impl Freshness {
    /// A response that arrived at `received_at` with an age, fresh until it has reached `lifetime`; no stale use.
    pub(super) fn new(received_at: Timestamp, initial_age: Duration, lifetime: Duration) -> Self {
        // A birth before the epoch cannot be written down. The lifetime is cut to what is left of the age, so that
        // nothing becomes younger by it.
        let written_age = received_at.since(Timestamp::EPOCH).min(initial_age);
        let lifetime = if written_age < initial_age { lifetime.min(written_age) } else { lifetime };
        Self {
            born: received_at.minus(written_age),
            lifetime,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            validate_always: false,
            must_revalidate: false,
        }
    }

    /// The current age (RFC 9111 §4.2.3); `Age` is its whole seconds.
    pub const fn age(&self, now: Timestamp) -> Duration {
        now.since(self.born)
    }

    /// The moment from which it is stale.
    pub fn fresh_until(&self) -> Timestamp {
        self.born.plus(self.lifetime)
    }

    /// Whether its age is less than its lifetime (RFC 9111 §4.2).
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now < self.fresh_until()
    }

    /// The whole seconds for which it is still fresh, rounded down; zero and less when it is stale.
    ///
    /// The `ttl` of `Cache-Status` (RFC 9211 §2.5).
    pub fn ttl(&self, now: Timestamp) -> i64 {
        let millis = |moment: Timestamp| i64::try_from(moment.as_millis()).unwrap_or(i64::MAX);
        (millis(self.fresh_until()) - millis(now)).div_euclid(1000)
    }
}

/// Returns the freshness lifetime that a response states, for a shared cache.
///
/// `None`: nothing is stated, a heuristic may apply. Zero is a statement, not an absence. `Expires` is compared with
/// the origin's `Date`, not with our clock, so that a clock that is wrong is wrong twice and does no harm.
///
/// RFC 9111 §4.2.1.
pub fn explicit_lifetime(governing: &Governing, response: &HeaderMap, received_at: Timestamp) -> Option<Duration> {
    let directives = &governing.directives;
    // "If the cache is shared and the s-maxage response directive is present, use its value, or
    // if the max-age response directive is present, use its value, or
    directives.s_maxage.or(directives.max_age).or_else(|| {
        // if the Expires response header field is present, use its value minus the value of the Date".
        // RFC 9213 §2.2: a targeted field that governs takes the place of Expires too.
        let expires = (governing.source == Source::CacheControl).then(|| expires(response, received_at)).flatten()?;
        Some(expires.since(date_value(response, received_at)).min(GREATEST))
    })
}

/// Returns the freshness lifetime to assume where none is stated: 10 % of the time since the last change, in
/// whole seconds.
///
/// `None`: there is no valid `Last-Modified`, or it is later than `Date`. Whether the status allows a heuristic is
/// [`is_heuristically_cacheable`].
///
/// RFC 9111 §4.2.2.
pub fn heuristic_lifetime(response: &HeaderMap, received_at: Timestamp) -> Option<Duration> {
    let modified = last_modified(response, received_at)?;
    let date = date_value(response, received_at);
    (modified <= date).then(|| Duration::from_secs(date.since(modified).as_secs() / 10).min(GREATEST))
}

/// Whether a heuristic lifetime may be assumed for a status without `public`.
///
/// RFC 9110 §15.1.
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Returns the age that a response has when it has arrived: what it says of itself and the time in transit, or the
/// time since its `Date`, whichever is more.
///
/// We believe the origin's clock as the RFC does: an origin whose clock is an hour slow gives responses that are an
/// hour old. (A rule's `ttl` counts from arrival, and is the way out.)
///
/// RFC 9111 §4.2.3.
pub fn initial_age(response: &HeaderMap, requested_at: Timestamp, received_at: Timestamp) -> Duration {
    // apparent_age = max(0, response_time - date_value), in whole seconds: a date has no more.
    let apparent_age = received_at.whole_seconds().since(date_value(response, received_at));
    // response_delay = response_time - request_time; corrected_age_value = age_value + response_delay
    let response_delay = received_at.since(requested_at);
    let corrected_age_value = age_value(response).saturating_add(response_delay);
    // corrected_initial_age = max(apparent_age, corrected_age_value)
    apparent_age.max(corrected_age_value).min(GREATEST)
}

/// Reads `Age`; zero where there is none that is valid.
///
/// RFC 9111 §5.1: of a list or of several lines the first member counts, and what is not a non-negative integer is
/// ignored. §1.2.2: no wrap above 2^31.
fn age_value(response: &HeaderMap) -> Duration {
    let Some(line) = response.get(header::AGE) else { return Duration::ZERO };
    let first = line.as_bytes().split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return Duration::ZERO;
    }
    let seconds = first.iter().fold(0_u64, |number, byte| {
        number.saturating_mul(10).saturating_add(u64::from(byte - b'0')).min(GREATEST.as_secs())
    });
    Duration::from_secs(seconds)
}

/// Reads `Date`; the moment of receipt where there is none that is valid.
///
/// RFC 9110 §6.6.1: a recipient with a clock "that receives a response message without a Date header field MUST
/// record the time it was received".
pub fn date_value(response: &HeaderMap, received_at: Timestamp) -> Timestamp {
    only_line(response, &header::DATE)
        .and_then(|text| parse_http_date(text, received_at))
        .unwrap_or_else(|| received_at.whole_seconds())
}

/// Reads `Last-Modified`. `None`: not there, not a date, or more than one.
pub(super) fn last_modified(response: &HeaderMap, received_at: Timestamp) -> Option<Timestamp> {
    parse_http_date(only_line(response, &header::LAST_MODIFIED)?, received_at)
}

/// Reads `Expires`. `None`: not there.
///
/// RFC 9111 §5.3: what is not a date, "especially the value "0"", is a time in the past. Two lines are no date.
pub(super) fn expires(response: &HeaderMap, received_at: Timestamp) -> Option<Timestamp> {
    response.contains_key(header::EXPIRES).then(|| {
        only_line(response, &header::EXPIRES)
            .and_then(|text| parse_http_date(text, received_at))
            .unwrap_or(Timestamp::EPOCH)
    })
}

/// The value of a field that has exactly one line.
fn only_line<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).into_iter();
    let first = lines.next()?;
    lines.next().is_none().then(|| first.as_bytes())
}
