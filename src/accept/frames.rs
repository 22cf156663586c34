//! Does an HTTP/2 client keep us busy with frames that ask for nothing? (RFC 9113 §10.5)
//!
//! The library bounds header blocks, resets of streams that nobody has looked at, errors of the client's, and small
//! pieces of bodies. Pings, settings, priorities, window updates, cancelled requests and what it does not know it takes
//! without end: these have a budget here, which time and honest work refill.

use bytes::Bytes;

/// The length of what HTTP/2 clients send first.
const PREFACE_BYTES: u32 = 24;

const HEADER_BYTES: usize = 9;

/// Frames in hand: what a browser with a page full of requests to cancel needs at once, several times over.
const MOST: u32 = 1000;

/// Frames earned in a second. A client that pings, or changes its mind, has no reason for more.
const EARNED_BY_SECOND: u32 = 100;

/// Bytes sent that earn a frame: who downloads tells us of its windows, for the stream and for the connection. Most do
/// after tens of KiB; the smallest window that still makes sense is some hundred bytes.
const BYTES_BY_FRAME: u64 = 256;

/// What a request earns: some clients widen each stream's window as soon as it is there.
const REQUEST_GAIN: u32 = 1;

/// A cancelled request costs what it earned and three frames: 33 a second for ever, and hundreds at once.
const RESET_COST: u32 = 4;

/// The frames of a connection's client, as far as they have come.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there.
    has: usize,
    /// Bytes of the payload, or of the preface, still to come.
    left: u32,
    budget: u32,
    /// When time last earned something, in milliseconds.
    earned_at: u64,
    sent: u64,
}

/// What the library reads in the place of one frame too many: a field block in more pieces than it takes for the largest
/// `server.max_header_bytes`, which it answers with GOAWAY and `ENHANCE_YOUR_CALM`. At the end of a frame, anything else
/// would do as well; this says what the matter is.
pub(crate) fn too_much() -> Bytes {
    const PIECES: usize = 100;
    let [headers, continuation] = [[0, 0, 0, 0x1, 0, 0, 0, 0, 1], [0, 0, 0, 0x9, 0, 0, 0, 0, 1]];
    [&headers[..], &continuation.repeat(PIECES)].concat().into()
}

impl Frames {
    /// A connection before its first byte, at a time of any monotonic clock in milliseconds.
    pub(crate) const fn new(now: u64) -> Self {
        Self { header: [0; HEADER_BYTES], has: 0, left: PREFACE_BYTES, budget: MOST, earned_at: now, sent: 0 }
    }

    /// So many bytes have been sent to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Reads on, by the same clock. Where the budget is spent: how many of the bytes may still go on, up to the end of a
    /// frame.
    pub(crate) fn read(&mut self, bytes: &[u8], now: impl Fn() -> u64) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if self.left > 0 {
                let taken = rest.len().min(self.left as usize);
                self.left -= u32::try_from(taken).expect("no more than what is left");
                at += taken;
                continue;
            }
            if self.has == 0 && self.budget == 0 {
                self.earn(now());
                if self.budget == 0 {
                    return Some(at);
                }
            }
            let taken = rest.len().min(HEADER_BYTES - self.has);
            self.header[self.has..self.has + taken].copy_from_slice(&rest[..taken]);
            (self.has, at) = (self.has + taken, at + taken);
            if self.has == HEADER_BYTES {
                let [high, middle, low, kind, flags, ..] = self.header;
                (self.has, self.left) = (0, u32::from_be_bytes([0, high, middle, low]));
                self.account(kind, flags);
            }
        }
        None
    }

    /// What a frame does to the budget. RFC 9113 §6.
    fn account(&mut self, kind: u8, flags: u8) {
        let is_empty = self.left == 0;
        let ends = flags & 0x1 != 0;
        let cost = match kind {
            0x1 if !is_empty => {
                self.budget = (self.budget + REQUEST_GAIN).min(MOST);
                0
            }
            // Data, and field blocks, are work; empty ones that end nothing are not.
            0x0 if !is_empty || ends => 0,
            0x9 if !is_empty => 0,
            0x3 => RESET_COST,
            _ => 1,
        };
        self.budget = self.budget.saturating_sub(cost);
    }

    /// Puts in what time and bytes have earned. Asked only when nothing is left: an honest connection never looks at
    /// the clock.
    fn earn(&mut self, now: u64) {
        let waited = now.saturating_sub(self.earned_at);
        let by_time = waited.saturating_mul(u64::from(EARNED_BY_SECOND)) / 1000;
        let earned = by_time + std::mem::take(&mut self.sent) / BYTES_BY_FRAME;
        if earned > 0 {
            self.earned_at = now;
            self.budget = u32::try_from(earned).unwrap_or(MOST).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(frame.len() + usize::from(length), 0xff);
        frame
    }

    /// How many of these frames pass, in pieces of this size, when no time does.
    fn passed(frame: &[u8], piece: usize, sent: usize) -> usize {
        let mut frames = Frames::new(7);
        let bytes = [&[b'P'; PREFACE_BYTES as usize][..], &frame.repeat(3000)].concat();
        frames.sent(sent);
        let mut at = 0;
        for piece in bytes.chunks(piece) {
            if let Some(passed) = frames.read(piece, || 7) {
                at += passed;
                break;
            }
            at += piece.len();
        }
        let passed = at - PREFACE_BYTES as usize;
        assert_eq!(passed % frame.len(), 0, "only whole frames pass");
        passed / frame.len()
    }

    #[test]
    fn frames_that_ask_for_nothing_have_a_budget() {
        let cases = [
            // kind flags length sent    want  why
            (0x6, 0, 8, 0, 1000, "pings"),
            (0x4, 0, 6, 0, 1000, "settings"),
            (0x2, 0, 5, 0, 1000, "priorities"),
            (0x8, 0, 4, 0, 1000, "window updates"),
            (0x3, 0, 4, 0, 250, "cancelled requests"),
            (0x0, 0, 0, 0, 1000, "empty pieces of a body"),
            (0x9, 0, 0, 0, 1000, "empty pieces of a field block"),
            (0xbe, 0, 9, 0, 1000, "unknown ones"),
            (0x6, 1, 8, 0, 1000, "answers to pings that were not ours"),
            (0x4, 1, 0, 0, 1000, "answers to settings that were not ours"),
            (0x8, 0, 4, 250_000, 1976, "window updates for what was sent"),
            (0x0, 0, 1, 0, 3000, "data"),
            (0x0, 1, 0, 0, 3000, "the end of a body"),
            (0x1, 4, 20, 0, 3000, "requests"),
        ];
        for (kind, flags, length, sent, want, why) in cases {
            for piece in [1, 10, 16_384] {
                assert_eq!(passed(&frame(kind, flags, length), piece, sent), want, "{why}, in pieces of {piece}");
            }
        }
    }

    #[test]
    fn time_refills_the_budget_up_to_its_bound() {
        let mut frames = Frames::new(0);
        let ping = frame(0x6, 0, 8);
        assert_eq!(frames.read(&[b'P'; PREFACE_BYTES as usize], || 0), None);
        let mut pings = |count: usize, now: u64| frames.read(&ping.repeat(count), || now).map(|at| at / ping.len());
        assert_eq!(pings(2000, 0), Some(1000), "a burst");
        assert_eq!(pings(2000, 1000), Some(100), "a second");
        assert_eq!(pings(2000, 1_000_000), Some(1000), "a long rest");
    }
}
