//! A stored response answers.

use std::sync::Arc;

use http::{Response, request};

use super::inquiry::{Inquiry, directives_of};
use super::look_up::{self, Found, Usable};
use super::{Answered, Shared, refresh};
use crate::body::response::ResponseBody;
use crate::policy::outcome::Outcome;
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

/// The answer where a stored response will do and nothing else is to be done.
pub(super) fn try_fresh(shared: &Shared, key: &[u8], asked: &Asked<'_>) -> Option<(Response<ResponseBody>, Outcome)> {
    let directives = if asked.treatment.honour_client { directives_of(asked.headers) } else { None };
    match look_up::look_up(shared, key, asked, directives.as_ref()) {
        Found::Usable(Usable { entry, outcome, refresh: false }) => {
            Some((stored::respond(&entry, asked, &outcome), outcome))
        }
        _ => None,
    }
}

/// Answers from a stored response; behind the client's back it may be refreshed.
pub(super) fn respond(shared: &Arc<Shared>, inquiry: &Arc<Inquiry>, usable: &Usable, asked: &Asked<'_>) -> Answered {
    if usable.refresh {
        refresh::in_background(shared, inquiry, &usable.entry);
    }
    (stored::respond(&usable.entry, asked, &usable.outcome), usable.outcome)
}
