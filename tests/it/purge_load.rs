//! Does a purge hold under load, and however much it names? No byte that is older than a receipt; every neighbour a hit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::edge::{Edge, before};
use crate::support::held::purge;
use crate::support::origin::{Asked, Origin, Told, ok};
use crate::support::wire::Connection;

/// An origin whose answers say which version of the content they are.
async fn versioned(version: Arc<AtomicU64>) -> Origin {
    Origin::serve(move |asked: Asked| -> Told {
        let now = version.load(Ordering::SeqCst);
        let told = ok(now.to_string()).with("surrogate-key", &format!("all of{}", asked.target.replace('/', "-")));
        if asked.field("if-none-match").is_some_and(|tag| tag == format!("\"{now}\"")) {
            return crate::support::origin::status(304, "").with("etag", &format!("\"{now}\""));
        }
        told.with("cache-control", "max-age=600, stale-if-error=600").with("etag", &format!("\"{now}\""))
    })
    .await
}

/// Asks for one URL after the other until told to stop; how often it was answered, and how often with too old a version.
async fn hammer(edge: &Edge, urls: usize, first: usize, receipt: &AtomicU64, stop: &AtomicBool) -> (u64, Vec<String>) {
    let mut connection = Connection::to(edge.address()).await;
    let (mut answers, mut stale) = (0, Vec::new());
    for number in first.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let acknowledged = receipt.load(Ordering::SeqCst);
        let reply = connection.get(&format!("/{}", number % urls)).await;
        answers += 1;
        if reply.text().parse::<u64>().is_ok_and(|version| version < acknowledged) || reply.status != 200 {
            stale.push(format!("{} {} after {acknowledged}: {:?}", reply.status, reply.text(), reply.cache()));
        }
    }
    (answers, stale)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_is_older_than_the_last_receipt() {
    const CLIENTS: usize = 24;
    const URLS: usize = 12;
    let version = Arc::new(AtomicU64::new(1));
    let origin = versioned(Arc::clone(&version)).await;
    let edge = before(origin.address()).start().await;
    let (receipt, stop) = (AtomicU64::new(1), AtomicBool::new(false));
    let clients = join_all((0..CLIENTS).map(|client| hammer(&edge, URLS, client, &receipt, &stop)));
    let purges = async {
        let end = Instant::now() + Duration::from_secs(4);
        let urls: Vec<_> = (0..URLS).map(|number| format!("http://{}/{number}", edge.address())).collect();
        let orders = [
            json!({ "tags": ["all"] }),
            json!({ "urls": urls }),
            json!({ "tags": ["all"], "soft": true }),
            json!({ "hosts": ["127.0.0.1"] }),
            json!({ "prefixes": [format!("http://{}/", edge.address())], "soft": true }),
            json!({ "everything": true }),
        ];
        for order in orders.iter().cycle() {
            if Instant::now() > end {
                break;
            }
            let next = version.fetch_add(1, Ordering::SeqCst) + 1;
            purge(&edge, order.clone()).await;
            receipt.store(next, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    };
    let (answers, ()) = tokio::join!(clients, purges);
    let stale: Vec<_> = answers.iter().flat_map(|(_, stale)| stale).take(5).collect();
    let (total, rounds) = (answers.iter().map(|(total, _)| total).sum::<u64>(), receipt.load(Ordering::SeqCst));
    assert!(stale.is_empty(), "of {total} answers between {rounds} purges: {stale:#?}");
    assert!(total > 500 && rounds > 20, "{total} answers, {rounds} purges: too few to tell anything");
    assert!((origin.hits() as u64) < total, "some were hits");
}

/// Gets these targets over several connections, and says how many of the answers `is_wanted` likes.
async fn count(edge: &Edge, targets: &[String], is_wanted: impl Fn(&crate::support::reply::Reply) -> bool) -> usize {
    const CONNECTIONS: usize = 8;
    let chunks = targets.chunks(targets.len().div_ceil(CONNECTIONS)).map(async |targets| {
        let mut connection = Connection::to(edge.address()).await;
        let mut wanted = 0;
        for target in targets {
            wanted += usize::from(is_wanted(&connection.get(target).await));
        }
        wanted
    });
    join_all(chunks).await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tag_takes_fifty_thousand_responses_and_spares_their_neighbours() {
    const OBJECTS: usize = 50_000;
    const NEIGHBOURS: usize = 200;
    let origin = Origin::serve(|asked| {
        let tag = if asked.target.starts_with("/many/") { "many common" } else { "few common" };
        ok(Bytes::from_static(b"body")).fresh(600).with("surrogate-key", tag)
    })
    .await;
    let edge = before(origin.address()).start().await;
    let named = |what: &str, count| (0..count).map(|number| format!("/{what}/{number}")).collect::<Vec<_>>();
    let (many, few) = (named("many", OBJECTS), named("few", NEIGHBOURS));
    assert_eq!(count(&edge, &many, |reply| reply.cache().stored).await, OBJECTS);
    assert_eq!(count(&edge, &few, |reply| reply.cache().stored).await, NEIGHBOURS);
    let sample: Vec<_> = many.iter().step_by(251).cloned().collect();
    let dry = purge_dry(&edge).await;
    assert_eq!((&dry["status"], &dry["matched"]["edge"]), (&json!("dry-run"), &json!(OBJECTS)), "{dry}");
    assert_eq!(count(&edge, &sample, |reply| reply.cache().is_fresh_hit()).await, sample.len(), "nothing has changed");
    let receipt = purge(&edge, json!({ "tags": ["many"] })).await;
    assert_eq!((&receipt["matched"]["edge"], &receipt["matched"]["partial"]), (&json!(OBJECTS), &json!(null)));
    assert_eq!(count(&edge, &few, |reply| reply.cache().is_fresh_hit()).await, NEIGHBOURS, "neighbours");
    assert_eq!(count(&edge, &sample, |reply| reply.cache().hit).await, 0, "none of what was purged is served");
    assert_eq!(origin.hits(), OBJECTS + NEIGHBOURS + sample.len());
    let again = purge(&edge, json!({ "tags": ["many"] })).await;
    assert_eq!(again["matched"]["edge"], json!(sample.len()), "what was dead already does not count again");
}

async fn purge_dry(edge: &Edge) -> serde_json::Value {
    let request = crate::support::wire::ask("POST", "/purge");
    let order = json!({ "tags": ["many"], "dry_run": true }).to_string();
    let reply = Connection::to(edge.admin_address()).await.send(request, order).await;
    serde_json::from_slice(&reply.body).expect("a receipt is JSON")
}
