//! A request that is never looked up: straight to the origin, in the client's own time.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::UPGRADE;
use http::{Method, StatusCode};

use super::failure::{self, Failure};
use super::inquiry::Inquiry;
use super::judgement::Judgement;
use super::{Answered, Shared, invalidate, miss, through, tunnel};
use crate::body::request::RequestBody;
use crate::origin::Answer;
use crate::policy::invalidation;
use crate::policy::outcome::{Detail, Forward, Outcome};
use crate::policy::treatment::{Action, OriginId};
use crate::telemetry::exchange::Exchange;

/// Sends the request on and gives what comes back; an unsafe one invalidates what it changed.
pub(super) async fn pass(
    shared: &Arc<Shared>,
    inquiry: &Arc<Inquiry>,
    origin: OriginId,
    why: Detail,
    mut body: RequestBody,
    exchange: &mut Exchange,
) -> Answered {
    let outcome = outcome(why);
    let upgrade = body.take_upgrade();
    let mut outbound = inquiry.outbound(Cow::Borrowed(&inquiry.headers), body);
    outbound.upgrade = why == Detail::Upgrade || inquiry.headers.contains_key(UPGRADE);
    let (before, requested_at) = (shared.ledger.stamp(), shared.clock.now());
    let answer = match inquiry.site.origins.fetch(origin, outbound).await {
        Ok(answer) => answer,
        Err(error) => return failure::origin_failed(inquiry, &Failure::of_origin(inquiry, &error), outcome),
    };
    exchange.origin(answer.address, answer.first_byte);
    let outcome = Outcome { forward_status: Some(answer.status), ..outcome };
    let changed = invalidate::after(shared, inquiry, &answer).await;
    // What was purged since ours began, by others, is not what a GET would get.
    if let Some(stamp) = changed
        && shared.ledger.was_spared(&inquiry.tagged_labels(&answer.headers), before, stamp.number)
        && is_what_get_would_get(inquiry, &answer)
    {
        let (shared, inquiry) = (Arc::clone(shared), Arc::clone(inquiry));
        return miss::adopt(Judgement { shared, inquiry, stamp, requested_at }, answer);
    }
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return (tunnel::join(shared, inquiry, answer, upgrade, &outcome), outcome);
    }
    (through::respond(answer, inquiry, &outcome), outcome)
}

/// What is said of a request that is passed, until the origin has answered.
pub(super) fn outcome(why: Detail) -> Outcome {
    Outcome::forwarded(if why == Detail::Method { Forward::Method } else { Forward::Bypass }, why)
}

/// Whether the answer to a POST says of itself that a GET of the same URL would get it. RFC 9110 §9.3.3.
fn is_what_get_would_get(inquiry: &Inquiry, answer: &Answer) -> bool {
    let client = &inquiry.client;
    inquiry.method == Method::POST
        && inquiry.treatment().action == Action::Cache
        && invalidation::is_about_target(
            client.scheme.as_str(),
            &client.authority,
            inquiry.target.as_str(),
            &answer.headers,
        )
}
