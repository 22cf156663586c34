//! Who is served when there is too much of everything?

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{Kit, statuses};
use crate::support::edge::{Edge, before};
use crate::support::gate::Gate;
use crate::support::origin::{Origin, ok};
use crate::support::raw::Line;
use crate::support::{eventually, within};

/// A request after which the connection ends.
const REQUEST: &str = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

async fn ask(edge: &Edge) -> String {
    let mut line = Line::to(edge.address()).await;
    line.send(REQUEST).await;
    line.rest().await
}

#[tokio::test]
async fn whoever_finds_no_place_is_told_when_to_come_back() {
    let kit = Kit::with(|setup| setup.server("max_connections = 2\nheader_timeout = \"4s\"")).await;
    let mut busy = Line::to(kit.edge.address()).await;
    busy.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    busy.head().await.expect("an answer");
    let silent = Line::to(kit.edge.address()).await;
    eventually("it has a place", async || (kit.edge.metric("larder_connections").await >= 2.0).then_some(())).await;
    let begun = Instant::now();
    let answers = join_all((0..20).map(|_| ask(&kit.edge))).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "long before the silent one is cut: {:?}", begun.elapsed());
    for answer in &answers {
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nretry-after: "), "{answer}");
    }
    assert!(kit.edge.metric("larder_connections_shed_total").await >= 20.0);
    busy.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(statuses(&busy.head().await.expect("an answer")), [200], "whoever has a place is served");
    drop(silent);
    within("a place", async {
        while kit.edge.metric("larder_connections").await > 1.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    kit.is_well("one has left").await;
}

#[tokio::test]
async fn hits_go_on_while_an_origin_drowns() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::serve_with(move |asked| {
        let held = held.clone();
        async move {
            if asked.target.starts_with("/slow") {
                held.pass().await;
            }
            ok(asked.target).fresh(600)
        }
    })
    .await;
    let edge = before(origin.address()).origin("max_connections = 2\nfirst_byte_timeout = \"20s\"").start().await;
    assert_eq!(edge.get("/hit").await.status, 200);
    let targets: Vec<String> = (0..200).map(|number| format!("/slow/{number}")).collect();
    let drowning = join_all(targets.iter().map(|target| edge.get(target)));
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for _ in 0..50 {
            let begun = Instant::now();
            let reply = edge.get("/hit").await;
            assert!(reply.cache().is_fresh_hit() && begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        }
        gate.open();
    };
    let (replies, ()) = tokio::join!(drowning, meanwhile);
    let shed: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    assert!(!shed.is_empty() && served >= 2 && shed.len() + served == 200, "{} shed, {served} served", shed.len());
    assert!(shed.iter().all(|reply| reply.field("retry-after").is_some()), "each of them is told when to come back");
    assert_eq!(edge.get("/slow/later").await.status, 200, "the origin has recovered");
}

#[tokio::test]
async fn without_descriptors_those_who_are_in_are_served_and_the_others_when_some_leave() {
    let kit = Kit::with(|setup| setup.server("header_timeout = \"60s\"")).await;
    let mut inside = Line::to(kit.edge.address()).await;
    inside.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    inside.head().await.expect("an answer");
    let process = Pid::from_raw(kit.edge.id().cast_signed());
    let open = std::fs::read_dir(format!("/proc/{}/fd", kit.edge.id())).expect("it runs").count() as u64;
    let limit = Rlimit { current: Some(open + 8), maximum: Some(open + 8) };
    prlimit(process, Resource::Nofile, limit).expect("the process is ours");
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(Line::to(kit.edge.address()).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    inside.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = inside.through("\r\n\r\n").await.expect("whoever is in is served");
    assert!(answer.contains("HTTP/1.1 200 "), "{answer}");
    drop(silent);
    kit.is_well("they left").await;
    assert!(kit.edge.metric("larder_accept_errors_total").await >= 1.0, "there were none left");
}
