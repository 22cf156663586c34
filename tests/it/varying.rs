//! Are variants kept apart, found again, and bounded (RFC 9111 §4.1)?

use crate::support::edge::before;
use crate::support::origin::{Origin, ok};
use crate::support::wire::Fields;

#[tokio::test]
async fn each_variant_is_stored_and_found_by_its_selecting_fields() {
    let origin = Origin::serve(|asked| {
        let body = format!("{}-{}", asked.field("foo").unwrap_or_default(), asked.number);
        ok(body).fresh(60).with("vary", "Foo")
    })
    .await;
    let edge = before(origin.address()).start().await;
    let cases: &[(Fields, &str, &str)] = &[
        (&[("foo", "a")], "a-1", "the first"),
        (&[("foo", "b")], "b-2", "another value"),
        (&[], "-3", "no value is a value"),
        (&[("foo", "a")], "a-1", "the first is still there"),
        (&[("foo", "b")], "b-2", "and the second"),
        (&[], "-3", "and the third"),
        (&[("foo", "  a ")], "a-1", "white space around a value says nothing"),
        (&[("foo", "A")], "A-4", "values have case where their field does not say otherwise"),
        (&[("foo", "a"), ("bar", "1")], "a-1", "a field that Vary does not name selects nothing"),
        (&[("foo", "a, b")], "a, b-5", "a list"),
        (&[("foo", "a"), ("foo", "b")], "a, b-5", "the same list on two lines"),
        (&[("foo", "a,b")], "a, b-5", "white space between members says nothing"),
    ];
    for (fields, want, why) in cases {
        let reply = edge.get_with("/x", fields).await;
        assert_eq!(reply.brief(), (200, *want), "{why}: {fields:?} {:?}", reply.cache());
    }
    assert_eq!(origin.hits(), 5);
}

#[tokio::test]
async fn a_missing_variant_says_so() {
    let origin = Origin::serve(|_| ok("body").fresh(60).with("vary", "foo")).await;
    let edge = before(origin.address()).start().await;
    edge.get_with("/x", &[("foo", "a")]).await;
    let cache = edge.get_with("/x", &[("foo", "b")]).await.cache();
    assert_eq!(cache.fwd.as_deref(), Some("vary-miss"), "{cache:?}");
    assert!(cache.says("no-variant"), "{cache:?}");
}

#[tokio::test]
async fn languages_are_compared_without_case_space_and_order() {
    let origin = Origin::serve(|asked| {
        let language =
            if asked.field("accept-language").is_some_and(|sent| sent.starts_with("de")) { "de" } else { "en" };
        ok(format!("{language}{}", asked.number))
            .fresh(60)
            .with("vary", "accept-language")
            .with("content-language", language)
    })
    .await;
    let edge = before(origin.address()).start().await;
    let cases = [
        ("en, de;q=0.5", "en1", "the first"),
        ("EN,  de;q=0.5", "en1", "no case, no white space"),
        ("de;q=0.5, en", "en1", "the weights say the order"),
        ("de", "de2", "another language"),
        ("en", "en1", "the stored language is the client's first choice"),
    ];
    for (sent, want, why) in cases {
        let reply = edge.get_with("/x", &[("accept-language", sent)]).await;
        assert_eq!(reply.brief(), (200, want), "{why}: {sent}");
    }
}

#[tokio::test]
async fn no_more_variants_are_kept_than_the_file_allows() {
    let origin = Origin::serve(|asked| ok(asked.field("foo").unwrap_or_default()).fresh(60).with("vary", "foo")).await;
    let edge = before(origin.address()).memory("max_variants = 4").start().await;
    for number in 0..10 {
        let value = number.to_string();
        assert_eq!(edge.get_with("/x", &[("foo", &value)]).await.text(), value);
    }
    assert_eq!(origin.hits(), 10);
    let mut kept = 0;
    // From the newest, so that asking for what has gone does not push out what is left.
    for number in (0..10).rev() {
        let value = number.to_string();
        let reply = edge.get_with("/x", &[("foo", &value), ("cache-control", "only-if-cached")]).await;
        kept += usize::from(reply.status == 200);
    }
    assert_eq!(kept, 4);
}
