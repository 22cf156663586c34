//! How is an authority shown that a host is ours?

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::ChallengeType;

use super::sharing::Sharing;
use super::tokens::Tokens;
use crate::clock::Clock;
use crate::tls::challenge::ChallengeError;
use crate::tls::serving::Serving;

/// By what the authority looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// RFC 8737: it shakes hands.
    Tls,
    /// RFC 8555 §8.3: it asks for a path.
    Http,
}

impl Way {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Tls => Self::Http,
            Self::Http => Self::Tls,
        }
    }

    pub(super) const fn token(self) -> &'static str {
        match self {
            Self::Tls => "tls-alpn-01",
            Self::Http => "http-01",
        }
    }

    pub(super) const fn challenge(self) -> ChallengeType {
        match self {
            Self::Tls => ChallengeType::TlsAlpn01,
            Self::Http => ChallengeType::Http01,
        }
    }
}

/// What the authority is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// In lower case.
    pub(super) host: String,
    pub(super) token: String,
    pub(super) key_authorization: String,
}

/// Where the authority looks: at our handshakes and our paths.
#[derive(Debug, Clone)]
pub(super) struct Shop {
    pub(super) serving: Arc<Serving>,
    pub(super) tokens: Arc<Tokens>,
}

/// A proof that is shown until this is dropped.
#[derive(Debug)]
pub(super) struct Shown {
    shop: Shop,
    host: String,
}

impl Shop {
    /// Shows it, in either way: how the authority looks is its own affair.
    ///
    /// # Errors
    ///
    /// There is no certificate to show it by.
    pub(super) fn show(&self, proof: &Proof) -> Result<Shown, ChallengeError> {
        let hash = digest(&SHA256, proof.key_authorization.as_bytes());
        self.serving.challenges().begin(&proof.host, hash.as_ref())?;
        self.tokens.begin(&proof.host, &proof.token, &proof.key_authorization);
        Ok(Shown { shop: self.clone(), host: proof.host.clone() })
    }
}

/// Shows proofs here, and has other nodes show them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prover<'p> {
    pub(super) shop: &'p Shop,
    pub(super) sharing: Option<&'p Sharing>,
    pub(super) clock: &'p Clock,
}

impl Prover<'_> {
    /// Shows it until [`Prover::end`], or for a while if that is never told.
    ///
    /// # Errors
    ///
    /// There is no certificate to show it by.
    pub(super) async fn show(self, proof: &Proof) -> Result<Shown, ChallengeError> {
        let shown = self.shop.show(proof)?;
        if let Some(sharing) = self.sharing {
            let now = self.clock.now().as_millis() / 1000;
            sharing.spread(proof, i64::try_from(now).unwrap_or(i64::MAX)).await;
        }
        Ok(shown)
    }

    pub(super) async fn end(self, shown: Shown) {
        drop(shown);
        if let Some(sharing) = self.sharing {
            sharing.withdraw().await;
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.shop.serving.challenges().end(&self.host);
        self.shop.tokens.end(&self.host);
    }
}
