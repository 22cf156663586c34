//! May this address be asked now? What its last answers, and its health checks, say of it.
//!
//! *Passive*: failures in a row eject an address for a while that grows with each ejection. 5xx answers do not count:
//! an origin that answers is there. Where an origin has no other address to ask, ejecting the last one only helps
//! while nothing listens there at all: it takes more failures, only failures to connect, and lasts a second, so that
//! clients get a quick 503 and the origin is back a second after it came back.
//!
//! *Active*: checks that fail take an address out until checks succeed again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that eject an address while others can be asked.
const EJECT_AFTER: u32 = 5;
/// Failures to connect in a row that eject the last address there is.
const EJECT_LAST_AFTER: u32 = 10;
/// The first ejection; each further one is twice as long.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
/// No ejection is longer: an address that works again is found within this time.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// How an address failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No connection: refused, unreachable, too slow, or TLS failed.
    Connect,
    /// A connection, but no answer: closed, reset, or too slow.
    Answer,
}

/// What the checks of an address changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It may be asked again.
    Up,
    /// It is not asked until its checks succeed.
    Down,
}

/// What is known of an address's health.
#[derive(Debug, Default)]
pub(super) struct Vitals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures since the last success.
    failures: u32,
    connect_failures: u32,
    /// Ejections since the last success.
    ejections: u32,
    ejected_until: Option<Instant>,
    /// Taken out by checks.
    is_down: bool,
    /// Checks in a row that contradict `is_down`.
    contrary_checks: u32,
}

impl Vitals {
    /// Whether the address may be asked now.
    pub(super) fn is_available(&self) -> bool {
        self.is_available_at(Instant::now)
    }

    /// The same at the moment that `now` tells. The clock is not asked where the address is well.
    fn is_available_at(&self, now: impl FnOnce() -> Instant) -> bool {
        let state = self.state();
        !state.is_down && state.ejected_until.is_none_or(|until| until <= now())
    }

    /// The address answered. True: it had been ejected.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.state();
        let was_ejected = state.ejections > 0;
        state.pardon();
        was_ejected
    }

    /// The address failed; `is_last`: no other can be asked. Returns for how long it is now ejected, if it is.
    pub(super) fn failed(&self, fault: Fault, is_last: bool, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        // Requests that were under way when it was ejected do not make the ejection longer.
        if state.ejected_until.is_some_and(|until| now < until) {
            return None;
        }
        state.failures = state.failures.saturating_add(1);
        state.connect_failures = if fault == Fault::Connect { state.connect_failures.saturating_add(1) } else { 0 };
        // After an ejection one failure is enough: the address is on trial until it answers.
        let on_trial = state.ejections > 0;
        let ejection = if is_last {
            let is_gone = fault == Fault::Connect && (on_trial || state.connect_failures >= EJECT_LAST_AFTER);
            is_gone.then_some(FIRST_EJECTION)?
        } else {
            (on_trial || state.failures >= EJECT_AFTER).then(|| growing(state.ejections))?
        };
        state.ejections = state.ejections.saturating_add(1);
        state.ejected_until = Some(now + ejection);
        Some(ejection)
    }

    /// A check of the address ended; `after` in a row that contradict what we hold change it.
    pub(super) fn checked(&self, is_healthy: bool, after: u32) -> Option<Change> {
        let mut state = self.state();
        if is_healthy {
            // Whoever answers its check need not wait for an ejection to end.
            state.pardon();
        }
        if is_healthy != state.is_down {
            state.contrary_checks = 0;
            return None;
        }
        state.contrary_checks += 1;
        if state.contrary_checks < after {
            return None;
        }
        state.contrary_checks = 0;
        state.is_down = !is_healthy;
        Some(if is_healthy { Change::Up } else { Change::Down })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn pardon(&mut self) {
        (self.failures, self.connect_failures, self.ejections) = (0, 0, 0);
        self.ejected_until = None;
    }
}

fn growing(ejections: u32) -> Duration {
    FIRST_EJECTION.saturating_mul(1 << ejections.min(5)).min(LONGEST_EJECTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_eject_an_address_that_is_not_the_last() {
        let vitals = Vitals::default();
        let now = Instant::now();
        for _ in 1..EJECT_AFTER {
            assert_eq!(vitals.failed(Fault::Answer, false, now), None);
        }
        assert!(vitals.is_available_at(|| now));
        assert_eq!(vitals.failed(Fault::Answer, false, now), Some(FIRST_EJECTION));
        assert!(!vitals.is_available_at(|| now));
        assert!(vitals.is_available_at(|| now + FIRST_EJECTION), "an ejection ends by itself");
    }

    #[test]
    fn an_answer_makes_the_count_begin_again() {
        let vitals = Vitals::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(vitals.failed(Fault::Connect, false, now), None);
            vitals.succeeded();
        }
        assert!(vitals.is_available_at(|| now));
    }

    #[test]
    fn ejections_grow_up_to_a_bound_until_the_address_answers() {
        let vitals = Vitals::default();
        let mut now = Instant::now();
        for _ in 1..EJECT_AFTER {
            vitals.failed(Fault::Connect, false, now);
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(vitals.failed(Fault::Connect, false, now), Some(Duration::from_secs(seconds)));
            assert_eq!(vitals.failed(Fault::Connect, false, now), None, "one ejection at a time");
            now += Duration::from_secs(seconds);
        }
        assert!(vitals.succeeded(), "it is worth a line that it is back");
        assert_eq!(vitals.failed(Fault::Connect, false, now), None, "the count began again");
    }

    #[test]
    fn the_last_address_is_ejected_only_when_nothing_listens_and_for_a_second() {
        let vitals = Vitals::default();
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(vitals.failed(Fault::Answer, true, now), None, "something listens");
        }
        for _ in 1..EJECT_LAST_AFTER {
            assert_eq!(vitals.failed(Fault::Connect, true, now), None);
        }
        assert_eq!(vitals.failed(Fault::Connect, true, now), Some(FIRST_EJECTION));
        let later = now + FIRST_EJECTION;
        assert!(vitals.is_available_at(|| later));
        assert_eq!(vitals.failed(Fault::Connect, true, later), Some(FIRST_EJECTION), "it does not grow");
    }

    #[test]
    fn checks_change_the_state_after_as_many_in_a_row_as_asked() {
        // Healthy, threshold of the check, change, why.
        let cases = [
            (false, 3, None, "one failure"),
            (true, 2, None, "a success between them"),
            (false, 3, None, "one again"),
            (false, 3, None, "two"),
            (false, 3, Some(Change::Down), "three in a row"),
            (false, 3, None, "down already"),
            (true, 2, None, "one success"),
            (false, 3, None, "a failure between them"),
            (true, 2, None, "one again"),
            (true, 2, Some(Change::Up), "two in a row"),
        ];
        let vitals = Vitals::default();
        for (is_healthy, after, want, why) in cases {
            assert_eq!(vitals.checked(is_healthy, after), want, "{why}");
        }
    }

    #[test]
    fn a_check_that_succeeds_ends_an_ejection() {
        let vitals = Vitals::default();
        let now = Instant::now();
        for _ in 0..EJECT_AFTER {
            vitals.failed(Fault::Answer, false, now);
        }
        assert!(!vitals.is_available_at(|| now));
        assert_eq!(vitals.checked(true, 1), None);
        assert!(vitals.is_available_at(|| now));
    }
}
