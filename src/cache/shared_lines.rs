//! Lines of fields that many stored responses have in common: each set of them is kept once.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;

use crate::policy::fields::{FieldLines, Line};

/// Bytes of all that is kept here, at most. Stored responses that share lines are not charged for them; what no longer fits
/// in here, each keeps for itself.
const CAPACITY: usize = 4 << 20;

/// How many lines are remembered, to know one that comes again.
const REMEMBERED: usize = 4096;

/// Lines that take less are not worth a place here.
const WORTHWHILE: usize = 64;

/// Bytes that a set takes beyond its lines.
const OVERHEAD: usize = 64;

/// Lines that are kept once for all that have them. Whoever drops the last of these takes them off the table.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedLines(Option<Arc<FieldLines>>);

/// There is one table, as there is one memory.
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

struct Table {
    sets: HashSet<Arc<FieldLines>, foldhash::fast::RandomState>,
    /// Of all sets.
    bytes: usize,
    /// Hashes of lines that came lately, by the place that a part of the hash tells.
    lately: Box<[u32]>,
}

impl Default for Table {
    fn default() -> Self {
        Self { sets: HashSet::default(), bytes: 0, lately: vec![0; REMEMBERED].into() }
    }
}

/// The table; what a thread that panicked left of it is whole.
fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Those of `lines` that it has alone, and those that others had as well a short while ago. `None`: there are none of
/// these, or they are not worth it, or there is no room for them.
pub(super) fn divide(lines: &FieldLines) -> Option<(FieldLines, SharedLines)> {
    let all: SmallVec<[Line<'_>; 16]> = lines.iter().collect();
    let (mut own, mut common) = (SmallVec::<[_; 16]>::new(), SmallVec::<[_; 16]>::new());
    let mut table = table();
    // Lines of one name stay together: their order among each other has a meaning.
    for one_name in all.chunk_by(|line, next| line.name == next.name) {
        // Without a short cut: all of them are remembered.
        let known = one_name.iter().filter(|line| table.is_known(line)).count();
        let part = if known == one_name.len() { &mut common } else { &mut own };
        part.extend_from_slice(one_name);
    }
    let common = table.keep(common.into_iter().collect())?;
    Some((own.into_iter().collect(), common))
}

impl Table {
    /// Whether such a line came lately. It is remembered from now on.
    fn is_known(&mut self, line: &Line<'_>) -> bool {
        // What is the same in two responses by chance, and in no third.
        if matches!(line.name, b"age" | b"content-length" | b"date" | b"expires") {
            return false;
        }
        let [first, second, _, _, trace @ ..] = self.sets.hasher().hash_one(line.whole).to_le_bytes();
        let place = &mut self.lately[usize::from(u16::from_le_bytes([first, second])) % REMEMBERED];
        let trace = u32::from_le_bytes(trace);
        std::mem::replace(place, trace) == trace
    }

    /// The one that is kept of these; `None`: they are not worth it, or there is no room.
    fn keep(&mut self, lines: FieldLines) -> Option<SharedLines> {
        if let Some(kept) = self.sets.get(&lines) {
            return Some(SharedLines(Some(Arc::clone(kept))));
        }
        let cost = cost(&lines);
        if lines.as_bytes().len() < WORTHWHILE || self.bytes + cost > CAPACITY {
            return None;
        }
        self.bytes += cost;
        let kept = Arc::new(lines);
        self.sets.insert(Arc::clone(&kept));
        Some(SharedLines(Some(kept)))
    }
}

impl SharedLines {
    /// The lines, ready to be sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], FieldLines::as_bytes)
    }
}

impl Drop for SharedLines {
    fn drop(&mut self) {
        let Some(lines) = self.0.take() else { return };
        let mut table = table();
        // The table's and this one. Nobody else can have one made of them meanwhile, and everybody drops theirs in here.
        if Arc::strong_count(&lines) == 2 {
            table.bytes -= cost(&lines);
            table.sets.remove(&lines);
        }
        // Before the table is let go.
        drop(lines);
    }
}

fn cost(lines: &FieldLines) -> usize {
    lines.as_bytes().len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn lines(name: &'static str, value: &str) -> FieldLines {
        let line = (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        FieldLines::from(&HeaderMap::from_iter([line]))
    }

    fn is_kept(lines: &FieldLines) -> bool {
        table().sets.contains(lines)
    }

    #[test]
    fn lines_are_kept_until_the_last_one_that_has_them_is_gone() {
        let lines = lines("x-kept", &"a".repeat(WORTHWHILE));
        assert!(divide(&lines).is_none(), "seen for the first time");
        let (own, one) = divide(&lines).expect("seen again");
        assert_eq!((own.as_bytes(), one.as_bytes()), (&b""[..], lines.as_bytes()));
        let others = [one.clone(), divide(&lines).expect("kept").1];
        drop(one);
        assert!(is_kept(&lines));
        drop(others);
        assert!(!is_kept(&lines));
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let value = |number: usize| format!("{number:04}").repeat(CAPACITY / 1024);
        let all = (0..2000).map(|number| lines("x-large", &value(number)));
        let kept: Vec<_> = all.filter_map(|lines| divide(&lines).or_else(|| divide(&lines))).collect();
        assert!((200..=256).contains(&kept.len()), "{} of 16 KiB each", kept.len());
        assert!(table().bytes <= CAPACITY);
        drop(kept);
        assert!(table().bytes < CAPACITY / 2, "there is room again");
    }

    #[test]
    fn many_threads_leave_nothing_behind() {
        let lines: Vec<_> = (0..4).map(|number| lines("x-threads", &format!("{number}").repeat(WORTHWHILE))).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for turn in 0..5000 {
                        let one = divide(&lines[turn % 4]);
                        drop((one.as_ref().map(|(_, common)| common.clone()), one));
                    }
                });
            }
        });
        assert!(lines.iter().all(|lines| !is_kept(lines)));
    }
}
