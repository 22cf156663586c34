//! The bodies that pass through: requests', responses', and the shared one that a fill writes and many read.

use bytes::Bytes;

pub mod handover;
pub mod http1;
pub mod pages;
pub mod request;
pub mod response;
pub mod shared;
pub mod stored;
pub mod upgrade;

/// Pieces of so few bytes together are made one as they come: each costs about as much beside its bytes as it has.
const CRUMB: usize = 2 * 1024;

/// Joins `next` to the piece before it, where both are crumbs; whether they were.
fn join_crumbs(last: &mut Bytes, next: &Bytes) -> bool {
    let are_crumbs = last.len() + next.len() <= CRUMB;
    if are_crumbs {
        *last = [&last[..], next].concat().into();
    }
    are_crumbs
}

/// What may go wrong in a body, whoever sends it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
