//! Does a purge hold where a stored response is made of several answers: parts, `HEAD`, the answer to a `POST`?

use serde_json::json;

use crate::support::edge::{Edge, before};
use crate::support::held::{HeldOrigin, asks, got, purge, url};
use crate::support::origin::{Told, ok, status};
use crate::support::wire::Fields;

const FIRST_HALF: Fields = &[("range", "bytes=0-4")];
const SECOND_HALF: Fields = &[("range", "bytes=5-9")];

fn half(body: &'static str, range: &str, tag: &str) -> Told {
    let told = status(206, body).fresh(600).with("etag", "\"same\"").with("content-range", range);
    told.with("surrogate-key", tag)
}

async fn start() -> (HeldOrigin, Edge) {
    let origin = HeldOrigin::start().await;
    let edge = before(origin.address()).start().await;
    (origin, edge)
}

/// Stores the first half of `/x`, tagged `t`.
async fn store_first_half(origin: &HeldOrigin, edge: &Edge) {
    let client = asks(edge, "GET", "/x", FIRST_HALF);
    origin.next().await.tell(half("01234", "bytes 0-4/10", "t"));
    assert_eq!(got(client).await.brief(), (206, "01234"));
    assert!(edge.get_with("/x", FIRST_HALF).await.cache().is_fresh_hit());
}

/// Asks for all of `/x`, which must cost the origin a question about all of it.
async fn is_fetched_whole(origin: &HeldOrigin, edge: &Edge, why: &str) {
    let client = asks(edge, "GET", "/x", &[]);
    let question = origin.next().await;
    assert_eq!([question.field("range"), question.field("if-none-match")], [None, None], "{why}");
    question.tell(ok("abcdefghij").fresh(600));
    assert_eq!(got(client).await.brief(), (200, "abcdefghij"), "{why}");
}

#[tokio::test]
async fn a_part_that_was_purged_while_the_rest_of_it_came_is_not_made_a_whole() {
    let (origin, edge) = start().await;
    let own = url(&edge, "/x");
    let orders = [json!({ "urls": [own] }), json!({ "tags": ["t"] }), json!({ "tags": ["t"], "soft": true })];
    for order in orders {
        store_first_half(&origin, &edge).await;
        let client = asks(&edge, "GET", "/x", &[]);
        let question = origin.next().await;
        assert_eq!(question.field("range").as_deref(), Some("bytes=5-"));
        purge(&edge, order.clone()).await;
        // The rest has another tag: the part's own counts all the same.
        question.tell(half("56789", "bytes 5-9/10", "other"));
        assert_eq!(got(client).await.brief(), (200, "0123456789"), "who asked before the purge may get it");
        let client = asks(&edge, "GET", "/x", &[]);
        let question = origin.next().await;
        question.tell(ok("abcdefghij").fresh(600));
        assert_eq!(got(client).await.brief(), (200, "abcdefghij"), "{order}");
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn a_purged_part_lends_no_bytes_to_one_that_comes_later() {
    let (origin, edge) = start().await;
    for (tag_of_rest, soft) in [("t", false), ("other", false), ("t", true), ("other", true)] {
        store_first_half(&origin, &edge).await;
        purge(&edge, json!({ "tags": ["t"], "soft": soft })).await;
        let client = asks(&edge, "GET", "/x", SECOND_HALF);
        origin.next().await.tell(half("56789", "bytes 5-9/10", tag_of_rest));
        assert_eq!(got(client).await.brief(), (206, "56789"));
        let again = edge.get_with("/x", SECOND_HALF).await;
        assert!(again.cache().is_fresh_hit(), "what came after the purge is stored: {:?}", again.cache());
        is_fetched_whole(&origin, &edge, tag_of_rest).await;
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn a_purge_of_either_tag_takes_what_two_parts_made() {
    let (origin, edge) = start().await;
    for tag in ["t", "other"] {
        store_first_half(&origin, &edge).await;
        let client = asks(&edge, "GET", "/x", SECOND_HALF);
        origin.next().await.tell(half("56789", "bytes 5-9/10", "other"));
        got(client).await;
        let whole = edge.get("/x").await;
        assert_eq!((whole.brief(), whole.cache().is_fresh_hit()), ((200, "0123456789"), true));
        purge(&edge, json!({ "tags": [tag] })).await;
        is_fetched_whole(&origin, &edge, tag).await;
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn an_answer_to_a_head_brings_nothing_back() {
    let (origin, edge) = start().await;
    let stored = || ok("old").with("cache-control", "max-age=10, stale-if-error=600").with("age", "20");
    for order in [json!({ "tags": ["t"] }), json!({ "urls": [url(&edge, "/x")] })] {
        let told = stored().with("surrogate-key", "t").with("etag", "\"old\"");
        origin.answers(&edge, "/x", told).await;
        let client = asks(&edge, "HEAD", "/x", &[]);
        let question = origin.next().await;
        assert_eq!(question.method(), "HEAD");
        purge(&edge, order.clone()).await;
        question.tell(ok("old").fresh(600).with("etag", "\"old\"").with("surrogate-key", "other"));
        got(client).await;
        is_fetched_whole(&origin, &edge, &order.to_string()).await;
        purge(&edge, json!({ "everything": true })).await;
    }
}

#[tokio::test]
async fn an_answer_to_a_head_does_not_make_fresh_what_was_purged_softly() {
    let (origin, edge) = start().await;
    origin.answers(&edge, "/x", ok("old").fresh(600)).await;
    purge(&edge, json!({ "everything": true, "soft": true })).await;
    let client = asks(&edge, "HEAD", "/x", &[]);
    origin.next().await.tell(ok("new").fresh(600));
    got(client).await;
    is_fetched_whole(&origin, &edge, "a HEAD without a validator says nothing of the bytes").await;
}

#[tokio::test]
async fn the_answer_to_a_post_is_not_kept_when_its_tag_was_purged_meanwhile() {
    let (origin, edge) = start().await;
    for order in [json!({ "tags": ["t"] }), json!({ "urls": [url(&edge, "/x")] }), json!({ "everything": true })] {
        for is_purged in [false, true] {
            let client = asks(&edge, "POST", "/x", &[]);
            let question = origin.next().await;
            assert_eq!(question.method(), "POST");
            if is_purged {
                purge(&edge, order.clone()).await;
            }
            question.tell(ok("posted").fresh(600).with("content-location", "/x").with("surrogate-key", "t"));
            assert_eq!(got(client).await.brief(), (200, "posted"));
            if is_purged {
                is_fetched_whole(&origin, &edge, &order.to_string()).await;
            } else {
                assert_eq!(edge.get("/x").await.brief(), (200, "posted"), "a GET would get it");
            }
        }
    }
}
