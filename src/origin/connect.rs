//! How does a connection to an origin come about? TCP, TLS where the URL says so, and HTTP/1.1 on top.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::address::Address;
use super::error::{OriginError, Peer};
use super::pool::{Connection, Link, Pool};

/// Bytes of an answer's head; larger ones are malformed. As much as clients may send us by default.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Bytes that a connection buffers: with 512 connections and readers that stall, 64 MiB at the worst.
const MAX_BUFFER: usize = 128 * 1024;

/// Opens a connection to `address`, within `limit`.
pub(super) async fn open(
    address: &Address,
    peer: impl Fn() -> Peer,
    limit: Duration,
    pool: &Arc<Pool>,
    tasks: &TaskTracker,
) -> Result<Connection, OriginError> {
    let wire = tokio::time::timeout(limit, reach(address, &peer));
    let wire = wire.await.unwrap_or_else(|_| Err(OriginError::ConnectTimeout { peer: peer(), limit }))?;
    let link = Link::new(pool);
    let wire = TokioIo::new(Wire { stream: wire, link: Arc::clone(&link) });
    let handshake = http1::Builder::new().max_header_size(MAX_HEAD).max_buf_size(MAX_BUFFER).handshake(wire).await;
    let (sender, connection) = handshake.map_err(|source| OriginError::Lost { peer: peer(), source })?;
    let driver = tasks.spawn(async move {
        // Whoever waits for the answer or its body is told of the error; an idle connection may close as it likes.
        let _ = connection.with_upgrades().await;
    });
    Ok(Connection::new(sender, link, driver.abort_handle()))
}

/// TCP, and TLS.
pub(super) async fn reach(address: &Address, peer: impl Fn() -> Peer) -> Result<Stream, OriginError> {
    let connect = async {
        let stream = TcpStream::connect(address.socket).await?;
        // A head and a small body would wait for each other's acknowledgement otherwise.
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let stream = connect.await.map_err(|source| OriginError::Connect { peer: peer(), source })?;
    let Some(tls) = &address.url.tls else { return Ok(Stream::Plain(stream)) };
    match tls.connector.connect(tls.name.clone(), stream).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(source) => Err(OriginError::Tls { peer: peer(), host: Arc::clone(&address.url.host), source }),
    }
}

/// A connected socket, plain or not.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A socket that tells its [`Link`] what happens to it.
struct Wire {
    stream: Stream,
    link: Arc<Link>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.link.closed();
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.link.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
