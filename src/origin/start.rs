//! Setting origins up: names resolved, certificates read, tasks begun; what has not changed is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use rustls::ClientConfig;

use super::address::{Address, Url};
use super::resolve::{ResolveError, Resolver};
use super::tls::{Tls, TlsError};
use super::upstream::{Running, Upstream};
use super::{Context, upkeep};
use crate::config::settings;
use crate::tls::outgoing;

/// Why origins cannot be set up: the configuration is wrong, or the machine is.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A name has no address.
    #[error("origin {origin}: cannot resolve the host of {url}")]
    Resolve {
        /// The origin's name.
        origin: String,
        /// The URL.
        url: String,
        /// Why not.
        source: Box<ResolveError>,
    },
    /// TLS cannot be set up.
    #[error("origin {origin}: cannot set up TLS")]
    Tls {
        /// The origin's name.
        origin: String,
        /// Why not.
        source: TlsError,
    },
    /// The host cannot stand in a `Host` field.
    #[error("origin {origin}: {host:?} is no host")]
    Host {
        /// The origin's name.
        origin: String,
        /// The host, as written.
        host: String,
    },
    /// An origin needs at least one URL.
    #[error("origin {origin} has no URL")]
    NoUrl {
        /// The origin's name.
        origin: String,
    },
}

/// Sets one origin up, and begins the tasks that keep it up to date.
pub(super) async fn run(
    spec: &settings::Origin,
    resolver: &Arc<Resolver>,
    context: &Context,
) -> Result<Running, StartError> {
    let origin = || spec.name.clone();
    if spec.urls.is_empty() {
        return Err(StartError::NoUrl { origin: origin() });
    }
    let tls = client_config(spec).await.map_err(|source| StartError::Tls { origin: origin(), source })?;
    let urls = spec.urls.iter().map(|written| url(spec, written, tls.as_ref())).collect::<Result<Vec<_>, _>>()?;
    let found = urls.iter().map(|url| async move {
        let failed = |source| StartError::Resolve { origin: spec.name.clone(), url: url.text.clone(), source };
        resolver.resolve(&url.host).await.map_err(Box::new).map_err(failed)
    });
    let found = try_join_all(found).await?;
    let addresses = urls
        .iter()
        .zip(&found)
        .flat_map(|(url, found)| found.addresses.iter().map(|ip| Arc::new(Address::new(url, *ip))))
        .collect();
    let upstream = Upstream::new(spec, urls, addresses, context.metrics.clone(), context.tasks.clone());
    let running = Running::new(Arc::new(upstream), context.stop.child_token());
    let times: Vec<_> = found.iter().map(|found| found.valid_for).collect();
    begin_tasks(&running, &times, resolver);
    Ok(running)
}

fn begin_tasks(running: &Running, times: &[Option<Duration>], resolver: &Arc<Resolver>) {
    let (upstream, stop) = (&running.upstream, &running.stop);
    upstream.tasks.spawn(upkeep::reap(Arc::clone(upstream), stop.clone()));
    for (url, valid_for) in upstream.urls.iter().zip(times) {
        if let Some(valid_for) = valid_for {
            let (url, resolver) = (Arc::clone(url), Arc::clone(resolver));
            upstream.tasks.spawn(upkeep::follow(Arc::clone(upstream), url, resolver, *valid_for, stop.clone()));
        }
    }
    if let Some(health) = &upstream.spec.health {
        upstream.tasks.spawn(upkeep::check(Arc::clone(upstream), health.clone(), stop.clone()));
    }
}

fn url(
    spec: &settings::Origin,
    written: &settings::OriginUrl,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Arc<Url>, StartError> {
    let origin = || spec.name.clone();
    let tls = tls.filter(|_| written.https).map(|config| Tls::with(&written.host, config)).transpose();
    let tls = tls.map_err(|source| StartError::Tls { origin: origin(), source })?;
    let url =
        Url::new(written, tls).ok_or_else(|| StartError::Host { origin: origin(), host: written.host.clone() })?;
    Ok(Arc::new(url))
}

/// What TLS needs, where an URL of the origin speaks it. The system's certificates are hundreds of files.
async fn client_config(spec: &settings::Origin) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    if !spec.urls.iter().any(|url| url.https) {
        return Ok(None);
    }
    let ca_file: Option<PathBuf> = spec.ca_file.clone();
    let read = tokio::task::spawn_blocking(move || outgoing::client_config(ca_file.as_deref()));
    Ok(Some(Arc::new(read.await.expect("reading certificates does not panic")?)))
}
