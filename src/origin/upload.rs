//! A request's body on its way to an origin: can it be sent again, who is it waiting for, why did it break?
//!
//! The body is shared with whoever sent the request: should a connection fail before any of it was read, the next
//! try sends the same body.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::stream;
use crate::body::BoxError;
use crate::body::request::RequestBody;

/// A body that is to be sent, once.
#[derive(Debug)]
pub(super) struct Upload(Mutex<State>);

#[derive(Debug)]
struct State {
    body: RequestBody,
    /// The number of the last try; readers of earlier ones get nothing more.
    attempt: u32,
    stage: Stage,
    /// When the stage was entered, or the last piece was taken.
    since: Instant,
    error: Option<BoxError>,
}

/// Where the sending of a body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was read.
    Fresh,
    /// The last piece was handed to the connection.
    Flowing,
    /// The client has sent nothing new.
    WaitingForClient,
    /// All was handed to the connection.
    Finished,
    /// It broke off.
    Failed,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The client must send more; its own deadline runs.
    Client,
    /// The origin must take more, or answer, since then.
    Origin(Instant),
}

impl Upload {
    /// A body of which nothing was sent yet.
    pub(super) fn new(body: RequestBody) -> Self {
        let since = Instant::now();
        Self(Mutex::new(State { body, attempt: 0, stage: Stage::Fresh, since, error: None }))
    }

    /// A reader for a new try; the readers of earlier tries fail from now on.
    pub(super) fn read(self: &Arc<Self>) -> UploadReader {
        let mut state = self.state();
        state.attempt += 1;
        UploadReader { upload: Some(Arc::clone(self)), attempt: state.attempt }
    }

    /// Whether any of it was read, or it broke: it cannot be sent again.
    pub(super) fn is_begun(&self) -> bool {
        let state = self.state();
        state.body.is_begun() || matches!(state.stage, Stage::Finished | Stage::Failed)
    }

    /// Whether all of it was handed to the connection.
    pub(super) fn is_finished(&self) -> bool {
        self.state().stage == Stage::Finished
    }

    /// Whose turn it is.
    pub(super) fn turn(&self) -> Turn {
        let state = self.state();
        match state.stage {
            Stage::WaitingForClient => Turn::Client,
            Stage::Fresh | Stage::Flowing | Stage::Finished | Stage::Failed => Turn::Origin(state.since),
        }
    }

    /// Why the body broke off, if it did; said once.
    pub(super) fn take_error(&self) -> Option<BoxError> {
        self.state().error.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the connection reads; without an upload, an empty body.
#[derive(Debug, Default)]
pub(super) struct UploadReader {
    upload: Option<Arc<Upload>>,
    attempt: u32,
}

/// What the connection is told when the body breaks off; the cause stays with the upload.
#[derive(Debug, thiserror::Error)]
#[error("the request's body broke off")]
pub(super) struct Broken;

impl Body for UploadReader {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(upload) = &self.upload else { return Poll::Ready(None) };
        let mut state = upload.state();
        if state.attempt != self.attempt || state.stage == Stage::Failed {
            return Poll::Ready(Some(Err(Broken)));
        }
        let before = std::mem::replace(&mut state.stage, Stage::WaitingForClient);
        if before != Stage::WaitingForClient {
            state.since = Instant::now();
        }
        let frame = ready!(Pin::new(&mut state.body).poll_frame(cx));
        state.since = Instant::now();
        let (reached, frame) = match frame {
            Some(Ok(frame)) if state.body.is_end_stream() || frame.is_trailers() => (Stage::Finished, Some(Ok(frame))),
            Some(Ok(frame)) => (Stage::Flowing, Some(Ok(frame))),
            None => (Stage::Finished, None),
            Some(Err(error)) => {
                state.error = Some(error);
                (Stage::Failed, Some(Err(Broken)))
            }
        };
        state.stage = reached;
        Poll::Ready(frame.map(|frame| frame.map(stream::clean)))
    }

    fn is_end_stream(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.state().body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.as_ref().map_or_else(|| SizeHint::with_exact(0), |upload| upload.state().body.size_hint())
    }
}
