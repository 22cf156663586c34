//! What becomes of clients, of what is stored and of purges when Redis is not well?

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{HOST, get, name, node_with, nodes, numbered, of_tag, purge, stats, written};
use crate::support::eventually;
use crate::support::origin::{Origin, status};
use crate::support::redis::Redis;

/// An origin that confirms whatever it is asked about.
async fn confirming_origin() -> Origin {
    Origin::serve(|asked| {
        let is_asked_about = asked.field("if-none-match").is_some();
        if is_asked_about { status(304, "").fresh(600) } else { numbered(&asked) }
    })
    .await
}

#[tokio::test]
async fn a_redis_that_hangs_keeps_no_client_waiting_and_loses_no_purge() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(node_with(&origin, &redis.url(), "timeout = \"200ms\"").start().await);
    }
    for node in &nodes {
        super::are_met(node, 2).await;
        get(node, "/a").await;
    }
    redis.freeze();
    for number in 0..20 {
        let began = Instant::now();
        let reply = get(&nodes[0], &format!("/new/{number}")).await;
        assert_eq!(reply.status, 200);
        // A look-up, and a lease, on a machine that may be busy.
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }
    assert!(get(&nodes[0], "/a").await.cache().is_fresh_hit(), "memory is not touched");
    let (status, receipt) = purge(&nodes[0], of_tag()).await;
    assert_eq!((status, &receipt["status"], &receipt["seq"]), (503, &json!("pending"), &json!(0)), "{receipt}");
    let after = get(&nodes[0], "/a").await;
    assert!(!after.cache().hit, "it acts on this node: {:?}", after.cache());
    assert_eq!(stats(&nodes[0]).await["redis"]["untold"], json!(1));
    eventually("it is seen that Redis does not answer", async || {
        nodes[0].admin("/readyz").await.text().contains("timed_out").then_some(())
    })
    .await;
    assert_eq!(nodes[0].admin("/readyz").await.status, 200, "never unready because of Redis");
    redis.thaw();
    let reply = eventually("the other node has heard of it", async || {
        let reply = get(&nodes[1], "/a").await;
        (reply.text() != "v1").then_some(reply)
    })
    .await;
    assert!(!reply.text().is_empty());
    eventually("nothing is left to be told", async || (stats(&nodes[0]).await["redis"]["untold"] == 0).then_some(()))
        .await;
}

#[tokio::test]
async fn a_public_purge_that_cannot_be_told_says_when_to_ask_again() {
    let (mut redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(1, &origin, &redis.url()).await;
    get(&nodes[0], "/a").await;
    redis.kill();
    let reply = nodes[0].ask("PURGE", "/a", &[HOST]).await;
    assert_eq!((reply.status.as_u16(), reply.field("retry-after").is_some()), (503, true), "{}", reply.text());
    assert!(!get(&nodes[0], "/a").await.cache().hit, "it is in force here");
    let records: serde_json::Value = serde_json::from_str(nodes[0].admin("/purges").await.text()).expect("JSON");
    assert_eq!(records["purges"][0]["seq"], json!(0), "{records}");
    redis.restart();
    eventually("it has a number", async || {
        let records: serde_json::Value = serde_json::from_str(nodes[0].admin("/purges").await.text()).expect("JSON");
        (records["purges"][0]["seq"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let reply = nodes[0].ask("PURGE", "/a", &[HOST]).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn who_hears_nothing_of_the_log_for_too_long_revalidates_and_hits_again_when_it_is_back() {
    let (redis, origin) = (Redis::start(), confirming_origin().await);
    let node = node_with(&origin, &redis.url(), "max_lag = \"1s\"\ntimeout = \"50ms\"").start().await;
    super::are_met(&node, 1).await;
    get(&node, "/a").await;
    redis.freeze();
    let reply = eventually("it is revalidated", async || {
        let reply = get(&node, "/a").await;
        (!reply.cache().is_fresh_hit()).then_some(reply)
    })
    .await;
    assert_eq!((reply.text(), reply.cache().detail.as_deref()), ("v1", Some("purge-log-unheard")));
    assert_eq!(reply.cache().fwd_status, Some(304));
    assert!(node.metric("larder_purge_log_heard").await < 0.5);
    redis.thaw();
    eventually("it is a hit again", async || get(&node, "/a").await.cache().is_fresh_hit().then_some(())).await;
}

#[tokio::test]
async fn a_log_that_was_lost_makes_what_is_stored_stale_and_flushes_nothing() {
    let redis = Redis::start();
    let origin = confirming_origin().await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    get(&nodes[0], "/a").await;
    purge(&nodes[0], json!({ "tags": ["other"], "wait": "all" })).await;
    assert!(get(&nodes[0], "/a").await.cache().hit);
    redis.cli(&["FLUSHALL"]);
    let reply = eventually("it is asked about", async || {
        let reply = get(&nodes[0], "/a").await;
        (!reply.cache().is_fresh_hit()).then_some(reply)
    })
    .await;
    assert_eq!((reply.text(), reply.cache().fwd_status), ("v1", Some(304)), "{:?}", reply.cache());
    assert!(get(&nodes[0], "/a").await.cache().is_fresh_hit(), "once");
    // For as long as a node may not have found the new log yet, no purge is confirmed by all.
    eventually("the fleet goes on", async || {
        let (status, _) = purge(&nodes[1], of_tag()).await;
        assert!(matches!(status, 200 | 202), "{status}");
        (status == 200).then_some(())
    })
    .await;
    assert_eq!(get(&nodes[0], "/a").await.text(), "v3");
}

#[tokio::test]
async fn a_redis_that_was_killed_is_found_again_and_clients_see_nothing_of_it() {
    let mut redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let origin = Origin::serve(|asked| numbered(&asked)).await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    // One for each time that it is asked for too early, for as long as that may take.
    for number in 0..300 {
        get(&nodes[0], &format!("/a/{number}")).await;
    }
    written(&nodes[0], 300.0).await;
    redis.kill();
    for number in 0..10 {
        assert_eq!(get(&nodes[1], &format!("/b/{number}")).await.status, 200);
    }
    redis.restart();
    for node in &nodes {
        super::are_met(node, 2).await;
    }
    // What is asked for too early goes to the origin, and is another one then.
    let mut number = 0;
    eventually("what Redis kept is found", async || {
        let reply = get(&nodes[1], &format!("/a/{number}")).await;
        number += 1;
        (reply.cache().hit).then(|| assert_eq!(reply.text(), format!("v{number}"), "{:?}", reply.cache()))
    })
    .await;
    eventually("purges are confirmed again", async || {
        let (status, _) = purge(&nodes[1], of_tag()).await;
        (status == 200).then_some(())
    })
    .await;
    assert!(!get(&nodes[0], "/a/0").await.cache().hit);
}

#[tokio::test]
async fn a_redis_that_is_full_takes_purges_all_the_same() {
    let redis = Redis::start();
    let origin = Origin::serve(|asked| numbered(&asked)).await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    for node in &nodes {
        get(node, "/a").await;
    }
    redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(get(&nodes[0], "/b").await.status, 200);
    let (status, receipt) = purge(&nodes[0], of_tag()).await;
    assert_eq!(status, 200, "{receipt}");
    assert!(!get(&nodes[1], "/a").await.cache().hit, "{receipt}");
    eventually("it is seen that Redis is full", async || {
        get(&nodes[0], "/c").await;
        nodes[0].admin("/readyz").await.text().contains("redis: full").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_leaves_a_node_that_caches_in_memory() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let url = redis.url().replace("right", "wrong");
    let origin = Origin::serve(|asked| numbered(&asked)).await;
    let node = super::node(&origin, &url).start().await;
    // Nothing was ever heard of the log: what is stored is revalidated, and clients are served.
    for _ in 0..3 {
        assert_eq!(get(&node, "/a").await.status, 200);
    }
    assert_eq!(node.admin("/readyz").await.brief(), (200, "ready\nredis: denied\n"));
    let (status, _) = purge(&node, json!({ "everything": true })).await;
    assert_eq!(status, 503);
    assert!(!node.stderr().contains("wrong"), "the password is told to nobody");
    assert_eq!(stats(&node).await["redis"]["state"], json!("denied"));
    assert!(!name(&node).await.is_empty());
}

#[tokio::test]
async fn entries_that_somebody_else_puts_into_the_log_cost_a_revalidation_and_stop_no_purge() {
    let redis = Redis::start();
    let origin = confirming_origin().await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    get(&nodes[0], "/a").await;
    let cases: [(&[&str], &str); 5] = [
        (&["XADD", "{larder}:log", "*", "p", "garbage"], "an entry without its place in the chain"),
        (&["XADD", "{larder}:log", "18446744073709551614-1", "i", "1", "c", "0", "p", "x"], "the last id but one"),
        (&["DEL", "{larder}:log"], "no stream"),
        (&["HSET", "{larder}:meta", "era", "none"], "an era that is no number"),
        (&["SET", "{larder}:nodes", "x"], "a key of another kind"),
    ];
    for (command, why) in cases {
        redis.cli(command);
        // Whatever the log is by then, a purge gets through, and is in force everywhere.
        eventually(why, async || {
            let (status, _) = purge(&nodes[1], of_tag()).await;
            (status == 200).then_some(())
        })
        .await;
        let reply = get(&nodes[0], "/a").await;
        assert!(!reply.cache().is_fresh_hit(), "{why}: {:?}", reply.cache());
        assert!(get(&nodes[0], "/a").await.cache().hit, "{why}: it is stored again");
    }
}
