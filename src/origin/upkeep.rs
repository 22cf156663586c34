//! What happens to an origin between requests: names are resolved again, idle connections end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::address::{Address, Url};
use super::error::ErrorKind;
use super::resolve::{Resolved, Resolver};
use super::upstream::Upstream;

/// How often idle connections are looked through; they live at most this much longer than they should.
const REAP_EVERY: Duration = Duration::from_millis(500);
/// A name server that fails is asked again after this time, whatever the time to live was.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);

/// Checks do not follow each other without a pause, whatever was configured.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

/// Closes connections that were idle for too long, until `stop`; then all idle ones.
pub(super) async fn reap(upstream: Arc<Upstream>, stop: CancellationToken) {
    let pause = || tokio::time::timeout(REAP_EVERY, stop.cancelled());
    while pause().await.is_err() {
        let now = Instant::now();
        upstream.addresses.load().iter().for_each(|address| address.reap(now));
    }
    upstream.pool.close();
    upstream.addresses.load().iter().for_each(|address| address.retire());
}

/// Resolves the host of one URL again whenever its addresses' time is over, until `stop`.
pub(super) async fn follow(
    upstream: Arc<Upstream>,
    url: Arc<Url>,
    resolver: Arc<Resolver>,
    first: Duration,
    stop: CancellationToken,
) {
    let mut wait = first;
    while tokio::time::timeout(wait, stop.cancelled()).await.is_err() {
        let found = tokio::select! {
            () = stop.cancelled() => return,
            found = resolver.resolve(&url.host) => found,
        };
        wait = match found {
            Ok(Resolved { addresses, valid_for: Some(valid_for) }) => {
                replace(&upstream, &url, &addresses);
                valid_for
            }
            Ok(Resolved { valid_for: None, .. }) => return,
            // The old addresses are better than none.
            Err(error) => {
                upstream.pool.metrics.errors(ErrorKind::Resolve).inc();
                let error = &error as &dyn std::error::Error;
                tracing::warn!(origin = %upstream.name, url = %url.text, error, "cannot resolve the origin's name again");
                RESOLVE_AGAIN
            }
        };
    }
}

/// Gives `url` these addresses; those that stay keep their connections and their health.
fn replace(upstream: &Upstream, url: &Arc<Url>, now: &[std::net::IpAddr]) {
    let is_of_url = |address: &Arc<Address>| Arc::ptr_eq(&address.url, url);
    let is_kept = |address: &Arc<Address>| !is_of_url(address) || now.contains(&address.socket.ip());
    let before = upstream.addresses.load_full();
    let is_known = |ip: &std::net::IpAddr| before.iter().any(|old| is_of_url(old) && old.socket.ip() == *ip);
    let new: Vec<_> = now.iter().filter(|ip| !is_known(ip)).map(|ip| Arc::new(Address::new(url, *ip))).collect();
    if new.is_empty() && before.iter().all(is_kept) {
        return;
    }
    // Several URLs may change at once: each change is made to what is there then.
    upstream
        .addresses
        .rcu(|present| present.iter().filter(|address| is_kept(address)).chain(&new).cloned().collect::<Vec<_>>());
    tracing::info!(origin = %upstream.name, url = %url.text, addresses = ?now, "the origin's name has other addresses");
    for gone in before.iter().filter(|address| !is_kept(address)) {
        gone.retire();
        upstream.metrics.forget(&upstream.name, gone.socket.to_string());
    }
    for address in &new {
        upstream.say_up(address, true);
    }
}

/// Checks all addresses of an origin each interval, until `stop`.
pub(super) async fn check(upstream: Arc<Upstream>, health: crate::config::settings::Health, stop: CancellationToken) {
    let Ok(target) = health.path.parse::<http::uri::PathAndQuery>() else { return };
    loop {
        let addresses = upstream.addresses.load_full();
        let checks = addresses.iter().map(|address| super::health::check(&upstream, address, &target, &health));
        tokio::select! {
            () = stop.cancelled() => return,
            _ = join_all(checks) => {}
        }
        // Up to a tenth more or less: many nodes that started together do not check together.
        let wait = health.interval.max(SHORTEST_INTERVAL).mul_f64(0.9 + 0.2 * fastrand::f64());
        if tokio::time::timeout(wait, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}
