//! A body that one fill writes and many clients read while it grows.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::BoxError;

/// One client's place in a growing body.
pub struct Reader;

impl Reader {
    /// The next piece.
    pub fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(None)
    }

    /// What is known of the size.
    pub fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
