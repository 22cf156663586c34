//! How do frames look? (RFC 9113 §4, §6)

use bytes::BufMut;

pub(in crate::accept) const DATA: u8 = 0x0;
pub(in crate::accept) const HEADERS: u8 = 0x1;
pub(in crate::accept) const PRIORITY: u8 = 0x2;
pub(in crate::accept) const RESET: u8 = 0x3;
pub(in crate::accept) const SETTINGS: u8 = 0x4;
pub(in crate::accept) const PUSH_PROMISE: u8 = 0x5;
pub(in crate::accept) const GOAWAY: u8 = 0x7;
pub(in crate::accept) const WINDOW_UPDATE: u8 = 0x8;
pub(in crate::accept) const CONTINUATION: u8 = 0x9;

pub(in crate::accept) const ACK: u8 = 0x1;
pub(in crate::accept) const END_STREAM: u8 = 0x1;
pub(in crate::accept) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// The length of what clients send first. RFC 9113 §3.4.
pub(in crate::accept) const PREFACE_BYTES: usize = 24;

/// The length of a frame's header.
pub(in crate::accept) const HEADER_BYTES: usize = 9;

/// The longest payload that everybody takes; we allow no more, and send no more.
pub(in crate::accept) const MOST_PAYLOAD: usize = 16 << 10;

/// Streams have numbers of 31 bits, as windows have; so many more are no window.
pub(in crate::accept) const MOST: u32 = i32::MAX as u32;

/// A setting: the size of the table with which the receiver's blocks are encoded.
pub(in crate::accept) const HEADER_TABLE_SIZE: u16 = 0x1;

/// A setting: bytes that may be sent on a new stream.
pub(in crate::accept) const INITIAL_WINDOW_SIZE: u16 = 0x4;

/// What a frame says before its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::accept) struct Header {
    pub(in crate::accept) length: usize,
    pub(in crate::accept) kind: u8,
    pub(in crate::accept) flags: u8,
    pub(in crate::accept) stream: u32,
}

impl Header {
    /// Reads the header that `bytes` begin with. `None`: not all of it is there.
    pub(in crate::accept) fn read(bytes: &[u8]) -> Option<Self> {
        let &[high, middle, low, kind, flags, a, b, c, d] = bytes.first_chunk()?;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        Some(Self { length, kind, flags, stream: u32::from_be_bytes([a, b, c, d]) & MOST })
    }

    /// Writes it down. Of the length, 24 bits are written.
    pub(in crate::accept) fn write(self, bytes: &mut impl BufMut) {
        let [.., high, middle, low] = self.length.to_be_bytes();
        bytes.put_slice(&[high, middle, low, self.kind, self.flags]);
        bytes.put_u32(self.stream);
    }

    /// Whether it has a flag.
    pub(in crate::accept) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What of the payload of HEADERS is a part of a field block. `None`: there is more padding than payload, or half a
    /// priority.
    pub(in crate::accept) fn fragment(self, payload: &[u8]) -> Option<&[u8]> {
        let (padding, rest) = if self.has(PADDED) { payload.split_first()? } else { (&0, payload) };
        let rest = if self.has(WITH_PRIORITY) { rest.get(5..)? } else { rest };
        rest.get(..rest.len().checked_sub(usize::from(*padding))?)
    }
}

/// A field block, in as many frames as it takes.
pub(in crate::accept) fn write_block(stream: u32, flags: u8, block: &[u8], bytes: &mut impl BufMut) {
    let (mut kind, mut flags, mut rest) = (HEADERS, flags, block);
    loop {
        let (piece, others) = rest.split_at(rest.len().min(MOST_PAYLOAD));
        let end = if others.is_empty() { END_HEADERS } else { 0 };
        Header { length: piece.len(), kind, flags: flags | end, stream }.write(bytes);
        bytes.put_slice(piece);
        if others.is_empty() {
            return;
        }
        (kind, flags, rest) = (CONTINUATION, 0, others);
    }
}

/// More bytes for a stream, or for the connection: 0.
pub(in crate::accept) fn write_window_update(stream: u32, more: u32, bytes: &mut impl BufMut) {
    Header { length: 4, kind: WINDOW_UPDATE, flags: 0, stream }.write(bytes);
    bytes.put_u32(more);
}

/// Why a connection has to end. RFC 9113 §7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(in crate::accept) enum Fault {
    Protocol = 0x1,
    FlowControl = 0x3,
    Compression = 0x9,
    /// `ENHANCE_YOUR_CALM`
    TooMuch = 0xb,
}

/// What the library reads instead of what must not reach it: the end of a field block that has not begun. It ends the
/// connection because of that.
pub(in crate::accept) fn write_fault(bytes: &mut impl BufMut) {
    Header { length: 0, kind: CONTINUATION, flags: END_HEADERS, stream: 1 }.write(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_as_they_are_read() {
        let header = Header { length: 0x01_0203, kind: DATA, flags: END_STREAM, stream: 0x0405_0607 };
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 0, 1, 4, 5, 6, 7]);
        assert_eq!(Header::read(&[&bytes[..], b"x"].concat()), Some(header));
        assert_eq!(Header::read(&bytes[..8]), None);
        bytes[5] |= 0x80;
        assert_eq!(Header::read(&bytes), Some(header), "the bit that is reserved");
    }

    #[test]
    fn padding_and_priorities_are_no_part_of_a_block() {
        type Bytes = &'static [u8];
        let cases: [(u8, Bytes, Option<Bytes>, &str); 8] = [
            (0, b"block", Some(b"block"), "nothing else"),
            (PADDED, b"\x02block..", Some(b"block"), "padding"),
            (PADDED, b"\x05block", Some(b""), "nothing but padding"),
            (PADDED, b"\x06block", None, "more padding than there is"),
            (PADDED, b"", None, "padding without its length"),
            (WITH_PRIORITY, b"12345block", Some(b"block"), "a priority"),
            (WITH_PRIORITY, b"1234", None, "half a priority"),
            (PADDED | WITH_PRIORITY, b"\x0212345block..", Some(b"block"), "both"),
        ];
        for (flags, payload, want, why) in cases {
            let header = Header { length: payload.len(), kind: HEADERS, flags, stream: 1 };
            assert_eq!(header.fragment(payload), want, "{why}");
        }
    }

    #[test]
    fn a_block_takes_as_many_frames_as_it_needs() {
        for (length, want) in [(0, 1), (1, 1), (MOST_PAYLOAD, 1), (MOST_PAYLOAD + 1, 2), (3 * MOST_PAYLOAD, 3)] {
            let block: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut bytes = Vec::new();
            write_block(7, END_STREAM, &block, &mut bytes);
            let (mut rest, mut found, mut frames) = (&bytes[..], Vec::new(), Vec::new());
            while let Some(header) = Header::read(rest) {
                let (payload, others) = rest[HEADER_BYTES..].split_at(header.length);
                found.extend_from_slice(payload);
                frames.push(header);
                rest = others;
            }
            assert!(found == block && rest.is_empty(), "{length}");
            assert_eq!(frames.len(), want, "{length}");
            assert!(frames.iter().all(|frame| frame.stream == 7 && frame.length <= MOST_PAYLOAD));
            assert_eq!((frames[0].kind, frames[0].has(END_STREAM)), (HEADERS, true));
            assert!(frames[1..].iter().all(|frame| frame.kind == CONTINUATION && !frame.has(END_STREAM)));
            let ends: Vec<bool> = frames.iter().map(|frame| frame.has(END_HEADERS)).collect();
            assert!(ends.iter().rposition(|is_end| !is_end).is_none_or(|at| at + 2 == ends.len()), "{ends:?}");
            assert_eq!(ends.last(), Some(&true));
        }
    }
}
