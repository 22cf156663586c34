//! The body of an answer, as it comes in: watched for stalls and breaks, and for the end that frees its connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::address::UnderWay;
use super::error::{AnswerBodyError, ErrorKind, Peer};
use super::pool::{Connection, Pool};
use crate::body::BoxError;
use crate::policy::hop;

/// The body of an answer from an origin.
///
/// Ends without an error only when all of it came: the stated length, the last chunk, or (where neither is stated) a
/// connection that was closed cleanly, for TLS with its notice. Errors are [`AnswerBodyError`]s. Dropped before its
/// end, it closes its connection.
#[derive(Default)]
pub struct OriginBody(Source);

#[derive(Default)]
enum Source {
    /// It is over.
    #[default]
    Over,
    /// All of it came with the head.
    Whole(Bytes),
    /// It is coming in. Boxed: most came with their heads, and would carry the room for it from hand to hand.
    Streaming(Box<Streaming>),
}

struct Streaming {
    lease: Lease,
    /// Since when the next piece is waited for: most are there when they are asked for.
    since: Option<Instant>,
}

/// A connection in use, with everything that ends when the use ends.
pub(super) struct Lease {
    pub(super) connection: Box<Connection>,
    pub(super) under_way: UnderWay,
    pub(super) pool: Arc<Pool>,
    /// For how long the connection may be kept idle; `None`: not at all.
    pub(super) keep: Option<Duration>,
    /// `between_bytes_timeout`.
    pub(super) limit: Duration,
    /// The origin did not refuse the request: if it has answered before it has all of it, it gets the rest.
    pub(super) is_wanted: bool,
}

impl Lease {
    /// The answer is complete: the connection is kept for the next request, or closed. Before that, what is left of the
    /// request is sent, unless the origin has refused it or ends the connection.
    fn finish(self) {
        if self.is_wanted && self.keep.is_some() && self.connection.http.is_sending() {
            tokio::spawn(self.send_rest());
        } else {
            self.release();
        }
    }

    /// Sends the rest of the request; how long that may take is said by the same rule as before the answer.
    async fn send_rest(mut self) {
        let mut from = Instant::now();
        let is_sent = poll_fn(|cx| match self.connection.http.poll_sent(cx) {
            Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
            Poll::Pending => self.connection.poll_overdue(&mut from, self.limit, cx).map(|()| false),
        });
        if is_sent.await {
            self.release();
        }
    }

    /// Keeps the connection, or closes it where something came that nobody asked for, or the request did not go out whole.
    fn release(self) {
        let Self { mut connection, under_way, pool, keep, .. } = self;
        if let Some(keep) = keep
            && connection.http.is_at_rest()
            && !pool.is_closed()
        {
            connection.is_reused = true;
            connection.http.rest();
            // Given back only once the connection can be found: whoever waits for the permit looks for it.
            let permit = connection.permit.take();
            under_way.address().keep_idle(connection, keep, &pool.metrics);
            drop(permit);
        }
    }

    fn peer(&self) -> Peer {
        Peer { origin: Arc::clone(&self.pool.origin), address: self.under_way.address().socket }
    }
}

impl OriginBody {
    /// The body that comes over the connection of `lease`.
    pub(super) fn new(mut lease: Lease) -> Self {
        let whole = lease.connection.http.take_whole();
        if whole.is_none() && !lease.connection.http.content().is_end() {
            return Self(Source::Streaming(Box::new(Streaming { lease, since: None })));
        }
        lease.finish();
        Self(whole.filter(|whole| !whole.is_empty()).map_or(Source::Over, Source::Whole))
    }

    /// The whole of it, where it came with the head; otherwise the body as it was.
    ///
    /// # Errors
    ///
    /// It is coming in still.
    pub fn into_whole(self) -> Result<Bytes, Self> {
        match self.0 {
            Source::Over => Ok(Bytes::new()),
            Source::Whole(bytes) => Ok(bytes),
            Source::Streaming(_) => Err(self),
        }
    }

    fn complete(&mut self) {
        if let Source::Streaming(streaming) = std::mem::take(&mut self.0) {
            streaming.lease.finish();
        }
    }

    /// Reports why the body ends here, and closes the connection.
    fn fail(&mut self, error: AnswerBodyError) -> Option<Result<Frame<Bytes>, BoxError>> {
        let Source::Streaming(streaming) = std::mem::take(&mut self.0) else { return None };
        let lease = streaming.lease;
        let kind = match error {
            AnswerBodyError::Cut { .. } => ErrorKind::BodyCut,
            AnswerBodyError::Stalled { .. } => ErrorKind::BodyStalled,
        };
        lease.pool.metrics.errors(kind).inc();
        Some(Err(error.into()))
    }
}

impl Streaming {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnswerBodyError>>> {
        if let Poll::Ready(frame) = self.lease.connection.http.poll_frame(cx) {
            self.since = None;
            let peer = || self.lease.peer();
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|source| AnswerBodyError::Cut { peer: peer(), source })),
            );
        }
        let limit = self.lease.limit;
        let since = self.since.get_or_insert_with(Instant::now);
        let overdue = self.lease.connection.poll_overdue(since, limit, cx);
        overdue.map(|()| Some(Err(AnswerBodyError::Stalled { peer: self.lease.peer(), limit })))
    }

    fn is_end(&self) -> bool {
        self.lease.connection.http.content().is_end()
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let streaming = match &mut self.0 {
            Source::Over => return Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Source::Over;
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            Source::Streaming(streaming) => streaming,
        };
        let frame = match streaming.poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                // With a stated length nobody asks again after the last piece.
                if frame.is_trailers() || streaming.is_end() {
                    self.complete();
                }
                Some(Ok(clean(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(error),
            Poll::Ready(None) => {
                self.complete();
                None
            }
        };
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Source::Over)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Over => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Streaming(streaming) => {
                streaming.lease.connection.http.content().exact().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

/// Trailers lose what must not stand there. RFC 9110 §6.5.1.
pub(super) fn clean(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => {
            let mut kept = HeaderMap::with_capacity(trailers.len());
            for (name, value) in &trailers {
                if hop::may_trail(name) {
                    kept.append(name, value.clone());
                }
            }
            Frame::trailers(kept)
        }
        Err(frame) => frame,
    }
}

impl std::fmt::Debug for OriginBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OriginBody").field("is_end_stream", &self.is_end_stream()).finish_non_exhaustive()
    }
}
