//! Is this an authority that looks whether the host is ours? Then it is shown that, and nobody else is asked.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Response};

use super::Answered;
use crate::acme::tokens::Tokens;
use crate::body::response::ResponseBody;
use crate::client::Client;
use crate::policy::outcome::{Detail, Outcome};
use crate::policy::treatment::Treatment;
use crate::respond::head;

/// What an authority gets to see; `None`: the request is none of one, or none that we know of: the origin may have asked
/// for a certificate itself.
///
/// RFC 8555 §8.3.
pub(super) fn answer(tokens: &Tokens, method: &Method, target: &PathAndQuery, client: &Client) -> Option<Answered> {
    let shown = tokens.find(&client.authority, target.path())?;
    if *method != Method::GET && *method != Method::HEAD {
        return None;
    }
    let outcome = Outcome::refused(Detail::AcmeChallenge);
    let mut response = Box::new(Response::new(ResponseBody::full(shown.as_bytes().to_vec())));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head::finish(fields, Some(0), &outcome, &Treatment::default());
    Some((response, outcome))
}
