//! Which host needs a certificate now, and what became of it?

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::account::account;
use super::authority::Caller;
use super::failure::{Failure, is_problem};
use super::metrics::Metrics;
use super::order::obtain;
use super::proof::{Prover, Shop};
use super::sharing::{Others, Sharing};
use super::store::{Store, is_for};
use super::tokens::Tokens;
use super::work::{Host, Work, date};
use crate::clock::Clock;
use crate::config::settings::{Acme, AcmeAuthority, Settings};
use crate::fleet::lease::{Lease, Taken};
use crate::tls::pair::Pair;
use crate::tls::serving::Serving;
use crate::tls::{in_one_line, outgoing};

/// How often it is looked whether something is to be done: some comparisons, and with other nodes a question to Redis.
const LOOK: Duration = Duration::from_secs(1);

/// The longest attempt: two orders, each with its 90 s of looking and 90 s of issuing. Others wait for it.
const ATTEMPT: Duration = Duration::from_mins(6);

/// Seconds until it is looked again while another node orders, or while it is not known whether one does.
const THEIR_TURN: i64 = 5;
const NOT_KNOWN: i64 = 60;

/// Keeps hosts in certificates. One order at a time: authorities limit how many there may be, and it is enough.
#[derive(Debug)]
pub struct Keeper {
    shop: Shop,
    clock: Clock,
    metrics: Metrics,
    others: OnceLock<Others>,
    /// Whether an operator wants to see an attempt now.
    hurry: AtomicBool,
}

impl Keeper {
    /// Shows what it obtains at `serving`, and proves hosts there and by `tokens`.
    pub fn register(serving: Arc<Serving>, tokens: Arc<Tokens>, clock: Clock, registry: &mut Registry) -> Self {
        let metrics = Metrics::register(registry);
        let shop = Shop { serving, tokens };
        Self { shop, clock, metrics, others: OnceLock::new(), hurry: AtomicBool::new(false) }
    }

    /// Shares with other nodes from here on, where they have a secret in common.
    pub fn join(&self, others: Others) {
        _ = self.others.set(others);
    }

    /// Shows what earlier runs have obtained; nobody is asked.
    pub async fn show_kept(&self, acme: &Acme) {
        self.follow(None, Some(acme)).await;
    }

    /// Has what has failed be tried again at once, unless the authority wants to be left alone.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// Obtains what is wanted, and renews it in time, until `stop`.
    pub async fn run(&self, settings: &ArcSwap<Settings>, stop: &CancellationToken) {
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
                seen = Some(now_wanted);
            }
            let Some(work) = &mut work else { continue };
            if stop.run_until_cancelled(Box::pin(self.look(work))).await.is_none() {
                return;
            }
        }
    }

    /// Shows what other nodes have an authority look for, until `stop`: also while this one orders for another host.
    pub async fn lend(&self, settings: &ArcSwap<Settings>, stop: &CancellationToken) {
        let Some(others) = self.others.get() else { return };
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut at, mut shown) = (None, None);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let now_wanted = settings.load_full();
            let Some(Acme { authority, hosts }) = now_wanted.tls.as_ref().and_then(|tls| tls.acme.as_ref()) else {
                continue;
            };
            if !at.as_ref().is_some_and(|(known, _)| known == authority) {
                at = Sharing::new(others, authority).map(|sharing| (authority.clone(), sharing));
            }
            let Some((_, sharing)) = &at else { continue };
            let is_ours = |host: &str| hosts.iter().any(|ours| ours == host);
            let proof = sharing.proof(is_ours, self.now()).await;
            if proof.as_ref() != shown.as_ref().map(|(proof, _)| proof) {
                // Before another is shown: its end would be that of the new one, too.
                drop(shown.take());
                shown = proof.and_then(|proof| self.shop.show(&proof).ok().map(|shown| (proof, shown)));
            }
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
        let sharing = self.others.get().and_then(|others| Sharing::new(others, authority));
        let work = Work { authority: authority.clone(), store, sharing, hosts: kept };
        self.show(&work);
        Some(work)
    }

    fn show(&self, work: &Work) {
        self.shop.serving.show(work.hosts.iter().filter_map(|host| host.pair.clone()).collect());
    }

    /// Does what is due.
    async fn look(&self, work: &mut Work) {
        let now = self.now();
        if self.hurry.swap(false, Ordering::Relaxed) {
            work.hurry(now);
        }
        if let Some(at) = work.due(now) {
            self.attend(work, at).await;
        }
        work.offer(now).await;
    }

    /// Does what is to be done for one host.
    async fn attend(&self, work: &mut Work, at: usize) {
        if self.found(work, at).await {
            return;
        }
        let Some(turn) = self.turn(work, at).await else { return };
        // Who had the turn before may have had the certificate issued.
        if turn.is_some() && self.found(work, at).await {
            return;
        }
        let Work { authority, store, sharing, hosts } = work;
        let host = &mut hosts[at];
        let mut told = None;
        let attempt = self.attempt((authority, store, sharing.as_ref()), host, &mut told);
        let attempt = tokio::time::timeout(ATTEMPT, attempt).await;
        match attempt.unwrap_or(Err(Failure::TimedOut(ATTEMPT))) {
            Ok(pair) => {
                let (name, end, way) = (host.name.clone(), date(pair.facts.not_after), host.way);
                host.renew(pair, self.now());
                work.begin_by(way);
                // Before it is said: who hears of it may look.
                self.show(work);
                self.metrics.issued.inc();
                tracing::info!("a certificate for {name} was obtained; it ends {end}");
            }
            Err(failure) => {
                self.metrics.failed.inc();
                host.fail(&failure, told, self.now());
            }
        }
    }

    /// Whether somebody else has obtained what is to be: another process that shares the folder, or another node.
    async fn found(&self, work: &mut Work, at: usize) -> bool {
        let (now, host) = (self.now(), &mut work.hosts[at]);
        if let Some(pair) = read(&work.store, &host.name, now).await
            && host.take(pair, now)
        {
            let name = host.name.clone();
            self.show(work);
            tracing::info!("the certificate for {name} was found in acme.cache");
            return true;
        }
        let Some(sharing) = &work.sharing else { return false };
        let Some(text) = sharing.pair(&host.name).await else { return false };
        let given = Pair::parse(text.as_bytes(), "Redis".as_ref(), now).ok().filter(|pair| is_for(pair, &host.name));
        let is_better = given.is_some_and(|pair| host.take(pair, now));
        if is_better {
            let name = host.name.clone();
            self.show(work);
            tracing::info!("the certificate for {name} was taken over from another node");
            keep(&work.store, &name, text).await;
        }
        is_better
    }

    /// The turn to order, among the nodes; `Some(None)` where there are none, or Redis does not say; `None`: it is not ours.
    async fn turn(&self, work: &mut Work, at: usize) -> Option<Option<Lease>> {
        let Some(sharing) = &work.sharing else { return Some(None) };
        let taken = sharing.lease().await;
        let (now, host) = (self.now(), &mut work.hosts[at]);
        match taken {
            Taken::Ours(lease) => Some(Some(lease)),
            Taken::Unknown if !host.may_wait(now) => Some(None),
            Taken::Unknown => {
                host.due = now + NOT_KNOWN;
                None
            }
            Taken::Theirs => {
                host.due = now + THEIR_TURN;
                None
            }
        }
    }

    /// Has a certificate issued, and keeps it. `told`: how long the authority wants to be left alone.
    async fn attempt(
        &self,
        (authority, store, sharing): (&AcmeAuthority, &Store, Option<&Sharing>),
        host: &mut Host,
        told: &mut Option<Duration>,
    ) -> Result<Pair, Failure> {
        let ca_file = authority.ca_file.clone();
        let trust = tokio::task::spawn_blocking(move || outgoing::client_config(ca_file.as_deref()));
        let caller = Caller::new(trust.await.expect("reading certificates does not panic")?, self.clock.clone());
        let prover = Prover { shop: &self.shop, sharing, clock: &self.clock };
        let issued = issue((authority, store, &caller), host, prover).await;
        *told = caller.told().filter(|_| issued.is_err());
        let text = issued?;
        let now = self.now();
        let pair = Pair::parse(text.as_bytes(), authority.directory.as_ref(), now).map_err(Failure::Issued)?;
        if !is_for(&pair, &host.name) {
            return Err(Failure::OtherHost(pair.label()));
        }
        if let Some(sharing) = sharing {
            sharing.give(&host.name, &text, pair.facts.not_after - now, false).await;
        }
        keep(store, &host.name, text).await;
        Ok(pair)
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis() / 1000).unwrap_or(i64::MAX)
    }
}

/// Key and chain. Where the host could not be proven in one way, by the other; the next attempt begins with what has not
/// failed first.
async fn issue(
    (authority, store, caller): (&AcmeAuthority, &Store, &Caller),
    host: &mut Host,
    prover: Prover<'_>,
) -> Result<String, Failure> {
    let mut by = account(authority, caller, store).await?;
    let mut issued = obtain(&by, &host.name, host.way, prover).await;
    if let Err(Failure::Authority(error)) = &issued
        && is_problem(error, "accountDoesNotExist")
    {
        let forgetful = store.clone();
        let forgotten = tokio::task::spawn_blocking(move || forgetful.forget_account());
        forgotten.await.expect("moving a file does not panic");
        by = account(authority, caller, store).await?;
        issued = obtain(&by, &host.name, host.way, prover).await;
    }
    if let Err(failure) = &issued
        && failure.is_of_the_way()
    {
        tracing::warn!("{}: {}; now by {}", host.name, in_one_line(failure), host.way.other().token());
        issued = obtain(&by, &host.name, host.way.other(), prover).await;
    }
    let (text, way) = issued.inspect_err(|_| host.way = host.way.other())?;
    host.way = way;
    Ok(text)
}

async fn read(store: &Store, name: &str, now: i64) -> Option<Pair> {
    let (store, name) = (store.clone(), name.to_owned());
    let read = tokio::task::spawn_blocking(move || store.pair(&name, now));
    read.await.expect("reading a file does not panic").map(|(pair, _)| pair)
}

/// Without it the certificate is used all the same; the next start has to obtain one.
async fn keep(store: &Store, name: &str, text: String) {
    let (store, file) = (store.clone(), name.to_owned());
    let kept = tokio::task::spawn_blocking(move || store.keep_pair(&file, &text));
    if let Err(error) = kept.await.expect("writing a file does not panic") {
        tracing::error!("the certificate for {name} cannot be kept in acme.cache: {error}");
    }
}
