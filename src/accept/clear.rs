//! A client's socket in the clear. The runtime watches it from the first time on that we have to wait for it.
//!
//! A connection for one request may never come to that: its request is there when it is accepted, and its answer fits into
//! the kernel's buffer. To have it watched, and watched no more, would be two system calls beside its four.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::socket::{LEAST, Socket, reset_at_close};
use crate::batch;
use crate::body::pages::{self, Held};

/// So often it is read at most without being watched: that has no part in the task's budget.
const MOST_READS: u8 = 8;

/// A client's TCP socket.
#[derive(Debug)]
pub(crate) struct Clear(State);

#[derive(Debug)]
enum State {
    /// Nobody has waited for it yet; `is_drained`: when it was last read, it had less than there was room for.
    Unwatched {
        socket: net::TcpStream,
        reads: u8,
        is_drained: bool,
    },
    Watched(batch::Socket),
    /// On its way to be watched; where the runtime cannot do that, it is closed.
    Lost,
}

impl Clear {
    /// A socket that does not block.
    pub(crate) fn new(socket: net::TcpStream) -> Self {
        Self(State::Unwatched { socket, reads: 0, is_drained: false })
    }

    /// The socket, watched from now on.
    fn watched(&mut self) -> io::Result<&mut batch::Socket> {
        if let State::Unwatched { .. } = self.0
            && let State::Unwatched { socket, .. } = std::mem::replace(&mut self.0, State::Lost)
        {
            self.0 = State::Watched(batch::Socket::new(watch(socket)?));
        }
        match &mut self.0 {
            State::Watched(socket) => Ok(socket),
            State::Unwatched { .. } | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Has the runtime watch a client's socket.
///
/// # Errors
/// It, or the system, has no room for that; the socket is closed.
pub(super) fn watch(socket: net::TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(socket).inspect_err(|error| tracing::warn!(%error, "a client's socket cannot be watched"))
}

impl Socket for Clear {
    fn is_in_the_clear(&self) -> bool {
        true
    }

    fn is_drained(&self) -> bool {
        matches!(self.0, State::Unwatched { is_drained: true, .. })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match First::of(pieces) {
            Some(First::Lend(piece)) => self.watched()?.poll_with(cx, |socket| piece.send(socket)),
            Some(First::Write(piece)) => {
                // The rest follows at once: no packet for this alone.
                let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
                self.watched()?.poll_with(cx, |socket| Ok(send(socket, piece, flags)?))
            }
            None => self.poll_copy(cx, pieces),
        }
    }

    fn leave(&self, cx: &Context<'_>, message: &[u8]) -> bool {
        matches!(&self.0, State::Watched(socket) if socket.leave(cx, message))
    }

    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Watched(socket) = &self.0 { socket.poll_out(cx) } else { Poll::Ready(Ok(())) }
    }

    fn reset_at_close(&self) {
        match &self.0 {
            State::Unwatched { socket, .. } => reset_at_close(socket.as_fd()),
            State::Watched(socket) => reset_at_close(socket.as_fd()),
            State::Lost => {}
        }
    }
}

impl AsyncRead for Clear {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // A socket that the runtime has just begun to watch looks empty to it: what has come is read before.
        if let State::Unwatched { socket, reads, is_drained } = &mut this.0
            && *reads < MOST_READS
        {
            let room = buffer.initialize_unfilled();
            match socket.read(room) {
                Ok(read) => {
                    *reads += 1;
                    *is_drained = (1..room.len()).contains(&read);
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(this.watched()?).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Clear {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let State::Unwatched { socket, .. } = &mut this.0 {
            match socket.write(bytes) {
                Ok(written) if written == bytes.len() => return Poll::Ready(Ok(written)),
                Ok(written) => return Poll::Ready(this.watched().map(|_| written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(this.watched()?).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.get_mut().watched()?).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Watched(socket) = &mut self.get_mut().0 {
            Pin::new(socket).poll_flush(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            State::Unwatched { socket, .. } => Poll::Ready(match socket.shutdown(net::Shutdown::Write) {
                // The client was first.
                Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
                outcome => outcome,
            }),
            State::Watched(socket) => Pin::new(socket).poll_shutdown(cx),
            State::Lost => Poll::Ready(Ok(())),
        }
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Two ends of a connection.
    fn pair() -> (net::TcpStream, Clear) {
        let listener = net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let client = net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        let (socket, _) = listener.accept().expect("a client");
        socket.set_nonblocking(true).expect("a socket");
        (client, Clear::new(socket))
    }

    fn is_watched(socket: &Clear) -> bool {
        matches!(socket.0, State::Watched(_))
    }

    #[tokio::test]
    async fn it_is_watched_once_it_has_us_wait() {
        let (mut client, mut socket) = pair();
        client.write_all(b"ask").expect("open");
        let mut bytes = [0; 8];
        assert_eq!(socket.read(&mut bytes).await.expect("open"), 3);
        assert!(socket.is_drained() && !is_watched(&socket));
        socket.write_all(b"answer").await.expect("open");
        assert!(!is_watched(&socket));
        client.read_exact(&mut bytes[..6]).expect("open");
        assert_eq!(&bytes[..6], b"answer");
        let mut room = ReadBuf::new(&mut bytes);
        let next = Pin::new(&mut socket).poll_read(&mut Context::from_waker(Waker::noop()), &mut room);
        assert!(next.is_pending() && is_watched(&socket) && !socket.is_drained());
        client.write_all(b"more").expect("open");
        assert_eq!(socket.read(&mut bytes).await.expect("open"), 4);
        drop(client);
        assert_eq!(socket.read(&mut bytes).await.expect("an end"), 0);
    }

    #[tokio::test]
    async fn what_has_come_is_there_at_once_and_a_client_that_goes_on_is_watched() {
        let (mut client, mut socket) = pair();
        client.write_all(&[b'x'; 4 * MOST_READS as usize]).expect("open");
        for _ in 0..MOST_READS {
            let mut bytes = [0; 4];
            let mut room = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut socket).poll_read(&mut Context::from_waker(Waker::noop()), &mut room);
            assert!(read.is_ready() && room.filled() == b"xxxx" && !is_watched(&socket) && !socket.is_drained());
        }
        client.write_all(b"more").expect("open");
        let mut bytes = [0; 4];
        socket.read_exact(&mut bytes).await.expect("open");
        assert!(is_watched(&socket) && &bytes == b"more");
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_take_waits_for_the_client() {
        const ALL: usize = 16 << 20;
        let (mut client, mut socket) = pair();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            client.read_to_end(&mut all).map(|_| all.len())
        });
        let (piece, mut sent) = (vec![b'x'; 12 << 10], 0);
        while sent < ALL {
            let left = piece.len().min(ALL - sent);
            sent += poll_fn(|cx| socket.poll_send(cx, &[IoSlice::new(&piece[..left])])).await.expect("open");
        }
        assert!(is_watched(&socket));
        socket.shutdown().await.expect("open");
        assert_eq!(reader.join().expect("it reads").expect("no reset"), ALL);
    }

    #[tokio::test]
    async fn a_client_that_has_left_is_no_error_unless_it_is_written_to() {
        let (client, mut socket) = pair();
        drop(client);
        let mut bytes = [0; 4];
        for _ in 0..3 {
            assert_eq!(socket.read(&mut bytes).await.expect("an end"), 0);
        }
        assert!(!socket.is_drained());
    }
}
