//! Which requests are answered where they are read, and does nothing else depend on it?

use socket2::SockRef;
use tokio::net::TcpSocket;

use super::*;

const HOST: &str = "Host: Shop.Example:80\r\n";

fn get(length: usize, fields: &str) -> String {
    format!("GET /at-once/{length} HTTP/1.1\r\n{HOST}{fields}\r\n")
}

/// The last request of a connection, which goes the long way: the handler does not have it at hand.
fn last() -> String {
    format!("GET /last HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn only_plain_requests_are_answered_at_once() {
    let edge = Edge::start(settings(), echo);
    let browser = "User-Agent: x\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\nCookie: a=b\r\nDNT: 1\r\n";
    let line = |line: &str| format!("{line}\r\n{HOST}\r\n");
    let many = "X: y\r\n".repeat(40);
    let cases = [
        (get(3, ""), true, "nothing but a host"),
        (get(3, browser), true, "what browsers say"),
        (get(3, "Connection: Keep-Alive\r\n"), true, "which is what it is anyway"),
        (get(3, "X-Forwarded-For: 6.6.6.6\r\n"), true, "nobody is believed"),
        (get(3, "Cache-Control: no-cache\r\n"), true, "the handler says whether that counts"),
        (get(3, "Connection: x\r\n"), false, "options of the connection"),
        (get(3, "Range: bytes=0-0\r\n"), true, "a part"),
        (get(3, "If-Range: x\r\nRange: bytes=0-0\r\n"), true, "a part of what it has"),
        (get(3, "If-None-Match: \"x\"\r\n"), true, "whether it has changed"),
        (get(3, "If-Modified-Since: x\r\n"), true, "the same"),
        (get(3, "If-Unmodified-Since: x\r\n"), false, "whether it has not"),
        (get(3, "If-Match: *\r\n"), false, "the same"),
        (get(3, "Authorization: x\r\n"), false, "a secret"),
        (get(3, "Content-Length: 0\r\n"), false, "a word about a body"),
        (get(3, "Expect: 100-continue\r\n"), false, "an expectation"),
        (get(3, "TE: trailers\r\n"), false, "trailers"),
        (get(3, "Upgrade: x\r\n"), false, "another protocol"),
        (get(3, &many), false, "more fields than anybody sends"),
        (get(3, "Host: shop.example\r\n").replacen(HOST, "", 1), true, "the host in lower case, its port left out"),
        (line("HEAD /at-once/3 HTTP/1.1"), false, "another method"),
        (line("GET /at-once/3 HTTP/1.0").replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n"), false, "HTTP/1.0"),
        (line("GET http://shop.example/at-once/3 HTTP/1.1"), false, "a whole URL"),
        (line("GET /at-once/.3 HTTP/1.1"), false, "a dot at the beginning of a segment"),
        (line("GET /at-once/{3} HTTP/1.1"), false, "a byte that not every library takes"),
        (line("GET /other HTTP/1.1"), false, "what the handler does not have"),
    ];
    for (request, want, why) in cases {
        let answer = edge.talk(&(request + &last())).await;
        let found = answer.starts_with("HTTP/1.1 200 OK\r\nat-once: shop.example/at-once/3 127.0.0.1\r\n");
        assert_eq!(found, want, "{why}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 2, "{why}: {answer}");
        assert!(answer.contains("GET http://shop.example/last from 127.0.0.1 [] 0 bytes"), "{why}: {answer}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn a_trusted_proxys_word_counts() {
    let edge = Edge::start(Server { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..settings() }, echo);
    let cases = [
        ("X-Forwarded-For: 192.0.2.7, 127.0.0.9\r\n", "shop.example", "192.0.2.7"),
        ("Forwarded: for=192.0.2.8;proto=http\r\n", "shop.example", "192.0.2.8"),
        ("X-Forwarded-Proto: https\r\n", "shop.example:80", "127.0.0.1"),
        ("", "shop.example", "127.0.0.1"),
    ];
    let requests: String = cases.iter().map(|(fields, ..)| get(3, fields)).collect();
    let answer = edge.talk(&(requests + &last())).await;
    let found: Vec<_> = answer.lines().filter_map(|line| line.strip_prefix("at-once: ")).collect();
    let want = cases.map(|(_, authority, address)| format!("{authority}/at-once/3 {address}"));
    assert_eq!(found, want, "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn what_is_refused_is_refused_also_where_it_looks_plain() {
    let edge = Edge::start(settings(), echo);
    let cases = [
        ("GET /at-once/3 HTTP/1.1\r\n\r\n", "no host"),
        ("GET /at-once/3 HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "two"),
        ("GET /at-once/3 HTTP/1.1\r\nHost:\r\n\r\n", "an empty one"),
        ("GET /at-once/3 HTTP/1.1\r\nHost: a b\r\n\r\n", "an impossible one"),
        ("GET /at-once/3 HTTP/1.1\nHost: a\r\n\r\n", "a line that ends with LF alone"),
        ("GET /at-once/3 HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", "another one"),
        ("GET /at-once/3 HTTP/1.1\r\nHost: a\r\n\n", "the last one"),
        ("GET /at-once/3 HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", "a folded line"),
        ("GET /at-once/3 HTTP/1.1\r\nHost : a\r\n\r\n", "a space before the colon"),
        ("GET /at-once/3#x HTTP/1.1\r\nHost: a\r\n\r\n", "a fragment"),
        ("GET  /at-once/3 HTTP/1.1\r\nHost: a\r\n\r\n", "two spaces"),
    ];
    for (request, why) in cases {
        let answer = edge.talk(request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{why}: {answer}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn answers_come_in_the_order_of_their_requests() {
    let edge = Edge::start(settings(), echo);
    let mut socket = edge.connect().await;
    // All in one: some at once, some not, and a body in between.
    let post = format!("POST /slow HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\nhi");
    let requests = [get(1, ""), get(2, ""), post, get(3, ""), get(4, "TE: trailers\r\n"), get(5, ""), last()];
    socket.send(requests.concat()).await;
    let answer = socket.rest().await;
    let marks = ["/at-once/1 ", "/at-once/2 ", "/slow ", "/at-once/3 ", "/at-once/4 ", "/at-once/5 ", "/last "];
    let places: Vec<_> = marks.iter().map(|mark| answer.find(mark)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {answer}");
    assert!(answer.contains("2 bytes"), "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn the_last_request_ends_the_connection() {
    let edge = Edge::start(settings(), echo);
    let other = format!("GET /other HTTP/1.1\r\n{HOST}\r\n");
    for close in ["Connection: close\r\n", "connection: Close\r\n", "Connection: keep-alive\r\nConnection: close\r\n"] {
        for (before, end) in [("", ""), (&get(1, ""), "\r\n\r\nx"), (&other, " 0 bytes")] {
            for after in [String::new(), get(3, ""), other.repeat(1000)] {
                let mut socket = edge.connect().await;
                socket.send(before).await;
                socket.until(end).await;
                socket.send(get(60_000, close) + &after).await;
                let answer = socket.rest().await;
                assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 1, "{close}, after {before}");
                assert!(answer.ends_with(&"x".repeat(60_000)), "{close}, after {before}");
            }
        }
    }
    let answer = edge.talk(&get(3, "Connection: close, x\r\n")).await;
    assert!(!answer.contains("at-once: "), "options beside it: {answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn what_comes_behind_the_last_request_does_not_destroy_its_answer() {
    let edge = Edge::start(settings(), echo);
    // More than is read at once, with a request that ends where the reading does; the first read is a short one.
    for read in [1 << 10, 8 << 10] {
        let mut socket = edge.connect().await;
        if read > 1 << 10 {
            socket.send(get(1, "")).await;
            socket.until("\r\n\r\nx").await;
        }
        let padding = "y".repeat(read - get(120_000, "Connection: close\r\nX: \r\n").len());
        let request = get(120_000, &format!("Connection: close\r\nX: {padding}\r\n"));
        socket.send(request + &get(3, "")).await;
        let answer = socket.rest().await;
        assert!(answer.ends_with(&"x".repeat(120_000)), "{read}: {} bytes", answer.len());
    }
    // One that comes while the answer waits for a slow client, which takes little at once.
    let narrow = TcpSocket::new_v4().expect("a socket");
    narrow.set_recv_buffer_size(4096).expect("it may be small");
    SockRef::from(&narrow).set_tcp_mss(536).expect("so may packets");
    let mut socket = Socket(narrow.connect(edge.address).await.expect("the edge listens"));
    socket.send(get(120_000, "Connection: close\r\n")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    socket.send(get(3, "")).await;
    let answer = socket.rest().await;
    assert!(answer.ends_with(&"x".repeat(120_000)), "{} bytes", answer.len());
    drop(socket);
    edge.stopped().await;
}

#[tokio::test]
async fn a_request_in_pieces_is_answered_all_the_same() {
    let edge = Edge::start(settings(), echo);
    let request = get(3, "User-Agent: x\r\n");
    for at in [1, 4, 5, 23, 24, 25, request.len() - 1] {
        let mut socket = edge.connect().await;
        socket.send(get(1, "")).await;
        socket.until("\r\n\r\nx").await;
        socket.send(&request[..at]).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        socket.send(&request[at..]).await;
        socket.send(last()).await;
        let answer = socket.rest().await;
        assert!(answer.contains("/at-once/3") && answer.contains("/last"), "cut at {at}: {answer}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_it_all_and_one_that_does_not_read_is_cut() {
    let edge = Edge::start(Server { idle_timeout: Duration::from_millis(300), ..settings() }, echo);
    let length = 60_000;
    // More than the kernel takes: what is left over waits, and what was asked for after it goes the long way.
    let mut slow = edge.connect().await;
    slow.send(get(length, "").repeat(200) + &last()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answers = slow.rest().await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 201);
    assert!(answers.contains("/last "), "the last one too");
    let mut deaf = edge.connect().await;
    deaf.send(get(length, "").repeat(200)).await;
    let cut = async {
        while edge.telemetry.metrics().connection_timeouts.get() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("it is cut");
    edge.stopped().await;
}

#[tokio::test]
async fn a_fault_of_the_handlers_is_counted_and_the_request_goes_the_long_way() {
    let edge = Edge::start(settings(), echo);
    let request = format!("GET /panics HTTP/1.1\r\n{HOST}\r\n");
    let answer = edge.talk(&(request + &last())).await;
    assert!(answer.contains("GET http://shop.example/panics ") && answer.contains("/last "), "{answer}");
    assert_eq!(edge.telemetry.metrics().panics.get(), 1);
    edge.stopped().await;
}

#[tokio::test]
async fn a_connection_of_such_requests_has_its_deadlines_and_its_drain() {
    let edge = Edge::start(Server { idle_timeout: Duration::from_millis(200), ..settings() }, echo);
    let mut idle = edge.connect().await;
    idle.send(get(1, "")).await;
    idle.until("\r\n\r\nx").await;
    assert_eq!(idle.rest().await, "", "closed for idleness");
    assert_eq!(edge.telemetry.metrics().connection_timeouts.get(), 1);
    edge.stopped().await;
    let edge = Edge::start(settings(), echo);
    let mut open = edge.connect().await;
    open.send(get(1, "")).await;
    open.until("\r\n\r\nx").await;
    edge.stop.cancel();
    assert_eq!(open.rest().await, "", "closed by the drain");
    edge.stopped().await;
}
