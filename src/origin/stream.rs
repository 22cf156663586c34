//! The body of an answer, as it comes in: watched for stalls and breaks, and for the end that frees its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::address::UnderWay;
use super::alarm;
use super::error::{AnswerBodyError, ErrorKind, Peer};
use super::pool::{Connection, Pool};
use super::upload::Upload;
use crate::body::BoxError;
use crate::policy::hop;

/// The body of an answer from an origin.
///
/// Ends without an error only when all of it came: the stated length, the last chunk, or (where neither is stated) a
/// connection that was closed cleanly, for TLS with its notice. Errors are [`AnswerBodyError`]s. Dropped before its
/// end, it closes its connection.
#[derive(Default)]
pub struct OriginBody(Option<Streaming>);

struct Streaming {
    incoming: Incoming,
    lease: Lease,
    /// `between_bytes_timeout`.
    limit: Duration,
    /// Until when the next piece has to come, once it is waited for: most are there when they are asked for.
    deadline: Option<Instant>,
}

/// A connection in use, with everything that ends when the use ends.
pub(super) struct Lease {
    pub(super) connection: Connection,
    pub(super) under_way: UnderWay,
    pub(super) pool: Arc<Pool>,
    pub(super) upload: Option<Arc<Upload>>,
    pub(super) peer: Peer,
    /// For how long the connection may be kept idle; `None`: not at all.
    pub(super) keep: Option<Duration>,
}

impl Lease {
    /// The answer is complete: the connection is kept for the next request, or closed.
    pub(super) fn finish(self) {
        let Self { mut connection, under_way, pool, upload, keep, .. } = self;
        // A request that is still being sent would end up before the next one.
        let is_sent = upload.is_none_or(|upload| upload.is_finished());
        if let Some(keep) = keep
            && is_sent
            && !pool.is_closed()
            && !connection.is_closed()
        {
            connection.is_reused = true;
            // Given back only once the connection can be found: whoever waits for the permit looks for it.
            let permit = connection.link.release();
            under_way.address().keep_idle(connection, keep, &pool.metrics);
            drop(permit);
        }
    }
}

impl OriginBody {
    /// The body `incoming`, over the connection of `lease`.
    pub(super) fn new(incoming: Incoming, lease: Lease, limit: Duration) -> Self {
        if incoming.is_end_stream() {
            lease.finish();
            return Self(None);
        }
        Self(Some(Streaming { incoming, lease, limit, deadline: None }))
    }

    fn complete(&mut self) {
        if let Some(streaming) = self.0.take() {
            streaming.lease.finish();
        }
    }

    /// Reports why the body ends here, and closes the connection.
    fn fail(&mut self, error: AnswerBodyError) -> Option<Result<Frame<Bytes>, BoxError>> {
        let lease = self.0.take()?.lease;
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
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            self.deadline = None;
            let peer = || self.lease.peer.clone();
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|source| AnswerBodyError::Cut { peer: peer(), source })),
            );
        }
        let limit = self.limit;
        let deadline = *self.deadline.get_or_insert_with(|| alarm::deadline(Instant::now(), limit));
        let rings = self.lease.connection.alarm.poll_until(deadline, cx);
        rings.map(|()| Some(Err(AnswerBodyError::Stalled { peer: self.lease.peer.clone(), limit })))
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(streaming) = &mut self.0 else { return Poll::Ready(None) };
        let frame = match streaming.poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                // With a stated length nobody asks again after the last piece.
                let is_last = frame.is_trailers() || streaming.incoming.is_end_stream();
                if is_last {
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
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |streaming| streaming.incoming.size_hint())
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
