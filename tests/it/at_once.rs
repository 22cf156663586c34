//! Is a hit that is answered where it was read the same as any other? A request with `TE` goes the long way.

use futures_util::StreamExt;

use crate::support::edge::before;
use crate::support::eventually;
use crate::support::origin::{Origin, Told, ok, status, streamed};
use crate::support::raw::Line;
use crate::support::reply::{CacheStatus, Reply};
use crate::support::wire::Multiplexed;

/// The head and the body of an answer.
async fn answered(line: &mut Line, target: &str, fields: &str) -> (String, Vec<u8>) {
    line.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")).await;
    let head = line.head().await.expect("an answer");
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let length = length.filter(|_| !head.starts_with("HTTP/1.1 304 ")).unwrap_or(0);
    let body = line.exactly(length).await.expect("the body");
    (head, body)
}

/// Whether an answer to which the origin has a `Via` was written where its request was read: there ours comes last, and behind the
/// other one elsewhere.
fn is_at_once(head: &str) -> bool {
    let place = |line: &str| head.find(line).expect("each answer has it");
    place("\r\nage: ") < place("\r\nvia: 1.1 larder")
}

/// The lines of a head without what differs with the moment, sorted.
fn lasting(head: &str) -> Vec<String> {
    let moment = |text: &&str| !["age: ", "date: ", "cache-status: "].iter().any(|name| text.starts_with(name));
    let mut lines: Vec<String> = head.split("\r\n").filter(moment).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The same of a hit's head; and the body.
async fn ask(line: &mut Line, target: &str, fields: &str) -> (Vec<String>, Vec<u8>) {
    let (head, body) = answered(line, target, fields).await;
    assert!(head.contains("\r\ncache-status: larder; hit; ttl="), "{target}: {head}");
    (lasting(&head), body)
}

fn answer(target: &str) -> Told {
    let of = |length: usize| ok("b".repeat(length));
    match target {
        "/nothing" => of(0),
        "/small" => of(1024).with("etag", "\"1\"").with("last-modified", "Tue, 01 Jan 2019 00:00:00 GMT"),
        "/medium" => of(5000),
        "/large" => of(120_000),
        "/huge" => of(200_000),
        "/chunked" => {
            let (pieces, told) = streamed();
            tokio::spawn(async move { pieces.send("chunks").await });
            told
        }
        "/missing" => status(404, "no"),
        "/moved" => status(301, "").with("location", "/small"),
        "/varies" => of(10).with("vary", "accept-encoding, x-original-url"),
        "/aged" => of(10).with("age", "7").with("via", "1.0 other"),
        "/twice" => of(10).with("link", "<a>").with("link", "<b>").with("surrogate-key", "t"),
        _ => of(10),
    }
    .fresh(600)
}

#[tokio::test]
async fn it_has_the_same_head_and_body_as_one_that_goes_the_long_way() {
    let origin = Origin::serve(|asked| answer(&asked.target)).await;
    let edge = before(origin.address()).telemetry("access_log = \"json\"").start().await;
    let browser = "Accept-Encoding: gzip\r\nX-Original-URL: /evil\r\n";
    let targets = [
        "/nothing",
        "/small",
        "/medium",
        "/large",
        "/huge",
        "/chunked",
        "/missing",
        "/moved",
        "/varies",
        "/aged",
        "/twice",
        "/query?a=b&c",
    ];
    let mut line = Line::to(edge.address()).await;
    for target in targets {
        let first = edge.get_with(target, &[("host", "a.test"), ("accept-encoding", "gzip")]).await;
        assert!(CacheStatus::of(&first.headers).is_some_and(|status| status.stored), "{target}: {first:?}");
        let at_once = ask(&mut line, target, browser).await;
        let other = ask(&mut line, target, &format!("{browser}TE: trailers\r\n")).await;
        assert_eq!(at_once, other, "{target}");
    }
    let since = "If-Modified-Since: Tue, 01 Jan 2030 00:00:00 GMT\r\n";
    let conditions = [("If-None-Match: \"1\"\r\n", 304), ("If-None-Match: \"2\"\r\n", 200), (since, 304)];
    for (condition, want) in conditions {
        let at_once = ask(&mut line, "/small", condition).await;
        let other = ask(&mut line, "/small", &format!("{condition}TE: trailers\r\n")).await;
        assert_eq!(at_once, other, "{condition}");
        assert!(
            at_once.0.iter().any(|line| line.starts_with(&format!("HTTP/1.1 {want} "))),
            "{condition}: {at_once:?}"
        );
    }
    for (target, condition) in [("/small", ""), ("/large", ""), ("/small", "If-None-Match: \"1\"\r\n")] {
        let mut last = [Line::to(edge.address()).await, Line::to(edge.address()).await];
        let fields = format!("{condition}Connection: close\r\n");
        let at_once = ask(&mut last[0], target, &fields).await;
        let other = ask(&mut last[1], target, &format!("{fields}TE: trailers\r\n")).await;
        assert_eq!(at_once, other, "{target} {condition}");
        assert!(at_once.0.iter().any(|line| line == "connection: close"), "{at_once:?}");
        assert!(last[0].head().await.is_none(), "{target}: and it ends");
    }
    let hits = 2 * (targets.len() + conditions.len() + 3);
    assert_eq!(origin.hits(), targets.len());
    let lines = || edge.log().matches("\"cache\":\"hit\"").count();
    eventually("each is in the log", async || (lines() >= hits).then_some(())).await;
    assert_eq!(lines(), hits, "each is in the log once: {}", edge.log());
}

#[tokio::test]
async fn what_responses_have_in_common_is_sent_with_each_of_them() {
    let origin = Origin::serve(|asked| {
        let policy = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'";
        let answer =
            ok(asked.target).with("content-security-policy", policy).with("etag", &format!("\"{}\"", asked.number));
        // Lines of one name: the same in all, and in some.
        let answer = answer.with("link", "<a>").with("link", "<b>").with("x-mixed", "a");
        let answer = if asked.number.is_multiple_of(2) { answer.with("x-mixed", "b") } else { answer };
        answer.with("x-mixed", "c").with("content-language", "en").fresh(600)
    })
    .await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.address()).await;
    // Those that come first are not known to have anything in common.
    let targets: Vec<String> = (0..30).map(|number| format!("/{number}")).collect();
    let mut misses = Vec::new();
    for target in &targets {
        let (head, _) = answered(&mut line, target, "").await;
        assert!(head.contains("; fwd=uri-miss"), "{head}");
        misses.push(head);
    }
    for (target, miss) in targets.iter().zip(&misses) {
        let of = |head: &str, name: &str| {
            head.split("\r\n").filter(|line| line.starts_with(name)).map(str::to_owned).collect::<Vec<_>>()
        };
        for fields in ["", "TE: trailers\r\n"] {
            let (hit, body) = ask(&mut line, target, fields).await;
            assert_eq!((&hit, body), (&lasting(miss), target.clone().into_bytes()), "{target} {fields}");
            let (head, _) = answered(&mut line, target, fields).await;
            for name in ["link", "x-mixed"] {
                assert_eq!(of(&head, name), of(miss, name), "in their order: {target} {fields}");
            }
        }
        let etag = of(miss, "etag").concat().replace("etag", "If-None-Match");
        let (head, _) = answered(&mut line, target, &format!("{etag}\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 304 ") && !head.contains("content-language"), "{head}");
        let (head, body) = answered(&mut line, target, "Range: bytes=0-0\r\n").await;
        assert!(head.starts_with("HTTP/1.1 206 ") && head.contains("\r\ncontent-language: en\r\n"), "{head}");
        assert_eq!(body, b"/");
    }
    assert_eq!(origin.hits(), targets.len());
}

#[tokio::test]
async fn another_variant_is_not_given_and_a_purge_and_an_end_count() {
    let origin = Origin::serve(|asked| {
        let body = format!("{} {}", asked.field("accept-encoding").unwrap_or_default(), asked.number);
        ok(body).fresh(if asked.target == "/short" { 1 } else { 600 }).with("vary", "accept-encoding")
    })
    .await;
    let edge = before(origin.address()).start().await;
    let gzip = [("accept-encoding", "gzip")];
    let br = [("accept-encoding", "br")];
    assert_eq!(edge.get_with("/x", &gzip).await.text(), "gzip 1");
    assert_eq!(edge.get_with("/x", &br).await.text(), "br 2");
    assert_eq!(edge.get_with("/x", &gzip).await.text(), "gzip 1");
    assert_eq!(edge.get_with("/x", &br).await.text(), "br 2");
    assert_eq!(edge.ask("PURGE", "/x", &[]).await.status, 200);
    assert_eq!(edge.get_with("/x", &gzip).await.text(), "gzip 3", "purged");
    assert_eq!(edge.get_with("/short", &gzip).await.text(), "gzip 4");
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    assert_eq!(edge.get_with("/short", &gzip).await.text(), "gzip 5", "its time is over");
}

#[tokio::test]
async fn what_rules_say_of_a_request_or_an_answer_is_done() {
    let cases = [
        ("match = { header = { x-device = \"phone\" } }\naction = \"deny\"", "x-device", "phone", 403, "", "fields"),
        ("response_headers = { set = { x-edge = \"1\" } }", "x-device", "tv", 200, "x-edge: 1", "the answer's fields"),
        ("browser_ttl = \"5s\"", "x-device", "tv", 200, "max-age=5\r\n", "what browsers are told"),
        ("key = { headers = [\"x-device\"] }", "x-device", "tv", 200, "fwd=uri-miss", "the key"),
        ("client_cache_control = \"honour\"", "cache-control", "no-cache", 200, "fwd=request", "the client's word"),
    ];
    for (rule, name, value, want, words, why) in cases {
        let origin = Origin::serve(|_| ok("body").fresh(600)).await;
        let edge = before(origin.address()).rule(rule).start().await;
        let mut line = Line::to(edge.address()).await;
        for field in ["X: y", &format!("{name}: {value}")] {
            line.send(format!("GET /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).await;
            let head = line.head().await.expect("an answer");
            let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            line.exactly(length.expect("a length")).await;
            if field != "X: y" {
                assert!(head.starts_with(&format!("HTTP/1.1 {want} ")) && head.contains(words), "{why}: {head}");
            }
        }
    }
}

#[tokio::test]
async fn what_rules_do_is_the_same_as_for_one_that_goes_the_long_way() {
    // Rules, what the answer has to hold, what it must not hold.
    let cases = [
        ("response_headers = { set = { x-edge = \"1\", server = \"edge\" } }", "server: edge", "server: origin"),
        ("response_headers = { remove = [\"server\", \"absent\"] }", "link: <b>", "server: "),
        ("response_headers = { set = { link = \"<c>\" } }", "link: <c>", "link: <b>"),
        ("response_headers = { set = { age = \"99\" }, remove = [\"via\"] }", "age: 99", "via: "),
        ("response_headers = { set = { cache-status = \"x; hit; ttl=1\" } }", "cache-status: x", "larder; hit"),
        ("response_headers = { remove = [\"date\"] }", "date: ", "nothing"),
        ("browser_ttl = \"5s\"", "cache-control: public, max-age=5", "max-age=600"),
        ("browser_ttl = \"5s\"", "age: 0", "expires: "),
        (
            "browser_ttl = \"5s\"\nresponse_headers = { set = { cache-control = \"private\" } }",
            "cache-control: private",
            "max-age",
        ),
        ("key = { headers = [\"x-device\"], cookies = [\"lang\"] }", "server: origin", "nothing"),
        ("vary = { accept-encoding = [\"br\", \"gzip\"] }", "vary: accept-encoding", "nothing"),
        (
            "match = { header = { x-device = \"phone\" } }\nresponse_headers = { set = { x = \"y\" } }",
            "x: y",
            "nothing",
        ),
        ("match = { header = { keep-alive = \"*\" } }\nresponse_headers = { set = { x = \"y\" } }", "via: ", "x: y"),
        ("match = { header = { host = \"*\" } }\nresponse_headers = { set = { x = \"y\" } }", "via: ", "x: y"),
        (
            "match = { header = { x-forwarded-for = \"*\" } }\nresponse_headers = { set = { x = \"y\" } }",
            "via: ",
            "x: y",
        ),
    ];
    for (rule, holds, lacks) in cases {
        let origin = Origin::serve(|_| {
            let told = ok("b".repeat(5000)).with("server", "origin").with("link", "<a>").with("link", "<b>");
            let told = told.with("cache-control", "public, max-age=600").with("expires", "0").with("etag", "\"1\"");
            told.with("vary", "accept-encoding").with("via", "1.0 other")
        })
        .await;
        let edge = before(origin.address()).rule(rule).start().await;
        let client = "X-Device: phone\r\nCookie: lang=de; a=b\r\nAccept-Encoding: gzip, br;q=0.5\r\nX-Forwarded-For: a\r\nKeep-Alive: 5\r\n";
        let mut line = Line::to(edge.address()).await;
        answered(&mut line, "/x", client).await;
        for fields in ["", "If-None-Match: \"1\"\r\n", "Range: bytes=10-19\r\n"] {
            let (head, body) = answered(&mut line, "/x", &format!("{client}{fields}")).await;
            let (other, other_body) = answered(&mut line, "/x", &format!("{client}{fields}TE: trailers\r\n")).await;
            assert_eq!((lasting(&head), body), (lasting(&other), other_body), "{rule}, {fields}");
            let tells_way = fields.starts_with("Range") || fields.is_empty();
            if tells_way && !["age =", "via", "date"].iter().any(|name| rule.contains(name)) {
                assert!(is_at_once(&head) && !is_at_once(&other), "{rule}, {fields}: {head}{other}");
            }
            for head in [head, other] {
                assert!(!fields.is_empty() || head.contains(holds) && !head.contains(lacks), "{rule}: {head}");
            }
        }
        assert_eq!(origin.hits(), 1, "{rule}");
    }
}

#[tokio::test]
async fn keys_and_variants_are_told_apart() {
    let origin = Origin::serve(|asked| {
        let said = |name| asked.field(name).unwrap_or_else(|| "-".to_owned());
        let body = format!("{} {} {} {}", said("x-device"), said("cookie"), said("accept-encoding"), asked.number);
        ok(body).fresh(600).with("vary", "accept-encoding").with("via", "1.0 other")
    })
    .await;
    let rule =
        "key = { headers = [\"x-device\"], cookies = [\"lang\"] }\nvary = { accept-encoding = [\"br\", \"gzip\"] }";
    let edge = before(origin.address()).rule(rule).start().await;
    let mut line = Line::to(edge.address()).await;
    let mut others = std::collections::HashSet::new();
    for device in ["", "X-Device: tv\r\n", "X-Device: \r\n"] {
        for cookie in ["", "Cookie: lang=de; a=b\r\n", "Cookie: a=b\r\nCookie: lang=fr\r\n"] {
            for encoding in ["", "Accept-Encoding: gzip\r\n", "Accept-Encoding: gzip;q=0.5, br\r\n"] {
                let fields = [device, cookie, encoding].concat();
                let (_, first) = answered(&mut line, "/x", &fields).await;
                assert!(others.insert(first.clone()), "{fields}: is another one's");
                let (head, body) = answered(&mut line, "/x", &fields).await;
                assert_eq!(body, first, "{fields}");
                assert!(is_at_once(&head), "{fields}: {head}");
            }
        }
    }
    let (head, body) = answered(&mut line, "/x", "Accept-Encoding: br, x;q=0.1\r\nCookie: b=c\r\n").await;
    assert!(is_at_once(&head) && body.starts_with(b"- - br "), "what does not count does not tell apart: {head}");
    assert_eq!(origin.hits(), others.len());
}

#[tokio::test]
async fn a_range_is_the_same_as_one_that_goes_the_long_way() {
    let origin = Origin::serve(|asked| {
        let length = asked.target[1..].parse().expect("a length");
        let body: String = ('a'..='z').cycle().take(length).collect();
        ok(body).fresh(600).with("etag", "\"1\"").with("via", "1.0 other")
    })
    .await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.address()).await;
    for target in ["/0", "/1024", "/120000", "/2000000"] {
        answered(&mut line, target, "").await;
        let ranges = [
            ("bytes=0-0", 1, "the first byte"),
            ("bytes=-5", 5, "the last ones"),
            ("bytes=100-199", 100, "some"),
            ("bytes=70000-", 50_000, "what is left of it"),
            ("bytes=5-70004", 70_000, "more than a few"),
            ("bytes=9999999-", 0, "none that there are"),
            ("bytes=9-5", 0, "no range"),
            ("lines=1-2", 0, "of another unit"),
            ("bytes=0-0\r\nIf-Range: \"1\"", 1, "of what the client has"),
            ("bytes=0-0\r\nIf-Range: \"2\"", 0, "of something else"),
            ("bytes=0-0\r\nRange: bytes=1-1", 0, "two"),
            ("bytes=0-0\r\nIf-None-Match: \"1\"", 0, "of what the client has as a whole"),
        ];
        for (range, length, why) in ranges {
            let range = format!("Range: {range}\r\n");
            let at_once = ask(&mut line, target, &range).await;
            let other = ask(&mut line, target, &format!("{range}TE: trailers\r\n")).await;
            assert_eq!(at_once, other, "{target} {range}");
            if target == "/120000" && length > 0 {
                let (head, body) = answered(&mut line, target, &range).await;
                assert!(head.starts_with("HTTP/1.1 206 Partial Content\r\n") && is_at_once(&head), "{why}: {head}");
                assert_eq!(body.len(), length, "{why}");
            }
        }
    }
    assert_eq!(origin.hits(), 4);
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let origin = Origin::serve(|_| {
        let told = ok("body").fresh(600).with("vary", "x-forwarded-host");
        told.with("via", "1.0 other")
    })
    .await;
    let edge = before(origin.address())
        .server("trusted_proxies = [\"127.0.0.0/8\"]")
        .telemetry("access_log = \"json\"")
        .start()
        .await;
    let mut line = Line::to(edge.address()).await;
    let cases = [
        ("X-Forwarded-For: 192.0.2.7\r\nX-Request-ID: abc\r\n", "192.0.2.7", "http://a.test/x", "abc"),
        ("X-Forwarded-Proto: https\r\nForwarded: for=192.0.2.8\r\n", "192.0.2.8", "https://a.test/x", ""),
        ("X-Forwarded-Host: b\r\nX-Forwarded-For: 192.0.2.9\r\n", "192.0.2.9", "http://a.test/x", ""),
    ];
    for (number, (fields, client, url, id)) in cases.into_iter().enumerate() {
        for (place, te) in ["", "", "TE: trailers\r\n"].into_iter().enumerate() {
            let (head, _) = answered(&mut line, "/x", &format!("{fields}{te}")).await;
            assert_eq!(head.contains("; hit; ttl="), place > 0, "{fields}{te}: {head}");
            assert_eq!(is_at_once(&head), place == 1, "{fields}{te}: {head}");
        }
        let told = eventually("three lines more", async || {
            let told: Vec<String> = edge.log().lines().skip(3 * number).map(str::to_owned).collect();
            (told.len() == 3).then_some(told)
        });
        for told in told.await {
            assert!(told.contains(&format!("\"client\":\"{client}\"")) && told.contains(url), "{told}");
            assert!(id.is_empty() || told.contains(&format!("\"request_id\":\"{id}\"")), "{told}");
        }
    }
    assert_eq!(origin.hits(), 3);
}

/// What an answer over either protocol has in common: status, fields but those of the moment, body.
fn common(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let of_the_moment = ["age", "date", "cache-status"];
    let fields = reply.headers.iter().filter(|(name, _)| !of_the_moment.contains(&name.as_str()));
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().expect("text").to_owned())
    };
    let mut fields: Vec<_> = fields.map(text).collect();
    fields.sort();
    (reply.status.as_u16(), fields, reply.text().to_owned())
}

#[tokio::test]
async fn it_is_the_same_over_http_2() {
    let origin = Origin::serve(|asked| answer(&asked.target)).await;
    let edge = before(origin.address()).start().await;
    let mut http2 = Multiplexed::to(edge.address()).await;
    let targets =
        ["/nothing", "/small", "/medium", "/large", "/huge", "/chunked", "/missing", "/moved", "/varies", "/twice"];
    for target in targets {
        edge.get(target).await;
        let over_http1 = edge.get(target).await;
        let over_http2 = http2.send("GET", target, "").await;
        assert!(over_http1.cache().is_fresh_hit() && over_http2.cache().is_fresh_hit(), "{target}");
        assert_eq!(common(&over_http2), common(&over_http1), "{target}");
    }
    assert_eq!(origin.hits(), targets.len());
}

#[tokio::test]
async fn hits_and_others_share_a_connection() {
    let origin = Origin::serve(|asked| {
        let (path, length) = asked.target.rsplit_once('/').expect("a path with a length");
        let length = length.split('?').next().and_then(|length| length.parse().ok()).expect("a length");
        let told = ok(format!("{}{path}{}", asked.body.len(), "z".repeat(length)));
        if path == "/kept" { told.fresh(600) } else { told.with("cache-control", "no-store") }
    })
    .await;
    let edge = before(origin.address()).start().await;
    for length in [0, 1000, 10_000, 60_000, 900_000] {
        edge.get(&format!("/kept/{length}")).await;
    }
    let http2 = Multiplexed::to(edge.address()).await;
    let asked = (0..600_usize).map(|number| {
        let mut http2 = http2.clone();
        async move {
            let length = [0, 1000, 10_000, 60_000, 900_000][number % 5];
            let (method, path, body) = match number % 7 {
                0 => ("GET", "/passed", 0),
                1 => ("POST", "/passed", 40_000),
                _ => ("GET", "/kept", 0),
            };
            let length = if path == "/passed" { length.min(60_000) } else { length };
            let target = format!("{path}/{length}?{}", if path == "/kept" { 0 } else { number });
            let target = if path == "/kept" { target.trim_end_matches("?0") } else { &target };
            let reply = http2.send(method, target, "b".repeat(body)).await;
            assert_eq!(reply.status, 200, "{method} {target}");
            let want = format!("{body}{path}{}", "z".repeat(length));
            assert!(reply.text() == want, "{method} {target}: {} bytes", reply.text().len());
        }
    });
    // No more at once than a client may ask for.
    futures_util::stream::iter(asked).for_each_concurrent(100, |asked| asked).await;
    assert!(origin.hits() < 5 + 600 / 7 * 3, "hits are hits");
}

#[tokio::test]
async fn over_http_2_trailers_are_taken_as_if_asked_for() {
    let origin = Origin::serve(|_| ok("body").fresh(600).with("vary", "te")).await;
    let edge = before(origin.address())
        .rule("match = { path = \"/denied\", header = { te = \"trailers\" } }\naction = \"deny\"")
        .start()
        .await;
    let mut http2 = Multiplexed::to(edge.address()).await;
    for (target, status) in [("/denied", 403), ("/varies", 200)] {
        assert_eq!(edge.get(target).await.status, 200, "without it, over HTTP/1.1");
        assert!(edge.get(target).await.cache().is_fresh_hit());
        let reply = http2.send("GET", target, "").await;
        assert_eq!(reply.status, status, "{target}");
        assert!(!reply.cache().is_fresh_hit(), "{target}: {:?}", reply.headers);
    }
    assert!(http2.send("GET", "/varies", "").await.cache().is_fresh_hit());
}
