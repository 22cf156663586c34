//! Who talks to a client whose requests have all been plain so far? The express alone: the library, with its buffers, comes
//! when there is something for it.

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::{AT_ONCE, Wire};
use crate::accept::Handler;
use crate::accept::socket::Socket;

/// Bytes that are read at once.
const READ_BYTES: usize = 8 << 10;

/// How a client's plain requests came to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// There is one that is for the library; the socket gives it back.
    More,
    /// The client has ended the connection, or we are to.
    Nothing,
}

/// Answers plain requests until another one comes, or none any more.
pub(crate) struct Alone<'w, I: AsFd, H> {
    wire: &'w mut Wire<I, H>,
    is_to_end: bool,
}

impl<'w, I: AsFd, H> Alone<'w, I, H> {
    pub(crate) fn new(wire: &'w mut Wire<I, H>) -> Self {
        Self { wire, is_to_end: false }
    }

    /// No further request is wanted.
    pub(crate) fn end(&mut self) {
        self.is_to_end = true;
    }
}

impl<I: Socket, H: Handler> Future for Alone<'_, I, H> {
    type Output = io::Result<Left>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Left>> {
        // What has been read already is still answered; the library then says that it was the last one.
        match (self.is_to_end, self.wire.prefix.is_empty()) {
            (false, _) => self.wire.poll_alone(cx),
            (true, true) => Poll::Ready(Ok(Left::Nothing)),
            (true, false) => Poll::Ready(Ok(Left::More)),
        }
    }
}

impl<I: Socket, H: Handler> Wire<I, H> {
    fn poll_alone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Left>> {
        let mut answered = 0;
        loop {
            // A client that does not take its answers is not listened to.
            ready!(self.poll_unsent(cx))?;
            if self.is_over {
                return Poll::Ready(Ok(Left::Nothing));
            }
            if answered >= AT_ONCE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // On the stack: a client that is silent costs no buffer.
            let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            ready!(self.poll_fill(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(Left::Nothing));
            }
            answered += self.answer_at_once(cx, 0, &mut buffer)?;
            let left = buffer.filled();
            self.meter.read(read - left.len());
            if !left.is_empty() {
                self.prefix = Bytes::from([left, &self.prefix].concat());
                self.is_left = true;
                return Poll::Ready(Ok(Left::More));
            }
        }
    }
}
