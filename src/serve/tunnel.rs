//! Once both sides have changed protocols, bytes are all that passes (WebSocket and the like). RFC 9110 §7.8.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::{CONNECTION, UPGRADE};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::inquiry::Inquiry;
use super::{Shared, through};
use crate::body::response::{BoxResponse, ResponseBody};
use crate::body::upgrade::{Upgrade, Upgraded};
use crate::origin::Answer;
use crate::policy::outcome::Outcome;

/// How long a tunnel may be silent both ways. A peer that has vanished says nothing, and would keep a connection of
/// each side for ever; what lives says something, if only a ping.
const SILENCE: Duration = Duration::from_mins(10);

/// Bytes in a tunnel, each way.
const BUFFER: usize = 16 * 1024;

/// The answer that changes protocols; the tunnel begins when it has gone out.
pub(super) fn join(
    shared: &Arc<Shared>,
    inquiry: &Inquiry,
    mut answer: Answer,
    client: Option<Upgrade>,
    outcome: &Outcome,
) -> BoxResponse {
    if let (Some(client), Some(origin)) = (client, answer.upgraded.take()) {
        shared.tunnels.spawn(relay(client, *origin, shared.stop.clone()));
    }
    let protocol = answer.headers.get(UPGRADE).or_else(|| inquiry.headers.get(UPGRADE)).cloned();
    let mut response = through::respond(answer, inquiry, outcome);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
    *response.body_mut() = ResponseBody::empty();
    response
}

/// Copies both ways until both ends have closed, nothing is said for too long, or the process ends.
async fn relay(client: Upgrade, origin: Upgraded, stop: CancellationToken) {
    let both = async {
        if let Ok(client) = client.await {
            copy_both(client, origin).await;
        } else {
            tracing::debug!("a tunnel was not established: the client left before it was told");
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = both => {}
    }
}

/// An end that vanishes is an end; there is nobody to tell.
async fn copy_both(client: Upgraded, origin: Upgraded) {
    let (client_reads, client_writes) = split(client.stream);
    let (origin_reads, origin_writes) = split(origin.stream);
    let (client_reads, origin_reads) = ((&*client.first).chain(client_reads), (&*origin.first).chain(origin_reads));
    let (heard, mut last) = watch::channel(Instant::now());
    let ways = async {
        tokio::join!(copy(client_reads, origin_writes, &heard), copy(origin_reads, client_writes, &heard));
    };
    let silence = async {
        loop {
            let until = *last.borrow_and_update() + SILENCE;
            tokio::time::sleep_until(until).await;
            if *last.borrow() + SILENCE <= Instant::now() {
                return;
            }
        }
    };
    tokio::select! {
        () = ways => {}
        () = silence => {}
    }
}

/// Copies one way; passes the end on, so that the other way can go on alone.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, heard: &watch::Sender<Instant>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        heard.send_replace(Instant::now());
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() || to.flush().await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_passes_each_end_on_and_ends_when_nobody_speaks() {
        let (mut client, near) = tokio::io::duplex(64);
        let (mut origin, far) = tokio::io::duplex(64);
        let near = Upgraded { first: Bytes::from_static(b"pi"), stream: Box::new(near) };
        let far = Upgraded { first: Bytes::new(), stream: Box::new(far) };
        let tunnel = tokio::spawn(copy_both(near, far));
        client.write_all(b"ng").await.expect("open");
        client.shutdown().await.expect("open");
        let mut said = Vec::new();
        origin.read_to_end(&mut said).await.expect("the end is passed on");
        assert_eq!(said, b"ping");
        origin.write_all(b"pong").await.expect("the other way is still open");
        let mut four = [0; 4];
        client.read_exact(&mut four).await.expect("an answer");
        assert_eq!(&four, b"pong");
        let began = Instant::now();
        tunnel.await.expect("it ends");
        assert_eq!(began.elapsed().as_secs(), SILENCE.as_secs());
    }
}
