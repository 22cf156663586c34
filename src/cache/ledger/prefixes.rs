//! Which purged prefixes does a URL begin with?
//!
//! A look-up for each length that a purged prefix has, up to that of the URL: purges name few lengths.

use super::marks::{Mark, Marks};
use crate::cache::sync::atomic::{AtomicU64, Ordering};

/// The longest prefix: as long as the longest URL, 16 KiB of target behind scheme and authority. Under Shuttle, where
/// each word is a place to switch threads at, one word does.
const MAX_LENGTH: usize = if cfg!(feature = "interleavings") { 63 } else { (16 << 10) + 512 };

const BITS: usize = u64::BITS as usize;

const WORDS: usize = MAX_LENGTH / BITS + 1;

#[derive(Debug)]
pub(super) struct Prefixes {
    marks: Marks,
    /// One bit for each length that a name has.
    lengths: Box<[AtomicU64]>,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { marks: Marks::default(), lengths: (0..WORDS).map(|_| AtomicU64::new(0)).collect() }
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

    /// Stops looking for lengths that no name has any more. For the writer, after names were forgotten: without it a
    /// ledger that once knew prefixes of every length would look for all of them for ever.
    pub(super) fn forget_lengths(&self) {
        let mut left = vec![0; WORDS];
        self.marks.each(|prefix, _| left[prefix.len() / BITS] |= 1 << (prefix.len() % BITS));
        for (word, left) in self.lengths.iter().zip(left) {
            // Whoever no longer sees a length sees what its names were folded into.
            word.store(left, Ordering::Release);
        }
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

    /// How many lengths are looked for.
    #[cfg(test)]
    pub(super) fn lengths(&self) -> u32 {
        self.lengths.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum()
    }
}
