//! How do clients get in, how many at once, and how does it end?

use std::io;
use std::net::{self, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinSet};
use tokio_util::task::TaskTracker;

use super::connection::{self, Ends};
use super::crowd::Crowd;
use super::drain::Drain;
use super::queue::{Queue, keep_out_the_silent};
use super::secure::Secured;
use super::{Door, Handler};

/// Connections that the kernel holds for us. More than `max_connections` would take at once in a burst.
const BACKLOG: i32 = 4096;

/// How long accepting rests when it fails for want of descriptors or memory: trying at once would eat a core, and the
/// connections that are open go on giving theirs back.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How long the streams of cut HTTP/2 connections get to notice.
const STREAMS_WAIT: Duration = Duration::from_secs(1);

/// Why a listener could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system says: in use, not ours, not allowed.
    #[source]
    pub source: io::Error,
}

/// Listens on `address`; port 0 lets the system choose. Needs a runtime.
///
/// A port whose connections are still fading out can be taken again; one that somebody listens on cannot.
///
/// # Errors
/// The address is in use, not this machine's, or not allowed.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|source| BindError { address, source })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Answers are written whole: waiting for more would only delay them. Accepted sockets have it from this one.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    keep_out_the_silent(&socket);
    TcpListener::from_std(socket.into())
}

/// Serves whoever connects, over TLS where there is `secured` and in the clear where there is none, until the door's `stop`; then lets what is under way finish for
/// `server.drain_timeout`, and cuts the rest. Nothing of it runs on after this returns.
pub async fn serve<H: Handler>(listener: TcpListener, door: Door<H>, secured: Option<Arc<Secured>>) {
    let door = Arc::new(door);
    let drain = Arc::new(Drain::default());
    let streams = TaskTracker::new();
    let mut connections = JoinSet::new();
    let queue = match Queue::of(listener) {
        Ok(queue) => queue,
        Err(error) => return tracing::error!(%error, "a listener cannot be watched; nobody can connect to it"),
    };
    let bound = queue.local_addr().ok().filter(|bound| !bound.ip().to_canonical().is_unspecified());
    let mut crowd = Crowd::new(Arc::clone(&door.places), secured.is_some());
    let mut stop = pin!(door.stop.cancelled());
    loop {
        let (socket, peer, place) = tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next() => {
                note_end(&ended, &door);
                continue;
            }
            accepted = next(&queue, &door, &mut crowd) => accepted,
        };
        // One system call less for each connection, where there is one address only that it can have come to.
        let Ok(local) = bound.map_or_else(|| socket.local_addr(), Ok) else { continue };
        let ends = Ends { peer, local };
        let (door, drain, streams) = (Arc::clone(&door), Arc::clone(&drain), streams.clone());
        let secured = secured.clone();
        // In a box: on its way to where it runs, and out of there again, a task is copied a dozen times.
        connections.spawn(Box::pin(async move {
            match secured {
                Some(secured) => connection::run_secure(socket, ends, place, &secured, (&door, &drain, streams)).await,
                None => connection::run(socket, ends, place, (&door, &drain, streams)).await,
            }
        }));
    }
    // New connections are refused from here on, not left waiting.
    drop(queue);
    drain.begin();
    let grace = door.settings.load().drain_timeout;
    let finish = async {
        while let Some(ended) = connections.join_next().await {
            note_end(&ended, &door);
        }
    };
    if tokio::time::timeout(grace, finish).await.is_err() {
        tracing::warn!(connections = connections.len(), "server.drain_timeout is over; connections are cut");
    }
    connections.shutdown().await;
    streams.close();
    let _ = tokio::time::timeout(STREAMS_WAIT, streams.wait()).await;
}

/// The next connection, once there is a place for it.
async fn next<H>(
    queue: &Queue,
    door: &Door<H>,
    crowd: &mut Crowd,
) -> (net::TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let shed = &door.telemetry.metrics().connections_shed;
    let count = || {
        shed.inc();
    };
    let place = crowd.place(queue, count).await;
    loop {
        match crowd.first(queue).await {
            Ok((socket, peer)) => return (socket, peer, place),
            // The client has already left: the next one is waiting.
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                door.telemetry.metrics().accept_errors.inc();
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn note_end<H>(ended: &Result<(), JoinError>, door: &Door<H>) {
    if ended.as_ref().is_err_and(JoinError::is_panic) {
        door.telemetry.metrics().panics.inc();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn who_speaks_comes_before_who_is_silent_and_both_come_in() {
        let listener = bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = listener.local_addr().expect("an address");
        let queue = Queue::of(listener).expect("a queue");
        let connect = || net::TcpStream::connect(address).expect("it listens");
        let (begun, silent, mut speaking) = (Instant::now(), connect(), connect());
        speaking.write_all(b"x").expect("it is open");
        for (client, said) in [(speaking, &b"x"[..]), (silent, b"")] {
            let (accepted, peer) = poll_fn(|cx| queue.poll_next(cx)).await.expect("a connection");
            assert_eq!(peer, client.local_addr().expect("an address"));
            assert_eq!(accepted.local_addr().expect("an address"), address);
            assert!(accepted.nodelay().expect("a socket"), "as its listener sends");
            let mut bytes = [0; 1];
            for want in said.iter().map(|byte| Some(*byte)).chain([None]) {
                let read = (&accepted).read(&mut bytes);
                assert_eq!(read.map_err(|error| error.kind()).ok().map(|_| bytes[0]), want, "it does not block");
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "nobody is silent for long: {:?}", begun.elapsed());
    }
}
