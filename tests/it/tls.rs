//! HTTPS: which certificate, which protocol, and what happens when files or clients change their minds?

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
use rustls::version::{TLS12, TLS13};
use tokio::sync::Notify;

use crate::support::edge::{Edge, Setup, before};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::origin::{Origin, ok, streamed};
use crate::support::raw::{Line, RawOrigin};
use crate::support::tls::{Authority, Session, asked, replace};
use crate::support::wire::get;

const HANDSHAKES: &str = "larder_tls_handshakes_total";
const RELOADS: &str = "larder_tls_reloads_total{result";

/// What the origin is told of a client's certificate.
const CLIENT_CERT: &str = "x-forwarded-client-cert";

fn nobody() -> Setup {
    before("127.0.0.1:1".parse().expect("an address"))
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let authority = Authority::new();
    let names: [(&str, &[&str]); 3] =
        [("a", &["a.example", "127.0.0.1"]), ("b", &["*.b.example"]), ("c", &["exact.b.example"])];
    for (name, names) in names {
        authority.put(name, names);
    }
    let edge = nobody().table(&authority.table(&["a", "b", "c"])).start().await;
    let client = authority.client();
    let [a, b, c] =
        [client.to(&edge, "a.example"), client.to(&edge, "x.b.example"), client.to(&edge, "exact.b.example")];
    let shown = [a.await.shown(), b.await.shown(), c.await.shown()];
    assert_eq!(shown.iter().collect::<HashSet<_>>().len(), 3, "each its own; the client has checked the names");
    assert_eq!(client.to(&edge, "127.0.0.1").await.shown(), shown[0], "no name: the first");
    let refused = Session::begin(edge.tls_address().await, "deep.x.b.example", &client.config()).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("not valid for name")), "unknown: the first, too");
}

#[tokio::test]
async fn both_versions_and_both_protocols_are_spoken() {
    let authority = Authority::new();
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = authority.edge(before(origin.address())).await;
    let cases = [
        (&TLS12, &["http/1.1"][..], (TLSv1_2, Some("http/1.1")), "the old version"),
        (&TLS13, &["http/1.1"], (TLSv1_3, Some("http/1.1")), "the new one"),
        (&TLS13, &[], (TLSv1_3, None), "without a word about it, HTTP/1.1"),
        (&TLS12, &["h2", "http/1.1"], (TLSv1_2, Some("h2")), "HTTP/2 in the old version"),
        (&TLS13, &["http/1.1", "h2"], (TLSv1_3, Some("h2")), "ours is the order that counts"),
    ];
    for (version, protocols, (spoken, protocol), why) in cases {
        let session = authority.client().only(version).offering(protocols).to(&edge, "a.example").await;
        assert_eq!(session.agreed(), (Some(spoken), protocol), "{why}");
        let reply = if protocol == Some("h2") {
            session.http2().await.send("GET", "/x", "").await
        } else {
            session.http1().await.send(asked("/x"), "").await
        };
        assert_eq!((reply.brief(), reply.broken), ((200, "body"), false), "{why}");
    }
    for (version, count) in [("1.2", 2.0), ("1.3", 3.0)] {
        let name = format!("{HANDSHAKES}{{result=\"full\",version=\"{version}\"");
        assert!((edge.metric(&name).await - count).abs() < 0.1, "{name}: {}", edge.metric(&name).await);
    }
    let other = authority.client().offering(&["spdy/3"]);
    assert!(Session::begin(edge.tls_address().await, "a.example", &other.config()).await.is_err(), "nothing in common");
}

#[tokio::test]
async fn a_hit_over_https_is_one_and_http_has_its_own_key() {
    let authority = Authority::new();
    let origin = Origin::serve(|asked| ok(format!("v{}", asked.number)).fresh(600)).await;
    let edge = authority.edge(before(origin.address())).await;
    let client = authority.client();
    assert_eq!(client.get(&edge, "/x").await.text(), "v1");
    let hit = client.get(&edge, "/x").await;
    assert_eq!((hit.text(), hit.cache().hit, origin.hits()), ("v1", true, 1));
    let told = origin.last();
    assert_eq!(told.field("x-forwarded-proto").as_deref(), Some("https"));
    assert!(told.field("forwarded").is_some_and(|it| it.contains("host=a.example;proto=https")), "{told:?}");
    let plain = edge.get_with("/x", &[("host", "a.example")]).await;
    assert_eq!((plain.text(), origin.hits()), ("v2", 2), "another key");
    assert_eq!(origin.last().field("x-forwarded-proto").as_deref(), Some("http"));
    let explained = edge.admin("/explain?url=https://a.example/x").await;
    assert!(explained.text().contains("\"hit\""), "{}", explained.text());
}

#[tokio::test]
async fn a_session_is_resumed() {
    let authority = Authority::new();
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let edge = authority.edge(before(origin.address())).await;
    for (version, word) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let config = authority.client().only(version).config();
        for wanted in [false, true] {
            let session = Session::begin(edge.tls_address().await, "a.example", &config).await.expect("a handshake");
            assert_eq!(session.is_resumed(), wanted, "{word}");
            // Tickets come behind the handshake: an answer shows that they are here.
            assert_eq!(session.http1().await.send(asked("/x"), "").await.status, 200);
        }
        let resumed = format!("{HANDSHAKES}{{result=\"resumed\",version=\"{word}\"");
        assert!((edge.metric(&resumed).await - 1.0).abs() < 0.1, "{word}");
    }
}

#[tokio::test]
async fn a_changed_pair_is_taken_over_while_connections_go_on() {
    let authority = Authority::new();
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let edge = authority.edge(before(origin.address())).await;
    let client = authority.client();
    let session = client.to(&edge, "a.example").await;
    let old = session.shown();
    let mut kept = session.http1().await;
    assert_eq!(kept.send(asked("/x"), "").await.status, 200);
    authority.put("a", &["a.example", "also.example"]);
    eventually("the new certificate", async || (client.to(&edge, "a.example").await.shown() != old).then_some(()))
        .await;
    assert_eq!(kept.send(asked("/x"), "").await.status, 200, "the connection stays");
    client.to(&edge, "also.example").await;
    edge.says("was taken over: a.example, also.example").await;
    assert!((edge.metric(&format!("{RELOADS}=\"applied\"")).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_broken_pair_keeps_the_old_one_and_the_others_are_renewed() {
    let authority = Authority::new();
    authority.put("a", &["a.example"]);
    authority.put("b", &["b.example"]);
    let edge = nobody().table(&authority.table(&["a", "b"])).start().await;
    let client = authority.client();
    let [a, b] = [client.to(&edge, "a.example").await.shown(), client.to(&edge, "b.example").await.shown()];
    // A certificate without its key, and a whole new pair.
    replace(&authority.path("a.pem"), &authority.issue(&["a.example"]).cert);
    authority.put("b", &["b.example"]);
    edge.signal("HUP");
    edge.says("was not taken over, what was there before stays: the private key in").await;
    eventually("the whole pair", async || (client.to(&edge, "b.example").await.shown() != b).then_some(())).await;
    assert_eq!(client.to(&edge, "a.example").await.shown(), a);
    assert!(edge.metric(&format!("{RELOADS}=\"rejected\"")).await >= 1.0);
}

#[tokio::test]
async fn certificates_that_are_added_to_the_file_act_at_once() {
    let authority = Authority::new();
    let edge = authority.edge(nobody()).await;
    authority.put("b", &["b.example"]);
    edge.rewrite(&nobody().table(&authority.table(&["a", "b"])).text());
    edge.signal("HUP");
    let (client, address) = (authority.client().config(), edge.tls_address().await);
    eventually("the second certificate", async || Session::begin(address, "b.example", &client).await.ok()).await;
}

#[tokio::test]
async fn a_bad_certificate_at_the_start_is_a_configuration_error() {
    let authority = Authority::new();
    let text = nobody().table(&authority.table(&["a"])).text();
    let cases = [
        ("cannot be read", None, "not there"),
        ("does not fit", Some(authority.issue_with_another_key(&["a.example"])), "another certificate's key"),
        ("has expired", Some(authority.issue_until(&["a.example"], 2020)), "over"),
    ];
    for (want, issued, why) in cases {
        if let Some(issued) = &issued {
            authority.write("a", issued);
        }
        let mut edge = Edge::spawn(&text);
        assert_eq!(edge.exit_code().await, 2, "{why}: {}", edge.stderr());
        assert!(edge.stderr().contains(want), "{why}: {}", edge.stderr());
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_is_left_and_harms_nobody() {
    let authority = Authority::new();
    let origin = Origin::serve(|_| ok("body").fresh(600)).await;
    let setup = before(origin.address()).server("header_timeout = \"1s\"");
    let edge = authority.edge(setup).await;
    let address = edge.tls_address().await;
    let mut silent = Line::to(address).await;
    let mut half = Line::to(address).await;
    half.send(b"\x16\x03\x01\x02\x00\x01\x00").await;
    let mut plain = Line::to(address).await;
    plain.send("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    let mut garbage = Line::to(address).await;
    garbage.send([0xff; 3000]).await;
    drop(Line::to(address).await);
    assert!(!plain.rest().await.contains("HTTP"), "no HTTP on this port without TLS");
    garbage.rest().await;
    assert_eq!(authority.client().get(&edge, "/x").await.status, 200, "others are served meanwhile");
    assert!(silent.rest().await.is_empty() && half.rest().await.is_empty(), "the deadline has passed");
    for (result, least) in [("timeout", 2.0), ("failed", 2.0), ("full", 1.0)] {
        let name = format!("{HANDSHAKES}{{result=\"{result}\"");
        // The client may see the end before it is counted.
        eventually(result, async || (edge.metric(&name).await >= least).then_some(())).await;
    }
}

#[tokio::test]
async fn a_client_must_show_a_certificate_where_one_is_required() {
    let authority = Authority::new();
    let origin = Origin::serve(|asked| ok(asked.field(CLIENT_CERT).unwrap_or_default())).await;
    authority.put("a", &["a.example"]);
    let table = format!("{}\n{}", authority.table(&["a"]), authority.client_ca());
    let edge = before(origin.address()).table(&table).start().await;
    let alice = authority.issue(&["alice"]);
    for version in [&TLS12, &TLS13] {
        let client = authority.client().only(version);
        let known = client.clone().showing(&alice).get(&edge, "/x").await;
        assert!(known.text().contains(";Subject=\"CN=alice\";DNS=alice"), "{}", known.text());
        for client in [client.clone(), client.showing(&Authority::new().issue(&["alice"]))] {
            let session = Session::begin(edge.tls_address().await, "a.example", &client.config()).await;
            // In TLS 1.3 a client believes that it is in before it is told otherwise.
            let is_in = match session {
                Ok(mut session) => session.some().await.is_ok_and(|bytes| !bytes.is_empty()),
                Err(_) => false,
            };
            assert!(!is_in, "nobody, or somebody else's");
        }
    }
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_clients_name_cannot_be_forged() {
    let authority = Authority::new();
    let origin = Origin::serve(|asked| {
        let told = ["x-forwarded-client-cert", "client-cert", "client-cert-chain"].map(|name| asked.field(name));
        ok(told.into_iter().flatten().collect::<Vec<_>>().join("|"))
    })
    .await;
    authority.put("a", &["a.example"]);
    let table = format!("{}\n{}\nclient_auth = \"optional\"", authority.table(&["a"]), authority.client_ca());
    let forged = |target: &str| {
        asked(target).header(CLIENT_CERT, "Hash=00;Subject=\"CN=root\"").header("client-cert", ":cm9vdA==:")
    };
    for trusted in ["", "trusted_proxies = [\"127.0.0.1\"]"] {
        let edge = before(origin.address()).server(trusted).table(&table).start().await;
        let mut nobody = authority.client().to(&edge, "a.example").await.http1().await;
        let mut alice =
            authority.client().showing(&authority.issue(&["alice"])).to(&edge, "a.example").await.http1().await;
        assert_eq!(nobody.send(asked("/x"), "").await.text(), "", "nobody is nobody");
        let told = nobody.send(forged("/x"), "").await;
        assert!(!told.text().contains("CN="), "{}", told.text());
        let told = alice.send(forged("/x"), "").await;
        assert!(told.text().contains("CN=alice") && !told.text().contains("CN=root"), "{}", told.text());
        let fields: [(&str, &str); 2] = [(CLIENT_CERT, "Subject=\"CN=root\""), ("host", "a.example")];
        assert_eq!(edge.get_with("/x", &fields).await.text(), "", "nor on the plain listener");
    }
}

#[tokio::test]
async fn an_answer_that_varies_by_the_clients_certificate_is_for_nobody_else() {
    let authority = Authority::new();
    let origin =
        Origin::serve(|asked| ok(asked.field(CLIENT_CERT).unwrap_or_default()).fresh(600).with("vary", CLIENT_CERT))
            .await;
    authority.put("a", &["a.example"]);
    let table = format!("{}\n{}", authority.table(&["a"]), authority.client_ca());
    let edge = before(origin.address()).table(&table).start().await;
    for name in ["alice", "bob"] {
        let reply = authority.client().showing(&authority.issue(&[name])).get(&edge, "/x").await;
        assert!(reply.text().contains(&format!("CN={name}")) && !reply.cache().hit, "{}", reply.text());
    }
}

#[tokio::test]
async fn sigterm_lets_answers_over_tls_finish_and_says_that_they_are_whole() {
    let authority = Authority::new();
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
    let mut edge = authority.edge(before(origin.address()).server("drain_timeout = \"60s\"")).await;
    let address = edge.tls_address().await;
    let mut under_way = authority.client().to(&edge, "a.example").await;
    under_way.send("GET /x HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    let mut http2 = authority.client().offering(&["h2"]).to(&edge, "a.example").await.http2().await;
    let over_http2 = tokio::spawn(async move { http2.send("GET", "/y", "").await });
    let mut idle = authority.client().to(&edge, "a.example").await;
    let _shaking = Line::to(address).await;
    origin.asked_times(2).await;
    edge.signal("TERM");
    eventually("the listener is closed", async || tokio::net::TcpStream::connect(address).await.is_err().then_some(()))
        .await;
    assert_eq!(idle.rest().await, (Vec::new(), true), "told, not cut");
    gate.open();
    let (bytes, is_whole) = under_way.rest().await;
    assert!(is_whole && bytes.ends_with(b"\r\n\r\nbody"), "{}", String::from_utf8_lossy(&bytes));
    assert_eq!(over_http2.await.expect("the client is served").brief(), (200, "body"));
    assert_eq!(edge.exit_code().await, 0);
}

#[tokio::test]
async fn a_slow_reader_gets_the_whole_of_a_large_body() {
    const BYTES: usize = 8 << 20;
    let authority = Authority::new();
    let origin = Origin::serve(|_| ok(vec![7; BYTES]).fresh(600)).await;
    let edge = authority.edge(before(origin.address()).server("idle_timeout = \"1s\"")).await;
    for _ in 0..2 {
        let mut session = authority.client().to(&edge, "a.example").await;
        session.send("GET /x HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").await;
        let mut read = 0;
        // Not to wait for anything: this is how slow the reader is. All of it takes longer than idle_timeout.
        while read < BYTES * 3 / 4 {
            let until = read + BYTES / 16;
            while read < until {
                read += session.some().await.expect("bytes").len();
            }
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        let (rest, is_whole) = session.rest().await;
        let length = read + rest.len();
        assert!(is_whole && length > BYTES && length < BYTES + 2000, "{length}");
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_cut() {
    let authority = Authority::new();
    let origin = Origin::serve(|_| ok(vec![7; 32 << 20]).fresh(600)).await;
    let edge = authority.edge(before(origin.address()).server("idle_timeout = \"300ms\"")).await;
    let mut session = authority.client().to(&edge, "a.example").await;
    session.send("GET /x HTTP/1.1\r\nhost: a.example\r\n\r\n").await;
    eventually("the cut", async || (edge.metric("larder_connection_timeouts_total").await >= 1.0).then_some(())).await;
    assert!(!session.rest().await.1, "and does not take what it has for the whole");
}

#[tokio::test]
async fn a_body_that_breaks_off_does_not_look_whole() {
    let authority = Authority::new();
    let is_begun = Arc::new(Notify::new());
    let wait = Arc::clone(&is_begun);
    let origin = RawOrigin::serve(move |mut visitor| {
        let wait = Arc::clone(&wait);
        async move {
            let Some(head) = visitor.request().await else { return };
            let framing = if head.starts_with("GET /length") {
                "content-length: 10\r\n\r\nwhole"
            } else {
                "transfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n"
            };
            visitor.say(format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n{framing}")).await;
            if head.starts_with("GET /begun") {
                wait.notified().await;
            }
        }
    })
    .await;
    let edge = authority.edge(before(origin.address())).await;
    let cases = [
        ("GET /chunked HTTP/1.0\r\nhost: a.example\r\n\r\n", "its end is the connection's"),
        ("GET /chunked HTTP/1.1\r\nhost: a.example\r\n\r\n", "chunks"),
        ("GET /length HTTP/1.1\r\nhost: a.example\r\n\r\n", "a length"),
    ];
    for (request, why) in cases {
        let mut session = authority.client().to(&edge, "a.example").await;
        session.send(request).await;
        let (bytes, is_whole) = session.rest().await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(!is_whole && !text.ends_with("0\r\n\r\n"), "{why}: {text}");
    }
    // A stream that is reset before its head has gone out shows nothing at all.
    let mut http2 = authority.client().offering(&["h2"]).to(&edge, "a.example").await.http2().await;
    let download = http2.open("GET", "/begun", "").await;
    is_begun.notify_one();
    assert!(download.finish().await.broken, "HTTP/2");
}

#[tokio::test]
async fn the_end_of_a_whole_answer_is_said() {
    let authority = Authority::new();
    let origin = Origin::serve_with(|_| async {
        let (pieces, told) = streamed();
        tokio::spawn(async move { pieces.send("whole").await });
        told
    })
    .await;
    let edge = authority.edge(before(origin.address())).await;
    for request in ["GET /x HTTP/1.0\r\n\r\n", "GET /x HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n"] {
        let mut session = authority.client().to(&edge, "a.example").await;
        session.send(request).await;
        let (bytes, is_whole) = session.rest().await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(is_whole && text.contains("whole"), "{text}");
    }
}

#[tokio::test]
async fn many_clients_share_a_connections_streams_and_the_listener() {
    let authority = Authority::new();
    let origin = Origin::serve(|asked| ok(asked.target).fresh(600)).await;
    let edge = authority.edge(before(origin.address()).server("max_connections = 4")).await;
    let client = authority.client();
    let replies = join_all((0..20).map(|_| client.get(&edge, "/x"))).await;
    assert!(replies.iter().all(|reply| reply.brief() == (200, "/x")), "more than there are places for");
    let multiplexed = authority.client().offering(&["h2"]).to(&edge, "a.example").await.http2().await;
    let streams = (0..100).map(|_| {
        let mut one = multiplexed.clone();
        async move { one.send("GET", "/y", "").await }
    });
    assert!(join_all(streams).await.iter().all(|reply| reply.brief() == (200, "/y")));
    assert_eq!(origin.hits(), 2);
    let reply = edge.send(get("/x").header("host", "a.example"), "").await;
    assert_eq!((reply.text(), origin.hits()), ("/x", 3), "both listeners at once");
}
