//! Who may ask the admin listener?
//!
//! With a token set: whoever carries it. Without one the listener is on loopback, and open to the machine's users;
//! but a browser of theirs runs pages of anybody's, and those must not purge.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, StatusCode};

use super::reply::Fault;
use crate::policy::scope::host_of;
use crate::policy::token;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a request with these fields may ask for more than the probes. An empty token asks no question.
///
/// # Errors
///
/// 401, before anything is told: what exists is not told either.
pub(super) fn admit(headers: &HeaderMap, token: &str) -> Result<(), Fault> {
    if token.is_empty() || token::is_carried(headers, token) { Ok(()) } else { Err(Fault::unauthorized()) }
}

/// Whether a request that changes something comes from where it may, on a listener without a token.
///
/// Browsers send `Origin` with every POST of a page (Fetch §3.2), so nothing but a browser is refused here. A page
/// of another site is told by `Sec-Fetch-Site` or by an `Origin` that is not `Host`; one whose name was made to point
/// at this machine (DNS rebinding) by a `Host` that is a name: ours are addresses and `localhost`.
///
/// # Errors
///
/// 403. Whoever wants to purge from pages sets `admin.token`, which no browser sends by itself.
pub(super) fn guard_from_pages(headers: &HeaderMap, token: &str) -> Result<(), Fault> {
    if !token.is_empty() {
        return Ok(());
    }
    let site = headers.get(SEC_FETCH_SITE).map(http::HeaderValue::as_bytes);
    let is_foreign_site = matches!(site, Some(b"cross-site" | b"same-site"));
    let is_foreign_origin = headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes(), headers));
    if is_foreign_site || is_foreign_origin {
        let reason = "a page of another site may not do this: set admin.token, and send it, to allow it";
        return Err(Fault::new(StatusCode::FORBIDDEN, reason));
    }
    Ok(())
}

/// Whether an `Origin` is the listener's own: what `Host` names, by address or as `localhost`.
fn is_own(origin: &[u8], headers: &HeaderMap) -> bool {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let Some(host) = headers.get(HOST).and_then(|host| text(host.as_bytes())) else { return false };
    let Some((_, authority)) = text(origin).and_then(|origin| origin.split_once("://")) else { return false };
    let name = host_of(host).trim_start_matches('[').trim_end_matches(']');
    authority.eq_ignore_ascii_case(host) && (name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_other_sites_change_nothing() {
        type Lines = &'static [(&'static str, &'static str)];
        let cases: [(&str, Lines, bool, &str); 12] = [
            ("", &[("host", "127.0.0.1:9080")], true, "no browser"),
            ("", &[("host", "anything")], true, "no browser, whatever it calls us"),
            ("", &[("host", "127.0.0.1:9080"), ("origin", "http://127.0.0.1:9080")], true, "our own page"),
            ("", &[("host", "localhost:9080"), ("origin", "http://LOCALHOST:9080")], true, "names have no case"),
            ("", &[("host", "[::1]:9080"), ("origin", "http://[::1]:9080")], true, "IPv6"),
            ("", &[("host", "127.0.0.1:9080"), ("origin", "http://127.0.0.1:3000")], false, "another port"),
            ("", &[("host", "127.0.0.1:9080"), ("origin", "null")], false, "a sandboxed page"),
            ("", &[("host", "evil.test:9080"), ("origin", "http://evil.test:9080")], false, "DNS rebinding"),
            ("", &[("origin", "http://127.0.0.1:9080")], false, "nothing to compare with"),
            ("", &[("host", "localhost:9080"), ("sec-fetch-site", "same-site")], false, "another port of this machine"),
            ("", &[("host", "127.0.0.1:9080"), ("sec-fetch-site", "cross-site")], false, "another site"),
            ("s3cret", &[("host", "a"), ("origin", "http://b")], true, "no browser sends the token by itself"),
        ];
        for (token, lines, want, why) in cases {
            let headers: HeaderMap = lines
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(guard_from_pages(&headers, token).is_ok(), want, "{why}");
        }
    }
}
