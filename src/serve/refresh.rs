//! A stored response is refreshed behind a client's back: within stale-while-revalidate, or just before it expires.

use std::sync::Arc;

use super::Shared;
use super::fill::Fill;
use super::inquiry::Inquiry;
use super::look_up::Need;
use crate::cache::entry::Entry;
use crate::cache::flight::Seat;
use crate::policy::outcome::{Detail, Forward};
use crate::policy::reuse::Standing;

/// Starts a refresh, unless one is under way.
pub(super) fn in_background(shared: &Arc<Shared>, inquiry: &Arc<Inquiry>, entry: &Arc<Entry>) {
    let is_current = |stamp| shared.ledger.standing(inquiry.url_scope(), stamp) != Standing::Dead;
    if let Seat::Leader(lead) = shared.flights.board(&inquiry.key, shared.ledger.stamp(), is_current) {
        let need = Need {
            forward: Forward::Stale,
            why: Detail::Expired,
            stored: Some(Arc::clone(entry)),
            part: None,
            alone: false,
        };
        shared.metrics.refreshes.inc();
        let inquiry = Arc::new(inquiry.for_refresh());
        shared.tasks.spawn(Fill::new(Arc::clone(shared), inquiry, need, Some(lead)).run(None));
    }
}
