//! Which host and which path does a request name, and are they fit to be a key? (RFC 9110 §4.2, RFC 9112 §3)

use http::uri::PathAndQuery;
use smallvec::SmallVec;

/// The longest host that DNS can hold (253), with brackets, colon and port; longer ones name nothing.
const MAX_AUTHORITY: usize = 262;

/// The longest path and query. RFC 9110 §4.1 asks for 8000 at least; keys are kept in memory, and longer ones serve nobody.
pub const MAX_TARGET: usize = 16 << 10;

/// A host in lower case with its port, the scheme's default port left out. Hosts are short: no allocation.
pub type Authority = SmallVec<[u8; 64]>;

/// Reads `host` or `host:port`; `None` when it is not exactly one valid host.
///
/// Stricter than `reg-name` of RFC 3986 §3.2.2: percent-encodings and sub-delimiters are refused, because two
/// readers may take them for different hosts. An empty port counts as none.
pub fn authority(text: &[u8], default_port: u16) -> Option<Authority> {
    if text.len() > MAX_AUTHORITY {
        return None;
    }
    let (host, port) = split_port(text)?;
    let is_valid = match host {
        [b'[', address @ .., b']'] => std::str::from_utf8(address).is_ok_and(|text| {
            // Without a zone: one is a thing of the sender's machine.
            text.parse::<core::net::Ipv6Addr>().is_ok()
        }),
        name => !name.is_empty() && name.iter().all(|&byte| is_name_byte(byte)),
    };
    if !is_valid {
        return None;
    }
    let mut authority = Authority::from_slice(host);
    authority.make_ascii_lowercase();
    if let Some(port) = port.filter(|&port| port != default_port) {
        authority.push(b':');
        authority.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    Some(authority)
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The host, and the port where one is given.
fn split_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let after_address = text.iter().rposition(|&byte| byte == b']').map_or(0, |bracket| bracket + 1);
    let Some(colon) = text[after_address..].iter().position(|&byte| byte == b':') else { return Some((text, None)) };
    let (host, digits) = (&text[..after_address + colon], &text[after_address + colon + 1..]);
    if digits.is_empty() {
        return Some((host, None));
    }
    // No sign, no spaces: `parse` alone would take a plus.
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let port = std::str::from_utf8(digits).ok()?.parse::<u16>().ok().filter(|&port| port > 0)?;
    Some((host, Some(port)))
}

/// Whether a path and query are longer than a key may be.
pub fn is_too_long(target: &PathAndQuery) -> bool {
    target.as_str().len() > MAX_TARGET
}

/// Why a path and query are refused, as the client is told.
pub fn path_fault(target: &PathAndQuery) -> Option<&'static str> {
    let bytes = target.as_str().as_bytes();
    if bytes.first() != Some(&b'/') {
        return Some("the target is not a path");
    }
    if bytes.iter().any(|&byte| !is_target_byte(byte)) {
        return Some("the target holds bytes that a URL cannot hold");
    }
    let is_dotted = memchr::memchr2(b'.', b'%', target.path().as_bytes()).is_some();
    if is_dotted && target.path().split('/').any(is_dot_segment) {
        // Who resolves them, and how often, differs from server to server: the key could name another resource.
        return Some("the path holds dot segments");
    }
    None
}

/// Whether this is a path and query that everybody reads alike, so that nothing more need be asked of it: no byte that some
/// library refuses, and no segment that begins with a dot or with an encoded byte, which may be one. [`path_fault`] finds
/// nothing in it.
pub fn is_plain(target: &[u8]) -> bool {
    let mut before = 0;
    let is_plain = |&byte: &u8| {
        let may_be_dots = before == b'/' && matches!(byte, b'.' | b'%');
        before = byte;
        PLAIN[usize::from(byte)] && !may_be_dots
    };
    target.first() == Some(&b'/') && target.len() <= MAX_TARGET && target.iter().all(is_plain)
}

/// By byte: whether a plain target may hold it. Looked up, not compared with each: every hit asks it of every byte.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        plain[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut others: &[u8] = b"-._~!$&'()*+,;=:@/?%";
    while let [other, rest @ ..] = others {
        plain[*other as usize] = true;
        others = rest;
    }
    plain
};

/// Visible ASCII without what no URL holds and some servers read as something else (RFC 3986 §2).
const fn is_target_byte(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'#' | b'\\' | b'<' | b'>')
}

/// Whether a segment is `.` or `..`, also with percent-encoded dots.
fn is_dot_segment(segment: &str) -> bool {
    let mut rest = segment.as_bytes();
    let mut dots = 0;
    while !rest.is_empty() && dots <= 2 {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        dots += 1;
    }
    matches!(dots, 1 | 2) && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_one_valid_host_in_one_form() {
        let long = "a".repeat(263);
        let cases = [
            ("example.com", Some("example.com"), "as it is"),
            ("EXAMPLE.com", Some("example.com"), "case does not count"),
            ("example.com:80", Some("example.com"), "the default port goes"),
            ("example.com:443", Some("example.com:443"), "another scheme's default port stays"),
            ("example.com:", Some("example.com"), "an empty port is none"),
            ("example.com:0080", Some("example.com"), "a port is a number"),
            ("127.0.0.1:8080", Some("127.0.0.1:8080"), "an address"),
            ("[::1]", Some("[::1]"), "an IPv6 address"),
            ("[2001:DB8::1]:8080", Some("[2001:db8::1]:8080"), "with a port"),
            ("under_score", Some("under_score"), "names in use hold underscores"),
            ("", None, "nothing"),
            (":80", None, "no host"),
            ("a b", None, "a space"),
            ("a,b", None, "a list"),
            ("a@b", None, "a user"),
            ("a/b", None, "a path"),
            ("a%2eb", None, "an encoding"),
            ("a:b", None, "a port that is no number"),
            ("a:+1", None, "a sign"),
            ("a:0", None, "no such port"),
            ("a:65536", None, "no such port"),
            ("a:1:2", None, "two ports"),
            ("::1", None, "an IPv6 address without brackets"),
            ("[::1", None, "half a bracket"),
            ("[::1]x", None, "something behind the bracket"),
            ("[::1%25eth0]", None, "a zone"),
            ("[a]", None, "no address in the brackets"),
            ("\u{e4}", None, "raw UTF-8"),
            ("a\0", None, "NUL"),
            (long.as_str(), None, "too long"),
        ];
        for (text, want, why) in cases {
            let found = authority(text.as_bytes(), 80);
            assert_eq!(found.as_deref(), want.map(str::as_bytes), "{text:?}: {why}");
        }
        assert_eq!(authority(b"a:443", 443).as_deref(), Some(b"a".as_slice()), "https leaves out 443");
    }

    #[test]
    fn a_path_is_forwarded_as_it_came_or_refused() {
        let cases = [
            ("/", true, "the root"),
            ("/a/b.c?d=../e#", true, "http cuts the fragment off; a query may hold dots"),
            ("/a%2Fb%00", true, "encodings are forwarded and keyed as they came"),
            ("/a//b/", true, "empty segments are segments"),
            ("/.../a", true, "three dots are a name"),
            ("/.well-known/x", true, "a name that begins with a dot"),
            ("/a%2e", true, "a name that ends with one"),
            ("/{a}|b", true, "browsers send these"),
            ("/a/../b", false, "up"),
            ("/a/.", false, "here"),
            ("/..", false, "above the root"),
            ("/%2e%2E/a", false, "encoded dots"),
            ("/a/.%2e/b", false, "half encoded"),
            ("/%2e", false, "one encoded dot"),
            ("/a\\..\\b", false, "a backslash that some servers read as a slash"),
        ];
        for (text, is_fine, why) in cases {
            let Ok(target) = text.parse::<PathAndQuery>() else {
                assert!(!is_fine, "{text:?} was refused by http: {why}");
                continue;
            };
            assert_eq!(path_fault(&target).is_none(), is_fine, "{text:?}: {why}");
        }
    }
}
