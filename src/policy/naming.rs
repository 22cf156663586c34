//! How does an operator name what is to be purged, and is it a name at all?

/// An absolute URL in the form that keys have: host in lower case, no default port, at least a slash for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsoluteUrl {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host, and port where it is not the scheme's.
    pub authority: String,
    /// Path and query, as they came.
    pub target: String,
}

/// Why a name is none; its text says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// Reads an absolute URL, as clients use it.
///
/// # Errors
///
/// It is none that could be stored: not absolute, another scheme, a fragment, dot segments …
pub fn url(text: &str) -> Result<AbsoluteUrl, Fault> {
    Err(Fault(text.to_owned()))
}

/// Reads the beginning of absolute URLs: at least scheme, host and the slash of the path.
///
/// # Errors
///
/// As for [`url`].
pub fn prefix(text: &str) -> Result<AbsoluteUrl, Fault> {
    Err(Fault(text.to_owned()))
}

/// Reads a host, with or without a port, into lower case.
///
/// # Errors
///
/// It is a URL, a pattern, or no host.
pub fn host(text: &str) -> Result<Box<str>, Fault> {
    Err(Fault(text.to_owned()))
}

/// Reads a tag: 1 to 1024 bytes without white space and control characters.
///
/// # Errors
///
/// It is empty, too long, or holds what no tag holds.
pub fn tag(text: &[u8]) -> Result<Box<[u8]>, Fault> {
    Err(Fault(String::from_utf8_lossy(text).into_owned()))
}
