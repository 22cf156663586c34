//! How does a client come in over TLS: shaken hands with in time, or left outside at little cost?

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::HeaderValue;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls::server::Acceptor;
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};

use super::handshakes::Handshakes;
use super::socket::{Socket, reset_at_close};
use crate::telemetry::histogram::Histogram;
use crate::tls::identity;
use crate::tls::serving::{Serving, is_resumed};

/// Handshakes under way at once, whatever `server.max_connections` is. The library takes up to 64 KiB of a client's first
/// message before it has a whole one, and its answer is some KiB: 1024 are at most 80 MiB or so. A handshake takes two
/// round trips at most: at 300 ms each, 1024 let more than 3000 clients in a second.
const MOST_HANDSHAKES: usize = 1024;

/// What the HTTPS listeners of a node share.
#[derive(Debug)]
pub struct Secured {
    serving: Arc<Serving>,
    under_way: Handshakes,
    metrics: Metrics,
}

#[derive(Debug)]
struct Metrics {
    handshakes: Family<[(&'static str, &'static str); 2], Counter>,
    duration: Histogram,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A new session began.
    Full,
    /// An earlier session goes on.
    Resumed,
    /// The two did not agree, or the client left.
    Failed,
    /// The client was silent for too long.
    Timeout,
    /// Too many were under way, and this was the oldest one.
    Displaced,
    /// An authority was shown what it wanted to see.
    Challenge,
}

impl End {
    const fn token(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Displaced => "displaced",
            Self::Challenge => "challenge",
        }
    }
}

impl Secured {
    /// HTTPS by the terms of `serving`.
    pub fn register(serving: Arc<Serving>, registry: &mut Registry) -> Self {
        let metrics = Metrics { handshakes: Family::default(), duration: Histogram::default() };
        let help = "TLS handshakes with clients, by result and version";
        registry.register("larder_tls_handshakes", help, metrics.handshakes.clone());
        let help = "From a client's first byte to the end of a TLS handshake that came about";
        registry.register("larder_tls_handshake_duration_seconds", help, metrics.duration.clone());
        Self { serving, under_way: Handshakes::new(MOST_HANDSHAKES), metrics }
    }

    /// Shakes hands within `limit`. `None`: the connection is over, and all that was to be said of it has been said.
    pub(super) async fn shake(&self, stream: TcpStream, limit: Duration) -> Option<Secure> {
        let shaken = tokio::time::timeout(limit, self.greet(stream)).await.unwrap_or(Err(End::Timeout));
        match shaken {
            Ok(secure) => secure,
            Err(end) => {
                self.count(end, "none");
                None
            }
        }
    }

    /// `Ok(None)`: the client has left without a byte, as probes of load balancers do.
    async fn greet(&self, stream: TcpStream) -> Result<Option<Secure>, End> {
        // Who says nothing has a connection's place, and none among the handshakes.
        if !matches!(stream.peek(&mut [0]).await, Ok(1..)) {
            return Ok(None);
        }
        let begun = Instant::now();
        let terms = self.serving.terms();
        let handshake = async {
            let Some(stream) = self.accept(stream, &terms.config).await? else { return Ok(None) };
            terms.check_resumed(stream.get_ref().1).map_err(io::Error::other)?;
            Ok::<_, io::Error>(Some(stream))
        };
        let stream = match self.under_way.run(handshake).await {
            Some(Ok(Some(stream))) => stream,
            Some(Ok(None)) => return Err(End::Challenge),
            Some(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return Err(End::Failed);
            }
            None => return Err(End::Displaced),
        };
        let connection = stream.get_ref().1;
        self.metrics.duration.observe(begun.elapsed());
        let end = if is_resumed(connection) { End::Resumed } else { End::Full };
        self.count(end, version(connection.protocol_version()));
        let is_http2 = connection.alpn_protocol() == Some(b"h2");
        let certificate = connection.peer_certificates().and_then(<[_]>::first).map(identity::describe);
        Ok(Some(Secure { stream, is_http2, certificate }))
    }

    /// Shakes hands by these rules; `None`: it was an authority's challenge, which is over.
    async fn accept(&self, stream: TcpStream, rules: &Arc<ServerConfig>) -> io::Result<Option<TlsStream<TcpStream>>> {
        let challenges = self.serving.challenges();
        if !challenges.is_any() {
            return TlsAcceptor::from(Arc::clone(rules)).accept(stream).await.map(Some);
        }
        // The rules are chosen by what the client says first.
        let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let Some(answer) = challenges.answer(&begun.client_hello()) else {
            return begun.into_stream(Arc::clone(rules)).await.map(Some);
        };
        // RFC 8737 §3: nothing is said over the connection.
        begun.into_stream(answer).await?.shutdown().await?;
        Ok(None)
    }

    fn count(&self, end: End, version: &'static str) {
        self.metrics.handshakes.get_or_create(&[("result", end.token()), ("version", version)]).inc();
    }
}

fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "none",
    }
}

/// A client's connection after the handshake.
pub(super) struct Secure {
    stream: TlsStream<TcpStream>,
    /// What was agreed upon; without a word about it, HTTP/1.1 (RFC 9113 §3.2: over TLS, HTTP/2 is asked for by ALPN).
    pub(super) is_http2: bool,
    /// The client's verified certificate, as the origin is told of it.
    pub(super) certificate: Option<HeaderValue>,
}

impl AsyncRead for Secure {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Secure {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says that this is the end (`close_notify`), then ends it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Socket for Secure {
    fn is_in_the_clear(&self) -> bool {
        false
    }

    fn reset_at_close(&self) {
        reset_at_close(self.stream.get_ref().0.as_fd());
    }
}
