//! The file as it is written: its tables, keys, defaults and ranges.
//!
//! What stands in these comments stands in the JSON schema, too: editors show it.

mod origins;
mod rules;
mod tls;

use std::net::SocketAddr;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::origins::{Balance, Health, Origin};
pub(crate) use self::rules::{
    Action, ClientCacheControl, FieldEdits, Fields, KeyRules, Lifetime, Match, Overridable, Rule, VaryValues,
};
pub(crate) use self::tls::{Acme, Certificate, ClientAuth, Tls};
use super::leaf::{FilePath, LogFilter, Namespace, Network, RedisUrl, Token};
use super::located::{At, Word};
use super::quantity::{Count, DAY, GIB, HOUR, KIB, MIB, MINUTE, SECOND, Size, TIB, Time};

/// The configuration of Larder, an HTTP edge cache.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a file of tables")]
#[schemars(title = "proxy.toml")]
#[schemars(extend("required" = ["origins"]))]
pub(crate) struct File {
    /// The public listeners, and what a connection may cost.
    pub(crate) server: Server,
    /// The operator's listener.
    pub(crate) admin: Admin,
    /// PURGE on the public listener.
    pub(crate) purge: Purge,
    /// The cache in this process's memory.
    pub(crate) memory: Memory,
    /// The second tier, shared by several nodes. Leave out: one node, memory only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) redis: Option<At<Redis>>,
    /// What is said, and where.
    pub(crate) telemetry: Telemetry,
    /// Where requests go. At least one; the first that fits the request's host wins.
    #[schemars(length(min = 1))]
    pub(crate) origins: Vec<At<Origin>>,
    /// What is done with requests. Every rule that matches applies, top to bottom; a later one overrides an earlier
    /// one, key by key.
    pub(crate) rules: Vec<At<Rule>>,
}

/// The public listeners, and what a connection may cost.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [server]")]
pub(crate) struct Server {
    /// Addresses on which clients are served over plain HTTP. A change needs a restart.
    pub(crate) listen: At<Vec<Word<SocketAddr>>>,
    /// Worker threads; 0: one per core. A change needs a restart.
    pub(crate) threads: Count<0, 1024>,
    /// Client connections at once; further ones wait.
    pub(crate) max_connections: Count<1, 1_000_000>,
    /// Time for a whole request head, from a client's first byte or its second second of silence on. "100ms" to "10m".
    pub(crate) header_timeout: Word<Time<100, { 10 * MINUTE }>>,
    /// Time without a byte: between requests, and within bodies. "100ms" to "1h".
    pub(crate) idle_timeout: Word<Time<100, HOUR>>,
    /// Time that requests under way get on SIGTERM. "0s" to "1h".
    pub(crate) drain_timeout: Word<Time<0, HOUR>>,
    /// Size of a request head; larger gets 431. "1KiB" to "1MiB".
    pub(crate) max_header_bytes: Word<Size<KIB, MIB>>,
    /// Size of a request body; larger gets 413. "0B" to "1TiB".
    pub(crate) max_body: Word<Size<0, TIB>>,
    /// Networks whose Forwarded and X-Forwarded-* are believed and extended.
    pub(crate) trusted_proxies: Vec<Word<Network>>,
    /// Whether tag fields, Surrogate-Control and CDN-Cache-Control are sent on to clients.
    pub(crate) expose_surrogate_headers: bool,
    /// HTTPS listeners. Leave out: plain HTTP only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<At<Tls>>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: At::default_of(vec![Word::default_of("127.0.0.1:8080")]),
            threads: Count(0),
            max_connections: Count(20_000),
            header_timeout: Word::default_of("10s"),
            idle_timeout: Word::default_of("60s"),
            drain_timeout: Word::default_of("30s"),
            max_header_bytes: Word::default_of("64KiB"),
            max_body: Word::default_of("100MiB"),
            trusted_proxies: Vec::new(),
            expose_surrogate_headers: false,
            tls: None,
        }
    }
}

/// The operator's listener.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [admin]")]
pub(crate) struct Admin {
    /// Its address. A change needs a restart.
    pub(crate) listen: Word<SocketAddr>,
    /// The token, as `Authorization: Bearer` or `Fastly-Key`, here and for PURGE on the public listener; empty: none, and
    /// nobody is authorised by one. Required when the listener is not loopback.
    pub(crate) token: Word<Token>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Word::default_of("127.0.0.1:9080"), token: Word::default_of("") }
    }
}

/// PURGE on the public listener.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [purge]")]
pub(crate) struct Purge {
    /// Networks of clients that may purge without `admin.token`; everybody else needs it.
    pub(crate) allow: At<Vec<Word<Network>>>,
    /// Fields of a response that carry its tags, and of a PURGE that names them.
    pub(crate) tag_headers: Vec<Word<HeaderName>>,
}

impl Default for Purge {
    fn default() -> Self {
        let headers = ["Surrogate-Key", "xkey", "Cache-Tag", "Edge-Cache-Tag", "Cache-Groups"];
        Self {
            allow: At::default_of(["127.0.0.0/8", "::1/128"].map(Word::default_of).to_vec()),
            tag_headers: headers.map(Word::default_of).to_vec(),
        }
    }
}

/// The cache in this process's memory.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [memory]")]
pub(crate) struct Memory {
    /// Bytes in all: bodies, heads, keys, tags, overhead, bodies under way. "1MiB" to "16TiB". A change needs a restart.
    pub(crate) capacity: Word<Size<MIB, { 16 * TIB }>>,
    /// Bytes of one body; larger ones stream through, uncached. "0B" to "1TiB".
    pub(crate) max_object: Word<Size<0, TIB>>,
    /// Variants of one URL; the least used goes.
    pub(crate) max_variants: Count<1, 1024>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { capacity: Word::default_of("512MiB"), max_object: Word::default_of("32MiB"), max_variants: Count(32) }
    }
}

/// The second tier, shared by several nodes.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [redis]")]
#[schemars(extend("required" = ["url"]))]
pub(crate) struct Redis {
    /// redis://, redis+sentinel://h1:26379,h2:26379/mymaster or redis+cluster://h1:7000,h2:7000; with rediss for
    /// redis, over TLS; with user:password@ where needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<Word<RedisUrl>>,
    /// PEM certificates that are trusted instead of the system's roots, for rediss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<Word<FilePath>>,
    /// The prefix of every key.
    pub(crate) namespace: Word<Namespace>,
    /// A lookup that takes longer is a miss. "1ms" to "10s".
    pub(crate) timeout: Word<Time<1, { 10 * SECOND }>>,
    /// Bytes of one body; larger ones are kept in memory only. "0B" to "512MiB".
    pub(crate) max_object: Word<Size<0, { GIB / 2 }>>,
    /// A node that has heard nothing of the purge log for longer revalidates before it serves. "100ms" to "1d".
    pub(crate) max_lag: Word<Time<100, DAY>>,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: None,
            ca_file: None,
            namespace: Word::default_of("larder"),
            timeout: Word::default_of("20ms"),
            max_object: Word::default_of("4MiB"),
            max_lag: Word::default_of("5s"),
        }
    }
}

/// What is said, and where.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [telemetry]")]
pub(crate) struct Telemetry {
    /// The form of the access log.
    pub(crate) access_log: At<AccessLog>,
    /// The file of the access log; leave out: standard output. A relative path begins at this file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) access_log_file: Option<Word<FilePath>>,
    /// What is told on standard error: a level, or a filter such as "info,larder=debug".
    pub(crate) log: Word<LogFilter>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { access_log: At::default(), access_log_file: None, log: Word::default_of("info") }
    }
}

/// The form of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AccessLog {
    /// One JSON object a line.
    #[default]
    Json,
    /// One line of words for people.
    Text,
    /// None.
    Off,
}
