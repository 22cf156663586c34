//! What does `http-cache-semantics` say? The one file that names it.
//!
//! The library errs on raw heads (see the tests of `admission.rs` for the rows) and never, over hundreds of thousands
//! of responses, on heads that were put into one canonical form. So it is asked about such a head only, made from
//! what our own rules have understood, and nothing a client or an origin sent ever reaches it. It is a second opinion:
//! where it is stricter than our own reading, it wins.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::directives::ResponseDirectives;
use super::freshness::GREATEST;
use super::time::{Timestamp, format_http_date};

/// What our rules have understood of a response to a `GET`.
#[derive(Debug, Clone)]
pub(super) struct Canonical {
    /// Whether a heuristic lifetime may be assumed for its status.
    pub(super) is_heuristically_cacheable: bool,
    /// The directives that count, with a rule's `override` and `ttl` laid over them.
    pub(super) directives: ResponseDirectives,
    /// Whether the request had `Authorization` and nothing overrules it.
    pub(super) is_authorized: bool,
    /// `Date`, or what stands for it.
    pub(super) date: Timestamp,
    /// `Expires`, where it counts.
    pub(super) expires: Option<Timestamp>,
    /// `Last-Modified`, where it is valid.
    pub(super) last_modified: Option<Timestamp>,
    /// The age it arrived with.
    pub(super) initial_age: Duration,
    /// When it arrived.
    pub(super) received_at: Timestamp,
}

/// What the library says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opinion {
    /// Whether it may be stored.
    pub(super) is_storable: bool,
    /// For how long it is fresh from its arrival on, in whole seconds or more.
    pub(super) time_to_live: Duration,
}

/// Asks the library.
pub(super) fn opinion(response: &Canonical) -> Opinion {
    let received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(response.received_at.as_secs());
    // The library knows neither 206, 5xx nor unknown statuses, which RFC 9111 §3 lets a cache store when freshness is
    // explicit. What counts for it is the class of §4.2.2 alone, and two statuses stand for the two classes.
    let status = if response.is_heuristically_cacheable { StatusCode::OK } else { StatusCode::FOUND };
    let mut asked = Request::new(());
    if response.is_authorized {
        asked.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_static("-"));
    }
    let mut answered = Response::new(());
    *answered.status_mut() = status;
    *answered.headers_mut() = canonical_head(response);
    let policy = CachePolicy::new_options(&asked, &answered, received_at, CacheOptions::default());
    Opinion { is_storable: policy.is_storable(), time_to_live: policy.time_to_live(received_at) }
}

/// The head as the library reads it without fault: one line a field, dates as IMF-fixdates, `Age` within bounds.
fn canonical_head(response: &Canonical) -> HeaderMap {
    let mut head = HeaderMap::with_capacity(5);
    let mut insert = |name: HeaderName, value: &[u8]| {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            head.insert(name, value);
        }
    };
    insert(header::DATE, &format_http_date(response.date));
    if let Some(expires) = response.expires {
        insert(header::EXPIRES, &format_http_date(expires));
    }
    if let Some(last_modified) = response.last_modified {
        insert(header::LAST_MODIFIED, &format_http_date(last_modified));
    }
    // An `Age` of 2^64 - 1 makes the library panic; ours is at most 2^31.
    let age = response.initial_age.min(GREATEST).as_secs();
    insert(header::AGE, age.to_string().as_bytes());
    let line = canonical_line(&response.directives);
    if !line.is_empty() {
        insert(header::CACHE_CONTROL, line.as_bytes());
    }
    head
}

/// The directives that the library reads right, each once.
///
/// Not `proxy-revalidate`: it takes it for "never fresh", where RFC 9111 §5.2.2.8 forbids stale use only. Not
/// `must-understand`: `no-store` is settled before it is asked.
fn canonical_line(directives: &ResponseDirectives) -> String {
    let flags = [
        (directives.no_store, "no-store"),
        (directives.no_cache, "no-cache"),
        (directives.private, "private"),
        (directives.public, "public"),
        (directives.must_revalidate, "must-revalidate"),
    ];
    let durations = [(directives.max_age, "max-age"), (directives.s_maxage, "s-maxage")];
    let mut line = String::with_capacity(64);
    for (_, name) in flags.into_iter().filter(|(is_set, _)| *is_set) {
        line.push_str(if line.is_empty() { "" } else { ", " });
        line.push_str(name);
    }
    for (duration, name) in durations.into_iter().filter_map(|(duration, name)| Some((duration?, name))) {
        let separator = if line.is_empty() { "" } else { ", " };
        // Rounded up, as the age is rounded down: a rule's `ttl = "500ms"` must not look like none.
        let seconds = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
        // Writing to a String does not fail.
        let _ = write!(line, "{separator}{name}={seconds}");
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
    use proptest::{bool, option};

    use super::*;

    /// 1 July 2026, 12:00:00.
    const NOW: u64 = 1_782_907_200;

    /// RFC 9111 §3 and §4.2 for a shared cache and a `GET`, read straight, for what [`Canonical`] holds.
    fn straight(response: &Canonical) -> Opinion {
        let directives = &response.directives;
        let allows_sharing = directives.must_revalidate || directives.public || directives.s_maxage.is_some();
        let is_explicit = directives.s_maxage.is_some() || directives.max_age.is_some() || response.expires.is_some();
        let is_storable = !directives.no_store
            && !directives.private
            && (!response.is_authorized || allows_sharing)
            && (is_explicit || directives.public || response.is_heuristically_cacheable);
        let expires_in = response.expires.map(|expires| expires.since(response.date));
        let modified_ago = response.last_modified.filter(|&at| at <= response.date).map(|at| response.date.since(at));
        let heuristic = modified_ago.map(|ago| Duration::from_secs(ago.as_secs() / 10));
        let lifetime = directives.s_maxage.or(directives.max_age).or(expires_in).or(heuristic);
        let is_usable = is_storable && !directives.no_cache;
        let lifetime = lifetime.filter(|_| is_usable).unwrap_or(Duration::ZERO);
        let age = Duration::from_secs(response.initial_age.as_secs());
        Opinion { is_storable, time_to_live: lifetime.saturating_sub(age) }
    }

    fn durations() -> impl Strategy<Value = Option<Duration>> {
        let seconds = prop_oneof![Just(0), 1_u64..200, 200_u64..100_000, Just((1 << 31) - 1), Just(1 << 31)];
        option::of(seconds.prop_map(Duration::from_secs))
    }

    /// A date about a year from now, either way. The library multiplies with a tenth that is a 32-bit float: over more
    /// than two years the product can be a second off.
    fn dates() -> impl Strategy<Value = Timestamp> {
        let far = NOW - 30_000_000..NOW + 25_000_000;
        prop_oneof![far, NOW - 300..NOW + 300].prop_map(|seconds| Timestamp::from_millis(seconds * 1000))
    }

    fn directives() -> impl Strategy<Value = ResponseDirectives> {
        let flags = [bool::weighted(0.1), bool::weighted(0.1), bool::weighted(0.1)];
        (flags, any::<[bool; 4]>(), durations(), durations()).prop_map(|(rare, common, max_age, s_maxage)| {
            ResponseDirectives {
                no_store: rare[0],
                no_cache: rare[1],
                private: rare[2],
                public: common[0],
                must_revalidate: common[1],
                proxy_revalidate: common[2],
                must_understand: common[3],
                max_age,
                s_maxage,
                ..ResponseDirectives::default()
            }
        })
    }

    fn responses() -> impl Strategy<Value = Canonical> {
        let flags = (any::<bool>(), bool::weighted(0.3));
        let dates = (dates(), option::of(dates()), option::of(dates()));
        (flags, directives(), dates, durations()).prop_map(|(flags, directives, dates, initial_age)| Canonical {
            is_heuristically_cacheable: flags.0,
            directives,
            is_authorized: flags.1,
            date: dates.0,
            expires: dates.1,
            last_modified: dates.2,
            initial_age: initial_age.unwrap_or_default(),
            received_at: Timestamp::from_millis(NOW * 1000),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn the_library_and_a_straight_reading_of_the_rfc_agree(response in responses()) {
            assert_eq!(opinion(&response), straight(&response), "{response:?}");
        }
    }

    #[test]
    fn the_canonical_line_has_each_directive_once_and_none_that_the_library_misreads() {
        let directives = ResponseDirectives {
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            must_understand: true,
            max_age: Some(Duration::from_millis(1500)),
            s_maxage: Some(Duration::ZERO),
            stale_if_error: Some(Duration::from_secs(9)),
            ..ResponseDirectives::default()
        };
        assert_eq!(canonical_line(&directives), "public, must-revalidate, max-age=2, s-maxage=0");
    }

    #[test]
    fn an_age_that_would_make_the_library_panic_does_not_reach_it() {
        let response = Canonical {
            is_heuristically_cacheable: true,
            directives: ResponseDirectives { max_age: Some(Duration::MAX), ..ResponseDirectives::default() },
            is_authorized: false,
            date: Timestamp::from_millis(u64::MAX),
            expires: Some(Timestamp::from_millis(u64::MAX)),
            last_modified: Some(Timestamp::EPOCH),
            initial_age: Duration::MAX,
            received_at: Timestamp::from_millis(u64::MAX),
        };
        assert!(opinion(&response).is_storable);
    }
}
