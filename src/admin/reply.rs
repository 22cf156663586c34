//! What does an answer of the admin listener look like: a page, or what is wrong?

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

use crate::purge::order::Refusal;
use crate::wire::purge::Problem;

/// Bytes of a reason. It may quote what came, and what came may be megabytes of one word.
const MAX_REASON: usize = 1024;

/// A whole answer.
pub(super) type Reply = Response<Full<Bytes>>;

/// Why a request is not answered with its page.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    reason: String,
    field: Option<(HeaderName, HeaderValue)>,
}

impl Fault {
    /// A fault of this status; `reason` says what is wrong, and what to write instead.
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), field: None }
    }

    /// A request that cannot be understood.
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// The token is missing or wrong. RFC 6750 §3: the answer says how it is carried.
    pub(super) fn unauthorized() -> Self {
        let field = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        let reason = "the admin token is missing or wrong: send Authorization: Bearer TOKEN";
        Self { field, ..Self::new(StatusCode::UNAUTHORIZED, reason) }
    }

    /// The page is there, but not for this method. RFC 9110 §15.5.6: the answer lists those that it is for.
    pub(super) fn method(allowed: &'static str) -> Self {
        let field = Some((ALLOW, HeaderValue::from_static(allowed)));
        Self { field, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this takes {allowed}")) }
    }

    /// A fault of ours.
    pub(super) fn internal(reason: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }

    /// The answer that says so.
    pub(super) fn into_reply(mut self) -> Reply {
        self.reason.truncate(self.reason.floor_char_boundary(MAX_REASON));
        let mut reply = json(self.status, &Problem { status: self.status.as_u16(), reason: self.reason });
        reply.headers_mut().extend(self.field);
        reply
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status, refusal.reason)
    }
}

/// A line of text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    page(status, "text/plain; charset=utf-8", text)
}

/// A value as JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, value: &T) -> Reply {
    let mut text = serde_json::to_vec(value).expect("the wire's types have names for keys, and no failing parts");
    text.push(b'\n');
    page(status, "application/json", text)
}

/// A page of this content type.
pub(super) fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_reason_is_cut_between_characters() {
        let reply = Fault::bad("ä".repeat(MAX_REASON)).into_reply();
        let body = reply.into_body().collect().await.expect("a body").to_bytes();
        let problem: Problem = serde_json::from_slice(&body).expect("a problem");
        assert_eq!((problem.status, problem.reason), (400, "ä".repeat(MAX_REASON / 2)));
    }
}
