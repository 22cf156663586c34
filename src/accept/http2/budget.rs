//! Does an HTTP/2 client keep us busy with frames that ask for nothing? (RFC 9113 §10.5)
//!
//! The library bounds header blocks, resets of streams that nobody has looked at, errors of the client's, and small
//! pieces of bodies. Pings, settings, priorities, window updates, cancelled requests and what it does not know it takes
//! without end: these have a budget here, which time and honest work refill.

use super::frame::{CONTINUATION, DATA, END_STREAM, HEADERS, Header, RESET};

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

/// What a connection's client may still ask for in vain.
#[derive(Debug)]
pub(super) struct Budget {
    frames: u32,
    /// When time last earned something, in milliseconds.
    earned_at: u64,
    sent: u64,
}

impl Budget {
    /// A connection before its first byte, at a time of any monotonic clock in milliseconds.
    pub(super) const fn new(now: u64) -> Self {
        Self { frames: MOST, earned_at: now, sent: 0 }
    }

    /// So many bytes have been sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// Takes off what a frame costs, by the same clock. Whether there was something left to take it from. RFC 9113 §6.
    pub(super) fn pay(&mut self, frame: Header, now: impl Fn() -> u64) -> bool {
        if self.frames == 0 {
            self.earn(now());
            if self.frames == 0 {
                return false;
            }
        }
        let cost = match frame.kind {
            HEADERS if frame.length > 0 => {
                self.frames = (self.frames + REQUEST_GAIN).min(MOST);
                0
            }
            // Data, and field blocks, are work; empty ones that end nothing are not.
            DATA if frame.length > 0 || frame.has(END_STREAM) => 0,
            CONTINUATION if frame.length > 0 => 0,
            RESET => RESET_COST,
            _ => 1,
        };
        self.frames = self.frames.saturating_sub(cost);
        true
    }

    /// Puts in what time and bytes have earned. Asked only when nothing is left: an honest connection never looks at
    /// the clock.
    fn earn(&mut self, now: u64) {
        let waited = now.saturating_sub(self.earned_at);
        let by_time = waited.saturating_mul(u64::from(EARNED_BY_SECOND)) / 1000;
        let earned = by_time + std::mem::take(&mut self.sent) / BYTES_BY_FRAME;
        if earned > 0 {
            self.earned_at = now;
            self.frames = u32::try_from(earned).unwrap_or(MOST).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{PRIORITY, SETTINGS, WINDOW_UPDATE};
    use super::*;

    const PING: u8 = 0x6;
    const UNKNOWN: u8 = 0xbe;

    const fn frame(kind: u8, flags: u8, length: usize) -> Header {
        Header { length, kind, flags, stream: 1 }
    }

    #[test]
    fn frames_that_ask_for_nothing_have_a_budget() {
        let cases = [
            // kind flags length sent    want  why
            (PING, 0, 8, 0, 1000, "pings"),
            (SETTINGS, 0, 6, 0, 1000, "settings"),
            (PRIORITY, 0, 5, 0, 1000, "priorities"),
            (WINDOW_UPDATE, 0, 4, 0, 1000, "window updates"),
            (RESET, 0, 4, 0, 250, "cancelled requests"),
            (DATA, 0, 0, 0, 1000, "empty pieces of a body"),
            (CONTINUATION, 0, 0, 0, 1000, "empty pieces of a field block"),
            (UNKNOWN, 0, 9, 0, 1000, "unknown ones"),
            (PING, 1, 8, 0, 1000, "answers to pings that were not ours"),
            (SETTINGS, 1, 0, 0, 1000, "answers to settings that were not ours"),
            (WINDOW_UPDATE, 0, 4, 250_000, 1976, "window updates for what was sent"),
            (DATA, 0, 1, 0, 3000, "data"),
            (DATA, END_STREAM, 0, 0, 3000, "the end of a body"),
            (HEADERS, 4, 20, 0, 3000, "requests"),
        ];
        for (kind, flags, length, sent, want, why) in cases {
            let mut budget = Budget::new(7);
            budget.sent(sent);
            let passed = (0..3000).take_while(|_| budget.pay(frame(kind, flags, length), || 7)).count();
            assert_eq!(passed, want, "{why}");
        }
    }

    #[test]
    fn time_refills_the_budget_up_to_its_bound() {
        let mut budget = Budget::new(0);
        let mut pings = |now: u64| (0..2000).take_while(|_| budget.pay(frame(PING, 0, 8), || now)).count();
        assert_eq!(pings(0), 1000, "a burst");
        assert_eq!(pings(1000), 100, "a second");
        assert_eq!(pings(1_000_000), 1000, "a long rest");
    }
}
