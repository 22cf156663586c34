//! Does an address answer its health check?
//!
//! A check has a connection of its own, which counts towards no limit: a busy address is not a sick one.

use std::future::poll_fn;
use std::sync::Arc;

use http::StatusCode;
use http::uri::PathAndQuery;

use super::address::Address;
use super::connect;
use super::error::{OriginError, Peer};
use super::exchange::explain;
use super::http1::Http1;
use super::upstream::Upstream;
use super::vitals::Change;
use crate::body::http1::outgoing::{Framing, write_field};
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
async fn ask(upstream: &Upstream, address: &Address, target: &PathAndQuery) -> Result<StatusCode, OriginError> {
    let peer = || Peer { origin: Arc::clone(&upstream.name), address: address.socket };
    let stream = connect::reach(address, peer).await?;
    let mut connection = Http1::new(stream);
    let mut head = format!("GET {target} HTTP/1.1\r\n").into_bytes();
    let fields: [(&str, &[u8]); 3] =
        [("host", address.url.authority.as_bytes()), ("user-agent", b"larder-health"), ("connection", b"close")];
    for (name, value) in fields {
        write_field(&mut head, name, value);
    }
    head.extend_from_slice(b"\r\n");
    connection.begin(head, Framing::None, None, true);
    let head = poll_fn(|cx| connection.poll_head(cx, |_, _| {})).await;
    Ok(head.map_err(|failure| explain(failure, peer()).0)?.status)
}
