//! What time is it? The one file that reads the wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::policy::time::Timestamp;

/// Where the time comes from: the machine, or a test's hand.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's coarse clock: a few milliseconds of resolution for a few nanoseconds of cost.
    #[default]
    System,
    /// A clock that moves when it is told to; milliseconds since the Unix epoch.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands still at `start` until [`Clock::set`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(start.as_millis())))
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let now = clock_gettime(ClockId::RealtimeCoarse);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                let millis = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
                Timestamp::from_millis(seconds * 1000 + millis)
            }
            Self::Manual(millis) => Timestamp::from_millis(millis.load(Ordering::Acquire)),
        }
    }

    /// The present moment on a clock that nobody sets, and that goes on while the process or the machine sleeps.
    pub fn moment(&self) -> Moment {
        match self {
            Self::System => {
                let now = clock_gettime(ClockId::Boottime);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                Moment(seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000)
            }
            Self::Manual(millis) => Moment(millis.load(Ordering::Acquire)),
        }
    }

    /// Moves a manual clock; the system's clock is not ours to move.
    pub fn set(&self, to: Timestamp) {
        if let Self::Manual(millis) = self {
            millis.store(to.as_millis(), Ordering::Release);
        }
    }
}

/// A moment since the machine was started, in milliseconds. It says nothing to another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Before all others.
    pub const FIRST: Self = Self(0);
    /// After all others.
    pub const LAST: Self = Self(u64::MAX);

    /// The moment so many milliseconds after the start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment so much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero where it is yet to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_agrees_with_the_standard_library() {
        #[expect(clippy::disallowed_methods, reason = "the test compares the two clocks")]
        let reference =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the epoch is past").as_millis();
        let ours = u128::from(Clock::System.now().as_millis());
        assert!(ours.abs_diff(reference) < 1000, "{ours} against {reference}");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_millis(5));
        assert_eq!(clock.now().as_millis(), 5);
        clock.set(Timestamp::from_millis(9));
        assert_eq!(clock.now().as_millis(), 9);
    }
}
