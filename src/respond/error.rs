//! What does a client get when we answer with an error of our own?

use http::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::cache_status;
use super::head::VIA_LARDER;
use crate::body::response::{BoxResponse, ResponseBody};
use crate::policy::outcome::Outcome;

/// When to come back after a 503. Longer than it takes to notice that an origin has recovered.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Why we answer ourselves.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The status of the answer.
    pub status: StatusCode,
    /// The error type of RFC 9209 §2.3 (`http_request_error`, `connection_refused` …).
    pub error: &'static str,
    /// One sentence for people; without secrets, it goes to the client.
    pub reason: &'a str,
    /// For `Cache-Status`.
    pub outcome: Outcome,
}

/// The whole response to a request with these fields: small, never stored by anybody, JSON where `Accept` prefers it.
pub fn error(problem: &Problem<'_>, request: &HeaderMap) -> BoxResponse {
    let json = prefers_json(request);
    let text = if json { json_text(problem) } else { plain_text(problem) };
    let mut response = Box::new(Response::new(ResponseBody::full(text)));
    *response.status_mut() = problem.status;
    let headers = response.headers_mut();
    let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(AGE, HeaderValue::from_static("0"));
    headers.insert(VIA, VIA_LARDER);
    headers.insert(PROXY_STATUS, proxy_status(problem));
    headers.insert(cache_status::NAME, cache_status::value(&problem.outcome));
    if problem.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

/// The `Proxy-Status` field: `larder; error=…; details="…"`. RFC 9209 §2.
fn proxy_status(problem: &Problem<'_>) -> HeaderValue {
    let mut text = format!("larder; error={}; details=\"", problem.error);
    for character in problem.reason.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            // A string of RFC 9651 §3.3.3 holds nothing else.
            _ => text.push('?'),
        }
    }
    text.push('"');
    HeaderValue::try_from(text).expect("visible ASCII is a field value")
}

fn plain_text(problem: &Problem<'_>) -> String {
    format!("{} {}\n", problem.status, problem.reason)
}

fn json_text(problem: &Problem<'_>) -> String {
    let object = serde_json::json!({
        "status": problem.status.as_u16(),
        "error": problem.error,
        "reason": problem.reason,
    });
    format!("{object}\n")
}

/// How well a form suits the client: quality in thousandths, whether it was named rather than matched by a wildcard,
/// and how early it stands.
type Preference = (u16, bool, std::cmp::Reverse<usize>);

/// Whether `Accept` prefers `application/json` to `text/plain` and `text/html`.
///
/// The higher quality wins; then what is named wins over what a wildcard covers; then what stands first. Anything
/// malformed does not count. RFC 9110 §12.5.1.
fn prefers_json(request: &HeaderMap) -> bool {
    let (mut json, mut text): (Option<Preference>, Option<Preference>) = (None, None);
    let values = request.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for (position, range) in values.flat_map(|value| value.split(',')).enumerate() {
        let mut parts = range.split(';').map(str::trim);
        let Some(name) = parts.next() else { continue };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let Some(quality) = quality.map_or(Some(1000), thousandths) else { continue };
        let place = std::cmp::Reverse(position);
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("application/json") || is("application/problem+json") {
            json = json.max(Some((quality, true, place)));
        } else if is("text/plain") || is("text/html") {
            text = text.max(Some((quality, true, place)));
        } else if is("application/*") {
            json = json.max(Some((quality, false, place)));
        } else if is("text/*") {
            text = text.max(Some((quality, false, place)));
        } else if is("*/*") {
            json = json.or(Some((quality, false, place)));
            text = text.or(Some((quality, false, place)));
        }
    }
    json.filter(|json| json.0 > 0) > text
}

/// A quality value in thousandths: `1`, `0.5`, `0.125`. RFC 9110 §12.4.2.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::policy::outcome::Detail;

    fn accept(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (ACCEPT, HeaderValue::from_static(line))).collect()
    }

    fn problem(status: StatusCode) -> Problem<'static> {
        let outcome = Outcome::refused(Detail::BadRequest);
        Problem { status, error: "http_request_error", reason: "the Host is \"wrong\"", outcome }
    }

    #[test]
    fn json_is_sent_only_where_it_is_preferred() {
        let cases: [(&[&'static str], bool, &str); 14] = [
            (&[], false, "nothing asked for"),
            (&["*/*"], false, "a tie by wildcard is text"),
            (&["application/json"], true, "asked for"),
            (&["application/json, */*"], true, "named beats covered"),
            (&["application/json, text/plain, */*"], true, "a tie goes to the first"),
            (&["text/plain, application/json"], false, "a tie goes to the first, the other way round"),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], false, "a browser"),
            (&["text/html;q=0.5, application/json;q=0.6"], true, "the higher quality"),
            (&["text/html;q=0.5", "application/json;q=0.6"], true, "over two lines"),
            (&["application/json;q=0"], false, "refused"),
            (&["application/json;q=2, text/html;q=0.1"], false, "a quality beyond one does not count"),
            (&["application/json;q=nan"], false, "nor one that is no number"),
            (&["Application/JSON ; Q=0.300, text/*;q=0.299"], true, "case, spaces, three decimals"),
            (&[";;,,=,q=1"], false, "garbage"),
        ];
        for (lines, want, why) in cases {
            assert_eq!(prefers_json(&accept(lines)), want, "{why}: {lines:?}");
        }
    }

    #[tokio::test]
    async fn an_error_says_why_and_is_never_stored() {
        let response = error(&problem(StatusCode::BAD_REQUEST), &accept(&["application/json"]));
        assert_eq!(response.status(), 400);
        let headers = response.headers().clone();
        assert_eq!((&headers["cache-control"], &headers["age"]), (&"no-store".parse().unwrap(), &"0".parse().unwrap()));
        assert_eq!(headers["cache-status"], "larder; detail=bad-request");
        assert_eq!(headers["proxy-status"], "larder; error=http_request_error; details=\"the Host is \\\"wrong\\\"\"");
        assert_eq!(
            (headers.get("retry-after"), &headers["content-type"]),
            (None, &"application/json".parse().unwrap())
        );
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        let object: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
        assert_eq!(object["reason"], "the Host is \"wrong\"");
    }

    #[tokio::test]
    async fn a_503_says_when_to_come_back() {
        let response = error(&problem(StatusCode::SERVICE_UNAVAILABLE), &HeaderMap::new());
        assert_eq!(response.headers()["retry-after"], "5");
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, "503 Service Unavailable the Host is \"wrong\"\n");
    }

    #[test]
    fn a_reason_never_breaks_the_field() {
        let odd = Problem { reason: "line\r\nx: y \u{e4} \\", ..problem(StatusCode::BAD_GATEWAY) };
        assert_eq!(proxy_status(&odd), "larder; error=http_request_error; details=\"line??x: y ? \\\\\"");
    }
}
