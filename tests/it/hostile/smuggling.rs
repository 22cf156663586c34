//! Does the origin get one well-framed request for each of the client's, newly written, and nothing of another?

use super::{Kit, assert_sound, statuses, values};

#[tokio::test]
async fn what_the_origin_gets_is_written_anew() {
    let kit = Kit::new().await;
    let own = kit.origin.address().to_string();
    let cases = [
        ("GET", "X-Forwarded-For: evil", "", "a forged chain"),
        ("GET", "X-Forwarded-For: 127.0.0.1, evil\r\nX-Forwarded-For: evil", "", "several"),
        ("GET", "x-forwarded-for : evil", "refused", "with a space"),
        ("GET", "X-Forwarded-Host: evil.test", "", "another host"),
        ("GET", "X-Forwarded-Proto: evil", "", "another scheme"),
        ("GET", "X-Forwarded-Port: 6666evil", "", "another port"),
        ("GET", "X-Forwarded-Prefix: /evil", "", "another prefix"),
        ("GET", "X-Forwarded-Server: evil", "", "another server"),
        ("GET", "X-Forwarded: evil", "", "the old name"),
        ("GET", "Forwarded: for=evil;host=evil;proto=evil", "", "the standard's"),
        ("GET", "X-Real-IP: 1.1.1.1", "", "another address"),
        ("GET", "X-Original-URL: /evil", "", "another URL"),
        ("GET", "X-Rewrite-URL: /evil", "", "another URL"),
        ("GET", "X-Override-URL: /evil", "", "another URL"),
        ("GET", "X-HTTP-Method-Override: evil", "", "another method"),
        ("GET", "X-HTTP-Method: evil", "", "another method"),
        ("GET", "X-Method-Override: evil", "", "another method"),
        ("GET", "Proxy: http://evil", "", "httpoxy"),
        ("GET", "Connection: keep-alive, X-Evil\r\nX-Evil: evil", "", "a hop-by-hop field"),
        ("GET", "Connection: x-forwarded-for", "refused", "a hop that takes our word away"),
        ("GET", "Connection: cookie\r\nCookie: a", "refused", "a hop that takes the client's away"),
        ("GET", "Keep-Alive: evil", "", "about the hop"),
        ("GET", "Proxy-Connection: evil", "", "about the hop"),
        ("GET", "Proxy-Authorization: evil", "", "for us, if for anybody"),
        ("GET", "TE: evil", "", "codings that we do not undo"),
        ("GET", "Trailer: evil\r\nConnection: trailer", "refused", "protected"),
        ("GET", "Upgrade: h2c\r\nHTTP2-Settings: evil\r\nConnection: Upgrade, HTTP2-Settings", "", "h2c"),
        ("POST", "Upgrade: evil\r\nConnection: upgrade\r\nContent-Length: 4", "evil-body", "an upgrade with a body"),
        ("GET", "Upgrade: evil", "", "an upgrade without its option"),
        ("POST", "Expect: 100-continue\r\nContent-Length: 0", "", "an expectation of nothing"),
        ("POST", "Expect: evil\r\nContent-Length: 0", "refused", "another expectation"),
        ("POST", "Content-Length: 0\r\nConnection: content-length", "refused", "a hop that takes the length away"),
        ("POST", "Transfer-Encoding: chunked\r\nConnection: transfer-encoding", "chunks", "it goes anyway"),
    ];
    for (number, (method, fields, kind, why)) in cases.into_iter().enumerate() {
        let body = match kind {
            "evil-body" => "EVIL",
            "chunks" => "0\r\n\r\n",
            _ => "",
        };
        let target = format!("/{number}");
        let close = if fields.contains("Connection: ") { "" } else { "Connection: close\r\n" };
        let mut line = crate::support::raw::Line::to(kit.edge.address()).await;
        line.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{close}{fields}\r\n\r\n{body}")).await;
        let answer = line.head().await.expect("an answer");
        let refused = kind == "refused";
        let status = statuses(&answer)[0];
        assert!(if refused { status == 400 || status == 417 } else { status == 200 }, "{why}: {answer}");
        let seen = kit.seen();
        assert_eq!(seen.len(), usize::from(!refused), "{why}: {seen:?}");
        for request in seen {
            assert_sound(&request, why);
            assert_eq!(values(&request, "host"), [own.as_str()], "{why}: {request}");
            assert_eq!(values(&request, "x-forwarded-host"), ["a"], "{why}: {request}");
        }
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn requests_that_are_sent_together_stay_apart() {
    let kit = Kit::new().await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = |target: &str, body: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let chunked = |target: &str, body: &str| {
        let chunk = format!("{:x}\r\n{body}\r\n", body.len());
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n")
    };
    let inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let cases = [
        (format!("{}{}{last}", get("/1"), get("/2")), vec!["/1", "/2", "/last"], "three requests"),
        (format!("{}{last}", post("/3", inner)), vec!["/3", "/last"], "a body that is a request"),
        (format!("{}{last}", chunked("/4", inner)), vec!["/4", "/last"], "a chunk that is a request"),
        (
            format!("GET /5 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}{last}", inner.len()),
            vec!["/5", "/last"],
            "a GET with one",
        ),
        (
            format!("DELETE /6 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}{last}", inner.len()),
            vec!["/6", "/last"],
            "a DELETE with one",
        ),
        (format!("{}\r\n{last}", post("/7", "x")), vec!["/7", "/last"], "an empty line after a body"),
        (
            format!("GET /8 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{inner}"),
            vec!["/8"],
            "nothing after the close",
        ),
        (format!("GET /9 HTTP/1.0\r\nHost: a\r\n\r\n{inner}"), vec!["/9"], "nor after HTTP/1.0"),
        (
            format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nExpect: x\r\n\r\n{inner}", inner.len()),
            vec![],
            "nor after a refusal",
        ),
        (
            format!("POST /10 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n{inner}"),
            vec!["/10"],
            "nor after a length too short",
        ),
        (
            format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999\r\n\r\n{inner}"),
            vec![],
            "nor in a body too large",
        ),
        (format!("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n{inner}"), vec![], "nor through a tunnel that is none"),
        (
            format!("GET /11 HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{last}"),
            vec!["/11", "/last"],
            "an upgrade that is declined",
        ),
    ];
    for (bytes, want, why) in cases {
        for size in [bytes.len(), 7] {
            let mut line = crate::support::raw::Line::to(kit.edge.address()).await;
            for piece in bytes.as_bytes().chunks(size) {
                line.send(piece).await;
            }
            let answer = line.rest().await;
            assert!(!answer.contains("/inner"), "{why}: {answer}");
            let seen = kit.seen();
            let targets: Vec<&str> = seen.iter().filter_map(|request| request.split(' ').nth(1)).collect();
            // What is stored by now needs no origin; what is not asked for must not reach it.
            assert!(targets.iter().all(|target| want.contains(target)), "{why}: {targets:?}");
            assert_eq!(
                statuses(&answer).iter().filter(|status| **status == 200).count(),
                want.len(),
                "{why}: {answer}"
            );
            for request in seen.iter().filter(|request| values(request, "upgrade").is_empty()) {
                assert_sound(request, why);
            }
            kit.is_well(why).await;
        }
    }
}

#[tokio::test]
async fn bytes_for_a_protocol_that_is_not_there_yet_are_no_request() {
    let kit = Kit::new().await;
    let head = "GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    for (early, why) in [
        ("\u{81}\u{85}frame\n", "a frame"),
        ("GET /evil HTTP/1.1\nHost: a\n\n", "a request that has two readings"),
        ("POST /evil HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", "another"),
    ] {
        let answer = kit.talk(format!("{head}{early}")).await;
        assert!(statuses(&answer).iter().all(|status| matches!(status, 200 | 400)), "{why}: {answer}");
        assert!(kit.seen().iter().all(|request| request.starts_with("GET /x ")), "{why}");
        kit.is_well(why).await;
    }
}
