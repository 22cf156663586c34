//! A stored response is refreshed behind a client's back: within stale-while-revalidate, or just before it expires.

use std::sync::Arc;

use super::fill::Fill;
use super::inquiry::Inquiry;
use super::look_up::Need;
use super::{Shared, miss};
use crate::cache::entry::Entry;
use crate::cache::flight::{Departure, Seat};
use crate::policy::outcome::{Detail, Forward};

/// Starts a refresh, unless one is under way.
pub(super) fn in_background(shared: &Arc<Shared>, inquiry: &Arc<Inquiry>, entry: &Arc<Entry>) {
    let seat = shared.flights.board(&inquiry.key, Departure::now(&shared.ledger), miss::may_join(shared, inquiry));
    let Seat::Leader(lead) = seat else { return };
    // A refresh may have landed since this client's look-up.
    let stored = shared.memory.get(inquiry.key.as_bytes()).unwrap_or_default();
    if !stored.entries().iter().any(|stored| Arc::ptr_eq(stored, entry)) {
        return;
    }
    let need = Need {
        forward: Forward::Stale,
        why: Detail::Expired,
        stored: Some(Arc::clone(entry)),
        ..Need::nothing_stored()
    };
    shared.metrics.refreshes.inc();
    let inquiry = Arc::new(inquiry.for_refresh());
    let fill = Fill::new(Arc::clone(shared), inquiry, need, Some(lead));
    shared.tasks.spawn(fill.run(drop));
}
