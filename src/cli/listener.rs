//! Which running proxy does a command ask, and as whom?

use std::fmt;
use std::str::FromStr;

use clap::Args;
use http::{HeaderValue, Uri};

/// Where a proxy that was started without a file takes the questions of its operator.
pub(super) const DEFAULT: &str = "http://127.0.0.1:9080";

/// The options of every command that asks a running proxy.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running proxy")]
pub(super) struct Listener {
    /// Its admin listener, with a path where another proxy puts it below one
    #[arg(long, value_name = "URL", env = "LARDER_ADMIN", default_value = DEFAULT)]
    pub(super) admin: AdminUrl,
    /// Its admin token; `LARDER_TOKEN` keeps it out of the list of processes
    // A token may begin with any character.
    #[arg(
        long,
        env = "LARDER_TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(super) token: Token,
}

/// A secret: never shown, not even where a wrong one is complained about.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    /// Whether there is one: an empty one is none, as in `proxy.toml`.
    pub(super) fn is_given(&self) -> bool {
        !self.0.is_empty()
    }

    /// The value of `Authorization`; none without a token.
    ///
    /// # Errors
    ///
    /// It holds what no field may hold, a line break for instance.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, http::header::InvalidHeaderValue> {
        if !self.is_given() {
            return Ok(None);
        }
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.0))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_given() { "Token(…)" } else { "Token()" })
    }
}

/// Where an admin listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AdminUrl {
    /// Whether TLS is spoken, and verified.
    pub(super) https: bool,
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    /// The port; where none is written, that of the scheme.
    pub(super) port: u16,
    /// Host and port as written, for `Host`.
    pub(super) authority: String,
    /// What stands before every path; no slash at its end.
    pub(super) base: String,
}

impl FromStr for AdminUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = format!("write it like {DEFAULT}");
        // `Uri` would drop a fragment silently.
        let uri = Uri::from_str(text).ok().filter(|_| !text.contains('#'));
        let Some((uri, authority)) = uri.as_ref().and_then(|uri| Some((uri, uri.authority()?))) else {
            return Err(format!("this is no URL; {example}"));
        };
        let https = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
            _ => return Err(format!("it must begin with http:// or https://; {example}")),
        };
        if authority.as_str().contains('@') {
            return Err("no user or password can stand in it; a token goes into --token or LARDER_TOKEN".to_owned());
        }
        if uri.query().is_some() {
            return Err(format!("no `?` can stand in it; {example}"));
        }
        let port = match authority.port_u16() {
            // What stands after the host is no port then.
            None | Some(0) if authority.as_str() != authority.host() => {
                return Err(format!("its port is no number from 1 to 65535; {example}"));
            }
            port => port.unwrap_or(if https { 443 } else { 80 }),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let base = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { https, host, port, authority: authority.as_str().to_owned(), base })
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_has_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        type Want = Result<(bool, &'static str, u16, &'static str), &'static str>;
        let cases: [(&str, Want, &str); 19] = [
            (DEFAULT, Ok((false, "127.0.0.1", 9080, "")), "the default"),
            ("http://edge-1:9080/", Ok((false, "edge-1", 9080, "")), "a slash alone is no path"),
            ("http://edge-1", Ok((false, "edge-1", 80, "")), "the scheme's port"),
            ("https://edge-1", Ok((true, "edge-1", 443, "")), "the other scheme's"),
            ("HTTPS://edge-1", Ok((true, "edge-1", 443, "")), "schemes have no case"),
            ("http://[::1]:9080", Ok((false, "::1", 9080, "")), "an address in brackets"),
            ("https://ops.example/larder/", Ok((true, "ops.example", 443, "/larder")), "below a path"),
            ("https://ops.example/a/b", Ok((true, "ops.example", 443, "/a/b")), "below two"),
            ("127.0.0.1:9080", Err("must begin with http://"), "an address alone"),
            ("localhost", Err("must begin with http://"), "a name alone"),
            ("ftp://edge-1", Err("must begin with http://"), "another scheme"),
            ("", Err("no URL"), "nothing"),
            ("/path", Err("no URL"), "a path alone"),
            ("http://", Err("no URL"), "no host"),
            ("http://edge-1:99999", Err("no number from 1"), "a port that there is not"),
            ("http://edge-1:0", Err("no number from 1"), "nobody listens on port 0"),
            ("http://ops:hush@edge-1", Err("--token"), "a password"),
            ("http://edge-1/?a=b", Err("no `?`"), "a query"),
            ("http://edge-1/#a", Err("no URL"), "a fragment"),
        ];
        for (text, want, why) in cases {
            let url = text.parse::<AdminUrl>();
            match (&url, want) {
                (Ok(url), Ok(want)) => {
                    assert_eq!((url.https, url.host.as_str(), url.port, url.base.as_str()), want, "{text}: {why}");
                }
                (Err(said), Err(words)) => assert!(said.contains(words), "{text}: {why}: {said}"),
                _ => panic!("{text}: {why}: {url:?}"),
            }
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::from("hush".to_owned());
        assert_eq!(token.authorization().expect("a value").expect("one"), "Bearer hush");
        assert!(!format!("{token:?} {:?}", token.authorization()).contains("hush"));
        assert!(Token::from(String::new()).authorization().expect("no value").is_none(), "an empty one is none");
        let broken = Token::from("hu\nsh".to_owned()).authorization().expect_err("a line break");
        assert!(!format!("{broken} {broken:?}").contains("sh\""), "{broken:?}");
    }
}
