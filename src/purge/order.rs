//! What is to be purged, read from any dialect: a JSON body, fields of a request, a path.

use http::{HeaderMap, HeaderName, StatusCode};

use crate::policy::key::Key;
use crate::policy::naming::{self, Fault};
use crate::policy::route::Rules;
use crate::policy::scope::{Scope, Severity};
use crate::policy::tag_fields::{self, CACHE_GROUPS, MAX_TAG};
use crate::policy::treatment::KeyRules;
use crate::wire::purge::{PurgeRequest, UrlItem, Wait};

/// Tags, URLs, prefixes and hosts that one purge may name, each.
pub const MAX_NAMES: usize = 1024;

/// Bytes of a reason: it quotes what is wrong, and goes into a field of the answer.
const MAX_REASON: usize = 400;

/// The fields that make a purge soft: ours, and the one that plug-ins for Fastly send.
const SOFT: [HeaderName; 2] = [HeaderName::from_static("soft-purge"), HeaderName::from_static("fastly-soft-purge")];

/// A purge that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What it names; URLs in every form that keys give them.
    pub scopes: Vec<Scope>,
    /// Where it names URLs alone and the rules put nothing but the URL into their keys: those keys, each once. All that
    /// it names is stored there.
    pub keys: Option<Vec<Key>>,
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

impl Refusal {
    fn bad(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: cut(reason.into(), MAX_REASON) }
    }

    /// More names of a kind than one purge may have.
    pub fn too_many(what: &str, count: usize) -> Self {
        let reason = format!("{count} {what}: one purge names {MAX_NAMES} at most; send several");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, reason }
    }
}

/// At most `limit` bytes of a text, and an ellipsis where some are missing.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit));
        text.push('…');
    }
    text
}

impl Order {
    /// Reads what `POST /purge` says. `rules` give URLs the forms that keys give them.
    ///
    /// # Errors
    ///
    /// Nothing is named, or something that cannot be: 400; too much: 413.
    pub fn of(request: &PurgeRequest, rules: &Rules, who: String) -> Result<Self, Refusal> {
        let PurgeRequest { tags, urls, prefixes, hosts, everything, .. } = request;
        for (what, count) in
            [("tags", tags.len()), ("urls", urls.len()), ("prefixes", prefixes.len()), ("hosts", hosts.len())]
        {
            if count > MAX_NAMES {
                return Err(Refusal::too_many(what, count));
            }
        }
        let mut named = Named::new(rules);
        if *everything {
            named.scopes.push(Scope::Everything);
        }
        each("hosts", hosts, |host| naming::host(host).map(|scopes| named.scopes.extend(scopes)))?;
        each("prefixes", prefixes, |text| {
            naming::prefix(text).map(|prefix| named.prefix(prefix.scheme, &prefix.authority, &prefix.target))
        })?;
        each("tags", tags, |tag| naming::tag(tag.as_bytes()).map(|tag| named.scopes.push(Scope::Tag(tag))))?;
        each("urls", urls, |item| {
            let (UrlItem::Url(text) | UrlItem::File { url: text, .. }) = item;
            naming::url(text).map(|url| named.url(url.scheme, &url.authority, &url.target))
        })?;
        if named.scopes.is_empty() {
            let what = "nothing is named: give at least one of \"tags\", \"urls\", \"prefixes\", \"hosts\", or \"everything\": true";
            return Err(Refusal::bad(what));
        }
        Ok(Self { dry_run: request.dry_run, wait: request.wait, ..named.order(Severity::of(request.soft), who) })
    }

    /// Reads the tags that a request carries in its fields, each field by its own syntax; `None`: it has none of these
    /// fields.
    ///
    /// # Errors
    ///
    /// The fields are there and name no tag, or name it as it cannot be: 400; too many: 413.
    pub fn of_fields(headers: &HeaderMap, tag_headers: &[HeaderName], who: String) -> Option<Result<Self, Refusal>> {
        let mut present = tag_headers.iter().filter(|name| headers.contains_key(*name)).peekable();
        present.peek()?;
        let scopes = present.try_fold(Vec::new(), |mut scopes, name| {
            scopes.extend(tags(headers, name)?.into_iter().map(Scope::Tag));
            Ok(scopes)
        });
        Some(scopes.and_then(|scopes| {
            if scopes.len() > MAX_NAMES {
                return Err(Refusal::too_many("tags", scopes.len()));
            }
            let severity = severity(headers)?;
            Ok(Self { scopes, keys: None, severity, dry_run: false, wait: Wait::Edge, who })
        }))
    }

    /// Reads what `PURGE` of this target names: the URL, or what is below a path that ends in `*`.
    ///
    /// `authority` and `target` as keys have them: valid, the host in lower case, without the default port.
    ///
    /// # Errors
    ///
    /// A prefix with a query, or fields that say nothing clear of the severity: 400.
    pub fn of_target(
        (scheme, authority, target): (&str, &str, &str),
        headers: &HeaderMap,
        rules: &Rules,
        who: String,
    ) -> Result<Self, Refusal> {
        let mut named = Named::new(rules);
        let path = target.split('?').next().unwrap_or_default();
        match path.strip_suffix('*') {
            Some(prefix) if path.len() == target.len() => named.prefix(scheme, authority, prefix),
            Some(_) => {
                let what = "a path that ends in * is a prefix, and takes no query; a URL with a * in its path goes by POST /purge";
                return Err(Refusal::bad(what));
            }
            None => named.url(scheme, authority, target),
        }
        Ok(named.order(severity(headers)?, who))
    }
}

/// What the fields of a request say of a purge's severity; hard where they say nothing.
///
/// # Errors
///
/// A value that is neither `1` or `true` nor `0` or `false`, or two that differ: 400.
pub fn severity(headers: &HeaderMap) -> Result<Severity, Refusal> {
    let mut said = None;
    for value in SOFT.iter().flat_map(|name| headers.get_all(name)) {
        let value = value.as_bytes().trim_ascii();
        let is = |words: [&str; 2]| words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
        let severity = match (is(["1", "true"]), is(["0", "false"])) {
            (true, _) => Severity::Soft,
            (_, true) => Severity::Hard,
            _ => return Err(Refusal::bad("Soft-Purge is 1 or true for a soft purge, 0 or false for a hard one")),
        };
        if said.is_some_and(|said| said != severity) {
            return Err(Refusal::bad("Soft-Purge says both: soft and hard"));
        }
        said = Some(severity);
    }
    Ok(said.unwrap_or(Severity::Hard))
}

/// The tags of a field that is there. All of it must be one: what was left out would be confirmed and not done.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<Box<[u8]>>, Refusal> {
    let tags = tag_fields::in_field(headers, name);
    if tags.is_empty() {
        let how = if *name == CACHE_GROUPS { r#": it is a list of strings, "a", "b""# } else { "" };
        return Err(Refusal::bad(format!("{name} names no tag{how}")));
    }
    match tags.iter().find(|tag| tag.len() > MAX_TAG) {
        Some(long) => {
            Err(Refusal::bad(format!("{name}: a tag has {MAX_TAG} bytes at most, and one here has {}", long.len())))
        }
        None => Ok(tags),
    }
}

/// Reads each name of a list; an error says which one is none.
fn each<T>(what: &str, names: &[T], mut read: impl FnMut(&T) -> Result<(), Fault>) -> Result<(), Refusal> {
    for (index, name) in names.iter().enumerate() {
        read(name).map_err(|fault| Refusal::bad(format!("{what}[{index}]: {fault}")))?;
    }
    Ok(())
}

/// What an order names, as it is gathered.
struct Named<'a> {
    rules: &'a Rules,
    scopes: Vec<Scope>,
    keys: Vec<Key>,
    /// Whether keys may hold more than the URL.
    has_odd_keys: bool,
}

impl<'a> Named<'a> {
    fn new(rules: &'a Rules) -> Self {
        Self { rules, scopes: Vec::new(), keys: Vec::new(), has_odd_keys: false }
    }

    /// A URL, in all forms that keys give it.
    fn url(&mut self, scheme: &str, authority: &str, target: &str) {
        let (none, plain) = (HeaderMap::new(), KeyRules::default());
        for form in self.rules.forms(authority, target) {
            self.keys.push(Key::of(scheme, authority, &form, &none, &plain));
            self.scopes.push(Scope::url(scheme, authority, &form));
        }
        self.has_odd_keys |= !self.rules.has_plain_keys(authority, target);
    }

    /// What begins so, in the scopes that name it in keys.
    fn prefix(&mut self, scheme: &str, authority: &str, target: &str) {
        self.scopes.extend(self.rules.prefix_forms(scheme, authority, target));
    }

    fn order(mut self, severity: Severity, who: String) -> Order {
        self.keys.sort_unstable();
        self.keys.dedup();
        let are_urls = self.scopes.iter().all(|scope| matches!(scope, Scope::Url(_)));
        let keys = (are_urls && !self.has_odd_keys).then_some(self.keys);
        Order { scopes: self.scopes, keys, severity, dry_run: false, wait: Wait::Edge, who }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::policy::route::{Matcher, Rule};
    use crate::policy::treatment::{Changes, Glob};

    /// What a table says of an order: its scopes, or the status of its refusal.
    type Told = Result<&'static str, u16>;
    type Fields = &'static [(&'static str, &'static str)];

    fn rules(key: Option<KeyRules>) -> Rules {
        let changes = Changes { key, ..Changes::default() };
        Rules::compile(vec![Rule { name: String::new(), line: 0, matcher: Matcher::default(), changes }], &[])
    }

    fn who() -> String {
        "192.0.2.1 admin".to_owned()
    }

    fn ask(body: serde_json::Value) -> Result<Order, Refusal> {
        Order::of(&serde_json::from_value(body).expect("it has the shape"), &rules(None), who())
    }

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// Scopes as text, one a line.
    fn named(order: Result<Order, Refusal>) -> String {
        let order = order.unwrap_or_else(|refusal| panic!("{refusal}"));
        order.scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_body_names_scopes_of_every_kind() {
        let cases = [
            (json!({ "tags": ["a", "b,c"] }), "tag a\ntag b,c", "tags"),
            (json!({ "urls": ["HTTP://A.test:80/x?y=1"] }), "url http://a.test/x?y=1", "as keys have it"),
            (json!({ "files": ["https://a.test"] }), "url https://a.test/", "as Cloudflare's users write it"),
            (
                json!({ "files": [{ "url": "https://a.test/x", "headers": { "Origin": "https://b.test" } }] }),
                "url https://a.test/x",
                "and with fields, which do not count",
            ),
            (json!({ "prefixes": ["https://a.test/x/"] }), "prefix https://a.test/x/", "prefixes"),
            (json!({ "hosts": ["A.test", "b.test:81"] }), "host a.test\nhost b.test:81", "hosts"),
            (json!({ "everything": true }), "everything", "everything"),
            (json!({ "purge_everything": true }), "everything", "as Cloudflare's users write it"),
            (
                json!({ "tags": ["t"], "hosts": ["h"], "urls": ["http://a/"], "prefixes": ["http://a/"] }),
                "host h\nprefix http://a/\ntag t\nurl http://a/",
                "all at once",
            ),
        ];
        for (body, want, why) in cases {
            assert_eq!(named(ask(body)), want, "{why}");
        }
    }

    #[test]
    fn what_cannot_be_purged_is_refused_with_the_place_where_it_stands() {
        let many = |count: usize| vec!["x"; count];
        let cases = [
            (json!({}), 400, "nothing is named", "empty"),
            (json!({ "tags": [], "soft": true }), 400, "nothing is named", "an empty list"),
            (json!({ "everything": false }), 400, "nothing is named", "not everything is nothing"),
            (json!({ "tags": ["a", "b c"] }), 400, "tags[1]: ", "a space"),
            (json!({ "tags": [""] }), 400, "tags[0]: ", "no tag"),
            (json!({ "urls": ["http://a/", "http://a/b", "/c"] }), 400, "urls[2]: ", "not absolute"),
            (json!({ "urls": [{ "url": "ftp://a/" }] }), 400, "urls[0]: ", "another scheme, in an object"),
            (json!({ "prefixes": ["http://a"] }), 400, "prefixes[0]: ", "without the slash of the path"),
            (json!({ "hosts": ["*.a"] }), 400, "hosts[0]: ", "a pattern"),
            (json!({ "tags": many(1025) }), 413, "1025 tags", "too many"),
            (json!({ "urls": many(1025) }), 413, "1025 urls", "too many, before one is looked at"),
            (json!({ "prefixes": many(1025) }), 413, "1025 prefixes", "too many"),
            (json!({ "hosts": many(1025) }), 413, "1025 hosts", "too many"),
        ];
        for (body, status, begins, why) in cases {
            let refusal = ask(body).expect_err(why);
            assert_eq!(refusal.status, status, "{why}");
            assert!(refusal.reason.starts_with(begins) && refusal.reason.len() > begins.len(), "{why}: {refusal}");
        }
        assert!(ask(json!({ "tags": many(1024) })).is_ok(), "as many as may be");
        let long = ask(json!({ "hosts": ["/".repeat(100_000)] })).expect_err("no host");
        assert!(long.reason.len() <= MAX_REASON + '…'.len_utf8(), "a reason does not grow with what it quotes");
    }

    #[test]
    fn a_body_says_how_it_is_to_be_done() {
        let order = ask(json!({ "tags": ["a"], "soft": true, "dry_run": true, "wait": "all" })).expect("a purge");
        assert_eq!((order.severity, order.dry_run, order.wait, order.who), (Severity::Soft, true, Wait::All, who()));
        let order = ask(json!({ "tags": ["a"] })).expect("a purge");
        assert_eq!((order.severity, order.dry_run, order.wait), (Severity::Hard, false, Wait::Edge));
    }

    #[test]
    fn a_url_is_named_in_every_form_and_looked_up_where_keys_hold_nothing_else() {
        let exclude = KeyRules { query_exclude: vec![Glob::new("utm_*")], ..KeyRules::default() };
        let by_cookie = KeyRules { cookies: vec!["c".to_owned()], ..KeyRules::default() };
        let by_header = KeyRules { headers: vec![HeaderName::from_static("x")], ..KeyRules::default() };
        let cases = [
            (None, json!({ "urls": ["http://a/?utm_x=1"] }), 1, Some(1), "no rule"),
            (Some(exclude.clone()), json!({ "urls": ["http://a/?utm_x=1"] }), 2, Some(2), "raw and normalised"),
            (Some(exclude), json!({ "urls": ["http://a/?utm_x=1", "http://a/"] }), 3, Some(2), "each key once"),
            (Some(by_cookie), json!({ "urls": ["http://a/"] }), 1, None, "a cookie is in the key: a scan"),
            (Some(by_header), json!({ "urls": ["http://a/"] }), 1, None, "a field is in the key: a scan"),
            (None, json!({ "urls": ["http://a/"], "tags": ["t"] }), 2, None, "a tag: a scan"),
            (None, json!({ "everything": true }), 1, None, "everything: a scan"),
        ];
        for (key, body, scopes, keys, why) in cases {
            let request = serde_json::from_value(body).expect("it has the shape");
            let order = Order::of(&request, &rules(key), who()).expect("a purge");
            assert_eq!((order.scopes.len(), order.keys.map(|keys| keys.len())), (scopes, keys), "{why}");
        }
    }

    #[test]
    fn fields_name_tags_each_by_its_own_syntax() {
        let names = ["surrogate-key", "cache-tag", "cache-groups"].map(HeaderName::from_static);
        let cases: [(Fields, Option<Told>, &str); 11] = [
            (&[], None, "no such field"),
            (&[("xkey", "a")], None, "not one of those configured"),
            (&[("surrogate-key", "a b")], Some(Ok("tag a\ntag b")), "white space"),
            (&[("surrogate-key", "a"), ("surrogate-key", "b")], Some(Ok("tag a\ntag b")), "two lines"),
            (&[("cache-tag", "a b, c")], Some(Ok("tag a b\ntag c")), "commas"),
            (&[("cache-groups", "\"a\", \"b c\"")], Some(Ok("tag a\ntag b c")), "a structured list"),
            (&[("cache-tag", "c"), ("surrogate-key", "a")], Some(Ok("tag a\ntag c")), "two fields"),
            (&[("surrogate-key", " ")], Some(Err(400)), "none named"),
            (&[("cache-groups", "a b")], Some(Err(400)), "not a structured list"),
            (&[("surrogate-key", "a"), ("cache-groups", "b")], Some(Err(400)), "a part of it names nothing"),
            (&[("surrogate-key", "a"), ("soft-purge", "maybe")], Some(Err(400)), "of no severity"),
        ];
        for (lines, want, why) in cases {
            let order = Order::of_fields(&fields(lines), &names, who());
            let told =
                order.map(|order| order.map(|order| named(Ok(order))).map_err(|refusal| refusal.status.as_u16()));
            assert_eq!(told, want.map(|want| want.map(str::to_owned)), "{why}");
        }
    }

    #[test]
    fn fields_may_name_so_many_tags_and_so_long_ones() {
        let names = [HeaderName::from_static("surrogate-key")];
        let of = |value: String| {
            let headers = [(names[0].clone(), HeaderValue::try_from(value).expect("a value"))].into_iter().collect();
            let order = Order::of_fields(&headers, &names, who()).expect("the field is there");
            order.map(|order| order.scopes.len()).map_err(|refusal| refusal.status.as_u16())
        };
        let cases = [
            (vec!["t"; 1024].join(" "), Ok(1024), "as many as may be"),
            (vec!["t"; 1025].join(" "), Err(413), "too many"),
            ("t".repeat(1024), Ok(1), "as long as one may be"),
            (vec!["t,"; 1024].join(" "), Ok(1024), "a comma after each"),
            (format!("a {}", "t".repeat(1025)), Err(400), "too long, and not left out"),
        ];
        for (value, want, why) in cases {
            assert_eq!(of(value), want, "{why}");
        }
    }

    #[test]
    fn a_target_is_a_url_or_a_prefix() {
        let cases = [
            ("/a", Ok("url http://a.test/a"), "a URL"),
            ("/a?", Ok("url http://a.test/a?"), "an empty query is a query"),
            ("/a?q=*", Ok("url http://a.test/a?q=*"), "a star in the query is one"),
            ("/a*b", Ok("url http://a.test/a*b"), "a star within the path is one"),
            ("/a*", Ok("prefix http://a.test/a"), "a prefix"),
            ("/a/*", Ok("prefix http://a.test/a/"), "below a folder"),
            ("/*", Ok("prefix http://a.test/"), "everything of that host"),
            ("/a*?b", Err(400), "neither"),
        ];
        for (target, want, why) in cases {
            let order = Order::of_target(("http", "a.test", target), &HeaderMap::new(), &rules(None), who());
            let told = order.map(|order| named(Ok(order))).map_err(|refusal| refusal.status.as_u16());
            assert_eq!(told, want.map(str::to_owned), "{why}");
        }
    }

    #[test]
    fn fields_say_the_severity() {
        use Severity::{Hard, Soft};
        let cases: [(Fields, Option<Severity>, &str); 13] = [
            (&[], Some(Hard), "nothing said"),
            (&[("soft-purge", "1")], Some(Soft), "soft"),
            (&[("fastly-soft-purge", "1")], Some(Soft), "as plug-ins send it"),
            (&[("soft-purge", "True ")], Some(Soft), "letter case does not count"),
            (&[("soft-purge", "0")], Some(Hard), "hard"),
            (&[("fastly-soft-purge", "false")], Some(Hard), "hard"),
            (&[("soft-purge", "1"), ("fastly-soft-purge", "true")], Some(Soft), "both, the same"),
            (&[("soft-purge", "1"), ("fastly-soft-purge", "0")], None, "both, and they differ"),
            (&[("soft-purge", "1"), ("soft-purge", "0")], None, "two lines that differ"),
            (&[("soft-purge", "")], None, "empty"),
            (&[("soft-purge", "yes")], None, "another word"),
            (&[("soft-purge", "1, 1")], None, "a list"),
            (&[("soft-purge", "10")], None, "another number"),
        ];
        for (lines, want, why) in cases {
            assert_eq!(severity(&fields(lines)).ok(), want, "{why}");
        }
    }
}
