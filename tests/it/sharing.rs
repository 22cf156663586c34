//! Who may be shown what was fetched for another, and what may become of it in storage?
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::support::edge::before;
use crate::support::gate::Gate;
use crate::support::origin::{Origin, ok, status, streamed};

#[tokio::test]
async fn a_cookie_that_comes_with_the_rest_of_a_part_reaches_nobody_else() {
    let origin = Origin::serve(|asked| match asked.field("range").as_deref() {
        Some("bytes=0-4") => status(206, "01234").fresh(60).with("content-range", "bytes 0-4/10").with("etag", "\"a\""),
        Some("bytes=5-") => status(206, "56789")
            .fresh(60)
            .with("content-range", "bytes 5-9/10")
            .with("etag", "\"a\"")
            .with("set-cookie", "sid=alice"),
        _ => status(503, "down"),
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get_with("/x", &[("range", "bytes=0-4")]).await;
    edge.get("/x").await;
    let bob = edge.get("/x").await;
    assert_eq!(bob.field("set-cookie"), None);
}

#[tokio::test]
async fn a_rest_that_is_too_short_makes_no_whole() {
    let origin = Origin::serve(|asked| match asked.field("range").as_deref() {
        Some("bytes=0-4") => status(206, "01234").fresh(60).with("content-range", "bytes 0-4/10").with("etag", "\"a\""),
        Some("bytes=5-") => status(206, "567").fresh(60).with("content-range", "bytes 5-9/10").with("etag", "\"a\""),
        _ => ok("0123456789").fresh(60).with("etag", "\"a\""),
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get_with("/x", &[("range", "bytes=0-4")]).await;
    let mut line = crate::support::raw::Line::to(edge.address()).await;
    line.send(format!("GET /x HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", edge.address())).await;
    let again = edge.get("/x").await;
    assert_eq!(again.text(), "0123456789");
}

#[tokio::test]
async fn a_part_with_surplus_bytes_is_not_stored() {
    let origin = Origin::serve(|asked| match asked.field("range").as_deref() {
        Some("bytes=0-4") => {
            status(206, "01234XX").fresh(60).with("content-range", "bytes 0-4/10").with("etag", "\"a\"")
        }
        _ => status(503, "down"),
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get_with("/x", &[("range", "bytes=0-4")]).await;
    let again = edge.get_with("/x", &[("range", "bytes=3-6")]).await;
    assert_eq!(again.status, 503);
}

#[tokio::test]
async fn a_304_that_brings_vary_selects_anew() {
    for vary in ["foo", "*"] {
        let origin = Origin::serve(move |asked| match asked.number {
            1 => ok("for-a").with("cache-control", "max-age=10").with("age", "20").with("etag", "\"1\""),
            2 => status(304, "").fresh(60).with("etag", "\"1\"").with("vary", vary),
            _ => ok("for-b").fresh(60).with("vary", vary),
        })
        .await;
        let edge = before(origin.address()).start().await;
        edge.get_with("/x", &[("foo", "a")]).await;
        edge.get_with("/x", &[("foo", "a")]).await;
        let b = edge.get_with("/x", &[("foo", "b")]).await;
        assert_eq!(b.text(), "for-b");
    }
}

#[tokio::test]
async fn a_cookie_of_a_304_reaches_its_leader_only() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            if asked.number == 1 {
                return ok("v").with("cache-control", "max-age=600, stale-while-revalidate=600").with("etag", "\"1\"");
            }
            door.pass().await;
            status(304, "").with("etag", "\"1\"").with("set-cookie", &format!("sid={}", asked.number))
        }
    })
    .await;
    let edge = before(origin.address()).rule("client_cache_control = \"honour\"").start().await;
    edge.get("/x").await;
    let clients = join_all((0..5).map(|_| edge.get_with("/x", &[("cache-control", "no-cache")])));
    let release = async {
        origin.asked_times(2).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.open();
    };
    let (replies, ()) = tokio::join!(clients, release);
    let mut cookies: Vec<_> = replies.iter().map(|r| r.field("set-cookie")).collect();
    cookies.sort();
    let had = cookies.len();
    cookies.dedup();
    assert_eq!(cookies.len(), had, "one cookie reached several");
}

#[tokio::test]
async fn nobody_queues_for_what_is_stale_as_it_comes() {
    const CLIENTS: usize = 20;
    let together = Arc::new(Barrier::new(CLIENTS));
    let origin = Origin::serve_with(move |asked| {
        let together = Arc::clone(&together);
        async move {
            if asked.number > 4 {
                let _ = tokio::time::timeout(Duration::from_secs(2), together.wait()).await;
            }
            ok(format!("v{}", asked.number))
                .with("cache-control", "max-age=0")
                .with("etag", &format!("\"{}\"", asked.number))
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    for _ in 0..4 {
        edge.get("/x").await;
    }
    let begun = Instant::now();
    let replies = join_all((0..CLIENTS).map(|_| edge.get("/x"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert!(begun.elapsed() < Duration::from_secs(1), "queued {:?}", begun.elapsed());
}

#[tokio::test]
async fn another_variant_collapses_while_one_streams() {
    const CLIENTS: usize = 20;
    let (pieces, told) = streamed();
    let first = Mutex::new(Some(told.fresh(60).with("vary", "foo")));
    let first = Arc::new(first);
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let (door, first) = (door.clone(), Arc::clone(&first));
        async move {
            if asked.number == 1 {
                return first.lock().unwrap().take().unwrap();
            }
            door.pass().await;
            ok("b").fresh(60).with("vary", "foo")
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    pieces.send("first").await;
    let (_c, mut download) = edge.open_with("/x", &[("foo", "a")]).await;
    download.at_least(5).await;
    let clients = join_all((0..CLIENTS).map(|_| edge.get_with("/x", &[("foo", "b")])));
    let release = async {
        origin.asked_times(2).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        gate.open();
    };
    let _ = tokio::join!(clients, release);
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn a_stream_that_has_gone_stale_is_not_joined() {
    let (pieces, told) = streamed();
    let first = Mutex::new(Some(told.with("cache-control", "max-age=1, must-revalidate")));
    let origin = Origin::serve(move |_| first.lock().unwrap().take().unwrap_or_else(|| ok("again").fresh(60))).await;
    let edge = before(origin.address()).start().await;
    pieces.send("first").await;
    let (_c, mut download) = edge.open("/x").await;
    download.at_least(5).await;
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let late = async { edge.get("/x").await };
    let end = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(pieces);
    };
    let (late, ()) = tokio::join!(late, end);
    assert_eq!(late.text(), "again");
}

#[tokio::test]
async fn joined_parts_stay_within_max_object() {
    let origin = Origin::serve(|asked| {
        let range = asked.field("range").unwrap_or_default();
        let first: usize = range.trim_start_matches("bytes=").split('-').next().unwrap().parse().unwrap_or(0);
        status(206, vec![b'x'; 40_000])
            .fresh(60)
            .with("etag", "\"a\"")
            .with("content-range", &format!("bytes {first}-{}/400000", first + 39_999))
    })
    .await;
    let edge = before(origin.address()).memory("max_object = \"64KiB\"").start().await;
    for i in 0..10 {
        let first = i * 40_000;
        edge.get_with("/x", &[("range", &format!("bytes={first}-{}", first + 39_999))]).await;
    }
    edge.get("/x").await;
    assert!(origin.hits() > 10);
}

#[tokio::test]
async fn a_body_too_large_to_store_gives_its_room_back() {
    let (pieces, told) = streamed();
    let first = Mutex::new(Some(told.fresh(60)));
    let origin = Origin::serve(move |asked| {
        if asked.target == "/big" {
            return first.lock().unwrap().take().unwrap();
        }
        ok(vec![b'x'; 120_000]).fresh(60)
    })
    .await;
    let edge = before(origin.address()).memory("capacity = \"8MiB\"\nmax_object = \"1MiB\"").start().await;
    for i in 0..70 {
        edge.get(&format!("/{i}")).await;
    }
    for _ in 0..3 {
        edge.get("/probe-before").await;
    }
    edge.get("/probe-before").await;
    let (_c, mut download) = {
        pieces.send(vec![b'x'; 65536]).await;
        edge.open("/big").await
    };
    download.at_least(65536).await;
    for _ in 2..100 {
        pieces.send(vec![b'x'; 65536]).await;
        download.at_least(65536).await;
    }
    for _ in 0..3 {
        edge.get("/probe-during").await;
    }
    let during = origin.hits();
    edge.get("/probe-during").await;
    assert_eq!(origin.hits(), during);
}

#[tokio::test]
async fn a_late_304_does_not_bring_the_old_version_back() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            if asked.number == 1 {
                return ok("v1").with("cache-control", "max-age=10").with("age", "20").with("etag", "\"1\"");
            }
            if asked.method == http::Method::HEAD {
                door.pass().await;
                return status(304, "").fresh(60).with("etag", "\"1\"");
            }
            ok("v2").fresh(60).with("etag", "\"2\"")
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let head = edge.ask("HEAD", "/x", &[]);
    let rest = async {
        origin.asked_times(2).await;
        assert_eq!(edge.get("/x").await.text(), "v2");
        gate.open();
    };
    let _ = tokio::join!(head, rest);
    let last = edge.get("/x").await;
    assert_eq!(last.text(), "v2");
}
