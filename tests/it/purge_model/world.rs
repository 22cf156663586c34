//! The conductor, an origin that answers when it is told to, and a random number that says what happens next.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fastrand::Rng;
use http::header::ETAG;
use http::{Method, Request};
use larder::body::request::RequestBody;
use larder::cache::entry::Entry;
use larder::clock::Clock;
use larder::policy::fields::Fields as _;
use larder::policy::key::Key;
use larder::policy::scope::{Labels, Scope, Severity, Tags};
use larder::policy::time::Timestamp;
use larder::purge::order::{Order, Refusal};
use larder::serve::{Serve, Shared};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::account::{Account, Kind, Purge};
use super::answer::{Answer, Seen, received};
use super::script::{self, Base, Given, HOSTS, Question, Said, TARGETS, body_of, chain_of, url_of, variant_of};
use super::{conductor, orders};
use crate::support::DEADLINE;
use crate::support::origin::{Asked, Origin, Pieces, Told, status};
use crate::support::reply::CacheStatus;

/// Turns in which nothing may move, once no socket has anything under way: what is left wakes each other at once.
const QUIET: usize = 8;

/// A question that the origin has got.
struct Arrival {
    asked: Asked,
    answer: oneshot::Sender<Told>,
}

/// A question whose answer is settled and not yet sent.
struct Held {
    id: usize,
    told: Told,
    body: Option<(Pieces, bool)>,
    answer: oneshot::Sender<Told>,
    /// What an unsafe request changes, from the moment of its answer on.
    changes: Vec<Scope>,
}

/// A client that waits.
struct Waiting {
    began: u64,
    method: Method,
    /// The names by which it is known before it has any tags.
    untagged: Labels,
    owed: Option<usize>,
    task: AbortHandle,
}

pub(super) struct World {
    random: Rng,
    clock: Clock,
    shared: Arc<Shared>,
    serve: Serve,
    _origin: Origin,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    held: Vec<Held>,
    streaming: Vec<(usize, Pieces, bool)>,
    waiting: HashMap<usize, Waiting>,
    answers: Arc<Mutex<Vec<(usize, Answer)>>>,
    requests: usize,
    /// Copies of stored responses, as another tier would have them.
    elsewhere: Vec<(Arc<Key>, Arc<Entry>)>,
    account: Account,
    /// The tags that the origin gave, by fetch.
    given: Vec<Given>,
    step: u64,
    pub(super) seen: Seen,
    pub(super) trace: Vec<String>,
}

impl World {
    pub(super) async fn of(seed: u64) -> Self {
        fastrand::seed(seed);
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let inbox = Arc::clone(&arrivals);
        let origin = Origin::serve_with(move |asked| {
            let (answer, answered) = oneshot::channel();
            inbox.lock().expect("no test panics in here").push(Arrival { asked, answer });
            async move { answered.await.unwrap_or_else(|_| status(500, "the simulation has ended")) }
        })
        .await;
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        let shared = conductor::shared(origin.address(), clock.clone()).await;
        Self {
            random: Rng::with_seed(seed),
            clock,
            serve: Serve::new(Arc::clone(&shared)),
            shared,
            _origin: origin,
            arrivals,
            held: Vec::new(),
            streaming: Vec::new(),
            waiting: HashMap::new(),
            answers: Arc::default(),
            requests: 0,
            elsewhere: Vec::new(),
            account: Account::default(),
            given: Vec::new(),
            step: 0,
            seen: Seen::default(),
            trace: Vec::new(),
        }
    }

    /// Lets so many things happen, then lets everything end.
    pub(super) async fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            match self.random.u32(..100) {
                0..40 => self.begin(),
                40..64 => self.say_head(),
                64..80 => self.say_body().await,
                80..88 => self.purge().await?,
                88..93 => self.wait_a_while(),
                93..94 => self.evict(),
                94..98 => self.promote(),
                _ => self.leave(),
            }
            self.settle().await?;
        }
        while !self.held.is_empty() || !self.streaming.is_empty() {
            self.say_head();
            self.say_body().await;
            self.settle().await?;
        }
        let left: Vec<_> = self.waiting.keys().collect();
        if !left.is_empty() || !self.shared.flights.is_empty() {
            return Err(format!("requests {left:?} and {} flights never ended", self.shared.flights.len()));
        }
        Ok(())
    }

    fn tell(&mut self, what: impl Display) {
        self.trace.push(format!("{:4} {what}", self.step));
    }

    /// A client asks.
    fn begin(&mut self) {
        let (host, target) = (HOSTS[self.random.usize(..2)], TARGETS[self.random.usize(..TARGETS.len())]);
        let language = ["en", "de"][self.random.usize(..2)];
        let (method, wish) = match self.random.u32(..100) {
            0..6 => (Method::POST, None),
            6..14 => (Method::HEAD, None),
            14..20 => (Method::GET, Some("no-cache")),
            20..24 => (Method::GET, Some("max-stale")),
            _ => (Method::GET, None),
        };
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.parse().expect("a target");
        request.headers_mut().insert("x-language", language.parse().expect("letters"));
        if let Some(wish) = wish {
            request.headers_mut().insert("cache-control", wish.parse().expect("letters"));
        }
        let is_plain = wish.is_none() && method != Method::POST;
        let (url, variant) = (url_of(host, target), variant_of(target, language));
        let owed = self.account.owed(&url, &variant, self.clock.now()).filter(|_| is_plain);
        let id = self.requests;
        self.requests += 1;
        self.tell(format!("request {id}: {method} {url} {language} {wish:?}, owed: {owed:?}"));
        let (head, body) = request.into_parts();
        let answer = self.serve.answer(head, body, conductor::client(host));
        let answers = Arc::clone(&self.answers);
        let task = tokio::spawn(async move {
            let answer = received(answer.await).await;
            answers.lock().expect("no test panics in here").push((id, answer));
        });
        let untagged = Labels::new("http", host, url.split_at("http://".len() + host.len()).1, Tags::default());
        self.waiting.insert(id, Waiting { began: self.step, method, untagged, owed, task: task.abort_handle() });
    }

    /// A client goes before it has its answer.
    fn leave(&mut self) {
        let mut ids: Vec<_> = self.waiting.keys().copied().collect();
        ids.sort_unstable();
        if let Some(id) = self.random.choice(ids) {
            self.waiting.remove(&id).expect("it was there").task.abort();
            self.tell(format!("client {id} leaves"));
        }
    }

    fn wait_a_while(&mut self) {
        let seconds = [1, 4, 4, 20, 20, 100][self.random.usize(..6)];
        self.clock.set(self.clock.now().plus(Duration::from_secs(seconds)));
        self.tell(format!("{seconds} s go by"));
    }

    /// What is stored, in an order that depends on nothing but the keys.
    fn stored(&self) -> Vec<(Arc<Key>, Arc<Entry>)> {
        let stored = self.shared.memory.iter();
        let mut stored: Vec<_> = stored
            .flat_map(|(key, variants)| variants.entries().to_vec().into_iter().map(move |e| (Arc::clone(&key), e)))
            .collect();
        stored.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
        stored
    }

    fn evict(&mut self) {
        let Some((key, entry)) = self.random.choice(self.stored()) else { return };
        self.shared.memory.remove(key.as_bytes());
        let url = entry.head.labels.url().to_owned();
        self.tell(format!("{url} is evicted"));
        self.account.evicted.push((self.step, url));
    }

    /// A copy goes to another tier, or comes back from it.
    fn promote(&mut self) {
        if self.random.bool() || self.elsewhere.is_empty() {
            self.elsewhere.extend(self.random.choice(self.stored()));
            return;
        }
        let (_, copy) = self.elsewhere[self.random.usize(..self.elsewhere.len())].clone();
        let entry = Arc::new(Entry::new(copy.head.clone(), copy.body.clone(), copy.part()));
        self.tell(format!("{:?} is promoted", chain_of(&entry.head.headers)));
        self.shared.memory.put(entry, None);
        self.account.promoted.push((self.step, copy.head.labels.url().to_owned()));
    }

    /// The head of one of the answers that are held comes.
    fn say_head(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let held = self.held.remove(self.random.usize(..self.held.len()));
        let is_taken = held.answer.send(held.told).is_ok();
        self.tell(format!("the head of {} comes (taken: {is_taken})", held.id));
        if !is_taken {
            return;
        }
        match held.body {
            Some((pieces, is_shared)) => self.streaming.push((held.id, pieces, is_shared)),
            None => self.account.fetches[held.id].landed = Some(self.step),
        }
        if !held.changes.is_empty() {
            let (step, scopes, severity) = (self.step, held.changes, Severity::Hard);
            self.account.purges.push(Purge { step, scopes, severity, cause: Some(held.id) });
        }
    }

    /// The body of one of the answers that are arriving comes, or breaks off.
    async fn say_body(&mut self) {
        if self.streaming.is_empty() {
            return;
        }
        let (id, pieces, _) = self.streaming.remove(self.random.usize(..self.streaming.len()));
        let breaks = self.random.u32(..10) == 0;
        self.tell(format!("the body of {id} comes (breaks off: {breaks})"));
        let is_taken = pieces.send(body_of(id)).await;
        if breaks {
            pieces.cut().await;
        } else if is_taken {
            self.account.fetches[id].landed = Some(self.step);
        }
    }

    async fn purge(&mut self) -> Result<(), String> {
        let severity = if self.random.bool() { Severity::Hard } else { Severity::Soft };
        let (one, other) = (orders::some(severity, &mut self.random), orders::some(severity, &mut self.random));
        let rules = &self.shared.site.load().rules;
        let refused = |refusal: Refusal| refusal.to_string();
        let orders = [&one.0, &other.0].map(|request| Order::of(request, rules, "the model".to_owned()));
        let [first, second] = orders.map(|order| order.map_err(refused));
        let (purger, mut scopes) = (&self.shared.purger, one.1);
        match self.random.u32(..8) {
            0..2 => {
                tokio::join!(purger.purge(first?), purger.purge(second?));
                scopes.extend(other.1);
            }
            2 => {
                scopes = vec![Scope::Group { origin: "http://a.test".into(), name: (*b"g0").into() }];
                self.shared.ledger.purge(&scopes, severity, self.clock.now());
            }
            _ => drop(purger.purge(first?).await),
        }
        self.tell(format!("purged ({severity:?}): {scopes:?}"));
        self.account.purges.push(Purge { step: self.step, scopes, severity, cause: None });
        Ok(())
    }

    /// Waits until nothing moves, and holds every answer that came against the account.
    async fn settle(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let mut quiet = 0;
        while quiet < QUIET {
            tokio::task::yield_now().await;
            let arrivals = std::mem::take(&mut *self.arrivals.lock().expect("no test panics in here"));
            let answers = std::mem::take(&mut *self.answers.lock().expect("no test panics in here"));
            let is_still = arrivals.is_empty() && answers.is_empty() && self.is_idle();
            quiet = if is_still { quiet + 1 } else { 0 };
            for arrival in arrivals {
                self.arrived(arrival);
            }
            for (id, answer) in answers {
                self.answered(id, &answer)?;
            }
            if began.elapsed() > DEADLINE {
                return Err(format!("it does not come to rest: {} fills", self.fills()));
            }
        }
        for (id, waiting) in &self.waiting {
            if let Some(owed) = waiting.owed {
                return Err(format!("request {id} waits, though {owed} is fresh and no purge names it"));
            }
            if let Some(wrong) = self.account.forbids_waiting(&waiting.untagged, waiting.began) {
                return Err(format!("request {id}: {wrong}"));
            }
        }
        self.step += 1;
        Ok(())
    }

    fn fills(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Whether every fetch has reached the origin, and everything that the origin said has reached its fetch: a busy
    /// machine takes its time between two sockets.
    fn is_idle(&self) -> bool {
        let open = self.held.iter().filter(|held| !held.answer.is_closed());
        let (changes, fills): (Vec<_>, Vec<_>) =
            open.partition(|held| self.account.fetches[held.id].kind == Kind::Change);
        let changing = self.waiting.values().filter(|waiting| waiting.method == Method::POST);
        // What is for one client alone comes in that client's own time.
        let streaming = self.streaming.iter().filter(|(_, _, is_shared)| *is_shared);
        self.fills() == fills.len() + streaming.count() && changing.count() == changes.len()
    }

    /// Settles what the origin says to a question.
    fn arrived(&mut self, Arrival { asked, answer }: Arrival) {
        let question = Question { id: self.account.fetches.len(), asked, step: self.step, now: self.clock.now() };
        let said = script::say(&question, self.base(&question), &mut self.random);
        let Said { fetch, given, told, body, changes } = said;
        let Question { id, asked, .. } = question;
        let condition = asked.field("if-none-match");
        let (kind, labels, chain) = (fetch.kind, &fetch.labels, &fetch.chain);
        self.tell(format!(
            "the origin is asked {} {labels:?}, {condition:?}: {id} is a {kind:?} {chain:?}",
            asked.method
        ));
        self.account.fetches.push(fetch);
        self.given.push(given);
        self.held.push(Held { id, told, body, answer, changes });
    }

    /// What is stored of what the origin is asked about.
    fn base(&self, question: &Question) -> Option<Base> {
        let (url, variant) = (question.url(), question.variant());
        let condition = question.asked.field("if-none-match");
        let is_meant = |entry: &Entry| {
            let last = chain_of(&entry.head.headers).pop();
            let of_variant = last.is_some_and(|last| self.account.fetches[last].variant == variant);
            let etag = etag_of(entry);
            let is_confirmed = question.asked.method == Method::HEAD || condition == etag;
            entry.head.labels.url() == url && of_variant && is_confirmed && etag.is_some()
        };
        let (_, entry) = self.stored().into_iter().find(|(_, entry)| is_meant(entry))?;
        let chain = chain_of(&entry.head.headers);
        let given = self.given[*chain.last()?].clone();
        Some(Base { etag: etag_of(&entry)?, chain, given })
    }

    /// Holds what a client got against the account.
    fn answered(&mut self, id: usize, answer: &Answer) -> Result<(), String> {
        let Some(waiting) = self.waiting.remove(&id) else { return Ok(()) };
        let chain = chain_of(&answer.headers);
        let cache = CacheStatus::of(&answer.headers).ok_or("an answer without a Cache-Status")?;
        self.tell(format!("request {id} gets {chain:?} {:?} (whole: {}): {cache:?}", answer.body, answer.whole));
        let is_stale = ["stale-while-revalidate", "stale-if-error", "max-stale"].iter().any(|word| cache.says(word));
        self.seen.count(&cache, waiting.owed.is_some());
        // The origin's own answer to a HEAD is no stored response.
        let is_passed_on = waiting.method == Method::HEAD && !cache.hit && cache.fwd_status == Some(200);
        if let Some(wrong) = self.account.forbids(&chain, !is_stale, waiting.began).filter(|_| !is_passed_on) {
            return Err(format!("request {id}: {wrong}"));
        }
        let is_read = waiting.method == Method::GET && answer.whole;
        if let Some(root) = chain.first().filter(|_| is_read)
            && ![body_of(*root).as_str(), "trouble"].contains(&answer.body.as_str())
        {
            return Err(format!("request {id} got {:?} under the head of {chain:?}", answer.body));
        }
        match waiting.owed {
            Some(owed) if !cache.is_fresh_hit() => {
                Err(format!("request {id} was owed {owed}, which is fresh and untouched; it got {chain:?}: {cache:?}"))
            }
            _ => Ok(()),
        }
    }
}

fn etag_of(entry: &Entry) -> Option<String> {
    entry.head.headers.first(&ETAG).and_then(|tag| str::from_utf8(tag).ok()).map(str::to_owned)
}
