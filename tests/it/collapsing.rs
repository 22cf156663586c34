//! Do many who ask for the same thing at once cost the origin one request, and each other nothing?

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::support::edge::before;
use crate::support::gate::Gate;
use crate::support::origin::{Origin, Pieces, Told, ok, streamed};
use crate::support::raw::{Line, RawOrigin};
use crate::support::wire::{Fields, ask};
use crate::support::{eventually, within};

/// An origin whose first answer the test sends piece by piece, with these fields; the later ones are whole, and say
/// `again`.
async fn slow(fields: Fields) -> (Origin, Pieces) {
    let (pieces, told) = streamed();
    let told = fields.iter().fold(told, |told, (name, value)| told.with(name, value));
    let first = Mutex::new(Some(told));
    let origin = Origin::serve(move |_| {
        let streamed = first.lock().expect("no test panics in here").take();
        streamed.unwrap_or_else(|| ok("again")).fresh(60)
    })
    .await;
    (origin, pieces)
}

/// An origin that answers nobody before the gate is open.
async fn gated(gate: &Gate, told: impl Fn(usize) -> Told + Send + Sync + 'static) -> Origin {
    let (door, told) = (gate.clone(), Arc::new(told));
    Origin::serve_with(move |asked| {
        let (door, told) = (door.clone(), Arc::clone(&told));
        async move {
            door.pass().await;
            told(asked.number)
        }
    })
    .await
}

#[tokio::test]
async fn three_hundred_clients_of_a_cold_slow_url_cost_one_request_and_all_see_its_beginning() {
    const CLIENTS: usize = 300;
    let (origin, pieces) = slow(&[]).await;
    let edge = before(origin.address()).start().await;
    pieces.send("first ").await;
    let started = Arc::new(Barrier::new(CLIENTS + 1));
    let clients = (0..CLIENTS).map(|_| async {
        let (connection, mut download) = edge.open("/x").await;
        let begun = download.at_least(6).await;
        // Nobody gets further before everybody has its first bytes; the origin has not finished then.
        started.wait().await;
        let reply = download.finish().await;
        drop(connection);
        (begun, reply)
    });
    let finish = async {
        within("the first bytes of everybody", started.wait()).await;
        assert_eq!(origin.hits(), 1);
        pieces.send("second").await;
        drop(pieces);
    };
    let (replies, ()) = tokio::join!(join_all(clients), finish);
    let mut collapsed = 0;
    for (mut begun, reply) in replies {
        begun.extend_from_slice(&reply.body);
        assert_eq!((String::from_utf8_lossy(&begun).as_ref(), reply.broken), ("first second", false));
        collapsed += usize::from(reply.cache().collapsed);
    }
    assert_eq!((collapsed, origin.hits()), (CLIENTS - 1, 1));
    let later = edge.get("/x").await;
    assert!(later.cache().is_fresh_hit(), "{:?}", later.cache());
    assert_eq!((later.brief(), origin.hits()), ((200, "first second"), 1));
}

#[tokio::test]
async fn the_first_clients_leaving_costs_the_others_nothing() {
    let (origin, pieces) = slow(&[]).await;
    let edge = before(origin.address()).start().await;
    pieces.send("first ").await;
    let (leader, mut begun) = edge.open("/x").await;
    begun.at_least(6).await;
    let mut followers: Vec<_> = join_all((0..10).map(|_| edge.open("/x"))).await;
    drop((leader, begun));
    followers.extend(join_all((0..10).map(|_| edge.open("/x"))).await);
    pieces.send("second").await;
    drop(pieces);
    for (_connection, follower) in followers {
        let reply = follower.finish().await;
        assert_eq!((reply.text(), reply.broken), ("first second", false));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn the_first_client_may_leave_before_the_origin_says_anything() {
    let gate = Gate::shut();
    let origin = gated(&gate, |_| ok("body").fresh(60)).await;
    let edge = before(origin.address()).start().await;
    let leader = {
        let address = edge.address();
        tokio::spawn(async move {
            let mut line = Line::to(address).await;
            line.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n").await;
            line.rest().await
        })
    };
    origin.asked_times(1).await;
    let clients = join_all((0..10).map(|_| edge.get_with("/x", &[("host", "a")])));
    let rest = async {
        leader.abort();
        let _ = leader.await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(clients, rest);
    for reply in replies {
        assert_eq!(reply.brief(), (200, "body"));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_fill_outlives_its_only_client_when_it_is_storable() {
    let (origin, pieces) = slow(&[]).await;
    let edge = before(origin.address()).start().await;
    pieces.send("first ").await;
    let (leader, mut begun) = edge.open("/x").await;
    begun.at_least(6).await;
    drop((leader, begun));
    assert!(pieces.send("second").await, "the fill is still read");
    drop(pieces);
    let reply = edge.get("/x").await;
    assert_eq!((reply.brief(), origin.hits()), ((200, "first second"), 1));
}

#[tokio::test]
async fn a_second_wave_on_an_uncacheable_url_takes_as_long_as_one_request() {
    const CLIENTS: usize = 50;
    // Whoever is second or later is answered when all of them are there: a queue would never end.
    let together = Arc::new(Barrier::new(CLIENTS));
    let origin = Origin::serve_with(move |asked| {
        let together = Arc::clone(&together);
        async move {
            if asked.number > 1 {
                together.wait().await;
            }
            ok(format!("v{}", asked.number)).with("cache-control", "private")
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    assert_eq!(edge.get("/x").await.text(), "v1");
    let replies = join_all((0..CLIENTS).map(|_| edge.get("/x"))).await;
    let mut bodies: Vec<_> = replies.iter().map(|reply| reply.text().to_owned()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!((bodies.len(), origin.hits()), (CLIENTS, CLIENTS + 1), "each has an answer of its own");
    for reply in &replies {
        let cache = reply.cache();
        assert!(!cache.collapsed && !cache.hit && !cache.stored, "{cache:?}");
    }
}

#[tokio::test]
async fn an_unshareable_answer_releases_everybody_at_once_and_reaches_one() {
    const CLIENTS: usize = 30;
    let (gate, together) = (Gate::shut(), Arc::new(Barrier::new(CLIENTS - 1)));
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let (door, together) = (door.clone(), Arc::clone(&together));
        async move {
            if asked.number == 1 {
                door.pass().await;
            } else {
                together.wait().await;
            }
            let cookie = format!("session={}", asked.number);
            ok(format!("v{}", asked.number)).fresh(60).with("set-cookie", &cookie)
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let clients = join_all((0..CLIENTS).map(|_| edge.get("/x")));
    let release = async {
        origin.asked_times(1).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(clients, release);
    let mut cookies: Vec<_> = replies.iter().map(|reply| reply.field("set-cookie").expect("a cookie")).collect();
    cookies.sort();
    cookies.dedup();
    assert_eq!((cookies.len(), origin.hits()), (CLIENTS, CLIENTS), "no cookie reaches a second client");
}

#[tokio::test]
async fn a_cut_body_breaks_for_everybody_and_is_not_stored() {
    let framings: [(Fields, &str); 2] = [(&[("content-length", "100")], "by length"), (&[], "chunked")];
    for (fields, framing) in framings {
        let (origin, pieces) = slow(fields).await;
        let edge = before(origin.address()).start().await;
        pieces.send("part").await;
        let mut downloads = Vec::new();
        for _ in 0..10 {
            let (connection, mut download) = edge.open("/x").await;
            assert_eq!(download.at_least(4).await, b"part");
            downloads.push((connection, download));
        }
        assert_eq!(origin.hits(), 1);
        pieces.cut().await;
        for (_connection, download) in downloads {
            let reply = download.finish().await;
            assert!(reply.broken, "{framing}: nobody takes a part for the whole: {reply:?}");
        }
        let again = edge.get("/x").await;
        assert_eq!((again.brief(), origin.hits()), ((200, "again"), 2), "{framing}");
    }
}

#[tokio::test]
async fn a_body_shorter_than_its_length_breaks_for_everybody_and_is_not_stored() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = RawOrigin::serve(move |mut visitor| {
        let door = door.clone();
        async move {
            if visitor.request().await.is_some() {
                let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 100\r\n\r\n";
                visitor.say(format!("{head}only a part")).await;
                door.pass().await;
                visitor.line.finish().await;
            }
        }
    })
    .await;
    let edge = before(origin.address()).origin("retries = 0").start().await;
    let mut downloads = Vec::new();
    for _ in 0..5 {
        let (connection, mut download) = edge.open("/x").await;
        assert_eq!(download.at_least(11).await, b"only a part");
        downloads.push((connection, download));
    }
    let mut old = Line::to(edge.address()).await;
    old.send(format!("GET /x HTTP/1.0\r\nhost: {}\r\n\r\n", edge.address())).await;
    let head = old.head().await.expect("a head").to_ascii_lowercase();
    gate.open();
    for (_connection, download) in downloads {
        assert!(download.finish().await.broken);
    }
    assert!(head.contains("content-length: 100"), "the length shows an old client what is missing: {head}");
    assert!("only a part".starts_with(&old.rest().await));
    assert_eq!(origin.hits(), 1);
    // The gate is open now: this one may break before its head has gone out.
    let mut again = Line::to(edge.address()).await;
    again.send(format!("GET /x HTTP/1.1\r\nhost: {}\r\n\r\n", edge.address())).await;
    assert!("only a part".starts_with(again.rest().await.split("\r\n\r\n").nth(1).unwrap_or_default()));
    assert_eq!(origin.hits(), 2, "nothing was stored");
}

#[tokio::test]
async fn variants_are_learnt_from_the_answer_and_each_costs_one_request() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            door.pass().await;
            ok(asked.field("foo").unwrap_or_default()).fresh(60).with("vary", "foo")
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let clients = join_all((0..40).map(|number| {
        let value = if number % 2 == 0 { "even" } else { "odd" };
        let edge = &edge;
        async move { (value, edge.get_with("/x", &[("foo", value)]).await) }
    }));
    let release = async {
        origin.asked_times(1).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(clients, release);
    for (value, reply) in replies {
        assert_eq!(reply.brief(), (200, value));
    }
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_slow_the_others() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 256;
    let (origin, pieces) = slow(&[]).await;
    let edge = before(origin.address()).start().await;
    pieces.send(vec![b'x'; PIECE]).await;
    let (_idle_connection, idle) = edge.open("/x").await;
    let (_connection, busy) = edge.open("/x").await;
    let write = async {
        for _ in 1..PIECES {
            pieces.send(vec![b'x'; PIECE]).await;
        }
        drop(pieces);
    };
    let ((total, whole), ()) = tokio::join!(busy.drain(), write);
    assert_eq!((total, whole), ((PIECE * PIECES) as u64, true));
    // And the idle one, when it wakes up: all of it, or a visible break; never a short body that looks whole.
    let (total, whole) = idle.drain().await;
    assert_eq!(whole, total == (PIECE * PIECES) as u64);
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn unsafe_methods_are_never_collapsed() {
    const CLIENTS: usize = 10;
    let together = Arc::new(Barrier::new(CLIENTS));
    let origin = Origin::serve_with(move |asked| {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            ok(asked.body).fresh(60)
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let replies = join_all((0..CLIENTS).map(|number| edge.send(ask("POST", "/x"), number.to_string()))).await;
    for (number, reply) in replies.iter().enumerate() {
        assert_eq!(reply.brief(), (200, number.to_string().as_str()));
    }
    assert_eq!(origin.hits(), CLIENTS);
}

#[tokio::test]
async fn waiting_clients_get_an_error_of_their_own_when_the_origin_fails() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = RawOrigin::serve(move |mut visitor| {
        let door = door.clone();
        async move {
            if visitor.request().await.is_some() {
                door.pass().await;
                visitor.line.reset();
            }
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let clients = join_all((0..20).map(|_| edge.get("/x")));
    let release = async {
        origin.asked_times(1).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(clients, release);
    for reply in replies {
        assert_eq!(reply.status, 502);
        assert_eq!(reply.field("cache-control").as_deref(), Some("no-store"));
    }
}

#[tokio::test]
async fn one_revalidation_serves_everybody() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            if asked.number == 1 {
                let stale = ok("v1").with("cache-control", "max-age=10, must-revalidate").with("age", "20");
                return stale.with("etag", "\"1\"");
            }
            door.pass().await;
            ok("v2").fresh(60)
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let clients = join_all((0..20).map(|_| edge.get("/x")));
    let release = async {
        origin.asked_times(2).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(clients, release);
    for reply in replies {
        assert_eq!(reply.brief(), (200, "v2"));
    }
    assert_eq!(origin.hits(), 2);
}

/// Nobody is left behind when clients come and go while a fill runs.
#[tokio::test]
async fn clients_that_come_and_go_leave_no_flight_behind() {
    let (origin, pieces) = slow(&[]).await;
    let edge = before(origin.address()).start().await;
    pieces.send("first ").await;
    for _ in 0..30 {
        let (connection, mut download) = edge.open("/x").await;
        download.at_least(6).await;
        drop((connection, download));
    }
    pieces.send("second").await;
    drop(pieces);
    eventually("the stored response", async || {
        let reply = edge.get("/x").await;
        assert_eq!(reply.brief(), (200, "first second"));
        reply.cache().is_fresh_hit().then_some(())
    })
    .await;
    assert_eq!(origin.hits(), 1);
}
