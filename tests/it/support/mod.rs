//! What the tests stand on: a scripted origin, the built binary between, and clients that see every byte.

pub(crate) mod edge;
pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod held;
pub(crate) mod origin;
pub(crate) mod pebble;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod reply;
pub(crate) mod tls;
pub(crate) mod wire;

use std::future::Future;
use std::time::Duration;

/// Longer than anything takes on a loaded machine; a test that waits so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Awaits `what`, and fails the test rather than hang it.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(DEADLINE, future).await;
    outcome.unwrap_or_else(|_| panic!("{what}: nothing within {DEADLINE:?}"))
}

/// Tries again until `attempt` gives something: for what happens in the background, where each try is a request
/// that takes its own time.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}
