//! What becomes of clients when every place is taken?
//!
//! They wait in the kernel's queue, as long as it moves. Where it has not been empty for a while, whoever stands in it is told
//! to come back later: an answer now is worth more than a place in a minute.

use std::future::poll_fn;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::clear;
use super::queue::Queue;
use super::refusal;

/// How long there may be a queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// Clients that are being told at once. Beyond them a connection is closed without a word.
const TOLD: usize = 256;

/// How long a client that was told gets to read it, and how much it may have sent: closing a socket with unread bytes in it
/// would reset it, and the reset would overtake the answer.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 << 10;

/// The crowd before one listener.
#[derive(Debug)]
pub(super) struct Crowd {
    places: Arc<Semaphore>,
    /// Since when there has always been somebody waiting, or no place.
    since: Option<Instant>,
    told: JoinSet<()>,
    /// What they are told; `None`: nothing, since they expect a handshake first.
    answer: Option<Bytes>,
}

impl Crowd {
    /// Nobody yet, for so many `places`. `is_secure`: the listener speaks TLS.
    pub(super) fn new(places: Arc<Semaphore>, is_secure: bool) -> Self {
        let answer = (!is_secure).then(refusal::no_place);
        Self { places, since: None, told: JoinSet::new(), answer }
    }

    /// A place. Those who wait too long for one are sent away, and passed to `count`.
    pub(super) async fn place(&mut self, queue: &Queue, count: impl Fn()) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        let place = Arc::clone(&self.places).acquire_owned();
        tokio::select! {
            biased;
            place = place => place.expect("the places are never closed"),
            () = self.send_away(queue, since + PATIENCE, count) => unreachable!("it goes on until there is a place"),
        }
    }

    /// The next client in the queue; notes where there is none.
    pub(super) async fn first(&mut self, queue: &Queue) -> io::Result<(net::TcpStream, SocketAddr)> {
        poll_fn(|cx| {
            let accepted = queue.poll_next(cx);
            if accepted.is_pending() {
                self.since = None;
            }
            accepted
        })
        .await
    }

    async fn send_away(&mut self, queue: &Queue, from: Instant, count: impl Fn()) {
        sleep_until(from).await;
        loop {
            match poll_fn(|cx| queue.poll_next(cx)).await {
                Ok((client, _)) => {
                    count();
                    self.tell(client);
                }
                // It is for who has a place to tell of it.
                Err(_) => tokio::time::sleep(PATIENCE).await,
            }
        }
    }

    fn tell(&mut self, client: net::TcpStream) {
        while self.told.try_join_next().is_some() {}
        let Some(answer) = self.answer.clone().filter(|_| self.told.len() < TOLD) else { return };
        let Ok(mut client) = clear::watch(client) else { return };
        self.told.spawn(async move {
            // Best effort: who does not read it has lost nothing.
            let _ = timeout(LINGER, async {
                client.write_all(&answer).await?;
                client.shutdown().await?;
                let (mut rest, mut sink) = (client.take(LINGER_BYTES), tokio::io::sink());
                tokio::io::copy(&mut rest, &mut sink).await
            })
            .await;
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn queue() -> Queue {
        Queue::of(TcpListener::bind("127.0.0.1:0").await.expect("loopback")).expect("a queue")
    }

    #[tokio::test]
    async fn whoever_waits_too_long_is_told_so_and_the_next_has_the_place() {
        let queue = queue().await;
        let address = queue.local_addr().expect("bound");
        let places = Arc::new(Semaphore::new(1));
        let mut crowd = Crowd::new(Arc::clone(&places), false);
        let taken = crowd.place(&queue, || panic!("there is a place")).await;
        let mut waiting = TcpStream::connect(address).await.expect("it listens");
        waiting.write_all(b"GET / HTTP/1.1\r\n").await.expect("open");
        let (sent_away, begun) = (AtomicUsize::new(0), Instant::now());
        let count = || {
            sent_away.fetch_add(1, Ordering::Relaxed);
        };
        let told = async {
            let mut answer = String::new();
            waiting.read_to_string(&mut answer).await.expect("an answer, not a reset");
            assert!(answer.starts_with("HTTP/1.1 503 ") && begun.elapsed() >= PATIENCE, "{answer}");
            drop(taken);
        };
        let (place, ()) = tokio::join!(crowd.place(&queue, count), told);
        assert_eq!(sent_away.into_inner(), 1);
        let later = TcpStream::connect(address).await.expect("it listens");
        let (client, peer) = crowd.first(&queue).await.expect("somebody waits");
        assert_eq!(peer, later.local_addr().expect("connected"));
        assert!(crowd.since.is_some(), "nobody has seen the end of the queue");
        drop((client, place));
        assert!(timeout(Duration::from_millis(50), crowd.first(&queue)).await.is_err());
        assert!(crowd.since.is_none());
    }

    #[tokio::test]
    async fn a_queue_that_moves_is_left_alone() {
        let queue = queue().await;
        let places = Arc::new(Semaphore::new(1));
        let mut crowd = Crowd::new(Arc::clone(&places), true);
        let never = || panic!("nobody is sent away");
        let taken = crowd.place(&queue, never).await;
        let freed = async {
            tokio::time::sleep(PATIENCE / 10).await;
            drop(taken);
        };
        let (_place, ()) = tokio::join!(crowd.place(&queue, never), freed);
        assert!(crowd.answer.is_none(), "over TLS nobody could read an answer");
    }
}
