//! What in a valid file does not do what it seems to?
//!
//! Only whole files are linted: where a wrong part was taken out, its absence would look like intent.

mod origins;
mod rules;
mod shadow;

use super::file::{AccessLog, File};
use super::finding::Findings;
use super::leaf::Network;
use super::located::Word;
use super::settings::Settings;
use crate::policy::route::PathPattern;
use crate::policy::treatment::Glob;

/// Adds a warning for everything that an operator would want to know of.
pub(crate) fn lint(file: &File, settings: &Settings, findings: &mut Findings) {
    memory(file, findings);
    networks(&file.server.trusted_proxies, "may claim any address and scheme with X-Forwarded-*", findings);
    networks(&file.purge.allow, "may purge without a token", findings);
    purge(file, settings, findings);
    if let (Some(path), AccessLog::Off) = (&file.telemetry.access_log_file, *file.telemetry.access_log) {
        let help = r#"write access_log = "json" or "text", or leave access_log_file out"#;
        findings.warning(path.span.clone(), "access_log_file has no effect: access_log is \"off\"", help);
    }
    redis(file, findings);
    origins::lint(file, findings);
    rules::lint(file, findings);
    shadow::lint(&file.rules, findings);
}

fn memory(file: &File, findings: &mut Findings) {
    let memory = &file.memory;
    if memory.max_object.0 > memory.capacity.0 {
        let span = memory.max_object.span.as_ref().or(memory.capacity.span.as_ref());
        let what =
            format!("max_object ({}) is larger than capacity ({})", memory.max_object.text, memory.capacity.text);
        findings.warning(span.cloned(), what, "raise memory.capacity, or lower memory.max_object");
    }
}

fn redis(file: &File, findings: &mut Findings) {
    let Some(redis) = &file.redis else { return };
    if let (Some(ca_file), Some(url)) = (&redis.ca_file, &redis.url)
        && !url.text.starts_with("rediss")
    {
        let what = "ca_file has no effect: the url of Redis does not begin with rediss";
        findings.warning(ca_file.span.clone(), what, "write rediss in the url, or leave ca_file out");
    }
}

fn networks(networks: &[Word<Network>], privilege: &str, findings: &mut Findings) {
    for network in networks {
        if network.net.prefix_len() == 0 {
            let what = format!("`{}` is everybody: every client {privilege}", network.text);
            findings.warning(network.span.clone(), what, "name the networks that are meant");
        } else if network.had_host_bits {
            let what = format!("`{}` means the whole of {}", network.text, network.net);
            let help = format!(r#"write "{}", or the one address without a prefix"#, network.net);
            findings.warning(network.span.clone(), what, help);
        }
    }
}

fn purge(file: &File, settings: &Settings, findings: &mut Findings) {
    if file.purge.allow.is_empty() && settings.admin.token.is_empty() {
        let what = "nobody may PURGE on the public listener: no network is allowed, and no token is set";
        findings.warning(file.purge.allow.span.clone(), what, "name a network, or set admin.token");
    }
    let headers = &file.purge.tag_headers;
    for (index, header) in headers.iter().enumerate() {
        if headers[..index].iter().any(|other| other.value == header.value) {
            findings.warning(header.span.clone(), format!("`{}` stands here twice", header.value), "take one out");
        }
    }
}

/// Whether every host that fits `special` fits `general`, too. Where it is hard to tell: no.
///
/// A star of `special` can be taken only by a star of `general`, which then takes whatever it stands for.
fn covers_host(general: &str, special: &str) -> bool {
    Glob::new(general).matches(special)
}

/// Whether every path that fits `special` fits `general`, too. Where it is hard to tell: no.
fn covers_path(general: &PathPattern, special: &PathPattern) -> bool {
    if general.text == special.text {
        return true;
    }
    if let Some(path) = special.as_literal() {
        return general.matches(path);
    }
    let everything_below = general.text.strip_suffix("**").filter(|prefix| !prefix.contains('*'));
    everything_below.is_some_and(|prefix| special.literal_prefix().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_claimed_only_where_it_holds() {
        let cases = [
            // general   special     want   why
            ("/**", "/a/*", true, "everything"),
            ("/a/**", "/a/b/*", true, "below it"),
            ("/a/**", "/a/**", true, "the same"),
            ("/a/**", "/a/", true, "** may be nothing"),
            ("/a/**", "/a", false, "not below its slash"),
            ("/a/**", "/ab/*", false, "another segment"),
            ("/a/b/**", "/a/**", false, "the other way round"),
            ("/*/b/**", "/a/b/*", false, "hard to tell: no"),
            ("/a/*", "/a/b", true, "one segment"),
            ("/a/*", "/a/*/c", false, "two segments"),
        ];
        for (general, special, want, why) in cases {
            let [general, special] = [general, special].map(|text| PathPattern::parse(text).expect("a pattern"));
            assert_eq!(covers_path(&general, &special), want, "{} over {}: {why}", general.text, special.text);
        }
    }
}
