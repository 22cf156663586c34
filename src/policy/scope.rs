//! What can a purge name, and by which names is a stored response known?
//!
//! A purge names scopes; a stored response has labels. Both are exact byte strings, compared as they are.

use std::fmt;

use smallvec::SmallVec;

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

fn absolute(scheme: &str, authority: &str, target: &str) -> String {
    [scheme, "://", authority, target].concat()
}

/// The names by which purges know a stored response: its URL, and its tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    url: Box<str>,
    /// Where the authority begins and ends within the URL.
    authority: (u32, u32),
    tags: Tags,
}

impl Labels {
    /// The labels of a response for this URL. `authority` as in keys: lower case, without the default port. `target`: path
    /// and query, normalised as in keys.
    pub fn new(scheme: &str, authority: &str, target: &str, tags: Tags) -> Self {
        let begin = scheme.len() + 3;
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            url: absolute(scheme, authority, target).into_boxed_str(),
            authority: (offset(begin), offset(begin + authority.len())),
            tags,
        }
    }

    /// The absolute URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Scheme and authority: `https://shop.example`.
    pub fn origin(&self) -> &str {
        &self.url[..self.authority.1 as usize]
    }

    /// Host, and port where it is not the scheme's.
    pub fn authority(&self) -> &str {
        &self.url[self.authority.0 as usize..self.authority.1 as usize]
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
        Self { url: self.url.clone(), authority: self.authority, tags: self.tags.and(&other.tags) }
    }

    /// Bytes that they hold.
    pub fn weight(&self) -> usize {
        self.url.len() + self.tags.bytes.len() + self.tags.ends.len() * 4
    }
}

/// An authority without its port. The colons of an IPv6 address stand within brackets.
pub fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

/// The tags of one stored response: distinct, exact byte strings. Those from `Cache-Groups` come first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags {
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
        Self { ends: ends.collect(), bytes: all.concat().into_boxed_slice(), groups }
    }

    /// Each tag, groups first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.ends.len()).map(|index| {
            let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
            &self.bytes[begin as usize..self.ends[index] as usize]
        })
    }

    /// The groups among them.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.iter().take(self.groups)
    }

    /// Those of both.
    fn and(&self, other: &Self) -> Self {
        let others = |tags: &'_ Self| tags.iter().skip(tags.groups).map(Box::from).collect::<Vec<Box<[u8]>>>();
        let (own, theirs) = (others(self), others(other));
        Self::new(self.groups().chain(other.groups()), own.iter().chain(&theirs).map(|tag| &**tag))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
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
