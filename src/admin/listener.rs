//! Who answers on the operator's port, for how long, and how does a connection end?

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Office;

/// Connections at once: an operator, a few scrapers, the plug-ins of a CMS; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// For a request's head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// For a connection as a whole: one that takes nothing must not keep its place. Scrapers connect again.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(5);

/// For a request's head, with its target: a URL of 16 KiB, each byte percent-encoded in a query, takes 48 KiB.
const HEAD_BYTES: usize = 64 << 10;

/// How long accepting rests when it fails for want of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long a connection is read from after its last answer. Closed with something unread, it would be reset, and the
/// reset can destroy the answer (RFC 9112 §9.6): a client that still sends a body too large would not learn why.
const LINGER: Duration = Duration::from_secs(2);

/// Answers operators until `stop`; then at once no more. Nothing of it runs on after this returns.
pub async fn serve(listener: TcpListener, office: Arc<Office>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    let talk = talk(stream, peer.ip().to_canonical(), Arc::clone(&office));
                    connections.spawn(tokio::time::timeout(CONNECTION_TIMEOUT, talk));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting an admin connection failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            }
        }
    }
    connections.shutdown().await;
}

async fn talk(stream: TcpStream, peer: IpAddr, office: Arc<Office>) {
    let mut builder = http1::Builder::new();
    // A client that has said all may say so, and still be answered; and what it has asked for is done.
    builder.half_close(true);
    builder.timer(TokioTimer::new());
    builder.header_read_timeout(HEAD_TIMEOUT);
    builder.max_header_size(HEAD_BYTES);
    builder.max_buf_size(HEAD_BYTES);
    let service = service_fn(move |request: Request<Incoming>| {
        let office = Arc::clone(&office);
        Box::pin(async move { Ok::<_, Infallible>(office.answer(request, peer).await) })
    });
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    let ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection broke off");
    }
    let _ = tokio::time::timeout(LINGER, see_off(connection.into_parts().io.into_inner())).await;
}

/// Says that nothing more comes from us, and takes what is still on its way, until the client has closed too.
async fn see_off(mut stream: TcpStream) -> std::io::Result<()> {
    stream.shutdown().await?;
    let mut unread = vec![0; 16 << 10];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Readiness;
    use super::super::tests::office;
    use super::*;

    #[tokio::test]
    async fn it_answers_over_a_socket_and_ends_when_told() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let office = office("", Readiness::Ready).await;
        let task = tokio::spawn(serve(listener, office, stop.clone()));
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("written");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ready\n"), "{answer}");
        let mut idle = TcpStream::connect(address).await.expect("it listens");
        stop.cancel();
        task.await.expect("it ends");
        let _ = idle.read_to_end(&mut Vec::new()).await;
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    }
}
