//! A connection to Redis, whatever stands behind it: one server, a Sentinel set-up or a cluster.
//!
//! Everybody who speaks to Redis does it through a [`Link`]: one question, one answer, one deadline. What is to be done
//! when Redis is slow, gone, full or has changed its master is decided here, once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio_util::sync::CancellationToken;

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

/// A connection that is kept up. A clone speaks over the same one.
#[derive(Debug, Clone)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: String,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// A link that is not connected yet: [`Link::run`] does that.
    pub fn new(url: &str) -> Self {
        Self(Arc::new(Inner { url: url.to_owned(), connection: Mutex::new(None) }))
    }

    /// Keeps the connection up until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        drop(stop);
        let Ok(client) = redis::Client::open(&*self.0.url) else { return };
        let Ok(connection) = client.get_multiplexed_async_connection().await else { return };
        *self.0.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }

    /// Asks one thing. All keys that `command` names have one hash tag.
    ///
    /// # Errors
    ///
    /// There is no answer within `deadline`, or it is an error.
    pub async fn call(&self, command: &Cmd, deadline: Duration) -> Result<Value, LinkError> {
        let mut connection = self.connection()?;
        answer(deadline, connection.req_packed_command(command)).await
    }

    /// Asks several things at once; gives the answer to each. All keys have one hash tag.
    ///
    /// # Errors
    ///
    /// There is no answer within `deadline`, or one of them is an error.
    pub async fn pipe(&self, pipeline: &Pipeline, deadline: Duration) -> Result<Vec<Value>, LinkError> {
        let mut connection = self.connection()?;
        let asked: Vec<_> = pipeline.cmd_iter().collect();
        answer(deadline, connection.req_packed_commands(pipeline, 0, asked.len())).await
    }

    /// Has a script run.
    ///
    /// # Errors
    ///
    /// There is no answer within `deadline`, or it is an error.
    pub async fn script(
        &self,
        script: &redis::Script,
        keys: &[&str],
        arguments: &[&[u8]],
        deadline: Duration,
    ) -> Result<Value, LinkError> {
        let mut connection = self.connection()?;
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(*key);
        }
        for argument in arguments {
            invocation.arg(*argument);
        }
        answer(deadline, invocation.invoke_async(&mut connection)).await
    }

    fn connection(&self) -> Result<MultiplexedConnection, LinkError> {
        let connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.clone().ok_or(LinkError::Closed)
    }
}

async fn answer<T>(deadline: Duration, asked: impl Future<Output = Result<T, RedisError>>) -> Result<T, LinkError> {
    match tokio::time::timeout(deadline, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if error.is_io_error() => Err(LinkError::Broken(Arc::new(error))),
        Ok(Err(error)) => Err(LinkError::Refused(Arc::new(error))),
        Err(_) => Err(LinkError::TimedOut(deadline)),
    }
}
