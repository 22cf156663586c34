//! Which request lines and hosts are for us, and what do the others get? (RFC 9110 §7, RFC 9112 §3)

use super::{Kit, assert_sound, statuses, values};

#[tokio::test]
async fn a_request_line_that_is_not_for_us_gets_the_status_that_says_so() {
    let kit = Kit::new().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    let endless = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000));
    let head = format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let fields = format!("GET /x HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(200));
    let method = format!("{} /x HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(40));
    let cases: [(&str, u16, &str); 39] = [
        ("GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 505, "a version that is not there"),
        ("GET /x HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP/2 is not written so"),
        ("GET /x HTTP/3.0\r\nHost: a\r\n\r\n", 505, "nor HTTP/3"),
        ("GET /x HTTP/0.9\r\nHost: a\r\n\r\n", 505, "HTTP/0.9 had no version"),
        ("GET /x\r\n\r\n", 400, "HTTP/0.9"),
        ("GET /x \r\nHost: a\r\n\r\n", 400, "an empty version"),
        ("GET /x HTTP/1.1x\r\nHost: a\r\n\r\n", 400, "no version"),
        ("GET /x http/1.1\r\nHost: a\r\n\r\n", 400, "the name has a case"),
        ("GET /x HTTPS/1.1\r\nHost: a\r\n\r\n", 400, "another protocol"),
        ("GET /x HTTP/01.1\r\nHost: a\r\n\r\n", 400, "a digit too many"),
        ("GET /x HTTP/1,1\r\nHost: a\r\n\r\n", 400, "a comma"),
        ("GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "two spaces"),
        ("GET /x  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "two spaces later"),
        ("GET /x HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "a space at the end"),
        ("GET\t/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a tab"),
        ("GET\u{b}/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a vertical tab"),
        ("GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a space in the target"),
        ("GET /x HTTP/1.1 GET /evil HTTP/1.1\r\nHost: a\r\n\r\n", 400, "two requests on one line"),
        ("G(T /x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a method that is no token"),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a relative target"),
        ("GET ?x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a query alone"),
        ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "authority-form is for CONNECT"),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "asterisk-form is for OPTIONS"),
        ("GET /x#evil HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a fragment"),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "raw UTF-8"),
        ("GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a control byte"),
        ("GET /x\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "NUL"),
        ("GET /x\\y HTTP/1.1\r\nHost: a\r\n\r\n", 400, "a backslash"),
        ("GET /<x> HTTP/1.1\r\nHost: a\r\n\r\n", 400, "brackets"),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405, "we are no tunnel"),
        ("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", 405, "whatever its form"),
        ("TRACE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405, "nobody's fields are shown"),
        ("TRACK /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405, "its twin"),
        (&method, 501, "nobody has a method so long"),
        (&long, 414, "a target longer than a key"),
        (&endless, 414, "a target that never ends"),
        (&head, 431, "a head that is too large"),
        (&fields, 431, "too many fields"),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\r\n\r\n", 400, "TLS"),
    ];
    for (request, status, why) in cases {
        let answer = kit.talk(request).await;
        assert_eq!(statuses(&answer), [status], "{why}: {answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{why}: {answer}");
        assert!(answer.contains("proxy-status: larder; error="), "{why}: {answer}");
        assert_eq!(kit.seen(), [""; 0], "{why}");
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn exactly_one_valid_host_and_no_other_in_the_target() {
    let kit = Kit::new().await;
    let cases: [(&str, &str, &str); 33] = [
        ("/x", "", "none"),
        ("/x", "Host: a\r\nHost: a\r\n", "two, though equal"),
        ("/x", "Host: a\r\nHost: evil\r\n", "two"),
        ("/x", "Host: a, evil\r\n", "a list"),
        ("/x", "Host:\r\n", "an empty one"),
        ("/x", "Host: a b\r\n", "a space"),
        ("/x", "Host: a/b\r\n", "a path"),
        ("/x", "Host: a?b\r\n", "a query"),
        ("/x", "Host: a#b\r\n", "a fragment"),
        ("/x", "Host: me@a\r\n", "a user"),
        ("/x", "Host: a\\b\r\n", "a backslash"),
        ("/x", "Host: a%00b\r\n", "an encoding"),
        ("/x", "Host: a:\u{664}\r\n", "a port of another script"),
        ("/x", "Host: a:x\r\n", "a port that is no number"),
        ("/x", "Host: a:0\r\n", "port 0"),
        ("/x", "Host: a:65536\r\n", "a port that is none"),
        ("/x", "Host: a:80:80\r\n", "two ports"),
        ("/x", "Host: :80\r\n", "a port alone"),
        ("/x", "Host: http://a\r\n", "a URL"),
        ("/x", "Host: [::1\r\n", "half a bracket"),
        ("/x", "Host: [evil]\r\n", "no address in the brackets"),
        ("/x", "Host: \u{e4}.test\r\n", "raw UTF-8"),
        ("/x", "Host : a\r\n", "a space before the colon"),
        ("http://evil/x", "Host: a\r\n", "another in the target"),
        ("http://a:81/x", "Host: a\r\n", "another port in the target"),
        ("http://a/x", "", "absolute-form does not replace Host"),
        ("http://me@a/x", "Host: a\r\n", "a user in the target"),
        ("http://a@evil/x", "Host: a\r\n", "a user that looks like the host"),
        ("ftp://a/x", "Host: a\r\n", "another scheme"),
        ("file:///etc/passwd", "Host: a\r\n", "a scheme without a host"),
        ("http:///x", "Host: a\r\n", "no host in the target"),
        ("//evil/x", "Host: a\r\nHost: b\r\n", "two behind a path that looks like a host"),
        ("http://a", "Host: a\r\nConnection: host\r\n", "a hop that takes it away"),
    ];
    for (target, host, why) in cases {
        let answer = kit.talk(format!("GET {target} HTTP/1.1\r\n{host}\r\n")).await;
        assert_eq!(statuses(&answer), [400], "{why}: {answer}");
        assert_eq!(kit.seen(), [""; 0], "{why}");
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn forms_that_are_odd_and_right_pass_in_one_form() {
    let kit = Kit::with(|setup| setup.origin("preserve_host = true")).await;
    let cases = [
        ("GET http://Shop.Test:80/a?b HTTP/1.1\r\nHost: shop.test", "GET /a?b HTTP/1.1", "shop.test", "absolute-form"),
        ("GET HTTP://shop.test?q HTTP/1.1\r\nHost: shop.test", "GET /?q HTTP/1.1", "shop.test", "without a path"),
        ("GET //other.test/a HTTP/1.1\r\nHost: shop.test", "GET //other.test/a HTTP/1.1", "shop.test", "a path"),
        ("GET /v10 HTTP/1.0\r\nHost: shop.test", "GET /v10 HTTP/1.1", "shop.test", "HTTP/1.0"),
        ("BREW /pot HTTP/1.1\r\nHost: shop.test", "BREW /pot HTTP/1.1", "shop.test", "an unknown method"),
        ("get /lower HTTP/1.1\r\nHost: shop.test", "get /lower HTTP/1.1", "shop.test", "methods have a case"),
        ("GET /v6 HTTP/1.1\r\nHost: [::1]:8080", "GET /v6 HTTP/1.1", "[::1]:8080", "an address"),
        ("GET /port HTTP/1.1\r\nHost: shop.test:", "GET /port HTTP/1.1", "shop.test", "an empty port is none"),
    ];
    for (request, line, host, why) in cases {
        let answer = kit.talk(format!("{request}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(statuses(&answer), [200], "{why}: {answer}");
        let seen = kit.seen();
        assert_eq!(seen.len(), 1, "{why}: {seen:?}");
        assert_sound(&seen[0], why);
        assert_eq!(seen[0].lines().next(), Some(line), "{why}");
        assert_eq!(values(&seen[0], "host"), [host], "{why}");
        kit.is_well(why).await;
    }
    let answer = kit.talk("GET /local HTTP/1.0\r\n\r\n").await;
    assert_eq!(statuses(&answer), [200], "HTTP/1.0 without a Host means us: {answer}");
    assert_eq!(values(&kit.seen()[0], "host"), [kit.edge.address().to_string()]);
    let answer = kit.talk("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!((statuses(&answer), kit.seen().len()), (vec![204], 0), "ours to answer: {answer}");
}
