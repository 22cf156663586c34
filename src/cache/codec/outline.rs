//! What must the body be that belongs to a head, and how is it cut?

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use super::flaw::Flaw;
use crate::body::stored::StoredBody;

/// Bytes of a chunk of a body. A smaller one needs no second look-up; larger ones would hold up what else waits on the
/// same connection.
pub const CHUNK: usize = 256 * 1024;

/// What tells one body from another: 128 bits over all of it.
pub type Digest = [u8; 16];

/// What a body is, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outline {
    length: u64,
    digest: Digest,
    /// The checksum of each chunk. They stand in the head, so that a chunk is stored as it is, and read without a copy.
    checksums: Vec<u64>,
}

impl Outline {
    /// The outline of the body that was cut into these chunks.
    pub(super) fn of(chunks: &[Bytes]) -> Self {
        Self {
            length: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            digest: digest(chunks),
            checksums: chunks.iter().map(|chunk| xxh3_64(chunk)).collect(),
        }
    }

    /// What a record claims of a body. It is taken only where it may be true.
    pub(super) fn claimed(length: u64, digest: Digest, checksums: Vec<u64>, max_body: u64) -> Result<Self, Flaw> {
        if length > max_body {
            return Err(Flaw::TooLarge { length, limit: max_body });
        }
        if length.div_ceil(CHUNK as u64) != checksums.len() as u64 {
            return Err(Flaw::Length);
        }
        Ok(Self { length, digest, checksums })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn checksums(&self) -> &[u64] {
        &self.checksums
    }

    pub(super) fn chunks(&self) -> usize {
        self.checksums.len()
    }

    /// Whether these chunks are the body.
    pub(super) fn check(&self, chunks: &[Bytes]) -> Result<(), Flaw> {
        let mut left = self.length;
        for (index, sum) in self.checksums.iter().enumerate() {
            let expected = left.min(CHUNK as u64);
            let is_right = |chunk: &&Bytes| chunk.len() as u64 == expected && xxh3_64(chunk) == *sum;
            chunks.get(index).filter(is_right).ok_or(Flaw::Chunk(index))?;
            left -= expected;
        }
        if chunks.len() != self.checksums.len() {
            return Err(Flaw::Chunk(self.checksums.len()));
        }
        // Chunks of two bodies whose checksums were put into one record still make another body.
        if digest(chunks) == self.digest { Ok(()) } else { Err(Flaw::WrongDigest) }
    }
}

/// Cuts a body into chunks, without a copy where a chunk lies in one piece.
pub(super) fn cut(body: &StoredBody) -> Vec<Bytes> {
    let chunk = |begin: u64| {
        let part = body.slice(begin..begin + CHUNK as u64);
        part.as_single().cloned().unwrap_or_else(|| part.pieces().concat().into())
    };
    (0..body.len()).step_by(CHUNK).map(chunk).collect()
}

fn digest(chunks: &[Bytes]) -> Digest {
    if let [chunk] = chunks {
        return xxh3_128(chunk).to_be_bytes();
    }
    let mut whole = Xxh3::new();
    for chunk in chunks {
        whole.update(chunk);
    }
    whole.digest128().to_be_bytes()
}
