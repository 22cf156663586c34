//! Which IP addresses does a name have, and for how long may we believe it?
//!
//! A literal is itself. Then the hosts file, read anew each time, so that a change of it is followed; `localhost`
//! needs none (RFC 6761 §6.3). Then the system's name servers. A machine without any still has its hosts file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;

/// A name is not asked for more often, whatever its time to live: some servers say zero.
const SHORTEST: Duration = Duration::from_secs(1);
/// A name is asked for at least this often: a record with a long time to live may still be changed in an emergency.
const LONGEST: Duration = Duration::from_mins(5);
/// The hosts file has no time to live; reading it costs little.
const HOSTS_FILE: Duration = Duration::from_secs(1);
/// For all name servers and tries together; longer than the system's own five seconds for one try.
const DEADLINE: Duration = Duration::from_secs(8);
/// Further addresses of a name are not used: balancing and checks cost time for each.
const MOST_ADDRESSES: usize = 32;

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The machine has no usable name servers, and its hosts file does not know the name.
    #[error("no name server is configured on this machine, and its hosts file does not have the name")]
    NoServers(#[source] NetError),
    /// The name servers gave no addresses.
    #[error("the name servers gave no address")]
    Servers(#[source] NetError),
    /// The name exists, without addresses.
    #[error("the name has no address")]
    NoAddress,
    /// No name server answered.
    #[error("no name server answered within {0:?}")]
    Timeout(Duration),
}

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    /// At least one; no duplicates.
    pub(super) addresses: Vec<IpAddr>,
    /// When to ask again; `None`: never (a literal).
    pub(super) valid_for: Option<Duration>,
}

/// Looks names up.
pub(super) struct Resolver {
    hosts_file: PathBuf,
    servers: Servers,
    /// Made at the first need, and again after a failure: the system's configuration may have changed.
    dns: Mutex<Option<TokioResolver>>,
}

enum Servers {
    System,
    #[cfg(test)]
    Given(ResolverConfig),
}

impl Resolver {
    /// A resolver with the machine's own configuration.
    pub(super) fn system() -> Self {
        Self { hosts_file: "/etc/hosts".into(), servers: Servers::System, dns: Mutex::default() }
    }

    /// A resolver with this hosts file and these name servers.
    #[cfg(test)]
    pub(super) fn with(hosts_file: PathBuf, servers: ResolverConfig) -> Self {
        Self { hosts_file, servers: Servers::Given(servers), dns: Mutex::default() }
    }

    /// The addresses of `host`, a name or a literal.
    pub(super) async fn resolve(&self, host: &str) -> Result<Resolved, ResolveError> {
        if let Ok(literal) = host.parse() {
            return Ok(Resolved { addresses: vec![literal], valid_for: None });
        }
        // No hosts file is an empty one.
        let hosts = tokio::fs::read_to_string(&self.hosts_file).await.unwrap_or_default();
        let mut addresses = in_hosts(&hosts, host);
        if addresses.is_empty() && is_localhost(host) {
            addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        if !addresses.is_empty() {
            return Ok(Resolved { addresses, valid_for: Some(HOSTS_FILE) });
        }
        let found = tokio::time::timeout(DEADLINE, self.ask(host)).await;
        let found = found.unwrap_or(Err(ResolveError::Timeout(DEADLINE)));
        if found.is_err() {
            *self.dns.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        found
    }

    async fn ask(&self, host: &str) -> Result<Resolved, ResolveError> {
        let found = self.dns()?.lookup_ip(host).await.map_err(ResolveError::Servers)?;
        let mut addresses = Vec::new();
        for address in found.iter().take(MOST_ADDRESSES) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress);
        }
        let left = found.valid_until().saturating_duration_since(Instant::now());
        Ok(Resolved { addresses, valid_for: Some(left.clamp(SHORTEST, LONGEST)) })
    }

    fn dns(&self) -> Result<TokioResolver, ResolveError> {
        let mut dns = self.dns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dns) = &*dns {
            return Ok(dns.clone());
        }
        let (config, mut options) = self.configuration().map_err(ResolveError::NoServers)?;
        // Both are ours to do: the hosts file is read anew, and we ask when the time to live has run out.
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let made = builder.build().map_err(ResolveError::NoServers)?;
        Ok(dns.insert(made).clone())
    }

    fn configuration(&self) -> Result<(ResolverConfig, ResolverOpts), NetError> {
        match &self.servers {
            Servers::System => read_system_conf(),
            #[cfg(test)]
            Servers::Given(config) => Ok((config.clone(), ResolverOpts::default())),
        }
    }
}

/// The addresses that the text of a hosts file gives a name.
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let mut addresses = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.truncate(MOST_ADDRESSES);
    addresses
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
    use tokio::net::UdpSocket;

    use super::*;

    #[test]
    fn a_hosts_file_is_read_as_the_system_reads_it() {
        let text = "127.0.0.1 localhost\n10.0.0.1\tapp.internal app # 10.0.0.9 app\n#10.0.0.2 app\n::1 APP\n10.0.0.1 app\nx app\n";
        let cases: &[(&str, &[&str], &str)] = &[
            ("app", &["10.0.0.1", "::1"], "names have no case, aliases count, comments do not, no duplicates"),
            ("app.internal.", &["10.0.0.1"], "a final dot changes nothing"),
            ("ap", &[], "whole names only"),
            ("10.0.0.1", &[], "an address is no name"),
        ];
        for (host, want, why) in cases {
            let want: Vec<IpAddr> = want.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(in_hosts(text, host), want, "{host}: {why}");
        }
    }

    #[tokio::test]
    async fn names_that_need_no_server_are_resolved_without_one() {
        let nobody = ResolverConfig::from_name_servers(vec![]);
        let resolver = Resolver::with("/nonexistent".into(), nobody);
        let cases: &[(&str, &[&str], Option<Duration>, &str)] = &[
            ("192.0.2.7", &["192.0.2.7"], None, "a literal"),
            ("::1", &["::1"], None, "a literal"),
            ("localhost", &["127.0.0.1", "::1"], Some(HOSTS_FILE), "RFC 6761"),
            ("app.LocalHost", &["127.0.0.1", "::1"], Some(HOSTS_FILE), "RFC 6761"),
        ];
        for (host, want, valid_for, why) in cases {
            let addresses = want.iter().map(|address| address.parse().unwrap()).collect();
            assert_eq!(
                resolver.resolve(host).await.unwrap(),
                Resolved { addresses, valid_for: *valid_for },
                "{host}: {why}"
            );
        }
        assert!(resolver.resolve("app.internal").await.is_err());
    }

    #[tokio::test]
    async fn a_change_of_the_hosts_file_is_seen_at_the_next_look() {
        let directory = tempfile::tempdir().unwrap();
        let hosts = directory.path().join("hosts");
        let resolver = Resolver::with(hosts.clone(), ResolverConfig::from_name_servers(vec![]));
        for address in ["10.0.0.1", "10.0.0.2"] {
            std::fs::write(&hosts, format!("{address} app\n")).unwrap();
            assert_eq!(resolver.resolve("app").await.unwrap().addresses, [address.parse::<IpAddr>().unwrap()]);
        }
    }

    /// Answers A queries with these (address, seconds to live), one after the other, and everything else with nothing.
    async fn name_server(answers: Vec<(Ipv4Addr, u32)>) -> ResolverConfig {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let reply = dns_reply(&packet[..length], &mut answers);
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        let mut server = NameServerConfig::udp(Ipv4Addr::LOCALHOST.into());
        server.connections = vec![ConnectionConfig::udp()];
        server.connections[0].port = port;
        ResolverConfig::from_name_servers(vec![server])
    }

    fn dns_reply(query: &[u8], answers: &mut impl Iterator<Item = (Ipv4Addr, u32)>) -> Vec<u8> {
        let question_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let is_a = query[question_end - 3] == 1;
        let answer = is_a.then(|| answers.next()).flatten();
        let mut reply = query[..2].to_vec();
        reply.extend([0x81, 0x80, 0, 1, 0, u8::from(answer.is_some()), 0, 0, 0, 0]);
        reply.extend(&query[12..question_end]);
        if let Some((address, seconds)) = answer {
            reply.extend([0xc0, 12, 0, 1, 0, 1]);
            reply.extend(seconds.to_be_bytes());
            reply.extend([0, 4]);
            reply.extend(address.octets());
        }
        reply
    }

    #[tokio::test]
    async fn name_servers_are_asked_each_time_and_their_time_to_live_counts() {
        let answers = [(1, 60), (2, 0), (3, 86_400)].map(|(last, seconds)| (Ipv4Addr::new(10, 0, 0, last), seconds));
        let servers = name_server(answers.to_vec()).await;
        let resolver = Resolver::with("/nonexistent".into(), servers);
        let cases = [
            (1, 55..=60, "as the server says"),
            (2, 1..=1, "zero would mean to ask without end"),
            (3, 300..=300, "a day is too long to be wrong"),
        ];
        for (last, seconds, why) in cases {
            let found = resolver.resolve("app.example.").await.unwrap();
            assert_eq!(found.addresses, [IpAddr::from([10, 0, 0, last])], "{why}");
            let valid_for = found.valid_for.unwrap();
            assert!(seconds.contains(&(valid_for.as_millis().div_ceil(1000))), "{valid_for:?}: {why}");
        }
        assert!(resolver.resolve("app.example.").await.is_err(), "the server has no more answers");
    }
}
