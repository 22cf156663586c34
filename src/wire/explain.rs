//! What Larder would do with a request now, and why, step by step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::objects::ObjectVariant;

/// The answer to `GET /explain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The request that was asked about: its method and its URL.
    pub request: String,
    /// What would be done.
    pub verdict: Verdict,
    /// Why, in the order in which it is decided.
    pub steps: Vec<Step>,
    /// The rules that apply, in order.
    pub rules: Vec<AppliedRule>,
    /// The origin that would be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// What tells what is stored for it from the rest; empty for a request that is turned away at the door, or that purges.
    pub key: KeyParts,
    /// What is stored under that key; nothing for what is passed or refused before it is looked up.
    pub stored: Vec<StoredVariant>,
    /// The smallest changes that would make it a hit; none where it is one.
    pub advice: Vec<String>,
}

/// What would be done with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// `hit`, `stale`, `revalidate` (with validators), `miss`, `pass`, `refused`, `purge`.
    pub result: String,
    /// The `detail` that its `Cache-Status` would have; none for a fresh hit. An answer that turns out not to be storable
    /// says why in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The `fwd` of its `Cache-Status`, where the origin would be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fwd: Option<String>,
    /// The status, where we would answer without the origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The rule of an RFC, or the key of `proxy.toml`, that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clause: Option<String>,
    /// One sentence for people.
    pub because: String,
}

/// One step of the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// What is decided: `request`, `route`, `key`, `look-up`, `purges`, `freshness`, `verdict` …
    pub step: String,
    /// What comes of it, in one sentence.
    pub says: String,
}

/// A rule that applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AppliedRule {
    /// Its name; empty where the file gives none.
    pub name: String,
    /// The line of the file where it begins.
    pub line: u64,
}

/// What makes the key of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyParts {
    /// The URL as it was asked for.
    pub url: String,
    /// The URL as the key has it.
    pub normalised: String,
    /// Request fields that are part of it, as `name: value`; a field that is not there has no value.
    pub headers: Vec<String>,
    /// Cookies that are part of it, as `name=value`; a cookie that is not there has no value.
    pub cookies: Vec<String>,
}

/// One stored response under the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredVariant {
    /// Whether the request selects it.
    pub selected: bool,
    /// What is stored.
    #[serde(flatten)]
    pub response: ObjectVariant,
    /// The purge that made it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged_by: Option<PurgedBy>,
}

/// The purge by which a stored response is stale or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgedBy {
    /// Its number.
    pub seq: u64,
    /// The kind of scope that names the response.
    pub kind: String,
    /// Which; empty for everything.
    pub name: String,
    /// Whether it was soft.
    pub soft: bool,
    /// Who asked, where that is still known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// When, where that is still known; a date of RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}
