//! Can these certificates be shown to clients, and until when?

use super::Check;
use crate::clock::Clock;
use crate::config::file::{Certificate, ClientAuth, Tls};
use crate::config::finding::Span;
use crate::config::leaf::FilePath;
use crate::config::located::{At, Word};
use crate::config::settings;
use crate::tls::in_one_line;
use crate::tls::pair::{Files, Pair};
use crate::tls::serving::{Clients, Wanted, verifier};

/// Seconds before a certificate's end from which on it is warned of: whoever renews automatically has long done so, and
/// whoever does not has time left.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 24 * 60 * 60;

/// A pair that was read, and where its `cert` stands.
pub(super) struct Read<'c> {
    pub(super) pair: Pair,
    pub(super) cert: &'c Word<FilePath>,
}

impl Check<'_> {
    pub(super) fn tls(&mut self) -> Option<settings::Tls> {
        let tls = self.reading.file.server.tls.as_ref()?;
        let Tls { listen, certificates, acme, client_ca, client_auth } = &tls.value;
        let table = tls.span.as_ref();
        if listen.is_empty() && !self.reading.had(table, "listen") {
            self.error(listen.span.as_ref().or(table), "no HTTPS listener", r#"write listen = ["0.0.0.0:8443"]"#);
        }
        let has_others = acme.is_some() || self.reading.had(table, "acme");
        if certificates.is_empty() && !has_others && !self.reading.had(table, "certificates") {
            let help = r#"write certificates = [{ cert = "tls/site.pem", key = "tls/site.key" }], or acme = { hosts = ["shop.example"], cache = "acme" } to have them obtained"#;
            self.error(table, "no certificate", help);
        }
        let now = i64::try_from(Clock::System.now().as_millis() / 1000).unwrap_or(i64::MAX);
        let (mut wanted, mut read) = (Vec::new(), Vec::new());
        for pair in certificates {
            let Some((files, cert)) = self.pair(pair) else { continue };
            read.extend(self.read(&files, pair, cert, now));
            wanted.push(files);
        }
        self.same_names(&read);
        let acme = acme.as_ref().and_then(|acme| self.acme(acme));
        self.shown_instead(acme.as_ref(), &read);
        let auth = client_auth.as_ref().filter(|_| !self.reading.had(table, "client_ca"));
        let clients = self.clients(client_ca.as_ref(), auth);
        let listen = listen.iter().map(|address| address.value).collect();
        Some(settings::Tls { listen, wanted: Wanted { certificates: wanted, clients }, acme })
    }

    fn pair<'c>(&mut self, pair: &'c At<Certificate>) -> Option<(Files, &'c Word<FilePath>)> {
        let cert = self.required(pair.cert.as_ref(), pair, "cert", r#"cert = "tls/site.pem""#);
        let key = self.required(pair.key.as_ref(), pair, "key", r#"key = "tls/site.key""#);
        let (cert, key) = (cert?, key?);
        Some((Files { cert: self.path(&cert.0), key: self.path(&key.0) }, cert))
    }

    fn read<'c>(
        &mut self,
        files: &Files,
        written: &At<Certificate>,
        cert: &'c Word<FilePath>,
        now: i64,
    ) -> Option<Read<'c>> {
        match Pair::read(files, now) {
            Ok(pair) => {
                self.judge(&pair, cert.span.as_ref(), now);
                Some(Read { pair, cert })
            }
            Err(error) => {
                let key = written.key.as_ref().filter(|_| error.is_of_key());
                let span = key.map_or(cert.span.as_ref(), |key| key.span.as_ref());
                let help = "write the paths of PEM files, of a certificate with its chain and of its own private key; \
                            relative ones begin at this file's folder";
                self.error(span, in_one_line(&error), help);
                None
            }
        }
    }

    /// What clients will not like about it, today or soon.
    fn judge(&mut self, pair: &Pair, cert: Option<&Span>, now: i64) {
        let facts = &pair.facts;
        let mut warn = |what: String, help: &str| self.findings.warning(cert.cloned(), what, help);
        let left = facts.not_after - now;
        if left < SOON {
            let days = left / DAY;
            let what = format!("the certificate for {} expires in {days} days", pair.label());
            warn(what, "renew it; a changed file is taken over by itself");
        }
        if facts.not_before > now {
            let what = format!("the certificate for {} is not valid yet", pair.label());
            warn(what, "wait, or set this machine's clock");
        }
        if facts.names.is_empty() {
            let what = "the certificate names no host (subjectAltName): clients accept it for none".to_owned();
            warn(what, "have it issued with the names of its hosts");
        }
        if !pair.has_chain() {
            let what = format!("the certificate for {} comes without its issuer's", pair.label());
            warn(what, "append the intermediate certificates to the file, the issuer's first");
        }
    }

    /// Of two certificates for one name only the first is ever shown; not so where they sign in different ways.
    fn same_names(&mut self, read: &[Read<'_>]) {
        for (index, later) in read.iter().enumerate() {
            let same = |earlier: &&Read<'_>| {
                earlier.pair.algorithm() == later.pair.algorithm()
                    && earlier.pair.facts.names.iter().any(|name| later.pair.facts.names.contains(name))
            };
            let Some(earlier) = read[..index].iter().find(same) else { continue };
            let name = later.pair.facts.names.iter().find(|name| earlier.pair.facts.names.contains(name));
            let name = name.map_or("", |name| name);
            let what = format!("a second certificate for `{name}`: clients that ask for it get the first one");
            self.findings.warning(later.cert.span.clone(), what, "take one out");
            self.findings.related(earlier.cert.span.clone(), "the first one");
        }
    }

    fn clients(&mut self, ca: Option<&Word<FilePath>>, auth: Option<&At<ClientAuth>>) -> Option<Clients> {
        let Some(word) = ca else {
            if let Some(auth) = auth {
                // Whoever wrote it believes that clients are asked for something.
                let help = r#"write client_ca = "tls/clients-ca.pem", or leave client_auth out"#;
                self.error(
                    auth.span.as_ref(),
                    "client_auth asks for certificates, and no client_ca verifies them",
                    help,
                );
            }
            return None;
        };
        let is_required = auth.is_none_or(|auth| auth.value == ClientAuth::Require);
        let clients = Clients { ca: self.path(&word.0), is_required };
        if let Err(error) = verifier(&clients) {
            let help = "write the path of a PEM file of the authorities that issue clients' certificates";
            self.error(word.span.as_ref(), in_one_line(&error), help);
        }
        Some(clients)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    use crate::clock::Clock;
    use crate::config::{Findings, Severity, Source};

    /// Writes `NAME.pem` and `NAME.key`: a certificate of its own, or of `issuer`, for so many days from now.
    fn write(folder: &Path, name: &str, names: &[&str], days: i64, issuer: Option<&Issuer<'_, KeyPair>>) {
        let mut parameters = CertificateParams::new(names.iter().map(|&it| it.to_owned()).collect::<Vec<_>>()).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let now = i64::try_from(Clock::System.now().as_millis() / 1000).unwrap();
        let end = u64::try_from(now + days * super::DAY + 60).unwrap();
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(end);
        let key = KeyPair::generate().unwrap();
        let cert = match issuer {
            Some(issuer) => parameters.signed_by(&key, issuer),
            None => parameters.self_signed(&key),
        };
        std::fs::write(folder.join(format!("{name}.pem")), cert.unwrap().pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Every finding of a file with this `certificates` and more, which stand on line 6.
    fn findings(folder: &Path, certificates: &str, more: &str) -> Findings {
        let text = format!(
            "[[origins]]\nname = \"app\"\nurls = [\"http://h\"]\n\
             [server.tls]\nlisten = [\"0.0.0.0:8443\"]\ncertificates = [{certificates}]\n{more}"
        );
        Source::default().check("proxy.toml", &text, folder).map_or_else(|findings| findings, |loaded| loaded.warnings)
    }

    #[test]
    fn certificates_are_judged_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        write(folder, "good", &["a.example"], 365, None);
        write(folder, "same", &["b.example", "a.example"], 365, None);
        write(folder, "soon", &["s.example"], 13, None);
        write(folder, "later", &["l.example"], 15, None);
        write(folder, "over", &["o.example"], -1, None);
        write(folder, "alone", &["c.example"], 365, Some(&issuer));
        write(folder, "nameless", &[], 365, None);
        let pair = |cert: &str, key: &str| format!("{{ cert = \"{cert}\", key = \"{key}\" }}");
        let good = pair("good.pem", "good.key");
        let cases = [
            (good.clone(), None, "a good one"),
            (pair("later.pem", "later.key"), None, "time enough"),
            (pair("no.pem", "good.key"), Some((Severity::Error, 26, "no.pem cannot be read")), "not there"),
            (pair("good.pem", "no.key"), Some((Severity::Error, 44, "no.key cannot be read")), "its key is not there"),
            (pair("good.key", "good.key"), Some((Severity::Error, 26, "holds no certificate")), "a key"),
            (pair("good.pem", "good.pem"), Some((Severity::Error, 44, "holds no private key")), "a certificate"),
            (pair("good.pem", "same.key"), Some((Severity::Error, 44, "does not fit")), "another one's key"),
            (pair("over.pem", "over.key"), Some((Severity::Error, 26, "has expired")), "over"),
            (pair("soon.pem", "soon.key"), Some((Severity::Warning, 26, "expires in 13 days")), "nearly over"),
            (pair("alone.pem", "alone.key"), Some((Severity::Warning, 26, "without its issuer")), "no chain"),
            (pair("nameless.pem", "nameless.key"), Some((Severity::Warning, 26, "names no host")), "for nobody"),
            (
                format!("{good}, {}", pair("same.pem", "same.key")),
                Some((Severity::Warning, 67, "a second certificate for `a.example`")),
                "never shown for it",
            ),
        ];
        for (certificates, want, why) in cases {
            let found = findings(folder, &certificates, "");
            let told: Vec<_> = found.iter().map(|it| (it.severity, it.line, it.column, it.message.as_str())).collect();
            match want {
                None => assert!(told.is_empty(), "{why}: {found}"),
                Some((severity, column, words)) => {
                    assert_eq!(told.len(), 1, "{why}: {found}");
                    assert_eq!((told[0].0, told[0].1, told[0].2), (severity, 6, column), "{why}: {found}");
                    assert!(told[0].3.contains(words), "{why}: {found}");
                }
            }
        }
    }

    #[test]
    fn whom_clients_are_verified_by_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "good", &["a.example"], 365, None);
        let cases = [
            ("client_ca = \"good.pem\"", None, "an authority: required"),
            ("client_ca = \"good.pem\"\nclient_auth = \"optional\"", None, "who wants to"),
            ("client_ca = \"good.key\"", Some((7, 13, "holds no certificate")), "a key"),
            ("client_ca = \"no.pem\"", Some((7, 13, "cannot be read")), "not there"),
            ("client_auth = \"require\"", Some((7, 15, "no client_ca")), "by whom?"),
            ("client_ca = 5\nclient_auth = \"require\"", Some((7, 13, "wrong type")), "one finding is enough"),
            ("client_ca = \"good.pem\"\nclient_auth = \"maybe\"", Some((8, 15, "`maybe`")), "an unknown word"),
        ];
        for (more, want, why) in cases {
            let found = findings(folder.path(), "{ cert = \"good.pem\", key = \"good.key\" }", more);
            let told: Vec<_> = found.iter().map(|it| (it.line, it.column, it.message.as_str())).collect();
            match want {
                None => assert!(told.is_empty(), "{why}: {found}"),
                Some((line, column, words)) => {
                    assert!(
                        matches!(told[..], [(at, on, said)] if (at, on) == (line, column) && said.contains(words)),
                        "{why}: {found}"
                    );
                }
            }
        }
    }
}
