//! Where in the log of purges does an entry stand, and which number does that give its purge?

use std::fmt;

use crate::cache::ledger::STRIDE;

/// The beginning of 2020: with milliseconds from here, numbers fit 64 bits until 2089, and what people see of them fits
/// the 53 bits that JSON keeps exactly everywhere.
const EPOCH: u64 = 1_577_836_800_000;

/// Milliseconds after [`EPOCH`] that have room in a number: 41 bits.
const MAX_MILLIS: u64 = (1 << 41) - 1;

/// Entries of one millisecond that are told apart; the log gives the next one the next millisecond.
pub(super) const PER_MILLI: u64 = 1 << 12;

/// The id of an entry: `milliseconds-order`, as a stream of Redis writes it. The clock is that of Redis, and never goes
/// back in one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    millis: u64,
    order: u64,
}

impl Position {
    /// Reads an id; `None`: it is none that our log would give.
    pub fn read(id: &str) -> Option<Self> {
        let (millis, order) = id.split_once('-')?;
        Self::new(millis.parse().ok()?, order.parse().ok()?)
    }

    /// The position of these parts, where our log could give it.
    pub fn new(millis: u64, order: u64) -> Option<Self> {
        let is_ours = order < PER_MILLI && (EPOCH..=EPOCH + MAX_MILLIS).contains(&millis);
        is_ours.then_some(Self { millis, order })
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// Its place among those of one millisecond.
    pub const fn order(self) -> u64 {
        self.order
    }

    /// The number of its purge, as people see it.
    pub const fn seq(self) -> u64 {
        self.millis.saturating_sub(EPOCH) * PER_MILLI + self.order
    }

    /// The number of its purge, as the ledger compares it.
    pub const fn number(self) -> u64 {
        self.seq() * STRIDE
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_the_order_of_ids_and_leave_room_between_them() {
        let ids = ["1577836800000-0", "1577836800000-1", "1577836800000-4095", "1577836800001-0", "3776860055551-4095"];
        let positions = ids.map(|id| Position::read(id).expect("an id of ours"));
        for pair in positions.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].number() + STRIDE <= pair[1].number(), "{pair:?}");
        }
        assert_eq!(positions.map(|position| position.to_string()), ids);
        assert_eq!(positions[4].seq(), (1 << 53) - 1, "JSON keeps it exactly");
        assert_eq!(positions[2].number() / STRIDE, positions[2].seq());
    }

    #[test]
    fn what_our_log_would_not_give_is_no_position() {
        let cases = [
            ("", "nothing"),
            ("1700000000000", "no order"),
            ("1700000000000-", "an empty one"),
            ("1700000000000-4096", "more than one millisecond has"),
            ("1577836799999-0", "before the beginning"),
            ("3776860055552-0", "no room in a number"),
            ("18446744073709551616-0", "more than 64 bits"),
            ("-1-0", "a sign"),
        ];
        for (id, why) in cases {
            assert_eq!(Position::read(id), None, "{id:?}: {why}");
        }
    }
}
