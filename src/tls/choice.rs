//! Which certificate does a client get to see?

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// Certificates by the names that they are for.
#[derive(Debug, Default)]
pub(super) struct Choice {
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Choice {
    /// Sorts the pairs; where two have a name in common, the earlier one comes first.
    pub(super) fn of<'p>(pairs: impl IntoIterator<Item = &'p Pair>) -> Self {
        let mut choice = Self::default();
        for pair in pairs {
            for name in &pair.facts.names {
                let table = match name.strip_prefix("*.") {
                    Some(_) => &mut choice.wildcard,
                    None => &mut choice.exact,
                };
                let name = name.strip_prefix("*.").unwrap_or(name);
                table.entry(name.into()).or_default().push(Arc::clone(&pair.certified));
            }
            choice.all.push(Arc::clone(&pair.certified));
        }
        choice
    }

    /// The certificate for a client that names `name`, and can verify signatures of these `schemes`: by the exact name,
    /// by a wildcard one label deep, else the first.
    ///
    /// A certificate whose signature the client cannot verify stands back for a later one of the same name: that is how an
    /// RSA certificate is kept beside an ECDSA one for old clients.
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let can_sign = |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        let name = name.map(str::to_ascii_lowercase);
        let named = name.as_deref().and_then(|name| {
            let by_wildcard = || self.wildcard.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(by_wildcard)
        });
        let named = named.and_then(|named| named.iter().find(can_sign).or(named.first()));
        let found = named.or_else(|| self.all.iter().find(can_sign)).or(self.all.first());
        found.cloned()
    }
}

/// Asked at each handshake; its certificates can be replaced at any time.
#[derive(Debug)]
pub(super) struct Chooser(pub(super) ArcSwap<Choice>);

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().find(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pair, rsa_pair};
    use super::*;

    const ANY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

    #[test]
    fn a_certificate_is_found_by_name_then_by_wildcard_then_by_order() {
        let pairs = [
            pair(&["first.example"]),
            pair(&["*.shop.example", "Shop.Example"]),
            pair(&["eu.shop.example"]),
            pair(&["eu.shop.example", "*.shop.example"]),
        ];
        let choice = Choice::of(&pairs);
        let cases = [
            (None, 0, "no name: the first"),
            (Some("other.example"), 0, "an unknown name: the first"),
            (Some("shop.example"), 1, "exact, whatever the case in the certificate"),
            (Some("SHOP.example"), 1, "whatever the case in the client's hello"),
            (Some("eu.shop.example"), 2, "exact before wildcard, the earlier of two"),
            (Some("us.shop.example"), 1, "the wildcard, the earlier of two"),
            (Some("a.b.shop.example"), 0, "a wildcard is one label"),
            (Some("example"), 0, "no label in front"),
            (Some("*.shop.example"), 1, "a name that no host has; harmless"),
        ];
        for (name, want, why) in cases {
            let found = choice.find(name, ANY).expect("there is always one");
            assert!(Arc::ptr_eq(&found, &pairs[want].certified), "{name:?}: {why}");
        }
        assert!(Choice::default().find(None, ANY).is_none(), "none at all");
    }

    #[test]
    fn a_certificate_that_the_client_cannot_verify_stands_back() {
        let pairs = [pair(&["a.example"]), rsa_pair(&["a.example"])];
        let choice = Choice::of(&pairs);
        let old = &[SignatureScheme::RSA_PKCS1_SHA256];
        let cases = [
            (Some("a.example"), ANY, 0, "both fit: the first"),
            (Some("a.example"), old, 1, "RSA alone"),
            (None, old, 1, "without a name, too"),
            (Some("a.example"), &[SignatureScheme::ED25519], 0, "none fits: the handshake says so"),
        ];
        for (name, schemes, want, why) in cases {
            let found = choice.find(name, schemes).expect("there is always one");
            assert!(Arc::ptr_eq(&found, &pairs[want].certified), "{why}");
        }
    }
}
