//! What has come from a client and is not understood yet, and what is to go out to it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio_util::io::poll_read_buf;

use super::wire::Wire;
use crate::accept::socket::Socket;
use crate::body::http1::outgoing::Outgoing;
use crate::body::http1::{make_room, poll_read_small};

/// Bytes that are read at once.
pub(super) const READ_BYTES: usize = 8 << 10;

/// Small pieces of what goes out are gathered up to so many bytes before they are sent.
pub(super) const GATHERED: usize = 16 << 10;

/// The most that is read at once of a body.
const MOST_READ: usize = 64 << 10;

/// A client's socket with both its queues.
pub(super) struct Link<I: Socket> {
    pub(super) wire: Wire<I>,
    /// What has come and is not understood yet.
    pub(super) input: BytesMut,
    /// What is to go out.
    pub(super) out: Outgoing,
    /// The client will send nothing more.
    pub(super) has_ended: bool,
}

impl<I: Socket> Link<I> {
    /// A link whose first bytes were already read.
    pub(super) fn new(mut wire: Wire<I>, input: BytesMut) -> Self {
        wire.has_read(input.len());
        Self { wire, input, out: Outgoing::default(), has_ended: false }
    }
}

impl<I: Socket> Link<I> {
    /// Waits for the client, with this much of a head: nothing else is held.
    pub(super) fn rest(&mut self, input: BytesMut) {
        self.input = input;
        self.let_go();
        self.out.let_go();
    }

    /// Holds no buffer with nothing in it: one that a body was read into is large.
    pub(super) fn let_go(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// Sends all that is at hand.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out_by(Wire::poll_send, cx)
    }

    /// The same; what is small may go with what the thread sends to others.
    pub(super) fn poll_leave(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out_by(Wire::poll_leave, cx)
    }

    fn poll_out_by(
        &mut self,
        send: impl Fn(&mut Wire<I>, &mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { wire, out, .. } = self;
        if out.left() > 0 {
            ready!(out.poll_out(cx, |cx, pieces| send(wire, cx, pieces)))?;
        }
        wire.poll_sent(cx)
    }

    /// Reads on while nothing is expected, so that an end is seen: no more than some bytes. How many they are.
    pub(super) fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = ready!(poll_read_small::<READ_BYTES>(Pin::new(&mut self.wire), cx, &mut self.input))?;
        self.has_ended |= read == 0;
        Poll::Ready(Ok(read))
    }

    /// Reads on, as many bytes as are `wanted` if that is known. How many they are.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>, wanted: Option<usize>) -> Poll<io::Result<usize>> {
        make_room(&mut self.input, wanted.unwrap_or(READ_BYTES).clamp(READ_BYTES, MOST_READ));
        let read = ready!(poll_read_buf(Pin::new(&mut self.wire), cx, &mut self.input))?;
        self.has_ended |= read == 0;
        Poll::Ready(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    use std::net;
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::accept::clear::Clear;
    use crate::accept::meter::Meter;
    use crate::accept::pulse::Pulse;
    use crate::telemetry::Telemetry;

    #[tokio::test]
    async fn who_waits_holds_no_buffer() {
        let listener = net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let socket = net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        socket.set_nonblocking(true).expect("a socket");
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
        let meter = Meter::new(Telemetry::silent(), place);
        let mut link =
            Link::new(Wire::new(Clear::new(socket), Arc::new(Pulse::new(Telemetry::silent())), meter), BytesMut::new());
        link.out.head().reserve(1 << 16);
        link.rest(BytesMut::with_capacity(1 << 16));
        assert_eq!((link.input.capacity(), link.out.head().capacity()), (0, 0));
        link.rest(BytesMut::from("GET"));
        assert_eq!(link.input, "GET");
    }
}
