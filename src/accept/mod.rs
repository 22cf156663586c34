//! 1 · From a socket to a clean request: listeners, deadlines, HTTP/1.1 and HTTP/2, the trust boundary, drain.
//!
//! [`listener::serve`] accepts, out of the kernel's `queue`; a socket is `clear`, or `secure` shakes hands over it; a `connection`
//! chooses the protocol, lives under the deadlines of its `pulse`, and sends its `share` before others have their turn. Each request
//! passes `reception`, which has `request` judge and clean it, and hands it to the [`Handler`]. A plain hit never gets that far:
//! `express` answers it where it is read, in `http1`, which is all there is of that protocol, and in `http2`, which lies between the
//! socket and the library.

mod clear;
mod connection;
mod crowd;
mod drain;
mod express;
mod handshakes;
mod http1;
mod http2;
mod interim;
pub mod listener;
mod meter;
mod pulse;
mod queue;
mod reception;
mod refusal;
mod request;
pub mod secure;
mod share;
mod socket;
#[cfg(test)]
mod tests;
mod trust;

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::body::request::RequestBody;
use crate::body::response::BoxResponse;
use crate::client::{Client, Plain};
use crate::config::settings::Server;
use crate::telemetry::Telemetry;

/// Answers clean requests. A panic of it becomes a 500.
///
/// The URI is in origin-form with the client's bytes, never `*`; the host is in the client's `authority`, and neither
/// hop-by-hop fields nor untrusted forwarding fields are left. A request that may become another protocol has
/// `Connection: upgrade` and `Upgrade`, and its body gives the connection then; no other has.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The answer under way. Dropped when the client leaves.
    type Answer: Future<Output = BoxResponse> + Send + Unpin + 'static;

    /// Begins to answer a request of this head and this body.
    fn handle(&self, head: Parts, body: RequestBody, client: Client) -> Self::Answer;

    /// Answers what can be answered out of memory, exactly as [`Handler::handle`] would: the head is added to `answer`, and so
    /// is the body, or it is what is returned; it has as many bytes as `request` has room for at most. `None`: nothing was
    /// written, done or counted.
    fn at_once(&self, request: &Plain<'_>, answer: &mut Vec<u8>) -> Option<Bytes>;
}

/// What every public listener shares.
#[derive(Debug, Clone)]
pub struct Door<H> {
    handler: H,
    settings: Arc<ArcSwap<Server>>,
    telemetry: Arc<Telemetry>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl<H: Handler> Door<H> {
    /// Requests go to `handler`; `settings` are read anew for every connection and request, but `max_connections`, which
    /// counts for all listeners of this door together and stays as it is now. `stop` begins to drain.
    pub fn new(handler: H, settings: Arc<ArcSwap<Server>>, telemetry: Arc<Telemetry>, stop: CancellationToken) -> Self {
        let places = settings.load().max_connections.clamp(1, Semaphore::MAX_PERMITS);
        Self { handler, settings, telemetry, places: Arc::new(Semaphore::new(places)), stop }
    }

    /// At most so many connections at once, whatever the settings say.
    pub fn of_at_most(self, places: usize) -> Self {
        let allowed = self.places.available_permits();
        Self { places: Arc::new(Semaphore::new(allowed.min(places).max(1))), ..self }
    }
}
