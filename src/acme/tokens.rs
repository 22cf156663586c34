//! Is a request an authority's look for a token, and what does it get? RFC 8555 §8.3.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Where authorities look.
const FOLDER: &str = "/.well-known/acme-challenge/";

/// The tokens that authorities look for at this moment: one a host, as long as an order is under way.
#[derive(Debug, Default)]
pub struct Tokens(ArcSwapOption<HashMap<Box<str>, Token>>);

#[derive(Debug, Clone)]
struct Token {
    token: Box<str>,
    key_authorization: Arc<str>,
}

impl Tokens {
    /// What is shown at `path` of `authority`, a host and perhaps a port; `None`: the request is nobody's but the origin's.
    pub fn find(&self, authority: &str, path: &str) -> Option<Arc<str>> {
        // First: hardly a request asks there.
        let asked = path.strip_prefix(FOLDER)?;
        let tokens = self.0.load();
        let tokens = tokens.as_ref()?;
        // Authorities come to port 80; who forwards from there may name another one.
        let host = authority.split_once(':').map_or(authority, |(host, _)| host);
        let token = tokens.get(host)?;
        (*token.token == *asked).then(|| Arc::clone(&token.key_authorization))
    }

    pub(super) fn begin(&self, host: &str, token: &str, key_authorization: &str) {
        let token = Token { token: token.into(), key_authorization: key_authorization.into() };
        self.change(|tokens| {
            tokens.insert(host.into(), token.clone());
        });
    }

    pub(super) fn end(&self, host: &str) {
        self.change(|tokens| {
            tokens.remove(host);
        });
    }

    fn change(&self, change: impl Fn(&mut HashMap<Box<str>, Token>)) {
        self.0.rcu(|old| {
            let mut tokens = old.as_deref().cloned().unwrap_or_default();
            change(&mut tokens);
            (!tokens.is_empty()).then(|| Arc::new(tokens))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_at_its_host_while_it_is_looked_for() {
        let tokens = Tokens::default();
        tokens.begin("a.example", "t0", "t0.key");
        tokens.begin("b.example", "t1", "t1.key");
        let cases = [
            ("a.example", "/.well-known/acme-challenge/t0", Some("t0.key"), "its own"),
            ("a.example:5002", "/.well-known/acme-challenge/t0", Some("t0.key"), "at another port"),
            ("b.example", "/.well-known/acme-challenge/t0", None, "another host's"),
            ("c.example", "/.well-known/acme-challenge/t0", None, "a host without one"),
            ("a.example", "/.well-known/acme-challenge/t1", None, "not its own"),
            ("a.example", "/.well-known/acme-challenge/", None, "none"),
            ("a.example", "/.well-known/acme-challenge/t0/", None, "a folder"),
            ("a.example", "/t0", None, "elsewhere"),
        ];
        for (host, path, want, why) in cases {
            assert_eq!(tokens.find(host, path).as_deref(), want, "{host}{path}: {why}");
        }
        tokens.end("a.example");
        assert!(tokens.find("a.example", "/.well-known/acme-challenge/t0").is_none(), "over");
        tokens.end("b.example");
        assert!(tokens.0.load().is_none(), "one look is all that it costs");
    }
}
