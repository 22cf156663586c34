//! Whatever somebody writes into Redis, is it a miss, counted and deleted?

use http::header::ACCEPT_LANGUAGE;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio_util::sync::CancellationToken;

use super::server::PATIENCE;
use super::stage::{NOW, Stage, by, entry, key, with};
use crate::cache::codec::{self, CHUNK};
use crate::cache::ledger::STRIDE;
use crate::cache::redis::name;
use crate::cache::tier::Extent;
use crate::policy::time::Timestamp;

const NONE: &[(&str, &str)] = &[];
const GERMAN: &[(&str, &str)] = &[("accept-language", "de")];

fn primary(target: &str) -> String {
    name::primary("shop", &key(target))
}

#[tokio::test]
async fn garbage_of_every_kind_is_a_miss_and_is_deleted() {
    let stage = Stage::new().await;
    let good = codec::encode(&key("/"), &entry("/", 1, b"body")).unwrap();
    let large = codec::encode(&key("/"), &entry("/", 1, &vec![7; CHUNK + 1])).unwrap();
    let huge = codec::encode(&key("/"), &entry("/", 1, &vec![7; 4 * 1024 * 1024 + 1])).unwrap();
    let foreign = codec::encode(&key("/x"), &entry("/x", 1, b"body")).unwrap();
    let mut endless = entry("/", 1, b"body");
    endless.head.selecting = by(&[ACCEPT_LANGUAGE], GERMAN);
    let varied = codec::encode(&key("/"), &endless).unwrap();
    let names = codec::encode_names(&key("/"), [&ACCEPT_LANGUAGE]).unwrap();
    let mut other_version = good.head.clone();
    other_version[0] = 99;
    let mut flipped = good.head.clone();
    flipped[30] ^= 1;
    let name = primary("/");
    let name = name.as_bytes();
    let cases: &[(&[&[u8]], &str, &str)] = &[
        (&[b"SET", name, b"x"], "wrong_type", "a string"),
        (&[b"RPUSH", name, b"x"], "wrong_type", "a list"),
        (&[b"HSET", name, b"h", b""], "truncated", "nothing"),
        (&[b"HSET", name, b"h", b"\x01"], "truncated", "a version alone"),
        (&[b"HSET", name, b"h", b"\x01garbage garbage garbage"], "wrong_checksum", "garbage"),
        (&[b"HSET", name, b"h", &vec![1; 3 * 1024 * 1024]], "too_long", "3 MiB of garbage"),
        (&[b"HSET", name, b"h", &other_version, b"0", b"body"], "unknown_version", "a later version"),
        (&[b"HSET", name, b"h", &flipped, b"0", b"body"], "wrong_checksum", "a flipped bit"),
        (&[b"HSET", name, b"h", &foreign.head, b"0", b"body"], "foreign_key", "a head of another key"),
        (&[b"HSET", name, b"h", &good.head], "chunk", "no body"),
        (&[b"HSET", name, b"h", &good.head, b"0", b"bodY"], "chunk", "another body"),
        (&[b"HSET", name, b"h", &good.head, b"0", b"body "], "chunk", "a longer body"),
        (&[b"HSET", name, b"h", &large.head, b"0", &large.chunks[0]], "chunk", "half a body"),
        (&[b"HSET", name, b"h", &large.head, b"1", &large.chunks[1]], "chunk", "the other half"),
        (
            &[b"HSET", name, b"h", &large.head, b"0", &large.chunks[0], b"1", &large.chunks[0]],
            "chunk",
            "one half twice",
        ),
        (&[b"HSET", name, b"h", &huge.head, b"0", &huge.chunks[0]], "too_large", "larger than may be"),
        (&[b"HSET", name, b"0", b"body"], "headless", "a body alone"),
        (&[b"HSET", name, b"h", &good.head, b"0", b"body", b"v", &names], "contradiction", "both"),
        (&[b"HSET", name, b"h", &varied.head, b"0", b"body"], "misplaced", "a variant for everybody"),
        (&[b"HSET", name, b"v", b"x"], "unknown_version", "garbage for names"),
        (&[b"HSET", name, b"v", &good.head], "wrong_checksum", "a head for names"),
    ];
    for (index, (command, reason, why)) in cases.iter().enumerate() {
        stage.command(command).await;
        let before = stage.rejected(reason);
        assert!(stage.get("/", GERMAN).await.unwrap().is_none(), "{why}");
        assert_eq!(stage.rejected(reason), before + 1, "{why}");
        stage.idle_again().await;
        assert_eq!(stage.keys().await, [""; 0], "{why}: it is deleted");
        assert_eq!(stage.value("removals_total"), index as u64 + 1, "{why}");
    }
    assert_eq!(stage.counts("lookups", &["rejected", "hit"]), [cases.len() as u64, 0]);
    stage.command(&[b"SET", name, b"x"]).await;
    stage.put("/", &entry("/", 1, b"body"), Extent::Head).await;
    assert!(stage.get("/", NONE).await.unwrap().is_some(), "what is no hash is displaced");
}

#[tokio::test]
async fn a_variant_in_a_wrong_place_is_not_served() {
    let stage = Stage::new().await;
    let mut german = entry("/", 1, b"hallo");
    german.head.selecting = by(&[ACCEPT_LANGUAGE], GERMAN);
    stage.put("/", &german, Extent::Whole).await;
    let english: &[(&str, &str)] = &[("accept-language", "en")];
    let at = |request| name::variant(&primary("/"), &by(&[ACCEPT_LANGUAGE], request));
    stage.command(&["COPY", &at(GERMAN), &at(english)]).await;
    assert!(stage.get("/", english).await.unwrap().is_none(), "a copy of another variant");
    stage.idle_again().await;
    let any = codec::encode(&key("/"), &entry("/", 1, b"body")).unwrap();
    stage.command(&[b"HSET", at(english).as_bytes(), b"h", &any.head, b"0", b"body"]).await;
    assert!(stage.get("/", english).await.unwrap().is_none(), "a response for everybody among variants");
    stage.idle_again().await;
    stage.command(&["SET", &at(english), "x"]).await;
    assert!(stage.get("/", english).await.unwrap().is_none(), "a string");
    stage.idle_again().await;
    assert_eq!((stage.rejected("misplaced"), stage.rejected("wrong_type")), (2, 1));
    assert_eq!(stage.command(&["EXISTS", &at(english)]).await, "0");
    assert!(stage.get("/", GERMAN).await.unwrap().is_some(), "the others are not touched");
}

#[tokio::test]
async fn a_hash_that_was_copied_to_another_key_is_not_served() {
    let stage = Stage::new().await;
    stage.put("/", &entry("/", 1, b"body"), Extent::Whole).await;
    stage.command(&["COPY", &primary("/"), &primary("/x")]).await;
    assert!(stage.get("/x", NONE).await.unwrap().is_none());
    stage.idle_again().await;
    assert_eq!(stage.rejected("foreign_key"), 1);
    assert_eq!(stage.keys().await, [primary("/")]);
    assert!(stage.get("/", NONE).await.unwrap().is_some());
}

#[tokio::test]
async fn a_good_response_that_has_taken_the_place_of_garbage_stays() {
    let stage = Stage::new().await;
    let good = entry("/", 2, b"body");
    // The order of garbage is garbage, and no order keeps a response out that does not have the form of one.
    for order in ["", "x", &"f".repeat(57)] {
        stage.command(&["HSET", &primary("/"), "h", "garbage", "o", order]).await;
        let slow = stage.beside(PATIENCE);
        assert!(slow.get("/", NONE).await.unwrap().is_none());
        stage.put("/", &good, Extent::Whole).await;
        // Only now the other node comes to delete what it found.
        slow.tier.run(stopped()).await;
        assert_eq!(stage.get("/", NONE).await.unwrap().map(|found| found.body.len()), Some(4), "{order:?}");
        stage.remove("/", &good).await;
    }
    let garbage: [(&[&str], &str); 3] = [
        (&["SET", &primary("/"), "x"], "a string"),
        (&["HSET", &primary("/"), "0", "x"], "a body alone"),
        (&["HSET", &primary("/"), "v", "x"], "no names"),
    ];
    for (command, why) in garbage {
        stage.command(command).await;
        let slow = stage.beside(PATIENCE);
        assert!(slow.get("/", NONE).await.unwrap().is_none());
        stage.put("/", &good, Extent::Whole).await;
        slow.tier.run(stopped()).await;
        assert!(stage.get("/", NONE).await.unwrap().is_some(), "{why}");
        stage.remove("/", &good).await;
    }
}

/// A stop that has been given.
fn stopped() -> CancellationToken {
    let stop = CancellationToken::new();
    stop.cancel();
    stop
}

#[tokio::test]
async fn times_that_nobody_means_are_no_hit() {
    let stage = Stage::new().await;
    let mut late = with(entry("/", u64::MAX / STRIDE, b"body"), &[("etag", "\"1\"")]);
    late.head.received_at = Timestamp::LATEST_DATE;
    stage.put("/", &late, Extent::Whole).await;
    let found = stage.get("/", NONE).await.unwrap().unwrap();
    assert_eq!(found.head.freshness.age(NOW).as_secs(), 0);
    assert!(found.head.freshness.ttl(NOW) <= 60);
}

#[tokio::test]
async fn arbitrary_hashes_do_no_harm() {
    let stage = Stage::new().await;
    let good = codec::encode(&key("/"), &entry("/", 1, b"body")).unwrap().head;
    let names = codec::encode_names(&key("/"), [&ACCEPT_LANGUAGE]).unwrap();
    let value = prop_oneof![proptest::collection::vec(any::<u8>(), 0..80), Just(good), Just(names)];
    let field = prop::sample::select(vec!["h", "v", "d", "o", "0", "1"]);
    let hashes = proptest::collection::vec((field, value), 1..5);
    let mut runner = TestRunner::deterministic();
    for _ in 0..100 {
        let hash = hashes.new_tree(&mut runner).unwrap().current();
        let name = primary("/");
        let mut command: Vec<&[u8]> = vec![b"HSET", name.as_bytes()];
        for (field, value) in &hash {
            command.extend([field.as_bytes(), value]);
        }
        stage.command(&command).await;
        assert!(stage.get("/", GERMAN).await.unwrap().is_none(), "{hash:?}");
        stage.command(&["DEL", &name]).await;
    }
}
