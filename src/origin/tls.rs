//! TLS towards origins: whom do we trust, and as whom do we know the other end?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

/// Why TLS towards an origin cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `ca_file` cannot be read, or is no PEM.
    #[error("cannot read the certificates of {path}")]
    Read {
        /// `ca_file`.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// `ca_file` has no certificate in it.
    #[error("{path} holds no certificate (a PEM section that begins with BEGIN CERTIFICATE)")]
    NoCertificate {
        /// `ca_file`.
        path: PathBuf,
    },
    /// No roots: the system has none, and no `ca_file` is given; or a certificate is broken.
    #[error("no certificates to verify the origin with")]
    Roots(#[source] rustls::Error),
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

/// Rules that trust the system's roots, and those in `ca_file`. Reads files: not for a thread that serves.
pub(super) fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    // Given explicitly: nobody has to install a provider for the process first.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(ca_file, &provider)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Roots)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(ca_file: Option<&Path>, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    let extra = ca_file.map(certificates).transpose()?.unwrap_or_default();
    Verifier::new_with_extra_roots(extra, Arc::clone(provider)).map_err(TlsError::Roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_must_hold_certificates() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap().cert.pem();
        let cases = [
            (write("good.pem", &good), "", "a certificate"),
            (write("empty.pem", ""), "holds no certificate", "nothing in it"),
            (write("key.pem", "-----BEGIN X-----\nAAAA\n-----END X-----\n"), "holds no certificate", "something else"),
            (directory.path().join("missing.pem"), "cannot read", "not there"),
        ];
        for (path, want, why) in cases {
            let said = client_config(Some(&path)).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(said.contains(want) && said.is_empty() == want.is_empty(), "{why}: {said}");
        }
    }
}
