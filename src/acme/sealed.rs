//! How do nodes tell each other what nobody else may read or make up?
//!
//! AES-256-GCM under a key that HKDF derives from the operator's secret. What a text is for stands in the seal: one that is
//! moved to another place in Redis, or comes from another authority's folder, opens nowhere.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use crate::config::settings::Secret;

/// What the key is for: the operator may use the secret for other things, too.
const DOMAIN: &[u8] = b"larder acme seal 1";

/// The first byte of what is sealed.
const VERSION: u8 = 1;

/// Bytes of something sealed, at most: a key and the longest chain there is, several times over.
pub(super) const MOST_BYTES: usize = 64 << 10;

const KEY_LENGTH: usize = 32;

/// Seals and opens.
#[derive(Debug)]
pub(super) struct Seal(RandomizedNonceKey);

impl Seal {
    /// By the operator's secret.
    pub(super) fn of(secret: &Secret) -> Self {
        let mut key = [0; KEY_LENGTH];
        let derived = Salt::new(HKDF_SHA256, DOMAIN).extract(secret.0.as_bytes());
        let filled = derived.expand(&[b"key"], &AES_256_GCM).and_then(|derived| derived.fill(&mut key));
        filled.expect("HKDF gives as many bytes as the cipher wants");
        Self(RandomizedNonceKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length"))
    }

    /// Seals `text` for this place; `None`: the machine has no random numbers.
    pub(super) fn close(&self, place: &[&str], text: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = text.to_vec();
        let nonce = self.0.seal_in_place_append_tag(aad(place), &mut sealed).ok()?;
        Some([&[VERSION][..], nonce.as_ref(), &sealed].concat())
    }

    /// What was sealed for this place; `None`: nothing of ours.
    pub(super) fn open(&self, place: &[&str], sealed: &[u8]) -> Option<Vec<u8>> {
        if sealed.len() > MOST_BYTES {
            return None;
        }
        let (nonce, text) = sealed.strip_prefix(&[VERSION])?.split_at_checked(NONCE_LEN)?;
        let mut text = text.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, aad(place), &mut text).ok()?.len();
        text.truncate(opened);
        Some(text)
    }
}

/// The parts of a place, each with its length before it.
fn aad(place: &[&str]) -> Aad<Vec<u8>> {
    let part = |part: &&str| [&(part.len() as u64).to_be_bytes()[..], part.as_bytes()].concat();
    Aad::from(place.iter().flat_map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_by_its_secret_and_whole() {
        type Case<'c> = (&'c str, &'c [&'c str], &'c [u8], bool, &'c str);
        let seal = |secret: &str| Seal::of(&Secret(secret.repeat(32)));
        let sealed = seal("a").close(&["pair", "a.example"], b"text").expect("there are random numbers");
        assert!(!sealed.windows(4).any(|it| it == b"text"));
        assert_ne!(
            sealed,
            seal("a").close(&["pair", "a.example"], b"text").expect("there are"),
            "never the same twice"
        );
        let mut bent = sealed.clone();
        bent[20] ^= 1;
        let mut later = sealed.clone();
        later[0] = 2;
        let cases: [Case<'_>; 10] = [
            ("a", &["pair", "a.example"], &sealed, true, "as it was"),
            ("b", &["pair", "a.example"], &sealed, false, "another secret"),
            ("a", &["pair", "b.example"], &sealed, false, "another host's place"),
            ("a", &["proof", "a.example"], &sealed, false, "another kind of place"),
            ("a", &["paira", ".example"], &sealed, false, "the same letters, parted elsewhere"),
            ("a", &["pair", "a.example"], &bent, false, "a bit is another"),
            ("a", &["pair", "a.example"], &sealed[..sealed.len() - 1], false, "cut"),
            ("a", &["pair", "a.example"], &later, false, "another version"),
            ("a", &["pair", "a.example"], &[1, 2, 3], false, "too short for anything"),
            ("a", &["pair", "a.example"], &[], false, "nothing"),
        ];
        for (secret, place, sealed, want, why) in cases {
            let opened = seal(secret).open(place, sealed);
            assert_eq!(opened.as_deref(), want.then_some(&b"text"[..]), "{why}");
        }
        assert!(seal("a").open(&["x"], &vec![1; MOST_BYTES + 1]).is_none(), "beyond all bounds");
    }
}
