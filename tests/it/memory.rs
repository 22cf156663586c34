//! Does memory stay within what the file allows, whatever passes?

use bytes::Bytes;
use futures_util::future::join_all;

use crate::support::edge::{Edge, before};
use crate::support::eventually;
use crate::support::origin::{Origin, ok, streamed};
use crate::support::wire::{Connection, ask};

const MIB: u64 = 1024 * 1024;

/// What the process takes besides the cache: code, threads, connections, buffers. The README states it.
const BASE: u64 = 64 * MIB;

/// Fails when the process has ever taken more than a quarter over `capacity` and the base.
fn assert_bounded(edge: &Edge, capacity: u64) {
    let (peak, allowed) = (edge.memory("VmHWM"), capacity + capacity / 4 + BASE);
    assert!(peak <= allowed, "{} MiB at the peak, {} MiB allowed", peak / MIB, allowed / MIB);
}

/// A body of this many mebibytes, sent as fast as it is taken, with a stated length or without.
async fn giant(mebibytes: u64, with_length: bool, directives: &'static str) -> Origin {
    Origin::serve(move |_| {
        let (pieces, told) = streamed();
        tokio::spawn(async move {
            let piece = Bytes::from(vec![b'x'; 256 * 1024]);
            for _ in 0..mebibytes * 4 {
                if !pieces.send(piece.clone()).await {
                    return;
                }
            }
        });
        let told = told.with("cache-control", directives);
        if with_length { told.with("content-length", &(mebibytes * MIB).to_string()) } else { told }
    })
    .await
}

#[tokio::test]
async fn half_a_gibibyte_of_distinct_objects_stays_within_the_capacity() {
    const OBJECTS: usize = 2000;
    const CLIENTS: usize = 8;
    let body = Bytes::from(vec![b'x'; 256 * 1024]);
    let origin = Origin::serve(move |_| ok(body.clone()).fresh(3600)).await;
    let edge = before(origin.address()).memory("capacity = \"32MiB\"\nmax_object = \"1MiB\"").start().await;
    join_all((0..CLIENTS).map(|client| {
        let address = edge.address();
        async move {
            let mut connection = Connection::to(address).await;
            for object in (client..OBJECTS).step_by(CLIENTS) {
                let reply = connection.get(&format!("/{object}")).await;
                assert_eq!((reply.status.as_u16(), reply.body.len(), reply.broken), (200, 256 * 1024, false));
            }
        }
    }))
    .await;
    assert_eq!(origin.hits(), OBJECTS);
    assert_bounded(&edge, 32 * MIB);
    // Bounded, and not by storing nothing: about 110 fit. Which ones is the admission policy's choice, since all of
    // them were asked for once.
    let mut kept = 0;
    let mut connection = Connection::to(edge.address()).await;
    for object in 0..OBJECTS {
        let request = ask("GET", &format!("/{object}")).header("cache-control", "only-if-cached");
        kept += usize::from(connection.send(request, Bytes::new()).await.status == 200);
    }
    assert!(kept >= 60, "{kept} are stored");
}

#[tokio::test]
async fn small_objects_are_weighed_with_their_heads_and_keys() {
    const OBJECTS: usize = 20_000;
    const CLIENTS: usize = 8;
    let long = "x".repeat(2000);
    let origin = Origin::serve(move |_| ok("tiny").fresh(3600).with("x-long", &long)).await;
    let edge = before(origin.address()).memory("capacity = \"8MiB\"").start().await;
    join_all((0..CLIENTS).map(|client| {
        let address = edge.address();
        async move {
            let mut connection = Connection::to(address).await;
            for object in (client..OBJECTS).step_by(CLIENTS) {
                assert_eq!(connection.get(&format!("/{object}")).await.text(), "tiny");
            }
        }
    }))
    .await;
    assert_bounded(&edge, 8 * MIB);
}

#[tokio::test]
async fn a_gibibyte_passes_in_bounded_memory() {
    let cases = [
        // MiB  length  directives      why
        (1024, true, "no-store", "not storable"),
        (256, false, "max-age=60", "storable, but larger than max_object, which shows late"),
        (256, true, "max-age=60", "storable, but larger than max_object, which shows at once"),
    ];
    for (mebibytes, with_length, directives, why) in cases {
        let origin = giant(mebibytes, with_length, directives).await;
        let edge = before(origin.address()).memory("capacity = \"32MiB\"\nmax_object = \"4MiB\"").start().await;
        let (_connection, download) = edge.open("/x").await;
        assert_eq!(download.drain().await, (mebibytes * MIB, true), "{why}");
        assert_bounded(&edge, 32 * MIB);
    }
}

#[tokio::test]
async fn nobody_waits_for_a_large_page() {
    let edge = before(Origin::serve(|_| ok("")).await.address()).start().await;
    assert_eq!(edge.memory("THP_enabled"), 0);
}

#[tokio::test]
async fn a_large_upload_passes_in_bounded_memory() {
    const SIZE: usize = 128 * 1024 * 1024;
    let origin = Origin::serve(|asked| ok(asked.body.len().to_string())).await;
    let edge = before(origin.address()).server("max_body = \"1GiB\"").memory("capacity = \"16MiB\"").start().await;
    let reply = edge.send(crate::support::wire::ask("PUT", "/x"), vec![b'x'; SIZE]).await;
    assert_eq!(reply.text(), SIZE.to_string());
    assert_bounded(&edge, 16 * MIB);
}

#[tokio::test]
async fn what_is_larger_than_max_object_is_streamed_and_not_stored() {
    let sizes = [(4096, true, "just fits"), (4097, false, "one byte too many")];
    for with_length in [true, false] {
        let origin = Origin::serve(move |asked| {
            let size: usize = asked.target.trim_start_matches('/').parse().expect("the target is a size");
            if with_length {
                return ok(vec![b'x'; size]).fresh(60);
            }
            let (pieces, told) = streamed();
            tokio::spawn(async move {
                for _ in 0..size {
                    pieces.send("x").await;
                }
            });
            told.fresh(60)
        })
        .await;
        let edge = before(origin.address()).memory("max_object = \"4KiB\"").start().await;
        for (size, stored, why) in sizes {
            let target = format!("/{size}");
            let first = edge.get(&target).await;
            assert_eq!((first.body.len(), first.broken), (size, false), "{why}, length known: {with_length}");
            let again = edge.get(&target).await;
            assert_eq!(again.body.len(), size, "{why}, length known: {with_length}");
            assert_eq!(again.cache().is_fresh_hit(), stored, "{why}, length known: {with_length}");
        }
    }
}

#[tokio::test]
async fn many_clients_of_one_large_body_share_it() {
    const CLIENTS: usize = 50;
    let origin = giant(8, true, "max-age=60").await;
    let edge = before(origin.address()).memory("capacity = \"32MiB\"\nmax_object = \"16MiB\"").start().await;
    let downloads = join_all((0..CLIENTS).map(|_| async {
        let (connection, download) = edge.open("/x").await;
        let outcome = download.drain().await;
        drop(connection);
        outcome
    }))
    .await;
    for outcome in downloads {
        assert_eq!(outcome, (8 * MIB, true));
    }
    assert_eq!(origin.hits(), 1);
    assert_bounded(&edge, 32 * MIB);
    eventually("the stored response", async || edge.get("/x").await.cache().is_fresh_hit().then_some(())).await;
}

/// A metric that counts, as it is written.
async fn count(edge: &Edge, name: &str) -> String {
    edge.metric(name).await.to_string()
}

#[tokio::test]
async fn the_memory_of_an_invalidated_group_is_given_back_by_itself() {
    let origin = Origin::serve(|asked| match asked.target.as_str() {
        "/change" => ok("done").with("cache-group-invalidation", "\"g\""),
        target if target.starts_with("/g/") => ok(vec![b'x'; 4096]).fresh(3600).with("cache-groups", "\"g\""),
        _ => ok("kept").fresh(3600),
    })
    .await;
    let edge = before(origin.address()).start().await;
    edge.get("/kept").await;
    for object in 0..50 {
        edge.get(&format!("/g/{object}")).await;
    }
    assert_eq!(count(&edge, "larder_memory_objects").await, "51");
    edge.ask("POST", "/change", &[]).await;
    // Nobody asks for any of them again.
    eventually("the sweep", async || (count(&edge, "larder_memory_objects").await == "1").then_some(())).await;
    assert_eq!(count(&edge, "larder_swept_responses_total").await, "50");
    assert!(edge.metric("larder_memory_bytes").await < 4096.0);
    assert!(edge.get("/kept").await.cache().is_fresh_hit());
}

#[tokio::test]
async fn the_memory_of_what_a_write_changed_is_given_back_and_a_miss_before_says_why() {
    let origin = Origin::serve(|asked| if asked.method == "GET" { ok("page").fresh(3600) } else { ok("done") }).await;
    let rule = "key = { query = { exclude = [\"utm_*\"] } }";
    let edge = before(origin.address()).rule(rule).start().await;
    for page in ["/page?id=1&utm_source=x", "/page?id=2"] {
        edge.get(page).await;
        edge.ask("POST", &format!("{page}&utm_source=y"), &[]).await;
    }
    let asked_again = edge.get("/page?id=1").await.cache();
    assert!(asked_again.says("purged"), "{asked_again:?}");
    eventually("the sweep", async || (count(&edge, "larder_swept_responses_total").await == "1").then_some(())).await;
    assert_eq!(count(&edge, "larder_memory_objects").await, "1", "what was fetched since stays");
    assert!(edge.get("/page?id=1").await.cache().is_fresh_hit());
}
