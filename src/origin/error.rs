//! What went wrong with an origin: for whom, against which limit, and which status tells the client so?

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::body::BoxError;
use crate::body::http1::content::ContentError;
use crate::body::request::RequestBodyError;

/// An address of an origin, as errors name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The origin's name.
    pub origin: Arc<str>,
    /// The address that was asked.
    pub address: SocketAddr,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "origin {} at {}", self.origin, self.address)
    }
}

/// Why a request got no answer from its origin.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// No address may be asked at present.
    #[error("origin {origin}: every address is ejected ({addresses} known)")]
    AllEjected {
        /// The origin's name.
        origin: Arc<str>,
        /// How many addresses it has.
        addresses: usize,
    },
    /// As many requests wait for a connection as may.
    #[error("origin {origin}: {queue} requests wait already for one of its {limit} connections (max_connections)")]
    QueueFull {
        /// The origin's name.
        origin: Arc<str>,
        /// How many requests may wait.
        queue: usize,
        /// `max_connections`.
        limit: usize,
    },
    /// No connection became free in time.
    #[error("origin {origin}: none of its {limit} connections (max_connections) was free for {waited:?}")]
    QueueTimeout {
        /// The origin's name.
        origin: Arc<str>,
        /// `max_connections`.
        limit: usize,
        /// How long the request waited (`first_byte_timeout`).
        waited: Duration,
    },
    /// The connection was refused, or the network has no way there.
    #[error("{peer}: cannot connect")]
    Connect {
        /// Who was asked.
        peer: Peer,
        /// What the system said.
        source: io::Error,
    },
    /// The connection, TLS included, did not stand in time.
    #[error("{peer}: not connected within {limit:?} (connect_timeout)")]
    ConnectTimeout {
        /// Who was asked.
        peer: Peer,
        /// `connect_timeout`.
        limit: Duration,
    },
    /// The TLS handshake failed, or the certificate is not to be trusted.
    #[error("{peer}: TLS with {host} failed")]
    Tls {
        /// Who was asked.
        peer: Peer,
        /// The host whose certificate was expected.
        host: Arc<str>,
        /// What TLS said.
        source: io::Error,
    },
    /// The connection ended, closed or reset, and nothing had been answered.
    #[error("{peer}: the connection ended before an answer")]
    Lost {
        /// Who was asked.
        peer: Peer,
        /// What the connection said.
        source: io::Error,
    },
    /// The connection ended within the head of the answer.
    #[error("{peer}: the connection ended within the head of the answer")]
    HeadCut {
        /// Who was asked.
        peer: Peer,
        /// What the connection said.
        source: io::Error,
    },
    /// No head of a final answer in time.
    #[error("{peer}: no answer within {limit:?} (first_byte_timeout)")]
    FirstByteTimeout {
        /// Who was asked.
        peer: Peer,
        /// `first_byte_timeout`.
        limit: Duration,
    },
    /// What came back is no answer that we may pass on.
    #[error("{peer}: the answer is malformed")]
    Malformed {
        /// Who was asked.
        peer: Peer,
        /// What is wrong with it.
        source: Malformed,
    },
    /// The client's own body broke off, was too slow or too large; the origin is not to blame.
    #[error("the request's body could not be sent on")]
    RequestBody(#[source] BoxError),
}

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not HTTP/1.
    #[error("it cannot be parsed")]
    Parse(#[source] httparse::Error),
    /// The head has too many bytes or fields.
    #[error("its head is larger than {limit} bytes, or has too many fields")]
    HeadTooLarge {
        /// The most bytes of a head.
        limit: usize,
    },
    /// A status outside 100–599. RFC 9110 §15.
    #[error("its status {0} is none of HTTP's")]
    Status(u16),
    /// `Content-Length` beside `Transfer-Encoding`: a sign of smuggling. RFC 9112 §6.3.
    #[error("it has both Content-Length and Transfer-Encoding")]
    TwoFramings,
    /// `Content-Length` is no single number. RFC 9112 §6.3.
    #[error("its Content-Length is not one number")]
    Length,
    /// Chunks in HTTP/1.0, which has none. RFC 9112 §6.1.
    #[error("it has Transfer-Encoding, and is HTTP/1.0")]
    CodingTooEarly,
    /// A transfer coding other than a lone `chunked`. RFC 9112 §6.1.
    #[error("its transfer coding is unknown")]
    TransferCoding,
    /// More interim answers than a request may get.
    #[error("more than {limit} interim answers (1xx) came before it")]
    TooManyInterim {
        /// The most interim answers.
        limit: u32,
    },
    /// 101 to a request that asked for no other protocol. RFC 9110 §15.2.2.
    #[error("it switches protocols unasked")]
    UnaskedUpgrade,
}

impl OriginError {
    /// The status of our answer: 502, 503 or 504 for what the origin did; 413, 408 or 400 for what the client did.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::AllEjected { .. } | Self::QueueFull { .. } | Self::QueueTimeout { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::ConnectTimeout { .. } | Self::FirstByteTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Lost { .. }
            | Self::HeadCut { .. }
            | Self::Malformed { .. } => StatusCode::BAD_GATEWAY,
            Self::RequestBody(source) => match source.downcast_ref() {
                Some(RequestBodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
                Some(RequestBodyError::Stalled { .. }) => StatusCode::REQUEST_TIMEOUT,
                Some(RequestBodyError::Broken(_)) | None => StatusCode::BAD_REQUEST,
            },
        }
    }

    /// The error type for the `Proxy-Status` field. RFC 9209 §2.3.
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::AllEjected { .. } => "destination_unavailable",
            Self::QueueFull { .. } | Self::QueueTimeout { .. } => "connection_limit_reached",
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "destination_ip_unroutable",
                _ => "connection_refused",
            },
            Self::ConnectTimeout { .. } => "connection_timeout",
            Self::Tls { source, .. } => tls_token(source),
            Self::Lost { .. } => "connection_terminated",
            Self::HeadCut { .. } => "http_response_incomplete",
            Self::FirstByteTimeout { .. } => "http_response_timeout",
            Self::Malformed { source, .. } => match source {
                Malformed::TransferCoding => "http_response_transfer_coding",
                Malformed::HeadTooLarge { .. } => "http_response_header_section_size",
                Malformed::UnaskedUpgrade => "http_upgrade_failed",
                _ => "http_protocol_error",
            },
            Self::RequestBody(_) => "http_request_error",
        }
    }

    /// Whether the client's body broke, not the origin: no reason to serve something stale.
    pub fn is_request_fault(&self) -> bool {
        matches!(self, Self::RequestBody(_))
    }

    /// The word under which the error is counted.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::AllEjected { .. } => ErrorKind::Ejected,
            Self::QueueFull { .. } | Self::QueueTimeout { .. } => ErrorKind::Queue,
            Self::Connect { .. } => ErrorKind::Connect,
            Self::ConnectTimeout { .. } => ErrorKind::ConnectTimeout,
            Self::Tls { .. } => ErrorKind::Tls,
            Self::Lost { .. } | Self::HeadCut { .. } => ErrorKind::Lost,
            Self::FirstByteTimeout { .. } => ErrorKind::FirstByteTimeout,
            Self::Malformed { .. } => ErrorKind::Malformed,
            Self::RequestBody(_) => ErrorKind::RequestBody,
        }
    }
}

/// RFC 9209 §2.3.14–16: a certificate that does not hold, an alert, or anything else about TLS.
fn tls_token(error: &io::Error) -> &'static str {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => "tls_certificate_error",
        Some(rustls::Error::AlertReceived(_)) => "tls_alert_received",
        _ => "tls_protocol_error",
    }
}

/// Why an answer's body broke off; what came before the break is not the whole.
#[derive(Debug, thiserror::Error)]
pub enum AnswerBodyError {
    /// Closed or reset before the end, or broken framing.
    #[error("{peer}: the answer's body broke off")]
    Cut {
        /// Who was asked.
        peer: Peer,
        /// How.
        source: ContentError,
    },
    /// Nothing came for too long.
    #[error("{peer}: nothing of the answer's body for {limit:?} (between_bytes_timeout)")]
    Stalled {
        /// Who was asked.
        peer: Peer,
        /// `between_bytes_timeout`.
        limit: Duration,
    },
}

/// The words under which errors are counted (`larder_origin_errors_total{kind=…}`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorKind {
    Ejected,
    Queue,
    Connect,
    ConnectTimeout,
    Tls,
    Lost,
    FirstByteTimeout,
    Malformed,
    RequestBody,
    BodyCut,
    BodyStalled,
    Resolve,
}

impl ErrorKind {
    /// Every kind, each at its own index.
    pub(super) const ALL: [Self; 12] = [
        Self::Ejected,
        Self::Queue,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Lost,
        Self::FirstByteTimeout,
        Self::Malformed,
        Self::RequestBody,
        Self::BodyCut,
        Self::BodyStalled,
        Self::Resolve,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ejected => "ejected",
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Lost => "lost",
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::Malformed => "malformed",
            Self::RequestBody => "request_body",
            Self::BodyCut => "body_cut",
            Self::BodyStalled => "body_stalled",
            Self::Resolve => "resolve",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer { origin: "app".into(), address: ([127, 0, 0, 1], 80).into() }
    }

    #[test]
    fn every_error_has_its_status_and_its_proxy_status() {
        let limit = Duration::from_secs(1);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let tls = |source: io::Error| OriginError::Tls { peer: peer(), host: "h".into(), source };
        let malformed = |source| OriginError::Malformed { peer: peer(), source };
        let body = |source: RequestBodyError| OriginError::RequestBody(source.into());
        #[rustfmt::skip]
        let cases = [
            (OriginError::AllEjected { origin: "app".into(), addresses: 1 }, 503, "destination_unavailable", "contract §7"),
            (OriginError::QueueFull { origin: "app".into(), queue: 1, limit: 1 }, 503, "connection_limit_reached", "contract §7"),
            (OriginError::QueueTimeout { origin: "app".into(), limit: 1, waited: limit }, 503, "connection_limit_reached", "as a full queue"),
            (OriginError::Connect { peer: peer(), source: refused() }, 502, "connection_refused", "contract §7"),
            (OriginError::Connect { peer: peer(), source: io::ErrorKind::HostUnreachable.into() }, 502, "destination_ip_unroutable", "no way there"),
            (OriginError::ConnectTimeout { peer: peer(), limit }, 504, "connection_timeout", "no answer in time"),
            (OriginError::FirstByteTimeout { peer: peer(), limit }, 504, "http_response_timeout", "no answer in time"),
            (tls(io::Error::other(certificate)), 502, "tls_certificate_error", "not to be trusted"),
            (tls(io::Error::other(rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure))), 502, "tls_alert_received", "the origin said no"),
            (tls(io::ErrorKind::UnexpectedEof.into()), 502, "tls_protocol_error", "not TLS at all"),
            (malformed(Malformed::TransferCoding), 502, "http_response_transfer_coding", "RFC 9209 has its own word"),
            (malformed(Malformed::HeadTooLarge { limit: 1 }), 502, "http_response_header_section_size", "its own word"),
            (malformed(Malformed::UnaskedUpgrade), 502, "http_upgrade_failed", "its own word"),
            (malformed(Malformed::Length), 502, "http_protocol_error", "malformed"),
            (body(RequestBodyError::TooLarge { limit: 1 }), 413, "http_request_error", "server.max_body"),
            (body(RequestBodyError::Stalled { waited: limit }), 408, "http_request_error", "server.idle_timeout"),
            (OriginError::RequestBody("gone".into()), 400, "http_request_error", "the client left"),
        ];
        for (error, status, token, why) in cases {
            assert_eq!((error.status().as_u16(), error.proxy_status()), (status, token), "{error}: {why}");
            assert_eq!(error.is_request_fault(), token == "http_request_error", "{error}");
        }
    }

    #[test]
    fn every_kind_stands_at_its_own_index() {
        for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?}");
        }
    }
}
