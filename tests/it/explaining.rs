//! Does `explain` say what then happens, change nothing by saying it, and give advice that helps?

use larder::wire::explain::Explanation;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::edge::{Edge, before};
use crate::support::gate::Gate;
use crate::support::origin::{Asked, Origin, Told, ok, status};
use crate::support::reply::{CacheStatus, Reply};
use crate::support::wire::{Fields, get};
use crate::support::{eventually, within};

/// A request: method, target, fields.
type Sent = (&'static str, &'static str, Fields);

const NONE: Fields = &[];

/// An origin that answers each path as its first segment says.
fn answer(asked: &Asked) -> Told {
    let kind = asked.target.split(['/', '?']).nth(1).unwrap_or_default();
    let told = ok("0123456789").with("etag", "\"a\"");
    // Old when it comes: it is stale from the start, and nobody has to wait.
    let old = |told: Told, more: &str| told.with("age", "20").with("cache-control", &format!("max-age=10{more}"));
    match kind {
        "old" if asked.field("if-none-match").is_some() => status(304, "").fresh(600),
        "old" => old(told, ""),
        "bare" => old(ok("0123456789"), ""),
        "swr" => old(told, ", stale-while-revalidate=600"),
        "strict" => old(told, ", must-revalidate, stale-while-revalidate=600"),
        "no-cache" => told.with("cache-control", "no-cache"),
        "no-store" => told.with("cache-control", "no-store"),
        "private" => told.with("cache-control", "private, max-age=600"),
        "cookie" => told.fresh(600).with("set-cookie", "a=b"),
        "vary" => told.fresh(600).with("vary", "accept-language"),
        "agent" => told.fresh(600).with("vary", "x-agent"),
        "star" => told.fresh(600).with("vary", "*"),
        "window" => told.with("cache-control", "max-age=600, stale-while-revalidate=600"),
        "part" if asked.field("range").is_some() => part("01234", "bytes 0-4/10").with("etag", "\"a\"").fresh(600),
        "tagged" => told.fresh(600).with("surrogate-key", "news sport"),
        _ => told.fresh(600),
    }
}

fn part(body: &'static str, range: &str) -> Told {
    status(206, body).with("content-range", range)
}

async fn edge(origin: &Origin) -> Edge {
    before(origin.address())
        .origin("hosts = [\"127.0.0.1\"]")
        .rule("name = \"tracking\"\nmatch = { path = \"/utm/**\" }\nkey = { query = { exclude = [\"utm_*\"] } }")
        .rule("name = \"device\"\nmatch = { path = \"/device/**\" }\nkey = { headers = [\"x-device\"], cookies = [\"tier\"] }")
        .rule("name = \"live\"\nmatch = { path = \"/pass/**\" }\naction = \"pass\"")
        .rule("name = \"closed\"\nmatch = { path = \"/deny/**\" }\naction = \"deny\"")
        .rule("match = { header = { x-forwarded-proto = \"*\" } }\naction = \"deny\"")
        .rule("match = { path = \"/*/honour\" }\nclient_cache_control = \"honour\"")
        .rule("name = \"tongues\"\nmatch = { path = \"/vary/normal\" }\nvary = { accept-language = [\"de\", \"en\"] }")
        .start()
        .await
}

fn url(edge: &Edge, target: &str) -> String {
    format!("http://{}{target}", edge.address())
}

async fn ask_to_explain(edge: &Edge, (method, target, fields): Sent) -> Reply {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let fields = fields.iter().map(|(name, value)| format!("&header={}", encoded(&format!("{name}: {value}"))));
    let fields: Vec<_> = fields.collect();
    edge.admin(&format!("/explain?method={method}&url={}{}", encoded(&url(edge, target)), fields.concat())).await
}

async fn explain(edge: &Edge, sent: Sent) -> Explanation {
    let reply = ask_to_explain(edge, sent).await;
    assert_eq!(reply.status, 200, "{sent:?}: {}", reply.text());
    serde_json::from_slice(&reply.body).expect("an explanation is JSON")
}

async fn send(edge: &Edge, (method, target, fields): Sent) -> Reply {
    edge.ask(method, target, fields).await
}

/// What a request's `Cache-Status` says as the verdict says it.
fn result_of(status: &CacheStatus) -> &'static str {
    match (status.hit, status.fwd.as_deref(), status.detail.as_deref()) {
        (true, _, None) => "hit",
        (true, ..) => "stale",
        (false, None, _) => "refused",
        (false, Some("bypass" | "method"), _) => "pass",
        (false, Some(_), _) => "asked",
    }
}

struct Row {
    before: &'static [Sent],
    sent: Sent,
    /// Result, detail, fwd, and the status of our own answers.
    want: (&'static str, &'static str, &'static str, u16),
    /// The detail that the answer has in the end, where it is not stored for a reason of its own.
    after: &'static str,
    why: &'static str,
}

const fn row(
    before: &'static [Sent],
    sent: Sent,
    want: (&'static str, &'static str, &'static str, u16),
    after: &'static str,
    why: &'static str,
) -> Row {
    Row { before, sent, want, after, why }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(&[], ("GET", "/fresh/1", NONE), ("miss", "not-stored", "uri-miss", 0), "", "never asked"),
    row(&[("GET", "/fresh/2", NONE)], ("GET", "/fresh/2", NONE), ("hit", "", "", 200), "", "fresh"),
    row(&[("GET", "/fresh/3", NONE)], ("HEAD", "/fresh/3", NONE), ("hit", "", "", 200), "", "HEAD has the key of GET"),
    row(&[], ("HEAD", "/fresh/4", NONE), ("miss", "not-stored", "uri-miss", 0), "", "HEAD, nothing stored"),
    row(&[("GET", "/fresh/5", NONE)], ("GET", "/fresh/5", &[("if-none-match", "\"a\"")]), ("hit", "", "", 304), "", "the client has it"),
    row(&[("GET", "/fresh/6", NONE)], ("GET", "/fresh/6", &[("range", "bytes=2-3")]), ("hit", "", "", 206), "", "a part of the whole"),
    row(&[("GET", "/fresh/7", NONE)], ("GET", "/fresh/7", &[("range", "bytes=20-")]), ("hit", "", "", 416), "", "beyond the end"),
    row(&[("GET", "/part/1", &[("range", "bytes=0-4")])], ("GET", "/part/1", &[("range", "bytes=1-2")]), ("hit", "", "", 206), "", "within a stored part"),
    row(&[("GET", "/part/2", &[("range", "bytes=0-4")])], ("GET", "/part/2", &[("range", "bytes=3-7")]), ("miss", "partial", "partial", 0), "", "beyond a stored part"),
    row(&[("GET", "/old/1", NONE)], ("GET", "/old/1", NONE), ("revalidate", "expired", "stale", 0), "", "expired, with a validator"),
    row(&[("GET", "/bare/1", NONE)], ("GET", "/bare/1", NONE), ("miss", "expired", "stale", 0), "", "expired, nothing to ask with"),
    row(&[("GET", "/swr/1", NONE)], ("GET", "/swr/1", NONE), ("stale", "stale-while-revalidate", "", 200), "", "within its window"),
    row(&[("GET", "/strict/1", NONE)], ("GET", "/strict/1", NONE), ("revalidate", "expired", "stale", 0), "", "never stale"),
    row(&[("GET", "/no-cache/1", NONE)], ("GET", "/no-cache/1", NONE), ("revalidate", "no-cache", "stale", 0), "", "every time"),
    row(&[("GET", "/vary/1", &[("accept-language", "en")])], ("GET", "/vary/1", &[("accept-language", "de")]), ("miss", "no-variant", "vary-miss", 0), "", "another variant"),
    row(&[("GET", "/vary/2", &[("accept-language", "en, de;q=0.5")])], ("GET", "/vary/2", &[("accept-language", "de;q=0.5,  EN")]), ("hit", "", "", 200), "", "the same meaning"),
    row(&[("GET", "/vary/normal", &[("accept-language", "de-AT, de")])], ("GET", "/vary/normal", &[("accept-language", "de")]), ("hit", "", "", 200), "", "normalised by a rule"),
    row(&[("GET", "/device/1", &[("x-device", "phone")])], ("GET", "/device/1", &[("x-device", "desk")]), ("miss", "not-stored", "uri-miss", 0), "", "a header in the key"),
    row(&[("GET", "/device/2", &[("cookie", "a=1; tier=2")])], ("GET", "/device/2", &[("cookie", "tier=2; b=3")]), ("hit", "", "", 200), "", "the cookie in the key is the same"),
    row(&[("GET", "/utm/1?id=1&utm_source=a", NONE)], ("GET", "/utm/1?utm_source=b&id=1", NONE), ("hit", "", "", 200), "", "a parameter that does not count"),
    row(&[("GET", "/fresh/8?a=1", NONE)], ("GET", "/fresh/8?a=2", NONE), ("miss", "not-stored", "uri-miss", 0), "", "one that does"),
    row(&[], ("GET", "/pass/1", NONE), ("pass", "rule-pass", "bypass", 0), "", "a rule"),
    row(&[], ("GET", "/pass/2", &[("cache-control", "only-if-cached")]), ("refused", "only-if-cached", "", 504), "", "passed, and nothing may be asked"),
    row(&[], ("GET", "/deny/1", NONE), ("refused", "rule-deny", "", 403), "", "a rule"),
    row(&[], ("POST", "/fresh/9", NONE), ("pass", "method", "method", 0), "", "answers to POST are not stored"),
    row(&[], ("GET", "/fresh/10", &[("content-length", "0")]), ("miss", "not-stored", "uri-miss", 0), "", "no body"),
    row(&[], ("GET", "/fresh/11", &[("authorization", "Basic eA==")]), ("miss", "not-stored", "uri-miss", 0), "authorization", "not stored for its sake"),
    row(&[("GET", "/fresh/12", &[("authorization", "Basic eA==")])], ("GET", "/fresh/12", &[("authorization", "Basic eA==")]), ("miss", "hit-for-miss", "uri-miss", 0), "", "and remembered for those"),
    row(&[("GET", "/fresh/13", &[("authorization", "Basic eA==")])], ("GET", "/fresh/13", NONE), ("miss", "not-stored", "uri-miss", 0), "", "but not for others"),
    row(&[], ("GET", "/no-store/1", NONE), ("miss", "not-stored", "uri-miss", 0), "no-store", "not known before"),
    row(&[("GET", "/no-store/2", NONE)], ("GET", "/no-store/2", NONE), ("miss", "hit-for-miss", "uri-miss", 0), "", "known"),
    row(&[("GET", "/cookie/1", NONE)], ("GET", "/cookie/1", NONE), ("miss", "hit-for-miss", "uri-miss", 0), "", "Set-Cookie"),
    row(&[], ("GET", "/fresh/14", &[("cache-control", "only-if-cached")]), ("refused", "only-if-cached", "", 504), "", "nothing is stored"),
    row(&[("GET", "/fresh/15", NONE)], ("GET", "/fresh/15", &[("cache-control", "only-if-cached")]), ("hit", "", "", 200), "", "it is"),
    row(&[("GET", "/fresh/16", NONE), ("PURGE", "/fresh/16", &[("soft-purge", "1")])], ("GET", "/fresh/16", NONE), ("revalidate", "soft-purged", "stale", 0), "", "softly purged, no window"),
    row(&[("GET", "/window/1", NONE), ("PURGE", "/window/1", &[("soft-purge", "1")])], ("GET", "/window/1", NONE), ("stale", "stale-while-revalidate", "", 200), "", "softly purged, with a window"),
    row(&[("GET", "/fresh/17", NONE), ("PURGE", "/fresh/17", NONE)], ("GET", "/fresh/17", NONE), ("miss", "*", "*", 0), "", "purged"),
    row(&[("GET", "/tagged/1", NONE), ("PURGE", "/", &[("surrogate-key", "news")])], ("GET", "/tagged/1", NONE), ("miss", "*", "*", 0), "", "purged by a tag"),
    row(&[("GET", "/fresh/18", NONE), ("POST", "/fresh/18", NONE)], ("GET", "/fresh/18", NONE), ("miss", "*", "*", 0), "", "invalidated by an unsafe method"),
    row(&[], ("GET", "/fresh/19", &[("host", "unknown.test")]), ("refused", "no-origin", "", 404), "", "nobody's host"),
    row(&[("GET", "/fresh/honour", NONE)], ("GET", "/fresh/honour", &[("cache-control", "no-cache")]), ("revalidate", "client-no-cache", "request", 0), "", "a rule honours it"),
    row(&[("GET", "/window/honour", NONE)], ("GET", "/window/honour", &[("pragma", "no-cache")]), ("revalidate", "client-no-cache", "request", 0), "", "the old field, too"),
    row(&[("GET", "/fresh/20", NONE)], ("GET", "/fresh/20", &[("cache-control", "no-cache")]), ("hit", "", "", 200), "", "no rule does"),
    row(&[("GET", "/old/honour", NONE)], ("GET", "/old/honour", &[("cache-control", "max-stale")]), ("stale", "max-stale", "", 200), "", "accepted stale"),
    row(&[("GET", "/fresh/21", NONE)], ("GET", "/fresh/21", &[("x-forwarded-proto", "https")]), ("hit", "", "", 200), "", "nobody believes it"),
    row(&[], ("TRACE", "/fresh/22", NONE), ("refused", "bad-request", "", 405), "", "never let in"),
    row(&[], ("GET", "/a/../b", NONE), ("refused", "bad-request", "", 400), "", "dot segments"),
    row(&[], ("GET", "/fresh/23", &[("connection", "authorization")]), ("refused", "bad-request", "", 400), "", "a field that is for everybody"),
];

#[tokio::test]
async fn a_verdict_is_what_then_happens() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let edge = edge(&origin).await;
    for Row { before, sent, want: (result, detail, fwd, own), after, why } in ROWS {
        let context = format!("{sent:?}: {why}");
        for earlier in *before {
            send(&edge, *earlier).await;
        }
        let asked_before = origin.hits();
        let told = explain(&edge, *sent).await;
        let verdict = &told.verdict;
        assert_eq!(verdict.result, *result, "{context}: {told:#?}");
        let told_words = (verdict.detail.as_deref().unwrap_or(""), verdict.fwd.as_deref().unwrap_or(""));
        if *detail != "*" {
            assert_eq!(told_words, (*detail, *fwd), "{context}");
        }
        assert_eq!(verdict.status.unwrap_or(0), *own, "{context}");
        assert_eq!(told.advice.is_empty(), *result == "hit" || *detail == "bad-request", "{context}: {told:#?}");
        assert!(verdict.clause.is_some() && !verdict.because.is_empty(), "{context}");
        assert_eq!(origin.hits(), asked_before, "{context}: nobody is asked");

        let reply = send(&edge, *sent).await;
        let cache = reply.cache();
        let happened = result_of(&cache);
        let is_asked = matches!(*result, "miss" | "revalidate");
        assert_eq!(happened, if is_asked { "asked" } else { result }, "{context}: {cache:?}");
        assert_eq!(cache.fwd, verdict.fwd, "{context}");
        let in_the_end = if after.is_empty() { told_words.0 } else { *after };
        assert_eq!(cache.detail.as_deref().unwrap_or(""), in_the_end, "{context}");
        if let Some(status) = verdict.status {
            assert_eq!(reply.status, status, "{context}");
        }
        if is_asked {
            let asks_whether = origin.last().headers.contains_key("if-none-match");
            assert_eq!(asks_whether, *result == "revalidate", "{context}: what the origin is asked");
        }
        if told_words.0 == "stale-while-revalidate" {
            // What is asked behind the client's back counts before the next row does.
            eventually("the refresh", async || (origin.hits() > asked_before).then_some(())).await;
        }
    }
}

#[tokio::test]
async fn a_body_is_seen_by_its_fields() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let edge = edge(&origin).await;
    let told = explain(&edge, ("GET", "/fresh/1", &[("content-length", "5")])).await;
    let cache = edge.send(get("/fresh/1"), "hello").await.cache();
    assert_eq!(
        (told.verdict.result.as_str(), &told.verdict.detail, &told.verdict.fwd),
        ("pass", &cache.detail, &cache.fwd)
    );
    assert!(cache.says("request-body"), "{cache:?}");
    let fields: Fields = &[("connection", "Upgrade"), ("upgrade", "websocket")];
    let told = explain(&edge, ("GET", "/fresh/1", fields)).await;
    let cache = send(&edge, ("GET", "/fresh/1", fields)).await.cache();
    assert_eq!(
        (told.verdict.result.as_str(), &told.verdict.detail, &told.verdict.fwd),
        ("pass", &cache.detail, &cache.fwd)
    );
    assert!(cache.says("upgrade"), "{cache:?}");
}

#[tokio::test]
async fn an_explanation_changes_nothing() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let edge = edge(&origin).await;
    let fresh: Sent = ("GET", "/fresh/1", NONE);
    let swr: Sent = ("GET", "/swr/1", NONE);
    for sent in [fresh, swr] {
        send(&edge, sent).await;
    }
    send(&edge, fresh).await;
    let first = explain(&edge, fresh).await;
    for _ in 0..5 {
        let again = explain(&edge, fresh).await;
        assert_eq!((again.stored[0].response.hits, &again.verdict.result), (1, &first.verdict.result));
        assert_eq!(explain(&edge, swr).await.verdict.result, "stale", "it is not refreshed by being looked at");
    }
    assert_eq!(origin.hits(), 2);
    assert!(send(&edge, fresh).await.cache().is_fresh_hit());
    assert_eq!(explain(&edge, fresh).await.stored[0].response.hits, 2);
}

#[tokio::test]
async fn the_smallest_change_is_named_with_its_place_in_the_file() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let edge = edge(&origin).await;
    let english: Fields = &[("accept-language", "en-GB, en;q=0.5")];
    #[rustfmt::skip]
    let cases: [(&[Sent], Sent, &[&str], &str); 21] = [
        (&[("GET", "/fresh/1?id=1&ref=a", NONE), ("GET", "/fresh/1?id=2&x=y&z=1", NONE)], ("GET", "/fresh/1?id=1&ref=b", NONE),
            &["leave the query parameter \"ref\" out of the key", "key = { query = { exclude = [\"ref\"] } }", "in a rule that matches /fresh/1"], "one parameter"),
        (&[("GET", "/fresh/2?a=1&b=2", NONE)], ("GET", "/fresh/2?b=2&a=1", NONE), &["key = { query = { sort = true } }"], "their order"),
        (&[("GET", "/utm/2?id=1", NONE)], ("GET", "/utm/2?id=1&gclid=9&utm_id=1", NONE),
            &["exclude = [\"utm_*\", \"gclid\"]", "in rule \"tracking\" (line"], "what the rule says already stays"),
        (&[("GET", "/device/3", &[("x-device", "phone"), ("cookie", "tier=1")])], ("GET", "/device/3", &[("x-device", "desk"), ("cookie", "tier=1")]),
            &["leave the header \"x-device\" out of the key", "key = { cookies = [\"tier\"] }", "in rule \"device\" (line"], "a header"),
        (&[("GET", "/device/4", &[("cookie", "tier=1")])], ("GET", "/device/4", &[("cookie", "tier=2")]), &["the cookie \"tier\"", "headers = [\"x-device\"]"], "a cookie"),
        (&[], ("GET", "/fresh/3", NONE), &["the next request stores it"], "nobody has asked"),
        (&[("GET", "/no-store/1", NONE)], ("GET", "/no-store/1", NONE), &["leave `no-store` out", "override = [\"no-store\"]"], "the origin forbids it"),
        (&[("GET", "/private/1", NONE)], ("GET", "/private/1", NONE), &["leave `private` out", "override = [\"private\"]"], "the origin forbids it"),
        (&[("GET", "/cookie/1", NONE)], ("GET", "/cookie/1", NONE), &["`Set-Cookie`", "override = [\"set-cookie\"]"], "a cookie in the answer"),
        (&[("GET", "/star/1", NONE)], ("GET", "/star/1", NONE), &["`Vary`", "not `*`"], "Vary"),
        (&[("GET", "/fresh/4", &[("authorization", "x")])], ("GET", "/fresh/4", &[("authorization", "x")]), &["public", "override = [\"authorization\"]"], "for those who log in"),
        (&[("GET", "/old/1", NONE)], ("GET", "/old/1", NONE), &["max-age", "`ttl`", "it lives 10 s, and is 20 s old"], "expired"),
        (&[("GET", "/no-cache/1", NONE)], ("GET", "/no-cache/1", NONE), &["leave `no-cache` out", "override = [\"no-cache\"]"], "revalidated every time"),
        (&[("GET", "/fresh/honour", NONE)], ("GET", "/fresh/honour", &[("cache-control", "no-cache")]), &["leave `cache-control` out"], "the client's word"),
        (&[("GET", "/vary/1", english)], ("GET", "/vary/1", &[("accept-language", "en")]), &["accept-language", "vary = { accept-language = [\"en-gb\", \"en\"] }"], "languages that are close"),
        (&[("GET", "/agent/1", &[("x-agent", "one")])], ("GET", "/agent/1", &[("x-agent", "two")]), &["the request has `x-agent: two`, and what is stored is for requests with `x-agent: one`", "leave it out of `Vary`"], "anything else"),
        (&[("GET", "/agent/2", NONE)], ("GET", "/agent/2", &[("x-agent", "two")]), &["what is stored is for requests with no `x-agent`"], "a field that was not there"),
        (&[], ("GET", "/pass/1", NONE), &["action = \"cache\"", "rule \"live\" (line"], "a rule"),
        (&[], ("GET", "/deny/1", NONE), &["action = \"cache\"", "rule \"closed\" (line"], "a rule"),
        (&[], ("POST", "/fresh/5", NONE), &["GET or HEAD"], "the method"),
        (&[], ("GET", "/fresh/6", &[("host", "unknown.test")]), &["\"unknown.test\"", "`hosts`"], "no origin"),
    ];
    for (before, sent, wanted, why) in cases {
        for earlier in before {
            send(&edge, *earlier).await;
        }
        let told = explain(&edge, sent).await;
        let first = told.advice.first().unwrap_or_else(|| panic!("{sent:?}: {why}: {told:#?}"));
        for want in wanted {
            assert!(first.contains(want), "{sent:?}: {why}: {first} does not say {want}");
        }
    }
    let rules = explain(&edge, ("GET", "/pass/1", NONE)).await.rules;
    let text = std::fs::read_to_string(edge.file()).expect("the file is there");
    let line = text.lines().position(|line| line == "name = \"live\"").expect("it has the rule");
    assert_eq!((rules[0].name.as_str(), rules[0].line), ("live", line as u64), "the line of its [[rules]]");
}

#[tokio::test]
async fn the_advised_key_makes_it_a_hit() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let setup = |key: &str| before(origin.address()).rule(&format!("match = {{ path = \"/fresh/**\" }}\n{key}"));
    let edge = setup("").start().await;
    let (stored, sent): (Sent, Sent) = (("GET", "/fresh/1?b=1&a=2&c=3", NONE), ("GET", "/fresh/1?a=2&d=4&b=1", NONE));
    send(&edge, stored).await;
    let advice = explain(&edge, sent).await.advice;
    let key = advice[0].split('`').find(|text| text.starts_with("key = ")).expect("a key is advised");
    assert_eq!(key, "key = { query = { exclude = [\"c\", \"d\"], sort = true } }");
    edge.rewrite(&setup(key).text());
    eventually("the advice is taken over", async || {
        send(&edge, stored).await;
        explain(&edge, sent).await.verdict.result.eq("hit").then_some(())
    })
    .await;
    assert!(send(&edge, sent).await.cache().is_fresh_hit());
}

#[tokio::test]
async fn the_purge_that_told_on_it_is_named() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let edge = edge(&origin).await;
    let sent: Sent = ("GET", "/tagged/1", NONE);
    send(&edge, sent).await;
    assert_eq!(explain(&edge, sent).await.stored[0].response.tags, ["news", "sport"]);
    send(&edge, ("PURGE", "/", &[("surrogate-key", "other")])).await;
    assert_eq!(explain(&edge, sent).await.stored[0].response.standing, "alive", "another tag");
    send(&edge, ("PURGE", "/", &[("surrogate-key", "sport"), ("soft-purge", "1")])).await;
    let told = explain(&edge, sent).await;
    let by = told.stored[0].purged_by.clone().expect("it was purged");
    assert_eq!((by.seq, by.kind.as_str(), by.name.as_str(), by.soft), (2, "tag", "sport", true));
    assert_eq!((by.who.as_deref(), by.when.is_some()), (Some("127.0.0.1 public"), true));
    let step = told.steps.iter().find(|step| step.step == "purges").expect("a step tells of it");
    assert!(step.says.contains("soft purge 2 of tag sport"), "{}", step.says);

    send(&edge, ("PURGE", "/tagged/1", NONE)).await;
    let told = explain(&edge, sent).await;
    assert_eq!(told.verdict.result, "miss");
    let step = told.steps.iter().find(|step| step.step == "purges").expect("a step tells of it");
    assert!(step.says.contains(&format!("purge 3 of url {}", url(&edge, "/tagged/1"))), "{}", step.says);
    send(&edge, sent).await;
    assert_eq!(explain(&edge, sent).await.stored[0].response.stamp, 3);
}

#[tokio::test]
async fn a_purge_is_explained_and_not_done() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let edge = edge(&origin).await;
    send(&edge, ("GET", "/utm/1?id=1", NONE)).await;
    let told = explain(&edge, ("PURGE", "/utm/1?id=1&utm_id=2", NONE)).await;
    assert_eq!((told.verdict.result.as_str(), told.verdict.detail.as_deref()), ("purge", Some("purge")));
    assert!(told.steps[0].says.contains(&format!("url {}", url(&edge, "/utm/1?id=1"))), "{told:?}");
    assert_eq!(explain(&edge, ("GET", "/utm/1?id=1", NONE)).await.verdict.result, "hit");
    let told = explain(&edge, ("PURGE", "/", &[("surrogate-key", "")])).await;
    assert_eq!((told.verdict.result.as_str(), told.verdict.status), ("refused", Some(400)));
}

#[tokio::test]
async fn a_fetch_that_it_would_wait_for_is_seen() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let held = held.clone();
        async move {
            held.pass().await;
            answer(&asked)
        }
    })
    .await;
    let edge = edge(&origin).await;
    let sent: Sent = ("GET", "/fresh/1", NONE);
    let collapse = async || {
        let steps = explain(&edge, sent).await.steps;
        steps.into_iter().find(|step| step.step == "collapse").expect("a step tells of it").says
    };
    assert!(collapse().await.starts_with("No fetch"));
    let first = send(&edge, sent);
    let look = async {
        origin.asked_times(1).await;
        let says = collapse().await;
        gate.open();
        says
    };
    let (_, says) = within("the fetch", Box::pin(async { tokio::join!(first, look) })).await;
    assert!(says.contains("collapsed"), "{says}");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_question_that_is_none_is_refused_in_words() {
    let origin = Origin::serve(|asked| answer(&asked)).await;
    let edge = edge(&origin).await;
    let cases = [
        ("/explain?url=%2Fa", "no scheme"),
        ("/explain?url=ftp%3A%2F%2Fa%2F", "another scheme"),
        ("/explain?url=http%3A%2F%2Fa%2F%23b", "a fragment"),
        ("/explain?url=http%3A%2F%2Fa%20b%2F", "no host"),
    ];
    for (question, why) in cases {
        let reply = edge.admin(question).await;
        assert_eq!(reply.status, 400, "{why}: {}", reply.text());
    }
}
