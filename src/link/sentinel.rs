//! Which server is the master, as Sentinels know it?

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, Value};

use super::connection::{Means, in_time};
use super::fault::{Fault, judge};
use super::place::Address;

/// Time for one Sentinel to say who the master is, connecting included.
const ASK: Duration = Duration::from_secs(1);

/// The Sentinels of one set-up. One is asked for as long as it answers: another may know less of a fail-over.
pub(super) struct Sentinels<'a> {
    all: &'a [Address],
    /// What the master is called.
    name: &'a str,
    means: Means<'a>,
    /// The one to ask, counted on from failure to failure.
    turn: usize,
    connection: Option<MultiplexedConnection>,
}

impl<'a> Sentinels<'a> {
    pub(super) fn new(all: &'a [Address], name: &'a str, means: Means<'a>) -> Self {
        Self { all, name, means, turn: 0, connection: None }
    }

    /// The address of the master: what the first Sentinel says that says anything.
    pub(super) async fn master(&mut self) -> Result<Address, RedisError> {
        let mut failed = RedisError::from((ErrorKind::EmptySentinelList, "there is no Sentinel to ask"));
        for _ in self.all {
            match in_time(ASK, self.ask()).await {
                Ok(master) => return Ok(master),
                Err(error) => failed = error,
            }
            self.skip();
        }
        Err(failed)
    }

    /// Asks another one the next time: what this one said was of no use.
    pub(super) fn skip(&mut self) {
        self.connection = None;
        self.turn = (self.turn + 1) % self.all.len().max(1);
    }

    async fn ask(&mut self) -> Result<Address, RedisError> {
        // Taken out: one that fails is not asked again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(None).await?,
        };
        let answer = match self.question(&mut connection).await {
            Err(error) if judge(&error).0 == Fault::LoginRefused => {
                connection = self.connect(self.means.login).await?;
                self.question(&mut connection).await?
            }
            answer => answer?,
        };
        self.connection = Some(connection);
        let unknown =
            || RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "the Sentinel knows no such master"));
        let (host, port): (String, u16) = answer.ok_or_else(unknown)?;
        Ok(Address { host, port })
    }

    async fn question(&self, connection: &mut MultiplexedConnection) -> Result<Option<(String, u16)>, RedisError> {
        redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(self.name).query_async(connection).await
    }

    /// Sentinels have a login of their own, mostly none: ours is the master's, and is told only to one that asks for it.
    async fn connect(&self, login: Option<&super::place::Login>) -> Result<MultiplexedConnection, RedisError> {
        Means { login, ..self.means }.connect(&self.all[self.turn], 0).await
    }
}

/// Fails unless the server says that it is a master: a Sentinel may be behind the times.
pub(super) async fn be_master(connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
    let role: Value = match redis::cmd("ROLE").query_async(connection).await {
        // Our user may not ask that. A write that is refused will tell.
        Err(error) if matches!(judge(&error).0, Fault::Denies(_)) => return Ok(()),
        role => role?,
    };
    let word = match &role {
        Value::Array(parts) => parts.first(),
        _ => None,
    };
    match word {
        Some(Value::BulkString(word)) if word == b"master" => Ok(()),
        _ => Err((ErrorKind::MasterNameNotFoundBySentinel, "the server that the Sentinel names is no master").into()),
    }
}
