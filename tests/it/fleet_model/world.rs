//! Some nodes, one Redis, one second tier, and a random number that says what happens next.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fastrand::Rng;
use larder::cache::ledger::{STRIDE, Stamp};
use larder::clock::Clock;
use larder::fleet::notice::Notice;
use larder::policy::reuse::Standing;
use larder::policy::scope::{Labels, Scope, Severity, Tags};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::account::{Account, Birth, Fetch, Life, Purge};
use super::faults::Profile;
use super::node::{MAX_LAG, Node, Stored, response};
use super::redis::Redis;

const TARGETS: [&str; 3] = ["/0", "/1", "/2"];
const TAGS: [&str; 3] = ["t0", "t1", "t2"];

/// Responses that one node keeps.
const KEPT: usize = 8;

/// How long an operator's purge waits for the log, and for the other nodes.
const PATIENCE: Duration = Duration::from_millis(500);
const CONFIRMATION: Duration = Duration::from_secs(1);

/// What the second tier has under one URL.
#[derive(Debug, Clone)]
pub(super) struct Elsewhere {
    fetch: usize,
    labels: Labels,
    stamp: Stamp,
}

struct Fetching {
    by: Life,
    fetch: usize,
    stamp: Stamp,
}

/// A look into the second tier that has been answered, and not yet been told.
struct Reading {
    by: Life,
    found: Elsewhere,
    known: Stamp,
}

/// How often what the simulation is for came about.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) told: u64,
    pub(super) untold: u64,
    pub(super) by_all: u64,
    pub(super) alive: u64,
    pub(super) elsewhere: u64,
    pub(super) owed: u64,
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        let Self { told, untold, by_all, alive, elsewhere, owed } = other;
        self.told += told;
        self.untold += untold;
        self.by_all += by_all;
        self.alive += alive;
        self.elsewhere += elsewhere;
        self.owed += owed;
    }

    pub(super) fn is_varied(self) -> bool {
        let Self { told, untold, by_all, alive, elsewhere, owed } = self;
        [told, untold, by_all, alive, elsewhere, owed].iter().all(|count| *count >= 100)
    }
}

pub(super) struct World {
    pub(super) random: Rng,
    pub(super) redis: Arc<Redis>,
    pub(super) nodes: Vec<Node>,
    clocks: Vec<Clock>,
    pub(super) elsewhere: BTreeMap<&'static str, Elsewhere>,
    fetching: Vec<Fetching>,
    reading: Vec<Reading>,
    account: Arc<Mutex<Account>>,
    tasks: Vec<(Life, JoinHandle<()>)>,
    pub(super) masters: u64,
    pub(super) profile: Profile,
    pub(super) seen: Seen,
    pub(super) trace: Arc<Mutex<Vec<String>>>,
    began: Instant,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let mut random = Rng::with_seed(seed);
        let profile = Profile::of(&mut random);
        let kept = if profile.trims { 6 } else { 100_000 };
        let redis = Redis::new(random.fork(), 2 * MAX_LAG, kept);
        let clocks: Vec<_> = (0..3).map(|_| redis.clock(random.u64(..20_000))).collect();
        let mut world = Self {
            random,
            redis,
            nodes: Vec::new(),
            clocks,
            elsewhere: BTreeMap::new(),
            fetching: Vec::new(),
            reading: Vec::new(),
            account: Arc::default(),
            tasks: Vec::new(),
            masters: 0,
            profile,
            seen: Seen::default(),
            trace: Arc::default(),
            began: Instant::now(),
        };
        world.nodes = (0..3).map(|node| world.born((node, 0))).collect();
        world.tell(format!("{:?}", world.profile));
        world
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().expect("nothing panics while it is held")
    }

    pub(super) fn tell(&self, what: impl Into<String>) {
        let at = self.began.elapsed().as_millis();
        self.trace.lock().expect("nothing panics while it is held").push(format!("{at:6} {}", what.into()));
    }

    /// The purges that the log has.
    pub(super) fn in_log(&self, account: &Account) -> HashSet<usize> {
        let has =
            |index: &usize| account.purges[*index].id().is_some_and(|id| self.redis.look(|store| store.holds(id)));
        (0..account.purges.len()).filter(has).collect()
    }

    /// A node begins a life.
    pub(super) fn born(&self, life: Life) -> Node {
        let mut account = self.account();
        let birth = Birth {
            at: account.next(),
            in_log: self.in_log(&account),
            masters: self.masters,
            time: self.redis.elapsed(),
            has_replayed: false,
        };
        account.births.insert(life, birth);
        Node::start(&self.redis, self.clocks[life.0].clone(), &format!("n{}", life.0), life.1)
    }

    /// A node ends a life and begins another, with nothing in memory.
    pub(super) fn restart(&mut self, node: usize) {
        let life = (node, self.nodes[node].life);
        self.nodes[node].kill();
        self.tasks.iter().filter(|(of, _)| *of == life).for_each(|(_, task)| task.abort());
        self.fetching.retain(|fetching| fetching.by != life);
        self.reading.retain(|reading| reading.by != life);
        self.nodes[node] = self.born((node, life.1 + 1));
    }

    fn life(&self, node: usize) -> Life {
        (node, self.nodes[node].life)
    }

    /// A node that runs.
    fn some_node(&mut self) -> Option<usize> {
        let node = self.random.usize(..self.nodes.len());
        (!self.nodes[node].is_frozen()).then_some(node)
    }

    pub(super) async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
        self.redis.tick();
    }

    pub(super) fn fetch(&mut self) {
        let Some(node) = self.some_node() else { return };
        let target = TARGETS[self.random.usize(..TARGETS.len())];
        let tags: Vec<_> = TAGS.into_iter().filter(|_| self.random.bool()).map(str::as_bytes).collect();
        let labels = Labels::new("http", "a.test", target, Tags::new([], tags));
        let (by, place) = (self.life(node), self.nodes[node].fleet.place());
        let stamp = self.nodes[node].ledger.stamp();
        let (fetch, began) = {
            let mut account = self.account();
            let began = account.next();
            account.fetches.push(Fetch { by, labels: labels.clone(), began, place });
            (account.fetches.len() - 1, began)
        };
        self.tell(format!("{by:?} fetches {fetch} (at {began}): {labels:?} under {stamp:?}"));
        self.fetching.push(Fetching { by, fetch, stamp });
    }

    /// What was fetched is stored, here and elsewhere.
    pub(super) fn land(&mut self) {
        if self.fetching.is_empty() {
            return;
        }
        let Fetching { by, fetch, stamp } = self.fetching.swap_remove(self.random.usize(..self.fetching.len()));
        if self.nodes[by.0].is_frozen() {
            return;
        }
        self.tell(format!("fetch {fetch} lands"));
        let labels = self.account().fetches[fetch].labels.clone();
        let target = TARGETS.into_iter().find(|target| labels.url().ends_with(target)).expect("one of ours");
        self.keep(by.0, Stored { fetch, entry: response(labels.clone(), stamp) });
        let stamp = Stamp { number: stamp.number - stamp.number % STRIDE, ..stamp };
        self.elsewhere.insert(target, Elsewhere { fetch, labels, stamp });
    }

    fn keep(&mut self, node: usize, stored: Stored) {
        let memory = &mut self.nodes[node].memory;
        memory.push(stored);
        let count = memory.len();
        memory.drain(..count.saturating_sub(KEPT));
    }

    /// A node asks the second tier.
    pub(super) fn read(&mut self) {
        let Some(node) = self.some_node() else { return };
        let known = self.nodes[node].ledger.stamp();
        let found = self.random.choice(self.elsewhere.values()).cloned();
        if let Some(found) = found.filter(|_| self.nodes[node].fleet.is_told()) {
            self.reading.push(Reading { by: self.life(node), found, known });
        }
    }

    /// The second tier has answered: what it gave goes into memory.
    pub(super) fn promote(&mut self) -> Result<(), String> {
        if self.reading.is_empty() {
            return Ok(());
        }
        let Reading { by, found, known } = self.reading.swap_remove(self.random.usize(..self.reading.len()));
        if self.nodes[by.0].is_frozen() || !self.nodes[by.0].fleet.is_told() {
            return Ok(());
        }
        self.tell(format!("{by:?} takes fetch {} from elsewhere", found.fetch));
        let stored = Stored { fetch: found.fetch, entry: received(&found, known) };
        self.check(by.0, &stored)?;
        if stored.entry.standing(&self.nodes[by.0].ledger) != Standing::Dead {
            self.keep(by.0, stored);
        }
        Ok(())
    }

    fn some_scope(&mut self) -> Scope {
        match self.random.u32(..10) {
            0 => Scope::Everything,
            1 => Scope::Host("a.test".into()),
            2..6 => Scope::url("http", "a.test", TARGETS[self.random.usize(..TARGETS.len())]),
            _ => Scope::Tag(TAGS[self.random.usize(..TAGS.len())].as_bytes().into()),
        }
    }

    pub(super) fn purge(&mut self) {
        let Some(node) = self.some_node() else { return };
        let scopes = vec![self.some_scope()];
        let severity = if self.random.bool() { Severity::Hard } else { Severity::Soft };
        self.announce(node, scopes, severity);
    }

    /// A node is told of a purge.
    pub(super) fn announce(&mut self, node: usize, scopes: Vec<Scope>, severity: Severity) {
        let by = self.life(node);
        let at = self.clocks[node].now();
        let notice = Notice { scopes: scopes.clone(), effect: severity.into(), at, who: "the model".to_owned() };
        let index = {
            let mut account = self.account();
            let called = account.next();
            let named = HashSet::new();
            account.purges.push(Purge { by, scopes, severity, called, returned: None, by_all: None, named });
            account.purges.len() - 1
        };
        self.tell(format!("{by:?} is asked for purge {index}: {severity:?} {:?}", notice.scopes));
        let (fleet, account, trace) = (Arc::clone(&self.nodes[node].fleet), Arc::clone(&self.account), self.writer());
        let task = self.nodes[node].spawn(async move {
            let announced = fleet.announce(&notice, PATIENCE).await;
            let mut account = account.lock().expect("nothing panics while it is held");
            let now = account.next();
            account.purges[index].returned = Some((now, announced));
            trace(format!("purge {index} is announced (at {now}): {announced:?}"));
        });
        self.tasks.push((by, task));
    }

    fn writer(&self) -> impl Fn(String) + Send + 'static {
        let (trace, began) = (Arc::clone(&self.trace), self.began);
        move |what| {
            let line = format!("{:6} {what}", began.elapsed().as_millis());
            trace.lock().expect("nothing panics while it is held").push(line);
        }
    }

    /// A node asks whether all others have one of its purges, or says what it has heard of that.
    pub(super) fn ask_who_has_it(&mut self) {
        let Some(node) = self.some_node() else { return };
        let life = self.life(node);
        let places: Vec<_> = {
            let account = self.account();
            let told = account.purges.iter().enumerate().rev().take(6);
            told.filter_map(|(index, purge)| Some((index, purge.place()?))).collect()
        };
        let Some((index, place)) = self.random.choice(places) else { return };
        if self.random.bool() {
            let by = self.nodes[node].fleet.acknowledged(place).by;
            self.name(index, &by);
            return;
        }
        let (fleet, account, trace) = (Arc::clone(&self.nodes[node].fleet), Arc::clone(&self.account), self.writer());
        let (lives, redis) = (self.nodes.iter().map(|node| node.life).collect::<Vec<_>>(), Arc::clone(&self.redis));
        let task = self.nodes[node].spawn(async move {
            let acknowledged = fleet.acknowledged_by_all(place, Instant::now() + CONFIRMATION).await;
            let mut account = account.lock().expect("nothing panics while it is held");
            let now = account.next();
            trace(format!("who has purge {index} (at {now}): {acknowledged:?}"));
            // A node that never knew the log before this one does not know who follows that still.
            let lost_for = redis.lost_a_log_ago();
            let knew_the_last = u128::from(redis.elapsed() - account.births[&life].time) > lost_for.as_millis();
            let purge = &mut account.purges[index];
            if acknowledged.is_by_all && (knew_the_last || lost_for > MAX_LAG) {
                purge.by_all = purge.by_all.or(Some(now));
            }
            purge.named.extend(named(&acknowledged.by, &lives));
        });
        self.tasks.push((life, task));
    }

    fn name(&mut self, index: usize, by: &[String]) {
        let lives: Vec<_> = self.nodes.iter().map(|node| node.life).collect();
        self.tell(format!("purge {index} is said to be known to {by:?}"));
        self.account().purges[index].named.extend(named(by, &lives));
    }

    /// Holds what a node finds against the account.
    fn check(&mut self, node: usize, stored: &Stored) -> Result<Standing, String> {
        let standing = stored.entry.standing(&self.nodes[node].ledger);
        match self.account().forbids(self.life(node), stored.fetch, standing) {
            Some(wrong) => Err(wrong),
            None => Ok(standing),
        }
    }

    /// Looks everything up on every node that runs.
    pub(super) fn look_everywhere(&mut self) -> Result<(), String> {
        for node in (0..self.nodes.len()).filter(|node| !self.nodes[*node].is_frozen()).collect::<Vec<_>>() {
            self.see_whether_it_has_replayed(node);
            let known = self.nodes[node].ledger.stamp();
            let is_told = self.nodes[node].fleet.is_told();
            let elsewhere = self.elsewhere.values().filter(|_| is_told);
            let elsewhere = elsewhere.map(|found| Stored { fetch: found.fetch, entry: received(found, known) });
            let elsewhere: Vec<_> = elsewhere.collect();
            self.seen.elsewhere += elsewhere.len() as u64;
            for stored in self.nodes[node].memory.clone().into_iter().chain(elsewhere) {
                let standing = self.check(node, &stored)?;
                self.seen.alive += u64::from(standing == Standing::Alive);
                self.check_that_it_is_alive(node, &stored, standing)?;
            }
        }
        Ok(())
    }

    fn see_whether_it_has_replayed(&mut self, node: usize) {
        let (life, is_heard, masters) = (self.life(node), self.nodes[node].ledger.is_heard(), self.masters);
        let mut account = self.account();
        let birth = account.births.get_mut(&life).expect("it was born");
        birth.has_replayed |= is_heard && birth.masters == masters;
    }

    /// Where nothing ever went wrong, what knew every purge that names it answers.
    fn check_that_it_is_alive(&mut self, node: usize, stored: &Stored, standing: Standing) -> Result<(), String> {
        let up_to = self.nodes[node].fleet.place().map(|(_, position)| position);
        let is_up_to_date = up_to.is_some() && up_to == self.redis.look(|store| store.meta.map(|meta| meta.last));
        let is_owed = self.profile.is_faultless()
            && is_up_to_date
            && self.nodes[node].ledger.is_heard()
            && self.account().is_owed(stored.fetch);
        self.seen.owed += u64::from(is_owed);
        if is_owed && standing != Standing::Alive {
            return Err(format!("{node} finds fetch {} {standing:?}, though it knew all that names it", stored.fetch));
        }
        Ok(())
    }
}

/// What the second tier gave to a node that knew so much when it asked.
fn received(found: &Elsewhere, known: Stamp) -> Arc<larder::cache::entry::Entry> {
    response(found.labels.clone(), found.stamp.as_known_to(known))
}

fn named(by: &[String], lives: &[usize]) -> Vec<Life> {
    let is_named = |node: &usize| by.contains(&format!("n{node}"));
    (0..lives.len()).filter(is_named).map(|node| (node, lives[node])).collect()
}
