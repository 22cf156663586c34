//! Can one client's odd request change what the next one gets? (web cache poisoning, cache deception, denial by cached errors)

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::edge::before;
use crate::support::origin::{Asked, Origin, Told, ok, status};
use crate::support::reply::Reply;
use crate::support::wire::{Fields, ask};

/// An origin as credulous as they come: what it is told ends up in what it says, and all of it may be kept.
fn credulous(asked: &Asked) -> Told {
    let mut said = format!("{} {}", asked.method, asked.target);
    for (name, value) in &asked.headers {
        if !matches!(name.as_str(), "host" | "via" | "forwarded" | "x-request-id" | "surrogate-capability") {
            said.extend(["\n", name.as_str(), ": ", &String::from_utf8_lossy(value.as_bytes())]);
        }
    }
    said.push_str(&String::from_utf8_lossy(&asked.body));
    ok(said).fresh(60)
}

#[tokio::test]
async fn what_is_not_in_the_key_shapes_nothing_that_is_stored() {
    let origin = Origin::serve(|asked| credulous(&asked)).await;
    let edge = before(origin.address()).start().await;
    let cases: [(&str, Fields, &str, &str); 25] = [
        ("GET", &[("x-forwarded-host", "evil")], "", "another host"),
        ("GET", &[("x-forwarded-proto", "evil")], "", "another scheme"),
        ("GET", &[("x-forwarded-port", "evil")], "", "another port"),
        ("GET", &[("x-forwarded-prefix", "/evil")], "", "another prefix"),
        ("GET", &[("x-forwarded-scheme", "evil")], "", "another scheme, again"),
        ("GET", &[("x-forwarded-for", "evil")], "", "another client"),
        ("GET", &[("forwarded", "host=evil")], "", "all of these"),
        ("GET", &[("x-original-url", "/evil")], "", "another URL"),
        ("GET", &[("x-original-uri", "/evil")], "", "another URI"),
        ("GET", &[("x-rewrite-url", "/evil")], "", "another URL"),
        ("GET", &[("x-override-url", "/evil")], "", "another URL"),
        ("GET", &[("x-http-method-override", "evil")], "", "another method"),
        ("GET", &[("x-http-method", "evil")], "", "another method"),
        ("GET", &[("x-method-override", "evil")], "", "another method"),
        ("GET", &[("proxy", "evil")], "", "httpoxy"),
        ("GET", &[("connection", "x-evil"), ("x-evil", "evil")], "", "about the hop"),
        ("GET", &[("x-real-ip", "evil")], "", "another address"),
        ("GET", &[("x-request-id", "evil")], "", "another id"),
        ("GET", &[], "evil", "a body"),
        ("HEAD", &[], "", "a HEAD"),
        ("GET", &[("range", "bytes=0-1")], "", "a part"),
        ("GET", &[("if-none-match", "\"evil\"")], "", "a condition"),
        ("GET", &[("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")], "", "another"),
        ("GET", &[("te", "evil")], "", "a coding"),
        ("get", &[("x-evil", "evil")], "", "a method in lower case"),
    ];
    for (number, (method, fields, body, why)) in cases.into_iter().enumerate() {
        let target = format!("/{number}");
        let mut request = ask(method, &target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        edge.send(request, body).await;
        let next = edge.get(&target).await;
        assert_eq!(next.status, 200, "{why}");
        assert!(!next.text().contains("evil"), "{why}: {}", next.text());
        assert!(next.text().starts_with(&format!("GET {target}\n")), "{why}: {}", next.text());
        assert!(edge.get(&target).await.cache().is_fresh_hit(), "{why}: the plain one is kept");
    }
}

#[tokio::test]
async fn an_error_that_one_request_provoked_is_not_kept_for_others() {
    let origin = Origin::serve(|asked| match asked.field("x-provoke").and_then(|code| code.parse().ok()) {
        // Some origins let anything be kept.
        Some(code) if asked.field("x-long").is_some() => status(code, "evil").fresh(60),
        Some(code) => status(code, "evil"),
        None => ok("fine").fresh(60),
    })
    .await;
    let edge = before(origin.address()).start().await;
    let long = "x".repeat(9000);
    let cases: [(&str, &str, &str, &str); 15] = [
        ("400", "x-long", &long, "a field that is too long for the origin"),
        ("431", "x-long", &long, "the same with its own status"),
        ("413", "x-long", &long, "too large"),
        ("414", "x", "y", "too long"),
        ("404", "x-long", "\u{e4}", "a byte beyond ASCII, with a lifetime"),
        ("400", "x-meta", "\u{e4}", "a byte beyond ASCII"),
        ("400", "x-meta", "a\tb", "a tab"),
        ("400", "content-type", "evil", "a type that the origin dislikes"),
        ("405", "x", "y", "a method that was overridden"),
        ("406", "accept", "evil/evil", "a type that it has not"),
        ("412", "if-match", "\"evil\"", "a condition that failed"),
        ("416", "range", "bytes=999999-", "a part that is not there"),
        ("417", "x", "y", "an expectation"),
        ("500", "x", "y", "a fault"),
        ("501", "transfer-codings", "evil", "not implemented"),
    ];
    for (number, (code, name, value, why)) in cases.into_iter().enumerate() {
        let target = format!("/{number}");
        let provoked = edge.get_with(&target, &[("x-provoke", code), (name, value)]).await;
        assert!(!provoked.cache().stored, "{why}: {:?}", provoked.cache());
        assert_eq!(edge.get(&target).await.brief(), (200, "fine"), "{why}");
    }
}

#[tokio::test]
async fn a_path_that_looks_static_makes_nothing_storable() {
    let private: [(Fields, &str); 6] = [
        (&[("cache-control", "private")], "private"),
        (&[("cache-control", "no-store")], "no-store"),
        (&[("cache-control", "max-age=60"), ("set-cookie", "s=1")], "a cookie of its own"),
        (&[("cache-control", "max-age=60, private=\"set-cookie\""), ("set-cookie", "s=1")], "a private field"),
        (&[("vary", "*"), ("cache-control", "max-age=60")], "Vary: *"),
        (&[("cache-control", "no-cache")], "to be asked for each time"),
    ];
    let paths = [
        "/account/x.css",
        "/account;x.css",
        "/account%0ax.css",
        "/account%00.png",
        "/account%3fx.js",
        "/account%23x.js",
        "/account/..%2fx.css",
        "/account.ico",
        "/static/account",
        "/assets/..%2faccount",
    ];
    for (fields, why) in private {
        let origin = Origin::serve(move |asked| {
            fields.iter().fold(ok(format!("secret {}", asked.number)), |told, (name, value)| told.with(name, value))
        })
        .await;
        let edge = before(origin.address()).start().await;
        for path in paths {
            let first = edge.get_with(path, &[("cookie", "session=1")]).await;
            let second = edge.get(path).await;
            assert_ne!(first.text(), second.text(), "{why}: {path}");
            assert!(!second.cache().is_fresh_hit(), "{why}: {path}");
        }
    }
}

#[tokio::test]
async fn endless_variants_are_bounded_and_do_not_displace_others() {
    let origin = Origin::serve(|asked| {
        let told = ok(asked.field("x-variant").unwrap_or_default()).fresh(60);
        if asked.target == "/many" { told.with("vary", "x-variant") } else { told }
    })
    .await;
    let edge = before(origin.address()).memory("max_variants = 8").start().await;
    edge.get("/other").await;
    for number in 0..100 {
        let variant = number.to_string();
        assert_eq!(edge.get_with("/many", &[("x-variant", &variant)]).await.text(), variant);
    }
    let hits = AtomicUsize::new(0);
    for number in 0..100 {
        let variant = number.to_string();
        let reply = edge.get_with("/many", &[("x-variant", &variant)]).await;
        assert_eq!(reply.text(), variant, "never another's");
        if reply.cache().hit {
            hits.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert!(hits.into_inner() <= 8, "max_variants");
    assert!(edge.get("/other").await.cache().is_fresh_hit());
}

#[tokio::test]
async fn invalidation_stays_with_its_origin() {
    let origin = Origin::serve(|asked| {
        let told = ok(format!("{}", asked.number)).fresh(60);
        match asked.field("x-say") {
            Some(said) if asked.method == "POST" => told.with("location", &said).with("content-location", &said),
            _ => told,
        }
    })
    .await;
    let edge = before(origin.address()).start().await;
    let (ours, theirs): (Fields, Fields) = (&[("host", "shop.test")], &[("host", "other.test")]);
    let cases = [
        ("http://other.test/x", "another host"),
        ("//other.test/x", "another host without a scheme"),
        ("http://other.test:80/x", "with a port"),
        ("http://shop.test@other.test/x", "with a user"),
        ("http:\\\\other.test\\x", "with backslashes"),
    ];
    for (said, why) in cases {
        edge.get_with("/x", theirs).await;
        edge.ask("POST", "/act", &[ours[0], ("x-say", said)]).await;
        assert!(edge.get_with("/x", theirs).await.cache().is_fresh_hit(), "{why}");
    }
    edge.get_with("/x", ours).await;
    edge.ask("POST", "/act", &[ours[0], ("x-say", "/x")]).await;
    assert!(!edge.get_with("/x", ours).await.cache().is_fresh_hit(), "its own is invalidated");
}

#[tokio::test]
async fn a_purge_is_asked_for_openly_or_not_at_all() {
    let origin = Origin::serve(|asked| ok(format!("{}", asked.number)).fresh(60)).await;
    let edge = before(origin.address()).table("[purge]\nallow = []").start().await;
    edge.get("/x").await;
    let tricks: [(&str, &str, Fields, &str); 9] = [
        ("POST", "/x?a", &[("x-http-method-override", "PURGE")], "an override"),
        ("GET", "/x", &[("x-method-override", "PURGE")], "another"),
        ("PURGE", "/x", &[], "without a right to"),
        ("PURGE", "/x", &[("x-forwarded-for", "127.0.0.1")], "as somebody else"),
        ("PURGE", "/x", &[("x-real-ip", "::1")], "as somebody else"),
        ("PURGE", "/x", &[("authorization", "Bearer ")], "an empty token"),
        ("PURGE", "/x", &[("authorization", "Bearer x")], "a wrong token"),
        ("PURGE", "/x", &[("fastly-key", "")], "an empty key"),
        ("purge", "/x?b", &[], "a method with another case"),
    ];
    for (method, target, fields, why) in tricks {
        let reply: Reply = edge.ask(method, target, fields).await;
        assert!(method != "PURGE" || reply.status == 403, "{why}: {}", reply.status);
        assert!(edge.get("/x").await.cache().is_fresh_hit(), "{why}");
    }
    for target in ["/purge", "/purge_all", "/service/x/purge_all", "/config", "/reload", "/stats"] {
        let reply = edge.ask("POST", target, &[]).await;
        assert!(reply.text().parse::<usize>().is_ok(), "{target} is the origin's on this listener: {}", reply.text());
        assert!(edge.get("/x").await.cache().is_fresh_hit(), "{target}");
    }
}
