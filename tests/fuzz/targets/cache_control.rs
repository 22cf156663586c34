//! What do the fields say that decide about freshness? Input: fields of a head.
#![no_main]

use http::{HeaderValue, StatusCode, header};
use larder::policy::directives::{self, MaxStale};
use larder::policy::freshness::{self, Freshness, GREATEST};
use larder::policy::time::Timestamp;
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fuzz_target!(|text: &[u8]| {
    let mut headers = fuzz::fields(text);
    let response = directives::response(&headers);
    let request = directives::request(&headers);
    let max_stale = match request.max_stale {
        Some(MaxStale::Within(longest)) => Some(longest),
        _ => None,
    };
    let stated = [
        response.max_age,
        response.s_maxage,
        response.stale_while_revalidate,
        response.stale_if_error,
        request.max_age,
        request.min_fresh,
        max_stale,
    ];
    assert!(stated.into_iter().flatten().all(|stated| stated <= GREATEST), "{stated:?}");

    let governing = directives::governing(&headers);
    let lifetimes =
        [freshness::explicit_lifetime(&governing, &headers, NOW), freshness::heuristic_lifetime(&headers, NOW)];
    let age = freshness::initial_age(&headers, NOW, NOW);
    for lifetime in lifetimes.into_iter().flatten() {
        let made = Freshness::new(NOW, age, lifetime);
        assert!(!made.is_fresh(NOW) || age < lifetime, "{age:?} of {lifetime:?}: {made:?}");
        assert!(!made.is_fresh(NOW.plus(lifetime)), "{made:?}");
    }
    let _ = freshness::is_heuristically_cacheable(StatusCode::OK);

    // Nothing that stands before it talks a later line out of what it forbids.
    headers.append(header::CACHE_CONTROL, HeaderValue::from_static("no-store, private"));
    let stricter = directives::response(&headers);
    assert!(stricter.no_store && stricter.private, "{headers:?}");
    assert!(directives::request(&headers).no_store, "{headers:?}");
});
