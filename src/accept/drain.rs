//! How does a connection learn that no further request is wanted on it?

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::ready;

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
            // First of all what has come is taken in: HTTP/2's library drops what it has not read when it is told to end.
            let output = connection.as_mut().poll(cx);
            if output.is_ready() || is_told || (is_registered && !self.has_begun.load(Ordering::Acquire)) {
                return output;
            }
            is_registered = true;
            ready!(word.as_mut().poll(cx));
            is_told = true;
            end_gracefully(connection.as_mut());
            connection.as_mut().poll(cx)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::task::Poll;

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

    #[tokio::test]
    async fn what_has_come_is_taken_in_before_the_end_is_told() {
        let drain = Drain::default();
        drain.begin();
        let log = RefCell::new(Vec::new());
        let connection = std::future::poll_fn(|_| {
            log.borrow_mut().push("polled");
            if log.borrow().contains(&"told") { Poll::Ready(()) } else { Poll::Pending }
        });
        drain.steer(connection, |_| log.borrow_mut().push("told")).await;
        assert_eq!(*log.borrow(), ["polled", "told", "polled"]);
    }
}
