//! How long is a response fresh, and how old is it?

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use super::directives::{Governing, Source};
use super::fields::Fields;
use super::time::{Span, Timestamp, parse_http_date};

/// RFC 9111 §1.2.2: the greatest age and the greatest lifetime there are.
pub const GREATEST: Duration = Duration::from_secs(1 << 31);

/// The deadlines of a stored response, settled when it is stored: a fresh hit compares two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The moment at which its age was 0: received, less the age it had then.
    pub born: Timestamp,
    /// The freshness lifetime, counted from `born`.
    pub lifetime: Span,
    /// How long after its lifetime it may serve while a refresh is under way; zero where that is forbidden.
    pub stale_while_revalidate: Span,
    /// How long after its lifetime it may serve in place of an error; zero where that is forbidden.
    pub stale_if_error: Span,
    /// `no-cache`: never used without asking the origin first.
    pub validate_always: bool,
    /// `must-revalidate`, `proxy-revalidate`, `s-maxage`: never used stale, whatever a client accepts.
    pub must_revalidate: bool,
}

impl Freshness {
    /// A response that arrived at `received_at` with an age, fresh until it has reached `lifetime`; no stale use.
    pub fn new(received_at: Timestamp, initial_age: Duration, lifetime: Duration) -> Self {
        // A birth before the epoch cannot be written down. The lifetime is cut to what is left of the age, so that
        // nothing becomes younger by it.
        let written_age = received_at.since(Timestamp::EPOCH).min(initial_age);
        let lifetime = if written_age < initial_age { lifetime.min(written_age) } else { lifetime };
        Self {
            born: received_at.minus(written_age),
            lifetime: lifetime.into(),
            stale_while_revalidate: Span::ZERO,
            stale_if_error: Span::ZERO,
            validate_always: false,
            must_revalidate: false,
        }
    }

    /// The current age (RFC 9111 §4.2.3); `Age` is its whole seconds.
    pub const fn age(&self, now: Timestamp) -> Duration {
        now.since(self.born)
    }

    /// The same response once it may no longer answer anybody but the client that it came for.
    #[must_use]
    pub fn spent(self) -> Self {
        let zero = Span::ZERO;
        Self { lifetime: zero, stale_while_revalidate: zero, stale_if_error: zero, ..self }
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
    response
        .only(&header::DATE)
        .and_then(|text| parse_http_date(text, received_at))
        .unwrap_or_else(|| received_at.whole_seconds())
}

/// Reads `Last-Modified`. `None`: not there, not a date, or more than one.
pub(super) fn last_modified(response: &HeaderMap, received_at: Timestamp) -> Option<Timestamp> {
    parse_http_date(response.only(&header::LAST_MODIFIED)?, received_at)
}

/// Reads `Expires`. `None`: not there.
///
/// RFC 9111 §5.3: what is not a date, "especially the value "0"", is a time in the past. Two lines are no date.
pub(super) fn expires(response: &HeaderMap, received_at: Timestamp) -> Option<Timestamp> {
    response.contains_key(header::EXPIRES).then(|| {
        response.only(&header::EXPIRES).and_then(|text| parse_http_date(text, received_at)).unwrap_or(Timestamp::EPOCH)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::directives::governing;
    use super::super::time::format_http_date;
    use http::HeaderName;

    use super::*;

    /// 1 July 2026, 12:00:00.250.
    pub(in super::super) const NOW: Timestamp = Timestamp::from_millis(1_782_907_200_250);

    /// Makes a head; `{+10}` stands for the date 10 seconds after now.
    pub(in super::super) fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = match value.strip_prefix('{').and_then(|value| value.strip_suffix('}')) {
                Some(offset) => date(offset.parse().expect("an offset in seconds")),
                None => (*value).to_owned(),
            };
            headers.append(
                HeaderName::from_static(name),
                http::HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
            );
        }
        headers
    }

    fn date(offset: i64) -> String {
        let distance = Duration::from_secs(offset.unsigned_abs());
        let moment = if offset < 0 { NOW.minus(distance) } else { NOW.plus(distance) };
        String::from_utf8_lossy(&format_http_date(moment)).into_owned()
    }

    #[expect(clippy::unnecessary_wraps, reason = "a column of options reads better without Some")]
    const fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn the_lifetime_is_the_first_that_is_stated() {
        const CC: &str = "cache-control";
        type Case = (&'static [(&'static str, &'static str)], Option<Duration>, &'static str);
        let cases: &[Case] = &[
            (&[], None, "nothing stated"),
            (&[(CC, "max-age=0, s-maxage=3600"), ("expires", "{-10}")], secs(3600), "s-maxage is preferred"),
            (&[(CC, "max-age=3600, s-maxage=1")], secs(1), "also where it is less"),
            (&[(CC, "max-age=3600"), ("expires", "{-7200}"), ("date", "{0}")], secs(3600), "max-age over Expires"),
            (&[(CC, "max-age=3600"), ("expires", "0")], secs(3600), "also over an invalid one"),
            (&[(CC, "max-age=0"), ("expires", "{3600}")], secs(0), "zero is a statement, not an absence"),
            (&[(CC, "max-age=x"), ("expires", "{3600}")], secs(0), "an invalid one too"),
            (&[("expires", "{3600}"), ("date", "{0}")], secs(3600), "Expires minus Date"),
            (&[("expires", "{20}"), ("date", "{10}")], secs(10), "both fast"),
            (&[("expires", "{10}"), ("date", "{-10}")], secs(20), "both slow"),
            (&[("expires", "{300}"), ("date", "{400}")], secs(0), "Expires before Date"),
            (&[("expires", "{0}"), ("date", "{0}")], secs(0), "the present has no lifetime"),
            (&[("expires", "{10}")], secs(10), "no Date: the receipt"),
            (&[("expires", "{10}"), ("date", "foo")], secs(10), "an invalid Date: the receipt"),
            (&[("expires", "{10}"), ("date", "{-9}"), ("date", "{-9}")], secs(10), "two Dates are none"),
            (&[("expires", "0"), ("date", "{0}")], secs(0), "not a date: past"),
            (&[("expires", ""), ("date", "{0}")], secs(0), "empty: past"),
            (&[("expires", "{3600}"), ("expires", "{3600}"), ("date", "{0}")], secs(0), "two lines: past"),
            (&[("expires", "Sun, 21 Nov 2286 04:46:39 GMT"), ("date", "{0}")], secs(1 << 31), "far ahead"),
            (&[("expires", "Thursday, 18-Aug-50 02:01:18 GMT"), ("date", "{0}")], secs(761_493_678), "RFC 850"),
            (&[("cdn-cache-control", "public"), ("expires", "{3600}")], None, "a targeted field replaces Expires"),
            (&[("surrogate-control", "max-age=0"), ("expires", "{3600}")], secs(0), "so does the older one"),
        ];
        for &(fields, want, why) in cases {
            let headers = head(fields);
            assert_eq!(explicit_lifetime(&governing(&headers), &headers, NOW), want, "{fields:?}: {why}");
        }
    }

    #[test]
    fn the_heuristic_takes_a_tenth_of_the_time_since_the_last_change() {
        type Case = (&'static [(&'static str, &'static str)], Option<Duration>, &'static str);
        let cases: &[Case] = &[
            (&[("last-modified", "{-86400}"), ("date", "{0}")], secs(8640), "a day"),
            (&[("last-modified", "{-86400}")], secs(8640), "no Date: the receipt"),
            (&[("last-modified", "{-5}"), ("date", "{0}")], secs(0), "whole seconds"),
            (&[("last-modified", "{0}"), ("date", "{0}")], secs(0), "just changed"),
            (&[("last-modified", "{10}"), ("date", "{0}")], None, "changed in the future"),
            (&[("last-modified", "yesterday"), ("date", "{0}")], None, "not a date"),
            (&[("last-modified", "{-86400}"), ("last-modified", "{-86400}")], None, "two lines"),
            (&[("date", "{0}")], None, "never without Last-Modified"),
        ];
        for &(fields, want, why) in cases {
            assert_eq!(heuristic_lifetime(&head(fields), NOW), want, "{fields:?}: {why}");
        }
    }

    #[test]
    fn the_initial_age_counts_every_way_a_response_can_be_old() {
        type Case = (&'static [(&'static str, &'static str)], u64, u64, &'static str);
        let cases: &[Case] = &[
            // fields, time in transit (ms), age on arrival (ms), why
            (&[], 0, 0, "nothing known, nothing waited"),
            (&[("date", "{0}")], 0, 0, "the milliseconds of now are not an age"),
            (&[("date", "{0}")], 700, 700, "the time in transit counts"),
            (&[("age", "30")], 700, 30_700, "on top of Age"),
            (&[("date", "{-7200}")], 700, 7_200_000, "the apparent age"),
            (&[("date", "{-7200}"), ("age", "30")], 0, 7_200_000, "the greater of both"),
            (&[("date", "{-10}"), ("age", "25")], 0, 25_000, "the greater of both"),
            (&[("date", "{60}")], 0, 0, "a clock that is fast makes nothing younger than new"),
            (&[("age", "0, 7200")], 0, 0, "the first member"),
            (&[("age", "7200, 0")], 0, 7_200_000, "the first member"),
            (&[("age", "7200,0")], 0, 7_200_000, "without space"),
            (&[("age", "0"), ("age", "7200")], 0, 0, "the first line"),
            (&[("age", "7200"), ("age", "0")], 0, 7_200_000, "the first line"),
            (&[("age", "abc")], 0, 0, "not an integer: ignored"),
            (&[("age", "-7200")], 0, 0, "negative: ignored"),
            (&[("age", "7200.0")], 0, 0, "a fraction: ignored"),
            (&[("age", "7200;foo=1")], 0, 0, "a parameter: ignored"),
            (&[("age", "")], 0, 0, "empty: ignored"),
            (&[("age", ",7200")], 0, 0, "an empty first member: ignored"),
            (&[("age", "2147483647")], 0, 2_147_483_647_000, "below the limit"),
            (&[("age", "2147483648")], 0, 2_147_483_648_000, "the limit"),
            (&[("age", "18446744073709551615")], 9, 2_147_483_648_000, "no wrap"),
            (&[("age", "99999999999999999999999")], 9, 2_147_483_648_000, "no overflow"),
        ];
        for &(fields, transit, want, why) in cases {
            let requested_at = NOW.minus(Duration::from_millis(transit));
            assert_eq!(initial_age(&head(fields), requested_at, NOW), Duration::from_millis(want), "{fields:?}: {why}");
        }
    }

    #[test]
    fn a_response_is_fresh_while_its_age_is_less_than_its_lifetime() {
        let freshness = Freshness::new(NOW, Duration::from_secs(30), Duration::from_mins(1));
        let at = |millis: u64| NOW.plus(Duration::from_millis(millis));
        let cases: &[(u64, bool, i64, u64, &str)] = &[
            // ms after arrival, fresh, ttl, age, why
            (0, true, 30, 30, "on arrival"),
            (999, true, 29, 30, "ttl and age are whole seconds, rounded down"),
            (29_999, true, 0, 59, "the last moment"),
            (30_000, false, 0, 60, "as old as its lifetime is stale"),
            (30_001, false, -1, 60, "rounded down below zero too"),
            (90_000, false, -60, 120, "long past"),
        ];
        for &(millis, is_fresh, ttl, age, why) in cases {
            let now = at(millis);
            let got = (freshness.is_fresh(now), freshness.ttl(now), freshness.age(now).as_secs());
            assert_eq!(got, (is_fresh, ttl, age), "{millis} ms: {why}");
        }
    }

    #[test]
    fn an_age_beyond_the_epoch_leaves_a_response_stale() {
        let freshness = Freshness::new(NOW, GREATEST, GREATEST);
        assert!(!freshness.is_fresh(NOW), "{freshness:?}");
        let later = NOW.plus(Duration::from_secs(1));
        assert!(!freshness.is_fresh(later), "{freshness:?}");
    }

    #[test]
    fn statuses_of_the_heuristic_are_those_of_rfc_9110() {
        let listed = [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];
        for code in 100..=999 {
            let status = StatusCode::from_u16(code).expect("a status");
            assert_eq!(is_heuristically_cacheable(status), listed.contains(&code), "{code}");
        }
    }
}
