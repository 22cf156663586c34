//! Which requests are so plain that they can be answered where they are read?
//!
//! Most hits are: a GET that came whole, without a body, on a connection that stays or ends with it. It is looked at
//! where it was read, and the handler answers out of memory. Whatever is not just so, and whatever is in doubt, goes the long way
//! as if nobody had looked at it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use httparse::Header;

use super::connection::Facts;
use super::trust::{self, Believed};
use super::{Door, Handler};
use crate::client::{Plain, Scheme, as_map};
use crate::policy::target;

/// Fields of a plain request. Browsers send a dozen or two.
pub(crate) const MAX_FIELDS: usize = 32;

/// A GET without a body, as it was read.
pub(crate) struct Question<'a> {
    /// Whom it names, once.
    pub(crate) host: &'a [u8],
    pub(crate) target: &'a str,
    pub(crate) fields: &'a [Header<'a>],
    /// The size of its head, as `server.max_header_bytes` counts it.
    pub(crate) length: usize,
    pub(crate) received: Instant,
    /// The largest body that there is room for.
    pub(crate) room: usize,
    /// It wants its connection to end with the answer.
    pub(crate) is_last: bool,
    /// Its protocol lets fields follow a body.
    pub(crate) takes_trailers: bool,
}

/// What one connection's plain requests have in common.
pub(crate) struct Express<H> {
    door: Arc<Door<H>>,
    facts: Facts,
    /// The last `Host` as it came, and as it is meant under which scheme.
    host: Vec<u8>,
    authority: String,
    scheme: Scheme,
}

impl<H: Handler> Express<H> {
    pub(crate) fn new(door: Arc<Door<H>>, facts: Facts) -> Self {
        let scheme = facts.scheme;
        Self { door, facts, host: Vec::new(), authority: String::new(), scheme }
    }

    /// Answers, if the question is plain: adds to `answer`; the body where it is not behind the head there. `None`: it is not
    /// for us, and nothing was added.
    pub(crate) fn answer(&mut self, question: &Question<'_>, answer: &mut Vec<u8>) -> Option<Bytes> {
        let &Question { host, target, fields, length, received, room, is_last, takes_trailers } = question;
        let server = self.door.settings.load();
        let mut has_wishes = false;
        for field in fields {
            match Word::of(field) {
                Word::Nothing => {}
                Word::Wish => has_wishes = true,
                Word::More => return None,
            }
        }
        if length > server.max_header_bytes || !target::is_plain(target.as_bytes()) {
            return None;
        }
        let (peer, connection) = (self.facts.ends.peer.ip(), self.facts.scheme);
        let is_trusted = trust::trusts(&server.trusted_proxies, peer);
        let believed = if is_trusted {
            Believed::of_proxy(&as_map(fields, trust::tells), peer, connection, &server.trusted_proxies)
        } else {
            Believed::of_connection(peer, connection)
        };
        if !self.knows(host, believed.scheme) {
            return None;
        }
        let Believed { address, scheme, ref request_id } = believed;
        let (authority, request_id) = (self.authority.as_str(), request_id.as_ref());
        let plain = Plain {
            address,
            scheme,
            is_trusted,
            request_id,
            authority,
            target,
            fields,
            has_wishes,
            received,
            room,
            is_last,
            takes_trailers,
        };
        let before = answer.len();
        let answered = catch_unwind(AssertUnwindSafe(|| self.door.handler.at_once(&plain, answer)));
        let answered = answered.unwrap_or_else(|_| {
            self.door.telemetry.metrics().panics.inc();
            None
        });
        if answered.is_none() {
            answer.truncate(before);
        }
        answered
    }

    /// Whether `host` is valid; remembers whom it means.
    fn knows(&mut self, host: &[u8], scheme: Scheme) -> bool {
        if host != self.host || scheme != self.scheme {
            let Some(authority) = target::authority(host, scheme.default_port()) else { return false };
            let Ok(authority) = String::from_utf8(authority.into_vec()) else { return false };
            (self.host, self.authority, self.scheme) = (host.to_vec(), authority, scheme);
        }
        !self.host.is_empty()
    }
}

/// Whether a field asks for the connection's end. RFC 9112 §9.6.
pub(crate) fn is_close(field: &Header<'_>) -> bool {
    field.name.eq_ignore_ascii_case("connection") && field.value.eq_ignore_ascii_case(b"close")
}

/// What a field says of a request.
enum Word {
    /// Nothing that counts before it is known what is stored.
    Nothing,
    /// One of [`WISHES`](crate::client::WISHES).
    Wish,
    /// It is more than a plain question.
    More,
}

impl Word {
    /// By length first: most fields are compared with no name at all.
    fn of(field: &Header<'_>) -> Self {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            2 if is("te") => Self::More,
            5 if is("range") => Self::Wish,
            // `Connection: close` takes a field of that name off.
            5 if is("close") => Self::More,
            6 if is("expect") => Self::More,
            7 if is("upgrade") || is("trailer") => Self::More,
            8 if is("if-range") => Self::Wish,
            8 if is("if-match") => Self::More,
            10 if is("connection") && !field.value.eq_ignore_ascii_case(b"keep-alive") && !is_close(field) => {
                Self::More
            }
            13 if is("if-none-match") => Self::Wish,
            13 if is("authorization") => Self::More,
            14 if is("content-length") => Self::More,
            17 if is("if-modified-since") => Self::Wish,
            17 if is("transfer-encoding") => Self::More,
            19 if is("if-unmodified-since") => Self::More,
            _ => Self::Nothing,
        }
    }
}
