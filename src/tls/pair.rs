//! Do a certificate and a key make a pair that we can show to clients?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, SignatureAlgorithm};
use x509_parser::error::X509Error;

use super::certificate::Facts;
use super::pem::{self, FileError};

/// Where a certificate and its key are: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate and its chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A certificate, its chain and its key, as clients are shown them.
#[derive(Debug)]
pub struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// What the certificate says.
    pub facts: Facts,
}

/// Why two files make no pair.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The file of the certificate cannot be used.
    #[error(transparent)]
    Certificate(FileError),
    /// The file of the key cannot be used.
    #[error(transparent)]
    Key(FileError),
    /// The certificate makes no sense.
    #[error("the certificate in {path} cannot be read")]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: X509Error,
    },
    /// The key is of a kind that TLS has no use for, or it is broken.
    #[error("the private key in {path} cannot be used")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Error,
    },
    /// The key is another certificate's.
    #[error("the private key in {key} does not fit the certificate in {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// It is over.
    #[error("the certificate in {path} has expired")]
    Expired {
        /// The file.
        path: PathBuf,
    },
}

impl PairError {
    /// Whether the key is to be mended, rather than the certificate.
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::Key(_) | Self::Unusable { .. } | Self::Mismatch { .. })
    }
}

impl Pair {
    /// Reads a pair. `now`: seconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// One of the files cannot be used, they do not belong together, or the certificate has expired.
    pub fn read(files: &Files, now: i64) -> Result<Self, PairError> {
        let chain = pem::certificates(&files.cert).map_err(PairError::Certificate)?;
        let secret = || pem::private_key(&files.key).map_err(PairError::Key);
        Self::join(files, chain, secret, now)
    }

    /// A pair out of one text that holds both, which is called `path` where it is complained about.
    ///
    /// # Errors
    ///
    /// As [`Pair::read`].
    pub fn parse(text: &[u8], path: &Path, now: i64) -> Result<Self, PairError> {
        let chain = pem::certificates_in(text, path).map_err(PairError::Certificate)?;
        let secret = || pem::private_key_in(text, path).map_err(PairError::Key);
        Self::join(&Files::of(path, path), chain, secret, now)
    }

    fn join(
        Files { cert, key }: &Files,
        chain: Vec<CertificateDer<'static>>,
        secret: impl FnOnce() -> Result<PrivateKeyDer<'static>, PairError>,
        now: i64,
    ) -> Result<Self, PairError> {
        let path = || cert.clone();
        let facts = Facts::read(&chain[0]).map_err(|source| PairError::Garbled { path: path(), source })?;
        let secret = secret()?;
        let certified = CertifiedKey::from_der(chain, secret, &super::provider()).map_err(|error| match error {
            Error::InconsistentKeys(_) => PairError::Mismatch { cert: path(), key: key.clone() },
            source => PairError::Unusable { path: key.clone(), source },
        })?;
        if facts.not_after < now {
            return Err(PairError::Expired { path: path() });
        }
        Ok(Self { certified: Arc::new(certified), facts })
    }

    /// Whether clients can be expected to find the way to a root that they know: the certificate is its own issuer, or
    /// its issuer's certificate follows it.
    pub fn has_chain(&self) -> bool {
        self.facts.is_self_signed || self.certified.cert.len() > 1
    }

    /// What the key signs by: a client that cannot verify one kind may be able to verify the other.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.certified.key.algorithm()
    }

    /// The certificate itself, without its chain.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        self.certified.cert.first().expect("a pair has a certificate")
    }

    /// Whether clients would be shown the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }

    /// As operators know it: its names.
    pub fn label(&self) -> String {
        if self.facts.names.is_empty() { "(no names)".to_owned() } else { self.facts.names.join(", ") }
    }
}

impl Files {
    /// Short for two paths.
    pub fn of(cert: &Path, key: &Path) -> Self {
        Self { cert: cert.to_owned(), key: key.to_owned() }
    }
}
