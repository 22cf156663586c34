//! Is a response stored when it may be, and used only while it may be?

use crate::support::edge::before;
use crate::support::origin::{Asked, Origin, Told, ok, status};
use crate::support::wire::{Fields, ask};

/// An origin whose body is its count, with these fields on every answer.
async fn counting(fields: Fields) -> Origin {
    Origin::serve(move |asked| with(ok(format!("v{}", asked.number)), fields)).await
}

fn with(told: Told, fields: &[(&str, &str)]) -> Told {
    fields.iter().fold(told, |told, (name, value)| told.with(name, value))
}

#[tokio::test]
async fn a_fresh_response_answers_again_without_the_origin() {
    let origin = counting(&[("cache-control", "max-age=60")]).await;
    let edge = before(origin.address()).start().await;

    let first = edge.get("/x").await;
    assert_eq!((first.brief(), origin.hits()), ((200, "v1"), 1));
    let cache = first.cache();
    assert!(!cache.hit && cache.stored && cache.says("not-stored"), "{cache:?}");
    assert_eq!((cache.fwd.as_deref(), cache.fwd_status), (Some("uri-miss"), Some(200)));

    let second = edge.get("/x").await;
    assert_eq!((second.brief(), origin.hits()), ((200, "v1"), 1));
    assert!(second.cache().is_fresh_hit(), "{:?}", second.cache());
    assert!(second.cache().ttl.is_some_and(|ttl| (30..=60).contains(&ttl)), "{:?}", second.cache());
    assert!(second.age().is_some_and(|age| age < 30), "{:?}", second.age());
    assert_eq!(second.field("content-length").as_deref(), Some("2"));
    assert!(second.field("via").is_some_and(|via| via.contains("1.1 larder")), "{:?}", second.headers);
}

#[tokio::test]
async fn fields_are_kept_as_they_came_also_those_that_make_no_sense() {
    let fields =
        &[("cache-control", "max-age=60"), ("content-range", "of no part"), ("x-empty", ""), ("x-two", "a, b")];
    let origin = counting(fields).await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    for line in [("accept", "*/*"), ("te", "trailers")] {
        let hit = edge.get_with("/x", &[line]).await;
        assert!(hit.cache().is_fresh_hit(), "{:?}", hit.cache());
        for (name, value) in fields {
            assert_eq!(hit.field(name).as_deref(), Some(*value), "{name} of {line:?}");
        }
    }
}

#[tokio::test]
async fn the_age_that_a_response_comes_with_counts() {
    let origin = counting(&[("cache-control", "max-age=100"), ("age", "70")]).await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let hit = edge.get("/x").await;
    assert_eq!(origin.hits(), 1);
    assert!(hit.age().is_some_and(|age| (70..100).contains(&age)), "{:?}", hit.age());
    assert!(hit.cache().ttl.is_some_and(|ttl| (0..=30).contains(&ttl)), "{:?}", hit.cache());
}

#[tokio::test]
async fn each_statement_of_the_origin_decides_whether_the_next_request_is_a_hit() {
    const NEVER: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
    let cases: &[(Fields, bool, &str)] = &[
        // fields                                             hit    why
        (&[("cache-control", "max-age=60")], true, "an explicit lifetime"),
        (&[("cache-control", "MAX-AGE=60")], true, "directive names have no case"),
        (&[("Cache-Control", "Public, Max-Age=\"60\"")], true, "a quoted argument is the same argument"),
        (&[("cache-control", "x=\"a, no-store\", max-age=60")], true, "a directive within a string is none"),
        (&[("cache-control", "max-age=0, s-maxage=60")], true, "a shared cache prefers s-maxage"),
        (&[("cache-control", "s-maxage=60"), ("expires", NEVER)], true, "s-maxage beats Expires"),
        (&[("cache-control", "max-age=60, s-maxage=0")], false, "s-maxage, also when it is shorter"),
        (&[("cache-control", "max-age=99999999999999999999")], true, "a huge lifetime saturates"),
        (&[("cache-control", "max-age=60, no-store")], false, "no-store beats everything"),
        (&[("cache-control", "max-age=60"), ("cache-control", "no-store")], false, "also on another line"),
        (&[("cache-control", "max-age=60, No-Store")], false, "letter case does not hide it"),
        (&[("cache-control", "max-age=60, private")], false, "private is not for shared caches"),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=1")], false, "Set-Cookie is one client's"),
        (&[("cache-control", "max-age=60"), ("vary", "*")], false, "Vary: * matches nothing"),
        (&[("cache-control", "max-age=60"), ("vary", "accept, *")], false, "also within a list"),
        (&[("cache-control", "max-age=-60")], false, "an invalid lifetime is stale"),
        (&[("cache-control", "max-age=1.5")], false, "an invalid lifetime is stale"),
        (&[("cache-control", "max-age=0")], false, "zero is a statement"),
        (&[("cache-control", "max-age=60"), ("age", "61")], false, "it came stale"),
        (&[("cache-control", "max-age=60"), ("age", "2147483648")], false, "an absurd age is stale, without a wrap"),
        (&[("cache-control", "max-age=60"), ("age", "old")], true, "an age that is no number is ignored"),
        (&[("expires", "0")], false, "an invalid date is in the past"),
        (&[], false, "no lifetime, no Last-Modified: nothing to guess from"),
        (&[("last-modified", "Mon, 01 Jan 2001 00:00:00 GMT")], true, "a tenth of a quarter of a century"),
    ];
    let origin = Origin::serve(move |asked| {
        let case: usize = asked.target.trim_start_matches('/').parse().expect("the target is a number");
        with(ok("body"), cases[case].0)
    })
    .await;
    let edge = before(origin.address()).start().await;
    for (number, (fields, want, why)) in cases.iter().enumerate() {
        let before = origin.hits();
        let target = format!("/{number}");
        edge.get(&target).await;
        let again = edge.get(&target).await;
        assert_eq!(again.brief(), (200, "body"), "{why}");
        assert_eq!(again.cache().is_fresh_hit(), *want, "{why}: {fields:?} {:?}", again.cache());
        assert_eq!(origin.hits() - before, if *want { 1 } else { 2 }, "{why}: {fields:?}");
    }
}

#[tokio::test]
async fn what_is_not_stored_says_why() {
    let cases: &[(Fields, &str)] = &[
        (&[("cache-control", "no-store")], "no-store"),
        (&[("cache-control", "private, max-age=60")], "private"),
        (&[("cache-control", "max-age=60"), ("set-cookie", "a=1")], "set-cookie"),
        (&[("cache-control", "max-age=60"), ("vary", "*")], "vary-star"),
        (&[], "no-lifetime"),
    ];
    let origin = Origin::serve(move |asked| {
        let case: usize = asked.target.trim_start_matches('/').parse().expect("the target is a number");
        with(ok("body"), cases[case].0)
    })
    .await;
    let edge = before(origin.address()).start().await;
    for (number, (fields, detail)) in cases.iter().enumerate() {
        let cache = edge.get(&format!("/{number}")).await.cache();
        assert!(!cache.stored && !cache.hit && cache.says(detail), "{fields:?}: {cache:?}");
    }
}

#[tokio::test]
async fn expires_is_compared_with_the_origins_date() {
    let origin = Origin::serve(|asked| match asked.target.as_str() {
        "/gone" => {
            ok("x").with("date", "Fri, 01 Jan 2038 00:00:00 GMT").with("expires", "Thu, 31 Dec 2037 23:00:00 GMT")
        }
        _ => ok("x").with("date", "Fri, 01 Jan 2038 00:00:00 GMT").with("expires", "Fri, 01 Jan 2038 01:00:00 GMT"),
    })
    .await;
    let edge = before(origin.address()).start().await;
    for (target, want) in [("/gone", false), ("/good", true)] {
        edge.get(target).await;
        let again = edge.get(target).await;
        assert_eq!(again.cache().is_fresh_hit(), want, "{target}: {:?}", again.cache());
        assert_eq!(again.field("date").as_deref(), Some("Fri, 01 Jan 2038 00:00:00 GMT"), "Date stays the origin's");
    }
}

#[tokio::test]
async fn any_final_status_with_a_lifetime_is_stored_and_keeps_its_code() {
    let origin = Origin::serve(|asked| {
        let code = asked.target.trim_start_matches('/').parse().expect("the target is a status");
        status(code, "body").fresh(60)
    })
    .await;
    let edge = before(origin.address()).start().await;
    for code in [200, 203, 299, 301, 302, 400, 404, 410, 499, 500, 503, 599] {
        let before = origin.hits();
        let target = format!("/{code}");
        edge.get(&target).await;
        let again = edge.get(&target).await;
        assert_eq!((again.brief(), origin.hits() - before), ((code, "body"), 1));
    }
}

#[tokio::test]
async fn the_key_is_scheme_host_path_and_query_as_they_came() {
    let origin = Origin::serve(|asked| ok(asked.target).fresh(60)).await;
    let edge = before(origin.address()).start().await;
    let cases = [
        // host                target      hits  why
        ("shop.example", "/a", 1, "the first"),
        ("SHOP.example", "/a", 1, "host names have no case"),
        ("shop.example:80", "/a", 1, "the default port says nothing"),
        ("shop.example:81", "/a", 2, "another port is another site"),
        ("blog.example", "/a", 3, "another host is another site"),
        ("shop.example", "/a?", 4, "an empty query is a query"),
        ("shop.example", "/a?b=1", 5, "a query"),
        ("shop.example", "/a?b=%31", 6, "bytes count, not what they stand for"),
        ("shop.example", "/A", 7, "paths have case"),
        ("shop.example", "/a/", 8, "a slash is a character"),
        ("shop.example", "/a", 1, "the first is still there"),
    ];
    let mut seen = 0;
    for (host, target, hits, why) in cases {
        let reply = edge.get_with(target, &[("host", host)]).await;
        assert_eq!(reply.brief(), (200, target), "{why}");
        seen = seen.max(hits);
        assert_eq!(origin.hits(), seen, "{why}: {host}{target}");
    }
}

#[tokio::test]
async fn cookies_and_a_clients_cache_control_do_not_pass_the_cache_by() {
    let origin = counting(&[("cache-control", "max-age=60")]).await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let cases: &[(Fields, &str)] = &[
        (&[("cookie", "session=1")], "a cookie alone selects nothing"),
        (&[("cache-control", "no-cache")], "ignored by default"),
        (&[("cache-control", "max-age=0")], "ignored by default"),
        (&[("cache-control", "no-store")], "what is stored may answer"),
        (&[("pragma", "no-cache")], "ignored by default"),
        (&[("cache-control", "nothing-to-see-here"), ("pragma", "foo")], "what is unknown is ignored"),
    ];
    for (fields, why) in cases {
        let reply = edge.get_with("/x", fields).await;
        assert_eq!((reply.brief(), origin.hits()), ((200, "v1"), 1), "{why}: {fields:?}");
    }
}

#[tokio::test]
async fn only_if_cached_is_answered_here_or_with_504() {
    let origin = counting(&[("cache-control", "max-age=60")]).await;
    let edge = before(origin.address()).start().await;
    let fields = [("cache-control", "only-if-cached")];
    let nothing = edge.get_with("/x", &fields).await;
    assert_eq!((nothing.status.as_u16(), origin.hits()), (504, 0));
    assert!(nothing.cache().says("only-if-cached"), "{:?}", nothing.cache());
    assert_eq!(nothing.field("cache-control").as_deref(), Some("no-store"));
    edge.get("/x").await;
    let stored = edge.get_with("/x", &fields).await;
    assert_eq!((stored.brief(), origin.hits()), ((200, "v1"), 1));
}

#[tokio::test]
async fn an_authorized_answer_is_shared_only_when_the_origin_says_so() {
    let cases = [
        // Cache-Control                    shared  why (RFC 9111 §3.5)
        ("max-age=60", false, "one client's answer"),
        ("public, max-age=60", true, "public"),
        ("s-maxage=60", true, "s-maxage"),
        ("max-age=60, must-revalidate", true, "must-revalidate"),
        ("max-age=60, proxy-revalidate", false, "proxy-revalidate is not named by §3.5"),
    ];
    let origin = Origin::serve(move |asked| {
        let case: usize = asked.target.trim_start_matches('/').parse().expect("the target is a number");
        ok(format!("v{}", asked.number)).with("cache-control", cases[case].0)
    })
    .await;
    let edge = before(origin.address()).start().await;
    for (number, (directives, shared, why)) in cases.iter().enumerate() {
        let target = format!("/{number}");
        let fields = [("authorization", "Basic YTpi")];
        let first = edge.get_with(&target, &fields).await;
        assert_eq!(first.cache().stored, *shared, "{why}: {directives}");
        let other = edge.get(&target).await;
        assert_eq!(other.body == first.body, *shared, "{why}: {directives}");
        if !shared {
            assert!(first.cache().says("authorization"), "{why}: {:?}", first.cache());
        }
    }
}

#[tokio::test]
async fn a_head_is_answered_from_a_stored_get() {
    let origin = counting(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]).await;
    let edge = before(origin.address()).start().await;
    edge.get("/x").await;
    let head = edge.ask("HEAD", "/x", &[]).await;
    assert_eq!((head.brief(), origin.hits()), ((200, ""), 1));
    assert_eq!(head.field("content-length").as_deref(), Some("2"));
    assert!(head.cache().is_fresh_hit(), "{:?}", head.cache());
}

#[tokio::test]
async fn a_head_alone_does_not_answer_a_get() {
    let origin = Origin::serve(|_| ok("body").fresh(60)).await;
    let edge = before(origin.address()).start().await;
    let head = edge.ask("HEAD", "/x", &[]).await;
    assert_eq!(head.brief(), (200, ""));
    let whole = edge.get("/x").await;
    assert_eq!(whole.brief(), (200, "body"));
    assert!(origin.hits() <= 2, "{}", origin.hits());
}

#[tokio::test]
async fn a_successful_unsafe_method_invalidates_and_a_failed_one_does_not() {
    let origin = Origin::serve(|asked| {
        let Asked { method, target, number, .. } = asked;
        match (method.as_str(), target.as_str()) {
            ("GET" | "HEAD", _) => ok(format!("v{number}")).fresh(60),
            (_, "/fails") => status(500, "no"),
            (_, "/moved") => ok("yes").with("location", "/elsewhere").with("content-location", "/other"),
            (_, "/foreign") => ok("yes").with("location", "http://blog.example/elsewhere"),
            _ => ok("yes"),
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let cases = [
        // method    sent to      asks about    gone   why (RFC 9111 §4.4)
        ("POST", "/x", "/x", true, "an unsafe method"),
        ("PUT", "/x", "/x", true, "an unsafe method"),
        ("DELETE", "/x", "/x", true, "an unsafe method"),
        ("PATCH", "/x", "/x", true, "an unsafe method"),
        ("FROB", "/x", "/x", true, "an unknown method may be unsafe"),
        ("OPTIONS", "/x", "/x", false, "a safe method"),
        ("POST", "/fails", "/fails", false, "it failed"),
        ("POST", "/moved", "/elsewhere", true, "Location"),
        ("POST", "/moved", "/other", true, "Content-Location"),
        ("POST", "/foreign", "/elsewhere", false, "another origin's Location"),
        ("POST", "/y", "/x", false, "another URL"),
    ];
    for (method, sent_to, about, gone, why) in cases {
        let stored = edge.get(about).await;
        let sent = edge.send(ask(method, sent_to), "body").await;
        assert!(!sent.cache().hit, "{why}");
        let after = edge.get(about).await;
        assert_eq!(after.body != stored.body, gone, "{why}: {method} {sent_to}, then {about}: {:?}", after.cache());
        if gone {
            assert!(!after.cache().is_fresh_hit(), "{why}: {:?}", after.cache());
        }
    }
}

#[tokio::test]
async fn targeted_fields_speak_to_us_and_not_to_clients() {
    let cases: &[(Fields, bool, &str)] = &[
        // fields                                                                      hit    why (RFC 9213)
        (&[("cdn-cache-control", "max-age=60"), ("cache-control", "no-store")], true, "it replaces Cache-Control"),
        (&[("cdn-cache-control", "no-store"), ("cache-control", "max-age=60")], false, "also the other way"),
        (&[("cdn-cache-control", "max-age=60, ,,"), ("cache-control", "no-store")], false, "a parse error: ignored"),
        (&[("cdn-cache-control", "max-age=\"60\""), ("cache-control", "no-store")], false, "a string is no number"),
        (&[("cdn-cache-control", "max-age=60"), ("expires", "0")], true, "it replaces Expires too"),
        (&[("surrogate-control", "max-age=60"), ("cache-control", "no-store")], true, "the older field"),
        (&[("surrogate-control", "no-store"), ("cache-control", "max-age=60")], false, "the older field"),
        (&[("cdn-cache-control", "max-age=60"), ("surrogate-control", "no-store")], true, "the newer one ranks first"),
    ];
    let origin = Origin::serve(move |asked| {
        let case: usize = asked.target.trim_start_matches('/').parse().expect("the target is a number");
        with(ok("body"), cases[case].0)
    })
    .await;
    let edge = before(origin.address()).start().await;
    for (number, (fields, want, why)) in cases.iter().enumerate() {
        let target = format!("/{number}");
        let first = edge.get(&target).await;
        assert_eq!(first.field("surrogate-control"), None, "{why}");
        // What we do not store, a cache further down may: it is told what the origin says to caches like us.
        if first.cache().stored {
            assert_eq!(first.field("cdn-cache-control"), None, "{why}");
        }
        let told = fields.iter().find(|(name, _)| *name == "cache-control").map(|(_, value)| (*value).to_owned());
        assert_eq!(first.field("cache-control"), told, "{why}: clients get what is meant for them");
        let again = edge.get(&target).await;
        assert_eq!(again.cache().is_fresh_hit(), *want, "{why}: {fields:?} {:?}", again.cache());
    }
}

#[tokio::test]
async fn targeted_fields_and_tags_are_sent_on_where_the_file_says_so() {
    let fields = [("cdn-cache-control", "max-age=60"), ("surrogate-key", "a b"), ("cache-groups", "\"g\"")];
    let origin = Origin::serve(move |_| with(ok("body"), &fields)).await;
    for (expose, names) in
        [(false, &["cache-groups"][..]), (true, &["cdn-cache-control", "surrogate-key", "cache-groups"][..])]
    {
        let setup = before(origin.address()).server(&format!("expose_surrogate_headers = {expose}"));
        let edge = setup.start().await;
        for _ in 0..2 {
            let reply = edge.get("/x").await;
            for (name, value) in fields {
                let want = names.contains(&name).then(|| value.to_owned());
                assert_eq!(reply.field(name), want, "{name}, expose_surrogate_headers = {expose}");
            }
        }
    }
}

#[tokio::test]
async fn fields_named_by_connection_are_neither_sent_on_nor_stored() {
    let origin = Origin::serve(|_| {
        ok("body")
            .fresh(60)
            .with("connection", "x-hop")
            .with("x-hop", "1")
            .with("keep-alive", "timeout=5")
            .with("x-end", "2")
    })
    .await;
    let edge = before(origin.address()).start().await;
    for _ in 0..2 {
        let reply = edge.get("/x").await;
        assert_eq!((reply.field("x-hop"), reply.field("keep-alive")), (None, None));
        assert_eq!(reply.field("x-end").as_deref(), Some("2"));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn repeated_lines_stay_repeated_from_the_store_too() {
    let origin = Origin::serve(|_| ok("body").fresh(60).with("link", "</a>").with("link", "</b>")).await;
    let edge = before(origin.address()).start().await;
    for _ in 0..2 {
        assert_eq!(edge.get("/x").await.lines("link"), ["</a>", "</b>"]);
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn a_get_with_a_body_is_passed() {
    let origin = Origin::serve(|asked| ok(asked.body).fresh(60)).await;
    let edge = before(origin.address()).start().await;
    for body in ["one", "two"] {
        let reply = edge.send(ask("GET", "/x"), body).await;
        assert_eq!(reply.brief(), (200, body));
        assert!(reply.cache().says("request-body"), "{:?}", reply.cache());
    }
    assert_eq!(origin.hits(), 2);
}
