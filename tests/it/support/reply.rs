//! What did the client get, and what does `Cache-Status` say of it?

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

/// A whole response as a client saw it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// The transfer broke off visibly: `body` is what came before.
    pub(crate) broken: bool,
}

impl Reply {
    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// All lines of a field joined by a comma, or nothing.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self.lines(name);
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    /// The lines of a field.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// The `Age`, in seconds.
    pub(crate) fn age(&self) -> Option<u64> {
        self.field("age").map(|age| age.parse().expect("Age is a number"))
    }

    /// What Larder says that it did.
    pub(crate) fn cache(&self) -> CacheStatus {
        CacheStatus::of(&self.headers).unwrap_or_else(|| panic!("no Cache-Status of ours in {:?}", self.headers))
    }

    /// Status and text, for assertions of one line.
    pub(crate) fn brief(&self) -> (u16, &str) {
        (self.status.as_u16(), self.text())
    }
}

/// Our member of `Cache-Status` (RFC 9211).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CacheStatus {
    pub(crate) hit: bool,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    pub(crate) fwd: Option<String>,
    pub(crate) fwd_status: Option<u16>,
    pub(crate) ttl: Option<i64>,
    pub(crate) detail: Option<String>,
}

impl CacheStatus {
    /// Reads it out of a response's fields. Every parameter that Larder may send is known here; another one fails.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let ours = headers
            .get_all("cache-status")
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .find(|member| *member == "larder" || member.starts_with("larder;"))?;
        let mut status = Self::default();
        for parameter in ours.split(';').skip(1).map(str::trim) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "hit" => status.hit = true,
                "stored" => status.stored = true,
                "collapsed" => status.collapsed = true,
                "fwd" => status.fwd = Some(value.to_owned()),
                "fwd-status" => status.fwd_status = Some(value.parse().expect("fwd-status is a number")),
                "ttl" => status.ttl = Some(value.parse().expect("ttl is a number")),
                "detail" => status.detail = Some(value.to_owned()),
                other => panic!("an unknown parameter {other} in {ours}"),
            }
        }
        Some(status)
    }

    /// Whether a stored response answered that was fresh.
    pub(crate) fn is_fresh_hit(&self) -> bool {
        self.hit && self.detail.is_none() && self.ttl.is_some_and(|ttl| ttl >= 0)
    }

    /// Whether the detail is this word.
    pub(crate) fn says(&self, detail: &str) -> bool {
        self.detail.as_deref() == Some(detail)
    }
}
