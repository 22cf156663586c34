//! Heads that no origin should send, and times that none should take.

use super::*;

#[tokio::test]
async fn malformed_answers_are_refused() {
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70_000));
    let many_fields = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let interims = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(33);
    let protocol = "http_protocol_error";
    #[rustfmt::skip]
    let cases = [
        ("hello\r\n\r\n", protocol, "not HTTP"),
        ("HTTP/2 200 OK\r\n\r\n", protocol, "another version"),
        ("HTTP/1.1 20 OK\r\n\r\n", protocol, "two digits"),
        ("HTTP/1.1 600 No\r\ncontent-length: 0\r\n\r\n", protocol, "no such class"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", protocol, "two framings"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3,3\r\n\r\nabc", protocol, "a list"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", protocol, "two lengths"),
        ("HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\nabc", protocol, "negative"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nabc", protocol, "overflow"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: abc\r\n\r\nabc", "http_response_transfer_coding", "unknown"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "http_response_transfer_coding", "not undone"),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", protocol, "HTTP/1.0 has no codings"),
        ("HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n", protocol, "space before the colon"),
        ("HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 0\r\n\r\n", protocol, "a folded line"),
        ("HTTP/1.1 200 OK\r\nx: y\0\r\ncontent-length: 0\r\n\r\n", protocol, "NUL"),
        ("HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "http_upgrade_failed", "unasked"),
        (&long_head, "http_response_header_section_size", "too many bytes"),
        (&many_fields, "http_response_header_section_size", "too many fields"),
        (&interims, protocol, "too many interim answers"),
    ];
    for (answer, token, why) in cases {
        let answer = answer.to_owned();
        let mut origin = Scripted::origin(move |_, mut connection| {
            let answer = answer.clone();
            async move {
                connection.head().await;
                connection.send(&answer).await;
                connection.ended().await;
            }
        })
        .await;
        let origins = start(Spec { retries: 5, ..spec(&[origin.address]) }).await;
        let error = ask(&origins, get()).await.unwrap_err();
        assert_eq!((told(&error), origin.hits()), ((502, token), 1), "{why}: {error:?}");
        assert!(origins.is_up(OriginId(0)));
    }
}

#[tokio::test]
async fn an_endless_head_and_endless_interim_answers_end() {
    for (piece, first) in [("x: y\r\n", "HTTP/1.1 200 OK\r\n"), ("HTTP/1.1 102 Processing\r\n\r\n", "")] {
        let origin = Scripted::origin(move |_, mut connection| async move {
            connection.head().await;
            connection.send(first).await;
            while connection.stream.write_all(piece.as_bytes()).await.is_ok() {}
        })
        .await;
        let origins = start(spec(&[origin.address])).await;
        assert_eq!(ask(&origins, get()).await.unwrap_err().status(), 502);
    }
}

#[tokio::test]
async fn odd_answers_that_are_no_danger_are_passed_on() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-range: garbage\r\ncontent-length: 2\r\n\r\nok", 200, "tolerated"),
        ("HTTP/1.1 599 Odd\r\ncontent-length: 2\r\n\r\nok", 599, "unknown statuses keep their code"),
        ("HTTP/1.1 299\r\ncontent-length: 2\r\n\r\nok", 299, "no reason phrase"),
        ("HTTP/1.1 200 OK\ncontent-length: 2\n\nok", 200, "bare LF: RFC 9112 §2.2 lets a recipient take it"),
    ];
    for (raw, status, why) in cases {
        let origin = Scripted::answering(raw).await;
        let origins = start(spec(&[origin.address])).await;
        assert_eq!(ask_and_read(&origins, get()).await, (status, "ok".to_owned()), "{why}");
    }
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_not_waited_for() {
    let mut origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        connection.ended().await;
    })
    .await;
    let first_byte_timeout = Duration::from_millis(50);
    let origins = start(Spec { first_byte_timeout, retries: 5, ..spec(&[origin.address]) }).await;
    let error = ask(&origins, get()).await.unwrap_err();
    assert_eq!(told(&error), (504, "http_response_timeout"), "{error}");
    assert_eq!(origin.hits(), 1, "the client has waited long enough");
}

#[tokio::test]
async fn interim_answers_go_to_the_client_as_they_come() {
    let origin = Scripted::answering(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n\
         HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let origins = start(spec(&[origin.address])).await;
    let (sender, mut interim) = mpsc::unbounded_channel();
    let told = crate::client::Interim::new(move |status, headers| {
        sender.send((status.as_u16(), format!("{headers:?}"))).unwrap();
    });
    let client = Client { interim: Some(told), ..client() };
    assert_eq!(ask_and_read(&origins, Outbound { client: &client, ..get() }).await, (200, "ok".to_owned()));
    drop(client);
    assert_eq!(interim.recv().await.unwrap(), (103, "{\"link\": \"</a>\"}".to_owned()));
    assert_eq!(interim.recv().await.unwrap(), (102, "{}".to_owned()));
    assert!(interim.recv().await.is_none(), "100 is between the origin and us");
}
