//! Does asking the origin work, over real sockets, against origins that follow a script byte by byte?

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::body::BoxError;
use crate::body::handover::{self, Want};
use crate::body::http1::content::{Content, Step};
use crate::body::request::Source;
use crate::client::{Client, RequestId, Scheme};
use crate::config::settings::{Balance, Health, Origin as Spec, OriginUrl};

mod bodies;
mod malformed;
mod pooling;
mod secure;
mod spreading;
mod upgrades;

/// No test waits longer for what must come.
const PATIENCE: Duration = Duration::from_secs(20);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An origin that does with each connection what its script says.
struct Scripted {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// The heads of the requests that came, in their order.
    heads: mpsc::UnboundedReceiver<String>,
}

/// A connection at the origin.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    heads: mpsc::UnboundedSender<String>,
}

impl Scripted {
    /// Runs `script` for each connection, with its number from 0.
    async fn origin<F, R>(script: F) -> Self
    where
        F: Fn(usize, Connection) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (sender, heads) = mpsc::unbounded_channel();
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Connection { stream, buffer: Vec::new(), heads: sender.clone() };
                tokio::spawn(script(counter.fetch_add(1, Ordering::SeqCst), connection));
            }
        });
        Self { address, connections, heads }
    }

    /// Answers every request with the same bytes, and leaves the connection open.
    async fn answering(answer: &'static str) -> Self {
        Self::origin(move |_, mut connection| async move {
            while connection.head().await.is_some() {
                connection.send(answer).await;
            }
        })
        .await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many requests came until now, the ones already looked at by `head` left out.
    fn hits(&mut self) -> usize {
        std::iter::from_fn(|| self.heads.try_recv().ok()).count()
    }

    async fn head(&mut self) -> String {
        within(self.heads.recv()).await.unwrap()
    }
}

impl Connection {
    /// The next request's head; `None` when the connection ends.
    async fn head(&mut self) -> Option<String> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            self.stream.read_buf(&mut self.buffer).await.ok().filter(|read| *read > 0)?;
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let _ = self.heads.send(head.clone());
        Some(head)
    }

    /// Reads until `text` has come, and returns all that came.
    async fn until(&mut self, text: &str) -> String {
        loop {
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            if seen.contains(text) {
                self.buffer.clear();
                return seen;
            }
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "{text:?} did not come: {seen:?}");
        }
    }

    async fn send(&mut self, text: &str) {
        // Whoever went away needs no answer.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Waits for the other side to end the connection.
    async fn ended(&mut self) {
        let mut byte = [0];
        while self.stream.read(&mut byte).await.is_ok_and(|read| read > 0) {}
    }

    /// Ends the connection with a reset rather than a close.
    fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits, without sleeping, until `holds`.
async fn eventually(mut holds: impl FnMut() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn spec(addresses: &[SocketAddr]) -> Spec {
    let url = |address: &SocketAddr| OriginUrl { https: false, host: address.ip().to_string(), port: address.port() };
    Spec {
        name: "app".to_owned(),
        urls: addresses.iter().map(url).collect(),
        hosts: vec![],
        balance: Balance::RoundRobin,
        preserve_host: false,
        connect_timeout: PATIENCE,
        first_byte_timeout: PATIENCE,
        between_bytes_timeout: PATIENCE,
        max_connections: 16,
        retries: 0,
        health: None,
        ca_file: None,
    }
}

fn context() -> Context {
    context_with(&mut Registry::default())
}

fn context_with(registry: &mut Registry) -> Context {
    let metrics = Metrics::register(registry);
    Context { clock: Clock::System, metrics, tasks: TaskTracker::new(), stop: CancellationToken::new() }
}

async fn start(spec: Spec) -> Origins {
    Origins::start(&[spec], None, &context()).await.unwrap()
}

fn client() -> Client {
    Client {
        peer: ([192, 0, 2, 1], 5000).into(),
        local: ([127, 0, 0, 1], 80).into(),
        address: [192, 0, 2, 1].into(),
        scheme: Scheme::Http,
        authority: "shop.example".into(),
        certificate: None,
        request_id: RequestId::Made(1),
        received: Instant::now(),
        interim: None,
    }
}

fn request(method: Method, path: &'static str) -> Outbound<'static> {
    static CLIENT: LazyLock<Client> = LazyLock::new(client);
    Outbound {
        method,
        target: PathAndQuery::from_static(path),
        headers: Cow::Owned(HeaderMap::new()),
        client: &CLIENT,
        body: RequestBody::empty(),
        affinity: 0,
        upgrade: false,
    }
}

fn get() -> Outbound<'static> {
    request(Method::GET, "/x")
}

fn with(mut request: Outbound<'static>, name: &'static str, value: &'static str) -> Outbound<'static> {
    request.headers.to_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    request
}

/// Asks the first origin.
async fn ask(origins: &Origins, request: Outbound<'_>) -> Result<Answer, OriginError> {
    within(origins.fetch(OriginId(0), request)).await
}

/// The answer's status and the whole of its body.
async fn read(answer: Answer) -> (u16, Result<Bytes, BoxError>) {
    let status = answer.status.as_u16();
    (status, within(answer.body.collect()).await.map(http_body_util::Collected::to_bytes))
}

async fn ask_and_read(origins: &Origins, request: Outbound<'_>) -> (u16, String) {
    let (status, body) = read(ask(origins, request).await.unwrap()).await;
    (status, String::from_utf8(body.unwrap().to_vec()).unwrap())
}

/// What a failure tells the client.
fn told(error: &OriginError) -> (u16, &'static str) {
    (error.status().as_u16(), error.proxy_status())
}

/// A client's request body, as the server side of a connection reads it from `framing` (a field) and what is written
/// to the stream. The stream must be kept for as long as the body is needed.
fn client_body(framing: &str, limit: u64, idle: Duration) -> (RequestBody, tokio::io::DuplexStream) {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let length = framing.strip_prefix("content-length: ").map(|length| length.parse().unwrap());
    let mut content = length.map_or(Content::CHUNKED, Content::Length);
    let (mut giver, taker) = handover::between(content.exact());
    tokio::spawn(async move {
        let mut input = BytesMut::new();
        while poll_fn(|cx| giver.poll_wanted(cx)).await == Want::More {
            match content.step(&mut input).unwrap() {
                Step::Data(data) => giver.give(Frame::data(data)),
                Step::Trailers(trailers) => giver.give(Frame::trailers(trailers)),
                Step::End => giver.end(Ok(())),
                Step::More if theirs.read_buf(&mut input).await.unwrap() > 0 => {}
                Step::More => return,
            }
            if content.is_end() {
                giver.end(Ok(()));
            }
        }
    });
    (RequestBody::new(Source::Connection(taker), limit, idle), ours)
}

fn post(body: RequestBody) -> Outbound<'static> {
    Outbound { body, ..request(Method::POST, "/form") }
}
