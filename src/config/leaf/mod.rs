//! What does each kind of string in the file mean, and which texts are refused?

mod acme;
mod rules;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

pub(crate) use self::acme::{AcmeDirectory, AcmeHost, AcmeSecret, Email};
pub(crate) use self::rules::{CookieName, GlobText, StripPrefix, TagTemplate, VaryValue};
use super::located::{Complaint, Leaf};
use super::read::suggest;
use super::settings::OriginUrl;

/// Bytes of a name: long enough for a sentence, short enough for a log line.
const NAME_BYTES: usize = 128;

impl Leaf for SocketAddr {
    const WANTED: &'static str = r#"an address and a port, such as "127.0.0.1:8080", "0.0.0.0:80" or "[::1]:8080""#;
    const PATTERN: Option<&'static str> = Some(r"(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):\d{1,5}");

    fn read(text: &str) -> Result<Self, Complaint> {
        text.parse().map_err(|_| {
            let port = text.rsplit(':').next().filter(|port| port.parse::<u16>().is_ok());
            let write = match (text.split(':').next(), port) {
                (Some("" | "*"), Some(port)) => format!(r#"write "0.0.0.0:{port}" for every address of this machine"#),
                (Some("localhost"), Some(port)) if port != text => format!(r#"write "127.0.0.1:{port}""#),
                _ if text.parse::<IpAddr>().is_ok() => format!(r#"write "{text}:8080": a port is missing"#),
                _ => format!("write {}", Self::WANTED),
            };
            Complaint::new(format!("`{text}` is not an address to listen on"), write)
        })
    }
}

/// A network: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    /// Without bits behind the prefix.
    pub(crate) net: IpNet,
    /// Whether such bits were written.
    pub(crate) had_host_bits: bool,
}

impl Leaf for Network {
    const WANTED: &'static str = r#"a network such as "10.0.0.0/8", "::1/128" or "192.0.2.7""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let written: Option<IpNet> = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let Some(written) = written else {
            return Err(Complaint::new(format!("`{text}` is not a network"), format!("write {}", Self::WANTED)));
        };
        let net = written.trunc();
        Ok(Self { net, had_host_bits: net != written })
    }
}

impl Leaf for OriginUrl {
    const WANTED: &'static str = r#"a URL such as "http://127.0.0.1:3000" or "https://api.example.com""#;
    const PATTERN: Option<&'static str> = Some("https?://[^/?#@]+/?");

    fn read(text: &str) -> Result<Self, Complaint> {
        // The text is told in no message: it may hold a password.
        let unreadable = || Complaint::new("this is not a URL of an origin", format!("write {}", Self::WANTED));
        let Some((scheme, rest)) = text.split_once("://") else {
            let written = format!("http://{text}");
            let what = "the URL has no scheme";
            let help = Self::read(&written).map_or_else(|_| Self::WANTED.to_owned(), |_| format!("{written:?}"));
            return Err(Complaint::new(what, format!("write {help}")));
        };
        let https = match scheme {
            "http" => false,
            "https" => true,
            _ => {
                let what = format!("origins are asked over http or https, not `{scheme}`");
                return Err(Complaint::new(what, format!("write {}", Self::WANTED)));
            }
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let plain = format!("write \"{scheme}://{place}\"");
        if user.is_some() {
            let help = format!("{plain}, and set `authorization` in a rule's request_headers");
            return Err(Complaint::new("the URL of an origin has no user or password", help));
        }
        if !matches!(&rest[authority.len()..], "" | "/") {
            let help = format!("{plain}: the client's path and query are sent as they came");
            return Err(Complaint::new("the URL of an origin has no path, query or fragment", help));
        }
        let uri: Uri = text.parse().map_err(|_| unreadable())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(unreadable)?;
        let port = match uri.port_u16() {
            Some(0) => {
                return Err(Complaint::new("port 0 cannot be asked", "write the port on which the origin listens"));
            }
            Some(port) => port,
            None if authority.rsplit(']').next().is_some_and(|end| end.contains(':')) => return Err(unreadable()),
            None if https => 443,
            None => 80,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        Ok(Self { https, host, port })
    }
}

/// A `Host` value with `*` for any run of characters, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPattern(pub(crate) String);

impl Leaf for HostPattern {
    const WANTED: &'static str = r#"a host such as "shop.example" or "*.example.com""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let refuse = |write: String| Err(Complaint::new(format!("`{text}` is not a host"), write));
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split('/').next().unwrap_or_default();
            return refuse(format!("write the host alone: {host:?}"));
        }
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*:[]".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_of_host) {
            return refuse(format!("write {}; names beyond ASCII in their xn-- form", Self::WANTED));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl Leaf for HeaderName {
    const WANTED: &'static str = r#"the name of a field, such as "accept-language""#;
    const PATTERN: Option<&'static str> = Some("[!#$%&'*+.^_`|~0-9A-Za-z-]+");

    fn read(text: &str) -> Result<Self, Complaint> {
        Self::from_bytes(text.as_bytes()).map_err(|_| {
            let what = format!("{text:?} is not the name of a field");
            Complaint::new(what, format!("write {}: letters, digits and hyphens", Self::WANTED))
        })
    }
}

impl Leaf for HeaderValue {
    const WANTED: &'static str = "the value of a field";

    fn read(text: &str) -> Result<Self, Complaint> {
        let write = "write visible characters on one line, without space at the ends";
        let complaint = || Complaint::new("this cannot be the value of a field", write);
        if text.trim() != text {
            return Err(complaint());
        }
        Self::from_str(text).map_err(|_| complaint())
    }
}

/// The bearer token of the admin listener; may be empty. Told in no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token;

impl Leaf for Token {
    const WANTED: &'static str = r#"a token, best from the environment: "${LARDER_TOKEN:-}""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        if text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self);
        }
        let write = "write visible ASCII without spaces: anything else cannot be sent in Authorization";
        Err(Complaint::new("the token holds a character that no client can send", write))
    }
}

/// A name that the file gives to an origin or a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name;

impl Leaf for Name {
    const WANTED: &'static str = r#"a name such as "app""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() || text.len() > NAME_BYTES || text.chars().any(char::is_control) {
            let what = format!("{text:?} is not a name");
            return Err(Complaint::new(what, format!("write 1 to {NAME_BYTES} visible characters")));
        }
        Ok(Self)
    }
}

/// The name of an origin to which a rule sends requests.
pub(crate) type OriginName = Name;

/// The filter of the diagnostics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFilter;

impl Leaf for LogFilter {
    const WANTED: &'static str =
        r#"a level ("off", "error", "warn", "info", "debug", "trace") or a filter ("info,larder=debug")"#;

    fn read(text: &str) -> Result<Self, Complaint> {
        if let Some(word) = text.split(',').map(str::trim).find(|part| silences_everything(part)) {
            let what = format!("`{word}` is not a level of the log");
            return Err(Complaint::new(what, level_meant_by(word)));
        }
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) if !text.trim().is_empty() => Ok(Self),
            _ => {
                Err(Complaint::new(format!("`{text}` is not a filter for the log"), format!("write {}", Self::WANTED)))
            }
        }
    }
}

/// The levels of the log, as they are written.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether a part of a filter is a bare word that is no level: it would be taken for the name of a library of which
/// everything is told, and of the rest nothing.
fn silences_everything(part: &str) -> bool {
    let is_word = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    is_word && part != "larder" && part.parse::<tracing_subscriber::filter::LevelFilter>().is_err()
}

/// What to write for a word that other programs take as a level.
fn level_meant_by(word: &str) -> String {
    let meant = match word.to_ascii_lowercase().as_str() {
        "none" | "quiet" | "silent" => "off",
        "critical" | "err" | "fatal" | "panic" => "error",
        "default" | "normal" | "notice" => "info",
        "verbose" => "debug",
        "warning" => "warn",
        "all" | "everything" | "finest" => "trace",
        _ => return suggest(word, &LEVELS, r#"write a filter such as "info,larder=debug", or a level:"#, '"'),
    };
    format!(r#"did you mean "{meant}"?"#)
}

/// The path (and query) that a health check asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HealthPath;

impl Leaf for HealthPath {
    const WANTED: &'static str = r#"a path such as "/healthz""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let fits = text.starts_with('/') && !text.contains('#') && text.parse::<PathAndQuery>().is_ok();
        if fits { Ok(Self) } else { Err(refuse(text, Self::WANTED, "beginning with /")) }
    }
}

/// A file; a relative path begins at the folder of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePath(pub(crate) PathBuf);

impl Leaf for FilePath {
    const WANTED: &'static str = "the path of a file";

    fn read(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() || text.contains('\0') {
            return Err(Complaint::new("the path is empty", format!("write {}, or leave the key out", Self::WANTED)));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

/// The prefix of every key in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespace;

impl Leaf for Namespace {
    const WANTED: &'static str = r#"a prefix such as "larder""#;
    const PATTERN: Option<&'static str> = Some("[!-z|~]{1,64}");

    fn read(text: &str) -> Result<Self, Complaint> {
        // Braces would move Redis Cluster's hash tag, and with it the slot of every key.
        let fits =
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}');
        if fits {
            Ok(Self)
        } else {
            Err(refuse(text, Self::WANTED, "1 to 64 visible ASCII characters, without braces"))
        }
    }
}

/// Where Redis answers: one server, a Sentinel set-up or a cluster. Told in no message, it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisUrl;

impl Leaf for RedisUrl {
    const WANTED: &'static str = r#""redis://127.0.0.1:6379/0", "rediss://…", "redis+sentinel://h1:26379,h2:26379/mymaster" or "redis+cluster://h1:7000,h2:7000""#;
    const PATTERN: Option<&'static str> = Some(r"rediss?(\+sentinel|\+cluster)?://.+");

    fn read(text: &str) -> Result<Self, Complaint> {
        let refuse = |what: &str| Err(Complaint::new(what, format!("write {}", Self::WANTED)));
        let Some((scheme, rest)) = text.split_once("://") else { return refuse("the URL of Redis has no scheme") };
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let (protocol, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!((protocol, kind), ("redis" | "rediss", "" | "sentinel" | "cluster")) {
            return refuse("the URL of Redis has a scheme that Larder does not know");
        }
        if kind.is_empty() && hosts.contains(',') {
            return refuse("one server of Redis has one address; several are a Sentinel set-up or a cluster");
        }
        if !hosts.split(',').all(is_host_and_port) {
            return refuse("the URL of Redis names no valid host and port");
        }
        match kind {
            "" if !path.is_empty() && path.parse::<u16>().is_err() => {
                refuse("the path of the URL is the number of a database")
            }
            "sentinel" if path.is_empty() => refuse("the path of a Sentinel URL is the name of the master"),
            "cluster" if !path.is_empty() => refuse("a cluster has no databases: the URL has no path"),
            _ => Ok(Self),
        }
    }
}

/// `host`, `host:port`, `[::1]:port`.
fn is_host_and_port(text: &str) -> bool {
    let Ok(authority) = text.parse::<http::uri::Authority>() else { return false };
    let host = authority.host();
    let port = text.get(host.len()..).unwrap_or_default();
    let port_is_fine =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    !host.is_empty() && port_is_fine
}

/// A complaint of a text as a whole.
fn refuse(text: &str, wanted: &str, how: &str) -> Complaint {
    Complaint::new(format!("{text:?} cannot stand here"), format!("write {wanted}: {how}"))
}
