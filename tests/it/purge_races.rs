//! Does a purge hold, whatever is under way when it comes? The origin is held open at every point.

use serde_json::{Value, json};

use crate::support::edge::{Edge, before};
use crate::support::eventually;
use crate::support::held::{HeldOrigin, asks, flights_end, got, purge, url};
use crate::support::origin::{Told, ok, status, streamed};

/// Every kind of purge that names `target`, tagged `t`, at this edge.
fn kinds(edge: &Edge, target: &str) -> [Value; 5] {
    let (own, prefix) = (url(edge, target), url(edge, "/"));
    [
        json!({ "urls": [own] }),
        json!({ "tags": ["t"] }),
        json!({ "prefixes": [prefix] }),
        json!({ "hosts": ["127.0.0.1"] }),
        json!({ "everything": true }),
    ]
}

fn softly(mut order: Value) -> Value {
    order["soft"] = json!(true);
    order
}

/// An answer that is tagged `t`, and has a validator.
fn tagged(body: &'static str) -> Told {
    ok(body).fresh(600).with("surrogate-key", "t").with("etag", &format!("\"{body}\""))
}

/// An answer that has been stale for ten seconds when it comes, and may serve while it is refreshed.
fn stale(body: &'static str, directives: &str) -> Told {
    let told = ok(body).with("cache-control", directives).with("age", "20").with("surrogate-key", "t");
    told.with("etag", &format!("\"{body}\""))
}

async fn start() -> (HeldOrigin, Edge) {
    let origin = HeldOrigin::start().await;
    let edge = before(origin.address()).start().await;
    (origin, edge)
}

/// Asks for `target`, which must cost the origin a question about all of it, and is answered anew.
async fn is_fetched_anew(origin: &HeldOrigin, edge: &Edge, target: &'static str, why: &str) {
    let client = asks(edge, "GET", target, &[]);
    let question = origin.next().await;
    let conditions = ["if-none-match", "if-modified-since", "range"].map(|name| question.field(name));
    assert_eq!((question.method(), conditions), ("GET", [None, None, None]), "{why}: nothing of it is left");
    question.tell(tagged("anew"));
    assert_eq!(got(client).await.brief(), (200, "anew"), "{why}");
}

async fn is_hit(edge: &Edge, target: &str, body: &str, why: &str) {
    let reply = edge.get(target).await;
    assert_eq!((reply.brief(), reply.cache().is_fresh_hit()), ((200, body), true), "{why}: {:?}", reply.cache());
}

#[tokio::test]
async fn a_fill_that_began_before_a_purge_does_not_outlive_it() {
    let (origin, edge) = start().await;
    for order in kinds(&edge, "/head") {
        let client = asks(&edge, "GET", "/head", &[]);
        let question = origin.next().await;
        purge(&edge, order.clone()).await;
        question.tell(tagged("old"));
        assert_eq!(got(client).await.brief(), (200, "old"), "who asked before the purge may get it");
        is_fetched_anew(&origin, &edge, "/head", &format!("{order} before the head")).await;
        is_hit(&edge, "/head", "anew", &format!("{order}: what comes after it stays")).await;
        purge(&edge, json!({ "everything": true })).await;
    }
    for order in kinds(&edge, "/body") {
        let client = asks(&edge, "GET", "/body", &[]);
        let (pieces, told) = streamed();
        origin.next().await.tell(told.fresh(600).with("surrogate-key", "t"));
        pieces.send("ol").await;
        // The client has the first bytes by the time that another one, who joins, has them.
        let (_joined, mut download) = edge.open("/body").await;
        assert_eq!(download.at_least(2).await, b"ol");
        purge(&edge, order.clone()).await;
        pieces.send("d").await;
        drop(pieces);
        assert_eq!(got(client).await.brief(), (200, "old"));
        is_fetched_anew(&origin, &edge, "/body", &format!("{order} after the head")).await;
        is_hit(&edge, "/body", "anew", &format!("{order}: what comes after it stays")).await;
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn a_fill_that_began_before_a_soft_purge_lands_stale() {
    let (origin, edge) = start().await;
    for order in kinds(&edge, "/x") {
        let client = asks(&edge, "GET", "/x", &[]);
        let question = origin.next().await;
        purge(&edge, softly(order.clone())).await;
        question.tell(tagged("old"));
        assert_eq!(got(client).await.brief(), (200, "old"));
        let client = asks(&edge, "GET", "/x", &[]);
        let question = origin.next().await;
        assert_eq!(question.field("if-none-match").as_deref(), Some("\"old\""), "{order}: it asks with what it has");
        question.tell(status(304, "").with("etag", "\"old\""));
        assert_eq!(got(client).await.brief(), (200, "old"));
        is_hit(&edge, "/x", "old", "confirmed after the purge").await;
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn a_refresh_that_an_origin_behind_confirms_brings_nothing_back() {
    let (origin, edge) = start().await;
    for order in kinds(&edge, "/x") {
        let window = "max-age=10, stale-while-revalidate=600";
        origin.answers(&edge, "/x", stale("old", window)).await;
        assert!(edge.get("/x").await.cache().says("stale-while-revalidate"));
        let refresh = origin.next().await;
        assert_eq!(refresh.field("if-none-match").as_deref(), Some("\"old\""));
        purge(&edge, order.clone()).await;
        refresh.tell(status(304, "").with("etag", "\"old\"").with("cache-control", "max-age=600"));
        flights_end(&edge).await;
        is_fetched_anew(&origin, &edge, "/x", &order.to_string()).await;
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn a_confirmation_that_changes_the_tags_does_not_hide_from_a_purge_of_the_old_ones() {
    let (origin, edge) = start().await;
    origin.answers(&edge, "/x", stale("old", "max-age=10")).await;
    let client = asks(&edge, "GET", "/x", &[]);
    let question = origin.next().await;
    purge(&edge, json!({ "tags": ["t"] })).await;
    question.tell(status(304, "").with("etag", "\"old\"").with("surrogate-key", "other").fresh(600));
    got(client).await;
    is_fetched_anew(&origin, &edge, "/x", "it was tagged t when the purge came").await;
    // Without a purge meanwhile the new tags are those that count.
    origin.answers(&edge, "/y", stale("old", "max-age=10")).await;
    let confirmed = status(304, "").with("etag", "\"old\"").with("surrogate-key", "other").fresh(600);
    origin.answers(&edge, "/y", confirmed).await;
    purge(&edge, json!({ "tags": ["t"] })).await;
    is_hit(&edge, "/y", "old", "it is not tagged t any more").await;
    purge(&edge, json!({ "tags": ["other"] })).await;
    is_fetched_anew(&origin, &edge, "/y", "it is tagged other").await;
}

#[tokio::test]
async fn whoever_comes_after_a_purge_of_the_url_leads_a_fetch_of_its_own() {
    let (origin, edge) = start().await;
    let orders = kinds(&edge, "/x").into_iter().filter(|order| order.get("tags").is_none());
    for order in orders.flat_map(|order| [order.clone(), softly(order)]) {
        for old_lands_first in [true, false] {
            let early = asks(&edge, "GET", "/x", &[]);
            let old = origin.next().await;
            purge(&edge, order.clone()).await;
            let late = asks(&edge, "GET", "/x", &[]);
            let new = origin.next().await;
            let (early, late) = if old_lands_first {
                old.tell(tagged("old"));
                let early = got(early).await;
                new.tell(tagged("new"));
                (early, got(late).await)
            } else {
                new.tell(tagged("new"));
                let late = got(late).await;
                old.tell(tagged("old"));
                (got(early).await, late)
            };
            assert_eq!((early.brief(), late.brief()), ((200, "old"), (200, "new")), "{order}");
            is_hit(&edge, "/x", "new", &format!("{order}, the old one lands first: {old_lands_first}")).await;
            purge(&edge, json!({ "everything": true })).await;
        }
    }
}

#[tokio::test]
async fn whoever_comes_after_a_purge_of_a_tag_waits_and_asks_anew_if_it_was_about_the_answer() {
    // One thread: what was sent earlier is read earlier.
    let origin = HeldOrigin::start().await;
    let edge = before(origin.address()).server("threads = 1").start().await;
    let cases = [
        // order                                    collapses  why
        (json!({ "tags": ["t"] }), false, "it carries the tag"),
        (json!({ "tags": ["t"], "soft": true }), false, "stale, and nothing would refresh it"),
        (json!({ "tags": ["other"] }), true, "it does not carry the tag"),
    ];
    for (order, collapses, why) in cases {
        let hits = origin.hits();
        let early = asks(&edge, "GET", "/x", &[]);
        let old = origin.next().await;
        purge(&edge, order.clone()).await;
        let late = asks(&edge, "GET", "/x", &[]);
        for _ in 0..5 {
            edge.get_with("/fence", &[("cache-control", "only-if-cached")]).await;
        }
        assert_eq!(origin.hits(), hits + 1, "{order}: it waits");
        let (pieces, told) = streamed();
        let window = "max-age=600, stale-while-revalidate=600";
        old.tell(told.with("cache-control", window).with("surrogate-key", "t"));
        if !collapses {
            origin.next().await.tell(tagged("new"));
        }
        pieces.send("old").await;
        drop(pieces);
        assert_eq!(got(early).await.brief(), (200, "old"));
        let late = got(late).await;
        let want = if collapses { "old" } else { "new" };
        assert_eq!((late.brief(), late.cache().collapsed), ((200, want), collapses), "{order}: {why}");
        // Whichever of the two was complete last.
        is_hit(&edge, "/x", want, why).await;
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn variants_that_wait_for_a_purged_answer_get_none_of_it() {
    const EN: &[(&str, &str)] = &[("accept-language", "en")];
    const DE: &[(&str, &str)] = &[("accept-language", "de")];
    let (origin, edge) = start().await;
    let early = asks(&edge, "GET", "/x", EN);
    let old = origin.next().await;
    purge(&edge, json!({ "tags": ["t"] })).await;
    let late = [EN, EN, DE, DE].map(|fields| asks(&edge, "GET", "/x", fields));
    // They wait for an answer that is purged already, which nobody knows before its tags have come.
    eventually("four more clients", async || (edge.metric("larder_requests_in_flight").await > 4.5).then_some(()))
        .await;
    old.tell(tagged("old").with("vary", "accept-language"));
    for _ in 0..2 {
        let question = origin.next().await;
        let language = question.field("accept-language").expect("each client has one");
        let body = if language == "en" { "new en" } else { "new de" };
        question.tell(tagged(body).with("vary", "accept-language"));
    }
    assert_eq!(got(early).await.brief(), (200, "old"));
    for (client, want) in late.into_iter().zip(["new en", "new en", "new de", "new de"]) {
        assert_eq!(got(client).await.brief(), (200, want));
    }
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn the_harder_purge_counts_in_whatever_order_they_come() {
    let (origin, edge) = start().await;
    for order in kinds(&edge, "/x") {
        for (first, second) in [(order.clone(), softly(order.clone())), (softly(order.clone()), order.clone())] {
            origin.answers(&edge, "/x", tagged("old").with("cache-control", "stale-while-revalidate=600")).await;
            purge(&edge, first.clone()).await;
            purge(&edge, second.clone()).await;
            is_fetched_anew(&origin, &edge, "/x", &format!("{first}, then {second}")).await;
            purge(&edge, json!({ "everything": true })).await;
        }
    }
}

#[tokio::test]
async fn an_origin_in_trouble_brings_nothing_back_after_a_hard_purge() {
    let (origin, edge) = start().await;
    for order in kinds(&edge, "/x") {
        for asked_before in [true, false] {
            origin.answers(&edge, "/x", stale("old", "max-age=10, stale-if-error=600")).await;
            let trouble = || status(503, "trouble");
            assert_eq!(origin.answers(&edge, "/x", trouble()).await.brief(), (200, "old"), "without a purge it serves");
            if asked_before {
                let client = asks(&edge, "GET", "/x", &[]);
                let question = origin.next().await;
                purge(&edge, order.clone()).await;
                question.tell(trouble());
                assert_eq!(got(client).await.brief(), (503, "trouble"), "{order} while it was asked");
            } else {
                purge(&edge, order.clone()).await;
                assert_eq!(origin.answers(&edge, "/x", trouble()).await.brief(), (503, "trouble"), "{order}");
            }
            purge(&edge, json!({ "everything": true })).await;
        }
    }
}

#[tokio::test]
async fn purges_that_come_at_once_all_count_and_each_has_its_number() {
    const TARGETS: [&str; 8] = ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"];
    let (origin, edge) = start().await;
    for target in TARGETS {
        origin.answers(&edge, target, ok("old").fresh(600).with("surrogate-key", &format!("t{}", &target[1..]))).await;
    }
    let orders = TARGETS[..7].iter().map(|target| purge(&edge, json!({ "tags": [format!("t{}", &target[1..])] })));
    let receipts = futures_util::future::join_all(orders).await;
    let mut numbers: Vec<_> = receipts.iter().map(|receipt| receipt["seq"].as_u64().expect("a number")).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 7, "{receipts:?}");
    for target in &TARGETS[..7] {
        is_fetched_anew(&origin, &edge, target, "purged beside others").await;
    }
    is_hit(&edge, TARGETS[7], "old", "not named").await;
}
