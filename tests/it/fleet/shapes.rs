//! Does all of it hold over Sentinels and over a cluster?

use serde_json::json;

use super::{get, nodes, numbered, of_tag, purge, stats, written};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::redis::{ClusterSetup, SentinelSetup};

#[tokio::test]
async fn a_purge_that_all_confirmed_holds_while_the_master_is_killed() {
    let mut setup = SentinelSetup::start();
    let origin = Origin::serve(|asked| numbered(&asked)).await;
    let nodes = nodes(2, &origin, &setup.url()).await;
    for node in &nodes {
        get(node, "/a").await;
    }
    let (status, receipt) = purge(&nodes[0], of_tag()).await;
    assert_eq!(status, 200, "{receipt}");
    setup.servers[0].kill();
    let after = get(&nodes[1], "/a").await;
    assert_ne!(after.text(), "v1", "{:?}", after.cache());
    // While nobody is master, purges are kept; then they are told.
    let (status, receipt) = purge(&nodes[0], of_tag()).await;
    assert!(matches!(status, 200 | 202 | 503), "{status} {receipt}");
    for node in &nodes {
        eventually("the new master is found, and told", async || {
            let redis = stats(node).await["redis"].clone();
            (redis["state"] == "up" && redis["untold"] == 0 && redis["heard"] == true).then_some(())
        })
        .await;
    }
    let (status, receipt) = eventually("a purge is confirmed by all over the new master", async || {
        let (status, receipt) = purge(&nodes[0], of_tag()).await;
        assert!(matches!(status, 200 | 202 | 503), "{status} {receipt}");
        (status == 200).then_some((status, receipt))
    })
    .await;
    assert_eq!((status, receipt["nodes"]["acked"].as_array().map(Vec::len)), (200, Some(2)), "{receipt}");
    let hits = origin.hits();
    let replies = [get(&nodes[0], "/a").await, get(&nodes[1], "/a").await];
    for reply in replies {
        assert_eq!(reply.text(), format!("v{}", hits + 1), "{:?}", reply.cache());
    }
}

#[tokio::test]
async fn a_cluster_keeps_what_is_stored_and_tells_purges() {
    let cluster = ClusterSetup::start();
    let origin = Origin::serve(|asked| numbered(&asked)).await;
    let nodes = nodes(2, &origin, &cluster.url()).await;
    for number in 0..20 {
        get(&nodes[0], &format!("/{number}")).await;
    }
    written(&nodes[0], 20.0).await;
    for number in 0..20 {
        let reply = get(&nodes[1], &format!("/{number}")).await;
        assert_eq!((reply.text(), reply.cache().says("redis")), (&*format!("v{}", number + 1), true));
    }
    for round in 0..3 {
        let (status, receipt) = purge(&nodes[round % 2], of_tag()).await;
        assert_eq!((status, &receipt["status"]), (200, &json!("ok")), "{receipt}");
        for node in &nodes {
            let reply = get(node, "/7").await;
            assert_eq!(reply.text(), format!("v{}", 21 + round), "{:?}", reply.cache());
        }
    }
}
