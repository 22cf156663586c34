//! Do the origins make sense together?

use std::path::PathBuf;

use super::Check;
use crate::config::file::{Balance, Health, Origin};
use crate::config::leaf::FilePath;
use crate::config::located::{At, Word};
use crate::config::settings;

impl Check<'_> {
    /// The origins, in the order of the file. One that lacks what it needs is left out, and reported.
    pub(super) fn origins(&mut self) -> Vec<settings::Origin> {
        let origins = &self.reading.file.origins;
        if origins.is_empty() && !self.reading.had_anywhere("origins") {
            let help = r#"write [[origins]] with name = "app" and urls = ["http://127.0.0.1:3000"]"#;
            self.error(None, "no origin: there is nothing to cache", help);
        }
        let mut settings = Vec::new();
        for (index, origin) in origins.iter().enumerate() {
            self.unique_name(origin, &origins[..index]);
            settings.extend(self.origin(origin));
        }
        settings
    }

    fn unique_name(&mut self, origin: &Origin, earlier: &[At<Origin>]) {
        let Some(name) = &origin.name else { return };
        let same = earlier.iter().filter_map(|other| other.name.as_ref()).find(|other| other.text == name.text);
        if let Some(other) = same {
            let what = format!("a second origin is called `{}`", name.text);
            self.findings.error(name.span.clone(), what, "write another name, or add its urls to the first one");
            self.findings.related(other.span.clone(), "the first one");
        }
    }

    fn origin(&mut self, origin: &At<Origin>) -> Option<settings::Origin> {
        let table = origin.span.as_ref();
        if origin.urls.is_empty() && !self.reading.had(table, "urls") {
            let help = r#"write urls = ["http://127.0.0.1:3000"]"#;
            self.error(origin.urls.span.as_ref().or(table), "the origin has no urls", help);
        }
        let name = self.required(origin.name.as_ref(), origin, "name", r#"name = "app""#);
        let health = origin.health.as_ref().map(|health| self.health(health));
        let ca_file = self.trusted(origin.ca_file.as_ref());
        Some(settings::Origin {
            name: name?.text.clone(),
            urls: origin.urls.iter().map(|url| url.value.clone()).collect(),
            hosts: origin.hosts.iter().map(|host| host.0.clone()).collect(),
            balance: match origin.balance {
                Balance::RoundRobin => settings::Balance::RoundRobin,
                Balance::LeastConnections => settings::Balance::LeastConnections,
                Balance::ConsistentHash => settings::Balance::ConsistentHash,
            },
            preserve_host: origin.preserve_host,
            connect_timeout: origin.connect_timeout.0,
            first_byte_timeout: origin.first_byte_timeout.0,
            between_bytes_timeout: origin.between_bytes_timeout.0,
            max_connections: origin.max_connections.as_usize(),
            retries: origin.retries.as_u32(),
            health: health.flatten(),
            ca_file,
        })
    }

    fn health(&mut self, health: &At<Health>) -> Option<settings::Health> {
        let path: &Word<_> = self.required(health.path.as_ref(), health, "path", r#"path = "/healthz""#)?;
        Some(settings::Health {
            path: path.text.clone(),
            interval: health.interval.0,
            timeout: health.timeout.0,
            unhealthy_after: health.unhealthy_after.as_u32(),
            healthy_after: health.healthy_after.as_u32(),
        })
    }

    /// The path of a `ca_file`. The file must be there and hold a certificate; whether it is a good one, TLS says.
    pub(super) fn trusted(&mut self, file: Option<&Word<FilePath>>) -> Option<PathBuf> {
        let word = file?;
        let (path, span) = (self.path(&word.0), word.span.as_ref());
        let help = "write the path of a file of PEM certificates; a relative one begins at this file's folder";
        match std::fs::read(&path) {
            Err(error) => self.error(span, format!("{} cannot be read: {error}", path.display()), help),
            Ok(bytes) if memchr::memmem::find(&bytes, b"-----BEGIN CERTIFICATE-----").is_none() => {
                self.error(span, format!("{} holds no PEM certificate", path.display()), help);
            }
            Ok(_) => {}
        }
        Some(path)
    }
}
