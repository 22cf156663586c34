//! What is the smallest change that would make a request a hit?
//!
//! Where it can be tried, it is: on what is stored, with the rule book's own judgement.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::steps::seconds;
use super::{Case, nearby};
use crate::cache::entry::Entry;
use crate::policy::freshness::Freshness;
use crate::policy::outcome::Detail;
use crate::policy::reuse::{self, Standing, Verdict};
use crate::policy::treatment::{Changes, Glob, KeyRules, Overrides};
use crate::policy::vary;
use crate::serve::decision::Decision;
use crate::serve::look_up::{self, Found, Need};

/// The changes, the most specific first; none where it is a hit.
pub(super) fn advice(case: &Case<'_>) -> Vec<String> {
    match &case.decision {
        Decision::Answer(usable) if usable.outcome.detail.is_none() => Vec::new(),
        Decision::Answer(usable) => for_expired(case, &usable.entry),
        Decision::Ask(need) => for_need(case, need),
        Decision::Pass(_, why) => for_passed(case, *why),
        Decision::Refuse(_, Detail::RuleDeny) => vec![format!("set `action = \"cache\"` {}", place(case, sets_action))],
        Decision::Refuse(_, Detail::OnlyIfCached) => for_only_if_cached(case),
        Decision::Refuse(..) => {
            let host = &case.inquiry.client.authority;
            vec![format!("add \"{host}\" to the `hosts` of an origin, or name an `origin` in a rule for this host")]
        }
    }
}

fn sets_action(changes: &Changes) -> bool {
    changes.action.is_some()
}

/// A rule as the file knows it: `rule "catalogue" (line 12)`.
pub(super) fn named(name: &str, line: usize) -> String {
    match (name.is_empty(), line) {
        (false, 0) => format!("rule \"{name}\""),
        (false, line) => format!("rule \"{name}\" (line {line})"),
        (true, line) => format!("the rule at line {line}"),
    }
}

/// Where to write a key: in the last of the rules that apply and set it, else in one of its own.
fn place(case: &Case<'_>, sets: impl Fn(&Changes) -> bool) -> String {
    match case.rules().rev().find(|rule| sets(&rule.changes)) {
        Some(rule) => format!("in {}", named(&rule.name, rule.line)),
        None => format!("in a rule that matches {}", case.inquiry.target.path()),
    }
}

fn for_passed(case: &Case<'_>, why: Detail) -> Vec<String> {
    let change = match why {
        Detail::RulePass => format!("set `action = \"cache\"` {}", place(case, sets_action)),
        Detail::Method => "ask with GET or HEAD: answers to other methods are not stored".to_owned(),
        Detail::Upgrade => "leave `Upgrade` out of the request".to_owned(),
        _ => "leave the body out of the request: it is not in the key".to_owned(),
    };
    vec![change]
}

/// The client wants nothing but what is stored.
fn for_only_if_cached(case: &Case<'_>) -> Vec<String> {
    let mut advice = match case.found() {
        Found::Needed(need) => for_need(case, &need),
        Found::Usable(_) => Vec::new(),
    };
    advice.push("leave `only-if-cached` out of the request's Cache-Control: the origin is asked then".to_owned());
    advice
}

fn for_need(case: &Case<'_>, need: &Need) -> Vec<String> {
    match (need.why, need.entry()) {
        (Detail::NoVariant, _) => for_other_variant(case),
        (Detail::Expired, Some(entry)) => for_expired(case, entry),
        (Detail::NoCache, Some(entry)) => for_no_cache(case, entry),
        (Detail::ClientNoCache, Some(entry)) => for_client_no_cache(case, entry),
        (Detail::SoftPurged, Some(entry)) => for_soft_purged(case, entry),
        (Detail::PurgeLogUnheard, _) => {
            vec!["have Redis answer again: GET /stats tells what is wrong with it".to_owned()]
        }
        (Detail::Purged, _) => {
            vec!["nothing to change: the next request stores it again, if the answer allows".to_owned()]
        }
        (Detail::Partial, _) => {
            vec!["ask for the bytes that are stored, or once without Range: the whole is stored then".to_owned()]
        }
        _ => for_nothing_stored(case),
    }
}

/// Nothing under this key: because of the key, because the answers may not be stored, or because nobody has asked.
fn for_nothing_stored(case: &Case<'_>) -> Vec<String> {
    let near = nearby::nearest(case).map(|apart| for_other_key(case, &apart));
    let refused = case.mark().map(|mark| for_unshareable(case, mark.why));
    let mut advice: Vec<String> = near.into_iter().chain(refused).collect();
    if advice.is_empty() {
        advice.push("nothing to change yet: the next request stores it, if the answer allows".to_owned());
    }
    advice
}

/// The same is stored under a key that differs in this.
fn for_other_key(case: &Case<'_>, apart: &nearby::Apart) -> String {
    let list = |what: &str, names: Vec<String>| match names.as_slice() {
        [] => None,
        [name] => Some(format!("the {what} \"{name}\"")),
        names => Some(format!("the {what}s {names:?}")),
    };
    let left_out: Vec<String> = [
        list("query parameter", apart.parameters.clone()),
        list("header", apart.headers.iter().map(ToString::to_string).collect()),
        list("cookie", apart.cookies.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let what = match (left_out.is_empty(), apart.order) {
        (true, _) => "put the query parameters in order in the key".to_owned(),
        (false, false) => format!("leave {} out of the key", left_out.join(" and ")),
        (false, true) => format!("leave {} out of the key, and put the rest in order", left_out.join(" and ")),
    };
    let place = place(case, |changes| changes.key.is_some());
    format!("{what}: `{}` {place}; a stored response answers then", key_in_toml(&apart.key))
}

/// `key = { … }`, all of it: a later rule's key replaces an earlier one's.
fn key_in_toml(key: &KeyRules) -> String {
    let globs = |globs: &[Glob]| globs.iter().map(Glob::pattern).collect::<Vec<_>>();
    let list = |name: &str, items: Vec<String>| (!items.is_empty()).then(|| format!("{name} = {items:?}"));
    let table = |parts: Vec<Option<String>>| parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let query = table(vec![
        list("include", globs(&key.query_include)),
        list("exclude", globs(&key.query_exclude)),
        key.query_sort.then(|| "sort = true".to_owned()),
    ]);
    let all = table(vec![
        (!query.is_empty()).then(|| format!("query = {{ {query} }}")),
        list("headers", key.headers.iter().map(ToString::to_string).collect()),
        list("cookies", key.cookies.clone()),
    ]);
    if all.is_empty() { "key = {}".to_owned() } else { format!("key = {{ {all} }}") }
}

/// The last answer could not be shared, for this reason.
fn for_unshareable(case: &Case<'_>, why: Detail) -> String {
    let overrides = |name: &str| format!("`{}` {}", overrides(case, name), place(case, sets_overrides));
    let ttl = || place(case, |changes| changes.ttl.is_some());
    let change = match why {
        Detail::NoStore => {
            format!("have the origin leave `no-store` out of Cache-Control, or {}", overrides("no-store"))
        }
        Detail::Private => format!("have the origin leave `private` out of Cache-Control, or {}", overrides("private")),
        Detail::SetCookie => format!("have the origin send no `Set-Cookie` here, or {}", overrides("set-cookie")),
        Detail::Authorization => format!(
            "have the origin say `Cache-Control: public` (or `s-maxage`, or `must-revalidate`), or {}",
            overrides("authorization")
        ),
        Detail::VaryStar => {
            "have the origin name the fields that it goes by in `Vary`, at most 32, and not `*`".to_owned()
        }
        Detail::NoLifetime => format!("have the origin say `Cache-Control: max-age`, or `ttl = \"1m\"` {}", ttl()),
        Detail::Expired => {
            format!("have the origin say a `Cache-Control: max-age` above 0, or `ttl = \"1m\"` {}", ttl())
        }
        Detail::Status => format!(
            "have the origin say `Cache-Control: max-age`, or `ttl_by_status` {}",
            place(case, |changes| changes.ttl_by_status.is_some())
        ),
        Detail::TooLarge => format!("raise `memory.max_object` above {} bytes", case.shared.memory.max_object()),
        other => format!("the last answer could not be shared: {}", other.clause()),
    };
    format!("{change} (the last answer could not be stored: {})", why.token())
}

fn sets_overrides(changes: &Changes) -> bool {
    changes.overrides.is_some()
}

/// `override = […]` with one more.
fn overrides(case: &Case<'_>, more: &str) -> String {
    let Overrides { no_store, private, no_cache, set_cookie, authorization } = case.inquiry.treatment().overrides;
    let names = [
        (no_store, "no-store"),
        (private, "private"),
        (no_cache, "no-cache"),
        (set_cookie, "set-cookie"),
        (authorization, "authorization"),
    ];
    let names: Vec<_> =
        names.into_iter().filter(|(is_set, name)| *is_set || *name == more).map(|(_, name)| name).collect();
    format!("override = {names:?}")
}

/// What the rule book would say of it now, had it been stored with these deadlines.
fn judge(case: &Case<'_>, entry: &Entry, freshness: &Freshness) -> Verdict {
    let standing = entry.standing(&case.shared.ledger);
    reuse::judge(freshness, standing, case.inquiry.directives().as_ref(), case.now)
}

fn for_expired(case: &Case<'_>, entry: &Entry) -> Vec<String> {
    let freshness = &entry.head.freshness;
    let age = freshness.age(case.now);
    let longer = Freshness { lifetime: (age + Duration::from_secs(1)).into(), ..*freshness };
    if matches!(entry.standing(&case.shared.ledger), Standing::Stale { .. }) {
        return for_soft_purged(case, entry);
    }
    let mut advice = Vec::new();
    if judge(case, entry, &longer) == Verdict::Fresh {
        let (age, lifetime) = (seconds(age), seconds(freshness.lifetime.into()));
        let ttl = place(case, |changes| changes.ttl.is_some());
        let origin = if case.inquiry.treatment().ttl.is_some() {
            String::new()
        } else {
            "have the origin say a longer `Cache-Control: max-age`, or ".to_owned()
        };
        advice.push(format!("{origin}set a longer `ttl` {ttl}: it lives {lifetime}, and is {age} old"));
    }
    advice.extend(for_window(case, entry, freshness.fresh_until()));
    advice
}

/// A stale window that would have it answered at once.
fn for_window(case: &Case<'_>, entry: &Entry, stale_since: crate::policy::time::Timestamp) -> Option<String> {
    let stale_for = case.now.since(stale_since);
    let longer = (stale_for + Duration::from_secs(1)).into();
    let freshness = Freshness { stale_while_revalidate: longer, ..entry.head.freshness };
    let helps = judge(case, entry, &freshness) == Verdict::StaleWhileRevalidate
        && !freshness.must_revalidate
        && entry.part().is_none();
    let is_short = Duration::from(entry.head.freshness.stale_while_revalidate) <= stale_for;
    let place = place(case, |changes| changes.stale_while_revalidate.is_some());
    (helps && is_short).then(|| {
        let stale_for = seconds(stale_for);
        format!("a `stale_while_revalidate` of more than {stale_for} {place} would answer at once, and refresh behind")
    })
}

fn for_no_cache(case: &Case<'_>, entry: &Entry) -> Vec<String> {
    let freshness = Freshness { validate_always: false, ..entry.head.freshness };
    let also = if judge(case, entry, &freshness) == Verdict::Fresh { "" } else { "; it has expired, too" };
    let overrides = format!("`{}` {}", overrides(case, "no-cache"), place(case, sets_overrides));
    vec![format!("have the origin leave `no-cache` out of Cache-Control, or {overrides}{also}")]
}

fn for_client_no_cache(case: &Case<'_>, entry: &Entry) -> Vec<String> {
    let standing = entry.standing(&case.shared.ledger);
    let without = reuse::judge(&entry.head.freshness, standing, None, case.now);
    let also = if without == Verdict::Fresh { "" } else { "; it is stale, too" };
    let field = if case.inquiry.headers.contains_key(CACHE_CONTROL) { CACHE_CONTROL } else { PRAGMA };
    let place = place(case, |changes| changes.honour_client.is_some());
    vec![
        format!("leave `{field}` out of the request{also}"),
        format!("set `client_cache_control = \"ignore\"` {place}{also}"),
    ]
}

fn for_soft_purged(case: &Case<'_>, entry: &Entry) -> Vec<String> {
    let mut advice = vec!["nothing to change: the origin's next answer ends it".to_owned()];
    if let Standing::Stale { since } = entry.standing(&case.shared.ledger) {
        let freshness = &entry.head.freshness;
        advice.extend(for_window(case, entry, since.min(freshness.fresh_until())));
    }
    advice
}

/// Something is stored for other values of the fields that `Vary` names.
fn for_other_variant(case: &Case<'_>) -> Vec<String> {
    let variants = case.entries().iter().filter(|entry| would_answer(case, entry));
    let differing = |entry: &&Arc<Entry>| {
        let head = &entry.head;
        head.selecting.differing(&case.inquiry.headers, &head.headers).len()
    };
    let Some(nearest) = variants.min_by_key(differing) else { return for_nothing_stored(case) };
    let head = &nearest.head;
    let names = head.selecting.differing(&case.inquiry.headers, &head.headers);
    names.into_iter().map(|name| for_field(case, nearest, name)).collect()
}

/// Fields like the request's, but for those that selected the stored response.
fn fields_of(case: &Case<'_>, entry: &Entry) -> HeaderMap {
    let mut headers = case.inquiry.headers.clone();
    for (name, value) in entry.head.selecting.values() {
        headers.remove(name);
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
            headers.insert(name.clone(), value);
        }
    }
    headers
}

/// Whether it would answer this request fresh, did the selecting fields fit.
fn would_answer(case: &Case<'_>, entry: &Entry) -> bool {
    let headers = fields_of(case, entry);
    let asked = crate::respond::stored::Asked { headers: &headers, ..case.inquiry.asked(case.now) };
    let found =
        look_up::choose(&case.shared.ledger, case.variants.as_ref(), &asked, case.inquiry.directives().as_ref());
    matches!(found, Found::Usable(usable) if usable.outcome.detail.is_none() && std::ptr::eq(Arc::as_ptr(&usable.entry), entry))
}

/// One selecting field that differs.
fn for_field(case: &Case<'_>, entry: &Entry, name: &HeaderName) -> String {
    let theirs = fields_of(case, entry);
    let tell = |headers: &HeaderMap| {
        headers.get(name).map_or_else(
            || format!("no `{name}`"),
            |value| format!("`{name}: {}`", String::from_utf8_lossy(value.as_bytes())),
        )
    };
    let (theirs_told, ours_told) = (tell(&theirs), tell(&case.inquiry.headers));
    let differs = format!("the request has {ours_told}, and what is stored is for requests with {theirs_told}");
    let allowed = allowed(&theirs, name);
    let normal = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        vary::normalise(&mut headers, &[(name.clone(), allowed.clone())]);
        headers.get(name).cloned()
    };
    let helps = !allowed.is_empty() && normal(&theirs).is_some() && normal(&theirs) == normal(&case.inquiry.headers);
    let place = place(case, |changes| changes.vary.is_some());
    if helps {
        return format!("{differs}: `{}` {place} makes them one", vary_in_toml(case, name, &format!("{allowed:?}")));
    }
    let vary = vary_in_toml(case, name, "[\"…\"]");
    format!("{differs}: have the origin leave it out of `Vary`, or name the values that matter, `{vary}` {place}")
}

/// `vary = { … }`, all of it: a later rule's takes the place of an earlier one's.
fn vary_in_toml(case: &Case<'_>, name: &HeaderName, allowed: &str) -> String {
    let others = case.inquiry.treatment().vary.iter().filter(|(other, _)| other != name);
    let mut fields: Vec<_> = others.map(|(other, values)| format!("{other} = {values:?}")).collect();
    fields.push(format!("{name} = {allowed}"));
    format!("vary = {{ {} }}", fields.join(", "))
}

/// Values that a rule could normalise to so that it is what is stored: those which that request wanted.
fn allowed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) else { return Vec::new() };
    let members = value.split(',').filter(|member| !member.contains(";q=0.000"));
    let members = members.filter_map(|member| member.split(';').next()).map(str::trim);
    members.filter(|member| !member.is_empty() && *member != "*").take(MAX_ALLOWED).map(str::to_owned).collect()
}

/// Values of a field that are proposed: more are no normalisation.
const MAX_ALLOWED: usize = 4;
