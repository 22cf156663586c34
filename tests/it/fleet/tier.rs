//! Does Redis keep what nodes store, and give nothing else?

use super::{HOST, get, hears, name, node, nodes, numbered, stats, written};
use crate::support::edge::Edge;
use crate::support::eventually;
use crate::support::origin::{Origin, ok, status};
use crate::support::redis::Redis;

/// Ends a node as an operator does, and starts another one in its place.
async fn restarted(mut old: Edge, origin: &Origin, redis: &Redis) -> Edge {
    old.signal("TERM");
    assert_eq!(old.exit_code().await, 0);
    node(origin, &redis.url()).start().await
}

#[tokio::test]
async fn what_was_stored_is_hit_after_a_restart_with_its_age_and_its_tags() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked).with("age", "100")).await);
    let node = nodes(1, &origin, &redis.url()).await.remove(0);
    assert_eq!(get(&node, "/a").await.brief(), (200, "v1"));
    let node = restarted(node, &origin, &redis).await;
    hears(&node).await;
    let again = get(&node, "/a").await;
    assert_eq!((again.brief(), origin.hits()), ((200, "v1"), 1));
    assert!(again.cache().hit && again.cache().says("redis"), "{:?}", again.cache());
    assert!(again.age().is_some_and(|age| (100..160).contains(&age)), "{:?}", again.age());
    assert_eq!(again.field("etag").as_deref(), Some("\"1\""));
    assert!(get(&node, "/a").await.cache().is_fresh_hit(), "it is in memory now");
    super::purge(&node, super::of_tag()).await;
    assert_eq!(get(&node, "/a").await.brief(), (200, "v2"), "its tags came along");
    let node = restarted(node, &origin, &redis).await;
    hears(&node).await;
    assert_eq!(get(&node, "/a").await.brief(), (200, "v2"), "what was purged before the restart stays so");
    assert_eq!(origin.hits(), 2);
}

#[tokio::test]
async fn what_was_purged_is_not_brought_back_by_a_restart() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let node = nodes(1, &origin, &redis.url()).await.remove(0);
    get(&node, "/a").await;
    written(&node, 1.0).await;
    let (status, _) = super::purge(&node, super::of_tag()).await;
    assert_eq!(status, 200);
    let node = restarted(node, &origin, &redis).await;
    let after = get(&node, "/a").await;
    assert_eq!(
        (after.brief(), after.cache().hit),
        ((200, "v2"), false),
        "Redis still has it, and the log says why not"
    );
}

#[tokio::test]
async fn each_node_finds_the_variant_that_its_client_wants() {
    let redis = Redis::start();
    let origin = Origin::serve(|asked| {
        let language = asked.field("x-language").unwrap_or_default();
        ok(format!("{language} {}", asked.number)).fresh(600).with("vary", "x-language")
    })
    .await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    for (count, language) in [(1.0, "de"), (2.0, "en")] {
        nodes[0].get_with("/a", &[HOST, ("x-language", language)]).await;
        written(&nodes[0], count).await;
    }
    for (language, want) in [("en", "en 2"), ("de", "de 1")] {
        let reply = nodes[1].get_with("/a", &[HOST, ("x-language", language)]).await;
        assert_eq!((reply.text(), reply.cache().says("redis")), (want, true), "{:?}", reply.cache());
    }
    let other = nodes[1].get_with("/a", &[HOST, ("x-language", "fr")]).await;
    assert_eq!((other.text(), origin.hits()), ("fr 3", 3), "and no other");
}

#[tokio::test]
async fn a_large_body_comes_back_whole_and_one_that_is_too_large_stays_in_memory() {
    let redis = Redis::start();
    let origin = Origin::serve(|asked| {
        let size = if asked.target == "/large" { 3 << 20 } else { 5 << 20 };
        ok(vec![b'x'; size]).fresh(600)
    })
    .await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    assert_eq!(get(&nodes[0], "/large").await.body.len(), 3 << 20);
    written(&nodes[0], 1.0).await;
    let reply = get(&nodes[1], "/large").await;
    assert_eq!((reply.body.len(), reply.cache().says("redis"), origin.hits()), (3 << 20, true, 1));
    get(&nodes[0], "/too-large").await;
    written(&nodes[0], 2.0).await;
    assert!(nodes[0].metric("larder_redis_writes_total{result=\"too_large\"").await > 0.5);
    assert!(!get(&nodes[1], "/too-large").await.cache().hit);
    assert_eq!(origin.hits(), 3);
}

#[tokio::test]
async fn a_freshened_response_is_fresh_for_the_other_nodes_too_without_its_body_being_written_again() {
    let redis = Redis::start();
    let origin = Origin::serve(|asked| {
        if asked.field("if-none-match").is_some() {
            return status(304, "").fresh(600).with("etag", "\"e\"");
        }
        ok(vec![b'x'; 100_000]).with("cache-control", "max-age=600, no-cache").with("etag", "\"e\"")
    })
    .await;
    let nodes = nodes(2, &origin, &redis.url()).await;
    get(&nodes[0], "/a").await;
    written(&nodes[0], 1.0).await;
    assert_eq!(get(&nodes[0], "/a").await.cache().fwd_status, Some(304));
    eventually("the head is written", async || {
        (nodes[0].metric("larder_redis_writes_total{result=\"head\"").await > 0.5).then_some(())
    })
    .await;
    let reply = get(&nodes[1], "/a").await;
    assert_eq!((reply.body.len(), origin.hits()), (100_000, 2), "{:?}", reply.cache());
    assert!(reply.cache().hit && reply.cache().says("redis"), "{:?}", reply.cache());
}

#[tokio::test]
async fn whatever_stands_in_redis_instead_is_a_miss_and_goes() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(2, &origin, &redis.url()).await;
    for target in ["/a", "/b"] {
        get(&nodes[0], target).await;
    }
    written(&nodes[0], 2.0).await;
    let keys = redis.cli(&["KEYS", "{larder:o:*"]);
    // The right to fetch is given back a moment later.
    let keys: Vec<_> = keys.lines().filter(|key| !key.ends_with(":lease")).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    redis.cli(&["COPY", keys[0], keys[1], "REPLACE"]);
    redis.cli(&["HSET", keys[0], "0", "something else"]);
    for (target, want) in [("/a", "v3"), ("/b", "v4")] {
        let reply = get(&nodes[1], target).await;
        assert_eq!((reply.brief(), reply.cache().hit), ((200, want), false), "{:?}", reply.cache());
    }
    assert!(nodes[1].metric("larder_redis_rejected_total").await > 1.5);
    assert_eq!(get(&nodes[0], "/a").await.text(), "v1", "what a node has in memory is not touched");
}

#[tokio::test]
async fn secrets_of_a_request_are_never_written() {
    let redis = Redis::start();
    let origin = Origin::serve(|_| ok("x").with("cache-control", "public, max-age=600").with("vary", "accept")).await;
    let node = nodes(1, &origin, &redis.url()).await.remove(0);
    node.get_with("/a", &[HOST, ("authorization", "Bearer s3cret-a"), ("cookie", "session=s3cret-b")]).await;
    written(&node, 1.0).await;
    for key in redis.cli(&["KEYS", "*"]).lines() {
        let dump = redis.cli(&["HGETALL", key]);
        assert!(!dump.contains("s3cret"), "{key}: {dump}");
    }
}

#[tokio::test]
async fn explain_says_what_redis_has() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(2, &origin, &redis.url()).await;
    let explained = async || -> serde_json::Value {
        let reply = nodes[1].admin("/explain?url=http%3A%2F%2Fshop.test%2Fa").await;
        serde_json::from_str(reply.text()).expect("an explanation is JSON")
    };
    assert_eq!(explained().await["verdict"]["result"], "miss");
    get(&nodes[0], "/a").await;
    written(&nodes[0], 1.0).await;
    let verdict = explained().await["verdict"].clone();
    assert_eq!((&verdict["result"], &verdict["detail"]), (&"hit".into(), &"redis".into()), "{verdict}");
    let reply = get(&nodes[1], "/a").await;
    assert!(reply.cache().hit && reply.cache().says("redis"), "as it was said: {:?}", reply.cache());
    assert_eq!(explained().await["verdict"]["detail"], serde_json::Value::Null, "it is in memory now");
    super::purge(&nodes[0], super::of_tag()).await;
    assert_eq!(explained().await["verdict"]["detail"], "purged", "Redis has it still, and it is dead");
}

#[tokio::test]
async fn an_operator_sees_how_redis_fares_and_who_else_is_there() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(2, &origin, &redis.url()).await;
    let stats = stats(&nodes[0]).await;
    assert_eq!((&stats["redis"]["state"], &stats["redis"]["untold"]), (&"up".into(), &0.into()));
    let seen: Vec<_> =
        stats["redis"]["nodes"].as_array().expect("a list").iter().map(|node| node["name"].clone()).collect();
    for node in &nodes {
        assert!(seen.contains(&name(node).await.into()), "{seen:?}");
    }
    assert_eq!(nodes[0].admin("/readyz").await.brief(), (200, "ready\nredis: up\n"));
    assert!((nodes[0].metric("larder_fleet_nodes").await - 2.0).abs() < 0.5);
    assert!(nodes[0].metric("larder_purge_log_heard").await > 0.5);
}

#[tokio::test]
async fn a_client_that_wants_only_what_is_stored_gets_what_another_node_stored() {
    let (redis, origin) = (Redis::start(), Origin::serve(|asked| numbered(&asked)).await);
    let nodes = nodes(2, &origin, &redis.url()).await;
    get(&nodes[0], "/a").await;
    written(&nodes[0], 1.0).await;
    let only = |target| nodes[1].get_with(target, &[HOST, ("cache-control", "only-if-cached")]);
    let found = only("/a").await;
    assert_eq!((found.brief(), found.cache().says("redis")), ((200, "v1"), true), "{:?}", found.cache());
    let missing = only("/b").await;
    assert_eq!((missing.status.as_u16(), missing.cache().detail.as_deref()), (504, Some("only-if-cached")));
    assert_eq!(origin.hits(), 1);
}
