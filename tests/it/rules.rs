//! Does each key of `[[rules]]` do what the contract says of it?

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::support::edge::{Edge, before};
use crate::support::origin::{Origin, Told, ok, status};
use crate::support::raw::Line;
use crate::support::wire::{Fields, ask};

/// An origin whose body is its count, with these fields on every answer.
async fn counting(fields: Fields) -> Origin {
    Origin::serve(move |asked| with(ok(format!("v{}", asked.number)), fields)).await
}

fn with(told: Told, fields: Fields) -> Told {
    fields.iter().fold(told, |told, (name, value)| told.with(name, value))
}

/// Whether the second of two requests for `target` is a fresh hit.
async fn is_kept(edge: &Edge, target: &str) -> bool {
    edge.get(target).await;
    edge.get(target).await.cache().is_fresh_hit()
}

#[tokio::test]
async fn a_rule_applies_where_all_of_its_match_fits() {
    let origin = Origin::serve(|asked| ok(asked.target)).await;
    let cases: &[(&str, &str, &str, Fields, bool, &str)] = &[
        // match                          method  target          fields  hit    why
        ("", "GET", "/any", &[], true, "no match is every request"),
        ("host = \"shop.example\"", "GET", "/a", &[("host", "shop.example")], true, "the host"),
        ("host = \"shop.example\"", "GET", "/a", &[("host", "SHOP.Example:80")], true, "hosts have no case"),
        ("host = \"shop.example\"", "GET", "/a", &[("host", "blog.example")], false, "another host"),
        ("host = \"*.example\"", "GET", "/a", &[("host", "blog.example")], true, "a glob"),
        ("path = \"/api/*\"", "GET", "/api/a", &[], true, "one segment"),
        ("path = \"/api/*\"", "GET", "/api/a/b", &[], false, "two segments"),
        ("path = \"/api/**\"", "GET", "/api/a/b", &[], true, "any number of segments"),
        ("path = \"/api/**\"", "GET", "/api/", &[], true, "also none"),
        ("path = \"/api/**\"", "GET", "/apis", &[], false, "a segment ends at its slash"),
        ("path = \"/api/*\"", "GET", "/api/a?b=/c/d", &[], true, "the query is not the path"),
        ("path = \"/*.css\"", "GET", "/a.css", &[], true, "a run within a segment"),
        ("path_regex = '^/[0-9]+$'", "GET", "/42", &[], true, "an expression"),
        ("path_regex = '^/[0-9]+$'", "GET", "/42a", &[], false, "an expression"),
        ("method = [\"GET\", \"HEAD\"]", "GET", "/a", &[], true, "one of the methods"),
        ("method = [\"POST\"]", "POST", "/a", &[], true, "the method"),
        ("method = [\"POST\"]", "GET", "/a", &[], false, "another method"),
        ("header = { accept = \"*json*\" }", "GET", "/a", &[("accept", "application/JSON")], true, "a field"),
        ("header = { accept = \"*json*\" }", "GET", "/a", &[("accept", "text/html")], false, "another value"),
        ("header = { accept = \"*json*\" }", "GET", "/a", &[], false, "no such field"),
        ("host = \"a.example\", path = \"/b\"", "GET", "/b", &[("host", "a.example")], true, "both"),
        ("host = \"a.example\", path = \"/b\"", "GET", "/c", &[("host", "a.example")], false, "one of them"),
    ];
    for (pattern, method, target, fields, want, why) in cases {
        let edge = before(origin.address()).rule(&format!("match = {{ {pattern} }}\naction = \"deny\"")).start().await;
        let reply = edge.ask(method, target, fields).await;
        assert_eq!(reply.status == 403, *want, "{why}: {pattern} {target} {fields:?}");
        assert_eq!(reply.cache().says("rule-deny"), *want, "{why}: {:?}", reply.cache());
    }
}

#[tokio::test]
async fn later_rules_override_earlier_ones_key_by_key() {
    let origin = counting(&[]).await;
    let edge = before(origin.address())
        .rule("ttl = \"1h\"\nbrowser_ttl = \"7s\"")
        .rule("match = { path = \"/pass/**\" }\naction = \"pass\"")
        .rule("match = { path = \"/pass/but/*\" }\naction = \"cache\"\nbrowser_ttl = \"9s\"")
        .start()
        .await;
    assert!(is_kept(&edge, "/a").await);
    assert_eq!(edge.get("/a").await.field("cache-control").as_deref(), Some("max-age=7"));
    assert!(!is_kept(&edge, "/pass/a").await);
    assert!(edge.get("/pass/a").await.cache().says("rule-pass"));
    assert!(is_kept(&edge, "/pass/but/this").await, "the ttl of the first rule still counts");
    assert_eq!(edge.get("/pass/but/this").await.field("cache-control").as_deref(), Some("max-age=9"));
}

#[tokio::test]
async fn a_rule_may_name_the_origin() {
    let app = Origin::serve(|_| ok("app")).await;
    let api = Origin::serve(|_| ok("api")).await;
    let edge = before(app.address())
        .table(&format!("[[origins]]\nname = \"api\"\nurls = [\"http://{}\"]", api.address()))
        .rule("match = { path = \"/api/**\" }\norigin = \"api\"")
        .start()
        .await;
    assert_eq!((edge.get("/x").await.text(), edge.get("/api/x").await.text()), ("app", "api"));
}

#[tokio::test]
async fn pass_neither_looks_up_nor_stores() {
    let origin = counting(&[("cache-control", "max-age=60")]).await;
    let edge =
        before(origin.address()).rule("match = { header = { x-pass = \"*\" } }\naction = \"pass\"").start().await;
    for body in ["v1", "v2"] {
        let reply = edge.get_with("/x", &[("x-pass", "1")]).await;
        assert_eq!(reply.text(), body);
        let cache = reply.cache();
        assert!(cache.fwd.as_deref() == Some("bypass") && cache.says("rule-pass") && !cache.stored, "{cache:?}");
    }
    assert_eq!(edge.get("/x").await.text(), "v3");
    assert_eq!(edge.get_with("/x", &[("x-pass", "1")]).await.text(), "v4");
    assert_eq!(edge.get("/x").await.text(), "v3");
}

#[tokio::test]
async fn lifetimes_come_from_the_rule_where_it_says_so() {
    const OLD: (&str, &str) = ("last-modified", "Mon, 01 Jan 2001 00:00:00 GMT");
    let cases: &[(&str, u16, Fields, bool, &str)] = &[
        // rule                                 status fields                              hit    why
        ("default_ttl = \"1h\"", 200, &[], true, "the origin states none"),
        ("default_ttl = \"1h\"", 200, &[("cache-control", "max-age=0")], false, "the origin states one"),
        ("default_ttl = \"0s\"", 200, &[OLD], false, "no heuristic where a default is set"),
        ("browser_ttl = \"1s\"", 200, &[OLD], true, "unset: heuristic"),
        ("ttl = \"1h\"", 200, &[("cache-control", "max-age=0")], true, "it replaces what the origin states"),
        ("ttl = \"0s\"", 200, &[("cache-control", "max-age=60")], false, "it replaces what the origin states"),
        ("ttl = \"1h\"", 200, &[("cache-control", "no-store")], false, "ttl alone never stores no-store"),
        ("ttl = \"1h\"", 200, &[("cache-control", "private")], false, "ttl alone never stores private"),
        ("ttl = \"1h\"", 200, &[("set-cookie", "a=1")], false, "ttl alone never stores Set-Cookie"),
        ("ttl_by_status = { 404 = \"1h\" }", 404, &[("cache-control", "max-age=0")], true, "this status"),
        ("ttl_by_status = { 404 = \"1h\" }", 200, &[("cache-control", "max-age=0")], false, "another status"),
        ("ttl_by_status = { 5xx = \"0s\" }", 503, &[("cache-control", "max-age=60")], false, "a class"),
        ("ttl = \"1h\"\nttl_by_status = { 404 = \"0s\" }", 404, &[], false, "the status is more precise than ttl"),
    ];
    for (rule, code, fields, want, why) in cases {
        let (code, fields) = (*code, *fields);
        let origin = Origin::serve(move |_| with(status(code, "body"), fields)).await;
        let edge = before(origin.address()).rule(rule).start().await;
        assert_eq!(is_kept(&edge, "/x").await, *want, "{why}: {rule} {code} {fields:?}");
    }
}

#[tokio::test]
async fn directives_are_overruled_one_by_one() {
    let cases: &[(&str, Fields, Fields, &str)] = &[
        // overruled       request                       response
        ("no-store", &[], &[("cache-control", "no-store, max-age=60")], "no-store"),
        ("private", &[], &[("cache-control", "private, max-age=60")], "private"),
        ("no-cache", &[], &[("cache-control", "no-cache, max-age=60"), ("etag", "\"a\"")], "no-cache"),
        ("set-cookie", &[], &[("cache-control", "max-age=60"), ("set-cookie", "a=1")], "Set-Cookie"),
        ("authorization", &[("authorization", "Basic YTpi")], &[("cache-control", "max-age=60")], "Authorization"),
    ];
    for (word, request, response, why) in cases {
        let response = *response;
        for (rule, want) in [(format!("override = [{word:?}]"), true), ("override = []".to_owned(), false)] {
            let origin = Origin::serve(move |_| with(ok("body"), response)).await;
            let edge = before(origin.address()).rule(&rule).start().await;
            edge.get_with("/x", request).await;
            let again = edge.get_with("/x", request).await;
            assert_eq!(again.cache().is_fresh_hit(), want, "{why}: {rule}: {:?}", again.cache());
            if *word == "set-cookie" {
                assert_eq!(again.field("set-cookie").as_deref(), Some("a=1"), "it is replayed");
            }
        }
    }
}

#[tokio::test]
async fn clients_are_told_the_browser_ttl() {
    let origin = counting(&[("cache-control", "public, max-age=600, s-maxage=900")]).await;
    let edge = before(origin.address()).rule("browser_ttl = \"60s\"").start().await;
    for hit in [false, true] {
        let reply = edge.get("/x").await;
        assert_eq!(reply.cache().hit, hit);
        let told = reply.field("cache-control").expect("clients are told");
        let directives: Vec<_> = told.split(',').map(str::trim).collect();
        assert!(directives.contains(&"max-age=60") && !told.contains("s-maxage") && !told.contains("600"), "{told}");
    }
    assert!(edge.get("/x").await.cache().ttl.is_some_and(|ttl| ttl > 600), "our own lifetime is the origin's");
}

#[tokio::test]
async fn stale_windows_come_from_the_rule_where_the_origin_states_none() {
    let cases = [
        // rule                                  directives                             detail
        ("stale_while_revalidate = \"1h\"", "max-age=10", Some("stale-while-revalidate")),
        ("stale_while_revalidate = \"1h\"", "max-age=10, stale-while-revalidate=5", None),
        ("stale_while_revalidate = \"1h\"", "max-age=10, must-revalidate", None),
        ("stale_if_error = \"1h\"", "max-age=10", Some("stale-if-error")),
        ("stale_if_error = \"5s\"", "max-age=10", None),
        ("stale_if_error = \"0s\"", "max-age=10, stale-if-error=600", Some("stale-if-error")),
    ];
    for (rule, directives, detail) in cases {
        let origin = Origin::serve(move |asked| {
            if asked.number == 1 {
                ok("kept").with("cache-control", directives).with("age", "30").with("etag", "\"a\"")
            } else {
                status(503, "failed")
            }
        })
        .await;
        let edge = before(origin.address()).rule(rule).start().await;
        edge.get("/x").await;
        let reply = edge.get("/x").await;
        // In the second case the window of stale-if-error, ten minutes by default, answers.
        let failed_softly = rule.starts_with("stale_while") && !directives.contains("must-revalidate");
        match detail {
            Some(detail) => assert!(reply.cache().says(detail), "{rule}, {directives}: {:?}", reply.cache()),
            None if failed_softly => assert!(reply.cache().says("stale-if-error"), "{rule}, {directives}"),
            None => assert_eq!(reply.brief(), (503, "failed"), "{rule}, {directives}"),
        }
    }
}

#[tokio::test]
async fn a_clients_cache_control_counts_where_it_is_honoured() {
    let cases: &[(Fields, bool, &str)] = &[
        (&[("cache-control", "no-cache")], false, "no-cache"),
        (&[("pragma", "no-cache")], false, "Pragma, without a Cache-Control"),
        (&[("pragma", "no-cache"), ("cache-control", "max-age=600")], true, "Pragma, with a Cache-Control"),
        (&[("cache-control", "max-age=10")], false, "younger than it is"),
        (&[("cache-control", "max-age=600")], true, "old enough"),
        (&[("cache-control", "min-fresh=600")], false, "fresher than it is"),
        (&[("cache-control", "min-fresh=1")], true, "fresh enough"),
        (&[("cache-control", "nothing-to-see-here")], true, "unknown"),
    ];
    let origin = Origin::serve(|asked| ok(format!("v{}", asked.number)).fresh(100).with("age", "20")).await;
    let edge = before(origin.address()).rule("client_cache_control = \"honour\"").start().await;
    for (fields, want, why) in cases {
        edge.get("/x").await;
        let reply = edge.get_with("/x", fields).await;
        assert_eq!(reply.cache().is_fresh_hit(), *want, "{why}: {fields:?} {:?}", reply.cache());
    }
}

#[tokio::test]
async fn max_stale_is_honoured_and_only_where_it_may() {
    let cases = [
        ("max-age=10", "max-stale", true, "any staleness"),
        ("max-age=10", "max-stale=60", true, "enough"),
        ("max-age=10", "max-stale=5", false, "not enough"),
        ("max-age=10, must-revalidate", "max-stale", false, "the origin's must-revalidate is the stronger one"),
    ];
    for (directives, wanted, stale, why) in cases {
        let origin = Origin::serve(move |asked| {
            ok(format!("v{}", asked.number)).with("cache-control", directives).with("age", "30").with("etag", "\"a\"")
        })
        .await;
        let edge = before(origin.address()).rule("client_cache_control = \"honour\"").start().await;
        edge.get("/x").await;
        let reply = edge.get_with("/x", &[("cache-control", wanted)]).await;
        assert_eq!(reply.text(), if stale { "v1" } else { "v2" }, "{why}");
        assert_eq!(reply.cache().says("max-stale"), stale, "{why}: {:?}", reply.cache());
    }
}

#[tokio::test]
async fn requests_are_not_collapsed_where_the_rule_says_so() {
    const CLIENTS: usize = 10;
    let together = Arc::new(Barrier::new(CLIENTS));
    let origin = Origin::serve_with(move |_| {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            ok("body").fresh(60)
        }
    })
    .await;
    let edge = before(origin.address()).rule("collapse = false").start().await;
    let replies = join_all((0..CLIENTS).map(|_| edge.get("/x"))).await;
    assert!(replies.iter().all(|reply| reply.text() == "body" && !reply.cache().collapsed));
    assert_eq!(origin.hits(), CLIENTS);
}

#[tokio::test]
async fn what_came_whole_for_one_client_is_stored_when_it_is_answered() {
    let origin = Origin::serve(|_| ok("body").fresh(60).with("etag", "\"a\"")).await;
    let edge = before(origin.address()).rule("collapse = false").start().await;
    for number in 0..20 {
        let mut line = Line::to(edge.address()).await;
        let target = format!("/{number} HTTP/1.1\r\nhost: a\r\n");
        line.send(&format!("GET {target}if-none-match: \"a\"\r\n\r\nGET {target}connection: close\r\n\r\n")).await;
        let both = line.rest().await;
        assert!(both.starts_with("HTTP/1.1 304") && both.ends_with("\r\n\r\nbody"), "{both}");
    }
    assert_eq!(origin.hits(), 20);
}

#[tokio::test]
async fn the_key_is_made_of_what_the_rule_names() {
    type Request = (&'static str, Fields);
    let cases: &[(&str, Request, Request, bool, &str)] = &[
        ("query = { exclude = [\"utm_*\"] }", ("/x?a=1&utm_id=2", &[]), ("/x?a=1", &[]), true, "left out"),
        ("query = { exclude = [\"utm_*\"] }", ("/x?a=1", &[]), ("/x?a=2", &[]), false, "not left out"),
        ("query = { include = [\"id\"] }", ("/x?id=1&b=1", &[]), ("/x?b=2&id=1", &[]), true, "only these count"),
        ("query = { include = [\"id\"] }", ("/x?id=1", &[]), ("/x?id=2", &[]), false, "these count"),
        ("query = { sort = true }", ("/x?a=1&b=2", &[]), ("/x?b=2&a=1", &[]), true, "the order says nothing"),
        ("query = { sort = false }", ("/x?a=1&b=2", &[]), ("/x?b=2&a=1", &[]), false, "the order counts"),
        ("headers = [\"x-tier\"]", ("/x", &[("x-tier", "a")]), ("/x", &[("x-tier", "b")]), false, "a field"),
        ("headers = [\"x-tier\"]", ("/x", &[("x-tier", "a")]), ("/x", &[("x-tier", "a")]), true, "a field"),
        (
            "cookies = [\"lang\"]",
            ("/x", &[("cookie", "lang=de; s=1")]),
            ("/x", &[("cookie", "s=2; lang=de")]),
            true,
            "a cookie",
        ),
        ("cookies = [\"lang\"]", ("/x", &[("cookie", "lang=de")]), ("/x", &[("cookie", "lang=en")]), false, "a cookie"),
    ];
    for (key, first, second, same, why) in cases {
        let origin = counting(&[("cache-control", "max-age=60")]).await;
        let edge = before(origin.address()).rule(&format!("key = {{ {key} }}")).start().await;
        edge.get_with(first.0, first.1).await;
        assert_eq!(origin.last().target, first.0, "the origin gets the target as it came");
        let reply = edge.get_with(second.0, second.1).await;
        assert_eq!(reply.cache().is_fresh_hit(), *same, "{why}: {key} {first:?} {second:?}");
    }
}

#[tokio::test]
async fn request_fields_are_normalised_before_they_select() {
    let origin = Origin::serve(|asked| {
        let language = asked.field("accept-language").unwrap_or_default();
        ok(format!("{language}-{}", asked.number)).fresh(60).with("vary", "accept-language, accept-encoding")
    })
    .await;
    let edge = before(origin.address())
        .rule("vary = { accept-language = [\"en\", \"de\"], accept-encoding = [\"br\", \"gzip\"] }")
        .start()
        .await;
    let cases: &[(Fields, &str, &str)] = &[
        (&[("accept-language", "de-AT, de;q=0.9, en;q=0.5")], "de-1", "the client's first choice that we have"),
        (&[("accept-language", "fr, de;q=0.8")], "de-1", "the origin gets the same word"),
        (&[("accept-language", "en-GB")], "en-2", "a region is within its language"),
        (&[("accept-language", "de"), ("accept-encoding", "gzip, br, zstd")], "de-3", "the best encoding we have"),
        (&[("accept-language", "de"), ("accept-encoding", "br;q=1, deflate")], "de-3", "is the same"),
    ];
    for (fields, want, why) in cases {
        assert_eq!(edge.get_with("/x", fields).await.text(), *want, "{why}: {fields:?}");
    }
}

#[tokio::test]
async fn paths_and_fields_are_rewritten_as_the_rule_says() {
    let origin = counting(&[("cache-control", "max-age=60"), ("server", "secret/1.0"), ("x-both", "origin")]).await;
    let edge = before(origin.address())
        .rule(
            "match = { path = \"/v1/**\" }\n\
             strip_prefix = \"/v1\"\n\
             request_headers = { set = { x-edge = \"yes\" }, remove = [\"x-drop\"] }\n\
             response_headers = { set = { x-both = \"rule\" }, remove = [\"server\"] }",
        )
        .start()
        .await;
    for hit in [false, true] {
        let reply = edge.get_with("/v1/a?b=1", &[("x-drop", "1"), ("x-edge", "no")]).await;
        assert_eq!(reply.cache().hit, hit);
        assert_eq!(reply.lines("x-both"), ["rule"]);
        assert_eq!(reply.field("server"), None);
    }
    let asked = origin.last();
    assert_eq!((asked.target.as_str(), asked.field("x-edge").as_deref()), ("/a?b=1", Some("yes")));
    assert_eq!(asked.field("x-drop"), None);
    let other = edge.get_with("/a?b=1", &[("x-drop", "1")]).await;
    assert!(!other.cache().hit, "the key is the client's URL, not the origin's");
    assert_eq!(other.field("server").as_deref(), Some("secret/1.0"));
    assert_eq!(origin.last().field("x-drop").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_denied_request_reaches_nobody() {
    let origin = counting(&[]).await;
    let edge = before(origin.address()).rule("match = { path = \"/private/**\" }\naction = \"deny\"").start().await;
    for method in ["GET", "POST"] {
        let reply = edge.send(ask(method, "/private/x"), "").await;
        assert_eq!((reply.status.as_u16(), origin.hits()), (403, 0));
        assert_eq!(reply.field("cache-control").as_deref(), Some("no-store"));
    }
}

#[tokio::test]
async fn a_denied_path_is_denied_however_it_is_spelt() {
    let origin = Origin::serve(|_| ok("secret").fresh(60)).await;
    let rule = "match = { path = \"/d/**\" }\naction = \"deny\"";
    let edge = before(origin.address()).rule(rule).start().await;
    for path in ["/d/x", "/%64/x", "/%64/%78", "/d/%2Fx"] {
        assert_eq!(edge.get(path).await.status, 403, "{path}");
    }
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_hot_response_is_refreshed_just_before_it_expires() {
    // A slow origin: the slower it is, the earlier a refresh is worth it. Age leaves the last tenth of the lifetime.
    let origin = Origin::serve_with(|asked| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ok(format!("v{}", asked.number)).fresh(20).with("age", "19")
    })
    .await;
    let edge = before(origin.address()).start().await;
    assert_eq!(edge.get("/x").await.text(), "v1");
    while origin.hits() == 1 {
        let reply = edge.get("/x").await;
        assert!(reply.cache().hit, "nobody waits for the refresh: {:?}", reply.cache());
    }
    let off = before(origin.address()).rule("early_refresh = false").start().await;
    let asked = origin.hits();
    for _ in 0..50 {
        off.get("/x").await;
    }
    assert_eq!(origin.hits(), asked + 1, "only where the rule wants it");
}
