//! Do large bodies, whose pages the kernel sends as they are, come whole to whoever asks, whatever becomes of them meanwhile?

use std::time::Duration;

use crate::support::edge::before;
use crate::support::origin::{Origin, ok};
use crate::support::raw::Line;
use crate::support::wire::Multiplexed;

/// A body in which each place differs from every other.
fn body(length: usize, seed: usize) -> String {
    let numbers: Vec<String> = (seed..).take(length / 9 + 1).map(|number| format!("{number:08x}")).collect();
    let mut text = numbers.join(".") + ".";
    text.truncate(length);
    text
}

/// What the target asks for: `/LENGTH/SEED`.
fn asked(target: &str) -> String {
    let mut parts = target.split('/').skip(1).map(|part| part.parse().expect("a number"));
    let mut next = || parts.next().expect("a length and a seed");
    body(next(), next())
}

async fn origin() -> Origin {
    Origin::serve(|request| ok(asked(&request.target)).fresh(600).with("etag", "\"1\"")).await
}

#[tokio::test]
async fn they_come_whole_over_every_protocol_and_in_parts() {
    let origin = origin().await;
    let edge = before(origin.address()).start().await;
    let mut http2 = Multiplexed::to(edge.address()).await;
    let lengths = [65_535, 65_536, 100_000, 131_072, 262_144, 262_145, 1_000_000, 3_000_001];
    let mut line = Line::to(edge.address()).await;
    for length in lengths {
        let target = format!("/{length}/7");
        let want = asked(&target);
        assert!(edge.get(&target).await.text() == want, "{length}: the first answer");
        assert!(http2.send("GET", &target, "").await.text() == want, "{length}: over HTTP/2");
        // Two requests in one: nothing of an answer may be missing before the next.
        line.send(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", edge.address()).repeat(2)).await;
        for _ in 0..2 {
            let head = line.head().await.expect("an answer");
            assert!(head.contains(&format!("content-length: {length}\r\n")) && head.contains("; hit;"), "{head}");
            assert!(line.exactly(length).await.expect("the body") == want.as_bytes(), "{length}: a hit");
        }
        let (first, last) = (length / 3, length - 2);
        let range = format!("bytes={first}-{last}");
        let part = edge.get_with(&target, &[("range", &range)]).await;
        assert_eq!(part.status, 206, "{length}");
        assert!(part.text() == &want[first..=last], "{length}: a part");
    }
    assert_eq!(origin.hits(), lengths.len());
}

#[tokio::test]
async fn a_slow_reader_gets_what_it_asked_for_though_it_is_purged_and_others_come_in_its_place() {
    let origin = origin().await;
    for target in ["/120000/1", "/3000000/1"] {
        let edge = before(origin.address()).memory("capacity = \"32MiB\"\nmax_object = \"8MiB\"").start().await;
        let want = asked(target);
        edge.get(target).await;
        let mut slow = Line::to(edge.address()).await;
        slow.send(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", edge.address())).await;
        let head = slow.head().await.expect("an answer");
        assert!(head.contains("; hit;"), "{head}");
        let mut read = slow.exactly(1000).await.expect("its beginning");
        assert_eq!(edge.ask("PURGE", target, &[]).await.status, 200);
        for seed in 2..30 {
            edge.get(&format!("/2000000/{seed}")).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        read.extend(slow.exactly(want.len() - read.len()).await.expect("the rest"));
        assert!(read == want.as_bytes(), "{target}");
    }
}
