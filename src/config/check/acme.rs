//! Can certificates be obtained as `[server.tls]` wants them? Nobody is asked for that.

use super::Check;
use super::tls::Read;
use crate::config::file::Acme;
use crate::config::leaf::AcmeHost;
use crate::config::located::{At, Word};
use crate::config::settings;

impl Check<'_> {
    pub(super) fn acme(&mut self, acme: &At<Acme>) -> Option<settings::Acme> {
        let table = acme.span.as_ref();
        if acme.hosts.is_empty() && !self.reading.had(table, "hosts") {
            let place = acme.hosts.span.as_ref().or(table);
            self.error(place, "no host to obtain a certificate for", r#"write hosts = ["shop.example"]"#);
        }
        self.same_hosts(&acme.hosts);
        let ca_file = self.trusted(acme.ca_file.as_ref());
        let cache = self.required(acme.cache.as_ref(), acme, "cache", r#"cache = "acme", a folder for them"#)?;
        let secret = Some(&acme.secret.text).filter(|secret| !secret.is_empty());
        self.judge_sharing(acme, secret.is_some());
        let authority = settings::AcmeAuthority {
            directory: acme.directory.text.clone(),
            email: acme.email.as_ref().map(|email| email.text.clone()),
            cache: self.path(&cache.0),
            ca_file,
            secret: secret.map(|secret| settings::Secret(secret.clone())),
        };
        Some(settings::Acme { authority, hosts: acme.hosts.iter().map(|host| host.0.clone()).collect() })
    }

    fn same_hosts(&mut self, hosts: &[Word<AcmeHost>]) {
        for (index, later) in hosts.iter().enumerate() {
            let Some(earlier) = hosts[..index].iter().find(|earlier| earlier.0 == later.0) else { continue };
            let what = format!("`{}` is listed twice", later.text);
            self.findings.error(later.span.clone(), what, "take one out");
            self.findings.related(earlier.span.clone(), "the first one");
        }
    }

    /// Nodes that share a Redis stand behind one name: a challenge may come to any of them.
    fn judge_sharing(&mut self, acme: &At<Acme>, has_secret: bool) {
        let has_redis = self.reading.file.redis.is_some();
        if has_redis && !has_secret && !self.reading.had(acme.span.as_ref(), "secret") {
            let what = "acme.secret is not set: nodes do not answer each other's challenges, and each obtains its own";
            let help = r#"with several nodes, write secret = "${LARDER_ACME_SECRET}", the same on each of them"#;
            self.findings.warning(acme.span.clone(), what, help);
        }
        if !has_redis && has_secret {
            let what = "acme.secret has no effect without [redis]";
            self.findings.warning(acme.secret.span.clone(), what, "take it out, or name a Redis that nodes share");
        }
    }

    /// Of certificates for one name the operator's own is shown.
    pub(super) fn shown_instead(&mut self, acme: Option<&settings::Acme>, read: &[Read<'_>]) {
        for host in acme.iter().flat_map(|acme| &acme.hosts) {
            let is_for_it = |read: &&Read<'_>| read.pair.facts.names.iter().any(|name| **name == **host);
            let Some(own) = read.iter().find(is_for_it) else { continue };
            let what = format!("this certificate is for `{host}`, too: the one that acme obtains is not shown");
            self.findings.warning(own.cert.span.clone(), what, "take the host out of acme.hosts, or this pair");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Findings, Severity, Source};

    /// Every finding of a file with this `acme`, which stands on line 6, and more below it.
    fn findings(acme: &str, more: &str) -> Findings {
        let text = format!(
            "[[origins]]\nname = \"app\"\nurls = [\"http://h\"]\n\
             [server.tls]\nlisten = [\"0.0.0.0:8443\"]\nacme = {{ {acme} }}\n{more}"
        );
        let folder = tempfile::tempdir().unwrap();
        let checked = Source::default().check("proxy.toml", &text, folder.path());
        checked.map_or_else(|findings| findings, |loaded| loaded.warnings)
    }

    #[test]
    fn what_cannot_be_obtained_is_told_with_its_place_and_remedy() {
        // Right behind what it stands, what is said of it, and what to write.
        type Case = (String, Option<[&'static str; 3]>, &'static str);
        const GOOD: &str = r#"cache = "c", hosts = ["a.example"]"#;
        let host = |host: &str| format!(r#"cache = "c", hosts = ["{host}"]"#);
        let with = |more: &str| format!("{GOOD}, {more}");
        let secret = "x".repeat(32);
        let cases: Vec<Case> = vec![
            (GOOD.to_owned(), None, "all that it needs"),
            (
                r#"cache = "c", hosts = ["a.example", "b.example", "web"]"#.to_owned(),
                None,
                "several, and one of a private authority",
            ),
            (
                with(r#"email = "ops@example.com", directory = "https://ca.internal:9000/acme/acme/directory""#),
                None,
                "all of it",
            ),
            (r#"cache = "c""#.to_owned(), Some(["acme = ", "no host", "hosts = ["]), "for whom?"),
            (r#"cache = "c", hosts = []"#.to_owned(), Some(["hosts = ", "no host", "hosts = ["]), "for nobody"),
            (r#"hosts = ["a.example"]"#.to_owned(), Some(["acme = ", "`cache` is missing", "a folder"]), "where to?"),
            (host("*.a.example"), Some(["hosts = [", "wildcard", "each host"]), "cannot be proven"),
            (host("192.0.2.1"), Some(["hosts = [", "is an address", "host's name"]), "an address"),
            (host("[2001:db8::1]"), Some(["hosts = [", "is an address", "host's name"]), "with brackets"),
            (host("https://a.example/x"), Some(["hosts = [", "not the name", "\"a.example\""]), "a URL"),
            (host("a.example:443"), Some(["hosts = [", "not the name", "\"a.example\""]), "a port"),
            (host("a.example."), Some(["hosts = [", "not the name", "\"a.example\""]), "the root"),
            (host(""), Some(["hosts = [", "not the name", "shop.example"]), "nothing"),
            (host("a..example"), Some(["hosts = [", "not the name", "shop.example"]), "an empty label"),
            (host("a_b.example"), Some(["hosts = [", "not the name", "shop.example"]), "no host has an underscore"),
            (host("-a.example"), Some(["hosts = [", "not the name", "shop.example"]), "nor a hyphen there"),
            (host("ä.example"), Some(["hosts = [", "not the name", "xn--"]), "not ASCII"),
            (
                r#"cache = "c", hosts = ["a.example", "A.Example"]"#.to_owned(),
                Some([r#""a.example", "#, "listed twice", "take one out"]),
                "twice",
            ),
            (
                with(r#"directory = "http://ca.example/d""#),
                Some(["directory = ", "https alone", "letsencrypt"]),
                "in the clear",
            ),
            (with(r#"directory = "ca.example""#), Some(["directory = ", "not the URL", "letsencrypt"]), "no scheme"),
            (
                with(r#"directory = "https://me@ca.example/d""#),
                Some(["directory = ", "no user", "letsencrypt"]),
                "a user",
            ),
            (
                with(r#"email = "mailto:a@b""#),
                Some(["email = ", "not an address", "\"a@b\""]),
                "as the protocol has it",
            ),
            (with(r#"email = "ops""#), Some(["email = ", "not an address", "ops@example.com"]), "no @"),
            (with(r#"ca_file = "no.pem""#), Some(["ca_file = ", "cannot be read", ""]), "not there"),
            (with(r#"secret = "hush""#), Some(["secret = ", "could be guessed", "openssl"]), "short"),
            (
                with(&format!(r#"secret = "{secret}""#)),
                Some(["secret = ", "no effect without [redis]", "take it out"]),
                "alone",
            ),
            (with("agree = true"), Some([r"], ", "agree", ""]), "an unknown key"),
        ];
        for (acme, want, why) in cases {
            let found = findings(&acme, "");
            let told: Vec<_> =
                found.iter().map(|it| (it.line, it.column, format!("{} {}", it.message, it.help))).collect();
            match want {
                None => assert!(told.is_empty(), "{why}: {found}"),
                Some([behind, what, write]) => {
                    let line = format!("acme = {{ {acme} }}");
                    let column = line.find(behind).expect("it stands there") + behind.len() + 1;
                    assert_eq!(told.len(), 1, "{why}: {found}");
                    assert_eq!((told[0].0, told[0].1), (6, column), "{why}: {found}");
                    assert!(told[0].2.contains(what) && told[0].2.contains(write), "{why}: {found}");
                    assert!(!found.to_string().contains("hush"), "{why}: {found}");
                }
            }
        }
    }

    #[test]
    fn nodes_that_share_a_redis_are_told_of_the_secret() {
        const REDIS: &str = "[redis]\nurl = \"redis://127.0.0.1\"";
        let secret = format!(r#"secret = "{}", "#, "x".repeat(32));
        for (secret, want, why) in [("", 1, "each node on its own"), (&*secret, 0, "together")] {
            let found = findings(&format!(r#"{secret}cache = "c", hosts = ["a.example"]"#), REDIS);
            assert_eq!(found.iter().filter(|it| it.severity == Severity::Warning).count(), want, "{why}: {found}");
            assert_eq!(found.iter().count(), want, "{why}: {found}");
        }
    }
}
