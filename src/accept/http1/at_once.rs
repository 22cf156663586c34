//! When is it the express's turn, and how do its answers get to the client?

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use httparse::{EMPTY_HEADER, Request, Status};
use tokio::io::ReadBuf;

use super::Wire;
use crate::accept::Handler;
use crate::accept::express::{Express, MAX_FIELDS, Question, is_close};
use crate::accept::socket::Socket;

/// The largest body that is sent from here: it fits into what the kernel takes at once, or nearly.
const MOST_BODY: usize = 128 << 10;

impl<I: AsFd, H> Wire<I, H> {
    /// Whether the library waits for a request, has all that was read, and has sent all that it had to say.
    fn is_idle(&self) -> bool {
        let (framing, pulse) = (&self.framing, &*self.pulse);
        framing.is_between_requests()
            && self.stopped.is_none()
            && !pulse.is_in_flight()
            && !pulse.is_owed()
            && !pulse.is_tunnel()
            && !pulse.outbox.has_mail()
            && framing.heads().wrapping_add(self.unheard) == pulse.requests()
    }
}

impl<I: Socket, H> Wire<I, H> {
    /// Writes an answer of the express's, as much of it as the client takes.
    fn write_at_once(&mut self, cx: &mut Context<'_>, head: &[u8], body: &Bytes) -> io::Result<()> {
        let outcome = if body.is_empty() {
            Pin::new(&mut self.inner).poll_write(cx, head)
        } else {
            self.inner.poll_send(cx, &[IoSlice::new(head), IoSlice::new(body)])
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
            let outcome = self.inner.poll_send(cx, &slices);
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

impl<I: Socket, H: Handler> Wire<I, H> {
    /// Answers the plain requests that were read, from `before` on, and takes them out; how many there were.
    pub(super) fn answer_at_once(
        &mut self,
        cx: &mut Context<'_>,
        before: usize,
        buffer: &mut ReadBuf<'_>,
    ) -> io::Result<usize> {
        let (mut at, mut count, mut answer) = (before, 0, Vec::new());
        while at < buffer.filled().len() && self.unsent[0].is_empty() && self.unsent[1].is_empty() && self.is_idle() {
            let Some(given) = answer_first(&mut self.express, &buffer.filled()[at..], &mut answer) else { break };
            self.unheard = self.unheard.wrapping_add(1);
            self.pulse.answered_at_once();
            at += given.length;
            count += 1;
            self.write_at_once(cx, &answer, &given.body)?;
            answer.clear();
            if given.is_last {
                self.is_over = true;
                if at < buffer.filled().len() {
                    // What the client sends behind its last request is not answered, and not in the way of that answer.
                    self.pulse.expect_surplus();
                    buffer.set_filled(at);
                }
                break;
            }
        }
        let end = buffer.filled().len();
        buffer.filled_mut().copy_within(at..end, before);
        buffer.set_filled(end - (at - before));
        Ok(count)
    }
}

/// A request that was answered at once.
struct Given {
    /// Its bytes.
    length: usize,
    /// The answer's body, where it is not behind the head.
    body: Bytes,
    /// No other one is to follow.
    is_last: bool,
}

/// Answers the request that `bytes` begin with. `None`: it is not for us, and `answer` is empty.
fn answer_first<H: Handler>(express: &mut Express<H>, bytes: &[u8], answer: &mut Vec<u8>) -> Option<Given> {
    // Before anything else is asked: what is no GET, and what has no end, costs nothing here.
    if !bytes.starts_with(b"GET /") {
        return None;
    }
    let received = Instant::now();
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    let Ok(Status::Complete(length)) = request.parse(bytes) else { return None };
    let fields = &*request.headers;
    let mut hosts = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
    if request.version != Some(1) || !has_whole_lines(&bytes[..length]) {
        return None;
    }
    let (host, target, is_last) = (host.value, request.path?, fields.iter().any(is_close));
    let (room, takes_trailers) = (MOST_BODY, false);
    let question = Question { host, target, fields, length, received, room, is_last, takes_trailers };
    let body = express.answer(&question, answer)?;
    Some(Given { length, body, is_last })
}

/// Whether each line ends with CR LF, as ours have to.
fn has_whole_lines(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}
