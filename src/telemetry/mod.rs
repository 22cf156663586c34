//! What is told to operators: metrics, the access log, diagnostics.
//!
//! One [`Telemetry`] per process. A request's own numbers go through its [`exchange::Exchange`].

pub mod access;
pub mod diagnostics;
pub mod exchange;
pub mod histogram;
mod line;
pub mod metrics;

use std::io;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::clock::Clock;

/// Where requests are counted and written down.
#[derive(Debug)]
pub struct Telemetry {
    metrics: metrics::Metrics,
    access: Option<access::AccessLog>,
    clock: Clock,
}

impl Telemetry {
    /// Registers the metrics, and opens the access log: `form` `None` is none, `file` `None` is standard output.
    ///
    /// # Errors
    /// The file cannot be opened for appending, or the writer's thread cannot be started.
    pub fn new(
        form: Option<access::Form>,
        file: Option<&Path>,
        clock: Clock,
        registry: &mut Registry,
    ) -> io::Result<Arc<Self>> {
        let metrics = metrics::Metrics::register(registry);
        let access = match form {
            Some(form) => Some(access::AccessLog::open(form, file, &metrics)?),
            None => None,
        };
        Ok(Arc::new(Self { metrics, access, clock }))
    }

    /// Telemetry that nobody reads: no log, and metrics in a registry of its own.
    pub fn silent() -> Arc<Self> {
        let metrics = metrics::Metrics::register(&mut Registry::default());
        Arc::new(Self { metrics, access: None, clock: Clock::System })
    }

    /// The counters.
    pub fn metrics(&self) -> &metrics::Metrics {
        &self.metrics
    }

    /// Opens the access log's file anew, after a rotation. Nothing happens where there is none.
    pub fn reopen(&self) {
        if let Some(access) = &self.access {
            access.reopen();
        }
    }

    /// Writes what is queued and ends the access log's thread. Waits two seconds at most; later lines are dropped.
    pub fn close(&self) {
        if let Some(access) = &self.access {
            access.close();
        }
    }
}
