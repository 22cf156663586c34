//! What would be done with a request? `GET /explain`.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Office;
use super::query::Query;
use super::reply::Fault;
use crate::serve::explain::{self, Question};
use crate::wire::explain::Explanation;

/// Reads the question, and has it explained. No origin is asked, and nothing changes.
pub(super) async fn explanation(office: &Office, query: &Query) -> Result<Explanation, Fault> {
    explain::explain(&office.shared, &question(query)?).await.map_err(Fault::bad)
}

fn question(query: &Query) -> Result<Question, Fault> {
    let url = query.value("url").filter(|url| !url.is_empty());
    let url = url.ok_or_else(|| Fault::bad("url is missing: the absolute URL of the request, percent-encoded"))?;
    let method = query.value("method").unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Fault::bad(format!("method is a word such as GET, and not {method:?}")))?;
    let headers = query.values("header").map(field).collect::<Result<HeaderMap, _>>()?;
    Ok(Question { method, url: url.to_owned(), headers })
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), Fault> {
    let field = line.split_once(':').and_then(|(name, value)| {
        let value = HeaderValue::from_bytes(value.trim_ascii().as_bytes()).ok()?;
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
    });
    field.ok_or_else(|| Fault::bad(format!("header is a field such as accept-language:de, and not {line:?}")))
}

#[cfg(test)]
mod tests {
    use super::super::table::{Page, ROUTES, View};
    use super::*;

    fn read(text: &str) -> Result<Question, Fault> {
        let route = ROUTES.iter().find(|route| route.page == Page::View(View::Explain)).expect("it is in the table");
        question(&Query::read(Some(text), route.parameters.expect("it knows some"))?)
    }

    #[test]
    fn a_question_is_a_request() {
        let asked = read("url=http://a/x&header=accept:+text/html&header=Cookie:a%3D1&header=cookie:b=2&method=HEAD");
        let asked = asked.expect("a question");
        assert_eq!((asked.method, asked.url.as_str()), (Method::HEAD, "http://a/x"));
        let lines: Vec<_> = asked.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(lines, [("accept", &b"text/html"[..]), ("cookie", b"a=1"), ("cookie", b"b=2")]);
        assert_eq!(read("url=http://a/x").expect("a question").method, Method::GET);
    }

    #[test]
    fn what_is_none_is_refused() {
        let cases = [
            ("", "url is missing"),
            ("url=", "url is missing"),
            ("url=http://a/&method=", "method is a word"),
            ("url=http://a/&method=G%20T", "method is a word"),
            ("url=http://a/&header=accept", "header is a field"),
            ("url=http://a/&header=:x", "header is a field"),
            ("url=http://a/&header=a+b:x", "header is a field"),
            ("url=http://a/&header=a:x%0d%0ab:y", "header is a field"),
            ("url=http://a/&headers=a:b", "did you mean header?"),
        ];
        for (text, says) in cases {
            let fault = format!("{:?}", read(text).expect_err(says));
            assert!(fault.contains(says), "{text}: {fault}");
        }
    }
}
