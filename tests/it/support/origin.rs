//! An origin that says what the test tells it to, and remembers what it was asked.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::gate::Tally;

/// A request as the origin saw it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// 1 for the first request of this origin.
    pub(crate) number: usize,
    pub(crate) method: Method,
    /// Path and query, as they came.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Asked {
    /// All lines of a field joined by a comma, or nothing.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines: Vec<_> =
            self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// What the origin answers.
pub(crate) struct Told {
    status: StatusCode,
    headers: HeaderMap,
    body: Script,
}

/// A `200` with this body.
pub(crate) fn ok(body: impl Into<Bytes>) -> Told {
    status(200, body)
}

/// An answer of this status with this body.
pub(crate) fn status(code: u16, body: impl Into<Bytes>) -> Told {
    let status = StatusCode::from_u16(code).expect("a status has three digits");
    Told { status, headers: HeaderMap::new(), body: Script::Whole(Some(body.into())) }
}

/// A `200` whose body the test sends piece by piece.
pub(crate) fn streamed() -> (Pieces, Told) {
    let (sender, receiver) = mpsc::channel(1);
    (Pieces(sender), Told { status: StatusCode::OK, headers: HeaderMap::new(), body: Script::Pieces(receiver) })
}

impl Told {
    /// Adds a field; one name may be given several times.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).expect("a field name");
        self.headers.append(name, HeaderValue::try_from(value).expect("a field value"));
        self
    }

    /// Makes it storable for `seconds`.
    pub(crate) fn fresh(self, seconds: u64) -> Self {
        self.with("cache-control", &format!("max-age={seconds}"))
    }
}

/// The test's end of a streamed body. Dropping it ends the body well; [`Pieces::cut`] does not.
pub(crate) struct Pieces(mpsc::Sender<Result<Frame<Bytes>, Cut>>);

impl Pieces {
    /// Sends one piece; false when nobody takes it any more.
    pub(crate) async fn send(&self, piece: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(piece.into()))).await.is_ok()
    }

    /// Sends trailers and ends the body.
    pub(crate) async fn trailers(self, trailers: HeaderMap) {
        let _ = self.0.send(Ok(Frame::trailers(trailers))).await;
    }

    /// Breaks the connection off in the middle of the body.
    pub(crate) async fn cut(self) {
        let _ = self.0.send(Err(Cut)).await;
    }
}

/// The origin hangs up in the middle of a body.
#[derive(Debug, thiserror::Error)]
#[error("the test cut this body")]
pub(crate) struct Cut;

enum Script {
    Whole(Option<Bytes>),
    Pieces(mpsc::Receiver<Result<Frame<Bytes>, Cut>>),
}

impl Body for Script {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Pieces(pieces) => pieces.poll_recv(cx),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) => http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Pieces(_) => http_body::SizeHint::default(),
        }
    }
}

/// An origin on a port of the system's choice; gone when dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    record: Arc<Record>,
    _accepting: AbortOnDropHandle<()>,
}

struct Record {
    hits: Tally,
    connections: Tally,
    asked: Mutex<Vec<Asked>>,
}

impl Origin {
    /// An origin that answers at once.
    pub(crate) async fn serve(answer: impl Fn(Asked) -> Told + Send + Sync + 'static) -> Self {
        Self::serve_with(move |asked| std::future::ready(answer(asked))).await
    }

    /// An origin that may wait before it answers.
    pub(crate) async fn serve_with<F, A>(answer: F) -> Self
    where
        F: Fn(Asked) -> A + Send + Sync + 'static,
        A: Future<Output = Told> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let record = Arc::new(Record { hits: Tally::new(), connections: Tally::new(), asked: Mutex::new(Vec::new()) });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&record), Arc::new(answer)));
        Self { address, record, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it got.
    pub(crate) fn hits(&self) -> usize {
        self.record.hits.total()
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.record.connections.total()
    }

    /// Waits until it has got `number` requests, answered or not.
    pub(crate) async fn asked_times(&self, number: usize) {
        self.record.hits.reaches(number).await;
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.record.asked.lock().expect("no test panics in here").clone()
    }

    /// The latest request.
    pub(crate) fn last(&self) -> Asked {
        self.asked().pop().expect("the origin was asked")
    }
}

/// Connections live in a set of this task, so that they end with the origin.
async fn accept<F, A>(listener: TcpListener, record: Arc<Record>, answer: Arc<F>)
where
    F: Fn(Asked) -> A + Send + Sync + 'static,
    A: Future<Output = Told> + Send + 'static,
{
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // A body of several pieces would wait for the other end's delayed acknowledgement.
        stream.set_nodelay(true).expect("TCP has no delay");
        record.connections.count();
        let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
        connections.spawn(async move {
            let service = service_fn(move |request| respond(request, Arc::clone(&record), Arc::clone(&answer)));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond<F, A>(
    request: Request<Incoming>,
    record: Arc<Record>,
    answer: Arc<F>,
) -> Result<Response<Script>, Infallible>
where
    F: Fn(Asked) -> A,
    A: Future<Output = Told>,
{
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
    let (body, trailers) = match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().cloned();
            (collected.to_bytes(), trailers)
        }
        // A request whose body broke off is none; what we say now reaches nobody.
        Err(_) => return Ok(Response::new(Script::Whole(None))),
    };
    // Recorded before it is counted, so that whoever waits for the count finds the request.
    let asked = {
        let mut log = record.asked.lock().expect("no test panics in here");
        let asked = Asked { number: log.len() + 1, method: head.method, target, headers: head.headers, body, trailers };
        log.push(asked.clone());
        asked
    };
    record.hits.count();
    let told = answer(asked).await;
    let mut response = Response::new(told.body);
    *response.status_mut() = told.status;
    *response.headers_mut() = told.headers;
    Ok(response)
}
