//! With which status, and which fields, is a receipt answered on either listener?

use http::{HeaderValue, StatusCode};

use crate::wire::purge::{Receipt, Status};

/// `Retry-After` of a purge that the other nodes could not be told: they are told as soon as Redis answers, and asking
/// again then says so.
pub const RETRY: HeaderValue = HeaderValue::from_static("2");

/// 200: done as asked. 202: not every node that lives has confirmed it in time. 503: the other nodes could not be told.
pub fn status(receipt: &Receipt) -> StatusCode {
    match receipt.status {
        Status::Ok | Status::DryRun => StatusCode::OK,
        // The log has given it no number.
        Status::Pending if receipt.seq == 0 => StatusCode::SERVICE_UNAVAILABLE,
        Status::Pending => StatusCode::ACCEPTED,
    }
}
