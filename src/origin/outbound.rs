//! What goes out to an origin: the request's head, newly written from what we know of it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, Entry, FORWARDED, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::Outbound;
use super::upload::UploadReader;
use crate::body::request::RequestBody;
use crate::client::{Client, write_address};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The client's certificate. What a client wrote there never comes this far: `policy::forwarding` takes it off.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// What we call ourselves in `Via`. RFC 9110 §7.6.3.
const VIA_US: &str = "1.1 larder";

/// Fields that we add at most.
const OURS: usize = 12;

/// What we understand of `Surrogate-Control`, so that origins may send it. Edge Architecture Specification 1.0 §2.1.
const CAPABILITY: (HeaderName, &str) = (HeaderName::from_static("surrogate-capability"), "larder=\"Surrogate/1.0\"");

/// A request's head as it goes out, written for each try: most need one.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) method: Method,
    uri: Uri,
    /// What the client's request says.
    given: HeaderMap,
    client: Client,
    /// Whether it asks for another protocol.
    pub(super) upgrade: bool,
    /// How long the body is, where that is to be said.
    framing: Option<(HeaderName, HeaderValue)>,
    preserve_host: bool,
}

impl Template {
    /// The head for `request`, and its body; with `preserve_host` the origin is told the client's `Host`.
    pub(super) fn of(request: Outbound, preserve_host: bool) -> (Self, RequestBody) {
        let framing = framing(&request);
        let Outbound { method, target, headers: given, client, body, upgrade, .. } = request;
        (Self { method, uri: Uri::from(target), given, client, upgrade, framing, preserve_host }, body)
    }

    /// The request for one try at an origin that is known as `authority`.
    pub(super) fn request(&self, authority: &HeaderValue, body: UploadReader) -> Request<UploadReader> {
        let Self { given, client, .. } = self;
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.reserve(given.len() + OURS);
        // The first field, as RFC 9110 §7.2 advises.
        let of_client = || HeaderValue::try_from(&*client.authority).unwrap_or_else(|_| HeaderValue::from_static(""));
        headers.insert(HOST, if self.preserve_host { of_client() } else { authority.clone() });
        copy_end_to_end(given, headers, self.upgrade);
        if accepts_trailers(given) {
            add_te(headers);
        }
        if let Some((name, value)) = &self.framing {
            headers.insert(name.clone(), value.clone());
        }
        introduce(headers, client);
        request
    }

    /// Whether the request may be sent again though the origin may have seen it. RFC 9110 §9.2.2.
    pub(super) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }
}

/// Copies the fields that are not about this hop or this framing, in their order.
fn copy_end_to_end(given: &HeaderMap, headers: &mut HeaderMap, upgrade: bool) {
    for (name, value) in given {
        // `Expect` is between the client and us: its 100 goes out as soon as we read the body.
        let is_ours = *name == HOST
            || *name == EXPECT
            || *name == CONTENT_LENGTH
            || *name == TRANSFER_ENCODING
            || *name == TE
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
            || (!upgrade && (*name == CONNECTION || *name == UPGRADE));
        if !is_ours {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// How long the body is, newly: what the client said is not repeated, what we know of it is.
fn framing(request: &Outbound) -> Option<(HeaderName, HeaderValue)> {
    use http_body::Body as _;
    if request.body.is_empty() {
        // RFC 9110 §8.6: a method that usually has a body says that there is none.
        let expects_body = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
        let is_to_be_said = expects_body || request.headers.contains_key(CONTENT_LENGTH);
        is_to_be_said.then(|| (CONTENT_LENGTH, HeaderValue::from_static("0")))
    } else if let Some(length) = request.body.size_hint().exact() {
        Some((CONTENT_LENGTH, length.into()))
    } else {
        Some((TRANSFER_ENCODING, HeaderValue::from_static("chunked")))
    }
}

/// Says who asks: `Via`, `X-Forwarded-*`, `Forwarded`, `X-Request-Id`, the client's certificate. What is there comes from a trusted proxy.
fn introduce(headers: &mut HeaderMap, client: &Client) {
    extend(headers, VIA, HeaderValue::from_static(VIA_US));
    extend(headers, CAPABILITY.0, HeaderValue::from_static(CAPABILITY.1));
    let peer = client.peer.ip().to_canonical();
    let mut address = Vec::new();
    write_address(peer, &mut address);
    extend_with(headers, FORWARDED_FOR, &address);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(client.scheme.as_str()));
    if let (Entry::Vacant(entry), Ok(authority)) =
        (headers.entry(FORWARDED_HOST), HeaderValue::try_from(&*client.authority))
    {
        entry.insert(authority);
    }
    extend_with(headers, FORWARDED, &forwarded(peer.is_ipv6(), &address, client));
    headers.insert(REQUEST_ID, client.request_id.to_value());
    if let Some(certificate) = &client.certificate {
        headers.insert(CLIENT_CERT, certificate.clone());
    }
}

/// One element of `Forwarded`. RFC 7239 §4; IPv6 addresses and ports make a value that must be quoted (§6).
fn forwarded(is_ipv6: bool, address: &[u8], client: &Client) -> Vec<u8> {
    let (open, close): (&[u8], &[u8]) = if is_ipv6 { (b"\"[", b"]\"") } else { (b"", b"") };
    let authority = client.authority.as_bytes();
    let quote: &[u8] = if memchr::memchr2(b':', b'[', authority).is_some() { b"\"" } else { b"" };
    let scheme = client.scheme.as_str().as_bytes();
    [b"for=", open, address, close, b";host=", quote, authority, quote, b";proto=", scheme].concat()
}

fn extend_with(headers: &mut HeaderMap, name: HeaderName, member: &[u8]) {
    if let Ok(member) = HeaderValue::from_bytes(member) {
        extend(headers, name, member);
    }
}

/// Adds a member to a list field; several lines become one, because many readers look at the first only.
fn extend(headers: &mut HeaderMap, name: HeaderName, member: HeaderValue) {
    match headers.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(member);
        }
        Entry::Occupied(mut entry) => {
            let lines: Vec<&[u8]> = entry.iter().chain([&member]).map(HeaderValue::as_bytes).collect();
            if let Ok(list) = HeaderValue::try_from(lines.join(&b", "[..])) {
                entry.insert(list);
            }
        }
    }
}

/// Whether the client takes trailers (RFC 9110 §10.1.4), so that the origin may send them.
fn accepts_trailers(headers: &HeaderMap) -> bool {
    let members = headers.get_all(TE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    members.into_iter().any(|member| member.trim().eq_ignore_ascii_case("trailers"))
}

/// `TE` is about one hop, and has to be named as such.
fn add_te(headers: &mut HeaderMap) {
    headers.insert(TE, HeaderValue::from_static("trailers"));
    extend(headers, CONNECTION, HeaderValue::from_static("te"));
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use http::uri::PathAndQuery;

    use super::*;
    use crate::client::{RequestId, Scheme};

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

    fn sent(method: Method, fields: &[(&str, &str)], client: Client, upgrade: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        let target = PathAndQuery::from_static("/a?b");
        let body = RequestBody::empty();
        let request = Outbound { method, target, headers, client, body, affinity: 0, upgrade };
        let (template, _) = Template::of(request, false);
        let request = template.request(&HeaderValue::from_static("origin:1"), UploadReader::default());
        assert_eq!(request.uri(), "/a?b");
        request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_request_is_introduced_and_keeps_its_order() {
        let fields = [("b", "1"), ("expect", "100-continue"), ("a", "2"), ("host", "evil"), ("b", "3"), ("te", "gzip")];
        let lines = sent(Method::GET, &fields, client("192.0.2.9", "shop.example:8080"), false);
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
        let lines = sent(Method::GET, &fields, client("[2001:db8::1]", "shop.example"), false);
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
            let lines = sent(method.clone(), fields, client("192.0.2.9", "shop.example"), *upgrade);
            let prefix = format!("{name}: ");
            let found = lines.iter().find_map(|line| line.strip_prefix(&prefix));
            assert_eq!(found, *want, "{method} {fields:?}: {why}");
        }
    }
}
