//! What do we write to: the client's socket itself, or something that makes other bytes of ours?

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

use crate::body::pages::{self, Held};

/// Fewer bytes are copied sooner than lent.
pub(crate) const LEAST: usize = 16 << 10;

/// A client's socket, or TLS over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin {
    /// The socket, where what is written is what goes out.
    fn in_the_clear(&self) -> Option<&TcpStream>;

    /// Writes of these pieces what the client takes, without copying those that lie in files; how many bytes.
    fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.in_the_clear().and_then(|socket| Some((socket, First::of(pieces)?))) {
            Some((socket, First::Lend(piece))) => poll_with(socket, cx, || piece.send(socket)),
            Some((socket, First::Write(piece))) => poll_with(socket, cx, || {
                // The rest follows at once: no packet for this alone.
                send(socket, piece, SendFlags::MORE | SendFlags::NOSIGNAL).map_err(io::Error::from)
            }),
            None => Pin::new(self).poll_write_vectored(cx, pieces),
        }
    }
}

impl Socket for TcpStream {
    fn in_the_clear(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// What is to be done first where there is a large piece that can be sent without a copy.
enum First<'p> {
    /// To send that.
    Lend(Held<'p>),
    /// To send this, which comes before it.
    Write(&'p [u8]),
}

impl<'p> First<'p> {
    fn of(pieces: &'p [IoSlice<'_>]) -> Option<Self> {
        let mut pieces = pieces.iter().map(|piece| &**piece).filter(|piece| !piece.is_empty());
        let large = |piece: &'p [u8]| if piece.len() >= LEAST { pages::held(piece) } else { None };
        let first = pieces.next()?;
        large(first).map(Self::Lend).or_else(|| large(pieces.next()?).map(|_| Self::Write(first)))
    }
}

/// Does something with a socket as soon as that takes it.
fn poll_with(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    mut write: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, &mut write) {
            // It looked as if it did.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return Poll::Ready(outcome),
        }
    }
}
