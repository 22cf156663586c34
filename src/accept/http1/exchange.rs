//! One request under way: its body comes in, its answer is made, and goes out.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Response, StatusCode};
use http_body::Body as _;

use super::answer::Manner;
use super::intake::{Intake, Stop};
use super::link::{GATHERED, Link, READ_BYTES};
use crate::accept::pulse::{InFlight, Pulse};
use crate::accept::reception::{Answering, Watched};
use crate::accept::socket::Socket;
use crate::body::BoxError;
use crate::body::http1::outgoing::{Framing, WrongLength};
use crate::body::response::BoxResponse;
use crate::body::upgrade::Upgrader;

/// One request under way.
pub(super) struct Exchange<A> {
    pub(super) stage: Stage<A>,
    /// The request's body, until it has come to its end.
    pub(super) intake: Option<Intake>,
    pub(super) manner: Manner,
    /// Whom the connection is given once it speaks another protocol, where that was asked for.
    pub(super) upgrader: Option<Upgrader>,
}

/// How far it has come.
pub(super) enum Stage<A> {
    /// The answer is being made.
    Working(Answering<A>),
    /// It goes out; whether all of it has been taken from its source.
    Sending(Watched, bool),
    /// It is out. Under way until the request has come whole, too, or nobody wants it.
    Sent(#[expect(dead_code, reason = "counts while it lives")] Option<InFlight>),
}

/// What follows.
#[derive(Debug)]
pub(super) enum Next {
    /// Another request.
    Request,
    /// The end of the connection.
    End,
    /// Another protocol.
    Tunnel(Upgrader),
}

/// Why an exchange broke off: nothing more can be said on its connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The client left before its answer.
    #[error("the client left before its answer was whole")]
    Left,
    /// The socket failed.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The answer's source failed.
    #[error("the answer broke off: {0}")]
    Source(BoxError),
    /// The answer is not what its head says.
    #[error(transparent)]
    Length(#[from] WrongLength),
}

impl<A> Exchange<A>
where
    A: Future<Output = BoxResponse> + Unpin,
{
    /// Goes on. `is_last`: no other request is wanted.
    pub(super) fn poll<I: Socket>(
        &mut self,
        link: &mut Link<I>,
        pulse: &Pulse,
        is_last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Next, Broken>> {
        loop {
            match &mut self.stage {
                Stage::Working(answering) => match Pin::new(answering).poll(cx) {
                    Poll::Ready(Ok::<_, Infallible>(answer)) => self.begin(answer, link, pulse, is_last, cx),
                    Poll::Pending => {
                        // What is said already goes out also to a client that has left meanwhile.
                        poll_interim(link, pulse, cx)?;
                        self.take_in(link, pulse, true, cx)?;
                        // There may be a 100 now.
                        let _ = link.poll_out(cx)?;
                        return Poll::Pending;
                    }
                },
                Stage::Sending(..) => {
                    if self.poll_send(link, cx)?.is_pending() {
                        self.take_in(link, pulse, false, cx)?;
                        return Poll::Pending;
                    }
                    link.wire.set_misleading(false);
                    if let Stage::Sending(answer, _) = std::mem::replace(&mut self.stage, Stage::Sent(None)) {
                        self.stage = Stage::Sent(Some(answer.finish()));
                    }
                }
                Stage::Sent(_) => return self.poll_rest(link, pulse, cx).map(Ok),
            }
        }
    }

    /// Writes the head of the answer, and what is to be said before it.
    fn begin<I: Socket>(
        &mut self,
        answer: Response<Watched>,
        link: &mut Link<I>,
        pulse: &Pulse,
        is_last: bool,
        cx: &mut Context<'_>,
    ) {
        if pulse.outbox.has_mail() {
            link.out.head().extend_from_slice(&pulse.outbox.take());
        }
        // What nobody will read keeps the connection from being used again, if there is more of it than has come.
        if let Some(intake) = &mut self.intake
            && intake.is_unwanted()
            && intake.drain(link, cx)
        {
            self.end_intake(link);
        }
        let is_stuck = self.intake.as_ref().is_some_and(|intake| intake.awaits_continue() || intake.is_unwanted());
        self.manner.keeps &= !is_last && !is_stuck && !link.has_ended;
        let framing = self.manner.write_head(&answer, link.out.head());
        link.out.set_framing(framing);
        link.wire.set_misleading(framing == Framing::UntilClose);
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.upgrader = None;
        }
        self.stage = Stage::Sending(answer.into_body(), framing == Framing::None);
    }

    /// Sends the answer, as far as it is there and the client takes it. Ready: all of it is on its way.
    fn poll_send<I: Socket>(&mut self, link: &mut Link<I>, cx: &mut Context<'_>) -> Result<Poll<()>, Broken> {
        let Stage::Sending(body, is_over) = &mut self.stage else { return Ok(Poll::Ready(())) };
        loop {
            let mut is_waiting = false;
            while !*is_over && !is_waiting && !link.out.has_piece() && link.out.left() < GATHERED {
                match Pin::new(&mut *body).poll_frame(cx).map_err(Broken::Source)? {
                    Poll::Pending => is_waiting = true,
                    Poll::Ready(None) => {
                        *is_over = true;
                        link.out.end(None)?;
                    }
                    Poll::Ready(Some(frame)) => match frame.into_data() {
                        Ok(piece) => {
                            *is_over = body.is_end_stream();
                            link.out.frame(piece, *is_over)?;
                        }
                        Err(frame) => {
                            *is_over = true;
                            link.out.end(frame.trailers_ref().filter(|_| self.manner.takes_trailers))?;
                        }
                    },
                }
            }
            // An end that follows would have to wait for the batch.
            let sent = if self.manner.keeps { link.poll_leave(cx) } else { link.poll_out(cx) };
            if sent?.is_pending() {
                return Ok(Poll::Pending);
            }
            if *is_over {
                return Ok(Poll::Ready(()));
            }
            if is_waiting {
                return Ok(Poll::Pending);
            }
        }
    }

    /// Takes in what the client sends meanwhile: its body, as far as that is wanted, or the beginning of what comes next; or
    /// its leave.
    fn take_in<I: Socket>(
        &mut self,
        link: &mut Link<I>,
        pulse: &Pulse,
        may_continue: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), Broken> {
        if let Some(intake) = &mut self.intake {
            match intake.poll(link, may_continue, cx) {
                Poll::Pending | Poll::Ready(Stop::Unwanted) => return Ok(()),
                Poll::Ready(Stop::Whole) => {}
                Poll::Ready(Stop::Broken) => self.break_off(link, pulse),
            }
            self.end_intake(link);
        }
        // More is not read before its turn comes, and then a leave is not seen.
        if link.input.len() >= READ_BYTES || link.has_ended {
            return Ok(());
        }
        match link.poll_watch(cx)? {
            // What only it wants is not worked on any further.
            Poll::Ready(0) => Err(Broken::Left),
            Poll::Ready(_) | Poll::Pending => Ok(()),
        }
    }

    /// The request's body is done with.
    fn end_intake<I: Socket>(&mut self, link: &mut Link<I>) {
        self.intake = None;
        link.let_go();
    }

    /// The request's body broke off: what follows it is no request.
    fn break_off<I: Socket>(&mut self, link: &mut Link<I>, pulse: &Pulse) {
        pulse.expect_surplus();
        self.upgrader = None;
        self.manner.keeps = false;
        link.has_ended = true;
    }

    /// After the answer: the rest of the request, where somebody still wants it.
    fn poll_rest<I: Socket>(&mut self, link: &mut Link<I>, pulse: &Pulse, cx: &mut Context<'_>) -> Poll<Next> {
        if let Some(intake) = &mut self.intake {
            match ready!(intake.poll(link, false, cx)) {
                Stop::Whole => {}
                Stop::Unwanted if intake.drain(link, cx) => {}
                Stop::Unwanted | Stop::Broken => self.break_off(link, pulse),
            }
            self.end_intake(link);
        }
        Poll::Ready(match self.upgrader.take() {
            Some(upgrader) => Next::Tunnel(upgrader),
            None if self.manner.keeps && !link.has_ended => Next::Request,
            None => Next::End,
        })
    }
}

/// Sends interim answers as they come.
fn poll_interim<I: Socket>(link: &mut Link<I>, pulse: &Pulse, cx: &mut Context<'_>) -> io::Result<()> {
    if pulse.outbox.is_open() {
        pulse.outbox.wake_on_mail(cx.waker());
    }
    loop {
        if pulse.outbox.has_mail() && link.out.left() == 0 {
            link.out.head().extend_from_slice(&pulse.outbox.take());
        }
        if link.poll_out(cx)?.is_pending() || !pulse.outbox.has_mail() {
            return Ok(());
        }
    }
}
