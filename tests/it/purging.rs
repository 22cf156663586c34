//! Does a purge take what it names, and nothing else?

use serde_json::Value;

use crate::support::edge::before;
use crate::support::origin::{Origin, ok};
use crate::support::reply::Reply;

/// The receipt of a purge that was done.
fn receipt(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).expect("a receipt is JSON")
}

#[tokio::test]
async fn a_purged_url_is_fetched_anew_and_its_neighbours_stay() {
    let origin = Origin::serve(|asked| ok(format!("{} {}", asked.target, asked.number)).fresh(60)).await;
    let edge = before(origin.address()).start().await;
    let neighbours = ["/a/", "/a?", "/a?x=1", "/ab", "/a/b", "/A", "/"];
    for target in neighbours.iter().chain(&["/a"]) {
        edge.get(target).await;
    }
    let hits = origin.hits();
    let reply = edge.ask("PURGE", "/a", &[]).await;
    let told = receipt(&reply);
    assert_eq!((&told["status"], &told["seq"], &told["matched"]["edge"]), (&"ok".into(), &1.into(), &1.into()));
    assert!(reply.cache().says("purge"), "{:?}", reply.headers);
    assert_eq!(origin.hits(), hits, "a purge is never forwarded");
    for target in neighbours {
        assert!(edge.get(target).await.cache().is_fresh_hit(), "{target} is not what was purged");
    }
    assert_eq!(edge.get("/a").await.text(), format!("/a {}", hits + 1));
}
