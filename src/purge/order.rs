//! What is to be purged, read from any dialect: a JSON body, fields of a request, a path.

use http::{HeaderMap, HeaderName, StatusCode};

use crate::policy::key::{Key, KeyBuffer};
use crate::policy::naming::{self, Fault};
use crate::policy::route::Rules;
use crate::policy::scope::{Scope, Severity};
use crate::policy::tag_fields;
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

    fn too_many(what: &str, count: usize) -> Self {
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
        each("hosts", hosts, |host| naming::host(host).map(|host| named.scopes.push(Scope::Host(host))))?;
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
        let severity = if request.soft { Severity::Soft } else { Severity::Hard };
        Ok(Self { dry_run: request.dry_run, wait: request.wait, ..named.order(severity, who) })
    }

    /// Reads the tags that a request carries in its fields, each field by its own syntax; `None`: it has none of these
    /// fields.
    ///
    /// # Errors
    ///
    /// The fields are there and name no tag, or name it as it cannot be: 400; too many: 413.
    pub fn of_fields(headers: &HeaderMap, tag_headers: &[HeaderName], who: String) -> Option<Result<Self, Refusal>> {
        tag_headers.iter().any(|name| headers.contains_key(name)).then(|| {
            let mut scopes = Vec::new();
            for name in tag_headers {
                scopes.extend(tag_fields::in_field(headers, name).into_iter().map(Scope::Tag));
            }
            if scopes.is_empty() {
                return Err(Refusal::bad("the field for tags is there, and names none"));
            }
            if scopes.len() > MAX_NAMES {
                return Err(Refusal::too_many("tags", scopes.len()));
            }
            let severity = severity(headers)?;
            Ok(Self { scopes, keys: None, severity, dry_run: false, wait: Wait::Edge, who })
        })
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
            self.keys.push(KeyBuffer::of(scheme, authority, &form, &none, &plain).to_key());
            self.scopes.push(Scope::url(scheme, authority, &form));
        }
        let mut keys = self.rules.iter().filter_map(|rule| rule.changes.key.as_ref());
        self.has_odd_keys |= keys.any(|key| !key.headers.is_empty() || !key.cookies.is_empty());
    }

    fn prefix(&mut self, scheme: &str, authority: &str, target: &str) {
        self.scopes.push(Scope::Prefix([scheme, "://", authority, target].concat().into()));
    }

    fn order(mut self, severity: Severity, who: String) -> Order {
        self.keys.sort_unstable();
        self.keys.dedup();
        let are_urls = self.scopes.iter().all(|scope| matches!(scope, Scope::Url(_)));
        let keys = (are_urls && !self.has_odd_keys).then_some(self.keys);
        Order { scopes: self.scopes, keys, severity, dry_run: false, wait: Wait::Edge, who }
    }
}
