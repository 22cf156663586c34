//! What is to be purged, read from any dialect: a JSON body, fields of a request, a path.

use http::StatusCode;

use crate::policy::route::Rules;
use crate::policy::scope::{Scope, Severity};
use crate::wire::purge::{PurgeRequest, Wait};

/// Tags, URLs, prefixes and hosts that one purge may name, each.
pub const MAX_NAMES: usize = 1024;

/// A purge that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it names; URLs in every form that keys give them.
    pub scopes: Vec<Scope>,
    /// What it does.
    pub severity: Severity,
    /// Whether nothing is to be changed.
    pub dry_run: bool,
    /// Whom the answer waits for.
    pub wait: Wait,
    /// Who asks: the address, and the listener (`public`, `admin`).
    pub who: String,
}

/// Why an order cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// 400, or 413 for too many names.
    pub status: StatusCode,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl Order {
    /// Reads what `POST /purge` says. `rules` give URLs the forms that keys give them.
    ///
    /// # Errors
    ///
    /// Nothing is named, or something that cannot be: 400; too much: 413.
    pub fn of(request: &PurgeRequest, rules: &Rules, who: String) -> Result<Self, Refusal> {
        let _ = (request, rules, who);
        Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, reason: String::new() })
    }
}
