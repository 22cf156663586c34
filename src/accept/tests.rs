//! What clients see of accept, over real sockets: raw bytes in, raw bytes out.

mod at_once;
mod bodies;
mod http2;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Door, Handler, listener};
use crate::body::BoxError;
use crate::body::request::RequestBody;
use crate::body::response::{BoxResponse, ResponseBody};
use crate::client::{Client, Plain};
use crate::config::settings::Server;
use crate::policy::outcome::CacheResult;
use crate::telemetry::Telemetry;

/// Nothing on loopback takes this long; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

static PIECE: [u8; 65_536] = [b'x'; 65_536];

type Answer = Pin<Box<dyn Future<Output = BoxResponse> + Send>>;
type Script = dyn Fn(Request<RequestBody>, Client) -> Answer + Send + Sync;

#[derive(Clone)]
struct Scripted(Arc<Script>);

impl Handler for Scripted {
    type Answer = Answer;

    fn handle(&self, head: Parts, body: RequestBody, client: Client) -> Answer {
        (self.0)(Request::from_parts(head, body), client)
    }

    /// Answers `/at-once/LENGTH` with who asked for what, and so many bytes; `/panics` not at all.
    fn at_once(&self, request: &Plain<'_>, answer: &mut Vec<u8>) -> Option<Bytes> {
        assert!(request.path() != "/panics", "as the test wants it");
        let length: usize = request.target.strip_prefix("/at-once/")?.parse().ok()?;
        let Plain { authority, target, address, room, .. } = request;
        (length <= *room).then_some(())?;
        let head =
            format!("HTTP/1.1 200 OK\r\nat-once: {authority}{target} {address}\r\ncontent-length: {length}\r\n\r\n");
        answer.extend_from_slice(head.as_bytes());
        Some(vec![b'x'; length].into())
    }
}

fn ok(text: impl Into<Bytes>) -> Response<ResponseBody> {
    Response::new(ResponseBody::full(text))
}

/// Answers with what it was asked.
async fn echo(request: Request<RequestBody>, client: Client) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return ok(format!("body failed: {error}")),
    };
    let fields: Vec<String> = head.headers.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    ok(format!(
        "{} {}://{}{} from {} [{}] {} bytes",
        head.method,
        client.scheme.as_str(),
        client.authority,
        head.uri,
        client.address,
        fields.join(" "),
        body.len()
    ))
}

struct Edge {
    address: SocketAddr,
    settings: Arc<ArcSwap<Server>>,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(super) fn settings() -> Server {
    Server {
        listen: Vec::new(),
        threads: 0,
        max_connections: 100,
        header_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        max_header_bytes: 65_536,
        max_body: 1000,
        trusted_proxies: Vec::new(),
        expose_surrogate_headers: false,
    }
}

impl Edge {
    fn start<F, A>(settings: Server, script: F) -> Self
    where
        F: Fn(Request<RequestBody>, Client) -> A + Send + Sync + 'static,
        A: Future<Output = Response<ResponseBody>> + Send + 'static,
    {
        let socket = listener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let address = socket.local_addr().expect("an address");
        let (telemetry, stop) = (Telemetry::silent(), CancellationToken::new());
        let handler = Scripted(Arc::new(move |request, client| Box::pin(script(request, client).map(Box::new))));
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let door = Door::new(handler, Arc::clone(&settings), Arc::clone(&telemetry), stop.clone());
        let task = tokio::spawn(listener::serve(socket, door, None));
        Self { address, settings, telemetry, stop, task }
    }

    async fn connect(&self) -> Socket {
        Socket(TcpStream::connect(self.address).await.expect("the edge listens"))
    }

    /// One connection: sends these bytes, returns everything until the edge closes.
    async fn talk(&self, bytes: &str) -> String {
        let mut socket = self.connect().await;
        socket.send(bytes).await;
        socket.rest().await
    }

    async fn stopped(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").expect("without a panic");
    }
}

struct Socket(TcpStream);

impl Socket {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("the edge reads");
    }

    /// Reads until `end` has come.
    async fn until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let read = async {
            while !String::from_utf8_lossy(&text).contains(end) {
                let read = self.0.read_buf(&mut text).await.expect("no reset");
                assert!(read > 0, "closed before {end:?}: {}", String::from_utf8_lossy(&text));
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, read).await.is_ok();
        assert!(in_time, "no {end:?} in {}", String::from_utf8_lossy(&text));
        String::from_utf8(text).expect("text")
    }

    /// Reads until the edge closes.
    async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut text)).await;
        read.expect("the edge closes").expect("without a reset");
        String::from_utf8(text).expect("text")
    }
}

#[tokio::test]
async fn a_clean_request_reaches_the_handler_and_its_answer_the_client() {
    let edge = Edge::start(settings(), echo);
    let request = "GET /a?b HTTP/1.1\r\nHost: Shop.Example:80\r\nX-Forwarded-For: 6.6.6.6\r\nX: 1\r\n\
                   Connection: close\r\n\r\n";
    let answer = edge.talk(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("GET http://shop.example/a?b from 127.0.0.1 [x=\"1\"] 0 bytes"), "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let trusted = Server { trusted_proxies: vec!["127.0.0.0/8".parse().expect("a network")], ..settings() };
    let edge = Edge::start(trusted, echo);
    let answer = edge
        .talk(
            "GET / HTTP/1.0\r\nHost: a:443\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
             X-Real-IP: 6.6.6.6\r\n\r\n",
        )
        .await;
    assert!(answer.contains("GET https://a/ from 192.0.2.1 "), "{answer}");
    assert!(answer.contains("x-forwarded-for") && !answer.contains("x-real-ip"), "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn refusals_are_small_errors_of_ours_and_close_where_framing_is_in_doubt() {
    let edge = Edge::start(settings(), echo);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let target = |length| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(length));
    let (long_target, endless_target) = (target(16_384), target(100_000));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    let cases: [(&str, u16, &str); 17] = [
        ("GET / HTTP/1.1\r\n\r\n", 400, "no Host"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "two"),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "two opinions on the host"),
        ("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "dot segments"),
        (chunked, 400, "a second coding"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413, "a body over max_body"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: x\r\n\r\n", 417, "an unknown expectation"),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: cookie\r\n\r\n", 400, "a protected field in Connection"),
        // These are refused before they are a request.
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "a space before the colon"),
        ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400, "a folded line"),
        ("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400, "NUL"),
        ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400, "a bare CR"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "two lengths"),
        ("nonsense\r\n\r\n", 400, "no request at all"),
        (&long, 431, "a head over max_header_bytes"),
        (&long_target, 414, "a target longer than a key may be"),
        (&endless_target, 414, "a request line that never ends"),
    ];
    for (request, status, why) in cases {
        let answer = edge.talk(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{why}: {answer}");
        for field in [
            "cache-control: no-store\r\n",
            "cache-status: larder; detail=bad-request\r\n",
            "connection: close",
            "\r\nage: 0\r\n",
            "\r\nvia: 1.1 larder\r\n",
        ] {
            assert!(answer.contains(field), "{why}: {field} in {answer}");
        }
        assert!(answer.contains("proxy-status: larder; error=http_request_error; details=\""), "{why}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "one answer: {why}: {answer}");
    }
    assert_eq!(edge.telemetry.metrics().malformed_heads.get(), 9);
    assert_eq!(edge.telemetry.metrics().requests(CacheResult::Refused), 8);
    edge.stopped().await;
}

#[tokio::test]
async fn methods_that_are_not_for_us_leave_the_connection_open() {
    let edge = Edge::start(settings(), echo);
    let mut socket = edge.connect().await;
    for (method, target, want) in [
        ("TRACE", "/", "HTTP/1.1 405 Method Not Allowed\r\n"),
        ("OPTIONS", "*", "HTTP/1.1 204 No Content\r\n"),
        ("BREW", "/", "HTTP/1.1 200 OK\r\n"),
    ] {
        socket.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let answer = socket.until("\r\n\r\n").await;
        assert!(answer.starts_with(want), "{method}: {answer}");
        for field in ["allow: GET, HEAD", "\r\nage: 0\r\n", "\r\nvia: 1.1 larder\r\n"] {
            assert_eq!(answer.contains(field), method != "BREW", "{method}: {field} in {answer}");
        }
        if method != "OPTIONS" && !answer.ends_with("bytes") && !answer.ends_with("here\n") {
            socket.until(if method == "BREW" { "bytes" } else { "here\n" }).await;
        }
    }
    edge.stopped().await;
}

#[tokio::test]
async fn errors_are_json_for_those_who_prefer_it() {
    let edge = Edge::start(settings(), echo);
    let answer = edge.talk("GET /. HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    assert!(answer.ends_with("\"reason\":\"the path holds dot segments\",\"status\":400}\n"), "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn a_continue_is_sent_when_the_body_is_wanted_and_bodies_are_bounded() {
    let edge = Edge::start(settings(), echo);
    let mut socket = edge.connect().await;
    socket.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(socket.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    socket.send("abc").await;
    assert!(socket.until("3 bytes").await.starts_with("HTTP/1.1 200 OK\r\n"));

    let big = "x".repeat(1001);
    socket
        .send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n{big}\r\n0\r\n\r\n"))
        .await;
    let answer = socket.until("(1000 bytes)").await;
    assert!(answer.contains("body failed: the request body is larger than server.max_body"), "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn http_1_0_is_served_and_closed() {
    let edge = Edge::start(settings(), |request: Request<RequestBody>, client: Client| async move {
        assert!(client.interim.is_none(), "HTTP/1.0 knows no interim responses");
        let (pieces, source) = mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
        tokio::spawn(async move {
            for piece in ["a", "b"] {
                pieces.send(Ok(Frame::data(piece.into()))).await.expect("the answer is read");
            }
        });
        assert_eq!(request.uri(), "/x");
        Response::new(ResponseBody::stream(StreamBody::new(stream(source))))
    });
    let answer = edge.talk("GET /x HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nab"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
    edge.stopped().await;
}

/// What ends a body before it is whole.
#[derive(Debug, Clone, Copy)]
enum Breach {
    SourceFails,
    SourcePanics,
    DrainIsOver,
    ClientHasShut,
}

#[tokio::test]
async fn a_body_that_breaks_off_never_looks_whole() {
    // What is asked, what breaks it, whether it ends with a reset, why.
    let cases = [
        ("GET / HTTP/1.0", Breach::SourceFails, true, "only the end of the connection ends it"),
        ("GET / HTTP/1.0", Breach::SourcePanics, true, "a fault of ours is no better"),
        ("GET / HTTP/1.0", Breach::DrainIsOver, true, "nor is the end of our patience"),
        ("GET / HTTP/1.0", Breach::ClientHasShut, true, "a client that shut its side may still be reading"),
        ("GET /length HTTP/1.0", Breach::SourceFails, false, "the length shows it"),
        ("GET / HTTP/1.1", Breach::SourceFails, false, "the missing last chunk shows it"),
        ("GET /length HTTP/1.1", Breach::SourceFails, false, "the length shows it"),
    ];
    for (line, breach, is_reset, why) in cases {
        let read = Arc::new(Notify::new());
        let edge = Edge::start(Server { drain_timeout: Duration::from_millis(50), ..settings() }, {
            let read = Arc::clone(&read);
            move |request: Request<RequestBody>, _| {
                let read = Arc::clone(&read);
                let mut response = Response::new(ResponseBody::stream(StreamBody::new(breaking(breach, read))));
                if request.uri() == "/length" {
                    response.headers_mut().insert("content-length", HeaderValue::from_static("9"));
                }
                async { response }
            }
        });
        let mut socket = edge.connect().await;
        socket.send(format!("{line}\r\nHost: a\r\n\r\n")).await;
        let head = socket.until("part").await;
        assert!(head.contains("chunked") == line.ends_with("/ HTTP/1.1"), "{why}: {head}");
        match breach {
            Breach::DrainIsOver => edge.stop.cancel(),
            Breach::ClientHasShut => socket.0.shutdown().await.expect("shut"),
            Breach::SourceFails | Breach::SourcePanics => read.notify_one(),
        }
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, socket.0.read_to_end(&mut rest)).await.expect("the edge ends it");
        let was_reset = end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        let rest = String::from_utf8_lossy(&rest);
        assert_eq!((was_reset, rest.trim()), (is_reset, ""), "{line} {breach:?}: {why}");
        edge.stopped().await;
    }
}

/// A part of a body; then, once the client has read it, what is to happen.
fn breaking(breach: Breach, read: Arc<Notify>) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>> {
    let mut has_begun = false;
    let mut read = Box::pin(async move { read.notified().await });
    futures_util::stream::poll_fn(move |cx| {
        if !std::mem::replace(&mut has_begun, true) {
            return std::task::Poll::Ready(Some(Ok(Frame::data("part".into()))));
        }
        read.as_mut().poll(cx).map(|()| {
            assert!(!matches!(breach, Breach::SourcePanics), "on purpose");
            Some(Err("the source failed".into()))
        })
    })
}

fn stream<T>(mut source: mpsc::Receiver<T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::poll_fn(move |cx| source.poll_recv(cx))
}

#[tokio::test]
async fn interim_responses_come_before_the_final_one_and_never_after() {
    let kept = Arc::new(Mutex::new(None));
    let edge = Edge::start(settings(), {
        let kept = Arc::clone(&kept);
        move |_, client: Client| {
            let kept = Arc::clone(&kept);
            async move {
                let interim = client.interim.expect("HTTP/1.1 has them");
                let hints: HeaderMap =
                    [(http::header::LINK, HeaderValue::from_static("</a.css>"))].into_iter().collect();
                // From another task, as a fill's are.
                let sender = interim.clone();
                tokio::spawn(async move { sender.send(StatusCode::EARLY_HINTS, &hints) }).await.expect("sent");
                interim.send(StatusCode::PROCESSING, &HeaderMap::new());
                *kept.lock().expect("unpoisoned") = Some(interim);
                ok("done")
            }
        }
    });
    let mut socket = edge.connect().await;
    for round in 0..2 {
        socket.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = socket.until("done").await;
        let want =
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert!(answer.starts_with(want), "round {round}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 3, "round {round}: {answer}");
        kept.lock().expect("unpoisoned").as_ref().expect("kept").send(StatusCode::EARLY_HINTS, &HeaderMap::new());
    }
    edge.stopped().await;
}

#[tokio::test]
async fn an_interim_response_does_not_wait_for_the_final_one() {
    let (hint, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let edge = Edge::start(settings(), {
        let (hint, finish) = (Arc::clone(&hint), Arc::clone(&finish));
        move |_, client: Client| {
            let (hint, finish) = (Arc::clone(&hint), Arc::clone(&finish));
            async move {
                let interim = client.interim.expect("HTTP/1.1 has them");
                // In a task of its own: nothing but the interim response itself wakes the connection.
                tokio::spawn(async move {
                    hint.notified().await;
                    interim.send(StatusCode::EARLY_HINTS, &HeaderMap::new());
                });
                finish.notified().await;
                ok("done")
            }
        }
    });
    let mut socket = edge.connect().await;
    socket.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    hint.notify_one();
    assert_eq!(socket.until("\r\n\r\n").await, "HTTP/1.1 103 Early Hints\r\n\r\n");
    finish.notify_one();
    socket.until("done").await;
    edge.stopped().await;
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_connection_goes_on() {
    let edge = Edge::start(settings(), |request: Request<RequestBody>, _| async move {
        assert!(request.uri() != "/panic", "on purpose");
        ok("fine")
    });
    let mut socket = edge.connect().await;
    socket.send("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = socket.until("itself\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{answer}");
    assert!(answer.contains("cache-status: larder; detail=internal-error\r\n"), "{answer}");
    socket.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    socket.until("fine").await;
    assert_eq!(edge.telemetry.metrics().panics.get(), 1);
    edge.stopped().await;
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_cut() {
    let short = Duration::from_millis(100);
    let cases = [
        ("", Server { header_timeout: short, ..settings() }, "", "a client that says nothing"),
        ("PRI * HTTP", Server { header_timeout: short, ..settings() }, "", "half an HTTP/2 preface"),
        ("GET / HTTP/1.1\r\nHo", Server { header_timeout: short, ..settings() }, "", "half a head"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            Server { idle_timeout: short, ..settings() },
            "HTTP/1.1 200 OK\r\n",
            "an idle connection, though heads have longer",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
            Server { idle_timeout: short, ..settings() },
            "HTTP/1.1 200 OK\r\n",
            "a body that stalls",
        ),
    ];
    for (request, server, want, why) in cases {
        let edge = Edge::start(server, echo);
        let answer = edge.talk(request).await;
        assert!(answer.starts_with(want) && want.is_empty() == answer.is_empty(), "{why}: {answer}");
        edge.stopped().await;
    }
}

#[tokio::test]
async fn a_head_that_follows_a_request_has_its_own_deadline() {
    let server = Server { header_timeout: Duration::from_millis(100), ..settings() };
    let edge = Edge::start(server, echo);
    let mut socket = edge.connect().await;
    socket.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    socket.until("bytes").await;
    socket.send("GET / HT").await;
    assert_eq!(socket.rest().await, "", "cut long before idle_timeout");
    assert_eq!(edge.telemetry.metrics().connection_timeouts.get(), 1);
    edge.stopped().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let server = Server { idle_timeout: Duration::from_millis(100), ..settings() };
    let edge = Edge::start(server, |_, _| async { ok(vec![b'x'; 64 << 20]) });
    let mut socket = edge.connect().await;
    socket.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // The edge gives up on its own; only then is anything read.
    let metrics = edge.telemetry.metrics();
    let cut = async {
        while metrics.connection_timeouts.get() == 0 || metrics.connections.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("the edge gives up");
    let mut taken = Vec::new();
    let _ = socket.0.read_to_end(&mut taken).await;
    assert!(taken.len() < 64 << 20, "the transfer broke: {}", taken.len());
    edge.stopped().await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_for_a_place() {
    let edge = Edge::start(Server { max_connections: 1, ..settings() }, echo);
    let mut first = edge.connect().await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.until("bytes").await;
    let mut second = edge.connect().await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.until("bytes").await;
    assert_eq!(edge.telemetry.metrics().connections_accepted.get(), 1, "the second waits in the kernel's queue");
    drop(first);
    second.until("bytes").await;
    edge.stopped().await;
}

#[tokio::test]
async fn a_body_that_has_come_with_the_first_request_does_not_end_the_connection() {
    let edge = Edge::start(settings(), |_, _| async { ok("unread") });
    for length in [100, 900, 1000] {
        let mut socket = edge.connect().await;
        for _ in 0..2 {
            let body = "x".repeat(length);
            socket.send(format!("OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")).await;
            let head = socket.until("\r\n\r\n").await;
            assert!(head.starts_with("HTTP/1.1 204 ") && !head.contains("connection: close"), "{length}: {head}");
        }
    }
    edge.stopped().await;
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_lets_answers_finish() {
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let edge = Edge::start(settings(), {
        let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
        move |_, _| {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move {
                begun.notify_one();
                go.notified().await;
                ok("whole")
            }
        }
    });
    let (mut idle, mut busy) = (edge.connect().await, edge.connect().await);
    // Who has said nothing yet, not even this, may still be with the kernel.
    idle.send("\r\n").await;
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    begun.notified().await;
    edge.stop.cancel();
    assert_eq!(idle.rest().await, "", "nothing was asked on it");
    assert!(TcpStream::connect(edge.address).await.is_err(), "no new connections");
    go.notify_one();
    let answer = busy.rest().await;
    assert!(answer.ends_with("whole") && answer.contains("connection: close"), "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut() {
    let begun = Arc::new(Notify::new());
    let server = Server { drain_timeout: Duration::from_millis(50), ..settings() };
    let edge = Edge::start(server, {
        let begun = Arc::clone(&begun);
        move |_, _| {
            begun.notify_one();
            std::future::pending()
        }
    });
    let mut socket = edge.connect().await;
    socket.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    begun.notified().await;
    edge.stopped().await;
    assert_eq!(socket.rest().await, "");
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let edge = Edge::start(settings(), echo);
    let socket = TcpStream::connect(edge.address).await.expect("the edge listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let ask = |method: Method, uri: &str| {
        let mut request = Request::new(Empty::<Bytes>::new());
        (*request.method_mut(), *request.uri_mut()) = (method, uri.parse().expect("a URI"));
        request
    };
    let answer = sender.send_request(ask(Method::GET, "http://Shop.Example/a?b")).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(body.starts_with(b"GET http://shop.example/a?b from 127.0.0.1"), "{body:?}");
    let refused = sender.send_request(ask(Method::GET, "http://a/../b")).await.expect("an answer");
    assert_eq!((refused.status().as_u16(), refused.headers().get("connection")), (400, None));
    drop(sender);
    connection.await.expect("joined").expect("a clean end");
    edge.stopped().await;
}

#[tokio::test]
async fn an_http2_client_that_opens_no_window_is_cut() {
    let at_hand: fn() -> ResponseBody = || ResponseBody::full(vec![b'x'; 16 << 20]);
    let in_pieces: fn() -> ResponseBody = || {
        let piece = || Some(Ok::<_, BoxError>(Frame::data(Bytes::from_static(&PIECE))));
        ResponseBody::stream(StreamBody::new(futures_util::stream::poll_fn(move |_| std::task::Poll::Ready(piece()))))
    };
    for body in [at_hand, in_pieces] {
        let server = Server { idle_timeout: Duration::from_millis(200), ..settings() };
        let edge = Edge::start(server, move |_, _| async move { Response::new(body()) });
        let socket = TcpStream::connect(edge.address).await.expect("the edge listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = "http://a/".parse().expect("a URI");
        let answer = sender.send_request(request).await.expect("a head");
        // The body is not read, so its window stays closed; the client's library goes on speaking HTTP/2.
        let _ = tokio::time::timeout(PATIENCE, connection).await.expect("the edge gives up");
        assert!(answer.into_body().collect().await.is_err(), "a cut transfer shows");
        edge.stopped().await;
    }
}

#[tokio::test]
async fn an_upgraded_connection_becomes_a_tunnel() {
    let edge = Edge::start(settings(), |mut request: Request<RequestBody>, _| async move {
        assert_eq!(
            (&request.headers()["connection"], &request.headers()["upgrade"]),
            (&HeaderValue::from_static("upgrade"), &HeaderValue::from_static("websocket"))
        );
        let upgrade = request.body_mut().take_upgrade().expect("an upgrade");
        tokio::spawn(async move {
            let mut tunnel = upgrade.await.expect("upgraded").stream;
            let mut bytes = [0; 4];
            tunnel.read_exact(&mut bytes).await.expect("four bytes");
            // Looks like a refusal; in a tunnel it is none.
            tunnel.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
            tunnel.write_all(&bytes).await.expect("written");
            tunnel.shutdown().await.expect("closed");
        });
        let mut answer = Response::new(ResponseBody::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        answer.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        answer.headers_mut().insert("upgrade", HeaderValue::from_static("websocket"));
        answer
    });
    let mut socket = edge.connect().await;
    socket.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
    let answer = socket.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    socket.send("ping").await;
    assert_eq!(socket.rest().await, "HTTP/1.1 400 Bad Request\r\n\r\nping");
    edge.stopped().await;
}

#[tokio::test]
async fn a_refused_upload_sees_its_refusal() {
    let edge = Edge::start(settings(), echo);
    let mut socket = edge.connect().await;
    // The client sends before it reads, as clients do, and more than the sockets' buffers hold; the answer must not be
    // lost to a reset.
    socket.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n").await;
    for _ in 0..256 {
        socket.send(&PIECE).await;
    }
    let text = socket.rest().await;
    // Had the edge closed with bytes unread, the kernel would have reset the connection by now.
    socket.send("more").await;
    assert!(text.starts_with("HTTP/1.1 413 Payload Too Large\r\n"), "{text}");
    drop(socket);
    edge.stopped().await;
}

#[tokio::test]
async fn a_refused_client_that_never_stops_sending_is_cut() {
    let edge = Edge::start(settings(), echo);
    let mut socket = edge.connect().await;
    socket.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n").await;
    let send = async { while socket.0.write_all(b"x").await.is_ok() {} };
    tokio::time::timeout(PATIENCE, send).await.expect("the edge has enough of it");
    edge.stopped().await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_that_names_it() {
    let socket = listener::bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let address = socket.local_addr().expect("an address");
    let error = listener::bind(address).expect_err("somebody listens there");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
