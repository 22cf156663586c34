//! `PURGE` on the public listener: who may, what does the request name, and what is the answer?

use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;

use super::site::Site;
use super::{Answered, Shared};
use crate::body::request::RequestBody;
use crate::body::response::ResponseBody;
use crate::client::Client;
use crate::policy::outcome::{Detail, Outcome};
use crate::policy::treatment::Treatment;
use crate::purge::answer;
use crate::purge::order::{Order, Refusal};
use crate::respond::error::{self, Problem};
use crate::respond::head;
use crate::wire::purge::Receipt;

/// The method, exactly: methods know letter case (RFC 9110 §9.1).
pub(super) const METHOD: &str = "PURGE";

/// How long a receipt waits for a body that says nothing.
const DRAIN: Duration = Duration::from_secs(1);

/// A request to purge.
pub(super) struct Asked {
    pub(super) site: Arc<Site>,
    pub(super) target: PathAndQuery,
    pub(super) headers: HeaderMap,
    pub(super) client: Client,
}

/// Purges, where the client may, and answers with the receipt. Rules have no say in it, and no origin hears of it.
pub(super) async fn answer(shared: &Arc<Shared>, asked: &Asked, body: RequestBody) -> Answered {
    let Asked { site, headers, client, .. } = asked;
    if !site.gate.admits(client.address, headers) {
        let reason = "This client may not purge: it is not in purge.allow, and brought no valid token.";
        let problem = (StatusCode::FORBIDDEN, "http_request_denied", reason);
        return refuse(headers, problem, Detail::PurgeDenied);
    }
    let order = match asked.order() {
        Ok(order) => order,
        Err(Refusal { status, reason }) => {
            return refuse(headers, (status, "http_request_error", &reason), Detail::BadRequest);
        }
    };
    // In a task of its own: what was asked for is done, whether or not the client stays for the receipt.
    let purger = Arc::clone(&shared.purger);
    let Ok(receipt) = shared.tasks.spawn(async move { purger.purge(order).await }).await else {
        let problem = (StatusCode::INTERNAL_SERVER_ERROR, "proxy_internal_error", "The purge failed.");
        return refuse(headers, problem, Detail::InternalError);
    };
    drain(body).await;
    confirm(&receipt)
}

impl Asked {
    /// What the request names.
    pub(super) fn order(&self) -> Result<Order, Refusal> {
        let Self { site, target, headers, client } = self;
        let who = || format!("{} public", client.address);
        Order::of_fields(headers, &site.tag_headers, who()).unwrap_or_else(|| {
            let url = (client.scheme.as_str(), &*client.authority, target.as_str());
            Order::of_target(url, headers, &site.rules, who())
        })
    }
}

/// Reads the request's body, which says nothing here, so that the connection can go on. One that breaks off, is too
/// large or takes longer than the receipt should wait takes the connection with it.
async fn drain(mut body: RequestBody) {
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = tokio::time::timeout(DRAIN, read).await;
}

fn confirm(receipt: &Receipt) -> Answered {
    let outcome = Outcome::refused(Detail::Purge);
    let text = serde_json::to_string(receipt).expect("a receipt holds nothing that JSON cannot say");
    let mut response = Box::new(Response::new(ResponseBody::full(text + "\n")));
    *response.status_mut() = answer::status(receipt);
    let is_untold = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let fields = response.headers_mut();
    if is_untold {
        fields.insert(RETRY_AFTER, answer::RETRY);
    }
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head::finish(fields, Some(0), &outcome, &Treatment::default());
    (response, outcome)
}

fn refuse(headers: &HeaderMap, (status, error, reason): (StatusCode, &'static str, &str), detail: Detail) -> Answered {
    let outcome = Outcome::refused(detail);
    (error::error(&Problem { status, error, reason, outcome }, headers), outcome)
}
