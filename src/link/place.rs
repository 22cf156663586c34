//! Where does Redis answer: what does its URL say?

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// Where Redis answers, and as whom we speak to it.
///
/// `redis://user:password@host:port/database`, `redis+sentinel://h1:p,h2:p/master`, `redis+cluster://h1:p,h2:p`; with
/// `rediss` for `redis`, over TLS. User and password are percent-decoded. Shown without them.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) shape: Shape,
    /// Whether everything is spoken over TLS, to the Sentinels too.
    pub(super) tls: bool,
    pub(super) login: Option<Login>,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// One server.
    Server { at: Address, database: i64 },
    /// A master that Sentinels know of.
    Sentinel { sentinels: Vec<Address>, master: String },
    /// A cluster, found through any of the nodes.
    Cluster { nodes: Vec<Address> },
}

/// A host without brackets, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// As whom we speak. Without a name it is the server's default user.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: String,
}

/// Why a URL is not one of Redis. Nothing of the URL is told: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the URL of Redis {0}")]
pub struct PlaceError(&'static str);

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(url: &str) -> Result<Self, PlaceError> {
        let (scheme, rest) = url.split_once("://").ok_or(PlaceError("has no scheme"))?;
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(Login::from_str(login)?), place),
            None => (None, rest),
        };
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let (protocol, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match protocol {
            "redis" => false,
            "rediss" => true,
            _ => return Err(PlaceError("has a scheme that is none of Redis")),
        };
        let shape = match kind {
            "" => Shape::Server { at: Address::read(hosts, SERVER_PORT)?, database: database(path)? },
            "sentinel" if path.is_empty() => return Err(PlaceError("does not name the master")),
            "sentinel" => Shape::Sentinel { sentinels: addresses(hosts, SENTINEL_PORT)?, master: decoded(path)? },
            "cluster" if !path.is_empty() => return Err(PlaceError("has a path, but a cluster has no databases")),
            "cluster" => Shape::Cluster { nodes: addresses(hosts, SERVER_PORT)? },
            _ => return Err(PlaceError("has a scheme that is none of Redis")),
        };
        Ok(Self { shape, tls, login })
    }
}

impl FromStr for Login {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let user = Some(decoded(user)?).filter(|user| !user.is_empty());
        Ok(Self { user, password: decoded(password)? })
    }
}

impl Address {
    fn read(text: &str, default_port: u16) -> Result<Self, PlaceError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(PlaceError("has an address without its closing bracket"))?,
            None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port > 0).ok_or(PlaceError("has a wrong port"))?,
            None if port.is_empty() => default_port,
            None => return Err(PlaceError("has a wrong port")),
        };
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_of_host) {
            return Err(PlaceError("has no valid host"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

fn addresses(text: &str, default_port: u16) -> Result<Vec<Address>, PlaceError> {
    text.split(',').map(|one| Address::read(one, default_port)).collect()
}

fn database(path: &str) -> Result<i64, PlaceError> {
    if path.is_empty() {
        return Ok(0);
    }
    path.parse::<u16>().map(i64::from).map_err(|_| PlaceError("has a path that is no number of a database"))
}

fn decoded(text: &str) -> Result<String, PlaceError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_| PlaceError("has an escape that is no UTF-8"))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.tls { "rediss" } else { "redis" };
        let list = |all: &[Address]| all.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
        match &self.shape {
            Shape::Server { at, database } => write!(f, "{protocol}://{at}/{database}"),
            Shape::Sentinel { sentinels, master } => write!(f, "{protocol}+sentinel://{}/{master}", list(sentinels)),
            Shape::Cluster { nodes } => write!(f, "{protocol}+cluster://{}", list(nodes)),
        }
    }
}

/// As it is displayed: without user and password.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_stands_where() {
        let cases = [
            ("redis://h", "redis://h:6379/0", "", "port and database have defaults"),
            ("redis://h:1/7", "redis://h:1/7", "", "both written out"),
            ("redis://h/", "redis://h:6379/0", "", "a slash alone names no database"),
            ("redis://[::1]:7", "redis://[::1]:7/0", "", "IPv6 has brackets"),
            ("redis://[::1]", "redis://[::1]:6379/0", "", "IPv6 and the default port"),
            ("rediss://h", "rediss://h:6379/0", "", "TLS"),
            ("redis://:pw@h", "redis://h:6379/0", "-/pw", "a password is the default user's"),
            ("redis://u:pw@h", "redis://h:6379/0", "u/pw", "a user of the ACL"),
            ("redis://u@h", "redis://h:6379/0", "u/", "a user without a password"),
            ("redis://u%3A:p%40%2Fw@h", "redis://h:6379/0", "u:/p@/w", "what is escaped is decoded"),
            ("redis://u:a:b@c@h", "redis://h:6379/0", "u/a:b@c", "the last @ ends the password"),
            ("redis+sentinel://a,b:1/m", "redis+sentinel://a:26379,b:1/m", "", "Sentinels have a port of their own"),
            ("rediss+sentinel://:p@a/m", "rediss+sentinel://a:26379/m", "-/p", "Sentinels over TLS"),
            ("redis+cluster://a,[::2]:2", "redis+cluster://a:6379,[::2]:2", "", "a cluster"),
            ("rediss+cluster://a", "rediss+cluster://a:6379", "", "a cluster over TLS"),
        ];
        for (url, shown, login, why) in cases {
            let place: Place = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(place.to_string(), shown, "{why}");
            let found = place
                .login
                .map_or(String::new(), |login| format!("{}/{}", login.user.as_deref().unwrap_or("-"), login.password));
            assert_eq!(found, login, "{why}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_and_tells_no_secret() {
        let cases = [
            ("h:6379", "no scheme"),
            ("http://hush@h", "another protocol"),
            ("redis+tunnel://hush@h", "another kind"),
            ("redis://:hush@", "no host"),
            ("redis://:hush@h:0", "no port"),
            ("redis://:hush@h:65536", "a port that is too high"),
            ("redis://:hush@[::1", "a bracket"),
            ("redis://:hush@[::1]9", "behind the bracket"),
            ("redis://:hush@h/x", "no database"),
            ("redis://:hush%ff@h", "no UTF-8"),
            ("redis://:hush@a,b", "two servers"),
            ("redis+sentinel://:hush@a", "no master"),
            ("redis+cluster://:hush@a/1", "a database"),
            ("redis+cluster://:hush@a,,b", "an empty host"),
        ];
        for (url, why) in cases {
            let error = url.parse::<Place>().expect_err(why);
            assert!(!error.to_string().contains("hush"), "{why}: {error}");
        }
    }

    #[test]
    fn a_place_is_shown_without_its_password() {
        let place: Place = "redis://me:hush@h".parse().expect("a place");
        assert_eq!(format!("{place:?} {place}"), "Place(redis://h:6379/0) redis://h:6379/0");
    }
}
