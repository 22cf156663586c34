//! The task of a link: to connect, to watch, to connect anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, Value};
use tokio::time::{Instant, sleep, sleep_until};

use super::Inner;
use super::backoff::{Backoff, jittered};
use super::connection::{CONNECT, Connection, Means, in_time};
use super::fault::{Fault, judge};
use super::place::{Address, Shape};
use super::sentinel::{Sentinels, be_master};
use super::session::{Asked, Peer, Session};
use super::state::State;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often a connection is asked that nobody else asks, and a Sentinel whether the master is still the master.
const BEAT: Duration = Duration::from_secs(1);

/// When to ask again after a question that nobody else put has failed.
const BEAT_AGAIN: Duration = Duration::from_millis(100);

impl Inner {
    /// Keeps a connection up for ever.
    pub(super) async fn keep_up(&self) -> Infallible {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut sentinels = self.sentinels();
        let mut session = self.establish(&mut sentinels, &mut backoff).await;
        loop {
            let begun = Instant::now();
            self.session.store(Some(Arc::clone(&session)));
            let moved = tokio::select! {
                () = session.torn.cancelled() => None,
                _ = self.tend(&session) => None,
                moved = self.follow(&session, sentinels.as_mut()) => Some(moved),
            };
            if let Some(new) = moved {
                let (link, address, before) = (self.plan.purpose, new.peer.to_string(), session.peer.to_string());
                tracing::info!(link, address, before, "the link to Redis follows the Sentinels to another master");
                // In this order: nobody finds the link without a connection in between.
                self.session.store(Some(Arc::clone(&new)));
                session.tear(State::Connecting, "");
                session = new;
            } else {
                self.lose(&session);
                if begun.elapsed() >= LONGEST_PAUSE {
                    backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
                } else {
                    // One that lets us in and throws us out again is not asked in a hurry.
                    sleep(jittered(backoff.next_pause())).await;
                }
                session = self.establish(&mut sentinels, &mut backoff).await;
            }
            self.metrics.reconnects.inc();
        }
    }

    /// Says that the link is closed, for the reason that the session ended.
    fn lose(&self, session: &Session) {
        self.session.store(None);
        self.metrics.breaker_open.set(0);
        if let Some((state, why)) = session.ending() {
            self.board.say(*state, false, &session.peer.to_string(), why);
        }
    }

    /// Tries until there is a connection.
    async fn establish(&self, sentinels: &mut Option<Sentinels<'_>>, backoff: &mut Backoff) -> Arc<Session> {
        loop {
            let error = match self.open(sentinels.as_mut()).await {
                Ok(session) => return session,
                Err(error) => error,
            };
            let state = match judge(&error).0 {
                Fault::TimedOut => State::TimedOut,
                Fault::LoginRefused => State::Denied,
                Fault::Loading => State::Loading,
                Fault::Denies(state) => state,
                Fault::Broken | Fault::NotMaster | Fault::Ours => State::Unreachable,
            };
            self.board.say(state, false, &self.plan.place.to_string(), &error.to_string());
            sleep(jittered(backoff.next_pause())).await;
        }
    }

    async fn open(&self, sentinels: Option<&mut Sentinels<'_>>) -> Result<Arc<Session>, RedisError> {
        match &self.plan.place.shape {
            Shape::Server { at, database } => {
                let connection = Connection::One(self.means().connect(at, *database).await?);
                welcome(connection, Peer::Server(at.clone())).await
            }
            Shape::Cluster { nodes } => {
                let connection = Connection::Cluster(self.means().connect_cluster(nodes).await?);
                welcome(connection, Peer::Cluster(self.plan.place.to_string())).await
            }
            Shape::Sentinel { .. } => {
                let sentinels = sentinels.expect("made for a place with Sentinels");
                let master = sentinels.master().await?;
                let opened = self.open_master(&master).await;
                if opened.is_err() {
                    sentinels.skip();
                }
                opened
            }
        }
    }

    async fn open_master(&self, at: &Address) -> Result<Arc<Session>, RedisError> {
        let mut connection = self.means().connect(at, 0).await?;
        in_time(CONNECT, be_master(&mut connection)).await?;
        welcome(Connection::One(connection), Peer::Master(at.clone())).await
    }

    /// Watches the breaker, and asks where nobody else does. Ends when the session is over.
    async fn tend(&self, session: &Session) -> Infallible {
        let mut next = Instant::now() + BEAT;
        let mut was_open = false;
        loop {
            self.show(session);
            let is_open = session.is_open();
            if is_open && !was_open {
                next = Instant::now() + jittered(session.pause());
            }
            was_open = is_open;
            tokio::select! {
                () = session.changed.notified() => {}
                () = sleep_until(next) => next = Instant::now() + self.beat(session).await,
            }
        }
    }

    /// Asks whether it is there. Returns the pause until the next time.
    async fn beat(&self, session: &Session) -> Duration {
        if session.is_open() {
            let answer = self.ping(session).await;
            session.probed(answer.as_ref().err().map(|error| (judge(error).0, error)));
            return if session.is_open() { jittered(session.pause()) } else { BEAT };
        }
        if session.is_in_use() {
            return BEAT;
        }
        let Some(call) = session.admit() else { return BEAT_AGAIN };
        let question = ping();
        match self.ping(session).await {
            Ok(_) => call.answered(Asked::One(&question)),
            // What is denied is PING, which nobody needs.
            Err(error) if matches!(judge(&error).0, Fault::Denies(_)) => {}
            Err(error) => {
                call.failed(Asked::One(&question), &error);
                return BEAT_AGAIN;
            }
        }
        BEAT
    }

    async fn ping(&self, session: &Session) -> Result<Value, RedisError> {
        let mut connection = session.connection.clone();
        in_time(self.plan.patience, ping().query_async(&mut connection)).await
    }

    /// Says how the session fares.
    fn show(&self, session: &Session) {
        let (state, why) = session.view();
        let is_open = session.is_open();
        self.metrics.breaker_open.set(i64::from(is_open));
        self.board.say(state, !is_open, &session.peer.to_string(), &why);
    }

    /// Asks a Sentinel now and then; returns the connection to another master once there is one.
    async fn follow(&self, session: &Session, sentinels: Option<&mut Sentinels<'_>>) -> Arc<Session> {
        let Some(sentinels) = sentinels else { return std::future::pending().await };
        loop {
            sleep(jittered(BEAT)).await;
            let Ok(master) = sentinels.master().await else { continue };
            if Peer::Master(master.clone()) == session.peer {
                continue;
            }
            // The one we have is kept until the other is there: this Sentinel may be behind the times.
            match self.open_master(&master).await {
                Ok(new) => return new,
                Err(_) => sentinels.skip(),
            }
        }
    }

    fn means(&self) -> Means<'_> {
        let place = &self.plan.place;
        Means {
            tls: place.tls,
            ca_file: self.plan.ca_file.as_deref(),
            login: place.login.as_ref(),
            longest: self.plan.longest,
        }
    }

    fn sentinels(&self) -> Option<Sentinels<'_>> {
        match &self.plan.place.shape {
            Shape::Sentinel { sentinels, master } => Some(Sentinels::new(sentinels, master, self.means())),
            _ => None,
        }
    }
}

fn ping() -> redis::Cmd {
    redis::cmd("PING")
}

/// Takes a connection into use that answers; of a cluster, one to whose every master there is a way.
async fn welcome(mut connection: Connection, peer: Peer) -> Result<Arc<Session>, RedisError> {
    let answer: Result<Value, _> = in_time(CONNECT, ping().query_async(&mut connection)).await;
    match answer {
        // Whoever lacks a password is let in and then told nothing; of one that loads, the same. That we may not PING
        // is an answer.
        Err(error) if matches!(judge(&error).0, Fault::Denies(State::Denied)) => {}
        answer => _ = answer?,
    }
    Ok(Arc::new(Session::new(connection, peer)))
}
