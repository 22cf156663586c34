//! How does a connection to an origin come about? TCP, TLS where the URL says so, and HTTP/1.1 on top.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::error::{OriginError, Peer};
use super::http1::Http1;
use super::pool::{Connection, Pool};
use crate::batch;

/// Opens a connection to `address`, within `limit`.
pub(super) async fn open(
    address: &Address,
    peer: impl Fn() -> Peer,
    limit: Duration,
    pool: &Arc<Pool>,
) -> Result<Box<Connection>, OriginError> {
    let wire = tokio::time::timeout(limit, reach(address, &peer));
    let wire = wire.await.unwrap_or_else(|_| Err(OriginError::ConnectTimeout { peer: peer(), limit }))?;
    Ok(Box::new(Connection::new(Http1::new(wire), pool)))
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
    let Some(tls) = &address.url.tls else { return Ok(Stream::Plain(batch::Socket::new(stream))) };
    match tls.connector.connect(tls.name.clone(), stream).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(source) => Err(OriginError::Tls { peer: peer(), host: Arc::clone(&address.url.host), source }),
    }
}

/// A connected socket, plain or not.
pub(super) enum Stream {
    Plain(batch::Socket),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Leaves a message to its thread's batch, behind what was left before. `false`: it is to be sent as any other one.
    pub(super) fn leave(&self, cx: &Context<'_>, message: &[u8]) -> bool {
        matches!(self, Self::Plain(socket) if socket.leave(cx, message))
    }

    /// Whether nothing is left to a batch.
    pub(super) fn is_out(&self) -> bool {
        !matches!(self, Self::Plain(socket) if !socket.is_out())
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
