//! Origins and clients that speak TCP, for what a well-behaved HTTP library would never send.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::gate::Tally;
use super::within;

/// One end of a TCP connection, with what was read and not yet taken.
pub(crate) struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
    is_open: bool,
}

impl Line {
    /// Connects.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("somebody listens"))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP has no delay");
        Self { stream, unread: Vec::new(), is_open: true }
    }

    /// Sends bytes as they are. An error means that the other end is gone, which the next read tells.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.is_open &= self.stream.write_all(bytes.as_ref()).await.is_ok();
    }

    /// Whether all that was sent could be.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Reads up to and with the first `mark`; `None` when the connection ends before it.
    pub(crate) async fn through(&mut self, mark: &str) -> Option<String> {
        within(&format!("{mark:?} on the line (have {:?})", String::from_utf8_lossy(&self.unread)), async {
            loop {
                if let Some(at) = self.unread.windows(mark.len()).position(|window| window == mark.as_bytes()) {
                    let taken: Vec<u8> = self.unread.drain(..at + mark.len()).collect();
                    return Some(String::from_utf8_lossy(&taken).into_owned());
                }
                if !self.more().await {
                    return None;
                }
            }
        })
        .await
    }

    /// Reads a head: everything up to the empty line.
    pub(crate) async fn head(&mut self) -> Option<String> {
        self.through("\r\n\r\n").await
    }

    /// Reads exactly so many bytes; `None` when the connection ends before.
    pub(crate) async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        within(&format!("{length} bytes on the line"), async {
            while self.unread.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            Some(self.unread.drain(..length).collect())
        })
        .await
    }

    /// Reads until the other end closes.
    pub(crate) async fn rest(&mut self) -> String {
        within("the end of the connection", async { while self.more().await {} }).await;
        String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned()
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.unread).await.is_ok_and(|length| length > 0)
    }

    /// Ends the connection the rude way: RST.
    pub(crate) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Says that nothing more comes from this end.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}

/// An origin that is handed each connection as it comes.
pub(crate) struct RawOrigin {
    address: SocketAddr,
    connections: Tally,
    heads: Arc<Mutex<Vec<String>>>,
    hits: Tally,
    accepting: JoinHandle<()>,
}

/// A connection to a [`RawOrigin`].
pub(crate) struct Visitor {
    pub(crate) line: Line,
    requests: usize,
    heads: Arc<Mutex<Vec<String>>>,
    hits: Tally,
}

impl Visitor {
    /// Reads the next request's head; `None` when the connection has ended.
    pub(crate) async fn request(&mut self) -> Option<String> {
        // No deadline: a pooled connection may idle for as long as the test runs.
        loop {
            if let Some(at) = self.line.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.line.unread.drain(..at + 4).collect();
                let head = String::from_utf8_lossy(&head).into_owned();
                self.heads.lock().expect("no test panics in here").push(head.clone());
                self.hits.count();
                self.requests += 1;
                return Some(head);
            }
            if !self.line.more().await {
                return None;
            }
        }
    }

    /// How many requests came over this connection.
    pub(crate) fn requests(&self) -> usize {
        self.requests
    }

    /// Answers with the bytes as they are.
    pub(crate) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.line.send(bytes).await;
    }
}

impl RawOrigin {
    /// Hands each connection to `visit`.
    pub(crate) async fn serve<F, A>(visit: F) -> Self
    where
        F: Fn(Visitor) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (connections, hits, heads) = (Tally::new(), Tally::new(), Arc::new(Mutex::new(Vec::new())));
        let (tally, own_hits, own_heads) = (connections.clone(), hits.clone(), Arc::clone(&heads));
        let accepting = tokio::spawn(async move {
            let mut visits = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (heads, hits) = (Arc::clone(&own_heads), own_hits.clone());
                tally.count();
                visits.spawn(visit(Visitor { line: Line::over(stream), requests: 0, heads, hits }));
            }
        });
        Self { address, connections, heads, hits, accepting }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests' heads were read.
    pub(crate) fn hits(&self) -> usize {
        self.hits.total()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.connections.total()
    }

    /// The heads so far, as they came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no test panics in here").clone()
    }

    /// Waits until `number` requests' heads were read.
    pub(crate) async fn asked_times(&self, number: usize) {
        self.hits.reaches(number).await;
    }

    /// Stops listening and drops every connection: from now on it refuses.
    pub(crate) async fn vanish(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
