//! One address of an origin: where it is, how it is, and the connections that wait there for a request.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderValue;

use super::balance::stable_hash;
use super::metrics::{Counted, OriginMetrics};
use super::pool::Connection;
use super::tls::Tls;
use super::vitals::Vitals;
use crate::config::settings::OriginUrl;

/// One of an origin's URLs, as it is used.
pub(super) struct Url {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    /// What `Host` says, unless the client's is preserved.
    pub(super) authority: HeaderValue,
    /// `None`: plain HTTP.
    pub(super) tls: Option<Tls>,
    /// As an operator wrote it, for logs.
    pub(super) text: String,
}

impl Url {
    /// The URL `written`, spoken to with `tls`. `None`: the host cannot stand in a `Host` field.
    pub(super) fn new(written: &OriginUrl, tls: Option<Tls>) -> Option<Self> {
        let scheme = if written.https { "https" } else { "http" };
        let default_port = if written.https { 443 } else { 80 };
        let host =
            if written.host.contains(':') { format!("[{}]", written.host) } else { written.host.to_ascii_lowercase() };
        let authority = if written.port == default_port { host } else { format!("{host}:{}", written.port) };
        let text = format!("{scheme}://{authority}");
        let authority = HeaderValue::try_from(authority).ok()?;
        Some(Self { host: written.host.as_str().into(), port: written.port, authority, tls, text })
    }
}

/// An address that a URL's host has at present.
pub(super) struct Address {
    pub(super) url: Arc<Url>,
    pub(super) socket: SocketAddr,
    /// Its name, hashed; see [`super::balance`].
    pub(super) hash: u64,
    pub(super) vitals: Vitals,
    under_way: AtomicUsize,
    /// The name no longer has this address: its connections are not kept.
    retired: AtomicBool,
    /// The longest unused first.
    idle: Mutex<VecDeque<Idle>>,
}

/// A connection without a request.
struct Idle {
    connection: Box<Connection>,
    since: Instant,
    until: Instant,
    _counted: Counted,
}

impl Address {
    pub(super) fn new(url: &Arc<Url>, ip: IpAddr) -> Self {
        let socket = SocketAddr::new(ip, url.port);
        Self {
            hash: stable_hash(&format!("{} {socket}", url.text)),
            url: Arc::clone(url),
            socket,
            vitals: Vitals::default(),
            under_way: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            idle: Mutex::default(),
        }
    }

    /// Requests under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Counts a request as under way until the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// The connection used last of those that are, `now`, idle for at most `longest`.
    pub(super) fn take_idle(&self, longest: Duration, now: Instant) -> Option<Box<Connection>> {
        loop {
            // The newest: the older ones can be let go when there are too many.
            let mut newest = self.idle().pop_back()?;
            if newest.since + longest < now {
                self.idle().push_back(newest);
                return None;
            }
            if newest.until > now && newest.connection.http.is_quiet() {
                return Some(newest.connection);
            }
        }
    }

    /// Keeps `connection` for the next request, for at most `longest`.
    pub(super) fn keep_idle(&self, connection: Box<Connection>, longest: Duration, metrics: &OriginMetrics) {
        let since = Instant::now();
        let idle = Idle { connection, since, until: since + longest, _counted: Counted::new(&metrics.idle) };
        let mut list = self.idle();
        // Under the lock: whoever retires the address empties the list afterwards.
        if !self.retired.load(Ordering::Relaxed) {
            list.push_back(idle);
        }
    }

    /// Since when the longest unused connection is idle.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.idle().front().map(|idle| idle.since)
    }

    /// Closes the longest unused connection. True: there was one.
    pub(super) fn close_oldest_idle(&self) -> bool {
        let oldest = self.idle().pop_front();
        oldest.is_some()
    }

    /// Closes the connections whose time is over, and forgets those that the origin closed.
    pub(super) fn reap(&self, now: Instant) {
        let mut list = self.idle();
        let is_kept = |idle: &mut Idle| idle.until > now && idle.connection.http.is_quiet();
        let (kept, over): (Vec<_>, Vec<_>) =
            list.drain(..).map(|mut idle| (is_kept(&mut idle), idle)).partition(|(is_kept, _)| *is_kept);
        list.extend(kept.into_iter().map(|(_, idle)| idle));
        // Connections are closed without the lock.
        drop(list);
        drop(over);
    }

    /// Keeps no connection from now on.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        let all = std::mem::take(&mut *self.idle());
        drop(all);
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way at an address.
pub(super) struct UnderWay(Arc<Address>);

impl UnderWay {
    pub(super) fn address(&self) -> &Arc<Address> {
        &self.0
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_a_url_is_what_a_browser_would_send() {
        let cases = [
            (false, "App.Example", 80, "app.example", "http://app.example", "the default port is left out"),
            (true, "app.example", 443, "app.example", "https://app.example", "the default port is left out"),
            (true, "app.example", 80, "app.example:80", "https://app.example:80", "the other scheme's port is not"),
            (false, "::1", 3000, "[::1]:3000", "http://[::1]:3000", "IPv6 stands in brackets"),
        ];
        for (https, host, port, authority, text, why) in cases {
            let url = Url::new(&OriginUrl { https, host: host.to_owned(), port }, None).unwrap();
            assert_eq!((url.authority.to_str().unwrap(), url.text.as_str()), (authority, text), "{why}");
        }
    }
}
