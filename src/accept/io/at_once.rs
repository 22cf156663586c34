//! When is it the express's turn, and how do its answers get to the client?

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Speech, Wire};
use crate::accept::Handler;
use crate::respond::written::Written;

impl<I: AsFd, H> Wire<I, H> {
    /// Whether the library waits for a request, has all that was read, and has sent all that it had to say.
    fn is_idle(&self) -> bool {
        let Speech::Http1(http1) = &self.speech else { return false };
        let framing = &http1.framing;
        let pulse = &*self.pulse;
        framing.is_between_requests()
            && self.stopped.is_none()
            && !pulse.is_in_flight()
            && !pulse.is_owed()
            && !pulse.is_tunnel()
            && !pulse.outbox.has_mail()
            && framing.heads().wrapping_add(http1.unheard) == pulse.requests()
    }
}

impl<I: AsyncWrite + AsFd + Unpin, H> Wire<I, H> {
    /// Writes an answer of the express's, as much of it as the client takes.
    fn write_at_once(&mut self, cx: &mut Context<'_>, head: &[u8], body: &Bytes) -> io::Result<()> {
        let outcome = if body.is_empty() {
            Pin::new(&mut self.inner).poll_write(cx, head)
        } else {
            Pin::new(&mut self.inner).poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)])
        };
        let written = match self.mark(outcome) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.is_unflushed = true;
        if written < head.len() + body.len() {
            let (of_head, of_body) = (written.min(head.len()), written.saturating_sub(head.len()));
            self.unsent = [Bytes::copy_from_slice(&head[of_head..]), body.slice(of_body..)];
        }
        Ok(())
    }

    /// Writes what is left of it.
    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_unflushed {
            return Poll::Ready(Ok(()));
        }
        while self.unsent.iter().any(|piece| !piece.is_empty()) {
            let slices = [IoSlice::new(&self.unsent[0]), IoSlice::new(&self.unsent[1])];
            let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, &slices);
            let mut written = ready!(self.mark(outcome))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            for piece in &mut self.unsent {
                let of_it = written.min(piece.len());
                piece.advance(of_it);
                written -= of_it;
            }
        }
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.is_unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + AsyncWrite + AsFd + Unpin, H: Handler> Wire<I, H> {
    /// Answers the plain requests that were read, from `before` on, and takes them out; how many there were.
    pub(super) fn answer_at_once(
        &mut self,
        cx: &mut Context<'_>,
        before: usize,
        buffer: &mut ReadBuf<'_>,
    ) -> io::Result<usize> {
        let (mut at, mut count) = (before, 0);
        while at < buffer.filled().len() && self.unsent[0].is_empty() && self.unsent[1].is_empty() && self.is_idle() {
            let Speech::Http1(http1) = &mut self.speech else { break };
            let mut answer = Written::new();
            let Some((length, body)) = http1.express.answer(&buffer.filled()[at..], &mut answer) else { break };
            http1.unheard = http1.unheard.wrapping_add(1);
            self.pulse.answered_at_once();
            at += length;
            count += 1;
            self.write_at_once(cx, &answer, &body)?;
        }
        let end = buffer.filled().len();
        buffer.filled_mut().copy_within(at..end, before);
        buffer.set_filled(end - (at - before));
        Ok(count)
    }
}
