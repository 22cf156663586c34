//! What do files of certificates and keys hold?

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes of a file: more than the roots of every authority there is, and a bound for what is no file at all.
const MOST_BYTES: u64 = 4 << 20;

/// Why a file of certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is far larger than such files are.
    #[error("{path} is larger than {MOST_BYTES} bytes")]
    Large {
        /// The file.
        path: PathBuf,
    },
    /// It is no PEM.
    #[error("{path} is no PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// No certificate is in it.
    #[error("{path} holds no certificate (a PEM section that begins with BEGIN CERTIFICATE)")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No private key is in it.
    #[error("{path} holds no private key (a PEM section BEGIN PRIVATE KEY; a key with a password cannot be read)")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// The certificates of a file, in its order; at least one.
///
/// # Errors
///
/// It cannot be read, is no PEM, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    certificates_in(&read(path)?, path)
}

/// The same, of bytes that are called `path`.
pub(super) fn certificates_in(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(FileError::NoCertificate { path: path.to_owned() }),
        Ok(found) => Ok(found),
        Err(source) => Err(FileError::Pem { path: path.to_owned(), source }),
    }
}

/// The first private key of a file.
///
/// # Errors
///
/// It cannot be read, is no PEM, or holds none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    private_key_in(&read(path)?, path)
}

/// The same, of bytes that are called `path`.
pub(super) fn private_key_in(bytes: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => FileError::NoKey { path: path.to_owned() },
        source => FileError::Pem { path: path.to_owned(), source },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(FileError::Large { path: path.to_owned() });
    }
    Ok(bytes)
}
