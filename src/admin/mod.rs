//! The operator's listener: is the process alive, may it take traffic, what has it counted?
//!
//! It stays up while the public listeners drain, and is bounded like everything that listens.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::settings::Settings;
use crate::policy::token;

/// Connections at once: an operator and a few scrapers; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// For a request's head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// For a connection as a whole: one that takes nothing must not keep its place. Scrapers connect again.
const CONNECTION_TIMEOUT: Duration = Duration::from_mins(5);

/// For a request's head, with its target.
const HEAD_BYTES: usize = 16 << 10;

/// How long accepting rests when it fails for want of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What the metrics are written in.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process may take traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It may.
    Ready,
    /// It is ending.
    Draining,
    /// No origin can be asked.
    OriginsDown,
}

/// What the listener answers from.
pub struct Office {
    settings: Arc<ArcSwap<Settings>>,
    registry: Registry,
    readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
}

impl Office {
    /// The token is read anew for every request; an empty one asks no question, which the configuration allows on
    /// loopback only.
    pub fn new(
        settings: Arc<ArcSwap<Settings>>,
        registry: Registry,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { settings, registry, readiness: Box::new(readiness) })
    }

    /// Answers one request; bodies are not looked at.
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let is_open = matches!(path, "/healthz" | "/readyz");
        let settings = self.settings.load();
        let token = &settings.admin.token;
        if !is_open && !token.is_empty() && !token::is_carried(request.headers(), token) {
            let mut refusal = json(StatusCode::UNAUTHORIZED, "the admin token is missing or wrong");
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refusal;
        }
        let page = match path {
            "/healthz" => text(StatusCode::OK, "live\n"),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            _ => return json(StatusCode::NOT_FOUND, "there is nothing here"),
        };
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return page;
        }
        let mut refusal = json(StatusCode::METHOD_NOT_ALLOWED, "this can only be read");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        refusal
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        match (self.readiness)() {
            Readiness::Ready => text(StatusCode::OK, "ready\n"),
            Readiness::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            Readiness::OriginsDown => text(StatusCode::SERVICE_UNAVAILABLE, "every origin is down\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut page = String::new();
        if prometheus_client::encoding::text::encode(&mut page, &self.registry).is_err() {
            return json(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written");
        }
        respond(StatusCode::OK, OPENMETRICS, page)
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("Office").finish_non_exhaustive()
    }
}

fn text(status: StatusCode, line: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", line)
}

fn json(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    let object = serde_json::json!({ "status": status.as_u16(), "reason": reason });
    respond(status, "application/json", format!("{object}\n"))
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers operators until `stop`; then at once no more. Nothing of it runs on after this returns.
pub async fn serve(listener: TcpListener, office: Arc<Office>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(tokio::time::timeout(CONNECTION_TIMEOUT, talk(stream, Arc::clone(&office))));
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

async fn talk(stream: TcpStream, office: Arc<Office>) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    builder.header_read_timeout(HEAD_TIMEOUT);
    builder.max_header_size(HEAD_BYTES);
    builder.max_buf_size(HEAD_BYTES);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let answer = office.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "an admin connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn office(token: &str, readiness: Readiness) -> Arc<Office> {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        counter.inc();
        registry.register("larder_tests", "Tests", counter);
        let url = crate::config::parse_origin_url("http://127.0.0.1:3000").expect("a URL");
        let mut settings = crate::config::from_origin(url);
        token.clone_into(&mut settings.admin.token);
        Office::new(Arc::new(ArcSwap::from_pointee(settings)), registry, move || readiness)
    }

    fn ask(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }

    #[test]
    fn each_page_has_its_status() {
        use Readiness::{Draining, OriginsDown, Ready};
        let bearer = [("authorization", "Bearer s3cret")];
        let cases: [(&str, Readiness, Request<()>, u16, &str); 14] = [
            ("", Ready, ask("GET", "/healthz", &[]), 200, "live"),
            ("", Draining, ask("GET", "/healthz", &[]), 200, "live while draining"),
            ("", Ready, ask("GET", "/readyz", &[]), 200, "ready"),
            ("", Draining, ask("GET", "/readyz", &[]), 503, "no traffic while draining"),
            ("", OriginsDown, ask("GET", "/readyz", &[]), 503, "nobody to ask"),
            ("", Ready, ask("HEAD", "/metrics", &[]), 200, "HEAD as GET"),
            ("", Ready, ask("POST", "/metrics", &[]), 405, "read only"),
            ("", Ready, ask("GET", "/nothing", &[]), 404, "no such page"),
            ("s3cret", Ready, ask("GET", "/healthz", &[]), 200, "open for load balancers"),
            ("s3cret", Ready, ask("GET", "/readyz", &[]), 200, "open for load balancers"),
            ("s3cret", Ready, ask("GET", "/metrics", &[]), 401, "no token"),
            ("s3cret", Ready, ask("GET", "/nothing", &[]), 401, "what exists is not told either"),
            ("s3cret", Ready, ask("GET", "/metrics", &bearer), 200, "the token"),
            ("s3cret", Ready, ask("GET", "/metrics", &[("fastly-key", "s3cret")]), 200, "the other way to carry it"),
        ];
        for (token, readiness, request, want, why) in cases {
            let answer = office(token, readiness).answer(&request);
            assert_eq!(answer.status(), want, "{why}");
            assert_eq!(answer.headers().contains_key(WWW_AUTHENTICATE), want == 401, "{why}");
            assert_eq!(answer.headers().contains_key(ALLOW), want == 405, "{why}");
        }
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let answer = office("", Readiness::Ready).answer(&ask("GET", "/metrics", &[]));
        assert_eq!(answer.headers()[CONTENT_TYPE], OPENMETRICS);
        let page = answer.into_body().collect().await.expect("a body").to_bytes();
        let page = std::str::from_utf8(&page).expect("text");
        assert!(page.contains("larder_tests_total 1\n") && page.ends_with("# EOF\n"), "{page}");
    }

    #[tokio::test]
    async fn it_answers_over_a_socket_and_ends_when_told() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, office("", Readiness::Ready), stop.clone()));
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
