//! What do we write to: the client's socket itself, or something that makes other bytes of ours?

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::sendfile;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;

use crate::body::pages::{self, Place};

/// Fewer bytes are sent sooner than their file is found.
const LEAST: usize = 16 << 10;

/// A client's socket, or TLS over it.
pub(crate) trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin {
    /// The socket, where what is written is what goes out.
    fn in_the_clear(&self) -> Option<&TcpStream>;

    /// Writes of these pieces what the client takes, without copying those that lie in files; how many bytes.
    fn poll_send(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.in_the_clear().and_then(|socket| Some((socket, first_in_file(pieces)?))) {
            Some((socket, InFile::Now(place, length))) => poll_send_file(socket, cx, &place, length),
            Some((socket, InFile::After(piece))) => poll_with(socket, cx, || {
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

/// When a piece that lies in a file is to be written.
enum InFile<'p> {
    /// There, so many bytes of it.
    Now(Place, usize),
    /// After this one.
    After(&'p [u8]),
}

/// What is to be done first where there is a large piece that lies in a file.
fn first_in_file<'p>(pieces: &'p [IoSlice<'_>]) -> Option<InFile<'p>> {
    let mut pieces = pieces.iter().map(|piece| &**piece).filter(|piece| !piece.is_empty());
    let first = pieces.next()?;
    let place = |piece: &[u8]| if piece.len() >= LEAST { pages::place_of(piece) } else { None };
    if let Some(place) = place(first) {
        return Some(InFile::Now(place, first.len()));
    }
    let second = pieces.next()?;
    place(second).map(|_| InFile::After(first))
}

fn poll_send_file(socket: &TcpStream, cx: &mut Context<'_>, place: &Place, length: usize) -> Poll<io::Result<usize>> {
    poll_with(socket, cx, || {
        let mut offset = place.offset;
        sendfile(socket, &place.file, Some(&mut offset), length).map_err(io::Error::from)
    })
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
