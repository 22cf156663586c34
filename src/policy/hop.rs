//! Which fields belong to one connection only, and must not travel on?

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

/// Removes what belongs to the connection that `headers` came over: `Connection`, the fields that it names, and
/// those known to be hop-by-hop whether named or not.
///
/// Works both ways, on requests and on responses. `Trailer` stays: it announces fields that travel on.
///
/// A field that is meant for everybody stays even when `Connection` names it. RFC 9110 §7.6.1
/// forbids naming it; obeying would let `Connection: cache-control` turn `private` into something to be stored, and
/// `Connection: surrogate-key` take from a response the tags that it is purged by.
/// Requests that try are refused before ([`names_protected_field`]).
///
/// RFC 9110 §7.6.1; RFC 9111 §3.1.
pub fn strip(headers: &mut HeaderMap) {
    // Most that are named are hop-by-hop anyway, and go below.
    let is_known = |name: &HeaderName| is_hop_by_hop(name.as_str());
    let named: Vec<_> = named(headers).filter(|name| !is_known(name) && !is_end_to_end(name)).collect();
    for name in named {
        headers.remove(name);
    }
    while let Some(name) = headers.keys().find(|name| is_known(name)).cloned() {
        headers.remove(name);
    }
}

/// Whether `Connection` names a field that is meant for everybody, such as `Authorization` or `Cache-Control`.
///
/// A request that does is to be refused with 400: some proxy on the way would drop the field and another one would
/// not, and the difference is an attack.
///
/// RFC 9110 §7.6.1: a connection option must not be a field that is intended for all recipients.
pub fn names_protected_field(headers: &HeaderMap) -> bool {
    named(headers).any(|name| is_end_to_end(&name))
}

/// The protocols that a request asks its connection to become. RFC 9110 §7.8.
///
/// Not with a body: nobody agrees where it would end. Not `h2c`: RFC 9113 took it back, and it smuggles past proxies.
pub fn upgrade(headers: &HeaderMap) -> Option<SmallVec<[HeaderValue; 1]>> {
    if !headers.contains_key(header::UPGRADE) {
        return None;
    }
    let has_option = headers.get_all(header::CONNECTION).iter().any(|line| has_member(line.as_bytes(), b"upgrade"));
    let protocols: SmallVec<[HeaderValue; 1]> = headers.get_all(header::UPGRADE).iter().cloned().collect();
    let mut listed = protocols.iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    let has_h2c = listed.any(|protocol| protocol.trim_ascii().to_ascii_lowercase().starts_with(b"h2"));
    (has_option && !announces_body(headers) && !has_h2c).then_some(protocols)
}

/// Whether the sender takes fields behind a body. RFC 9110 §10.1.4.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::TE).iter().filter_map(|line| line.to_str().ok());
    lines.any(|line| has_member(line.as_bytes(), b"trailers"))
}

/// Whether a list, one line of it, has this member, whatever its case.
pub fn has_member(line: &[u8], member: &[u8]) -> bool {
    line.split(|&byte| byte == b',').any(|found| found.trim_ascii().eq_ignore_ascii_case(member))
}

/// Whether a body follows the head. RFC 9112 §6.3.
pub fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes().iter().any(|&byte| byte != b'0'))
}

/// RFC 9113 §8.2.3: cookies may come in pieces, and must be one field before they reach anything but HTTP/2.
pub fn join_cookies(headers: &mut HeaderMap) {
    let pieces: SmallVec<[HeaderValue; 4]> = headers.get_all(header::COOKIE).iter().cloned().collect();
    if pieces.len() < 2 {
        return;
    }
    let joined = pieces.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(b"; ".as_slice());
    headers.insert(header::COOKIE, HeaderValue::try_from(joined).expect("field values joined by a separator are one"));
}

/// Whether a field is about one connection (or one proxy) by definition.
///
/// RFC 9110 §7.6.1, and RFC 9111 §3.1 for the `Proxy-` fields.
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether a field is known to be meant for every recipient: what a cache, an access check or a parser relies on.
fn is_end_to_end(name: &HeaderName) -> bool {
    let name = name.as_str();
    ["accept", "content-", "if-", "x-forwarded-"].iter().any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "age"
                | "allow"
                | "authorization"
                | "cache-control"
                | "cache-group-invalidation"
                | "cache-groups"
                | "cache-tag"
                | "cdn-cache-control"
                | "cookie"
                | "date"
                | "edge-cache-tag"
                | "etag"
                | "expect"
                | "expires"
                | "forwarded"
                | "host"
                | "last-modified"
                | "location"
                | "max-forwards"
                | "origin"
                | "pragma"
                | "range"
                | "referer"
                | "server"
                | "set-cookie"
                | "surrogate-control"
                | "surrogate-key"
                | "trailer"
                | "user-agent"
                | "vary"
                | "via"
                | "www-authenticate"
                | "x-real-ip"
                | "x-request-id"
                | "xkey"
        )
}

/// Whether a field may come after a body. What frames, routes, authorises, selects, controls or describes a message had
/// to be known before it; digests and what applications make up may come late.
///
/// RFC 9110 §6.5.1.
pub fn may_trail(name: &HeaderName) -> bool {
    let is_late = matches!(name.as_str(), "etag" | "content-digest" | "content-md5" | "server-timing");
    is_late || !(is_hop_by_hop(name.as_str()) || is_end_to_end(name))
}

/// The field names that `Connection` lists; what is no field name is left out.
fn named(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|line: &HeaderValue| line.as_bytes().split(|&byte| byte == b','))
        .filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    fn fields(lines: Lines) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn named_by(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|&line| (header::CONNECTION, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn only_what_may_be_known_late_follows_a_body() {
        let cases = [
            ("x-checksum", true, "an application's"),
            ("content-digest", true, "known at the end"),
            ("etag", true, "known at the end"),
            ("grpc-status", true, "known at the end"),
            ("content-length", false, "framing"),
            ("transfer-encoding", false, "framing"),
            ("host", false, "routing"),
            ("x-forwarded-for", false, "routing"),
            ("authorization", false, "access"),
            ("cookie", false, "access"),
            ("set-cookie", false, "access"),
            ("cache-control", false, "control"),
            ("content-type", false, "what the content is"),
            ("connection", false, "about the hop"),
            ("trailer", false, "too late"),
        ];
        for (name, want, why) in cases {
            assert_eq!(may_trail(&HeaderName::from_static(name)), want, "{name}: {why}");
        }
    }

    #[test]
    fn what_belongs_to_the_connection_goes() {
        let cases: [(Lines, &[&str], &str); 9] = [
            (&[("a", "1"), ("b", "2")], &["a", "b"], "no Connection: nothing is named"),
            (&[("connection", "a, b"), ("a", "1"), ("b", "2"), ("c", "3")], &["c"], "named fields go"),
            (&[("connection", "a"), ("connection", "b"), ("a", "1"), ("b", "2")], &[], "on every line"),
            (&[("connection", " A ,,\tB"), ("a", "1"), ("b", "2")], &[], "case, white space, empty members"),
            (&[("connection", "close, \"a\", a b"), ("a", "1")], &["a"], "what is no field name names nothing"),
            (
                &[
                    ("keep-alive", "timeout=5"),
                    ("te", "trailers"),
                    ("upgrade", "h2c"),
                    ("transfer-encoding", "chunked"),
                ],
                &[],
                "hop-by-hop without being named",
            ),
            (
                &[("proxy-authenticate", "x"), ("proxy-connection", "y"), ("proxy-authorization", "z")],
                &[],
                "RFC 9111 3.1",
            ),
            (
                &[("connection", "cache-control"), ("cache-control", "private")],
                &["cache-control"],
                "never a way to lose it",
            ),
            (&[("trailer", "x-sum")], &["trailer"], "announces fields that travel on"),
        ];
        for (lines, want, why) in cases {
            let mut headers = fields(lines);
            strip(&mut headers);
            let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, want, "{why}");
        }
    }

    #[test]
    fn every_line_of_a_named_field_goes() {
        let mut headers = fields(&[("connection", "a"), ("a", "1"), ("a", "2"), ("b", "3")]);
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn naming_an_end_to_end_field_is_noticed() {
        let cases = [
            ("close", false, "an option, not a field"),
            ("keep-alive, Upgrade, TE, HTTP2-Settings", false, "fields of the connection"),
            ("x-mine", false, "nobody relies on it"),
            ("Host", true, "routing"),
            ("close, AUTHORIZATION", true, "case does not matter"),
            ("cookie", true, "identity"),
            ("Cache-Control", true, "the example of the RFC"),
            ("X-Forwarded-For", true, "the client's address"),
            ("content-length", true, "framing"),
            ("if-none-match", true, "a condition"),
        ];
        for (value, want, why) in cases {
            assert_eq!(names_protected_field(&named_by(&[value])), want, "{value}: {why}");
        }
        assert!(names_protected_field(&named_by(&["close", "range"])), "second line");
    }
}
