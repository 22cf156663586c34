//! A connection to Redis, whatever stands behind it: one server, a Sentinel set-up or a cluster.
//!
//! Everybody who speaks to Redis does it through a [`Link`]: one question, one answer, one deadline. What is to be done
//! when Redis is slow, gone, full or has changed its master is decided here, once:
//!
//! - A call waits as long as its deadline says, and no longer. Where there is no sound connection it does not wait.
//! - Three failures in a row (a time-out, a connection that breaks), or a quarter of the last 64, open the *breaker*:
//!   from then on the link's own task alone asks, every 100 ms at first and every second later, until there is an answer.
//! - Five failures in a row, and the connection is made anew from nothing; with Sentinels, to whom they name then.
//! - An error reply is an answer. One that says that Redis is full, read-only or denies a command is a [`State`] of the
//!   link until the same command succeeds.

mod backoff;
mod breaker;
mod connection;
mod fault;
pub mod metrics;
pub mod place;
mod sentinel;
mod session;
pub mod state;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::{Cmd, Pipeline, RedisError, Script, ToRedisArgs, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::connection::{Connection, in_time};
use self::fault::Fault;
use self::metrics::{LinkMetrics, Metrics, Outcome};
use self::place::Place;
use self::session::{Asked, Session};
use self::state::{Board, State};

/// Why Redis gave no answer, or none that is of use.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// It is not asked at present: it was not reached, or answered too slowly, a moment ago.
    #[error("Redis is not asked: there is no sound connection to it")]
    Closed,
    /// It did not answer in time.
    #[error("Redis did not answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke off.
    #[error("the connection to Redis broke off")]
    Broken(#[source] Arc<RedisError>),
    /// It answered with an error: it is full, read-only, or does not let us.
    #[error("Redis answered with an error")]
    Refused(#[source] Arc<RedisError>),
}

/// What a link is to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where Redis answers.
    pub place: Place,
    /// What the link is for, in a word: its name in logs and metrics.
    pub purpose: &'static str,
    /// PEM certificates that are trusted instead of the system's roots, with TLS.
    pub ca_file: Option<PathBuf>,
    /// Time for an answer to the link's own questions, by which it tells whether Redis is well. No shorter than the
    /// deadline that calls usually have, or it closes the link to a Redis that is fast enough.
    pub patience: Duration,
    /// The longest deadline that a call will have.
    pub longest: Duration,
}

impl Plan {
    /// A link to `place`, with calls that wait for a second at most.
    pub fn new(place: Place, purpose: &'static str) -> Self {
        let (patience, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        Self { place, purpose, ca_file: None, patience, longest }
    }
}

/// A connection that is kept up. A clone speaks over the same one.
///
/// A command that blocks holds up every other on the same connection: who waits for a stream has a link of their own.
#[derive(Debug, Clone)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    plan: Plan,
    metrics: LinkMetrics,
    board: Board,
    session: ArcSwapOption<Session>,
}

impl Link {
    /// A link that is not connected yet: [`Link::run`] does that.
    pub fn new(plan: Plan, metrics: &Metrics) -> Self {
        let chorus = metrics.chorus();
        let metrics = metrics.of(plan.purpose);
        let board = Board::new(plan.purpose, metrics.clone(), chorus);
        Self(Arc::new(Inner { plan, metrics, board, session: ArcSwapOption::empty() }))
    }

    /// Keeps the connection up until `stop`; then the link is closed, and calls under way end. Once for all clones.
    pub async fn run(self, stop: CancellationToken) {
        // Boxed: connecting is a large future, and there is one of it.
        _ = stop.run_until_cancelled(Box::pin(self.0.keep_up())).await;
        if let Some(session) = self.0.session.swap(None) {
            session.tear(State::Connecting, "");
        }
        self.0.board.close();
    }

    /// Asks one thing. All keys that `command` names have one hash tag.
    ///
    /// # Errors
    ///
    /// There is no answer within `deadline`, or it is an error.
    pub async fn call(&self, command: &Cmd, deadline: Duration) -> Result<Value, LinkError> {
        let ask = async |mut connection: Connection| command.query_async(&mut connection).await;
        self.ask(Asked::One(command), deadline, ask).await
    }

    /// Asks several things at once; gives the answer to each that the pipeline does not ignore. All keys have one hash
    /// tag.
    ///
    /// # Errors
    ///
    /// There is no answer within `deadline`, or one of them is an error.
    pub async fn pipe(&self, pipeline: &Pipeline, deadline: Duration) -> Result<Vec<Value>, LinkError> {
        let ask = async |mut connection: Connection| pipeline.query_async(&mut connection).await;
        self.ask(Asked::Many(pipeline), deadline, ask).await
    }

    /// Runs a script by its hash, and loads it first where Redis does not have it. All `keys` have one hash tag.
    ///
    /// # Errors
    ///
    /// There is no answer within `deadline`, loading included, or it is an error.
    pub async fn script(
        &self,
        script: &Script,
        keys: &[impl ToRedisArgs],
        arguments: &[impl ToRedisArgs],
        deadline: Duration,
    ) -> Result<Value, LinkError> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        let ask = async |mut connection: Connection| invocation.invoke_async(&mut connection).await;
        self.ask(Asked::Script(script), deadline, ask).await
    }

    /// What the link is for.
    pub fn purpose(&self) -> &'static str {
        self.0.plan.purpose
    }

    /// How the link fares.
    pub fn state(&self) -> State {
        self.0.board.state()
    }

    /// Waits until calls are let through.
    pub async fn up(&self) {
        self.0.board.open().await;
    }

    async fn ask<T>(
        &self,
        asked: Asked<'_>,
        deadline: Duration,
        ask: impl AsyncFnOnce(Connection) -> Result<T, RedisError>,
    ) -> Result<T, LinkError> {
        let metrics = &self.0.metrics;
        let session = self.0.session.load_full();
        let Some((session, call)) = session.as_ref().and_then(|session| Some((session, session.admit()?))) else {
            metrics.count(Outcome::Closed);
            return Err(LinkError::Closed);
        };
        let begun = Instant::now();
        let answer = tokio::select! {
            biased;
            answer = in_time(deadline, ask(session.connection.clone())) => answer,
            // Nothing comes over it any more: whoever has a long deadline need not wait for that.
            () = session.torn.cancelled() => Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted).into()),
        };
        metrics.duration.observe(begun.elapsed());
        let error = match answer {
            Ok(answer) => {
                call.answered(asked);
                metrics.count(Outcome::Answered);
                return Ok(answer);
            }
            Err(error) => error,
        };
        let (outcome, error) = match call.failed(asked, &error) {
            Fault::TimedOut => (Outcome::TimedOut, LinkError::TimedOut(deadline)),
            Fault::Broken => (Outcome::Broken, LinkError::Broken(Arc::new(error))),
            _ => (Outcome::Refused, LinkError::Refused(Arc::new(error))),
        };
        metrics.count(outcome);
        Err(error)
    }
}
