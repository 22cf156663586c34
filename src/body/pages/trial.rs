//! Which way costs less here: pages that are lent, or bytes that are copied?
//!
//! Hosts differ: on some a copy of a mebibyte takes a seventh more processor time than lending its pages, on others a quarter
//! less (what a reference to a page costs, and how fast memory is). So each thread tries both ways now and then, for some
//! sends each, by the processor time that the kernel takes of it, and goes the cheaper one for a while.

use rustix::time::{ClockId, clock_gettime};

/// Sends that are tried each way.
const TRIED: u32 = 64;

/// Of these, so many come first that are not counted: the kernel has still to do with what was sent the other way.
const LEAD_IN: u32 = 16;

/// Sends that go the cheaper way before both are tried again.
const SETTLED: u32 = 16_384;

/// How bytes get to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Lend,
    Copy,
}

/// What some sends took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    nanos: u64,
    bytes: u64,
}

impl Cost {
    const NONE: Self = Self { nanos: 0, bytes: 0 };

    fn is_less_than(self, other: Self) -> bool {
        u128::from(self.nanos) * u128::from(other.bytes) < u128::from(other.nanos) * u128::from(self.bytes)
    }
}

/// What is known of both ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    way: Way,
    is_settled: bool,
    /// Sends that go this way before the next step.
    left: u32,
    lending: Cost,
    copying: Cost,
}

impl Trial {
    pub(super) const fn new() -> Self {
        Self { way: Way::Lend, is_settled: false, left: TRIED, lending: Cost::NONE, copying: Cost::NONE }
    }

    /// Which way the next send goes.
    pub(super) const fn way(&self) -> Way {
        self.way
    }

    /// Whether it is to be told what the next send takes.
    pub(super) const fn is_measured(&self) -> bool {
        !self.is_settled && self.left <= TRIED - LEAD_IN
    }

    /// So many bytes were sent this way; `nanos`: what that took, where it is measured.
    pub(super) fn sent(&mut self, bytes: usize, nanos: Option<u64>) {
        if let Some(nanos) = nanos {
            let cost = if self.way == Way::Lend { &mut self.lending } else { &mut self.copying };
            *cost = Cost { nanos: cost.nanos + nanos, bytes: cost.bytes + bytes as u64 };
        }
        self.left -= 1;
        if self.left > 0 {
            return;
        }
        *self = match (self.is_settled, self.way) {
            (true, _) => Self::new(),
            (false, Way::Lend) => Self { way: Way::Copy, left: TRIED, ..*self },
            (false, Way::Copy) => {
                let way = if self.lending.is_less_than(self.copying) { Way::Lend } else { Way::Copy };
                Self { way, is_settled: true, left: SETTLED, ..*self }
            }
        };
    }
}

/// The processor time of this thread, in nanoseconds.
pub(super) fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends once, where each way takes so many nanoseconds for as many bytes.
    fn send(trial: &mut Trial, lending: u64, copying: u64) -> Way {
        let way = trial.way();
        let nanos = if way == Way::Lend { lending } else { copying };
        let told = trial.is_measured().then_some(nanos);
        trial.sent(1000, told);
        way
    }

    #[test]
    fn both_ways_are_tried_and_the_cheaper_one_is_gone_until_they_are_tried_again() {
        for (lending, copying, want) in [(150, 170, Way::Lend), (170, 150, Way::Copy)] {
            let mut trial = Trial::new();
            for way in [Way::Lend, Way::Copy] {
                assert!((0..TRIED).all(|_| send(&mut trial, lending, copying) == way));
            }
            assert!((0..SETTLED).all(|_| send(&mut trial, lending, copying) == want), "{want:?} is the cheaper one");
            // The host has changed its mind.
            (0..2 * TRIED).for_each(|_| _ = send(&mut trial, copying, lending));
            assert_ne!(send(&mut trial, copying, lending), want);
        }
    }

    #[test]
    fn what_is_left_to_do_of_the_other_way_does_not_count() {
        let mut trial = Trial::new();
        for sends in 0..2 * TRIED {
            let is_first = sends % TRIED < LEAD_IN;
            let nanos = if is_first { 1_000_000 } else { 100 };
            let told = trial.is_measured().then_some(nanos);
            assert_eq!(told.is_none(), is_first);
            trial.sent(1000, told);
        }
    }

    #[test]
    fn a_thread_has_a_time_of_its_own() {
        let before = thread_time();
        let sum: u64 = (0..2_000_000).map(std::hint::black_box).sum();
        assert!(thread_time() > before, "{sum}");
    }
}
