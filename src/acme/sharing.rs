//! What do nodes share of their work, so that one of them orders and all of them answer?
//!
//! Over Redis, which is trusted with none of it: everything is sealed by the operator's secret, and what does not open is
//! not there. One node at a time has the lease to order. What the authority is to find, all nodes show: an authority may
//! come to any of them. What was issued, all nodes take over.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::proof::Proof;
use super::sealed::Seal;
use crate::config::settings::AcmeAuthority;
use crate::fleet::lease::{Leases, Taken};
use crate::link::Link;

/// Time for an answer. Nobody waits for it but an order.
const ANSWER: Duration = Duration::from_secs(1);

/// How long the start of an attempt waits for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a proof is shown elsewhere, at most: as long as an order is looked after.
const PROOF_SECONDS: i64 = 120;

/// How long the others have to see a proof before the authority is told to look: they look each second.
const SPREAD: Duration = Duration::from_millis(2500);

/// The longest that a pair is kept, in seconds: none lasts longer (CA/Browser Forum, at most 398 days).
const LONGEST: i64 = 400 * 24 * 60 * 60;

/// The Redis that nodes share.
#[derive(Debug, Clone)]
pub struct Others {
    link: Link,
    leases: Leases,
    namespace: String,
    /// Tells what this process has written from what others have.
    own: u64,
}

impl Others {
    /// Asked over `link`; `leases` say which of the nodes orders, and `namespace` is the prefix of every key.
    pub fn new(link: Link, leases: Leases, namespace: &str) -> Self {
        Self { link, leases, namespace: namespace.to_owned(), own: fastrand::u64(..) }
    }
}

/// What is shared with the nodes that have the same secret.
#[derive(Debug, Clone)]
pub(super) struct Sharing {
    others: Others,
    seal: Arc<Seal>,
    directory: String,
}

/// A proof as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    by: u64,
    until: i64,
    host: String,
    token: String,
    key_authorization: String,
}

impl Sharing {
    /// `None`: the operator has set no secret, and every node is on its own.
    pub(super) fn new(others: &Others, authority: &AcmeAuthority) -> Option<Self> {
        let seal = Arc::new(Seal::of(authority.secret.as_ref()?));
        Some(Self { others: others.clone(), seal, directory: authority.directory.clone() })
    }

    /// The right to order, for one node at a time.
    pub(super) async fn lease(&self) -> Taken {
        _ = tokio::time::timeout(CONNECT, self.others.link.up()).await;
        self.others.leases.take_named(&self.name("lease"), Instant::now()).await
    }

    /// Key and chain for `host`, as a node has them.
    pub(super) async fn pair(&self, host: &str) -> Option<String> {
        let sealed = self.get(&self.name_of_pair(host)).await?;
        let text = self.seal.open(&["pair", &self.directory, host], &sealed);
        if text.is_none() {
            tracing::warn!(
                "what Redis has as the certificate for {host} was not sealed by acme.secret: it is not used"
            );
        }
        String::from_utf8(text?).ok()
    }

    /// Gives key and chain to the others, in the place of what they had; or, where it is only `offered`, if they have none.
    pub(super) async fn give(&self, host: &str, text: &str, seconds: i64, offered: bool) {
        let Some(sealed) = self.seal.close(&["pair", &self.directory, host], text.as_bytes()) else { return };
        let mut command = redis::cmd("SET");
        command.arg(self.name_of_pair(host)).arg(sealed).arg("EX").arg(seconds.clamp(1, LONGEST));
        if offered {
            command.arg("NX");
        }
        if let Err(error) = self.others.link.call(&command, ANSWER).await {
            tracing::debug!(%error, "a certificate was not given to other nodes");
        }
    }

    /// Has the other nodes show a proof, and waits until they do.
    pub(super) async fn spread(&self, proof: &Proof, now: i64) {
        let Proof { host, token, key_authorization } = proof.clone();
        let record = Record { by: self.others.own, until: now + PROOF_SECONDS, host, token, key_authorization };
        let text = serde_json::to_vec(&record).expect("a record holds nothing that JSON cannot say");
        let Some(sealed) = self.seal.close(&["proof"], &text) else { return };
        let mut command = redis::cmd("SET");
        command.arg(self.name("proof")).arg(sealed).arg("EX").arg(PROOF_SECONDS);
        match self.others.link.call(&command, ANSWER).await {
            Ok(_) => tokio::time::sleep(SPREAD).await,
            Err(error) => tracing::warn!(%error, "other nodes are not told what the authority looks for"),
        }
    }

    /// Has them show it no longer.
    pub(super) async fn withdraw(&self) {
        // Whatever becomes of it, the proof ends by itself.
        let mut command = redis::cmd("DEL");
        command.arg(self.name("proof"));
        _ = self.others.link.call(&command, ANSWER).await;
    }

    /// What another node wants to be shown at this moment, for one of these hosts.
    pub(super) async fn proof(&self, is_ours: impl Fn(&str) -> bool, now: i64) -> Option<Proof> {
        let text = self.seal.open(&["proof"], &self.get(&self.name("proof")).await?)?;
        let Record { by, until, host, token, key_authorization } = serde_json::from_slice(&text).ok()?;
        // An old one that somebody has put back is over.
        let is_of_now = (now..=now + 2 * PROOF_SECONDS).contains(&until);
        (by != self.others.own && is_of_now && is_ours(&host)).then_some(Proof { host, token, key_authorization })
    }

    async fn get(&self, name: &str) -> Option<Vec<u8>> {
        match self.others.link.call(&Cmd::get(name), ANSWER).await {
            Ok(Value::BulkString(bytes)) => Some(bytes),
            _ => None,
        }
    }

    fn name_of_pair(&self, host: &str) -> String {
        self.name("pair:") + host
    }

    /// All of them in one slot of a cluster.
    fn name(&self, what: &str) -> String {
        format!("{{{}:acme}}:{what}", self.others.namespace)
    }
}
