//! A request that is never looked up: straight to the origin, in the client's own time.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::failure::{self, Failure};
use super::inquiry::Inquiry;
use super::{Answered, Rest, Shared, invalidate, miss, through};
use crate::body::response::ResponseBody;
use crate::origin::Answer;
use crate::policy::invalidation;
use crate::policy::outcome::{Detail, Forward, Outcome};
use crate::policy::reuse::Standing;
use crate::policy::treatment::{Action, OriginId};
use crate::telemetry::exchange::Exchange;

/// Sends the request on and gives what comes back; an unsafe one invalidates what it changed.
pub(super) async fn pass(
    shared: &Arc<Shared>,
    inquiry: &Arc<Inquiry>,
    origin: OriginId,
    why: Detail,
    rest: Rest,
    exchange: &mut Exchange,
) -> Answered {
    let forward = if why == Detail::Method { Forward::Method } else { Forward::Bypass };
    let outcome = Outcome::forwarded(forward, why);
    let mut outbound = inquiry.outbound(inquiry.headers.clone(), rest.body);
    outbound.upgrade = why == Detail::Upgrade || inquiry.headers.contains_key(UPGRADE);
    let before = shared.ledger.stamp();
    let answer = match inquiry.site.origins.fetch(origin, outbound).await {
        Ok(answer) => answer,
        Err(error) => return failure::origin_failed(inquiry, &Failure::of_origin(inquiry, &error), outcome),
    };
    exchange.origin(answer.address, answer.first_byte);
    let outcome = Outcome { forward_status: Some(answer.status), ..outcome };
    let is_current = shared.ledger.standing(inquiry.url_scope(), before) == Standing::Alive;
    invalidate::after(shared, inquiry, &answer);
    if is_current && is_what_get_would_get(inquiry, &answer) {
        return miss::adopt(shared, inquiry, answer).await;
    }
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        return (tunnel(shared, inquiry, answer, rest.extensions, &outcome), outcome);
    }
    (through::respond(answer, inquiry, &outcome), outcome)
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

/// Joins the client's connection with the origin's, once both have changed protocols. RFC 9110 §7.8.
fn tunnel(
    shared: &Arc<Shared>,
    inquiry: &Inquiry,
    mut answer: Answer,
    extensions: http::Extensions,
    outcome: &Outcome,
) -> Response<ResponseBody> {
    let mut request = Request::new(());
    *request.extensions_mut() = extensions;
    let client = hyper::upgrade::on(&mut request);
    if let Some(origin) = answer.upgraded.take() {
        shared.tasks.spawn(relay(client, origin, shared.stop.clone()));
    }
    let protocol = answer.headers.get(UPGRADE).or_else(|| inquiry.headers.get(UPGRADE)).cloned();
    let mut response = through::respond(answer, inquiry, outcome);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
    }
    *response.body_mut() = ResponseBody::empty();
    response
}

/// Copies both ways until both ends have closed, or the process ends.
async fn relay(client: OnUpgrade, origin: OnUpgrade, stop: tokio_util::sync::CancellationToken) {
    let both = async {
        let (client, origin) = (client.await?, origin.await?);
        let (mut client, mut origin) = (TokioIo::new(client), TokioIo::new(origin));
        // An end that vanishes is an end; there is nobody to tell.
        let _copied = tokio::io::copy_bidirectional(&mut client, &mut origin).await;
        Ok::<(), hyper::Error>(())
    };
    tokio::select! {
        () = stop.cancelled() => {}
        joined = both => if let Err(error) = joined {
            tracing::debug!(%error, "a tunnel was not established");
        }
    }
}
