//! What does a purge cost, however much it names, and what does it cost the look-ups after it?

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::StatusCode;
use larder::body::stored::StoredBody;
use larder::cache::entry::{Entry, Head};
use larder::cache::fields::{RareFields, StoredFields};
use larder::cache::ledger::{Ledger, Stamp};
use larder::cache::memory::{Limits, Memory};
use larder::policy::freshness::Freshness;
use larder::policy::reuse::Standing;
use larder::policy::scope::{Labels, Scope, Severity, Tags};
use larder::policy::time::{Micros, Timestamp};
use larder::policy::vary::Selecting;

/// Scopes that a ledger keeps before it folds.
const FULL: usize = 65_536;

/// Scopes that one purge names, while a ledger is filled.
const BATCH: usize = 1024;

/// Stored responses under one tag. `cargo test --bench purge` only sees whether it runs: fewer do.
fn objects() -> usize {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    if is_measured { 1_000_000 } else { 10_000 }
}

fn entry(target: &str, tags: &[&str], stamp: Stamp) -> Arc<Entry> {
    let head = Head {
        status: StatusCode::OK,
        headers: StoredFields::default(),
        hidden: RareFields::default(),
        selecting: Selecting::Any,
        freshness: Freshness::new(Timestamp::EPOCH, Duration::ZERO, Duration::from_hours(1)),
        received_at: Timestamp::EPOCH,
        fetch_cost: Micros::default(),
        labels: Labels::new("http", "bench.test", target, Tags::new([], tags.iter().map(|tag| tag.as_bytes()))),
        stamp,
    };
    Arc::new(Entry::new(head, StoredBody::from_bytes(Bytes::from_static(b"body")), None))
}

fn stored(ledger: &Ledger, objects: usize) -> Memory {
    let memory = Memory::new(Limits { capacity: 16 << 30, max_object: 1 << 20, max_variants: 32, threads: 1 });
    for number in 0..objects {
        let target = format!("/products/{number}");
        memory.put(entry(&target, &["all"], ledger.stamp()), None);
    }
    memory.settle();
    memory
}

/// A ledger of so many scopes of every kind, none of which names what is stored under `bench.test`.
fn ledger_of(scopes: usize) -> Ledger {
    let ledger = Ledger::new();
    let scope = |number: usize| match number % 4 {
        0 => Scope::url("http", "other.test", &format!("/{number}")),
        1 => Scope::Tag(format!("product:{number}").into_bytes().into()),
        2 => Scope::Prefix(format!("http://other.test/{number}/").into()),
        _ => Scope::Group { origin: "http://other.test".into(), name: format!("group {number}").into_bytes().into() },
    };
    let all: Vec<_> = (0..scopes).map(scope).collect();
    for batch in all.chunks(BATCH) {
        ledger.purge(batch, Severity::Hard, Timestamp::EPOCH);
    }
    ledger
}

fn purging(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("purge by tag");
    for objects in [1, objects()] {
        let ledger = Ledger::new();
        let memory = stored(&ledger, objects);
        let scopes = [Scope::Tag(b"all".as_slice().into())];
        group.bench_function(format!("{objects} stored under it"), |bencher| {
            bencher.iter(|| ledger.purge(&scopes, Severity::Hard, Timestamp::EPOCH));
        });
        let (_, variants) = memory.iter().next().expect("they are stored");
        assert_eq!(variants.entries()[0].standing(&ledger), Standing::Dead);
    }
    group.finish();
    let mut group = criterion.benchmark_group("a full ledger");
    group.sample_size(10);
    group.bench_function("folds with the next purge", |bencher| {
        let one_more = [Scope::Tag(b"one more".as_slice().into())];
        bencher.iter_batched_ref(
            || ledger_of(FULL),
            |ledger| {
                ledger.purge(&one_more, Severity::Hard, Timestamp::EPOCH);
                assert_eq!(ledger.folds(), 1);
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn looking_up(criterion: &mut Criterion) {
    let ledger = ledger_of(65_000);
    let tags = ["products", "product:7", "category:books", "price-list"];
    let (plain, tagged) = (entry("/products/7", &[], ledger.stamp()), entry("/products/7", &tags, ledger.stamp()));
    let mut group = criterion.benchmark_group("a look-up");
    group.bench_function("nothing new", |bencher| bencher.iter(|| tagged.standing(&ledger)));
    group.bench_function("a new position, 65,000 scopes, no tags", |bencher| {
        bencher.iter(|| plain.head.standing(&ledger));
    });
    group.bench_function("a new position, 65,000 scopes, four tags", |bencher| {
        bencher.iter(|| tagged.head.standing(&ledger));
    });
    assert_eq!(tagged.standing(&ledger), Standing::Alive);
    group.finish();
}

criterion_group!(benches, looking_up, purging);
criterion_main!(benches);
