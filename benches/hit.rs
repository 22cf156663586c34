//! What does a hit in memory cost, from a clean request to a response with its head complete? No sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use larder::body::request::RequestBody;
use larder::body::stored::StoredBody;
use larder::cache::entry::{Entry, Head};
use larder::cache::fields::{RareFields, StoredFields};
use larder::cache::flight::Flights;
use larder::cache::ledger::Ledger;
use larder::cache::memory::{Limits, Memory};
use larder::client::{Client, RequestId, Scheme};
use larder::clock::Clock;
use larder::origin::{Context, Origins};
use larder::policy::freshness::Freshness;
use larder::policy::route::Rules;
use larder::policy::scope::{Labels, Tags};
use larder::policy::vary;
use larder::purge::Purger;
use larder::purge::gate::Gate;
use larder::serve::{Metrics, Serve, Shared, Site};
use larder::telemetry::Telemetry;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const OBJECTS: usize = 10_000;

fn client() -> Client {
    let address: SocketAddr = ([127, 0, 0, 1], 1).into();
    Client {
        peer: address,
        local: address,
        address: address.ip(),
        scheme: Scheme::Http,
        authority: Arc::from("bench.test"),
        certificate: None,
        request_id: RequestId::Made(1),
        received: Instant::now(),
        interim: None,
    }
}

fn entry(target: &str, ledger: &Ledger, clock: &Clock) -> Entry {
    let headers: HeaderMap = [
        (CACHE_CONTROL, "max-age=3600"),
        (CONTENT_TYPE, "application/json"),
        (ETAG, "\"abcdef\""),
        (http::header::CONTENT_LENGTH, "1024"),
        (http::header::DATE, "Sun, 22 Nov 2026 12:00:00 GMT"),
        (http::header::SERVER, "origin"),
    ]
    .into_iter()
    .map(|(name, value)| (name, HeaderValue::from_static(value)))
    .collect();
    let now = clock.now();
    let head = Head {
        status: StatusCode::OK,
        selecting: vary::selecting(&headers, &HeaderMap::new()).expect("no Vary"),
        headers: StoredFields::from(&headers),
        hidden: RareFields::default(),
        freshness: Freshness::new(now, Duration::ZERO, Duration::from_hours(1)),
        received_at: now,
        fetch_cost: Duration::from_millis(5).into(),
        labels: Labels::new("http", "bench.test", target, Tags::default()),
        stamp: ledger.stamp(),
    };
    Entry::new(head, StoredBody::from_bytes(Bytes::from(vec![b'x'; 1024])), None)
}

fn no_origins() -> Origins {
    let context = Context {
        clock: Clock::System,
        metrics: larder::origin::Metrics::register(&mut Registry::default()),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Origins::start(&[], None, &context)).expect("none to start")
}

fn serve() -> Serve {
    let (clock, ledger) = (Clock::System, Ledger::new());
    let memory = Memory::new(Limits { capacity: 1 << 30, max_object: 1 << 20, max_variants: 32, threads: 1 });
    for number in 0..OBJECTS {
        let target = format!("/products/{number}");
        memory.put(Arc::new(entry(&target, &ledger, &clock)), None);
    }
    let (memory, ledger) = (Arc::new(memory), Arc::new(ledger));
    let site = Site {
        rules: Rules::compile(Vec::new(), &[]),
        origins: no_origins(),
        tag_headers: Vec::new(),
        expose_hidden: false,
        gate: Gate::default(),
    };
    Serve::new(Arc::new(Shared {
        site: arc_swap::ArcSwap::from_pointee(site),
        purger: Arc::new(Purger::new(Arc::clone(&ledger), Arc::clone(&memory), clock.clone(), "bench".into())),
        memory,
        ledger,
        elsewhere: None,
        flights: Arc::new(Flights::new()),
        clock,
        telemetry: Telemetry::silent(),
        metrics: Metrics::register(&mut Registry::default()),
        tasks: TaskTracker::new(),
        tunnels: TaskTracker::new(),
        tokens: Arc::default(),
        stop: CancellationToken::new(),
    }))
}

fn request(number: usize, fields: &[(http::HeaderName, &'static str)]) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::empty());
    *request.uri_mut() = format!("/products/{number}").parse().expect("a target");
    for (name, value) in fields {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request
}

fn hits(criterion: &mut Criterion) {
    let serve = serve();
    let mut group = criterion.benchmark_group("memory hit");
    let mut measure = |name: &str, objects: usize, fields: &[(http::HeaderName, &'static str)], want: StatusCode| {
        group.bench_function(name, |bencher| {
            let mut number = 0;
            bencher.iter_batched(
                || {
                    number = (number + 7919) % objects;
                    (request(number, fields).into_parts(), client())
                },
                |((head, body), client)| match serve.answer(head, body, client) {
                    larder::serve::Answer::Ready(Some(response)) => assert_eq!(response.status(), want),
                    _ => unreachable!("it is stored"),
                },
                BatchSize::SmallInput,
            );
        });
    };
    measure("one URL", 1, &[], StatusCode::OK);
    measure("10,000 URLs", OBJECTS, &[], StatusCode::OK);
    measure("not modified", 1, &[(IF_NONE_MATCH, "\"abcdef\"")], StatusCode::NOT_MODIFIED);
    measure("a range", 1, &[(RANGE, "bytes=0-99")], StatusCode::PARTIAL_CONTENT);
    group.finish();
}

criterion_group!(benches, hits);
criterion_main!(benches);
