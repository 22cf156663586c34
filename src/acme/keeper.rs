//! Which host needs a certificate now, and what became of it?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::account::account;
use super::authority::Caller;
use super::failure::{Failure, is_problem};
use super::metrics::Metrics;
use super::order::obtain;
use super::proof::{Shop, Way};
use super::schedule::{Setback, pause, renewal};
use super::store::{Store, is_for};
use super::tokens::Tokens;
use crate::clock::Clock;
use crate::config::settings::{Acme, AcmeAuthority, Settings};
use crate::tls::pair::Pair;
use crate::tls::serving::Serving;
use crate::tls::{in_one_line, outgoing};

/// How often it is looked whether something is to be done: some comparisons.
const LOOK: Duration = Duration::from_secs(1);

/// The longest attempt: two orders, each with its 90 s of looking and 90 s of issuing. Others wait for it.
const ATTEMPT: Duration = Duration::from_mins(6);

/// Keeps hosts in certificates. One order at a time: authorities limit how many there may be, and it is enough.
#[derive(Debug)]
pub struct Keeper {
    shop: Shop,
    clock: Clock,
    metrics: Metrics,
    /// Whether an operator wants to see an attempt now.
    hurry: AtomicBool,
}

/// What is at work by the configuration.
struct Work {
    authority: AcmeAuthority,
    store: Store,
    /// In the order of the file.
    hosts: Vec<Host>,
}

struct Host {
    name: String,
    pair: Option<Arc<Pair>>,
    /// When something is to be done; seconds since the Unix epoch.
    due: i64,
    /// Until when the authority wants to be left alone.
    barred: i64,
    failures: u32,
    /// How it is proven, at first.
    way: Way,
}

impl Keeper {
    /// Shows what it obtains at `serving`, and proves hosts there and by `tokens`.
    pub fn register(serving: Arc<Serving>, tokens: Arc<Tokens>, clock: Clock, registry: &mut Registry) -> Self {
        let metrics = Metrics::register(registry);
        Self { shop: Shop { serving, tokens }, clock, metrics, hurry: AtomicBool::new(false) }
    }

    /// Shows what earlier runs have obtained; nobody is asked.
    pub async fn show_kept(&self, acme: &Acme) {
        let work = self.follow(None, Some(acme)).await;
        tracing::debug!(hosts = work.map_or(0, |work| work.hosts.len()), "certificates were read from acme.cache");
    }

    /// Has what has failed be tried again at once, unless the authority wants to be left alone.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// Obtains what is wanted, and renews it in time, until `stop`.
    pub async fn run(&self, settings: Arc<ArcSwap<Settings>>, stop: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut work) = (None, None);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let now_wanted = settings.load_full();
            if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &now_wanted)) {
                let acme = now_wanted.tls.as_ref().and_then(|tls| tls.acme.as_ref());
                work = self.follow(work, acme).await;
                seen = Some(Arc::clone(&now_wanted));
            }
            let Some(work) = &mut work else { continue };
            let now = self.now();
            if self.hurry.swap(false, Ordering::Relaxed) {
                work.hurry(now);
            }
            let Some(at) = work.due(now) else { continue };
            if stop.run_until_cancelled(Box::pin(self.attend(work, at))).await.is_none() {
                return;
            }
            self.show(work);
        }
    }

    /// What is to be done by a new configuration. What was obtained from another authority is shown until there is better.
    async fn follow(&self, old: Option<Work>, acme: Option<&Acme>) -> Option<Work> {
        let Some(Acme { authority, hosts }) = acme else {
            if old.is_some() {
                self.shop.serving.show(Vec::new());
            }
            return None;
        };
        let store = Store::of(&authority.cache, &authority.directory);
        let (same, mut known) = match old {
            Some(old) => (old.authority == *authority, old.hosts),
            None => (true, Vec::new()),
        };
        let now = self.now();
        let mut kept = Vec::new();
        for name in hosts {
            let known = known.iter().position(|host| host.name == *name).map(|at| known.swap_remove(at));
            kept.push(match known {
                Some(host) if same => host,
                known => {
                    let fresh = read(&store, name, now).await.map(Arc::new);
                    let mut host = Host::new(name, fresh, now);
                    host.pair = host.pair.or(known.and_then(|known| known.pair));
                    host
                }
            });
        }
        let work = Work { authority: authority.clone(), store, hosts: kept };
        self.show(&work);
        Some(work)
    }

    fn show(&self, work: &Work) {
        self.shop.serving.show(work.hosts.iter().filter_map(|host| host.pair.clone()).collect());
    }

    /// Does what is to be done for one host.
    async fn attend(&self, work: &mut Work, at: usize) {
        let Work { authority, store, hosts } = work;
        let host = &mut hosts[at];
        let now = self.now();
        // Another process that shares the folder may have been there first.
        if let Some(pair) = read(store, &host.name, now).await {
            let fresh = Host::new(&host.name, Some(Arc::new(pair)), now);
            if fresh.due > now {
                tracing::info!("the certificate for {} was found renewed in acme.cache", host.name);
                *host = Host { way: host.way, ..fresh };
                return;
            }
        }
        let mut told = None;
        let attempt = self.attempt(authority, store, host, &mut told);
        let attempt = tokio::time::timeout(ATTEMPT, attempt).await;
        match attempt.unwrap_or(Err(Failure::TimedOut(ATTEMPT))) {
            Ok(pair) => {
                self.metrics.issued.inc();
                let end = date(pair.facts.not_after);
                tracing::info!("a certificate for {} was obtained; it ends {end}", host.name);
                let way = host.way;
                *host = Host { way, ..Host::new(&host.name, Some(Arc::new(pair)), self.now()) };
            }
            Err(failure) => {
                self.metrics.failed.inc();
                host.fail(&failure, told, self.now());
            }
        }
    }

    /// Has a certificate issued, and keeps it. `told`: how long the authority wants to be left alone.
    async fn attempt(
        &self,
        authority: &AcmeAuthority,
        store: &Store,
        host: &mut Host,
        told: &mut Option<Duration>,
    ) -> Result<Pair, Failure> {
        let ca_file = authority.ca_file.clone();
        let trust = tokio::task::spawn_blocking(move || outgoing::client_config(ca_file.as_deref()));
        let caller = Caller::new(trust.await.expect("reading certificates does not panic")?, self.clock.clone());
        let issued = self.issue(authority, store, &caller, host).await;
        *told = caller.told().filter(|_| issued.is_err());
        let text = issued?;
        let now = self.now();
        let pair = Pair::parse(text.as_bytes(), authority.directory.as_ref(), now).map_err(Failure::Issued)?;
        if !is_for(&pair, &host.name) {
            return Err(Failure::OtherHost(pair.label()));
        }
        let (store, name) = (store.clone(), host.name.clone());
        let kept = tokio::task::spawn_blocking(move || store.keep_pair(&name, &text));
        if let Err(error) = kept.await.expect("writing a file does not panic") {
            // It is used all the same; the next start has to obtain one.
            tracing::error!("the certificate for {} cannot be kept in acme.cache: {error}", host.name);
        }
        Ok(pair)
    }

    /// Key and chain. Where the host could not be proven in one way, by the other; the next attempt begins with what has not
    /// failed first.
    async fn issue(
        &self,
        authority: &AcmeAuthority,
        store: &Store,
        caller: &Caller,
        host: &mut Host,
    ) -> Result<String, Failure> {
        let mut by = account(authority, caller, store).await?;
        let mut issued = obtain(&by, &host.name, host.way, &self.shop).await;
        if let Err(Failure::Authority(error)) = &issued
            && is_problem(error, "accountDoesNotExist")
        {
            let forgetful = store.clone();
            let forgotten = tokio::task::spawn_blocking(move || forgetful.forget_account());
            forgotten.await.expect("moving a file does not panic");
            by = account(authority, caller, store).await?;
            issued = obtain(&by, &host.name, host.way, &self.shop).await;
        }
        if let Err(failure) = &issued
            && failure.is_of_the_way()
        {
            tracing::warn!("{}: {}; now by {}", host.name, in_one_line(failure), host.way.other().token());
            issued = obtain(&by, &host.name, host.way.other(), &self.shop).await;
        }
        let (text, way) = issued.inspect_err(|_| host.way = host.way.other())?;
        host.way = way;
        Ok(text)
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis() / 1000).unwrap_or(i64::MAX)
    }
}

impl Work {
    /// The host that has waited longest.
    fn due(&self, now: i64) -> Option<usize> {
        let due = self.hosts.iter().enumerate().filter(|(_, host)| host.due <= now);
        due.min_by_key(|(_, host)| host.due).map(|(at, _)| at)
    }

    fn hurry(&mut self, now: i64) {
        for host in self.hosts.iter_mut().filter(|host| host.failures > 0) {
            host.due = host.due.min(now.max(host.barred));
        }
    }
}

impl Host {
    fn new(name: &str, pair: Option<Arc<Pair>>, now: i64) -> Self {
        let due =
            pair.as_ref().map_or(now, |pair| renewal(pair.facts.not_before, pair.facts.not_after, fastrand::f64()));
        Self { name: name.to_owned(), pair, due, barred: 0, failures: 0, way: Way::Tls }
    }

    /// Takes down that an attempt has failed, and says so.
    fn fail(&mut self, failure: &Failure, told: Option<Duration>, now: i64) {
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

async fn read(store: &Store, name: &str, now: i64) -> Option<Pair> {
    let (store, name) = (store.clone(), name.to_owned());
    let read = tokio::task::spawn_blocking(move || store.pair(&name, now));
    read.await.expect("reading a file does not panic").map(|(pair, _)| pair)
}

fn date(seconds: i64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(seconds.max(0).unsigned_abs());
    httpdate::fmt_http_date(at)
}
