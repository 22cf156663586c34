//! How is a stored response found in Redis, and when is what is found not believed?

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use redis::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::name;
use super::oddity::Oddity;
use super::queue::Evidence;
use crate::cache::codec::{self, Decoded};
use crate::cache::entry::Entry;
use crate::link::{Link, LinkError};
use crate::policy::key::Key;
use crate::policy::vary::Selecting;

/// Chunks that are asked for at once: 1 MiB. A longer answer would hold up all others on the connection.
const BATCH: usize = 4;

/// What answers on their way may take together, in KiB: they are held before anybody knows whether they are sound. Beyond
/// it one more look-up is a miss. 128 MiB are 512 look-ups at once: half of that is more than a Redis in good health has.
pub(super) const ROOM: usize = 128 << 10;

/// What a look-up takes of it at first: the head, and one chunk.
const FIRST: u32 = 256;

/// Why a look-up gave nothing, other than that nothing is there.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Redis could not be asked, or not in time.
    Unreachable,
    /// What is there cannot be used, and is to be deleted.
    Odd {
        /// Its name.
        name: String,
        /// What is odd about it.
        oddity: Oddity,
        /// By what it is known again.
        evidence: Evidence,
    },
}

/// One look-up, all of which ends at one moment.
#[derive(Debug)]
pub(super) struct LookUp<'a> {
    /// For heads, and what comes with them.
    pub(super) link: &'a Link,
    /// For the rest of large bodies: on the same connection they would hold up the heads of all others.
    pub(super) bodies: &'a Link,
    /// Room for answers on their way, in KiB.
    pub(super) room: &'a Semaphore,
    pub(super) namespace: &'a str,
    pub(super) max_body: u64,
    pub(super) until: Instant,
}

/// A hash that has a head.
struct Found {
    name: String,
    head: Vec<u8>,
    chunk: Option<Vec<u8>>,
}

impl Found {
    fn odd(&self, oddity: impl Into<Oddity>) -> Trouble {
        odd(&self.name, oddity, Evidence::Field("h", Some(self.head.clone())))
    }
}

fn odd(name: &str, oddity: impl Into<Oddity>, evidence: Evidence) -> Trouble {
    Trouble::Odd { name: name.to_owned(), oddity: oddity.into(), evidence }
}

impl LookUp<'_> {
    /// The response that is stored under `key` for a request with these fields.
    pub(super) async fn find(&self, key: &Key, request: &HeaderMap) -> Result<Option<Entry>, Trouble> {
        let _room = self.room.try_acquire_many(FIRST).map_err(|_| Trouble::Unreachable)?;
        let primary = name::primary(self.namespace, key);
        let [head, chunk, names] = self.read(&primary, ["h", "0", "v"]).await?;
        match (found(&primary, head, chunk)?, names) {
            (None, None) => Ok(None),
            (Some(found), None) => self.rebuild(key, request, found).await,
            (Some(found), Some(_)) => Err(found.odd(Oddity::Contradiction)),
            (None, Some(names)) => {
                let selected_by = codec::decode_names(key, &names);
                let selected_by = selected_by.map_err(|flaw| odd(&primary, flaw, Evidence::Field("v", Some(names))))?;
                let variant = name::variant(&primary, &Selecting::by(selected_by, request));
                let [head, chunk] = self.read(&variant, ["h", "0"]).await?;
                match found(&variant, head, chunk)? {
                    Some(found) => self.rebuild(key, request, found).await,
                    None => Ok(None),
                }
            }
        }
    }

    /// The response of a hash; `None`: a later one has taken its place meanwhile.
    async fn rebuild(&self, key: &Key, request: &HeaderMap, mut found: Found) -> Result<Option<Entry>, Trouble> {
        let decoded = codec::decode(key, &found.head, self.max_body).map_err(|flaw| found.odd(flaw))?;
        let is_primary = found.name.ends_with('}');
        let selecting = &decoded.head.selecting;
        // One at a primary name answers everybody: nothing else may have brought us there.
        let is_in_place =
            is_primary == (*selecting == Selecting::Any) && selecting.matches(request, &decoded.head.headers);
        if !is_in_place {
            return Err(found.odd(Oddity::Misplaced));
        }
        let Some(chunks) = self.chunks(&mut found, &decoded).await? else { return Ok(None) };
        decoded.with_body(chunks).map(Some).map_err(|flaw| found.odd(flaw))
    }

    /// The chunks of the body, as far as they are there; `None`: the head has become another one meanwhile.
    async fn chunks(&self, found: &mut Found, decoded: &Decoded) -> Result<Option<Vec<Bytes>>, Trouble> {
        // Only what the head tells of, so that it can be checked: nothing, where the body is empty.
        let wanted = decoded.chunks();
        let _room = match wanted {
            0 | 1 => None,
            _ => Some(self.room.try_acquire_many(kibibytes(wanted)).map_err(|_| Trouble::Unreachable)?),
        };
        let mut chunks: Vec<Bytes> = found.chunk.take().filter(|_| wanted > 0).map(exact).into_iter().collect();
        while !chunks.is_empty() && chunks.len() < wanted {
            let batch = chunks.len()..wanted.min(chunks.len() + BATCH);
            let mut fields = vec!["h".to_owned()];
            fields.extend(batch.map(|index| index.to_string()));
            let mut values = self.ask(self.bodies, &found.name, &fields).await?.into_iter();
            if values.next().flatten().as_deref() != Some(&*found.head) {
                return Ok(None);
            }
            let before = chunks.len();
            chunks.extend(values.map_while(|value| value.map(exact)));
            if chunks.len() - before < fields.len() - 1 {
                break;
            }
        }
        Ok(Some(chunks))
    }

    async fn read<const N: usize>(&self, name: &str, fields: [&str; N]) -> Result<[Option<Vec<u8>>; N], Trouble> {
        let values = self.ask(self.link, name, &fields).await?;
        <[_; N]>::try_from(values).map_err(|_| Trouble::Unreachable)
    }

    /// The values of these fields of a hash, in order.
    async fn ask(&self, link: &Link, name: &str, fields: &[impl AsRef<str>]) -> Result<Vec<Option<Vec<u8>>>, Trouble> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(Trouble::Unreachable);
        }
        let mut command = redis::cmd("HMGET");
        command.arg(name);
        for field in fields {
            command.arg(field.as_ref());
        }
        match link.call(&command, left).await {
            Ok(Value::Array(values)) if values.len() == fields.len() => values.into_iter().map(bulk).collect(),
            Err(LinkError::Refused(error)) if error.code() == Some("WRONGTYPE") => {
                Err(odd(name, Oddity::WrongType, Evidence::NoHash))
            }
            // An answer of another form is none of Redis.
            Ok(_) | Err(_) => Err(Trouble::Unreachable),
        }
    }
}

fn found(name: &str, head: Option<Vec<u8>>, chunk: Option<Vec<u8>>) -> Result<Option<Found>, Trouble> {
    match (head, chunk) {
        (Some(head), chunk) => Ok(Some(Found { name: name.to_owned(), head, chunk })),
        (None, Some(_)) => Err(odd(name, Oddity::Headless, Evidence::Field("h", None))),
        (None, None) => Ok(None),
    }
}

/// What so many chunks take; of a body that is larger than all the room there is, half of that: a few at a time have it.
fn kibibytes(chunks: usize) -> u32 {
    u32::try_from((chunks * codec::CHUNK).div_ceil(1024).min(ROOM / 2)).unwrap_or(u32::MAX)
}

fn bulk(value: Value) -> Result<Option<Vec<u8>>, Trouble> {
    match value {
        Value::BulkString(bytes) => Ok(Some(bytes)),
        Value::Nil => Ok(None),
        _ => Err(Trouble::Unreachable),
    }
}

/// The same bytes in memory of exact size: they are counted as such.
fn exact(bytes: Vec<u8>) -> Bytes {
    bytes.into_boxed_slice().into()
}
