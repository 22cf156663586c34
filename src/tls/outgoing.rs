//! As a client: whom do we trust?

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_platform_verifier::Verifier;

use super::pem::{self, FileError};

/// Why there is nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// `ca_file` cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// No roots: the system has none, and no `ca_file` is given; or a certificate is broken.
    #[error("no certificates to verify the other end with")]
    Roots(#[source] rustls::Error),
}

/// Rules that trust the system's roots, and those in `ca_file`, for HTTP/1.1. Reads files: not for a thread that serves.
///
/// # Errors
///
/// `ca_file` cannot be used, or there are no roots at all.
pub fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let provider = super::provider();
    let extra = ca_file.map(pem::certificates).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider)).map_err(TrustError::Roots)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Roots)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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
            (write("cut.pem", &good[..good.len() / 2]), "no PEM", "cut off"),
            (directory.path().join("missing.pem"), "cannot be read", "not there"),
        ];
        for (path, want, why) in cases {
            let said = client_config(Some(&path)).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(said.contains(want) && said.is_empty() == want.is_empty(), "{why}: {said}");
        }
    }
}
