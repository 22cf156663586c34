//! The conductor: in which order are the stages run, for one request?
//!
//! ```text
//! plain hit ─── at once                           out of memory, where its bytes are read
//! PURGE ─── purge                                 before the rules, and never forwarded
//! a token that an authority looks for ─── challenge   the same
//! route ─┬─ deny
//!        ├─ pass                                  never looked up
//!        └─ look up ─┬─ usable  → respond         fresh, or stale and allowed (refreshed behind)
//!                    └─ needed  → miss ─┬─ lead   second tier → fetch → admit → stream + store → respond
//!                                       ├─ follow wait for the leader's landing
//!                                       └─ alone  as lead, for this client only
//! ```

mod at_once;
mod challenge;
mod decision;
pub mod describe;
mod elsewhere;
pub mod explain;
mod failure;
mod fill;
mod hit;
mod inquiry;
mod invalidate;
mod judgement;
mod look_up;
mod metrics;
mod miss;
mod pass;
mod pour;
mod purge;
mod question;
mod refresh;
mod site;
mod through;
mod tunnel;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::request::Parts;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::decision::{Course, Decision, decide};
pub use self::elsewhere::Elsewhere;
use self::failure::Failure;
use self::inquiry::{Inquiry, Way};
pub use self::metrics::Metrics;
pub use self::site::Site;
use crate::acme::tokens::Tokens;
use crate::body::request::RequestBody;
use crate::body::response::BoxResponse;
use crate::cache::flight::Flights;
use crate::cache::ledger::Ledger;
use crate::cache::memory::Memory;
use crate::client::Client;
use crate::clock::Clock;
use crate::policy::outcome::{Detail, Outcome};
use crate::purge::Purger;
use crate::respond::stored;
use crate::telemetry::Telemetry;
use crate::telemetry::exchange::Exchange;

/// How often a follower whose flight brought it nothing boards again, before it goes alone: after one that was purged by a
/// tag nobody knew, and after two that brought other variants.
const ROUNDS: usize = 3;

/// What every request shares.
#[derive(Debug)]
pub struct Shared {
    /// The configuration at work.
    pub site: ArcSwap<Site>,
    /// Tier 1.
    pub memory: Arc<Memory>,
    /// Tier 2, and the nodes that share it.
    pub elsewhere: Option<Elsewhere>,
    /// The purges that are known.
    pub ledger: Arc<Ledger>,
    /// What operators have removed.
    pub purger: Arc<Purger>,
    /// The fetches under way.
    pub flights: Arc<Flights<Failure>>,
    /// What authorities look for at this moment, before they issue certificates.
    pub tokens: Arc<Tokens>,
    /// The time.
    pub clock: Clock,
    /// Requests counted, and the access log.
    pub telemetry: Arc<Telemetry>,
    /// What the cache does, counted.
    pub metrics: Metrics,
    /// Owns the fills.
    pub tasks: TaskTracker,
    /// Owns the tunnels.
    pub tunnels: TaskTracker,
    /// Cancelled when the process is about to end.
    pub stop: CancellationToken,
}

/// Answers requests.
#[derive(Clone)]
pub struct Serve(Arc<Shared>);

impl Serve {
    /// A conductor of these parts.
    pub fn new(shared: Arc<Shared>) -> Self {
        shared.metrics.watch(&shared);
        Self(shared)
    }

    /// Answers one request, of this head and this body: at once when a fresh stored response will do.
    pub fn answer(&self, mut parts: Parts, body: RequestBody, client: Client) -> Answer {
        let shared = &self.0;
        let site = shared.site.load();
        let Some(target) = parts.uri.path_and_query().cloned() else {
            unreachable!("accept hands over requests in origin-form only")
        };
        let exchange = Exchange::begin(&shared.telemetry, &parts.method, &target, &client);
        if parts.method.as_str() == purge::METHOD {
            let purge = purge::Asked { site: Arc::clone(&site), target, headers: parts.headers, client };
            let shared = Arc::clone(shared);
            return Answer::Slow(Box::pin(async move {
                let (response, outcome) = purge::answer(&shared, &purge, body).await;
                conclude(exchange, response, outcome)
            }));
        }
        if let Some((response, outcome)) = challenge::answer(&shared.tokens, &parts.method, &target, &client) {
            return Answer::Ready(Some(conclude(exchange, response, outcome)));
        }
        let Course { routed, way, key } = Course::of(&site, &client, &target, &mut parts, !body.is_empty());
        let asked = hit::asked(&parts, &routed.treatment, site.expose_hidden, shared.clock.now());
        let head = (&parts.method, &parts.headers);
        let decision =
            decide(way, routed.origin, head, || hit::find(shared, shared.memory.get(key.as_bytes()), &asked));
        if let Decision::Answer(usable) = &decision
            && !usable.refresh
        {
            usable.entry.count_hit();
            let response = stored::respond(&usable.entry, &asked, &usable.outcome);
            return Answer::Ready(Some(conclude(exchange, response, usable.outcome)));
        }
        let inquiry = Arc::new(Inquiry {
            site: Arc::clone(&site),
            method: parts.method.clone(),
            target,
            headers: std::mem::take(&mut parts.headers),
            client,
            routed,
            key,
        });
        // The room comes first, so that the story begins in it: it is large, and would be copied there.
        let place = Box::new_uninit();
        let story = Box::write(place, story(Arc::clone(shared), inquiry, decision, body, exchange));
        Answer::Slow(Box::into_pin(story))
    }
}

/// An answer and what is to be said of it.
type Answered = (BoxResponse, Outcome);

/// The life of a request that no fresh stored response answers at once. A follower whose flight brought another variant
/// decides anew.
///
/// Futures begin where they are polled (`pin!`), here and further down: awaited as they are, each is copied into the one
/// around it, with all the room that it has for its own.
#[expect(clippy::manual_async_fn, reason = "an `async fn` carries its arguments twice")]
fn story(
    shared: Arc<Shared>,
    inquiry: Arc<Inquiry>,
    mut decision: Decision,
    body: RequestBody,
    mut exchange: Box<Exchange>,
) -> impl Future<Output = BoxResponse> + Send {
    async move {
        let mut round = 0;
        let (response, outcome) = loop {
            match decision {
                // What another node stored is stored.
                Decision::Refuse(_, Detail::OnlyIfCached)
                    if let Some(usable) = elsewhere::peek(&shared, &inquiry).await =>
                {
                    break hit::respond(&shared, &inquiry, &usable, &inquiry.asked(shared.clock.now()));
                }
                Decision::Refuse(failure, why) => break failure::refused(&inquiry, &failure, why),
                Decision::Pass(origin, why) => {
                    break Box::pin(pass::pass(&shared, &inquiry, origin, why, body, &mut exchange)).await;
                }
                Decision::Answer(usable) => {
                    break hit::respond(&shared, &inquiry, &usable, &inquiry.asked(shared.clock.now()));
                }
                Decision::Ask(mut need) => {
                    need.alone |= round >= ROUNDS;
                    if let Some(answered) = pin!(miss::ask(&shared, &inquiry, need, &mut exchange)).await {
                        break answered;
                    }
                }
            }
            round += 1;
            let asked = inquiry.asked(shared.clock.now());
            let look = || hit::find(&shared, shared.memory.get_stored(inquiry.key.as_bytes()), &asked);
            decision = decide(Way::Cache, inquiry.origin(), (&inquiry.method, &inquiry.headers), look);
        };
        conclude(exchange, response, outcome)
    }
}

/// Has the access log and the metrics told when the transfer ends.
fn conclude(mut exchange: Box<Exchange>, mut response: BoxResponse, outcome: Outcome) -> BoxResponse {
    exchange.answered(response.status(), outcome);
    response.body_mut().observe(exchange);
    response
}

/// An answer: at hand, or on its way.
pub enum Answer {
    /// At hand; taken when polled.
    Ready(Option<BoxResponse>),
    /// On its way.
    Slow(Pin<Box<dyn Future<Output = BoxResponse> + Send>>),
}

impl Future for Answer {
    type Output = BoxResponse;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ready(response) => response.take().map_or(Poll::Pending, Poll::Ready),
            Self::Slow(future) => future.as_mut().poll(cx),
        }
    }
}
