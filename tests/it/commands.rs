//! The commands that ask a running proxy: what they ask, what they print, where, and with which exit code.

use std::io::Read;
use std::process::{Command, Output, Stdio};

use crate::support::edge::before;
use crate::support::origin::{Asked, Origin, Told, ok, status};
use crate::support::raw::RawOrigin;

const RECEIPT: &str = "{\"status\":\"ok\",\"id\":\"x\",\"seq\":1842,\"soft\":false,\"matched\":{\"edge\":312},\
                       \"nodes\":{\"acked\":[\"e1\"],\"lagging\":[]},\"took_ms\":1.2}";
const DRY: &str = "{\"status\":\"dry-run\",\"id\":\"x\",\"seq\":1842,\"soft\":false,\"matched\":{\"edge\":1},\
                   \"nodes\":{\"acked\":[],\"lagging\":[]},\"took_ms\":1.2}";
const PENDING: &str = "{\"status\":\"pending\",\"id\":\"x\",\"seq\":7,\"soft\":false,\"matched\":{\"edge\":2},\
                       \"nodes\":{\"acked\":[\"e1\"],\"lagging\":[\"e2\",\"e3\"]},\"took_ms\":1.2}";
const EXPLANATION: &str = "{\"request\":\"GET http://h/a\",\"verdict\":{\"result\":\"miss\",\"detail\":\"not-stored\",\
                           \"because\":\"nothing is stored for it\"},\"steps\":[{\"step\":\"route\",\"says\":\"goes to app\"}],\
                           \"rules\":[{\"name\":\"catalogue\",\"line\":12}],\"origin\":\"app\",\
                           \"key\":{\"url\":\"http://h/a\",\"normalised\":\"http://h/a\",\"headers\":[],\"cookies\":[]},\
                           \"stored\":[],\"advice\":[\"ask for it once\"]}";

/// `larder` with these arguments, and nothing of this process's own settings.
fn larder(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(arguments).env_remove("LARDER_ADMIN").env_remove("LARDER_TOKEN").env("TERM", "xterm");
    command
}

/// What the process said and how it ended; the listeners of the test go on meanwhile.
async fn run(mut command: Command) -> (i32, String, String) {
    let ended = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output());
    let Output { status, stdout, stderr } = ended.await.expect("the wait ends").expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// Runs `larder` against an admin listener that answers so.
async fn against(admin: &Origin, arguments: &[&str]) -> (i32, String, String) {
    let mut command = larder(arguments);
    command.env("LARDER_ADMIN", format!("http://{}", admin.address()));
    run(command).await
}

/// An admin listener that gives everybody this answer.
async fn admin(code: u16, body: &'static str) -> Origin {
    Origin::serve(move |_| status(code, body).with("content-type", "application/json")).await
}

fn problem(code: u16, reason: &str) -> Told {
    let object = serde_json::json!({ "status": code, "reason": reason });
    status(code, format!("{object}\n")).with("content-type", "application/json")
}

#[tokio::test]
async fn a_purge_is_asked_for_in_one_request() {
    let admin = admin(200, RECEIPT).await;
    let line = [
        "purge",
        "--tag",
        "a",
        "--tag",
        "-b",
        "--url",
        "http://h/?x=1",
        "--prefix",
        "http://h/p",
        "--host",
        "i:8080",
        "--all",
        "--soft",
        "--wait",
        "all",
    ];
    assert_eq!(against(&admin, &line).await.0, 0);
    assert_eq!((admin.hits(), admin.connections()), (1, 1));
    let Asked { method, target, headers, body, .. } = admin.last();
    assert_eq!((method.as_str(), target.as_str()), ("POST", "/purge"));
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["host"], admin.address().to_string());
    assert!(!headers.contains_key("authorization"), "no token, none sent");
    let asked: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let want = serde_json::json!({
        "tags": ["a", "-b"], "urls": ["http://h/?x=1"], "prefixes": ["http://h/p"], "hosts": ["i:8080"],
        "everything": true, "soft": true, "wait": "all",
    });
    assert_eq!(asked, want);
}

#[tokio::test]
async fn a_purge_ends_as_its_answer_says() {
    let lagging = "error: not confirmed in time by e2 and e3 (202): until it is, what was purged may be served there\n";
    let untold =
        "error: the other nodes could not be told (503): the one that was asked has purged it and keeps trying\n";
    let cases: [(u16, &'static str, &[&str], i32, _, _, _); 12] = [
        (200, RECEIPT, &[], 0, "purged 312 stored responses (seq 1842, 1.2 ms); confirmed by e1\n", "", "as asked"),
        (200, DRY, &["--dry-run"], 0, "would purge 1 stored response; nothing was changed\n", "", "not really"),
        (202, PENDING, &[], 1, "confirmed by e1; not yet by e2 and e3\n", lagging, "some lag"),
        (503, PENDING, &[], 1, "purged 2 stored responses", untold, "the fleet is out of reach"),
        (202, RECEIPT, &[], 1, "purged 312", "not confirmed as asked (202)", "the status counts, not its word"),
        (200, DRY, &[], 1, "would purge 1", "not confirmed as asked", "nothing was purged"),
        (503, "{\"status\":503,\"reason\":\"ending\"}", &[], 1, "", "error: ending (503)\n", "it did nothing"),
        (
            400,
            "{\"status\":400,\"reason\":\"a tag\\u001b has no space\"}",
            &[],
            2,
            "",
            "error: a tag\\u{1b} has no space\n",
            "bad arguments",
        ),
        (413, "{\"status\":413,\"reason\":\"too many tags\"}", &[], 2, "", "error: too many tags\n", "too much"),
        (404, "{\"status\":404,\"reason\":\"nothing here\"}", &[], 1, "", "has no /purge (404: nothing here)", "older"),
        (
            200,
            "{\"fine\":true}",
            &[],
            1,
            "",
            "does not look like Larder's admin listener (it answered 200)",
            "another API",
        ),
        (404, "<html>", &[], 1, "", "does not look like Larder's admin listener (it answered 404)", "another server"),
    ];
    for (status, body, more, code, stdout, stderr, why) in cases {
        let admin = admin(status, body).await;
        let (got, out, errors) = against(&admin, &[&["purge", "--tag", "a"], more].concat()).await;
        assert_eq!(got, code, "{why}: {out}{errors}");
        assert!(out.contains(stdout) && out.is_empty() == stdout.is_empty(), "{why}: {out}");
        assert!(errors.contains(stderr) && errors.is_empty() == stderr.is_empty(), "{why}: {errors}");
        let (got, out, errors) = against(&admin, &[&["purge", "--tag", "a", "--json"], more].concat()).await;
        assert_eq!(got, code, "{why}, for a program: {out}{errors}");
        let value: serde_json::Value = serde_json::from_str(&out).expect("one JSON value");
        if body.starts_with('{') {
            assert_eq!(out, format!("{body}\n"), "{why}: as it came");
        } else {
            assert_eq!(value["status"], status, "{why}: {out}");
            assert!(value["reason"].as_str().is_some_and(|reason| errors.contains(reason)), "{why}: {out}{errors}");
        }
    }
}

#[tokio::test]
async fn wrong_usage_asks_nobody() {
    let admin = admin(200, RECEIPT).await;
    let cases: [(&[&str], &str, &str); 9] = [
        (&["purge"], "say what with --tag, --url, --prefix or --host", "nothing named"),
        (&["purge", "--soft"], "purge everything with --all", "nothing named, softly"),
        (&["purge", "--tag", "--soft"], "write the tag between them", "a tag forgotten"),
        (&["purge", "--all", "--wait", "some"], "edge, all", "no such confirmation"),
        (&["purge", "--all", "--admin", "localhost:9080"], "http://127.0.0.1:9080", "no URL"),
        (&["purge", "--all", "--token", "a\nb"], "the token holds", "no field value"),
        (&["explain"], "<URL>", "no URL"),
        (&["explain", "http://h/", "-H", "x"], "accept-language: de", "no field"),
        (&["explain", "http://h/", "-m", " "], "--method", "no method"),
    ];
    for (line, want, why) in cases {
        let (code, out, errors) = against(&admin, line).await;
        assert_eq!((code, out.as_str()), (2, ""), "{line:?}: {why}");
        assert!(errors.contains(want) && !errors.contains("a\nb"), "{line:?}: {why}: {errors}");
    }
    let long = format!("http://h/{}", "a".repeat(100_000));
    let (code, _, errors) = against(&admin, &["explain", &long]).await;
    assert!(code == 2 && errors.contains("too long for a request"), "{code}: {errors}");
    assert_eq!(admin.connections(), 0);
}

#[tokio::test]
async fn the_listener_is_the_flag_s_then_the_environment_s_then_the_default() {
    let (flag, environment) = (admin(200, RECEIPT).await, admin(200, RECEIPT).await);
    let url = |origin: &Origin, base: &str| format!("http://{}{base}", origin.address());
    let mut command = larder(&["purge", "--all"]);
    command.env("LARDER_ADMIN", url(&environment, "/ops/")).env("LARDER_TOKEN", "hush-environment");
    assert_eq!(run(command).await.0, 0);
    assert_eq!((flag.hits(), environment.hits()), (0, 1));
    assert_eq!(environment.last().target, "/ops/purge", "a path stays before ours");
    assert_eq!(environment.last().field("authorization").as_deref(), Some("Bearer hush-environment"));

    let mut command = larder(&["purge", "--all", "--admin", &url(&flag, ""), "--token", "-hush-flag"]);
    command.env("LARDER_ADMIN", url(&environment, "")).env("LARDER_TOKEN", "hush-environment");
    assert_eq!(run(command).await.0, 0);
    assert_eq!((flag.hits(), environment.hits()), (1, 1));
    assert_eq!(flag.last().field("authorization").as_deref(), Some("Bearer -hush-flag"));

    let mut command = larder(&["purge", "--all", "--admin", &url(&flag, "")]);
    command.env("LARDER_TOKEN", "");
    assert_eq!(run(command).await.0, 0);
    assert_eq!(flag.last().field("authorization"), None, "an empty token is none");

    for name in ["purge", "explain"] {
        let mut command = larder(&[name, "--help"]);
        command.env("LARDER_TOKEN", "hush-environment");
        let (code, help, _) = run(command).await;
        assert_eq!(code, 0);
        for part in ["[default: http://127.0.0.1:9080]", "[env: LARDER_ADMIN=]", "[env: LARDER_TOKEN]", "Examples:\n"] {
            assert!(help.contains(part), "{name}: {part} is missing from\n{help}");
        }
        assert!(!help.contains("hush"), "{help}");
    }
}

#[tokio::test]
async fn a_token_that_is_missing_or_wrong_is_a_failure_that_says_which() {
    for code in [401, 403] {
        let admin = Origin::serve(move |_| problem(code, "the admin token is missing or wrong")).await;
        let (got, _, errors) = against(&admin, &["purge", "--all"]).await;
        assert!(got == 1 && errors.contains("give it with LARDER_TOKEN or --token"), "{got}: {errors}");
        let (got, _, errors) = against(&admin, &["explain", "http://h/", "--token", "hush"]).await;
        assert!(got == 1 && errors.contains("does not take the token"), "{got}: {errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}

#[tokio::test]
async fn whoever_cannot_be_asked_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("a bound listener has an address");
    drop(taken);
    let nobody = format!("http://{address}");
    let garbage = RawOrigin::serve(|mut visitor| async move {
        visitor.request().await;
        visitor.say("220 mail.example ESMTP\r\n").await;
    })
    .await;
    let closing = RawOrigin::serve(|mut visitor| async move {
        visitor.request().await;
    })
    .await;
    let public = Origin::serve(|_| ok("hello").with("cache-status", "larder; fwd=method; detail=method")).await;
    let cases = [
        (nobody.clone(), format!("nothing listens at {nobody}: is `larder serve` running?"), "nobody there"),
        (nobody.replace("http:", "https:"), "nothing listens at https://".to_owned(), "nor with TLS"),
        (format!("http://{}", garbage.address()), "does not speak HTTP".to_owned(), "another protocol"),
        (format!("http://{}", closing.address()), "ended before the answer did".to_owned(), "gone in the middle"),
        (format!("https://{}", public.address()), "no TLS with https://".to_owned(), "a listener without TLS"),
        (
            format!("http://{}", public.address()),
            "is a public listener, not the admin".to_owned(),
            "the other listener",
        ),
    ];
    for (url, want, why) in cases {
        for line in [["purge", "--all"], ["explain", "http://h/"]] {
            let (code, out, errors) = run(larder(&[&line[..], &["--admin", &url]].concat())).await;
            assert_eq!((code, out.as_str()), (1, ""), "{why}: {errors}");
            assert!(errors.starts_with("error: ") && errors.contains(&want), "{why}: {errors}");
            let is_open = errors.contains("may be done all the same");
            assert_eq!(is_open, why == "gone in the middle" && line[0] == "purge", "{why}: {errors}");
        }
        let (code, out, errors) = run(larder(&["purge", "--all", "--json", "--admin", &url])).await;
        let value: serde_json::Value = serde_json::from_str(&out).expect("one JSON value");
        assert_eq!((code, format!("error: {}\n", value["reason"].as_str().unwrap_or_default())), (1, errors), "{why}");
    }
}

#[tokio::test]
async fn an_explanation_is_printed_for_people_and_for_programs() {
    let admin = admin(200, EXPLANATION).await;
    let line = ["explain", "http://h/a?b=c d", "-H", "Accept: */*", "--method", "HEAD", "-H", "cookie: a=b&c"];
    let (code, out, errors) = against(&admin, &line).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    assert_eq!(admin.last().method, "GET");
    let want = "/explain?url=http%3A%2F%2Fh%2Fa%3Fb%3Dc%20d&method=HEAD&header=Accept%3A%20%2A%2F%2A&header=cookie%3A%20a%3Db%26c";
    assert_eq!(admin.last().target, want);
    for part in [
        "GET http://h/a\nmiss: nothing is stored for it\n  detail  not-stored\n",
        "Steps\n  route  goes to app\n",
        "Rules\n  line 12  catalogue\n",
        "Key\n  URL        http://h/a\n",
        "Stored\n  nothing under this key\n",
        "To make it a hit\n  -  ask for it once\n",
    ] {
        assert!(out.contains(part), "{part} is missing from\n{out}");
    }
    assert!(!out.contains('\u{1b}'), "no colour where nobody sees it");
    let (code, out, _) = against(&admin, &["explain", "http://h/a", "--json"]).await;
    assert_eq!((code, out), (0, format!("{EXPLANATION}\n")), "as it came");
    let refusing = Origin::serve(|_| problem(400, "url must be absolute")).await;
    let (code, out, errors) = against(&refusing, &["explain", "/a"]).await;
    assert_eq!((code, out.as_str(), errors.as_str()), (2, "", "error: url must be absolute\n"));
}

#[tokio::test]
async fn a_reader_that_has_gone_away_is_no_failure() {
    let admin = admin(200, RECEIPT).await;
    let mut command = larder(&["purge", "--all"]);
    command.env("LARDER_ADMIN", format!("http://{}", admin.address()));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut process = command.stdout(writer).stderr(Stdio::piped()).spawn().expect("the binary runs");
    drop(command);
    let ended = tokio::task::spawn_blocking(move || {
        let mut errors = String::new();
        let said = process.stderr.take().expect("it is piped").read_to_string(&mut errors);
        (process.wait().map(|status| status.code()), said.map(|_| errors))
    });
    let (code, errors) = ended.await.expect("the wait ends");
    assert_eq!((code.expect("it ends"), errors.expect("text").as_str()), (Some(0), ""));
    assert_eq!(admin.hits(), 1);
}

#[tokio::test]
async fn a_running_proxy_purges_and_explains_what_it_is_told_to() {
    let origin = Origin::serve(|_| ok("body").fresh(600).with("surrogate-key", "products -17")).await;
    let edge = before(origin.address()).rule("name = \"catalogue\"\nmatch = { path = \"/a\" }").start().await;
    let admin = format!("http://{}", edge.admin_address());
    let url = format!("http://{}/a", edge.address());
    let ask = |line: &[&str]| run(larder(&[line, &["--admin", &admin]].concat()));

    let (code, out, errors) = ask(&["explain", &url]).await;
    assert!(code == 0 && out.starts_with(&format!("GET {url}\nmiss: ")), "{out}{errors}");
    edge.get("/a").await;
    let (code, out, errors) = ask(&["explain", &url]).await;
    assert!(code == 0 && out.starts_with(&format!("GET {url}\nhit: ")), "{out}{errors}");
    for part in ["Rules\n  line ", "  catalogue\n", "  *  200 ", "      tags  products -17\n"] {
        assert!(out.contains(part), "{part} is missing from\n{out}");
    }
    let (code, out, errors) = ask(&["purge", "--tag", "products", "--dry-run"]).await;
    assert_eq!((code, out.as_str()), (0, "would purge 1 stored response; nothing was changed\n"), "{errors}");
    let (code, out, errors) = ask(&["purge", "--tag", "-17", "--tag", "other"]).await;
    assert!(code == 0 && out.starts_with("purged 1 stored response (seq 1, "), "{out}{errors}");
    assert!(out.contains("; confirmed by "), "{out}");
    let (_, out, _) = ask(&["explain", &url]).await;
    assert!(out.contains("\nmiss: ") && out.contains("purge 1 of tag"), "{out}");
    assert_eq!(edge.get("/a").await.text(), "body");
    assert_eq!(origin.hits(), 2);
    let (code, out, errors) = ask(&["purge", "--url", &url, "--soft", "--json"]).await;
    let receipt: serde_json::Value = serde_json::from_str(&out).expect("a receipt is JSON");
    assert_eq!((code, &receipt["seq"], &receipt["soft"]), (0, &2.into(), &true.into()), "{out}{errors}");

    let many: Vec<_> = (0..1025).map(|number| format!("--tag={number}")).collect();
    let many: Vec<_> = ["purge"].into_iter().chain(many.iter().map(String::as_str)).collect();
    let cases: [(&[&str], &str); 5] = [
        (&["purge", "--tag", "a b"], "a tag with a space"),
        (&["purge", "--url", "/a"], "a URL that is none"),
        (&["purge", "--prefix", "shop.example"], "a prefix that is none"),
        (&many, "too many names"),
        (&["explain", "/a"], "a URL that is none"),
    ];
    for (line, why) in cases {
        let (code, out, errors) = ask(line).await;
        assert_eq!((code, out.as_str()), (2, ""), "{why}: {errors}");
        assert!(errors.starts_with("error: ") && errors.lines().count() == 1, "{why}: {errors}");
    }
}
