//! What do tests store?

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::entry::{Entry, Head};
use super::fields::{RareFields, StoredFields};
use super::ledger::Stamp;
use crate::body::stored::StoredBody;
use crate::policy::freshness::Freshness;
use crate::policy::scope::{Labels, Tags};
use crate::policy::time::{Micros, Timestamp};
use crate::policy::vary::Selecting;

/// The labels of `http://a.test` and this target, with these tags.
pub(crate) fn labels(target: &str, tags: &[&str]) -> Labels {
    Labels::new("http", "a.test", target, Tags::new([], tags.iter().map(|tag| tag.as_bytes())))
}

/// A stored response without fields, fresh for a minute.
pub(crate) fn entry(labels: Labels, stamp: Stamp, body: Bytes) -> Entry {
    let head = Head {
        status: StatusCode::OK,
        headers: StoredFields::default(),
        hidden: RareFields::default(),
        selecting: Selecting::Any,
        freshness: Freshness::new(Timestamp::EPOCH, Duration::ZERO, Duration::from_mins(1)),
        received_at: Timestamp::EPOCH,
        fetch_cost: Micros::default(),
        labels,
        stamp,
    };
    Entry::new(head, StoredBody::from_bytes(body), None)
}
