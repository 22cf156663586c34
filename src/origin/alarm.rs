//! A timer that is set for every request, and hardly ever rings.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);

/// A timer that belongs to a connection. To set it later than it was set is what happens all the time, and costs nothing:
/// only once it rings too early is it put right.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Whether `deadline` has come; if not, the task is woken then, and perhaps before.
    pub(super) fn poll_until(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

/// The moment `limit` after `from`; one that cannot be told is a century away.
pub(super) fn deadline(from: Instant, limit: Duration) -> Instant {
    from.checked_add(limit).unwrap_or_else(|| from + CENTURY)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_deadline_that_it_was_set_to_last() {
        let begun = Instant::now();
        let (mut alarm, second) = (Alarm::default(), Duration::from_secs(1));
        let set = async |alarm: &mut Alarm, after: u32, patience: u32| {
            let rings =
                tokio::time::timeout(second * patience, poll_fn(|cx| alarm.poll_until(begun + second * after, cx)));
            (rings.await.is_ok(), begun.elapsed().as_secs())
        };
        assert_eq!(set(&mut alarm, 10, 1).await, (false, 1), "left before it rings");
        assert_eq!(set(&mut alarm, 20, 99).await, (true, 20), "set later: not when it was set before");
        assert_eq!(set(&mut alarm, 90, 1).await, (false, 21));
        assert_eq!(set(&mut alarm, 30, 99).await, (true, 30), "set earlier");
        assert_eq!(set(&mut alarm, 30, 99).await, (true, 30), "a deadline that is over");
        assert_eq!(deadline(begun, second), begun + second);
        assert_eq!(deadline(begun, Duration::MAX), begun + CENTURY);
    }
}
