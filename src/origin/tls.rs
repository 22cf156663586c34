//! TLS towards origins: as whom do we know the other end?

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::TlsConnector;

use crate::tls::outgoing::TrustError;

/// Why TLS towards an origin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is nobody to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The host of the URL is neither a name nor an address that a certificate could have.
    #[error("no certificate can be for the host {host:?}")]
    Host {
        /// The host, as in the URL.
        host: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
}

/// How to speak TLS with one host.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    /// The name in SNI, and the one that the certificate must have.
    pub(super) name: ServerName<'static>,
}

impl Tls {
    /// TLS with `host`, by the rules of `config`.
    pub(super) fn with(host: &str, config: &Arc<ClientConfig>) -> Result<Self, TlsError> {
        let name =
            ServerName::try_from(host.to_owned()).map_err(|source| TlsError::Host { host: host.to_owned(), source })?;
        Ok(Self { connector: TlsConnector::from(Arc::clone(config)), name })
    }
}
