//! HTTP/1.1 as a client speaks it: a request goes out, its answer comes in, and then the next. (RFC 9112)
//!
//! Nothing runs by itself: a connection moves when whoever waits for it polls it, and an idle one is looked at when it is
//! to be used. A library's client gives each connection a task, which is woken to send and woken to receive, and wakes who
//! waits in turn; for an answer of a kilobyte that costs more than all that is said here.
//!
//! - `sending`: the request's head and body, as far as they have gone out.
//! - `head`: the answer's head.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio_util::io::poll_read_buf;

use super::connect::Stream;
use super::error::Malformed;
use super::upload::{Turn, Upload};
use crate::body::BoxError;
use crate::body::http1::content::{Content, ContentError, Step};
use crate::body::http1::outgoing::Framing;
use crate::body::http1::{make_room, poll_read_small};

mod head;
mod sending;

pub(super) use head::Head;

use sending::{Sending, Trouble};

/// Interim answers (1xx) to one request; more are an attack, or a loop.
const MAX_INTERIM: u32 = 32;
/// Bytes that are read at once, to begin with: the head and the body of most answers.
const FIRST_READ: usize = 8 * 1024;
/// The most that is read at once, and so about the most that a connection holds: with 512 connections and readers that
/// stall, 32 MiB at the worst.
const MAX_READ: usize = 64 * 1024;

/// Why a request got no head of a final answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request's body broke off.
    Upload(BoxError),
    /// The connection took nothing of the request.
    Unsent(io::Error),
    /// The connection ended, and nothing had been answered.
    Lost(io::Error),
    /// The connection ended within the head.
    Cut(io::Error),
    /// The head is none.
    Malformed(Malformed),
}

/// A connection on which one request follows the other.
pub(super) struct Http1 {
    stream: Stream,
    /// What has come and is not understood yet.
    input: BytesMut,
    /// How much is read next.
    appetite: usize,
    /// The origin will send nothing more.
    has_ended: bool,
    sending: Sending,
    /// What did not go out any more, and why.
    unsent: Option<io::Error>,
    interims: u32,
    /// The body of the present answer.
    content: Content,
}

impl Http1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            appetite: FIRST_READ,
            has_ended: false,
            sending: Sending::default(),
            unsent: None,
            interims: 0,
            content: Content::None,
        }
    }

    /// Begins a request: its head, ready to send, and its body. `may_wait`: without a body, it may go with what else the thread
    /// sends. Whether any of it was taken is not known then: so for a request that may be sent twice.
    pub(super) fn begin(&mut self, head: Vec<u8>, framing: Framing, upload: Option<Upload>, may_wait: bool) {
        self.sending = Sending::new(head, framing, upload, may_wait);
        self.interims = 0;
    }

    /// Sends, and waits for the head of the final answer. Interim ones are given to `interim`.
    ///
    /// # Errors
    ///
    /// There is none. The connection is of no use any more.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        interim: impl Fn(StatusCode, HeaderMap),
    ) -> Poll<Result<Head, Failure>> {
        loop {
            self.poll_send(cx).map_err(Failure::Upload)?;
            while let Some(head) = head::take(&mut self.input).map_err(Failure::Malformed)? {
                if !head.is_interim() {
                    return Poll::Ready(Ok(head));
                }
                self.interims += 1;
                if self.interims > MAX_INTERIM {
                    return Poll::Ready(Err(Failure::Malformed(Malformed::TooManyInterim { limit: MAX_INTERIM })));
                }
                interim(head.status, head.headers);
            }
            match ready!(self.poll_read(cx)) {
                Ok(1..) => {}
                Ok(0) => return Poll::Ready(Err(self.without_head(io::ErrorKind::UnexpectedEof.into()))),
                Err(error) => return Poll::Ready(Err(self.without_head(error))),
            }
        }
    }

    /// What it means that the connection ended before the head did.
    fn without_head(&mut self, error: io::Error) -> Failure {
        let has_answered = self.interims > 0 || !self.input.is_empty();
        match self.unsent.take() {
            _ if has_answered => Failure::Cut(error),
            Some(unsent) if !self.sending.has_begun() => Failure::Unsent(unsent),
            // What came of sending says more than the end that followed.
            Some(unsent) => Failure::Lost(unsent),
            None => Failure::Lost(error),
        }
    }

    /// Says what the body of the answer is whose head came last.
    pub(super) fn expect(&mut self, content: Content) {
        self.content = content;
    }

    /// The next piece of the answer's body; what is left of the request goes out meanwhile.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        loop {
            // A request that breaks off now does not undo the answer; the connection is not used again.
            let _ = self.poll_send(cx);
            match self.content.step(&mut self.input)? {
                Step::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Step::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Step::End => return Poll::Ready(None),
                Step::More => {}
            }
            if ready!(self.poll_read(cx))? == 0 {
                // Where sending failed, the connection broke: an end then is no answer's end.
                let broke = self.unsent.is_some().then_some(ContentError::Ended);
                return Poll::Ready(broke.or_else(|| self.content.end_of_input().err()).map(Err));
            }
        }
    }

    /// The whole body, where all of it has come, and its length was stated.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        self.content.take_whole(&mut self.input)
    }

    /// How much of the body is to come.
    pub(super) const fn content(&self) -> &Content {
        &self.content
    }

    /// Whether the answer is complete, the request as well, and nothing came behind: another one may follow.
    pub(super) fn is_at_rest(&self) -> bool {
        self.content.is_end()
            && self.sending.is_finished()
            && self.stream.is_out()
            && self.unsent.is_none()
            && self.input.is_empty()
            && !self.has_ended
    }

    /// Makes ready for waiting: nothing of the last request is held.
    pub(super) fn rest(&mut self) {
        self.sending = Sending::default();
        self.input = BytesMut::new();
        self.appetite = FIRST_READ;
    }

    /// Whether the origin holds the connection open, and has said nothing unasked.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut byte = ReadBuf::new(&mut byte);
        let read = poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut byte));
        // Outside the task's budget: to a task that has spent it, every socket looks quiet.
        pin!(unconstrained(read)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Whose turn it is, while a request is being sent.
    pub(super) fn turn(&self) -> Option<Turn> {
        // What the connection does not take is not waited for.
        if self.unsent.is_some() { None } else { self.sending.turn() }
    }

    /// Whether the request is still going out, as it should.
    pub(super) fn is_sending(&self) -> bool {
        !self.sending.is_finished() && self.unsent.is_none()
    }

    /// Sends the rest of the request.
    ///
    /// # Errors
    ///
    /// It does not go out any more, or broke off.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.poll_send(cx)?;
        if let Some(error) = self.unsent.take() {
            return Poll::Ready(Err(error.into()));
        }
        if self.sending.is_finished() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The request's body, for another try.
    pub(super) fn take_upload(&mut self) -> Option<Upload> {
        self.sending.take_upload()
    }

    /// What came behind the head of a 101: the first bytes of the other protocol.
    pub(super) fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.input).freeze()
    }

    /// The connection below, once another protocol is spoken on it.
    pub(super) const fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Sends as much as goes. Err: the request's body broke off. What the connection does not take is no error yet: the
    /// answer may be on its way, or have come.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        if self.sending.is_finished() || self.unsent.is_some() {
            return Ok(());
        }
        match self.sending.poll(&mut self.stream, cx) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(Trouble::Connection(error))) => {
                self.unsent = Some(error);
                Ok(())
            }
            Poll::Ready(Err(Trouble::Upload(error))) => {
                // It is asked no more, and the connection not used again.
                self.unsent = Some(io::ErrorKind::Other.into());
                Err(error)
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let wanted = self.content.at_most().map_or(self.appetite, |left| self.appetite.max(left).min(MAX_READ));
        let (read, room) = if self.input.is_empty() && wanted <= FIRST_READ {
            (ready!(poll_read_small::<FIRST_READ>(Pin::new(&mut self.stream), cx, &mut self.input))?, FIRST_READ)
        } else {
            make_room(&mut self.input, wanted);
            let room = self.input.capacity() - self.input.len();
            (ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input))?, room)
        };
        if read == room {
            self.appetite = (2 * self.appetite).min(MAX_READ);
        }
        self.has_ended |= read == 0;
        Poll::Ready(Ok(read))
    }
}
