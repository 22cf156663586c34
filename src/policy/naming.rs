//! How does an operator name what is to be purged, and is it a name at all?

use std::fmt::Write;

use http::uri::PathAndQuery;

use super::scope::{Scope, host_of};
use super::tag_fields::MAX_TAG;
use super::target;

/// Bytes of what came that a fault repeats. A fault quotes two texts at most, so it never carries more than a line of
/// the caller's bytes into a log or an answer.
const MAX_QUOTED: usize = 48;

/// The longest URL that is looked at: scheme and authority, and more path and query than a request may have.
const MAX_URL: usize = (16 << 10) + 512;

/// Ports that keys leave out, of `http` and `https`.
const DEFAULT_PORTS: [&str; 2] = [":80", ":443"];

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
/// What it accepts is what a request can have (`policy::target`): so a name that nothing could be stored under is
/// refused, rather than purge nothing in silence.
///
/// # Errors
///
/// It is none that could be stored: not absolute, another scheme, a fragment, dot segments …
///
/// RFC 9110 §4.2, §4.2.3.
pub fn url(text: &str) -> Result<AbsoluteUrl, Fault> {
    let parts = Parts::of(text)?;
    let target = match parts.rest.as_bytes() {
        // §4.2.3: an empty path is "/", with a query behind it too.
        [] | [b'?', ..] => ["/", parts.rest].concat(),
        _ => parts.rest.to_owned(),
    };
    check_target(text, &target)?;
    Ok(AbsoluteUrl { scheme: parts.scheme, authority: parts.authority, target })
}

/// Reads the beginning of absolute URLs: at least scheme, host and the slash of the path.
///
/// It is a plain beginning, and may end anywhere behind that slash: within an escape, a query, or what would be a dot
/// segment if it ended there (`/.` is the beginning of `/.well-known`).
///
/// # Errors
///
/// As for [`url`]; and when it ends in a star: who writes one means everything that begins with what stands before it,
/// and taken as a byte of the path it would purge next to nothing.
pub fn prefix(text: &str) -> Result<AbsoluteUrl, Fault> {
    let parts = Parts::of(text)?;
    if !parts.rest.starts_with('/') {
        // `http://shop.ex` could be meant as the beginning of a host, which is no prefix of URLs that we purge by.
        let whole = [parts.scheme, "://", &parts.authority, "/", parts.rest].concat();
        return Err(Fault(format!(
            "{} ends before its path: write at least the slash, {}",
            quoted(text.as_bytes()),
            quoted(whole.as_bytes())
        )));
    }
    if let Some(meant) = text.strip_suffix('*') {
        return Err(Fault(format!(
            "{} ends in a star: a prefix needs none, write {}",
            quoted(text.as_bytes()),
            quoted(meant.trim_end_matches('*').as_bytes())
        )));
    }
    // The last segment is not complete before a query begins: only those before it can be dot segments.
    let complete = match (parts.rest.contains('?'), parts.rest.rfind('/')) {
        (false, Some(slash)) => &parts.rest[..=slash],
        _ => parts.rest,
    };
    check_target(text, complete)?;
    if parts.rest.len() > target::MAX_TARGET {
        return Err(too_long(text));
    }
    Ok(AbsoluteUrl { scheme: parts.scheme, authority: parts.authority, target: parts.rest.to_owned() })
}

/// Reads a host, with or without a port, into lower case.
///
/// A port 80 or 443 goes, and with it the name is that of the host on every port: keys know such a port for one scheme
/// only, and to purge more is better than to leave `http://shop.example/` out of `shop.example:80`.
///
/// # Errors
///
/// It is a URL, a pattern, or no host.
pub fn host(text: &str) -> Result<Box<str>, Fault> {
    let came = quoted(text.as_bytes());
    if text.is_empty() {
        return Err(Fault("an empty text is no host: write \"shop.example\" or \"shop.example:8080\"".to_owned()));
    }
    if let Some(slash) = text.find('/') {
        let (before, rest) = text.split_once("://").unwrap_or((&text[..slash], text));
        let after_scheme = if rest.len() < text.len() { rest } else { before };
        let alone = after_scheme.split('/').next().unwrap_or_default();
        let alone = if alone.is_empty() { "shop.example" } else { alone };
        return Err(Fault(format!(
            "{came} is a URL or a path: write the host alone, {}, or purge by url or prefix",
            quoted(alone.as_bytes())
        )));
    }
    if text.contains(['*', '?']) {
        return Err(Fault(format!("{came} is a pattern: name each host, or purge by prefix or tag")));
    }
    if text.parse::<core::net::Ipv6Addr>().is_ok() {
        return Err(Fault(format!("{came} lacks its brackets: write {}", quoted(format!("[{text}]").as_bytes()))));
    }
    // No port is 0, so none is left out.
    let read = target::authority(text.as_bytes(), 0).and_then(|host| String::from_utf8(host.into_vec()).ok());
    let Some(host) = read else {
        return Err(Fault(format!("{came} is no host: write \"shop.example\" or \"shop.example:8080\"")));
    };
    let name = host_of(&host);
    let is_default = DEFAULT_PORTS.contains(&&host[name.len()..]);
    Ok(if is_default { name.into() } else { host.into() })
}

/// Reads a tag: 1 to 1024 bytes without white space and control characters. Beyond ASCII every byte goes: a tag is an
/// exact byte string.
///
/// Not for the names in `Cache-Groups`, which may hold spaces.
///
/// # Errors
///
/// It is empty, too long, or holds what no tag holds.
pub fn tag(text: &[u8]) -> Result<Box<[u8]>, Fault> {
    if text.is_empty() {
        return Err(Fault("an empty text is no tag: leave it out".to_owned()));
    }
    if text.len() > MAX_TAG {
        return Err(Fault(format!("the tag {} has {} bytes: tags have {MAX_TAG} at most", quoted(text), text.len())));
    }
    if text.iter().any(|byte| matches!(byte, b' ' | b'\t'..=b'\r')) {
        return Err(Fault(format!("the tag {} holds white space: write each tag on its own", quoted(text))));
    }
    if text.iter().any(u8::is_ascii_control) {
        return Err(Fault(format!("the tag {} holds a control character, which no field can carry", quoted(text))));
    }
    Ok(text.into())
}

impl AbsoluteUrl {
    /// The scope of this URL, in the form that it was written in.
    pub fn to_scope(&self) -> Scope {
        Scope::url(self.scheme, &self.authority, &self.target)
    }
}

/// What stands in a URL before its path, and the rest.
struct Parts<'a> {
    scheme: &'static str,
    authority: String,
    /// Path and query; empty, or beginning with a slash or a question mark.
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, Fault> {
        if text.len() > MAX_URL {
            return Err(too_long(text));
        }
        check_bytes(text)?;
        let (scheme, default_port, after) = split_scheme(text)?;
        let (authority, rest) = after.split_at(after.find(['/', '?']).unwrap_or(after.len()));
        let came = quoted(text.as_bytes());
        if authority.is_empty() {
            return Err(Fault(format!("{came} names no host: write {}", quoted(example(scheme, rest).as_bytes()))));
        }
        if let Some((_, host)) = authority.rsplit_once('@') {
            let without = [scheme, "://", host, rest].concat();
            return Err(Fault(format!(
                "{came} names a user, and keys have none: write {}",
                quoted(without.as_bytes())
            )));
        }
        let read = target::authority(authority.as_bytes(), default_port);
        let Some(authority) = read.and_then(|bytes| String::from_utf8(bytes.into_vec()).ok()) else {
            let host = quoted(authority.as_bytes());
            return Err(Fault(format!(
                "{host} is not a valid host: write a name or an address, with a port from 1 to 65535 where it needs one"
            )));
        };
        Ok(Self { scheme, authority, rest })
    }
}

/// The scheme, its default port, and what stands behind `://`.
fn split_scheme(text: &str) -> Result<(&'static str, u16, &str), Fault> {
    let came = quoted(text.as_bytes());
    let Some((scheme, after)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        let path = text.trim_start_matches('/');
        let whole = match text.strip_prefix("//") {
            Some(_) => ["http://", path].concat(),
            None if text.starts_with('/') => ["http://host/", path].concat(),
            None => ["http://", text].concat(),
        };
        return Err(Fault(format!(
            "{came} is not absolute: write it as clients use it, with scheme and host: {}",
            quoted(whole.as_bytes())
        )));
    };
    let (scheme, default_port) = if scheme.eq_ignore_ascii_case("http") {
        ("http", 80)
    } else if scheme.eq_ignore_ascii_case("https") {
        ("https", 443)
    } else if after.starts_with(|first: char| first.is_ascii_digit()) {
        // `shop.example:8080/a` reads as a scheme of that name.
        return Err(Fault(format!(
            "{came} is not absolute: write it as clients use it, with its scheme: {}",
            quoted(["http://", text].concat().as_bytes())
        )));
    } else {
        return Err(Fault(format!("{came} is neither http nor https: only those are stored")));
    };
    let Some(after) = after.strip_prefix("//") else {
        let whole = example(scheme, after);
        return Err(Fault(format!("{came} names no host: write {}", quoted(whole.as_bytes()))));
    };
    Ok((scheme, default_port, after))
}

/// RFC 3986 §3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// What a URL without a host could have been meant as.
fn example(scheme: &str, rest: &str) -> String {
    [scheme, "://host/", rest.trim_start_matches('/')].concat()
}

/// No request has a longer path and query, so nothing is stored under one.
fn too_long(text: &str) -> Fault {
    Fault(format!(
        "{} is too long: a path and query have {} bytes at most",
        quoted(text.as_bytes()),
        target::MAX_TARGET
    ))
}

/// What a URL holds only in another spelling, or not at all.
fn check_bytes(text: &str) -> Result<(), Fault> {
    if let Some((before, _)) = text.split_once('#') {
        return Err(Fault(format!(
            "{} has a fragment, which clients do not send: write {}",
            quoted(text.as_bytes()),
            quoted(before.as_bytes())
        )));
    }
    let stray = |&character: &char| !matches!(character, '!'..='~') || matches!(character, '\\' | '<' | '>');
    let Some(stray) = text.chars().find(stray) else { return Ok(()) };
    let mut encoded = String::new();
    for byte in stray.encode_utf8(&mut [0; 4]).bytes() {
        write!(encoded, "%{byte:02X}").expect("a string takes what is written to it");
    }
    Err(Fault(format!(
        "{} holds {}, which no URL does: write \"{encoded}\", as clients send it",
        quoted(text.as_bytes()),
        quoted(stray.encode_utf8(&mut [0; 4]).as_bytes())
    )))
}

/// Whether a request may have this path and query.
fn check_target(text: &str, target: &str) -> Result<(), Fault> {
    let came = quoted(text.as_bytes());
    let Ok(target) = PathAndQuery::try_from(target) else {
        return Err(Fault(format!("the path of {came} holds bytes that a URL cannot hold: write them as %XX")));
    };
    if target::is_too_long(&target) {
        return Err(too_long(text));
    }
    match target::path_fault(&target) {
        None => Ok(()),
        Some(fault) => Err(Fault(format!("{came} is never stored: {fault}; write the URL that clients use"))),
    }
}

/// A text as a fault repeats it: in quotes, shortened, with its control and invisible characters escaped.
fn quoted(text: &[u8]) -> String {
    let mut quoted = String::from("\"");
    // Cut before it is read: what comes may be a megabyte.
    let (front, is_cut) = (&text[..text.len().min(MAX_QUOTED)], text.len() > MAX_QUOTED);
    for chunk in front.utf8_chunks() {
        quoted.extend(chunk.valid().chars().flat_map(char::escape_debug));
        for byte in chunk.invalid() {
            write!(quoted, "\\x{byte:02x}").expect("a string takes what is written to it");
        }
    }
    quoted.push_str(if is_cut { "…\"" } else { "\"" });
    quoted
}
