//! When is the next attempt?

use std::time::Duration;

const DAY: i64 = 24 * 60 * 60;

/// The first pause after a failure, and what each further one makes of it.
const FIRST: Duration = Duration::from_mins(1);
const FACTOR: u32 = 4;

/// The longest pause where the authority has refused. Let's Encrypt counts five failures an hour and host.
const LONGEST: Duration = Duration::from_hours(4);

/// The longest pause where it has said nothing: it was not reached, or something of ours is at fault.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

/// The pause after a limit, where the authority does not say how long it lasts.
const LIMIT: Duration = Duration::from_hours(1);

/// The longest time that an authority's `Retry-After` is believed: a slip of it must not cost the certificate.
const LONGEST_TOLD: Duration = Duration::from_hours(24);

/// When a certificate is to be renewed; seconds since the Unix epoch. When a third of its time is left, or up to a thirtieth
/// sooner: `jitter`, from 0 to 1, keeps hosts and nodes apart that began together.
pub(super) fn renewal(not_before: i64, not_after: i64, jitter: f64) -> i64 {
    let lifetime = not_after.saturating_sub(not_before).max(0);
    let spread = Duration::from_secs(lifetime.unsigned_abs() / 30).mul_f64(jitter);
    not_after - lifetime / 3 - i64::try_from(spread.as_secs()).unwrap_or(0)
}

/// Before when a certificate that was issued just now is not renewed: where this machine's clock is wrong, or the
/// authority's, every one of them looks as if it were time, and ordering would never end.
pub(super) fn earliest(not_after: i64, now: i64) -> i64 {
    now.saturating_add(not_after.saturating_sub(now).clamp(0, 3 * DAY) / 3)
}

/// What an attempt came to, as far as the next one goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setback {
    /// Attempts in a row that have failed, this one included.
    pub(super) count: u32,
    /// Whether the authority said nothing.
    pub(super) is_silence: bool,
    /// Whether it has had enough of us.
    pub(super) is_limit: bool,
    /// How long it wants to be left alone.
    pub(super) told: Option<Duration>,
}

/// How long to wait after a failure, with a fifth more or less by `jitter`, from 0 to 1; and what of that is owed to the
/// authority's word, which no operator can shorten.
pub(super) fn pause(setback: Setback, jitter: f64) -> (Duration, Duration) {
    let longest = if setback.is_silence { LONGEST_SILENCE } else { LONGEST };
    let usual = FIRST.saturating_mul(FACTOR.saturating_pow(setback.count.saturating_sub(1))).min(longest);
    let owed = match (setback.told, setback.is_limit) {
        (Some(told), _) => told.min(LONGEST_TOLD),
        (None, true) => LIMIT,
        (None, false) => Duration::ZERO,
    };
    // What is owed is not made shorter.
    (usual.mul_f64(0.8 + 0.4 * jitter).max(owed), owed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_just_now_is_left_alone_for_a_while() {
        let cases = [
            (90 * DAY, 0, DAY, "three months"),
            (90 * DAY, 80 * DAY, 81 * DAY, "a clock that is months ahead"),
            (30, 0, 10, "half a minute"),
            (10, 20, 20, "over"),
        ];
        for (not_after, now, want, why) in cases {
            assert_eq!(earliest(not_after, now), want, "{why}");
        }
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_it_is_left() {
        let cases = [
            (0, 90 * DAY, 0.0, 60 * DAY, "three months"),
            (0, 90 * DAY, 1.0, 57 * DAY, "three months, as soon as it gets"),
            (0, 6 * DAY, 0.5, 4 * DAY - DAY / 10, "six days"),
            (0, 30, 1.0, 19, "half a minute"),
            (100, 100, 1.0, 100, "no time at all"),
            (100, 50, 1.0, 50, "the wrong way round"),
        ];
        for (from, to, jitter, want, why) in cases {
            assert_eq!(renewal(from, to, jitter), want, "{why}");
        }
    }

    #[test]
    fn after_a_failure_there_is_a_pause_that_grows() {
        let secs = Duration::from_secs;
        let cases = [
            // count silence limit  told                  jitter  want            owed            why
            (1, false, false, None, 0.5, secs(60), secs(0), "a minute"),
            (1, false, false, None, 0.0, secs(48), secs(0), "or a fifth less"),
            (1, false, false, None, 1.0, secs(72), secs(0), "or a fifth more"),
            (2, false, false, None, 0.5, secs(240), secs(0), "four times as much"),
            (4, false, false, None, 0.5, secs(3840), secs(0), "and again"),
            (9, false, false, None, 0.5, secs(14400), secs(0), "some hours at most"),
            (u32::MAX, false, false, None, 0.5, secs(14400), secs(0), "for ever"),
            (9, true, false, None, 0.5, secs(600), secs(0), "sooner where nobody was reached"),
            (1, false, true, None, 0.5, secs(3600), secs(3600), "a limit without a word"),
            (1, false, true, Some(secs(7000)), 0.0, secs(7000), secs(7000), "a limit with one"),
            (4, false, false, Some(secs(5)), 0.5, secs(3840), secs(5), "a shorter word hurries nobody"),
            (1, true, false, Some(secs(1_000_000)), 0.5, secs(86400), secs(86400), "a word beyond reason"),
        ];
        for (count, is_silence, is_limit, told, jitter, want, owed, why) in cases {
            let setback = Setback { count, is_silence, is_limit, told };
            assert_eq!(pause(setback, jitter), (want, owed), "{why}");
        }
    }
}
