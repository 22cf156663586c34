//! What is stored, as `GET /objects` and `GET /stats` tell it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer to `GET /objects`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Objects {
    /// Each key with what is stored under it, in no order.
    pub objects: Vec<StoredObject>,
    /// How many stored responses were looked at; each variant is one.
    pub scanned: u64,
    /// Whether looking ended early, for the limit or after 100,000 stored responses: there may be more.
    pub partial: bool,
}

/// What is stored under one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredObject {
    /// The URL, as the key has it.
    pub url: String,
    /// Request fields that are part of the key, as `name: value`; a field that the request did not have has no value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Cookies that are part of the key, as `name=value`; a cookie that the request did not have has no value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// The stored responses, the latest first.
    pub variants: Vec<ObjectVariant>,
}

/// One stored response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectVariant {
    /// Its status.
    pub status: u16,
    /// The request fields that selected it, as `name: value`; a field that the request did not have has no value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selecting: Vec<String>,
    /// Seconds.
    pub age: u64,
    /// The freshness lifetime in seconds.
    pub lifetime: u64,
    /// Seconds that it is still fresh; zero and less: stale.
    pub ttl: i64,
    /// Its tags; bytes that are no text come out as U+FFFD.
    pub tags: Vec<String>,
    /// Bytes of its body.
    pub size: u64,
    /// Which part of the representation is stored; left out: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<StoredPart>,
    /// How often it answered since it was stored or last freshened.
    pub hits: u64,
    /// How it stands with the purges: `alive`, `stale` (softly purged), `dead` (purged, and not yet cleared away).
    pub standing: String,
    /// The era of the log of purges when it was fetched, in hexadecimal digits.
    pub era: String,
    /// The last purge that was known when its fetch began.
    pub stamp: u64,
}

/// The part of a representation that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredPart {
    /// The offset of its first byte.
    pub first: u64,
    /// Bytes of the whole, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<u64>,
}

/// The answer to `GET /stats`. Counts are since the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// What this node is called in receipts.
    pub node: String,
    /// The version that runs.
    pub version: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Requests of clients.
    pub requests: RequestStats,
    /// The memory tier.
    pub memory: MemoryStats,
    /// What the origins were asked.
    pub fills: FillStats,
    /// The log of purges.
    pub purges: PurgeStats,
    /// The origins, in the order of the file.
    pub origins: Vec<OriginStats>,
    /// Redis, and the nodes that share it; left out where `[redis]` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisStats>,
}

/// Redis, and the nodes that share it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RedisStats {
    /// How it fares: `up`, `connecting`, `loading`, `timed_out`, `unreachable`, `denied`, `read_only`, `full`; of several
    /// connections the worst.
    pub state: String,
    /// How each connection fares.
    pub links: Vec<LinkStats>,
    /// Whether the log of purges was heard within `redis.max_lag`. Where not, what is stored is revalidated before it is
    /// used.
    pub heard: bool,
    /// Milliseconds since every purge of the log was known here; left out before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// Purges that the log has not taken yet; they act on this node.
    pub untold: u64,
    /// The nodes that live, as was last heard.
    pub nodes: Vec<NodeStats>,
}

/// A connection to Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkStats {
    /// What it is for: `reads`, `bodies`, `writes`, `log`, `fleet`.
    pub name: String,
    /// How it fares.
    pub state: String,
}

/// A node of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeStats {
    /// What it is called in receipts.
    pub name: String,
    /// The last purge that it has taken down; zero: none of this log.
    pub seq: u64,
}

/// Requests of clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestStats {
    /// Those that are over.
    pub total: u64,
    /// Those that are not over.
    pub in_flight: u64,
    /// Those that are over by result: `hit`, `stale`, `revalidated`, `miss`, `pass`, `refused`, `purge`.
    pub by_result: BTreeMap<String, u64>,
    /// What part of those that were looked up (all but `pass`, `refused` and `purge`) a stored response answered at once
    /// (`hit`, `stale`), from 0 to 1; left out before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_ratio: Option<f64>,
}

/// The memory tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryStats {
    /// Keys stored.
    pub objects: u64,
    /// Bytes stored: heads, bodies, keys, overhead.
    pub bytes: u64,
    /// Bytes of bodies under way.
    pub in_flight_bytes: u64,
    /// Bytes that may be stored, bodies under way included.
    pub capacity: u64,
    /// Keys that had to go for want of room.
    pub evictions: u64,
}

/// What the origins were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FillStats {
    /// Fetches begun for misses, revalidations and refreshes.
    pub total: u64,
    /// Fetches begun behind a client's back, among them.
    pub refreshes: u64,
    /// Fetches under way that others can join.
    pub in_flight: u64,
    /// Requests answered by another one's fetch.
    pub collapsed: u64,
    /// Responses stored.
    pub stores: u64,
}

/// The log of purges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PurgeStats {
    /// The number of the last purge; invalidations by unsafe methods have numbers too.
    pub seq: u64,
    /// Which log the number belongs to, in hexadecimal digits.
    pub era: String,
    /// URLs, tags, prefixes, hosts and groups that are remembered one by one.
    pub scopes: u64,
    /// How often the older half of them was folded into wider ones.
    pub folds: u64,
    /// URLs invalidated by unsafe methods.
    pub invalidations: u64,
}

/// An origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OriginStats {
    /// Its name.
    pub name: String,
    /// Whether it has an address that may be asked.
    pub up: bool,
}
