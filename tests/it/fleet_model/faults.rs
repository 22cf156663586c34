//! What goes wrong, and how everything comes to rest again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use larder::fleet::log::Entry;

use super::account::Purge;
use super::node::MAX_LAG;
use super::store::{Store, position};
use super::world::{Seen, World};

/// What may go wrong in one run: some of it, so that each is also seen without the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Profile {
    /// Requests and answers of a thousand that are lost, and as many that take long.
    pub(super) trouble: u32,
    pub(super) cuts: bool,
    pub(super) freezes: bool,
    pub(super) restarts: bool,
    pub(super) fails_over: bool,
    /// Whether a new master's clock may be behind what the old one has numbered.
    pub(super) goes_back: bool,
    pub(super) flushes: bool,
    pub(super) trims: bool,
    pub(super) meddles: bool,
}

impl Profile {
    pub(super) fn of(random: &mut Rng) -> Self {
        let is_faulty = random.u32(..6) > 0;
        let mut some = |of: u32| is_faulty && random.u32(..of) == 0;
        let (trims, fails_over) = (some(5), some(2));
        Self {
            trouble: if some(2) { 60 } else { 0 },
            cuts: some(2),
            freezes: some(2),
            restarts: some(2),
            // Where what a fail-over took is trimmed before it is missed, nobody can tell: the real log keeps 65,536 entries.
            fails_over: fails_over && !trims,
            goes_back: false,
            flushes: some(4),
            trims,
            meddles: some(4),
        }
    }

    pub(super) fn is_faultless(&self) -> bool {
        let Self { trouble, cuts, freezes, restarts, fails_over, flushes, trims, meddles, .. } = *self;
        trouble == 0 && ![cuts, freezes, restarts, fails_over, flushes, trims, meddles].contains(&true)
    }
}

impl World {
    /// Lets so many things happen, then lets everything come to rest.
    pub(super) async fn run(&mut self, steps: usize) -> Result<(), String> {
        if self.random.u32(..4) > 0 {
            self.pass(Duration::from_millis(50)).await;
        }
        self.redis.trouble(self.profile.trouble);
        for _ in 0..steps {
            match self.random.u32(..100) {
                0..25 => self.fetch(),
                25..45 => self.land(),
                45..52 => self.read(),
                52..59 => self.promote()?,
                59..71 => self.purge(),
                71..80 => self.ask_who_has_it(),
                80..90 => self.fault().await?,
                _ => {
                    let times = [5, 20, 20, 100, 100, 400, 900, 2500];
                    let time = Duration::from_millis(times[self.random.usize(..times.len())]);
                    self.pass(time).await;
                    self.look_everywhere()?;
                }
            }
            let time = Duration::from_millis(self.random.u64(..4));
            self.pass(time).await;
            self.look_everywhere()?;
        }
        self.come_to_rest().await
    }

    async fn fault(&mut self) -> Result<(), String> {
        let node = self.random.usize(..self.nodes.len());
        let Profile { cuts, freezes, restarts, fails_over, flushes, meddles, .. } = self.profile;
        match self.random.u32(..16) {
            0..3 if cuts => {
                let is_cut = self.random.bool();
                self.tell(format!("{node} is cut off: {is_cut}"));
                self.nodes[node].cut(is_cut);
            }
            3..6 if freezes => self.freeze(node)?,
            6..8 if restarts => {
                self.tell(format!("{node} is restarted"));
                self.restart(node);
            }
            8 if restarts => {
                self.tell(format!("{node} ends, and is started again"));
                self.nodes[node].stop();
                self.pass(Duration::from_millis(20)).await;
                self.restart(node);
            }
            9..13 if fails_over => self.fail_over().await?,
            13 if flushes => {
                self.tell("all is flushed");
                self.redis.change(|store| *store = Store::default());
                if self.random.bool() {
                    self.elsewhere.clear();
                }
            }
            14..16 if meddles => self.meddle(),
            _ => {}
        }
        Ok(())
    }

    fn freeze(&mut self, node: usize) -> Result<(), String> {
        let is_frozen = self.nodes[node].is_frozen();
        self.tell(format!("{node} {}", if is_frozen { "thaws" } else { "freezes" }));
        if !is_frozen {
            self.nodes[node].freeze();
            return Ok(());
        }
        self.nodes[node].thaw();
        // Before any of its tasks has run.
        self.look_everywhere()
    }

    async fn fail_over(&mut self) -> Result<(), String> {
        self.redis.set_down(true);
        self.masters += 1;
        let time = Duration::from_millis([0, 1, 30, 300, 1500][self.random.usize(..5)]);
        self.pass(time).await;
        self.look_everywhere()?;
        let lost = self.random.usize(..8);
        let mut ahead = self.random.i64(-1500..500);
        if !self.profile.goes_back {
            let least = self.redis.numbered().cast_signed() + 1 - self.redis.now().cast_signed();
            ahead = ahead.max(least);
        }
        self.tell(format!("a replica takes over: {lost} scripts are lost, its clock is {ahead} ms ahead"));
        self.redis.fail_over(lost, ahead);
        self.redis.set_down(false);
        Ok(())
    }

    /// Somebody else adds an entry, or takes one out.
    fn meddle(&mut self) {
        let (now, which) = (self.redis.now(), self.random.f64());
        let is_added = self.random.bool();
        self.tell(format!("somebody else {} an entry", if is_added { "adds" } else { "takes out" }));
        self.redis.change(|store| {
            let last = store.stream.last().map_or(0, |entry| entry.position.millis() + 1);
            if is_added {
                let position = position(now.max(last), 0);
                store.stream.push(Entry { position, id: 0, previous: 0, payload: Bytes::new() });
            } else if !store.stream.is_empty() {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "one of a few entries")]
                store.stream.remove((store.stream.len() as f64 * which) as usize);
            }
        });
    }

    /// Nothing goes wrong any more: after a while all hear the log, have said all, and know all that is known.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        self.tell("all is well");
        self.redis.trouble(0);
        for node in &self.nodes {
            node.cut(false);
            node.thaw();
        }
        self.look_everywhere()?;
        self.pass(5 * MAX_LAG).await;
        let state = self.redis.look(|store| store.meta).ok_or("there is no log")?;
        for node in &self.nodes {
            let (place, untold) = (node.fleet.place(), node.fleet.untold());
            let is_well = node.ledger.is_heard() && untold == 0 && place == Some((state.era, state.last));
            if !is_well || node.ledger.era() != state.era {
                let heard = node.ledger.is_heard();
                let name = &node.name;
                return Err(format!("{name} is at {place:?} of {state:?}, heard: {heard}, untold: {untold}"));
            }
        }
        self.owe();
        self.count();
        self.look_everywhere()
    }

    /// From now on everybody has to know what the log has, and what one of those who live was told.
    fn owe(&self) {
        let lives: Vec<_> = self.nodes.iter().enumerate().map(|(index, node)| (index, node.life)).collect();
        let account = &mut *self.account();
        let in_log = self.in_log(account);
        let is_owed = |index: &usize| {
            let purge = &account.purges[*index];
            purge.returned.is_some() && (in_log.contains(index) || lives.contains(&purge.by))
        };
        account.owed = (0..account.purges.len()).filter(is_owed).collect();
    }

    fn count(&mut self) {
        let count =
            |is_so: fn(&Purge) -> bool| self.account().purges.iter().filter(|purge| is_so(purge)).count() as u64;
        let told = count(|purge| purge.place().is_some());
        let untold = count(|purge| purge.returned.is_some() && purge.place().is_none());
        let by_all = count(|purge| purge.by_all.is_some());
        self.seen = Seen { told, untold, by_all, ..self.seen };
    }

    /// The trace so far.
    pub(super) fn traced(&self) -> String {
        Arc::clone(&self.trace).lock().expect("nothing panics while it is held").join("\n")
    }
}
