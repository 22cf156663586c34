//! May Redis be asked now, or would whoever asks wait in vain?
//!
//! Pure: moments are given. One breaker belongs to one connection; a new connection has a new one.

use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;

/// Failures in a row that open it. One may be chance, and two a hiccup.
const FAILURES: u32 = 3;

/// Failures in a row, probes counted, after which the connection is given up: the client of a cluster never recovers by
/// itself from a frozen master, and a connection whose other end has lost power hangs for minutes.
const HOPELESS: u32 = 5;

/// Failures among the last 64 calls that open it: three quarters of the calls in time are not good enough, for each
/// of the others is a client that waited a whole deadline for nothing.
const SLOW: u32 = 16;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which stretch of being closed a call belongs to: what it says later counts for that one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch(u64);

/// Counts what became of calls; decides whether there are more of them.
#[derive(Debug)]
pub(super) struct Breaker {
    stretch: u64,
    /// Since when it has been closed; `None`: it is open.
    closed_since: Option<Instant>,
    in_a_row: u32,
    /// The last 64 calls, the newest in the lowest bit; 1 is a failure.
    window: u64,
    pause: Backoff,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(now: Instant) -> Self {
        let pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        Self { stretch: 0, closed_since: Some(now), in_a_row: 0, window: 0, pause }
    }

    /// Lets a call through, or not.
    pub(super) fn admit(&self) -> Option<Stretch> {
        self.closed_since.map(|_| Stretch(self.stretch))
    }

    /// Whether nobody but a probe may ask.
    pub(super) fn is_open(&self) -> bool {
        self.closed_since.is_none()
    }

    /// Whether the connection is to be given up.
    pub(super) fn is_hopeless(&self) -> bool {
        self.in_a_row >= HOPELESS
    }

    /// A call got an answer in time; an error is one.
    pub(super) fn answered(&mut self, stretch: Stretch) {
        if self.is_current(stretch) {
            self.in_a_row = 0;
            self.window <<= 1;
        }
    }

    /// A call got none. Returns whether that opened it.
    pub(super) fn failed(&mut self, stretch: Stretch, now: Instant) -> bool {
        if !self.is_current(stretch) {
            return false;
        }
        self.in_a_row += 1;
        self.window = self.window << 1 | 1;
        let opens = self.in_a_row >= FAILURES || self.window.count_ones() >= SLOW;
        if opens {
            // One that opens again at once has learnt nothing from its probe: the pauses grow on.
            let lasted = self.closed_since.is_some_and(|since| now - since >= LONGEST_PAUSE);
            if lasted {
                self.pause = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
            }
            self.closed_since = None;
        }
        opens
    }

    /// What a probe found while it was open.
    pub(super) fn probed(&mut self, answered: bool, now: Instant) {
        if answered {
            self.stretch += 1;
            self.in_a_row = 0;
            self.window = 0;
            self.closed_since = Some(now);
        } else {
            self.in_a_row += 1;
        }
    }

    /// How long to wait before the next probe; jitter is the caller's.
    pub(super) fn pause(&mut self) -> Duration {
        self.pause.next_pause()
    }

    /// A call that began before it last opened knows of an older state of things.
    fn is_current(&self, stretch: Stretch) -> bool {
        self.admit() == Some(stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Plays `script`: `.` an answer, `x` a failure, each of a call; `!` a probe that fails, `+` one that does not.
    fn play(breaker: &mut Breaker, script: &str, now: Instant) {
        for step in script.chars() {
            match (step, breaker.admit()) {
                ('.', Some(stretch)) => breaker.answered(stretch),
                ('x', Some(stretch)) => _ = breaker.failed(stretch, now),
                ('!', _) => breaker.probed(false, now),
                ('+', _) => breaker.probed(true, now),
                (_, None) => {}
                (other, _) => panic!("{other} is no step"),
            }
        }
    }

    #[test]
    fn it_opens_on_failures_in_a_row_or_on_too_many() {
        let slow = ".xx".repeat(7);
        let cases = [
            // what happened           open   hopeless  why
            (String::new(), false, false, "a new connection is trusted"),
            ("xx".to_owned(), false, false, "two are a hiccup"),
            ("xxx".to_owned(), true, false, "three in a row"),
            ("xx.xx.xx".to_owned(), false, false, "an answer between begins the row anew"),
            (format!("{slow}.x"), false, false, "15 of the last 64"),
            (format!("{slow}.xx"), true, false, "16 of the last 64"),
            (format!("{slow}{}x.x", ".".repeat(64)), false, false, "what lies 64 calls back is forgotten"),
            ("xxx!".to_owned(), true, false, "one failed probe"),
            ("xxx!!".to_owned(), true, true, "five in a row, probes counted"),
            ("xxxxxxxx".to_owned(), true, false, "nobody is let through any more, so nobody counts"),
            ("xxx!+".to_owned(), false, false, "a probe closes it"),
            ("xxx!+xx".to_owned(), false, false, "and the row begins anew"),
            (format!("{slow}.xx+xx."), false, false, "and so does the window"),
        ];
        for (script, open, hopeless, why) in cases {
            let now = Instant::now();
            let mut breaker = Breaker::new(now);
            play(&mut breaker, &script, now);
            assert_eq!((breaker.is_open(), breaker.is_hopeless()), (open, hopeless), "{why}: {script}");
            assert_eq!(breaker.admit().is_none(), open, "{why}: {script}");
        }
    }

    #[test]
    fn a_call_from_before_says_nothing_about_now() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        let old = breaker.admit().expect("closed");
        play(&mut breaker, "xxx+", now);
        for _ in 0..5 {
            assert!(!breaker.failed(old, now), "its time-out is of the outage that is over");
        }
        assert!(!breaker.is_open());
        play(&mut breaker, "xx", now);
        breaker.answered(old);
        play(&mut breaker, "x", now);
        assert!(breaker.is_open(), "nor does a late answer excuse anything");
    }

    #[test]
    fn its_pauses_grow_until_it_has_been_closed_for_a_while() {
        let cases = [
            (MS(0), [400, 800], "reopened at once: the pauses grow on"),
            (MS(999), [400, 800], "reopened soon"),
            (MS(1000), [100, 200], "it had been sound for a while"),
        ];
        for (closed_for, want, why) in cases {
            let now = Instant::now();
            let mut breaker = Breaker::new(now);
            play(&mut breaker, "xxx", now + MS(5000));
            assert_eq!([breaker.pause(), breaker.pause()], [MS(100), MS(200)], "{why}");
            play(&mut breaker, "+", now + MS(6000));
            play(&mut breaker, "xxx", now + MS(6000) + closed_for);
            assert_eq!([breaker.pause(), breaker.pause()].map(|pause| pause.as_millis()), want, "{why}");
        }
    }
}
