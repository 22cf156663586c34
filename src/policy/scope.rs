//! What can a purge name, and by which names is a stored response known?
//!
//! A purge names scopes; a stored response has labels. Both are exact byte strings, compared as they are.

use std::fmt;

use http::HeaderMap;
use smallvec::SmallVec;

use super::key::Key;
use super::treatment::KeyRules;

/// What a purge names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every stored response.
    Everything,
    /// Every response of a host, in lower case; with a port: of that authority alone, without: on every port.
    Host(Box<str>),
    /// Every response whose URL begins so. Absolute, with at least the slash of the path.
    Prefix(Box<str>),
    /// Every response that carries this tag.
    Tag(Box<[u8]>),
    /// Every response of one origin that is in this group (RFC 9875).
    Group {
        /// Scheme and authority: `https://shop.example`.
        origin: Box<str>,
        /// The group's name.
        name: Box<[u8]>,
    },
    /// Every variant and method of one URL: absolute, its query normalised as in keys.
    Url(Box<str>),
}

impl Scope {
    /// The absolute URL of these parts, as scopes and labels write it.
    pub fn url(scheme: &str, authority: &str, target: &str) -> Self {
        Self::Url(absolute(scheme, authority, target).into_boxed_str())
    }

    /// Whether it names a response with these labels.
    pub fn names(&self, labels: &Labels) -> bool {
        match self {
            Self::Everything => true,
            Self::Host(host) => **host == *labels.authority() || **host == *labels.host(),
            Self::Prefix(prefix) => labels.url().starts_with(&**prefix),
            Self::Tag(tag) => labels.tags().iter().any(|label| *label == **tag),
            Self::Group { origin, name } => {
                **origin == *labels.origin() && labels.tags().groups().any(|group| *group == **name)
            }
            Self::Url(url) => **url == *labels.url(),
        }
    }

    /// The kind of scope, as receipts, logs and metrics write it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Host(_) => "host",
            Self::Prefix(_) => "prefix",
            Self::Tag(_) => "tag",
            Self::Group { .. } => "group",
            Self::Url(_) => "url",
        }
    }

    /// What it names, as text; bytes that are no text come out as U+FFFD.
    pub fn name(&self) -> String {
        match self {
            Self::Everything => String::new(),
            Self::Host(text) | Self::Prefix(text) | Self::Url(text) => text.to_string(),
            Self::Tag(tag) => String::from_utf8_lossy(tag).into_owned(),
            Self::Group { origin, name } => format!("{origin} {}", String::from_utf8_lossy(name)),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            named => write!(f, "{} {}", named.kind(), named.name()),
        }
    }
}

/// The absolute URL of these parts; without a target, the origin: `https://shop.example`.
pub fn absolute(scheme: &str, authority: &str, target: &str) -> String {
    [scheme, "://", authority, target].concat()
}

/// The names by which purges know a stored response: its URL, and its tags. Those are the same that name it alike,
/// whatever else their keys hold.
#[derive(Debug, Clone)]
pub struct Labels {
    /// The key that it is stored under: the URL is in it.
    key: Key,
    tags: Tags,
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.url() == other.url() && self.tags == other.tags
    }
}

impl Eq for Labels {}

impl Labels {
    /// The labels of a response that is stored under `key`.
    pub fn of(key: Key, tags: Tags) -> Self {
        Self { key, tags }
    }

    /// The labels of a response for this URL. `authority` as in keys: lower case, without the default port. `target`: path
    /// and query, normalised as in keys.
    pub fn new(scheme: &str, authority: &str, target: &str, tags: Tags) -> Self {
        Self::of(Key::of(scheme, authority, target, &HeaderMap::new(), &KeyRules::default()), tags)
    }

    /// The key that it is stored under.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The absolute URL.
    pub fn url(&self) -> &str {
        self.key.url().whole
    }

    /// Scheme and authority: `https://shop.example`.
    pub fn origin(&self) -> &str {
        self.key.url().origin
    }

    /// Host, and port where it is not the scheme's.
    pub fn authority(&self) -> &str {
        self.key.url().authority
    }

    /// The host without its port.
    pub fn host(&self) -> &str {
        host_of(self.authority())
    }

    /// The tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The same, with the tags of `other` as well: what is made of both is known by the tags of both.
    pub fn with_tags_of(&self, other: &Self) -> Self {
        Self { key: self.key.clone(), tags: self.tags.and(&other.tags) }
    }

    /// Bytes that they hold beside the key.
    pub fn weight(&self) -> usize {
        self.tags.0.as_ref().map_or(0, |tags| size_of::<TagList>() + tags.bytes.len() + size_of_val(&*tags.ends))
    }
}

/// An authority without its port. The colons of an IPv6 address stand within brackets.
pub fn host_of(authority: &str) -> &str {
    authority.trim_end_matches(|byte: char| byte.is_ascii_digit()).strip_suffix(':').unwrap_or(authority)
}

/// The tags of one stored response: distinct, exact byte strings. Those from `Cache-Groups` come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Option<Box<TagList>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct TagList {
    /// All of them, one after another.
    bytes: Box<[u8]>,
    /// Where each ends.
    ends: Box<[u32]>,
    /// How many are groups.
    groups: usize,
}

impl Tags {
    /// These groups (RFC 9875) and these other tags; what comes twice counts once.
    pub fn new<'a>(groups: impl IntoIterator<Item = &'a [u8]>, others: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all: SmallVec<[&[u8]; 16]> = SmallVec::new();
        let mut known = std::collections::HashSet::<&[u8], foldhash::fast::RandomState>::default();
        all.extend(groups.into_iter().filter(|group| known.insert(group)));
        let groups = all.len();
        all.extend(others.into_iter().filter(|tag| known.insert(tag)));
        let mut end = 0;
        let ends = all.iter().map(|tag| {
            end += tag.len();
            u32::try_from(end).unwrap_or(u32::MAX)
        });
        let list = TagList { ends: ends.collect(), bytes: all.concat().into_boxed_slice(), groups };
        Self((!list.ends.is_empty()).then(|| Box::new(list)))
    }

    fn list(&self) -> (&[u8], &[u32], usize) {
        self.0.as_ref().map_or((&[], &[], 0), |list| (&list.bytes, &list.ends, list.groups))
    }

    /// Each tag, groups first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let (bytes, ends, _) = self.list();
        (0..ends.len()).map(move |index| {
            let begin = index.checked_sub(1).map_or(0, |before| ends[before]);
            &bytes[begin as usize..ends[index] as usize]
        })
    }

    /// The groups among them.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.iter().take(self.list().2)
    }

    /// Those that are no groups.
    pub fn others(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.iter().skip(self.list().2)
    }

    /// Those of both.
    fn and(&self, other: &Self) -> Self {
        Self::new(self.groups().chain(other.groups()), self.others().chain(other.others()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// What a purge does to what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It is gone: never used again, not even to validate.
    Hard,
    /// It is stale from then on: it may serve within its stale windows, which begin with the purge.
    Soft,
}

impl Severity {
    /// The one that a purge has that is, or is not, said to be soft.
    pub const fn of(soft: bool) -> Self {
        if soft { Self::Soft } else { Self::Hard }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn tags(groups: &[&[u8]], others: &[&[u8]]) -> Tags {
        Tags::new(groups.iter().copied(), others.iter().copied())
    }

    #[test]
    fn a_port_is_digits_behind_the_last_colon_outside_brackets() {
        let cases = [
            ("a.test", "a.test", "no port"),
            ("a.test:8080", "a.test", "a port"),
            ("[::1]", "[::1]", "an address is no port"),
            ("[::1]:8080", "[::1]", "an address with one"),
            ("[2001:db8::1234]", "[2001:db8::1234]", "digits behind its last colon"),
            ("127.0.0.1:81", "127.0.0.1", "an IPv4 address"),
            ("", "", "nothing"),
        ];
        for (authority, want, why) in cases {
            assert_eq!(host_of(authority), want, "{authority}: {why}");
        }
    }

    #[test]
    fn labels_know_their_parts() {
        let cases = [
            ("http", "a.test", "/", "http://a.test/", "http://a.test", "a.test", "plain"),
            ("https", "a.test:8443", "/x?y=1", "https://a.test:8443/x?y=1", "https://a.test:8443", "a.test", "a port"),
            ("https", "[::1]:1", "/", "https://[::1]:1/", "https://[::1]:1", "[::1]", "an address"),
            (
                "http",
                "a.test",
                "/http://b.test/",
                "http://a.test/http://b.test/",
                "http://a.test",
                "a.test",
                "a URL within",
            ),
        ];
        for (scheme, authority, target, url, origin, host, why) in cases {
            let labels = Labels::new(scheme, authority, target, Tags::default());
            assert_eq!((labels.url(), labels.origin()), (url, origin), "{why}");
            assert_eq!((labels.authority(), labels.host()), (authority, host), "{why}");
            assert_eq!(Scope::url(scheme, authority, target), Scope::Url(url.into()), "scopes write it alike: {why}");
            assert!(labels.tags().is_empty());
        }
    }

    #[test]
    fn tags_are_distinct_and_groups_come_first() {
        type List<'a> = &'a [&'a [u8]];
        let cases: &[(List<'_>, List<'_>, List<'_>, usize, &str)] = &[
            (&[], &[], &[], 0, "none"),
            (&[], &[b"b", b"a", b"b"], &[b"b", b"a"], 0, "in the order in which they came, each once"),
            (&[b"g", b"g"], &[b"t"], &[b"g", b"t"], 1, "groups as well"),
            (&[b"x"], &[b"x", b"t"], &[b"x", b"t"], 1, "a group that is a tag, too, is a group"),
            (&[], &[b"a", b"A", b"a "], &[b"a", b"A", b"a "], 0, "exact bytes"),
            (&[b""], &[b"", b"t"], &[b"", b"t"], 1, "an empty one is one"),
            (&[b"ab"], &[b"a", b"b", b"\xff\0"], &[b"ab", b"a", b"b", b"\xff\0"], 1, "side by side they stay apart"),
        ];
        for (groups, others, want, count, why) in cases {
            let tags = tags(groups, others);
            assert_eq!(tags.iter().collect::<Vec<_>>(), *want, "{why}");
            assert_eq!(tags.groups().collect::<Vec<_>>(), want[..*count], "{why}");
            assert_eq!(tags.others().collect::<Vec<_>>(), want[*count..], "{why}");
            assert_eq!(tags.is_empty(), want.is_empty(), "{why}");
        }
    }

    #[test]
    fn what_is_named_is_written_for_people() {
        let group = Scope::Group { origin: "http://a.test".into(), name: b"g h".as_slice().into() };
        let cases = [
            (Scope::Everything, "everything", "everything", ""),
            (Scope::Host("a.test".into()), "host a.test", "host", "a.test"),
            (Scope::Prefix("http://a.test/".into()), "prefix http://a.test/", "prefix", "http://a.test/"),
            (Scope::Tag(b"t\xff".as_slice().into()), "tag t\u{fffd}", "tag", "t\u{fffd}"),
            (group, "group http://a.test g h", "group", "http://a.test g h"),
            (Scope::url("http", "a.test", "/x"), "url http://a.test/x", "url", "http://a.test/x"),
        ];
        for (scope, text, kind, name) in cases {
            assert_eq!((scope.to_string().as_str(), scope.kind(), scope.name().as_str()), (text, kind, name));
        }
    }

    fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
        vec(vec(prop::sample::select(vec![b'a', b'b', 0, 0xff]), 0..3), 0..8)
    }

    proptest! {
        #[test]
        fn any_labels_give_back_what_they_were_made_of(
            scheme in "https?",
            authority in "[a-z.]{1,12}(:[1-9][0-9]{0,4})?|\\[[0-9a-f:]{2,20}\\](:[1-9][0-9]{0,4})?",
            target in "/[!-~]{0,40}",
            groups in names(),
            others in names(),
        ) {
            let given = |names: &[Vec<u8>]| names.iter().map(|name| name.clone().into_boxed_slice()).collect::<Vec<_>>();
            let tags = Tags::new(groups.iter().map(Vec::as_slice), others.iter().map(Vec::as_slice));
            let labels = Labels::new(&scheme, &authority, &target, tags);
            prop_assert_eq!(labels.url(), format!("{scheme}://{authority}{target}"));
            prop_assert_eq!(labels.origin(), format!("{scheme}://{authority}"));
            prop_assert_eq!(labels.authority(), &authority);
            prop_assert!(authority.starts_with(labels.host()));
            let own = [
                Scope::Everything,
                Scope::Host(authority.as_str().into()),
                Scope::Host(labels.host().into()),
                Scope::Prefix(format!("{scheme}://{authority}/").into()),
                Scope::url(&scheme, &authority, &target),
            ];
            prop_assert!(own.iter().all(|scope| scope.names(&labels)));
            let longer = [&*target, "x"].concat();
            prop_assert!(!Scope::url(&scheme, &authority, &longer).names(&labels));
            for (name, is_group) in given(&groups).into_iter().map(|name| (name, true))
                .chain(given(&others).into_iter().map(|name| (name, false)))
            {
                prop_assert!(Scope::Tag(name.clone()).names(&labels), "{name:?} is one of its tags");
                let origin: Box<str> = labels.origin().into();
                let names = Scope::Group { origin, name: name.clone() }.names(&labels);
                prop_assert_eq!(names, is_group || groups.iter().any(|group| **group == *name));
            }
            let mut known = std::collections::HashSet::new();
            prop_assert!(labels.tags().iter().all(|tag| known.insert(tag)), "each once");
            let all: std::collections::HashSet<_> = groups.iter().chain(&others).map(Vec::as_slice).collect();
            prop_assert_eq!(known, all, "none is lost, none is made up");
            prop_assert_eq!(labels.tags().iter().len(), labels.tags().iter().count());
        }
    }
}
