//! Is there something stored under another key that would answer this request, and what keeps the keys apart?

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;

use super::Case;
use crate::cache::variants::Variants;
use crate::policy::key::{Key, KeyBuffer, Parts, parameter_name};
use crate::policy::treatment::{Glob, KeyRules};
use crate::serve::look_up::{self, Found};

/// Keys that are looked at, in no order: a scan of all would hold the admin listener up.
const LOOKED_AT: usize = 10_000;

/// What keeps a request from something stored that would answer it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Apart {
    /// Query parameters that differ.
    pub(super) parameters: Vec<String>,
    /// Whether the parameters stand in another order.
    pub(super) order: bool,
    /// Request fields of the key that differ.
    pub(super) headers: Vec<HeaderName>,
    /// Cookies of the key that differ.
    pub(super) cookies: Vec<String>,
    /// A key without all that: with it, the request is a hit.
    pub(super) key: KeyRules,
}

impl Apart {
    /// How much has to change.
    fn count(&self) -> usize {
        self.parameters.len() + self.headers.len() + self.cookies.len() + usize::from(self.order)
    }
}

/// The smallest difference to something stored that would answer this request fresh.
pub(super) fn nearest(case: &Case<'_>) -> Option<Apart> {
    let ours = case.inquiry.key.parts()?;
    let labels = case.inquiry.labels();
    let begins = [labels.origin(), path(&ours.target)].concat();
    let is_near = |variants: &Variants| {
        let first = variants.entries().first();
        first.is_some_and(|entry| path(entry.head.labels.url()) == begins)
    };
    let stored = case.shared.memory.iter().take(LOOKED_AT).filter(|(_, variants)| is_near(variants));
    let apart = stored.filter_map(|(key, variants)| apart(case, &ours, &key, &variants));
    apart.min_by_key(|apart| (apart.count(), apart.parameters.clone()))
}

fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// What keeps this request from what is stored under `key`; `None`: it would be no hit there, or they are one key.
fn apart(case: &Case<'_>, ours: &Parts, key: &Key, variants: &Variants) -> Option<Apart> {
    let theirs = key.parts()?;
    let rules = &case.inquiry.treatment().key;
    let mut apart = difference(ours, &theirs);
    apart.key = without(rules, &apart);
    // Parameters that count still may stand in another order.
    if !is_one_key(case, &theirs, &apart.key) {
        apart.order = true;
        apart.key.query_sort = true;
    }
    (apart.count() > 0 && is_one_key(case, &theirs, &apart.key) && answers(case, variants)).then_some(apart)
}

/// What differs, but for the order of parameters.
fn difference(ours: &Parts, theirs: &Parts) -> Apart {
    let parameters = differing(&parameters(&ours.target), &parameters(&theirs.target));
    let map = |parts: &Parts| parts.headers.iter().cloned().collect::<BTreeMap<_, _>>();
    let headers = differing(&map(ours), &map(theirs));
    let map = |parts: &Parts| parts.cookies.iter().cloned().collect::<BTreeMap<_, _>>();
    Apart {
        parameters,
        headers: headers.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect(),
        cookies: differing(&map(ours), &map(theirs)),
        ..Apart::default()
    }
}

/// The parameters of a target by name, each with all its values.
fn parameters(target: &str) -> BTreeMap<String, Vec<String>> {
    let mut parameters = BTreeMap::<String, Vec<String>>::new();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        parameters.entry(parameter_name(parameter).to_owned()).or_default().push(parameter.to_owned());
    }
    parameters
}

/// The names whose values differ.
fn differing<V: PartialEq>(ours: &BTreeMap<String, V>, theirs: &BTreeMap<String, V>) -> Vec<String> {
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    names.into_iter().filter(|name| ours.get(*name) != theirs.get(*name)).cloned().collect()
}

/// The key rules without what differs.
fn without(rules: &KeyRules, apart: &Apart) -> KeyRules {
    let mut rules = rules.clone();
    rules.query_exclude.extend(apart.parameters.iter().map(|name| Glob::new(name)));
    rules.headers.retain(|name| !apart.headers.contains(name));
    rules.cookies.retain(|name| !apart.cookies.contains(name));
    rules
}

/// Whether the request and the one that `theirs` was stored for have one key under these rules.
fn is_one_key(case: &Case<'_>, theirs: &Parts, rules: &KeyRules) -> bool {
    let inquiry = &case.inquiry;
    let (scheme, authority) = (inquiry.client.scheme.as_str(), &*inquiry.client.authority);
    let ours = KeyBuffer::of(scheme, authority, inquiry.target.as_str(), &inquiry.headers, rules);
    ours == KeyBuffer::of(&theirs.scheme, &theirs.authority, &theirs.target, &theirs.to_headers(), rules)
}

/// Whether what is stored there would answer this request fresh.
fn answers(case: &Case<'_>, variants: &Variants) -> bool {
    let (asked, directives) = (case.inquiry.asked(case.now), case.inquiry.directives());
    let found = look_up::choose(&case.shared.ledger, Some(variants), &asked, directives.as_ref());
    matches!(found, Found::Usable(usable) if usable.outcome.detail.is_none())
}
