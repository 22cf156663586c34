//! Connections: kept, used again, retried, bounded, ended.

use super::*;

#[tokio::test]
async fn an_answer_is_passed_on_and_its_connection_used_again() {
    let mut origin = Scripted::answering(
        "HTTP/1.1 203 Fine\r\ncontent-length: 2\r\nx: 1\r\nx: 2\r\nconnection: y\r\ny: 3\r\n\r\nok",
    )
    .await;
    let origins = start(spec(&[origin.address])).await;
    for _ in 0..3 {
        let answer = ask(&origins, get()).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.address), (203, origin.address));
        let x: Vec<_> = answer.headers.get_all("x").iter().collect();
        assert_eq!(x, ["1", "2"], "repeated lines stay repeated");
        assert_eq!(answer.headers.get("y"), None, "named by Connection");
        assert_eq!(http_body::Body::size_hint(&answer.body).exact(), Some(2));
        assert_eq!(read(answer).await.1.unwrap(), "ok");
    }
    let head = origin.head().await;
    assert!(head.starts_with("GET /x HTTP/1.1\r\nhost: 127.0.0.1:"), "{head}");
    assert_eq!((origin.connections(), origin.hits()), (1, 2));
    assert_eq!(&**origins.name(OriginId(0)), "app");
}

#[tokio::test]
async fn the_clients_host_is_preserved_where_that_is_wanted() {
    let mut origin = Scripted::answering(OK).await;
    let origins = start(Spec { preserve_host: true, ..spec(&[origin.address]) }).await;
    ask_and_read(&origins, get()).await;
    assert!(origin.head().await.contains("\r\nhost: shop.example\r\n"));
}

/// Answers the first request of the first connection, and ends that connection at the second.
async fn stale(ending: fn(Connection)) -> Scripted {
    Scripted::origin(move |number, mut connection| async move {
        connection.head().await;
        connection.send(OK).await;
        if connection.head().await.is_none() {
            return;
        }
        if number == 0 {
            ending(connection);
        } else {
            connection.send(OK).await;
            connection.ended().await;
        }
    })
    .await
}

#[tokio::test]
async fn a_stale_connection_is_retried_invisibly_without_spending_a_retry() {
    for ending in [drop as fn(Connection), Connection::reset] {
        let mut origin = stale(ending).await;
        let origins = start(spec(&[origin.address])).await;
        for _ in 0..2 {
            assert_eq!(ask_and_read(&origins, get()).await, (200, "ok".to_owned()));
        }
        assert_eq!((origin.connections(), origin.hits()), (2, 3));
    }
}

#[tokio::test]
async fn one_stale_connection_is_enough_to_trust_no_other() {
    // Retries, times that the origin sees the request: on one stale connection, on a new one, and once per retry.
    for (retries, want) in [(0, 2), (1, 3), (2, 4)] {
        let together = Arc::new(tokio::sync::Barrier::new(3));
        let mut origin = Scripted::origin(move |number, mut connection| {
            let together = Arc::clone(&together);
            async move {
                connection.head().await;
                if number < 3 {
                    together.wait().await;
                    connection.send(OK).await;
                    connection.head().await;
                }
            }
        })
        .await;
        let origins = start(Spec { retries, ..spec(&[origin.address]) }).await;
        tokio::join!(ask_and_read(&origins, get()), ask_and_read(&origins, get()), ask_and_read(&origins, get()));
        assert_eq!((origin.connections(), origin.hits()), (3, 3));
        let error = ask(&origins, get()).await.unwrap_err();
        assert_eq!(told(&error), (502, "connection_terminated"), "{error}");
        assert_eq!((origin.connections(), origin.hits()), (3 + want - 1, want), "{retries} retries");
    }
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_is_not_repeated_once_the_origin_has_seen_it() {
    let mut origin = stale(drop).await;
    let origins = start(Spec { retries: 5, ..spec(&[origin.address]) }).await;
    ask_and_read(&origins, get()).await;
    let error = ask(&origins, request(Method::POST, "/x")).await.unwrap_err();
    assert_eq!(told(&error), (502, "connection_terminated"), "{error}");
    assert_eq!((origin.connections(), origin.hits()), (1, 2));
}

#[tokio::test]
async fn a_connection_that_the_origin_has_closed_is_not_used_even_for_a_post() {
    let mut origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.send(OK).await;
    })
    .await;
    let origins = start(spec(&[origin.address])).await;
    let address = Arc::clone(&origins.0[0].upstream.addresses.load()[0]);
    for _ in 0..3 {
        assert_eq!(ask_and_read(&origins, request(Method::POST, "/x")).await.0, 200);
        assert!(address.idle_since().is_some());
        eventually(|| {
            address.reap(Instant::now());
            address.idle_since().is_none()
        })
        .await;
    }
    assert_eq!((origin.connections(), origin.hits()), (3, 3));
}

#[tokio::test]
async fn a_request_without_an_answer_is_retried_as_often_as_configured_if_idempotent() {
    // Retries, method, status, requests that the origin sees, why.
    let cases = [
        (0, Method::GET, 502, 1, "no retries configured"),
        (1, Method::GET, 200, 2, "one is enough"),
        (1, Method::PUT, 200, 2, "idempotent"),
        (5, Method::POST, 502, 1, "it may have been carried out"),
        (5, Method::PATCH, 502, 1, "it may have been carried out"),
    ];
    for (retries, method, status, hits, why) in cases {
        let mut origin = Scripted::origin(|number, mut connection| async move {
            connection.head().await;
            if number > 0 {
                connection.send(OK).await;
            }
        })
        .await;
        let origins = start(Spec { retries, ..spec(&[origin.address]) }).await;
        let answer = ask(&origins, request(method.clone(), "/x")).await;
        let got = answer.map_or_else(|error| error.status(), |answer| answer.status);
        assert_eq!((got.as_u16(), origin.hits()), (status, hits), "{method} {retries}: {why}");
    }
}

#[tokio::test]
async fn what_was_begun_to_be_answered_is_not_asked_again() {
    let mut origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 200 O").await;
    })
    .await;
    let origins = start(Spec { retries: 5, ..spec(&[origin.address]) }).await;
    let error = ask(&origins, get()).await.unwrap_err();
    assert_eq!((told(&error), origin.hits()), ((502, "http_response_incomplete"), 1), "{error}");
}

#[tokio::test]
async fn connections_that_cannot_be_used_again_are_not() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok", "the origin closes"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nok", "HTTP/1.0"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokmore", "surplus"),
        ("HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nX", "an answer that nobody asked for"),
        ("HTTP/1.1 304 No\r\ncontent-length: 2\r\n\r\nok", "304 has no body: what follows is surplus"),
    ];
    for (answer, why) in cases {
        let mut origin = Scripted::answering(answer).await;
        let origins = start(spec(&[origin.address])).await;
        for _ in 0..3 {
            let (_, body) = ask_and_read(&origins, get()).await;
            assert!(body.is_empty() || body == "ok", "{body:?}: {why}");
        }
        assert_eq!((origin.connections(), origin.hits()), (3, 3), "{why}");
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_their_connection_usable() {
    let cases = [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\netag: \"a\"\r\n\r\n"),
        (Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ];
    for (method, raw) in cases {
        let origin = Scripted::answering(raw).await;
        let origins = start(spec(&[origin.address])).await;
        for _ in 0..3 {
            let answer = ask(&origins, request(method.clone(), "/x")).await.unwrap();
            assert!(http_body::Body::is_end_stream(&answer.body), "{raw}");
            assert_eq!(read(answer).await.1.unwrap(), "", "{raw}");
        }
        assert_eq!(origin.connections(), 1, "{method} {raw}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_to_its_end_closes_its_connection() {
    let (told, mut ended) = mpsc::unbounded_channel();
    let origin = Scripted::origin(move |_, mut connection| {
        let told = told.clone();
        async move {
            connection.head().await;
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok").await;
            connection.ended().await;
            told.send(()).unwrap();
        }
    })
    .await;
    let origins = start(Spec { max_connections: 1, ..spec(&[origin.address]) }).await;
    for _ in 0..3 {
        drop(ask(&origins, get()).await.unwrap());
        within(ended.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn a_fetch_that_is_given_up_frees_its_connection() {
    let mut origin = Scripted::origin(|number, mut connection| async move {
        connection.head().await;
        if number > 0 {
            connection.send(OK).await;
        }
        connection.ended().await;
    })
    .await;
    let origins = start(Spec { max_connections: 1, ..spec(&[origin.address]) }).await;
    tokio::select! {
        _ = ask(&origins, get()) => unreachable!("the origin does not answer"),
        _ = origin.head() => {}
    }
    assert_eq!(ask_and_read(&origins, get()).await.0, 200);
}

#[tokio::test]
async fn a_post_does_not_use_a_connection_that_was_idle_for_long() {
    let origin = Scripted::answering(OK).await;
    let origins = start(spec(&[origin.address])).await;
    ask_and_read(&origins, get()).await;
    ask_and_read(&origins, request(Method::POST, "/x")).await;
    assert_eq!(origin.connections(), 1, "the origin used it a moment ago");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ask_and_read(&origins, get()).await;
    assert_eq!(origin.connections(), 1, "this could be repeated");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ask_and_read(&origins, request(Method::POST, "/x")).await;
    assert_eq!(origin.connections(), 2, "the origin may be closing it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_connections_are_opened_than_allowed_and_the_others_wait_their_turn() {
    let present = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&present), Arc::clone(&most));
    let mut origin = Scripted::origin(move |_, mut connection| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while connection.head().await.is_some() {
                connection.send(OK).await;
            }
            now.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let origins = start(Spec { max_connections: 3, ..spec(&[origin.address]) }).await;
    let asked = (0..100).map(|_| ask_and_read(&origins, get()));
    let answers = within(futures_util::future::join_all(asked)).await;
    assert!(answers.iter().all(|answer| *answer == (200, "ok".to_owned())));
    assert_eq!((most.load(Ordering::SeqCst), origin.connections(), origin.hits()), (3, 3, 100));
}

#[tokio::test]
async fn a_full_queue_is_answered_at_once_and_a_long_wait_in_time() {
    let origin = Scripted::origin(|_, mut connection| async move {
        connection.head().await;
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok").await;
        connection.ended().await;
    })
    .await;
    let first_byte_timeout = Duration::from_millis(200);
    let origins = start(Spec { max_connections: 1, first_byte_timeout, ..spec(&[origin.address]) }).await;
    let _occupied = ask(&origins, get()).await.unwrap();
    let asked = (0..129).map(|_| ask(&origins, get()));
    let errors: Vec<_> =
        within(futures_util::future::join_all(asked)).await.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| told(error) == (503, "connection_limit_reached")));
    let full = errors.iter().filter(|error| matches!(error, OriginError::QueueFull { queue: 128, .. })).count();
    let late = errors.iter().filter(|error| matches!(error, OriginError::QueueTimeout { .. })).count();
    assert_eq!((full, late), (1, 128));
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_one_to_another_address() {
    let (mut one, mut two) = (Scripted::answering(OK).await, Scripted::answering(OK).await);
    let origins = start(Spec { max_connections: 1, ..spec(&[one.address, two.address]) }).await;
    for _ in 0..4 {
        ask_and_read(&origins, get()).await;
    }
    assert_eq!((one.hits(), two.hits()), (2, 2));
    assert_eq!((one.connections(), two.connections()), (2, 2), "each was closed for the other");
}

#[tokio::test]
async fn idle_connections_are_closed_before_the_origin_would() {
    let (told, mut ended) = mpsc::unbounded_channel();
    let origin = Scripted::origin(move |_, mut connection| {
        let told = told.clone();
        async move {
            connection.head().await;
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: timeout=1\r\n\r\nok").await;
            let idle_since = Instant::now();
            connection.ended().await;
            told.send(idle_since.elapsed()).unwrap();
        }
    })
    .await;
    let origins = start(spec(&[origin.address])).await;
    ask_and_read(&origins, get()).await;
    let idle_for = within(ended.recv()).await.unwrap();
    assert!((400..1600).contains(&idle_for.as_millis()), "{idle_for:?}");
}

#[tokio::test]
async fn unchanged_origins_keep_their_connections_when_the_configuration_changes() {
    let origin = Scripted::answering(OK).await;
    let context = context();
    let specs = [spec(&[origin.address])];
    let first = Origins::start(&specs, None, &context).await.unwrap();
    ask_and_read(&first, get()).await;
    let second = Origins::start(&specs, Some(&first), &context).await.unwrap();
    drop(first);
    ask_and_read(&second, get()).await;
    assert_eq!(origin.connections(), 1);
    let changed = [Spec { retries: 3, ..spec(&[origin.address]) }];
    let third = Origins::start(&changed, Some(&second), &context).await.unwrap();
    ask_and_read(&third, get()).await;
    assert_eq!(origin.connections(), 2);
    drop(second);
    // The tasks of the origin that is no more end: what is left is the reaper of the new one.
    eventually(|| context.tasks.len() == 1).await;
}

#[tokio::test]
async fn everything_ends_when_told_to_stop_but_what_is_under_way() {
    let (resume, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(Some(gate)));
    let origin = Scripted::origin(move |number, mut connection| {
        let gate = gate.lock().unwrap().take_if(|_| number == 1);
        async move {
            connection.head().await;
            if let Some(gate) = gate {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbe").await;
                gate.await.unwrap();
                connection.send("en").await;
            } else {
                connection.send(OK).await;
            }
            connection.ended().await;
        }
    })
    .await;
    let context = context();
    let health = Health {
        path: "/healthz".to_owned(),
        interval: PATIENCE,
        timeout: PATIENCE,
        unhealthy_after: 3,
        healthy_after: 2,
    };
    let idle = Origins::start(&[spec(&[origin.address])], None, &context).await.unwrap();
    ask_and_read(&idle, get()).await;
    let busy =
        ask(&Origins::start(&[Spec { retries: 1, ..spec(&[origin.address]) }], None, &context).await.unwrap(), get())
            .await
            .unwrap();
    let _checked =
        Origins::start(&[Spec { health: Some(health), ..spec(&[origin.address]) }], None, &context).await.unwrap();
    context.stop.cancel();
    eventually(|| context.tasks.is_empty()).await;
    resume.send(()).unwrap();
    assert_eq!(read(busy).await.1.unwrap(), "been");
    drop(idle);
}

#[tokio::test]
async fn what_happens_is_counted() {
    let origin = stale(drop).await;
    let mut registry = Registry::default();
    let origins = Origins::start(&[spec(&[origin.address])], None, &context_with(&mut registry)).await.unwrap();
    for _ in 0..2 {
        ask_and_read(&origins, get()).await;
    }
    let written = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    eventually(|| written().contains("larder_origin_connections_open{origin=\"app\"} 1")).await;
    let text = written();
    for line in [
        "larder_origin_connections_idle{origin=\"app\"} 1".to_owned(),
        "larder_origin_connects_total{origin=\"app\"} 2".to_owned(),
        "larder_origin_retries_total{origin=\"app\"} 1".to_owned(),
        "larder_origin_errors_total{origin=\"app\",kind=\"lost\"} 1".to_owned(),
        "larder_origin_first_byte_seconds_count{origin=\"app\"} 2".to_owned(),
        format!("larder_origin_address_up{{origin=\"app\",address=\"{}\"}} 1", origin.address),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_reaches_the_request_that_it_answers_whatever_its_framing() {
    let origin = Scripted::origin(|_, mut connection| async move {
        while let Some(head) = connection.head().await {
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let number: usize = path[1..].parse().unwrap();
            let answer = match number % 5 {
                0 => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len()),
                1 => format!(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{path}\r\n0\r\n\r\n",
                    path.len()
                ),
                2 => format!(
                    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}",
                    path.len()
                ),
                3 => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len() + 1),
                _ => format!("HTTP/1.1 200 OK\r\n\r\n{path}"),
            };
            for piece in answer.as_bytes().chunks(1 + number % 50) {
                connection.stream.write_all(piece).await.unwrap();
            }
            if number % 5 > 2 {
                return;
            }
        }
    })
    .await;
    let origins = start(Spec { max_connections: 4, retries: 9, ..spec(&[origin.address]) }).await;
    let asked = (0..120).map(|number| {
        let path = format!("/{number}");
        let asked = Outbound { target: path.parse().unwrap(), ..get() };
        let origins = &origins;
        async move { (number, path, read(ask(origins, asked).await.unwrap()).await.1) }
    });
    for (number, path, got) in within(futures_util::future::join_all(asked)).await {
        match got {
            Ok(body) if number % 5 != 3 => assert_eq!(body, path),
            Err(_) if number % 5 == 3 => {}
            got => panic!("{path}: {got:?}"),
        }
    }
    assert!(origin.connections() < 120, "connections are used again");
}

#[tokio::test]
async fn among_many_dead_connections_none_looks_alive() {
    // More than a task may poll in one turn: then tokio says that nothing is ready, whatever there is.
    const MANY: usize = 200;
    let together = Arc::new(tokio::sync::Barrier::new(MANY));
    let origin = Scripted::origin(move |number, mut connection| {
        let together = Arc::clone(&together);
        async move {
            connection.head().await;
            if number < MANY {
                together.wait().await;
                connection.send(OK).await;
            } else {
                connection.send(OK).await;
                connection.ended().await;
            }
        }
    })
    .await;
    let origins = Arc::new(start(Spec { max_connections: MANY + 1, ..spec(&[origin.address]) }).await);
    futures_util::future::join_all((0..MANY).map(|_| ask_and_read(&origins, get()))).await;
    assert_eq!(origin.connections(), MANY);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = tokio::spawn(async move { ask_and_read(&origins, request(Method::POST, "/x")).await });
    assert_eq!(within(asked).await.unwrap(), (200, "ok".to_owned()), "what may not be sent twice has a live one");
}
