//! What is known of one connection: may it be asked, how does it fare, is it over?

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, RedisError, Script};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::breaker::{Breaker, Stretch};
use super::connection::Connection;
use super::fault::{Fault, judge};
use super::place::Address;
use super::state::State;

/// How long a command must not have been denied before its success says that this is over. Without it, a Redis that is
/// just about full would be told of in the log with every other write.
const HOLD: Duration = Duration::from_secs(1);

/// Who answers at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    Server(Address),
    /// The one that Sentinels name at present.
    Master(Address),
    /// A cluster, as its place is displayed.
    Cluster(String),
}

/// What was asked: for the name of a command that is denied.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    One(&'a Cmd),
    Many(&'a Pipeline),
    Script(&'a Script),
}

/// A command that is denied, until it succeeds.
#[derive(Debug, Clone)]
struct Denial {
    state: State,
    command: String,
    why: String,
    last: Instant,
}

/// One connection, from being made to being given up.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) peer: Peer,
    /// Something that the link's task tells others has changed.
    pub(super) changed: Notify,
    /// It is over; whoever waits for an answer over it waits in vain.
    pub(super) torn: CancellationToken,
    ending: OnceLock<(State, String)>,
    breaker: Mutex<Breaker>,
    denial: Mutex<Option<Denial>>,
    is_denied: AtomicBool,
    /// Whether the last failure was a time-out.
    was_late: AtomicBool,
    /// Whether there was an answer since this was last asked.
    heard: AtomicBool,
    under_way: AtomicUsize,
}

/// A call that is under way, and what is to be counted where it ends.
pub(super) struct Call<'a> {
    session: &'a Session,
    stretch: Stretch,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.session.under_way.fetch_sub(1, Relaxed);
    }
}

impl Denial {
    /// Whether it is, when `asked` succeeds.
    fn is_over(&self, asked: Asked<'_>, now: Instant) -> bool {
        now - self.last >= HOLD && asked.names().any(|command| command == self.command)
    }
}

impl Session {
    pub(super) fn new(connection: Connection, peer: Peer) -> Self {
        Self {
            connection,
            peer,
            changed: Notify::new(),
            torn: CancellationToken::new(),
            ending: OnceLock::new(),
            breaker: Mutex::new(Breaker::new(Instant::now())),
            denial: Mutex::new(None),
            is_denied: AtomicBool::new(false),
            was_late: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            under_way: AtomicUsize::new(0),
        }
    }

    /// Lets a call through, unless the connection is over or the breaker is open.
    pub(super) fn admit(&self) -> Option<Call<'_>> {
        if self.torn.is_cancelled() {
            return None;
        }
        let stretch = self.breaker().admit()?;
        self.under_way.fetch_add(1, Relaxed);
        Some(Call { session: self, stretch })
    }

    pub(super) fn is_open(&self) -> bool {
        self.breaker().is_open()
    }

    /// The pause before the next probe, without jitter.
    pub(super) fn pause(&self) -> Duration {
        self.breaker().pause()
    }

    /// Whether calls tell how it fares, so that it need not be asked for that alone: since the last time this was
    /// asked there was an answer, or one is being waited for (a blocking one holds up every other).
    pub(super) fn is_in_use(&self) -> bool {
        self.heard.swap(false, Relaxed) || self.under_way.load(Relaxed) > 0
    }

    /// Gives the connection up, for a reason that is told where it is the first.
    pub(super) fn tear(&self, state: State, why: impl Into<String>) {
        _ = self.ending.set((state, why.into()));
        self.torn.cancel();
    }

    /// Why it was given up.
    pub(super) fn ending(&self) -> Option<&(State, String)> {
        self.ending.get()
    }

    /// How it fares, and why so.
    pub(super) fn view(&self) -> (State, Cow<'static, str>) {
        if self.is_open() {
            return if self.was_late.load(Relaxed) {
                (State::TimedOut, "it did not answer in time, several times".into())
            } else {
                (State::Unreachable, "connections broke off, several times".into())
            };
        }
        let denial = self.denial();
        denial.as_ref().map_or((State::Up, "".into()), |denial| (denial.state, denial.why.clone().into()))
    }

    /// What an answer to a probe, or its lack, says.
    pub(super) fn probed(&self, fault: Option<(Fault, &RedisError)>) {
        let failed = fault.is_some_and(|(fault, error)| self.is_failure(fault, error));
        self.breaker().probed(!failed, Instant::now());
        if self.breaker().is_hopeless() {
            self.give_up();
        }
    }

    fn give_up(&self) {
        let (state, why) = self.view();
        self.tear(state, why);
    }

    /// Whether the fault is of the connection. One that nothing more is to be had from ends with it.
    fn is_failure(&self, fault: Fault, error: &RedisError) -> bool {
        match fault {
            Fault::TimedOut => self.was_late.store(true, Relaxed),
            Fault::Broken => {
                self.was_late.store(false, Relaxed);
                // A cluster has others, and the library connects to the lost one anew.
                if !matches!(self.peer, Peer::Cluster(_)) {
                    self.tear(State::Unreachable, format!("the connection broke off: {error}"));
                }
            }
            Fault::LoginRefused => self.tear(State::Denied, error.to_string()),
            Fault::Loading => self.tear(State::Loading, error.to_string()),
            Fault::NotMaster if matches!(self.peer, Peer::Master(_)) => {
                self.tear(State::ReadOnly, "it is no master any more");
            }
            Fault::NotMaster | Fault::Denies(_) | Fault::Ours => {}
        }
        matches!(fault, Fault::TimedOut | Fault::Broken)
    }

    fn deny(&self, state: State, asked: Asked<'_>, index: usize, error: &RedisError) {
        let command = asked.names().nth(index).unwrap_or_default();
        let why = format!("{command}: {error}");
        let new = Denial { state, command, why, last: Instant::now() };
        let old = self.denial().replace(new);
        self.is_denied.store(true, Relaxed);
        if old.is_none_or(|old| old.state != state) {
            self.changed.notify_one();
        }
    }

    /// Ends a denial where what was asked holds the command that was denied.
    fn allow(&self, asked: Asked<'_>) {
        let now = Instant::now();
        if self.denial().take_if(|denial| denial.is_over(asked, now)).is_some() {
            self.is_denied.store(false, Relaxed);
            self.changed.notify_one();
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn denial(&self) -> MutexGuard<'_, Option<Denial>> {
        self.denial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call<'_> {
    /// There was an answer in time.
    pub(super) fn answered(&self, asked: Asked<'_>) {
        self.heard();
        if self.session.is_denied.load(Relaxed) {
            self.session.allow(asked);
        }
    }

    /// There was none, or an error. Returns what that is.
    pub(super) fn failed(&self, asked: Asked<'_>, error: &RedisError) -> Fault {
        let session = self.session;
        let (fault, index) = judge(error);
        if session.is_failure(fault, error) {
            if session.breaker().failed(self.stretch, Instant::now()) {
                session.changed.notify_one();
            }
            return fault;
        }
        self.heard();
        match fault {
            Fault::Denies(state) => session.deny(state, asked, index, error),
            Fault::NotMaster => session.deny(State::ReadOnly, asked, index, error),
            _ => {}
        }
        fault
    }

    fn heard(&self) {
        self.session.breaker().answered(self.stretch);
        self.session.heard.store(true, Relaxed);
    }
}

impl Asked<'_> {
    /// The names of the commands. A script counts as a command of its own: one that is denied may stand beside another
    /// that is not.
    fn names(&self) -> impl Iterator<Item = String> {
        let (commands, script) = match self {
            Self::One(command) => (vec![name(command)], None),
            Self::Many(pipeline) => (pipeline.cmd_iter().map(name).collect(), None),
            Self::Script(script) => (Vec::new(), Some(format!("EVALSHA {}", script.get_hash()))),
        };
        commands.into_iter().chain(script)
    }
}

fn name(command: &Cmd) -> String {
    let word = |argument| match argument {
        Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    };
    let mut words = command.args_iter().map(word);
    let name = words.next().unwrap_or_default();
    match (name.as_str(), words.next()) {
        ("EVALSHA", Some(hash)) => format!("{name} {hash}"),
        _ => name,
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).field("view", &self.view()).finish_non_exhaustive()
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server(at) | Self::Master(at) => at.fmt(f),
            Self::Cluster(place) => f.write_str(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::{cmd, pipe};

    use super::*;

    #[test]
    fn a_denial_is_over_when_the_same_command_succeeds_and_was_not_denied_for_a_while() {
        let set = cmd("SET").arg("k").arg("v").clone();
        let get = cmd("GET").arg("SET").clone();
        let script = Script::new("return 1");
        let (same, other) = (cmd("EVALSHA").arg(script.get_hash()).clone(), cmd("EVALSHA").arg("0000").clone());
        let evalsha = format!("EVALSHA {}", script.get_hash());
        let with = pipe().add_command(get.clone()).add_command(set.clone()).clone();
        let without = pipe().add_command(get.clone()).clone();
        let cases = [
            // denied      succeeds             after    over   why
            ("SET", Asked::One(&set), HOLD, true, "the same command"),
            ("SET", Asked::One(&set), HOLD / 2, false, "too soon: it may be just about full"),
            ("SET", Asked::One(&get), HOLD, false, "a read says nothing about room"),
            ("SET", Asked::Many(&with), HOLD, true, "one of several"),
            ("SET", Asked::Many(&without), HOLD, false, "none of several"),
            (&evalsha, Asked::Script(&script), HOLD, true, "the same script"),
            (&evalsha, Asked::One(&same), HOLD, true, "the same script, by its command"),
            (&evalsha, Asked::One(&other), HOLD, false, "another script"),
        ];
        for (command, asked, after, over, why) in cases {
            let last = Instant::now();
            let (command, why_denied) = (command.to_owned(), String::new());
            let denial = Denial { state: State::Full, command, why: why_denied, last };
            assert_eq!(denial.is_over(asked, last + after), over, "{why}");
        }
    }
}
