//! When may a stale response answer: while it is refreshed (RFC 5861 §3), and when the origin fails (§4)?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::edge::before;
use crate::support::eventually;
use crate::support::gate::Gate;
use crate::support::origin::{Origin, ok, status};
use crate::support::raw::{RawOrigin, Visitor};

/// How the origin goes wrong when it is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Refused,
    Reset,
    Closed,
    Silent,
    Malformed,
    UnknownCoding,
    Status(u16),
}

const FAILURES: [Failure; 10] = [
    Failure::Refused,
    Failure::Reset,
    Failure::Closed,
    Failure::Silent,
    Failure::Malformed,
    Failure::UnknownCoding,
    Failure::Status(500),
    Failure::Status(502),
    Failure::Status(503),
    Failure::Status(504),
];

/// An origin whose first answer has these directives and has been stale for ten seconds, and which then fails.
async fn failing(failure: Failure, directives: &'static str) -> RawOrigin {
    let was_asked = Arc::new(AtomicBool::new(false));
    RawOrigin::serve(move |visitor| fail(visitor, failure, directives, Arc::clone(&was_asked))).await
}

async fn fail(mut visitor: Visitor, failure: Failure, directives: &str, was_asked: Arc<AtomicBool>) {
    while visitor.request().await.is_some() {
        if !was_asked.swap(true, Ordering::AcqRel) {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncache-control: {directives}\r\nage: 20\r\netag: \"a\"\r\ncontent-length: 4\r\n\r\nkept"
            );
            visitor.say(head).await;
            continue;
        }
        match failure {
            Failure::Reset => return visitor.line.reset(),
            Failure::Silent => std::future::pending().await,
            Failure::Malformed => visitor.say("HTTP/1.1 2x0 Wrong\r\n: no\r\n\r\n").await,
            Failure::UnknownCoding => visitor.say("HTTP/1.1 200 OK\r\ntransfer-encoding: x-odd\r\n\r\nodd").await,
            Failure::Status(code) => {
                visitor.say(format!("HTTP/1.1 {code} Failed\r\ncontent-length: 6\r\n\r\nfailed")).await;
                continue;
            }
            Failure::Refused | Failure::Closed => {}
        }
        return;
    }
}

async fn ask_twice(failure: Failure, directives: &'static str) -> (u16, String, bool) {
    let mut origin = failing(failure, directives).await;
    let edge = before(origin.address()).origin("first_byte_timeout = \"300ms\"").start().await;
    let first = edge.get("/x").await;
    assert_eq!(first.brief(), (200, "kept"), "{failure:?}");
    if failure == Failure::Refused {
        origin.vanish().await;
    }
    let second = edge.get("/x").await;
    let by_word = second.cache().says("stale-if-error");
    (second.status.as_u16(), second.text().to_owned(), by_word)
}

#[tokio::test]
async fn a_stale_response_answers_however_the_origin_fails() {
    for failure in FAILURES {
        // The window is the default one of ten minutes: the origin states none.
        assert_eq!(ask_twice(failure, "max-age=10").await, (200, "kept".to_owned(), true), "{failure:?}");
    }
}

#[tokio::test]
async fn a_failure_is_told_where_stale_responses_may_not_answer() {
    let cases = [
        ("max-age=10, must-revalidate", "must-revalidate"),
        ("max-age=10, proxy-revalidate", "proxy-revalidate"),
        ("max-age=10, no-cache", "no-cache"),
        ("s-maxage=10", "s-maxage implies proxy-revalidate"),
        ("max-age=10, must-revalidate, stale-if-error=600", "must-revalidate is the stronger one"),
        ("max-age=10, stale-if-error=5", "the window has passed"),
        ("max-age=10, stale-if-error=0", "the origin wants none"),
    ];
    for (directives, why) in cases {
        for (failure, code) in [(Failure::Refused, 502), (Failure::Reset, 502), (Failure::Status(503), 503)] {
            let (got, text, _) = ask_twice(failure, directives).await;
            assert_eq!(got, code, "{why}: {failure:?}");
            assert_ne!(text, "kept", "{why}: {failure:?}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_never_answers_is_told_with_504() {
    let (code, _, _) = ask_twice(Failure::Silent, "max-age=10, must-revalidate").await;
    assert_eq!(code, 504);
}

#[tokio::test]
async fn an_error_that_is_not_the_origins_failure_replaces_the_stale_response() {
    let origin = Origin::serve(|asked| {
        if asked.number == 1 {
            ok("kept").fresh(10).with("age", "20").with("etag", "\"a\"")
        } else {
            status(404, "gone").fresh(60)
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    for _ in 0..2 {
        assert_eq!((edge.get("/x").await.brief(), origin.hits()), ((404, "gone"), 2));
    }
}

#[tokio::test]
async fn a_stale_response_answers_while_one_request_refreshes_it() {
    let gate = Gate::shut();
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            let told = ok(format!("v{}", asked.number)).with("cache-control", "max-age=10, stale-while-revalidate=600");
            if asked.number == 1 {
                return told.with("age", "20");
            }
            door.pass().await;
            told
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    for _ in 0..5 {
        let reply = edge.get("/x").await;
        assert_eq!(reply.brief(), (200, "v1"), "nobody waits for the refresh");
        let cache = reply.cache();
        assert!(cache.hit && cache.says("stale-while-revalidate"), "{cache:?}");
        assert!(cache.ttl.is_some_and(|ttl| ttl <= -10), "{cache:?}");
        assert!(reply.age().is_some_and(|age| age >= 20), "{:?}", reply.age());
    }
    origin.asked_times(2).await;
    assert_eq!(origin.hits(), 2, "one refresh for all");
    gate.open();
    let fresh = eventually("the refreshed response", async || {
        let reply = edge.get("/x").await;
        (reply.text() == "v2").then_some(reply)
    })
    .await;
    assert!(fresh.cache().is_fresh_hit(), "{:?}", fresh.cache());
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn beyond_its_window_a_stale_response_waits_for_the_origin() {
    let origin = Origin::serve(|asked| {
        let told = ok(format!("v{}", asked.number)).with("cache-control", "max-age=10, stale-while-revalidate=5");
        if asked.number == 1 { told.with("age", "20") } else { told }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    assert_eq!(edge.get("/x").await.brief(), (200, "v2"));
}

#[tokio::test]
async fn a_failed_refresh_leaves_the_stale_response_in_place() {
    let origin = Origin::serve(|asked| {
        if asked.number == 1 {
            ok("kept").with("cache-control", "max-age=10, stale-while-revalidate=600").with("age", "20")
        } else {
            status(500, "failed")
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    for refreshes in 2..4 {
        eventually("a refresh", async || {
            assert_eq!(edge.get("/x").await.brief(), (200, "kept"));
            (origin.hits() >= refreshes).then_some(())
        })
        .await;
    }
}
