//! What a client is told when there is nothing better to say.

use http::StatusCode;

use super::Answered;
use super::inquiry::Inquiry;
use crate::origin::OriginError;
use crate::policy::outcome::{Detail, Outcome};
use crate::respond::error::{self, Problem};

/// Why a request cannot be answered; shared by all that wait for the same fetch.
#[derive(Debug, Clone)]
pub struct Failure {
    status: StatusCode,
    /// The error type of RFC 9209 §2.3.
    proxy_status: &'static str,
    /// One sentence for the client.
    reason: &'static str,
}

impl Failure {
    fn new(status: StatusCode, proxy_status: &'static str, reason: &'static str) -> Self {
        Self { status, proxy_status, reason }
    }

    /// The status that the client gets.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// One sentence for the client.
    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }

    /// A rule denies it.
    pub(super) fn denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, "http_request_denied", "A rule denies this request.")
    }

    /// No origin fits the host.
    pub(super) fn no_origin() -> Self {
        Self::new(StatusCode::NOT_FOUND, "destination_not_found", "No origin is configured for this host.")
    }

    /// The client wants nothing but a stored response. RFC 9111 §5.2.1.7.
    pub(super) fn only_if_cached() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "destination_unavailable",
            "Nothing stored answers this request, and it asked for nothing else.",
        )
    }

    /// The origin says "not modified" to a question without a condition.
    pub(super) fn unasked_304() -> Self {
        let reason = "The origin's answer is about a condition that it was not asked about.";
        Self::new(StatusCode::BAD_GATEWAY, "http_protocol_error", reason)
    }

    /// The work on it was given up, by the end of the process or a defect.
    pub(super) fn abandoned() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "proxy_internal_error", "The work on this request was given up.")
    }

    /// The origin could not be asked, or did not answer; said once, here.
    pub(super) fn of_origin(inquiry: &Inquiry, error: &OriginError) -> Self {
        let request = &inquiry.client.request_id.to_value();
        let cause = std::error::Error::source(error).map(tracing::field::display);
        tracing::warn!(target = %inquiry.target, ?request, cause, "{error}");
        // What the error says of addresses is for the log; the client gets the kind.
        let reason = "The origin did not give an answer that can be passed on.";
        let reason =
            if error.is_request_fault() { "The request's body broke off, stalled, or is too large." } else { reason };
        Self { status: error.status(), proxy_status: error.proxy_status(), reason }
    }
}

/// Our own answer, when the request never reached an origin.
pub(super) fn refused(inquiry: &Inquiry, failure: &Failure, detail: Detail) -> Answered {
    answer(inquiry, failure, Outcome::refused(detail))
}

/// Our own answer.
pub(super) fn answer(inquiry: &Inquiry, failure: &Failure, outcome: Outcome) -> Answered {
    let Failure { status, proxy_status, reason, .. } = *failure;
    let response = error::error(&Problem { status, error: proxy_status, reason, outcome }, &inquiry.headers);
    (response, outcome)
}

/// Our own answer to a request for which the origin failed, or was not to be reached.
pub(super) fn origin_failed(inquiry: &Inquiry, failure: &Failure, outcome: Outcome) -> Answered {
    answer(inquiry, failure, Outcome { detail: Some(Detail::OriginError), ..outcome })
}
