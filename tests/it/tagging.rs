//! Do tags and groups come from the fields that carry them, and do groups change as RFC 9875 has it?

use crate::support::edge::{Edge, before};
use crate::support::gate::Gate;
use crate::support::origin::{Asked, Origin, Told, status};
use crate::support::wire::Fields;

/// Answers with what the request's `say-` fields ask for: `say-x: y` is answered with `x: y`, `say-status` with that
/// status. Fresh unless told otherwise; the body tells one answer from another.
fn told(asked: &Asked) -> Told {
    let code = asked.field("say-status").map_or(200, |code| code.parse().expect("a status"));
    let mut told = status(code, format!("v{}", asked.number));
    for (name, value) in &asked.headers {
        match name.as_str().strip_prefix("say-") {
            None | Some("status") => {}
            Some(name) => told = told.with(name, value.to_str().expect("the test says text")),
        }
    }
    if asked.headers.contains_key("say-cache-control") { told } else { told.fresh(600) }
}

async fn talkative() -> Origin {
    Origin::serve(|asked| told(&asked)).await
}

/// A stored response, by host and path, and the field that its answer carries.
type Place = (&'static str, &'static str, (&'static str, &'static str));

/// Whether it is stored; if not, it is afterwards.
async fn is_hit(edge: &Edge, (host, target, said): Place) -> bool {
    edge.get_with(target, &[("host", host), said]).await.cache().is_fresh_hit()
}

/// Purges by fields of a request, and says how many stored responses they named.
async fn purge(edge: &Edge, fields: Fields) -> u64 {
    let reply = edge.ask("PURGE", "/", fields).await;
    assert_eq!(reply.status, 200, "{fields:?}: {}", reply.text());
    let receipt: serde_json::Value = serde_json::from_slice(&reply.body).expect("a receipt is JSON");
    receipt["matched"]["edge"].as_u64().expect("a count")
}

const STORED: [Place; 6] = [
    ("a.test", "/js", ("say-cache-groups", "\"scripts\", \"a b\"")),
    ("a.test", "/css", ("say-cache-groups", "\"styles\"")),
    ("a.test", "/key", ("say-surrogate-key", "scripts styles")),
    ("a.test", "/plain", ("say-x", "scripts")),
    ("a.test:81", "/js", ("say-cache-groups", "\"scripts\"")),
    ("b.test", "/js", ("say-cache-groups", "\"scripts\"")),
];

#[tokio::test]
async fn an_unsafe_request_invalidates_the_groups_that_its_answer_names() {
    let origin = talkative().await;
    let edge = before(origin.address()).start().await;
    let cases: [(&str, &str, &str, &[&str], &str); 15] = [
        ("POST", "200", "\"scripts\"", &["/js"], "the group, of this origin alone; tags are no groups"),
        ("POST", "200", "\"a b\"", &["/js"], "a group with white space"),
        ("POST", "204", "\"styles\";x=1, \"nobody\"", &["/css"], "parameters do not count, unknown groups do no harm"),
        ("POST", "200", "\"styles\", \"scripts\"", &["/js", "/css"], "several"),
        ("PUT", "302", "\"scripts\"", &["/js"], "another method, a redirection"),
        ("DELETE", "404", "\"scripts\"", &["/js"], "§3 asks nothing of the status: an error says it too"),
        ("POST", "500", "\"scripts\"", &["/js"], "an error of the origin"),
        ("M-SEARCH", "200", "\"scripts\"", &["/js"], "a method whose safety is not known"),
        ("POST", "200", "scripts", &[], "a token is no string"),
        ("POST", "200", "\"Scripts\"", &[], "letter case counts"),
        ("POST", "200", "\"scripts\", \"", &[], "a list that does not parse says nothing"),
        ("POST", "200", "\"script\"", &[], "a beginning is another group"),
        ("GET", "200", "\"scripts\"", &[], "§3: ignored in the answer to a safe request"),
        ("HEAD", "200", "\"scripts\"", &[], "the same"),
        ("OPTIONS", "200", "\"scripts\"", &[], "the same"),
    ];
    for (number, (method, code, groups, gone, why)) in cases.into_iter().enumerate() {
        for place in STORED {
            is_hit(&edge, place).await;
            assert!(is_hit(&edge, place).await, "{why}: {place:?} is stored");
        }
        let change = [("host", "a.test"), ("say-status", code), ("say-cache-group-invalidation", groups)];
        let reply = edge.ask(method, &format!("/change/{number}"), &change).await;
        assert_eq!(reply.status.as_str(), code, "{why}");
        assert_eq!(reply.field("cache-group-invalidation").as_deref(), Some(groups), "caches further down hear of it");
        for place in STORED {
            let is_gone = place.0 == "a.test" && gone.contains(&place.1);
            assert_eq!(is_hit(&edge, place).await, !is_gone, "{why}: {method} {groups} on {place:?}");
        }
    }
}

#[tokio::test]
async fn a_group_that_changes_while_its_member_is_fetched_is_not_stored_as_it_was() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            if asked.number == 1 {
                door.pass().await;
            }
            told(&asked)
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let early = edge.get_with("/js", &[("host", "a.test"), ("say-cache-groups", "\"scripts\"")]);
    let change = async {
        origin.asked_times(1).await;
        let fields = [("host", "a.test"), ("say-cache-group-invalidation", "\"scripts\"")];
        edge.ask("POST", "/change", &fields).await;
        gate.open();
    };
    let (early, ()) = tokio::join!(early, change);
    assert_eq!(early.text(), "v1", "who had asked before gets it");
    assert!(!is_hit(&edge, STORED[0]).await, "nobody after");
}

#[tokio::test]
async fn tags_stay_here_and_groups_travel_on() {
    let origin = talkative().await;
    let tags = ["surrogate-key", "xkey", "cache-tag", "edge-cache-tag"];
    let say: Fields = &[
        ("say-surrogate-key", "a"),
        ("say-xkey", "b"),
        ("say-cache-tag", "c"),
        ("say-edge-cache-tag", "d"),
        ("say-cache-groups", "\"e\""),
    ];
    for (lines, is_shown) in [("", false), ("expose_surrogate_headers = true", true)] {
        let edge = before(origin.address()).server(lines).start().await;
        for why in ["from the origin", "from the store"] {
            let reply = edge.get_with("/x", say).await;
            assert_eq!(reply.cache().hit, why == "from the store");
            for name in tags {
                assert_eq!(reply.field(name).is_some(), is_shown, "{name} {why}");
            }
            assert_eq!(reply.field("cache-groups").as_deref(), Some("\"e\""), "{why}");
        }
        assert_eq!(purge(&edge, &[("cache-groups", "\"e\"")]).await, 1, "an operator purges by a group as by a tag");
        assert_ne!(edge.get("/x").await.text(), "v1");
    }
}

#[tokio::test]
async fn only_the_fields_that_are_configured_carry_tags() {
    let origin = talkative().await;
    let edge = before(origin.address()).table("[purge]\ntag_headers = [\"X-Tags\"]").start().await;
    let say: Fields = &[("say-x-tags", "a b,c"), ("say-surrogate-key", "d"), ("say-cache-groups", "\"e\"")];
    let store = async || {
        edge.get_with("/x", say).await;
        let reply = edge.get("/x").await;
        assert!(reply.cache().is_fresh_hit());
        assert_eq!(reply.field("x-tags"), None, "a field of tags stays here");
    };
    for tag in ["a", "b", "c"] {
        store().await;
        let reply = edge.ask("PURGE", "/", &[("x-tags", tag)]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(!edge.get_with("/x", say).await.cache().hit, "{tag}");
    }
    store().await;
    assert_eq!(purge(&edge, &[("x-tags", "d e")]).await, 0, "tags of other fields are none");
    assert_eq!(purge(&edge, &[("surrogate-key", "a")]).await, 0, "nor is this a purge by tag: it names /");
    edge.ask("POST", "/change", &[("say-cache-group-invalidation", "\"e\"")]).await;
    assert!(edge.get("/x").await.cache().is_fresh_hit(), "who leaves Cache-Groups out has no groups");
}

#[tokio::test]
async fn a_304_changes_the_tags_that_it_carries_and_no_others() {
    let origin = Origin::serve(|asked| match asked.field("if-none-match") {
        Some(_) => status(304, "").fresh(600).with("etag", "\"1\"").with("surrogate-key", "new"),
        None => told(&asked).with("etag", "\"1\""),
    })
    .await;
    let edge = before(origin.address()).start().await;
    let say: Fields = &[("say-cache-control", "no-cache"), ("say-surrogate-key", "old"), ("say-cache-tag", "kept")];
    let revalidated = async || {
        assert!(!edge.get_with("/x", say).await.cache().hit, "nothing is left");
        let reply = edge.get("/x").await;
        assert_eq!(reply.cache().fwd_status, Some(304), "{:?}", reply.cache());
    };
    revalidated().await;
    assert_eq!(purge(&edge, &[("surrogate-key", "old")]).await, 0, "the field is replaced, and its tags with it");
    assert!(edge.get("/x").await.cache().is_fresh_hit());
    assert_eq!(purge(&edge, &[("surrogate-key", "new")]).await, 1);
    revalidated().await;
    assert_eq!(purge(&edge, &[("cache-tag", "kept")]).await, 1, "a field that the 304 does not carry stays");
    assert!(!edge.get("/x").await.cache().hit);
}

#[tokio::test]
async fn a_head_request_goes_by_the_tags_of_what_is_stored() {
    let origin = talkative().await;
    let edge = before(origin.address()).start().await;
    edge.get_with("/x", &[("say-surrogate-key", "a")]).await;
    assert!(edge.ask("HEAD", "/x", &[]).await.cache().is_fresh_hit());
    assert_eq!(purge(&edge, &[("surrogate-key", "a")]).await, 1);
    let hits = origin.hits();
    let reply = edge.ask("HEAD", "/x", &[("say-surrogate-key", "b")]).await;
    assert_eq!((reply.cache().hit, origin.hits()), (false, hits + 1));
    assert_eq!(reply.field("surrogate-key"), None, "hidden here too");
    assert_eq!(purge(&edge, &[("surrogate-key", "a")]).await, 0, "a HEAD brings nothing back");
}

#[tokio::test]
async fn a_tag_field_is_read_wherever_else_it_is_named() {
    let origin = talkative().await;
    let edge = before(origin.address()).start().await;
    let cases: [(Fields, u64, &str); 3] = [
        (&[("say-surrogate-key", "a"), ("say-vary", "surrogate-key"), ("surrogate-key", "x")], 1, "in Vary"),
        (&[("say-surrogate-key", "a"), ("say-connection", "surrogate-key")], 1, "in the origin's Connection"),
        (&[("say-surrogate-key", "a"), ("say-set-cookie", "s=1")], 0, "of what is not stored"),
    ];
    for (number, (say, stored, why)) in cases.into_iter().enumerate() {
        let target = format!("/{number}");
        edge.get_with(&target, say).await;
        assert_eq!(purge(&edge, &[("surrogate-key", "a")]).await, stored, "{why}");
        assert!(!edge.get_with(&target, &[("surrogate-key", "x")]).await.cache().hit, "{why}");
    }
    edge.get_with("/x", &[("say-surrogate-key", "b")]).await;
    let reply = edge.ask("PURGE", "/x", &[("surrogate-key", "c"), ("connection", "surrogate-key")]).await;
    assert_eq!(reply.status, 400, "a purge by tag that a proxy would turn into one of the URL");
    assert!(edge.get("/x").await.cache().is_fresh_hit());
}

#[tokio::test]
async fn a_softly_purged_response_says_since_when_it_is_stale() {
    let origin = Origin::serve(|asked| match asked.number {
        1 => told(&asked),
        _ => status(503, "down"),
    })
    .await;
    let edge = before(origin.address()).start().await;
    let say: Fields = &[("say-cache-control", "max-age=600, stale-if-error=60"), ("say-surrogate-key", "a")];
    edge.get_with("/x", say).await;
    assert_eq!(purge(&edge, &[("surrogate-key", "a"), ("soft-purge", "1")]).await, 1);
    let cache = edge.get("/x").await.cache();
    assert!(cache.hit && cache.says("stale-if-error"), "{cache:?}");
    assert!(cache.ttl.is_some_and(|ttl| ttl <= 0), "RFC 9211 §2.5: {cache:?}");
}
