//! What is told about the client and the way, who is believed, and what is refused at the door?

use crate::support::edge::before;
use crate::support::origin::{Origin, ok};
use crate::support::raw::Line;

const CLAIMS: [(&str, &str); 6] = [
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "evil.example"),
    ("forwarded", "for=203.0.113.9;proto=https"),
    ("x-real-ip", "203.0.113.9"),
    ("x-request-id", "mine"),
];

#[tokio::test]
async fn the_origin_learns_the_client_and_not_what_it_claims() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).start().await;
    let mut fields = CLAIMS.to_vec();
    fields.push(("host", "shop.example"));
    edge.get_with("/x", &fields).await;
    let asked = origin.last();
    assert_eq!(asked.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(asked.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(asked.field("x-forwarded-host").as_deref(), Some("shop.example"));
    assert!(asked.field("via").is_some_and(|via| via.contains("larder")), "{:?}", asked.headers);
    let id = asked.field("x-request-id").expect("a request has an id");
    assert_ne!(id, "mine");
    for (name, value) in asked.headers.iter().filter(|(name, _)| *name != "host") {
        let value = String::from_utf8_lossy(value.as_bytes());
        assert!(!value.contains("203.0.113.9") && !value.contains("evil"), "{name}: {value}");
    }
    edge.get("/x").await;
    assert_ne!(origin.last().field("x-request-id").expect("a request has an id"), id, "each has its own");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_extended() {
    let origin = Origin::serve(|asked| ok(format!("v{}", asked.number)).fresh(60)).await;
    let edge = before(origin.address()).server("trusted_proxies = [\"127.0.0.0/8\"]").start().await;
    let fields = [
        ("host", "shop.example"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "theirs"),
        ("via", "1.1 outer"),
    ];
    edge.get_with("/x", &fields).await;
    let asked = origin.last();
    assert_eq!(asked.field("x-forwarded-for").as_deref(), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(asked.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(asked.field("x-request-id").as_deref(), Some("theirs"));
    let via = asked.field("via").expect("Via is extended");
    assert!(via.starts_with("1.1 outer, ") && via.ends_with("larder"), "{via}");
    let plain = edge.get_with("/x", &[("host", "shop.example")]).await;
    assert_eq!(plain.text(), "v2", "the client's scheme is part of the key");
}

#[tokio::test]
async fn the_origin_gets_its_own_host_or_the_clients() {
    let origin = Origin::serve(|_| ok("body")).await;
    let own = origin.address().to_string();
    for (preserve, want) in [(false, own.as_str()), (true, "shop.example")] {
        let edge = before(origin.address()).origin(&format!("preserve_host = {preserve}")).start().await;
        edge.get_with("/x", &[("host", "shop.example")]).await;
        assert_eq!(origin.last().field("host").as_deref(), Some(want), "preserve_host = {preserve}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).start().await;
    let fields = [
        ("connection", "close, X-Secret"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("x-end", "2"),
    ];
    edge.get_with("/x", &fields).await;
    let asked = origin.last();
    for name in ["x-secret", "keep-alive", "proxy-connection"] {
        assert_eq!(asked.field(name), None, "{name}");
    }
    assert_ne!(asked.field("te").as_deref(), Some("gzip"));
    assert_eq!(asked.field("x-end").as_deref(), Some("2"));
}

#[tokio::test]
async fn a_request_that_two_readers_could_read_differently_is_refused() {
    let origin = Origin::serve(|_| ok("body").fresh(60)).await;
    let edge = before(origin.address()).start().await;
    let cases = [
        ("GET /x HTTP/1.1\r\n\r\n", "no Host"),
        ("GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "two Hosts"),
        ("GET /x HTTP/1.1\r\nhost: a b\r\n\r\n", "a Host that is none"),
        ("GET /x HTTP/1.1\r\nhost: a/b\r\n\r\n", "a path in Host"),
        ("GET /x HTTP/1.1\r\nhost: me@a\r\n\r\n", "a user in Host"),
        ("GET /x HTTP/1.1\r\nhost : a\r\n\r\n", "white space before the colon"),
        ("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "two lengths"),
        ("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na", "a length with a sign"),
        ("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x-odd\r\n\r\n", "an unknown coding"),
        ("GET /x HTTP/1.1\r\nhost: a\r\nconnection: host\r\n\r\n", "a hop that takes Host away"),
        ("GET /x HTTP/1.1\r\nhost: a\r\nconnection: authorization\r\nauthorization: b\r\n\r\n", "or the credentials"),
        ("GET http://b/x HTTP/1.1\r\nhost: a b\r\n\r\n", "an absolute URI does not excuse a bad Host"),
        ("GET /x y HTTP/1.1\r\nhost: a\r\n\r\n", "a space in the target"),
        ("G@T /x HTTP/1.1\r\nhost: a\r\n\r\n", "a method that is none"),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", "we are no forward proxy"),
    ];
    for (request, why) in cases {
        let mut line = Line::to(edge.address()).await;
        line.send(request).await;
        let answer = line.head().await.unwrap_or_default();
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 501 ");
        assert!(refused, "{why}: {answer}");
        assert_eq!(origin.hits(), 0, "{why}");
    }
}

#[tokio::test]
async fn an_absolute_target_is_the_url_and_its_host_counts() {
    let origin = Origin::serve(|asked| ok(asked.target).fresh(60)).await;
    let edge = before(origin.address()).origin("preserve_host = true").start().await;
    let mut line = Line::to(edge.address()).await;
    line.send("GET http://shop.example/a?b HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n").await;
    let answer = line.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("/a?b"), "{answer}");
    assert_eq!(origin.last().field("host").as_deref(), Some("shop.example"));
    let hit = edge.get_with("/a?b", &[("host", "shop.example")]).await;
    assert!(hit.cache().is_fresh_hit(), "{:?}", hit.cache());
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).server("max_header_bytes = \"8KiB\"").start().await;
    let fits = "x".repeat(4 * 1024);
    assert_eq!(edge.get_with("/x", &[("x-long", &fits)]).await.status, 200);
    let mut line = Line::to(edge.address()).await;
    line.send(format!("GET /x HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "x".repeat(16 * 1024))).await;
    let head = line.head().await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).server("header_timeout = \"200ms\"").start().await;
    let mut line = Line::to(edge.address()).await;
    line.send("GET /x HTTP/1.1\r\nhost: a\r\nx-slow:").await;
    let answer = line.rest().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_so_is_a_stalled_body() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).server("idle_timeout = \"200ms\"").start().await;
    let mut idle = Line::to(edge.address()).await;
    idle.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = idle.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut stalled = Line::to(edge.address()).await;
    stalled.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    let answer = stalled.rest().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
