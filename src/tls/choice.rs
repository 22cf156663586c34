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
    /// The operator's own, for whoever names none of them.
    own: Vec<Arc<CertifiedKey>>,
    /// Those that were obtained. Where there are only these, they are for who names a host of theirs or nobody: a
    /// certificate for another host is none.
    obtained: Vec<Arc<CertifiedKey>>,
}

impl Choice {
    /// Sorts the operator's own pairs and those that were obtained; where two have a name in common, the earlier one comes
    /// first, and the operator's own before the other.
    pub(super) fn of<'p>(
        own: impl IntoIterator<Item = &'p Pair>,
        obtained: impl IntoIterator<Item = &'p Pair>,
    ) -> Self {
        let mut choice = Self::default();
        for pair in own {
            choice.sort_in(pair);
            choice.own.push(Arc::clone(&pair.certified));
        }
        for pair in obtained {
            choice.sort_in(pair);
            choice.obtained.push(Arc::clone(&pair.certified));
        }
        choice
    }

    fn sort_in(&mut self, pair: &Pair) {
        for name in &pair.facts.names {
            let table = match name.strip_prefix("*.") {
                Some(_) => &mut self.wildcard,
                None => &mut self.exact,
            };
            let name = name.strip_prefix("*.").unwrap_or(name);
            table.entry(name.into()).or_default().push(Arc::clone(&pair.certified));
        }
    }

    /// The certificate for a client that names `name`, and can verify signatures of these `schemes`: by the exact name,
    /// by a wildcard one label deep, else the first. `None`: there is none to show.
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
        let for_others = match name {
            None if self.own.is_empty() => &self.obtained,
            _ => &self.own,
        };
        let found = named.or_else(|| for_others.iter().find(can_sign)).or(for_others.first());
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
        let choice = Choice::of(&pairs, []);
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
        let choice = Choice::of(&pairs, []);
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

    #[test]
    fn what_was_obtained_is_shown_to_who_names_it_and_stands_back_for_the_operators_own() {
        let own = [pair(&["own.example", "*.wild.example"])];
        let obtained = [pair(&["own.example"]), pair(&["a.wild.example"]), pair(&["b.example"])];
        let (both, alone) = (Choice::of(&own, &obtained), Choice::of([], &obtained));
        let cases = [
            (&both, Some("own.example"), Some(&own[0]), "the operator's own first"),
            (&both, Some("a.wild.example"), Some(&obtained[1]), "exact before wildcard"),
            (&both, Some("c.wild.example"), Some(&own[0]), "the wildcard for the others"),
            (&both, Some("other.example"), Some(&own[0]), "an unknown name: the first of the operator's own"),
            (&both, None, Some(&own[0]), "no name"),
            (&alone, Some("b.example"), Some(&obtained[2]), "by its name"),
            (&alone, Some("other.example"), None, "another host's would be none for it"),
            (&alone, None, Some(&obtained[0]), "no name: the first"),
        ];
        for (choice, name, want, why) in cases {
            let found = choice.find(name, ANY);
            let is_wanted = match (&found, want) {
                (Some(found), Some(want)) => Arc::ptr_eq(found, &want.certified),
                (found, want) => found.is_none() && want.is_none(),
            };
            assert!(is_wanted, "{name:?}: {why}");
        }
    }
}
