//! Which purged prefixes does a URL begin with?
//!
//! A look-up for each length that a purged prefix has, up to that of the URL: purges name few lengths.

use super::marks::{Mark, Marks};
use crate::cache::sync::atomic::{AtomicU64, Ordering};

/// The longest prefix: as long as the longest URL, 16 KiB of target behind scheme and authority.
const MAX_LENGTH: usize = (16 << 10) + 512;

const BITS: usize = u64::BITS as usize;

#[derive(Debug)]
pub(super) struct Prefixes {
    marks: Marks,
    /// One bit for each length that a name has, or had.
    lengths: Box<[AtomicU64]>,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { marks: Marks::default(), lengths: (0..=MAX_LENGTH / BITS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Prefixes {
    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Adds a mark; gives the bytes that it took. What is longer than any URL names nothing.
    pub(super) fn add(&self, prefix: &[u8], mark: Mark) -> usize {
        let Some(word) = self.lengths.get(prefix.len() / BITS) else { return 0 };
        word.fetch_or(1 << (prefix.len() % BITS), Ordering::Release);
        self.marks.add(prefix, mark)
    }

    /// The marks of the prefixes that `url` begins with, the shortest first.
    pub(super) fn of<'a>(&self, url: &'a [u8]) -> impl Iterator<Item = (&'a [u8], Mark)> {
        let words = self.lengths.iter().take(url.len() / BITS + 1).enumerate();
        let lengths = words.flat_map(|(index, word)| {
            let mut bits = word.load(Ordering::Acquire);
            std::iter::from_fn(move || {
                let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(index * BITS + lowest)
            })
        });
        lengths.filter_map(|length| {
            let prefix = url.get(..length)?;
            Some((prefix, self.marks.get(prefix)?))
        })
    }
}
