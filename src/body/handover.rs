//! A request's body on its way from the connection that reads it to whoever wants it, which may be another task.
//!
//! Nothing is read before it is wanted, but for what came together with the head: a client that sends faster than its body
//! is taken waits, and one that waits for a 100 gets it when somebody asks.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{BoxError, join_crumbs};

/// What both sides see.
#[derive(Debug, Default)]
struct Counter {
    frames: VecDeque<Frame<Bytes>>,
    /// How it ends, once that is known. Behind the frames.
    end: Option<Result<(), BoxError>>,
    /// The taker waits for more.
    is_wanted: bool,
    /// There is nobody to take it.
    is_left: bool,
    taker: Option<Waker>,
    giver: Option<Waker>,
}

type Shared = Arc<Mutex<Counter>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Counter> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers whom to wake.
fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}

/// The connection's side. Dropped before the end, the body is one that broke off.
#[derive(Debug)]
pub struct Giver(Shared);

/// The side of who wants the body.
#[derive(Debug)]
pub struct Taker {
    shared: Shared,
    /// How many bytes are to come, where that was said.
    left: Option<u64>,
}

/// Whether more of a body is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Somebody waits for it.
    More,
    /// Nobody ever will.
    Nothing,
}

/// A body of `length` bytes, where that was said.
pub fn between(length: Option<u64>) -> (Giver, Taker) {
    let shared = Shared::default();
    (Giver(Arc::clone(&shared)), Taker { shared, left: length })
}

impl Giver {
    /// Ready when more is wanted, or never will be.
    pub fn poll_wanted(&mut self, cx: &mut Context<'_>) -> Poll<Want> {
        let mut counter = lock(&self.0);
        if counter.is_left {
            return Poll::Ready(Want::Nothing);
        }
        // Also where more is wanted now: the taker may go before there is any.
        keep(&mut counter.giver, cx);
        if counter.is_wanted { Poll::Ready(Want::More) } else { Poll::Pending }
    }

    /// Whether nobody will take any more of it.
    pub fn is_left(&self) -> bool {
        lock(&self.0).is_left
    }

    /// Hands over a piece, or the fields behind the last one.
    pub fn give(&mut self, frame: Frame<Bytes>) {
        self.change(|counter| {
            let last = counter.frames.back_mut().and_then(Frame::data_mut);
            let is_joined = last.zip(frame.data_ref()).is_some_and(|(last, next)| join_crumbs(last, next));
            if !is_joined {
                counter.frames.push_back(frame);
            }
        });
    }

    /// Says how the body ended.
    pub fn end(&mut self, how: Result<(), BoxError>) {
        self.change(|counter| counter.end = Some(how));
    }

    fn change(&mut self, change: impl FnOnce(&mut Counter)) {
        let mut counter = lock(&self.0);
        change(&mut counter);
        counter.is_wanted = false;
        let waker = counter.taker.take();
        drop(counter);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.change(|counter| {
            counter.end.get_or_insert_with(|| Err("the connection ended before it did".into()));
        });
    }
}

impl Taker {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut counter = lock(&self.shared);
        if let Some(frame) = counter.frames.pop_front() {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = self.left.map(|left| left.saturating_sub(bytes));
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut counter.end {
            Some(Ok(())) => return Poll::Ready(None),
            // Whoever asks again is not told of an end.
            Some(Err(error)) => {
                return Poll::Ready(Some(Err(std::mem::replace(error, "it broke off before".into()))));
            }
            None => {}
        }
        keep(&mut counter.taker, cx);
        let giver = if std::mem::replace(&mut counter.is_wanted, true) { None } else { counter.giver.take() };
        drop(counter);
        if let Some(waker) = giver {
            waker.wake();
        }
        Poll::Pending
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let counter = lock(&self.shared);
        counter.frames.is_empty() && matches!(counter.end, Some(Ok(())))
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        let mut counter = lock(&self.shared);
        counter.is_left = true;
        counter.frames.clear();
        let giver = counter.giver.take();
        drop(counter);
        if let Some(waker) = giver {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicU32);

    impl std::task::Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn bell() -> (Arc<Bell>, Waker) {
        let bell = Arc::new(Bell::default());
        (Arc::clone(&bell), Waker::from(bell))
    }

    fn taken(poll: Poll<Option<Result<Frame<Bytes>, BoxError>>>) -> Poll<Option<Result<Bytes, String>>> {
        poll.map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| frame.into_data().expect("no trailers")).map_err(|error| error.to_string())
            })
        })
    }

    #[test]
    fn each_side_wakes_the_other_and_nothing_is_asked_for_before_it_is_wanted() {
        let (mut giver, mut taker) = between(Some(3));
        let ((asked, near), (told, far)) = (bell(), bell());
        let (mut giving, mut taking) = (Context::from_waker(&near), Context::from_waker(&far));
        assert_eq!(giver.poll_wanted(&mut giving), Poll::Pending, "nobody has asked");
        assert!(taken(taker.poll_frame(&mut taking)).is_pending());
        assert_eq!(asked.0.load(Ordering::SeqCst), 1, "who asks wakes");
        assert_eq!(giver.poll_wanted(&mut giving), Poll::Ready(Want::More));
        giver.give(Frame::data("abc".into()));
        assert_eq!(told.0.load(Ordering::SeqCst), 1, "who gives wakes");
        assert_eq!(giver.poll_wanted(&mut giving), Poll::Pending, "that is enough for now");
        assert_eq!(taken(taker.poll_frame(&mut taking)), Poll::Ready(Some(Ok("abc".into()))));
        assert_eq!(taker.size_hint().exact(), Some(0));
        assert!(!taker.is_end_stream(), "nobody has said so");
        giver.end(Ok(()));
        assert!(taker.is_end_stream());
        drop(giver);
        assert_eq!(taken(taker.poll_frame(&mut taking)), Poll::Ready(None), "the giver's end is no other end");
    }

    #[test]
    fn crumbs_become_one_piece_and_a_break_is_no_end() {
        let (mut giver, mut taker) = between(None);
        for _ in 0..100 {
            giver.give(Frame::data("a".into()));
        }
        giver.end(Err("on purpose".into()));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(taken(taker.poll_frame(&mut cx)), Poll::Ready(Some(Ok("a".repeat(100).into()))));
        for _ in 0..2 {
            assert!(matches!(taken(taker.poll_frame(&mut cx)), Poll::Ready(Some(Err(_)))));
            assert!(!taker.is_end_stream());
        }
    }

    #[test]
    fn a_side_that_goes_is_missed() {
        let (mut giver, taker) = between(None);
        let (asked, near) = bell();
        let mut cx = Context::from_waker(&near);
        assert_eq!(giver.poll_wanted(&mut cx), Poll::Pending);
        drop(taker);
        assert_eq!(asked.0.load(Ordering::SeqCst), 1);
        assert_eq!(giver.poll_wanted(&mut cx), Poll::Ready(Want::Nothing));

        let (mut giver, mut taker) = between(None);
        giver.give(Frame::data("a".into()));
        drop(giver);
        assert_eq!(taken(taker.poll_frame(&mut cx)), Poll::Ready(Some(Ok("a".into()))), "what came is not lost");
        let end = "the connection ended before it did".to_owned();
        assert_eq!(taken(taker.poll_frame(&mut cx)), Poll::Ready(Some(Err(end))), "it did not end well");
    }
}
