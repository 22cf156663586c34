//! Asking the origin: which address, over which connection, what goes out, and may what comes back be used?
//!
//! The story of one request, and where it is told:
//!
//! 1. `outbound` writes its head anew; `upload` holds its body, so that it can be sent again while unread.
//! 2. `upstream` chooses an address (`balance`, among those that `vitals` allows) and waits for the right to use
//!    a connection (`pool`).
//! 3. `exchange` takes an idle connection or opens one (`connect`, `tls`), sends over it and waits for the head
//!    (`http1`).
//! 4. `answer` checks the head; `stream` is the body, which gives the connection back at its end. After a change of
//!    protocols there is a `tunnel` instead.
//! 5. If a try fails, `retry` says whether and where there may be another.
//!
//! Meanwhile `upkeep` resolves names again (`resolve`), closes idle connections and runs the checks of `health`.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::request::RequestBody;
use crate::body::upgrade::Upgraded;
use crate::client::Client;
use crate::clock::Clock;
use crate::config::settings;
use crate::policy::treatment::OriginId;

mod address;
mod alarm;
mod answer;
mod balance;
mod connect;
mod error;
mod exchange;
mod health;
mod http1;
mod metrics;
mod outbound;
mod pool;
mod resolve;
mod retry;
mod start;
mod stream;
mod tls;
mod tunnel;
mod upkeep;
mod upload;
mod upstream;
mod vitals;

#[cfg(test)]
mod tests;

pub use error::{AnswerBodyError, Malformed, OriginError, Peer};
pub use metrics::Metrics;
pub use resolve::ResolveError;
pub use start::StartError;
pub use stream::OriginBody;
pub use tls::TlsError;

/// What origins need of the process.
#[derive(Debug, Clone)]
pub struct Context {
    /// The wall clock.
    pub clock: Clock,
    /// Where things are counted.
    pub metrics: Metrics,
    /// Who owns the tasks.
    pub tasks: TaskTracker,
    /// Ends what runs between requests: checks, name resolution, idle connections. Requests under way go on.
    pub stop: CancellationToken,
}

/// A request on its way to an origin.
#[derive(Debug)]
pub struct Outbound<'a> {
    /// The method.
    pub method: Method,
    /// Path and query, as the origin is to see them.
    pub target: PathAndQuery,
    /// The request's end-to-end fields, without `Host`; with `upgrade` also `Connection` and `Upgrade`.
    ///
    /// `TE: trailers`, where it is left in, lets the origin send trailers; `Via`, `Forwarded`, `X-Forwarded-*` are
    /// those of trusted proxies, and are extended.
    pub headers: Cow<'a, HeaderMap>,
    /// Who asks.
    pub client: &'a Client,
    /// The body.
    pub body: RequestBody,
    /// The hash of the request's key, for consistent hashing.
    pub affinity: u64,
    /// Whether the client asks for another protocol (`Upgrade`).
    pub upgrade: bool,
}

/// An origin's final answer.
#[derive(Debug)]
pub struct Answer {
    /// The status: 101, or 200 to 599.
    pub status: StatusCode,
    /// The fields, without those of the hop; with 101 `Connection` and `Upgrade` are there.
    pub headers: HeaderMap,
    /// The body.
    pub body: OriginBody,
    /// Which address answered.
    pub address: SocketAddr,
    /// The time that the try took to the head of the answer, connecting included.
    pub first_byte: Duration,
    /// What the connection has become, with a 101.
    pub upgraded: Option<Box<Upgraded>>,
}

/// The origins of one configuration. A clone is the same origins.
#[derive(Clone)]
pub struct Origins(Arc<[Arc<upstream::Running>]>);

impl Origins {
    /// Sets up these origins. Those that `previous` has, unchanged, are taken over with their connections and health.
    ///
    /// # Errors
    ///
    /// A name without an address, certificates that cannot be read: the configuration cannot be used. An origin that
    /// is merely down is no error.
    pub async fn start(
        specs: &[settings::Origin],
        previous: Option<&Self>,
        context: &Context,
    ) -> Result<Self, StartError> {
        Self::start_with(specs, previous, context, &Arc::new(resolve::Resolver::system())).await
    }

    async fn start_with(
        specs: &[settings::Origin],
        previous: Option<&Self>,
        context: &Context,
        resolver: &Arc<resolve::Resolver>,
    ) -> Result<Self, StartError> {
        let started = specs.iter().map(|spec| async move {
            let unchanged = previous.and_then(|previous| previous.0.iter().find(|old| old.upstream.spec == *spec));
            match unchanged {
                Some(unchanged) => Ok(Arc::clone(unchanged)),
                None => start::run(spec, resolver, context).await.map(Arc::new),
            }
        });
        let origins = Self(try_join_all(started).await?.into());
        if let Some(previous) = previous {
            previous.forget_all_but(&origins);
        }
        origins.0.iter().for_each(|running| running.upstream.say_all_up());
        Ok(origins)
    }

    /// Takes the addresses of origins that are no more out of the metrics.
    fn forget_all_but(&self, origins: &Self) {
        let is_kept = |old: &Arc<upstream::Running>| origins.0.iter().any(|new| Arc::ptr_eq(new, old));
        self.0.iter().filter(|old| !is_kept(old)).for_each(|old| old.upstream.forget_all());
    }

    /// Asks an origin, one of this configuration's.
    ///
    /// Ends within a bounded time: waiting for a connection, connecting and waiting for the head have their limits.
    /// Dropped, it closes its connection.
    ///
    /// # Errors
    ///
    /// No answer, or none that may be used; [`OriginError::status`] says what the client is told.
    pub fn fetch<'a>(
        &'a self,
        origin: OriginId,
        request: Outbound<'a>,
    ) -> impl Future<Output = Result<Answer, OriginError>> + Send + 'a {
        self.upstream(origin).fetch(request)
    }

    /// The name of an origin, one of this configuration's.
    pub fn name(&self, origin: OriginId) -> &Arc<str> {
        &self.upstream(origin).name
    }

    /// Whether an origin, one of this configuration's, has an address that may be asked.
    pub fn is_up(&self, origin: OriginId) -> bool {
        self.upstream(origin).is_up()
    }

    /// Each origin's name, and whether it has an address that may be asked, in the order of the file.
    pub fn states(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.iter().map(|running| (&*running.upstream.name, running.upstream.is_up()))
    }

    /// Whether any origin is up.
    pub fn any_up(&self) -> bool {
        self.0.iter().any(|running| running.upstream.is_up())
    }

    fn upstream(&self, origin: OriginId) -> &Arc<upstream::Upstream> {
        &self.0[origin.0].upstream
    }
}

impl std::fmt::Debug for Origins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|running| &running.upstream.name)).finish()
    }
}
