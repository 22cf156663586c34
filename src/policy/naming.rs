//! How does an operator name what is to be purged, and is it a name at all?

use std::fmt::Write;

use http::uri::PathAndQuery;
use smallvec::SmallVec;

use super::scope::{Scope, host_of};
use super::tag_fields::MAX_TAG;
use super::target;

/// Bytes of what came that a fault repeats. A fault quotes two texts at most, so it never carries more than a line of
/// the caller's bytes into a log or an answer.
const MAX_QUOTED: usize = 48;

/// The longest URL that is looked at: scheme and authority, and more path and query than a request may have.
const MAX_URL: usize = (16 << 10) + 512;

/// Ports that keys leave out, each of one scheme.
const DEFAULT_PORTS: [(&str, &str); 2] = [(":80", "http"), (":443", "https")];

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

/// Reads a host, with or without a port, into the scopes that name it, in lower case.
///
/// With port 80 or 443 these are two, since keys leave such a port out for one scheme and have it for the other:
/// `shop.example:80` is `http://shop.example/` and all below, and the host of `https://shop.example:80/`.
///
/// # Errors
///
/// It is a URL, a pattern, or no host.
pub fn host(text: &str) -> Result<SmallVec<[Scope; 2]>, Fault> {
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
    let left_out = DEFAULT_PORTS.iter().find(|(port, _)| *port == &host[name.len()..]);
    let unwritten = left_out.map(|(_, scheme)| Scope::Prefix(format!("{scheme}://{name}/").into()));
    Ok(unwritten.into_iter().chain([Scope::Host(host.as_str().into())]).collect())
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

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::super::scope::{Labels, Tags};
    use super::*;

    /// Longer than any fault may be: two quoted texts, each with every byte escaped at its longest, and our words.
    const MAX_FAULT: usize = 2 * MAX_QUOTED * 6 + 200;

    fn read(parsed: Result<AbsoluteUrl, Fault>) -> Result<String, String> {
        parsed.map(|url| url.to_scope().name()).map_err(|fault| fault.0)
    }

    /// `Ok`: what is read; `Err`: a part of the fault.
    fn check(read: &Result<String, String>, want: Result<&str, &str>, text: &str, why: &str) {
        match (read, want) {
            (Ok(read), Ok(want)) => assert_eq!(read, want, "{text:?}: {why}"),
            (Err(fault), Err(part)) => {
                assert!(fault.contains(part), "{text:?}: {why}: {fault}");
                assert!(fault.len() <= MAX_FAULT, "{text:?}: a fault of {} bytes", fault.len());
            }
            (read, _) => panic!("{text:?}: {why}: {read:?}"),
        }
    }

    #[test]
    fn a_url_is_read_into_the_form_that_keys_have() {
        let longest = format!("http://a/{}", "x".repeat(target::MAX_TARGET - 1));
        let too_long = format!("{longest}x");
        let host_too_long = format!("http://{}/", "a".repeat(300));
        let huge = format!("http://a/{}", "x".repeat(1 << 20));
        let cases: [(&str, Result<&str, &str>, &str); 57] = [
            ("http://a/b?c=d", Ok("http://a/b?c=d"), "as it is"),
            ("https://a/b", Ok("https://a/b"), "the other scheme"),
            ("HTTPS://Shop.Example/A", Ok("https://shop.example/A"), "scheme and host in lower case, not the path"),
            ("http://a:80/", Ok("http://a/"), "the scheme's port"),
            ("https://a:443/", Ok("https://a/"), "the scheme's port"),
            ("http://a:443/", Ok("http://a:443/"), "the other scheme's port stays"),
            ("http://a:08080/", Ok("http://a:8080/"), "a port is a number"),
            ("http://a:/", Ok("http://a/"), "an empty port is none"),
            ("http://[::1]/", Ok("http://[::1]/"), "an IPv6 address"),
            ("http://[2001:DB8::1]:8080/x", Ok("http://[2001:db8::1]:8080/x"), "with a port"),
            ("http://a./", Ok("http://a./"), "a trailing dot: another host, as keys have it"),
            ("http://a", Ok("http://a/"), "an empty path is the root"),
            ("http://a?x", Ok("http://a/?x"), "also before a query"),
            ("http://a/?", Ok("http://a/?"), "an empty query is a query"),
            ("http://a?", Ok("http://a/?"), "also without a path"),
            ("http://a/x?http://b/../c", Ok("http://a/x?http://b/../c"), "a query may hold anything"),
            ("http://a?u@b", Ok("http://a/?u@b"), "an at sign in a query is no user"),
            ("http://a/u@b:c", Ok("http://a/u@b:c"), "nor in a path"),
            ("http://a//b/", Ok("http://a//b/"), "empty segments are segments"),
            ("http://a/%2F%zz%", Ok("http://a/%2F%zz%"), "escapes stay as they came, broken ones too"),
            ("http://a/.well-known/x", Ok("http://a/.well-known/x"), "a name that begins with a dot"),
            ("http://a/b/*", Ok("http://a/b/*"), "a star is a byte of a path"),
            (&longest, Ok(&longest), "as long as a request may be"),
            ("", Err("is not absolute"), "nothing"),
            ("/a/b", Err("write it as clients use it, with scheme and host: \"http://host/a/b\""), "a path"),
            ("//a/b", Err("with scheme and host: \"http://a/b\""), "no scheme"),
            ("a/b", Err("with scheme and host: \"http://a/b\""), "a host and a path"),
            ("a:8080/b", Err("with its scheme: \"http://a:8080/b\""), "a host and a port, which read as a scheme"),
            ("shop.example:8080", Err("with its scheme: \"http://shop.example:8080\""), "the same without a path"),
            ("?x", Err("is not absolute"), "a query"),
            ("*", Err("is not absolute"), "a star"),
            (":", Err("is not absolute"), "a colon"),
            ("http:", Err("names no host: write \"http://host/\""), "a scheme"),
            ("http:/a", Err("names no host: write \"http://host/a\""), "one slash"),
            ("http:a", Err("names no host: write \"http://host/a\""), "no slash"),
            ("http://", Err("names no host"), "two, and nothing"),
            ("http:///a", Err("names no host: write \"http://host/a\""), "three slashes"),
            ("http://?a", Err("names no host"), "a query for a host"),
            ("http://:80/", Err("is not a valid host"), "a port without a host"),
            ("ftp://a/", Err("is neither http nor https"), "another scheme"),
            ("javascript:alert(1)", Err("is neither http nor https"), "no page at all"),
            ("http://u:p@a/b", Err("names a user, and keys have none: write \"http://a/b\""), "a user"),
            ("http://@a/", Err("names a user"), "an empty user"),
            ("http://a/b#c", Err("has a fragment, which clients do not send: write \"http://a/b\""), "a fragment"),
            ("http://a#", Err("has a fragment"), "an empty fragment"),
            ("http://a:0/", Err("\"a:0\" is not a valid host"), "no such port"),
            ("http://a:99999/", Err("a port from 1 to 65535"), "no such port"),
            ("http://*.a/", Err("is not a valid host"), "a pattern"),
            ("http://a%2eb/", Err("is not a valid host"), "an escape in a host"),
            ("http://a/b c", Err("holds \" \", which no URL does: write \"%20\""), "a space"),
            (" http://a/", Err("write \"%20\""), "a space in front"),
            ("http://a/ä", Err("holds \"ä\", which no URL does: write \"%C3%A4\""), "beyond ASCII"),
            ("http://a/\n", Err("holds \"\\n\", which no URL does: write \"%0A\""), "a control byte, shown escaped"),
            ("http://a/b\\c", Err("write \"%5C\""), "a backslash"),
            ("http://a/b/../c", Err("the path holds dot segments"), "dot segments"),
            ("http://a/%2e%2E/c?d", Err("the path holds dot segments"), "encoded ones"),
            ("http://a/b/.", Err("the path holds dot segments"), "at the end too"),
        ];
        for (text, want, why) in cases {
            check(&read(url(text)), want, text, why);
        }
        for text in [&too_long, &huge] {
            check(&read(url(text)), Err("is too long: a path and query have 16384 bytes at most"), text, "too long");
            check(&read(prefix(text)), Err("is too long"), text, "too long");
        }
        check(&read(url(&host_too_long)), Err("is not a valid host"), &host_too_long, "longer than a host can be");
    }

    #[test]
    fn a_prefix_ends_anywhere_behind_the_slash_of_the_path() {
        let longest = format!("http://a/{}", "x".repeat(target::MAX_TARGET - 1));
        let cases: [(&str, Result<&str, &str>, &str); 30] = [
            ("http://a/", Ok("http://a/"), "all of a host and scheme"),
            ("HTTP://A:80/B", Ok("http://a/B"), "in the form that keys have"),
            ("http://a/b", Ok("http://a/b"), "within a segment"),
            ("http://a/b?", Ok("http://a/b?"), "every query of a path"),
            ("http://a/b?c=", Ok("http://a/b?c="), "within a query"),
            ("http://a/b?c=%2", Ok("http://a/b?c=%2"), "within an escape"),
            ("http://a/b%", Ok("http://a/b%"), "at its beginning"),
            ("http://a/.", Ok("http://a/."), "the beginning of /.well-known"),
            ("http://a/b/..", Ok("http://a/b/.."), "the beginning of /b/..."),
            ("http://a/b/%2e", Ok("http://a/b/%2e"), "the beginning of /b/%2ename"),
            ("http://a/b/%2e%2", Ok("http://a/b/%2e%2"), "within an escape of one"),
            ("http://a/b?/../", Ok("http://a/b?/../"), "dots in a query are dots"),
            (&longest, Ok(&longest), "as long as a request may be"),
            ("http://a/./b", Err("the path holds dot segments"), "a whole dot segment"),
            ("http://a/../", Err("the path holds dot segments"), "a whole one at the end"),
            ("http://a/%2E%2e/b", Err("the path holds dot segments"), "an encoded one"),
            ("http://a/..?b", Err("the path holds dot segments"), "whole, for a query begins behind it"),
            ("http://a", Err("ends before its path: write at least the slash, \"http://a/\""), "could be half a host"),
            ("http://a?b", Err("write at least the slash, \"http://a/?b\""), "no slash"),
            ("http://a:80", Err("write at least the slash, \"http://a/\""), "a host and a port"),
            ("http://a/b/*", Err("a prefix needs none, write \"http://a/b/\""), "a star"),
            ("http://a/b**", Err("a prefix needs none, write \"http://a/b\""), "two stars"),
            ("http://a/*/b", Ok("http://a/*/b"), "a star elsewhere is a byte"),
            ("http://a/b#", Err("has a fragment"), "a fragment"),
            ("/a", Err("is not absolute"), "a path"),
            ("http:/a", Err("names no host"), "no host"),
            ("ftp://a/", Err("is neither http nor https"), "another scheme"),
            ("http://u@a/", Err("names a user"), "a user"),
            ("http://a/ ", Err("write \"%20\""), "a space"),
            ("", Err("is not absolute"), "nothing"),
        ];
        for (text, want, why) in cases {
            check(&read(prefix(text)), want, text, why);
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        let long = "a".repeat(300);
        let cases: [(&str, Result<&str, &str>, &str); 24] = [
            ("shop.example", Ok("shop.example"), "every port"),
            ("Shop.Example", Ok("shop.example"), "in lower case"),
            ("shop.example:8080", Ok("shop.example:8080"), "one port"),
            ("shop.example:08080", Ok("shop.example:8080"), "a port is a number"),
            ("shop.example:80", Ok("http://shop.example/ shop.example:80"), "keys of http leave it out"),
            ("Shop.Example:443", Ok("https://shop.example/ shop.example:443"), "those of https this one"),
            ("shop.example:", Ok("shop.example"), "an empty port is none"),
            ("shop.example.", Ok("shop.example."), "a trailing dot: another host, as keys have it"),
            ("127.0.0.1:8080", Ok("127.0.0.1:8080"), "an address"),
            ("[::1]", Ok("[::1]"), "an IPv6 address"),
            ("[2001:DB8::1]:8080", Ok("[2001:db8::1]:8080"), "with a port"),
            ("[::80]", Ok("[::80]"), "whose end is no port"),
            ("[::1]:80", Ok("http://[::1]/ [::1]:80"), "and where it is one"),
            ("", Err("is no host: write \"shop.example\" or \"shop.example:8080\""), "nothing"),
            ("*.example", Err("is a pattern: name each host, or purge by prefix or tag"), "a wildcard"),
            ("*", Err("is a pattern"), "everything is another word"),
            ("http://shop.example", Err("write the host alone, \"shop.example\""), "a scheme"),
            ("http://shop.example/a", Err("write the host alone, \"shop.example\""), "a URL"),
            ("shop.example/a", Err("write the host alone, \"shop.example\", or purge by url or prefix"), "a path"),
            ("/", Err("write the host alone, \"shop.example\""), "a path alone"),
            ("::1", Err("lacks its brackets: write \"[::1]\""), "no brackets"),
            ("a:0", Err("is no host"), "no such port"),
            ("a b", Err("is no host"), "a space"),
            (&long, Err("is no host"), "longer than a host can be"),
        ];
        for (text, want, why) in cases {
            let named = |scopes: SmallVec<[Scope; 2]>| scopes.iter().map(Scope::name).collect::<Vec<_>>().join(" ");
            check(&host(text).map(named).map_err(|fault| fault.0), want, text, why);
        }
    }

    #[test]
    fn a_tag_is_a_word_of_any_bytes_but_blanks_and_control_characters() {
        let longest = vec![b'x'; MAX_TAG];
        let too_long = vec![b'x'; MAX_TAG + 1];
        let cases: [(&[u8], Result<(), &str>, &str); 15] = [
            (b"a", Ok(()), "one byte"),
            (b"product:1,2/\"x\"\\", Ok(()), "anything that is seen"),
            ("ä".as_bytes(), Ok(()), "beyond ASCII"),
            (b"\xff\x80", Ok(()), "bytes that are no text"),
            (&longest, Ok(()), "as long as it may be"),
            (b"", Err("an empty text is no tag"), "nothing"),
            (&too_long, Err("has 1025 bytes: tags have 1024 at most"), "one more"),
            (b"a b", Err("\"a b\" holds white space: write each tag on its own"), "a space"),
            (b" ", Err("holds white space"), "a space alone"),
            (b"a\t", Err("\"a\\t\" holds white space"), "a tab"),
            (b"a\r\nb", Err("\"a\\r\\nb\" holds white space"), "a line break, shown escaped"),
            (b"a\x0b", Err("holds white space"), "a vertical tab"),
            (b"a\0", Err("holds a control character"), "NUL"),
            (b"\x1b[31m", Err("\"\\u{1b}[31m\" holds a control character"), "an escape sequence, shown escaped"),
            (b"a\x7f", Err("holds a control character"), "DEL"),
        ];
        for (text, want, why) in cases {
            let read = tag(text).map(|tag| assert_eq!(*tag, *text, "{why}")).map_err(|fault| fault.0);
            match (read, want) {
                (Err(fault), Err(part)) => assert!(fault.contains(part), "{why}: {fault}"),
                (read, want) => assert_eq!(read, want.map_err(str::to_owned), "{why}"),
            }
        }
    }

    #[test]
    fn a_fault_repeats_little_of_what_came() {
        let cases = [
            ("x".repeat(100), format!("\"{}…\"", "x".repeat(MAX_QUOTED)), "shortened"),
            ("a\u{202e}\u{200b}\"".to_owned(), r#""a\u{202e}\u{200b}\"""#.to_owned(), "what is not seen is escaped"),
            (
                format!("{}ä", "x".repeat(MAX_QUOTED - 1)),
                format!("\"{}\\xc3…\"", "x".repeat(MAX_QUOTED - 1)),
                "cut apart",
            ),
        ];
        for (text, want, why) in cases {
            assert_eq!(quoted(text.as_bytes()), want, "{why}");
        }
    }

    /// Texts that are URLs often, and nearly URLs nearly always.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = prop_oneof![
            4 => Just("http://"), 2 => Just("HTTPS://"), 1 => Just("//"), 4 => Just("a"), 2 => Just("Shop.Example"),
            2 => Just(":80"), 1 => Just(":443"), 1 => Just(":8080"), 1 => Just("[::1]"), 4 => Just("/"), 3 => Just("?"),
            1 => Just("#"), 1 => Just("@"), 2 => Just("."), 1 => Just("%2e"), 1 => Just("*"), 1 => Just("\\"),
            1 => Just("ä"), 1 => Just(" "), 1 => Just("`"), 1 => Just("{\"}"), 1 => Just("&b=1"),
        ];
        let made =
            (prop_oneof![Just("http://a"), Just("https://B:443"), Just("")], prop::collection::vec(pieces, 0..8));
        prop_oneof![made.prop_map(|(front, rest)| front.to_owned() + &rest.concat()), any::<String>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        /// The request as `http` reads it, on a way that shares no code with ours.
        #[test]
        fn a_url_that_is_accepted_is_what_a_request_for_it_is_stored_under(text in texts()) {
            if let Ok(found) = url(&text) {
                let request: Uri = text.parse().expect("a URL that we accept is one");
                let scheme = request.scheme_str().expect("it is absolute").to_ascii_lowercase();
                let default_port = if scheme == "https" { 443 } else { 80 };
                let authority = request.authority().expect("it has a host").as_str();
                let authority = target::authority(authority.as_bytes(), default_port).expect("the host is valid");
                let authority = std::str::from_utf8(&authority).expect("hosts are ASCII");
                let path_and_query = request.path_and_query().map_or("/", |target| target.as_str());
                let path_and_query = if path_and_query.starts_with('?') { format!("/{path_and_query}") } else { path_and_query.to_owned() };
                let labels = Labels::new(&scheme, authority, &path_and_query, Tags::default());
                prop_assert!(found.to_scope().names(&labels), "{found:?} is not {labels:?}");
                let again = url(labels.url()).map(|again| again.to_scope().name());
                prop_assert_eq!(again.as_deref(), Ok(labels.url()), "reading twice is reading once");
            }
        }

        #[test]
        fn every_url_has_each_of_its_beginnings_for_a_prefix(text in texts()) {
            if let Ok(found) = url(&text) {
                let whole = found.to_scope().name();
                let slash = whole.len() - found.target.len();
                for end in slash + 1..=whole.len() {
                    let beginning = &whole[..end];
                    let read = prefix(beginning).map(|prefix| prefix.to_scope().name());
                    if beginning.ends_with('*') {
                        prop_assert!(read.is_err());
                    } else {
                        prop_assert_eq!(read.as_deref(), Ok(beginning));
                    }
                }
            }
        }

        #[test]
        fn no_text_panics_and_no_fault_is_long(text in texts(), bytes: Vec<u8>) {
            let faults = [url(&text).err(), prefix(&text).err(), host(&text).err(), tag(&bytes).err()];
            for fault in faults.into_iter().flatten() {
                prop_assert!(fault.0.len() <= MAX_FAULT && !fault.0.contains(char::is_control), "{}", fault);
            }
        }
    }
}
