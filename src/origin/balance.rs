//! Which address of an origin is asked?

use foldhash::quality::FixedState;
use std::hash::BuildHasher;

use crate::config::settings::Balance;

/// An address that may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its place in the caller's list.
    pub(super) index: usize,
    /// Requests under way there.
    pub(super) under_way: usize,
    /// Its name, hashed; the same on every node.
    pub(super) hash: u64,
}

/// The index of the candidate to ask; `None` where there is none.
///
/// `affinity` is the hash of the request's key, `turn` a number that grows by one with each request.
///
/// Consistent hashing is by the highest of the hashes of (key, address): when an address comes or goes, only its own
/// keys move.
pub(super) fn choose(balance: Balance, candidates: &[Candidate], affinity: u64, turn: usize) -> Option<usize> {
    let first = turn.checked_rem(candidates.len())?;
    let chosen = match balance {
        Balance::RoundRobin => candidates.get(first),
        // Equals take turns, or an idle origin would ask its first address only.
        Balance::LeastConnections => {
            let (before, after) = candidates.split_at(first);
            after.iter().chain(before).min_by_key(|candidate| candidate.under_way)
        }
        Balance::ConsistentHash => candidates.iter().max_by_key(|candidate| weight(affinity, candidate.hash)),
    };
    chosen.map(|candidate| candidate.index)
}

/// A hash that every node, and every start of it, computes alike.
pub(super) fn stable_hash(text: &str) -> u64 {
    FixedState::with_seed(0).hash_one(text)
}

fn weight(affinity: u64, address: u64) -> u64 {
    FixedState::with_seed(affinity).hash_one(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(under_way: &[usize]) -> Vec<Candidate> {
        let candidate = |(index, under_way): (usize, &usize)| Candidate {
            index,
            under_way: *under_way,
            hash: stable_hash(&format!("10.0.0.{index}:80")),
        };
        under_way.iter().enumerate().map(candidate).collect()
    }

    #[test]
    fn the_methods_choose_as_they_are_named() {
        #[rustfmt::skip]
        let cases = [
            (Balance::RoundRobin, vec![], 3, None, "nobody to ask"),
            (Balance::RoundRobin, vec![9, 0, 0], 0, Some(0), "load does not count"),
            (Balance::RoundRobin, vec![9, 0, 0], 4, Some(1), "round and round"),
            (Balance::LeastConnections, vec![2, 1, 3], 0, Some(1), "the fewest"),
            (Balance::LeastConnections, vec![1, 1, 3], 0, Some(0), "equals take turns"),
            (Balance::LeastConnections, vec![1, 1, 3], 1, Some(1), "equals take turns"),
            (Balance::LeastConnections, vec![], 0, None, "nobody to ask"),
            (Balance::ConsistentHash, vec![], 0, None, "nobody to ask"),
        ];
        for (balance, under_way, turn, want, why) in cases {
            assert_eq!(choose(balance, &candidates(&under_way), 7, turn), want, "{balance:?} {under_way:?}: {why}");
        }
    }

    #[test]
    fn an_address_that_leaves_takes_only_its_own_keys_along() {
        let all = candidates(&[0; 5]);
        let without: Vec<_> = all.iter().copied().filter(|candidate| candidate.index != 2).collect();
        let (mut moved, mut counts) = (0, [0_u32; 5]);
        for key in 0..10_000 {
            let affinity = stable_hash(&key.to_string());
            let before = choose(Balance::ConsistentHash, &all, affinity, 0).unwrap();
            let after = choose(Balance::ConsistentHash, &without, affinity, 99).unwrap();
            counts[before] += 1;
            if before == 2 {
                moved += 1;
            } else {
                assert_eq!(before, after, "key {key} moved without need");
            }
        }
        assert_eq!(moved, counts[2]);
        assert!(counts.iter().all(|count| (1700..2300).contains(count)), "uneven: {counts:?}");
    }
}
