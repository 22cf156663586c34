//! What becomes of requests' bodies, and of answers' ends, over HTTP/1?

use futures_util::StreamExt;
use http_body_util::Full;
use tokio::net::TcpSocket;

use super::*;
use crate::body::upgrade::Upgraded;

/// Answers without a look at the body.
async fn ignore(_: Request<RequestBody>, _: Client) -> Response<ResponseBody> {
    ok("ignored")
}

const HOSTED: &str = "HTTP/1.1\r\nHost: a\r\n";

#[tokio::test]
async fn a_body_comes_whole_in_pieces_of_any_size() {
    let edge = Edge::start(settings(), echo);
    let chunked =
        format!("POST / {HOSTED}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nEtag: x\r\n\r\n");
    let sized = format!("POST / {HOSTED}Content-Length: 4\r\n\r\nabcd");
    let requests = [chunked, sized].concat();
    for piece in [1, 2, 3, 7, 1000] {
        let mut socket = edge.connect().await;
        for bytes in requests.as_bytes().chunks(piece) {
            socket.send(bytes).await;
            tokio::task::yield_now().await;
        }
        socket.send(format!("GET /last {HOSTED}Connection: close\r\n\r\n")).await;
        let answers = socket.rest().await;
        assert_eq!(answers.matches("4 bytes").count(), 2, "{piece}: {answers}");
        assert!(answers.ends_with("[] 0 bytes"), "{piece}: {answers}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_no_request() {
    let edge = Edge::start(settings(), ignore);
    // All of it has come: the next request can.
    let smuggled = format!("GET /evil {HOSTED}\r\n");
    let post = format!("POST / {HOSTED}Content-Length: {}\r\n\r\n{smuggled}", smuggled.len());
    let answers = edge.talk(&format!("{post}GET /last {HOSTED}Connection: close\r\n\r\n")).await;
    assert_eq!(answers.matches("ignored").count(), 2, "{answers}");
    // It has not: nobody knows when it will have, and the client is told that this is the end.
    let mut socket = edge.connect().await;
    socket.send(format!("POST / {HOSTED}Content-Length: 900\r\n\r\n")).await;
    let answer = socket.until("ignored").await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    socket.send(smuggled).await;
    assert_eq!(socket.rest().await, "");
    drop(socket);
    edge.stopped().await;
}

#[tokio::test]
async fn a_body_that_is_let_go_of_late_is_no_request_either() {
    let edge = Edge::start(settings(), |request: Request<RequestBody>, _| async {
        let held = request.into_body();
        let pieces = futures_util::stream::iter(["held"]).map(move |piece| {
            let _ = &held;
            Ok::<_, BoxError>(Frame::data(Bytes::from(piece)))
        });
        Response::new(ResponseBody::stream(StreamBody::new(pieces)))
    });
    let mut socket = edge.connect().await;
    let smuggled = format!("GET /evil {HOSTED}\r\n");
    socket.send(format!("POST / {HOSTED}Content-Length: {}\r\n\r\n", smuggled.len())).await;
    socket.until("0\r\n\r\n").await;
    socket.send(smuggled).await;
    assert_eq!(socket.rest().await, "");
    drop(socket);
    edge.stopped().await;
}

#[tokio::test]
async fn who_waits_for_a_100_in_vain_is_told_the_end() {
    let edge = Edge::start(settings(), ignore);
    let mut socket = edge.connect().await;
    socket.send(format!("POST / {HOSTED}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")).await;
    let answer = socket.until("ignored").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("connection: close\r\n"), "{answer}");
    // It may have begun to send all the same.
    socket.send("abc").await;
    assert_eq!(socket.rest().await, "");
    drop(socket);
    edge.stopped().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_ends_its_connection_and_is_answered() {
    let edge = Edge::start(settings(), echo);
    let chunked = format!("POST / {HOSTED}Transfer-Encoding: chunked\r\n\r\n");
    let sized = format!("POST / {HOSTED}Content-Length: 9\r\n\r\nabc");
    for (first, then, why) in [
        (chunked.as_str(), Some("3\r\nabcd\r\n"), "a chunk that is longer than its size"),
        (&chunked, Some("0\r\nHost: evil\r\n\r\n"), "a field that may not follow"),
        (&sized, None, "a client that ends its side"),
    ] {
        let mut socket = edge.connect().await;
        socket.send(first).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        match then {
            Some(then) => socket.send(then).await,
            None => socket.0.shutdown().await.expect("shut"),
        }
        let answer = socket.rest().await;
        assert!(answer.contains("body failed: ") && answer.contains("connection: close\r\n"), "{why}: {answer}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn fields_behind_an_answer_go_to_those_who_take_them() {
    let edge = Edge::start(settings(), |_, _| async {
        let trailers = [(http::header::ETAG, HeaderValue::from_static("\"x\""))].into_iter().collect();
        let frames = [Frame::data(Bytes::from("abc")), Frame::trailers(trailers)].map(Ok::<_, BoxError>);
        Response::new(ResponseBody::stream(StreamBody::new(futures_util::stream::iter(frames))))
    });
    for (field, want) in [("TE: trailers\r\n", "0\r\netag: \"x\"\r\n\r\n"), ("", "0\r\n\r\n")] {
        let answer = edge.talk(&format!("GET / {HOSTED}{field}Connection: close\r\n\r\n")).await;
        assert!(answer.ends_with(&format!("\r\n\r\n3\r\nabc\r\n{want}")), "{field}: {answer}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn an_answer_is_never_longer_than_it_says() {
    let edge = Edge::start(settings(), |request: Request<RequestBody>, _| async move {
        let mut answer =
            Response::new(ResponseBody::stream(Full::new(Bytes::from("abcd")).map_err(|never| match never {})));
        let length = request.uri().path().trim_start_matches('/').to_owned();
        answer.headers_mut().insert("content-length", length.parse().expect("digits"));
        answer
    });
    let mut socket = edge.connect().await;
    socket.send(format!("HEAD /9 {HOSTED}\r\nGET /4 {HOSTED}\r\n")).await;
    let answers = socket.until("abcd").await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2, "a head alone, then a whole answer: {answers}");
    for length in [3, 5] {
        let answer = edge.talk(&format!("GET /{length} {HOSTED}\r\n")).await;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(body.len() < length, "{length}: {answer}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn what_came_behind_an_upgrade_is_the_tunnels() {
    let edge = Edge::start(settings(), |mut request: Request<RequestBody>, _| async move {
        let upgrade = request.body_mut().take_upgrade().expect("an upgrade");
        tokio::spawn(async move {
            let Upgraded { first, mut stream } = upgrade.await.expect("upgraded");
            let mut bytes = [0; 9];
            (&*first).chain(&mut stream).read_exact(&mut bytes).await.expect("nine bytes");
            stream.write_all(&bytes).await.expect("written");
            stream.shutdown().await.expect("closed");
        });
        let answer = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
        answer.body(ResponseBody::empty()).expect("sound")
    });
    let mut socket = edge.connect().await;
    socket.send(format!("GET / {HOSTED}Connection: upgrade\r\nUpgrade: x\r\n\r\nearly")).await;
    let answer = socket.until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && !answer.contains("close"), "{answer}");
    socket.send("late").await;
    assert_eq!(socket.rest().await, "earlylate");
    edge.stopped().await;
}

#[tokio::test]
async fn half_a_head_is_waited_for_in_a_drain_and_answered() {
    let edge = Edge::start(settings(), echo);
    let mut socket = edge.connect().await;
    socket.send(format!("GET / {HOSTED}\r\n")).await;
    socket.until("bytes").await;
    socket.send("GET /half HTTP/1.1\r\nHo").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    edge.stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    socket.send("st: a\r\n\r\n").await;
    let answer = socket.rest().await;
    assert!(answer.contains("GET http://a/half ") && answer.contains("connection: close\r\n"), "{answer}");
    edge.stopped().await;
}

#[tokio::test]
async fn a_large_answer_survives_what_comes_behind_its_request() {
    let edge = Edge::start(settings(), |_, _| async {
        let pieces =
            futures_util::stream::iter((0..16).map(|_| Ok::<_, BoxError>(Frame::data(Bytes::from_static(&PIECE)))));
        Response::new(ResponseBody::stream(StreamBody::new(pieces)))
    });
    let narrow = TcpSocket::new_v4().expect("a socket");
    narrow.set_recv_buffer_size(4096).expect("it may be small");
    let mut socket = Socket(narrow.connect(edge.address).await.expect("the edge listens"));
    socket.send(format!("GET / {HOSTED}Connection: close\r\n\r\n")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // All of it may be in the kernel by now, the last write was a small one, and this is unasked.
    socket.send("\r\n").await;
    let answer = socket.rest().await;
    assert!(answer.len() > 16 * PIECE.len() && answer.ends_with("\r\n0\r\n\r\n"), "{} bytes", answer.len());
    drop(socket);
    edge.stopped().await;
}

#[tokio::test]
async fn an_upload_goes_on_after_its_answer_for_as_long_as_it_comes() {
    let (read, mut whole) = mpsc::channel(1);
    let idle_timeout = Duration::from_millis(200);
    let edge = Edge::start(Server { idle_timeout, ..settings() }, move |request: Request<RequestBody>, _| {
        let read = read.clone();
        tokio::spawn(async move {
            read.send(request.into_body().collect().await.map(http_body_util::Collected::to_bytes)).await
        });
        async { ok("early") }
    });
    let mut socket = edge.connect().await;
    socket.send(format!("POST / {HOSTED}Content-Length: 20\r\n\r\n")).await;
    socket.until("early").await;
    for _ in 0..10 {
        tokio::time::sleep(idle_timeout / 4).await;
        socket.send("ab").await;
    }
    let body = tokio::time::timeout(PATIENCE, whole.recv()).await.expect("in time").expect("read");
    assert_eq!(body.expect("whole"), "ab".repeat(10));
    socket.send(format!("GET / {HOSTED}Connection: close\r\n\r\n")).await;
    assert!(socket.rest().await.ends_with("early"), "the connection goes on");
    edge.stopped().await;
}

#[tokio::test]
async fn a_client_that_leaves_is_missed_whatever_it_has_sent() {
    let (gone, mut left) = mpsc::unbounded_channel::<()>();
    let edge = Edge::start(settings(), move |_, _| {
        let gone = gone.clone();
        async move {
            let _told = told_at_the_end(gone);
            std::future::pending().await
        }
    });
    for behind in ["", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HT"] {
        let mut socket = edge.connect().await;
        socket.send(format!("GET / {HOSTED}\r\n{behind}")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(socket);
        tokio::time::timeout(PATIENCE, left.recv()).await.unwrap_or_else(|_| panic!("{behind:?}: still worked on"));
    }
    edge.stopped().await;
}

/// Tells when it is dropped.
fn told_at_the_end(gone: mpsc::UnboundedSender<()>) -> impl Drop {
    struct Guard(mpsc::UnboundedSender<()>);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    Guard(gone)
}

#[tokio::test]
async fn what_is_answered_is_sent_to_a_client_that_ends_its_side() {
    let edge = Edge::start(settings(), |_, _| std::future::pending());
    let mut socket = edge.connect().await;
    socket.send(format!("GET /at-once/3 {HOSTED}\r\n")).await;
    socket.until("\r\n\r\nxxx").await;
    socket.send(format!("GET /at-once/4 {HOSTED}\r\nGET /slow {HOSTED}\r\n")).await;
    socket.0.shutdown().await.expect("shut");
    assert!(socket.rest().await.ends_with("\r\n\r\nxxxx"));
    edge.stopped().await;
}
