//! What is noted of one scope, and of all scopes of one kind.

use papaya::HashMap;

use crate::cache::sync::crossing;
use crate::policy::scope::Severity;
use crate::policy::time::Timestamp;

/// Bytes that one scope costs beside its name: the map's slots, the boxed name, the mark, the allocator's rounding.
const OVERHEAD: usize = 176;

/// Soft purges of one scope that are told apart.
const SOFT_STEPS: usize = 4;

/// The last purges of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// Number of the last hard one; zero: none.
    pub(super) hard: u64,
    /// Number of the one before it.
    before_hard: u64,
    /// The soft ones.
    pub(super) softs: Softs,
    /// Purges up to this number that named something narrower were folded into this scope: whether they named a
    /// response, and how hard, is no longer known.
    pub(super) doubt: u64,
}

impl Mark {
    pub(super) fn of(severity: Severity, number: u64, at: Timestamp) -> Self {
        match severity {
            Severity::Hard => Self { hard: number, ..Self::default() },
            Severity::Soft => Self { softs: Softs::one(Soft { number, at }), ..Self::default() },
        }
    }

    pub(super) fn doubt(number: u64) -> Self {
        Self { doubt: number, ..Self::default() }
    }

    /// The number of the last of them.
    pub(super) fn latest(&self) -> u64 {
        self.hard.max(self.softs.latest()).max(self.doubt)
    }

    /// The number of the last hard one before `number`, as far as it is still known; zero: none.
    pub(super) fn hard_before(&self, number: u64) -> u64 {
        [self.hard, self.before_hard].into_iter().find(|hard| *hard < number).unwrap_or(0)
    }

    /// Both. The same purge may come twice.
    fn and(mut self, other: Self) -> Self {
        for soft in other.softs.0 {
            self.softs.add(soft);
        }
        let (earlier, hard) = (self.hard.min(other.hard), self.hard.max(other.hard));
        let earlier = if earlier == hard { 0 } else { earlier };
        let before_hard = self.before_hard.max(other.before_hard).max(earlier);
        Self { hard, before_hard, softs: self.softs, doubt: self.doubt.max(other.doubt) }
    }
}

/// A soft purge, or several up to this number, the first of which was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Soft {
    /// Zero: none.
    number: u64,
    at: Timestamp,
}

/// The soft purges of one scope, the last one last.
///
/// What several of them concern is stale since the first of those, not since the last: else an API that purges softly
/// every minute would have stale responses served for ever. So the last one alone is not enough; and they cannot all be
/// kept. Where there are too many, the two that came closest together become one, the last excepted: it concerns most
/// of what is stored. What was fetched between those two counts as stale since the earlier one: too strict, never less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Softs([Soft; SOFT_STEPS]);

impl Softs {
    fn one(soft: Soft) -> Self {
        let mut softs = Self::default();
        softs.add(soft);
        softs
    }

    /// The number of the last one; zero: none.
    pub(super) fn latest(&self) -> u64 {
        self.0[SOFT_STEPS - 1].number
    }

    /// When the first of those with a higher number than `number` was.
    pub(super) fn since(&self, number: u64) -> Option<Timestamp> {
        self.0.iter().filter(|soft| soft.number > number).map(|soft| soft.at).min()
    }

    fn add(&mut self, soft: Soft) {
        if self.0.iter().any(|known| known.number == soft.number) {
            return;
        }
        let mut all = [soft; SOFT_STEPS + 1];
        all[..SOFT_STEPS].copy_from_slice(&self.0);
        all.sort_unstable_by_key(|soft| soft.number);
        let mut gone = 0;
        if all[0].number > 0 {
            let apart = |index: &usize| all[index + 1].at.since(all[*index].at);
            gone = (0..SOFT_STEPS - 1).min_by_key(apart).unwrap_or(0);
            all[gone + 1].at = all[gone + 1].at.min(all[gone].at);
        }
        all.copy_within(..gone, 1);
        self.0.copy_from_slice(&all[1..]);
    }
}

/// The marks of one kind of scope, by name. One writer at a time, by the ledger's lock; readers never wait.
#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<Box<[u8]>, Mark, foldhash::fast::RandomState>);

impl Marks {
    pub(super) fn get(&self, name: &[u8]) -> Option<Mark> {
        crossing();
        self.0.pin().get(name).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a mark; gives the bytes that it took.
    pub(super) fn add(&self, name: &[u8], mark: Mark) -> usize {
        crossing();
        let marks = self.0.pin();
        let known = marks.get(name).copied();
        marks.insert(name.into(), known.unwrap_or_default().and(mark));
        if known.is_some() { 0 } else { name.len() + OVERHEAD }
    }

    /// Shows `visit` each name with its mark. It may add and forget some meanwhile.
    pub(super) fn each(&self, mut visit: impl FnMut(&[u8], &Mark)) {
        self.0.pin().iter().for_each(|(name, mark)| visit(name, mark));
    }

    /// Forgets a name; gives the bytes that it gave back.
    pub(super) fn forget(&self, name: &[u8]) -> usize {
        crossing();
        if self.0.pin().remove(name).is_some() { name.len() + OVERHEAD } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soft(number: u64, seconds: u64) -> Mark {
        Mark::of(Severity::Soft, number, Timestamp::from_millis(seconds * 1000))
    }

    #[test]
    fn what_several_soft_purges_concern_is_stale_since_the_first() {
        /// Each with its number and its second; then a stamp, and since when such a response is stale.
        type Case<'a> = (&'a [(u64, u64)], u64, Option<u64>, &'a str);
        let four = [(10, 1), (20, 2), (30, 3), (40, 4)];
        let five = [(10, 100), (20, 200), (30, 201), (40, 300), (50, 301)];
        let cases: &[Case<'_>] = &[
            (&[], 0, None, "none"),
            (&[(10, 1)], 9, Some(1), "fetched before"),
            (&[(10, 1)], 10, None, "fetched after"),
            (&four, 0, Some(1), "before all"),
            (&four, 10, Some(2), "between"),
            (&four, 39, Some(4), "the last one alone"),
            (&four, 40, None, "after all"),
            (&[(40, 4), (10, 1), (30, 3), (20, 2)], 10, Some(2), "in any order"),
            (&[(10, 1), (20, 2), (20, 2), (10, 1)], 10, Some(2), "the same ones again"),
            (&[(10, 5), (20, 1)], 0, Some(1), "by the clock of another node"),
            (&five, 0, Some(100), "too many: the first one stays"),
            (&five, 10, Some(200), "the two that came closest together are one"),
            (&five, 20, Some(200), "between those two: too strict, not less"),
            (&five, 30, Some(300), "those after them stay apart"),
            (&five, 40, Some(301), "the last one is never joined with another"),
        ];
        for (purges, number, want, why) in cases {
            let mark = purges.iter().fold(Mark::default(), |mark, &(number, at)| mark.and(soft(number, at)));
            let want = want.map(|seconds| Timestamp::from_millis(seconds * 1000));
            assert_eq!(mark.softs.since(*number), want, "{purges:?} after {number}: {why}");
            assert_eq!(mark.latest(), purges.iter().map(|purge| purge.0).max().unwrap_or(0), "{why}");
        }
    }

    #[test]
    fn a_thousand_soft_purges_are_never_taken_less_strictly() {
        let mut mark = Mark::default();
        for number in 1..=1000 {
            mark = mark.and(soft(number, number * number % 977 + number));
            let plain = |after: u64| (after + 1..=number).map(|n| n * n % 977 + n).min();
            for after in (0..number).step_by(37) {
                let since = mark.softs.since(after).map(Timestamp::as_millis);
                assert!(since <= plain(after).map(|seconds| seconds * 1000) && since.is_some(), "{after} of {number}");
            }
            let last = mark.softs.since(number - 1).map(Timestamp::as_millis);
            assert_eq!(last, Some((number * number % 977 + number) * 1000), "the last one is known exactly");
        }
    }
}
