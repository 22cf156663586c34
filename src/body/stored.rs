//! A complete body in memory: immutable, shared by every response that it serves.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

/// A body in pieces; a clone shares them.
#[derive(Debug, Clone, Default)]
pub struct StoredBody {
    pieces: Pieces,
}

#[derive(Debug, Clone)]
enum Pieces {
    /// Most bodies: one piece, one reference count.
    One(Bytes),
    /// The pieces, and their bytes in all.
    Many(Arc<[Bytes]>, u64),
}

impl Default for Pieces {
    fn default() -> Self {
        Self::One(Bytes::new())
    }
}

impl StoredBody {
    /// A body of one piece.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { pieces: Pieces::One(bytes) }
    }

    /// A body of these pieces, in order.
    pub fn from_pieces(mut pieces: Vec<Bytes>) -> Self {
        let pieces = match pieces.len() {
            0 => Pieces::default(),
            1 => Pieces::One(pieces.swap_remove(0)),
            _ => {
                let length = pieces.iter().map(|piece| piece.len() as u64).sum();
                Pieces::Many(pieces.into(), length)
            }
        };
        Self { pieces }
    }

    /// Bytes in all.
    pub fn len(&self) -> u64 {
        match &self.pieces {
            Pieces::One(piece) => piece.len() as u64,
            Pieces::Many(_, length) => *length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> &[Bytes] {
        match &self.pieces {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces, _) => pieces,
        }
    }

    /// The body where it is one piece, as most are.
    pub fn as_single(&self) -> Option<&Bytes> {
        match &self.pieces {
            Pieces::One(piece) => Some(piece),
            Pieces::Many(..) => None,
        }
    }

    /// The bytes of `range`, cut to what is there, without copying.
    pub fn slice(&self, range: Range<u64>) -> Self {
        let mut cursor = Cursor::new(self.clone(), range);
        Self::from_pieces(std::iter::from_fn(|| cursor.next_piece()).collect())
    }
}

/// Reads a stored body, or parts of it with text between them (`multipart/byteranges`).
#[derive(Debug, Clone)]
pub struct Cursor {
    body: StoredBody,
    /// What is still to be sent, last first.
    todo: SmallVec<[Section; 1]>,
    /// Where `piece` begins within the body.
    piece: usize,
    piece_start: u64,
    remaining: u64,
}

/// A section of a response made of a stored body.
#[derive(Debug, Clone)]
pub enum Section {
    /// Bytes that are not the body's.
    Text(Bytes),
    /// These bytes of the body.
    Range(Range<u64>),
}

impl Cursor {
    /// Reads the bytes of `range`, cut to what is there.
    pub fn new(body: StoredBody, range: Range<u64>) -> Self {
        Self::over(body, std::iter::once(Section::Range(range)))
    }

    /// Reads these sections in order; ranges are cut to what is there.
    pub fn over(body: StoredBody, sections: impl IntoIterator<Item = Section>) -> Self {
        let len = body.len();
        let mut todo: SmallVec<[Section; 1]> = sections
            .into_iter()
            .map(|section| match section {
                Section::Range(range) => Section::Range(range.start.min(len)..range.end.min(len)),
                text @ Section::Text(_) => text,
            })
            .collect();
        let remaining = todo
            .iter()
            .map(|section| match section {
                Section::Text(text) => text.len() as u64,
                Section::Range(range) => range.end.saturating_sub(range.start),
            })
            .sum();
        todo.reverse();
        Self { body, todo, piece: 0, piece_start: 0, remaining }
    }

    /// Bytes still to be read.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next bytes, never empty; `None` at the end.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            let piece = match self.todo.pop()? {
                Section::Text(text) => text,
                Section::Range(range) if range.is_empty() => continue,
                Section::Range(range) => {
                    let piece = self.cut(&range);
                    let next = range.start + piece.len() as u64;
                    if next < range.end {
                        self.todo.push(Section::Range(next..range.end));
                    }
                    piece
                }
            };
            if !piece.is_empty() {
                self.remaining -= piece.len() as u64;
                return Some(piece);
            }
        }
    }

    /// The part of `range` that lies in the piece where it begins.
    fn cut(&mut self, range: &Range<u64>) -> Bytes {
        if range.start < self.piece_start {
            (self.piece, self.piece_start) = (0, 0);
        }
        let pieces = self.body.pieces();
        while range.start >= self.piece_start + pieces[self.piece].len() as u64 {
            self.piece_start += pieces[self.piece].len() as u64;
            self.piece += 1;
        }
        let piece = &pieces[self.piece];
        let from = index(range.start - self.piece_start);
        let to = index(range.end - self.piece_start).min(piece.len());
        piece.slice(from..to)
    }
}

/// An offset within memory fits a `usize`.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> StoredBody {
        StoredBody::from_pieces(vec![Bytes::from("0123"), Bytes::from("45"), Bytes::from("6789")])
    }

    fn read(mut cursor: Cursor) -> Vec<u8> {
        let expected = cursor.remaining();
        let bytes: Vec<u8> = std::iter::from_fn(|| cursor.next_piece()).flatten().collect();
        assert_eq!(bytes.len() as u64, expected, "the remaining count is exact");
        bytes
    }

    #[test]
    fn ranges_are_cut_over_the_pieces() {
        let cases: [(Range<u64>, &str, &str); 7] = [
            (0..10, "0123456789", "all of it"),
            (0..4, "0123", "the first piece"),
            (3..7, "3456", "over three pieces"),
            (9..10, "9", "the last byte"),
            (4..6, "45", "a piece in the middle"),
            (8..99, "89", "cut to what is there"),
            (99..100, "", "beyond the end"),
        ];
        for (range, want, why) in cases {
            assert_eq!(read(Cursor::new(body(), range.clone())), want.as_bytes(), "{why}");
            assert_eq!(read(Cursor::new(body().slice(range), 0..u64::MAX)), want.as_bytes(), "sliced: {why}");
        }
    }

    #[test]
    fn sections_are_read_in_their_order_also_backwards() {
        let sections =
            [Section::Text("<".into()), Section::Range(6..8), Section::Text("|".into()), Section::Range(0..2)];
        assert_eq!(read(Cursor::over(body(), sections)), b"<67|01");
    }
}
