//! The log does not go on where a node is: what has it lost?
//!
//! Its beginning is trimmed on purpose; its end goes where a master dies before its replica has all of it. What the log has
//! is held against what the node remembers.

use super::log::Entry;
use super::position::Position;

/// Where a node is in the log, and what it finds there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The last entry that it took down.
    pub(super) position: Position,
    /// The id of the entry before what stands next, or of the last one where nothing does; zero: of none.
    pub(super) previous: u64,
    /// Whether something stands next.
    pub(super) is_read_on: bool,
}

/// What the log has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Breach {
    /// Entries before what stands next, which this node has not read.
    Trimmed,
    /// These, which this node knows; in their order.
    Lost(Vec<Entry>),
    /// More than this node knows; or it has got others instead, behind which it already was.
    Unknown,
}

/// Finds it. `known`: what the node remembers; `is_all`: of everything that the log ever had. `stored`: what the log has
/// from the first of those on; `older`: the last that it has before them, where it has none of them.
pub(super) fn find((known, is_all): (&[Entry], bool), older: Option<&Entry>, stored: &[Entry], at: Place) -> Breach {
    if let Some(end) = older {
        // Where the end of what is left is what came before all that is remembered, that was lost, not trimmed.
        let is_right_before = known.first().is_some_and(|begin| begin.previous == end.id);
        return if is_right_before { Breach::Lost(known.to_vec()) } else { Breach::Unknown };
    }
    let is_in = |entries: &[Entry], id: u64| entries.iter().any(|entry| entry.id == id);
    let read: Vec<_> = stored.iter().filter(|entry| entry.position <= at.position).collect();
    let lost: Vec<_> = match read.first() {
        // Something stands before what comes next, and it is nothing that we know: all of that was trimmed.
        None if at.is_read_on && at.previous != 0 => return Breach::Trimmed,
        // Nothing does: the log is as it was at its beginning.
        None if at.previous == 0 && is_all => known.to_vec(),
        None => return Breach::Unknown,
        Some(begin) => {
            let is_lost = |entry: &&Entry| entry.position > begin.position && !is_in(stored, entry.id);
            known.iter().filter(is_lost).cloned().collect()
        }
    };
    if read.iter().any(|entry| !is_in(known, entry.id)) {
        return Breach::Unknown;
    }
    match (lost.is_empty(), at.is_read_on) {
        (false, _) => Breach::Lost(lost),
        (true, true) => Breach::Trimmed,
        // It ends before where we are, and yet has all that we know.
        (true, false) => Breach::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(order: u64) -> Entry {
        let position = Position::new(1_700_000_000_000 + order, 0).expect("a position");
        Entry { position, id: order, previous: order - 1, payload: order.to_string().into() }
    }

    fn entries(orders: &[u64]) -> Vec<Entry> {
        orders.iter().map(|order| entry(*order)).collect()
    }

    #[test]
    fn where_nothing_that_is_known_is_left_what_stands_before_it_tells() {
        let at = Place { position: entry(3).position, previous: 1, is_read_on: true };
        for (older, want, why) in [
            (1, Breach::Lost(entries(&[2, 3])), "right before all that is known: that was lost"),
            (9, Breach::Unknown, "something else"),
        ] {
            assert_eq!(find((&entries(&[2, 3]), false), Some(&entry(older)), &[], at), want, "{why}");
        }
    }

    #[test]
    fn what_the_log_has_is_held_against_what_is_known() {
        /// A node that has taken down 1, 2 and 3: what it remembers, whether that is all, what the log has of it, what
        /// stands before what comes next, whether something does.
        type Case<'a> = (&'a [u64], bool, &'a [u64], u64, bool, Breach, &'a str);
        let lost = |orders: &[u64]| Breach::Lost(entries(orders));
        let cases: [Case<'_>; 13] = [
            (&[1, 2, 3], true, &[1, 2], 2, false, lost(&[3]), "its end"),
            (&[1, 2, 3], true, &[1, 2], 2, true, lost(&[3]), "its end, and it went on"),
            (&[1, 2, 3], true, &[1], 1, false, lost(&[2, 3]), "more of it"),
            (&[1, 2, 3], true, &[], 0, false, lost(&[1, 2, 3]), "all of it"),
            (&[1, 2, 3], true, &[], 0, true, lost(&[1, 2, 3]), "all of it, and it went on"),
            (&[2, 3], false, &[], 0, false, Breach::Unknown, "all of it, and not all is remembered"),
            (&[2, 3], false, &[], 1, false, Breach::Unknown, "all that is remembered, and it may be more"),
            (&[2, 3], false, &[], 9, true, Breach::Trimmed, "its beginning, up to beyond where the node is"),
            (&[1, 2, 3], true, &[], 9, true, Breach::Trimmed, "the same, where all is remembered"),
            (&[2, 3], false, &[3], 9, true, Breach::Trimmed, "an entry of somebody else's makes a break"),
            (&[1, 3], true, &[1, 2, 3], 3, true, Breach::Unknown, "one that was not read stands among those that were"),
            (&[1, 2], true, &[1, 3], 3, false, Breach::Unknown, "another stands in its place"),
            (&[1, 2, 3], true, &[1, 2, 3], 2, false, Breach::Unknown, "nothing, it says, and ends before"),
        ];
        for (known, is_all, stored, previous, is_read_on, want, why) in cases {
            let at = Place { position: entry(3).position, previous, is_read_on };
            assert_eq!(find((&entries(known), is_all), None, &entries(stored), at), want, "{why}");
        }
    }

    #[test]
    fn what_this_node_added_and_has_not_read_yet_may_be_lost_too() {
        let at = Place { position: entry(2).position, previous: 2, is_read_on: false };
        let found = find((&entries(&[1, 2, 4]), true), None, &entries(&[1, 2]), at);
        assert_eq!(found, Breach::Lost(entries(&[4])));
        let at = Place { is_read_on: true, ..at };
        let found = find((&entries(&[1, 2, 4]), true), None, &entries(&[1, 3, 4]), at);
        assert_eq!(found, Breach::Lost(entries(&[2])), "what others added behind it is yet to be read");
    }
}
