//! Sentinels: the master is found, and found again when it is another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::Instant;

use larder::link::LinkError;
use larder::link::state::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{LONG, SHORT, pause, run, text, up};
use crate::support::redis::{Redis, SentinelSetup};
use crate::support::{eventually, within};

/// Waits until the Sentinels name a master at another port.
async fn another_master(setup: &SentinelSetup, than: u16) {
    eventually("another master", async || {
        pause().await;
        (setup.master_port() != than).then_some(())
    })
    .await;
}

#[tokio::test]
async fn calls_go_to_the_new_master_when_the_old_one_is_killed() {
    let mut setup = SentinelSetup::start();
    let running = up(&setup.url()).await;
    running.set("a", "1").await.expect("a master that is well");
    assert_eq!(setup.servers[0].cli(&["GET", "a"]), "1", "the master was asked");
    let port = setup.servers[0].port();
    setup.servers[0].kill();
    let begun = Instant::now();
    running.set_at_last("a", "2").await;
    assert!(begun.elapsed() < LONG, "written again {:?} after the kill", begun.elapsed());
    // Each Sentinel hears of it in its own time.
    another_master(&setup, port).await;
    assert_eq!(running.get("a", LONG).await.expect("a master that is well"), text("2"));
    assert_eq!(running.link.state(), State::Up);
}

#[tokio::test]
async fn calls_go_to_the_new_master_when_the_old_one_is_frozen() {
    let setup = SentinelSetup::start();
    let running = up(&setup.url()).await;
    setup.servers[0].freeze();
    let begun = Instant::now();
    while !matches!(running.get("a", SHORT).await, Err(LinkError::Closed)) {}
    running.set_at_last("a", "2").await;
    assert!(begun.elapsed() < LONG, "written again {:?} after the freeze", begun.elapsed());
    assert!(running.requests("timeout") <= 8, "{} calls waited in vain", running.requests("timeout"));
    // It thinks for a moment that it is the master; nobody asks it.
    setup.servers[0].thaw();
    running.set("a", "3").await.expect("a master that is well");
    assert_eq!(running.get("a", LONG).await.expect("a master that is well"), text("3"));
}

#[tokio::test]
async fn an_unused_link_follows_a_fail_over_without_being_closed() {
    let setup = SentinelSetup::start();
    let running = up(&setup.url()).await;
    let port = setup.servers[0].port();
    assert_eq!(setup.sentinels[0].cli(&["SENTINEL", "FAILOVER", "mymaster"]), "OK");
    another_master(&setup, port).await;
    let begun = Instant::now();
    eventually("a connection to the new master", async || {
        pause().await;
        (running.metric("larder_redis_reconnects_total{link=\"test\"}") > 0).then_some(())
    })
    .await;
    assert!(begun.elapsed() < LONG, "followed {:?} after the Sentinels", begun.elapsed());
    running.set_at_last("a", "1").await;
    let new = setup.servers.iter().find(|server| server.port() == setup.master_port()).expect("one of the three");
    assert_eq!(new.cli(&["GET", "a"]), "1");
}

#[tokio::test]
async fn sentinels_that_ask_for_a_password_are_told_that_of_the_master() {
    let setup = SentinelSetup::start_with_password("hush");
    let running = up(&setup.url()).await;
    running.set("a", "1").await.expect("a master that is well");
    let wrong = run(&setup.url().replace("hush", "rush"));
    wrong.reaches(State::Denied).await;
}

#[tokio::test]
async fn any_sentinel_that_answers_will_do() {
    let mut setup = SentinelSetup::start();
    setup.sentinels[0].kill();
    setup.sentinels[1].freeze();
    let running = up(&setup.url()).await;
    running.set("a", "1").await.expect("a master that is well");
    let unknown = run(&setup.url().replace("mymaster", "yours"));
    unknown.reaches(State::Unreachable).await;
    running.set("a", "2").await.expect("a master that is well");
}

/// Answers as a Sentinel does to whom the master has the port that `named` holds.
async fn sentinel(mut stream: TcpStream, named: Arc<AtomicU16>) {
    let mut asked = vec![0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut asked).await {
        let text = String::from_utf8_lossy(&asked[..length]);
        let answer = if text.contains("SENTINEL") {
            let port = named.load(Relaxed).to_string();
            format!("*2\r\n$9\r\n127.0.0.1\r\n${}\r\n{port}\r\n", port.len())
        } else {
            // CLIENT SETINFO, each of them.
            "+OK\r\n".repeat(text.matches("SETINFO").count())
        };
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The place of a set-up with one such Sentinel; it ends with the test's run-time.
async fn scripted(named: &Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it listens").port();
    let named = Arc::clone(named);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(sentinel(stream, Arc::clone(&named)));
        }
    });
    format!("redis+sentinel://127.0.0.1:{port}/mymaster")
}

#[tokio::test]
async fn a_sentinel_that_is_behind_the_times_is_not_believed() {
    let master = Redis::start();
    let replica = Redis::replica_of(&master);
    let named = Arc::new(AtomicU16::new(replica.port()));
    let url = scripted(&named).await;
    let running = run(&url);
    running.reaches(State::Unreachable).await;
    assert!(matches!(running.get("a", LONG).await, Err(LinkError::Closed)), "a replica is no master");

    named.store(master.port(), Relaxed);
    within("a link that is up", running.link.up()).await;
    running.set("a", "1").await.expect("a master");

    // Back to the replica, for longer than until the Sentinel is asked again: the master is kept.
    named.store(replica.port(), Relaxed);
    let begun = Instant::now();
    while begun.elapsed() < SHORT * 25 {
        running.set("a", "2").await.expect("a master");
        pause().await;
    }
    assert_eq!(running.metric("larder_redis_reconnects_total{link=\"test\"}"), 0);
}

#[tokio::test]
async fn a_master_that_has_become_a_replica_is_left() {
    let old = Redis::start();
    let new = Redis::start();
    let named = Arc::new(AtomicU16::new(old.port()));
    let url = scripted(&named).await;
    let running = up(&url).await;
    assert_eq!(old.cli(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]), "OK");
    let refused = running.set("a", "1").await;
    assert!(matches!(refused, Err(LinkError::Refused(_) | LinkError::Broken(_))), "{refused:?}");
    running.reaches(State::Unreachable).await;
    named.store(new.port(), Relaxed);
    running.set_at_last("a", "2").await;
    assert_eq!(new.cli(&["GET", "a"]), "2");
}
