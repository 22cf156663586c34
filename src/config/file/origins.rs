//! `[[origins]]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::leaf::{FilePath, HealthPath, HostPattern, OriginName};
use crate::config::located::{At, Word};
use crate::config::quantity::{Count, HOUR, MINUTE, Time};
use crate::config::settings::OriginUrl;

/// Where requests go.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table: [[origins]]")]
#[schemars(extend("required" = ["name", "urls"]))]
pub(crate) struct Origin {
    /// Its name, unique: rules and metrics call it so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Word<OriginName>>,
    /// Where it answers: http or https, a host, a port; no path, query or user.
    #[schemars(length(min = 1))]
    pub(crate) urls: At<Vec<Word<OriginUrl>>>,
    /// These Host values go here, `*` for any run of characters; empty: any.
    pub(crate) hosts: Vec<Word<HostPattern>>,
    /// How requests are spread over its addresses.
    pub(crate) balance: Balance,
    /// Whether the client's Host is sent on, rather than the origin's own.
    pub(crate) preserve_host: bool,
    /// Time to connect, TLS included. "1ms" to "10m".
    pub(crate) connect_timeout: Word<Time<1, { 10 * MINUTE }>>,
    /// Time from the request to the first byte of the answer. "1ms" to "1h".
    pub(crate) first_byte_timeout: Word<Time<1, HOUR>>,
    /// Time between two bytes of the answer. "1ms" to "1h".
    pub(crate) between_bytes_timeout: Word<Time<1, HOUR>>,
    /// Connections to this origin, all addresses together.
    pub(crate) max_connections: Count<1, 100_000>,
    /// Further tries of an idempotent request of which nothing was sent back yet.
    pub(crate) retries: Count<0, 10>,
    /// Active health checks. Leave out: passive only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<At<Health>>,
    /// A file of PEM certificates trusted besides the system's roots. A relative path begins at this file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<Word<FilePath>>,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            name: None,
            urls: At::default(),
            hosts: Vec::new(),
            balance: Balance::RoundRobin,
            preserve_host: false,
            connect_timeout: Word::default_of("2s"),
            first_byte_timeout: Word::default_of("30s"),
            between_bytes_timeout: Word::default_of("30s"),
            max_connections: Count(512),
            retries: Count(1),
            health: None,
            ca_file: None,
        }
    }
}

/// How requests are spread over an origin's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Balance {
    /// One after the other.
    RoundRobin,
    /// Where the fewest requests are under way.
    LeastConnections,
    /// By the key, so that one URL stays with one address.
    ConsistentHash,
}

/// Active health checks.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = r#"a table: { path = "/healthz" }"#)]
#[schemars(extend("required" = ["path"]))]
pub(crate) struct Health {
    /// The path that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<Word<HealthPath>>,
    /// Time between two checks of an address. "100ms" to "1h".
    pub(crate) interval: Word<Time<100, HOUR>>,
    /// Time for one check. "1ms" to "10m".
    pub(crate) timeout: Word<Time<1, { 10 * MINUTE }>>,
    /// Failures in a row that take an address out.
    pub(crate) unhealthy_after: Count<1, 100>,
    /// Successes in a row that bring it back.
    pub(crate) healthy_after: Count<1, 100>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            interval: Word::default_of("5s"),
            timeout: Word::default_of("1s"),
            unhealthy_after: Count(3),
            healthy_after: Count(2),
        }
    }
}
