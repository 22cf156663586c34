//! A purge as it is asked for, its receipt, and what is remembered of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /purge`: at least one of the scopes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(transform = with_other_names)]
pub struct PurgeRequest {
    /// Every response that carries one of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// These absolute URLs, as clients use them: every variant, every method. `files` is taken for it.
    #[serde(alias = "files", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<UrlItem>,
    /// Every URL that begins so; absolute, with at least the slash of the path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<String>,
    /// Every response of these hosts; without a port: on every port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Every response. `purge_everything` is taken for it.
    #[serde(alias = "purge_everything", skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
    /// Stale rather than gone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub soft: bool,
    /// Says what would match, and changes nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whom the answer waits for.
    pub wait: Wait,
}

/// Adds the names that Cloudflare's API has for some of the keys: they are taken too.
fn with_other_names(schema: &mut schemars::Schema) {
    let Some(keys) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) else { return };
    for (name, other) in [("urls", "files"), ("everything", "purge_everything")] {
        if let Some(key) = keys.get(name).cloned() {
            keys.insert(other.to_owned(), key);
        }
    }
}

/// The body of `POST /service/{any}/purge`, as plug-ins for Fastly send it. Tags may stand in `Surrogate-Key` instead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyedPurge {
    /// Every response that carries one of these tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub surrogate_keys: Vec<String>,
    /// Stale rather than gone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub soft: bool,
    /// Says what would match, and changes nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whom the answer waits for.
    pub wait: Wait,
}

/// The body of a purge whose path says already what is named; it may be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PurgeTerms {
    /// Stale rather than gone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub soft: bool,
    /// Says what would match, and changes nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whom the answer waits for.
    pub wait: Wait,
}

/// A URL, or the object with one that Cloudflare's API takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a URL, or an object with one: {\"url\": \"https://shop.example/a\"}"
)]
pub enum UrlItem {
    /// The URL.
    Url(String),
    /// The URL in an object; its headers do not count: all variants go.
    File {
        /// The URL.
        url: String,
        /// Taken, and not looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        headers: Option<serde_json::Map<String, serde_json::Value>>,
    },
}

/// Whom the answer waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// The node that is asked, and the log.
    #[default]
    Edge,
    /// Every live node.
    All,
}

/// The answer to a purge that was done, or to a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// `ok` when it was done as asked, `pending` when it is in force here and not everywhere yet, `dry-run` when nothing
    /// was changed.
    pub status: Status,
    /// The purge's id.
    pub id: String,
    /// Its number in the log, zero while the log has not taken it; for a dry run, the last number of the log.
    pub seq: u64,
    /// Whether what it names is stale rather than gone.
    pub soft: bool,
    /// How many stored responses it named.
    pub matched: Matched,
    /// Who has it.
    pub nodes: Nodes,
    /// How long it took until the purge was in force, in milliseconds; counting comes after.
    pub took_ms: f64,
}

/// What a receipt confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was done as asked.
    Ok,
    /// It is in force on the node that was asked. With 202: not every node that lives has confirmed it in time. With 503:
    /// the other nodes could not be told; that is tried until it is done.
    Pending,
    /// Nothing was changed.
    DryRun,
}

/// How many stored responses a purge named, each variant one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Matched {
    /// In the memory of the node that was asked.
    pub edge: u64,
    /// Whether counting ended early: there may be more. What counts is the purge, not its count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

/// Which nodes have a purge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nodes {
    /// Those that acknowledged it.
    pub acked: Vec<String>,
    /// Those that have not yet.
    pub lagging: Vec<String>,
}

/// One purge as `GET /purges` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgeRecord {
    /// Its number in the log; zero while the log has not taken it.
    pub seq: u64,
    /// Its id, as in its receipt.
    pub id: String,
    /// What it named; of many, the first.
    pub scopes: Vec<ScopeRecord>,
    /// How many it named in all.
    pub scope_count: u64,
    /// Whether it was soft.
    pub soft: bool,
    /// Who asked: the address, and the listener (`public`, `admin`).
    pub who: String,
    /// When, as a date of RFC 3339 in UTC with milliseconds.
    pub when: String,
    /// How many stored responses it named, on the node that was asked; another node counts none, and says so.
    pub matched: Matched,
    /// Who has it.
    pub nodes: Nodes,
}

/// One scope of a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScopeRecord {
    /// `url`, `tag`, `prefix`, `host`, `everything`, `group`.
    pub kind: String,
    /// Which; empty for everything.
    pub name: String,
}

/// The answer to `GET /purges`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Purges {
    /// The latest first.
    pub purges: Vec<PurgeRecord>,
}

/// What is answered where something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong, and what to write instead.
    pub reason: String,
}
