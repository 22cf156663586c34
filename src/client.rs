//! Who asks, how did the request reach us, and what may be told before the answer?

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// The scheme under which the client knows a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The scheme as URLs write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL of this scheme leaves out.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A request's sender, as far as we believe it.
#[derive(Debug, Clone)]
pub struct Client {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Our end of the connection.
    pub local: SocketAddr,
    /// The client's address: the peer's, or the forwarded one when the peer is a trusted proxy.
    pub address: IpAddr,
    /// The scheme that the client used: the connection's, or the forwarded one when the peer is a trusted proxy.
    pub scheme: Scheme,
    /// What the origin is told of the client's certificate, where one was asked for and verified.
    pub certificate: Option<HeaderValue>,
    /// The host and port of the request's target, valid, in lower case, without the scheme's default port.
    pub authority: Arc<str>,
    /// The request's id.
    pub request_id: RequestId,
    /// When the request's head was complete.
    pub received: Instant,
    /// Where interim responses (1xx) go; `None` where the protocol has none, and over HTTP/2.
    pub interim: Option<Interim>,
}

/// What a plain request may ask besides for the whole: whether what it has is still what is stored, and for a range.
pub const WISHES: [HeaderName; 4] = [IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE, IF_RANGE];

/// A request that is nothing but a question for what is stored, or whether it is still what the client has: a GET without a
/// body. Views into the bytes that it came in.
#[derive(Debug, Clone, Copy)]
pub struct Plain<'a> {
    /// The client's address, as [`Client::address`].
    pub address: IpAddr,
    /// The scheme that the client used, as [`Client::scheme`].
    pub scheme: Scheme,
    /// Whether a trusted proxy sent it.
    pub is_trusted: bool,
    /// The request's id, where a trusted proxy gave one.
    pub request_id: Option<&'a HeaderValue>,
    /// The host and port of the request's target, valid, in lower case, without the scheme's default port.
    pub authority: &'a str,
    /// Path and query, as they came.
    pub target: &'a str,
    /// The request's fields, as they came, over HTTP/1.1 with `Host` among them, over HTTP/2 without those that begin with a
    /// colon.
    pub fields: &'a [httparse::Header<'a>],
    /// Whether some of [`WISHES`] are among them.
    pub has_wishes: bool,
    /// When the request's head was complete.
    pub received: Instant,
    /// The largest body, in bytes, that there is room for at once.
    pub room: usize,
    /// The connection ends with the answer (HTTP/1.1), which says so.
    pub is_last: bool,
    /// Fields may follow a body without being asked for (HTTP/2).
    pub takes_trailers: bool,
}

impl Plain<'_> {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// Whether it has one of these fields, named in lower case.
    pub fn has_any(&self, names: &[HeaderName]) -> bool {
        let has = |name: &HeaderName| self.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name.as_str()));
        names.iter().any(has)
    }
}

/// Those of these fields that `is_wanted`, by name.
pub fn as_map(fields: &[httparse::Header<'_>], is_wanted: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok().filter(&is_wanted);
        if let (Some(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
            map.append(name, value);
        }
    }
    map
}

/// A request's id: a trusted proxy's, or ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestId {
    /// As a trusted proxy gave it.
    Given(HeaderValue),
    /// Made here; written as 16 hexadecimal digits.
    Made(u64),
}

impl RequestId {
    /// A new one.
    pub fn made() -> Self {
        Self::Made(fastrand::u64(..))
    }

    /// The id as a field value.
    pub fn to_value(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Made(id) => {
                HeaderValue::from_bytes(&Self::digits(*id)).expect("hexadecimal digits are a field value")
            }
        }
    }

    /// How an id that was made here is written.
    pub fn digits(id: u64) -> [u8; 16] {
        std::array::from_fn(|at| b"0123456789abcdef"[(id >> (60 - 4 * at) & 0xf) as usize])
    }
}

/// Writes an address as its `Display` does. That takes over a thousand instructions for an IPv4 address, and each line of
/// the access log and each request to an origin has one.
pub fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            let [first, others @ ..] = address.octets();
            out.extend_from_slice(itoa::Buffer::new().format(first).as_bytes());
            for octet in others {
                out.push(b'.');
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

/// Sends interim responses to the client while its request is being answered.
///
/// Only before the final response has begun; later calls are dropped by the receiver.
#[derive(Clone)]
pub struct Interim(Arc<SendInterim>);

type SendInterim = dyn Fn(StatusCode, &HeaderMap) + Send + Sync;

impl Interim {
    /// Wraps what carries an interim response to the connection.
    pub fn new(send: impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Whether somebody else holds a clone, and may still send.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Sends one interim response: 102, 103 or another 1xx but 101. Fields as they are to go out.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        (self.0)(status, headers);
    }
}

impl std::fmt::Debug for Interim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interim")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ids_are_written_as_their_display_has_them() {
        for text in ["0.0.0.0", "127.0.0.1", "192.0.2.10", "255.255.255.255", "::", "2001:db8::1", "::ffff:192.0.2.1"] {
            let mut out = b"at ".to_vec();
            write_address(text.parse().expect("an address"), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("at {text}"));
        }
        for id in [0, 0xab, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(RequestId::Made(id).to_value(), format!("{id:016x}"));
        }
    }
}
