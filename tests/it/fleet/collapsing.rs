//! Does the origin get one request for all nodes?

use std::time::Duration;

use tokio::time::Instant;

use super::{HOST, are_met, get, nodes};
use crate::support::gate::Gate;
use crate::support::held::{asks, got};
use crate::support::origin::{Origin, ok};
use crate::support::redis::Redis;

#[tokio::test]
async fn a_stampede_over_three_nodes_reaches_the_origin_once() {
    let (redis, gate) = (Redis::start(), Gate::shut());
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            door.pass().await;
            ok(format!("v{}", asked.number)).fresh(600)
        }
    })
    .await;
    let nodes = nodes(3, &origin, &redis.url()).await;
    let clients: Vec<_> = (0..60).map(|number| asks(&nodes[number % 3], "GET", "/a", &[HOST])).collect();
    origin.asked_times(1).await;
    // The others have had time to ask, had they wanted to.
    tokio::time::timeout(Duration::from_millis(300), origin.asked_times(2)).await.expect_err("one fetches for all");
    gate.open();
    for client in clients {
        assert_eq!(got(client).await.brief(), (200, "v1"));
    }
    assert_eq!(origin.hits(), 1);
}

#[tokio::test]
async fn what_cannot_be_shared_makes_no_other_node_wait_for_long() {
    let redis = Redis::start();
    let origin = Origin::serve(|asked| ok(format!("v{}", asked.number)).with("cache-control", "private")).await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    let began = Instant::now();
    for node in &nodes {
        get(node, "/a").await;
    }
    assert_eq!(origin.hits(), 2);
    assert!(began.elapsed() < Duration::from_secs(2), "the lease was given back at once: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_node_that_dies_while_it_fetches_costs_the_others_one_lease() {
    let (redis, gate) = (Redis::start(), Gate::shut());
    let door = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let door = door.clone();
        async move {
            if asked.number == 1 {
                door.pass().await;
            }
            ok(format!("v{}", asked.number)).fresh(600)
        }
    })
    .await;
    let mut nodes = nodes(2, &origin, &redis.url()).await;
    let _lost = asks(&nodes[0], "GET", "/a", &[HOST]);
    origin.asked_times(1).await;
    nodes[0].signal("KILL");
    nodes[0].exit_code().await;
    let began = Instant::now();
    assert_eq!(get(&nodes[1], "/a").await.brief(), (200, "v2"));
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(6), "one lease, on a busy machine: {waited:?}");
    gate.open();
    are_met(&nodes[1], 1).await;
}
