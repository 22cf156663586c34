//! Several nodes that share a Redis: what they store, what they purge, what they fetch; and what becomes of it when Redis,
//! or a node, is not well.

mod collapsing;
mod faults;
mod purging;
mod shapes;
mod tier;

use serde_json::{Value, json};

use crate::support::edge::{Edge, Setup, before};
use crate::support::eventually;
use crate::support::origin::{Asked, Origin, Told, ok};
use crate::support::reply::Reply;
use crate::support::wire::{Connection, ask};

/// The host that clients ask for, whichever node they ask.
pub(super) const HOST: (&str, &str) = ("host", "shop.test");

/// A node before `origin` that shares the Redis at this URL.
pub(super) fn node(origin: &Origin, redis: &str) -> Setup {
    node_with(origin, redis, "")
}

/// The same, with more lines in `[redis]`.
pub(super) fn node_with(origin: &Origin, redis: &str, lines: &str) -> Setup {
    // A look-up on a busy machine is not given up for that.
    let timeout = if lines.contains("timeout") { "" } else { "timeout = \"500ms\"\n" };
    before(origin.address()).table(&format!("[redis]\nurl = \"{redis}\"\n{timeout}{lines}\n"))
}

/// Starts so many nodes, and waits until each one hears the log and knows of all others.
pub(super) async fn nodes(count: usize, origin: &Origin, redis: &str) -> Vec<Edge> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(node(origin, redis).start().await);
    }
    for node in &nodes {
        are_met(node, count).await;
    }
    nodes
}

/// Waits until a node hears the log, and knows of so many that live.
pub(super) async fn are_met(node: &Edge, count: usize) {
    eventually("all nodes know of each other", async || {
        let stats = stats(node).await;
        let names = stats["redis"]["nodes"].as_array().map_or(0, Vec::len);
        (stats["redis"]["heard"] == true && names == count).then_some(())
    })
    .await;
}

/// Waits until a node hears the log: before that, what others stored is not used unasked.
pub(super) async fn hears(node: &Edge) {
    eventually("the log is heard", async || (stats(node).await["redis"]["heard"] == true).then_some(())).await;
}

pub(super) async fn get(node: &Edge, target: &str) -> Reply {
    node.get_with(target, &[HOST]).await
}

pub(super) async fn stats(node: &Edge) -> Value {
    serde_json::from_str(node.admin("/stats").await.text()).expect("stats are JSON")
}

/// What this node is called in receipts.
pub(super) async fn name(node: &Edge) -> String {
    stats(node).await["node"].as_str().expect("a node has a name").to_owned()
}

/// Asks for a purge over the admin listener: the status, and the receipt.
pub(super) async fn purge(node: &Edge, order: Value) -> (u16, Value) {
    let request = ask("POST", "/purge").header("content-type", "application/json");
    let reply = Connection::to(node.admin_address()).await.send(request, order.to_string()).await;
    (reply.status.as_u16(), serde_json::from_slice(&reply.body).expect("a receipt is JSON"))
}

/// A purge by the tag `t` that all nodes are to confirm.
pub(super) fn of_tag() -> Value {
    json!({ "tags": ["t"], "wait": "all" })
}

/// An answer that is fresh for ten minutes, carries the tag `t`, and says as which one it came.
pub(super) fn numbered(asked: &Asked) -> Told {
    ok(format!("v{}", asked.number))
        .fresh(600)
        .with("surrogate-key", "t")
        .with("etag", &format!("\"{}\"", asked.number))
}

/// Waits until what nodes have to write is written.
pub(super) async fn written(node: &Edge, count: f64) {
    eventually("what is stored is written into Redis", async || {
        (node.metric("larder_redis_writes_total").await >= count).then_some(())
    })
    .await;
}
