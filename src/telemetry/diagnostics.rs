//! Where do diagnostics go, and which ones? To standard error; standard output belongs to the access log.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Why diagnostics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DiagnosticsError {
    /// `telemetry.log` is not a filter.
    #[error("telemetry.log = {filter:?} is not a filter such as \"info\" or \"larder=debug\"")]
    Filter {
        /// The text that was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in the process already receives diagnostics.
    #[error("diagnostics are already set up")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Sends diagnostics that pass `filter` to standard error, coloured only on a terminal and without `NO_COLOR`.
///
/// # Errors
/// The filter is not one, or this has been called before.
pub fn init(filter: &str) -> Result<(), DiagnosticsError> {
    let parsed =
        EnvFilter::try_new(filter).map_err(|source| DiagnosticsError::Filter { filter: filter.to_owned(), source })?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(std::io::stderr)
        .with_ansi(!no_color && std::io::stderr().is_terminal())
        .finish()
        .try_init()
        .map_err(DiagnosticsError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_named_in_the_error() {
        let error = init("larder=loudest").expect_err("there is no such level");
        assert!(error.to_string().contains("larder=loudest"), "{error}");
    }
}
