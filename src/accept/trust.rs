//! Whom do we believe about the client, and what of that reaches the origin?
//!
//! Only peers in `server.trusted_proxies` are believed. From everybody else forwarding fields are dropped, not
//! appended to: an origin that reads them must never read an attacker's.

use std::net::{IpAddr, Ipv6Addr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use crate::client::Scheme;
use crate::policy::forwarding;

/// The longest request id that is taken over: it goes into logs and to the origin.
const MAX_REQUEST_ID: usize = 128;

/// Elements of a forwarding chain that are looked at, from its end: nobody has more proxies of his own.
const MAX_CHAIN: usize = 64;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is believed of a request's sender.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Believed {
    /// The client's address.
    pub(crate) address: IpAddr,
    /// The scheme the client used.
    pub(crate) scheme: Scheme,
    /// The request's id, where a trusted peer gave a usable one.
    pub(crate) request_id: Option<HeaderValue>,
}

impl Believed {
    /// What is known of a request whose sender is not believed: its connection.
    pub(crate) fn of_connection(peer: IpAddr, scheme: Scheme) -> Self {
        Self { address: peer.to_canonical(), scheme, request_id: None }
    }

    /// What a `peer` says that is trusted, in fields that [`tells`] names.
    pub(crate) fn of_proxy(headers: &HeaderMap, peer: IpAddr, connection: Scheme, trusted: &[IpNet]) -> Self {
        Self {
            address: forwarded_address(headers, peer.to_canonical(), |address| trusts(trusted, *address)),
            scheme: forwarded_scheme(headers).unwrap_or(connection),
            request_id: headers.get(X_REQUEST_ID).filter(|value| is_request_id(value)).cloned(),
        }
    }
}

/// Whether this peer is believed.
pub(crate) fn trusts(trusted: &[IpNet], peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    trusted.iter().any(|network| network.contains(&peer))
}

/// Whether [`Believed::of_proxy`] reads fields of this name.
pub(crate) fn tells(name: &HeaderName) -> bool {
    [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_REQUEST_ID, FORWARDED].contains(name)
}

/// Reads what a trusted `peer` says of the client, and removes the fields that nobody may pass on.
pub(crate) fn settle(headers: &mut HeaderMap, peer: IpAddr, connection: Scheme, trusted: &[IpNet]) -> Believed {
    let believed = if trusts(trusted, peer) {
        Believed::of_proxy(headers, peer, connection, trusted)
    } else {
        forwarding::drop_untrusted(headers);
        Believed::of_connection(peer, connection)
    };
    forwarding::drop_unwanted(headers);
    believed
}

fn is_request_id(value: &HeaderValue) -> bool {
    !value.is_empty() && value.len() <= MAX_REQUEST_ID && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// The rightmost address of the chain that is not one of our proxies; the last one believed where the chain breaks.
///
/// `X-Forwarded-For` counts where there is one, else `Forwarded` (RFC 7239): a proxy that writes one may pass on
/// the other as the client sent it, and most write the former.
fn forwarded_address(headers: &HeaderMap, peer: IpAddr, is_trusted: impl Fn(&IpAddr) -> bool) -> IpAddr {
    let has_chain = headers.contains_key(X_FORWARDED_FOR);
    let name = if has_chain { X_FORWARDED_FOR } else { FORWARDED };
    let mut client = peer;
    for element in elements_from_the_end(headers, &name).take(MAX_CHAIN) {
        let node = if has_chain { Some(element) } else { parameter(element, "for") };
        // What cannot be read was vouched for by nobody that can be named: the last known address stands.
        let Some(address) = node.and_then(node_address) else { return client };
        client = address;
        if !is_trusted(&client) {
            return client;
        }
    }
    client
}

/// The scheme that the nearest proxy states, where it states one that we know.
fn forwarded_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let stated = if headers.contains_key(X_FORWARDED_PROTO) {
        elements_from_the_end(headers, &X_FORWARDED_PROTO).next()?
    } else {
        parameter(elements_from_the_end(headers, &FORWARDED).next()?, "proto")?
    };
    if stated.eq_ignore_ascii_case("https") {
        Some(Scheme::Https)
    } else if stated.eq_ignore_ascii_case("http") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// The members of a field's list, over all its lines, last first. A line that is not ASCII is one unreadable member.
fn elements_from_the_end<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',')).map(str::trim)
}

/// The value of a parameter of an element of `Forwarded`, without its quotes. RFC 7239 §4.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address with or without a port, IPv6 with or without brackets; `unknown` and obfuscated nodes are none.
fn node_address(node: &str) -> Option<IpAddr> {
    let bare = match node.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0.parse::<Ipv6Addr>().ok()?.into(),
        None => match node.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => node.split_once(':')?.0.parse().ok()?,
        },
    };
    Some(bare.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines = &'static [(&'static str, &'static str)];

    fn headers(lines: Lines) -> HeaderMap {
        let line = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        lines.iter().map(line).collect()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn trusted() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")]
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_not_ours() {
        let cases: [(Lines, &str, &str); 15] = [
            (&[], "10.0.0.1", "nothing said: the peer"),
            (&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1", "one address"),
            (&[("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.2")], "192.0.2.1", "what stands left of it is hearsay"),
            (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1", "over two lines"),
            (&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3", "a client that is one of ours"),
            (&[("x-forwarded-for", "192.0.2.1, unknown")], "10.0.0.1", "a break: the last one known"),
            (&[("x-forwarded-for", "192.0.2.1, ")], "10.0.0.1", "an empty member is a break"),
            (&[("x-forwarded-for", "192.0.2.1:4711")], "192.0.2.1", "a port does not count"),
            (&[("x-forwarded-for", "[2001:db8::1]:4711")], "2001:db8::1", "an IPv6 address with a port"),
            (&[("x-forwarded-for", "2001:db8::1")], "2001:db8::1", "without brackets"),
            (&[("x-forwarded-for", "::ffff:192.0.2.1")], "192.0.2.1", "an IPv4 address in IPv6's clothes"),
            (&[("forwarded", "for=192.0.2.1;proto=https")], "192.0.2.1", "RFC 7239"),
            (&[("forwarded", "For=\"[2001:db8::1]:4711\", for=10.0.0.2")], "2001:db8::1", "quoted, two proxies"),
            (&[("forwarded", "proto=https")], "10.0.0.1", "an element without an address"),
            (&[("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1", "both: the usual one"),
        ];
        for (lines, want, why) in cases {
            let believed = settle(&mut headers(lines), address("10.0.0.1"), Scheme::Http, &trusted());
            assert_eq!(believed.address, address(want), "{why}: {lines:?}");
        }
    }

    #[test]
    fn the_scheme_is_what_the_nearest_trusted_proxy_says() {
        let cases: [(Lines, Scheme, &str); 6] = [
            (&[], Scheme::Http, "nothing said: the connection's"),
            (&[("x-forwarded-proto", "https")], Scheme::Https, "said"),
            (&[("x-forwarded-proto", "http, HTTPS")], Scheme::Https, "the nearest proxy's word, whatever its case"),
            (&[("x-forwarded-proto", "gopher")], Scheme::Http, "unknown: the connection's"),
            (&[("forwarded", "for=192.0.2.1;proto=https")], Scheme::Https, "RFC 7239"),
            (&[("forwarded", "proto=https, for=192.0.2.1")], Scheme::Http, "the nearest proxy does not say"),
        ];
        for (lines, want, why) in cases {
            let believed = settle(&mut headers(lines), address("10.0.0.1"), Scheme::Http, &trusted());
            assert_eq!(believed.scheme, want, "{why}: {lines:?}");
        }
    }

    #[test]
    fn an_untrusted_peer_is_not_believed_and_its_fields_go() {
        let mut found = headers(&[
            ("forwarded", "for=1.1.1.1"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-anything", "x"),
            ("x-forwarded-client-cert", "Subject=\"CN=root\""),
            ("client-cert", ":AAAA:"),
            ("client-cert-chain", ":AAAA:"),
            ("x-real-ip", "1.1.1.1"),
            ("x-request-id", "mine"),
            ("x-original-url", "/admin"),
            ("x-http-method-override", "DELETE"),
            ("accept", "*/*"),
        ]);
        let believed = settle(&mut found, address("::ffff:192.0.2.9"), Scheme::Http, &trusted());
        assert_eq!(believed, Believed { address: address("192.0.2.9"), scheme: Scheme::Http, request_id: None });
        assert_eq!(found, headers(&[("accept", "*/*")]), "only the harmless field is left");
    }

    #[test]
    fn a_trusted_peers_chain_is_kept_to_be_extended() {
        let mut found = headers(&[
            ("x-forwarded-for", "192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("x-request-id", "abc-1"),
            ("x-rewrite-url", "/admin"),
            ("x-forwarded-client-cert", "Subject=\"CN=root\""),
            ("client-cert", ":AAAA:"),
        ]);
        let believed = settle(&mut found, address("10.0.0.1"), Scheme::Http, &trusted());
        assert_eq!(believed.request_id, Some(HeaderValue::from_static("abc-1")));
        assert_eq!(found, headers(&[("x-forwarded-for", "192.0.2.1"), ("client-cert", ":AAAA:")]));
    }

    #[test]
    fn an_unfit_request_id_is_replaced() {
        let long: &'static str = Box::leak("a".repeat(129).into_boxed_str());
        for id in ["", "a b", "a\tb", long] {
            let mut found = HeaderMap::new();
            found.insert(X_REQUEST_ID, HeaderValue::from_static(id));
            let believed = settle(&mut found, address("10.0.0.1"), Scheme::Http, &trusted());
            assert_eq!(believed.request_id, None, "{id:?}");
        }
    }
}
