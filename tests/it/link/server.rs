//! One server: what it answers, and each way in which it does not.

use std::time::{Duration, Instant};

use larder::link::LinkError;
use larder::link::state::State;
use redis::{Script, Value, cmd, pipe};

use super::{LONG, SHORT, code, pause, run, run_with, text, up};
use crate::support::redis::Redis;
use crate::support::{eventually, within};

#[tokio::test]
async fn one_question_has_one_answer() {
    let server = Redis::start();
    let running = up(&server.url()).await;
    assert_eq!(running.link.state(), State::Up);
    assert_eq!(running.set("a", "1").await.expect("a server that is well"), Value::Okay);
    assert_eq!(running.get("a", LONG).await.expect("it is there"), text("1"));
    assert_eq!(running.get("b", LONG).await.expect("nothing is an answer"), Value::Nil);

    let mut several = pipe();
    several.cmd("SET").arg("b").arg("2").ignore().cmd("GET").arg("a").cmd("GET").arg("b");
    assert_eq!(running.link.pipe(&several, LONG).await.expect("answers"), [text("1"), text("2")]);
    let mut at_once = pipe();
    at_once.atomic().cmd("INCR").arg("n").cmd("INCR").arg("n");
    assert_eq!(running.link.pipe(&at_once, LONG).await.expect("answers"), [Value::Int(1), Value::Int(2)]);

    // What callers hand to other tasks.
    let link = running.link.clone();
    let elsewhere = tokio::spawn(async move { link.call(cmd("GET").arg("a"), LONG).await });
    assert_eq!(elsewhere.await.expect("no panic").expect("an answer"), text("1"));
}

#[tokio::test]
async fn an_error_reply_is_an_answer_and_says_nothing_about_the_link() {
    let server = Redis::start();
    let running = up(&server.url()).await;
    running.set("a", "1").await.expect("a server that is well");
    for _ in 0..10 {
        let wrong = running.link.call(cmd("LPUSH").arg("a").arg("x"), LONG).await;
        assert!(
            matches!(&wrong, Err(LinkError::Refused(error)) if error.to_string().contains("WRONGTYPE")),
            "{wrong:?}"
        );
    }
    let mut several = pipe();
    several.cmd("GET").arg("a").cmd("LPUSH").arg("a").arg("x");
    let wrong = running.link.pipe(&several, LONG).await;
    assert!(matches!(wrong, Err(LinkError::Refused(_))), "one of two: {wrong:?}");
    assert_eq!(running.get("a", LONG).await.expect("the breaker has not opened"), text("1"));
    assert_eq!((running.link.state(), running.requests("refused")), (State::Up, 11));
}

#[tokio::test]
async fn a_script_runs_also_where_redis_has_forgotten_it() {
    let server = Redis::start();
    let running = up(&server.url()).await;
    let script = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    let add = async |number: i64| running.link.script(&script, &["n"], &[number], LONG).await;
    assert_eq!(add(2).await.expect("loaded"), Value::Int(2));
    assert_eq!(add(3).await.expect("there"), Value::Int(5));
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(add(4).await.expect("loaded again"), Value::Int(9));
    let wrong = Script::new("return redis.call('LPUSH', KEYS[1], ARGV[1])");
    let answer = running.link.script(&wrong, &["n"], &["x"], LONG).await;
    assert!(matches!(answer, Err(LinkError::Refused(_))), "{answer:?}");
}

#[tokio::test]
async fn a_stopped_link_is_closed_and_lets_nobody_wait() {
    let server = Redis::start();
    let mut running = up(&server.url()).await;
    let link = running.link.clone();
    let waiting = tokio::spawn(async move { link.call(cmd("BLPOP").arg("nothing").arg(0), LONG * 6).await });
    eventually("a client that waits", async || {
        pause().await;
        server.cli(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    })
    .await;
    running.stop.cancel();
    within("the end of the task", &mut running.task).await.expect("no panic");
    let ended = within("the end of the call", waiting).await.expect("no panic");
    assert!(matches!(ended, Err(LinkError::Broken(_))), "{ended:?}");
    assert!(matches!(running.get("a", LONG).await, Err(LinkError::Closed)));
}

#[tokio::test]
async fn a_frozen_server_costs_calls_their_deadline_and_only_until_the_breaker_opens() {
    let server = Redis::start();
    let running = up(&server.url()).await;
    running.set("a", "1").await.expect("a server that is well");
    server.freeze();
    for call in 0..3 {
        let begun = Instant::now();
        let answer = running.get("a", SHORT).await;
        assert!(matches!(answer, Err(LinkError::TimedOut(SHORT))), "call {call}: {answer:?}");
        assert!((SHORT..LONG).contains(&begun.elapsed()), "call {call}: {:?}", begun.elapsed());
    }
    // Through the probes, the end of the connection, and the tries to connect anew.
    let begun = Instant::now();
    let mut closed = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        let answer = running.get("a", LONG).await;
        assert!(matches!(answer, Err(LinkError::Closed)), "{answer:?}");
        closed += 1;
        pause().await;
    }
    assert_eq!((running.requests("timeout"), running.requests("closed")), (3, closed));
    assert_eq!(running.link.state(), State::TimedOut);
    assert_eq!(running.metric("larder_redis_up{link=\"test\"}"), 0);

    server.thaw();
    let begun = Instant::now();
    within("a link that is up again", running.link.up()).await;
    assert!(begun.elapsed() < LONG, "up again after {:?}", begun.elapsed());
    assert_eq!(running.get("a", LONG).await.expect("a server that is well"), text("1"));
    assert_eq!((running.link.state(), running.metric("larder_redis_up{link=\"test\"}")), (State::Up, 1));
}

#[tokio::test]
async fn a_server_that_was_frozen_for_a_moment_is_asked_again_over_the_same_connection() {
    let server = Redis::start();
    // Probes that wait: the connection is not given up meanwhile.
    let running = run_with(&server.url(), |plan| plan.patience = LONG);
    within("a link that is up", running.link.up()).await;
    server.freeze();
    while !matches!(running.get("a", SHORT).await, Err(LinkError::Closed)) {}
    running.reaches(State::TimedOut).await;
    assert_eq!(running.metric("larder_redis_breaker_open{link=\"test\"}"), 1);
    server.thaw();
    within("a link that is up again", running.link.up()).await;
    assert_eq!(running.get("a", LONG).await.expect("a server that is well"), Value::Nil);
    assert_eq!(running.metric("larder_redis_breaker_open{link=\"test\"}"), 0);
    assert_eq!(running.metric("larder_redis_reconnects_total{link=\"test\"}"), 0);
}

#[tokio::test]
async fn five_failures_in_a_row_end_a_connection() {
    let server = Redis::start();
    let running = up(&server.url()).await;
    server.freeze();
    while !matches!(running.get("a", SHORT).await, Err(LinkError::Closed)) {}
    eventually("the end of the connection", async || {
        pause().await;
        let is_open = running.metric("larder_redis_breaker_open{link=\"test\"}") == 1;
        (running.link.state() == State::TimedOut && !is_open).then_some(())
    })
    .await;
    server.thaw();
    within("a link that is up again", running.link.up()).await;
    running.reaches(State::Up).await;
    assert_eq!(running.metric("larder_redis_reconnects_total{link=\"test\"}"), 1);
}

#[tokio::test]
async fn a_link_that_nobody_uses_notices_what_becomes_of_its_server() {
    let mut server = Redis::start();
    let running = up(&server.url()).await;
    server.freeze();
    running.reaches(State::TimedOut).await;
    server.thaw();
    running.reaches(State::Up).await;
    server.kill();
    running.reaches(State::Unreachable).await;
    assert_eq!(running.requests("ok") + running.requests("timeout"), 0, "nobody asked anything");
}

#[tokio::test]
async fn a_killed_server_breaks_calls_off_and_is_used_again_when_it_is_back() {
    let mut server = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let running = up(&server.url()).await;
    running.set("a", "1").await.expect("a server that is well");
    let link = running.link.clone();
    let waiting = tokio::spawn(async move { link.call(cmd("BLPOP").arg("nothing").arg(0), LONG * 6).await });
    eventually("a client that waits", async || {
        pause().await;
        server.cli(&["INFO", "clients"]).contains("blocked_clients:1").then_some(())
    })
    .await;
    server.kill();
    let ended = within("the end of the call", waiting).await.expect("no panic");
    assert!(matches!(ended, Err(LinkError::Broken(_))), "{ended:?}");
    running.reaches(State::Unreachable).await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(matches!(running.get("a", LONG).await, Err(LinkError::Closed)));
    }
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    server.restart();
    within("a link that is up again", running.link.up()).await;
    assert_eq!(running.get("a", LONG).await.expect("a server that is back"), text("1"));
    assert_eq!(running.metric("larder_redis_reconnects_total{link=\"test\"}"), 1);
}

#[tokio::test]
async fn a_link_waits_for_a_server_that_is_not_there_yet() {
    let mut server = Redis::start();
    server.kill();
    let running = run(&server.url());
    running.reaches(State::Unreachable).await;
    server.restart();
    within("a link that is up", running.link.up()).await;
    running.set("a", "1").await.expect("a server that is well");
}

#[tokio::test]
async fn something_that_is_no_redis_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    let other = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("somebody connects");
            _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let running = run(&format!("redis://127.0.0.1:{port}"));
    running.reaches(State::Unreachable).await;
    assert!(matches!(running.get("a", LONG).await, Err(LinkError::Closed)));
    other.abort();
}

#[tokio::test]
async fn a_wrong_password_is_denied_until_it_is_the_right_one() {
    let server = Redis::start_with(&["--requirepass", "right"]);
    let place = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port());
    let cases = [
        (":wrong@", "", "the wrong one"),
        ("", "", "none"),
        ("", "/2", "none, where the first question is for a database"),
        ("me:right@", "", "of another user"),
    ];
    for (login, database, why) in cases {
        let running = run(&(place(login) + database));
        running.reaches(State::Denied).await;
        assert!(matches!(running.get("a", LONG).await, Err(LinkError::Closed)), "{why}");
    }
    let running = run(&place(":later%40@"));
    running.reaches(State::Denied).await;
    assert_eq!(server.cli(&["CONFIG", "SET", "requirepass", "later@"]), "OK");
    within("a link that is let in", running.link.up()).await;
    running.set("a", "1").await.expect("the right password");
}

#[tokio::test]
async fn a_user_of_the_acl_may_do_what_it_may_do() {
    let server = Redis::start();
    let rules = ["ACL", "SETUSER", "edge", "on", ">s3:cr/t", "~larder:*", "+get", "+set"];
    assert_eq!(server.cli(&rules), "OK");
    // It may not even PING.
    let running = up(&format!("redis://edge:s3%3Acr%2Ft@127.0.0.1:{}", server.port())).await;
    running.set("larder:a", "1").await.expect("it may do that");
    assert_eq!(code(running.link.call(cmd("DEL").arg("larder:a"), LONG).await), "NOPERM");
    running.reaches(State::Denied).await;
    assert_eq!(running.get("larder:a", LONG).await.expect("it is still asked"), text("1"));
    assert_eq!(running.link.state(), State::Denied, "another command's success does not end it");
    assert_eq!(server.cli(&["ACL", "SETUSER", "edge", "+del"]), "OK");
    eventually("no denial any more", async || {
        running.link.call(cmd("DEL").arg("larder:a"), LONG).await.expect("it may do that now");
        pause().await;
        (running.link.state() == State::Up).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_is_chosen_by_its_number() {
    let server = Redis::start();
    let running = up(&format!("{}/3", server.url())).await;
    running.set("a", "1").await.expect("a server that is well");
    let keyspace = server.cli(&["INFO", "keyspace"]);
    assert!(keyspace.contains("db3:keys=1") && !keyspace.contains("db0"), "{keyspace}");
    let none = run(&format!("{}/999", server.url()));
    none.reaches(State::Unreachable).await;
}

#[tokio::test]
async fn a_full_server_is_full_until_a_write_succeeds() {
    let server = Redis::start_with(&["--maxmemory-policy", "noeviction"]);
    let running = up(&server.url()).await;
    running.set("a", "1").await.expect("a server that is well");
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    for _ in 0..10 {
        assert_eq!(code(running.set("a", "2").await), "OOM");
    }
    running.reaches(State::Full).await;
    // Also where it is one of several.
    let mut several = pipe();
    several.cmd("GET").arg("a").cmd("SET").arg("a").arg("2");
    assert!(matches!(running.link.pipe(&several, LONG).await, Err(LinkError::Refused(_))));
    assert_eq!(running.get("a", LONG).await.expect("reads go on"), text("1"));
    assert_eq!(running.link.state(), State::Full, "a read says nothing about room");
    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    eventually("room again", async || {
        running.link.pipe(&several, LONG).await.expect("there is room");
        pause().await;
        (running.link.state() == State::Up).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_replica_is_read_only_until_it_is_a_master() {
    let master = Redis::start();
    assert_eq!(master.cli(&["SET", "a", "1"]), "OK");
    let replica = Redis::replica_of(&master);
    let running = up(&replica.url()).await;
    assert_eq!(running.get("a", LONG).await.expect("reads"), text("1"));
    assert_eq!(code(running.set("a", "2").await), "READONLY");
    running.reaches(State::ReadOnly).await;
    assert_eq!(running.get("a", LONG).await.expect("reads go on"), text("1"));
    assert_eq!(replica.cli(&["REPLICAOF", "NO", "ONE"]), "OK");
    eventually("a master", async || {
        running.set("a", "2").await.expect("it is a master");
        pause().await;
        (running.link.state() == State::Up).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_loads_is_not_asked_until_it_has_loaded() {
    // Loading that takes a while, and answers meanwhile.
    let slow = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = Redis::start_with(&slow);
    let value = "x".repeat(2000);
    for key in 0..100 {
        server.cli(&["SET", &key.to_string(), &value]);
    }
    assert_eq!(server.cli(&["SAVE"]), "OK");
    let running = up(&server.url()).await;
    server.revive();
    running.reaches(State::Loading).await;
    assert!(matches!(running.get("7", LONG).await, Err(LinkError::Closed)));
    within("a link that is up again", running.link.up()).await;
    assert_eq!(running.get("7", LONG).await.expect("it has loaded"), text(&value));
}

#[tokio::test]
async fn tls_trusts_the_file_that_it_is_given() {
    let (server, ca_file) = Redis::start_with_tls(&["--requirepass", "hush"]);
    let running = run_with(&server.url(), |plan| plan.ca_file = Some(ca_file.clone()));
    within("a link that is up", running.link.up()).await;
    running.set("a", "1").await.expect("a server that is well");
    assert_eq!(server.cli(&["GET", "a"]), "1");

    let stranger = run(&server.url());
    stranger.reaches(State::Unreachable).await;
    let plain = run(&server.url().replace("rediss", "redis"));
    plain.reaches(State::Unreachable).await;
}
