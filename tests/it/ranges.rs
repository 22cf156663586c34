//! Are parts of a stored response given out right, and parts from the origin never taken for the whole (RFC 9110 §14)?

use crate::support::edge::before;
use crate::support::origin::{Origin, ok, status};
use crate::support::wire::Fields;

const BODY: &str = "0123456789";
const MODIFIED: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

#[tokio::test]
async fn a_part_of_a_stored_response_is_given_without_the_origin() {
    let origin = Origin::serve(|_| ok(BODY).fresh(60).with("etag", "\"a\"").with("last-modified", MODIFIED)).await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let cases: &[(Fields, u16, &str, Option<&str>, &str)] = &[
        // fields                   status body        Content-Range          why
        (&[("range", "bytes=0-3")], 206, "0123", Some("bytes 0-3/10"), "from the start"),
        (&[("range", "bytes=8-")], 206, "89", Some("bytes 8-9/10"), "to the end"),
        (&[("range", "bytes=-3")], 206, "789", Some("bytes 7-9/10"), "a suffix"),
        (&[("range", "bytes=-99")], 206, BODY, Some("bytes 0-9/10"), "a suffix longer than the whole"),
        (&[("range", "bytes=5-99")], 206, "56789", Some("bytes 5-9/10"), "beyond the end"),
        (&[("range", "BYTES=0-0")], 206, "0", Some("bytes 0-0/10"), "units have no case"),
        (&[("range", "bytes=10-")], 416, "", Some("bytes */10"), "after the end"),
        (&[("range", "bytes=-0")], 416, "", Some("bytes */10"), "nothing"),
        (&[("range", "bytes=3-1")], 200, BODY, None, "not a range: ignored"),
        (&[("range", "lines=0-1")], 200, BODY, None, "an unknown unit: ignored"),
        (&[("range", "bytes=0-3"), ("if-range", "\"a\"")], 206, "0123", Some("bytes 0-3/10"), "If-Range fits"),
        (&[("range", "bytes=0-3"), ("if-range", "\"z\"")], 200, BODY, None, "If-Range does not fit"),
        (&[("range", "bytes=0-3"), ("if-range", "W/\"a\"")], 200, BODY, None, "If-Range compares strongly"),
        (&[("range", "bytes=0-3"), ("if-none-match", "\"a\"")], 304, "", None, "conditions go before ranges"),
    ];
    for (fields, code, body, range, why) in cases {
        let reply = edge.get_with("/x", fields).await;
        assert_eq!(reply.status.as_u16(), *code, "{why}: {fields:?}");
        if *code != 416 {
            assert_eq!(reply.text(), *body, "{why}: {fields:?}");
        }
        assert_eq!(reply.field("content-range").as_deref(), *range, "{why}: {fields:?}");
        assert_eq!(origin.hits(), 1, "{why}: {fields:?}");
    }
}

#[tokio::test]
async fn several_parts_come_as_multipart() {
    // Far enough from each other that nobody would rather send what lies between.
    let origin = Origin::serve(|_| ok(BODY.repeat(1000)).fresh(60).with("content-type", "text/x-test")).await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let reply = edge.get_with("/x", &[("range", "bytes=0-1,5004-5005")]).await;
    assert_eq!((reply.status.as_u16(), origin.hits()), (206, 1));
    let kind = reply.field("content-type").expect("a content type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap_or_else(|| panic!("{kind}"));
    assert_eq!(reply.field("content-range"), None, "it stands in the parts");
    let delimiter = format!("--{}", boundary.trim_matches('"'));
    let parts: Vec<_> = reply.text().split(&delimiter).collect();
    assert_eq!(parts.len(), 4, "{:?}", reply.text());
    for (part, range, body) in [(parts[1], "bytes 0-1/10000", "01"), (parts[2], "bytes 5004-5005/10000", "45")] {
        let (head, content) = part.trim_start_matches("\r\n").split_once("\r\n\r\n").expect("a part has a head");
        let head = head.to_ascii_lowercase();
        assert!(head.contains(&format!("content-range: {range}")), "{head}");
        assert!(head.contains("content-type: text/x-test"), "{head}");
        assert_eq!(content.trim_end_matches("\r\n"), body);
    }
    assert!(parts[3].starts_with("--"), "{:?}", parts[3]);
}

#[tokio::test]
async fn rules_change_what_parts_are_of_and_not_where_they_end() {
    let origin = Origin::serve(|_| ok(BODY.repeat(1000)).fresh(60)).await;
    let rule = "response_headers = { set = { content-type = \"text/x-rule\" }, remove = [\"content-range\"] }";
    let edge = before(origin.address()).rule(rule).start().await;
    edge.get("/x").await;
    let reply = edge.get_with("/x", &[("range", "bytes=0-1,5004-5005")]).await;
    let kind = reply.field("content-type").expect("a content type");
    assert!(kind.starts_with("multipart/byteranges; boundary="), "{kind}");
    assert_eq!(reply.text().matches("Content-Type: text/x-rule\r\n").count(), 2, "{}", reply.text());
    let reply = edge.get_with("/x", &[("range", "bytes=5-9")]).await;
    assert_eq!(reply.field("content-type").as_deref(), Some("text/x-rule"));
    assert_eq!(reply.field("content-range").as_deref(), Some("bytes 5-9/10000"));
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn absurdly_many_parts_are_not_worth_their_bytes() {
    let origin = Origin::serve(|_| ok(vec![b'x'; 100_000]).fresh(60)).await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let many: Vec<_> = (0..2000).map(|_| "0-").collect();
    let reply = edge.get_with("/x", &[("range", &format!("bytes={}", many.join(",")))]).await;
    assert!(reply.body.len() <= 400_000, "{} {}", reply.status, reply.body.len());
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_part_from_the_origin_is_never_taken_for_the_whole() {
    let origin = Origin::serve(|asked| match asked.field("range").as_deref() {
        Some("bytes=0-4") => status(206, "01234").fresh(60).with("content-range", "bytes 0-4/10").with("etag", "\"a\""),
        Some("bytes=5-") => status(206, "56789").fresh(60).with("content-range", "bytes 5-9/10").with("etag", "\"a\""),
        _ => ok(BODY).fresh(60).with("etag", "\"a\""),
    })
    .await;
    let edge = before(origin.address()).start().await;
    let part = edge.get_with("/x", &[("range", "bytes=0-4")]).await;
    assert_eq!((part.brief(), part.field("content-range").as_deref()), ((206, "01234"), Some("bytes 0-4/10")));
    let whole = edge.get("/x").await;
    assert_eq!((whole.brief(), whole.field("content-range")), ((200, BODY), None));
    let again = edge.get("/x").await;
    assert_eq!(again.brief(), (200, BODY));
    assert!(again.cache().is_fresh_hit(), "{:?}", again.cache());
}

#[tokio::test]
async fn a_range_of_something_unknown_still_gets_its_part() {
    let origin = Origin::serve(|asked| match asked.field("range").as_deref() {
        Some("bytes=2-4") => status(206, "234").fresh(60).with("content-range", "bytes 2-4/10"),
        _ => ok(BODY).fresh(60),
    })
    .await;
    let edge = before(origin.address()).start().await;
    for _ in 0..2 {
        let part = edge.get_with("/x", &[("range", "bytes=2-4")]).await;
        assert_eq!((part.brief(), part.field("content-range").as_deref()), ((206, "234"), Some("bytes 2-4/10")));
    }
}

#[tokio::test]
async fn an_origin_without_ranges_is_no_obstacle() {
    let origin = Origin::serve(|_| ok(BODY).fresh(60)).await;
    let edge = before(origin.address()).start().await;
    let first = edge.get_with("/x", &[("range", "bytes=2-4")]).await;
    assert!([(200, BODY), (206, "234")].contains(&first.brief()), "{:?}", first.brief());
    edge.get("/x").await;
    let part = edge.get_with("/x", &[("range", "bytes=2-4")]).await;
    assert_eq!(part.brief(), (206, "234"));
    assert!(origin.hits() <= 2, "{}", origin.hits());
}
