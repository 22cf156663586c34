//! A request on its way out: its head, and its body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Frame;
use tokio::io::AsyncWrite;

use crate::body::BoxError;
use crate::body::http1::outgoing::{Framing, Outgoing, WrongLength};
use crate::origin::connect::Stream;
use crate::origin::upload::{Turn, Upload};

/// Why a request cannot be sent on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection takes nothing more.
    Connection(io::Error),
    /// The body broke off, or is not as long as was said.
    Upload(BoxError),
}

impl From<WrongLength> for Trouble {
    fn from(error: WrongLength) -> Self {
        Self::Upload(error.into())
    }
}

/// A request on its way out.
#[derive(Debug, Default)]
pub(super) struct Sending {
    out: Outgoing,
    /// It may be left to the thread's batch.
    may_wait: bool,
    /// Nobody has begun to send it.
    is_fresh: bool,
    /// Something has gone out, ever.
    has_begun: bool,
    /// What has gone out may be held by TLS.
    is_unflushed: bool,
    /// The body, as long as there may be more of it.
    upload: Option<Upload>,
    is_upload_over: bool,
}

impl Sending {
    pub(super) fn new(head: Vec<u8>, framing: Framing, upload: Option<Upload>, may_wait: bool) -> Self {
        let out = Outgoing::new(head, framing);
        let may_wait = may_wait && upload.is_none();
        Self { out, may_wait, is_fresh: true, is_upload_over: upload.is_none(), upload, ..Self::default() }
    }

    /// Whether the connection has taken anything.
    pub(super) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether all of it has gone out.
    pub(super) fn is_finished(&self) -> bool {
        self.is_upload_over && !self.is_unflushed && self.out.left() == 0
    }

    pub(super) fn turn(&self) -> Option<Turn> {
        self.upload.as_ref().map(Upload::turn)
    }

    /// The body, for another try. Nothing more is sent.
    pub(super) fn take_upload(&mut self) -> Option<Upload> {
        self.is_upload_over = true;
        self.upload.take()
    }

    /// Sends until all has gone out.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        loop {
            // The first piece goes with the head, where it is there; the others when all before them is out.
            let is_due = std::mem::take(&mut self.is_fresh) || self.out.left() == 0;
            let is_waiting = is_due && !self.is_upload_over && self.poll_upload(cx)?.is_pending();
            ready!(self.poll_out(stream, cx)).map_err(Trouble::Connection)?;
            if self.is_upload_over {
                return Poll::Ready(Ok(()));
            }
            if is_waiting {
                return Poll::Pending;
            }
        }
    }

    /// Sends what is at hand.
    fn poll_out(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { out, may_wait, has_begun, is_unflushed, .. } = self;
        ready!(out.poll_out(cx, |cx, slices| {
            let written = ready!(match slices {
                [only] if *may_wait && stream.leave(cx, only) => Poll::Ready(Ok(only.len())),
                [only] => Pin::new(&mut *stream).poll_write(cx, only),
                slices => Pin::new(&mut *stream).poll_write_vectored(cx, slices),
            })?;
            (*has_begun, *is_unflushed) = (true, true);
            Poll::Ready(Ok(written))
        }))?;
        if *is_unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            *is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the body. Nothing of the one before may be left.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Trouble> {
        let Some(upload) = &mut self.upload else { return Ok(Poll::Ready(())) };
        let Poll::Ready(frame) = upload.poll_frame(cx) else { return Ok(Poll::Pending) };
        self.is_upload_over = upload.is_finished();
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => self.out.frame(data, self.is_upload_over)?,
            Some(Ok(Err(frame))) => self.out.end(frame.trailers_ref())?,
            Some(Err(error)) => return Err(Trouble::Upload(error)),
            None => self.out.end(None)?,
        }
        Ok(Poll::Ready(()))
    }
}
