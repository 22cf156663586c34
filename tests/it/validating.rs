//! Are conditional requests answered, and asked, as RFC 9110 §13 and RFC 9111 §4.3 have it?

use crate::support::edge::before;
use crate::support::origin::{Asked, Origin, Told, ok, status};
use crate::support::wire::Fields;

const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
const LATER: &str = "Tue, 02 Jan 2024 00:00:00 GMT";
const EARLIER: &str = "Sun, 31 Dec 2023 00:00:00 GMT";

/// Answers 304 to its own validator, the whole thing otherwise.
fn validating(asked: &Asked, etag: &str) -> Told {
    match asked.field("if-none-match") {
        Some(sent) if sent == etag => status(304, "").with("etag", etag),
        _ => ok(format!("v{}", asked.number)).with("etag", etag),
    }
}

#[tokio::test]
async fn a_clients_condition_is_answered_from_the_store() {
    let origin = Origin::serve(|_| {
        ok("body")
            .fresh(60)
            .with("etag", "\"a\"")
            .with("last-modified", MODIFIED)
            .with("content-location", "/y")
            .with("vary", "x-none")
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let cases: &[(Fields, u16, &str)] = &[
        (&[("if-none-match", "\"a\"")], 304, "the same tag"),
        (&[("if-none-match", "W/\"a\"")], 304, "If-None-Match compares weakly"),
        (&[("if-none-match", "\"z\", \"a\"")], 304, "one of a list"),
        (&[("if-none-match", "*")], 304, "any representation"),
        (&[("if-none-match", "\"z\"")], 200, "another tag"),
        (&[("if-none-match", "\"a, b\"")], 200, "a comma within a tag does not end it"),
        (&[("if-modified-since", MODIFIED)], 304, "not modified since"),
        (&[("if-modified-since", LATER)], 304, "not modified since"),
        (&[("if-modified-since", EARLIER)], 200, "modified since"),
        (&[("if-modified-since", "yesterday")], 200, "not a date: ignored"),
        (&[("if-none-match", "\"z\""), ("if-modified-since", LATER)], 200, "If-None-Match goes before"),
        (&[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)], 304, "If-None-Match goes before"),
    ];
    for (fields, want, why) in cases {
        let reply = edge.get_with("/x", fields).await;
        assert_eq!((reply.status.as_u16(), origin.hits()), (*want, 1), "{why}: {fields:?}");
        assert_eq!(reply.text(), if *want == 304 { "" } else { "body" }, "{why}");
        for name in ["etag", "cache-control", "content-location", "date", "vary"] {
            assert!(reply.field(name).is_some(), "{why}: a 304 carries {name} (RFC 9110 §15.4.5)");
        }
        assert!(reply.cache().is_fresh_hit(), "{why}: {:?}", reply.cache());
    }
}

#[tokio::test]
async fn a_clients_condition_does_not_narrow_what_is_stored() {
    let origin = Origin::serve(|asked| {
        let sent = asked.field("if-none-match").or(asked.field("if-modified-since"));
        match sent {
            Some(_) => status(304, "").with("etag", "\"a\"").fresh(60),
            None => ok("body").with("etag", "\"a\"").fresh(60),
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let first = edge.get_with("/x", &[("if-none-match", "\"a\"")]).await;
    assert_eq!(first.status, 304);
    let whole = edge.get("/x").await;
    assert_eq!((whole.brief(), origin.hits()), ((200, "body"), 1));
}

#[tokio::test]
async fn no_cache_is_stored_and_revalidated_every_time() {
    let origin = Origin::serve(|asked| validating(&asked, "W/\"a\"").with("cache-control", "no-cache")).await;
    let edge = before(origin.address()).start().await;
    assert_eq!(edge.get("/x").await.brief(), (200, "v1"));
    for hits in 2..4 {
        let reply = edge.get("/x").await;
        assert_eq!((reply.brief(), origin.hits()), ((200, "v1"), hits));
        assert_eq!(origin.last().field("if-none-match").as_deref(), Some("W/\"a\""), "the validator as it was");
        let cache = reply.cache();
        assert_eq!((cache.fwd.as_deref(), cache.fwd_status), (Some("stale"), Some(304)), "{cache:?}");
        assert!(cache.says("no-cache"), "{cache:?}");
    }
}

#[tokio::test]
async fn a_stale_response_is_revalidated_with_both_its_validators() {
    let origin = Origin::serve(|asked| {
        let told = if asked.number == 1 { ok("v1").with("age", "100") } else { status(304, "") };
        told.fresh(60).with("etag", "\"a\"").with("last-modified", MODIFIED)
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let again = edge.get("/x").await;
    assert_eq!((again.brief(), origin.hits()), ((200, "v1"), 2));
    assert_eq!(origin.last().field("if-none-match").as_deref(), Some("\"a\""));
    assert_eq!(origin.last().field("if-modified-since").as_deref(), Some(MODIFIED));
    assert!(again.cache().says("expired"), "{:?}", again.cache());
    let third = edge.get("/x").await;
    assert_eq!((third.brief(), origin.hits()), ((200, "v1"), 2), "the 304 made it fresh");
    assert!(third.cache().is_fresh_hit(), "{:?}", third.cache());
    assert!(third.age().is_some_and(|age| age < 60), "{:?}", third.age());
}

#[tokio::test]
async fn a_304_replaces_stored_fields_at_once_but_those_of_the_body() {
    let origin = Origin::serve(|asked| {
        let told = if asked.number == 1 {
            ok("body").with("age", "100").with("x-gone", "kept").with("content-encoding", "x-test")
        } else {
            status(304, "").with("content-encoding", "x-other").with("x-new", "there")
        };
        told.fresh(60).with("etag", "\"a\"").with("x-version", &asked.number.to_string())
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    for _ in 0..2 {
        let reply = edge.get("/x").await;
        assert_eq!((reply.brief(), origin.hits()), ((200, "body"), 2));
        assert_eq!(reply.field("x-version").as_deref(), Some("2"));
        assert_eq!(reply.field("x-new").as_deref(), Some("there"));
        assert_eq!(reply.field("x-gone").as_deref(), Some("kept"));
        assert_eq!(reply.field("content-encoding").as_deref(), Some("x-test"));
        assert_eq!(reply.field("content-length").as_deref(), Some("4"));
    }
}

#[tokio::test]
async fn a_new_representation_replaces_the_stale_one() {
    let origin = Origin::serve(|asked| {
        let told = ok(format!("v{}", asked.number)).fresh(60).with("etag", &format!("\"{}\"", asked.number));
        if asked.number == 1 { told.with("age", "100") } else { told }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    assert_eq!(edge.get("/x").await.brief(), (200, "v2"));
    assert_eq!((edge.get("/x").await.brief(), origin.hits()), ((200, "v2"), 2));
}

#[tokio::test]
async fn a_client_that_has_the_freshened_representation_gets_304() {
    let origin = Origin::serve(|asked| {
        let told = validating(&asked, "\"a\"").fresh(60);
        if asked.number == 1 { told.with("age", "100") } else { told }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let reply = edge.get_with("/x", &[("if-none-match", "\"a\"")]).await;
    assert_eq!((reply.brief(), origin.hits()), ((304, ""), 2));
    let reply = edge.get_with("/x", &[("if-none-match", "\"z\"")]).await;
    assert_eq!((reply.brief(), origin.hits()), ((200, "v1"), 2));
}
