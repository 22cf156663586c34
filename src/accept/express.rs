//! Which requests are so plain that they can be answered where they are read?
//!
//! Most hits are: a GET that came whole, without a body, ranges or a word about its connection. Its bytes are looked
//! at in place, and the handler answers out of memory; the library never hears of it. Whatever is not just so, and whatever
//! is in doubt, the library reads as if nobody had looked before it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use httparse::{EMPTY_HEADER, Header, Request, Status};

use super::connection::Facts;
use super::{Door, Handler};
use crate::client::Plain;
use crate::policy::target;
use crate::respond::written::Written;

/// Fields of a plain request. Browsers send a dozen or two.
const MAX_FIELDS: usize = 32;

/// What one connection's plain requests have in common.
pub(crate) struct Express<H> {
    door: Arc<Door<H>>,
    facts: Facts,
    /// The last `Host` as it came, and as it is meant.
    host: Vec<u8>,
    authority: String,
}

impl<H: Handler> Express<H> {
    pub(crate) fn new(door: Arc<Door<H>>, facts: Facts) -> Self {
        Self { door, facts, host: Vec::new(), authority: String::new() }
    }

    /// Answers the request that `bytes` begin with: how many of them it had, and the body where it is not behind the head in
    /// `answer`. `None`: it is not for us, and `answer` is empty.
    pub(crate) fn answer(&mut self, bytes: &[u8], answer: &mut Written) -> Option<(usize, Bytes)> {
        // Before anything else is asked: what is no GET, and what has no end, costs nothing here.
        if !bytes.starts_with(b"GET /") {
            return None;
        }
        let received = Instant::now();
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut request = Request::new(&mut fields);
        let Ok(Status::Complete(length)) = request.parse(bytes) else { return None };
        let head = &bytes[..length];
        let (target, fields) = (request.path?, &*request.headers);
        let server = self.door.settings.load();
        let address = self.facts.ends.peer.ip().to_canonical();
        let is_believed = server.trusted_proxies.iter().any(|network| network.contains(&address));
        let is_plain = request.version == Some(1)
            && length <= server.max_header_bytes
            && target::is_plain(target.as_bytes())
            && has_whole_lines(head)
            && !is_believed
            && !fields.iter().any(speaks_of_more);
        if !is_plain || !self.is_for_one_host(fields) {
            return None;
        }
        let (scheme, authority) = (self.facts.scheme, self.authority.as_str());
        let plain = Plain { address, scheme, authority, target, fields, received };
        let answered = catch_unwind(AssertUnwindSafe(|| self.door.handler.at_once(&plain, answer)));
        let answered = answered.unwrap_or_else(|_| {
            self.door.telemetry.metrics().panics.inc();
            None
        });
        if answered.is_none() {
            answer.clear();
        }
        Some((length, answered?))
    }

    /// Whether there is one `Host`, and it is valid; remembers whom it means.
    fn is_for_one_host(&mut self, fields: &[Header<'_>]) -> bool {
        let mut hosts = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("host"));
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        if host.value != self.host {
            let Some(authority) = target::authority(host.value, self.facts.scheme.default_port()) else { return false };
            let Ok(authority) = String::from_utf8(authority.into_vec()) else { return false };
            (self.host, self.authority) = (host.value.to_vec(), authority);
        }
        !self.host.is_empty()
    }
}

/// Whether each line ends with CR LF, as ours have to.
fn has_whole_lines(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

/// Whether a field says more of a request than that it is a plain question.
fn speaks_of_more(field: &Header<'_>) -> bool {
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    match field.name.len() {
        2 => is("te"),
        5 => is("range"),
        6 => is("expect"),
        7 => is("upgrade") || is("trailer"),
        8 => is("if-match") || is("if-range"),
        10 => is("connection") && !field.value.eq_ignore_ascii_case(b"keep-alive"),
        13 => is("authorization"),
        14 => is("content-length"),
        17 => is("transfer-encoding"),
        19 => is("if-unmodified-since"),
        _ => false,
    }
}
