//! How is a running proxy asked?
//!
//! One question, one connection, one answer, all of it bounded: a command in a script must end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::listener::{AdminUrl, Listener};
use crate::tls::outgoing;

/// For the name, the connection and TLS together: who is there answers by then.
const CONNECT: Duration = Duration::from_secs(5);

/// For the whole answer: far beyond what a listener itself waits for the nodes of a fleet.
const WHOLE: Duration = Duration::from_mins(1);

/// Bytes of an answer: hundreds of times the longest explanation.
const MOST_BYTES: usize = 16 << 20;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    /// `GET` or `POST`.
    pub(super) method: Method,
    /// Path and query, without the listener's own path before it.
    pub(super) target: String,
    /// JSON; empty: none.
    pub(super) body: Vec<u8>,
}

/// What came back, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody is there.
    #[error("nothing listens at {url}: is `larder serve` running? --admin or LARDER_ADMIN names another listener")]
    Refused { url: AdminUrl },
    /// The name, the way or TLS takes too long.
    #[error("cannot reach {url} within {limit:?}; --admin or LARDER_ADMIN names another listener")]
    Far { url: AdminUrl, limit: Duration },
    /// No such name, or no way there.
    #[error("cannot reach {url}")]
    Unreachable { url: AdminUrl, source: io::Error },
    /// TLS does not come about, or its certificate is not to be trusted.
    #[error("no TLS with {url} (a listener without it is named with http://)")]
    Tls { url: AdminUrl, source: io::Error },
    /// The token cannot be sent. It is a secret: the cause, which could show it, is left out.
    #[error("the token holds what no field can hold, such as a line break")]
    Token,
    /// What is asked fits into no request.
    #[error("what is asked about is too long for a request")]
    Overlong,
    /// It was asked, and is silent.
    #[error("{url} has not answered within {limit:?}")]
    Slow { url: AdminUrl, limit: Duration },
    /// It was asked, and the connection ended.
    #[error("the connection with {url} ended before the answer did")]
    Lost { url: AdminUrl, source: hyper::Error },
    /// What came is not HTTP.
    #[error("{url} does not look like Larder's admin listener: it does not speak HTTP")]
    Garbled { url: AdminUrl, source: hyper::Error },
    /// More came than any answer has.
    #[error("{url} does not look like Larder's admin listener: its answer is longer than {MOST_BYTES} bytes")]
    Long { url: AdminUrl },
    /// The process has no resources left.
    #[error("this process cannot ask anybody")]
    Unable(#[source] io::Error),
}

impl Unanswered {
    /// Whether what was asked for may have been done all the same.
    pub(super) fn may_be_done(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::Lost { .. } | Self::Long { .. })
    }

    /// Whether the arguments are wrong, rather than anything else.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, Self::Token | Self::Overlong)
    }
}

/// Asks, and waits for the whole answer.
///
/// # Errors
///
/// Nobody answers, or too late, or too much. An answer that refuses is an answer.
pub(super) fn ask(listener: &Listener, question: Question) -> Result<Answer, Unanswered> {
    let request = request(listener, question)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Unanswered::Unable)?;
    let answer = runtime.block_on(reach(&listener.admin, request));
    // A look-up of a name that hangs in the system's resolver must not hold up the end.
    runtime.shutdown_background();
    answer
}

fn request(listener: &Listener, question: Question) -> Result<Request<Full<Bytes>>, Unanswered> {
    let mut fields = HeaderMap::new();
    let host = HeaderValue::try_from(&listener.admin.authority).expect("a URL's authority is visible ASCII");
    fields.insert(HOST, host);
    fields.insert(USER_AGENT, HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"))));
    fields.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if !question.body.is_empty() {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(authorization) = listener.token.authorization().map_err(|_| Unanswered::Token)? {
        fields.insert(AUTHORIZATION, authorization);
    }
    let mut request = Request::new(Full::new(Bytes::from(question.body)));
    *request.method_mut() = question.method;
    let target = format!("{}{}", listener.admin.base, question.target);
    // The path was part of a URL and queries are percent-encoded: only their length can be wrong.
    *request.uri_mut() = target.parse().map_err(|_| Unanswered::Overlong)?;
    *request.headers_mut() = fields;
    Ok(request)
}

async fn reach(url: &AdminUrl, request: Request<Full<Bytes>>) -> Result<Answer, Unanswered> {
    let far = |_| Unanswered::Far { url: url.clone(), limit: CONNECT };
    let connected = tokio::time::timeout(CONNECT, async {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused => Unanswered::Refused { url: url.clone() },
            _ => Unanswered::Unreachable { url: url.clone(), source },
        })?;
        if !url.https {
            return Ok(Stream::Plain(stream));
        }
        let tls = secure(&url.host, stream).await;
        tls.map(|stream| Stream::Tls(Box::new(stream))).map_err(|source| Unanswered::Tls { url: url.clone(), source })
    });
    match connected.await.map_err(far)?? {
        Stream::Plain(stream) => exchange(url, stream, request).await,
        Stream::Tls(stream) => exchange(url, stream, request).await,
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Speaks TLS with whom the system's certificates vouch for.
async fn secure(host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let config = outgoing::client_config(None).map_err(io::Error::other)?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Sends the request and reads the whole answer, within [`WHOLE`].
async fn exchange<S>(url: &AdminUrl, stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |source: hyper::Error| {
        let url = url.clone();
        if source.is_parse() { Unanswered::Garbled { url, source } } else { Unanswered::Lost { url, source } }
    };
    let whole = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        // Ends with this function; whoever waits for the answer is told of its errors.
        let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|source| {
            match source.downcast::<hyper::Error>() {
                Ok(source) => failed(*source),
                Err(other) => {
                    debug_assert!(other.is::<LengthLimitError>(), "{other}");
                    Unanswered::Long { url: url.clone() }
                }
            }
        })?;
        Ok(Answer { status: head.status, fields: head.headers, body: body.to_bytes() })
    };
    let slow = |_| Unanswered::Slow { url: url.clone(), limit: WHOLE };
    tokio::time::timeout(WHOLE, whole).await.map_err(slow)?
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn url() -> AdminUrl {
        super::super::listener::DEFAULT.parse().expect("a URL")
    }

    fn get() -> Request<Full<Bytes>> {
        Request::builder().uri("/purges").header(HOST, "h").body(Full::default()).expect("a request")
    }

    /// What comes of an answer that is these bytes, by a listener that then hangs up, or stays silent.
    async fn told(bytes: &'static [u8], hangs_up: bool) -> Result<Answer, Unanswered> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let answering = async move {
            let mut head = vec![0; 1 << 12];
            let _ = theirs.read(&mut head).await;
            let _ = theirs.write_all(bytes).await;
            if !hangs_up {
                std::future::pending::<()>().await;
            }
        };
        let _answering = AbortOnDropHandle::new(tokio::spawn(answering));
        exchange::<DuplexStream>(&url(), ours, get()).await
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_answer_well_is_given_up() {
        let cases: [(&[u8], bool, &str, bool, &str); 7] = [
            (b"", false, "not answered within 60s", true, "silence"),
            (b"HTTP/1.1 200 OK\r\n", false, "not answered within 60s", true, "half a head"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", false, "not answered", true, "half a body"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", true, "ended before", true, "a body cut off"),
            (b"", true, "ended before", true, "the connection closed"),
            (b"220 mail.example ESMTP\r\n", true, "not speak HTTP", false, "another protocol"),
            (b"\x15\x03\x01\x00\x02\x02\x46", true, "not speak HTTP", false, "TLS"),
        ];
        for (bytes, hangs_up, want, may_be_done, why) in cases {
            let error = told(bytes, hangs_up).await.expect_err(why);
            assert!(error.to_string().contains(want), "{why}: {error}");
            assert_eq!(error.may_be_done(), may_be_done, "{why}");
        }
        let whole = told(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", false).await.expect("a whole answer");
        assert_eq!((whole.status.as_u16(), &whole.body[..]), (200, &b"{}"[..]));
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_its_end() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let flood = async move {
            let _ = theirs.read(&mut [0; 1 << 10]).await;
            let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while theirs.write_all(&[b'x'; 1 << 12]).await.is_ok() {}
        };
        let flooding = tokio::spawn(flood);
        let error = exchange(&url(), ours, get()).await.expect_err("too long");
        assert!(matches!(error, Unanswered::Long { .. }), "{error}");
        flooding.await.expect("the connection was closed on it");
    }
}
