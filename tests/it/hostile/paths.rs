//! Are a path's bytes what is keyed, what is forwarded, and nothing else? (RFC 3986 §6, RFC 9110 §4.2.3)

use super::{Kit, statuses};

#[tokio::test]
async fn paths_that_servers_read_differently_are_kept_apart_or_refused() {
    let kit = Kit::new().await;
    // Stored first: the plain path.
    let answer = kit.talk("GET /a/b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(statuses(&answer), [200]);
    kit.seen();
    let cases = [
        ("/a%2fb", true, "an encoded slash"),
        ("/a%2Fb", true, "in the other case: other bytes"),
        ("/a//b", true, "two slashes"),
        ("//a/b", true, "at the beginning"),
        ("/a/b/", true, "one at the end"),
        ("/a/b;x", true, "a parameter"),
        ("/a;x/b", true, "in another segment"),
        ("/%61/b", true, "an encoded letter"),
        ("/a/%62", true, "another"),
        ("/A/b", true, "the other case"),
        ("/a/b%20", true, "an encoded space"),
        ("/a/b%00", true, "an encoded NUL"),
        ("/a/b%0d%0aX:%20evil", true, "encoded line ends"),
        ("/a/b%23", true, "an encoded fragment"),
        ("/a/b%3fx", true, "an encoded question mark"),
        ("/a/b?", true, "an empty query"),
        ("/a/b?x", true, "a query"),
        ("/a/b??", true, "a query that is a question mark"),
        ("/a/b%", true, "half an encoding"),
        ("/a/b%zz", true, "no encoding"),
        ("/a%5cb", true, "an encoded backslash"),
        ("/a/...", true, "three dots"),
        ("/a/x/../b", false, "up"),
        ("/a/./b", false, "here"),
        ("/a/x/%2e%2e/b", false, "encoded"),
        ("/a/x/.%2E/b", false, "half encoded"),
        ("/a/%2e/b", false, "here, encoded"),
        ("/../a/b", false, "above the root"),
        ("/a/b/..", false, "at the end"),
        ("/a/x/..%2fb", true, "a name that begins with two dots: its bytes"),
        ("/a/x/..;/b", true, "a name that some servers take for up"),
        ("/a\\b", false, "a backslash"),
        ("/a/b\u{a0}", false, "a byte beyond ASCII"),
    ];
    for (path, is_passed, why) in cases {
        let answer = kit.talk(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        let seen = kit.seen();
        if is_passed {
            assert!(statuses(&answer) == [200] && answer.ends_with(path), "{why}: {answer}");
            let lines: Vec<_> = seen.iter().filter_map(|request| request.lines().next()).collect();
            assert_eq!(lines, [format!("GET {path} HTTP/1.1")], "{why}: asked for as it came");
        } else {
            assert_eq!((statuses(&answer), seen.len()), (vec![400], 0), "{why}: {answer}");
        }
        kit.is_well(why).await;
    }
    let answer = kit.talk("GET /a/b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("larder; hit") && answer.ends_with("/a/b"), "the plain one is as it was: {answer}");
}
