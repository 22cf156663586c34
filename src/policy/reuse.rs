//! May a stored response answer this request now?

use std::time::Duration;

use http::StatusCode;

use super::directives::{MaxStale, RequestDirectives};
use super::freshness::Freshness;
use super::outcome::Detail;
use super::time::{Span, Timestamp};

/// What the purges say of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No purge names it.
    Alive,
    /// A soft purge does: it is stale from then on, whatever its lifetime. Its stale windows (RFC 5861) begin with the
    /// purge, or with the end of its lifetime where that came first: a purge shortens a response's life, never
    /// prolongs it.
    Stale {
        /// When it was purged first. The epoch where that is not known, since purges were folded or numbered by another
        /// log: then there are no windows, and nothing is served before the origin was asked.
        since: Timestamp,
    },
    /// No purge that is known does; but the log of purges has not been heard for too long, and there may be others. The
    /// origin is asked before it is used; where that fails it may stand in, as without a purge: a node that is cut off
    /// from the log is often cut off from the origin, too.
    Unheard,
    /// A hard purge does: it is gone.
    Dead,
}

/// What may be done with a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Fresh,
    /// It answers, and is refreshed in the background (RFC 5861 §3).
    StaleWhileRevalidate,
    /// It answers, because the client accepts it that stale (RFC 9111 §5.2.1.2).
    MaxStale,
    /// The origin is asked first, with its validators; and why.
    Validate(Detail),
    /// It is not to be used at all, not even its validators; and why.
    Unusable(Detail),
}

/// Whether a response may answer requests that came while it was being fetched: those that it could be reused for.
///
/// RFC 9111 §4.
pub fn is_shareable(freshness: &Freshness, now: Timestamp) -> bool {
    matches!(judge(freshness, Standing::Alive, None, now), Verdict::Fresh | Verdict::StaleWhileRevalidate)
}

/// Whether an answer is an error of the origin for which something stale may stand in.
///
/// RFC 5861 §4: "an error is any situation that would result in a 500, 502, 503, or 504".
pub fn is_origin_trouble(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// How long requests do not queue for a URL whose answer could not be shared.
pub const UNSHAREABLE_FOR: Duration = Duration::from_mins(1);

/// Whom an answer that could not be stored tells that it is no use to queue for this URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    /// Everybody: it is the response that forbids sharing.
    Everybody,
    /// Those who send `Authorization`.
    Authorized,
    /// Nobody: it says something of one request, or of a passing trouble.
    Nobody,
}

/// What is learnt from an answer of this status that was not stored, and why it was not.
pub fn lesson(status: StatusCode, why: Detail) -> Lesson {
    if is_origin_trouble(status) {
        return Lesson::Nobody;
    }
    match why {
        Detail::NoStore
        | Detail::Private
        | Detail::SetCookie
        | Detail::VaryStar
        | Detail::NoLifetime
        | Detail::TooLarge
        | Detail::Status => Lesson::Everybody,
        Detail::Authorization => Lesson::Authorized,
        _ => Lesson::Nobody,
    }
}

/// Says whether a stored response may answer now. `wanted` is `None` where the client's directives do not count.
///
/// RFC 9111 §4, §4.2.4, §5.2.1.
pub fn judge(freshness: &Freshness, standing: Standing, wanted: Option<&RequestDirectives>, now: Timestamp) -> Verdict {
    if standing == Standing::Dead {
        return Verdict::Unusable(Detail::Purged);
    }
    // §4: a stored response with no-cache is not reused "unless it is successfully validated".
    if freshness.validate_always {
        return Verdict::Validate(Detail::NoCache);
    }
    let is_fresh = standing == Standing::Alive && freshness.is_fresh(now);
    let Some(wanted) = wanted else {
        return if is_fresh { Verdict::Fresh } else { stale(freshness, standing, now) };
    };
    if asks_for_fresher(freshness, wanted, now) {
        return Verdict::Validate(Detail::ClientNoCache);
    }
    if is_fresh {
        return Verdict::Fresh;
    }
    match stale(freshness, standing, now) {
        // §5.2.1.1, §5.2.1.3: who limits the age, or asks for freshness to be left, does not want it stale,
        // "unless the max-stale request directive is also present".
        Verdict::StaleWhileRevalidate if wanted.max_stale.is_none() && limits_age(wanted) => {
            Verdict::Validate(Detail::ClientNoCache)
        }
        Verdict::Validate(_) if accepts_stale(freshness, standing, wanted, now) => Verdict::MaxStale,
        verdict => verdict,
    }
}

/// Says whether a stored response may answer because the origin could not be reached or answered with an error.
///
/// RFC 9111 §4.2.4, RFC 5861 §4.
pub fn may_serve_on_error(freshness: &Freshness, standing: Standing, now: Timestamp) -> bool {
    if standing == Standing::Dead || freshness.validate_always {
        return false;
    }
    // A response that is fresh (the client had asked for better, or we for word of purges) is not stale use; a soft
    // purge makes it that.
    if matches!(standing, Standing::Alive | Standing::Unheard) && freshness.is_fresh(now) {
        return true;
    }
    !freshness.must_revalidate && is_within(freshness, standing, freshness.stale_if_error, now)
}

/// The whole seconds for which it is still fresh, rounded down; zero and less from a soft purge on.
///
/// The `ttl` of `Cache-Status`: RFC 9211 §2.5, "can be negative, to indicate staleness".
pub fn ttl(freshness: &Freshness, standing: Standing, now: Timestamp) -> i64 {
    match standing {
        // Since when is not known, or whether at all: it is not to be used unasked.
        Standing::Stale { since: Timestamp::EPOCH } | Standing::Unheard => freshness.ttl(now).min(0),
        Standing::Stale { since } => {
            freshness.ttl(now).min(Freshness { born: since, lifetime: Span::ZERO, ..*freshness }.ttl(now))
        }
        Standing::Alive | Standing::Dead => freshness.ttl(now),
    }
}

/// Says whether a fresh response is to be refreshed now, so that no client waits when it expires.
///
/// `XFetch`: the dearer the fetch, the sooner; `random` is from (0, 1] and makes one of many requests begin it, with
/// the greatest likelihood just before the end. The lead is at most 10 % of the lifetime: an origin that is slow for
/// a while must not be asked all the time.
pub fn refresh_early(
    freshness: &Freshness,
    now: Timestamp,
    fetch_cost: Duration,
    random: impl FnOnce() -> f64,
) -> bool {
    if freshness.validate_always || !freshness.is_fresh(now) || !is_near_its_end(freshness, now) {
        return false;
    }
    let greatest = greatest_lead(freshness);
    let lead = fetch_cost.as_secs_f64() * -random().ln();
    let lead = Duration::try_from_secs_f64(lead).unwrap_or(Duration::ZERO).min(greatest);
    now.plus(lead) >= freshness.fresh_until()
}

/// Whether a refresh may be early: no lead reaches further, so for most of a lifetime no number is drawn.
pub fn is_near_its_end(freshness: &Freshness, now: Timestamp) -> bool {
    now.plus(greatest_lead(freshness)) >= freshness.fresh_until()
}

fn greatest_lead(freshness: &Freshness) -> Duration {
    Duration::from(freshness.lifetime) / 10
}

/// What may be done with a stale one.
fn stale(freshness: &Freshness, standing: Standing, now: Timestamp) -> Verdict {
    if standing == Standing::Unheard {
        return Verdict::Validate(Detail::PurgeLogUnheard);
    }
    // The window is zero where the origin forbids stale use.
    if is_within(freshness, standing, freshness.stale_while_revalidate, now) {
        return Verdict::StaleWhileRevalidate;
    }
    Verdict::Validate(if standing == Standing::Alive { Detail::Expired } else { Detail::SoftPurged })
}

/// Whether it has been stale for less than `window`. A soft purge makes it stale before its lifetime ends.
fn is_within(freshness: &Freshness, standing: Standing, window: Span, now: Timestamp) -> bool {
    let expired = freshness.fresh_until();
    let stale_since = match standing {
        // Not left to the arithmetic: the longest window, 2^31 s, reaches from the epoch into 2038.
        Standing::Stale { since: Timestamp::EPOCH } => return false,
        Standing::Stale { since } => since.min(expired),
        Standing::Alive | Standing::Unheard | Standing::Dead => expired,
    };
    now < stale_since.plus(window)
}

/// Whether the client wants something fresher than what is stored, were it stale or not.
fn asks_for_fresher(freshness: &Freshness, wanted: &RequestDirectives, now: Timestamp) -> bool {
    // §5.2.1.4: no stored response "without successful validation on the origin server".
    wanted.no_cache
        // §5.2.1.1: "an age that is less than or equal to the specified number of seconds".
        || wanted.max_age.is_some_and(|greatest| freshness.age(now) > greatest)
        // §5.2.1.3: "still be fresh for at least the specified number of seconds".
        || wanted.min_fresh.is_some_and(|least| now.plus(least) > freshness.fresh_until())
}

const fn limits_age(wanted: &RequestDirectives) -> bool {
    wanted.max_age.is_some() || wanted.min_fresh.is_some()
}

/// Whether the client takes it as stale as it is, and is allowed to.
fn accepts_stale(freshness: &Freshness, standing: Standing, wanted: &RequestDirectives, now: Timestamp) -> bool {
    // §4.2.4: not where the response forbids it. A soft purge is the operator's word, and outranks the client's.
    if freshness.must_revalidate || matches!(standing, Standing::Stale { .. } | Standing::Unheard) {
        return false;
    }
    match wanted.max_stale {
        None => false,
        Some(MaxStale::Any) => true,
        Some(MaxStale::Within(window)) => now.since(freshness.fresh_until()) <= window,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BORN: Timestamp = Timestamp::from_millis(1_000_000_000);
    const SIXTY: Span = Span::from_secs(60);

    /// Fresh for 60 s, then 10 s while it is refreshed and 100 s in place of errors.
    const PLAIN: Freshness = Freshness {
        born: BORN,
        lifetime: SIXTY,
        stale_while_revalidate: Span::from_secs(10),
        stale_if_error: Span::from_secs(100),
        validate_always: false,
        must_revalidate: false,
    };
    const NO_WINDOWS: Freshness = Freshness { stale_while_revalidate: Span::ZERO, stale_if_error: Span::ZERO, ..PLAIN };
    const NO_CACHE: Freshness = Freshness { validate_always: true, ..PLAIN };
    const MUST_REVALIDATE: Freshness = Freshness { must_revalidate: true, ..NO_WINDOWS };

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(BORN.as_millis() + seconds * 1000)
    }

    #[test]
    fn without_a_client_time_and_purges_decide() {
        use Standing::{Alive, Dead};
        const STALE: Standing = Standing::Stale { since: BORN };
        use Verdict::{Fresh, StaleWhileRevalidate, Unusable, Validate};
        let cases: &[(&Freshness, Standing, u64, Verdict, &str)] = &[
            (&PLAIN, Alive, 0, Fresh, "new"),
            (&PLAIN, Alive, 59, Fresh, "the last second"),
            (&PLAIN, Alive, 60, StaleWhileRevalidate, "within the window"),
            (&PLAIN, Alive, 69, StaleWhileRevalidate, "the window's last second"),
            (&PLAIN, Alive, 70, Validate(Detail::Expired), "not beyond its window"),
            (&NO_WINDOWS, Alive, 60, Validate(Detail::Expired), "no window"),
            (&MUST_REVALIDATE, Alive, 59, Fresh, "fresh all the same"),
            (&MUST_REVALIDATE, Alive, 60, Validate(Detail::Expired), "never stale"),
            (
                &Freshness { must_revalidate: true, ..PLAIN },
                Alive,
                60,
                StaleWhileRevalidate,
                "s-maxage with a window of its own",
            ),
            (&NO_CACHE, Alive, 0, Validate(Detail::NoCache), "revalidated every time"),
            (&PLAIN, Dead, 0, Unusable(Detail::Purged), "purged"),
            (&NO_CACHE, Dead, 0, Unusable(Detail::Purged), "purged: not even its validators"),
            (&PLAIN, STALE, 0, StaleWhileRevalidate, "softly purged: it may serve stale"),
            (&PLAIN, STALE, 70, Validate(Detail::SoftPurged), "softly purged, beyond the window"),
            (&NO_WINDOWS, STALE, 0, Validate(Detail::SoftPurged), "softly purged without a window: asked first"),
            (&PLAIN, Standing::Unheard, 0, Validate(Detail::PurgeLogUnheard), "it may have been purged unheard"),
            (&PLAIN, Standing::Unheard, 65, Validate(Detail::PurgeLogUnheard), "then it serves no while either"),
            (&NO_CACHE, Standing::Unheard, 0, Validate(Detail::NoCache), "it is asked about anyway"),
            (&MUST_REVALIDATE, STALE, 0, Validate(Detail::SoftPurged), "softly purged, never stale"),
            (&NO_CACHE, STALE, 0, Validate(Detail::NoCache), "softly purged, revalidated anyway"),
        ];
        for &(freshness, standing, seconds, want, why) in cases {
            assert_eq!(judge(freshness, standing, None, at(seconds)), want, "{standing:?} at {seconds}: {why}");
        }
    }

    #[test]
    fn a_client_that_is_heard_can_ask_for_fresher_and_accept_staler() {
        use Verdict::{Fresh, StaleWhileRevalidate, Validate};
        const NONE: RequestDirectives = RequestDirectives {
            no_store: false,
            no_cache: false,
            only_if_cached: false,
            max_age: None,
            min_fresh: None,
            max_stale: None,
        };
        #[expect(clippy::unnecessary_wraps, reason = "a column of options reads better without Some")]
        const fn secs(seconds: u64) -> Option<Duration> {
            Some(Duration::from_secs(seconds))
        }
        const ANY: Option<MaxStale> = Some(MaxStale::Any);
        const WITHIN_20: Option<MaxStale> = Some(MaxStale::Within(Duration::from_secs(20)));
        const CLIENT: Verdict = Validate(Detail::ClientNoCache);
        const EXPIRED: Verdict = Validate(Detail::Expired);
        let alive: &[(&Freshness, RequestDirectives, u64, Verdict, &str)] = &[
            (&PLAIN, NONE, 59, Fresh, "nothing asked"),
            (&PLAIN, NONE, 60, StaleWhileRevalidate, "nothing asked"),
            (&PLAIN, RequestDirectives { no_cache: true, ..NONE }, 0, CLIENT, "no-cache"),
            (&PLAIN, RequestDirectives { max_age: secs(0), ..NONE }, 0, Fresh, "as young as that"),
            (&PLAIN, RequestDirectives { max_age: secs(0), ..NONE }, 1, CLIENT, "older"),
            (&PLAIN, RequestDirectives { max_age: secs(30), ..NONE }, 30, Fresh, "less than or equal"),
            (&PLAIN, RequestDirectives { max_age: secs(99), ..NONE }, 65, CLIENT, "max-age alone wants nothing stale"),
            (
                &PLAIN,
                RequestDirectives { max_age: secs(99), max_stale: ANY, ..NONE },
                65,
                StaleWhileRevalidate,
                "unless max-stale is there too",
            ),
            (&PLAIN, RequestDirectives { min_fresh: secs(60), ..NONE }, 0, Fresh, "at least that fresh"),
            (&PLAIN, RequestDirectives { min_fresh: secs(60), ..NONE }, 1, CLIENT, "less"),
            (&PLAIN, RequestDirectives { min_fresh: secs(0), ..NONE }, 65, CLIENT, "not fresh at all"),
            (&NO_WINDOWS, RequestDirectives { max_stale: ANY, ..NONE }, 9999, Verdict::MaxStale, "however stale"),
            (&NO_WINDOWS, RequestDirectives { max_stale: WITHIN_20, ..NONE }, 80, Verdict::MaxStale, "that stale"),
            (&NO_WINDOWS, RequestDirectives { max_stale: WITHIN_20, ..NONE }, 81, EXPIRED, "staler"),
            (&MUST_REVALIDATE, RequestDirectives { max_stale: ANY, ..NONE }, 61, EXPIRED, "the response forbids it"),
            (&NO_CACHE, RequestDirectives { max_stale: ANY, ..NONE }, 0, Validate(Detail::NoCache), "so does no-cache"),
            (&PLAIN, RequestDirectives { no_store: true, ..NONE }, 0, Fresh, "no-store is about the answer"),
        ];
        for &(freshness, wanted, seconds, want, why) in alive {
            let verdict = judge(freshness, Standing::Alive, Some(&wanted), at(seconds));
            assert_eq!(verdict, want, "{wanted:?} at {seconds}: {why}");
        }
        let any = RequestDirectives { max_stale: ANY, ..NONE };
        let verdict = judge(&NO_WINDOWS, Standing::Stale { since: BORN }, Some(&any), at(0));
        assert_eq!(verdict, Validate(Detail::SoftPurged), "a client does not outrank the operator");
        let verdict = judge(&PLAIN, Standing::Dead, Some(&any), at(0));
        assert_eq!(verdict, Verdict::Unusable(Detail::Purged), "and brings nothing back");
    }

    #[test]
    fn errors_are_covered_within_the_window_and_never_where_it_is_forbidden() {
        use Standing::{Alive, Dead};
        const STALE: Standing = Standing::Stale { since: BORN };
        let cases: &[(&Freshness, Standing, u64, bool, &str)] = &[
            (&PLAIN, Alive, 10, true, "fresh: a client had asked for better"),
            (&PLAIN, Alive, 60, true, "stale, within the window"),
            (&PLAIN, Alive, 159, true, "the window's last second"),
            (&PLAIN, Alive, 160, false, "beyond the window"),
            (&NO_WINDOWS, Alive, 60, false, "no window"),
            (&MUST_REVALIDATE, Alive, 60, false, "must-revalidate"),
            (&Freshness { must_revalidate: true, ..PLAIN }, Alive, 60, false, "whatever window it was given"),
            (&NO_CACHE, Alive, 0, false, "no-cache"),
            (&PLAIN, STALE, 10, true, "softly purged"),
            (&NO_WINDOWS, STALE, 10, false, "softly purged without a window"),
            (&MUST_REVALIDATE, STALE, 10, false, "softly purged, never stale"),
            (&PLAIN, Dead, 10, false, "purged"),
        ];
        for &(freshness, standing, seconds, want, why) in cases {
            assert_eq!(may_serve_on_error(freshness, standing, at(seconds)), want, "{standing:?} at {seconds}: {why}");
        }
    }

    #[test]
    fn a_soft_purge_begins_the_stale_windows_and_never_prolongs_them() {
        use Verdict::{StaleWhileRevalidate, Validate};
        /// Fresh for an hour; the windows of `PLAIN`, 10 s and 100 s.
        const HOUR: Freshness = Freshness { lifetime: Span::from_secs(3600), ..PLAIN };
        /// As the origin may have it, in the longest windows that there are.
        const ENDLESS: Freshness = Freshness {
            stale_while_revalidate: Span::from_secs(1 << 31),
            stale_if_error: Span::from_secs(1 << 31),
            ..HOUR
        };
        const BOUND: Freshness = Freshness { must_revalidate: true, ..HOUR };
        const OVER: Verdict = Validate(Detail::SoftPurged);
        // fresh until, purged at (`None`: not known when), looked at, what may be done, on an error, why
        type Case<'a> = (&'a Freshness, Option<u64>, u64, Verdict, bool, &'a str);
        let cases: &[Case<'_>] = &[
            (&HOUR, Some(5), 5, StaleWhileRevalidate, true, "at once"),
            (&HOUR, Some(5), 14, StaleWhileRevalidate, true, "9 s after the purge, within the window of 10"),
            (&HOUR, Some(5), 15, OVER, true, "the first moment after it"),
            (&HOUR, Some(5), 16, OVER, true, "11 s after the purge, with most of its lifetime left"),
            (&HOUR, Some(5), 104, OVER, true, "99 s after, within the window for errors"),
            (&HOUR, Some(5), 105, OVER, false, "and beyond it"),
            (&HOUR, Some(5), 3605, OVER, false, "the end of its lifetime opens no window again"),
            (&PLAIN, Some(65), 69, StaleWhileRevalidate, true, "it had expired before: 9 s after that"),
            (&PLAIN, Some(65), 70, OVER, true, "10 s after the expiry, 5 s after the purge"),
            (&PLAIN, Some(65), 160, OVER, false, "the window for errors counts from the expiry too"),
            (&PLAIN, Some(60), 69, StaleWhileRevalidate, true, "purged as it expires"),
            (&PLAIN, Some(999), 69, StaleWhileRevalidate, true, "a purge from a clock that is ahead prolongs nothing"),
            (&PLAIN, Some(999), 70, OVER, true, "and ends no later than without it"),
            (&HOUR, None, 0, OVER, false, "not known when: no window, within its lifetime neither"),
            (&ENDLESS, None, 0, OVER, false, "however long the windows are"),
            (&ENDLESS, Some(5), 3600 * 24 * 365, StaleWhileRevalidate, true, "a window that is known to be open"),
            (&BOUND, Some(5), 6, StaleWhileRevalidate, false, "a window of its own beside s-maxage; errors not"),
            (&MUST_REVALIDATE, Some(5), 6, OVER, false, "must-revalidate leaves no window"),
            (&NO_WINDOWS, Some(5), 6, OVER, false, "nor has one that was given none"),
            (&NO_CACHE, Some(5), 6, Validate(Detail::NoCache), false, "no-cache was never to be used stale"),
        ];
        for &(freshness, purged, seconds, want, covers, why) in cases {
            let standing = Standing::Stale { since: purged.map_or(Timestamp::EPOCH, at) };
            assert_eq!(judge(freshness, standing, None, at(seconds)), want, "{standing:?} at {seconds}: {why}");
            assert_eq!(
                may_serve_on_error(freshness, standing, at(seconds)),
                covers,
                "{standing:?} at {seconds}: {why}"
            );
        }
    }

    #[test]
    fn a_softly_purged_response_is_told_as_stale() {
        let cases = [
            (Standing::Alive, 20, 40, "as long as it is fresh"),
            (Standing::Alive, 65, -5, "and since it is not"),
            (Standing::Stale { since: at(20) }, 20, 0, "just purged"),
            (Standing::Stale { since: at(20) }, 27, -7, "stale since the purge"),
            (Standing::Stale { since: at(65) }, 67, -7, "stale since it expired, before the purge"),
            (Standing::Stale { since: Timestamp::EPOCH }, 20, 0, "stale, and nobody knows since when"),
            (Standing::Stale { since: Timestamp::EPOCH }, 67, -7, "stale since it expired at the latest"),
        ];
        for (standing, seconds, want, why) in cases {
            assert_eq!(ttl(&PLAIN, standing, at(seconds)), want, "{why}");
        }
    }

    #[test]
    fn the_ends_of_time_open_no_window_and_overflow_nothing() {
        let end = Timestamp::from_millis(u64::MAX);
        let last = Freshness { born: end, ..PLAIN };
        let forever = Duration::MAX.into();
        let endless = Freshness { stale_if_error: forever, stale_while_revalidate: forever, ..PLAIN };
        let first = Freshness { born: Timestamp::EPOCH, ..PLAIN };
        let known = |since| Standing::Stale { since };
        let cases: [(&Freshness, Standing, Timestamp, bool, &str); 7] = [
            (&last, Standing::Alive, end, false, "a lifetime cannot reach beyond the end"),
            (&last, known(end), end, false, "nor can a window"),
            (&endless, known(at(5)), at(6), true, "a window without an end"),
            (&endless, known(at(5)), end, false, "but that of time"),
            (
                &endless,
                known(Timestamp::EPOCH),
                Timestamp::EPOCH,
                false,
                "not known when, and a clock that has stopped",
            ),
            (&first, known(Timestamp::from_millis(1)), Timestamp::from_millis(2), true, "just after the epoch"),
            (&first, Standing::Alive, Timestamp::EPOCH, true, "born at the epoch, fresh"),
        ];
        for (freshness, standing, now, want, why) in cases {
            assert_eq!(may_serve_on_error(freshness, standing, now), want, "{why}");
            assert_eq!(
                !matches!(judge(freshness, standing, None, now), Verdict::Validate(_)),
                want && standing != Standing::Dead,
                "{why}"
            );
        }
    }

    #[test]
    fn a_refresh_begins_early_by_chance_and_by_a_tenth_of_the_lifetime_at_most() {
        let cost = Duration::from_secs(1);
        // -ln(0.5) is 0.69, -ln(0.01) is 4.6, -ln(1e-30) is 69.
        let cases: &[(&Freshness, u64, Duration, f64, bool, &str)] = &[
            (&PLAIN, 59_000, cost, 1.0, false, "the greatest random number gives no lead"),
            (&PLAIN, 59_400, cost, 0.5, true, "a lead of 0.69 s"),
            (&PLAIN, 59_300, cost, 0.5, false, "not before it"),
            (&PLAIN, 55_500, cost, 0.01, true, "a lead of 4.6 s"),
            (&PLAIN, 53_999, cost, 1e-30, false, "the lead is a tenth of the lifetime at most"),
            (&PLAIN, 54_000, cost, 1e-30, true, "and that it is"),
            (&PLAIN, 54_000, Duration::ZERO, 1e-30, false, "what costs nothing is fetched in time"),
            (&PLAIN, 60_000, cost, 0.5, false, "stale is not early"),
            (&NO_CACHE, 59_999, cost, 0.5, false, "what is revalidated every time needs no refresh"),
            (&PLAIN, 59_000, cost, f64::NAN, false, "no number, no lead"),
            (&PLAIN, 59_000, cost, -1.0, false, "no such random number"),
            (&PLAIN, 59_000, cost, 2.0, false, "no such random number"),
        ];
        for &(freshness, millis, cost, random, want, why) in cases {
            let now = BORN.plus(Duration::from_millis(millis));
            assert_eq!(refresh_early(freshness, now, cost, || random), want, "{random} at {millis} ms: {why}");
        }
    }
}
