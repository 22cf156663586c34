//! How much does a connection send before the others have their turn?
//!
//! The socket of a client that takes what it is sent as fast as we send it is always ready for more, and the runtime counts
//! calls, not bytes: with a body out of memory such a client would keep the thread for some tens of milliseconds at a time.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::task::yield_now;

/// Bytes after which the others have their turn. That takes a tenth of a millisecond.
pub(super) const SHARE: usize = 512 << 10;

/// What a connection has sent since the others had their turn.
#[derive(Debug, Default)]
pub(super) struct Share(usize);

impl Share {
    /// Counts bytes that were sent.
    pub(super) fn count(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes);
    }

    /// Whether it is still this connection's turn. If not, it goes on when those have had theirs who are ready, or become so
    /// meanwhile.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 < SHARE {
            return Poll::Ready(());
        }
        self.0 = 0;
        // To wake oneself at once would be to come before those whose requests have not been looked at.
        let _ = pin!(yield_now()).poll(cx);
        Poll::Pending
    }
}
