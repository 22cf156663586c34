//! Does the file make sense as a whole, and which settings does it mean?
//!
//! Single values were checked when they were read ([`super::leaf`]); here are the judgements that need more than one.

mod access_log;
mod acme;
mod origins;
mod rules;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::file::{AccessLog, File};
use super::finding::{Findings, Span};
use super::leaf::{Network, Token};
use super::located::{At, Leaf, Word};
use super::read::Reading;
use super::settings;

/// The variable whose value is the token, over what the file says.
pub(crate) const TOKEN_VARIABLE: &str = "LARDER_TOKEN";

/// What every check needs: what was read, where relative paths begin, and where findings go.
struct Check<'c> {
    reading: &'c Reading,
    folder: &'c Path,
    findings: &'c mut Findings,
}

/// Checks a file and turns it into settings. The settings may be used only while `findings` holds no error.
pub(crate) fn settings(
    reading: &Reading,
    folder: &Path,
    environment: &Environment,
    findings: &mut Findings,
) -> settings::Settings {
    let mut check = Check { reading, folder, findings };
    let file = &reading.file;
    let admin = check.admin(environment);
    check.listeners();
    let origins = check.origins();
    let rules = check.rules();
    settings::Settings {
        server: server(file),
        admin,
        purge: settings::Purge {
            allow: networks(&file.purge.allow),
            tag_headers: file.purge.tag_headers.iter().map(|name| name.value.clone()).collect(),
        },
        memory: settings::Memory {
            capacity: file.memory.capacity.0,
            max_object: file.memory.max_object.0,
            max_variants: file.memory.max_variants.as_usize(),
        },
        telemetry: settings::Telemetry {
            access_log: match *file.telemetry.access_log {
                AccessLog::Json => settings::AccessLog::Json,
                AccessLog::Text => settings::AccessLog::Text,
                AccessLog::Off => settings::AccessLog::Off,
            },
            access_log_file: check.access_log_file(),
            log: file.telemetry.log.text.clone(),
        },
        tls: check.tls(),
        redis: check.redis(),
        origins,
        rules,
    }
}

fn server(file: &File) -> settings::Server {
    let server = &file.server;
    settings::Server {
        listen: server.listen.iter().map(|address| address.value).collect(),
        threads: server.threads.as_usize(),
        max_connections: server.max_connections.as_usize(),
        header_timeout: server.header_timeout.0,
        idle_timeout: server.idle_timeout.0,
        drain_timeout: server.drain_timeout.0,
        max_header_bytes: usize::try_from(server.max_header_bytes.0).unwrap_or(usize::MAX),
        max_body: server.max_body.0,
        trusted_proxies: networks(&server.trusted_proxies),
        expose_surrogate_headers: server.expose_surrogate_headers,
    }
}

fn networks(words: &[Word<Network>]) -> Vec<ipnet::IpNet> {
    words.iter().map(|network| network.net).collect()
}

impl Check<'_> {
    /// An error, unless its place has one already: that one is the cause.
    fn error(&mut self, span: Option<&Span>, message: impl Into<String>, help: impl Into<String>) {
        if !self.reading.is_blamed(span) {
            self.findings.error(span.cloned(), message, help);
        }
    }

    /// A path of the file, which begins at the file's folder where it is relative.
    fn path(&self, written: &Path) -> PathBuf {
        self.folder.join(written)
    }

    fn admin(&mut self, environment: &Environment) -> settings::Admin {
        let admin = &self.reading.file.admin;
        let listen = admin.listen.value;
        let mut token = admin.token.text.clone();
        if let Some(from_outside) = environment.variable(TOKEN_VARIABLE).filter(|value| !value.is_empty()) {
            if let Err(complaint) = Token::read(from_outside) {
                self.findings.error(None, format!("{TOKEN_VARIABLE}: {}", complaint.what), complaint.write);
            }
            from_outside.clone_into(&mut token);
        }
        if token.is_empty() && !listen.ip().is_loopback() {
            self.error(
                admin.listen.span.as_ref(),
                "the admin listener is open to other machines, and no token is set",
                r#"set admin.token = "${LARDER_TOKEN}", or listen on 127.0.0.1"#,
            );
        }
        settings::Admin { listen, token }
    }

    /// No address twice, among all listeners; at least one public one.
    fn listeners(&mut self) {
        let file = &self.reading.file;
        if file.server.listen.is_empty() {
            self.error(
                file.server.listen.span.as_ref(),
                "no public listener",
                r#"write at least one address: listen = ["127.0.0.1:8080"]"#,
            );
        }
        let plain = file.server.listen.iter().map(|word| (word, "server.listen"));
        let tls = file.server.tls.iter().flat_map(|tls| tls.listen.iter()).map(|word| (word, "server.tls.listen"));
        let mut taken: Vec<(&Word<SocketAddr>, &str)> = vec![(&file.admin.listen, "admin.listen")];
        for (word, key) in plain.chain(tls) {
            if let Some((other, holder)) = taken.iter().find(|(other, _)| collide(word.value, other.value)) {
                // A default stands nowhere: then the other place is the one to change.
                let (place, second) = if word.span.is_some() { (word, *other) } else { (*other, word) };
                self.findings.error(
                    place.span.clone(),
                    format!("`{}` is listened on twice ({holder} and {key})", word.text),
                    "write another port, or take one of them out",
                );
                self.findings.related(second.span.clone(), "the other one");
            }
            taken.push((word, key));
        }
    }

    fn redis(&mut self) -> Option<settings::Redis> {
        let redis = self.reading.file.redis.as_ref()?;
        let ca_file = self.trusted(redis.ca_file.as_ref());
        let url = self.required(redis.url.as_ref(), redis, "url", r#"url = "redis://127.0.0.1:6379/0""#)?;
        Some(settings::Redis {
            url: url.text.clone(),
            ca_file,
            namespace: redis.namespace.text.clone(),
            timeout: redis.timeout.0,
            max_object: redis.max_object.0,
            max_lag: redis.max_lag.0,
        })
    }

    /// A key that its table cannot do without.
    fn required<'k, T, K>(
        &mut self,
        value: Option<&'k Word<T>>,
        table: &At<K>,
        key: &str,
        example: &str,
    ) -> Option<&'k Word<T>> {
        if value.is_none() && !self.reading.had(table.span.as_ref(), key) {
            self.findings.error(table.span.clone(), format!("the key `{key}` is missing"), format!("write {example}"));
        }
        value
    }
}

/// Whether two listeners want the same port of the same address. Port 0 is a different port each time.
pub(crate) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip()
        || (one.is_ipv4() == other.is_ipv4() && (one.ip().is_unspecified() || other.ip().is_unspecified()));
    one.port() != 0 && one.port() == other.port() && same_address
}
