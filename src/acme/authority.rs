//! How is an authority asked? One question, one connection, one answer, all of it bounded.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;

/// For the name, the connection, TLS and the whole answer.
const WHOLE: Duration = Duration::from_secs(30);

/// Bytes of an answer: the longest is a chain of certificates.
const MOST_BYTES: usize = 1 << 20;

/// RFC 8555 §6.1: the name of the program, and of the library.
const NAME: HeaderValue = HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"), " instant-acme"));

/// Asks an authority.
#[derive(Clone)]
pub(super) struct Caller {
    config: Arc<ClientConfig>,
    clock: Clock,
    /// Seconds for which it wants to be left alone, with its last error; 0: it has not said so.
    told: Arc<AtomicU64>,
}

/// Why an authority gave no answer, or none that is of use.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("{0} is no URL that can be asked")]
    Url(Uri),
    #[error("{host} cannot be reached")]
    Connect { host: String, source: io::Error },
    #[error("the connection to {host} broke off")]
    Http { host: String, source: hyper::Error },
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it answers {0}, and does not say why")]
    Status(StatusCode),
    #[error("nothing within {WHOLE:?}")]
    TimedOut,
}

impl Caller {
    /// Trusts by these rules.
    pub(super) fn new(config: ClientConfig, clock: Clock) -> Self {
        Self { config: Arc::new(config), clock, told: Arc::default() }
    }

    /// How long the authority wants to be left alone, as it said with an error.
    pub(super) fn told(&self) -> Option<Duration> {
        Some(self.told.load(Ordering::Relaxed)).filter(|&seconds| seconds > 0).map(Duration::from_secs)
    }

    /// Seconds, or a date (RFC 9110 §10.2.3).
    fn wait(&self, fields: &HeaderMap) -> Option<u64> {
        let text = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(seconds);
        }
        let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(at.as_secs().saturating_sub(self.clock.now().as_millis() / 1000))
    }

    async fn ask(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Unanswered> {
        let uri = request.uri().clone();
        let unusable = || Unanswered::Url(uri.clone());
        // RFC 8555 §6.1. Whoever names another scheme wants to have it read on the way.
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(unusable());
        }
        let host = uri.host().ok_or_else(unusable)?.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| unusable())?;
        let authority = uri.authority().ok_or_else(unusable)?.as_str();
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority).map_err(|_| unusable())?);
        request.headers_mut().insert(USER_AGENT, NAME);
        *request.uri_mut() = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")).into();
        let connect = async {
            let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
            stream.set_nodelay(true)?;
            TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
        };
        let stream = connect.await.map_err(|source| Unanswered::Connect { host: host.clone(), source })?;
        let broken = |source| Unanswered::Http { host: host.clone(), source };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
        let (parts, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(Unanswered::Body)?.to_bytes();
        if parts.status.is_client_error() || parts.status.is_server_error() {
            self.told.store(self.wait(&parts.headers).unwrap_or(0), Ordering::Relaxed);
            let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            // A page of something on the way: the library would complain that it is no JSON.
            if !kind.contains("json") {
                return Err(Unanswered::Status(parts.status));
            }
        }
        Ok(BytesResponse { parts, body: Box::new(body) })
    }
}

impl HttpClient for Caller {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let caller = self.clone();
        Box::pin(async move {
            let answer = tokio::time::timeout(WHOLE, caller.ask(request)).await;
            answer.unwrap_or(Err(Unanswered::TimedOut)).map_err(|error| Error::Other(Box::new(error)))
        })
    }
}
