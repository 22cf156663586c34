//! How are the rooms joined into a running node, and how is it wound up?

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::flight::Flights;
use crate::cache::ledger::Ledger;
use crate::cache::memory::{Limits, Memory};
use crate::clock::Clock;
use crate::config::settings::{self, Settings};
use crate::config::{Loaded, Source};
use crate::origin::{Context, Origins, StartError};
use crate::policy::route::Rules;
use crate::serve::{Metrics, Serve, Shared, Site};
use crate::telemetry::{Telemetry, access};
use crate::{accept, admin, config, origin};

/// Fills that are under way when the last client has gone get this long to end by themselves.
const LAST_FILLS: Duration = Duration::from_secs(2);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot open the access log")]
    AccessLog(#[source] io::Error),
    /// The origins cannot be set up.
    #[error(transparent)]
    Origins(#[from] StartError),
}

impl RunError {
    /// Whether the configuration is at fault (exit code 2), rather than the state of the machine (1).
    pub fn is_configuration(&self) -> bool {
        match self {
            Self::Origins(_) => true,
            Self::Listen { .. } | Self::AccessLog(_) => false,
        }
    }
}
