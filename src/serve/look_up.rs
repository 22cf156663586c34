//! What is stored for this request, and may it be used?

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Shared;
use crate::cache::entry::Entry;
use crate::cache::ledger::Ledger;
use crate::cache::variants::{Marks, Variants};
use crate::policy::directives::RequestDirectives;
use crate::policy::outcome::{Detail, Forward, Outcome};
use crate::policy::reuse::{self, Standing, Verdict};
use crate::respond::stored::{self, Asked};

/// What a look-up came to.
pub(super) enum Found {
    /// A stored response answers.
    Usable(Usable),
    /// The origin must be asked.
    Needed(Need),
}

/// A stored response that answers now.
pub(super) struct Usable {
    pub(super) entry: Arc<Entry>,
    pub(super) outcome: Outcome,
    /// Whether it is to be refreshed in the background.
    pub(super) refresh: bool,
}

/// Why the origin must be asked, and what is there to ask with.
#[derive(Clone)]
pub(super) struct Need {
    pub(super) forward: Forward,
    pub(super) why: Detail,
    /// A stored response to be revalidated, or used if the origin fails.
    pub(super) stored: Option<Arc<Entry>>,
    /// A stored part of what is wanted.
    pub(super) part: Option<Arc<Entry>>,
    /// Whether nobody queues for it, and it for nobody.
    pub(super) alone: bool,
    /// Whether the last answers for this key could not be shared (hit-for-miss).
    pub(super) unshareable: bool,
    /// For whom they could not.
    pub(super) marks: Marks,
}

impl Need {
    pub(super) fn nothing_stored() -> Self {
        Self {
            forward: Forward::UriMiss,
            why: Detail::NotStored,
            stored: None,
            part: None,
            alone: false,
            unshareable: false,
            marks: Marks::default(),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome::forwarded(self.forward, self.why)
    }

    /// The stored response that the origin is asked about.
    pub(super) fn entry(&self) -> Option<&Arc<Entry>> {
        self.stored.as_ref().or(self.part.as_ref())
    }
}

/// Chooses for a request, and takes down what was used; `directives` are the client's, where a rule honours them.
pub(super) fn find(
    shared: &Shared,
    variants: Option<Variants>,
    asked: &Asked<'_>,
    directives: Option<&RequestDirectives>,
) -> Found {
    let mut found = choose(&shared.ledger, variants.as_ref(), asked, directives);
    if let (Some(variants), Some(entry)) = (variants, found.entry()) {
        variants.used(entry, asked.now);
    }
    if let Found::Usable(usable) = &mut found {
        usable.refresh |= may_refresh_early(&usable.entry, asked)
            && reuse::refresh_early(&usable.entry.head.freshness, asked.now, usable.entry.head.fetch_cost.into(), draw)
            && !shared.stop.is_cancelled();
    }
    found
}

/// From (0, 1].
fn draw() -> f64 {
    1.0 - fastrand::f64()
}

/// Whether this request could be the one that refreshes a hot response before it expires.
pub(super) fn may_refresh_early(entry: &Entry, asked: &Asked<'_>) -> bool {
    asked.treatment.early_refresh && entry.part().is_none()
}

impl Found {
    /// The stored response that answers, or that the origin is asked about.
    fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Usable(usable) => Some(&usable.entry),
            Self::Needed(need) => need.entry(),
        }
    }
}

/// Chooses among what is stored under the request's key: nothing is marked, and nothing left to chance.
pub(super) fn choose(
    ledger: &Ledger,
    variants: Option<&Variants>,
    asked: &Asked<'_>,
    directives: Option<&RequestDirectives>,
) -> Found {
    let mut need = Need::nothing_stored();
    let Some(variants) = variants else { return Found::Needed(need) };
    for entry in variants.entries() {
        // Several may fit: the most recent that does, RFC 9111 §4.1.
        if !entry.head.selecting.matches(asked.headers, &entry.head.headers) {
            if need.why == Detail::NotStored {
                (need.forward, need.why) = (Forward::VaryMiss, Detail::NoVariant);
            }
            continue;
        }
        match judge(ledger, entry, asked, directives) {
            Found::Needed(of_entry) => need = of_entry,
            usable @ Found::Usable(_) => return usable,
        }
        if need.stored.is_some() {
            break;
        }
    }
    need.marks = variants.marks();
    if variants.is_unshareable(asked.headers.contains_key(AUTHORIZATION), asked.now) {
        (need.alone, need.unshareable) = (true, true);
        if need.why == Detail::NotStored {
            need.why = Detail::HitForMiss;
        }
    }
    Found::Needed(need)
}

/// What the rule book says of one stored response that fits the request.
pub(super) fn judge(
    ledger: &Ledger,
    entry: &Arc<Entry>,
    asked: &Asked<'_>,
    directives: Option<&RequestDirectives>,
) -> Found {
    let standing = entry.standing(ledger);
    let freshness = &entry.head.freshness;
    let verdict = reuse::judge(freshness, standing, directives, asked.now);
    if entry.part().is_some() {
        return judge_part(entry, asked, verdict, standing);
    }
    let usable = |detail, refresh| {
        let outcome = Outcome { detail, ..Outcome::fresh_hit(reuse::ttl(freshness, standing, asked.now)) };
        Found::Usable(Usable { entry: Arc::clone(entry), outcome, refresh })
    };
    let needed = |why, stored: bool| {
        let stored = stored.then(|| Arc::clone(entry));
        let alone = freshness.validate_always && why == Detail::NoCache;
        let forward = match why {
            Detail::ClientNoCache => Forward::Request,
            // Gone: whether its memory has been given back already is nobody's business.
            Detail::Purged => Forward::UriMiss,
            _ => Forward::Stale,
        };
        Found::Needed(Need { forward, why, stored, alone, ..Need::nothing_stored() })
    };
    match verdict {
        Verdict::Fresh => usable(None, false),
        Verdict::StaleWhileRevalidate => usable(Some(Detail::StaleWhileRevalidate), true),
        Verdict::MaxStale => usable(Some(Detail::MaxStale), false),
        Verdict::Validate(why) => needed(why, true),
        Verdict::Unusable(why) => needed(why, standing != Standing::Dead),
    }
}

/// A part answers what lies within it, while it is fresh; otherwise it may be completed.
fn judge_part(entry: &Arc<Entry>, asked: &Asked<'_>, verdict: Verdict, standing: Standing) -> Found {
    let fresh = matches!(verdict, Verdict::Fresh);
    if fresh && stored::covers(entry, asked) {
        let outcome = Outcome::fresh_hit(entry.head.freshness.ttl(asked.now));
        return Found::Usable(Usable { entry: Arc::clone(entry), outcome, refresh: false });
    }
    let part = fresh.then(|| Arc::clone(entry));
    let forward = match verdict {
        Verdict::Fresh => Forward::Partial,
        Verdict::Unusable(_) => Forward::UriMiss,
        _ => Forward::Stale,
    };
    let why = match verdict {
        Verdict::Validate(why) | Verdict::Unusable(why) => why,
        Verdict::Fresh => Detail::Partial,
        // Stale parts never answer, whatever window they are in.
        Verdict::StaleWhileRevalidate | Verdict::MaxStale if standing == Standing::Alive => Detail::Expired,
        Verdict::StaleWhileRevalidate | Verdict::MaxStale => Detail::SoftPurged,
    };
    Found::Needed(Need { forward, why, part, ..Need::nothing_stored() })
}

/// Whether `only-if-cached` forbids asking the origin. RFC 9111 §5.2.1.7.
pub(super) fn is_only_if_cached(headers: &HeaderMap) -> bool {
    super::inquiry::directives_of(headers).is_some_and(|directives| directives.only_if_cached)
}
