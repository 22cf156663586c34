//! What may be written about ACME?

use std::net::IpAddr;

use http::uri::Uri;

use crate::config::located::{Complaint, Leaf};

/// Characters of a secret: 16 random bytes, written in hexadecimal. It is no password that is made slow to guess.
const SECRET_LENGTH: usize = 32;

/// The longest name of a host, and of a label in it. RFC 1035 §2.3.4.
const NAME_LENGTH: usize = 253;
const LABEL_LENGTH: usize = 63;

/// Where an authority's directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcmeDirectory;

impl Leaf for AcmeDirectory {
    const WANTED: &'static str = r#"the URL of a directory, such as "https://acme-v02.api.letsencrypt.org/directory""#;
    const PATTERN: Option<&'static str> = Some("https://[^@]+");

    fn read(text: &str) -> Result<Self, Complaint> {
        let refuse = |what: &str| Err(Complaint::new(what, format!("write {}", Self::WANTED)));
        let Ok(uri) = text.parse::<Uri>() else { return refuse("this is not the URL of an ACME directory") };
        match (uri.scheme_str(), uri.authority()) {
            (Some("https"), Some(place)) if place.host().is_empty() || place.as_str().contains('@') => {
                refuse("the URL of an ACME directory has a host, and no user or password")
            }
            (Some("https"), Some(_)) => Ok(Self),
            // RFC 8555 §6.1.
            (Some("http"), _) => refuse("ACME is spoken over https alone"),
            _ => refuse("this is not the URL of an ACME directory"),
        }
    }
}

/// A host for which a certificate can be had by TLS-ALPN-01 or HTTP-01, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcmeHost(pub(crate) String);

impl Leaf for AcmeHost {
    const WANTED: &'static str = r#"the name of a host, such as "shop.example""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let refuse = |what: String, write: String| Err(Complaint::new(what, write));
        if text.contains('*') {
            let write = "write each host by its name; a wildcard's certificate has to be got by DNS: write its files in \
                         certificates";
            return refuse(format!("no certificate for `{text}` can be had: it is a wildcard"), write.to_owned());
        }
        let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
        if bare.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            let write = "write the host's name; for an address, write the files of a certificate in certificates";
            return refuse(format!("`{text}` is an address, and no host's name"), write.to_owned());
        }
        if is_name(text) {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        let name = bare.split(['/', ':', '?', '#']).next().unwrap_or_default().trim_end_matches('.');
        let write = if name != text && is_name(name) {
            format!("write the host alone: {name:?}")
        } else {
            format!("write {}; names beyond ASCII in their xn-- form", Self::WANTED)
        };
        refuse(format!("{text:?} is not the name of a host"), write)
    }
}

/// Whether certificates can be for it. RFC 1123 §2.1; a last label of digits would be read as an address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LABEL_LENGTH).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= NAME_LENGTH && text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whom an authority may write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email;

impl Leaf for Email {
    const WANTED: &'static str = r#"an address such as "ops@example.com""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic() && !b",:;<>?\"".contains(&byte));
        let parts = text.split_once('@').filter(|(user, host)| !user.is_empty() && !host.is_empty());
        if is_visible && parts.is_some_and(|(_, host)| !host.contains('@')) {
            return Ok(Self);
        }
        let write = match text.strip_prefix("mailto:") {
            Some(address) => format!("write the address alone: {address:?}"),
            None => format!("write {}, one and without a name", Self::WANTED),
        };
        Err(Complaint::new(format!("{text:?} is not an address for mail"), write))
    }
}

/// By what nodes seal what they share; may be empty. Told in no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcmeSecret;

impl Leaf for AcmeSecret {
    const WANTED: &'static str = r#"a secret, best from the environment: "${LARDER_ACME_SECRET:-}""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() || text.len() >= SECRET_LENGTH {
            return Ok(Self);
        }
        let write = format!("write {SECRET_LENGTH} characters or more, such as `openssl rand -hex 32` prints");
        Err(Complaint::new("the secret is so short that it could be guessed", write))
    }
}
