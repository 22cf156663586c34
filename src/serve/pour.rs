//! The body of a fill: from the origin's connection to the readers, and into the cache when it is complete.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use super::failure::Failure;
use super::{Shared, elsewhere};
use crate::body::BoxError;
use crate::body::shared::Writer;
use crate::body::stored::StoredBody;
use crate::cache::entry::{Entry, Head, Part};
use crate::cache::flight::Lead;
use crate::cache::memory::Reservation;
use crate::cache::tier::Extent;
use crate::cache::variants::Marks;
use crate::fleet::lease::Lease;
use crate::origin::OriginBody;
use crate::policy::key::Key;
use crate::policy::outcome::Detail;
use crate::policy::reuse::{Standing, UNSHAREABLE_FOR};

/// How long a fill goes on after its head when nobody reads.
const UNREAD: Duration = Duration::from_mins(10);

/// What a body is poured for.
pub(super) struct Pour<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) key: &'a Key,
    /// The flight that others may still join.
    pub(super) lead: Option<&'a Lead<Failure>>,
    /// The stored response in whose place this one comes.
    pub(super) replaced: Option<&'a Arc<Entry>>,
    /// The head of the response.
    pub(super) head: &'a Head,
    /// Which part of the representation it is.
    pub(super) part: Option<Part>,
    /// How many bytes it says that there are, where it is a part or is completed by one.
    pub(super) length: Option<u64>,
}

/// A part whose bytes are not those that its `Content-Range` names. RFC 9110 §15.3.7.
#[derive(Debug, thiserror::Error)]
#[error("the part has {found} bytes or more, and says that it has {stated}")]
struct WrongLength {
    found: u64,
    stated: u64,
}

impl Pour<'_> {
    /// Pours `body` into `writer`, and stores the response once it is complete.
    ///
    /// `lease`: for which other nodes wait until it is stored, or cannot be.
    pub(super) async fn run(&self, mut writer: Writer, mut body: OriginBody, mut lease: Option<Lease>) {
        let mut reservation = self.shared.memory.reserve();
        // What a stored part contributes is held as well.
        let mut storing = self.still_fits(&mut reservation, writer.written());
        if !storing {
            self.give_up_storing(&mut writer);
            lease = None;
        }
        let mut trailers = None;
        while let Some(frame) = self.next(&writer, &mut body).await {
            let data = match frame.map(Frame::into_data) {
                Err(error) => return self.fail(writer, error),
                Ok(Err(frame)) => {
                    trailers = frame.into_trailers().ok();
                    continue;
                }
                Ok(Ok(data)) => data,
            };
            let found = writer.written() + data.len() as u64;
            if let Some(stated) = self.length.filter(|stated| found > *stated) {
                return self.fail(writer, WrongLength { found, stated });
            }
            if storing && !self.still_fits(&mut reservation, data.len() as u64) {
                storing = false;
                self.give_up_storing(&mut writer);
                lease = None;
            }
            if storing && body.is_end_stream() {
                return self.finish(writer, (data, None), reservation, lease);
            }
            if !storing {
                if !writer.room().await {
                    return;
                }
                reservation.shrink_to(writer.kept());
            }
            writer.push(data);
        }
        if storing {
            self.finish(writer, (Bytes::new(), trailers), reservation, lease);
        } else {
            writer.finish(trailers, ());
        }
    }

    /// The next piece from the origin. A body that nobody reads must end within a bounded time to be stored: one byte
    /// a minute would keep its connection for years.
    async fn next(&self, writer: &Writer, body: &mut OriginBody) -> Option<Result<Frame<Bytes>, BoxError>> {
        if writer.has_readers() || self.shared.clock.now().since(self.head.received_at) < UNREAD {
            return body.frame().await;
        }
        Some(Err("nobody reads this response, and it does not end".into()))
    }

    fn still_fits(&self, reservation: &mut Reservation, bytes: u64) -> bool {
        reservation.bytes() + bytes <= self.shared.memory.max_object() && reservation.grow(bytes)
    }

    /// Too large to be stored: from here on it streams, and nobody joins any more.
    fn give_up_storing(&self, writer: &mut Writer) {
        self.leave_board();
        if writer.written() >= self.shared.memory.max_object() / 2 {
            // The next ones need not share a window either.
            let until = self.shared.clock.now().plus(UNSHAREABLE_FOR);
            self.shared.memory.mark_unshareable(self.key, Marks::for_everybody(until, Detail::TooLarge));
        }
        writer.keep_window_only();
    }

    fn leave_board(&self) {
        if let Some(lead) = self.lead {
            lead.leave_board();
        }
    }

    /// Breaks the body off for everybody who reads; whoever comes now asks anew.
    fn fail(&self, writer: Writer, error: impl Into<BoxError>) {
        self.leave_board();
        writer.fail(error);
    }

    /// Stores the response, then shows its readers the end: whoever asks again afterwards finds it.
    fn finish(
        &self,
        mut writer: Writer,
        (last, trailers): (Bytes, Option<HeaderMap>),
        reservation: Reservation,
        lease: Option<Lease>,
    ) {
        let body = writer.seal(last);
        let found = body.len();
        // A part that is shorter than it says is a shorter part; a whole that is, is none.
        if let Some(stated) = self.length.filter(|stated| self.part.is_none() && found != *stated) {
            return self.fail(writer, WrongLength { found, stated });
        }
        self.store(body, lease);
        self.leave_board();
        writer.finish(trailers, reservation);
    }

    fn store(&self, body: StoredBody, lease: Option<Lease>) {
        // A purge that came while the body did: stamp and compare.
        if self.head.standing(&self.shared.ledger) == Standing::Dead {
            return;
        }
        let mut head = self.head.clone();
        if has_content(head.status) {
            head.state_length(body.len());
        }
        let entry = Arc::new(Entry::new(head, body, self.part));
        self.shared.metrics.stores.inc();
        let memory = &self.shared.memory;
        if entry.part().is_some() {
            let standing = |stored: &Entry| stored.standing(&self.shared.ledger);
            return memory.put_part(&entry, self.shared.clock.now(), standing);
        }
        // The new response may select on other fields than the one it replaces.
        memory.put(Arc::clone(&entry), self.replaced);
        elsewhere::store(self.shared, self.key, &entry, Extent::Whole, lease);
    }
}

fn has_content(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}
