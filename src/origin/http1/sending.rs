//! A request on its way out: its head, and its body piece by piece.

use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::io::AsyncWrite;

use crate::body::BoxError;
use crate::origin::connect::Stream;
use crate::origin::upload::{Turn, Upload};

/// How an origin is told where a request's body ends. RFC 9112 §6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::origin) enum Framing {
    /// There is none.
    #[default]
    None,
    /// It has so many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Why a request cannot be sent on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection takes nothing more.
    Connection(io::Error),
    /// The body broke off, or is not as long as was said.
    Upload(BoxError),
}

/// A request on its way out.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The head; later what frames the next piece.
    before: Vec<u8>,
    /// A piece of the body.
    piece: Bytes,
    /// What frames it from behind.
    behind: &'static [u8],
    /// How much of the three has gone out.
    sent: usize,
    /// Something has gone out, ever.
    has_begun: bool,
    /// What has gone out may be held by TLS.
    is_unflushed: bool,
    framing: Framing,
    /// The body, as long as there may be more of it.
    upload: Option<Upload>,
    is_upload_over: bool,
}

impl Sending {
    pub(super) fn new(head: Vec<u8>, framing: Framing, upload: Option<Upload>) -> Self {
        Self { before: head, framing, is_upload_over: upload.is_none(), upload, ..Self::default() }
    }

    /// Whether the connection has taken anything.
    pub(super) const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether all of it has gone out.
    pub(super) fn is_finished(&self) -> bool {
        self.is_upload_over && !self.is_unflushed && self.left() == 0
    }

    pub(super) fn turn(&self) -> Option<Turn> {
        self.upload.as_ref().map(Upload::turn)
    }

    pub(super) fn take_upload(&mut self) -> Option<Upload> {
        self.upload.take()
    }

    /// Sends until all has gone out.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        loop {
            // The first piece goes with the head, where it is there.
            let is_waiting = !self.is_upload_over && self.piece.is_empty() && self.poll_upload(cx)?.is_pending();
            while self.left() > 0 {
                let written = ready!(self.poll_write(stream, cx)).map_err(Trouble::Connection)?;
                self.wrote(written);
            }
            if self.is_unflushed {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(Trouble::Connection)?;
                self.is_unflushed = false;
            }
            if self.is_upload_over {
                return Poll::Ready(Ok(()));
            }
            if is_waiting {
                return Poll::Pending;
            }
        }
    }

    fn left(&self) -> usize {
        self.before.len() + self.piece.len() + self.behind.len() - self.sent
    }

    fn poll_write(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        let mut slices = [IoSlice::new(&self.before), IoSlice::new(&self.piece), IoSlice::new(self.behind)];
        let mut slices = &mut slices[..];
        IoSlice::advance_slices(&mut slices, self.sent);
        match slices {
            [only] | [only, ..] if self.piece.is_empty() && self.behind.is_empty() => stream.poll_write(cx, only),
            slices => stream.poll_write_vectored(cx, slices),
        }
    }

    fn wrote(&mut self, bytes: usize) {
        self.has_begun = true;
        self.is_unflushed = true;
        self.sent += bytes;
        if self.left() == 0 {
            self.before.clear();
            (self.piece, self.behind, self.sent) = (Bytes::new(), b"", 0);
        }
    }

    /// Takes the next piece of the body. Nothing of the one before may be left.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Trouble> {
        let Some(upload) = &mut self.upload else { return Ok(Poll::Ready(())) };
        let Poll::Ready(frame) = upload.poll_frame(cx) else { return Ok(Poll::Pending) };
        self.is_upload_over = upload.is_finished();
        match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => self.frame(data)?,
            Some(Ok(Err(frame))) => self.end(frame.trailers_ref())?,
            Some(Err(error)) => return Err(Trouble::Upload(error)),
            None => self.end(None)?,
        }
        Ok(Poll::Ready(()))
    }

    /// Frames a piece of the body.
    fn frame(&mut self, data: Bytes) -> Result<(), Trouble> {
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or_else(wrong_length)?;
                if self.is_upload_over && *left > 0 {
                    return Err(wrong_length());
                }
            }
            Framing::Chunked => {
                if !data.is_empty() {
                    let _ = write!(self.before, "{:x}\r\n", data.len());
                    self.behind = if self.is_upload_over { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                } else if self.is_upload_over {
                    self.behind = b"0\r\n\r\n";
                }
            }
            Framing::None if data.is_empty() => {}
            Framing::None => return Err(wrong_length()),
        }
        self.piece = data;
        Ok(())
    }

    /// Frames the end of the body, with the fields that follow it.
    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Trouble> {
        match self.framing {
            Framing::Length(1..) => return Err(wrong_length()),
            Framing::Length(0) | Framing::None => {}
            Framing::Chunked => {
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    write_field(&mut self.before, name.as_str(), value.as_bytes());
                }
                self.before.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }
}

fn wrong_length() -> Trouble {
    Trouble::Upload("the request's body is not as long as was said".into())
}

/// Writes one field's line.
pub(in crate::origin) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
