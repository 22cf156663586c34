//! A cluster: each key finds its node, also when it has moved, and a frozen node does no lasting harm.

use std::time::Instant;

use larder::link::LinkError;
use larder::link::state::State;
use redis::{Script, Value, cmd, pipe};

use super::{LONG, SHORT, text, up};
use crate::support::redis::ClusterSetup;
use crate::support::within;

/// Keys with the hash tags of which each node has one.
fn keys(setup: &ClusterSetup) -> Vec<String> {
    let of_node = |node: u16| {
        let mut tags = (0..).map(|number| format!("{{{number}}}key"));
        tags.find(|key| setup.slot(key) / 5462 == node).expect("there are enough numbers")
    };
    (0..3).map(of_node).collect()
}

#[tokio::test]
async fn every_key_finds_its_node() {
    let setup = ClusterSetup::start();
    let running = up(&setup.url()).await;
    let script = Script::new("return {redis.call('GET', KEYS[1]), redis.call('INCRBY', KEYS[2], ARGV[1])}");
    for (node, key) in setup.nodes.iter().zip(keys(&setup)) {
        running.set(&key, "1").await.expect("a cluster that is well");
        assert_eq!(running.get(&key, LONG).await.expect("a cluster that is well"), text("1"));
        assert_eq!(node.cli(&["GET", &key]), "1");
        let other = format!("{key}2");
        let mut several = pipe();
        several.cmd("SET").arg(&other).arg("2").cmd("GET").arg(&key).cmd("GET").arg(&other);
        let answers = running.link.pipe(&several, LONG).await.expect("one hash tag is one node");
        assert_eq!(answers, [Value::Okay, text("1"), text("2")]);
        let answer = running.link.script(&script, &[&key, &other], &[3], LONG).await.expect("a script by its keys");
        assert_eq!(answer, Value::Array(vec![text("1"), Value::Int(5)]));
    }
    let across: Vec<_> = keys(&setup);
    let answer = running.link.call(cmd("RENAME").arg(&across[0]).arg(&across[1]), LONG).await;
    assert!(matches!(answer, Err(LinkError::Refused(_))), "{answer:?}");
    assert_eq!(running.link.state(), State::Up);
}

#[tokio::test]
async fn a_slot_that_has_moved_is_found_again() {
    let setup = ClusterSetup::start();
    let running = up(&setup.url()).await;
    let key = keys(&setup).swap_remove(0);
    assert_eq!(running.get(&key, LONG).await.expect("a cluster that is well"), Value::Nil);
    setup.move_slot(setup.slot(&key), 2);
    running.set(&key, "1").await.expect("what has moved is found");
    assert_eq!(setup.nodes[2].cli(&["GET", &key]), "1");
    let mut several = pipe();
    several.cmd("GET").arg(&key);
    assert_eq!(running.link.pipe(&several, LONG).await.expect("and by a pipeline"), [text("1")]);
    assert_eq!((running.requests("refused"), running.requests("broken")), (0, 0));
}

#[tokio::test]
async fn a_frozen_node_costs_calls_their_deadline_and_is_used_again_when_it_is_back() {
    let setup = ClusterSetup::start();
    let running = up(&setup.url()).await;
    let keys = keys(&setup);
    for key in &keys {
        running.set(key, "1").await.expect("a cluster that is well");
    }
    setup.nodes[1].freeze();
    let begun = Instant::now();
    while !matches!(running.get(&keys[1], SHORT).await, Err(LinkError::Closed)) {}
    running.reaches(State::TimedOut).await;
    assert!(running.requests("timeout") <= 6, "{} calls waited in vain", running.requests("timeout"));
    // Long enough for the connection to be given up, and for tries to make another.
    while begun.elapsed() < SHORT * 40 {
        assert!(running.get(&keys[1], SHORT).await.is_err(), "a frozen node cannot answer");
        super::pause().await;
    }
    setup.nodes[1].thaw();
    let begun = Instant::now();
    within("a link that is up again", running.link.up()).await;
    assert!(begun.elapsed() < LONG, "up again after {:?}", begun.elapsed());
    for key in &keys {
        assert_eq!(running.get(key, LONG).await.expect("a cluster that is well"), text("1"));
    }
}

#[tokio::test]
async fn a_node_that_is_killed_and_back_is_used_again() {
    let mut setup = ClusterSetup::start();
    let running = up(&setup.url()).await;
    let keys = keys(&setup);
    setup.nodes[0].kill();
    while !matches!(running.get(&keys[0], SHORT).await, Err(LinkError::Closed)) {}
    setup.nodes[0].restart();
    running.set_at_last(&keys[0], "1").await;
    for key in &keys {
        running.set_at_last(key, "2").await;
    }
}
