//! What do HTTP/2 clients get that break its rules, or only tire us? (RFC 9113 §8, §10.5)

use super::{Kit, assert_sound, values};
use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RESET, SETTINGS, Verdict, WINDOW_UPDATE,
    Wire, block, frame, length, request,
};

const CALM: u32 = 11;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// Sends a request on a connection of its own; what becomes of it, and what the origin got.
async fn ask(kit: &Kit, fields: Fields<'_>) -> (Verdict, Vec<String>) {
    let mut wire = Wire::to(kit.edge.address(), &[]).await;
    wire.ask(1, fields).await;
    (wire.verdict(1).await, kit.seen())
}

#[tokio::test]
async fn a_malformed_request_reaches_nobody() {
    let kit = Kit::new().await;
    let full: Fields<'_> = &[(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")];
    let cases: [(Fields<'_>, &str); 46] = [
        (&full[1..], "no method"),
        (&[full[0], full[2], full[3]], "no scheme"),
        (&full[..3], "no path"),
        (&[full[0], full[1], full[3]], "nobody to ask"),
        (&[full[0], full[0], full[1], full[2], full[3]], "the method twice"),
        (&[full[0], full[1], full[2], full[3], full[3]], "the path twice"),
        (&[full[0], full[1], full[2], full[2], full[3]], "the authority twice"),
        (&[full[0], full[1], full[2], ("x", "y"), full[3]], "the path after a field"),
        (&[full[0], full[1], full[2], full[3], (":evil", "x")], "one that is not known"),
        (&[full[0], full[1], full[2], full[3], (":status", "200")], "one of responses"),
        (&[full[0], full[1], full[2], full[3], (":protocol", "websocket")], "one that we did not allow"),
        (&[full[0], full[1], full[2], (":path", "")], "an empty path"),
        (&[full[0], full[1], full[2], (":path", "x")], "a relative path"),
        (&[full[0], full[1], full[2], (":path", "*")], "asterisk-form"),
        (&[full[0], full[1], full[2], (":path", "http://evil/x")], "absolute-form"),
        (&[full[0], full[1], full[2], (":path", "/x y")], "a space in the path"),
        (&[full[0], full[1], full[2], (":path", "/x\r\nX-Evil: y")], "line ends in the path"),
        (&[full[0], full[1], full[2], (":path", "/x HTTP/1.1\r\nHost: evil\r\n\r\n")], "a request in the path"),
        (&[full[0], full[1], full[2], (":path", "/../x")], "dot segments"),
        (&[full[0], full[1], full[2], (":path", "/x\u{0}")], "NUL in the path"),
        (&[(":method", "GET /evil HTTP/1.1\r\nX:"), full[1], full[2], full[3]], "a request in the method"),
        (&[(":method", ""), full[1], full[2], full[3]], "an empty method"),
        (&[(":method", "CONNECT"), full[2]], "CONNECT"),
        (&[(":method", "TRACE"), full[1], full[2], full[3]], "TRACE"),
        (&[full[0], (":scheme", "ftp"), full[2], full[3]], "another scheme"),
        (&[full[0], (":scheme", ""), full[2], full[3]], "an empty scheme"),
        (&[full[0], (":scheme", "http://evil/"), full[2], full[3]], "a URL for a scheme"),
        (&[full[0], full[1], (":authority", ""), full[3]], "an empty authority"),
        (&[full[0], full[1], (":authority", "a b"), full[3]], "an authority with a space"),
        (&[full[0], full[1], (":authority", "me@a"), full[3]], "with a user"),
        (&[full[0], full[1], (":authority", "a/x"), full[3]], "with a path"),
        (&[full[0], full[1], (":authority", "a\r\nX-Evil: y"), full[3]], "with line ends"),
        (&[full[0], full[1], full[2], full[3], ("host", "evil")], "another host"),
        (&[full[0], full[1], full[2], full[3], ("host", "a"), ("host", "a")], "two hosts"),
        (&[full[0], full[1], full[2], full[3], ("connection", "close")], "about the connection"),
        (&[full[0], full[1], full[2], full[3], ("keep-alive", "1")], "about the connection"),
        (&[full[0], full[1], full[2], full[3], ("proxy-connection", "x")], "about the connection"),
        (&[full[0], full[1], full[2], full[3], ("upgrade", "h2c")], "about the connection"),
        (&[full[0], full[1], full[2], full[3], ("transfer-encoding", "chunked")], "framing of HTTP/1"),
        (&[full[0], full[1], full[2], full[3], ("te", "gzip")], "TE other than trailers"),
        (&[full[0], full[1], full[2], full[3], ("X-Evil", "x")], "a name in upper case"),
        (&[full[0], full[1], full[2], full[3], ("x evil", "x")], "a name with a space"),
        (&[full[0], full[1], full[2], full[3], ("x:evil", "x")], "a name with a colon"),
        (&[full[0], full[1], full[2], full[3], ("x", "a\r\nX-Evil: y")], "line ends in a value"),
        (&[full[0], full[1], full[2], full[3], ("x", "a\u{0}b")], "NUL in a value"),
        (&[full[0], full[1], full[2], full[3], ("content-length", "3")], "a length without a body"),
    ];
    for (fields, why) in cases {
        let (verdict, seen) = ask(&kit, fields).await;
        assert!(verdict.is_refusal(), "{why}: {verdict:?}");
        assert_eq!(seen, [""; 0], "{why}");
        kit.is_well(why).await;
    }
}

#[tokio::test]
async fn a_sound_request_is_translated_into_one_of_http_1() {
    let kit = Kit::new().await;
    let cases: [(&str, Fields<'_>, &str, &str, &str); 6] = [
        ("/1", &[("te", "trailers")], "te", "trailers", "the one coding that may be asked for"),
        ("/2", &[("cookie", "a=1"), ("cookie", "b=2")], "cookie", "a=1; b=2", "cookies are one field again"),
        ("/3", &[("host", "a")], "x-forwarded-host", "a", "the host may be repeated"),
        ("/4", &[("x-forwarded-for", "evil")], "x-forwarded-for", "127.0.0.1", "no forged chain"),
        ("/5", &[("x-original-url", "/evil")], "x-forwarded-host", "a", "no other URL"),
        ("/6", &[("expect", "100-continue")], "x-forwarded-host", "a", "no expectation"),
    ];
    for (path, more, name, value, why) in cases {
        let (verdict, seen) = ask(&kit, &request("GET", path, more)).await;
        assert_eq!((verdict, seen.len()), (Verdict::Status(200), 1), "{why}");
        assert_sound(&seen[0], why);
        assert_eq!(values(&seen[0], name), [value], "{why}: {}", seen[0]);
        assert!(seen[0].starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{why}: {}", seen[0]);
    }
    // The library takes no pseudo-fields there and does not say so (RFC 9113 §8.1 would have the request refused).
    let mut wire = Wire::to(kit.edge.address(), &[]).await;
    wire.send(frame(HEADERS, END_HEADERS, 1, block(&request("POST", "/7", &[])))).await;
    wire.send(frame(DATA, 0, 1, "abc")).await;
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block(&[(":path", "/evil"), ("cookie", "evil")]))).await;
    assert_eq!(wire.verdict(1).await, Verdict::Status(200));
    let seen = kit.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_sound(&seen[0], "fields after a body that may not stand there");
    let (verdict, seen) = ask(&kit, &request("OPTIONS", "*", &[])).await;
    assert_eq!((verdict, seen.len()), (Verdict::Status(204), 0), "OPTIONS * is ours");
    kit.is_well("sound requests").await;
}

#[tokio::test]
async fn a_body_that_is_not_what_was_said_is_no_request() {
    let kit = Kit::new().await;
    let post = |more: Fields<'_>| frame(HEADERS, END_HEADERS, 1, block(&request("POST", "/x", more)));
    let data = |flags: u8, text: &str| frame(DATA, flags, 1, text);
    let trailers = |fields: Fields<'_>| frame(HEADERS, END_HEADERS | END_STREAM, 1, block(fields));
    let cases = [
        (vec![post(&[("content-length", "5")]), data(END_STREAM, "abc")], "shorter than its length"),
        (vec![post(&[("content-length", "2")]), data(END_STREAM, "abc")], "longer than its length"),
        (vec![post(&[("content-length", "3"), ("content-length", "4")]), data(END_STREAM, "abc")], "two lengths"),
        (vec![post(&[("content-length", "+3")]), data(END_STREAM, "abc")], "a sign"),
        (vec![post(&[("content-length", "3, 3")]), data(END_STREAM, "abc")], "a list"),
        (vec![post(&[]), data(0, "abc"), trailers(&[("connection", "x")])], "connection fields after the body"),
        (vec![post(&[]), data(0, "abc"), trailers(&[("X-Evil", "x")])], "upper case after the body"),
        (
            vec![post(&[]), data(0, "abc"), frame(HEADERS, END_HEADERS, 1, block(&[("x", "y")]))],
            "fields that end nothing",
        ),
        (vec![post(&[]), frame(DATA, 0x8, 1, [9, b'a'])], "more padding than data"),
        (vec![post(&[]), frame(RESET, 0, 1, [0, 0, 0, 8])], "taken back"),
        (vec![frame(DATA, END_STREAM, 1, "abc")], "data for nobody"),
        (vec![frame(HEADERS, END_HEADERS | END_STREAM, 2, block(&request("GET", "/x", &[])))], "a stream of ours"),
        (vec![frame(HEADERS, END_HEADERS | END_STREAM, 0, block(&request("GET", "/x", &[])))], "no stream"),
        (vec![frame(CONTINUATION, END_HEADERS, 1, block(&request("GET", "/x", &[])))], "a block without its beginning"),
        (vec![frame(HEADERS, END_STREAM, 1, ""), frame(PING, 0, 0, b"abcdefgh")], "a ping within a block"),
        (
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
            "a block that is none",
        ),
        (vec![frame(HEADERS, END_HEADERS | END_STREAM, 1, [0xff, 0x80, 0x01])], "an index that is not there"),
        (vec![frame(SETTINGS, 0, 0, [0, 4, 0xff, 0xff, 0xff, 0xff])], "a window beyond its bound"),
        (vec![frame(SETTINGS, 0, 0, [0, 5, 0, 0, 0, 1])], "frames smaller than allowed"),
        (vec![frame(SETTINGS, 0, 0, [0, 4, 0])], "half a setting"),
        (vec![frame(PING, 0, 0, "abc")], "half a ping"),
        (vec![frame(WINDOW_UPDATE, 0, 0, [0, 0, 0, 0])], "a window that does not grow"),
        (vec![frame(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff])], "a window that grows too much"),
        (vec![frame(5, END_HEADERS, 1, [0, 0, 0, 2])], "a promise from a client"),
        (vec![frame(DATA, 0, 1, vec![0; 20_000])], "a frame that is too large"),
    ];
    for (frames, why) in cases {
        let mut wire = Wire::to(kit.edge.address(), &[]).await;
        for frame in frames {
            wire.send(frame).await;
        }
        if why == "taken back" {
            assert!(wire.is_caught_up().await, "{why}");
        } else {
            let verdict = wire.verdict(1).await;
            assert!(verdict.is_refusal(), "{why}: {verdict:?}");
        }
        drop(wire);
        assert_eq!(kit.seen(), [""; 0], "{why}");
        kit.is_well(why).await;
    }
}

/// Bytes to send again and again, with a stream's number where one is needed.
type Flood = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

fn each(bytes: Vec<u8>) -> Flood {
    Box::new(move |_| bytes.clone())
}

#[tokio::test]
async fn a_flood_ends_the_connection_costs_no_memory_and_delays_nobody() {
    let kit = Kit::new().await;
    let open = |stream: u32| frame(HEADERS, END_HEADERS, stream, block(&request("POST", "/x", &[])));
    let whole = |stream: u32| frame(HEADERS, END_HEADERS | END_STREAM, stream, block(&request("GET", "/x", &[])));
    let with =
        move |more: fn(u32) -> Vec<u8>| -> Flood { Box::new(move |stream| [whole(stream), more(stream)].concat()) };
    let begun = frame(HEADERS, END_STREAM, 1, block(&request("GET", "/x", &[])));
    // What comes first, what comes again and again, whether the library knows it for what it is, why.
    let cases: Vec<(Vec<u8>, Flood, bool, &str)> = vec![
        (vec![], with(|stream| frame(RESET, 0, stream, [0, 0, 0, 8])), true, "Rapid Reset"),
        (vec![], with(|stream| frame(WINDOW_UPDATE, 0, stream, [0; 4])), false, "MadeYouReset: a window of nothing"),
        (vec![], with(|stream| frame(WINDOW_UPDATE, 0, stream, [0x7f, 255, 255, 255])), true, "MadeYouReset: too much"),
        (vec![], with(|stream| frame(DATA, 0, stream, "x")), false, "MadeYouReset: data after the end"),
        (
            vec![],
            with(|stream| frame(PRIORITY, 0, stream, [stream.to_be_bytes().as_slice(), &[1]].concat())),
            true,
            "MadeYouReset: depends on itself",
        ),
        (begun.clone(), each(frame(CONTINUATION, 0, 1, vec![0; 1000])), false, "CONTINUATION flood"),
        (begun, each(frame(CONTINUATION, 0, 1, "")), true, "empty CONTINUATION"),
        (open(1), each(frame(DATA, 0, 1, "")), true, "empty DATA"),
        (open(1), each(frame(DATA, 0x8, 1, [0])), true, "empty DATA with padding"),
        (vec![], each(frame(PING, 0, 0, b"abcdefgh")), true, "pings"),
        (vec![], each(frame(SETTINGS, 0, 0, "")), true, "settings"),
        (vec![], each(frame(SETTINGS, 0, 0, [0, 4, 0, 0, 255, 255])), true, "settings that say something"),
        (vec![], each(frame(PRIORITY, 0, 1, [0, 0, 0, 0, 1])), true, "priorities"),
        (open(1), each(frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])), true, "window updates"),
        (vec![], each(frame(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])), true, "window updates of the connection"),
        (vec![], each(frame(0xbe, 0, 0, "x")), true, "frames that nobody knows"),
    ];
    kit.is_well("the beginning").await;
    let before = kit.edge.memory("VmRSS");
    for (first, again, is_calm, why) in cases {
        let mut wire = Wire::to(kit.edge.address(), &[]).await;
        wire.send(first).await;
        let burst: Vec<u8> = (0..4000).flat_map(|number| again(2 * number + 3)).collect();
        let flood = async {
            wire.send(burst).await;
            wire.verdict(0).await
        };
        let (verdict, ()) = tokio::join!(flood, kit.is_well(why));
        assert!(verdict.is_end(), "{why}: {verdict:?}");
        assert!(!is_calm || matches!(verdict, Verdict::GoAway(CALM) | Verdict::Closed), "{why}: {verdict:?}");
        kit.is_well(why).await;
        let grown = kit.edge.memory("VmRSS").saturating_sub(before);
        assert!(grown < 48 << 20, "{why}: {grown} bytes more");
    }
}

#[tokio::test]
async fn requests_that_are_taken_back_one_by_one_have_an_end_too() {
    let kit = Kit::new().await;
    let mut wire = Wire::to(kit.edge.address(), &[]).await;
    let mut taken_back = 0;
    // Each is looked at before it is taken back: the library has nothing to count.
    while taken_back < 2000 {
        let stream = 2 * taken_back + 1;
        wire.ask(stream, &request("GET", "/x", &[("cache-control", "no-cache")])).await;
        if !wire.is_caught_up().await {
            break;
        }
        wire.send(frame(RESET, 0, stream, [0, 0, 0, 8])).await;
        taken_back += 1;
    }
    assert!((200..1500).contains(&taken_back), "{taken_back} times");
    kit.is_well("all that").await;
}

#[tokio::test]
async fn field_lists_are_bounded_before_and_after_they_are_unpacked() {
    let kit = Kit::new().await;
    let long = "x".repeat(15_000);
    let mut wire = Wire::to(kit.edge.address(), &[]).await;
    let fields: Vec<_> = request("GET", "/x", &[]).into_iter().chain((0..6).map(|_| ("x", long.as_str()))).collect();
    let bytes = block(&fields);
    let mut pieces = bytes.chunks(16_000);
    wire.send(frame(HEADERS, END_STREAM, 1, pieces.next().expect("it is long"))).await;
    let count = pieces.len();
    for (number, piece) in pieces.enumerate() {
        let flags = if number + 1 == count { END_HEADERS } else { 0 };
        wire.send(frame(CONTINUATION, flags, 1, piece)).await;
    }
    let verdict = wire.verdict(1).await;
    assert!(matches!(verdict, Verdict::Status(431) | Verdict::GoAway(_) | Verdict::Reset(_)), "{verdict:?}");
    kit.is_well("90 KiB of fields").await;

    // One field kept in the table, then named ten thousand times: 40 MB for 14 KB.
    let mut wire = Wire::to(kit.edge.address(), &[]).await;
    let mut bomb = block(&request("GET", "/x", &[]));
    bomb.extend_from_slice(&[0x40, 1, b'x']);
    length(4000, &mut bomb);
    bomb.extend_from_slice(&[b'y'; 4000]);
    bomb.resize(bomb.len() + 10_000, 0xbe);
    let before = kit.edge.memory("VmRSS");
    wire.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, bomb)).await;
    let verdict = wire.verdict(1).await;
    assert!(verdict.is_refusal(), "{verdict:?}");
    kit.is_well("a bomb").await;
    let grown = kit.edge.memory("VmRSS").saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    assert_eq!(kit.seen(), [""; 0]);
}

#[tokio::test]
async fn closed_windows_hold_neither_memory_nor_the_connection_for_long() {
    let kit = Kit::with(|setup| setup.server("idle_timeout = \"1s\"")).await;
    let path = format!("/{}", "x".repeat(8000));
    kit.talk(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let before = kit.edge.memory("VmRSS");
    let mut wire = Wire::to(kit.edge.address(), &[(4, 0)]).await;
    for number in 0..300 {
        wire.ask(2 * number + 1, &request("GET", &path, &[])).await;
    }
    let verdict = wire.verdict(0).await;
    assert!(verdict.is_end(), "{verdict:?}");
    let grown = kit.edge.memory("VmRSS").saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    kit.is_well("closed windows").await;
}
