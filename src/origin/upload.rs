//! A request's body on its way to an origin: can it be sent again, who is it waiting for, why did it break?
//!
//! A try takes the body along, and brings it back if it fails: should none of it have been read, the next try sends it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame};

use super::stream;
use crate::body::BoxError;
use crate::body::request::RequestBody;

/// A body that is to be sent, once.
#[derive(Debug)]
pub(super) struct Upload {
    body: RequestBody,
    stage: Stage,
    /// When the stage was entered, or the last piece was taken.
    since: Instant,
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
        Self { body, stage: Stage::Fresh, since: Instant::now() }
    }

    /// Whether any of it was read, or it broke: it cannot be sent again.
    pub(super) fn is_begun(&self) -> bool {
        self.body.is_begun() || matches!(self.stage, Stage::Finished | Stage::Failed)
    }

    /// Whether all of it was handed to the connection.
    pub(super) fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// Whose turn it is.
    pub(super) const fn turn(&self) -> Turn {
        match self.stage {
            Stage::WaitingForClient => Turn::Client,
            Stage::Fresh | Stage::Flowing | Stage::Finished | Stage::Failed => Turn::Origin(self.since),
        }
    }

    /// The next piece for the connection. It may not be asked again after an error.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let before = std::mem::replace(&mut self.stage, Stage::WaitingForClient);
        if before != Stage::WaitingForClient {
            self.since = Instant::now();
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.since = Instant::now();
        self.stage = match &frame {
            Some(Ok(frame)) if self.body.is_end_stream() || frame.is_trailers() => Stage::Finished,
            Some(Ok(_)) => Stage::Flowing,
            None => Stage::Finished,
            Some(Err(_)) => Stage::Failed,
        };
        Poll::Ready(frame.map(|frame| frame.map(stream::clean)))
    }
}
