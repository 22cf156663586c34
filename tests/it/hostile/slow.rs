//! Do slow clients, many clients and clients that leave get in the way of others?

use super::{Kit, statuses};
use crate::support::raw::Line;

#[tokio::test]
async fn a_client_that_dawdles_is_cut_and_others_are_served_meanwhile() {
    let kit = Kit::with(|setup| setup.server("header_timeout = \"1s\"\nidle_timeout = \"1s\"")).await;
    let cases = [
        ("", "nothing at all"),
        ("G", "one byte"),
        ("GET /x HTTP/1.1\r\nHost: a\r\n", "a head without its end"),
        ("PRI * HTTP/2.0\r\n\r\n", "half a preface"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "a preface and no frame"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", "half a body"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "half a chunk"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4", "half a size"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n", "trailers without an end"),
    ];
    for (bytes, why) in cases {
        let mut line = Line::to(kit.edge.address()).await;
        line.send(bytes).await;
        kit.is_well(why).await;
        let answer = line.rest().await;
        let statuses = statuses(&answer);
        assert!(statuses.is_empty() || statuses == [408], "{why}: {answer}");
    }
    let mut line = Line::to(kit.edge.address()).await;
    line.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = line.rest().await;
    assert_eq!(statuses(&answer), [200], "a kept connection without another request: {answer}");
}

#[tokio::test]
async fn a_head_that_drips_is_not_extended_by_its_drops() {
    let kit = Kit::with(|setup| setup.server("header_timeout = \"1s\"")).await;
    let mut line = Line::to(kit.edge.address()).await;
    let begun = std::time::Instant::now();
    line.send("GET /x HTTP/1.1\r\nHost: a\r\n").await;
    // Each drop waits for an answer to somebody else, which is what time passes with.
    while begun.elapsed() < std::time::Duration::from_secs(10) && line.is_open() {
        line.send("X: y\r\n").await;
        kit.is_well("a drop").await;
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(8), "cut by then");
}

#[tokio::test]
async fn whoever_leaves_in_the_middle_takes_nobody_along() {
    let kit = Kit::new().await;
    let cases = [
        ("GET /x HT", "in the request line"),
        ("GET /x HTTP/1.1\r\nHost: a\r\n", "in the head"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", "in the body"),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "in a chunk"),
        ("GET /y HTTP/1.1\r\nHost: a\r\n\r\n", "before the answer"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\u{4}", "in a frame"),
    ];
    for (bytes, why) in cases {
        let mut half = Line::to(kit.edge.address()).await;
        half.send(bytes).await;
        half.finish().await;
        let answer = half.rest().await;
        assert!(statuses(&answer).iter().all(|status| *status == 400 || why == "before the answer"), "{why}: {answer}");
        let mut gone = Line::to(kit.edge.address()).await;
        gone.send(bytes).await;
        gone.reset();
        assert!(kit.seen().iter().all(|request| request.starts_with("GET /y ")), "{why}");
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn more_clients_than_places_wait_and_are_served() {
    let kit = Kit::with(|setup| setup.server("max_connections = 4\nheader_timeout = \"200ms\"")).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(Line::to(kit.edge.address()).await);
    }
    // Behind twelve that say nothing, of which four have a place for a fifth of a second each.
    kit.is_well("silent ones").await;
}

#[tokio::test]
async fn readers_that_do_not_read_share_what_they_do_not_read() {
    let kit = Kit::with(|setup| setup.server("idle_timeout = \"1s\"")).await;
    let target = format!("/{}", "x".repeat(15_000));
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    kit.is_well("the beginning").await;
    let before = kit.edge.memory("VmRSS");
    let mut readers = Vec::new();
    for _ in 0..40 {
        let mut line = Line::to(kit.edge.address()).await;
        // More answers than the kernel has room for.
        line.send(request.repeat(200)).await;
        readers.push(line);
    }
    kit.is_well("forty that do not read").await;
    let grown = kit.edge.memory("VmRSS").saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    drop(readers);
    kit.is_well("they left").await;
}
