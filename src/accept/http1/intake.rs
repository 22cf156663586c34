//! A request's body, from the client's connection to whoever wants it.

use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http_body::Frame;

use super::head::{Fault, bad};
use super::link::Link;
use crate::accept::socket::Socket;
use crate::body::BoxError;
use crate::body::handover::{self, Giver, Want};
use crate::body::http1::content::{Content, ContentError, Step};
use crate::body::request::Source;
use crate::policy::hop;

/// How often is read at most what nobody wants, so that its connection can be used again.
const WASTED_READS: usize = 8;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A body that has not come to its end.
pub(super) struct Intake {
    giver: Giver,
    content: Content,
    /// The client waits for our word before it sends anything. RFC 9110 §10.1.1.
    awaits_continue: bool,
}

/// How reading came to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the end.
    Whole,
    /// Within: what follows on the connection is of no use.
    Broken,
    /// Nobody wants the rest.
    Unwanted,
}

impl Intake {
    /// Begins to take in a body, with what came together with its head: that is judged with it. `None`: all of it was there.
    ///
    /// # Errors
    /// What came is no body.
    pub(super) fn begin<I: Socket>(
        content: Content,
        expects_continue: bool,
        link: &mut Link<I>,
    ) -> Result<(Source, Option<Self>), Fault> {
        if content.is_end() {
            return Ok((Source::Empty, None));
        }
        let (giver, taker) = handover::between(content.exact());
        let awaits_continue = expects_continue && link.input.is_empty();
        let mut intake = Self { giver, content, awaits_continue };
        let is_whole = intake.take(link).map_err(|error| match error {
            ContentError::Chunks(reason) => bad(reason),
            ContentError::Connection(_) | ContentError::Ended => bad("the body of the request is malformed"),
        })?;
        Ok((Source::Connection(taker), (!is_whole).then_some(intake)))
    }

    /// Whether the client sends nothing before it has our word, and has not got it.
    pub(super) fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    /// Whether nobody will take any more of it.
    pub(super) fn is_unwanted(&self) -> bool {
        self.giver.is_left()
    }

    /// Takes in as much as is wanted. `may_continue`: the head of the final answer has not gone out.
    pub(super) fn poll<I: Socket>(
        &mut self,
        link: &mut Link<I>,
        may_continue: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Stop> {
        loop {
            match self.take(link) {
                Ok(true) => return Poll::Ready(Stop::Whole),
                Ok(false) => {}
                Err(error) => return Poll::Ready(self.break_off(error.into())),
            }
            if ready!(self.giver.poll_wanted(cx)) == Want::Nothing {
                return Poll::Ready(Stop::Unwanted);
            }
            if self.awaits_continue && may_continue {
                self.awaits_continue = false;
                link.out.head().extend_from_slice(CONTINUE);
            }
            match ready!(link.poll_more(cx, self.content.at_most())) {
                Ok(1..) => self.awaits_continue = false,
                Ok(0) => return Poll::Ready(self.break_off(ContentError::Ended.into())),
                Err(error) => return Poll::Ready(self.break_off(error.into())),
            }
        }
    }

    /// Throws away what has come of a body that nobody wants. Whether that was all of it.
    pub(super) fn drain<I: Socket>(&mut self, link: &mut Link<I>, cx: &mut Context<'_>) -> bool {
        let mut reads = 0;
        loop {
            match self.content.step(&mut link.input) {
                Ok(Step::Data(_) | Step::Trailers(_)) => {}
                Ok(Step::End) => return true,
                Ok(Step::More) if reads < WASTED_READS && !self.awaits_continue => {
                    reads += 1;
                    if !matches!(link.poll_more(cx, None), Poll::Ready(Ok(1..))) {
                        return false;
                    }
                }
                Ok(Step::More) | Err(_) => return false,
            }
        }
    }

    /// Hands over all that is there of it; whether that was the end.
    fn take<I: Socket>(&mut self, link: &mut Link<I>) -> Result<bool, ContentError> {
        loop {
            match self.content.step(&mut link.input)? {
                Step::Data(data) => self.giver.give(Frame::data(data)),
                Step::Trailers(trailers) => {
                    check(&trailers)?;
                    self.giver.give(Frame::trailers(trailers));
                }
                Step::End => {}
                Step::More => return Ok(false),
            }
            if self.content.is_end() {
                self.giver.end(Ok(()));
                return Ok(true);
            }
        }
    }

    fn break_off(&mut self, error: BoxError) -> Stop {
        self.giver.end(Err(error));
        Stop::Broken
    }
}

/// RFC 9110 §6.5.1: what a recipient had to know before the body cannot come after it.
fn check(trailers: &HeaderMap) -> Result<(), ContentError> {
    if trailers.keys().all(hop::may_trail) {
        Ok(())
    } else {
        Err(ContentError::Chunks("a field that may not follow the body"))
    }
}
