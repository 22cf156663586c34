//! How does a test hold somebody up until it says otherwise?

use tokio::sync::watch;

use super::within;

/// A door that is shut until it is opened, once and for all who wait.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    /// A shut door.
    pub(crate) fn shut() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the door is open. No deadline: whoever asked for the answer has one.
    pub(crate) async fn pass(&self) {
        let mut state = self.0.subscribe();
        let _ = state.wait_for(|open| *open).await;
    }
}

/// A number that only grows, and that others can wait for.
#[derive(Clone)]
pub(crate) struct Tally(watch::Sender<usize>);

impl Tally {
    /// Begins at zero.
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Adds one, and returns the number of this one: 1 for the first.
    pub(crate) fn count(&self) -> usize {
        let mut number = 0;
        self.0.send_modify(|total| {
            *total += 1;
            number = *total;
        });
        number
    }

    /// The total so far.
    pub(crate) fn total(&self) -> usize {
        *self.0.borrow()
    }

    /// Waits until at least `number` have been counted.
    pub(crate) async fn reaches(&self, number: usize) {
        let mut state = self.0.subscribe();
        within(&format!("a count of {number} (have {})", self.total()), async {
            let _ = state.wait_for(|total| *total >= number).await;
        })
        .await;
    }
}
