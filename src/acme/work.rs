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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::settings::AcmeAuthority;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 60 * 60;

    /// A pair that began and ends so many days from now.
    fn pair(from: i64, until: i64) -> Pair {
        let at = |days: i64| {
            let seconds = Duration::from_secs((NOW + days * DAY).unsigned_abs());
            rcgen::date_time_ymd(1970, 1, 1) + seconds
        };
        let mut parameters = CertificateParams::new(["a.example".to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (at(from), at(until));
        let key = KeyPair::generate().unwrap();
        let text = key.serialize_pem() + &parameters.self_signed(&key).unwrap().pem();
        Pair::parse(text.as_bytes(), "x".as_ref(), NOW).expect("a pair")
    }

    fn host(pair: Option<Pair>) -> Host {
        Host::new("a.example", pair.map(Arc::new), NOW)
    }

    #[test]
    fn the_host_that_has_waited_longest_comes_first_and_an_operator_can_hurry_but_not_against_the_authority() {
        let authority = AcmeAuthority {
            directory: "https://ca.example/dir".to_owned(),
            email: None,
            cache: "cache".into(),
            ca_file: None,
            secret: None,
        };
        let store = Store::of(&authority.cache, &authority.directory);
        let hosts = vec![host(Some(pair(-1, 89))), host(None), host(None)];
        let mut work = Work { authority, store, sharing: None, hosts };
        work.hosts[2].due = NOW - 1;
        assert_eq!(work.due(NOW), Some(2), "before what is due only now");
        work.hosts[2].fail(&Failure::NothingOffered, None, NOW);
        assert_eq!(work.due(NOW), Some(1));
        work.hosts[1].fail(&Failure::NothingOffered, Some(Duration::from_hours(2)), NOW);
        assert_eq!(work.due(NOW), None);
        work.hurry(NOW);
        assert_eq!(work.due(NOW), Some(2), "what has failed");
        work.hosts[2].renew(pair(0, 90), NOW);
        assert_eq!(work.due(NOW), None, "what the authority wants to wait, waits");
        assert_eq!(work.due(NOW + 7200), Some(1), "and no longer");
        assert_eq!(work.due(NOW + 61 * DAY), Some(1));
    }

    #[test]
    fn another_certificate_is_taken_if_it_is_better() {
        let cases = [
            (None, pair(0, 90), true, "better than none"),
            (None, pair(-80, 10), false, "to be renewed itself"),
            (Some(pair(-70, 20)), pair(0, 90), true, "one that lasts longer"),
            (Some(pair(0, 90)), pair(-1, 89), false, "an older one, as somebody may put it back"),
        ];
        for (own, other, want, why) in cases {
            let mut host = host(own);
            host.way = Way::Http;
            let end = other.facts.not_after;
            assert_eq!(host.take(other, NOW), want, "{why}");
            assert_eq!(host.pair.is_some_and(|pair| pair.facts.not_after == end), want, "{why}");
            assert_eq!(host.way, Way::Http, "{why}");
        }
        assert!(!host(None).may_wait(NOW) && !host(Some(pair(-80, 10))).may_wait(NOW), "it is high time");
        assert!(host(Some(pair(-60, 30))).may_wait(NOW), "there is time");
    }
}
