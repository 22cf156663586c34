//! The configuration as it is used: checked once, then never parsed again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::route::Rule;
use crate::tls::serving::Wanted;

/// Everything that `proxy.toml` (or `--origin` alone) says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: Admin,
    /// `[purge]`
    pub purge: Purge,
    /// `[memory]`
    pub memory: Memory,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// `[server.tls]`
    pub tls: Option<Tls>,
    /// `[redis]`: the second tier, and other nodes.
    pub redis: Option<Redis>,
    /// `[[origins]]`, in the order of the file.
    pub origins: Vec<Origin>,
    /// `[[rules]]`, in the order of the file.
    pub rules: Vec<Rule>,
}

/// `[server]`: the public listeners and what a connection may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Addresses of the plain listeners.
    pub listen: Vec<SocketAddr>,
    /// Worker threads; 0: one per core.
    pub threads: usize,
    /// Client connections at once; more wait in the kernel's queue.
    pub max_connections: usize,
    /// Time for a whole request head.
    pub header_timeout: Duration,
    /// Time without a byte, between requests and within bodies.
    pub idle_timeout: Duration,
    /// Time that requests under way get on SIGTERM.
    pub drain_timeout: Duration,
    /// Size of a request head.
    pub max_header_bytes: usize,
    /// Size of a request body; larger gets 413.
    pub max_body: u64,
    /// Networks whose `Forwarded` and `X-Forwarded-*` are believed and extended.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether tag fields, `Surrogate-Control` and `CDN-Cache-Control` are sent on to clients.
    pub expose_surrogate_headers: bool,
}

/// `[admin]`: the operator's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// The bearer token; empty: none, and nobody is authorised by one.
    pub token: String,
}

/// `[purge]`: who may send PURGE to the public listener, and where tags stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Networks that need no token.
    pub allow: Vec<IpNet>,
    /// Fields of a response that carry tags, in lower case.
    pub tag_headers: Vec<http::HeaderName>,
}

/// `[memory]`: the first tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in all: bodies, heads, keys, tags, overhead, bodies under way.
    pub capacity: u64,
    /// Bytes of one body; larger ones stream through.
    pub max_object: u64,
    /// Variants of one URL.
    pub max_variants: usize,
}

/// `[telemetry]`: what is said, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// The form of the access log.
    pub access_log: AccessLog,
    /// Where it goes; `None`: standard output.
    pub access_log_file: Option<PathBuf>,
    /// The filter of the diagnostics on standard error (`info`, `larder=debug`).
    pub log: String,
}

/// The form of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON object a line.
    Json,
    /// One line of words for people.
    Text,
    /// None.
    Off,
}

/// `[server.tls]`: the HTTPS listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Addresses of the HTTPS listeners.
    pub listen: Vec<SocketAddr>,
    /// The certificates, and who has to show one.
    pub wanted: Wanted,
    /// Where further certificates come from.
    pub acme: Option<Acme>,
}

/// `server.tls.acme`: certificates that are obtained and renewed by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// With whom, as whom, and where it is kept.
    pub authority: AcmeAuthority,
    /// The hosts, in lower case; each has a certificate of its own.
    pub hosts: Vec<String>,
}

/// The authority that certificates are obtained from, and what is needed for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeAuthority {
    /// The URL of its directory.
    pub directory: String,
    /// Whom it may write to.
    pub email: Option<String>,
    /// The folder for the account and the certificates.
    pub cache: PathBuf,
    /// PEM certificates that are trusted besides the system's roots.
    pub ca_file: Option<PathBuf>,
    /// By what nodes seal what they share; `None`: they share nothing.
    pub secret: Option<Secret>,
}

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// `[redis]`: the second tier.
#[derive(Clone, PartialEq, Eq)]
pub struct Redis {
    /// Where it answers; may hold a password.
    pub url: String,
    /// PEM certificates that are trusted instead of the system's roots, with TLS.
    pub ca_file: Option<PathBuf>,
    /// The prefix of every key.
    pub namespace: String,
    /// Time for one lookup; a slower one is a miss.
    pub timeout: Duration,
    /// Bytes of one body; larger ones are kept in memory only.
    pub max_object: u64,
    /// How long nothing may be heard of the purge log before stored responses are revalidated.
    pub max_lag: Duration,
}

/// Without the URL, which may hold a password.
impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("ca_file", &self.ca_file)
            .field("namespace", &self.namespace)
            .field("timeout", &self.timeout)
            .field("max_object", &self.max_object)
            .field("max_lag", &self.max_lag)
            .finish_non_exhaustive()
    }
}

/// One of `[[origins]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name, unique.
    pub name: String,
    /// Where it answers: `http` or `https`, a host, a port; no path, query or user.
    pub urls: Vec<OriginUrl>,
    /// Host values that go here, lower case, globs allowed (`*.example.com`); empty: any.
    pub hosts: Vec<String>,
    /// How requests are spread over addresses.
    pub balance: Balance,
    /// Whether the client's `Host` is sent on, rather than the origin's own.
    pub preserve_host: bool,
    /// Time for TCP (and TLS) to connect.
    pub connect_timeout: Duration,
    /// Time from the request to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Time between two bytes of the answer.
    pub between_bytes_timeout: Duration,
    /// Connections to this origin, all addresses together.
    pub max_connections: usize,
    /// Further tries of an idempotent request that was not answered.
    pub retries: u32,
    /// Active health checks; `None`: passive only.
    pub health: Option<Health>,
    /// A file of PEM certificates trusted besides the system's roots; `None`: the system's only.
    pub ca_file: Option<PathBuf>,
}

/// One address of an origin, as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OriginUrl {
    /// Whether TLS is spoken, and verified.
    pub https: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How requests are spread over an origin's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Balance {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Where the fewest requests are under way.
    LeastConnections,
    /// By the key, so that one URL stays with one address.
    ConsistentHash,
}

/// Active health checks of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The path that is asked.
    pub path: String,
    /// Time between two checks of an address.
    pub interval: Duration,
    /// Time for one check.
    pub timeout: Duration,
    /// Failures in a row that take an address out.
    pub unhealthy_after: u32,
    /// Successes in a row that bring it back.
    pub healthy_after: u32,
}

/// As a URL, without the scheme's default port.
impl std::fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (scheme, default_port) = if self.https { ("https", 443) } else { ("http", 80) };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]", self.host)?;
        } else {
            write!(f, "{scheme}://{}", self.host)?;
        }
        if self.port == default_port { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}
