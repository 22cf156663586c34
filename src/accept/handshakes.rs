//! How many handshakes are under way, and which one gives way when there are too many?

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Handshakes under way, in the order of their beginning.
///
/// When there is no place left the *oldest* one is given up, not the new one refused: who means it is through after two
/// round trips, and who opens handshakes to keep others out has to go on opening them for every one that he keeps out.
#[derive(Debug)]
pub(super) struct Handshakes {
    most: usize,
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    next: u64,
    /// Dropping one gives its handshake up.
    places: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place among the handshakes, given back when dropped.
struct Place<'h> {
    number: u64,
    handshakes: &'h Handshakes,
}

impl Handshakes {
    /// At most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        Self { most, under_way: Mutex::default() }
    }

    /// Runs `handshake` to its end; `None`: it was given up for others.
    pub(super) async fn run<T>(&self, handshake: impl Future<Output = T>) -> Option<T> {
        let (place, given_up) = self.begin();
        let outcome = tokio::select! {
            biased;
            outcome = handshake => Some(outcome),
            _ = given_up => None,
        };
        drop(place);
        outcome
    }

    fn begin(&self) -> (Place<'_>, oneshot::Receiver<()>) {
        let (sender, given_up) = oneshot::channel();
        let mut under_way = self.lock();
        if under_way.places.len() >= self.most {
            under_way.places.pop_front();
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.places.push_back((number, sender));
        (Place { number, handshakes: self }, given_up)
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut under_way = self.handshakes.lock();
        // They are in order, and most end about as they began: near the front.
        if let Ok(at) = under_way.places.binary_search_by_key(&self.number, |(number, _)| *number) {
            under_way.places.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::pin::Pin;
    use std::task::Poll;

    use super::*;

    async fn is_pending(future: Pin<&mut impl Future>) -> bool {
        let mut future = future;
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn the_oldest_handshake_gives_way() {
        let handshakes = Handshakes::new(2);
        let (mut first, mut second) =
            (Box::pin(handshakes.run(pending::<()>())), Box::pin(handshakes.run(pending::<()>())));
        for silent in [&mut first, &mut second] {
            assert!(is_pending(silent.as_mut()).await);
        }
        assert_eq!(handshakes.run(ready(7)).await, Some(7), "a new one always gets its turn");
        assert_eq!(first.await, None, "the oldest one pays for it");
        assert!(is_pending(second.as_mut()).await, "the others go on");
        assert_eq!(handshakes.lock().places.len(), 1, "what has ended gives its place back");
        drop(second);
        assert!(handshakes.lock().places.is_empty(), "also what is dropped");
    }
}
