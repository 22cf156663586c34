//! Which methods and fields does nobody pass on, and which only for those that are trusted?

use http::{HeaderMap, HeaderName, Method};
use smallvec::SmallVec;

/// Whether requests of this method are let in. CONNECT would make us a tunnel to anywhere; TRACE would show a script what
/// we add for the origin's eyes, and so would TRACK, which some servers have for it.
pub fn is_let_in(method: &Method) -> bool {
    !matches!(*method, Method::CONNECT | Method::TRACE) && method.as_str() != "TRACK"
}

/// Removes what only a trusted proxy may say: an origin that reads it must never read an attacker's.
///
/// A client's certificate in RFC 9440's words is among it. We do not write them; a trusted proxy that speaks TLS in our place
/// may.
pub fn drop_untrusted(headers: &mut HeaderMap) {
    drop_all(headers, |name| {
        name.starts_with("x-forwarded") || matches!(name, "forwarded" | "client-cert" | "client-cert-chain")
    });
}

/// Removes what goes on from nobody.
///
/// The request's id goes out from where it is kept; `X-Real-IP` says less than the chain that is extended. Our word for a
/// client's certificate is only for who has verified it, and that is us: not even a trusted proxy is believed, which may pass
/// on what it does not know. The others make some frameworks route or act by another URL or method than the one in the key,
/// whoever sends them; and CGI programs take `Proxy` for their own setting (CVE-2016-5385).
pub fn drop_unwanted(headers: &mut HeaderMap) {
    drop_all(headers, |name| {
        matches!(
            name,
            "proxy"
                | "x-forwarded-client-cert"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-original-uri"
                | "x-original-url"
                | "x-override-url"
                | "x-real-ip"
                | "x-request-id"
                | "x-rewrite-url"
        )
    });
}

/// Removes the fields of such names. By one look at each name: most requests have none of them, and nothing is collected.
fn drop_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    let unwanted: SmallVec<[HeaderName; 4]> =
        headers.keys().filter(|name| is_unwanted(name.as_str())).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(names: &[&'static str], drop: impl Fn(&mut HeaderMap)) -> Vec<String> {
        let mut headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), http::HeaderValue::from_static("x"))).collect();
        drop(&mut headers);
        names.iter().filter(|name| headers.contains_key(**name)).map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_not_passed_on_is_dropped_and_nothing_else() {
        let only_trusted = [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded-prefix",
            "x-forwarded",
            "x-forwarded-client-cert",
            "client-cert",
            "client-cert-chain",
        ];
        let nobody = [
            "x-request-id",
            "x-real-ip",
            "x-forwarded-client-cert",
            "x-original-url",
            "x-original-uri",
            "x-rewrite-url",
            "x-override-url",
            "x-http-method",
            "x-http-method-override",
            "x-method-override",
            "proxy",
        ];
        let others = ["accept", "client", "x-original", "proxy-status", "x-forward", "via"];
        assert_eq!(left(&[&only_trusted[..], &others].concat(), drop_untrusted), others);
        assert_eq!(left(&[&nobody[..], &others].concat(), drop_unwanted), others);
    }
}
