//! Bodies, both ways: complete, cut, stalled, with trailers.

use super::*;
use crate::body::request::RequestBodyError;

/// A client sends as long as anybody takes it.
async fn without_end(mut client: tokio::io::DuplexStream) {
    let piece = [b'x'; 16 * 1024];
    while client.write_all(&piece).await.is_ok() {}
}

#[tokio::test]
async fn an_answers_body_is_complete_or_an_error() {
    #[rustfmt::skip]
    let cases = [
        ("content-length: 4", "body", "close", Some("body"), "as stated"),
        ("content-length: 4", "bodymore", "close", Some("body"), "the surplus is not part of it"),
        ("content-length: 4", "bod", "close", None, "shorter than stated"),
        ("content-length: 4", "", "close", None, "nothing of it"),
        ("transfer-encoding: chunked", "4\r\nbody\r\n0\r\n\r\n", "close", Some("body"), "with a last chunk"),
        ("transfer-encoding: chunked", "4\r\nbody\r\n", "close", None, "no last chunk"),
        ("transfer-encoding: chunked", "4\r\nbody\r\n0\r\n", "close", None, "no end of the trailers"),
        ("transfer-encoding: chunked", "4\r\nbo", "close", None, "cut within a chunk"),
        ("transfer-encoding: chunked", "4\r\nbodyx\r\n0\r\n\r\n", "close", None, "longer than its chunk"),
        ("transfer-encoding: chunked", "g\r\nbody\r\n0\r\n\r\n", "close", None, "no size"),
        ("transfer-encoding: chunked", "fffffffffffffffff\r\nbody", "close", None, "a size without bounds"),
        ("transfer-encoding: chunked", "2;a=b\r\nbo\r\n2\r\ndy\r\n0\r\nx: y\r\n\r\n", "close", Some("body"), "with all that there may be"),
        ("transfer-encoding: chunked", "4\r\nbody\r\n\r\n", "close", None, "an empty size is not 0"),
        ("transfer-encoding: chunked", "4\nbody\r\n0\r\n\r\n", "close", None, "a size without CR"),
        ("transfer-encoding: chunked", "4\r\nbody\n0\r\n\r\n", "close", None, "a chunk without CR"),
        ("transfer-encoding: chunked", "4\r\nbody\r\n0\r\nx y\r\n\r\n", "close", None, "no field"),
        ("x: y", "body", "close", Some("body"), "until a clean end"),
        ("x: y", "body", "reset", None, "no clean end"),
        ("content-length: 4", "bod", "reset", None, "reset"),
    ];
    for (field, body, ending, want, why) in cases {
        let (resume, gate) = tokio::sync::oneshot::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(Some(gate)));
        let origin = Scripted::origin(move |_, mut connection| {
            let gate = gate.lock().unwrap().take().unwrap();
            async move {
                connection.head().await;
                connection.send(&format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n")).await;
                // The head first: a reset may overtake what was sent before it.
                gate.await.unwrap();
                connection.send(body).await;
                if ending == "reset" {
                    connection.reset();
                }
            }
        })
        .await;
        let origins = start(spec(&[origin.address])).await;
        let answer = ask(&origins, get()).await.unwrap();
        resume.send(()).unwrap();
        let (status, got) = read(answer).await;
        assert_eq!(status, 200);
        match (got, want) {
            (Ok(got), Some(want)) => assert_eq!(got, want, "{why}"),
            (Err(error), None) => assert!(matches!(error.downcast_ref(), Some(AnswerBodyError::Cut { .. })), "{why}"),
            (got, _) => panic!("{why}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_body_is_the_same_in_whichever_pieces_it_comes() {
    const ANSWER: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                          4;x\r\nbody\r\n00A\r\n0123456789\r\n0\r\nx-sum: 7\r\n\r\n";
    for size in [1, 2, 3, 7, ANSWER.len()] {
        let origin = Scripted::origin(move |_, mut connection| async move {
            while connection.head().await.is_some() {
                for piece in ANSWER.as_bytes().chunks(size) {
                    connection.stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        let origins = start(spec(&[origin.address])).await;
        for _ in 0..2 {
            let answer = ask(&origins, get()).await.unwrap();
            let collected = within(answer.body.collect()).await.unwrap();
            assert_eq!(collected.trailers().unwrap()["x-sum"], "7", "{size} bytes at a time");
            assert_eq!(collected.to_bytes(), "body0123456789", "{size} bytes at a time");
        }
        assert_eq!(origin.connections(), 1, "{size} bytes at a time");
    }
}

#[tokio::test]
async fn what_has_no_bounds_among_chunks_is_cut() {
    for (first, piece) in [("4;x=", "y"), ("0\r\nx: ", "y"), ("0\r\n", "x: y\r\n"), ("", "0")] {
        let origin = Scripted::origin(move |_, mut connection| async move {
            connection.head().await;
            connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            connection.send(first).await;
            let pieces = piece.repeat(1024);
            while connection.stream.write_all(pieces.as_bytes()).await.is_ok() {}
        })
        .await;
        let origins = start(spec(&[origin.address])).await;
        let error = read(ask(&origins, get()).await.unwrap()).await.1.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(AnswerBodyError::Cut { .. })), "{first:?} {piece:?}: {error}");
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_an_error_and_a_slow_one_is_not() {
    let limit = Duration::from_millis(300);
    let origin = Scripted::origin(move |number, mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n").await;
        for piece in ["a", "b", "c", "d", "e", "f"] {
            if (number, piece) == (1, "d") {
                break;
            }
            // Slower than the limit in all, faster from piece to piece.
            tokio::time::sleep(limit / 3).await;
            connection.send(piece).await;
        }
        connection.ended().await;
    })
    .await;
    let origins = start(Spec { between_bytes_timeout: limit, ..spec(&[origin.address]) }).await;
    let slow = ask(&origins, request(Method::GET, "/slow")).await.unwrap();
    let stalled = ask(&origins, request(Method::GET, "/stalled")).await.unwrap();
    let (slow, stalled) = tokio::join!(read(slow), read(stalled));
    assert_eq!(slow.1.unwrap(), "abcdef");
    let error = stalled.1.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(AnswerBodyError::Stalled { .. })), "{error}");
}

#[tokio::test]
async fn an_endless_body_costs_no_more_memory_than_the_buffers_hold() {
    let written = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    let origin = Scripted::origin(move |_, mut connection| {
        let counter = Arc::clone(&counter);
        async move {
            connection.head().await;
            connection.send("HTTP/1.1 200 OK\r\n\r\n").await;
            let piece = [b'x'; 16 * 1024];
            while connection.stream.write_all(&piece).await.is_ok() {
                counter.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let origins = start(spec(&[origin.address])).await;
    let mut answer = ask(&origins, get()).await.unwrap();
    // Whatever the kernel takes is bounded; nothing more flows until somebody reads.
    let mut before = usize::MAX;
    let mut steady = 0;
    eventually(|| {
        let now = written.load(Ordering::SeqCst);
        steady = if now == before { steady + 1 } else { 0 };
        before = now;
        steady > 2000
    })
    .await;
    assert!(before < 32 * 1024 * 1024, "{before} bytes flowed though nobody read");
    let frame = within(answer.body.frame()).await.unwrap().unwrap();
    assert!(!frame.into_data().unwrap().is_empty());
}

#[tokio::test]
async fn trailers_pass_both_ways_without_what_must_not_stand_there() {
    let origin = Scripted::origin(|_, mut connection| async move {
        let head = connection.head().await.unwrap();
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n") && head.contains("\r\nte: trailers\r\n"), "{head}");
        let body = connection.until("0\r\nx-check: 1\r\n\r\n").await;
        assert_eq!(body, "2\r\nok\r\n0\r\nx-check: 1\r\n\r\n");
        connection
            .send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\ncontent-length: 9\r\n\r\n")
            .await;
        connection.ended().await;
    })
    .await;
    let origins = start(spec(&[origin.address])).await;
    let framing = "transfer-encoding: chunked\r\ntrailer: x-check";
    let (body, mut client) = client_body(framing, 100, PATIENCE);
    client.write_all(b"2\r\nok\r\n0\r\nx-check: 1\r\n\r\n").await.unwrap();
    let asked = with(with(post(body), "te", "trailers"), "trailer", "x-check");
    let answer = ask(&origins, asked).await.unwrap();
    assert_eq!(answer.headers["trailer"], "x-sum");
    let collected = within(answer.body.collect()).await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &HeaderValue::from_static("7")));
}

#[tokio::test]
async fn a_requests_body_is_framed_by_what_is_known_of_it() {
    // The client's framing and body, our framing, what the origin gets, why.
    let cases = [
        ("content-length: 4", "body", "content-length: 4", "body", "a known length stays"),
        (
            "transfer-encoding: chunked",
            "4\r\nbody\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
            "4\r\nbody\r\n0\r\n\r\n",
            "else chunks",
        ),
    ];
    for (framing, sent, want_field, want, why) in cases {
        for method in [Method::POST, Method::GET] {
            let (told, mut got) = mpsc::unbounded_channel();
            let mut origin = Scripted::origin(move |_, mut connection| {
                let told = told.clone();
                async move {
                    connection.head().await;
                    told.send(connection.until(want).await).unwrap();
                    connection.send(OK).await;
                    connection.ended().await;
                }
            })
            .await;
            let origins = start(spec(&[origin.address])).await;
            let (body, mut client) = client_body(framing, 100, PATIENCE);
            client.write_all(sent.as_bytes()).await.unwrap();
            let asked = with(Outbound { body, ..request(method.clone(), "/") }, "expect", "100-continue");
            assert_eq!(ask_and_read(&origins, asked).await.0, 200);
            assert_eq!(within(got.recv()).await.unwrap(), want, "{method}: {why}");
            let head = origin.head().await;
            assert!(head.contains(&format!("\r\n{want_field}\r\n")) && !head.contains("expect"), "{method}: {head}");
        }
    }
}

#[tokio::test]
async fn a_body_that_the_client_breaks_is_the_clients_fault() {
    let idle = Duration::from_millis(50);
    let origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.ended().await;
    })
    .await;
    let origins = start(Spec { retries: 5, ..spec(&[origin.address]) }).await;
    // Pieces sent, limit, whether the client leaves, status, why.
    let cases = [("1234", 3, false, 413, "too large"), ("1", 9, false, 408, "stalled"), ("1", 9, true, 400, "gone")];
    for (sent, limit, leaves, status, why) in cases {
        let (body, mut client) = client_body("content-length: 9", limit, if leaves { PATIENCE } else { idle });
        client.write_all(sent.as_bytes()).await.unwrap();
        let client = (!leaves).then_some(client);
        let error = ask(&origins, post(body)).await.unwrap_err();
        assert_eq!(
            (told(&error), error.is_request_fault()),
            ((status, "http_request_error"), true),
            "{why}: {error:?}"
        );
        if let OriginError::RequestBody(source) = &error {
            assert!(source.downcast_ref::<RequestBodyError>().is_some(), "{why}");
        }
        drop(client);
    }
    assert!(origins.is_up(OriginId(0)));
}

#[tokio::test]
async fn the_time_for_the_first_byte_does_not_run_while_the_client_sends() {
    let first_byte_timeout = Duration::from_millis(200);
    let origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.until("123456").await;
        connection.send(OK).await;
        connection.ended().await;
    })
    .await;
    let origins = start(Spec { first_byte_timeout, ..spec(&[origin.address]) }).await;
    let (body, mut client) = client_body("content-length: 6", 100, PATIENCE);
    let sending = async {
        for (piece, pause) in [(b"12", 1), (b"34", 6), (b"56", 3)] {
            tokio::time::sleep(first_byte_timeout * pause / 4).await;
            client.write_all(piece).await.unwrap();
        }
    };
    let (answer, ()) = tokio::join!(ask(&origins, post(body)), sending);
    assert_eq!(answer.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn an_origin_that_takes_nothing_of_the_body_is_not_waited_for() {
    let origin = Scripted::origin(|_, connection| async move {
        // Reads nothing at all.
        std::future::pending::<()>().await;
        drop(connection);
    })
    .await;
    let first_byte_timeout = Duration::from_millis(100);
    let origins = start(Spec { first_byte_timeout, ..spec(&[origin.address]) }).await;
    let (body, client) = client_body("content-length: 1000000000", u64::MAX, PATIENCE);
    let endless = without_end(client);
    let error = tokio::select! {
        answer = ask(&origins, post(body)) => answer.unwrap_err(),
        () = endless => panic!("the body was given up"),
    };
    assert_eq!(told(&error), (504, "http_response_timeout"));
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_is_passed_on_and_its_connection_not_kept() {
    let origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        connection.ended().await;
    })
    .await;
    let origins = start(Spec { max_connections: 1, ..spec(&[origin.address]) }).await;
    for round in 1..=2 {
        let (body, _client) = client_body("content-length: 100", 100, PATIENCE);
        assert_eq!(ask_and_read(&origins, post(body)).await, (413, "no".to_owned()));
        assert_eq!(origin.connections(), round);
    }
}

#[tokio::test]
async fn an_answer_to_a_body_that_the_origin_does_not_take_arrives_though_the_connection_breaks() {
    let origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
        // What was sent and is not read makes it a reset; what was answered came before.
        let _ = connection.stream.readable().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    })
    .await;
    let origins = start(spec(&[origin.address])).await;
    let (body, client) = client_body("content-length: 10000000", u64::MAX, PATIENCE);
    let sending = tokio::spawn(without_end(client));
    assert_eq!(ask_and_read(&origins, post(body)).await, (413, "no".to_owned()));
    sending.abort();
}

#[tokio::test]
async fn a_reset_while_the_body_goes_out_is_no_end_of_an_answer() {
    let (resume, gate) = tokio::sync::oneshot::channel::<()>();
    let (say, reset) = tokio::sync::oneshot::channel::<()>();
    let script = Arc::new(std::sync::Mutex::new(Some((gate, say))));
    let origin = Scripted::origin(move |_, mut connection| {
        let (gate, say) = script.lock().unwrap().take().unwrap();
        async move {
            connection.head().await;
            // Until more does not fit between the two.
            tokio::time::sleep(Duration::from_millis(100)).await;
            connection.send("HTTP/1.1 200 OK\r\n\r\npart").await;
            gate.await.unwrap();
            connection.reset();
            say.send(()).unwrap();
        }
    })
    .await;
    let origins = start(spec(&[origin.address])).await;
    let (body, client) = client_body("content-length: 100000000", u64::MAX, PATIENCE);
    let sending = tokio::spawn(without_end(client));
    let answer = ask(&origins, post(body)).await.unwrap();
    resume.send(()).unwrap();
    reset.await.unwrap();
    let error = read(answer).await.1.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(AnswerBodyError::Cut { .. })), "{error}");
    sending.abort();
}

#[tokio::test]
async fn a_large_body_comes_whole_both_ways() {
    let large: &'static str = String::leak("0123456789abcdef".repeat(100_000));
    let origin = Scripted::origin(move |_, mut connection| async move {
        connection.head().await;
        while connection.buffer.len() < large.len() {
            assert!(connection.stream.read_buf(&mut connection.buffer).await.unwrap() > 0);
        }
        assert!(connection.buffer == large.as_bytes());
        connection.send(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", large.len())).await;
        connection.send(large).await;
        connection.ended().await;
    })
    .await;
    let origins = start(spec(&[origin.address])).await;
    let (body, mut client) = client_body(String::leak(format!("content-length: {}", large.len())), u64::MAX, PATIENCE);
    let sending = async move { client.write_all(large.as_bytes()).await.map(|()| client) };
    let (answer, _client) = tokio::join!(ask_and_read(&origins, post(body)), sending);
    assert!(answer == (200, large.to_owned()));
}

#[tokio::test]
async fn a_body_of_which_nothing_was_read_is_sent_again() {
    // Nobody listens at the first address.
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let origin = Scripted::origin(|_, mut connection| async move {
        while connection.head().await.is_some() {
            connection.until("body").await;
            connection.send(OK).await;
        }
    })
    .await;
    let origins = start(spec(&[nobody, origin.address])).await;
    for _ in 0..2 {
        let (body, mut client) = client_body("content-length: 4", 100, PATIENCE);
        client.write_all(b"body").await.unwrap();
        assert_eq!(ask_and_read(&origins, post(body)).await.0, 200);
    }
}

#[tokio::test]
async fn an_origin_that_answers_early_and_well_gets_the_rest_of_the_request() {
    let origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.until("123").await;
        connection.send(OK).await;
        // The next request comes over the same connection, behind all of this one.
        let next = connection.head().await.unwrap();
        assert!(next.starts_with("456GET "), "{next}");
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext").await;
        connection.ended().await;
    })
    .await;
    let origins = start(Spec { max_connections: 1, ..spec(&[origin.address]) }).await;
    let (body, mut client) = client_body("content-length: 6", 100, PATIENCE);
    client.write_all(b"123").await.unwrap();
    assert_eq!(ask_and_read(&origins, post(body)).await, (200, "ok".to_owned()));
    client.write_all(b"456").await.unwrap();
    assert_eq!(ask_and_read(&origins, get()).await, (200, "next".to_owned()));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn an_origin_that_waits_for_the_client_is_not_blamed() {
    let origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok").await;
        connection.until("123456").await;
        connection.send("ok").await;
        connection.ended().await;
    })
    .await;
    let between_bytes_timeout = Duration::from_millis(100);
    let origins = start(Spec { between_bytes_timeout, ..spec(&[origin.address]) }).await;
    let (body, mut client) = client_body("content-length: 6", 100, PATIENCE);
    client.write_all(b"123").await.unwrap();
    let answered = tokio::spawn(read(ask(&origins, post(body)).await.unwrap()));
    tokio::time::sleep(3 * between_bytes_timeout).await;
    client.write_all(b"456").await.unwrap();
    assert_eq!(within(answered).await.unwrap().1.unwrap(), "okok");
}
