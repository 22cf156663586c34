//! Who may purge through the public listener?

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

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
        Self { allow, token: Secret(token) }
    }

    /// Whether a client of this address, as far as it is believed, with these fields may purge.
    pub fn admits(&self, address: IpAddr, headers: &HeaderMap) -> bool {
        // An IPv4 client of a listener for both comes as `::ffff:192.0.2.1`.
        let address = address.to_canonical();
        self.allow.iter().any(|network| network.contains(&address)) || token::is_carried(headers, &self.token.0)
    }
}
