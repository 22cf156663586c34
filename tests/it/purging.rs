//! Does a purge take what it names, and nothing else; and who may purge?

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::edge::{Edge, Setup, before};
use crate::support::eventually;
use crate::support::origin::{Asked, Origin, Told, ok, status};
use crate::support::reply::Reply;
use crate::support::wire::{Connection, Fields, Multiplexed, ask, get};

/// The receipt of a purge that was done.
fn receipt(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.cache().says("purge"), "{:?}", reply.headers);
    serde_json::from_slice(&reply.body).expect("a receipt is JSON")
}

/// Purges, and says how many stored responses that named.
async fn purge(edge: &Edge, target: &str, fields: Fields) -> u64 {
    let told = receipt(&edge.ask("PURGE", target, fields).await);
    assert_eq!((&told["status"], &told["matched"]["partial"]), (&json!("ok"), &Value::Null), "{told}");
    told["matched"]["edge"].as_u64().expect("a count")
}

/// A stored response, by what one asks for to get it.
type Place = (&'static str, Fields);

async fn is_hit(edge: &Edge, (target, fields): Place) -> bool {
    edge.get_with(target, fields).await.cache().is_fresh_hit()
}

/// An origin whose answers are fresh and tell one from another.
async fn numbered() -> Origin {
    Origin::serve(|asked| ok(format!("{} {}", asked.target, asked.number)).fresh(600)).await
}

/// Stores all these, purges, and sees that exactly the first ones are gone.
async fn exactly(edge: &Edge, (target, fields): Place, gone: &[Place], stay: &[Place], why: &str) {
    for (target, fields) in gone.iter().chain(stay) {
        edge.get_with(target, fields).await;
        assert!(is_hit(edge, (target, fields)).await, "{why}: {target} {fields:?} is stored");
    }
    let matched = purge(edge, target, fields).await;
    for place in stay {
        assert!(is_hit(edge, *place).await, "{why}: PURGE {target} {fields:?} spares {place:?}");
    }
    for place in gone {
        assert!(!is_hit(edge, *place).await, "{why}: PURGE {target} {fields:?} takes {place:?}");
    }
    assert_eq!(matched, gone.len() as u64, "{why}: PURGE {target} {fields:?}");
}

const A: Fields = &[("host", "a.test")];
const B: Fields = &[("host", "b.test")];
const A81: Fields = &[("host", "a.test:81")];

#[tokio::test]
async fn a_purged_url_is_gone_and_its_neighbours_stay() {
    let origin = numbered().await;
    let edge = before(origin.address()).start().await;
    let stay = ["/a/", "/a?", "/a?x=1", "/ab", "/a/b", "/A", "/%61", "/", "/a;x", "//a"].map(|target| (target, A));
    exactly(&edge, ("/a", A), &[("/a", A)], &stay, "other paths and queries").await;
    exactly(&edge, ("/a", A), &[("/a", A)], &[("/a", B), ("/a", A81)], "other hosts and ports").await;
    exactly(&edge, ("/a", &[("host", "A.TEST:80")]), &[("/a", A)], &[("/a", B), ("/a", A81)], "the same host").await;
    exactly(&edge, ("/a?", A), &[("/a?", A)], &[("/a", A), ("/a?x=1", A)], "an empty query").await;
    exactly(&edge, ("/a?x=*", A), &[("/a?x=*", A)], &[("/a?x=1", A), ("/a", A)], "a star in a query is one").await;
    assert!(origin.asked().iter().all(|asked| asked.method == "GET"), "a purge is never forwarded");
}

#[tokio::test]
async fn a_purged_url_takes_every_variant_and_method() {
    let origin = Origin::serve(|asked| {
        let language = asked.field("accept-language").unwrap_or_default();
        ok(format!("{language} {}", asked.number)).fresh(600).with("vary", "accept-language")
    })
    .await;
    let edge = before(origin.address()).start().await;
    let variants: [Place; 3] =
        [("/a", &[("accept-language", "en")]), ("/a", &[("accept-language", "de")]), ("/a", &[])];
    exactly(&edge, ("/a", &[]), &variants, &[("/b", &[("accept-language", "en")])], "variants").await;
    edge.get("/a").await;
    assert!(edge.ask("HEAD", "/a", &[]).await.cache().is_fresh_hit());
    purge(&edge, "/a", &[]).await;
    let hits = origin.hits();
    assert!(!edge.ask("HEAD", "/a", &[]).await.cache().hit && origin.hits() > hits, "HEAD shares what GET stored");
}

#[tokio::test]
async fn a_url_is_purged_as_the_rules_have_it_in_the_key() {
    let origin = numbered().await;
    let edge = before(origin.address())
        .rule("match = { path = \"/q/**\" }\nkey = { query = { exclude = [\"utm_*\"], sort = true } }")
        .rule("match = { path = \"/k/**\" }\nkey = { headers = [\"x-site\"], cookies = [\"lang\"] }")
        .start()
        .await;
    let stored: [Place; 1] = [("/q/x?b=1&a=2", &[])];
    for target in ["/q/x?b=1&a=2", "/q/x?a=2&b=1", "/q/x?utm_id=9&a=2&b=1", "/q/x?a=2&utm_id=8&b=1"] {
        exactly(&edge, (target, &[]), &stored, &[("/q/x?a=2", &[]), ("/q/x", &[]), ("/q/x?b=1&a=3", &[])], "query")
            .await;
    }
    let keyed: [Place; 4] = [
        ("/k/x", &[("x-site", "1")]),
        ("/k/x", &[("x-site", "2"), ("cookie", "lang=de")]),
        ("/k/x", &[("cookie", "lang=en")]),
        ("/k/x", &[]),
    ];
    exactly(
        &edge,
        ("/k/x", &[]),
        &keyed,
        &[("/k/y", &[("x-site", "1")]), ("/k/x?a", &[("x-site", "1")])],
        "fields and cookies",
    )
    .await;
}

#[tokio::test]
async fn a_path_that_ends_in_a_star_is_a_prefix() {
    let origin = numbered().await;
    let edge = before(origin.address()).start().await;
    let below: [Place; 4] = [("/p/", A), ("/p/x", A), ("/p/x/y?z", A), ("/p/?q", A)];
    let beside: [Place; 5] = [("/p", A), ("/px", A), ("/", A), ("/p/x", B), ("/p/x", A81)];
    exactly(&edge, ("/p/*", A), &below, &beside, "a folder").await;
    let below: [Place; 4] = [("/r", A), ("/rx", A), ("/r?q", A), ("/r/x", A)];
    exactly(&edge, ("/r*", A), &below, &[("/", A), ("/q", A), ("/r", B), ("/R", A)], "a beginning").await;
    purge(&edge, "/*", A).await;
    exactly(&edge, ("/*", A), &[("/", A), ("/q", A), ("/p/x?y", A)], &[("/", B), ("/", A81)], "a host").await;
}

/// Each path carries tags of its own.
fn tagged(asked: &Asked) -> Told {
    let fields: Fields = match asked.target.as_str() {
        "/surrogate" => &[("surrogate-key", "sale  new")],
        "/xkey" => &[("xkey", "sale\tred")],
        "/cache-tag" => &[("cache-tag", "sale, on sale")],
        "/edge" => &[("edge-cache-tag", "sale,blue")],
        "/groups" => &[("cache-groups", "\"sale\", \"on sale\"")],
        "/two-lines" => &[("surrogate-key", "x"), ("surrogate-key", "sale")],
        "/like" => &[("surrogate-key", "sale2 Sale sal")],
        "/" => &[("surrogate-key", "root")],
        _ => &[],
    };
    fields.iter().fold(ok(asked.number.to_string()).fresh(600), |told, (name, value)| told.with(name, value))
}

#[tokio::test]
async fn a_tag_is_purged_by_each_field_in_its_own_syntax() {
    let origin = Origin::serve(|asked| tagged(&asked)).await;
    let edge =
        before(origin.address()).rule("match = { path = \"/rule/*\" }\ntags = [\"sale\", \"page:{1}\"]").start().await;
    let all: [Place; 7] = [
        ("/surrogate", &[]),
        ("/xkey", &[]),
        ("/cache-tag", &[]),
        ("/edge", &[]),
        ("/groups", &[]),
        ("/two-lines", &[]),
        ("/rule/7", &[]),
    ];
    let never: [Place; 3] = [("/like", &[]), ("/", &[]), ("/plain", &[])];
    let cases: [(Fields, &[usize], &str); 11] = [
        (&[("surrogate-key", "sale")], &[0, 1, 2, 3, 4, 5, 6], "one tag, on all of them"),
        (&[("xkey", "sale")], &[0, 1, 2, 3, 4, 5, 6], "in whichever field"),
        (&[("cache-groups", "\"sale\"")], &[0, 1, 2, 3, 4, 5, 6], "a group is a tag"),
        (&[("surrogate-key", "red  blue")], &[1, 3], "two tags"),
        (&[("xkey", "red"), ("xkey", "new")], &[0, 1], "on two lines"),
        (&[("xkey", "red"), ("cache-tag", "blue, new")], &[0, 1, 3], "in two fields"),
        (&[("cache-tag", "on sale")], &[2, 4], "with a space, where commas separate"),
        (&[("edge-cache-tag", "on sale, x")], &[2, 4, 5], "and so here"),
        (&[("cache-groups", "\"on sale\"")], &[2, 4], "and so within quotes"),
        (&[("surrogate-key", "on page:7")], &[6], "a rule's tag"),
        (&[("surrogate-key", "SALE sal*")], &[], "a tag is exact bytes"),
    ];
    for (fields, gone, why) in cases {
        let places = |goes| (0..all.len()).filter(move |index| gone.contains(index) == goes).map(|index| all[index]);
        let stay: Vec<_> = places(false).chain(never).collect();
        exactly(&edge, ("/", fields), &places(true).collect::<Vec<_>>(), &stay, why).await;
    }
}

#[tokio::test]
async fn a_purge_by_tag_spares_the_path_that_it_is_sent_to() {
    let origin = Origin::serve(|asked| tagged(&asked)).await;
    let edge = before(origin.address()).start().await;
    let tags: Fields = &[("surrogate-key", "sale")];
    exactly(&edge, ("/plain", tags), &[("/surrogate", &[])], &[("/plain", &[]), ("/", &[])], "a URL").await;
    exactly(&edge, ("/*", tags), &[("/surrogate", &[])], &[("/plain", &[]), ("/", &[])], "a prefix").await;
}

/// Answers with a validator, and from the second time on with what `then` says.
fn changing(asked: &Asked, control: &str, then: u16) -> Told {
    let code = if asked.number == 1 { 200 } else { then };
    let body = if code == 304 { String::new() } else { format!("v{}", asked.number) };
    status(code, body).with("cache-control", control).with("etag", "\"one\"")
}

#[tokio::test]
async fn after_a_soft_purge_a_stale_response_serves_while_it_is_refreshed() {
    let origin = Origin::serve(|asked| changing(&asked, "max-age=600, stale-while-revalidate=60", 200)).await;
    let edge = before(origin.address()).start().await;
    edge.get("/a").await;
    for (field, matched) in [("soft-purge", 1), ("fastly-soft-purge", 1)] {
        let hits = origin.hits();
        let reply = edge.ask("PURGE", "/a", &[(field, "1")]).await;
        let told = receipt(&reply);
        assert_eq!((&told["soft"], &told["matched"]["edge"]), (&json!(true), &json!(matched)), "{field}");
        let stale = edge.get("/a").await;
        assert_eq!(stale.text(), format!("v{hits}"), "{field}");
        assert!(stale.cache().hit && stale.cache().says("stale-while-revalidate"), "{:?}", stale.cache());
        origin.asked_times(hits + 1).await;
        let fresh = eventually("the refresh", async || {
            let reply = edge.get("/a").await;
            reply.cache().is_fresh_hit().then_some(reply)
        });
        assert_eq!(fresh.await.text(), format!("v{}", hits + 1), "{field}");
        assert_eq!(origin.hits(), hits + 1, "it was refreshed once");
    }
}

#[tokio::test]
async fn after_a_soft_purge_without_a_stale_window_the_origin_is_asked_with_the_validators() {
    let origin = Origin::serve(|asked| changing(&asked, "max-age=600", 304)).await;
    let edge = before(origin.address()).start().await;
    edge.get("/a").await;
    assert_eq!(purge(&edge, "/a", &[("soft-purge", "true")]).await, 1);
    let reply = edge.get("/a").await;
    assert_eq!(reply.brief(), (200, "v1"));
    assert!(reply.cache().says("soft-purged"), "{:?}", reply.cache());
    assert_eq!((origin.hits(), origin.last().field("if-none-match").as_deref()), (2, Some("\"one\"")));
    let reply = edge.get("/a").await;
    assert!(reply.cache().is_fresh_hit() && reply.text() == "v1", "a 304 made it fresh again: {:?}", reply.cache());
}

#[tokio::test]
async fn a_soft_purge_leaves_something_for_an_origin_in_trouble_and_a_hard_one_does_not() {
    let cases: [(&[Fields], bool, &str); 4] = [
        (&[&[("soft-purge", "1")]], true, "soft: stale-if-error"),
        (&[&[]], false, "hard: gone"),
        (&[&[("soft-purge", "1")], &[]], false, "soft, then hard: gone"),
        (&[&[], &[("soft-purge", "1")]], false, "hard, then soft: still gone"),
    ];
    for (purges, serves, why) in cases {
        let origin = Origin::serve(|asked| changing(&asked, "max-age=600", 503)).await;
        let edge = before(origin.address()).start().await;
        edge.get("/a").await;
        for fields in purges {
            purge(&edge, "/a", fields).await;
        }
        let reply = edge.get("/a").await;
        assert_eq!(reply.brief(), if serves { (200, "v1") } else { (503, "v2") }, "{why}");
        assert_eq!(reply.cache().says("stale-if-error"), serves, "{why}: {:?}", reply.cache());
        assert_eq!(origin.last().field("if-none-match").is_some(), serves, "{why}: its validators are gone too");
    }
}

#[tokio::test]
async fn the_receipt_numbers_purges_and_counts_what_they_named() {
    let origin = Origin::serve(|asked| tagged(&asked)).await;
    let edge = before(origin.address()).telemetry("access_log = \"json\"").start().await;
    for target in ["/surrogate", "/xkey", "/plain", "/"] {
        edge.get(target).await;
    }
    let cases: [(&str, Fields, bool, u64, &str); 6] = [
        ("/", &[("xkey", "sale"), ("soft-purge", "1")], true, 2, "by tag, softly"),
        ("/", &[("xkey", "sale"), ("soft-purge", "0")], false, 2, "stale ones are still there"),
        ("/", &[("xkey", "sale")], false, 0, "dead ones are not"),
        ("/plain", &[], false, 1, "a URL"),
        ("/plain", &[], false, 0, "a URL that is gone"),
        ("/*", &[], false, 1, "what is left"),
    ];
    let mut ids = std::collections::HashSet::new();
    for (number, (target, fields, soft, edge_count, why)) in (1u64..).zip(cases) {
        let reply = edge.ask("PURGE", target, fields).await;
        let told = receipt(&reply);
        assert_eq!(
            (&told["status"], &told["seq"], &told["soft"], &told["matched"]),
            (&json!("ok"), &json!(number), &json!(soft), &json!({ "edge": edge_count })),
            "{why}"
        );
        assert!(ids.insert(told["id"].as_str().expect("an id").to_owned()), "{why}: {told}");
        assert_eq!(told["nodes"]["acked"].as_array().map(Vec::len), Some(1), "{why}");
        assert_eq!((&told["nodes"]["lagging"], told["took_ms"].is_f64()), (&json!([]), true), "{why}");
        assert_eq!(reply.field("content-type").as_deref(), Some("application/json"));
        assert_eq!(reply.field("cache-control").as_deref(), Some("no-store"));
        assert_eq!((reply.field("age").as_deref(), reply.field("via").as_deref()), (Some("0"), Some("1.1 larder")));
    }
    assert!(edge.metric("larder_purges_total{scope=\"tag\",severity=\"hard\"").await >= 2.0);
    let line = edge.logs("\"method\":\"PURGE\"").await;
    assert!(line.contains("\"detail\":\"purge\"") && line.contains("\"cache\":\"purge\""), "{line}");
}

fn with_token(setup: &Setup, token: &str) -> String {
    setup.text().replace("[admin]\n", &format!("[admin]\ntoken = \"{token}\"\n"))
}

#[tokio::test]
async fn who_is_neither_in_the_list_nor_has_the_token_is_refused_and_nobody_hears_of_it() {
    const TRUSTED: &str = "trusted_proxies = [\"127.0.0.0/8\"]";
    const NET: &str = "\"192.0.2.0/24\"";
    const LOCAL: &str = "\"127.0.0.0/8\", \"::1/128\"";
    let bearer: Fields = &[("authorization", "Bearer s3cret")];
    // server   allow  token     fields                                             may   why
    let cases: [(&str, &str, &str, Fields, bool, &str); 20] = [
        ("", LOCAL, "", &[], true, "in the list"),
        ("", "\"::ffff:127.0.0.0/104\"", "", &[], true, "in the list, as IPv6 writes it"),
        ("", NET, "", &[], false, "not in it"),
        ("", "", "s3cret", &[], false, "an empty list, no token brought"),
        ("", "", "s3cret", bearer, true, "the token"),
        ("", "", "s3cret", &[("fastly-key", "s3cret")], true, "as plug-ins for Fastly send it"),
        ("", NET, "s3cret", &[("authorization", "Bearer s3cre")], false, "a wrong token"),
        ("", NET, "s3cret", &[("authorization", "Basic s3cret")], false, "of another scheme"),
        ("", NET, "s3cret", &[("x-purge-key", "s3cret")], false, "in another field"),
        ("", NET, "s3cret", &[("fastly-key", "")], false, "an empty one"),
        ("", NET, "", &[("authorization", "Bearer ")], false, "an empty one, where none is set"),
        ("", NET, "", &[("fastly-key", "")], false, "an empty one, where none is set"),
        ("", NET, "", &[("x-forwarded-for", "192.0.2.1")], false, "a lie: the peer is no trusted proxy"),
        ("", NET, "", &[("forwarded", "for=192.0.2.1")], false, "the same lie in other words"),
        ("", NET, "", &[("x-real-ip", "192.0.2.1")], false, "and in others"),
        (TRUSTED, NET, "", &[("x-forwarded-for", "192.0.2.1")], true, "a trusted proxy says so"),
        (TRUSTED, NET, "", &[("x-forwarded-for", "192.0.2.1, 6.6.6.6")], false, "hearsay behind a trusted proxy"),
        (TRUSTED, LOCAL, "", &[("x-forwarded-for", "6.6.6.6")], false, "the proxy may, its client may not"),
        (TRUSTED, LOCAL, "", &[("forwarded", "for=6.6.6.6")], false, "the same in other words"),
        (TRUSTED, LOCAL, "", &[("x-forwarded-for", "127.0.0.1, 6.6.6.6")], false, "and with a lie before it"),
    ];
    for (server, allow, token, fields, may, why) in cases {
        let origin = numbered().await;
        let setup = before(origin.address()).server(server).table(&format!("[purge]\nallow = [{allow}]"));
        let edge = Edge::started(&with_token(&setup, token)).await;
        edge.get("/a").await;
        let reply = edge.ask("PURGE", "/a", fields).await;
        assert_eq!(reply.status, if may { 200 } else { 403 }, "{why}");
        assert!(reply.cache().says(if may { "purge" } else { "purge-denied" }), "{why}: {:?}", reply.headers);
        assert_eq!(is_hit(&edge, ("/a", &[])).await, !may, "{why}");
        assert!(origin.asked().iter().all(|asked| asked.method == "GET"), "{why}");
    }
}

#[tokio::test]
async fn a_refusal_is_one_of_our_errors() {
    let origin = numbered().await;
    let edge = before(origin.address()).table("[purge]\nallow = [\"192.0.2.1/32\"]").start().await;
    let reply = edge.ask("PURGE", "/a", &[("accept", "application/json")]).await;
    let told: Value = serde_json::from_slice(&reply.body).expect("JSON was preferred");
    assert_eq!((&told["status"], &told["error"]), (&json!(403), &json!("http_request_denied")));
    assert_eq!(reply.field("cache-control").as_deref(), Some("no-store"));
    assert!(reply.field("proxy-status").is_some_and(|status| status.contains("http_request_denied")));
    let reply = edge.ask("PURGE", "/a", &[("surrogate-key", "")]).await;
    assert_eq!(reply.status, 403, "what is wrong with a request is not told to strangers");
    assert!(reply.text().contains("purge.allow"), "{}", reply.text());
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_purge_that_names_nothing_clear_is_refused_with_the_reason() {
    let origin = Origin::serve(|asked| tagged(&asked)).await;
    let edge = before(origin.address()).start().await;
    edge.get("/surrogate").await;
    let many = vec!["sale"; 1025].join(" ");
    let long = format!("sale {}", "t".repeat(1025));
    let none: [(&str, &str); 0] = [];
    let both = [("soft-purge", "1"), ("fastly-soft-purge", "0")];
    let cases = [
        ("/surrogate", &[("surrogate-key", "")][..], 400, "tag", "no tag named"),
        ("/surrogate", &[("cache-tag", " , ")], 400, "tag", "nothing but commas"),
        ("/surrogate", &[("cache-groups", "sale")], 400, "tag", "not a structured list of strings"),
        ("/surrogate", &[("surrogate-key", &long)], 400, "1024", "a tag too long"),
        ("/surrogate", &[("surrogate-key", &many)], 413, "1024", "too many tags"),
        ("/surrogate", &[("soft-purge", "maybe")], 400, "Soft-Purge", "neither soft nor hard"),
        ("/surrogate", &both, 400, "Soft-Purge", "both"),
        ("/surrogate*?x", &none, 400, "prefix", "a prefix with a query"),
        ("/./surrogate", &none, 400, "dot segments", "no URL that could be stored"),
    ];
    for (target, fields, status, says, why) in cases {
        let reply = edge.ask("PURGE", target, fields).await;
        assert_eq!(reply.status, status, "{why}: {}", reply.text());
        assert!(reply.cache().says("bad-request") && reply.text().contains(says), "{why}: {}", reply.text());
    }
    assert!(is_hit(&edge, ("/surrogate", &[])).await, "nothing was purged");
    assert_eq!(receipt(&edge.ask("PURGE", "/x", &[]).await)["seq"], 1, "no number was given to what was refused");
}

#[tokio::test]
async fn rules_have_no_say_in_purges() {
    let origin = numbered().await;
    let edge = before(origin.address())
        .rule("match = { method = [\"PURGE\"] }\naction = \"deny\"")
        .rule("match = { path = \"/pass\" }\naction = \"pass\"")
        .start()
        .await;
    exactly(&edge, ("/a", &[]), &[("/a", &[])], &[("/b", &[])], "a denied method").await;
    assert_eq!(purge(&edge, "/pass", &[]).await, 0);
    assert!(origin.asked().iter().all(|asked| asked.method == "GET"));
}

#[tokio::test]
async fn the_body_of_a_purge_says_nothing_and_the_connection_goes_on() {
    let origin = numbered().await;
    let edge = before(origin.address()).start().await;
    let mut connection = Connection::to(edge.address()).await;
    connection.get("/a").await;
    let body = vec![b'x'; 200_000];
    let reply = connection.send(ask("PURGE", "/a"), body).await;
    assert_eq!(receipt(&reply)["matched"]["edge"], 1);
    assert_eq!(connection.send(get("/a"), Bytes::new()).await.text(), "/a 2", "over the same connection");
}

#[tokio::test]
async fn a_purge_comes_over_http_2_too() {
    let origin = numbered().await;
    let edge = before(origin.address()).start().await;
    let mut connection = Multiplexed::to(edge.address()).await;
    connection.send("GET", "/a", Bytes::new()).await;
    assert_eq!(receipt(&connection.send("PURGE", "/a", "a body").await)["matched"]["edge"], 1);
    assert_eq!(connection.send("GET", "/a", Bytes::new()).await.text(), "/a 2");
    assert_eq!(receipt(&connection.send("PURGE", "/*", Bytes::new()).await)["matched"]["edge"], 1);
}

#[tokio::test]
async fn a_reload_changes_who_may_purge() {
    let origin = numbered().await;
    let allowing = |network: &str| before(origin.address()).table(&format!("[purge]\nallow = [\"{network}\"]"));
    let edge = allowing("127.0.0.0/8").start().await;
    assert_eq!(edge.ask("PURGE", "/a", &[]).await.status, 200);
    edge.rewrite(&allowing("192.0.2.0/24").text());
    edge.signal("HUP");
    eventually("the new list", async || (edge.ask("PURGE", "/a", &[]).await.status == 403).then_some(())).await;
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_host_with_a_port_is_purged_on_that_port_alone() {
    const PLAIN: Fields = &[("host", "a.test")];
    const OTHER: Fields = &[("host", "a.test:81")];
    const SECURE: Fields = &[("host", "a.test"), ("x-forwarded-proto", "https")];
    const SECURE_ON_80: Fields = &[("host", "a.test:80"), ("x-forwarded-proto", "https")];
    let all = [PLAIN, OTHER, SECURE, SECURE_ON_80];
    let origin = numbered().await;
    let edge = before(origin.address()).server("trusted_proxies = [\"127.0.0.1\"]").start().await;
    let cases: [(&str, &[Fields], &str); 4] = [
        ("a.test:80", &[PLAIN, SECURE_ON_80], "http's own port, and https spoken there"),
        ("a.test:443", &[SECURE], "https's own port"),
        ("a.test:81", &[OTHER], "a port that keys have"),
        ("a.test", &all, "every port"),
    ];
    for (host, gone, why) in cases {
        for fields in all {
            edge.get_with("/x", fields).await;
            assert!(is_hit(&edge, ("/x", fields)).await, "{why}: {fields:?} is stored");
        }
        let body = json!({ "hosts": [host] }).to_string();
        let reply = Connection::to(edge.admin_address()).await.send(ask("POST", "/purge"), body).await;
        let told: Value = serde_json::from_slice(&reply.body).expect("a receipt");
        assert_eq!(told["matched"]["edge"], gone.len(), "{why}: {told}");
        for fields in all {
            assert_eq!(!is_hit(&edge, ("/x", fields)).await, gone.contains(&fields), "{why}: {host}, {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_part_that_was_softly_purged_says_so() {
    let origin = Origin::serve(|_| {
        status(206, "01234")
            .with("cache-control", "max-age=60, stale-while-revalidate=60")
            .with("content-range", "bytes 0-4/10")
    })
    .await;
    let edge = before(origin.address()).start().await;
    let part: Place = ("/a", &[("range", "bytes=0-4")]);
    edge.get_with(part.0, part.1).await;
    assert!(is_hit(&edge, part).await);
    assert_eq!(purge(&edge, "/a", &[("soft-purge", "1")]).await, 1);
    let reply = edge.get_with(part.0, part.1).await;
    assert!(reply.cache().says("soft-purged"), "it did not expire: {:?}", reply.cache());
}

#[tokio::test]
async fn a_purge_is_counted_as_a_purge_and_a_denied_one_as_refused() {
    let origin = numbered().await;
    let edge = before(origin.address()).start().await;
    purge(&edge, "/a", A).await;
    assert_eq!(edge.ask("PURGE", "/a", &[("host", "a.test"), ("soft-purge", "maybe")]).await.status, 400);
    let counted = eventually("both are over", async || {
        let told: Value = serde_json::from_slice(&edge.admin("/stats").await.body).expect("figures");
        let counted = told["requests"]["by_result"].clone();
        (told["requests"]["total"] == 2).then_some(counted)
    });
    let counted = counted.await;
    assert_eq!((&counted["purge"], &counted["refused"]), (&json!(1), &json!(1)), "{counted}");
}
