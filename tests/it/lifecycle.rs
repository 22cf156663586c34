//! How does the process begin, change its mind, and end?

use futures_util::future::join_all;

use crate::support::edge::{Edge, Setup, before};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::origin::{Origin, ok};
use crate::support::raw::Line;
use crate::support::wire::{Connection, get};

const REJECTED: &str = "larder_config_reloads_total{result=\"rejected\"}";

#[tokio::test]
async fn sigterm_lets_what_is_under_way_finish_and_takes_nothing_new() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |_| {
        let door = door.clone();
        async move {
            door.pass().await;
            ok("body")
        }
    })
    .await;
    let mut edge = before(origin.address()).start().await;
    let (address, admin) = (edge.address(), edge.admin_address());
    let under_way = tokio::spawn(async move { Connection::to(address).await.get("/x").await });
    origin.asked_times(1).await;
    edge.signal("TERM");
    eventually("the node is not ready while it drains", async || {
        (Connection::to(admin).await.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(edge.admin("/healthz").await.status, 200, "the admin listener stays up");
    eventually("the public listener is closed", async || {
        tokio::net::TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    gate.open();
    let reply = under_way.await.expect("the client is served");
    assert_eq!((reply.brief(), reply.broken), ((200, "body"), false));
    assert_eq!(edge.exit_code().await, 0);
}

#[tokio::test]
async fn the_drain_ends_when_its_time_is_up() {
    let origin = Origin::serve_with(|_| std::future::pending()).await;
    let mut edge = before(origin.address()).server("drain_timeout = \"200ms\"").start().await;
    let mut line = Line::to(edge.address()).await;
    line.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    origin.asked_times(1).await;
    edge.signal("TERM");
    edge.exit_code().await;
}

#[tokio::test]
async fn idle_connections_do_not_hold_up_the_end() {
    let origin = Origin::serve(|_| ok("body")).await;
    let mut edge = before(origin.address()).server("drain_timeout = \"60s\"").start().await;
    let mut connection = Connection::to(edge.address()).await;
    connection.get("/x").await;
    let _silent = Line::to(edge.address()).await;
    edge.signal("TERM");
    assert_eq!(edge.exit_code().await, 0, "long before drain_timeout");
}

#[tokio::test]
async fn a_port_in_use_is_a_failure_that_names_it() {
    let origin = Origin::serve(|_| ok("body")).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("a bound listener has an address").to_string();
    let text = before(origin.address()).text().replacen("127.0.0.1:0", &address, 1);
    let mut edge = Edge::spawn(&text);
    assert_eq!(edge.exit_code().await, 1, "{}", edge.stderr());
    edge.says(&address).await;
}

#[tokio::test]
async fn a_bad_file_is_a_configuration_error_that_shows_the_place() {
    let good = before("127.0.0.1:1".parse().expect("an address")).text();
    let cases = [
        (good.replace("access_log =", "acces_log ="), "access_log", "an unknown key, and the nearest known one"),
        (good.replace("\"off\"", "\"loud\""), "loud", "an unknown word"),
        (format!("{good}[[rules]]\norigin = \"nobody\"\n"), "nobody", "an origin that there is not"),
        (format!("{good}[[rules]]\nttl = \"5 parsecs\"\n"), "parsecs", "not a duration"),
        (format!("{good}["), "proxy.toml", "not TOML"),
        (good.replace("http://127.0.0.1:1", "ftp://127.0.0.1:1"), "ftp", "not a scheme of ours"),
        (good.replace("\"off\"", "\"${LARDER_UNSET_NAME}\""), "LARDER_UNSET_NAME", "an unset name"),
    ];
    for (text, names, why) in cases {
        let mut edge = Edge::spawn(&text);
        assert_eq!(edge.exit_code().await, 2, "{why}: {}", edge.stderr());
        assert!(edge.says(names).await.contains(names), "{why}");
        assert!(edge.says("proxy.toml:").await.contains("proxy.toml:"), "{why}: file:line:column");
    }
}

#[tokio::test]
async fn an_origin_whose_name_does_not_resolve_is_an_error_at_the_start() {
    let mut edge = Edge::spawn(&Setup::before_urls(&["http://no-such-host.invalid:80"]).text());
    assert_eq!(edge.exit_code().await, 2, "{}", edge.stderr());
    edge.says("no-such-host.invalid").await;
}

#[tokio::test]
async fn an_origin_that_is_merely_down_is_none() {
    let origin = Origin::serve(|_| ok("body")).await;
    let address = origin.address();
    drop(origin);
    let edge = before(address).start().await;
    assert_eq!(edge.admin("/healthz").await.status, 200);
    let code = edge.get("/x").await.status.as_u16();
    assert!([502, 503].contains(&code), "{code}");
}

#[tokio::test]
async fn a_reload_takes_effect_and_drops_neither_connections_nor_stored_responses() {
    let origin = Origin::serve(|asked| ok(format!("v{}", asked.number)).fresh(600)).await;
    let setup = || before(origin.address());
    let edge = setup().start().await;
    let mut kept = Connection::to(edge.address()).await;
    assert_eq!(kept.get("/x").await.text(), "v1");
    edge.rewrite(&setup().rule("response_headers = { set = { x-rule = \"new\" } }").text());
    edge.signal("HUP");
    let reply = eventually("the new rule", async || {
        let reply = edge.get("/x").await;
        (reply.field("x-rule").as_deref() == Some("new")).then_some(reply)
    })
    .await;
    assert_eq!((reply.text(), origin.hits()), ("v1", 1), "what is stored stays");
    let reply = kept.get("/x").await;
    assert_eq!((reply.text(), reply.field("x-rule").as_deref()), ("v1", Some("new")), "the connection stays");
    assert!(edge.metric("larder_config_reloads_total").await >= 1.0);
}

#[tokio::test]
async fn a_change_of_the_file_is_a_reload() {
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let edge = before(origin.address()).start().await;
    edge.rewrite(&before(origin.address()).rule("response_headers = { set = { x-rule = \"new\" } }").text());
    // One connection: this may take some seconds, and each try is only a moment.
    let mut kept = Connection::to(edge.address()).await;
    eventually("the new rule", async || kept.get("/x").await.field("x-rule").map(|_| ())).await;
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_and_is_counted() {
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let rule = "response_headers = { set = { x-rule = \"old\" } }";
    let edge = before(origin.address()).rule(rule).start().await;
    assert!(edge.metric(REJECTED).await < 1.0);
    edge.rewrite(&before(origin.address()).rule("ttl = \"5 parsecs\"").text());
    edge.signal("HUP");
    edge.says("parsecs").await;
    eventually("the count", async || (edge.metric(REJECTED).await >= 1.0).then_some(())).await;
    assert_eq!(edge.get("/x").await.field("x-rule").as_deref(), Some("old"));
    edge.rewrite(&before(origin.address()).rule(&rule.replace("old", "new")).text());
    edge.signal("HUP");
    eventually("the good file", async || {
        (edge.get("/x").await.field("x-rule").as_deref() == Some("new")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_admin_listener_tells_how_it_is() {
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let edge = before(origin.address()).start().await;
    for target in ["/healthz", "/readyz"] {
        assert_eq!(edge.admin(target).await.status, 200, "{target}");
    }
    for _ in 0..3 {
        edge.get("/x").await;
    }
    assert!(edge.metric("larder_requests_total").await >= 3.0, "{}", edge.admin("/metrics").await.text());
    assert_eq!(edge.admin("/no-such-page").await.status, 404);
}

#[tokio::test]
async fn with_a_token_only_the_probes_are_open() {
    let origin = Origin::serve(|_| ok("body")).await;
    let text = before(origin.address()).text().replace("[admin]", "[admin]\ntoken = \"geheim\"");
    let edge = Edge::started(&text).await;
    for (target, code) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 401), ("/config", 401)] {
        assert_eq!(edge.admin(target).await.status.as_u16(), code, "{target}");
    }
    let mut admin = Connection::to(edge.admin_address()).await;
    let wrong = get("/metrics").header("authorization", "Bearer geheimer");
    assert_eq!(admin.send(wrong, "").await.status, 401);
    let right = get("/metrics").header("authorization", "Bearer geheim");
    assert_eq!(admin.send(right, "").await.status, 200);
}

#[tokio::test]
async fn each_request_is_a_line_of_the_access_log() {
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let edge = before(origin.address()).telemetry("access_log = \"json\"").start().await;
    edge.get("/first?a=1").await;
    edge.get("/first?a=1").await;
    let miss = edge.logs("/first?a=1").await;
    let line: serde_json::Value = serde_json::from_str(&miss).unwrap_or_else(|_| panic!("not JSON: {miss}"));
    assert!(line.is_object(), "{line}");
    for word in ["GET", "200", "not-stored", "127.0.0.1"] {
        assert!(miss.contains(word), "{word} in {miss}");
    }
    edge.logs("\"hit\"").await;
}

#[tokio::test]
async fn a_client_cannot_write_lines_into_the_log() {
    let origin = Origin::serve(|_| ok("body")).await;
    for form in ["json", "text"] {
        let edge = before(origin.address()).telemetry(&format!("access_log = {form:?}")).start().await;
        let mut line = Line::to(edge.address()).await;
        line.send("GET /a\"%0a\u{1b}[31m HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let _ = line.head().await;
        edge.get("/the-end").await;
        edge.logs("/the-end").await;
        assert!(!edge.log().contains('\u{1b}'), "{}", edge.log());
    }
}

#[tokio::test]
async fn more_connections_than_allowed_wait_and_are_served() {
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let edge = before(origin.address()).server("max_connections = 4").start().await;
    let replies = join_all((0..20).map(|_| edge.get("/x"))).await;
    assert!(replies.iter().all(|reply| reply.brief() == (200, "body")));
}
