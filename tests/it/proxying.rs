//! Does a request reach the origin, and its answer the client, as they should, whatever the method and the framing?

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use http::HeaderMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

use crate::support::edge::before;
use crate::support::origin::{Origin, Told, ok, status, streamed};
use crate::support::raw::{Line, RawOrigin};
use crate::support::wire::{Connection, Multiplexed, ask, get};
use crate::support::{eventually, within};

/// An origin that says what it was sent.
async fn echo() -> Origin {
    Origin::serve(|asked| ok(asked.body).with("x-method", asked.method.as_str()).with("x-target", &asked.target)).await
}

/// An origin that says this once.
async fn once(told: Told) -> Origin {
    let told = Mutex::new(Some(told));
    Origin::serve(move |_| told.lock().expect("no test panics in here").take().expect("asked once")).await
}

#[tokio::test]
async fn any_method_passes_with_its_body_and_target() {
    let origin = echo().await;
    let edge = before(origin.address()).start().await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "FROB"] {
        for body in ["", "some body"] {
            let target = "/a%20b//c%2Fd;e=1?q=%C3%A4&&x=[1]";
            let reply = edge.send(ask(method, target), body).await;
            assert_eq!(reply.brief(), (200, body), "{method}");
            assert_eq!(reply.field("x-method").as_deref(), Some(method));
            assert_eq!(reply.field("x-target").as_deref(), Some(target), "the bytes are the client's");
            assert!(!reply.cache().hit, "{method}");
        }
    }
}

#[tokio::test]
async fn any_status_passes() {
    let origin = Origin::serve(|asked| {
        let code = asked.target.trim_start_matches('/').parse().expect("the target is a status");
        status(code, if code == 204 { "" } else { "body" }).with("x-kept", "yes")
    })
    .await;
    let edge = before(origin.address()).start().await;
    for code in [200, 201, 204, 301, 302, 400, 401, 404, 418, 500, 503] {
        let reply = edge.get(&format!("/{code}")).await;
        assert_eq!(reply.brief(), (code, if code == 204 { "" } else { "body" }));
        assert_eq!(reply.field("x-kept").as_deref(), Some("yes"));
    }
}

#[tokio::test]
async fn a_body_up_to_the_limit_passes_and_a_larger_one_is_refused() {
    let origin = echo().await;
    let edge = before(origin.address()).server("max_body = \"64KiB\"").start().await;
    let fits = vec![b'x'; 64 * 1024];
    let reply = edge.send(ask("POST", "/x"), fits.clone()).await;
    assert_eq!((reply.status.as_u16(), reply.body.len(), origin.hits()), (200, fits.len(), 1));

    let refused = edge.send(ask("POST", "/x"), vec![b'x'; 64 * 1024 + 1]).await;
    assert_eq!((refused.status.as_u16(), origin.hits()), (413, 1), "a stated length is refused before the origin");
    assert_eq!(refused.field("cache-control").as_deref(), Some("no-store"));

    let mut line = Line::to(edge.address()).await;
    line.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..5 {
        line.send("4000\r\n").await;
        line.send(vec![b'x'; 0x4000]).await;
        line.send("\r\n").await;
    }
    let head = line.head().await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(origin.hits(), 1, "the origin never got a whole request");
}

#[tokio::test]
async fn a_request_body_reaches_the_origin_while_it_is_still_being_sent() {
    let origin = RawOrigin::serve(|mut visitor| async move {
        let head = visitor.request().await.expect("a request");
        assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
        let first = visitor.line.through("one").await.expect("the first piece");
        visitor.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\ngot\r\n").await;
        let second = visitor.line.through("0\r\n\r\n").await.expect("the rest");
        assert!(first.contains("one") && second.contains("two"), "{first} {second}");
        visitor.say("4\r\n all\r\n0\r\n\r\n").await;
    })
    .await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.address()).await;
    line.send("POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n").await;
    let begun = line.through("got").await.expect("the answer begins before the request ends");
    assert!(begun.starts_with("HTTP/1.1 200 "), "{begun}");
    line.send("3\r\ntwo\r\n0\r\n\r\n").await;
    assert!(line.through("0\r\n\r\n").await.is_some_and(|rest| rest.contains(" all")));
}

#[tokio::test]
async fn an_uncacheable_body_streams_to_the_client() {
    let (pieces, told) = streamed();
    let origin = once(told.with("cache-control", "no-store")).await;
    let edge = before(origin.address()).start().await;
    pieces.send("one").await;
    let (_connection, mut download) = edge.open("/x").await;
    assert_eq!(download.at_least(3).await, b"one");
    pieces.send("two").await;
    assert_eq!(download.at_least(3).await, b"two");
    drop(pieces);
    assert!(!download.finish().await.broken);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let origin = Origin::serve_with(|asked| async move {
        let sent = asked.trailers.as_ref().and_then(|trailers| trailers.get("x-sum")).cloned();
        let (pieces, told) = streamed();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-total", "7".parse().expect("a field value"));
        tokio::spawn(async move {
            pieces.send("body").await;
            pieces.trailers(trailers).await;
        });
        let sent = sent.map_or_else(|| "none".to_owned(), |value| value.to_str().unwrap_or("odd").to_owned());
        told.with("trailer", "x-total").with("x-sent", &sent)
    })
    .await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.address()).await;
    let head = "POST /x HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n";
    line.send(format!("{head}transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n")).await;
    let head = line.head().await.expect("an answer").to_ascii_lowercase();
    assert!(head.contains("x-sent: 42"), "the origin got the request's trailer: {head}");
    let body = line.through("0\r\n").await.expect("the last chunk");
    assert!(body.contains("body"), "{body}");
    let trailers = line.head().await.expect("trailers").to_ascii_lowercase();
    assert!(trailers.contains("x-total: 7"), "{trailers}");

    let reply = Multiplexed::to(edge.address()).await.send("POST", "/x", "body").await;
    let trailers = reply.trailers.expect("HTTP/2 carries trailers to everybody");
    assert_eq!(trailers.get("x-total").map(http::HeaderValue::as_bytes), Some(&b"7"[..]));
}

#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on() {
    let origin = echo().await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.address()).await;
    line.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
    let interim = line.head().await.expect("an interim answer");
    assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
    line.send("body").await;
    let head = line.head().await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(line.exactly(4).await.as_deref(), Some(&b"body"[..]));
}

#[tokio::test]
async fn interim_responses_go_through_once_and_are_not_stored() {
    let origin = RawOrigin::serve(|mut visitor| async move {
        while visitor.request().await.is_some() {
            visitor.say("HTTP/1.1 102 Processing\r\n\r\n").await;
            visitor.say("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\nx-hint: 1\r\n\r\n").await;
            visitor.say("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\r\nbody").await;
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.address()).await;
    line.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let first = line.head().await.expect("the first interim response");
    assert!(first.starts_with("HTTP/1.1 102 "), "{first}");
    let second = line.head().await.expect("the second interim response").to_ascii_lowercase();
    assert!(second.starts_with("http/1.1 103 "), "{second}");
    assert!(second.contains("link: </a.css>; rel=preload") && second.contains("x-hint: 1"), "{second}");
    let last = line.head().await.expect("the final response").to_ascii_lowercase();
    assert!(last.starts_with("http/1.1 200 ") && !last.contains("x-hint"), "{last}");
    assert_eq!(line.exactly(4).await.as_deref(), Some(&b"body"[..]));

    line.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let hit = line.head().await.expect("the stored response").to_ascii_lowercase();
    assert!(hit.starts_with("http/1.1 200 ") && !hit.contains("link:"), "{hit}");
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel() {
    let origin = RawOrigin::serve(|mut visitor| async move {
        let head = visitor.request().await.expect("a request").to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        assert!(head.contains("sec-websocket-key: abc"), "{head}");
        visitor
            .say("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nx-a: 1\r\n\r\n")
            .await;
        let asked = visitor.line.exactly(4).await.expect("bytes through the tunnel");
        visitor.say(asked.iter().rev().copied().collect::<Vec<_>>()).await;
        visitor.say("bye").await;
    })
    .await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.address()).await;
    let head =
        "GET /x HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: abc\r\n\r\n";
    line.send(head).await;
    let answer = line.head().await.expect("an answer").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    assert!(answer.contains("upgrade: websocket") && answer.contains("x-a: 1"), "{answer}");
    line.send("ping").await;
    assert_eq!(line.exactly(7).await.as_deref(), Some(&b"gnipbye"[..]));
    assert_eq!(line.rest().await, "", "the end is the end for both");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_any_other() {
    let origin = Origin::serve(|_| status(403, "no")).await;
    let edge = before(origin.address()).start().await;
    let fields = [("connection", "upgrade"), ("upgrade", "websocket")];
    let reply = edge.get_with("/x", &fields).await;
    assert_eq!(reply.brief(), (403, "no"));
    assert!(reply.cache().says("upgrade"), "{:?}", reply.cache());
}

#[tokio::test]
async fn http_1_0_clients_get_a_body_that_ends_with_the_connection() {
    let origin = Origin::serve(|asked| {
        if asked.target == "/known" {
            return ok("body");
        }
        let (pieces, told) = streamed();
        tokio::spawn(async move {
            pieces.send("body").await;
        });
        told
    })
    .await;
    let edge = before(origin.address()).start().await;
    for target in ["/known", "/unknown"] {
        let mut line = Line::to(edge.address()).await;
        line.send(format!("GET {target} HTTP/1.0\r\nhost: a\r\n\r\n")).await;
        let answer = line.rest().await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(" 200 ") && !head.to_ascii_lowercase().contains("chunked"), "{head}");
        assert_eq!(body, "body", "{target}");
    }
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_spoken_and_multiplexed() {
    const STREAMS: usize = 50;
    let together = Arc::new(Barrier::new(STREAMS));
    let origin = Origin::serve_with(move |asked| {
        let together = Arc::clone(&together);
        async move {
            if asked.target.starts_with("/together") {
                together.wait().await;
            }
            ok(format!("{} {}", asked.target, asked.body.len())).fresh(60)
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let client = Multiplexed::to(edge.address()).await;
    let first = client.clone().send("GET", "/x", "").await;
    assert_eq!((first.brief(), first.version), ((200, "/x 0"), http::Version::HTTP_2));
    let hit = client.clone().send("GET", "/x", "").await;
    assert!(hit.cache().is_fresh_hit() && origin.hits() == 1, "{:?}", hit.cache());
    let same = edge.get_with("/x", &[("host", &edge.address().to_string())]).await;
    assert!(same.cache().is_fresh_hit(), "HTTP/1.1 and HTTP/2 share what is stored: {:?}", same.cache());
    assert_eq!(client.clone().send("POST", "/up", vec![b'x'; 300_000]).await.brief(), (200, "/up 300000"));

    let replies = join_all((0..STREAMS).map(|number| {
        let mut client = client.clone();
        async move { client.send("GET", &format!("/together/{number}"), "").await }
    }))
    .await;
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!(reply.brief(), (200, format!("/together/{number} 0").as_str()));
    }
}

#[tokio::test]
async fn a_broken_body_resets_its_http_2_stream() {
    let (pieces, told) = streamed();
    let origin = once(told).await;
    let edge = before(origin.address()).start().await;
    pieces.send("part").await;
    let mut client = Multiplexed::to(edge.address()).await;
    let mut download = client.open("GET", "/x", "").await;
    // A reset overtakes what it follows at once.
    assert_eq!(download.piece().await.as_deref(), Some(&b"part"[..]));
    pieces.cut().await;
    let reply = download.finish().await;
    assert!(reply.broken, "{reply:?}");
}

#[tokio::test]
async fn a_keep_alive_connection_serves_one_request_after_the_other() {
    let origin = echo().await;
    let edge = before(origin.address()).start().await;
    let mut connection = Connection::to(edge.address()).await;
    for number in 0..10 {
        let reply = connection.send(ask("POST", "/x"), number.to_string()).await;
        assert_eq!(reply.brief(), (200, number.to_string().as_str()));
    }
    let mut line = Line::to(edge.address()).await;
    line.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let both = line.rest().await.to_ascii_lowercase();
    let (a, b) = (both.find("x-target: /a").expect("the first"), both.find("x-target: /b").expect("the second"));
    assert!(a < b, "pipelined requests are answered in order");
}

/// With one thread and with several. There are so many clients that what they get, and what the origin is asked for, is sent in
/// batches.
#[tokio::test]
async fn clients_that_read_late_get_every_answer_in_order() {
    const CLIENTS: usize = 12;
    const REQUESTS: usize = 1500;
    for threads in [1, 2] {
        let answer = |target: &str| format!("{target:>3500}");
        let origin = Origin::serve(move |asked| ok(answer(&asked.target)).with("cache-control", "no-store")).await;
        let edge = before(origin.address()).server(&format!("threads = {threads}")).start().await;
        let connections = (0..CLIENTS).map(async |client| {
            let (reader, mut writer) = TcpStream::connect(edge.address()).await.expect("it listens").into_split();
            let asking = tokio::spawn(async move {
                for number in 0..REQUESTS {
                    let last = if number + 1 == REQUESTS { "Connection: close\r\n" } else { "" };
                    let request = format!("GET /{client}/{number} HTTP/1.1\r\nHost: a\r\n{last}\r\n");
                    writer.write_all(request.as_bytes()).await.expect("it listens on");
                }
                writer
            });
            (client, reader, asking)
        });
        let connections = join_all(connections).await;
        // More than the kernel holds for who does not read: 5 MiB for each, of which nobody takes any before all are stuck.
        let mut before = None;
        eventually("an edge that waits for its clients", async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = origin.hits();
            (before.replace(now) == Some(now)).then_some(())
        })
        .await;
        assert!(origin.hits() < CLIENTS * REQUESTS, "nobody had to wait");
        let read = connections.into_iter().map(async |(client, mut reader, asking)| {
            let mut answers = String::new();
            within("all the answers", reader.read_to_string(&mut answers)).await.expect("no reset");
            within("all the requests", asking).await.expect("they were sent");
            let bodies: Vec<_> = answers.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
            assert_eq!(bodies.len(), REQUESTS, "{threads} threads, client {client}");
            for (number, body) in bodies.into_iter().enumerate() {
                assert!(body.ends_with(&answer(&format!("/{client}/{number}"))), "{threads} threads, {number}: {body}");
            }
        });
        join_all(read).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_early_ends_a_passed_request() {
    let (pieces, told) = streamed();
    let origin = once(told.with("cache-control", "no-store")).await;
    let edge = before(origin.address()).start().await;
    pieces.send("part").await;
    let (connection, mut download) = edge.open("/x").await;
    download.at_least(4).await;
    drop((connection, download));
    // Nobody reads what nobody will store: sooner or later nobody takes the next piece.
    within("the end of the transfer", async { while pieces.send(vec![b'x'; 65_536]).await {} }).await;
}

#[tokio::test]
async fn a_head_to_the_origin_brings_its_length_and_no_body() {
    let origin = RawOrigin::serve(|mut visitor| async move {
        while visitor.request().await.is_some() {
            visitor.say("HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: 1234\r\n\r\n").await;
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    for _ in 0..2 {
        let reply = edge.send(get("/x").method("HEAD"), "").await;
        assert_eq!((reply.brief(), reply.field("content-length").as_deref()), ((200, ""), Some("1234")));
    }
    assert!(origin.heads()[0].starts_with("HEAD /x HTTP/1.1\r\n"), "{}", origin.heads()[0]);
}
