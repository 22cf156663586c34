//! A response of the origin goes to one client as it came, and nowhere else.

use http::header::AGE;
use http::{HeaderMap, HeaderValue, Method};

use super::inquiry::Inquiry;
use crate::body::response::{BoxResponse, ResponseBody, response};
use crate::origin::Answer;
use crate::policy::directives::CDN_CACHE_CONTROL;
use crate::policy::outcome::Outcome;
use crate::respond::head;

/// The origin's response, with what we add to every answer.
pub(super) fn respond(answer: Answer, inquiry: &Inquiry, outcome: &Outcome) -> BoxResponse {
    let mut headers = answer.headers;
    if !inquiry.site.expose_hidden {
        let hidden = take_hidden(&mut headers, inquiry);
        // What kept us from storing it must keep a cache further down from it, too: without its `private`, that cache
        // would go by a `Cache-Control` that was not meant for caches like us. RFC 9213 §3.
        for value in hidden.get_all(&CDN_CACHE_CONTROL) {
            headers.append(CDN_CACHE_CONTROL, value.clone());
        }
    }
    // Nothing of it was stored here: what an upstream cache said of its age stands, else it is new.
    headers.entry(AGE).or_insert(HeaderValue::from_static("0"));
    head::finish(&mut headers, None, outcome, inquiry.treatment());
    let body = match answer.body.into_whole() {
        _ if inquiry.method == Method::HEAD => ResponseBody::empty(),
        Ok(whole) => ResponseBody::full(whole),
        Err(coming) => ResponseBody::stream(coming),
    };
    response(answer.status, headers, body)
}

/// Takes the fields out that are meant for caches, and gives them.
pub(super) fn take_hidden(headers: &mut HeaderMap, inquiry: &Inquiry) -> HeaderMap {
    head::take_hidden(headers, &inquiry.site.tag_headers)
}
