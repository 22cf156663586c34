//! How is a stored response written down for other nodes, and read again from bytes that nobody vouches for?
//!
//! A stored response is a head record, and the chunks of its body as they are. The record says which key it belongs to
//! and what the chunks must be; its first byte is a version, and a checksum covers the rest. Nothing here does I/O.

mod envelope;
mod flaw;
mod outline;
mod record;

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::HeaderName;

use self::envelope::Kind;
pub use self::envelope::MAX_RECORD;
pub use self::flaw::{Flaw, Unfit};
use self::outline::Outline;
pub use self::outline::{CHUNK, Digest};
use self::record::{List, Raw, Record};
use super::entry::{Entry, Head};
use crate::body::stored::StoredBody;
use crate::policy::key::{self, Key, Parts};
use crate::policy::vary::Selecting;

/// A stored response as it is written down.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The head record.
    pub head: Vec<u8>,
    /// What tells this body from any other.
    pub digest: Digest,
    /// The body in order: pieces of [`CHUNK`] bytes, the last one shorter; none where it is empty.
    pub chunks: Vec<Bytes>,
}

/// A head that was read, and what its body must be.
#[derive(Debug)]
pub struct Decoded {
    /// All but the body.
    pub head: Head,
    body: Outline,
}

impl Decoded {
    /// How many chunks the body has.
    pub fn chunks(&self) -> usize {
        self.body.chunks()
    }

    /// The stored response with this body: all its chunks, in order.
    ///
    /// # Errors
    ///
    /// They are not the ones that were written with the head.
    pub fn with_body(self, chunks: Vec<Bytes>) -> Result<Entry, Flaw> {
        self.body.check(&chunks)?;
        Ok(Entry::new(self.head, StoredBody::from_pieces(chunks), None))
    }
}

/// Writes down what is stored under `key`. The same is always written alike.
///
/// # Errors
///
/// It is nothing that other nodes may have, or could read.
pub fn encode(key: &Key, entry: &Entry) -> Result<Encoded, Unfit> {
    if entry.part().is_some() {
        return Err(Unfit::Part);
    }
    if entry.head.selecting.parts().any(|(name, _)| key::is_secret(name.as_str())) {
        return Err(Unfit::Secret);
    }
    let parts = key.parts().ok_or(Unfit::Key)?;
    let chunks = outline::cut(&entry.body);
    let body = Outline::of(&chunks);
    let identity = identity(key, &parts);
    let record = Record::of(&identity, &parts, &entry.head, &body)?;
    let head = envelope::seal(Kind::Head, &record)?;
    Ok(Encoded { head, digest: body.digest(), chunks })
}

/// Reads a head record that should belong to `key`, with a body of at most `max_body` bytes.
///
/// Takes memory in proportion to `bytes`, whatever they claim.
///
/// # Errors
///
/// It is none, or of something else, or what [`encode`] would never have written.
pub fn decode(key: &Key, bytes: &[u8], max_body: u64) -> Result<Decoded, Flaw> {
    let parts = key.parts().ok_or(Flaw::ForeignKey)?;
    let record: Record<'_> = envelope::open(Kind::Head, bytes)?;
    if record.key.0 != &*identity(key, &parts) {
        return Err(Flaw::ForeignKey);
    }
    let body = record.outline(max_body)?;
    Ok(Decoded { head: record.head(key, body.length())?, body })
}

/// Writes down by which request fields the responses under `key` are selected.
///
/// # Errors
///
/// The key is none of ours.
pub fn encode_names<'a>(key: &Key, names: impl IntoIterator<Item = &'a HeaderName>) -> Result<Vec<u8>, Unfit> {
    let parts = key.parts().ok_or(Unfit::Key)?;
    let identity = identity(key, &parts);
    let names: List<&str> = List(names.into_iter().map(HeaderName::as_str).collect());
    envelope::seal(Kind::Names, &(Raw(&identity), names))
}

/// Reads by which request fields the responses under `key` are selected: at least one, each once.
///
/// # Errors
///
/// The bytes are no such record, or one of another key.
pub fn decode_names(key: &Key, bytes: &[u8]) -> Result<Vec<HeaderName>, Flaw> {
    let parts = key.parts().ok_or(Flaw::ForeignKey)?;
    let (identity_found, names): (Raw<'_>, List<&str>) = envelope::open(Kind::Names, bytes)?;
    if identity_found.0 != &*identity(key, &parts) {
        return Err(Flaw::ForeignKey);
    }
    let names = names.0.into_iter().map(record::field_name).collect::<Result<Vec<_>, _>>()?;
    match Selecting::from_parts(names.iter().map(|name| (name.clone(), None))) {
        Some(Selecting::Fields(_)) => Ok(names),
        _ => Err(Flaw::Selecting),
    }
}

/// What stands in a record for its key: the key's bytes; where a client's secrets are part of them, their SHA-256, which
/// tells as well whether it is the same key, and nothing else.
fn identity<'a>(key: &'a Key, parts: &Parts) -> Cow<'a, [u8]> {
    if parts.hold_secrets() {
        Cow::Owned(digest(&SHA256, key.as_bytes()).as_ref().to_vec())
    } else {
        Cow::Borrowed(key.as_bytes())
    }
}

#[cfg(test)]
mod tests;
