//! Which stored responses does a successful unsafe request make invalid?

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};
use smallvec::SmallVec;

/// Longest `Location` or `Content-Location` that is followed: longer than any target that we would accept.
const MAX_REFERENCE: usize = 8192;

/// A target whose stored responses are invalid, of every method and variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Host and port, as in the request's key.
    pub authority: String,
    /// Path and query, before any normalisation by rules.
    pub target: String,
}

/// Whether a method may change something: every one that is not known to be safe.
///
/// RFC 9110 §9.2.1; RFC 9111 §4.4: "including methods whose safety is unknown".
pub fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// The targets that an answer to a request makes invalid: none, or the request's own and those that `Location` and
/// `Content-Location` name on the same origin.
///
/// `scheme`, `authority`, `target`: the request's, as in its key. What is malformed, on another origin, or longer than
/// 8 KiB is left out.
///
/// RFC 9111 §4.4.
pub fn targets(
    method: &Method,
    status: StatusCode,
    scheme: &str,
    authority: &str,
    target: &str,
    response: &HeaderMap,
) -> SmallVec<[Target; 2]> {
    let mut targets = SmallVec::new();
    // "A 'non-error response' is one with a 2xx (Successful) or 3xx (Redirection) status code."
    if !is_unsafe(method) || !(status.is_success() || status.is_redirection()) {
        return targets;
    }
    targets.push(Target { authority: authority.to_owned(), target: target.to_owned() });
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        let reference = response.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let Some(named) = reference.and_then(|reference| resolve(reference.trim(), scheme, authority, target)) else {
            continue;
        };
        if targets.iter().all(|known: &Target| known.target != named) {
            targets.push(Target { authority: authority.to_owned(), target: named });
        }
    }
    targets
}

/// Whether `Content-Location` in the answer to a request names the request's own target, so that the answer stands for
/// what a `GET` of it would give.
///
/// RFC 9110 §6.4.2; RFC 9111 §3 and RFC 9110 §9.3.3, for answers to `POST`.
pub fn is_about_target(scheme: &str, authority: &str, target: &str, response: &HeaderMap) -> bool {
    let mut lines = response.get_all(header::CONTENT_LOCATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return false };
    std::str::from_utf8(line.as_bytes())
        .ok()
        .and_then(|reference| resolve(reference.trim(), scheme, authority, target))
        .is_some_and(|named| named == target)
}

/// Path and query of a reference, where it is on the same origin; `None`: it is not, or it is malformed.
///
/// RFC 3986 §5.2.2. The authority is as in a key: in lower case, without the default port.
fn resolve(reference: &str, scheme: &str, authority: &str, target: &str) -> Option<String> {
    if reference.len() > MAX_REFERENCE || reference.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
        return None;
    }
    let reference = reference.split_once('#').map_or(reference, |(before, _)| before);
    let relative = match reference.split_once(':') {
        // A colon after a slash or a question mark belongs to the path or the query.
        Some((given, rest)) if !given.contains(['/', '?']) => {
            if !given.eq_ignore_ascii_case(scheme) {
                return None;
            }
            // `http:path`, without an authority, is no reference to a page anywhere (RFC 9110 §4.2.1).
            rest.starts_with("//").then_some(rest)?
        }
        _ => reference,
    };
    let (path, query) = divide(relative);
    let (base_path, base_query) = divide(target);
    if let Some(with_authority) = relative.strip_prefix("//") {
        let end = with_authority.find(['/', '?']).unwrap_or(with_authority.len());
        let (host, target) = with_authority.split_at(end);
        if !is_same_authority(host, scheme, authority) {
            return None;
        }
        let (path, query) = divide(target);
        return Some(with_query(without_dots(if path.is_empty() { "/" } else { path }), query));
    }
    if path.is_empty() {
        return Some(with_query(base_path.to_owned(), query.or(base_query)));
    }
    if path.starts_with('/') {
        return Some(with_query(without_dots(path), query));
    }
    let directory = base_path.rfind('/').map_or("/", |slash| &base_path[..=slash]);
    Some(with_query(without_dots(&format!("{directory}{path}")), query))
}

fn divide(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

fn with_query(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// Whether a reference's host and port are the request's. Letter case and the scheme's default port do not count; a
/// user does: nobody but an attacker writes one here.
fn is_same_authority(host: &str, scheme: &str, authority: &str) -> bool {
    let default = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let without_port = |host: &str| {
        let text = host.strip_suffix(default).or_else(|| host.strip_suffix(':')).unwrap_or(host);
        text.to_ascii_lowercase()
    };
    !host.is_empty() && without_port(host) == without_port(authority)
}

/// Takes `.` and `..` out of a path that begins with a slash. RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
        // A path that ends in a dot segment names a directory.
        if segments.peek().is_none() && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    let mut path = String::with_capacity(path.len());
    for segment in kept {
        path.push('/');
        path.push_str(segment);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    type Lines = &'static [(&'static str, &'static str)];

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn methods_are_unsafe_unless_known_to_be_safe() {
        for (method, want) in [
            ("GET", false),
            ("HEAD", false),
            ("OPTIONS", false),
            ("TRACE", false),
            ("POST", true),
            ("PUT", true),
            ("DELETE", true),
            ("PATCH", true),
            ("M-SEARCH", true),
            ("get", true),
        ] {
            assert_eq!(is_unsafe(&Method::from_bytes(method.as_bytes()).unwrap()), want, "{method}");
        }
    }

    #[test]
    fn only_a_successful_unsafe_request_invalidates() {
        let cases: [(&str, u16, Lines, &[&str], &str); 9] = [
            ("POST", 200, &[], &["/a?b"], "the target itself"),
            ("M-SEARCH", 204, &[], &["/a?b"], "an unknown method"),
            ("PUT", 302, &[], &["/a?b"], "a redirection is no error"),
            ("POST", 400, &[("location", "/c")], &[], "an error of the client"),
            ("POST", 500, &[("location", "/c")], &[], "an error of the origin"),
            ("GET", 200, &[("location", "/c")], &[], "a safe method"),
            ("POST", 201, &[("location", "/c"), ("content-location", "/d")], &["/a?b", "/c", "/d"], "both"),
            ("POST", 201, &[("location", "/c"), ("content-location", "/c")], &["/a?b", "/c"], "each once"),
            (
                "POST",
                201,
                &[("location", "/a?b"), ("content-location", "http://b.test/c")],
                &["/a?b"],
                "same origin only",
            ),
        ];
        for (method, status, response, want, why) in cases {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            let got = targets(&method, status, "http", "a.test", "/a?b", &fields(response));
            assert!(got.iter().all(|target| target.authority == "a.test"), "{why}");
            assert_eq!(got.iter().map(|target| target.target.as_str()).collect::<Vec<_>>(), want, "{why}");
        }
    }

    #[test]
    fn references_are_resolved_against_the_target_and_stay_on_its_origin() {
        let cases = [
            ("http://a.test/x?y", Some("/x?y"), "absolute"),
            ("HTTP://A.Test:80/x", Some("/x"), "letter case, default port"),
            ("http://a.test:/x", Some("/x"), "an empty port"),
            ("http://a.test", Some("/"), "no path"),
            ("http://a.test?y", Some("/?y"), "no path, a query"),
            ("http://a.test/x/../y/./z", Some("/y/z"), "dot segments"),
            ("//a.test/x", Some("/x"), "without the scheme"),
            ("/x#part", Some("/x"), "no fragment"),
            ("/x/..", Some("/"), "to the directory"),
            ("/../../x", Some("/x"), "not above the root"),
            ("/x?y/../z", Some("/x?y/../z"), "dots in the query are dots"),
            ("c", Some("/d/c"), "beside the target"),
            ("c:d/e", None, "a scheme of its own"),
            ("./c:d", Some("/d/c:d"), "a colon after a slash"),
            ("../c", Some("/c"), "above"),
            ("?z", Some("/d/e?z"), "another query"),
            ("", Some("/d/e?q"), "the target itself"),
            ("#part", Some("/d/e?q"), "the target itself"),
            ("https://a.test/x", None, "another scheme"),
            ("http://b.test/x", None, "another host"),
            ("http://a.test:8080/x", None, "another port"),
            ("http://a.test:443/x", None, "not this scheme's default port"),
            ("//b.test/x", None, "another host"),
            ("http://user@a.test/x", None, "a user"),
            ("http:///x", None, "no host"),
            ("http:x", None, "no authority"),
            ("mailto:a@a.test", None, "no page"),
            ("/a b", None, "a space"),
            ("\\\\b.test/x", None, "no slash"),
        ];
        for (reference, want, why) in cases {
            assert_eq!(resolve(reference, "http", "a.test", "/d/e?q").as_deref(), want, "{reference}: {why}");
        }
        assert_eq!(resolve("https://a.test:443/x", "https", "a.test", "/").as_deref(), Some("/x"), "its default port");
        assert_eq!(resolve("http://a.test:81/x", "http", "a.test:81", "/").as_deref(), Some("/x"), "its own port");
        assert_eq!(resolve("http://[::1]/x", "http", "[::1]", "/").as_deref(), Some("/x"), "an address");
        assert_eq!(resolve(&"a".repeat(MAX_REFERENCE + 1), "http", "a.test", "/"), None, "too long");
    }

    #[test]
    fn an_answer_is_about_its_target_when_content_location_says_so() {
        let cases: [(Lines, bool, &str); 5] = [
            (&[("content-location", "http://a.test/d?q")], true, "absolute"),
            (&[("content-location", "/d?q")], true, "relative"),
            (&[("content-location", "/d")], false, "another"),
            (&[("content-location", "/d?q"), ("content-location", "/d?q")], false, "two"),
            (&[("location", "/d?q")], false, "another field"),
        ];
        for (response, want, why) in cases {
            assert_eq!(is_about_target("http", "a.test", "/d?q", &fields(response)), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_named_has_no_dot_segments(reference in "[a/.?:#]{0,12}", target in "/[a/]{0,5}") {
            if let Some(target) = resolve(&reference, "http", "a.test", &target) {
                prop_assert!(target.starts_with('/'));
                let path = target.split('?').next().unwrap();
                prop_assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{}", target);
            }
        }

        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let response = HeaderMap::from_iter([(header::LOCATION, value)]);
                prop_assert!(targets(&Method::POST, StatusCode::OK, "http", "a.test", "/", &response).len() <= 2);
            }
        }
    }
}
