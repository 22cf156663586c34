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

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, proptest};

    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    fn cache_control(line: &str) -> HeaderMap {
        head(&[("cache-control", line)])
    }

    #[expect(clippy::unnecessary_wraps, reason = "a column of options reads better without Some")]
    const fn secs(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn max_age_is_read_as_numbers_are() {
        let cases: &[(&str, Option<Duration>, &str)] = &[
            ("max-age=3600", secs(3600), "plain"),
            ("MaX-aGe=3600", secs(3600), "names are case-insensitive"),
            ("max-age=003600", secs(3600), "leading zeros do no harm"),
            ("max-age=\"3600\"", secs(3600), "a recipient ought to take a quoted string too"),
            ("foobar, max-age=3600", secs(3600), "unknown directives are ignored"),
            ("foo=bar;baz, max-age=3600 ,", secs(3600), "with arguments, empty members and space"),
            (",,, max-age=3600", secs(3600), "empty members"),
            ("max-age=1800, max-age=1", secs(1), "the least of several"),
            ("max-age=1, max-age=1800", secs(1), "the least of several"),
            ("max-age=10, max-age=x", secs(0), "an invalid one among several"),
            ("max-age=2147483647", secs(2_147_483_647), "below the limit"),
            ("max-age=2147483648", secs(1 << 31), "the limit"),
            ("max-age=99999999999", secs(1 << 31), "beyond the limit"),
            ("max-age=99999999999999999999999999", secs(1 << 31), "beyond what an integer holds"),
            ("max-age='3600'", secs(0), "single quotes quote nothing"),
            ("max-age=-3600", secs(0), "negative"),
            ("max-age=+3600", secs(0), "a sign"),
            ("max-age=1.5", secs(0), "a fraction"),
            ("max-age=3600a", secs(0), "letters behind"),
            ("max-age=a3600", secs(0), "letters in front"),
            ("max-age=", secs(0), "empty"),
            ("max-age=\"\"", secs(0), "empty, quoted"),
            ("max-age=\"", secs(0), "a lone quote"),
            ("max-age", secs(0), "no argument"),
            ("max-age =3600", secs(0), "space before the equals sign"),
            ("max-age= 3600", secs(0), "space after the equals sign"),
            ("max-age=3600;foo", secs(0), "a parameter is no digit"),
            ("extension=\"max-age=3600\", max-age=1", secs(1), "in a quoted string, before"),
            ("max-age=1, extension=\"max-age=3600\"", secs(1), "in a quoted string, after"),
            ("extension=\"a\\\", max-age=3600\", max-age=1", secs(1), "an escaped quote does not close"),
            ("extension=\"max-age=3600\"", None, "only in a quoted string"),
            ("xmax-age=3600, max-agex=3600", None, "other names"),
            ("a-name-longer-than-every-directive-there-is=1", None, "a long name"),
            ("", None, "nothing"),
        ];
        for &(line, want, why) in cases {
            assert_eq!(response(&cache_control(line)).max_age, want, "{line:?}: {why}");
        }
    }

    #[test]
    fn what_forbids_counts_however_it_is_written_and_what_permits_does_not() {
        type Flag = fn(&ResponseDirectives) -> bool;
        let cases: &[(&str, Flag, bool, &str)] = &[
            ("No-StOrE", |it| it.no_store, true, "names are case-insensitive"),
            ("no-store=1", |it| it.no_store, true, "an argument does not weaken it"),
            ("no-store =1", |it| it.no_store, true, "nor does a space"),
            ("No-Cache", |it| it.no_cache, true, "names are case-insensitive"),
            ("no-cache=\"set-cookie, a\"", |it| it.no_cache, true, "a field list is not told from its absence"),
            ("private=\"x-foo\"", |it| it.private, true, "a field list is not told from its absence"),
            ("proxy-revalidate", |it| it.proxy_revalidate, true, "plain"),
            ("must-revalidate", |it| it.must_revalidate, true, "plain"),
            ("no-transform", |it| it.no_transform, true, "plain"),
            ("public", |it| it.public, true, "plain"),
            ("public=0", |it| it.public, false, "public takes no argument"),
            ("must-understand", |it| it.must_understand, true, "plain"),
            ("must-understand=?0", |it| it.must_understand, false, "must-understand takes no argument"),
            ("extension=\"no-store\"", |it| it.no_store, false, "in a quoted string"),
            ("extension=\"a, no-store", |it| it.no_store, true, "a quote that is never closed hides nothing"),
            ("extension=\"a, max-age=60", |it| it.no_cache, true, "and makes the rest doubtful"),
            ("extension=\"a\", max-age=60", |it| it.no_cache, false, "one that is closed does not"),
        ];
        for &(line, flag, want, why) in cases {
            assert_eq!(flag(&response(&cache_control(line))), want, "{line:?}: {why}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let read = response(&head(&[("cache-control", "no-cache=\"a\""), ("cache-control", "max-age=60")]));
        assert_eq!((read.no_cache, read.max_age), (true, secs(60)));
    }

    #[test]
    fn a_request_is_read_with_the_stricter_of_repeated_directives() {
        type Case = (&'static [(&'static str, &'static str)], RequestDirectives, &'static str);
        let nothing = RequestDirectives::default();
        let cases: &[Case] = &[
            (&[("cache-control", "nothing-to-see-here")], nothing, "unknown"),
            (&[("pragma", "foo")], nothing, "unknown"),
            (&[("pragma", "no-cache")], RequestDirectives { no_cache: true, ..nothing }, "alone it counts"),
            (&[("pragma", "foo, No-Cache")], RequestDirectives { no_cache: true, ..nothing }, "in a list"),
            (&[("pragma", "no-cache"), ("cache-control", "foo")], nothing, "not next to Cache-Control"),
            (&[("cache-control", "No-Store")], RequestDirectives { no_store: true, ..nothing }, "any case"),
            (&[("cache-control", "only-if-cached")], RequestDirectives { only_if_cached: true, ..nothing }, "plain"),
            (&[("cache-control", "max-age=5, max-age=3")], RequestDirectives { max_age: secs(3), ..nothing }, "least"),
            (&[("cache-control", "max-age=x")], RequestDirectives { max_age: secs(0), ..nothing }, "invalid: strict"),
            (
                &[("cache-control", "min-fresh=5, min-fresh=9")],
                RequestDirectives { min_fresh: secs(9), ..nothing },
                "most",
            ),
            (&[("cache-control", "min-fresh=x")], nothing, "invalid: not there"),
            (
                &[("cache-control", "max-stale")],
                RequestDirectives { max_stale: Some(MaxStale::Any), ..nothing },
                "no argument: any",
            ),
            (
                &[("cache-control", "max-stale, max-stale=9, max-stale=10, max-stale")],
                RequestDirectives { max_stale: Some(MaxStale::Within(Duration::from_secs(9))), ..nothing },
                "the least tolerance",
            ),
            (&[("cache-control", "max-stale=x")], nothing, "invalid: not there"),
        ];
        for &(fields, want, why) in cases {
            assert_eq!(request(&head(fields)), want, "{fields:?}: {why}");
        }
    }

    #[test]
    fn targeted_fields_replace_cache_control() {
        use Source::{CacheControl, CdnCacheControl, SurrogateControl};
        const CDN: &str = "cdn-cache-control";
        const SURROGATE: &str = "surrogate-control";
        const PLAIN: (&str, &str) = ("cache-control", "no-store, max-age=7");
        type Case = (&'static [(&'static str, &'static str)], Source, bool, Option<Duration>, &'static str);
        let cases: &[Case] = &[
            (&[PLAIN], CacheControl, true, secs(7), "nothing targeted"),
            (&[PLAIN, (CDN, "max-age=60")], CdnCacheControl, false, secs(60), "it governs alone"),
            (&[PLAIN, (CDN, "foobar, max-age=60")], CdnCacheControl, false, secs(60), "unknown members"),
            (&[PLAIN, (CDN, "max-age=60;x=1")], CdnCacheControl, false, secs(60), "parameters do not count"),
            (&[PLAIN, (CDN, "max-age=99999999999")], CdnCacheControl, false, secs(1 << 31), "saturates"),
            (&[PLAIN, (CDN, "max-age=1, max-age=60")], CdnCacheControl, false, secs(60), "the last of a dictionary"),
            (&[PLAIN, (CDN, "max-age=60"), (CDN, "no-store")], CdnCacheControl, true, secs(60), "two lines, one field"),
            (&[PLAIN, (CDN, "max-age=60"), (CDN, "")], CdnCacheControl, false, secs(60), "an empty second line"),
            (&[PLAIN, (CDN, "no-store")], CdnCacheControl, true, None, "a Boolean"),
            (&[PLAIN, (CDN, "no-store=?0, max-age=60")], CdnCacheControl, false, secs(60), "taken back"),
            (&[PLAIN, (CDN, "no-store=1")], CdnCacheControl, true, None, "what forbids counts with an argument"),
            (&[PLAIN, (CDN, "max-age=\"10000\"")], CdnCacheControl, false, secs(0), "a string is no number"),
            (&[PLAIN, (CDN, "max-age=-5")], CdnCacheControl, false, secs(0), "negative"),
            (&[PLAIN, (CDN, "max-age=1.5")], CdnCacheControl, false, secs(0), "a decimal"),
            (&[PLAIN, (CDN, "max-age=(1 2)")], CdnCacheControl, false, secs(0), "an inner list"),
            (&[PLAIN, (CDN, "max-age")], CdnCacheControl, false, secs(0), "a Boolean is no number"),
            (&[PLAIN, (CDN, "max-age=60, &&&&&")], CacheControl, true, secs(7), "a parse error ignores all of it"),
            (&[PLAIN, (CDN, "max-age =60")], CacheControl, true, secs(7), "space is a parse error"),
            (&[PLAIN, (CDN, "MaX-aGe=60")], CacheControl, true, secs(7), "keys are in lower case"),
            (&[PLAIN, (CDN, "")], CacheControl, true, secs(7), "empty"),
            (&[PLAIN, (SURROGATE, "max-age=60")], SurrogateControl, false, secs(60), "it governs alone"),
            (&[PLAIN, (SURROGATE, "MaX-aGe=60")], SurrogateControl, false, secs(60), "names are case-insensitive"),
            (&[PLAIN, (SURROGATE, "foobar, max-age=60")], SurrogateControl, false, secs(60), "unknown directives"),
            (&[PLAIN, (SURROGATE, "max-age=99999999999")], SurrogateControl, false, secs(1 << 31), "saturates"),
            (&[PLAIN, (SURROGATE, "max-age=60;larder")], SurrogateControl, false, secs(60), "for us"),
            (&[PLAIN, (SURROGATE, "max-age=60;a; Larder")], SurrogateControl, false, secs(60), "for us among others"),
            (&[PLAIN, (SURROGATE, "max-age=60;other")], CacheControl, true, secs(7), "for others"),
            (&[PLAIN, (SURROGATE, "max-age=1, max-age=60;larder")], SurrogateControl, false, secs(60), "ours outranks"),
            (&[PLAIN, (SURROGATE, "content=\"ESI/1.0\"")], CacheControl, true, secs(7), "not about caching"),
            (&[PLAIN, (SURROGATE, "no-store, content=\"ESI/1.0\"")], SurrogateControl, true, None, "about caching too"),
            (&[PLAIN, (SURROGATE, "max-age =60")], SurrogateControl, false, secs(0), "space makes it invalid"),
            (&[PLAIN, (SURROGATE, "max-age=9"), (CDN, "max-age=60")], CdnCacheControl, false, secs(60), "the rank"),
            (
                &[PLAIN, (SURROGATE, "max-age=9"), (CDN, "&")],
                SurrogateControl,
                false,
                secs(9),
                "the next that is valid",
            ),
        ];
        for &(fields, source, no_store, max_age, why) in cases {
            let read = governing(&head(fields));
            let directives = read.directives;
            assert_eq!(
                (read.source, directives.no_store, directives.max_age),
                (source, no_store, max_age),
                "{fields:?}: {why}"
            );
        }
    }

    #[test]
    fn surrogate_control_states_a_stale_window_behind_a_plus() {
        let cases: &[(&str, [Option<Duration>; 2], &str)] = &[
            ("max-age=60+600", [secs(60), secs(600)], "fresh, then stale"),
            ("max-age=60+600;larder", [secs(60), secs(600)], "for us"),
            ("max-age=60+x", [secs(60), secs(0)], "no window"),
            ("max-age=60+", [secs(60), secs(0)], "no window"),
            ("max-age=60, stale-while-revalidate=5", [secs(60), secs(5)], "in words"),
        ];
        for &(line, want, why) in cases {
            let directives = governing(&head(&[("surrogate-control", line)])).directives;
            assert_eq!([directives.max_age, directives.stale_while_revalidate], want, "{line:?}: {why}");
        }
    }

    #[test]
    fn surrogate_control_with_an_open_quote_is_not_trusted() {
        let directives = governing(&head(&[("surrogate-control", "max-age=60, content=\"ESI/1.0")])).directives;
        assert_eq!((directives.max_age, directives.no_cache), (secs(60), true));
    }

    #[test]
    fn a_line_of_open_quotes_is_read_in_linear_time() {
        // Looking for the closing quote anew after each comma would take 2^30 steps and more.
        let line = format!("\"{}", "\\\",".repeat(20_000));
        let begun = std::time::Instant::now();
        assert!(response(&cache_control(&line)).no_cache);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn no_line_can_make_the_parsers_panic(line in "[ -~\\x80-\\xff\t]{0,60}") {
            for name in ["cache-control", "cdn-cache-control", "surrogate-control", "pragma"] {
                let headers = head(&[(name, &line)]);
                governing(&headers);
                request(&headers);
            }
        }

        #[test]
        fn a_no_store_outside_of_quotes_is_never_missed(before in "[a-z=0-9;, -]{0,20}", after in "[ -~]{0,20}") {
            let line = format!("{before},no-store,{after}");
            assert!(response(&cache_control(&line)).no_store, "{line:?}");
        }
    }
}
