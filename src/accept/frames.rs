//! Does an HTTP/2 client keep us busy with frames that ask for nothing? (RFC 9113 §10.5)
//!
//! The library bounds header blocks, resets of streams that nobody has looked at, errors of the client's, and small
//! pieces of bodies. Pings, settings, priorities, window updates, cancelled requests and what it does not know it takes
//! without end: these have a budget here, which time and honest work refill.

/// What HTTP/2 clients send first.
const PREFACE_BYTES: u32 = 24;

const HEADER_BYTES: usize = 9;

/// Frames in hand: what a browser with a page full of requests to cancel needs at once, several times over.
const MOST: u32 = 2000;

/// Frames earned in a second. A client that pings, or changes its mind, has no reason for more.
const EARNED_BY_SECOND: u32 = 100;

/// Bytes sent that earn a frame: who downloads tells us of its windows, most after tens of KiB, for the stream and for
/// the connection.
const BYTES_BY_FRAME: u64 = 1024;

/// A cancelled request costs a request: three frames, which leaves 33 a second for ever, and hundreds at once.
const RESET_COST: u32 = 3;

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
    earned_at: Option<u64>,
    sent: u64,
}

impl Frames {
    /// A connection before its first byte.
    pub(crate) const fn new() -> Self {
        Self { header: [0; HEADER_BYTES], has: 0, left: PREFACE_BYTES, budget: MOST, earned_at: None, sent: 0 }
    }

    /// So many bytes have been sent to the client.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Reads on, at a time of any monotonic clock in milliseconds. Where the budget is spent: how many of the bytes may
    /// still go on, up to the end of a frame.
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
                self.budget = self.budget.saturating_sub(self.cost(kind, flags));
            }
        }
        None
    }

    /// What a frame costs of the budget. RFC 9113 §6.
    fn cost(&self, kind: u8, flags: u8) -> u32 {
        let ends = flags & 0x1 != 0;
        match kind {
            // Data, and field blocks, are work; empty ones that end nothing are not.
            0x0 if self.left > 0 || ends => 0,
            0x1 | 0x9 if self.left > 0 => 0,
            0x3 => RESET_COST,
            // The answer to a frame of ours.
            0x4 | 0x6 if ends => 0,
            _ => 1,
        }
    }

    /// Puts in what time and bytes have earned. Asked only when nothing is left: an honest connection never looks at
    /// the clock.
    fn earn(&mut self, now: u64) {
        let waited = now.saturating_sub(self.earned_at.unwrap_or(0));
        let by_time = waited.saturating_mul(u64::from(EARNED_BY_SECOND)) / 1000;
        let earned = by_time + std::mem::take(&mut self.sent) / BYTES_BY_FRAME;
        if earned > 0 {
            self.earned_at = Some(now);
            self.budget = u32::try_from(earned).unwrap_or(MOST).min(MOST);
        }
    }
}
