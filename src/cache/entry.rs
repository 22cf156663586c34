//! What is kept of a response: head, body, deadlines, the request fields that selected it, and its stamp.

use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, DATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::fields::{RareFields, StoredFields};
use super::ledger::{Ledger, Stamp};
use super::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::body::stored::StoredBody;
use crate::policy::fields::Fields as _;
use crate::policy::freshness::Freshness;
use crate::policy::range;
use crate::policy::reuse::Standing;
use crate::policy::scope::Labels;
use crate::policy::time::{Micros, Timestamp};
use crate::policy::vary::Selecting;

/// Bytes that an entry costs beyond its fields, its names and its body: itself, and what the allocator rounds up.
const OVERHEAD: u64 = 256;

/// A stored response: a head, its body, and what is known of its use. Trailers go to those who read the body as it
/// arrives, and are not kept (RFC 9110 §6.5.1 lets a recipient discard them).
#[derive(Debug)]
pub struct Entry {
    /// All but the body.
    pub head: Head,
    /// The body, or the part of it that is stored.
    pub body: StoredBody,
    /// Which part of the representation the body is. Few are one: those pay for it.
    pub(super) part: Option<Box<Part>>,
    /// The ledger's revision at which it was last found alive; zero: never looked at.
    alive_at: AtomicU64,
    /// How often it answered.
    hits: AtomicU32,
    /// Whether its fields can be sent as they are kept: they state a date and a length, and no age.
    is_ready: bool,
}

/// A stored response without its body: what is known once the origin's head has come.
#[derive(Debug, Clone)]
pub struct Head {
    /// The status, as it came.
    pub status: StatusCode,
    /// The fields that clients get, as they came, those of a connection and `Age` removed.
    pub headers: StoredFields,
    /// The fields meant for caches (tags, targeted cache control); kept for a later 304, not sent on.
    pub hidden: RareFields,
    /// The request fields that selected this variant.
    pub selecting: Selecting,
    /// Its age and its deadlines.
    pub freshness: Freshness,
    /// When it was received.
    pub received_at: Timestamp,
    /// How long the origin took: what an early refresh spares a client.
    pub fetch_cost: Micros,
    /// The names by which purges know it: its URL and its tags.
    pub labels: Labels,
    /// What was known of purges when its fetch began.
    pub stamp: Stamp,
}

impl Head {
    /// How it stands with the purges that `ledger` knows.
    pub fn standing(&self, ledger: &Ledger) -> Standing {
        ledger.standing(&self.labels, self.stamp)
    }

    /// Whether it is the more recent one of two responses to the same request: the one that was asked for with more
    /// purges known, or, where both knew the same, that was received later.
    pub fn is_later_than(&self, other: &Self) -> bool {
        // Of two eras neither is known to be the later one.
        let numbers = if self.stamp.era == other.stamp.era { (self.stamp.number, other.stamp.number) } else { (0, 0) };
        (numbers.0, self.received_at) > (numbers.1, other.received_at)
    }

    /// Every field that came, those meant for caches included.
    pub fn all_fields(&self) -> HeaderMap {
        let mut all = self.headers.to_map();
        all.extend(self.hidden.to_map());
        all
    }

    /// States the body's length, where the origin did not.
    pub fn state_length(&mut self, length: u64) {
        if self.headers.only(&CONTENT_LENGTH) == Some(itoa::Buffer::new().format(length).as_bytes()) {
            return;
        }
        self.headers.change(|headers| _ = headers.insert(CONTENT_LENGTH, HeaderValue::from(length)));
    }
}

/// Which part of a representation is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The offset of its first byte.
    pub first: u64,
    /// The length of the whole, where it is known.
    pub complete: Option<u64>,
}

impl Entry {
    /// A stored response, not looked at yet.
    pub fn new(mut head: Head, body: StoredBody, part: Option<Part>) -> Self {
        head.headers.share(head.labels.url());
        let is_ready = states_all_but_age(&head.headers);
        Self { head, body, part: part.map(Box::new), alive_at: AtomicU64::new(0), hits: AtomicU32::new(0), is_ready }
    }

    /// Which part of the representation the body is; `None`: all of it.
    pub fn part(&self) -> Option<Part> {
        self.part.as_deref().copied()
    }

    /// How it stands with the purges that `ledger` knows, and with those that it has no word of. One comparison, while
    /// nothing new is known; where a log is followed, a look at the clock besides.
    pub fn standing(&self, ledger: &Ledger) -> Standing {
        match self.standing_by_purges(ledger) {
            Standing::Alive if !ledger.is_heard() => Standing::Unheard,
            // A hard purge may have come unheard: what a soft one leaves to it is not used unasked either.
            Standing::Stale { .. } if !ledger.is_heard() => Standing::Stale { since: Timestamp::EPOCH },
            standing => standing,
        }
    }

    fn standing_by_purges(&self, ledger: &Ledger) -> Standing {
        // Read before the scopes are: a purge that comes in between makes it another one, and is looked for next time.
        let revision = ledger.revision();
        // Relaxed: whoever stored this number had seen all that belongs to it, and nothing else is read by it.
        if self.alive_at.load(Ordering::Relaxed) == revision {
            return Standing::Alive;
        }
        let standing = self.head.standing(ledger);
        if standing == Standing::Alive {
            self.alive_at.store(revision, Ordering::Relaxed);
        }
        standing
    }

    /// Whether its fields can be sent as they are kept, with nothing but an age and what we say of ourselves besides.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether the same request fields select both.
    pub fn selects_like(&self, other: &Self) -> bool {
        self.head.selecting == other.head.selecting
    }

    /// Counts an answer.
    pub fn count_hit(&self) {
        // Begins anew after four billion: a number to look at.
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it answered, since it was stored or last freshened.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed).into()
    }

    /// The length of the whole representation, as far as it is known.
    pub fn complete_length(&self) -> u64 {
        match self.part() {
            None => self.body.len(),
            Some(part) => part.complete.unwrap_or(part.first + self.body.len()),
        }
    }

    /// Bytes of memory that it costs: body, fields, selecting fields, labels, overhead.
    pub fn weight(&self) -> u64 {
        let head = &self.head;
        let lines = head.headers.own_length() + head.hidden.as_bytes().len();
        let names = head.selecting.weight() + head.labels.weight();
        OVERHEAD + self.body.len() + self.body.pieces().len() as u64 * 32 + (lines + names) as u64
    }

    /// This part and a newer one of the same representation as one, where they touch. RFC 9111 §3.4.
    pub fn joined(&self, newer: &Self) -> Option<Self> {
        let (old, new) = (self.part()?, newer.part()?);
        let (old_end, new_end) = (old.first + self.body.len(), new.first + newer.body.len());
        let touch = old.first <= new_end && new.first <= old_end;
        let same = old.complete.is_some() && old.complete == new.complete;
        if !touch || !same || !range::may_combine(&self.head.headers, &newer.head.headers) {
            return None;
        }
        let mut pieces = Vec::new();
        if old.first < new.first {
            pieces.extend_from_slice(self.body.slice(0..new.first - old.first).pieces());
        }
        pieces.extend_from_slice(newer.body.pieces());
        if old_end > new_end {
            pieces.extend_from_slice(self.body.slice(new_end - old.first..self.body.len()).pieces());
        }
        let body = StoredBody::from_pieces(pieces);
        let part = Part { first: old.first.min(new.first), complete: new.complete };
        let is_whole = part.first == 0 && part.complete == Some(body.len());
        let mut head = newer.head.clone();
        head.labels = head.labels.with_tags_of(&self.head.labels);
        head.stamp = self.head.stamp.older(newer.head.stamp);
        if is_whole {
            head.status = StatusCode::OK;
            head.headers.change(|headers| _ = headers.remove(CONTENT_RANGE));
        }
        head.state_length(body.len());
        Some(Self::new(head, body, (!is_whole).then_some(part)))
    }
}

/// Whether fields state a date and a length, and no age.
fn states_all_but_age(fields: &StoredFields) -> bool {
    let (mut dates, mut lengths, mut ages) = (false, false, false);
    for line in fields.iter() {
        dates |= line.name == DATE.as_str().as_bytes();
        lengths |= line.name == CONTENT_LENGTH.as_str().as_bytes();
        ages |= line.name == AGE.as_str().as_bytes();
    }
    dates && lengths && !ages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_response_beside_its_bytes_stays_small() {
        // With its two reference counts it fills a size of the allocator's; one word more takes 32 bytes more.
        assert_eq!(size_of::<Entry>() + 2 * size_of::<usize>(), 192);
    }
}
