//! What do clients get when an origin breaks the rules, and is nothing of it kept?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{statuses, values};
use crate::support::edge::{Edge, before};
use crate::support::origin::{Origin, ok, status};
use crate::support::raw::{Line, RawOrigin, Visitor};

/// What an origin does after it was asked.
#[derive(Debug, Clone)]
enum Deed {
    /// Says this and closes.
    Says(String),
    /// Says this and goes on to the next request.
    Keeps(String),
    /// Says this and resets.
    Resets(String),
    /// Says this and then this, for ever.
    Repeats(&'static str, &'static str),
    /// Says this, then nothing, and stays.
    Stalls(&'static str),
}

use Deed::{Keeps, Repeats, Resets, Says, Stalls};

/// The beginning of an answer that could be kept.
const FRESH: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n";

/// What the client may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// An error of ours, with this status and one of these reasons.
    Error(u16, &'static str),
    /// The head, and a body that visibly breaks off.
    Broken,
    /// All of it.
    Whole,
    /// All of it, which is nothing.
    Empty,
}

use Sees::{Broken, Empty, Error, Whole};

fn says(text: &str) -> Deed {
    Says(text.to_owned())
}

/// An origin that does this at `/x`, until it is told to be good.
async fn origin(deed: Deed, is_good: Arc<AtomicBool>) -> RawOrigin {
    RawOrigin::serve(move |visitor| act(visitor, deed.clone(), Arc::clone(&is_good))).await
}

async fn act(mut visitor: Visitor, deed: Deed, is_good: Arc<AtomicBool>) {
    while let Some(head) = visitor.request().await {
        if !head.starts_with("GET /x ") || is_good.load(Ordering::Relaxed) {
            visitor.say("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\ngood").await;
            continue;
        }
        match deed {
            Says(text) => visitor.say(text).await,
            Keeps(ref text) => {
                visitor.say(text).await;
                continue;
            }
            Resets(text) => {
                visitor.say(text).await;
                return visitor.line.reset();
            }
            Repeats(first, again) => {
                visitor.say(first).await;
                // Ends with the connection, which the edge closes, or with the test.
                while visitor.line.is_open() {
                    visitor.say(again.repeat(100)).await;
                    tokio::task::yield_now().await;
                }
            }
            Stalls(text) => {
                visitor.say(text).await;
                visitor.request().await;
            }
        }
        return;
    }
}

async fn ask(edge: &Edge, path: &str) -> String {
    let mut line = Line::to(edge.address()).await;
    line.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    line.rest().await
}

/// Has the origin do this, and sees what the client gets; then the origin is good, and the client must see that.
async fn judge(deed: Deed, want: Sees, why: &str) {
    let is_good = Arc::new(AtomicBool::new(false));
    let origin = origin(deed, Arc::clone(&is_good)).await;
    let edge = before(origin.address())
        .origin("first_byte_timeout = \"300ms\"\nbetween_bytes_timeout = \"300ms\"\nretries = 0")
        .start()
        .await;
    let answer = ask(&edge, "/x").await;
    match want {
        Error(status, reason) => {
            assert_eq!(statuses(&answer), [status], "{why}: {answer}");
            assert!(answer.contains(&format!("proxy-status: larder; error={reason}")), "{why}: {answer}");
            assert!(answer.contains("cache-control: no-store"), "{why}: {answer}");
        }
        Broken => {
            assert!(answer.is_empty() || statuses(&answer) == [200], "{why}: {answer}");
            let is_whole = answer.ends_with("\r\n0\r\n\r\n") || values(&answer, "content-length") == ["2"];
            assert!(!is_whole, "{why}: {answer}");
        }
        Empty => assert!(answer.ends_with("\r\n\r\n") && statuses(&answer) == [200], "{why}: {answer}"),
        Whole => assert!(answer.ends_with("hi") || answer.ends_with("2\r\nhi\r\n0\r\n\r\n"), "{why}: {answer}"),
    }
    assert!(!answer.contains("evil"), "{why}: {answer}");
    // Nothing of a failure is kept, and neither the origin nor its connections are held against others.
    is_good.store(true, Ordering::Relaxed);
    let next = ask(&edge, "/x").await;
    let is_fine = next.ends_with("good") || (want == Whole && next.contains("hi")) || want == Empty;
    assert!(is_fine && statuses(&next) == [200] && !next.contains("evil"), "{why}: {next}");
    assert!(ask(&edge, "/other").await.ends_with("good"), "{why}");
}

#[tokio::test]
async fn a_bad_head_has_its_answer_and_leaves_nothing_behind() {
    let with = |rest: &str| says(&format!("{FRESH}{rest}"));
    let long = with(&format!("X: {}\r\nContent-Length: 2\r\n\r\nhi", "x".repeat(70_000)));
    let many = with(&format!("{}Content-Length: 2\r\n\r\nhi", "X: y\r\n".repeat(200)));
    let protocol = Error(502, "http_protocol_error");
    let coding = Error(502, "http_response_transfer_coding");
    let size = Error(502, "http_response_header_section_size");
    let cases = [
        (says(""), Error(502, "connection_terminated"), "closes without a word"),
        (Resets(String::new()), Error(502, "connection_terminated"), "resets without a word"),
        (says("garbage\r\n\r\n"), protocol, "no HTTP"),
        (says("<html>hello</html>"), protocol, "HTTP/0.9"),
        (says("\0\u{1}\u{2}\u{3}"), protocol, "bytes"),
        (says("HTTP/2.0 200 OK\r\n\r\n"), protocol, "another version"),
        (says("HTTP/1.1 2000 OK\r\n\r\n"), protocol, "four digits"),
        (says("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"), protocol, "no class of statuses"),
        (says("HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"), protocol, "nor this"),
        (says("HTTP/1.1 200 OK\r\nX: y"), Error(502, ""), "half a head"),
        (with("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), protocol, "two framings"),
        (with("Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi"), protocol, "two lengths"),
        (with("Content-Length: 2, 2\r\n\r\nhi"), protocol, "a list"),
        (with("Content-Length: -1\r\n\r\nhi"), protocol, "a sign"),
        (with("Content-Length: 0x2\r\n\r\nhi"), protocol, "hexadecimal"),
        (with("Content-Length: 99999999999999999999\r\n\r\nhi"), protocol, "an overflow"),
        (with("Transfer-Encoding: gzip\r\n\r\nhi"), coding, "a coding that we do not undo"),
        (with("Transfer-Encoding: xchunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), coding, "no coding"),
        (with("Transfer-Encoding: chunked, identity\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), coding, "chunked is not last"),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), coding, "twice"),
        (with("X: y\r\n z\r\nContent-Length: 2\r\n\r\nhi"), protocol, "a folded line"),
        (with("X : y\r\nContent-Length: 2\r\n\r\nhi"), protocol, "a space before the colon"),
        (with("X: \0\r\nContent-Length: 2\r\n\r\nhi"), protocol, "NUL"),
        (with("X: a\rb\r\nContent-Length: 2\r\n\r\nhi"), protocol, "a bare CR"),
        (long, size, "a head that is too large"),
        (many, size, "too many fields"),
        (Repeats(FRESH, "X: y\r\n"), size, "a head without end"),
        (Repeats("", "HTTP/1.1 103 Early Hints\r\n\r\n"), protocol, "hints without end"),
        (
            says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
            Error(502, "http_upgrade_failed"),
            "another protocol",
        ),
        (says("HTTP/1.1 304 Not Modified\r\n\r\n"), Error(502, ""), "an answer to another question"),
        (Stalls(""), Error(504, "http_response_timeout"), "no answer"),
        (Stalls("HTTP/1.1 200 OK\r\nX:"), Error(504, "http_response_timeout"), "half a head, and then nothing"),
    ];
    for (deed, want, why) in cases {
        judge(deed, want, why).await;
    }
}

#[tokio::test]
async fn a_bad_body_breaks_visibly_and_leaves_nothing_behind() {
    let with = |rest: &str| says(&format!("{FRESH}{rest}"));
    let keeps = |rest: &str| Keeps(format!("{FRESH}{rest}"));
    let cases = [
        (with("Content-Length: 9\r\n\r\nhi"), Broken, "shorter than stated"),
        (Resets(format!("{FRESH}Content-Length: 9\r\n\r\nhi")), Broken, "a reset in the body"),
        (with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"), Broken, "no last chunk"),
        (with("Transfer-Encoding: chunked\r\n\r\n9\r\nhi"), Broken, "a chunk that is cut"),
        (with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n"), Broken, "a size that is none"),
        (with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n+1\r\nx\r\n0\r\n\r\n"), Broken, "a sign"),
        (with("Transfer-Encoding: chunked\r\n\r\n2\r\nhiX\r\n0\r\n\r\n"), Broken, "a chunk longer than its size"),
        (with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nfffffffffffffffff\r\n"), Broken, "an overflow"),
        (Resets(format!("{FRESH}\r\nhi")), Broken, "a reset where the end is the end"),
        (
            Stalls("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nhi"),
            Broken,
            "a body that stalls",
        ),
        (
            Stalls("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
            Broken,
            "chunks that stall",
        ),
        (with("Content-Length: 2\r\n\r\nhi and more"), Whole, "longer than stated: the rest goes nowhere"),
        (with("Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), Whole, "two answers"),
        (
            with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil"),
            Whole,
            "two, in chunks",
        ),
        (
            keeps("Content-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
            Whole,
            "two, and it stays",
        ),
        (keeps("Content-Length: 0\r\n\r\nevil"), Empty, "more than nothing, and it stays"),
        (keeps("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nevil"), Whole, "more than chunks, and it stays"),
        (
            says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
            Whole,
            "a 100 that nobody waits for",
        ),
    ];
    for (deed, want, why) in cases {
        judge(deed, want, why).await;
    }
}

#[tokio::test]
async fn what_an_origin_says_to_clients_is_not_acted_upon() {
    // A kilobyte of gzip's that would be a megabyte, and a way to somebody else's house.
    let bomb: Vec<u8> = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0x42; 1014]].concat();
    let sent = bomb.clone();
    let inside = Origin::serve(|_| ok("secret")).await;
    let location = format!("http://{}/secret", inside.address());
    let origin = Origin::serve(move |asked| match asked.target.as_str() {
        "/bomb" => ok(sent.clone()).fresh(60).with("content-encoding", "gzip"),
        _ => status(302, "").fresh(60).with("location", &location),
    })
    .await;
    let edge = before(origin.address()).start().await;
    for hits in 1..=2 {
        let reply = edge.get_with("/bomb", &[("accept-encoding", "identity")]).await;
        assert_eq!((reply.body.to_vec(), reply.field("content-encoding").as_deref()), (bomb.clone(), Some("gzip")));
        let reply = edge.get("/moved").await;
        assert_eq!((reply.status.as_u16(), reply.field("location").is_some()), (302, true), "for the {hits}. time");
    }
    assert_eq!((origin.hits(), inside.hits()), (2, 0), "bytes are bytes, and nobody else was asked");
}
