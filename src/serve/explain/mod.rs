//! What would be done with a request now, and why?
//!
//! It asks what live traffic asks: the same route, key, look-up and decision, and nothing else decides here. Nothing is
//! fetched or marked, and nothing left to chance. (Moka counts the look-up as a use of the key, and the second tier is asked.)

mod advice;
mod nearby;
mod request;
mod steps;
mod told;

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};

use self::request::{Clean, Read};
use super::decision::{Course, Decision, decide};
use super::inquiry::{Inquiry, Way};
use super::look_up;
use super::question::Question as Asking;
use super::site::Site;
use super::{Shared, elsewhere, pass, purge};
use crate::cache::entry::Entry;
use crate::cache::variants::{Mark, Variants};
use crate::policy::outcome::{Detail, Outcome};
use crate::policy::route::Rule;
use crate::policy::scope::Severity;
use crate::policy::time::Timestamp;
use crate::respond::stored;
use crate::wire::explain::{AppliedRule, Explanation, Step, Verdict};

/// A request to be explained.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// Its absolute URL, as a client would use it.
    pub url: String,
    /// Its fields. A `Host` among them takes the place of the URL's host.
    pub headers: HeaderMap,
}

/// A request, what is stored for it, and what is done with it.
struct Case<'a> {
    shared: &'a Shared,
    /// The request, as it is looked up and fetched.
    inquiry: Inquiry,
    /// Its fields before a rule's `vary` normalised them.
    given: HeaderMap,
    way: Way,
    /// What is stored under its key, where that is looked up.
    variants: Option<Variants>,
    /// What of it memory lacks, and the second tier has.
    promoted: Option<Arc<Entry>>,
    decision: Decision,
    now: Timestamp,
}

/// Explains what would be done with a request, and does nothing.
///
/// # Errors
///
/// What is wrong with the question, and what to write instead.
pub async fn explain(shared: &Shared, question: &Question) -> Result<Explanation, String> {
    let site = shared.site.load_full();
    let promoted = in_second_tier(shared, &site, question).await;
    let request = format!("{} {}", question.method, question.url);
    let explained = match request::read(question)? {
        Read::Turned(status, reason) => turned(status, reason),
        Read::Clean(clean) if question.method.as_str() == purge::METHOD => purged(&site, *clean),
        Read::Clean(clean) => {
            let steps = steps::of_request(&clean);
            Case::of(shared, site, *clean, promoted).told(steps)
        }
    };
    Ok(Explanation { request, ..explained })
}

/// What the second tier has for the request, where there is one.
async fn in_second_tier(shared: &Shared, site: &Site, question: &Question) -> Option<Arc<Entry>> {
    let elsewhere = shared.elsewhere.as_ref()?;
    let Ok(Read::Clean(clean)) = request::read(question) else { return None };
    let Clean { mut parts, target, client, has_body, .. } = *clean;
    let Course { way, key, .. } = Course::of(site, &client, &target, &mut parts, has_body);
    if way != Way::Cache {
        return None;
    }
    elsewhere.find(&shared.ledger, &key, &parts.headers).await.ok().flatten()
}

impl<'a> Case<'a> {
    fn of(shared: &'a Shared, site: Arc<Site>, clean: Clean, promoted: Option<Arc<Entry>>) -> Self {
        let Clean { mut parts, target, client, has_body, .. } = clean;
        let given = parts.headers.clone();
        let Course { routed, way, key } = Course::of(&site, &client, &target, &mut parts, has_body);
        let inquiry = Inquiry { site, method: parts.method, target, headers: parts.headers, client, routed, key };
        let now = shared.clock.now();
        let variants = (way == Way::Cache).then(|| shared.memory.get(inquiry.key.as_bytes())).flatten();
        let decided = |variants: Option<&Variants>| {
            let asked = inquiry.asked(now);
            let look = || look_up::choose(&shared.ledger, variants, &asked, inquiry.directives().as_ref());
            decide(way, inquiry.origin(), (&inquiry.method, &inquiry.headers), look)
        };
        let decision = decided(variants.as_ref());
        // As a fill does: it looks into the second tier before it asks the origin.
        let is_worth = |entry: &Arc<Entry>| match &decision {
            Decision::Ask(need) => elsewhere::is_worth(shared, &inquiry, need, entry),
            _ => false,
        };
        let Some(entry) = promoted.filter(is_worth) else {
            return Self { shared, inquiry, given, way, variants, promoted: None, decision, now };
        };
        let variants = variants.unwrap_or_default().with_promoted(Arc::clone(&entry));
        let mut decision = decided(Some(&variants));
        if let Decision::Answer(usable) = &mut decision {
            usable.outcome.detail.get_or_insert(Detail::Redis);
        }
        let variants = Some(variants);
        Self { shared, inquiry, given, way, variants, promoted: Some(entry), decision, now }
    }

    fn entries(&self) -> &[Arc<Entry>] {
        self.variants.as_ref().map_or(&[], |variants| variants.entries())
    }

    /// The stored response that answers, or that the origin is asked about.
    fn chosen(&self) -> Option<&Arc<Entry>> {
        match &self.decision {
            Decision::Answer(usable) => Some(&usable.entry),
            Decision::Ask(need) => need.entry(),
            Decision::Pass(..) | Decision::Refuse(..) => None,
        }
    }

    /// The stored responses that the request selects.
    fn selected(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries().iter().filter(|entry| {
            let head = &entry.head;
            head.selecting.matches(&self.inquiry.headers, &head.headers)
        })
    }

    /// What a look-up comes to, whether or not the client would be refused for it.
    fn found(&self) -> look_up::Found {
        let directives = self.inquiry.directives();
        let asked = self.inquiry.asked(self.now);
        look_up::choose(&self.shared.ledger, self.variants.as_ref(), &asked, directives.as_ref())
    }

    /// The rules that apply, in order.
    fn rules(&self) -> impl DoubleEndedIterator<Item = &Rule> {
        self.inquiry.routed.rules.iter().filter_map(|&number| self.inquiry.site.rules.rule(number))
    }

    /// Why the last answer could not be shared with requests like this one, where that is remembered.
    fn mark(&self) -> Option<Mark> {
        self.variants.as_ref()?.marks().of(self.inquiry.headers.contains_key(AUTHORIZATION))
    }

    /// Tells it, behind what the door said.
    fn told(&self, mut steps: Vec<Step>) -> Explanation {
        steps::of_case(self, &mut steps);
        let verdict = self.verdict();
        steps.push(Step { step: "verdict".to_owned(), says: verdict.because.clone() });
        Explanation {
            request: String::new(),
            verdict,
            steps,
            rules: self.rules().map(applied).collect(),
            origin: self.inquiry.origin().map(|origin| self.inquiry.site.origins.name(origin).to_string()),
            key: told::key(&self.inquiry),
            stored: told::stored(self),
            advice: advice::advice(self),
        }
    }

    fn verdict(&self) -> Verdict {
        let (result, outcome, status) = match &self.decision {
            Decision::Answer(usable) => {
                let is_fresh = matches!(usable.outcome.detail, None | Some(Detail::Redis));
                let result = if is_fresh { "hit" } else { "stale" };
                // The head that the client would get, made as it would be made; only its status is looked at.
                let answer = stored::respond(&usable.entry, &self.inquiry.asked(self.now), &usable.outcome);
                (result, usable.outcome, Some(answer.status()))
            }
            Decision::Ask(need) => {
                let asks = Asking::of(&self.inquiry, need);
                let result = if matches!(asks, Asking::Validate(_)) { "revalidate" } else { "miss" };
                (result, need.outcome(), None)
            }
            Decision::Pass(_, why) => ("pass", pass::outcome(*why), None),
            Decision::Refuse(failure, why) => ("refused", Outcome::refused(*why), Some(failure.status())),
        };
        let fresh = "RFC 9111 §4.2 (freshness)";
        Verdict {
            result: result.to_owned(),
            detail: outcome.detail.map(|detail| detail.token().to_owned()),
            fwd: outcome.forward.map(|forward| forward.token().to_owned()),
            status: status.map(|status| status.as_u16()),
            clause: Some(outcome.detail.map_or(fresh, Detail::clause).to_owned()),
            because: steps::because(self),
        }
    }
}

fn applied(rule: &Rule) -> AppliedRule {
    AppliedRule { name: rule.name.clone(), line: rule.line as u64 }
}

/// A request that is refused at the door.
fn turned(status: StatusCode, reason: &str) -> Explanation {
    let because = format!("The request is refused before it reaches the cache: {reason}.");
    let step = Step { step: "request".to_owned(), says: because.clone() };
    let verdict = verdict("refused", Detail::BadRequest, status, because);
    Explanation { verdict, steps: vec![step], ..Explanation::default() }
}

/// A request that purges.
fn purged(site: &Arc<Site>, clean: Clean) -> Explanation {
    let Clean { parts, target, client, .. } = clean;
    let asked = purge::Asked { site: Arc::clone(site), target, headers: parts.headers, client };
    let (verdict, says) = match asked.order() {
        Ok(order) => {
            let named: Vec<_> = order.scopes.iter().take(MAX_NAMED).map(ToString::to_string).collect();
            let more = order.scopes.len().saturating_sub(MAX_NAMED);
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            let how = if order.severity == Severity::Soft { "softly" } else { "hard" };
            let says = format!("It names: {}{more}; {how}.", named.join(", "));
            let because = "It would purge, and reach no origin, if purge.allow holds the client's address or it carries the token; else it gets 403.";
            (verdict("purge", Detail::Purge, StatusCode::OK, because.to_owned()), says)
        }
        Err(refusal) => {
            let because = format!("It would purge nothing: {}", refusal.reason);
            (verdict("refused", Detail::BadRequest, refusal.status, because.clone()), because)
        }
    };
    Explanation { verdict, steps: vec![Step { step: "purge".to_owned(), says }], ..Explanation::default() }
}

/// Names of a purge that are told; a request can carry a thousand.
const MAX_NAMED: usize = 20;

fn verdict(result: &str, detail: Detail, status: StatusCode, because: String) -> Verdict {
    Verdict {
        result: result.to_owned(),
        detail: Some(detail.token().to_owned()),
        fwd: None,
        status: Some(status.as_u16()),
        clause: Some(detail.clause().to_owned()),
        because,
    }
}
