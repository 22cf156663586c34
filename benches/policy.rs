//! What does the rule book cost, without I/O? A fresh hit pays `judge` alone; the rest is paid per store.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use larder::policy::admission::{Exchange, admit};
use larder::policy::directives;
use larder::policy::reuse::{Standing, judge, refresh_early};
use larder::policy::time::{Timestamp, format_http_date, parse_http_date};
use larder::policy::treatment::Treatment;

/// 1 July 2026, 12:00:00.
const NOW: Timestamp = Timestamp::from_millis(1_782_907_200_000);

fn response() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let line = "public, max-age=3600, stale-while-revalidate=60, stale-if-error=86400";
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(line));
    headers.insert(header::DATE, HeaderValue::from_static("Wed, 01 Jul 2026 12:00:00 GMT"));
    headers.insert(header::LAST_MODIFIED, HeaderValue::from_static("Mon, 29 Jun 2026 08:00:00 GMT"));
    headers.insert(header::ETAG, HeaderValue::from_static("\"33a64df551425fcc55e4d42a148795d9f25f89d4\""));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers
}

fn request() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("br, gzip"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bench/1.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=600, nothing-to-see-here"));
    headers
}

fn dates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("date");
    for (name, text) in [
        ("imf-fixdate", "Wed, 01 Jul 2026 12:00:00 GMT"),
        ("rfc850", "Wednesday, 01-Jul-26 12:00:00 GMT"),
        ("asctime", "Wed Jul  1 12:00:00 2026"),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| parse_http_date(black_box(text.as_bytes()), NOW)));
    }
    group.bench_function("write", |bencher| bencher.iter(|| format_http_date(black_box(NOW))));
}

fn parsing(criterion: &mut Criterion) {
    let (request, response) = (request(), response());
    let mut targeted = response.clone();
    targeted.insert(directives::CDN_CACHE_CONTROL, HeaderValue::from_static("max-age=600, stale-if-error=60"));
    let mut group = criterion.benchmark_group("directives");
    group.bench_function("request", |bencher| bencher.iter(|| directives::request(black_box(&request))));
    group.bench_function("response", |bencher| bencher.iter(|| directives::response(black_box(&response))));
    group.bench_function("governing, plain", |bencher| bencher.iter(|| directives::governing(black_box(&response))));
    group.bench_function("governing, targeted", |bencher| bencher.iter(|| directives::governing(black_box(&targeted))));
}

fn decisions(criterion: &mut Criterion) {
    let (request, response, treatment) = (request(), response(), Treatment::default());
    let exchange = Exchange {
        method: &Method::GET,
        request: &request,
        status: StatusCode::OK,
        response: &response,
        treatment: &treatment,
        requested_at: NOW,
        received_at: NOW,
    };
    let freshness = admit(&exchange).expect("the response may be stored");
    let wanted = directives::request(&request);
    let now = NOW.plus(Duration::from_secs(5));
    let mut group = criterion.benchmark_group("decision");
    group.bench_function("admit", |bencher| bencher.iter(|| admit(black_box(&exchange))));
    group.bench_function("judge", |bencher| {
        bencher.iter(|| judge(black_box(&freshness), Standing::Alive, None, black_box(now)));
    });
    group.bench_function("judge, client heard", |bencher| {
        bencher.iter(|| judge(black_box(&freshness), Standing::Alive, Some(black_box(&wanted)), black_box(now)));
    });
    group.bench_function("refresh early", |bencher| {
        let cost = Duration::from_millis(30);
        bencher.iter(|| refresh_early(black_box(&freshness), black_box(now), cost, || black_box(0.5)));
    });
}

criterion_group!(benches, dates, parsing, decisions);
criterion_main!(benches);
