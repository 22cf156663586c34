//! What another node put into the second tier: is it used only as far as this node can know that it is alive?

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;
use larder::cache::entry::{Entry, Head};
use larder::cache::ledger::Stamp;
use larder::cache::tier::{Extent, Pending, Tier, Unreachable};
use larder::clock::Clock;
use larder::fleet::Fleet;
use larder::fleet::log::{Draft, Entry as LogEntry, LogError, Member, Muster, PurgeLog};
use larder::fleet::notice::{Effect, Notice};
use larder::fleet::position::Position;
use larder::policy::key::Key;
use larder::policy::scope::{Scope, Severity};
use larder::serve::{Elsewhere, Serve, Shared};

use super::conductor;
use super::promotion::get;
use crate::support::origin::{Origin, ok};

/// A tier that gives whatever it holds, to everybody.
#[derive(Debug, Default)]
struct Shelf(Mutex<Option<Arc<Entry>>>);

impl Tier for Shelf {
    fn get<'a>(&'a self, _: &'a Key, _: &'a HeaderMap) -> Pending<'a, Result<Option<Arc<Entry>>, Unreachable>> {
        Box::pin(async { Ok(self.0.lock().expect("no test panics in here").clone()) })
    }

    fn put(&self, _: &Key, _: &Arc<Entry>, _: Extent) -> Pending<'static, ()> {
        Box::pin(std::future::ready(()))
    }

    fn remove(&self, _: &Key, _: &Arc<Entry>) {}
}

/// A log that cannot be asked.
#[derive(Debug)]
struct Deaf;

fn never<T: Send>() -> Pending<'static, Result<T, LogError>> {
    Box::pin(async { Err(LogError::Unasked) })
}

impl PurgeLog for Deaf {
    fn append<'a>(&'a self, _: u64, _: Position, _: &'a Draft, _: Duration) -> Pending<'a, Result<Position, LogError>> {
        never()
    }

    fn read(&self, _: Position, _: Duration) -> Pending<'_, Result<Vec<LogEntry>, LogError>> {
        never()
    }

    fn between(&self, _: Position, _: Position) -> Pending<'_, Result<Vec<LogEntry>, LogError>> {
        never()
    }

    fn beat<'a>(&'a self, _: &'a Member, _: Position) -> Pending<'a, Result<Muster, LogError>> {
        never()
    }

    fn muster(&self) -> Pending<'_, Result<Muster, LogError>> {
        never()
    }

    fn renew(&self, _: u64, _: Position) -> Pending<'_, Result<(), LogError>> {
        never()
    }

    fn leave<'a>(&'a self, _: &'a str) -> Pending<'a, Result<(), LogError>> {
        never()
    }
}

/// A node before an origin that numbers its answers, and the tier that it shares with others.
async fn node(origin: &Origin) -> (Arc<Shared>, Serve, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::default());
    let tier = Arc::clone(&shelf);
    let shared = conductor::shared_with(origin.address(), Clock::System, |ledger| {
        let lag = Duration::from_secs(5);
        let fleet = Fleet::new("e1".to_owned(), Arc::new(Deaf), Arc::clone(ledger), Clock::System, lag);
        Some(Elsewhere { tier, fleet, leases: None, links: Vec::new() })
    })
    .await;
    (Arc::clone(&shared), Serve::new(shared), shelf)
}

async fn numbering_origin() -> Origin {
    Origin::serve(|asked| ok(format!("v{}", asked.number)).fresh(600).with("surrogate-key", "t")).await
}

/// Takes what is in memory out, and puts it onto the shelf as another node would have stored it under this stamp.
fn shelve(shared: &Shared, shelf: &Shelf, stamp: Stamp) {
    let (key, stored) = shared.memory.iter().next().expect("something is stored");
    let entry = &stored.entries()[0];
    let head = Head { stamp, ..entry.head.clone() };
    *shelf.0.lock().expect("no test panics in here") = Some(Arc::new(Entry::new(head, entry.body.clone(), None)));
    shared.memory.remove(key.as_bytes());
}

fn of_tag() -> [Scope; 1] {
    [Scope::Tag((*b"t").into())]
}

#[tokio::test]
async fn while_the_others_have_not_heard_of_a_purge_nothing_of_theirs_is_used() {
    let origin = numbering_origin().await;
    let (shared, serve, shelf) = node(&origin).await;
    get(&serve, "/x").await;
    shelve(&shared, &shelf, shared.ledger.stamp());
    let (body, cache) = get(&serve, "/x").await;
    assert_eq!((&*body, cache.says("redis")), ("v1", true), "{cache:?}");
    let fleet = &shared.elsewhere.as_ref().expect("it has one").fleet;
    let notice = Notice { scopes: of_tag().into(), effect: Effect::Hard, at: shared.clock.now(), who: "me".to_owned() };
    assert_eq!(fleet.announce(&notice, Duration::ZERO).await.place, None, "the log cannot be asked");
    // Another node, which has not heard of it, stores what it had fetched before, knowing more of the log than this one.
    let known = shared.ledger.stamp();
    shelve(&shared, &shelf, Stamp { number: known.number + 100, ..known });
    let (body, cache) = get(&serve, "/x").await;
    assert_eq!((&*body, cache.hit), ("v2", false), "{cache:?}");
}

#[tokio::test]
async fn what_a_node_fetched_that_knew_more_does_not_outlive_a_purge_of_this_one() {
    let origin = numbering_origin().await;
    let (shared, serve, shelf) = node(&origin).await;
    get(&serve, "/x").await;
    let known = shared.ledger.stamp();
    shelve(&shared, &shelf, Stamp { number: known.number + 100, ..known });
    let (body, cache) = get(&serve, "/x").await;
    assert_eq!((&*body, cache.says("redis")), ("v1", true), "nothing is known against it: {cache:?}");
    shared.ledger.purge(&of_tag(), Severity::Hard, shared.clock.now());
    *shelf.0.lock().expect("no test panics in here") = None;
    let (body, cache) = get(&serve, "/x").await;
    assert_eq!((&*body, cache.hit), ("v2", false), "the purge has a lower number, and came later: {cache:?}");
}
