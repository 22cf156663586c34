//! What do `Cache-Control` and its targeted relatives say, and which of them governs a response?

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Dictionary, Item, ListEntry, Parser};

use super::directive_list::{Member, Members, split_at_byte};

/// RFC 9213 §3.1: directives for caches that act for the origin.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// The older field for the same purpose (W3C Edge Architecture).
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");
/// The name under which `Surrogate-Control: max-age=60;larder` means us. An origin learns it from
/// `Surrogate-Capability: larder="Surrogate/1.0"`.
pub const SURROGATE_TARGET: &str = "larder";

/// RFC 9111 §1.2.2: what is greater than this many seconds counts as this many.
const GREATEST_SECONDS: u64 = 1 << 31;

/// The directives of a response that count for a shared cache.
///
/// A lifetime or window is `None` when it is not stated. One that is stated but is no number (`-3600`, `1.5`, `'60'`,
/// nothing) is zero: caches are encouraged to take invalid freshness information for stale (RFC 9111 §4.2.1). Stated
/// more than once, the least counts. A field list (`no-cache="set-cookie"`) is not told from its absence, as
/// RFC 9111 §5.2.2.4 and §5.2.2.7 allow.
///
/// RFC 9111 §5.2.2, RFC 5861.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseDirectives {
    /// Do not store (§5.2.2.5).
    pub no_store: bool,
    /// Do not use without revalidation (§5.2.2.4).
    pub no_cache: bool,
    /// For one user only (§5.2.2.7).
    pub private: bool,
    /// May be stored even where it otherwise would not (§5.2.2.9).
    pub public: bool,
    /// Never to be used stale (§5.2.2.2).
    pub must_revalidate: bool,
    /// Never to be used stale by a shared cache (§5.2.2.8).
    pub proxy_revalidate: bool,
    /// To be stored only by who understands the status (§5.2.2.3).
    pub must_understand: bool,
    /// Not to be transformed (§5.2.2.6).
    pub no_transform: bool,
    /// The freshness lifetime (§5.2.2.1).
    pub max_age: Option<Duration>,
    /// The freshness lifetime for shared caches (§5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// How long after it became stale it may serve while a refresh is under way (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// How long after it became stale it may serve in place of an error (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

/// The directives of a request. What is no number is not there, but for `max-age`, where it is zero.
///
/// RFC 9111 §5.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestDirectives {
    /// Do not store the answer (§5.2.1.5).
    pub no_store: bool,
    /// Revalidate first (§5.2.1.4).
    pub no_cache: bool,
    /// Answer from the store or not at all (§5.2.1.7).
    pub only_if_cached: bool,
    /// The greatest age that will do (§5.2.1.1).
    pub max_age: Option<Duration>,
    /// The least remaining freshness that will do (§5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// How stale an answer may be (§5.2.1.2).
    pub max_stale: Option<MaxStale>,
}

/// The argument of `max-stale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxStale {
    /// None given: however stale.
    Any,
    /// Stale for at most this long.
    Within(Duration),
}

/// Which field told us how to cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `CDN-Cache-Control`
    CdnCacheControl,
    /// `Surrogate-Control`
    SurrogateControl,
    /// `Cache-Control`, with `Expires`
    CacheControl,
}

/// The directives that govern a response for us, and where they were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Governing {
    /// The field that was chosen. `Expires` counts only with [`Source::CacheControl`].
    pub source: Source,
    /// What it says.
    pub directives: ResponseDirectives,
}

/// Reads `Cache-Control` of a response, all its lines.
///
/// RFC 9111 §5.2.2.
pub fn response(headers: &HeaderMap) -> ResponseDirectives {
    let mut directives = ResponseDirectives::default();
    for line in headers.get_all(header::CACHE_CONTROL) {
        let mut members = Members::of(line.as_bytes());
        for text in &mut members {
            let member = Member::of(text);
            directives.take(&member.name, member.argument);
        }
        // A quote that is never closed: we cannot know what it was meant to hide, so we do not trust what it left.
        directives.no_cache |= members.is_broken;
    }
    directives
}

/// Reads `Cache-Control` of a request, all its lines; without any, `Pragma: no-cache` counts as `no-cache`.
///
/// RFC 9111 §5.2.1, §5.4.
pub fn request(headers: &HeaderMap) -> RequestDirectives {
    let mut directives = RequestDirectives::default();
    for line in headers.get_all(header::CACHE_CONTROL) {
        for text in &mut Members::of(line.as_bytes()) {
            let member = Member::of(text);
            directives.take(&member.name, member.argument);
        }
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        directives.no_cache = headers
            .get_all(header::PRAGMA)
            .into_iter()
            .any(|line| (&mut Members::of(line.as_bytes())).any(|text| text.eq_ignore_ascii_case(b"no-cache")));
    }
    directives
}

/// Chooses the field that governs a response for a cache that acts for the origin, and reads it.
///
/// The first of these that has a valid value that is not empty: `CDN-Cache-Control`, `Surrogate-Control`,
/// `Cache-Control`. The ones after it do not count at all: a `no-store` in `Cache-Control` is for others.
///
/// RFC 9213 §2.2; the place of `Surrogate-Control` is ours.
pub fn governing(headers: &HeaderMap) -> Governing {
    if let Some(directives) = cdn_cache_control(headers) {
        return Governing { source: Source::CdnCacheControl, directives };
    }
    if let Some(directives) = surrogate_control(headers) {
        return Governing { source: Source::SurrogateControl, directives };
    }
    Governing { source: Source::CacheControl, directives: response(headers) }
}

/// Reads `CDN-Cache-Control`, a dictionary of structured fields. `None`: not there, empty, or malformed.
///
/// RFC 9213 §2.1: "if a targeted field in a given response is empty, or a parsing error is encountered, that field
/// is ignored".
fn cdn_cache_control(headers: &HeaderMap) -> Option<ResponseDirectives> {
    let mut lines = headers.get_all(CDN_CACHE_CONTROL).into_iter().map(http::HeaderValue::as_bytes);
    let first = lines.next()?;
    // RFC 9110 §5.3: several lines are one list.
    let value = lines.fold(first.to_vec(), |mut joined, line| {
        if !joined.is_empty() && !line.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line);
        joined
    });
    let dictionary: Dictionary = Parser::new(&value).parse().ok()?;
    let mut directives = ResponseDirectives::default();
    for (name, entry) in &dictionary {
        directives.take_structured(name.as_str(), entry);
    }
    (!dictionary.is_empty()).then_some(directives)
}

/// Reads `Surrogate-Control`. `None`: it says nothing about caching to us.
///
/// A directive with names behind semicolons is for those; what is for us by name outranks what is for everybody.
/// `content="ESI/1.0"` and other unknown directives do not make the field one about caching.
///
/// W3C Edge Architecture Specification §2.2, §2.3.
fn surrogate_control(headers: &HeaderMap) -> Option<ResponseDirectives> {
    let mut general = ResponseDirectives::default();
    let mut ours = ResponseDirectives::default();
    let mut is_known = false;
    for line in headers.get_all(SURROGATE_CONTROL) {
        let mut members = Members::of(line.as_bytes());
        for text in &mut members {
            let (directive, targets) = split_at_byte(text, b';');
            let member = Member::of(directive.trim_ascii());
            let directives = match targets {
                None => &mut general,
                Some(targets) if names_us(targets) => &mut ours,
                Some(_) => continue,
            };
            is_known |= directives.take_surrogate(&member);
        }
        general.no_cache |= members.is_broken;
    }
    is_known.then(|| ours.over(general))
}

/// Whether one of these names, parted by semicolons, is ours.
fn names_us(targets: &[u8]) -> bool {
    targets.split(|&byte| byte == b';').any(|name| name.trim_ascii().eq_ignore_ascii_case(SURROGATE_TARGET.as_bytes()))
}

impl ResponseDirectives {
    /// Notes one directive of a comma list; says whether it is a known one. `name` is in lower case.
    ///
    /// What forbids counts with an argument too; what permits (`public`, `must-understand`) does not.
    fn take(&mut self, name: &[u8], argument: Option<&[u8]>) -> bool {
        let is_bare = argument.is_none();
        self.take_with(name, is_bare, argument.and_then(seconds))
    }

    /// Notes one member of a dictionary. A member of the wrong type is invalid, as in a comma list.
    ///
    /// RFC 9213 §2.1: a directive without an argument is a Boolean, a number is an Integer.
    fn take_structured(&mut self, name: &str, entry: &ListEntry) {
        let value = match entry {
            ListEntry::Item(Item { bare_item, .. }) => Some(bare_item),
            ListEntry::InnerList(_) => None,
        };
        // `no-store=?0` takes it back.
        if matches!(value, Some(BareItem::Boolean(false))) {
            return;
        }
        let is_bare = matches!(value, Some(BareItem::Boolean(true)));
        let number = match value {
            Some(BareItem::Integer(number)) => u64::try_from(i64::from(*number)).ok().map(saturated),
            _ => None,
        };
        self.take_with(name.as_bytes(), is_bare, number);
    }

    /// Notes one directive of `Surrogate-Control`; says whether it is a known one.
    ///
    /// `max-age=60+600`: fresh for 60 s, and for 600 s more it may serve stale.
    fn take_surrogate(&mut self, member: &Member<'_>) -> bool {
        if *member.name == *b"max-age"
            && let Some((fresh, Some(stale))) = member.argument.map(|argument| split_at_byte(argument, b'+'))
        {
            self.take(b"stale-while-revalidate", Some(stale));
            self.take(b"stale-if-error", Some(stale));
            return self.take(b"max-age", Some(fresh));
        }
        self.take(&member.name, member.argument)
    }

    fn take_with(&mut self, name: &[u8], is_bare: bool, number: Option<Duration>) -> bool {
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public |= is_bare,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand |= is_bare,
            b"no-transform" => self.no_transform = true,
            b"max-age" => keep_least(&mut self.max_age, number),
            b"s-maxage" => keep_least(&mut self.s_maxage, number),
            b"stale-while-revalidate" => keep_least(&mut self.stale_while_revalidate, number),
            b"stale-if-error" => keep_least(&mut self.stale_if_error, number),
            _ => return false,
        }
        true
    }

    /// Lays these directives over others: the durations replace theirs, the rest is added.
    fn over(self, others: Self) -> Self {
        Self {
            no_store: self.no_store || others.no_store,
            no_cache: self.no_cache || others.no_cache,
            private: self.private || others.private,
            public: self.public || others.public,
            must_revalidate: self.must_revalidate || others.must_revalidate,
            proxy_revalidate: self.proxy_revalidate || others.proxy_revalidate,
            must_understand: self.must_understand || others.must_understand,
            no_transform: self.no_transform || others.no_transform,
            max_age: self.max_age.or(others.max_age),
            s_maxage: self.s_maxage.or(others.s_maxage),
            stale_while_revalidate: self.stale_while_revalidate.or(others.stale_while_revalidate),
            stale_if_error: self.stale_if_error.or(others.stale_if_error),
        }
    }
}

impl RequestDirectives {
    /// Notes one directive. `name` is in lower case. Of repeated ones the stricter counts.
    fn take(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let number = argument.and_then(seconds);
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => keep_least(&mut self.max_age, number),
            b"min-fresh" => self.min_fresh = self.min_fresh.max(number),
            b"max-stale" => self.take_max_stale(argument.is_none(), number),
            _ => {}
        }
    }

    fn take_max_stale(&mut self, is_bare: bool, number: Option<Duration>) {
        self.max_stale = match (self.max_stale, number) {
            (Some(MaxStale::Within(former)), Some(new)) => Some(MaxStale::Within(former.min(new))),
            (_, Some(new)) => Some(MaxStale::Within(new)),
            (None, None) if is_bare => Some(MaxStale::Any),
            (former, None) => former,
        };
    }
}

/// Keeps the lesser of two durations; one that is no number is zero.
fn keep_least(kept: &mut Option<Duration>, stated: Option<Duration>) {
    let stated = stated.unwrap_or(Duration::ZERO);
    *kept = Some(kept.map_or(stated, |former| former.min(stated)));
}

/// Reads a number of seconds, bare or as a quoted string; `None`: it is something else.
///
/// RFC 9111 §1.2.2, and §5.2: "recipients ought to accept both forms".
fn seconds(argument: &[u8]) -> Option<Duration> {
    let quoted = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let digits = quoted.unwrap_or(argument);
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = (number * 10 + u64::from(byte - b'0')).min(GREATEST_SECONDS);
    }
    Some(saturated(number))
}

fn saturated(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(GREATEST_SECONDS))
}
