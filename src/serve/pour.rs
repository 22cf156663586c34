//! The body of a fill: from the origin's connection to the readers, and into the cache when it is complete.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use super::Shared;
use super::failure::Failure;
use crate::body::shared::Writer;
use crate::body::stored::StoredBody;
use crate::cache::entry::{Entry, Head, Part};
use crate::cache::flight::Lead;
use crate::cache::memory::Reservation;
use crate::origin::OriginBody;
use crate::policy::key::Key;
use crate::policy::reuse::Standing;

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
}

impl Pour<'_> {
    /// Pours `body` into `writer`, and stores the response once it is complete.
    pub(super) async fn run(&self, mut writer: Writer, mut body: OriginBody) {
        let mut reservation = self.shared.memory.reserve();
        // What a stored part contributes is held as well.
        let mut storing = self.still_fits(&mut reservation, writer.written());
        if !storing {
            self.give_up_storing(&mut writer);
        }
        let mut trailers = None;
        while let Some(frame) = body.frame().await {
            let data = match frame.map(Frame::into_data) {
                Err(error) => return writer.fail(error),
                Ok(Err(frame)) => {
                    trailers = frame.into_trailers().ok();
                    continue;
                }
                Ok(Ok(data)) => data,
            };
            if storing && !self.still_fits(&mut reservation, data.len() as u64) {
                storing = false;
                self.give_up_storing(&mut writer);
            }
            if storing && body.is_end_stream() {
                return self.finish(writer, data, None);
            }
            if !storing && !writer.room().await {
                return;
            }
            writer.push(data);
        }
        if storing {
            self.finish(writer, Bytes::new(), trailers);
        } else {
            writer.finish(trailers);
        }
    }

    fn still_fits(&self, reservation: &mut Reservation, bytes: u64) -> bool {
        reservation.bytes() + bytes <= self.shared.memory.max_object() && reservation.grow(bytes)
    }

    /// Too large to be stored: from here on it streams, and nobody joins any more.
    fn give_up_storing(&self, writer: &mut Writer) {
        if let Some(lead) = self.lead {
            lead.leave_board();
        }
        writer.keep_window_only();
    }

    /// Stores the response, then shows its readers the end: whoever asks again afterwards finds it.
    fn finish(&self, mut writer: Writer, last: Bytes, trailers: Option<HeaderMap>) {
        let body = writer.seal(last);
        self.store(body);
        if let Some(lead) = self.lead {
            lead.leave_board();
        }
        writer.finish(trailers);
    }

    fn store(&self, body: StoredBody) {
        // A purge that came while the body did: stamp and compare.
        if self.head.standing(&self.shared.ledger) == Standing::Dead {
            return;
        }
        let mut head = self.head.clone();
        if has_content(head.status) {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let entry = Arc::new(Entry::new(head, body, self.part));
        self.shared.metrics.stores.inc();
        let memory = &self.shared.memory;
        if entry.part.is_some() {
            return memory.put_part(self.key, &entry, self.shared.clock.now());
        }
        // The new response may select on other fields than the one it replaces.
        if let Some(replaced) = self.replaced {
            memory.remove_entry(self.key, replaced);
        }
        memory.put(self.key, entry);
    }
}

fn has_content(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}
