//! The body of a client's request: bounded in size, and in the time between two pieces.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::BoxError;

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
    Broken(#[source] hyper::Error),
}

/// A client's request body.
#[derive(Debug)]
pub struct RequestBody {
    inner: Option<Incoming>,
    limit: u64,
    taken: u64,
    idle: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// No body at all.
    pub fn empty() -> Self {
        Self { inner: None, limit: 0, taken: 0, idle: Duration::MAX, deadline: None }
    }

    /// The body of a request: at most `limit` bytes, at most `idle` between two pieces.
    pub fn new(inner: Incoming, limit: u64, idle: Duration) -> Self {
        let inner = (!inner.is_end_stream()).then_some(inner);
        Self { inner, limit, taken: 0, idle, deadline: None }
    }

    /// Whether there is nothing to read, and never was.
    pub fn is_empty(&self) -> bool {
        self.inner.is_none()
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
        let Some(inner) = this.inner.as_mut() else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
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
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
