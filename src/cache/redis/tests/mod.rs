//! Does the tier keep its word with a real Redis, whatever is in it?

mod hostile;
mod server;
mod stage;

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE};
use tokio_util::sync::CancellationToken;

use self::server::Server;
use self::stage::{Stage, by, entry, key, with};
use crate::cache::codec::CHUNK;
use crate::cache::tier::{Extent, Tier, Unreachable};
use crate::policy::time::Span;
use crate::policy::vary::Selecting;

const NONE: &[(&str, &str)] = &[];

#[tokio::test]
async fn what_is_put_is_there_for_other_nodes() {
    let stage = Stage::new().await;
    let entry = with(entry("/", 1, b"body"), &[("etag", "\"1\""), ("x", "a"), ("x", "b")]);
    assert!(stage.get("/", NONE).await.unwrap().is_none(), "nothing yet");
    stage.put("/", &entry, Extent::Whole).await;
    let found = stage.get("/", NONE).await.unwrap().unwrap();
    assert_eq!(found.head.headers.to_map(), entry.head.headers.to_map());
    assert_eq!((found.head.stamp, found.head.received_at), (entry.head.stamp, entry.head.received_at));
    assert_eq!((&found.head.labels, found.body.pieces().concat()), (&entry.head.labels, b"body".to_vec()));
    assert!(stage.get("/x", NONE).await.unwrap().is_none(), "another key");
    let keys = stage.keys().await;
    assert!(keys.len() == 1 && keys[0].starts_with("{shop:o:") && keys[0].ends_with('}'), "{keys:?}");
    // A minute of freshness, and ten to be revalidated in.
    let left = stage.time_left(&keys[0]).await;
    assert!((650_000..=660_000).contains(&left), "{left}");
    assert_eq!(stage.counts("lookups", &["hit", "miss", "rejected", "error"]), [1, 2, 0, 0]);
    assert_eq!(
        (stage.counts("writes", &["whole"]), stage.value("queue_jobs"), stage.value("queue_bytes")),
        (vec![1], 0, 0)
    );
    assert_eq!(stage.value("lookup_seconds_count"), 3);
}

#[tokio::test]
async fn bodies_of_every_size_come_back_as_they_were() {
    let stage = Stage::new().await;
    let cases = [
        (0, "no body"),
        (1, "a byte"),
        (CHUNK, "exactly a chunk"),
        (CHUNK + 1, "a byte more"),
        (1024 * 1024, "four chunks"),
        (4 * 1024 * 1024, "the largest: sixteen"),
    ];
    for (length, why) in cases {
        let body: Vec<u8> = (0..=250).cycle().take(length).collect();
        let target = format!("/{length}");
        stage.put(&target, &entry(&target, 1, &body), Extent::Whole).await;
        let found = stage.get(&target, NONE).await.unwrap().expect(why);
        assert!(found.body.pieces().concat() == body, "{why}");
        assert!(found.body.pieces().iter().all(|piece| piece.len() <= CHUNK), "{why}");
    }
    assert_eq!(stage.counts("writes", &["whole", "failed"]), [cases.len() as u64, 0]);
    stage.put("/large", &entry("/large", 1, &vec![0; 4 * 1024 * 1024 + 1]), Extent::Whole).await;
    assert_eq!(stage.counts("writes", &["whole", "too_large"]), [cases.len() as u64, 1]);
    assert!(stage.get("/large", NONE).await.unwrap().is_none());
}

#[tokio::test]
async fn each_request_gets_its_variant() {
    let stage = Stage::new().await;
    let (german, english) = ([("accept-language", "de")], [("accept-language", "en")]);
    let put = async |request: &[(&str, &str)], names, number, body: &[u8]| {
        let mut entry = entry("/", number, body);
        entry.head.selecting = by(names, request);
        stage.put("/", &entry, Extent::Whole).await;
    };
    let body = async |request: &[(&str, &str)]| {
        stage.get("/", request).await.unwrap().map(|found| String::from_utf8(found.body.pieces().concat()).unwrap())
    };
    put(&german, &[ACCEPT_LANGUAGE], 1, b"hallo").await;
    put(&english, &[ACCEPT_LANGUAGE], 2, b"hello").await;
    assert_eq!((body(&german).await.as_deref(), body(&english).await.as_deref()), (Some("hallo"), Some("hello")));
    assert_eq!(body(&[("accept-language", "DE ;q=1")]).await.as_deref(), Some("hallo"), "in its normal form");
    assert_eq!((body(&[("accept-language", "fr")]).await, body(NONE).await), (None, None));
    assert_eq!(stage.keys().await.len(), 3, "the names of the fields, and two variants");

    put(&german, &[ACCEPT_LANGUAGE], 1, b"alt").await;
    assert_eq!(body(&german).await.as_deref(), Some("alt"), "the same age as the one there: in its place");
    put(&german, &[ACCEPT_ENCODING], 1, b"late").await;
    assert_eq!(body(&english).await.as_deref(), Some("hello"), "an older Vary does not displace a newer one");

    let brotli = [("accept-encoding", "br"), ("accept-language", "de")];
    put(&brotli, &[ACCEPT_ENCODING, ACCEPT_LANGUAGE], 3, b"br").await;
    assert_eq!((body(&brotli).await.as_deref(), body(&german).await), (Some("br"), None), "the latest Vary counts");

    stage.put("/", &entry("/", 4, b"any"), Extent::Whole).await;
    assert_eq!(body(&german).await.as_deref(), Some("any"), "no Vary any more");
    put(&german, &[ACCEPT_LANGUAGE], 3, b"late").await;
    assert_eq!(body(&german).await.as_deref(), Some("any"), "an older response with one does not come back");
    put(&english, &[ACCEPT_LANGUAGE], 5, b"new").await;
    assert_eq!((body(&english).await.as_deref(), body(NONE).await), (Some("new"), None), "one again");
    assert_eq!(stage.counts("lookups", &["rejected"]), [0]);
    assert_eq!(stage.counts("writes", &["late"]), [2]);
}

#[tokio::test]
async fn a_variant_outlives_no_list_of_names() {
    let stage = Stage::new().await;
    let request = |language| [("accept-language", language)];
    for (language, lifetime) in [("de", 3600), ("en", 60)] {
        let mut entry = entry("/", 1, b"body");
        entry.head.selecting = by(&[ACCEPT_LANGUAGE], &request(language));
        entry.head.freshness.lifetime = Span::from_secs(lifetime);
        stage.put("/", &entry, Extent::Whole).await;
    }
    let mut left = Vec::new();
    for key in stage.keys().await {
        left.push(stage.time_left(&key).await / 1000);
    }
    left.sort_unstable();
    assert!(left[0] <= 60 && left[1] > 3500 && left[2] > 3500, "{left:?}");
}

#[tokio::test]
async fn a_freshened_head_leaves_the_body_where_it_is() {
    let stage = Stage::new().await;
    let body = vec![b'b'; CHUNK + 9];
    let old = with(entry("/", 1, &body), &[("x", "old")]);
    stage.put("/", &old, Extent::Whole).await;
    let name = stage.keys().await.remove(0);
    let before = stage.time_left(&name).await;
    // It shows that nobody writes the body: who reads it finds it wrong.
    stage.command(&["HSET", &name, "mark", "1"]).await;
    let mut new = with(entry("/", 2, &body), &[("x", "new")]);
    new.head.freshness.lifetime = Span::from_secs(3600);
    stage.put("/", &new, Extent::Head).await;
    let found = stage.get("/", NONE).await.unwrap().unwrap();
    assert_eq!((found.head.headers.pieces().concat(), found.body.len()), (b"x: new\r\n".to_vec(), body.len() as u64));
    assert_eq!(stage.command(&["HEXISTS", &name, "mark"]).await, "1");
    assert!(stage.time_left(&name).await > before + 3_000_000);
    assert_eq!(stage.counts("writes", &["whole", "head"]), [1, 1]);

    stage.put("/", &with(entry("/", 1, &body), &[("x", "late")]), Extent::Head).await;
    assert_eq!(
        stage.get("/", NONE).await.unwrap().unwrap().head.headers.pieces().concat(),
        b"x: new\r\n",
        "a late head changes nothing"
    );
    stage.put("/", &entry("/", 3, b"another"), Extent::Head).await;
    assert_eq!(stage.get("/", NONE).await.unwrap().unwrap().body.len(), 7, "another body is written with its head");
    stage.command(&["DEL", &name]).await;
    stage.put("/", &new, Extent::Head).await;
    assert_eq!(stage.get("/", NONE).await.unwrap().unwrap().body.len(), body.len() as u64, "one that is gone, too");
    assert_eq!(stage.counts("writes", &["whole", "head", "late"]), [3, 1, 1]);
}

#[tokio::test]
async fn a_late_response_does_not_displace_a_newer_one() {
    let stage = Stage::new().await;
    let cases = [
        // (era, number, received) of what is there and of what comes
        ((1, 5, 100), (1, 4, 900), false, "it knew fewer purges, though it came later"),
        ((1, 5, 100), (1, 5, 99), false, "it knew as many, and came earlier"),
        ((1, 5, 100), (1, 5, 100), true, "the same moment"),
        ((1, 5, 100), (1, 6, 1), true, "it knew more purges"),
        ((1, (1 << 53) - 1, 100), (1, (1 << 53) - 2, 100), false, "the greatest numbers there are"),
        ((1, 9, 100), (1, 10, 100), true, "numbers of different width"),
        ((1, 9, 100), (2, 1, 200), true, "another era: what came later"),
        ((1, 1, 200), (2, 9, 100), false, "another era: what came earlier"),
    ];
    for (index, (first, second, displaces, why)) in cases.into_iter().enumerate() {
        let target = format!("/{index}");
        let dated = |(era, number, received): (u64, u64, u64), body: &[u8]| {
            let mut entry = entry(&target, number, body);
            entry.head.stamp.era = era;
            entry.head.received_at = stage::NOW.plus(Duration::from_millis(received));
            entry
        };
        let (first, second) = (dated(first, b"first"), dated(second, b"second"));
        assert_eq!(first.head.is_later_than(&second.head), !displaces, "as tier 1 would say: {why}");
        stage.put(&target, &first, Extent::Whole).await;
        stage.put(&target, &second, Extent::Whole).await;
        let found = stage.get(&target, NONE).await.unwrap().unwrap();
        assert_eq!(found.body.len() == 6, displaces, "{why}");
        stage.remove(&target, &dated((1, 0, 0), b"")).await;
    }
}

#[tokio::test]
async fn what_is_removed_is_gone_but_not_what_came_after_it() {
    let stage = Stage::new().await;
    let (old, new) = (entry("/", 1, b"old"), entry("/", 2, b"new"));
    stage.put("/", &new, Extent::Whole).await;
    stage.remove("/", &old).await;
    assert!(stage.get("/", NONE).await.unwrap().is_some(), "it is later");
    stage.remove("/", &new).await;
    assert!(stage.get("/", NONE).await.unwrap().is_none());
    let mut variant = entry("/", 3, b"de");
    variant.head.selecting = by(&[ACCEPT_LANGUAGE], &[("accept-language", "de")]);
    stage.put("/", &variant, Extent::Whole).await;
    stage.remove("/", &new).await;
    assert!(stage.get("/", &[("accept-language", "de")]).await.unwrap().is_some(), "a variant is another response");
    stage.remove("/", &variant).await;
    assert!(stage.get("/", &[("accept-language", "de")]).await.unwrap().is_none());
    assert_eq!((stage.value("removals_total"), stage.counts("lookups", &["rejected"])), (2, vec![0]));
}

#[tokio::test]
async fn what_is_of_no_use_is_not_written_and_what_expires_is_gone() {
    let stage = Stage::new().await;
    let mut spent = entry("/", 1, b"body");
    spent.head.freshness = spent.head.freshness.spent();
    stage.put("/", &spent, Extent::Whole).await;
    let mut part = entry("/", 1, b"body");
    part.part = Some(Box::new(crate::cache::entry::Part { first: 0, complete: None }));
    stage.put("/", &part, Extent::Whole).await;
    let mut personal = entry("/", 1, b"body");
    personal.head.selecting = by(&[http::header::COOKIE], &[("cookie", "hush")]);
    stage.put("/", &personal, Extent::Whole).await;
    assert_eq!(stage.counts("writes", &["spent", "unfit", "whole"]), [1, 2, 0]);
    assert!(stage.keys().await.is_empty());
    let mut short = entry("/", 1, b"body");
    short.head.freshness.lifetime = Duration::from_millis(50).into();
    stage.put("/", &short, Extent::Whole).await;
    assert_eq!(stage.counts("writes", &["whole"]), [1]);
    stage.until(async || stage.get("/", NONE).await.unwrap().is_none()).await;
    assert!(stage.keys().await.is_empty());
}

#[tokio::test]
async fn a_full_queue_drops_and_counts_and_nobody_waits() {
    let stage = Stage::idle(Server::start().await).await;
    let large = entry("/", 1, &vec![0; 3 * 1024 * 1024]);
    let large = Arc::new(large);
    let (key, waiting) = (key("/"), std::cell::RefCell::new(Vec::new()));
    (0..12).for_each(|_| waiting.borrow_mut().push(stage.tier.put(&key, &large, Extent::Whole)));
    assert_eq!(stage.counts("writes", &["dropped"]), [2], "ten of 3 MiB are less than 32 MiB, eleven are more");
    assert_eq!(stage.value("queue_jobs"), 10);
    assert!(stage.value("queue_bytes") > 30 * 1024 * 1024);
    // At the stop, what waits is written.
    let stop = CancellationToken::new();
    stop.cancel();
    stage.tier.run(stop).await;
    for done in waiting.into_inner() {
        tokio::time::timeout(server::PATIENCE, done).await.expect("each is told");
    }
    assert_eq!((stage.value("queue_jobs"), stage.value("queue_bytes")), (0, 0));
    let counts = stage.counts("writes", &["whole", "dropped"]);
    assert!(counts[0] > 0 && counts.iter().sum::<u64>() <= 12, "{counts:?}");
    stage.tier.put(&key, &large, Extent::Whole).await;
    assert_eq!(stage.counts("writes", &["dropped"]), [counts[1] + 1], "closed");
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_is_carried_out() {
    let stage = Stage::new().await;
    drop(stage.tier.put(&key("/"), &Arc::new(entry("/", 1, b"body")), Extent::Whole));
    stage.until(async || stage.get("/", NONE).await.unwrap().is_some()).await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_no_more_than_the_timeout() {
    let stage = Stage::new().await;
    stage.put("/", &entry("/", 1, b"body"), Extent::Whole).await;
    stage.server.freeze(true);
    let impatient = stage.beside(Duration::from_millis(30));
    impatient.work();
    let began = tokio::time::Instant::now();
    assert_eq!(impatient.get("/", NONE).await.err(), Some(Unreachable));
    let took = began.elapsed();
    assert!((Duration::from_millis(30)..Duration::from_secs(2)).contains(&took), "{took:?}");
    impatient.put("/x", &entry("/x", 1, b"body"), Extent::Whole).await;
    assert_eq!(impatient.counts("writes", &["whole", "failed"]), [0, 1], "it is given up");
    stage.server.freeze(false);
    stage.until(async || stage.get("/", NONE).await.is_ok_and(|found| found.is_some())).await;
}

#[tokio::test]
async fn a_server_that_hangs_does_not_hold_up_the_end() {
    let stage = Stage::idle(Server::start().await).await;
    stage.server.freeze(true);
    let put = |target: &str| stage.tier.put(&key(target), &Arc::new(entry(target, 1, b"body")), Extent::Whole);
    let waiting: Vec<_> = (0..100).map(|number| put(&format!("/{number}"))).collect();
    let stop = CancellationToken::new();
    stop.cancel();
    let end = tokio::time::timeout(Duration::from_secs(5), stage.tier.run(stop));
    end.await.expect("half a second is all that it gets");
    for done in waiting {
        tokio::time::timeout(Duration::ZERO, done).await.expect("each was told");
    }
    let counts = stage.counts("writes", &["whole", "dropped"]);
    assert!(counts[0] == 0 && counts[1] > 80, "{counts:?}");
    assert_eq!((stage.value("queue_jobs"), stage.value("queue_bytes")), (0, 0));
}

#[tokio::test]
async fn without_a_connection_a_look_up_says_so() {
    let stage = Stage::unconnected(Server::start().await);
    assert_eq!(stage.get("/", NONE).await.err(), Some(Unreachable));
    stage.put("/", &entry("/", 1, b"body"), Extent::Whole).await;
    assert_eq!((stage.counts("lookups", &["error"]), stage.counts("writes", &["failed"])), (vec![1], vec![1]));
    assert_eq!(by(&[], NONE), Selecting::Any);
}
