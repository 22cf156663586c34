//! May a stored response answer this request now?

use std::time::Duration;

use super::directives::{MaxStale, RequestDirectives};
use super::freshness::Freshness;
use super::outcome::Detail;
use super::time::Timestamp;

/// What the purges say of a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No purge names it.
    Alive,
    /// A soft purge does: it is stale, whatever its lifetime.
    Stale,
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
    // A response that is fresh (the client had asked for better) is not stale use; a soft purge makes it that.
    if standing == Standing::Alive && freshness.is_fresh(now) {
        return true;
    }
    !freshness.must_revalidate && is_within(freshness, freshness.stale_if_error, now)
}

/// Says whether a fresh response is to be refreshed now, so that no client waits when it expires.
///
/// `XFetch`: the dearer the fetch, the sooner; `random` is from (0, 1] and makes one of many requests begin it, with
/// the greatest likelihood just before the end. The lead is at most 10 % of the lifetime: an origin that is slow for
/// a while must not be asked all the time.
pub fn refresh_early(freshness: &Freshness, now: Timestamp, fetch_cost: Duration, random: f64) -> bool {
    if freshness.validate_always || !freshness.is_fresh(now) {
        return false;
    }
    let greatest = freshness.lifetime / 10;
    let lead = fetch_cost.as_secs_f64() * -random.ln();
    let lead = Duration::try_from_secs_f64(lead).unwrap_or(Duration::ZERO).min(greatest);
    now.plus(lead) >= freshness.fresh_until()
}

/// What may be done with a stale one.
fn stale(freshness: &Freshness, standing: Standing, now: Timestamp) -> Verdict {
    if !freshness.must_revalidate && is_within(freshness, freshness.stale_while_revalidate, now) {
        return Verdict::StaleWhileRevalidate;
    }
    Verdict::Validate(if standing == Standing::Stale { Detail::SoftPurged } else { Detail::Expired })
}

/// Whether the end of the lifetime is no farther back than `window`. Without a window nothing is within it: a soft
/// purge can make a response stale before that end.
fn is_within(freshness: &Freshness, window: Duration, now: Timestamp) -> bool {
    !window.is_zero() && now < freshness.fresh_until().plus(window)
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
    if freshness.must_revalidate || standing == Standing::Stale {
        return false;
    }
    match wanted.max_stale {
        None => false,
        Some(MaxStale::Any) => true,
        Some(MaxStale::Within(window)) => now.since(freshness.fresh_until()) <= window,
    }
}
