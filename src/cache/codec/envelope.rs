//! What stands around a record: a version, and a checksum.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::flaw::{Flaw, Unfit};

/// The layout that is written, and the only one that is read. A record of another one is a miss, and is replaced.
const VERSION: u8 = 1;

/// Where the payload begins: behind the version and the checksum.
const PAYLOAD: usize = 1 + size_of::<u64>();

/// Bytes of a record at most. Heads have some kilobytes; without a limit, one would be decoded whatever its size.
pub const MAX_RECORD: usize = 1024 * 1024;

/// What a record is. The checksum depends on it: one kind never passes for the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// The head of a stored response.
    Head = 1,
    /// The names of selecting fields.
    Names = 2,
}

/// Writes a record down.
pub(super) fn seal(kind: Kind, record: &impl Serialize) -> Result<Vec<u8>, Unfit> {
    let mut start = Vec::with_capacity(1024);
    start.push(VERSION);
    start.extend_from_slice(&[0; size_of::<u64>()]);
    let mut sealed = postcard::to_extend(record, start).expect("the length of each list is known, and memory grows");
    if sealed.len() > MAX_RECORD {
        return Err(Unfit::TooLong);
    }
    let sum = checksum(kind, &sealed[PAYLOAD..]);
    sealed[1..PAYLOAD].copy_from_slice(&sum);
    Ok(sealed)
}

/// Reads a record.
pub(super) fn open<'a, T: Deserialize<'a>>(kind: Kind, sealed: &'a [u8]) -> Result<T, Flaw> {
    if sealed.len() > MAX_RECORD {
        return Err(Flaw::TooLong(sealed.len()));
    }
    let (&version, rest) = sealed.split_first().ok_or(Flaw::Truncated)?;
    if version != VERSION {
        return Err(Flaw::UnknownVersion(version));
    }
    let (sum, payload) = rest.split_first_chunk::<{ size_of::<u64>() }>().ok_or(Flaw::Truncated)?;
    if *sum != checksum(kind, payload) {
        return Err(Flaw::WrongChecksum);
    }
    match postcard::take_from_bytes(payload) {
        Ok((record, [])) => Ok(record),
        Err(postcard::Error::DeserializeUnexpectedEnd) => Err(Flaw::Truncated),
        // The one thing that our own reading of a record refuses.
        Err(postcard::Error::SerdeDeCustom) => Err(Flaw::TooManyMembers),
        Ok(_) | Err(_) => Err(Flaw::Malformed),
    }
}

fn checksum(kind: Kind, payload: &[u8]) -> [u8; size_of::<u64>()] {
    xxh3_64_with_seed(payload, kind as u64).to_le_bytes()
}

#[cfg(test)]
pub(super) mod forge {
    //! What somebody writes who knows the layout.

    use super::{Kind, Serialize, VERSION, checksum};

    /// A record with a checksum that is right, whatever its payload is.
    pub(in super::super) fn sealed(kind: Kind, payload: &[u8]) -> Vec<u8> {
        [&[VERSION][..], &checksum(kind, payload), payload].concat()
    }

    /// The same of something that has a form.
    pub(in super::super) fn record(kind: Kind, record: &impl Serialize) -> Vec<u8> {
        sealed(kind, &postcard::to_allocvec(record).expect("it has a form"))
    }
}
