//! Who may purge through the public listener?

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::{IpNet, Ipv4Net};

use crate::policy::token;

/// The allow list and the token of one configuration.
#[derive(Debug, Default)]
pub struct Gate {
    allow: Vec<IpNet>,
    token: Secret,
}

/// Not shown, wherever a gate is printed.
#[derive(Default)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl Gate {
    /// Clients of these networks, and those that carry the token; an empty one is carried by nobody.
    pub fn new(allow: Vec<IpNet>, token: String) -> Self {
        Self { allow: allow.into_iter().map(canonical).collect(), token: Secret(token) }
    }

    /// Whether a client of this address, as far as it is believed, with these fields may purge.
    pub fn admits(&self, address: IpAddr, headers: &HeaderMap) -> bool {
        // An IPv4 client of a listener for both comes as `::ffff:192.0.2.1`.
        let address = address.to_canonical();
        self.allow.iter().any(|network| network.contains(&address)) || token::is_carried(headers, &self.token.0)
    }
}

/// A network of IPv4 addresses that is written as one of IPv6 (`::ffff:192.0.2.0/120`), as the one that it is.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(wide) => wide.addr().to_ipv4_mapped().zip(wide.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    type Fields = &'static [(&'static str, &'static str)];

    #[test]
    fn clients_come_in_by_their_address_or_by_the_token() {
        let allow = ["192.0.2.0/24", "::1/128", "::ffff:198.51.100.0/120", "2001:db8::/32"];
        let allow: Vec<IpNet> = allow.iter().map(|text| text.parse().expect("a network")).collect();
        let cases: [(&str, Fields, bool, &str); 14] = [
            ("192.0.2.7", &[], true, "in the list"),
            ("192.0.3.7", &[], false, "beside it"),
            ("::ffff:192.0.2.7", &[], true, "an IPv4 client of a listener for both"),
            ("::ffff:192.0.3.7", &[], false, "another one"),
            ("198.51.100.9", &[], true, "the network is written as one of IPv6"),
            ("::ffff:198.51.100.9", &[], true, "and so is the address"),
            ("198.51.101.9", &[], false, "beside it"),
            ("::1", &[], true, "one address"),
            ("::2", &[], false, "beside it"),
            ("::192.0.2.7", &[], false, "compatible, not mapped: another address"),
            ("2001:db8:9::1", &[], true, "an IPv6 network"),
            ("203.0.113.1", &[("authorization", "Bearer s3cret")], true, "with the token from anywhere"),
            ("203.0.113.1", &[("authorization", "Bearer s3cre")], false, "a part of it"),
            ("203.0.113.1", &[("x-token", "s3cret")], false, "in a field of another name"),
        ];
        let gate = Gate::new(allow, "s3cret".to_owned());
        for (address, fields, want, why) in cases {
            let headers = fields
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
            let address = address.parse().expect("an address");
            assert_eq!(gate.admits(address, &headers.collect()), want, "{address}: {why}");
        }
    }

    #[test]
    fn an_empty_list_and_an_empty_token_admit_nobody() {
        let gate = Gate::new(Vec::new(), String::new());
        for field in ["authorization", "fastly-key"] {
            for value in ["", "Bearer ", "Bearer"] {
                let headers = [(http::HeaderName::from_static(field), HeaderValue::from_static(value))];
                assert!(!gate.admits([127, 0, 0, 1].into(), &headers.into_iter().collect()), "{field}: {value:?}");
            }
        }
    }

    #[test]
    fn a_gate_does_not_show_its_token() {
        assert!(!format!("{:?}", Gate::new(Vec::new(), "s3cret".to_owned())).contains("s3cret"));
    }
}
