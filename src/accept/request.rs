//! Is this a request that we pass on, and what of it? (RFC 9110, RFC 9112, RFC 9113)
//!
//! The head has been read (`http1::head`, or HTTP/2's library); what a proxy must not pass on is refused here. What is left
//! is clean: nothing in it is about the client's connection, and nothing in it is a lie of an untrusted client.

use std::net::{IpAddr, SocketAddr};

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, MAX_FORWARDS, TE, UPGRADE};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use super::trust::{self, Believed};
use crate::client::Scheme;
use crate::config::settings::Server;
use crate::policy::target::{self, Authority};
use crate::policy::{forwarding, hop};

/// The longest registered method has 17 letters (RFC 5323, RFC 3253).
const MAX_METHOD: usize = 32;

/// What we know of the connection that a request came over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// The other end's address.
    pub(crate) peer: IpAddr,
    /// Our end, as a host for those that name none.
    pub(crate) local: SocketAddr,
    /// With TLS or without.
    pub(crate) scheme: Scheme,
}

/// What a clean request says besides its head.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) believed: Believed,
    pub(crate) authority: Authority,
}

/// Why a request goes no further: `accept` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Refused with this status.
    Away {
        /// 400, 405, 413, 414, 417 or 501.
        status: StatusCode,
        /// For the client's eyes.
        reason: &'static str,
    },
    /// `OPTIONS *`, or OPTIONS that may not be forwarded: answered by us.
    Options,
}

impl Turned {
    const fn bad(reason: &'static str) -> Self {
        Self::Away { status: StatusCode::BAD_REQUEST, reason }
    }

    /// Whether the connection ends with the answer: its framing cannot be trusted, or a body is on its way.
    pub(crate) fn closes(self) -> bool {
        matches!(self, Self::Away { status, .. } if status != StatusCode::METHOD_NOT_ALLOWED)
    }
}

/// Checks a request's head, believes of it what may be believed, and cleans it.
///
/// Afterwards the URI is in origin-form with the client's bytes, and `Host`, hop-by-hop fields, `Expect` and untrusted
/// forwarding fields are gone. `Connection: upgrade` and `Upgrade` stay where an upgrade is possible.
///
/// # Errors
/// The request is not passed on; the head may be half cleaned.
pub(crate) fn examine(head: &mut Parts, line: Line, server: &Server) -> Result<Examined, Turned> {
    check_method(&head.method)?;
    check_length(&head.headers, server.max_body)?;
    check_expectation(head)?;
    if hop::names_protected_field(&head.headers) {
        return Err(Turned::bad("Connection names a field that is meant for everybody"));
    }
    let believed = trust::settle(&mut head.headers, line.peer, line.scheme, &server.trusted_proxies);
    let authority = authority(head, line.local, believed.scheme)?;
    normalise_target(head)?;
    if head.method == Method::OPTIONS {
        spend_forward(&mut head.headers)?;
    }
    clean(head);
    Ok(Examined { believed, authority })
}

fn check_method(method: &Method) -> Result<(), Turned> {
    if method.as_str().len() > MAX_METHOD {
        // RFC 9112 §3: longer than any that is implemented.
        return Err(Turned::Away { status: StatusCode::NOT_IMPLEMENTED, reason: "no such method is known" });
    }
    if !forwarding::is_let_in(method) {
        return Err(Turned::Away { status: StatusCode::METHOD_NOT_ALLOWED, reason: "the method is not allowed here" });
    }
    Ok(())
}

/// Who read the head has seen to it that there is one reading of where the body ends; that may be too far off.
fn check_length(headers: &HeaderMap, max_body: u64) -> Result<(), Turned> {
    let Some(length) = headers.get(CONTENT_LENGTH) else { return Ok(()) };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(length) = digits.and_then(|digits| digits.parse::<u64>().ok()) else {
        return Err(Turned::bad("Content-Length is not a number"));
    };
    if length > max_body {
        return Err(Turned::Away {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            reason: "the request body is larger than server.max_body",
        });
    }
    Ok(())
}

/// RFC 9110 §10.1.1: `100-continue` is the one expectation there is; HTTP/1.0 has none.
fn check_expectation(head: &mut Parts) -> Result<(), Turned> {
    if !head.headers.contains_key(EXPECT) {
        return Ok(());
    }
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.version > Version::HTTP_10 && !head.headers.get_all(EXPECT).iter().all(is_met) {
        return Err(Turned::Away {
            status: StatusCode::EXPECTATION_FAILED,
            reason: "an expectation other than 100-continue",
        });
    }
    // It is answered when the body is first asked for; nobody further on needs to.
    head.headers.remove(EXPECT);
    Ok(())
}

/// Whom the request is for; `Host` and the target must say the same. RFC 9112 §3.2, RFC 9113 §8.3.1.
fn authority(head: &mut Parts, local: SocketAddr, scheme: Scheme) -> Result<Authority, Turned> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, surplus) = (hosts.next(), hosts.next());
    if surplus.is_some() {
        return Err(Turned::bad("more than one Host"));
    }
    let read =
        |text: &[u8]| target::authority(text, scheme.default_port()).ok_or(Turned::bad("Host is not a valid host"));
    let from_host = host.map(|host| read(host.as_bytes())).transpose()?;
    let from_target = head.uri.authority().map(|authority| read(authority.as_str().as_bytes())).transpose()?;
    let authority = match (from_host, from_target) {
        (Some(host), Some(target)) if host != target => {
            return Err(Turned::bad("Host and the target name different hosts"));
        }
        // In HTTP/1.1 the field is required whatever the target says (RFC 9112 §3.2).
        (None, _) if head.version == Version::HTTP_11 => return Err(Turned::bad("Host is missing")),
        (Some(found), _) | (None, Some(found)) => found,
        // RFC 9112 §3.3: HTTP/1.0 may leave it open; then it means us, as it reached us.
        (None, None) if head.version <= Version::HTTP_10 => read(host_of(local).as_bytes())?,
        (None, None) => return Err(Turned::bad("neither Host nor an authority")),
    };
    head.headers.remove(HOST);
    Ok(authority)
}

/// Our address as a client would write it.
fn host_of(local: SocketAddr) -> String {
    SocketAddr::new(local.ip().to_canonical(), local.port()).to_string()
}

/// Brings the target into origin-form, byte for byte what the client sent. RFC 9112 §3.2.
fn normalise_target(head: &mut Parts) -> Result<(), Turned> {
    match head.uri.scheme_str() {
        Some(scheme) if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") => {
            return Err(Turned::bad("a scheme other than http and https"));
        }
        None if head.uri.authority().is_some() => return Err(Turned::bad("a target without a path")),
        _ => {}
    }
    let Some(target) = head.uri.path_and_query() else { return Err(Turned::bad("a target without a path")) };
    if target.as_str() == "*" {
        // Asterisk-form is for OPTIONS alone.
        let is_options = head.method == Method::OPTIONS;
        return Err(if is_options { Turned::Options } else { Turned::bad("the target is *") });
    }
    if target::is_too_long(target) {
        return Err(Turned::Away { status: StatusCode::URI_TOO_LONG, reason: "the target is too long" });
    }
    let rooted = rooted(target);
    if let Some(reason) = target::path_fault(rooted.as_ref().unwrap_or(target)) {
        return Err(Turned::bad(reason));
    }
    if head.uri.authority().is_some() || rooted.is_some() {
        head.uri = Uri::from(rooted.unwrap_or_else(|| target.clone()));
    }
    Ok(())
}

/// `http://host?query` has an empty path, which is `/` (RFC 9110 §4.2.3); `None`: the target has its slash.
fn rooted(target: &PathAndQuery) -> Option<PathAndQuery> {
    let text = target.as_str();
    if text.starts_with('?') { PathAndQuery::try_from(format!("/{text}")).ok() } else { None }
}

/// RFC 9110 §7.6.2: at zero the request is answered here; else one less goes on. What is no number is ignored.
fn spend_forward(headers: &mut HeaderMap) -> Result<(), Turned> {
    let stated = headers.get(MAX_FORWARDS).and_then(|value| value.to_str().ok());
    match stated.and_then(|text| text.parse::<u32>().ok()) {
        Some(0) => Err(Turned::Options),
        Some(count) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(count - 1));
            Ok(())
        }
        None => Ok(()),
    }
}

/// Takes off what is about the client's connection. Of `TE` it is left whether trailers may come.
fn clean(head: &mut Parts) {
    let upgrade = if head.version == Version::HTTP_11 { hop::upgrade(&head.headers) } else { None };
    // HTTP/2 has room for the fields behind a body without asking.
    let takes_trailers = head.version == Version::HTTP_2 || hop::takes_trailers(&head.headers);
    hop::strip(&mut head.headers);
    if takes_trailers {
        head.headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocols) = upgrade {
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        for protocol in protocols {
            head.headers.append(UPGRADE, protocol);
        }
    }
    if head.version == Version::HTTP_2 {
        hop::join_cookies(&mut head.headers);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    fn server() -> Server {
        Server {
            listen: Vec::new(),
            threads: 0,
            max_connections: 10,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            drain_timeout: Duration::from_secs(30),
            max_header_bytes: 65_536,
            max_body: 1000,
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            expose_surrogate_headers: false,
        }
    }

    fn line() -> Line {
        Line { peer: [192, 0, 2, 1].into(), local: ([127, 0, 0, 1], 8080).into(), scheme: Scheme::Http }
    }

    fn head(version: Version, method: &str, uri: &str, lines: Lines) -> Parts {
        let mut request = http::Request::new(());
        *request.version_mut() = version;
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = uri.parse().expect("a URI");
        for &(name, value) in lines {
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    const HOSTED: Lines = &[("host", "a")];
    const V10: Version = Version::HTTP_10;
    const V11: Version = Version::HTTP_11;
    const V2: Version = Version::HTTP_2;

    #[test]
    fn requests_are_refused_with_the_status_that_says_why() {
        let cases: [(Version, &str, &str, Lines, u16, &str); 34] = [
            (V11, "GET", "/", HOSTED, 0, "an ordinary request"),
            (V11, "BREW", "/", HOSTED, 0, "unknown methods pass"),
            (V11, "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG", "/", HOSTED, 501, "unless nobody has one so long"),
            (V11, "GET", "/", &[("host", "a"), ("content-length", "3")], 0, "a GET may have a body"),
            (V11, "CONNECT", "a:443", HOSTED, 405, "we are no tunnel"),
            (V11, "TRACE", "/", HOSTED, 405, "no echo of what is added"),
            (V11, "GET", "/", &[], 400, "no Host"),
            (V11, "GET", "/", &[("host", "a"), ("host", "a")], 400, "two, even equal ones"),
            (V11, "GET", "/", &[("host", "")], 400, "an empty one"),
            (V11, "GET", "/", &[("host", "a b")], 400, "an invalid one"),
            (V11, "GET", "http://a/x", HOSTED, 0, "absolute-form"),
            (V11, "GET", "http://A:80/x", HOSTED, 0, "the same host, written otherwise"),
            (V11, "GET", "http://b/x", HOSTED, 400, "another host than Host"),
            (V11, "GET", "http://a/x", &[], 400, "absolute-form does not replace Host"),
            (V11, "GET", "http://u@a/x", HOSTED, 400, "a user in the target"),
            (V11, "GET", "ftp://a/x", HOSTED, 400, "another scheme"),
            (V11, "GET", "a:80", &[("host", "a:80")], 400, "authority-form"),
            (V11, "GET", "*", HOSTED, 400, "asterisk-form is for OPTIONS"),
            (V11, "GET", "/a/../b", HOSTED, 400, "dot segments"),
            (V11, "GET", "http://a/%2e%2e/b", HOSTED, 400, "dot segments in absolute-form"),
            (V11, "POST", "/", &[("host", "a"), ("transfer-encoding", "chunked")], 0, "chunked"),
            (V11, "POST", "/", &[("host", "a"), ("content-length", "1000")], 0, "as large as allowed"),
            (V11, "POST", "/", &[("host", "a"), ("content-length", "1001")], 413, "one more"),
            (V11, "POST", "/", &[("host", "a"), ("content-length", "+3")], 400, "a sign"),
            (V11, "POST", "/", &[("host", "a"), ("expect", "100-Continue")], 0, "the one expectation"),
            (V11, "POST", "/", &[("host", "a"), ("expect", "200-ok")], 417, "another"),
            (V10, "POST", "/", &[("host", "a"), ("expect", "200-ok")], 0, "HTTP/1.0 has no expectations"),
            (V11, "GET", "/", &[("host", "a"), ("connection", "x, Authorization")], 400, "a protected field named"),
            (V10, "GET", "/", &[], 0, "HTTP/1.0 without Host"),
            (V10, "GET", "/", &[("host", "a"), ("host", "b")], 400, "HTTP/1.0 with two"),
            (V2, "GET", "http://a/", &[], 0, "HTTP/2 names its authority in the target"),
            (V2, "GET", "http://a/", HOSTED, 0, "and may repeat it"),
            (V2, "GET", "http://a/", &[("host", "b")], 400, "but not differ"),
            (V2, "GET", "/", &[], 400, "HTTP/2 without any"),
        ];
        for (version, method, uri, lines, want, why) in cases {
            let status = match examine(&mut head(version, method, uri, lines), line(), &server()) {
                Ok(_) => 0,
                Err(Turned::Away { status, .. }) => status.as_u16(),
                Err(Turned::Options) => 204,
            };
            assert_eq!(status, want, "{method} {uri} {lines:?}: {why}");
        }
    }

    #[test]
    fn a_clean_request_is_in_origin_form_with_its_bytes() {
        let cases: [(Version, &str, Lines, &str, &str, &str); 7] = [
            (V11, "/a//b?c=%41&?", HOSTED, "a", "/a//b?c=%41&?", "as it came"),
            (V11, "/a?", HOSTED, "a", "/a?", "an empty query is a query"),
            (V11, "http://a:80/x?y", HOSTED, "a", "/x?y", "absolute-form"),
            (V11, "http://a", HOSTED, "a", "/", "absolute-form without a path"),
            (V11, "http://a?x", HOSTED, "a", "/?x", "with a query only"),
            (V10, "/", &[], "127.0.0.1:8080", "/", "HTTP/1.0 without Host means our address"),
            (V2, "https://A:8443/x", &[], "a:8443", "/x", "HTTP/2"),
        ];
        for (version, uri, lines, authority, target, why) in cases {
            let mut head = head(version, "GET", uri, lines);
            let examined = examine(&mut head, line(), &server()).expect("the request is fine");
            assert_eq!(examined.authority.as_slice(), authority.as_bytes(), "{uri}: {why}");
            assert_eq!(head.uri.to_string(), target, "{uri}: {why}");
            assert!(!head.headers.contains_key(HOST), "{uri}: the host is kept elsewhere");
        }
    }

    #[test]
    fn options_for_us_is_answered_by_us() {
        let cases: [(&str, Lines, Option<&str>, &str); 5] = [
            ("*", HOSTED, None, "asterisk-form"),
            ("/x", &[("host", "a"), ("max-forwards", "0")], None, "may not be forwarded"),
            ("/x", &[("host", "a"), ("max-forwards", "2")], Some("1"), "one forward less"),
            ("/x", &[("host", "a"), ("max-forwards", "many")], Some("many"), "no number: ignored"),
            ("/x", HOSTED, Some(""), "an ordinary one"),
        ];
        for (uri, lines, want, why) in cases {
            let mut head = head(V11, "OPTIONS", uri, lines);
            let examined = examine(&mut head, line(), &server());
            let left = head.headers.get(MAX_FORWARDS).map_or("", |value| value.to_str().expect("text"));
            match want {
                Some(want) => assert_eq!((examined.is_ok(), left), (true, want), "{why}"),
                None => assert_eq!(examined.err(), Some(Turned::Options), "{why}"),
            }
        }
    }

    #[test]
    fn what_is_about_the_connection_stays_behind() {
        let mut head = head(
            V11,
            "GET",
            "/",
            &[
                ("host", "a"),
                ("connection", "keep-alive, x-mine"),
                ("keep-alive", "timeout=5"),
                ("x-mine", "1"),
                ("te", "trailers"),
                ("upgrade", "websocket"),
                ("expect", "100-continue"),
                ("x-forwarded-for", "6.6.6.6"),
                ("accept", "*/*"),
            ],
        );
        examine(&mut head, line(), &server()).expect("the request is fine");
        let left: Vec<&str> = head.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(left, ["accept", "te"]);
    }

    #[test]
    fn cookies_of_http2_are_joined() {
        let lines: Lines = &[("cookie", "a=1"), ("cookie", "b=2")];
        for (version, want) in [(V2, vec!["a=1; b=2"]), (V11, vec!["a=1", "b=2"])] {
            let lines = if version == V11 { &[("host", "a"), ("cookie", "a=1"), ("cookie", "b=2")] } else { lines };
            let mut head = head(version, "GET", if version == V2 { "http://a/" } else { "/" }, lines);
            examine(&mut head, line(), &server()).expect("the request is fine");
            let found: Vec<&HeaderValue> = head.headers.get_all(http::header::COOKIE).iter().collect();
            assert_eq!(found, want, "{version:?}");
        }
    }
}
