//! The body of a client's request: bounded in size, and in the time between two pieces.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::BoxError;
use super::handover::Taker;
use super::upgrade::Upgrade;

/// Why a request's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// More came than `server.max_body` allows.
    #[error("the request body is larger than server.max_body ({limit} bytes)")]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The client sent nothing for longer than `server.idle_timeout`.
    #[error("the client sent nothing of its body for {waited:?} (server.idle_timeout)")]
    Stalled {
        /// How long we waited.
        waited: Duration,
    },
    /// The client went away, or its framing is broken.
    #[error("the request body broke off")]
    Broken(#[source] BoxError),
}

/// Where the bytes come from.
#[derive(Debug)]
pub enum Source {
    /// There are none.
    Empty,
    /// A connection that speaks HTTP/1.
    Connection(Taker),
    /// A stream of HTTP/2.
    Stream(Incoming),
}

/// A client's request body.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    upgrade: Option<Upgrade>,
    limit: u64,
    taken: u64,
    idle: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// No body at all.
    pub fn empty() -> Self {
        Self::new(Source::Empty, 0, Duration::MAX)
    }

    /// The body of a request: at most `limit` bytes, at most `idle` between two pieces.
    pub fn new(source: Source, limit: u64, idle: Duration) -> Self {
        Self { source, upgrade: None, limit, taken: 0, idle, deadline: None }
    }

    /// The same of a request that may become another protocol.
    #[must_use]
    pub fn or_upgrade(self, upgrade: Option<Upgrade>) -> Self {
        Self { upgrade, ..self }
    }

    /// What gives the client's connection once it is another protocol's, where it may become that.
    pub fn take_upgrade(&mut self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    /// Whether there is nothing to read, and never was.
    pub fn is_empty(&self) -> bool {
        matches!(self.source, Source::Empty)
    }

    /// Whether a piece of it has been read: such a request cannot be repeated.
    pub fn is_begun(&self) -> bool {
        self.taken > 0
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Empty => return Poll::Ready(None),
            Source::Connection(taker) => taker.poll_frame(cx),
            Source::Stream(stream) => {
                Pin::new(stream).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BoxError::from)))
            }
        };
        let Poll::Ready(frame) = frame else {
            let idle = this.idle;
            let deadline = this.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Some(Err(RequestBodyError::Stalled { waited: idle }.into())));
        };
        this.deadline = None;
        match frame {
            Some(Ok(frame)) => {
                this.taken += frame.data_ref().map_or(0, |data| data.len() as u64);
                if this.taken > this.limit {
                    let limit = this.limit;
                    return Poll::Ready(Some(Err(RequestBodyError::TooLarge { limit }.into())));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(RequestBodyError::Broken(error).into()))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Connection(taker) => taker.is_end_stream(),
            Source::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Connection(taker) => taker.size_hint(),
            Source::Stream(stream) => stream.size_hint(),
        }
    }
}
