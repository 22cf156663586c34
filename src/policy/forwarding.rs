//! Which methods and fields does nobody pass on, and which only for those that are trusted?

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, Method};
use smallvec::SmallVec;

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What only who has verified a client's certificate may say, and that is us: not even a trusted proxy is believed, which
/// may pass on what it does not know.
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// The same in RFC 9440's words. We do not write them; a trusted proxy that speaks TLS in our place may.
const CLIENT_CERTS: [HeaderName; 2] =
    [HeaderName::from_static("client-cert"), HeaderName::from_static("client-cert-chain")];

/// Fields that make some frameworks route or act by another URL or method than the one in the key, whoever sends
/// them; and `Proxy`, which CGI programs take for their own setting (CVE-2016-5385).
const NEVER: [HeaderName; 8] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-override-url"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("proxy"),
];

/// Whether requests of this method are let in. CONNECT would make us a tunnel to anywhere; TRACE would show a script what
/// we add for the origin's eyes, and so would TRACK, which some servers have for it.
pub fn is_let_in(method: &Method) -> bool {
    !matches!(*method, Method::CONNECT | Method::TRACE) && method.as_str() != "TRACK"
}

/// Removes what only a trusted proxy may say: an origin that reads it must never read an attacker's.
pub fn drop_untrusted(headers: &mut HeaderMap) {
    headers.remove(FORWARDED);
    drop_all(headers, |name| name.as_str().starts_with("x-forwarded") || CLIENT_CERTS.contains(name));
}

/// Removes what goes on from nobody. The request's id goes out from where it is kept; `X-Real-IP` says less than the
/// chain that is extended; what is said of the client's certificate is said anew.
pub fn drop_unwanted(headers: &mut HeaderMap) {
    headers.remove(X_REQUEST_ID);
    headers.remove(X_REAL_IP);
    headers.remove(CLIENT_CERT);
    drop_all(headers, |name| NEVER.iter().any(|never| never == name));
}

/// Removes the fields of such names. Most requests have none: nothing is collected for them.
fn drop_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let unwanted: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| is_unwanted(name)).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}
