//! The body of a response to a client: whatever its source, counted and watched to its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::BoxError;
use super::shared::Reader;
use super::stored::Cursor;

/// Where the bytes come from.
pub enum Source {
    /// Nothing to send.
    Empty,
    /// All of it, at hand.
    Full(Bytes),
    /// A stored body, or pieces of it. Boxed, as the next one: the common ones are small.
    Stored(Box<Cursor>),
    /// A body that a fill is still writing.
    Shared(Box<Reader>),
    /// A body that passes through.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
}

/// How a response's transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of it was handed to the connection.
    Complete,
    /// The source failed.
    Failed,
    /// The client left before the end.
    Abandoned,
}

/// Is told once when a response's transfer ends.
pub trait Observer: Send {
    /// `bytes` of body went out, and `end` says how it ended.
    fn ended(self: Box<Self>, bytes: u64, end: End);
}

/// A response to a client. In a box: it goes through many hands.
pub type BoxResponse = Box<Response<ResponseBody>>;

/// A response of these parts.
pub fn response(status: StatusCode, headers: HeaderMap, body: ResponseBody) -> BoxResponse {
    let mut response = Box::new(Response::new(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// A response's body.
pub struct ResponseBody {
    source: Source,
    sent: u64,
    /// What broke the body off, once what came before it has had its turn to be sent.
    broken: Option<BoxError>,
    observer: Option<Box<dyn Observer>>,
}

impl ResponseBody {
    /// A body from `source`, unobserved.
    pub fn new(source: Source) -> Self {
        Self { source, sent: 0, broken: None, observer: None }
    }

    /// No body.
    pub fn empty() -> Self {
        Self::new(Source::Empty)
    }

    /// A body at hand.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::new(Source::Full(bytes.into()))
    }

    /// A body that passes through.
    pub fn stream(body: impl Body<Data = Bytes, Error = BoxError> + Send + 'static) -> Self {
        Self::new(Source::Stream(Box::pin(body)))
    }

    /// Has `observer` told when the transfer ends.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observer = Some(observer);
    }

    fn finish(&mut self, end: End) {
        if let Some(observer) = self.observer.take() {
            observer.ended(self.sent, end);
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Source::Stored(cursor) => Poll::Ready(cursor.next_piece().map(|piece| Ok(Frame::data(piece)))),
            Source::Shared(reader) => reader.poll_frame(cx),
            Source::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match self.broken.take() {
            Some(error) => Some(Err(error)),
            None => match ready!(self.poll_source(cx)) {
                // A connection that meets an error ends without sending what it still holds. It is given a turn to
                // send: a client that has seen the head and a part knows what broke off.
                Some(Err(error)) => {
                    self.broken = Some(error);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                frame => frame,
            },
        };
        match &frame {
            Some(Ok(frame)) => {
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                // The connection does not poll again once it knows the end.
                if self.is_end_stream() {
                    self.finish(End::Complete);
                }
            }
            Some(Err(_)) => self.finish(End::Failed),
            None => self.finish(End::Complete),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Full(bytes) => bytes.is_empty(),
            Source::Stored(cursor) => cursor.remaining() == 0,
            Source::Shared(reader) => reader.is_end(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Stored(cursor) => SizeHint::with_exact(cursor.remaining()),
            Source::Shared(reader) => reader.size_hint(),
            Source::Stream(body) => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A HEAD's body, or an empty one, is dropped unread; that is a complete transfer.
        let end = if self.is_end_stream() { End::Complete } else { End::Abandoned };
        self.finish(end);
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("sent", &self.sent).finish_non_exhaustive()
    }
}
