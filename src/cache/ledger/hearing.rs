//! Is the log of several nodes still heard?
//!
//! A node that hears nothing of the log may miss a purge; for a while that is the lag of a log, then what is stored is
//! asked about before it is used. Nobody has to run for that: a node that slept finds out when it looks.

use std::time::Duration;

use crate::cache::sync::atomic::{AtomicU64, Ordering};
use crate::clock::{Clock, Moment};

#[derive(Debug)]
pub(super) struct Hearing {
    clock: Clock,
    /// Until when what is stored may be used unasked, as the milliseconds of a [`Moment`].
    until: AtomicU64,
    /// How long after the log was heard; `None`: there is no log to be heard.
    max_lag: Option<Duration>,
}

impl Hearing {
    pub(super) fn alone() -> Self {
        Self { clock: Clock::default(), until: AtomicU64::new(Moment::LAST.as_millis()), max_lag: None }
    }

    pub(super) fn of_log(clock: Clock, max_lag: Duration) -> Self {
        Self { clock, until: AtomicU64::new(Moment::FIRST.as_millis()), max_lag: Some(max_lag) }
    }

    pub(super) fn is_of_log(&self) -> bool {
        self.max_lag.is_some()
    }

    pub(super) fn moment(&self) -> Moment {
        self.clock.moment()
    }

    pub(super) fn is_heard(&self) -> bool {
        // Acquire: who sees that the log was heard sees what was heard.
        let until = Moment::from_millis(self.until.load(Ordering::Acquire));
        // Whoever is alone reads no clock.
        until == Moment::LAST || self.clock.moment() < until
    }

    pub(super) fn is_heard_as_at(&self, moment: Moment) -> bool {
        moment.as_millis() >= self.until.load(Ordering::Acquire) || self.is_heard()
    }

    pub(super) fn lag(&self) -> Option<Duration> {
        let Some(max_lag) = self.max_lag else { return Some(Duration::ZERO) };
        let until = Moment::from_millis(self.until.load(Ordering::Acquire));
        (until > Moment::FIRST).then(|| (self.clock.moment().plus(max_lag)).since(until))
    }

    pub(super) fn hear(&self, moment: Moment) {
        let Some(max_lag) = self.max_lag else { return };
        self.until.fetch_max(moment.plus(max_lag).as_millis(), Ordering::Release);
    }
}
