//! Does an address answer its health check?
//!
//! A check has a connection of its own, which counts towards no limit: a busy address is not a sick one.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::address::Address;
use super::connect;
use super::error::Peer;
use super::upstream::Upstream;
use super::vitals::Change;
use crate::body::BoxError;
use crate::config::settings::Health;

/// Checks one address, and says so where that changes what we hold of it.
pub(super) async fn check(upstream: &Upstream, address: &Arc<Address>, target: &PathAndQuery, health: &Health) {
    let asked = tokio::time::timeout(health.timeout, ask(upstream, address, target)).await;
    let result = match asked {
        Err(_) => Err(format!("no answer within {:?}", health.timeout)),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(status)) if status.is_success() || status.is_redirection() => Ok(()),
        Ok(Ok(status)) => Err(format!("status {status}")),
    };
    let after = if result.is_ok() { health.healthy_after } else { health.unhealthy_after };
    let change = address.vitals.checked(result.is_ok(), after);
    let (origin, socket) = (&upstream.name, address.socket);
    match change {
        Some(Change::Up) => tracing::info!(%origin, address = %socket, "the origin's address is healthy again"),
        Some(Change::Down) => {
            let why = result.err().unwrap_or_default();
            tracing::warn!(%origin, address = %socket, why, "the origin's address failed its health checks");
        }
        None => {}
    }
    upstream.say_up(address, address.vitals.is_available());
}

/// The status that the address answers with.
async fn ask(upstream: &Upstream, address: &Address, target: &PathAndQuery) -> Result<StatusCode, BoxError> {
    let peer = || Peer { origin: Arc::clone(&upstream.name), address: address.socket };
    let stream = connect::reach(address, peer).await?;
    let handshake = http1::Builder::new().max_header_size(connect::MAX_HEAD).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = Uri::from(target.clone());
    request.headers_mut().insert(HOST, address.url.authority.clone());
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("larder-health"));
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let answer = pin!(sender.send_request(request));
    // The connection lives here, and ends here: no task to own. It may end with the answer, and the answer be there.
    let answer = match select(answer, pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        Either::Right((_, answer)) => answer.await,
    };
    Ok(answer?.status())
}
