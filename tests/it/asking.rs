//! Which origin is asked, over which connection, and what is told when it fails?

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::edge::{Setup, before};
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::origin::{Origin, ok, status, streamed};
use crate::support::raw::RawOrigin;
use crate::support::wire::ask;

#[tokio::test]
async fn a_stale_pooled_connection_is_replaced_invisibly() {
    // A connection is good for one request; what comes next on it is lost.
    let origin = RawOrigin::serve(|mut visitor| async move {
        while visitor.request().await.is_some() && visitor.requests() == 1 {
            visitor.say("HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 4\r\n\r\nbody").await;
        }
    })
    .await;
    let edge = before(origin.address()).origin("retries = 0").start().await;
    for _ in 0..20 {
        assert_eq!(edge.get("/x").await.brief(), (200, "body"));
    }
    assert!(origin.hits() > 20, "some were lost, and nobody saw it");
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_is_never_sent_twice() {
    let origin = RawOrigin::serve(|mut visitor| async move {
        if visitor.request().await.is_some() {
            visitor.line.reset();
        }
    })
    .await;
    let edge = before(origin.address()).origin("retries = 3").start().await;
    let reply = edge.send(ask("POST", "/x"), "body").await;
    assert_eq!((reply.status.as_u16(), origin.hits()), (502, 1));
    let reply = edge.get("/x").await;
    assert!(reply.status.is_server_error() && origin.hits() >= 3, "a GET may be: {} hits", origin.hits());
}

#[tokio::test]
async fn connections_to_the_origin_are_kept() {
    let origin = Origin::serve(|_| ok("body").with("cache-control", "no-store")).await;
    let edge = before(origin.address()).start().await;
    for _ in 0..20 {
        edge.get("/x").await;
    }
    assert_eq!(origin.hits(), 20);
    // Not always 1: the next request may come before the last connection is back in the pool.
    assert!(origin.connections() <= 5, "{} connections", origin.connections());
}

#[tokio::test]
async fn what_follows_a_body_is_not_part_of_it_and_its_connection_is_not_used_again() {
    let origin = RawOrigin::serve(|mut visitor| async move {
        while visitor.request().await.is_some() {
            visitor
                .say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbodyHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad")
                .await;
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    for round in 1..=3 {
        assert_eq!(edge.get("/x").await.brief(), (200, "body"), "round {round}");
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn what_the_origin_gets_wrong_is_told_in_our_own_words() {
    let cases = [
        // what the origin says                                                     status  why
        ("HTTP/1.1 2x0 Wrong\r\n\r\n", 502, "no status"),
        ("SSH-2.0-OpenSSH_9.2\r\n", 502, "not HTTP"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: x-odd\r\n\r\nodd", 502, "an unknown transfer coding"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 502, "two lengths"),
        ("HTTP/1.1 200 OK\r\n", 502, "half a head"),
        ("", 502, "nothing"),
    ];
    for (answer, code, why) in cases {
        let origin = RawOrigin::serve(move |mut visitor| async move {
            if visitor.request().await.is_some() {
                visitor.say(answer).await;
            }
        })
        .await;
        let edge = before(origin.address()).start().await;
        let reply = edge.get_with("/x", &[("accept", "application/json")]).await;
        assert_eq!(reply.status.as_u16(), code, "{why}");
        assert_eq!(reply.field("cache-control").as_deref(), Some("no-store"), "{why}");
        assert!(reply.field("proxy-status").is_some_and(|said| said.contains("error=")), "{why}: {:?}", reply.headers);
        assert!(reply.field("content-type").is_some_and(|kind| kind.contains("json")), "{why}: {:?}", reply.headers);
        serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap_or_else(|_| panic!("{why}: {}", reply.text()));
        assert!(reply.cache().says("origin-error"), "{why}: {:?}", reply.cache());
    }
}

#[tokio::test]
async fn an_origin_that_is_down_or_silent_is_told() {
    let mut origin = RawOrigin::serve(|mut visitor| async move { while visitor.request().await.is_some() {} }).await;
    let edge = before(origin.address()).origin("first_byte_timeout = \"200ms\"").start().await;
    let silent = edge.get("/x").await;
    assert_eq!(silent.status, 504);
    assert!(silent.field("proxy-status").is_some_and(|said| said.contains("http_response_timeout")));
    origin.vanish().await;
    let refused = edge.get("/x").await;
    assert_eq!(refused.status, 502);
    assert!(refused.field("proxy-status").is_some_and(|said| said.contains("connection_refused")));
}

#[tokio::test]
async fn an_origin_that_stops_in_the_middle_breaks_the_body() {
    let (pieces, told) = streamed();
    let once = Mutex::new(Some(told));
    let origin = Origin::serve(move |_| once.lock().expect("no test panics in here").take().expect("asked once")).await;
    let edge = before(origin.address()).origin("between_bytes_timeout = \"200ms\"").start().await;
    pieces.send("part").await;
    let reply = edge.get("/x").await;
    assert_eq!((reply.text(), reply.broken), ("part", true));
}

#[tokio::test]
async fn an_untrusted_certificate_is_not_accepted() {
    let key = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate is made");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
    let settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows TLS")
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .expect("the key fits the certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(settings));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            assert!(acceptor.accept(stream).await.is_err(), "nobody speaks to an origin that it does not know");
        }
    });
    let edge = Setup::before_urls(&[&format!("https://{address}")]).start().await;
    let reply = edge.get("/x").await;
    assert_eq!(reply.status, 502);
    assert!(reply.field("proxy-status").is_some_and(|said| said.contains("tls_")), "{:?}", reply.headers);
    assert!(!accepting.is_finished());
    accepting.abort();
}

#[tokio::test]
async fn hosts_choose_the_origin_and_the_first_that_fits_wins() {
    let shop = Origin::serve(|_| ok("shop")).await;
    let blog = Origin::serve(|_| ok("blog")).await;
    let other = Origin::serve(|_| ok("other")).await;
    let edge = before(shop.address())
        .origin("hosts = [\"shop.example\"]")
        .table(&format!(
            "[[origins]]\nname = \"blog\"\nurls = [\"http://{}\"]\nhosts = [\"*.blog.example\", \"shop.example\"]",
            blog.address()
        ))
        .table(&format!("[[origins]]\nname = \"other\"\nurls = [\"http://{}\"]", other.address()))
        .start()
        .await;
    let cases = [
        ("shop.example", "shop"),
        ("SHOP.example:80", "shop"),
        ("me.blog.example", "blog"),
        ("anything.example", "other"),
    ];
    for (host, want) in cases {
        assert_eq!(edge.get_with("/x", &[("host", host)]).await.text(), want, "{host}");
    }
}

#[tokio::test]
async fn a_host_that_no_origin_takes_is_told() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).origin("hosts = [\"shop.example\"]").start().await;
    let reply = edge.get_with("/x", &[("host", "blog.example")]).await;
    assert_eq!((reply.status.is_client_error(), origin.hits()), (true, 0), "{}", reply.status);
    assert!(reply.cache().says("no-origin"), "{:?}", reply.cache());
}

#[tokio::test]
async fn an_address_that_is_down_costs_no_request_while_another_is_up() {
    let origin = Origin::serve(|_| ok("body")).await;
    let mut gone = RawOrigin::serve(|_| async {}).await;
    gone.vanish().await;
    let down = format!("http://{}", gone.address());
    let up = format!("http://{}", origin.address());
    let edge = Setup::before_urls(&[&down, &up]).start().await;
    for _ in 0..20 {
        assert_eq!(edge.get("/x").await.status, 200);
    }
    assert_eq!(origin.hits(), 20);
}

#[tokio::test]
async fn balancing_spreads_requests_as_it_says() {
    let cases = [
        // balance              both   why
        ("round-robin", true, "one after the other"),
        ("consistent-hash", false, "one URL, one address"),
    ];
    for (balance, both, why) in cases {
        let (one, two) = (Origin::serve(|_| ok("one")).await, Origin::serve(|_| ok("two")).await);
        let urls = [format!("http://{}", one.address()), format!("http://{}", two.address())];
        let edge = Setup::before_urls(&[&urls[0], &urls[1]]).origin(&format!("balance = {balance:?}")).start().await;
        for _ in 0..10 {
            assert_eq!(edge.get("/x").await.status, 200);
        }
        assert_eq!(one.hits() + two.hits(), 10);
        assert_eq!(one.hits() == 5, both, "{why}: {} and {}", one.hits(), two.hits());
        assert_eq!(one.hits() % 10 != 0, both, "{why}: {} and {}", one.hits(), two.hits());
    }
}

#[tokio::test]
async fn the_least_busy_address_is_asked() {
    let gate = Gate::shut();
    let door = gate.clone();
    let busy = Origin::serve_with(move |_| {
        let door = door.clone();
        async move {
            door.pass().await;
            ok("busy").with("cache-control", "no-store")
        }
    })
    .await;
    let idle = Origin::serve(|_| ok("idle").with("cache-control", "no-store")).await;
    let urls = [format!("http://{}", busy.address()), format!("http://{}", idle.address())];
    let edge = Setup::before_urls(&[&urls[0], &urls[1]]).origin("balance = \"least-connections\"").start().await;
    // Until the busy address has one of these; which it keeps.
    let stuck = async { while edge.ask("POST", "/a", &[]).await.text() != "busy" {} };
    let others = async {
        busy.asked_times(1).await;
        for _ in 0..10 {
            assert_eq!(edge.get("/x").await.text(), "idle");
        }
        gate.open();
    };
    tokio::join!(stuck, others);
}

#[tokio::test]
async fn active_checks_take_an_address_out_and_bring_it_back() {
    let healthy = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&healthy);
    let origin = Origin::serve(move |asked| match asked.target.as_str() {
        "/healthz" if !state.load(Ordering::Acquire) => status(503, ""),
        _ => ok("body").with("cache-control", "no-store"),
    })
    .await;
    let health = "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"1s\", unhealthy_after = 2, healthy_after = 2 }";
    let edge = before(origin.address()).origin(health).start().await;
    eventually("the address is taken out", async || (edge.get("/x").await.status == 503).then_some(())).await;
    assert_eq!(edge.admin("/readyz").await.status, 503, "every origin is down");
    healthy.store(true, Ordering::Release);
    eventually("the address is back", async || (edge.get("/x").await.status == 200).then_some(())).await;
    assert_eq!(edge.admin("/readyz").await.status, 200);
}
