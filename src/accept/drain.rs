//! How does a connection learn that no further request is wanted on it?

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tokio_util::sync::CancellationToken;

/// The word to all connections of a listener that they are to end.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    has_begun: AtomicBool,
    begun: CancellationToken,
}

impl Drain {
    /// Tells every connection.
    pub(crate) fn begin(&self) {
        // In this order: whoever is woken sees the flag.
        self.has_begun.store(true, Ordering::Release);
        self.begun.cancel();
    }

    /// Waits for the word.
    pub(crate) async fn begun(&self) {
        self.begun.cancelled().await;
    }

    /// Drives `connection` to its end, and has `end_gracefully` called on it when the word comes.
    ///
    /// The word's own future takes a lock that all connections share: it is polled once to be registered, and again
    /// only after the flag is up.
    pub(crate) async fn steer<C: Future>(
        &self,
        connection: C,
        mut end_gracefully: impl FnMut(Pin<&mut C>),
    ) -> C::Output {
        let mut connection = pin!(connection);
        let mut word = pin!(self.begun.cancelled());
        let (mut is_registered, mut is_told) = (false, false);
        std::future::poll_fn(|cx| {
            if !is_told && (!is_registered || self.has_begun.load(Ordering::Acquire)) {
                is_registered = true;
                if word.as_mut().poll(cx).is_ready() {
                    is_told = true;
                    end_gracefully(connection.as_mut());
                }
            }
            match connection.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(output),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_told_once_and_then_ends_by_itself() {
        for before in [true, false] {
            let drain = Drain::default();
            let (tell, told) = oneshot::channel();
            let mut tell = Some(tell);
            if before {
                drain.begin();
            }
            let connection = async { told.await.expect("the word comes") };
            let steered = drain.steer(connection, |_| tell.take().expect("told once").send(7).expect("still there"));
            let (found, ()) = tokio::join!(steered, async { drain.begin() });
            assert_eq!(found, 7, "the word came before the connection: {before}");
        }
    }
}
