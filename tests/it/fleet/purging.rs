//! Is a purge that one node was asked for in force on all of them?

use serde_json::json;

use super::{HOST, are_met, get, name, node_with, nodes, numbered, of_tag, purge, stats, written};
use crate::support::edge::before;
use crate::support::eventually;
use crate::support::held::{HeldOrigin, asks, got};
use crate::support::origin::{Origin, ok};
use crate::support::redis::Redis;

#[tokio::test]
async fn a_purge_that_all_confirmed_is_in_force_on_each_of_them() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(3, &origin, &redis.url()).await;
    let mut names = Vec::new();
    for node in &nodes {
        names.push(name(node).await);
    }
    for round in 0..10 {
        for node in &nodes {
            get(node, "/a").await;
        }
        let before = origin.hits();
        let (status, receipt) = purge(&nodes[round % 3], of_tag()).await;
        assert_eq!((status, &receipt["status"], &receipt["nodes"]["lagging"]), (200, &json!("ok"), &json!([])));
        let acked = receipt["nodes"]["acked"].as_array().expect("a list");
        assert!(names.iter().all(|name| acked.contains(&json!(name))), "{acked:?}");
        for node in &nodes {
            let reply = get(node, "/a").await;
            assert_eq!(
                reply.text(),
                format!("v{}", before + 1),
                "nothing older, and fetched once for all: {:?}",
                reply.cache()
            );
        }
    }
}

#[tokio::test]
async fn every_way_to_purge_reaches_the_other_node_and_spares_what_it_does_not_name() {
    let redis = Redis::start();
    let origin = Origin::serve(|asked| {
        let tag = if asked.target.starts_with("/t") { "t" } else { "u" };
        ok(format!("v{}", asked.number)).fresh(600).with("surrogate-key", tag).with("cache-groups", "\"g\"")
    })
    .await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    let url = |target: &str| format!("http://shop.test{target}");
    let cases = [
        (json!({ "urls": [url("/a")] }), "/a", "/b", "a URL"),
        (json!({ "tags": ["t"] }), "/t1", "/b", "a tag"),
        (json!({ "prefixes": [url("/p/")] }), "/p/1", "/q", "a prefix"),
        (json!({ "hosts": ["shop.test"] }), "/a", "", "a host"),
        (json!({ "everything": true }), "/a", "", "everything"),
    ];
    for (mut order, named, spared, why) in cases {
        for target in [named, spared].into_iter().filter(|target| !target.is_empty()) {
            for node in &nodes {
                get(node, target).await;
            }
        }
        order["wait"] = json!("all");
        let (status, receipt) = purge(&nodes[0], order).await;
        assert_eq!(status, 200, "{why}: {receipt}");
        let reply = get(&nodes[1], named).await;
        assert_eq!((reply.cache().hit, reply.cache().detail.as_deref()), (false, Some("purged")), "{why}");
        assert!(spared.is_empty() || get(&nodes[1], spared).await.cache().is_fresh_hit(), "{why}: its neighbour");
    }
}

#[tokio::test]
async fn a_soft_purge_is_soft_on_the_other_node_too() {
    let redis = Redis::start();
    let origin = Origin::serve(|asked| {
        let told = ok(format!("v{}", asked.number)).with("surrogate-key", "t").with("etag", "\"e\"");
        told.with("cache-control", "max-age=600, stale-while-revalidate=600")
    })
    .await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    for node in &nodes {
        get(node, "/a").await;
    }
    let (status, _) = purge(&nodes[0], json!({ "tags": ["t"], "soft": true, "wait": "all" })).await;
    assert_eq!(status, 200);
    let reply = get(&nodes[1], "/a").await;
    assert!(reply.cache().hit && reply.cache().says("stale-while-revalidate"), "{:?}", reply.cache());
    assert_eq!(reply.text(), "v1");
}

#[tokio::test]
async fn an_unsafe_request_through_one_node_invalidates_what_the_others_have() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(2, &origin, &redis.url()).await;
    for node in &nodes {
        get(node, "/a").await;
    }
    assert_eq!(nodes[0].ask("POST", "/a", &[HOST]).await.status, 200);
    let reply = eventually("the other node has heard of it", async || {
        let reply = get(&nodes[1], "/a").await;
        (!reply.cache().is_fresh_hit()).then_some(reply)
    })
    .await;
    assert_eq!((reply.text(), reply.cache().detail.as_deref()), ("v3", Some("purged")));
    let purges = nodes[1].admin("/purges").await;
    assert_eq!(purges.text().trim(), "{\"purges\":[]}", "nobody ordered it");
}

#[tokio::test]
async fn what_was_being_fetched_on_another_node_when_the_purge_came_does_not_outlive_it() {
    let (redis, origin) = (Redis::start(), HeldOrigin::start().await);
    let url = redis.url();
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let table = format!("[redis]\nurl = \"{url}\"\ntimeout = \"500ms\"\n");
        nodes.push(before(origin.address()).table(&table).start().await);
    }
    for node in &nodes {
        are_met(node, 2).await;
    }
    let client = asks(&nodes[1], "GET", "/a", &[HOST]);
    let question = origin.next().await;
    let (status, _) = purge(&nodes[0], of_tag()).await;
    assert_eq!(status, 200);
    question.tell(ok("old").fresh(600).with("surrogate-key", "t"));
    assert_eq!(got(client).await.text(), "old", "it was asked for before");
    let client = asks(&nodes[1], "GET", "/a", &[HOST]);
    origin.next().await.tell(ok("new").fresh(600).with("surrogate-key", "t"));
    assert_eq!(got(client).await.text(), "new");
    // What the purge named was not written.
    written(&nodes[1], 1.0).await;
    assert_eq!(get(&nodes[0], "/a").await.text(), "new", "neither in memory nor out of Redis");
}

#[tokio::test]
async fn a_node_that_is_stopped_is_named_and_serves_nothing_that_was_purged_when_it_goes_on() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    // Longer than a receipt waits.
    let lines = "max_lag = \"4s\"";
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(node_with(&origin, &redis.url(), lines).start().await);
    }
    for node in &nodes {
        are_met(node, 2).await;
        get(node, "/a").await;
    }
    let sleeper = name(&nodes[1]).await;
    nodes[1].signal("STOP");
    let (status, receipt) = purge(&nodes[0], of_tag()).await;
    assert_eq!((status, &receipt["nodes"]["lagging"]), (202, &json!([sleeper])), "{receipt}");
    // Its lease is over: who sleeps is no longer waited for.
    eventually("the sleeper is no longer counted", async || {
        let (status, receipt) = purge(&nodes[0], of_tag()).await;
        (status == 200).then(|| assert_eq!(receipt["nodes"]["acked"].as_array().map(Vec::len), Some(1), "{receipt}"))
    })
    .await;
    nodes[1].signal("CONT");
    let reply = get(&nodes[1], "/a").await;
    assert_ne!(reply.text(), "v1", "{:?}", reply.cache());
    are_met(&nodes[1], 2).await;
    assert_ne!(get(&nodes[1], "/a").await.text(), "v1", "nor once it has heard of it");
}

#[tokio::test]
async fn every_node_tells_of_the_purges_and_who_has_them() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(2, &origin, &redis.url()).await;
    let (_, receipt) = purge(&nodes[0], of_tag()).await;
    for node in &nodes {
        let purges = eventually("both nodes are known to have it", async || {
            let purges: serde_json::Value = serde_json::from_str(node.admin("/purges").await.text()).expect("JSON");
            (purges["purges"][0]["nodes"]["lagging"] == json!([])).then_some(purges)
        })
        .await;
        let record = &purges["purges"][0];
        assert_eq!((&record["id"], &record["seq"]), (&receipt["id"], &receipt["seq"]));
        assert_eq!(record["scopes"], json!([{ "kind": "tag", "name": "t" }]));
        assert_eq!(record["nodes"]["acked"].as_array().map(Vec::len), Some(2), "{record}");
    }
    assert_eq!(stats(&nodes[1]).await["purges"]["seq"], receipt["seq"]);
}
