//! `[server.tls]` as it is written.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::leaf::{AcmeDirectory, AcmeHost, AcmeSecret, Email, FilePath};
use crate::config::located::{At, Word};

/// HTTPS listeners.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [server.tls]")]
#[schemars(extend("required" = ["listen"]))]
#[schemars(extend("anyOf" = [{ "required": ["certificates"] }, { "required": ["acme"] }]))]
pub(crate) struct Tls {
    /// Addresses on which clients are served over HTTPS. A change needs a restart.
    #[schemars(length(min = 1))]
    pub(crate) listen: At<Vec<Word<SocketAddr>>>,
    /// Certificates, chosen by SNI, read again when the files change. At least one, unless there is `acme`.
    pub(crate) certificates: Vec<At<Certificate>>,
    /// Certificates that are obtained and renewed by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acme: Option<At<Acme>>,
    /// A file of PEM certificates: the authorities whose certificates clients may show. Leave out: nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_ca: Option<Word<FilePath>>,
    /// Whether clients must show one, or may. With `client_ca` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_auth: Option<At<ClientAuth>>,
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientAuth {
    /// No handshake without one.
    #[default]
    Require,
    /// Who shows one must show a good one.
    Optional,
}

/// One certificate and its key, in PEM.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table: { cert = "site.pem", key = "site.key" }"#)]
#[schemars(extend("required" = ["cert", "key"]))]
pub(crate) struct Certificate {
    /// The file of the certificate and its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cert: Option<Word<FilePath>>,
    /// The file of the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Word<FilePath>>,
}

/// Certificates that are obtained and renewed by ACME (RFC 8555). Whoever writes this table agrees to the terms of the
/// authority that it names.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table: { hosts = ["shop.example"], cache = "acme" }"#)]
#[schemars(extend("required" = ["hosts", "cache"]))]
pub(crate) struct Acme {
    /// The URL of the authority's directory.
    pub(crate) directory: Word<AcmeDirectory>,
    /// An address at which the authority may tell of trouble. Leave out: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) email: Option<Word<Email>>,
    /// The hosts; each gets a certificate of its own.
    #[schemars(length(min = 1))]
    pub(crate) hosts: At<Vec<Word<AcmeHost>>>,
    /// A folder for the account's key, the certificates and their keys. A relative path begins at this file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cache: Option<Word<FilePath>>,
    /// PEM certificates that are trusted besides the system's roots, for an authority of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<Word<FilePath>>,
    /// With `[redis]`: what nodes seal and share challenges and certificates by; the same on each of them. Empty: every
    /// node is on its own.
    pub(crate) secret: Word<AcmeSecret>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: Word::default_of("https://acme-v02.api.letsencrypt.org/directory"),
            email: None,
            hosts: At::default_of(Vec::new()),
            cache: None,
            ca_file: None,
            secret: Word::default_of(""),
        }
    }
}
