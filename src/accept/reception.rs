//! What does each request meet first: judged, cleaned, counted, handed over, and answered whatever happens?

use std::any::Any;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{AGE, ALLOW, CONNECTION, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::connection::Facts;
use super::interim::Desk;
use super::pulse::{InFlight, Pulse};
use super::request::{Examined, Line, Turned, examine};
use super::{Door, Handler};
use crate::body::BoxError;
use crate::body::request::{RequestBody, Source};
use crate::body::response::{BoxResponse, ResponseBody};
use crate::body::upgrade::Upgrade;
use crate::client::{Client, RequestId};
use crate::policy::outcome::{Detail, Outcome};
use crate::policy::target::Authority;
use crate::respond::cache_status;
use crate::respond::error::{Problem, error};
use crate::respond::head::VIA_LARDER;
use crate::telemetry::Telemetry;
use crate::telemetry::exchange::Exchange;

/// What a resource here may be asked; methods that we do not know pass too.
const ALLOWED: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, PURGE");

/// One connection's reception: what it keeps from request to request saves allocations on a hit.
pub(crate) struct Reception<H> {
    door: Arc<Door<H>>,
    facts: Facts,
    pulse: Arc<Pulse>,
    kept: RefCell<Kept>,
}

#[derive(Default)]
struct Kept {
    authority: Option<Arc<str>>,
    desk: Desk,
}

impl<H: Handler> Reception<H> {
    pub(crate) fn new(door: Arc<Door<H>>, facts: Facts, pulse: Arc<Pulse>) -> Self {
        Self { door, facts, pulse, kept: RefCell::default() }
    }

    /// Begins to answer a request that has come, with its body; `upgrade`: it may have asked for another protocol.
    pub(crate) fn receive(
        &self,
        mut head: Parts,
        body: Source,
        upgrade: Option<Upgrade>,
        received: Instant,
    ) -> Answering<H::Answer> {
        let in_flight = self.pulse.begin(!matches!(body, Source::Empty));
        let server = self.door.settings.load();
        let line = Line { peer: self.facts.ends.peer.ip(), local: self.facts.ends.local, scheme: self.facts.scheme };
        let state = match examine(&mut head, line, &server) {
            Err(turned) => State::Answered { response: Some(self.turn(&head, turned, received)) },
            Ok(examined) => {
                let mut client = self.client(examined, received);
                // HTTP/1.0 has none, and over HTTP/2 the library cannot send any.
                if head.version == Version::HTTP_11 {
                    client.interim = Some(self.kept.borrow_mut().desk.open(&self.pulse));
                }
                let upgrade = upgrade.filter(|_| head.headers.contains_key(UPGRADE));
                let body = RequestBody::new(body, server.max_body, server.idle_timeout).or_upgrade(upgrade);
                match catch_unwind(AssertUnwindSafe(|| self.door.handler.handle(head, body, client))) {
                    Ok(answer) => State::Working { answer },
                    Err(panic) => State::Answered { response: Some(excuse(&self.door.telemetry, &*panic)) },
                }
            }
        };
        Answering { state, in_flight: Some(in_flight) }
    }

    fn client(&self, examined: Examined, received: Instant) -> Client {
        let believed = examined.believed;
        Client {
            peer: self.facts.ends.peer,
            local: self.facts.ends.local,
            address: believed.address,
            scheme: believed.scheme,
            certificate: self.facts.certificate.clone(),
            authority: self.keep_authority(&examined.authority),
            request_id: believed.request_id.map_or_else(RequestId::made, RequestId::Given),
            received,
            interim: None,
        }
    }

    /// Most requests of a connection name the same host.
    fn keep_authority(&self, authority: &Authority) -> Arc<str> {
        let kept = &mut self.kept.borrow_mut().authority;
        match kept {
            Some(kept) if kept.as_bytes() == authority.as_slice() => Arc::clone(kept),
            _ => Arc::clone(kept.insert(String::from_utf8_lossy(authority).into())),
        }
    }

    /// Answers a request that goes no further, and has it counted and logged like the others.
    fn turn(&self, head: &Parts, turned: Turned, received: Instant) -> BoxResponse {
        let (mut response, outcome) = match turned {
            Turned::Options => options(),
            Turned::Away { status, reason } => {
                let outcome = Outcome::refused(Detail::BadRequest);
                let problem = Problem { status, error: "http_request_error", reason, outcome };
                (error(&problem, &head.headers), outcome)
            }
        };
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, ALLOWED);
        }
        // What follows a CONNECT may be meant for where it did not lead.
        if head.version < Version::HTTP_2 && (turned.closes() || head.method == Method::CONNECT) {
            self.pulse.expect_surplus();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let client = Client {
            peer: self.facts.ends.peer,
            local: self.facts.ends.local,
            address: self.facts.ends.peer.ip().to_canonical(),
            scheme: self.facts.scheme,
            certificate: None,
            authority: host_as_sent(head).into(),
            request_id: RequestId::made(),
            received,
            interim: None,
        };
        let root = PathAndQuery::from_static("/");
        let target = head.uri.path_and_query().unwrap_or(&root);
        let mut exchange = Exchange::begin(&self.door.telemetry, &head.method, target, &client);
        exchange.answered(response.status(), outcome);
        response.body_mut().observe(exchange);
        response
    }
}

/// For the log of a refused request: what it named, right or wrong.
fn host_as_sent(head: &Parts) -> &str {
    let from_target = head.uri.authority().map(http::uri::Authority::as_str);
    from_target.or_else(|| head.headers.get(http::header::HOST)?.to_str().ok()).unwrap_or_default()
}

/// RFC 9110 §9.3.7: what can be asked of the server as a whole.
fn options() -> (BoxResponse, Outcome) {
    let outcome = Outcome::refused(Detail::Method);
    let mut response = Box::new(Response::new(ResponseBody::empty()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, ALLOWED);
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(AGE, HeaderValue::from_static("0"));
    headers.insert(http::header::VIA, VIA_LARDER);
    headers.insert(cache_status::NAME, cache_status::value(&outcome));
    (response, outcome)
}

/// What a client gets whose handler panicked.
fn excuse(telemetry: &Telemetry, panic: &(dyn Any + Send)) -> BoxResponse {
    telemetry.metrics().panics.inc();
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message");
    tracing::error!(message, "a request's handler panicked; it is answered with 500");
    let outcome = Outcome::refused(Detail::InternalError);
    let reason = "a fault of the cache itself";
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    error(&Problem { status, error: "proxy_internal_error", reason, outcome }, &HeaderMap::new())
}

impl<H: Handler> Service<Request<Incoming>> for Reception<H> {
    type Response = Response<Watched>;
    type Error = Infallible;
    type Future = Answering<H::Answer>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (head, body) = request.into_parts();
        let body = if body.is_end_stream() { Source::Empty } else { Source::Stream(body) };
        self.receive(head, body, None, Instant::now())
    }
}

pin_project! {
    /// An answer on its way from the handler to the connection.
    pub(crate) struct Answering<A> {
        #[pin]
        state: State<A>,
        in_flight: Option<InFlight>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<A> {
        Working { #[pin] answer: A },
        Answered { response: Option<BoxResponse> },
    }
}

impl<A: Future<Output = BoxResponse>> Future for Answering<A> {
    type Output = Result<Response<Watched>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut in_flight = this.in_flight.take().expect("not polled after its end");
        let telemetry = in_flight.pulse().telemetry();
        let response = match this.state.project() {
            StateProjection::Answered { response } => response.take().expect("polled once after it was made"),
            // After a panic the future is not polled again: only dropped.
            StateProjection::Working { answer } => match catch_unwind(AssertUnwindSafe(|| answer.poll(cx))) {
                Ok(Poll::Pending) => {
                    *this.in_flight = Some(in_flight);
                    return Poll::Pending;
                }
                Ok(Poll::Ready(response)) => response,
                Err(panic) => excuse(telemetry, &*panic),
            },
        };
        in_flight.answered();
        Poll::Ready(Ok(response.map(|body| Watched { body, in_flight })))
    }
}

/// A response's body, whose progress the connection's deadlines see.
pub(crate) struct Watched {
    body: ResponseBody,
    in_flight: InFlight,
}

impl Watched {
    /// All of it is out. What is under way still has deadlines of its own.
    pub(crate) fn finish(self) -> InFlight {
        let Self { body, mut in_flight } = self;
        drop(body);
        in_flight.set_waiting(true);
        in_flight
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(cx)));
        let frame = frame.unwrap_or_else(|_| {
            // The head has gone out: the transfer breaks visibly, and only this one.
            this.in_flight.pulse().telemetry().metrics().panics.inc();
            Poll::Ready(Some(Err("a fault of the cache itself".into())))
        });
        if frame.is_pending() {
            this.in_flight.set_waiting(true);
        } else {
            this.in_flight.piece();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
