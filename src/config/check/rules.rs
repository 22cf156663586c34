//! Do the rules make sense together, and what do they mean?

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::Check;
use crate::config::file::{
    Action, ClientCacheControl, FieldEdits, Fields, KeyRules, Lifetime, Match, Overridable, Rule, VaryValues,
};
use crate::config::finding::Span;
use crate::config::located::{At, Entries, Several, Word};
use crate::config::read::suggest;
use crate::policy::route::{self, Matcher};
use crate::policy::treatment::{self, Changes, Glob, OriginId, Overrides, StatusPattern};

/// Rules in one file: each costs time at every request, and the lints compare each with each.
const MOST_RULES: usize = 4096;

/// Fields that the connection, not the message, owns: a rule that edited them would break the framing.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Check<'_> {
    /// The rules, in the order of the file.
    pub(super) fn rules(&mut self) -> Vec<route::Rule> {
        let rules = &self.reading.file.rules;
        if let Some(first_too_many) = rules.get(MOST_RULES) {
            let what = format!("{} rules; {MOST_RULES} are the most", rules.len());
            self.error(first_too_many.span.as_ref(), what, "join rules: match.host, path and method take lists");
            return Vec::new();
        }
        rules.iter().map(|rule| self.rule(rule)).collect()
    }

    fn rule(&mut self, rule: &At<Rule>) -> route::Rule {
        route::Rule {
            name: rule.name.as_ref().map(|name| name.text.clone()).unwrap_or_default(),
            line: rule.span.as_ref().map_or(0, |span| self.findings.position(span.start).0),
            matcher: rule.matcher.as_ref().map(|matcher| self.matcher(matcher)).unwrap_or_default(),
            changes: self.changes(rule),
        }
    }

    fn matcher(&mut self, matcher: &Match) -> Matcher {
        self.never_empty(matcher.host.as_ref(), "host");
        self.never_empty(matcher.path.as_ref(), "path");
        self.never_empty(matcher.method.as_ref(), "method");
        Matcher {
            hosts: list(matcher.host.as_ref()).iter().map(|host| Glob::new(&host.0)).collect(),
            paths: list(matcher.path.as_ref()).iter().map(|path| path.value.clone()).collect(),
            path_regex: matcher.path_regex.as_ref().map(|regex| regex.value.clone()),
            methods: list(matcher.method.as_ref()).iter().map(|method| method.value.clone()).collect(),
            headers: matcher.header.as_ref().map_or_else(Vec::new, |fields| {
                fields.list.iter().map(|(name, value)| (name.value.clone(), Glob::new(&value.text))).collect()
            }),
        }
    }

    /// An empty list would have to mean "any of none"; who writes one means something else.
    fn never_empty<T>(&mut self, several: Option<&Several<T>>, key: &str) {
        if let Some(several) = several.filter(|several| several.list.is_empty()) {
            let what = format!("the list of match.{key} is empty");
            self.error(
                several.span.as_ref(),
                what,
                format!("name at least one, or leave out `{key}` to match every one"),
            );
        }
    }

    fn changes(&mut self, rule: &Rule) -> Changes {
        Changes {
            action: rule.action.as_ref().map(|action| match action.value {
                Action::Cache => treatment::Action::Cache,
                Action::Pass => treatment::Action::Pass,
                Action::Deny => treatment::Action::Deny,
            }),
            origin: rule.origin.as_ref().and_then(|name| self.origin_named(name)),
            default_ttl: seconds(rule.default_ttl.as_ref()),
            ttl: seconds(rule.ttl.as_ref()),
            ttl_by_status: rule.ttl_by_status.as_ref().map(|entries| by_status(entries)),
            overrides: rule.overrides.as_ref().map(|list| overrides(list)),
            browser_ttl: seconds(rule.browser_ttl.as_ref()),
            stale_while_revalidate: seconds(rule.stale_while_revalidate.as_ref()),
            stale_if_error: seconds(rule.stale_if_error.as_ref()),
            early_refresh: rule.early_refresh.as_ref().map(|flag| flag.value),
            honour_client: rule.client_cache_control.as_ref().map(|word| word.value == ClientCacheControl::Honour),
            collapse: rule.collapse.as_ref().map(|flag| flag.value),
            key: rule.key.as_ref().map(|key| key_rules(key)),
            vary: rule.vary.as_ref().map(|fields| self.vary(fields)),
            tags: self.tags(rule),
            strip_prefix: rule.strip_prefix.as_ref().map(|prefix| prefix.text.trim_end_matches('/').to_owned()),
            request_headers: rule.request_headers.as_ref().map(|edits| self.edits(edits, true)),
            response_headers: rule.response_headers.as_ref().map(|edits| self.edits(edits, false)),
        }
    }

    fn origin_named(&mut self, name: &Word<crate::config::leaf::OriginName>) -> Option<OriginId> {
        let origins = &self.reading.file.origins;
        let named = |origin: &At<crate::config::file::Origin>| {
            origin.name.as_ref().is_some_and(|other| other.text == name.text)
        };
        let found = origins.iter().position(named).map(OriginId);
        // With an origin whose own name was refused, nobody knows which one is meant.
        let some_name_was_refused = origins.iter().any(|origin| self.reading.had(origin.span.as_ref(), "name"));
        if found.is_none() && !some_name_was_refused && !self.reading.had_anywhere("origins") {
            let known: Vec<_> = origins.iter().filter_map(|origin| origin.name.as_ref()).collect();
            let known: Vec<_> = known.iter().map(|name| name.text.as_str()).collect();
            let help = suggest(&name.text, &known, "the origins of this file are", '"');
            self.error(name.span.as_ref(), format!("no origin is called `{}`", name.text), help);
        }
        found
    }

    fn vary(&mut self, fields: &At<Fields<VaryValues>>) -> Vec<(HeaderName, Vec<String>)> {
        let mut normalised: Vec<(HeaderName, Vec<String>)> = Vec::new();
        for (name, values) in &fields.list {
            self.unique_field(name, normalised.iter().map(|(other, _)| other));
            if values.is_empty() {
                let help = r#"name the values that the origin tells apart, best first: ["en", "de"]"#;
                self.error(values.span.as_ref(), format!("`{}` is normalised to no value", name.text), help);
            }
            let mut texts: Vec<String> = Vec::new();
            for value in &values.value {
                if texts.iter().any(|other| other.eq_ignore_ascii_case(&value.text)) {
                    self.error(value.span.as_ref(), format!("`{}` stands here twice", value.text), "take one out");
                }
                texts.push(value.text.clone());
            }
            normalised.push((name.value.clone(), texts));
        }
        normalised
    }

    /// Field names differ in more than letter case.
    fn unique_field<'n>(&mut self, name: &Word<HeaderName>, mut earlier: impl Iterator<Item = &'n HeaderName>) {
        if earlier.any(|other| *other == name.value) {
            let what = format!("the field `{}` stands here twice: letter case does not count", name.value);
            self.error(name.span.as_ref(), what, "take one out");
        }
    }

    fn tags(&mut self, rule: &Rule) -> Option<Vec<String>> {
        let tags = rule.tags.as_ref()?;
        let paths = rule.matcher.as_ref().and_then(|matcher| matcher.path.as_ref());
        let fewest = list(paths).iter().map(|path| path.wildcards()).min();
        let path_was_refused =
            rule.matcher.as_ref().is_some_and(|matcher| self.reading.had(matcher.span.as_ref(), "path"));
        for tag in tags.iter().filter(|tag| tag.highest > fewest.unwrap_or(0) && !path_was_refused) {
            let what = match fewest {
                None => format!("`{}` needs a wildcard, and the rule has no match.path", tag.text),
                Some(count) => format!("`{}` asks for wildcard {}, and match.path has {count}", tag.text, tag.highest),
            };
            self.error(tag.span.as_ref(), what, "write match.path with as many * or **, in each of its patterns");
        }
        Some(tags.iter().map(|tag| tag.text.clone()).collect())
    }

    fn edits(&mut self, edits: &FieldEdits, of_request: bool) -> treatment::FieldEdits {
        let mut set: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in &edits.set.list {
            self.unique_field(name, set.iter().map(|(other, _)| other));
            self.editable(&name.value, name.span.as_ref(), of_request);
            set.push((name.value.clone(), value.value.clone()));
        }
        for name in &edits.remove {
            self.editable(&name.value, name.span.as_ref(), of_request);
        }
        treatment::FieldEdits { set, remove: edits.remove.iter().map(|name| name.value.clone()).collect() }
    }

    fn editable(&mut self, name: &HeaderName, span: Option<&Span>, of_request: bool) {
        if FRAMING.contains(&name.as_str()) {
            let what = format!("`{name}` belongs to the connection, and Larder writes it itself");
            self.error(span, what, "take it out: editing it would break the framing of messages");
        } else if of_request && *name == http::header::HOST {
            let help = "use preserve_host of the origin, or put the wanted host into its urls";
            self.error(span, "`host` is not edited by rules", help);
        }
    }
}

fn list<T>(several: Option<&Several<T>>) -> &[Word<T>] {
    several.map_or(&[], |several| &several.list)
}

fn seconds(lifetime: Option<&Lifetime>) -> Option<Duration> {
    lifetime.map(|lifetime| lifetime.value.0)
}

/// Exact statuses first: the first that fits counts, and `404` beside `4xx` means what it says in either order.
fn by_status(entries: &Entries<StatusPattern, Lifetime>) -> Vec<(StatusPattern, Duration)> {
    let mut list: Vec<_> = entries.list.iter().map(|(status, lifetime)| (status.value, lifetime.value.0)).collect();
    list.sort_by_key(|(status, _)| matches!(status, StatusPattern::Class(_)));
    list
}

fn overrides(list: &[At<Overridable>]) -> Overrides {
    let has = |what: Overridable| list.iter().any(|one| one.value == what);
    Overrides {
        no_store: has(Overridable::NoStore),
        private: has(Overridable::Private),
        no_cache: has(Overridable::NoCache),
        set_cookie: has(Overridable::SetCookie),
        authorization: has(Overridable::Authorization),
    }
}

fn key_rules(key: &KeyRules) -> treatment::KeyRules {
    treatment::KeyRules {
        query_include: key.query.include.iter().map(|name| Glob::new(&name.text)).collect(),
        query_exclude: key.query.exclude.iter().map(|name| Glob::new(&name.text)).collect(),
        query_sort: key.query.sort,
        headers: key.headers.iter().map(|name| name.value.clone()).collect(),
        cookies: key.cookies.iter().map(|name| name.text.clone()).collect(),
    }
}
