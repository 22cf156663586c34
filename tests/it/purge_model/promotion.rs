//! What another tier kept comes back with the stamp under which it was fetched: is it judged by that?

use std::sync::Arc;

use http::Request;
use larder::body::request::RequestBody;
use larder::cache::entry::Entry;
use larder::clock::Clock;
use larder::policy::scope::{Scope, Severity};
use larder::serve::{Serve, Shared};

use super::answer::received;
use super::conductor;
use crate::support::origin::{Origin, ok};
use crate::support::reply::CacheStatus;

pub(super) async fn get(serve: &Serve, target: &str) -> (String, CacheStatus) {
    let mut request = Request::new(RequestBody::empty());
    *request.uri_mut() = target.parse().expect("a target");
    let (head, body) = request.into_parts();
    let answer = received(serve.answer(head, body, conductor::client("a.test")).await).await;
    let cache = CacheStatus::of(&answer.headers).expect("every answer has one");
    (answer.body, cache)
}

/// Takes what is stored out, as if it were kept elsewhere from now on, and gives what puts it back.
fn take_out(shared: &Shared) -> impl Fn() + use<'_> {
    let (key, stored) = shared.memory.iter().next().expect("something is stored");
    let entry = Arc::clone(&stored.entries()[0]);
    shared.memory.remove(key.as_bytes());
    move || shared.memory.put(Arc::new(Entry::new(entry.head.clone(), entry.body.clone(), entry.part())), None)
}

#[tokio::test]
async fn what_is_promoted_while_or_after_it_is_purged_is_judged_by_the_stamp_it_had() {
    let origin = Origin::serve(|asked| {
        let told = ok(format!("v{}", asked.number)).with("surrogate-key", "t").with("etag", "\"same\"");
        told.with("cache-control", "max-age=600, stale-while-revalidate=600")
    })
    .await;
    let shared = conductor::shared(origin.address(), Clock::System).await;
    let serve = Serve::new(Arc::clone(&shared));
    let tag = |tag: &str| [Scope::Tag(tag.as_bytes().into())];
    let now = shared.clock.now();
    for (scopes, severity) in [(tag("t"), Severity::Hard), ([Scope::Everything], Severity::Hard)] {
        get(&serve, "/x").await;
        let asked = origin.hits() + 1;
        // The purge comes between the reading in the other tier and the writing in this one.
        let put_back = take_out(&shared);
        shared.ledger.purge(&scopes, severity, now);
        put_back();
        let (body, cache) = get(&serve, "/x").await;
        assert_eq!((body, cache.says("purged")), (format!("v{asked}"), true), "{scopes:?}: {cache:?}");
        assert_eq!(origin.last().field("if-none-match"), None, "a dead one lends no validators");
        // What was fetched since is not displaced by what comes late from elsewhere.
        put_back();
        let (body, cache) = get(&serve, "/x").await;
        assert_eq!((body, cache.is_fresh_hit()), (format!("v{asked}"), true), "{scopes:?}: {cache:?}");
    }
    let put_back = take_out(&shared);
    shared.ledger.purge(&tag("other"), Severity::Hard, now);
    put_back();
    assert!(get(&serve, "/x").await.1.is_fresh_hit(), "no purge names it");
    let put_back = take_out(&shared);
    shared.ledger.purge(&tag("t"), Severity::Soft, now);
    put_back();
    let (_, cache) = get(&serve, "/x").await;
    assert!(cache.says("stale-while-revalidate"), "softly purged: it may serve while it is refreshed: {cache:?}");
}
