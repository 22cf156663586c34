//! What does the admin listener take, what does it refuse, and in which words?

use http::request::Builder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::edge::{Edge, before};
use crate::support::origin::{Origin, ok, status};
use crate::support::raw::Line;
use crate::support::reply::Reply;
use crate::support::wire::{Connection, Fields, ask};
use crate::support::{eventually, within};

/// An origin that tags what it answers: `/a` with `tag:/a`, and all of it with `all`.
async fn tagging() -> Origin {
    Origin::serve(|asked| {
        let tags = format!("all tag:{}", asked.target);
        ok(asked.number.to_string()).fresh(600).with("surrogate-key", &tags)
    })
    .await
}

/// Fields of a request, some of them made by the test.
type Lines<'a> = &'a [(&'a str, &'a str)];

/// Sends a request to the admin listener.
async fn send(edge: &Edge, request: Builder, body: impl Into<bytes::Bytes>) -> Reply {
    Connection::to(edge.admin_address()).await.send(request, body).await
}

fn with(method: &str, target: &str, fields: &[(&str, &str)]) -> Builder {
    fields.iter().fold(ask(method, target), |request, (name, value)| request.header(*name, *value))
}

async fn post(edge: &Edge, target: &str, fields: &[(&str, &str)], body: &str) -> Reply {
    send(edge, with("POST", target, fields), body.to_owned()).await
}

fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("no JSON: {}", reply.text()))
}

/// What is wrong, from a problem that says its own status.
fn reason(reply: &Reply) -> String {
    let problem = json_of(reply);
    assert_eq!(problem["status"], reply.status.as_u16(), "{problem}");
    problem["reason"].as_str().expect("a problem has a reason").to_owned()
}

/// Fills with these, purges, and says which of them are no longer fresh hits.
async fn gone_after(edge: &Edge, targets: &[&'static str], purge: impl Future<Output = Reply>) -> Vec<&'static str> {
    for target in targets {
        edge.get(target).await;
    }
    let reply = purge.await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut gone = Vec::new();
    for target in targets {
        if !edge.get(target).await.cache().is_fresh_hit() {
            gone.push(*target);
        }
    }
    assert_eq!(json_of(&reply)["matched"]["edge"], gone.len(), "{}", reply.text());
    gone
}

const TARGETS: [&str; 5] = ["/", "/a", "/a/b", "/a/b?x=1", "/c"];

#[tokio::test]
async fn a_body_names_what_goes_in_our_words_or_in_cloudflares() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let site = format!("http://{}", edge.address());
    let port = edge.address().port();
    let cases: [(Value, &[&str], &str); 13] = [
        (json!({ "tags": ["tag:/a"] }), &["/a"], "a tag"),
        (json!({ "urls": [format!("{site}/a/b")] }), &["/a/b"], "a URL, without its queries"),
        (json!({ "urls": [format!("{site}/a/b?x=1"), &site] }), &["/", "/a/b?x=1"], "a query; no path is the root"),
        (json!({ "files": [format!("{site}/a")] }), &["/a"], "Cloudflare: files"),
        (
            json!({ "files": [{ "url": format!("{site}/a"), "headers": { "Accept-Language": "de" } }, format!("{site}/c")] }),
            &["/a", "/c"],
            "Cloudflare: files with headers",
        ),
        (json!({ "prefixes": [format!("{site}/a/")] }), &["/a/b", "/a/b?x=1"], "a prefix"),
        (json!({ "hosts": ["127.0.0.1"] }), &TARGETS, "a host on every port"),
        (json!({ "hosts": [format!("127.0.0.1:{port}")] }), &TARGETS, "a host on its port"),
        (json!({ "hosts": ["localhost"] }), &[], "another host"),
        (json!({ "everything": true }), &TARGETS, "everything"),
        (json!({ "purge_everything": true }), &TARGETS, "Cloudflare: everything"),
        (
            json!({ "tags": ["tag:/a", "none"], "urls": [format!("{site}/c")], "prefixes": [format!("{site}/a/b?")] }),
            &["/a", "/a/b?x=1", "/c"],
            "several kinds at once",
        ),
        (json!({ "purge_everything": false, "tags": ["tag:/c"], "wait": "all" }), &["/c"], "what is not asked for"),
    ];
    for (body, want, why) in cases {
        let gone = gone_after(&edge, &TARGETS, post(&edge, "/purge", &[], &body.to_string())).await;
        assert_eq!(gone, want, "{why}: {body}");
    }
}

#[tokio::test]
async fn plug_ins_for_fastly_are_understood() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let cases: [(&str, Lines<'_>, &str, &[&str], &str); 14] = [
        ("/purge/tag:%2Fa", &[], "", &["/a"], "a slash in a tag"),
        ("/purge/tag:%2Fa%2Fb", &[form], "", &["/a/b"], "a form without fields"),
        ("/service/x/purge/tag:%2Fc", &[("accept", "application/json")], "", &["/c"], "a tag of a service"),
        ("/service/x/purge/tag:/a/b", &[], "", &["/a/b"], "a slash as it is"),
        ("/service/x/purge/%74ag:%2fc", &[], "{}", &["/c"], "an empty object"),
        ("/service/x/purge", &[("surrogate-key", "tag:/a  tag:/c")], "", &["/a", "/c"], "tags in the field"),
        ("/service/x/purge", &[("surrogate-key", "tag:/a")], " ", &["/a"], "nothing but white space"),
        ("/service/x/purge", &[("xkey", "tag:/a"), ("xkey", "tag:/")], "", &["/", "/a"], "another field, two lines"),
        ("/service/x/purge", &[("cache-tag", "tag:/a, tag:/c")], "", &["/a", "/c"], "by its own syntax"),
        ("/service/x/purge", &[], r#"{"surrogate_keys":["tag:/a","tag:/c"]}"#, &["/a", "/c"], "tags in the body"),
        (
            "/service/x/purge",
            &[("surrogate-key", "tag:/a")],
            r#"{"surrogate_keys":["tag:/c"]}"#,
            &["/a", "/c"],
            "in both: none is dropped",
        ),
        ("/service/x/purge_all", &[], "", &TARGETS, "everything"),
        ("/service/anything-at-all/purge_all", &[form], "", &TARGETS, "whatever the service"),
        ("/service/x/purge/none", &[], "", &[], "nothing matched is no fault"),
    ];
    for (target, fields, body, want, why) in cases {
        let gone = gone_after(&edge, &TARGETS, post(&edge, target, fields, body)).await;
        assert_eq!(gone, want, "{why}: {target}");
    }
}

#[tokio::test]
async fn softly_is_said_in_a_field_or_in_the_body() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let cases: [(&str, Fields, &str, bool, &str); 11] = [
        ("/purge", &[], r#"{"tags":["all"]}"#, false, "hard is the default"),
        ("/purge", &[], r#"{"tags":["all"],"soft":true}"#, true, "the body"),
        ("/purge", &[("soft-purge", "1")], r#"{"tags":["all"]}"#, true, "our field"),
        ("/purge", &[("fastly-soft-purge", "true")], r#"{"tags":["all"]}"#, true, "Fastly's field"),
        ("/purge", &[("soft-purge", "0")], r#"{"tags":["all"],"soft":true}"#, true, "either does"),
        ("/purge/all", &[("fastly-soft-purge", "1")], "", true, "a tag in the path"),
        ("/purge/all", &[], r#"{"soft":true}"#, true, "a tag in the path, with terms"),
        ("/service/x/purge/all", &[("fastly-soft-purge", "0")], "", false, "0 is hard"),
        ("/service/x/purge", &[("surrogate-key", "all"), ("fastly-soft-purge", "1")], "", true, "tags in a field"),
        ("/service/x/purge", &[], r#"{"surrogate_keys":["all"],"soft":true}"#, true, "tags in the body"),
        ("/service/x/purge_all", &[("fastly-soft-purge", "1")], "", true, "everything"),
    ];
    for (target, fields, body, want, why) in cases {
        edge.get("/a").await;
        let reply = post(&edge, target, fields, body).await;
        assert_eq!(json_of(&reply)["soft"], want, "{why}: {}", reply.text());
        let status = edge.get("/a").await.cache();
        assert!(!status.hit && status.says("soft-purged") == want, "{why}: {status:?}");
    }
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    for target in TARGETS {
        edge.get(target).await;
    }
    for (target, fields, body, count) in [
        ("/purge", &[][..], r#"{"everything":true,"dry_run":true}"#, 5),
        ("/purge/tag:%2Fa", &[], r#"{"dry_run":true}"#, 1),
        ("/service/x/purge_all", &[], r#"{"dry_run":true}"#, 5),
        ("/service/x/purge", &[("surrogate-key", "tag:/a tag:/c")], r#"{"dry_run":true}"#, 2),
    ] {
        let receipt = json_of(&post(&edge, target, fields, body).await);
        assert_eq!((&receipt["status"], &receipt["seq"]), (&json!("dry-run"), &json!(0)), "{receipt}");
        assert_eq!(receipt["matched"]["edge"], count, "{receipt}");
    }
    for target in TARGETS {
        assert!(edge.get(target).await.cache().is_fresh_hit(), "{target}");
    }
    assert_eq!(json_of(&edge.admin("/purges").await), json!({ "purges": [] }), "nothing was purged");
}

/// Path, fields, body; the status, and what the reason says.
type Wrong<'a> = (&'a str, Lines<'a>, String, u16, &'a str);

/// Sends each, and has it refused as it should be; nothing of it purges anything.
async fn refused(cases: Vec<Wrong<'_>>) {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    edge.get("/a").await;
    for (target, fields, body, code, says) in cases {
        let reply = post(&edge, target, fields, &body).await;
        let short: String = body.chars().take(80).collect();
        assert_eq!(reply.status, code, "{target} {short}: {}", reply.text());
        let reason = reason(&reply);
        assert!(reason.contains(says) && reason.len() <= 1024, "{target} {short}: {says} in {reason}");
    }
    assert!(edge.get("/a").await.cache().is_fresh_hit(), "nothing of it purged anything");
    assert_eq!(json_of(&edge.admin("/purges").await), json!({ "purges": [] }));
}

/// A body with one name so many times.
fn many(key: &str, name: &str, count: usize) -> String {
    json!({ key: vec![name; count] }).to_string()
}

#[tokio::test]
async fn a_body_that_cannot_be_understood_changes_nothing_and_is_told() {
    let long = format!(r#"{{"tags":["{}"]}}"#, "t".repeat(1025));
    let deep = format!(r#"{{"urls":[{{"url":"http://a/","headers":{}"#, r#"{"a":"#.repeat(100_000));
    let p = "/purge";
    refused(vec![
        (p, &[], String::new(), 400, "the body is empty"),
        (p, &[], "tags=a".into(), 400, "line 1 column 2"),
        (p, &[], r#"{"tags":["a"}"#.into(), 400, "line 1 column 13"),
        (p, &[], "{}".into(), 400, "nothing is named"),
        (p, &[], r#"{"tags":[]}"#.into(), 400, "nothing is named"),
        (p, &[], r#"{"purge_everything":false}"#.into(), 400, "nothing is named"),
        (p, &[], r#"{"tag":["a"]}"#.into(), 400, "unknown field `tag`"),
        (p, &[], r#"{"tags":["a"],"tags":["b"]}"#.into(), 400, "duplicate field"),
        (p, &[], r#"{"tags":"a"}"#.into(), 400, "expected a sequence"),
        (p, &[], r#"{"tags":[1]}"#.into(), 400, "expected a string"),
        (p, &[], r#"{"everything":"yes"}"#.into(), 400, "expected a boolean"),
        (p, &[], r#"{"everything":null}"#.into(), 400, "null"),
        (p, &[], "null".into(), 400, "no object"),
        (p, &[], r#"[["a"]]"#.into(), 400, "no object"),
        (p, &[], r#"{"tags":["a"],"wait":"none"}"#.into(), 400, "unknown variant `none`"),
        (p, &[], r#"{"tags":["a b"]}"#.into(), 400, "tags[0]"),
        (p, &[], r#"{"tags":["a","\u0000"]}"#.into(), 400, "tags[1]"),
        (p, &[], r#"{"tags":[""]}"#.into(), 400, "tags[0]"),
        (p, &[], long, 400, "1024"),
        (p, &[], many("tags", "t", 1025), 413, "1024"),
        (p, &[], many("urls", "http://a.test/", 1025), 413, "1024"),
        (p, &[], many("hosts", "a.test", 1025), 413, "1024"),
        (p, &[], many("prefixes", "http://a.test/", 1025), 413, "1024"),
        (p, &[], r#"{"urls":["/a"]}"#.into(), 400, "urls[0]"),
        (p, &[], r#"{"urls":["ftp://a.test/"]}"#.into(), 400, "urls[0]"),
        (p, &[], r#"{"urls":["http://a.test/#x"]}"#.into(), 400, "urls[0]"),
        (p, &[], r#"{"files":[{"headers":{}}]}"#.into(), 400, "expected a URL, or an object"),
        (p, &[], r#"{"files":[{"url":"http://a.test/","header":{}}]}"#.into(), 400, "expected a URL, or an object"),
        (p, &[], r#"{"prefixes":["a.test/x"]}"#.into(), 400, "prefixes[0]"),
        (p, &[], r#"{"hosts":["*.test"]}"#.into(), 400, "hosts[0]"),
        (p, &[], r#"{"hosts":["http://a.test"]}"#.into(), 400, "hosts[0]"),
        (p, &[], deep, 400, "for example"),
        (p, &[("soft-purge", "maybe")], r#"{"tags":["a"]}"#.into(), 400, "Soft-Purge"),
        (p, &[], format!(r#"{{"{}":1}}"#, "x".repeat(100_000)), 400, "unknown field"),
    ])
    .await;
}

#[tokio::test]
async fn a_path_that_cannot_be_understood_changes_nothing_and_is_told() {
    let in_field = format!("{}x", "t ".repeat(1024));
    let in_field = [("surrogate-key", &*in_field)];
    let long_path = format!("/purge/{}", "t".repeat(1025));
    let longest_path = format!("/purge/{}", "%74".repeat(1025));
    let k = "/service/x/purge";
    refused(vec![
        ("/purge?soft=1", &[], r#"{"tags":["a"]}"#.into(), 400, "no query parameter \"soft\""),
        ("/purge/", &[], String::new(), 400, "tag"),
        ("/purge/a%20b", &[], String::new(), 400, "space"),
        ("/purge/a%0ab", &[], String::new(), 400, "tag"),
        ("/purge/a%", &[], String::new(), 400, "%25"),
        ("/purge/a/b", &[], String::new(), 400, "%2F"),
        ("/purge/www.example.com/path", &[], String::new(), 400, "a URL is purged by POST /purge"),
        (&long_path, &[], String::new(), 400, "1024"),
        (&longest_path, &[], String::new(), 400, "1024"),
        ("/purge/a", &[], r#"{"tags":["b"]}"#.into(), 400, "unknown field `tags`"),
        ("/purge/a", &[], "soft=1".into(), 400, "no JSON"),
        (k, &[], String::new(), 400, "no tag is named"),
        (k, &[], "{}".into(), 400, "no tag is named"),
        (k, &[("surrogate-key", " ")], String::new(), 400, "names no tag"),
        (k, &in_field, String::new(), 413, "1024"),
        (k, &[], many("surrogate_keys", "t", 1025), 413, "1024"),
        (k, &[("surrogate-key", "x")], many("surrogate_keys", "t", 1024), 413, "1024"),
        (k, &[], r#"{"surrogate_keys":["a b"]}"#.into(), 400, "[0]"),
        (k, &[], r#"{"keys":["a"]}"#.into(), 400, "unknown field `keys`"),
        ("/service/x/purge_all?really", &[], String::new(), 400, "this takes none"),
        ("/service//purge_all", &[], String::new(), 404, "nothing here"),
        ("/service/x/purge_everything", &[], String::new(), 404, "nothing here"),
        ("/", &[], String::new(), 404, "nothing here"),
        ("/purges", &[], String::new(), 405, "GET, HEAD"),
    ])
    .await;
}

#[tokio::test]
async fn the_largest_there_may_be_is_taken() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let tags: Vec<_> = (0..1024).map(|number| format!("{number:x>1024}")).collect();
    let urls: Vec<_> = (0..1024).map(|number| format!("http://a.test/{number:x>2000}")).collect();
    let body = json!({ "tags": tags, "urls": urls }).to_string();
    assert!(body.len() > 3_000_000, "{}", body.len());
    assert_eq!(post(&edge, "/purge", &[], &body).await.status, 200);
    let record = &json_of(&edge.admin("/purges").await)["purges"][0];
    assert_eq!(record["scope_count"], 2048, "{record}");
    let keys = "t ".repeat(1024);
    assert_eq!(post(&edge, "/service/x/purge", &[("surrogate-key", &keys)], "").await.status, 200);
    let target = format!("/purge/{}", "%74".repeat(1024));
    assert_eq!(post(&edge, &target, &[], "").await.status, 200);
}

#[tokio::test]
async fn only_who_has_the_token_is_answered() {
    let origin = tagging().await;
    let text = before(origin.address()).text().replace("[admin]", "[admin]\ntoken = \"geheim\"");
    let edge = Edge::started(&text).await;
    edge.get("/a").await;
    let open = [("GET", "/healthz", ""), ("GET", "/readyz", "")];
    let shut = [
        ("GET", "/metrics", ""),
        ("GET", "/stats", ""),
        ("GET", "/objects", ""),
        ("GET", "/explain?url=http://a/", ""),
        ("GET", "/purges", ""),
        ("GET", "/openapi.json", ""),
        ("POST", "/purge", r#"{"everything":true,"dry_run":true}"#),
        ("POST", "/purge/a", r#"{"dry_run":true}"#),
        ("POST", "/service/x/purge", r#"{"surrogate_keys":["a"],"dry_run":true}"#),
        ("POST", "/service/x/purge/a", r#"{"dry_run":true}"#),
        ("POST", "/service/x/purge_all", r#"{"dry_run":true}"#),
    ];
    let carried: [(Fields, u16, &str); 9] = [
        (&[], 401, "none"),
        (&[("authorization", "Bearer geheimer")], 401, "longer"),
        (&[("authorization", "Bearer gehei")], 401, "shorter"),
        (&[("authorization", "Bearer ")], 401, "empty"),
        (&[("authorization", "Basic geheim")], 401, "another scheme"),
        (&[("fastly-key", "")], 401, "an empty key"),
        (&[("x-admin-token", "geheim")], 401, "another field"),
        (&[("authorization", "Bearer geheim")], 200, "the token"),
        (&[("fastly-key", "geheim")], 200, "as plug-ins for Fastly carry it"),
    ];
    for (fields, code, why) in carried {
        for (method, target, body) in open.into_iter().chain(shut) {
            let want = if target.ends_with('z') { 200 } else { code };
            let reply = send(&edge, with(method, target, fields), body).await;
            assert_eq!(reply.status, want, "{method} {target}: {why}: {}", reply.text());
            assert_eq!(reply.field("www-authenticate").is_some(), want == 401, "{why}");
        }
        if code == 401 {
            for (method, target) in
                [("GET", "/no-such-page"), ("DELETE", "/purge"), ("POST", "/stats"), ("OPTIONS", "/")]
            {
                let reply = send(&edge, with(method, target, fields), "").await;
                assert_eq!(reply.status, 401, "{method} {target}: what there is is not told either");
            }
        }
    }
    assert!(edge.get("/a").await.cache().is_fresh_hit(), "nothing was purged");
}

#[tokio::test]
async fn without_the_token_no_body_is_waited_for() {
    let origin = tagging().await;
    let text = before(origin.address()).text().replace("[admin]", "[admin]\ntoken = \"geheim\"");
    let edge = Edge::started(&text).await;
    let mut line = Line::to(edge.admin_address()).await;
    line.send("POST /purge HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n").await;
    let head = line.head().await.expect("an answer before the body");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test]
async fn each_path_has_its_methods() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let cases: [(&str, &str, u16, Option<&str>, &str); 10] = [
        ("HEAD", "/stats", 200, None, "HEAD as GET"),
        ("HEAD", "/openapi.json", 200, None, "HEAD as GET"),
        ("GET", "/purge", 405, Some("POST"), "it changes something"),
        ("GET", "/purge/a", 405, Some("POST"), "a link must not purge"),
        ("PUT", "/purge", 405, Some("POST"), "not that method"),
        ("PURGE", "/purge/a", 405, Some("POST"), "that belongs to the public listener"),
        ("post", "/purge", 405, Some("POST"), "methods know letter case"),
        ("DELETE", "/stats", 405, Some("GET, HEAD"), "it can only be read"),
        ("OPTIONS", "/service/x/purge_all", 405, Some("POST"), "no page of another site is invited"),
        ("GET", "/purge/", 405, Some("POST"), "a path with an empty tag"),
    ];
    for (method, target, code, allow, why) in cases {
        let reply = send(&edge, ask(method, target), "").await;
        assert_eq!((reply.status.as_u16(), reply.field("allow").as_deref()), (code, allow), "{method} {target}: {why}");
        assert_eq!(reply.field("cache-control").as_deref(), Some("no-store"), "{why}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_do_not_purge_through_an_operators_browser() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let own = format!("http://{}", edge.admin_address());
    let cases: [(Lines<'_>, u16, &str); 6] = [
        (&[("origin", &own)], 200, "a page of ours"),
        (&[("origin", "http://evil.test")], 403, "a page of another site"),
        (&[("origin", "null")], 403, "a page that hides whose it is"),
        (&[("host", "evil.test"), ("origin", "http://evil.test")], 403, "a name made to point at us"),
        (&[("sec-fetch-site", "cross-site")], 403, "the browser says so"),
        (&[("sec-fetch-site", "same-origin"), ("origin", &own)], 200, "the browser says that it is ours"),
    ];
    for (fields, code, why) in cases {
        let reply = post(&edge, "/purge", fields, r#"{"everything":true}"#).await;
        assert_eq!(reply.status, code, "{why}: {}", reply.text());
        let reply = post(&edge, "/service/x/purge_all", fields, "").await;
        assert_eq!(reply.status, code, "{why}: {}", reply.text());
        let reply = send(&edge, with("GET", "/stats", fields), "").await;
        assert_eq!(reply.status, 200, "to read does no harm: {why}");
    }
    assert_eq!(json_of(&edge.admin("/purges").await)["purges"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn unknown_questions_are_not_answered_with_everything() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let cases = [
        ("/objects?tga=x", "did you mean tag?"),
        ("/objects?tag=x&url=http://a/", "one of url, tag and prefix"),
        ("/objects?url=/a", "urls[0]"),
        ("/objects?url=", "urls[0]"),
        ("/objects?tag=a%20b", "tags[0]"),
        ("/objects?prefix=http://a", "prefixes[0]"),
        ("/objects?limit=0", "from 1 to 1000"),
        ("/objects?limit=1001", "from 1 to 1000"),
        ("/objects?limit=ten", "from 1 to 1000"),
        ("/purges?limit=-1", "from 1 to 1000"),
        ("/purges?limit=1&limit=2", "twice"),
        ("/purges?since=1", "this takes limit"),
        ("/stats?x", "this takes none"),
        ("/explain", "url is missing"),
        ("/explain?url=http://a/?x=1&y=2", "written %26"),
        ("/explain?url=not-a-url", ""),
        ("/explain?url=http://a/&method=G%20T", "method is a word"),
        ("/explain?url=http://a/&header=accept", "header is a field"),
    ];
    for (target, says) in cases {
        let reply = edge.admin(target).await;
        assert_eq!(reply.status, 400, "{target}: {}", reply.text());
        assert!(reason(&reply).contains(says), "{target}: {says} in {}", reply.text());
    }
    for target in ["/healthz?from=balancer", "/readyz?x", "/metrics?format=x"] {
        assert_eq!(edge.admin(target).await.status, 200, "{target}: probes may add what they like");
    }
}

#[tokio::test]
async fn a_slow_body_is_waited_for_and_a_huge_one_is_refused() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let mut slow = Line::to(edge.admin_address()).await;
    slow.send("POST /purge HTTP/1.1\r\nhost: a\r\ncontent-length: 14\r\n\r\n").await;
    for piece in [r#"{"ta"#, r#"gs":["#, r#""a"]}"#] {
        // Each piece is read before the next is sent: the other connection's answer takes its time.
        assert_eq!(edge.admin("/healthz").await.status, 200);
        slow.send(piece).await;
    }
    let head = slow.head().await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");

    let mut announced = Line::to(edge.admin_address()).await;
    announced.send("POST /purge HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n").await;
    let head = announced.head().await.expect("an answer before the body");
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");

    let mut sent = Line::to(edge.admin_address()).await;
    sent.send("POST /purge HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..6 {
        sent.send(&chunk).await;
    }
    let head = sent.head().await.expect("the answer is not lost");
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
}

#[tokio::test]
async fn a_client_that_still_sends_is_not_cut_off_from_its_answer() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let mut stream = TcpStream::connect(edge.admin_address()).await.expect("it listens");
    stream.write_all(b"POST /purge HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n").await.expect("it is open");
    let mut head = [0; 12];
    within("the answer", stream.read_exact(&mut head)).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 413");
    for sent in 0..8 {
        let piece = within("room for a piece", stream.write_all(&vec![b' '; 1 << 20])).await;
        piece.unwrap_or_else(|error| panic!("reset after {sent} MiB, and with it what was not read: {error}"));
    }
    let mut rest = String::new();
    within("the rest", stream.read_to_string(&mut rest)).await.expect("a sound end");
    assert!(rest.contains("4 MiB"), "{rest}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.admin_address()).await;
    let body = r#"{"tags":["a"]}"#;
    let purge = format!("POST /purge HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let bad = "POST /purge HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
    let last = "GET /purges HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    line.send([&purge, bad, "GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n", &purge, last].concat()).await;
    let all = line.rest().await;
    let codes: Vec<_> = all.match_indices("HTTP/1.1 ").map(|(at, _)| &all[at + 9..at + 12]).collect();
    assert_eq!(codes, ["200", "400", "404", "200", "200"], "{all}");
    let (one, two) = (all.find(r#""seq":1,"#), all.find(r#""seq":2,"#));
    assert!(one.is_some() && one < two, "{all}");
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_still_served() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    let mut line = Line::to(edge.admin_address()).await;
    line.send("POST /service/x/purge_all HTTP/1.1\r\nhost: a\r\n\r\n").await;
    line.finish().await;
    let reply = line.rest().await;
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    assert_eq!(json_of(&edge.admin("/purges").await)["purges"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn recent_purges_are_told_the_latest_first() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    edge.get("/a").await;
    let first = json_of(&post(&edge, "/purge/all", &[("soft-purge", "1")], "").await);
    post(&edge, "/purge", &[], r#"{"hosts":["A.test"],"tags":["t"]}"#).await;
    edge.ask("PURGE", "/a", &[]).await;
    let purges = json_of(&edge.admin("/purges").await)["purges"].take();
    let of = |index: usize, key: &str| purges[index][key].clone();
    assert_eq!([of(0, "seq"), of(1, "seq"), of(2, "seq")], [3, 2, 1], "{purges}");
    assert_eq!([of(0, "who"), of(2, "who")], ["127.0.0.1 public", "127.0.0.1 admin"], "{purges}");
    assert_eq!(
        (of(2, "id"), of(2, "soft"), of(2, "matched")),
        (first["id"].clone(), json!(true), json!({ "edge": 1 }))
    );
    assert_eq!(of(1, "scopes"), json!([{ "kind": "host", "name": "a.test" }, { "kind": "tag", "name": "t" }]));
    let one = json_of(&edge.admin("/purges?limit=1").await);
    assert_eq!(one["purges"], json!([purges[0]]));
}

#[tokio::test]
async fn what_is_stored_is_listed_by_what_a_purge_would_name() {
    let origin = Origin::serve(|asked| match asked.target.as_str() {
        "/error" => status(404, "none").fresh(600),
        target => {
            ok("body").fresh(600).with("vary", "accept-language").with("surrogate-key", &format!("all tag:{target}"))
        }
    })
    .await;
    let rule = "key = { query = { exclude = [\"utm_*\"] }, headers = [\"x-version\"], cookies = [\"plan\"] }";
    let edge = before(origin.address()).rule(rule).start().await;
    let site = format!("http://{}", edge.address());
    let (english, german) = ([("accept-language", "en")], [("accept-language", "de"), ("x-version", "2")]);
    edge.get_with("/a?utm_x=1&y=2", &english).await;
    edge.get_with("/a?y=2", &english).await;
    edge.get_with("/a?y=2", &[("accept-language", "de")]).await;
    edge.get_with("/b", &german).await;
    edge.get("/error").await;
    let urls = async |query: &str| {
        let reply = edge.admin(&format!("/objects{query}")).await;
        let objects = json_of(&reply);
        assert_eq!(objects["partial"], false, "{objects}");
        let mut urls: Vec<_> = objects["objects"].as_array().expect("a list").clone();
        urls.sort_by_key(|object| object["url"].to_string());
        urls
    };
    let names = |objects: &[Value]| -> Vec<String> {
        objects.iter().map(|object| object["url"].as_str().expect("a URL").replace(&site, "")).collect()
    };
    let cases = [
        (String::new(), vec!["/a?y=2", "/b", "/error"], "everything"),
        (format!("?url={site}/a?utm_z=9%26y=2"), vec!["/a?y=2"], "as the rules normalise it"),
        (format!("?url={site}/a"), vec![], "another query"),
        ("?tag=tag:/b".into(), vec!["/b"], "a tag"),
        ("?tag=all".into(), vec!["/a?y=2", "/b"], "a tag of two"),
        (format!("?prefix={site}/a"), vec!["/a?y=2"], "a prefix"),
        ("?tag=none".into(), vec![], "nothing"),
    ];
    for (query, want, why) in cases {
        assert_eq!(names(&urls(&query).await), want, "{why}: {query}");
    }
    post(&edge, "/purge/tag:%2Fb", &[("soft-purge", "1")], "").await;
    let all = urls("").await;
    let (a, b, error) = (&all[0], &all[1], &all[2]);
    let selecting: Vec<_> = (0..2).map(|index| a["variants"][index]["selecting"][0].as_str()).collect();
    assert_eq!(selecting, [Some("accept-language: de"), Some("accept-language: en")], "{a}");
    assert_eq!((&a["headers"], &a["cookies"]), (&json!(["x-version"]), &json!(["plan"])), "{a}");
    assert_eq!(b["headers"], json!(["x-version: 2"]), "{b}");
    let english = &a["variants"][1];
    assert_eq!((&english["hits"], &english["size"], &english["status"]), (&json!(1), &json!(4), &json!(200)), "{a}");
    assert_eq!((&english["lifetime"], &english["standing"]), (&json!(600), &json!("alive")), "{a}");
    assert!(english["ttl"].as_i64().is_some_and(|ttl| (500..=600).contains(&ttl)), "{a}");
    let stale = &b["variants"][0];
    assert_eq!((&stale["standing"], &stale["stamp"]), (&json!("stale"), &json!(0)), "{b}");
    assert_eq!(error["variants"][0]["status"], 404, "{error}");
    let one = json_of(&edge.admin("/objects?limit=1").await);
    assert_eq!((one["objects"].as_array().map(Vec::len), &one["partial"]), (Some(1), &json!(true)), "{one}");
}

#[tokio::test]
async fn a_stored_part_is_told_as_one() {
    let origin =
        Origin::serve(|_| status(206, "0123").fresh(600).with("content-range", "bytes 0-3/10").with("etag", "\"v1\""))
            .await;
    let edge = before(origin.address()).start().await;
    edge.get_with("/part", &[("range", "bytes=0-3")]).await;
    let listed = eventually("the part", async || {
        let objects = json_of(&edge.admin("/objects").await);
        objects["objects"].get(0).cloned()
    })
    .await;
    let variant = &listed["variants"][0];
    assert_eq!((&variant["part"], &variant["size"]), (&json!({ "first": 0, "complete": 10 }), &json!(4)), "{listed}");
}

#[tokio::test]
async fn the_figures_are_those_of_what_happened() {
    let origin = Origin::serve(|asked| match asked.target.as_str() {
        "/private" => ok("x").with("cache-control", "no-store"),
        _ => ok("0123456789").fresh(600),
    })
    .await;
    let edge = before(origin.address()).memory("capacity = \"32MiB\"").start().await;
    for target in ["/a", "/a", "/a", "/b", "/private"] {
        edge.get(target).await;
    }
    post(&edge, "/purge/t", &[], "").await;
    let stats = eventually("all requests are over", async || {
        let stats = json_of(&edge.admin("/stats").await);
        (stats["requests"]["total"] == 5).then_some(stats)
    })
    .await;
    let requests = &stats["requests"];
    assert_eq!((&requests["by_result"]["hit"], &requests["by_result"]["miss"]), (&json!(2), &json!(3)), "{stats}");
    assert_eq!((&requests["hit_ratio"], &requests["in_flight"]), (&json!(0.4), &json!(0)), "{stats}");
    assert_eq!(stats["memory"]["capacity"], 32 << 20, "{stats}");
    assert!(stats["memory"]["bytes"].as_u64().is_some_and(|bytes| bytes > 20), "{stats}");
    assert_eq!((&stats["fills"]["total"], &stats["fills"]["stores"]), (&json!(3), &json!(2)), "{stats}");
    assert_eq!((&stats["purges"]["seq"], &stats["purges"]["scopes"]), (&json!(1), &json!(1)), "{stats}");
    assert_eq!(stats["origins"], json!([{ "name": "app", "up": true }]), "{stats}");
    assert_eq!(stats["version"], env!("CARGO_PKG_VERSION"), "{stats}");
    let receipt = json_of(&post(&edge, "/purge/t", &[], r#"{"dry_run":true}"#).await);
    assert_eq!(receipt["seq"], 1, "{receipt}");
    let acked = json_of(&post(&edge, "/purge/t", &[], "").await)["nodes"]["acked"][0].take();
    assert_eq!(stats["node"], acked, "{stats}");
}

#[tokio::test]
async fn a_question_is_explained() {
    let origin = tagging().await;
    let edge = before(origin.address()).start().await;
    edge.get("/a").await;
    let ask = format!("/explain?url=http%3A%2F%2F{}%2Fa&header=accept:+text/html&method=HEAD", edge.address());
    let explanation = json_of(&edge.admin(&ask).await);
    assert_eq!(explanation["verdict"]["result"], "hit", "{explanation}");
    assert!(explanation["request"].as_str().is_some_and(|text| text.starts_with("HEAD ")), "{explanation}");
    assert_eq!(origin.hits(), 1, "nobody was asked");
    let mut told = explanation["stored"][0].clone();
    let selected = told.as_object_mut().expect("an object").remove("selected");
    let listed = json_of(&edge.admin("/objects").await)["objects"][0]["variants"][0].take();
    assert_eq!(selected, Some(json!(true)));
    for whatever in ["age", "ttl"] {
        assert!(told[whatever].is_number() && listed[whatever].is_number(), "{told} {listed}");
        told[whatever] = listed[whatever].clone();
    }
    assert_eq!(told, listed, "what is stored is told in the same words everywhere");
}
