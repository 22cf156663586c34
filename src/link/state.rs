//! How does a link fare: for operators, and for whoever waits until it is up?

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::metrics::LinkMetrics;

/// How a link fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not connected yet, or on the way to another master.
    Connecting,
    /// Asked, and answering.
    Up,
    /// No connection is made, or none holds; or the cluster says that it is down.
    Unreachable,
    /// It takes connections, but gives no answers in time.
    TimedOut,
    /// It does not let us: a wrong password, or a command that its user may not give.
    Denied,
    /// It answers, but takes no writes: it is a replica, or cannot save.
    ReadOnly,
    /// It answers, but has no room for writes.
    Full,
    /// It reads its data from disk.
    Loading,
}

impl State {
    /// Every state, in order.
    pub(super) const ALL: [Self; 8] = [
        Self::Connecting,
        Self::Up,
        Self::Unreachable,
        Self::TimedOut,
        Self::Denied,
        Self::ReadOnly,
        Self::Full,
        Self::Loading,
    ];

    /// How several links fare together: as the one that fares worst.
    pub fn of_all(states: impl IntoIterator<Item = Self>) -> Self {
        states.into_iter().max_by_key(|state| state.gravity()).unwrap_or(Self::Up)
    }

    /// The higher, the less is to be had of Redis, and the sooner somebody has to see to it.
    const fn gravity(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Full => 1,
            Self::ReadOnly => 2,
            Self::Connecting => 3,
            Self::Loading => 4,
            Self::TimedOut => 5,
            Self::Unreachable => 6,
            Self::Denied => 7,
        }
    }

    /// As metrics and logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Denied => "denied",
            Self::ReadOnly => "read_only",
            Self::Full => "full",
            Self::Loading => "loading",
        }
    }
}

/// What is known of a link at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    state: State,
    /// Whether calls are let through.
    open: bool,
}

/// How the links to one Redis fare together: one line in the log for each change of that, not one for each link.
#[derive(Debug, Default)]
pub(super) struct Chorus(Mutex<Vec<(&'static str, State)>>);

impl Chorus {
    fn begin(&self, purpose: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((purpose, State::Connecting));
    }

    fn say(&self, purpose: &'static str, state: State, address: &str, why: &str) {
        let mut voices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_all = |voices: &[(&str, State)]| State::of_all(voices.iter().map(|(_, state)| *state));
        let before = of_all(&voices);
        if let Some(voice) = voices.iter_mut().find(|(known, _)| *known == purpose) {
            voice.1 = state;
        }
        let now = of_all(&voices);
        if now == before {
            return;
        }
        let (state, before) = (now.as_str(), before.as_str());
        match now {
            State::Up | State::Connecting => tracing::info!(link = purpose, address, before, why, "Redis: {state}"),
            _ => tracing::warn!(link = purpose, address, before, why, "Redis: {state}"),
        }
    }
}

/// Where the state is written: by the link's task alone, so that what is written last is the last.
#[derive(Debug)]
pub(super) struct Board {
    seen: watch::Sender<Seen>,
    purpose: &'static str,
    metrics: LinkMetrics,
    chorus: Arc<Chorus>,
}

impl Board {
    pub(super) fn new(purpose: &'static str, metrics: LinkMetrics, chorus: Arc<Chorus>) -> Self {
        metrics.show(State::Connecting, false);
        let seen = watch::Sender::new(Seen { state: State::Connecting, open: false });
        chorus.begin(purpose);
        Self { seen, purpose, metrics, chorus }
    }

    /// Writes how it fares; where that is another state than before, all links together may be, too.
    pub(super) fn say(&self, state: State, open: bool, address: &str, why: &str) {
        let new = Seen { state, open };
        let old = self.seen.send_replace(new);
        if old == new {
            return;
        }
        self.metrics.show(state, open);
        if old.state == state {
            return;
        }
        let (link, now, before) = (self.purpose, state.as_str(), old.state.as_str());
        tracing::debug!(link, address, state = now, before, why, "a link to Redis changed its state");
        self.chorus.say(self.purpose, state, address, why);
    }

    /// The link's task has ended.
    pub(super) fn close(&self) {
        self.seen.send_replace(Seen { state: State::Connecting, open: false });
        self.metrics.show(State::Connecting, false);
    }

    pub(super) fn state(&self) -> State {
        self.seen.borrow().state
    }

    /// Waits until calls are let through.
    pub(super) async fn open(&self) {
        let opened = self.seen.subscribe().wait_for(|seen| seen.open).await.map(|_| ());
        // The sender lives as long as we do.
        debug_assert!(opened.is_ok());
    }
}
