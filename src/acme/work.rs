//! What is at work, by the configuration, and when is something to be done about a host?

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::failure::Failure;
use super::proof::Way;
use super::schedule::{Setback, earliest, pause, renewal};
use super::sharing::Sharing;
use super::store::Store;
use crate::config::settings::AcmeAuthority;
use crate::tls::in_one_line;
use crate::tls::pair::Pair;

/// Seconds after which what this node has is offered to the others again: Redis may have lost it.
const OFFER: i64 = 600;

/// The hosts, and whose certificates they get.
pub(super) struct Work {
    pub(super) authority: AcmeAuthority,
    pub(super) store: Store,
    pub(super) sharing: Option<Sharing>,
    /// In the order of the file.
    pub(super) hosts: Vec<Host>,
}

/// One host.
pub(super) struct Host {
    pub(super) name: String,
    pub(super) pair: Option<Arc<Pair>>,
    /// When something is to be done; seconds since the Unix epoch.
    pub(super) due: i64,
    /// Until when the authority wants to be left alone.
    barred: i64,
    failures: u32,
    /// How it is proven, at first.
    pub(super) way: Way,
    /// When the others were offered what this node has.
    offered: i64,
}

impl Work {
    /// The host that has waited longest.
    pub(super) fn due(&self, now: i64) -> Option<usize> {
        let due = self.hosts.iter().enumerate().filter(|(_, host)| host.due <= now);
        due.min_by_key(|(_, host)| host.due).map(|(at, _)| at)
    }

    /// Has what has failed be done at once, unless the authority wants to be left alone.
    pub(super) fn hurry(&mut self, now: i64) {
        for host in self.hosts.iter_mut().filter(|host| host.failures > 0) {
            host.due = host.due.min(now.max(host.barred));
        }
    }

    /// What has worked for one host is tried first for those that were not tried yet.
    pub(super) fn begin_by(&mut self, way: Way) {
        for host in self.hosts.iter_mut().filter(|host| host.pair.is_none() && host.failures == 0) {
            host.way = way;
        }
    }

    /// Gives the others what they may not have.
    pub(super) async fn offer(&mut self, now: i64) {
        let Some(sharing) = &self.sharing else { return };
        for host in &mut self.hosts {
            let Some(pair) = host.pair.as_ref().filter(|_| now - host.offered >= OFFER) else { continue };
            host.offered = now;
            let (store, name) = (self.store.clone(), host.name.clone());
            let read = tokio::task::spawn_blocking(move || store.pair(&name, now));
            if let Some((_, text)) = read.await.expect("reading a file does not panic") {
                sharing.give(&host.name, &text, pair.facts.not_after - now, true).await;
            }
        }
    }
}

impl Host {
    /// A host that has this certificate, or none.
    pub(super) fn new(name: &str, pair: Option<Arc<Pair>>, now: i64) -> Self {
        let end = |pair: &Arc<Pair>| renewal(pair.facts.not_before, pair.facts.not_after, fastrand::f64());
        let due = pair.as_ref().map_or(now, end);
        Self { name: name.to_owned(), pair, due, barred: 0, failures: 0, way: Way::Tls, offered: 0 }
    }

    /// Takes the certificate that was issued for it.
    pub(super) fn renew(&mut self, pair: Pair, now: i64) {
        let earliest = earliest(pair.facts.not_after, now);
        let fresh = Self::new(&self.name, Some(Arc::new(pair)), now);
        *self = Self { way: self.way, due: fresh.due.max(earliest), ..fresh };
    }

    /// Takes another certificate, if it lasts longer, and need not be renewed itself; whether it did.
    pub(super) fn take(&mut self, pair: Pair, now: i64) -> bool {
        let lasts_longer = self.pair.as_ref().is_none_or(|own| own.facts.not_after < pair.facts.not_after);
        let fresh = Self::new(&self.name, Some(Arc::new(pair)), now);
        let is_better = lasts_longer && fresh.due > now;
        if is_better {
            *self = Self { way: self.way, ..fresh };
        }
        is_better
    }

    /// Whether it can wait until Redis can be asked who orders: a sixth of its certificate's time is left.
    pub(super) fn may_wait(&self, now: i64) -> bool {
        self.pair
            .as_ref()
            .is_some_and(|pair| pair.facts.not_after - now > (pair.facts.not_after - pair.facts.not_before) / 6)
    }

    /// Takes down that an attempt has failed, and says so.
    pub(super) fn fail(&mut self, failure: &Failure, told: Option<Duration>, now: i64) {
        self.failures = self.failures.saturating_add(1);
        let setback =
            Setback { count: self.failures, is_silence: failure.is_silence(), is_limit: failure.is_limit(), told };
        let (wait, owed) = pause(setback, fastrand::f64());
        let after = |wait: Duration| now.saturating_add(i64::try_from(wait.as_secs()).unwrap_or(i64::MAX));
        (self.due, self.barred) = (after(wait), after(owed));
        let in_use = match &self.pair {
            Some(pair) => format!("the one in use ends {}", date(pair.facts.not_after)),
            None => "there is none".to_owned(),
        };
        let (name, error) = (&self.name, in_one_line(failure));
        let wait = Duration::from_secs(wait.as_secs());
        tracing::error!("no certificate for {name} was obtained ({in_use}): {error}; the next attempt is in {wait:?}");
    }
}

/// For people.
pub(super) fn date(seconds: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    httpdate::fmt_http_date(at)
}
