//! A stored response answers.

use std::sync::Arc;

use http::request;

use super::inquiry::{Inquiry, honoured_directives};
use super::look_up::{self, Found, Usable};
use super::{Answered, Shared, refresh};
use crate::cache::variants::Variants;
use crate::policy::time::Timestamp;
use crate::policy::treatment::Treatment;
use crate::respond::stored::{self, Asked};

/// A request as the look-up sees it.
pub(super) fn asked<'a>(
    parts: &'a request::Parts,
    treatment: &'a Treatment,
    expose_hidden: bool,
    now: Timestamp,
) -> Asked<'a> {
    Asked { method: &parts.method, headers: &parts.headers, treatment, expose_hidden, now }
}

/// What is found for a request among what is stored under its key; the client's own directives count where a rule says so.
pub(super) fn find(shared: &Shared, stored: Option<Variants>, asked: &Asked<'_>) -> Found {
    let directives = honoured_directives(asked.headers, asked.treatment);
    look_up::find(shared, stored, asked, directives.as_ref())
}

/// Answers from a stored response; behind the client's back it may be refreshed.
pub(super) fn respond(shared: &Arc<Shared>, inquiry: &Arc<Inquiry>, usable: &Usable, asked: &Asked<'_>) -> Answered {
    usable.entry.count_hit();
    if usable.refresh {
        refresh::in_background(shared, inquiry, &usable.entry);
    }
    (stored::respond(&usable.entry, asked, &usable.outcome), usable.outcome)
}
