//! Nothing stored will do: who asks the origin, and who waits?

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use http::{HeaderMap, Method};
use tokio::sync::oneshot;

use super::failure::{self, Failure};
use super::fill::{Delivery, Fill, Reply, Rest};
use super::inquiry::Inquiry;
use super::judgement::Judgement;
use super::look_up::{self, Found, Need};
use super::{Answered, Shared, hit};
use crate::body::response::{BoxResponse, ResponseBody, Source};
use crate::body::shared::{Reader, SharedBody};
use crate::cache::entry::{Entry, Head};
use crate::cache::flight::{Departure, Follow, Landing, Lead, Seat};
use crate::origin::Answer;
use crate::policy::conditional::Condition;
use crate::policy::outcome::{Detail, Forward, Outcome};
use crate::policy::reuse::{self, Standing, Verdict};
use crate::respond::stored;
use crate::telemetry::exchange::Exchange;

/// Asks the origin, or waits for another request that does. `None`: what came was not for this request; look again.
pub(super) async fn ask(
    shared: &Arc<Shared>,
    inquiry: &Arc<Inquiry>,
    need: Need,
    exchange: &mut Exchange,
) -> Option<Answered> {
    let (need, lead) = if goes_alone(inquiry, &need) {
        (need, None)
    } else {
        match shared.flights.board(&inquiry.key, Departure::now(&shared.ledger), may_join(shared, inquiry)) {
            // In a box: most requests do not wait, and would carry the room for it.
            Seat::Follower(follow) => return Box::pin(wait(shared, inquiry, need, follow, exchange)).await,
            Seat::Leader(lead) => {
                // The last leader may have landed in between.
                let asked = inquiry.asked(shared.clock.now());
                match hit::find(shared, shared.memory.get_stored(inquiry.key.as_bytes()), &asked) {
                    Found::Usable(usable) => {
                        drop(lead);
                        return Some(hit::respond(shared, inquiry, &usable, &asked));
                    }
                    // The last leader's answer could not be shared: those behind us need not wait for ours.
                    Found::Needed(need) if goes_alone(inquiry, &need) => {
                        drop(lead);
                        (need, None)
                    }
                    Found::Needed(need) => (need, Some(lead)),
                }
            }
        }
    };
    Some(pin!(fetch(shared, inquiry, need, lead, exchange)).await)
}

/// Waits for what another request's flight brings.
async fn wait(
    shared: &Arc<Shared>,
    inquiry: &Arc<Inquiry>,
    need: Need,
    mut follow: Follow<Failure>,
    exchange: &mut Exchange,
) -> Option<Answered> {
    let landing = follow.landed().await;
    let answered = pin!(follower(shared, inquiry, need, landing, exchange)).await;
    if answered.as_ref().is_some_and(|(_, outcome)| outcome.collapsed) {
        shared.metrics.collapsed.inc();
    }
    answered
}

/// Which flights a request may join: no purge that is not about a tag has come since they began, nor could have come
/// unheard, and where the response is known already, it is for this request and could be stored and used now. Tags are
/// judged once they are known.
pub(super) fn may_join<'a>(
    shared: &'a Shared,
    inquiry: &'a Inquiry,
) -> impl FnMut(Departure, &Landing<Failure>) -> bool + use<'a> {
    let labels = inquiry.labels();
    move |departure, landing| {
        let is_current = shared.ledger.standing(&labels, departure.stamp) == Standing::Alive;
        is_current
            && shared.ledger.is_heard_as_at(departure.moment)
            && match landing {
                Landing::Streaming(head, _) => fits(shared, inquiry, head),
                _ => true,
            }
    }
}

/// Whether a response that was fetched for another request answers this one, now.
fn fits(shared: &Shared, inquiry: &Inquiry, head: &Head) -> bool {
    let standing = head.standing(&shared.ledger);
    // A soft purge lets stale responses answer while they are refreshed: this is no stored one, and nothing refreshes it.
    if standing != Standing::Alive {
        return false;
    }
    let wanted = inquiry.directives();
    let verdict = reuse::judge(&head.freshness, standing, wanted.as_ref(), shared.clock.now());
    // A client that wants a new answer gets it from a fetch that began after its request, or as it did.
    let is_usable = match verdict {
        Verdict::Fresh | Verdict::StaleWhileRevalidate | Verdict::MaxStale => true,
        Verdict::Validate(why) => why == Detail::ClientNoCache,
        Verdict::Unusable(_) => false,
    };
    is_usable && head.selecting.matches(&inquiry.headers, &head.headers)
}

/// Whether nobody should wait for this request, nor this request for anybody.
pub(super) fn goes_alone(inquiry: &Inquiry, need: &Need) -> bool {
    let range_of_unknown = inquiry.wants_range() && need.stored.is_none();
    need.alone || !inquiry.treatment().collapse || inquiry.method == Method::HEAD || range_of_unknown
}

/// Fetches, and answers with what comes of it: what others may join in a task of its own, which survives this client.
async fn fetch(
    shared: &Arc<Shared>,
    inquiry: &Arc<Inquiry>,
    need: Need,
    lead: Option<Lead<Failure>>,
    exchange: &mut Exchange,
) -> Answered {
    let outcome = need.outcome();
    let is_for_one = lead.is_none();
    let fill = Fill::new(Arc::clone(shared), Arc::clone(inquiry), need, lead);
    let delivery = if is_for_one {
        // Nobody else can join: until it has an answer it ends with its client, as a passed request does. It counts as under way
        // until what is left of it does.
        let counted = shared.tasks.token();
        let (delivery, rest) = pin!(fill.ask()).await;
        go_on(shared, rest);
        drop(counted);
        delivery
    } else {
        let (reply, replied) = oneshot::channel();
        // A client that has left is not told.
        shared.tasks.spawn(fill.run(|delivery| drop(reply.send(delivery))));
        match replied.await {
            Ok(delivery) => delivery,
            Err(_) => return failure::origin_failed(inquiry, &Failure::abandoned(), outcome),
        }
    };
    if let Some((address, first_byte)) = delivery.origin {
        exchange.origin(address, first_byte);
    }
    respond(shared, inquiry, delivery)
}

/// Answers with the answer to a POST that also answers later GETs (RFC 9110 §9.3.3).
pub(super) fn adopt(judgement: Judgement, answer: Answer) -> Answered {
    let need = Need { forward: Forward::Method, why: Detail::Method, ..Need::nothing_stored() };
    let (shared, inquiry) = (Arc::clone(&judgement.shared), Arc::clone(&judgement.inquiry));
    let (delivery, rest) = Fill::begun(judgement, need, None).fresh(answer);
    go_on(&shared, rest);
    respond(&shared, &inquiry, delivery)
}

/// The rest of a fetch goes on by itself; what has come whole is stored at once.
fn go_on(shared: &Shared, rest: Option<Rest>) {
    // Nobody is woken by this poll: the task polls anew.
    if let Some(mut rest) = rest
        && (&mut rest).now_or_never().is_none()
    {
        shared.tasks.spawn(rest);
    }
}

/// The answer that a fetch delivered to the client that started it.
fn respond(shared: &Arc<Shared>, inquiry: &Arc<Inquiry>, delivery: Delivery) -> Answered {
    let asked = || inquiry.asked(shared.clock.now());
    match delivery.reply {
        Reply::Promoted(usable) => hit::respond(shared, inquiry, &usable, &asked()),
        Reply::Stored(entry, outcome) => (stored::respond(&entry, &asked(), &outcome), outcome),
        Reply::Streaming(head, fields, reader, outcome) => {
            (streamed(&head, || fields, inquiry, shared, &outcome, reader), outcome)
        }
        Reply::Through(response, outcome) => (response, outcome),
        Reply::Failed(failure, outcome) => failure::origin_failed(inquiry, &failure, outcome),
    }
}

/// What a landing means for one follower.
async fn follower(
    shared: &Arc<Shared>,
    inquiry: &Arc<Inquiry>,
    need: Need,
    landing: Landing<Failure>,
    exchange: &mut Exchange,
) -> Option<Answered> {
    let now = shared.clock.now();
    let asked = inquiry.asked(now);
    let collapsed = Outcome { collapsed: true, ..need.outcome() };
    let stale = |need: &Need| {
        let (entry, outcome) = stale_fallback(shared, inquiry, need)?;
        Some((stored::respond(&entry, &asked, &outcome), outcome))
    };
    match landing {
        Landing::Streaming(head, body) if fits(shared, inquiry, &head) => {
            let ttl = Some(head.freshness.ttl(now));
            let outcome = Outcome { forward_status: Some(head.status), stored: true, ttl, ..collapsed };
            let response = join(&head, &body, inquiry, shared, &outcome)?;
            Some((response, outcome))
        }
        Landing::Stored(entry) if fits(shared, inquiry, &entry.head) && entry.part().is_none() => {
            let ttl = Some(entry.head.freshness.ttl(now));
            let outcome = Outcome { stored: true, ttl, ..collapsed };
            Some((stored::respond(&entry, &asked, &outcome), outcome))
        }
        // It is judged as what is found in memory, where it may not have been kept.
        Landing::Promoted(entry) if entry.head.selecting.matches(&inquiry.headers, &entry.head.headers) => {
            match look_up::judge(&shared.ledger, &entry, &asked, inquiry.directives().as_ref()) {
                Found::Usable(usable) => Some(hit::respond(shared, inquiry, &usable, &asked)),
                Found::Needed(_) => None,
            }
        }
        Landing::Failed(failure) => {
            Some(stale(&need).unwrap_or_else(|| failure::origin_failed(inquiry, &failure, collapsed)))
        }
        Landing::Troubled => match stale(&need) {
            Some(answered) => Some(answered),
            None => Some(pin!(fetch(shared, inquiry, need, None, exchange)).await),
        },
        Landing::Unshareable => Some(pin!(fetch(shared, inquiry, need, None, exchange)).await),
        Landing::Streaming(..) | Landing::Stored(_) | Landing::Promoted(_) | Landing::Lost | Landing::Pending => None,
    }
}

/// A follower's answer from a body that is still growing; `None` when its beginning is no longer kept.
fn join(head: &Head, body: &SharedBody, inquiry: &Inquiry, shared: &Shared, outcome: &Outcome) -> Option<BoxResponse> {
    let reader = Box::new(body.reader()?);
    Some(streamed(head, || head.headers.to_map(), inquiry, shared, outcome, reader))
}

/// The answer of a response that is still arriving; `fields` are its head's, as a map. The client's conditions are ours to
/// evaluate: they were not sent on, so that they could not narrow what is stored.
fn streamed(
    head: &Head,
    fields: impl FnOnce() -> HeaderMap,
    inquiry: &Inquiry,
    shared: &Shared,
    outcome: &Outcome,
    reader: Box<Reader>,
) -> BoxResponse {
    let asked = inquiry.asked(shared.clock.now());
    match stored::condition(head, &asked) {
        Condition::NotModified => stored::not_modified(head, &asked, outcome),
        Condition::Proceed => {
            let body = ResponseBody::new(Source::Shared(reader));
            stored::streaming(head, fields(), &asked, outcome, body)
        }
    }
}

/// The stored response that may stand in for a failed origin.
pub(super) fn stale_fallback(shared: &Shared, inquiry: &Inquiry, need: &Need) -> Option<(Arc<Entry>, Outcome)> {
    let now = shared.clock.now();
    let entry = need.stored.as_ref()?;
    if inquiry.directives().is_some_and(|directives| directives.no_cache) {
        return None;
    }
    let (freshness, standing) = (&entry.head.freshness, entry.standing(&shared.ledger));
    if !reuse::may_serve_on_error(freshness, standing, now) {
        return None;
    }
    let outcome = Outcome {
        hit: true,
        detail: Some(Detail::StaleIfError),
        ttl: Some(reuse::ttl(freshness, standing, now)),
        ..Outcome::default()
    };
    Some((Arc::clone(entry), outcome))
}
