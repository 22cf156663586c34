//! What waits to be written to Redis, and how much may?

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use crate::cache::entry::Entry;
use crate::cache::tier::Extent;
use crate::policy::key::Key;

/// Jobs that are carried out at a time; those of one key follow one another. Four hide the way to Redis and back; each
/// copies its body twice on the way, so that more would take more memory than the queue itself.
pub(super) const LANES: usize = 4;

/// Jobs at most. At 2,000 writes a second, which four lanes do with 2 ms each, it is half a second of them: what waits for
/// longer is not worth writing, its node has it in memory.
pub(super) const MAX_JOBS: usize = 1024;

/// Bytes of stored responses at most, since one that waits is kept from being evicted: 1024 of 32 KiB, or eight of the
/// largest by default (4 MiB). A larger one is taken where nothing else waits.
pub(super) const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes that a job costs beyond what it holds.
const OVERHEAD: u64 = 512;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// Write what is stored under a key.
    Write(Key, Arc<Entry>, Extent),
    /// Delete the response of this name, unless it is later than this order.
    Remove(String, String),
    /// Delete what is odd.
    Discard(String, Evidence),
}

/// By what an odd value is known again: it is deleted only where it is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It is no hash.
    NoHash,
    /// This field of it has this value; `None`: it does not have it.
    Field(&'static str, Option<Vec<u8>>),
}

impl Work {
    fn cost(&self) -> u64 {
        OVERHEAD
            + match self {
                Self::Write(key, entry, _) => entry.weight() + key.as_bytes().len() as u64,
                Self::Discard(_, Evidence::Field(_, Some(value))) => value.len() as u64,
                Self::Remove(..) | Self::Discard(..) => 0,
            }
    }
}

/// Work that was taken into the queue. Whoever waits for it is told when this is dropped.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    _done: oneshot::Sender<()>,
    _room: Room,
}

/// The place that a job takes until it is done.
#[derive(Debug)]
struct Room {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.jobs -= 1;
        state.bytes -= self.bytes;
        self.shared.show(&state);
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    news: [Notify; LANES],
    gauges: [Gauge; 2],
}

#[derive(Debug, Default)]
struct State {
    lanes: [VecDeque<Job>; LANES],
    jobs: usize,
    bytes: u64,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: &State) {
        let [jobs, bytes] = &self.gauges;
        jobs.set(i64::try_from(state.jobs).unwrap_or(i64::MAX));
        bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
    }
}

impl Queue {
    /// An empty queue that shows in these gauges how many jobs, and bytes, are in it.
    pub(super) fn new(jobs: Gauge, bytes: Gauge) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), news: Default::default(), gauges: [jobs, bytes] }))
    }

    /// Takes work that concerns `key`. What this gives is ready when the work is done, or given up; `None`: there is no
    /// room.
    pub(super) fn offer(&self, key: &Key, work: Work) -> Option<oneshot::Receiver<()>> {
        let bytes = work.cost();
        let lane = usize::try_from(xxh3_64(key.as_bytes()) % LANES as u64).unwrap_or_default();
        let mut state = self.0.lock();
        let fits = state.jobs < MAX_JOBS && (state.bytes == 0 || state.bytes.saturating_add(bytes) <= MAX_BYTES);
        if state.closed || !fits {
            return None;
        }
        state.jobs += 1;
        state.bytes += bytes;
        let (done, waiting) = oneshot::channel();
        state.lanes[lane].push_back(Job { work, _done: done, _room: Room { shared: Arc::clone(&self.0), bytes } });
        self.0.show(&state);
        drop(state);
        self.0.news[lane].notify_one();
        Some(waiting)
    }

    /// The next job of a lane; `None`: there is none, and after `stop` none is waited for.
    pub(super) async fn next(&self, lane: usize, stop: &CancellationToken) -> Option<Job> {
        loop {
            let job = self.0.lock().lanes[lane].pop_front();
            if job.is_some() {
                return job;
            }
            stop.run_until_cancelled(self.0.news[lane].notified()).await?;
        }
    }

    /// Takes no more work, and gives up what waits; says how many of these were writes.
    pub(super) fn close(&self) -> usize {
        let mut state = self.0.lock();
        state.closed = true;
        let left: Vec<Job> = state.lanes.iter_mut().flat_map(std::mem::take).collect();
        // A job that is dropped gives back its room, and needs the lock for that.
        drop(state);
        left.iter().filter(|job| matches!(job.work, Work::Write(..))).count()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::cache::ledger::Stamp;
    use crate::cache::sample;

    fn write(body: u64) -> Work {
        let body = Bytes::from(vec![0; usize::try_from(body).unwrap()]);
        let entry = sample::entry(sample::labels("/", &[]), Stamp::default(), body);
        Work::Write(Key::from_bytes(b"k"), Arc::new(entry), Extent::Whole)
    }

    fn remove() -> Work {
        Work::Remove(String::new(), String::new())
    }

    fn queue() -> (Queue, Gauge, Gauge) {
        let (jobs, bytes) = (Gauge::default(), Gauge::default());
        (Queue::new(jobs.clone(), bytes.clone()), jobs, bytes)
    }

    #[tokio::test]
    async fn a_full_queue_takes_no_more_until_something_is_done() {
        let (queue, jobs, bytes) = queue();
        let key = Key::from_bytes(b"k");
        let lane = usize::try_from(xxh3_64(b"k") % LANES as u64).unwrap();
        assert!((0..MAX_JOBS).all(|_| queue.offer(&key, remove()).is_some()));
        assert!(queue.offer(&key, remove()).is_none(), "as many as there may be");
        let job = queue.next(lane, &CancellationToken::new()).await.unwrap();
        assert!(queue.offer(&key, remove()).is_none(), "what is being done still counts");
        drop(job);
        assert!(queue.offer(&key, remove()).is_some());
        assert_eq!(queue.close(), 0, "no writes");
        assert_eq!((jobs.get(), bytes.get()), (0, 0));
        assert!(queue.offer(&key, remove()).is_none(), "closed");
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_one_that_is_larger_goes_alone() {
        let (queue, ..) = queue();
        let key = Key::from_bytes(b"k");
        let cases = [(MAX_BYTES * 2, true, "larger than all, alone"), (0, false, "nothing beside it")];
        for (body, want, why) in cases {
            assert_eq!(queue.offer(&key, write(body)).is_some(), want, "{why}");
        }
        assert_eq!(queue.close(), 1, "a write");
        let (queue, _, bytes) = self::queue();
        assert!(queue.offer(&key, write(MAX_BYTES / 2)).is_some());
        assert!(queue.offer(&key, write(MAX_BYTES / 2)).is_none(), "heads count as well");
        assert!(queue.offer(&key, write(MAX_BYTES / 4)).is_some());
        assert!((24 << 20..25 << 20).contains(&bytes.get()));
    }

    #[tokio::test]
    async fn whoever_waits_is_told_when_a_job_is_done_or_given_up() {
        let (queue, ..) = queue();
        let key = Key::from_bytes(b"k");
        let (mut first, mut second) = (queue.offer(&key, remove()).unwrap(), queue.offer(&key, remove()).unwrap());
        let stop = CancellationToken::new();
        stop.cancel();
        let lane = usize::try_from(xxh3_64(b"k") % LANES as u64).unwrap();
        let job = queue.next(lane, &stop).await.unwrap();
        assert!(first.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        drop(job);
        assert!(first.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        queue.close();
        assert!(second.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert!(queue.next(lane, &stop).await.is_none(), "after the stop nothing is waited for");
    }
}
