//! Sentinels: the master is found, and found again when it is another.

use std::time::Instant;

use larder::link::LinkError;
use larder::link::state::State;

use super::{LONG, SHORT, pause, run, text, up};
use crate::support::eventually;
use crate::support::redis::SentinelSetup;

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
    eprintln!("written again {:?} after the kill", begun.elapsed());
    assert_ne!(setup.master_port(), port);
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
    eprintln!("written again {:?} after the freeze", begun.elapsed());
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
    eprintln!("followed {:?} after the Sentinels", begun.elapsed());
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
