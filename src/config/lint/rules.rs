//! What does a rule say that has no effect, or more effect than it seems?

use http::Method;

use super::covers_host;
use super::shadow::covers;
use crate::config::file::{Action, FieldEdits, File, KeyRules, Match, Overridable, Rule};
use crate::config::finding::{Findings, Span};
use crate::config::located::{At, Word};
use crate::policy::route::PathPattern;

/// Fields of a request that rules never see: the connection's own, and `host`, for which there is `match.host`.
const UNSEEN: &[&str] =
    &["connection", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// Adds what is to be said of single rules.
pub(super) fn lint(file: &File, findings: &mut Findings) {
    let rules = &file.rules;
    for (index, rule) in rules.iter().enumerate() {
        repeated_name(rule, &rules[..index], findings);
        says_nothing(rule, findings);
        two_lifetimes(rule, findings);
        let cached_later = rules[index + 1..].iter().any(|later| action_of(later) == Some(Action::Cache));
        if !cached_later {
            beside_the_action(rule, findings);
        }
        cookies_for_everybody(rule, rules, findings);
        if let Some(matcher) = &rule.matcher {
            never_matches(matcher, findings);
            unserved_host(rule, matcher, file, findings);
            uncacheable_methods(rule, matcher, findings);
            strip_prefix(rule, matcher, findings);
        }
        if let Some(key) = &rule.key {
            key_rules(key, findings);
        }
        for edits in [&rule.request_headers, &rule.response_headers].into_iter().flatten() {
            set_and_removed(edits, findings);
        }
    }
}

fn action_of(rule: &Rule) -> Option<Action> {
    rule.action.as_ref().map(|action| action.value)
}

fn repeated_name(rule: &Rule, earlier: &[At<Rule>], findings: &mut Findings) {
    let Some(name) = &rule.name else { return };
    let same = earlier.iter().filter_map(|other| other.name.as_ref()).find(|other| other.text == name.text);
    if let Some(other) = same {
        let what = format!("a second rule is called `{}`", name.text);
        findings.warning(name.span.clone(), what, "write another name: logs and explain could mean either");
        findings.related(other.span.clone(), "the first one");
    }
}

fn says_nothing(rule: &At<Rule>, findings: &mut Findings) {
    if keys_of(rule).is_empty() {
        findings.warning(
            rule.span.clone(),
            "the rule changes nothing",
            "say what it does, as in ttl = \"5m\", or take it out",
        );
    }
}

/// What states no lifetime gets `ttl`, as does what states one.
fn two_lifetimes(rule: &Rule, findings: &mut Findings) {
    let (Some(ttl), Some(default)) = (&rule.ttl, &rule.default_ttl) else { return };
    let what = "`default_ttl` has no effect beside ttl, which counts whether or not the origin states a lifetime";
    findings.warning(default.span.clone(), what, "take out `default_ttl`, or `ttl`");
    findings.related(ttl.span.clone(), "what counts");
}

/// The keys that a rule sets, with the places of their values; `name` and `match` change nothing by themselves.
pub(super) fn keys_of(rule: &Rule) -> Vec<(&'static str, Option<&Span>)> {
    fn key<'r, T>(
        name: &'static str,
        value: Option<&'r T>,
        span: fn(&'r T) -> Option<&'r Span>,
    ) -> Option<(&'static str, Option<&'r Span>)> {
        value.map(|value| (name, span(value)))
    }
    let keys = [
        key("origin", rule.origin.as_ref(), |it| it.span.as_ref()),
        key("action", rule.action.as_ref(), |it| it.span.as_ref()),
        key("default_ttl", rule.default_ttl.as_ref(), |it| it.span.as_ref()),
        key("ttl", rule.ttl.as_ref(), |it| it.span.as_ref()),
        key("ttl_by_status", rule.ttl_by_status.as_ref(), |it| it.span.as_ref()),
        key("override", rule.overrides.as_ref(), |it| it.span.as_ref()),
        key("browser_ttl", rule.browser_ttl.as_ref(), |it| it.span.as_ref()),
        key("stale_while_revalidate", rule.stale_while_revalidate.as_ref(), |it| it.span.as_ref()),
        key("stale_if_error", rule.stale_if_error.as_ref(), |it| it.span.as_ref()),
        key("early_refresh", rule.early_refresh.as_ref(), |it| it.span.as_ref()),
        key("client_cache_control", rule.client_cache_control.as_ref(), |it| it.span.as_ref()),
        key("collapse", rule.collapse.as_ref(), |it| it.span.as_ref()),
        key("key", rule.key.as_ref(), |it| it.span.as_ref()),
        key("vary", rule.vary.as_ref(), |it| it.span.as_ref()),
        key("tags", rule.tags.as_ref(), |it| it.span.as_ref()),
        key("strip_prefix", rule.strip_prefix.as_ref(), |it| it.span.as_ref()),
        key("request_headers", rule.request_headers.as_ref(), |it| it.span.as_ref()),
        key("response_headers", rule.response_headers.as_ref(), |it| it.span.as_ref()),
    ];
    keys.into_iter().flatten().collect()
}

/// Keys that only matter to what is looked up and stored.
const OF_CACHE: &[&str] = &[
    "default_ttl",
    "ttl",
    "ttl_by_status",
    "override",
    "stale_while_revalidate",
    "stale_if_error",
    "early_refresh",
    "client_cache_control",
    "collapse",
    "key",
    "tags",
];
/// Keys that only matter to what is asked of an origin.
const OF_FETCH: &[&str] = &["origin", "browser_ttl", "vary", "strip_prefix", "request_headers"];

fn beside_the_action(rule: &Rule, findings: &mut Findings) {
    let (word, why, without_effect): (_, _, fn(&str) -> bool) = match action_of(rule) {
        Some(Action::Pass) => ("pass", "nothing is looked up or stored", |key| OF_CACHE.contains(&key)),
        Some(Action::Deny) => {
            ("deny", "the answer is 403 at once", |key| OF_CACHE.contains(&key) || OF_FETCH.contains(&key))
        }
        Some(Action::Cache) | None => return,
    };
    for (key, span) in keys_of(rule).into_iter().filter(|(key, _)| without_effect(key)) {
        let what = format!("`{key}` has no effect beside action = \"{word}\": {why}");
        findings.warning(span.cloned(), what, format!("take out `{key}`, or the action"));
    }
}

/// One client's cookies, stored for a time that we chose, go to all others.
fn cookies_for_everybody(rule: &At<Rule>, rules: &[At<Rule>], findings: &mut Findings) {
    let Some(overrides) = &rule.overrides else { return };
    let Some(cookie) = overrides.iter().find(|one| one.value == Overridable::SetCookie) else { return };
    if rule.response_headers.as_ref().is_some_and(|edits| removes_set_cookie(edits)) {
        return;
    }
    let meets = |other: &Rule| covers(other, rule) || covers(rule, other);
    let with_lifetime = rules.iter().filter(|other| meets(other)).find_map(|other| lifetime_of(other));
    if let Some((key, span)) = with_lifetime {
        let what = format!("`{key}` together with Set-Cookie overruled: one client's cookies go to everybody");
        let help = r#"take out "set-cookie", or remove the field: response_headers = { remove = ["set-cookie"] }"#;
        findings.warning(cookie.span.clone(), what, help);
        findings.related(span.cloned(), "the lifetime");
    }
}

fn removes_set_cookie(edits: &FieldEdits) -> bool {
    edits.remove.iter().any(|name| name.value == http::header::SET_COOKIE)
}

/// The key by which a rule gives responses a lifetime of its own.
fn lifetime_of(rule: &Rule) -> Option<(&'static str, Option<&Span>)> {
    if let Some(ttl) = rule.ttl.as_ref().filter(|ttl| !ttl.0.is_zero()) {
        return Some(("ttl", ttl.span.as_ref()));
    }
    if let Some(ttl) = rule.default_ttl.as_ref().filter(|ttl| !ttl.0.is_zero()) {
        return Some(("default_ttl", ttl.span.as_ref()));
    }
    let by_status = rule.ttl_by_status.as_ref()?;
    by_status.list.iter().any(|(_, ttl)| !ttl.0.is_zero()).then_some(("ttl_by_status", by_status.span.as_ref()))
}

fn never_matches(matcher: &Match, findings: &mut Findings) {
    for method in matcher.method.iter().flat_map(|methods| &methods.list) {
        let upper = method.text.to_ascii_uppercase();
        if upper != method.text {
            let what = format!("`{}` never matches: methods are written in upper case", method.text);
            findings.warning(method.span.clone(), what, format!("write \"{upper}\""));
        } else if [Method::CONNECT, Method::TRACE].contains(&method.value) {
            let what = format!("`{upper}` never matches: Larder answers it with 405");
            findings.warning(method.span.clone(), what, "take it out");
        }
    }
    for path in matcher.path.iter().flat_map(|paths| &paths.list) {
        unsendable_path(path, findings);
    }
    for (name, _) in matcher.header.iter().flat_map(|fields| &fields.list) {
        if UNSEEN.contains(&name.value.as_str()) {
            let help = if name.value == http::header::HOST { "write match.host" } else { "match another field" };
            findings.warning(name.span.clone(), format!("`{}` never matches: rules do not see it", name.value), help);
        }
    }
    path_regex(matcher, findings);
}

/// Patterns are compared with the bytes that clients send, so what a target cannot hold fits nothing.
fn unsendable_path(path: &Word<PathPattern>, findings: &mut Findings) {
    let text = &path.text;
    if text.contains('#') {
        let what = format!("`{text}` never matches: clients do not send fragments");
        findings.warning(path.span.clone(), what, "leave out # and what follows it");
    } else if let Some(letter) = text.chars().find(|letter| !is_of_target(*letter)) {
        let what = format!("{text:?} never matches: no path holds {letter:?} as it is");
        findings.warning(path.span.clone(), what, format!("write \"{}\", as clients send it", as_sent(text)));
    } else if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        let what = format!("`{text}` never matches: Larder answers paths with dot segments with 400");
        findings.warning(path.span.clone(), what, "write the path that is meant, without . and ..");
    }
}

/// Visible ASCII without what a URL cannot hold: everything else is answered with 400 (RFC 3986 §2).
fn is_of_target(letter: char) -> bool {
    letter.is_ascii_graphic() && !matches!(letter, '#' | '\\' | '<' | '>')
}

/// A path as clients send it: percent-encoded where it has to be (RFC 3986 §2.1).
fn as_sent(text: &str) -> String {
    let mut sent = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_of_target(letter) {
            sent.push(letter);
            continue;
        }
        for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
            let hex = [byte >> 4, byte & 15].map(|half| char::from(b"0123456789ABCDEF"[usize::from(half)]));
            sent.extend(['%', hex[0], hex[1]]);
        }
    }
    sent
}

fn path_regex(matcher: &Match, findings: &mut Findings) {
    let Some(regex) = &matcher.path_regex else { return };
    let span = regex.span.clone();
    if regex.text.strip_prefix('^').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric())) {
        let what = "this never matches: every path begins with /";
        findings.warning(span, what, format!("write '^/{}'", &regex.text[1..]));
        return;
    }
    if regex.text.contains("\\?") {
        findings.warning(span, "the query is not part of the path", "match without \\? and what follows it");
        return;
    }
    let paths = matcher.path.as_ref().map_or(&[][..], |paths| &paths.list);
    let none_fits = |path: &PathPattern| path.as_literal().is_some_and(|path| !regex.is_match(path));
    if !paths.is_empty() && paths.iter().all(|path| none_fits(path)) {
        let what = "this never matches: match.path and match.path_regex must both fit, and no path fits both";
        findings.warning(span, what, "leave one of them out, or write two rules");
    }
}

/// A host that no origin takes gets an error before any rule could matter.
fn unserved_host(rule: &Rule, matcher: &Match, file: &File, findings: &mut Findings) {
    let takes_any = file.origins.iter().any(|origin| origin.hosts.is_empty());
    let sent_by_rules = file.rules.iter().any(|other| other.origin.is_some());
    if takes_any || sent_by_rules || action_of(rule) == Some(Action::Deny) {
        return;
    }
    for host in matcher.host.iter().flat_map(|hosts| &hosts.list) {
        let mut served = file.origins.iter().flat_map(|origin| &origin.hosts);
        if !served.any(|pattern| may_meet(&pattern.0, &host.0)) {
            let what = format!("this never matches: no origin takes `{}`", host.text);
            findings.warning(
                host.span.clone(),
                what,
                "add it to the hosts of an origin, or name an origin in the rule",
            );
        }
    }
}

/// Whether some host may fit both. Of two patterns with stars we do not try to tell.
fn may_meet(one: &str, other: &str) -> bool {
    let without_port = |text: &str| text.rsplit_once(':').map_or(text.to_owned(), |(name, _)| name.to_owned());
    let (one, other) = (without_port(one), without_port(other));
    (one.contains('*') && other.contains('*')) || covers_host(&one, &other) || covers_host(&other, &one)
}

/// Only GET and HEAD are looked up and stored.
fn uncacheable_methods(rule: &Rule, matcher: &Match, findings: &mut Findings) {
    let Some(methods) = matcher.method.as_ref().filter(|methods| !methods.list.is_empty()) else { return };
    let is_stored = |text: &str| text.eq_ignore_ascii_case("GET") || text.eq_ignore_ascii_case("HEAD");
    if methods.list.iter().any(|method| is_stored(&method.text)) {
        return;
    }
    for (key, span) in keys_of(rule).into_iter().filter(|(key, _)| OF_CACHE.contains(key)) {
        let what = format!("`{key}` has no effect: only GET and HEAD are stored, and match.method has neither");
        findings.warning(span.cloned(), what, format!("take out `{key}`, or add \"GET\" to match.method"));
    }
}

fn strip_prefix(rule: &Rule, matcher: &Match, findings: &mut Findings) {
    let (Some(prefix), Some(paths)) = (&rule.strip_prefix, &matcher.path) else { return };
    let below = prefix.text.trim_end_matches('/');
    let below_it = format!("{below}/");
    let may_begin_so = |path: &PathPattern| {
        let known = path.literal_prefix();
        let open_end = path.as_literal().is_none() && below_it.starts_with(known);
        open_end || known.starts_with(&below_it) || path.as_literal() == Some(below)
    };
    if !below.is_empty() && !paths.list.iter().any(|path| may_begin_so(path)) {
        let what = format!("strip_prefix has no effect: no path of match.path begins with `{below}`");
        findings.warning(prefix.span.clone(), what, "write the beginning of match.path");
    }
}

fn key_rules(key: &KeyRules, findings: &mut Findings) {
    for name in key.headers.iter().filter(|name| name.value == http::header::HOST) {
        findings.warning(name.span.clone(), "the host is in every key already", "take it out");
    }
    for (index, name) in key.headers.iter().enumerate() {
        if key.headers[..index].iter().any(|other| other.value == name.value) {
            findings.warning(name.span.clone(), format!("`{}` stands here twice", name.value), "take one out");
        }
    }
    for included in &key.query.include {
        if key.query.exclude.iter().any(|excluded| covers_host(&excluded.text, &included.text)) {
            let what = format!("`{}` does not count: exclude takes it out again", included.text);
            findings.warning(included.span.clone(), what, "name it in one of the two lists");
        }
    }
}

fn set_and_removed(edits: &FieldEdits, findings: &mut Findings) {
    for name in &edits.remove {
        if edits.set.list.iter().any(|(set, _)| set.value == name.value) {
            let what = format!("`{}` is removed, and then set: to remove it has no effect", name.value);
            findings.warning(name.span.clone(), what, "set replaces whatever was there; take it out of remove");
        }
    }
}
