//! Which steps led to the verdict, in words?

use std::time::Duration;

use http::Method;

use super::request::Clean;
use super::told::{self, words};
use super::{Asking, Case};
use crate::cache::entry::Entry;
use crate::cache::variants::Mark;
use crate::policy::freshness::Freshness;
use crate::policy::outcome::Detail;
use crate::policy::reuse::Standing;
use crate::policy::scope;
use crate::policy::time::{Span, Timestamp};
use crate::serve::decision::Decision;
use crate::serve::inquiry::Way;
use crate::serve::look_up::{self, Found, Need};
use crate::serve::{describe, miss};
use crate::wire::explain::{KeyParts, Step};

/// What is taken off the request at the door.
pub(super) fn of_request(clean: &Clean) -> Vec<Step> {
    let url = scope::absolute(clean.client.scheme.as_str(), &clean.client.authority, clean.target.as_str());
    let dropped = match clean.dropped.as_slice() {
        [] => String::new(),
        dropped => format!(" Fields that do not go on: {}.", dropped.join(", ")),
    };
    vec![step("request", format!("{} {url}, as an untrusted client sends it.{dropped}", clean.parts.method))]
}

fn step(name: &str, says: String) -> Step {
    Step { step: name.to_owned(), says }
}

/// All but the verdict.
pub(super) fn of_case(case: &Case<'_>, steps: &mut Vec<Step>) {
    steps.push(step("route", route(case)));
    steps.extend(normalised(case).map(|says| step("vary", says)));
    steps.push(step("way", way(case.way).to_owned()));
    if case.way != Way::Cache {
        return;
    }
    steps.push(step("key", key(case)));
    if case.promoted.is_some() {
        steps.push(step(
            "redis",
            "The second tier has one that memory lacks: it is taken into memory first.".to_owned(),
        ));
    }
    steps.push(step("look-up", look_up(case)));
    steps.extend(purges(case).map(|says| step("purges", says)));
    if let Some(entry) = subject(case) {
        steps.push(step("freshness", freshness(case, entry)));
    }
    steps.extend(marks(case).map(|says| step("hit-for-miss", says)));
    match &case.decision {
        Decision::Answer(usable) => steps.extend(refresh(case, &usable.entry).map(|says| step("refresh", says))),
        Decision::Ask(need) => {
            steps.push(step("collapse", collapse(case, need).to_owned()));
            steps.push(step("ask", ask(case, need)));
            steps.extend(failure(case, need).map(|says| step("failure", says)));
        }
        Decision::Pass(..) | Decision::Refuse(..) => {}
    }
}

fn route(case: &Case<'_>) -> String {
    let site = &case.inquiry.site;
    let rules: Vec<_> = case.rules().map(|rule| super::advice::named(&rule.name, rule.line)).collect();
    let rules = match rules.as_slice() {
        [] => "No rule applies".to_owned(),
        [one] => format!("{one} applies"),
        several => format!("{} apply", several.join(", ")),
    };
    match case.inquiry.origin() {
        None => format!("{rules}; no origin takes {}.", case.inquiry.client.authority),
        Some(origin) => {
            let by = if case.inquiry.treatment().origin.is_some() { "a rule's choice" } else { "by its hosts" };
            format!("{rules}; the origin is \"{}\" ({by}).", site.origins.name(origin))
        }
    }
}

/// What a rule's `vary` made of the request's fields.
fn normalised(case: &Case<'_>) -> Option<String> {
    let changes = case.inquiry.treatment().vary.iter().filter_map(|(name, _)| {
        let (given, normal) = (case.given.get(name)?, case.inquiry.headers.get(name));
        let normal = normal.map_or("left out".into(), |value| String::from_utf8_lossy(value.as_bytes()));
        Some(format!("{name}: {} becomes {normal}", String::from_utf8_lossy(given.as_bytes())))
    });
    let changes: Vec<_> = changes.collect();
    (!changes.is_empty()).then(|| format!("{}.", changes.join("; ")))
}

fn way(way: Way) -> &'static str {
    match way {
        Way::Cache => "Looked up and stored: a GET or HEAD without a body, and no rule against it.",
        Way::Deny => "Denied by a rule: nothing is looked up.",
        Way::Pass(Detail::RulePass) => "Passed by a rule: neither looked up nor stored.",
        Way::Pass(Detail::Method) => "Passed: only GET and HEAD are looked up.",
        Way::Pass(Detail::Upgrade) => "Passed: it asks to change the protocol.",
        Way::Pass(_) => "Passed: it has a body, which is not in the key.",
    }
}

fn key(case: &Case<'_>) -> String {
    let KeyParts { url, normalised, headers, cookies } = told::key(&case.inquiry);
    let more: Vec<_> =
        headers.into_iter().chain(cookies.into_iter().map(|cookie| format!("cookie {cookie}"))).collect();
    let url = if url == normalised { url } else { format!("{normalised}, normalised from {url}") };
    if more.is_empty() { format!("{url}.") } else { format!("{url}; and {}.", more.join(", ")) }
}

fn look_up(case: &Case<'_>) -> String {
    let count = case.entries().len();
    let selected = case.selected().count();
    match (count, selected) {
        (0, _) => "Nothing is stored under this key.".to_owned(),
        (1, 1) => "One response is stored, and the request selects it.".to_owned(),
        (1, _) => "One response is stored, for other request fields (Vary).".to_owned(),
        (_, 0) => format!("{count} variants are stored, none for these request fields (Vary)."),
        _ => format!("{count} variants are stored, and the request selects {selected} of them."),
    }
}

/// The purge that tells on what is stored; or that may be why nothing is.
fn purges(case: &Case<'_>) -> Option<String> {
    let ledger = &case.shared.ledger;
    if let Some(entry) = case.selected().next() {
        let standing = match entry.standing(ledger) {
            Standing::Alive => {
                let stamp = ledger.seq(entry.head.stamp.number);
                return Some(format!("None since it was fetched (stamp {stamp})."));
            }
            Standing::Unheard => {
                return Some("None that is known since it was fetched; but the log of purges is not heard.".to_owned());
            }
            Standing::Stale { .. } => "stale",
            Standing::Dead => "gone",
        };
        return Some(match told::purge_of(case, entry) {
            Some(purge) => format!("It is {standing} by {}.", words(&purge)),
            None => format!("It is {standing}: it was fetched in another era of the log of purges."),
        });
    }
    if !case.entries().is_empty() {
        return None;
    }
    let purge = told::last_purge(case)?;
    Some(format!("The {} named this URL, and nothing is stored since.", words(&purge)))
}

/// The stored response that the freshness is told of.
fn subject<'a>(case: &'a Case<'_>) -> Option<&'a Entry> {
    case.chosen().or_else(|| case.selected().next()).map(|entry| &**entry)
}

fn freshness(case: &Case<'_>, entry: &Entry) -> String {
    let freshness = &entry.head.freshness;
    let Freshness { lifetime, validate_always, must_revalidate, .. } = *freshness;
    let (age, ttl) = (freshness.age(case.now), freshness.ttl(case.now));
    let stands = match (freshness.is_fresh(case.now), entry.standing(&case.shared.ledger)) {
        (true, Standing::Alive) => format!("fresh for {ttl} s more"),
        (true, Standing::Unheard) => format!("it would be fresh for {ttl} s more, if the log of purges were heard"),
        (true, _) => format!("it would be fresh for {ttl} s more, but for the purge"),
        (false, _) => format!("stale for {}", seconds(case.now.since(freshness.fresh_until()))),
    };
    let window = |name, window: Span| (!window.is_zero()).then(|| format!("{name}: {}", seconds(window.into())));
    let remark = |is_so: bool, remark: &str| is_so.then(|| remark.to_owned());
    let remarks = [
        remark(validate_always, "it says no-cache, and is revalidated every time"),
        remark(must_revalidate, "it must not be used stale (must-revalidate, proxy-revalidate, s-maxage)"),
        remark(entry.part().is_some(), "it is a part of the representation"),
        window("stale-while-revalidate", freshness.stale_while_revalidate),
        window("stale-if-error", freshness.stale_if_error),
    ];
    let remarks: Vec<_> = remarks.into_iter().flatten().map(|remark| format!("; {remark}")).collect();
    format!("Age {}, lifetime {}: {stands}{}.", seconds(age), seconds(lifetime.into()), remarks.concat())
}

/// Why the last answers were not stored, where that is remembered.
fn marks(case: &Case<'_>) -> Option<String> {
    let marks = case.variants.as_ref()?.marks();
    let tell = |who: &str, mark: Option<Mark>| {
        let mark = mark?;
        let left = left(mark.until, case.now);
        Some(format!("{who} could not be shared: `{}`; {left}", mark.why.token()))
    };
    let told: Vec<_> = [
        tell("The last answer", marks.everybody),
        tell("The last answer to a request with Authorization", marks.authorized),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!told.is_empty()).then(|| told.join(" "))
}

fn left(until: Timestamp, now: Timestamp) -> String {
    match until.since(now) {
        Duration::ZERO => "that is over, and requests queue for it again.".to_owned(),
        left => format!("for {} more, requests do not queue for it.", seconds(left)),
    }
}

fn refresh(case: &Case<'_>, entry: &Entry) -> Option<String> {
    let asked = case.inquiry.asked(case.now);
    if let Decision::Answer(usable) = &case.decision
        && usable.refresh
    {
        return Some("It is refreshed behind the client's back.".to_owned());
    }
    // With the luckiest number of all.
    let may_be_due = look_up::may_refresh_early(entry, &asked)
        && crate::policy::reuse::refresh_early(&entry.head.freshness, case.now, entry.head.fetch_cost.into(), || {
            f64::MIN_POSITIVE
        });
    may_be_due.then(|| "It expires soon: chance may make this request refresh it early (early_refresh).".to_owned())
}

fn collapse(case: &Case<'_>, need: &Need) -> &'static str {
    if miss::goes_alone(&case.inquiry, need) {
        return "It asks for itself alone, and nobody waits for its answer.";
    }
    let may_join = miss::may_join(case.shared, &case.inquiry);
    if case.shared.flights.may_board(&case.inquiry.key, may_join) {
        "A fetch that it may share is under way: it would wait for that one (collapsed)."
    } else {
        "No fetch that it may share is under way: it would lead one, and others may share it."
    }
}

fn ask(case: &Case<'_>, need: &Need) -> String {
    let target = case.inquiry.outbound(std::borrow::Cow::default(), crate::body::request::RequestBody::empty()).target;
    match Asking::of(&case.inquiry, need) {
        Asking::Whole => format!("The origin is asked for all of {target}."),
        Asking::AsAsked => format!("The origin is asked for {target} with the client's own range and conditions."),
        Asking::Rest(_) => format!("The origin is asked for the missing rest of {target}."),
        Asking::Validate(entry) => {
            let conditions = crate::policy::validation::conditions(&entry.head.headers);
            let told =
                [("If-None-Match", conditions.if_none_match), ("If-Modified-Since", conditions.if_modified_since)];
            let told =
                told.into_iter().filter_map(|(name, value)| Some(describe::pair(name, ": ", Some(value?.as_bytes()))));
            format!("The origin is asked whether {target} has changed: {}.", told.collect::<Vec<_>>().join(", "))
        }
    }
}

fn failure(case: &Case<'_>, need: &Need) -> Option<String> {
    miss::stale_fallback(case.shared, &case.inquiry, need)?;
    Some("If the origin fails, what is stored answers (stale-if-error).".to_owned())
}

/// The verdict in one sentence.
pub(super) fn because(case: &Case<'_>) -> String {
    match &case.decision {
        Decision::Answer(usable) => {
            let ttl = usable.entry.head.freshness.ttl(case.now);
            match usable.outcome.detail {
                None => format!("A stored response answers: it is fresh for {ttl} s more."),
                Some(Detail::Redis) => {
                    format!("A stored response answers, out of the second tier: it is fresh for {ttl} s more.")
                }
                Some(Detail::MaxStale) => {
                    "A stale response answers, because the client's max-stale accepts it.".to_owned()
                }
                Some(_) => "A stale response answers, and is refreshed behind the client's back.".to_owned(),
            }
        }
        Decision::Ask(need) => format!("The origin is asked: {}.", why(case, need.why)),
        Decision::Pass(_, why) => {
            format!("The request goes straight to the origin: {}.", passed(*why, &case.inquiry.method))
        }
        Decision::Refuse(failure, Detail::OnlyIfCached) => match case.found() {
            Found::Needed(need) if case.way == Way::Cache => {
                format!("{} ({}.)", failure.reason(), why(case, need.why))
            }
            _ => failure.reason().to_owned(),
        },
        Decision::Refuse(failure, _) => failure.reason().to_owned(),
    }
}

fn passed(why: Detail, method: &Method) -> String {
    match why {
        Detail::RulePass => "a rule says so".to_owned(),
        Detail::Method => format!("answers to {method} are not stored"),
        Detail::Upgrade => "it asks to change the protocol".to_owned(),
        _ => "it has a body, which is not in the key".to_owned(),
    }
}

fn why(case: &Case<'_>, why: Detail) -> String {
    match why {
        Detail::NoVariant => "what is stored is for other request fields".to_owned(),
        Detail::Expired => "the stored response is older than its lifetime".to_owned(),
        Detail::NoCache => "the stored response says no-cache".to_owned(),
        Detail::ClientNoCache => "the client asks for something fresher, and a rule honours that".to_owned(),
        Detail::PurgeLogUnheard => {
            "the log of purges was not heard for longer than redis.max_lag: what is stored may have been purged"
                .to_owned()
        }
        Detail::SoftPurged => "a soft purge made the stored response stale".to_owned(),
        Detail::Purged => "a purge removed the stored response".to_owned(),
        Detail::Partial => "only a part is stored, and more is wanted".to_owned(),
        Detail::HitForMiss => {
            let why = case.mark().map_or("unknown", |mark| mark.why.token());
            format!("nothing is stored, and the last answer could not be shared ({why})")
        }
        _ => "nothing is stored under this key".to_owned(),
    }
}

/// Whole seconds, or milliseconds below one.
pub(super) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) && !duration.is_zero() {
        return format!("{} ms", duration.as_millis());
    }
    format!("{} s", duration.as_secs())
}
