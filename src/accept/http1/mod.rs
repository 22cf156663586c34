//! HTTP/1 as a server speaks it: a request comes in, its answer goes out, and then the next. (RFC 9112)
//!
//! Nothing is read twice and nothing runs by itself: a head is understood where it was read, answered there if it is a plain
//! hit, and handed over otherwise; a body is read when it is wanted. A library between the socket and us would read each
//! head again, more kindly than a proxy may, and hold its buffers while nothing is asked.
//!
//! - `wire`: the socket, counted and watched, and its end. `link`: the same with what has come and what is to go out.
//! - `head`: a request's head. `intake`: its body.
//! - `exchange`: one request under way. `answer`: the head of its answer.

mod answer;
mod exchange;
mod head;
mod intake;
mod link;
mod wire;

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use http::header::UPGRADE;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::sync::oneshot;

use self::answer::Manner;
use self::exchange::{Broken, Exchange, Next, Stage};
use self::head::{Fault, Head, Lines};
use self::intake::Intake;
use self::link::{GATHERED, Link, READ_BYTES};
use self::wire::Wire;
use super::express::{Express, MAX_FIELDS, Question, is_close};
use super::meter::Meter;
use super::pulse::Pulse;
use super::reception::Reception;
use super::socket::Socket;
use super::{Handler, refusal};
use crate::body::upgrade::{Upgraded, Upgrader};

/// The largest body of a hit that is sent from where it was asked for: it fits into what the kernel takes at once, or nearly.
const MOST_BODY: usize = 128 << 10;

/// Requests that are taken in one after the other before others get a turn.
const AT_ONCE: usize = 32;

/// A client's connection: one request after the other, to its end or to another protocol.
pub(crate) struct Connection<I: Socket, H: Handler> {
    link: Link<I>,
    express: Express<H>,
    reception: Reception<H>,
    pulse: Arc<Pulse>,
    /// Bytes of a head.
    limit: usize,
    phase: Phase<H::Answer>,
    /// What has come of the next head was looked at: it is not all there.
    is_partial: bool,
    /// The next request is the last one.
    is_ending: bool,
    /// There is no next request.
    is_over: bool,
}

enum Phase<A> {
    /// Waits for a request.
    Waiting,
    /// One is under way.
    Asked(Begun<A>),
    /// Nothing more is said.
    Ending,
}

/// One request under way. Boxed: most connections wait, and would carry the room for it.
type Begun<A> = Box<Exchange<A>>;

/// What the handler and its neighbours are to one connection.
pub(crate) struct Staff<H> {
    pub(crate) express: Express<H>,
    pub(crate) reception: Reception<H>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) meter: Meter,
}

impl<I: Socket, H: Handler> Connection<I, H> {
    /// A connection of whose first bytes some were read already. Heads have at most `limit` bytes.
    pub(crate) fn new(socket: I, first: BytesMut, staff: Staff<H>, limit: usize) -> Self {
        let Staff { express, reception, pulse, meter } = staff;
        let link = Link::new(Wire::new(socket, Arc::clone(&pulse), meter), first);
        let phase = Phase::Waiting;
        Self { link, express, reception, pulse, limit, phase, is_partial: false, is_ending: false, is_over: false }
    }

    /// No further request is wanted but one that has come, at least in part.
    pub(crate) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Gives the connection to who speaks another protocol on it from now on.
    pub(crate) fn hand_over(self, upgrader: Upgrader)
    where
        I: Send + Sync + 'static,
    {
        let Link { wire, input, .. } = self.link;
        // Where nobody waits for it, that is its end.
        let _ = upgrader.send(Upgraded { first: input.freeze(), stream: Box::new(wire) });
    }

    /// Waits for a request that cannot be answered at once. `None`: no other one comes.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Begun<H::Answer>>, Broken>> {
        let mut count = 0;
        loop {
            // A client that does not take its answers is not listened to.
            ready!(self.link.poll_out(cx))?;
            if self.is_over {
                return Poll::Ready(Ok(None));
            }
            if count >= AT_ONCE {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // On the stack: a client that is silent costs no buffer.
            let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let mut kept = std::mem::take(&mut self.link.input);
            if kept.is_empty() || self.is_partial {
                if kept.is_empty() && self.is_ending {
                    return Poll::Ready(Ok(None));
                }
                if Pin::new(&mut self.link.wire).poll_read(cx, &mut buffer)?.is_pending() {
                    self.link.rest(kept);
                    return Poll::Pending;
                }
                let read = buffer.filled();
                if read.is_empty() {
                    return Poll::Ready(Ok(None));
                }
                if !kept.is_empty() {
                    kept.extend_from_slice(read);
                    // A head that comes byte by byte is not looked at for each of them.
                    if memchr::memchr(b'\n', read).is_none() && kept.len() <= self.limit {
                        self.link.input = kept;
                        continue;
                    }
                }
            }
            let mut left = if kept.is_empty() { buffer.filled() } else { &kept[..] };
            let head = self.take_in(&mut left, &mut count);
            if kept.is_empty() {
                self.link.input.extend_from_slice(left);
            } else {
                let taken = kept.len() - left.len();
                kept.advance(taken);
                self.link.input = kept;
            }
            if let Some(exchange) = head.and_then(|head| self.begin(head)) {
                return Poll::Ready(Ok(Some(exchange)));
            }
        }
    }

    /// Answers the plain hits that `bytes` begin with, up to a request that is none; takes them off `bytes`.
    fn take_in(&mut self, bytes: &mut &[u8], count: &mut usize) -> Option<Head> {
        self.is_partial = false;
        while !bytes.is_empty() && !self.is_over && *count < AT_ONCE {
            if self.link.out.has_piece() || self.link.out.left() >= GATHERED {
                return None;
            }
            if *bytes == b"\r\n" {
                // Some clients send one behind a body. It begins nothing.
                *bytes = b"";
                return None;
            }
            *count += 1;
            let mut room = head::room();
            let lines = match head::read(bytes, &mut room, self.limit) {
                Ok(Some(lines)) => lines,
                Ok(None) => {
                    self.pulse.head_bytes_came();
                    self.is_partial = true;
                    return None;
                }
                Err(fault) => {
                    self.refuse(fault);
                    return None;
                }
            };
            let received = Instant::now();
            let behind = &bytes[lines.bytes.len()..];
            if !self.answer_at_once(&lines, received) {
                return match Head::of(&lines, received) {
                    Ok(head) => {
                        *bytes = behind;
                        Some(head)
                    }
                    Err(fault) => {
                        self.refuse(fault);
                        None
                    }
                };
            }
            *bytes = behind;
        }
        None
    }

    /// Answers a request out of memory, if it is plain and there is an answer to it.
    fn answer_at_once(&mut self, lines: &Lines<'_>, received: Instant) -> bool {
        let &Lines { method, target, is_current, fields, bytes } = lines;
        // Before anything else is asked.
        if method != "GET" || !target.starts_with('/') || !is_current || fields.len() > MAX_FIELDS {
            return false;
        }
        let mut hosts = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let question = Question {
            host: host.value,
            target,
            fields,
            length: bytes.len(),
            received,
            room: MOST_BODY,
            is_last: self.is_ending || fields.iter().any(is_close),
            takes_trailers: false,
        };
        let Some(body) = self.express.answer(&question, self.link.out.head()) else { return false };
        self.link.out.whole(body);
        self.pulse.answered_at_once();
        self.is_over = question.is_last;
        true
    }

    /// Begins to answer any other request. `None`: it is refused.
    fn begin(&mut self, head: Head) -> Option<Begun<H::Answer>> {
        let manner = Manner::of(&head);
        let Head { parts, content, expects_continue, received, .. } = head;
        let (source, intake) =
            Intake::begin(content, expects_continue, &mut self.link).map_err(|fault| self.refuse(fault)).ok()?;
        let (upgrader, upgrade) = if manner.is_current && parts.headers.contains_key(UPGRADE) {
            let (upgrader, upgrade) = oneshot::channel();
            (Some(upgrader), Some(upgrade))
        } else {
            (None, None)
        };
        let answering = self.reception.receive(parts, source, upgrade, received);
        Some(Box::new(Exchange { stage: Stage::Working(answering), intake, manner, upgrader }))
    }

    /// Answers what is no request, and ends the connection: nobody knows where the next one would begin.
    fn refuse(&mut self, fault: Fault) {
        self.pulse.expect_surplus();
        self.pulse.telemetry().metrics().malformed_heads.inc();
        self.link.out.head().extend_from_slice(&refusal::malformed(fault.status, fault.reason));
        self.is_over = true;
    }
}

impl<I: Socket, H: Handler> Future for Connection<I, H> {
    /// Whom the connection is to be handed over to, if it has not ended.
    type Output = Result<Option<Upgrader>, Broken>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            this.phase = match &mut this.phase {
                Phase::Waiting => match ready!(this.poll_request(cx))? {
                    Some(exchange) => Phase::Asked(exchange),
                    None => Phase::Ending,
                },
                Phase::Asked(exchange) => {
                    match ready!(exchange.poll(&mut this.link, &this.pulse, this.is_ending, cx))? {
                        Next::Request => Phase::Waiting,
                        Next::End => Phase::Ending,
                        Next::Tunnel(upgrader) => return Poll::Ready(Ok(Some(upgrader))),
                    }
                }
                Phase::Ending => {
                    if !this.link.input.is_empty() {
                        // What the client sends behind its last request is not answered, and not in the way of that answer.
                        this.pulse.expect_surplus();
                    }
                    ready!(this.link.wire.poll_end(cx))?;
                    return Poll::Ready(Ok(None));
                }
            };
        }
    }
}
