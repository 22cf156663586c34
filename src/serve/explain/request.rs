//! What is left of the request that is asked about, once it has been let in? As of an untrusted client over HTTP/1.1.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONNECTION, EXPECT, HOST, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::Question;
use crate::client::{Client, RequestId, Scheme};
use crate::policy::{forwarding, hop, naming, target};

/// A request as `serve` would get it, or why it would not.
pub(super) enum Read {
    /// It is let in.
    Clean(Box<Clean>),
    /// It is refused at the door, with this status.
    Turned(StatusCode, &'static str),
}

/// A clean request.
pub(super) struct Clean {
    pub(super) parts: Parts,
    pub(super) target: PathAndQuery,
    pub(super) client: Client,
    pub(super) has_body: bool,
    /// Names of fields that do not count, since they are not passed on.
    pub(super) dropped: Vec<String>,
}

/// Reads the question as a listener would read the request.
///
/// # Errors
///
/// The URL is none that a client could use, and what to write instead.
pub(super) fn read(question: &Question) -> Result<Read, String> {
    let bad = |reason| Ok(Read::Turned(StatusCode::BAD_REQUEST, reason));
    if !forwarding::is_let_in(&question.method) {
        return Ok(Read::Turned(StatusCode::METHOD_NOT_ALLOWED, "the method is not allowed here"));
    }
    if let Some((status, reason)) = target_fault(&question.url) {
        return Ok(Read::Turned(status, reason));
    }
    let url = naming::url(&question.url).map_err(|fault| fault.to_string())?;
    let scheme = if url.scheme == "https" { Scheme::Https } else { Scheme::Http };
    let Ok(target) = PathAndQuery::try_from(url.target) else { return bad("the target is not a path") };
    let authority = match host_of(&question.headers, scheme, url.authority) {
        Ok(authority) => authority,
        Err(reason) => return bad(reason),
    };
    if hop::names_protected_field(&question.headers) {
        return bad("Connection names a field that is meant for everybody");
    }
    let has_body = hop::announces_body(&question.headers);
    let mut parts = Request::new(()).into_parts().0;
    parts.method = question.method.clone();
    parts.headers = question.headers.clone();
    clean(&mut parts.headers);
    let dropped = question.headers.keys().filter(|name| !parts.headers.contains_key(*name));
    let dropped = dropped.map(ToString::to_string).collect();
    Ok(Read::Clean(Box::new(Clean { parts, target, client: client(scheme, authority.into()), has_body, dropped })))
}

/// Why the path and query would be refused, where they can be sent at all: nobody sends a fragment.
fn target_fault(url: &str) -> Option<(StatusCode, &'static str)> {
    let (_, rest) = url.split_once("://").filter(|_| !url.contains('#'))?;
    let target = PathAndQuery::try_from(&rest[rest.find('/')?..]).ok()?;
    if target::is_too_long(&target) {
        return Some((StatusCode::URI_TOO_LONG, "the target is too long"));
    }
    target::path_fault(&target).map(|reason| (StatusCode::BAD_REQUEST, reason))
}

/// The host that the request names: with a `Host` of its own, that one, as a client's `-H 'Host: …'` would send it.
fn host_of(headers: &HeaderMap, scheme: Scheme, of_url: String) -> Result<String, &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(of_url),
        (Some(_), Some(_)) => Err("more than one Host"),
        (Some(host), None) => target::authority(host.as_bytes(), scheme.default_port())
            .and_then(|host| String::from_utf8(host.into_vec()).ok())
            .ok_or("Host is not a valid host"),
    }
}

/// Takes off what is about the client's connection, and what nobody believes an untrusted client.
fn clean(headers: &mut HeaderMap) {
    headers.remove(HOST);
    headers.remove(EXPECT);
    forwarding::drop_untrusted(headers);
    forwarding::drop_unwanted(headers);
    let upgrade = hop::upgrade(headers);
    hop::strip(headers);
    for protocol in upgrade.into_iter().flatten() {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.append(UPGRADE, protocol);
    }
    hop::join_cookies(headers);
}

/// Somebody of whom nothing is known.
fn client(scheme: Scheme, authority: Arc<str>) -> Client {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    Client {
        peer: nowhere,
        local: nowhere,
        address: nowhere.ip(),
        scheme,
        authority,
        certificate: None,
        request_id: RequestId::Made(0),
        received: Instant::now(),
        interim: None,
    }
}
