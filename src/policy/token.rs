//! Does a request carry the operator's token?

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

const FASTLY_KEY: HeaderName = HeaderName::from_static("fastly-key");

/// Whether `Authorization: Bearer TOKEN` or `Fastly-Key: TOKEN` carries `token`. An empty token is carried by nobody.
///
/// RFC 6750 §2.1; the second is what plug-ins for Fastly send.
pub fn is_carried(headers: &HeaderMap, token: &str) -> bool {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
    });
    let key = headers.get(FASTLY_KEY).map(|value| value.as_bytes().trim_ascii());
    !token.is_empty() && [bearer, key].into_iter().flatten().any(|given| is_same(given, token.as_bytes()))
}

/// Compares in a time that depends on the length of `given` alone: how much of a guess was right must not be measurable.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let mut difference = u8::from(given.len() != token.len());
    for (place, byte) in given.iter().enumerate() {
        // The optimiser must not find a way out of the loop.
        difference |= std::hint::black_box(byte ^ token[place % token.len()]);
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_whole_token_counts() {
        let cases: [(&str, &'static str, &'static str, bool, &str); 12] = [
            ("abc", "authorization", "Bearer abc", true, "the token"),
            ("abc", "authorization", "bearer  abc", true, "schemes have no case"),
            ("abc", "fastly-key", "abc", true, "as plug-ins send it"),
            ("abc", "authorization", "Bearer ab", false, "a beginning"),
            ("abc", "authorization", "Bearer abcabc", false, "twice"),
            ("abc", "authorization", "Bearer abd", false, "another"),
            ("abc", "authorization", "Bearer ", false, "none"),
            ("abc", "authorization", "Bear", false, "no scheme"),
            ("abc", "authorization", "Basic abc", false, "another scheme"),
            ("abc", "x-other", "abc", false, "another field"),
            ("", "authorization", "Bearer ", false, "an empty token authorises nobody"),
            ("", "fastly-key", "", false, "nor here"),
        ];
        for (token, name, value, want, why) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_carried(&headers, token), want, "{why}");
        }
        assert!(!is_carried(&HeaderMap::new(), "abc"), "nothing carried");
    }
}
