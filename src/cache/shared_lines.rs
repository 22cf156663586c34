//! Lines of fields that many stored responses have in common: each set of them is kept once.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::policy::fields::{FieldLines, Line};
use foldhash::fast::{FixedState, RandomState};

/// Bytes of all sets, at most. Stored responses are not charged for what they share; what no longer fits in here, each keeps
/// for itself.
const CAPACITY: usize = 4 << 20;

/// Places for lines that came lately.
const PLACES: usize = 1 << 14;

/// In how many responses a line has to be met before the next ones share it.
const OFTEN: u8 = 8;

/// Lines that take less are not worth a place here.
const WORTHWHILE: usize = 64;

/// Bytes that a set takes beyond its lines.
const BESIDE_LINES: usize = 64;

/// Lines that are kept once for all that have them. Whoever drops the last of these takes them off the table.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedLines(Option<Arc<FieldLines>>);

/// There is one table, as there is one memory.
static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

struct Table {
    sets: HashSet<Arc<FieldLines>, RandomState>,
    /// Of all sets.
    bytes: usize,
    /// Lines that came lately, by what a part of their hash says.
    lately: Box<[Met]>,
}

/// A line, by its hash: whose it was when it was last met, and how often the one before was somebody else's.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    line: u32,
    of: u16,
    times: u8,
}

impl Default for Table {
    fn default() -> Self {
        Self { sets: HashSet::default(), bytes: 0, lately: vec![Met::default(); PLACES].into() }
    }
}

/// The table; what a thread that panicked left of it is whole.
fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of the lines of a response with this URL, those that it keeps for itself, and those that many others had as
/// well, a short while ago. `None`: there are none of these, or they are not worth it, or there is no room for them.
pub(super) fn divide(lines: &FieldLines, url: &str) -> Option<(FieldLines, SharedLines)> {
    let [of @ .., _, _, _, _, _, _] = FixedState::default().hash_one(url).to_le_bytes();
    let of = u16::from_le_bytes(of);
    let mut rest = lines.as_bytes();
    let (mut own, mut common) = (Vec::with_capacity(rest.len()), Vec::with_capacity(rest.len()));
    let mut table = table();
    let mut all = lines.iter().peekable();
    // Lines of one name stay together: their order among each other has a meaning.
    while let Some(first) = all.next() {
        let (mut often, mut length) = (table.meets_often(&first, of), first.whole.len());
        while let Some(next) = all.next_if(|next| next.name == first.name) {
            often &= table.meets_often(&next, of);
            length += next.whole.len();
        }
        let (of_one_name, others) = rest.split_at(length);
        if often { &mut common } else { &mut own }.extend_from_slice(of_one_name);
        rest = others;
    }
    let common = table.keep(FieldLines::of(common))?;
    drop(table);
    Some((FieldLines::of(own), common))
}

impl Table {
    /// Meets a line of this response, and says whether it has met it often in others.
    fn meets_often(&mut self, line: &Line<'_>, of: u16) -> bool {
        // What tells one response from another, or one moment: the same in two by chance.
        if matches!(line.name, b"content-length" | b"date" | b"etag" | b"expires" | b"last-modified") {
            return false;
        }
        // Not by a secret: an origin that looks for lines with one place for all of them keeps its own from being shared.
        let [place @ .., _, _, a, b, c, d] = FixedState::default().hash_one(line.whole).to_le_bytes();
        let (line, met) =
            (u32::from_le_bytes([a, b, c, d]), &mut self.lately[usize::from(u16::from_le_bytes(place)) % PLACES]);
        if met.line == line {
            // The same response may come again and again: freshened, completed, with another stamp.
            met.times = met.times.saturating_add(u8::from(met.of != of));
            met.of = of;
            return met.times >= OFTEN;
        }
        // What is met once takes nobody's place who is met often, unless that has not been met for long.
        met.times = met.times.saturating_sub(1);
        if met.times == 0 {
            *met = Met { line, of, times: 1 };
        }
        false
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
    lines.as_bytes().len() + BESIDE_LINES
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    fn lines(name: &'static str, value: &str) -> FieldLines {
        let line = (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        FieldLines::from(&HeaderMap::from_iter([line]))
    }

    /// The lines of the last one of so many responses.
    fn divide_often(lines: &FieldLines, responses: u8) -> Option<(FieldLines, SharedLines)> {
        (0..responses).fold(None, |_, response| divide(lines, &response.to_string()))
    }

    fn is_kept(lines: &FieldLines) -> bool {
        table().sets.contains(lines)
    }

    #[test]
    fn lines_are_kept_until_the_last_one_that_has_them_is_gone() {
        let lines = lines("x-kept", &"a".repeat(WORTHWHILE));
        assert!(divide_often(&lines, OFTEN - 1).is_none(), "not often yet");
        let (own, one) = divide(&lines, "one more").expect("met often");
        assert_eq!((own.as_bytes(), one.as_bytes()), (&b""[..], lines.as_bytes()));
        let others = [one.clone(), divide(&lines, "another").expect("kept").1];
        drop(one);
        assert!(is_kept(&lines));
        drop(others);
        assert!(!is_kept(&lines));
    }

    #[test]
    fn a_response_has_nothing_in_common_with_itself() {
        let lines = lines("x-request-id", &"b".repeat(WORTHWHILE));
        assert!((0..100).all(|_| divide(&lines, "freshened").is_none()));
        assert!(divide(&lines, "another").is_none(), "two are not many");
    }

    #[test]
    fn what_many_have_stands_its_ground_among_what_comes_once() {
        let lines = lines("x-often", &"c".repeat(WORTHWHILE));
        drop(divide_often(&lines, u8::MAX));
        for number in 0..5 * PLACES {
            assert!(divide(&self::lines("x-once", &number.to_string()), &number.to_string()).is_none());
        }
        assert!(divide(&lines, "again").is_some());
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let value = |number: usize| format!("{number:04}").repeat(CAPACITY / 1024);
        let all = (0..1000).map(|number| lines("x-large", &value(number)));
        let kept: Vec<_> = all.filter_map(|lines| divide_often(&lines, 2 * OFTEN)).collect();
        assert!((200..=256).contains(&kept.len()), "{} of 16 KiB each", kept.len());
        assert!(table().bytes <= CAPACITY);
        drop(kept);
        assert!(table().bytes < CAPACITY / 2, "there is room again");
    }

    #[test]
    fn many_threads_leave_nothing_behind() {
        let lines: Vec<_> = (0..4).map(|number| lines("x-threads", &format!("{number}").repeat(WORTHWHILE))).collect();
        std::thread::scope(|scope| {
            for thread in 0..4_usize {
                let lines = &lines;
                scope.spawn(move || {
                    for turn in 0..5000 {
                        let one = divide(&lines[turn % 4], &(turn * 4 + thread).to_string());
                        drop((one.as_ref().map(|(_, common)| common.clone()), one));
                    }
                });
            }
        });
        assert!(lines.iter().all(|lines| !is_kept(lines)));
    }
}
