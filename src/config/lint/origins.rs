//! What about the origins does not do what it seems to?

use std::net::{IpAddr, SocketAddr};

use super::covers_host;
use crate::config::check::collide;
use crate::config::file::{File, Origin};
use crate::config::finding::Findings;
use crate::config::located::{At, Word};
use crate::config::settings::OriginUrl;

/// Adds what is to be said of the origins.
pub(super) fn lint(file: &File, findings: &mut Findings) {
    for (index, origin) in file.origins.iter().enumerate() {
        repeated_urls(origin, findings);
        asks_itself(origin, &file.server.listen, findings);
        health(origin, findings);
        ca_file(origin, findings);
        if !is_named_by_a_rule(origin, file) {
            unreachable(origin, &file.origins[..index], findings);
        }
    }
}

fn repeated_urls(origin: &Origin, findings: &mut Findings) {
    for (index, url) in origin.urls.iter().enumerate() {
        if origin.urls[..index].iter().any(|other| other.value == url.value) {
            findings.warning(url.span.clone(), format!("`{}` stands here twice", url.value), "take one out");
        }
    }
}

/// A proxy that is its own origin answers every request with another one, until something gives.
fn asks_itself(origin: &Origin, listen: &[Word<SocketAddr>], findings: &mut Findings) {
    for url in origin.urls.iter() {
        let Some(address) = address_of(url) else { continue };
        if listen.iter().any(|listener| collide(listener.value, address)) {
            let what = format!("`{}` is a listener of Larder itself", url.value);
            findings.warning(url.span.clone(), what, "write where the origin listens");
        }
    }
}

/// The address of a URL, without asking anybody.
fn address_of(url: &OriginUrl) -> Option<SocketAddr> {
    let ip = if url.host == "localhost" { IpAddr::from([127, 0, 0, 1]) } else { url.host.parse().ok()? };
    Some(SocketAddr::new(ip, url.port))
}

fn health(origin: &Origin, findings: &mut Findings) {
    let Some(health) = &origin.health else { return };
    if health.timeout.0 > health.interval.0 {
        let span = health.timeout.span.clone().or_else(|| health.interval.span.clone());
        let what = format!(
            "a check may take longer ({}) than the next one is away ({})",
            health.timeout.text, health.interval.text
        );
        findings.warning(span, what, "write a timeout below the interval");
    }
}

fn ca_file(origin: &Origin, findings: &mut Findings) {
    if let Some(file) = origin.ca_file.as_ref().filter(|_| !origin.urls.iter().any(|url| url.https)) {
        let help = "write https:// in urls, or leave ca_file out";
        findings.warning(file.span.clone(), "ca_file has no effect: no url of this origin is https", help);
    }
}

fn is_named_by_a_rule(origin: &Origin, file: &File) -> bool {
    let Some(name) = &origin.name else { return true };
    file.rules.iter().any(|rule| rule.origin.as_ref().is_some_and(|origin| origin.text == name.text))
}

/// The first origin that fits wins: one behind another that takes all its hosts is never asked.
fn unreachable(origin: &At<Origin>, earlier: &[At<Origin>], findings: &mut Findings) {
    let takes_any = earlier.iter().find(|other| other.hosts.is_empty());
    let help = "give the earlier one its hosts, put this one before it, or name it in a rule";
    if let Some(other) = takes_any {
        let what = format!("no request goes to this origin: `{}` before it takes every host", name_of(other));
        let span = origin.name.as_ref().and_then(|name| name.span.clone()).or_else(|| origin.span.clone());
        findings.warning(span, what, help);
        return;
    }
    for host in &origin.hosts {
        let taker = earlier.iter().find(|other| other.hosts.iter().any(|pattern| covers_host(&pattern.0, &host.0)));
        if let Some(other) = taker {
            let what = format!("`{}` never comes here: `{}` takes it first", host.text, name_of(other));
            findings.warning(host.span.clone(), what, help);
        }
    }
}

fn name_of(origin: &Origin) -> &str {
    origin.name.as_ref().map_or("", |name| &name.text)
}
