//! Does a purge hold under load, and however much it names? No byte that is older than a receipt; every neighbour a hit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::join_all;
use memchr::memmem;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::edge::{Edge, before};
use crate::support::held::purge;
use crate::support::origin::{Asked, Origin, Told, ok, status};
use crate::support::raw::{RawOrigin, Visitor};
use crate::support::wire::{Connection, ask};
use crate::support::{eventually, within};

/// An origin whose answers say which version of the content they are.
async fn versioned(version: Arc<AtomicU64>) -> Origin {
    Origin::serve(move |asked: Asked| -> Told {
        let now = version.load(Ordering::SeqCst);
        let told = ok(now.to_string()).with("surrogate-key", &format!("all of{}", asked.target.replace('/', "-")));
        if asked.field("if-none-match").is_some_and(|tag| tag == format!("\"{now}\"")) {
            return status(304, "").with("etag", &format!("\"{now}\""));
        }
        told.with("cache-control", "max-age=600, stale-if-error=600").with("etag", &format!("\"{now}\""))
    })
    .await
}

/// What the clients and the one who purges know of each other.
#[derive(Default)]
struct Load {
    /// The version of the content that the last receipt vouches for.
    receipt: AtomicU64,
    /// Answers so far.
    answers: AtomicU64,
    stop: AtomicBool,
    moved: Notify,
}

impl Load {
    /// Waits until so many answers more have come.
    async fn goes_on(&self, by: u64) {
        let until = self.answers.load(Ordering::SeqCst) + by;
        let answered = async {
            while self.answers.load(Ordering::SeqCst) < until {
                self.moved.notified().await;
            }
        };
        within("answers under load", answered).await;
    }
}

/// Asks for one URL after the other until told to stop; the answers that were too old.
async fn hammer(edge: &Edge, urls: usize, first: usize, load: &Load) -> Vec<String> {
    let mut connection = Connection::to(edge.address()).await;
    let mut stale = Vec::new();
    for number in first.. {
        if load.stop.load(Ordering::SeqCst) {
            break;
        }
        let acknowledged = load.receipt.load(Ordering::SeqCst);
        let reply = connection.get(&format!("/{}", number % urls)).await;
        load.answers.fetch_add(1, Ordering::SeqCst);
        load.moved.notify_one();
        if reply.text().parse::<u64>().is_ok_and(|version| version < acknowledged) || reply.status != 200 {
            stale.push(format!("{} {} after {acknowledged}: {:?}", reply.status, reply.text(), reply.cache()));
        }
    }
    stale
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_is_older_than_the_last_receipt() {
    const CLIENTS: usize = 24;
    const URLS: usize = 12;
    const PURGES: usize = 60;
    /// Between a receipt and the next purge: each client asks some times.
    const BETWEEN: u64 = 3 * CLIENTS as u64;
    let version = Arc::new(AtomicU64::new(1));
    let origin = versioned(Arc::clone(&version)).await;
    let edge = before(origin.address()).start().await;
    let load = Load::default();
    let clients = join_all((0..CLIENTS).map(|client| hammer(&edge, URLS, client, &load)));
    let purges = async {
        let urls: Vec<_> = (0..URLS).map(|number| format!("http://{}/{number}", edge.address())).collect();
        let orders = [
            json!({ "tags": ["all"] }),
            json!({ "urls": urls }),
            json!({ "tags": ["all"], "soft": true }),
            json!({ "hosts": ["127.0.0.1"] }),
            json!({ "prefixes": [format!("http://{}/", edge.address())], "soft": true }),
            json!({ "everything": true }),
        ];
        for order in orders.iter().cycle().take(PURGES) {
            load.goes_on(BETWEEN).await;
            let next = version.fetch_add(1, Ordering::SeqCst) + 1;
            purge(&edge, order.clone()).await;
            load.receipt.store(next, Ordering::SeqCst);
        }
        load.goes_on(BETWEEN).await;
        load.stop.store(true, Ordering::SeqCst);
    };
    let (stale, ()) = tokio::join!(clients, purges);
    let (stale, total) = (stale.concat(), load.answers.load(Ordering::SeqCst));
    assert!(stale.is_empty(), "{} of {total} answers: {:#?}", stale.len(), &stale[..stale.len().min(5)]);
    assert!((origin.hits() as u64) < total, "some of {total} were hits");
}

/// Gets these targets over several connections, many a time without waiting, and says in how many of the answers our
/// `Cache-Status` holds `word`.
async fn count(edge: &Edge, targets: &[String], word: &str) -> usize {
    const CONNECTIONS: usize = 8;
    const AT_ONCE: usize = 50;
    let shares = targets.chunks(targets.len().div_ceil(CONNECTIONS)).map(async |targets| {
        let mut line = TcpStream::connect(edge.address()).await.expect("the edge listens");
        let (mut read, mut found) = (Vec::new(), 0);
        for targets in targets.chunks(AT_ONCE) {
            let requests = targets.iter().map(|target| format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            line.write_all(requests.collect::<String>().as_bytes()).await.expect("the edge reads");
            read.clear();
            // The answers have no content: each is a head.
            while memmem::find_iter(&read, "\r\n\r\n").count() < targets.len() {
                let more = within("the next answers", line.read_buf(&mut read)).await;
                assert_ne!(more.expect("the edge answers"), 0, "the edge answers everything");
            }
            found += memmem::find_iter(&read, word).count();
        }
        found
    });
    join_all(shares).await.into_iter().sum()
}

/// Answers everything at once, tagged by the first segment of its path.
async fn answer(mut visitor: Visitor) {
    while let Some(head) = visitor.request().await {
        let tag = if head.starts_with("GET /many/") { "many" } else { "few" };
        let fields = format!("cache-control: max-age=600\r\nsurrogate-key: {tag} common\r\ncontent-length: 0");
        visitor.say(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tag_takes_thousands_of_responses_and_spares_their_neighbours() {
    /// `LARDER_OBJECTS=50000` stores more: a build without optimisation takes a millisecond for each.
    const OBJECTS: usize = if cfg!(debug_assertions) { 10_000 } else { 50_000 };
    const NEIGHBOURS: usize = 200;
    let objects = std::env::var("LARDER_OBJECTS").map_or(OBJECTS, |text| text.parse().expect("a number"));
    let origin = RawOrigin::serve(answer).await;
    let edge = before(origin.address()).start().await;
    let named = |what: &str, count| (0..count).map(|number| format!("/{what}/{number}")).collect::<Vec<_>>();
    let (many, few) = (named("many", objects), named("few", NEIGHBOURS));
    assert_eq!(count(&edge, &many, "; stored").await, objects);
    assert_eq!(count(&edge, &few, "; stored").await, NEIGHBOURS);
    let sample: Vec<_> = many.iter().step_by(251).cloned().collect();
    let dry = purge_dry(&edge).await;
    assert_eq!((&dry["status"], &dry["matched"]["edge"]), (&json!("dry-run"), &json!(objects)), "{dry}");
    assert_eq!(count(&edge, &sample, "larder; hit; ttl").await, sample.len(), "nothing has changed");
    let receipt = purge(&edge, json!({ "tags": ["many"] })).await;
    assert_eq!((&receipt["matched"]["edge"], &receipt["matched"]["partial"]), (&json!(objects), &json!(null)));
    assert_eq!(count(&edge, &few, "larder; hit; ttl").await, NEIGHBOURS, "neighbours");
    assert_eq!(count(&edge, &sample, "; hit").await, 0, "none of what was purged is served");
    assert_eq!(origin.hits(), objects + NEIGHBOURS + sample.len());
    // An answer without content may have gone out before it was stored.
    eventually("all of it", async || (count(&edge, &sample, "; hit").await == sample.len()).then_some(())).await;
    let again = purge(&edge, json!({ "tags": ["many"] })).await;
    assert_eq!(again["matched"]["edge"], json!(sample.len()), "what was dead already does not count again");
}

async fn purge_dry(edge: &Edge) -> Value {
    let request = ask("POST", "/purge");
    let order = json!({ "tags": ["many"], "dry_run": true }).to_string();
    let reply = Connection::to(edge.admin_address()).await.send(request, order).await;
    serde_json::from_slice(&reply.body).expect("a receipt is JSON")
}
