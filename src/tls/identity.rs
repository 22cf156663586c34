//! By which words does an origin know a client's certificate?
//!
//! `X-Forwarded-Client-Cert`, as Envoy writes it and many origins read it: one element with the certificate's hash, its
//! subject and its names. Nobody but us may write it; whoever sent it to us is not believed.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, RelativeDistinguishedName};

/// Alternative names that are passed on: a client has a few, a field has bounds.
const MOST_NAMES: usize = 16;

/// Bytes of the field: beyond it names are left out, and at last the subject. Origins refuse heads of some 8 KiB.
const MOST_BYTES: usize = 2 << 10;

/// Attributes of a subject that have short names. RFC 4514 §3, and `emailAddress`, which is in use.
const SHORT: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.5", "serialNumber"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A verified certificate as the value of `X-Forwarded-Client-Cert`:
/// `Hash=…;Subject="CN=alice,O=Example";URI=spiffe://example/alice;DNS=alice.example`.
///
/// The hash is SHA-256 over the certificate, in hexadecimal. The subject is written by RFC 4514, with every byte that is not
/// plain escaped as `\hh`, so that no name can look like another one or end the quotes.
pub fn describe(certificate: &CertificateDer<'_>) -> HeaderValue {
    let mut text = String::from("Hash=");
    for byte in digest(&SHA256, certificate).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    // Whoever verified it has read it: it is one.
    if let Ok((_, certificate)) = X509Certificate::from_der(certificate) {
        let mut more = vec![format!("Subject=\"{}\"", subject(&certificate))];
        more.extend(names(&certificate));
        for element in more.iter().filter(|element| element.len() < MOST_BYTES) {
            if text.len() + element.len() < MOST_BYTES {
                text.push(';');
                text.push_str(element);
            }
        }
    }
    HeaderValue::try_from(text).expect("everything but visible ASCII is escaped")
}

/// RFC 4514 §2.1: the last part first.
fn subject(certificate: &X509Certificate<'_>) -> String {
    let parts: Vec<_> = certificate.subject().iter_rdn().map(relative_name).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn relative_name(name: &RelativeDistinguishedName<'_>) -> String {
    name.iter().map(attribute).collect::<Vec<_>>().join("+")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT.iter().find(|(known, _)| *known == oid).map(|(_, short)| *short);
    let mut text = format!("{}=", short.unwrap_or(&oid));
    if let Ok(value) = attribute.as_str() {
        value.bytes().for_each(|byte| escape(byte, &mut text));
    } else {
        // Of another type than text: its bytes, marked as such (RFC 4514 §2.4).
        text.push('#');
        for byte in attribute.as_slice() {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

fn escape(byte: u8, text: &mut String) {
    if byte.is_ascii_alphanumeric() || b" -_.:/@*'()?!&$%".contains(&byte) {
        text.push(char::from(byte));
    } else {
        let _ = write!(text, "\\{byte:02x}");
    }
}

/// Alternative names that hosts and programs go by.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => element("URI", uri),
        GeneralName::DNSName(name) => element("DNS", name),
        _ => None,
    });
    names.take(MOST_NAMES).collect()
}

/// A name as an element; `None`: it has what none has, and would only confuse whoever reads it.
fn element(key: &str, value: &str) -> Option<String> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
    let needs_quotes = value.contains([',', ';', '=']);
    match (is_plain && !value.is_empty(), needs_quotes) {
        (false, _) => None,
        (true, false) => Some(format!("{key}={value}")),
        (true, true) => Some(format!("{key}=\"{value}\"")),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn described(fill: impl FnOnce(&mut CertificateParams)) -> String {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        fill(&mut parameters);
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let described = describe(certificate.der());
        described.to_str().expect("visible ASCII").to_owned()
    }

    fn ia5(text: &str) -> Ia5String {
        text.try_into().expect("ASCII")
    }

    #[test]
    fn a_client_is_described_without_a_doubt() {
        let plain = described(|it| {
            it.distinguished_name.push(DnType::OrganizationName, "Example");
            it.distinguished_name.push(DnType::CommonName, "alice");
            it.subject_alt_names = vec![
                SanType::URI(ia5("spiffe://example/alice")),
                SanType::DnsName(ia5("alice.example")),
                SanType::Rfc822Name(ia5("alice@example")),
            ];
        });
        let (hash, rest) = plain.split_once(';').expect("several elements");
        assert_eq!((hash.len(), &hash[..5]), (69, "Hash="), "64 digits");
        assert_eq!(rest, "Subject=\"CN=alice,O=Example\";URI=spiffe://example/alice;DNS=alice.example");
    }

    #[test]
    fn no_name_can_look_like_another() {
        let cases = [
            ("alice,O=Admins", r"CN=alice\2cO\3dAdmins", "another attribute"),
            ("a\";DNS=root", r"CN=a\22\3bDNS\3droot", "the end of the quotes"),
            ("a\\2c", r"CN=a\5c2c", "an escape"),
            ("a\r\nx: y", r"CN=a\0d\0ax: y", "another field"),
            ("ä", r"CN=\c3\a4", "not ASCII"),
        ];
        for (name, want, why) in cases {
            let text = described(|it| it.distinguished_name.push(DnType::CommonName, name));
            assert!(text.ends_with(&format!(";Subject=\"{want}\"")), "{why}: {text}");
        }
        let odd = described(|it| {
            let names = ["x;DNS=root", "a\"b", "a b", "fine.example"];
            it.subject_alt_names = names.map(|name| SanType::URI(ia5(name))).to_vec();
        });
        assert!(odd.ends_with(";Subject=\"\";URI=\"x;DNS=root\";URI=fine.example"), "{odd}");
    }

    #[test]
    fn the_field_has_bounds() {
        let text = described(|it| {
            it.distinguished_name.push(DnType::CommonName, "x".repeat(4000));
            it.subject_alt_names = (0..100).map(|at| SanType::DnsName(ia5(&format!("{at}.example")))).collect();
        });
        assert!(text.len() < MOST_BYTES && !text.contains("Subject"), "{text}");
        assert_eq!(text.matches("DNS=").count(), MOST_NAMES, "{text}");
    }
}
