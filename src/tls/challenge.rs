//! Is a client an authority that wants to see whether a host is ours, and what does it get to see?
//!
//! RFC 8737: the authority shakes hands with the host, offers `acme-tls/1` and nothing else, and must be shown a
//! certificate that no client would believe, with a digest that only the host's own could know. Then the connection ends.
//!
//! By rules of its own, apart from all other handshakes: those never hear of the protocol, and who is asked for a
//! certificate elsewhere is not asked here.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// RFC 8737 §6.2.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// The challenges under way, by host.
#[derive(Debug, Default)]
pub struct Challenges(ArcSwapOption<HashMap<Box<str>, Arc<ServerConfig>>>);

/// Why a challenge cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// The certificate cannot be made.
    #[error("the certificate for a challenge cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// The library does not take it.
    #[error("the certificate for a challenge cannot be shown")]
    Library(#[from] rustls::Error),
}

impl Challenges {
    /// Whether there is any: all that an ordinary handshake asks.
    pub fn is_any(&self) -> bool {
        self.0.load().is_some()
    }

    /// By which rules a client is answered; `None`: by everybody's.
    pub fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        // RFC 8737 §3: the one protocol in the list.
        if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
            return None;
        }
        let host = hello.server_name()?.to_ascii_lowercase();
        self.0.load().as_ref()?.get(&*host).cloned()
    }

    /// Answers challenges for `host`, in lower case, with this SHA-256 of a key authorization.
    ///
    /// # Errors
    ///
    /// The machine has no random numbers, or the host is no name.
    pub fn begin(&self, host: &str, digest: &[u8]) -> Result<(), ChallengeError> {
        let config = Arc::new(config(host, digest)?);
        self.change(|challenges| {
            challenges.insert(host.into(), Arc::clone(&config));
        });
        Ok(())
    }

    /// Answers them no longer.
    pub fn end(&self, host: &str) {
        self.change(|challenges| {
            challenges.remove(host);
        });
    }

    fn change(&self, change: impl Fn(&mut HashMap<Box<str>, Arc<ServerConfig>>)) {
        self.0.rcu(|old| {
            let mut challenges = old.as_deref().cloned().unwrap_or_default();
            change(&mut challenges);
            (!challenges.is_empty()).then(|| Arc::new(challenges))
        });
    }
}

fn config(host: &str, digest: &[u8]) -> Result<ServerConfig, ChallengeError> {
    let mut parameters = CertificateParams::new([host.to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    // Critical (RFC 8737 §3): whoever does not know what it is for accepts it for nothing.
    parameters.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|what| rustls::Error::General(what.to_owned()))?;
    let provider = super::provider();
    // Not looked at any further: the library, too, accepts no certificate with an extension that it does not know.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], provider.key_provider.load_private_key(key)?);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
