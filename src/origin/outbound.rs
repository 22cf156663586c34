//! What goes out to an origin: the request's head, newly written from what we know of it.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, HeaderName, UPGRADE, VIA};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};

use super::Outbound;
use crate::body::http1::outgoing::{Framing, write_field};
use crate::body::request::RequestBody;
use crate::client::{Client, RequestId, write_address};
use crate::policy::hop;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What we call ourselves in `Via`. RFC 9110 §7.6.3.
const VIA_US: &str = "1.1 larder";

/// What we understand of `Surrogate-Control`, so that origins may send it. Edge Architecture Specification 1.0 §2.1.
const CAPABILITY: (HeaderName, &str) = (HeaderName::from_static("surrogate-capability"), "larder=\"Surrogate/1.0\"");

/// A request's head as it goes out, written for each try: most need one.
#[derive(Debug)]
pub(super) struct Template<'a> {
    pub(super) method: Method,
    target: PathAndQuery,
    /// What the client's request says.
    given: Cow<'a, HeaderMap>,
    pub(super) client: &'a Client,
    /// Whether it asks for another protocol.
    pub(super) upgrade: bool,
    /// How the body is sent.
    pub(super) framing: Framing,
    /// Whether it is said that there is no body.
    says_none: bool,
    preserve_host: bool,
}

impl<'a> Template<'a> {
    /// The head for `request`, and its body; with `preserve_host` the origin is told the client's `Host`.
    pub(super) fn of(request: Outbound<'a>, preserve_host: bool) -> (Self, RequestBody) {
        let (framing, says_none) = (framing(&request), says_none(&request));
        let Outbound { method, target, headers: given, client, body, upgrade, .. } = request;
        (Self { method, target, given, client, upgrade, framing, says_none, preserve_host }, body)
    }

    /// The head for one try at an origin that is known as `authority`, ready to send.
    pub(super) fn head(&self, authority: &HeaderValue) -> Vec<u8> {
        let Self { given, client, .. } = self;
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        let target = self.target.as_str();
        // A query alone has the path `/` before it.
        if !target.starts_with(['/', '*']) {
            out.push(b'/');
        }
        out.extend_from_slice(target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        // The first field, as RFC 9110 §7.2 advises.
        let host = if self.preserve_host { client.authority.as_bytes() } else { authority.as_bytes() };
        write_field(&mut out, "host", host);
        for (name, value) in given.iter() {
            if goes_on(name) || (self.upgrade && name == UPGRADE) {
                write_field(&mut out, name.as_str(), value.as_bytes());
            }
        }
        self.write_connection(&mut out);
        match self.framing {
            Framing::None if self.says_none => write_field(&mut out, "content-length", b"0"),
            Framing::None | Framing::UntilClose => {}
            Framing::Length(length) => {
                write_field(&mut out, "content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Framing::Chunked => write_field(&mut out, "transfer-encoding", b"chunked"),
        }
        introduce(given, client, &mut out);
        out.extend_from_slice(b"\r\n");
        out
    }

    /// What is about this hop. `TE` is, and has to be named as such.
    fn write_connection(&self, out: &mut Vec<u8>) {
        let has_trailers = hop::takes_trailers(&self.given);
        if has_trailers {
            write_field(out, "te", b"trailers");
        }
        match (self.upgrade, has_trailers) {
            (true, true) => extend(&self.given, &CONNECTION, out, |out| out.extend_from_slice(b"te")),
            (true, false) => {
                for value in self.given.get_all(CONNECTION) {
                    write_field(out, "connection", value.as_bytes());
                }
            }
            (false, true) => write_field(out, "connection", b"te"),
            (false, false) => {}
        }
    }

    /// Whether the request may be sent again though the origin may have seen it. RFC 9110 §9.2.2.
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }
}

/// Whether a client's field goes on as it is. Not where it is about the client's hop or its framing, and not where we write
/// it, in one piece with what was there or in its place.
///
/// `Expect` is between the client and us: its 100 goes out as soon as we read the body. The client's certificate as a client
/// wrote it never comes this far: `policy::forwarding` takes it off.
fn goes_on(name: &HeaderName) -> bool {
    !matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "forwarded"
            | "host"
            | "keep-alive"
            | "proxy-connection"
            | "surrogate-capability"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "via"
            | "x-forwarded-client-cert"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
            | "x-request-id"
    )
}

/// How long the body is, newly: what the client said is not repeated, what we know of it is.
fn framing(request: &Outbound<'_>) -> Framing {
    use http_body::Body as _;
    if request.body.is_empty() {
        Framing::None
    } else {
        request.body.size_hint().exact().map_or(Framing::Chunked, Framing::Length)
    }
}

/// Whether it has to be said that there is no body. RFC 9110 §8.6: by methods that usually have one.
fn says_none(request: &Outbound<'_>) -> bool {
    matches!(request.method, Method::POST | Method::PUT | Method::PATCH) || request.headers.contains_key(CONTENT_LENGTH)
}

/// Says who asks: `Via`, `X-Forwarded-*`, `Forwarded`, `X-Request-Id`, the client's certificate. What is there comes from a trusted proxy.
fn introduce(given: &HeaderMap, client: &Client, out: &mut Vec<u8>) {
    extend(given, &VIA, out, |out| out.extend_from_slice(VIA_US.as_bytes()));
    extend(given, &CAPABILITY.0, out, |out| out.extend_from_slice(CAPABILITY.1.as_bytes()));
    let peer = client.peer.ip().to_canonical();
    extend(given, &FORWARDED_FOR, out, |out| write_address(peer, out));
    write_field(out, FORWARDED_PROTO.as_str(), client.scheme.as_str().as_bytes());
    // The first proxy knows best.
    let host = given.get(FORWARDED_HOST).map_or(client.authority.as_bytes(), HeaderValue::as_bytes);
    write_field(out, FORWARDED_HOST.as_str(), host);
    extend(given, &FORWARDED, out, |out| write_forwarded(peer, client, out));
    match &client.request_id {
        RequestId::Given(id) => write_field(out, REQUEST_ID.as_str(), id.as_bytes()),
        RequestId::Made(id) => write_field(out, REQUEST_ID.as_str(), &RequestId::digits(*id)),
    }
    if let Some(certificate) = &client.certificate {
        write_field(out, CLIENT_CERT.as_str(), certificate.as_bytes());
    }
}

/// One element of `Forwarded`. RFC 7239 §4; IPv6 addresses and ports make a value that must be quoted (§6).
fn write_forwarded(peer: IpAddr, client: &Client, out: &mut Vec<u8>) {
    let (open, close): (&[u8], &[u8]) = if peer.is_ipv6() { (b"\"[", b"]\"") } else { (b"", b"") };
    let authority = client.authority.as_bytes();
    let quote: &[u8] = if memchr::memchr2(b':', b'[', authority).is_some() { b"\"" } else { b"" };
    out.extend_from_slice(b"for=");
    out.extend_from_slice(open);
    write_address(peer, out);
    for piece in [close, b";host=", quote, authority, quote, b";proto=", client.scheme.as_str().as_bytes()] {
        out.extend_from_slice(piece);
    }
}

/// Writes a list field with one more member; several lines become one, because many readers look at the first only.
fn extend(given: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>, write_member: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    for line in given.get_all(name) {
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b", ");
    }
    write_member(out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::client::Scheme;

    /// Method, fields, whether to upgrade, a field and what becomes of it, why.
    type Case =
        (Method, &'static [(&'static str, &'static str)], bool, &'static str, Option<&'static str>, &'static str);

    fn client(peer: &str, authority: &str) -> Client {
        Client {
            peer: format!("{peer}:5000").parse().unwrap(),
            local: ([127, 0, 0, 1], 80).into(),
            address: [192, 0, 2, 1].into(),
            scheme: Scheme::Https,
            authority: authority.into(),
            certificate: None,
            request_id: RequestId::Made(0xab),
            received: Instant::now(),
            interim: None,
        }
    }

    fn sent(method: Method, fields: &[(&str, &str)], client: &Client, upgrade: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        let target = PathAndQuery::from_static("/a?b");
        let body = RequestBody::empty();
        let headers = Cow::Owned(headers);
        let request = Outbound { method, target, headers, client, body, affinity: 0, upgrade };
        let (template, _) = Template::of(request, false);
        let head = String::from_utf8(template.head(&HeaderValue::from_static("origin:1"))).unwrap();
        let lines = head.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        let (first, fields): (Vec<_>, Vec<_>) = lines.map(str::to_owned).partition(|line| line.ends_with(" HTTP/1.1"));
        assert_eq!(first, [format!("{} /a?b HTTP/1.1", template.method)]);
        fields
    }

    #[test]
    fn a_request_is_introduced_and_keeps_its_order() {
        let fields = [("b", "1"), ("expect", "100-continue"), ("a", "2"), ("host", "evil"), ("b", "3"), ("te", "gzip")];
        let lines = sent(Method::GET, &fields, &client("192.0.2.9", "shop.example:8080"), false);
        let want = [
            "host: origin:1",
            "b: 1",
            "b: 3",
            "a: 2",
            "via: 1.1 larder",
            "surrogate-capability: larder=\"Surrogate/1.0\"",
            "x-forwarded-for: 192.0.2.9",
            "x-forwarded-proto: https",
            "x-forwarded-host: shop.example:8080",
            "forwarded: for=192.0.2.9;host=\"shop.example:8080\";proto=https",
            "x-request-id: 00000000000000ab",
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn what_trusted_proxies_said_is_extended() {
        let fields = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-for", "198.51.100.2"),
            ("x-forwarded-host", "first.example"),
            ("forwarded", "for=198.51.100.1"),
            ("via", "2 edge"),
        ];
        let lines = sent(Method::GET, &fields, &client("[2001:db8::1]", "shop.example"), false);
        for want in [
            "x-forwarded-for: 198.51.100.1, 198.51.100.2, 2001:db8::1",
            "x-forwarded-host: first.example",
            "forwarded: for=198.51.100.1, for=\"[2001:db8::1]\";host=shop.example;proto=https",
            "via: 2 edge, 1.1 larder",
        ] {
            assert!(lines.iter().any(|line| line == want), "{want} is not in {lines:?}");
        }
    }

    #[test]
    fn framing_and_hop_fields_are_written_anew() {
        #[rustfmt::skip]
        let cases: &[Case] = &[
            (Method::GET, &[], false, "content-length", None, "nothing to say"),
            (Method::POST, &[], false, "content-length", Some("0"), "RFC 9110 §8.6"),
            (Method::DELETE, &[("content-length", "0")], false, "content-length", Some("0"), "the client said so"),
            (Method::DELETE, &[("content-length", "7")], false, "content-length", Some("0"), "what we know counts"),
            (Method::POST, &[("transfer-encoding", "chunked")], false, "transfer-encoding", None, "of the client's hop"),
            (Method::GET, &[("te", "trailers;q=1, Trailers")], false, "te", Some("trailers"), "trailers can pass"),
            (Method::GET, &[("te", "trailers")], false, "connection", Some("te"), "TE is about this hop"),
            (Method::GET, &[("te", "gzip")], false, "te", None, "we undo no transfer codings"),
            (Method::GET, &[("connection", "upgrade"), ("upgrade", "x")], true, "upgrade", Some("x"), "asked for"),
            (Method::GET, &[("connection", "upgrade"), ("upgrade", "x")], true, "connection", Some("upgrade"), "asked for"),
            (Method::GET, &[("connection", "upgrade"), ("upgrade", "x")], false, "upgrade", None, "not to be passed on"),
            (Method::GET, &[("connection", "close")], false, "connection", None, "about the client's connection"),
            (Method::GET, &[("keep-alive", "timeout=1")], false, "keep-alive", None, "about the client's connection"),
        ];
        for (method, fields, upgrade, name, want, why) in cases {
            let lines = sent(method.clone(), fields, &client("192.0.2.9", "shop.example"), *upgrade);
            let prefix = format!("{name}: ");
            let found = lines.iter().find_map(|line| line.strip_prefix(&prefix));
            assert_eq!(found, *want, "{method} {fields:?}: {why}");
        }
    }
}
