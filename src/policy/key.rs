//! Under which key is the answer to a request stored?

use std::borrow::{Borrow, Cow};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use http::header::{self, HeaderMap};
use smallvec::SmallVec;

use super::treatment::{Glob, KeyRules};

/// Tells this layout from earlier and later ones.
const LAYOUT: u8 = 2;

/// What stands between a scheme and an authority.
const SCHEME_END: &str = "://";

/// Most keys fit, so that looking one up allocates nothing.
const INLINE: usize = 256;

/// What a part of a key is. Without it, a header `a` and a cookie `a` of the same value would be one key.
#[derive(Debug, Clone, Copy)]
enum Part {
    HeaderName = 1,
    CookieName = 2,
    Value = 3,
}

/// The key of a stored response: its URL, and what the rules add.
///
/// A byte for the layout; the lengths of scheme, authority and URL; the URL; then the parts that rules add, each with its
/// kind and its length.
///
/// Two requests have the same key exactly when all its parts are the same. Compares and hashes as its bytes do, so a
/// map of keys is asked with the bytes of a [`KeyBuffer`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key of a request; what of it counts is told at [`KeyBuffer::of`].
    pub fn of(scheme: &str, authority: &str, target: &str, headers: &HeaderMap, rules: &KeyRules) -> Self {
        KeyBuffer::of(scheme, authority, target, headers, rules).to_key()
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its parts; `None` where the bytes are none of a key of this layout.
    pub fn parts(&self) -> Option<Parts> {
        Parts::of(&self.0)
    }

    /// The URL in it; an empty one where the bytes are none of a key of this layout.
    pub fn url(&self) -> Url<'_> {
        Url::of(&self.0).map(|(url, _)| url).unwrap_or_default()
    }

    /// Takes bytes that [`Key::as_bytes`] gave, on this node or another one.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// A key on the stack, to look up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyBuffer(SmallVec<[u8; INLINE]>);

impl KeyBuffer {
    /// Builds the key of a request.
    ///
    /// `scheme`, `authority`: as the client uses them, the authority in lower case without a default port. `target`:
    /// path and query, the bytes as they came: nothing is decoded, and `/a?` is not `/a`. `headers`: the request's.
    ///
    /// RFC 9111 §2: the key is at least the target URI. Methods are not part of it: `GET` and `HEAD` share it, and
    /// other methods are not looked up.
    pub fn of(scheme: &str, authority: &str, target: &str, headers: &HeaderMap, rules: &KeyRules) -> Self {
        let target = normalised_target(target, rules);
        let url = [scheme, SCHEME_END, authority, &target];
        let mut key = Self(SmallVec::new());
        key.0.push(LAYOUT);
        for length in [scheme.len(), authority.len(), url.iter().map(|part| part.len()).sum()] {
            key.push_length(length);
        }
        for part in url {
            key.0.extend_from_slice(part.as_bytes());
        }
        for name in &rules.headers {
            key.push(Part::HeaderName, name.as_str().as_bytes());
            if let Some(value) = combined(headers, name) {
                key.push(Part::Value, &value);
            }
        }
        for name in &rules.cookies {
            key.push(Part::CookieName, name.as_bytes());
            for value in cookies(headers, name.as_bytes()) {
                key.push(Part::Value, value);
            }
        }
        key
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same key, to keep.
    pub fn to_key(&self) -> Key {
        Key(Arc::from(self.0.as_slice()))
    }

    /// A number that is the same for the same key, on every node that runs this version: which origin address the
    /// key belongs to. Not for tables that an attacker fills.
    pub fn hash(&self) -> u64 {
        FixedState::default().hash_one(self.as_bytes())
    }

    /// Adds a part: what it is, how long it is, and its bytes. The length is what makes keys injective: no byte of a
    /// part can pass for the beginning of the next one.
    fn push(&mut self, part: Part, bytes: &[u8]) {
        self.0.push(part as u8);
        self.push_length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// Adds a length: seven bits a byte, the lowest first, the eighth where more follow.
    fn push_length(&mut self, mut length: usize) {
        while length > 0x7f {
            self.0.push(length.to_le_bytes()[0] | 0x80);
            length >>= 7;
        }
        self.0.push(length.to_le_bytes()[0]);
    }
}

/// Reads a length, and gives what follows it.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(length).ok()?, &bytes[index + 1..]));
        }
    }
    None
}

/// The URL in a key: absolute, its authority in lower case without a default port, its query as far as it counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Url<'a> {
    /// All of it.
    pub whole: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, and port where it is not the scheme's.
    pub authority: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// Scheme and authority: `https://shop.example`.
    pub origin: &'a str,
}

impl<'a> Url<'a> {
    /// Reads the URL at the beginning of a key, and gives what follows it.
    fn of(key: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&layout, rest) = key.split_first()?;
        let (scheme, rest) = length(rest)?;
        let (authority, rest) = length(rest)?;
        let (whole, rest) = length(rest)?;
        let (whole, rest) = rest.split_at_checked(whole)?;
        let whole = str::from_utf8(whole).ok().filter(|_| layout == LAYOUT)?;
        let (scheme, after) = whole.split_at_checked(scheme)?;
        let (authority, target) = after.strip_prefix(SCHEME_END)?.split_at_checked(authority)?;
        let origin = &whole[..whole.len() - target.len()];
        Some((Self { whole, scheme, authority, target, origin }, rest))
    }
}

/// What a key tells of the requests that have it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// `http` or `https`.
    pub scheme: String,
    /// Host, and port where it is not the scheme's.
    pub authority: String,
    /// Path and query, as far as they count.
    pub target: String,
    /// Request fields that count; `None`: the request does not have it.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Cookies that count, with all their values.
    pub cookies: Vec<(String, Vec<Vec<u8>>)>,
}

impl Parts {
    fn of(key: &[u8]) -> Option<Self> {
        let (url, mut rest) = Url::of(key)?;
        let mut parts = Self {
            scheme: url.scheme.to_owned(),
            authority: url.authority.to_owned(),
            target: url.target.to_owned(),
            ..Self::default()
        };
        let mut is_cookie = false;
        while let Some((&part, more)) = rest.split_first() {
            let (length, more) = length(more)?;
            let (bytes, more) = more.split_at_checked(length)?;
            rest = more;
            let text = || String::from_utf8(bytes.to_vec()).ok();
            match part {
                part if part == Part::HeaderName as u8 => parts.headers.push((text()?, None)),
                part if part == Part::CookieName as u8 => {
                    is_cookie = true;
                    parts.cookies.push((text()?, Vec::new()));
                }
                part if part == Part::Value as u8 && is_cookie => parts.cookies.last_mut()?.1.push(bytes.to_vec()),
                part if part == Part::Value as u8 => parts.headers.last_mut()?.1 = Some(bytes.to_vec()),
                _ => return None,
            }
        }
        Some(parts)
    }

    /// Whether something in it is a client's secret: a cookie, or what stands in `Authorization`.
    pub fn hold_secrets(&self) -> bool {
        !self.cookies.is_empty() || self.headers.iter().any(|(name, _)| is_secret(name))
    }

    /// Fields that a request with these parts has, as far as they count.
    pub fn to_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = value.as_ref().and_then(|value| header::HeaderValue::from_bytes(value).ok());
            if let (Ok(name), Some(value)) = (header::HeaderName::from_bytes(name.as_bytes()), value) {
                headers.append(name, value);
            }
        }
        for (name, values) in &self.cookies {
            for value in values {
                let pair = [name.as_bytes(), b"=", value].concat();
                if let Ok(pair) = header::HeaderValue::from_bytes(&pair) {
                    headers.append(header::COOKIE, pair);
                }
            }
        }
        headers
    }
}

/// Whether the values of a request field are secrets of whoever sent it.
pub fn is_secret(name: &str) -> bool {
    ["authorization", "cookie", "proxy-authorization"].contains(&name)
}

/// The path and query that count under `rules`: parameters left out and put in order as they say.
///
/// Names compare as raw bytes, globs allowed. Parameters of one name keep their order. Where no parameter is left,
/// neither is the `?`; but a target without parameters to leave out stays as it came.
pub fn normalised_target<'a>(target: &'a str, rules: &KeyRules) -> Cow<'a, str> {
    if rules.query_is_plain() {
        return Cow::Borrowed(target);
    }
    let Some((path, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
    let mut kept: SmallVec<[&str; 16]> =
        query.split('&').filter(|parameter| counts(parameter_name(parameter), rules)).collect();
    if rules.query_sort {
        kept.sort_by(|one, other| parameter_name(one).cmp(parameter_name(other)));
    }
    if kept.is_empty() {
        return Cow::Borrowed(path);
    }
    let mut normalised = String::with_capacity(target.len());
    normalised.push_str(path);
    for (index, parameter) in kept.iter().enumerate() {
        normalised.push(if index == 0 { '?' } else { '&' });
        normalised.push_str(parameter);
    }
    Cow::Owned(normalised)
}

/// The name of a query parameter: what stands before its first `=`.
pub(crate) fn parameter_name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// Whether a parameter of this name counts: it is included (no list includes all), and not excluded.
fn counts(name: &str, rules: &KeyRules) -> bool {
    let any = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(name));
    (rules.query_include.is_empty() || any(&rules.query_include)) && !any(&rules.query_exclude)
}

/// The value of a field, its lines combined with commas; `None`: the request does not have it. Never with white space at
/// its ends, so that it is the same once it was sent as one line.
///
/// RFC 9110 §5.3.
fn combined<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii());
    let first = lines.next()?;
    Some(lines.fold(Cow::Borrowed(first), |mut value, line| {
        value.to_mut().extend_from_slice(if line.is_empty() { b"," } else { b", " });
        value.to_mut().extend_from_slice(line);
        value
    }))
}

/// The values of the cookies of this name, on all `Cookie` lines (HTTP/2 sends several, RFC 9113 §8.2.3).
fn cookies<'a>(headers: &'a HeaderMap, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let equals = memchr::memchr(b'=', pair)?;
            Some((pair[..equals].trim_ascii_end(), pair[equals + 1..].trim_ascii_start()))
        })
        .filter_map(move |(found, value)| (found == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn query(include: &[&str], exclude: &[&str], sort: bool) -> KeyRules {
        let globs = |texts: &[&str]| texts.iter().map(|text| Glob::new(text)).collect();
        KeyRules {
            query_include: globs(include),
            query_exclude: globs(exclude),
            query_sort: sort,
            ..KeyRules::default()
        }
    }

    type Lines = &'static [(&'static str, &'static str)];

    fn fields(lines: Lines) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn targets_are_normalised_as_the_rules_say() {
        let cases = [
            ("/a?b=1&a=2", query(&[], &[], false), "/a?b=1&a=2", "plain rules change nothing"),
            ("/a", query(&[], &["x"], true), "/a", "no query"),
            ("/a?", query(&[], &["x"], false), "/a?", "an empty query is not no query"),
            ("/a?utm_source=x&id=1", query(&[], &["utm_*"], false), "/a?id=1", "excluded by a glob"),
            ("/a?utm_source=x", query(&[], &["utm_*"], false), "/a", "nothing left, so no question mark"),
            ("/a?x=1&id=2&y=3", query(&["id"], &[], false), "/a?id=2", "only what is included"),
            ("/a?id=1&idx=2", query(&["id*"], &["idx"], false), "/a?id=1", "exclusion wins"),
            ("/a?b=1&a=2&b=0", query(&[], &[], true), "/a?a=2&b=1&b=0", "sorted by name, same names keep their order"),
            ("/a?B=1&a=2", query(&[], &[], true), "/a?B=1&a=2", "raw bytes: capitals come first"),
            ("/a?%61=1&a=2", query(&["a"], &[], false), "/a?a=2", "raw bytes: nothing is decoded"),
            ("/a?b&a", query(&[], &[], true), "/a?a&b", "a parameter without a value"),
            ("/a?x=1?y&x==2", query(&["x"], &[], false), "/a?x=1?y&x==2", "only the first ? and = divide"),
            ("/a?b=1&&a=1", query(&[], &["a"], false), "/a?b=1&", "an empty parameter stays as it came"),
        ];
        for (target, rules, want, why) in cases {
            assert_eq!(normalised_target(target, &rules), want, "{why}");
        }
    }

    #[test]
    fn a_key_tells_its_parts_and_they_make_it_again() {
        let rules = KeyRules {
            headers: vec![HeaderName::from_static("x-device"), HeaderName::from_static("x-absent")],
            cookies: vec!["tier".to_owned(), "none".to_owned()],
            ..query(&[], &["utm_*"], true)
        };
        let headers = fields(&[("x-device", "phone"), ("cookie", "tier=1; a=b; tier=2")]);
        let key = Key::of("https", "a.test", "/p?b=1&utm_id=2&a=3", &headers, &rules);
        let parts = key.parts().unwrap();
        let want = Parts {
            scheme: "https".to_owned(),
            authority: "a.test".to_owned(),
            target: "/p?a=3&b=1".to_owned(),
            headers: vec![("x-device".to_owned(), Some(b"phone".to_vec())), ("x-absent".to_owned(), None)],
            cookies: vec![("tier".to_owned(), vec![b"1".to_vec(), b"2".to_vec()]), ("none".to_owned(), vec![])],
        };
        assert_eq!(parts, want);
        let again = KeyBuffer::of(&parts.scheme, &parts.authority, &parts.target, &parts.to_headers(), &rules);
        assert_eq!(again.to_key(), key);
        assert!(parts.hold_secrets() && !Parts { cookies: vec![], ..parts }.hold_secrets());
        let bytes = key.as_bytes();
        let plain = Key::of("https", "a.test", "/", &HeaderMap::new(), &KeyRules::default());
        let [another_layout, long] = [(0, 1), (1, 99)].map(|(at, byte)| {
            let mut bytes = bytes.to_vec();
            bytes[at] = byte;
            bytes
        });
        let endless = [&[LAYOUT][..], &[0x80; 12]].concat();
        let value_of_nothing = [plain.as_bytes(), &[Part::Value as u8, 0]].concat();
        for foreign in [b"", &bytes[..bytes.len() - 1], &another_layout, &long, &endless, &value_of_nothing] {
            assert_eq!(Key::from_bytes(foreign).parts(), None, "no key: {foreign:?}");
        }
        assert_eq!(Key::from_bytes(&endless).url(), Url::default());
    }

    #[test]
    fn what_counts_changes_the_key_and_the_rest_does_not() {
        let by = |headers: &[&'static str], cookies: &[&str]| KeyRules {
            headers: headers.iter().map(|&name| HeaderName::from_static(name)).collect(),
            cookies: cookies.iter().map(|&name| name.to_owned()).collect(),
            ..KeyRules::default()
        };
        let cases: [(KeyRules, Lines, Lines, bool, &str); 14] = [
            (by(&[], &[]), &[("x", "1")], &[("x", "2")], true, "a field that no rule names"),
            (by(&["x"], &[]), &[("x", "1")], &[("x", "2")], false, "a field that a rule names"),
            (by(&["x"], &[]), &[("x", "1"), ("x", "2")], &[("x", "1, 2")], true, "lines are combined"),
            (by(&["x"], &[]), &[("x", ""), ("x", "")], &[("x", ",")], true, "also empty ones"),
            (by(&["x"], &[]), &[("x", "")], &[], false, "empty is not absent"),
            (by(&["x", "y"], &[]), &[("x", "1")], &[("y", "1")], false, "which field it is counts"),
            (by(&[], &["s"]), &[("cookie", "s=1; t=2")], &[("cookie", "t=3; s=1")], true, "only the named cookie"),
            (by(&[], &["s"]), &[("cookie", "s=1")], &[("cookie", "s=2")], false, "its value counts"),
            (by(&[], &["s"]), &[("cookie", "a=1"), ("cookie", "s=1")], &[("cookie", "a=1;s=1")], true, "several lines"),
            (by(&[], &["s"]), &[("cookie", "s=1; s=2")], &[("cookie", "s=2; s=1")], false, "all of one name, in order"),
            (by(&[], &["s"]), &[("cookie", "s=")], &[("cookie", "t=1")], false, "empty is not absent"),
            (by(&[], &["s"]), &[("cookie", "S=1")], &[("cookie", "s=1")], false, "names of cookies know case"),
            (by(&[], &["s"]), &[("cookie", "s=a=b")], &[("cookie", "s=a")], false, "only the first = divides"),
            (by(&[], &["s"]), &[("cookie", "s")], &[], true, "what is no pair is no cookie"),
        ];
        for (rules, one, other, same, why) in cases {
            let [one, other] = [one, other].map(|lines| KeyBuffer::of("http", "a.test", "/", &fields(lines), &rules));
            assert_eq!(one == other, same, "{why}");
        }
    }

    #[test]
    fn a_header_and_a_cookie_of_one_name_are_told_apart() {
        let headers = fields(&[("s", "1"), ("cookie", "s=1")]);
        let header = KeyRules { headers: vec![HeaderName::from_static("s")], ..KeyRules::default() };
        let cookie = KeyRules { cookies: vec!["s".to_owned()], ..KeyRules::default() };
        assert_ne!(
            KeyBuffer::of("http", "a.test", "/", &headers, &header),
            KeyBuffer::of("http", "a.test", "/", &headers, &cookie)
        );
    }

    #[test]
    fn an_ordinary_key_stays_on_the_stack() {
        let target = format!("/{}", "p".repeat(150));
        let key = KeyBuffer::of("https", "shop.example:8443", &target, &HeaderMap::new(), &KeyRules::default());
        assert!(!key.0.spilled());
    }

    #[test]
    fn a_map_of_keys_is_asked_with_bytes() {
        let buffer = KeyBuffer::of("http", "a.test", "/", &HeaderMap::new(), &KeyRules::default());
        let map = std::collections::HashMap::from([(buffer.to_key(), 1)]);
        assert_eq!(map.get(buffer.as_bytes()), Some(&1));
        assert_eq!(Key::from_bytes(buffer.as_bytes()), buffer.to_key());
    }

    proptest! {
        #[test]
        fn keys_are_injective(one in parts(), other in parts()) {
            let key = |(scheme, authority, target): &(String, String, String)| {
                KeyBuffer::of(scheme, authority, target, &HeaderMap::new(), &KeyRules::default())
            };
            prop_assert_eq!(key(&one) == key(&other), one == other);
            prop_assert_eq!(key(&one).hash() == key(&other).hash(), one == other);
        }

        #[test]
        fn the_values_of_fields_do_not_run_into_one_another(one in values(), other in values()) {
            let rules = KeyRules {
                headers: vec![HeaderName::from_static("x"), HeaderName::from_static("y")],
                ..KeyRules::default()
            };
            let key = |values: &[Option<String>; 2]| {
                let mut headers = HeaderMap::new();
                for (name, value) in ["x", "y"].into_iter().zip(values) {
                    if let Some(value) = value {
                        headers.insert(name, HeaderValue::from_str(value).unwrap());
                    }
                }
                KeyBuffer::of("http", "a.test", "/", &headers, &rules)
            };
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }
    }

    /// Short strings of few letters, so that equal ones and shifted boundaries are likely.
    fn parts() -> impl Strategy<Value = (String, String, String)> {
        ("[ab]{0,2}", "[ab]{0,2}", "[ab]{0,2}")
    }

    fn values() -> impl Strategy<Value = [Option<String>; 2]> {
        [proptest::option::of("[ab, ]{0,3}"), proptest::option::of("[ab, ]{0,3}")]
            .prop_map(|values| values.map(|value| value.map(|text| text.trim().to_owned())))
    }
}
