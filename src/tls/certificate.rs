//! What does a certificate say: for which names, until when, by whom?

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// What is read of a certificate. Nothing of it is verified here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The names of hosts that it is for, in lower case, wildcards as they stand. The subject does not count: no client
    /// looks there any more (RFC 9525 §2).
    pub names: Vec<Box<str>>,
    /// From when it is valid; seconds since the Unix epoch.
    pub not_before: i64,
    /// Until when, that second included.
    pub not_after: i64,
    /// Whether it says that it was issued by its own subject.
    pub is_self_signed: bool,
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, X509Error> {
        let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| match error {
            x509_parser::nom::Err::Error(error) | x509_parser::nom::Err::Failure(error) => error,
            x509_parser::nom::Err::Incomplete(_) => X509Error::InvalidCertificate,
        })?;
        let validity = certificate.validity();
        Ok(Self {
            names: names(&certificate),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            is_self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<Box<str>> {
    // An extension that comes twice or makes no sense: no client would accept the certificate for any name.
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into_boxed_str()),
        _ => None,
    });
    names.collect()
}
