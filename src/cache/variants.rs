//! What is stored under one key: the variants of a response, and for whom answers could not be shared.

use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::entry::Entry;
use crate::policy::key::Key;
use crate::policy::outcome::Detail;
use crate::policy::time::Timestamp;

/// What is stored under one key: the variants, the latest first. A clone shares them.
#[derive(Debug, Clone, Default)]
pub struct Variants(Kept);

#[derive(Debug, Clone, Default)]
enum Kept {
    #[default]
    Nothing,
    /// Most keys: one response, and nothing more to know.
    One(Arc<Entry>),
    More(Arc<More>),
}

/// Bytes that these cost beside the responses, whose pointers are part of what is reckoned for each.
const MORE_OVERHEAD: u64 = 176;

#[derive(Debug)]
pub(super) struct More {
    entries: Box<[Arc<Entry>]>,
    /// When each of them last answered, or came, in milliseconds since the epoch. A use that falls together with a change may be
    /// lost, and so is that of one that was alone.
    used_at: Box<[AtomicU64]>,
    marks: Marks,
    key: Key,
}

/// What was stored under one key, as long as somebody keeps it.
#[derive(Debug, Default)]
pub(super) enum WeakVariants {
    #[default]
    Nothing,
    One(Weak<Entry>),
    More(Weak<More>),
}

impl WeakVariants {
    /// What was stored; `None`: nothing, or nobody keeps it any more.
    pub(super) fn upgrade(&self) -> Option<Variants> {
        match self {
            Self::Nothing => None,
            Self::One(entry) => entry.upgrade().map(Kept::One),
            Self::More(more) => more.upgrade().map(Kept::More),
        }
        .map(Variants)
    }
}

/// For whom an answer could not be shared when it last came (hit-for-miss). What has ended is kept to tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks {
    /// Anybody.
    pub everybody: Option<Mark>,
    /// Those with `Authorization`.
    pub authorized: Option<Mark>,
}

/// An answer that could not be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Until when requests do not queue.
    pub until: Timestamp,
    /// Why it was not stored, or was stale as it came.
    pub why: Detail,
}

impl Marks {
    /// Nobody queues until then.
    pub fn for_everybody(until: Timestamp, why: Detail) -> Self {
        Self { everybody: Some(Mark { until, why }), authorized: None }
    }

    /// Those with `Authorization` do not queue until then.
    pub fn for_authorized(until: Timestamp, why: Detail) -> Self {
        Self { authorized: Some(Mark { until, why }), everybody: None }
    }

    /// The mark that concerns such a request: the one that reaches furthest.
    pub fn of(&self, is_authorized: bool) -> Option<Mark> {
        furthest(self.everybody, self.authorized.filter(|_| is_authorized))
    }

    /// Whether they already say what `news` do, for at least half as long from `now` on.
    pub fn tell(&self, news: &Self, now: Timestamp) -> bool {
        let tells = |known: Option<Mark>, news: Option<Mark>| {
            let Some(news) = news else { return true };
            known.is_some_and(|known| known.why == news.why && known.until.since(now) >= news.until.since(now) / 2)
        };
        tells(self.everybody, news.everybody) && tells(self.authorized, news.authorized)
    }

    /// Both, each as far as it reaches.
    fn and(self, other: Self) -> Self {
        Self {
            everybody: furthest(other.everybody, self.everybody),
            authorized: furthest(other.authorized, self.authorized),
        }
    }
}

/// The one that ends last; of two that end together the first.
fn furthest(one: Option<Mark>, other: Option<Mark>) -> Option<Mark> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.until > one.until { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// One more owner of a variant.
fn shared((entry, used_at): (&Arc<Entry>, Timestamp)) -> (Arc<Entry>, Timestamp) {
    (Arc::clone(entry), used_at)
}

impl Variants {
    /// These responses, the latest first, with when each was last used.
    fn new(key: &Key, mut entries: Vec<(Arc<Entry>, Timestamp)>, marks: Marks) -> Self {
        let is_marked = marks != Marks::default();
        Self(match entries.len() {
            0 if !is_marked => Kept::Nothing,
            1 if !is_marked => Kept::One(entries.swap_remove(0).0),
            _ => {
                let used_at = entries.iter().map(|(_, used_at)| AtomicU64::new(used_at.as_millis())).collect();
                let entries = entries.into_iter().map(|(entry, _)| entry).collect();
                Kept::More(Arc::new(More { entries, used_at, marks, key: key.clone() }))
            }
        })
    }

    /// Each variant, and when it last answered, or came.
    fn uses(&self) -> impl Iterator<Item = (&Arc<Entry>, Timestamp)> {
        let used_at = |index: usize, entry: &Entry| match &self.0 {
            Kept::More(more) => Timestamp::from_millis(more.used_at[index].load(Ordering::Relaxed)),
            // It has nobody to compete with.
            Kept::Nothing | Kept::One(_) => entry.head.received_at,
        };
        self.entries().iter().enumerate().map(move |(index, entry)| (entry, used_at(index, entry)))
    }

    /// Takes down that one of them answered.
    pub fn used(&self, entry: &Arc<Entry>, now: Timestamp) {
        if let Kept::More(more) = &self.0
            && let Some(index) = more.entries.iter().position(|other| Arc::ptr_eq(other, entry))
        {
            more.used_at[index].store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Whether it is what is stored under this key.
    pub(super) fn is_under(&self, key: &[u8]) -> bool {
        match &self.0 {
            Kept::Nothing => false,
            Kept::One(entry) => entry.head.labels.key().as_bytes() == key,
            Kept::More(more) => more.key.as_bytes() == key,
        }
    }

    /// How often the variants answered, where there are any.
    pub(super) fn hits(&self) -> Option<u64> {
        self.entries().iter().map(|entry| entry.hits()).reduce(|all, hits| all + hits)
    }

    /// The variants, the latest first.
    pub fn entries(&self) -> &[Arc<Entry>] {
        match &self.0 {
            Kept::Nothing => &[],
            Kept::One(entry) => slice::from_ref(entry),
            Kept::More(more) => &more.entries,
        }
    }

    /// The same without keeping them.
    pub(super) fn downgrade(&self) -> WeakVariants {
        match &self.0 {
            Kept::Nothing => WeakVariants::default(),
            Kept::One(entry) => WeakVariants::One(Arc::downgrade(entry)),
            Kept::More(more) => WeakVariants::More(Arc::downgrade(more)),
        }
    }

    /// These variants as they would be with one that came from the second tier.
    #[must_use]
    pub fn with_promoted(&self, entry: Arc<Entry>) -> Self {
        self.with(entry, None, usize::MAX)
    }

    /// Whether an answer for this key could not be shared a moment ago, with requests like this one.
    pub fn is_unshareable(&self, is_authorized: bool, now: Timestamp) -> bool {
        self.marks().of(is_authorized).is_some_and(|mark| now < mark.until)
    }

    /// For whom an answer could not be shared when it last came.
    pub fn marks(&self) -> Marks {
        match &self.0 {
            Kept::Nothing | Kept::One(_) => Marks::default(),
            Kept::More(more) => more.marks,
        }
    }

    /// Bytes of memory that they cost, beside the key.
    pub(super) fn weight(&self) -> u64 {
        let itself = if matches!(self.0, Kept::More(_)) { MORE_OVERHEAD } else { 0 };
        itself + self.entries().iter().map(|entry| entry.weight()).sum::<u64>()
    }

    /// Whether it is one of them.
    pub(super) fn holds(&self, entry: &Arc<Entry>) -> bool {
        self.entries().iter().any(|other| Arc::ptr_eq(other, entry))
    }

    /// These variants with `entry` in front, in place of `gone` and of the one that the same request fields select.
    /// Where there are too many, the one that answered least recently goes.
    pub(super) fn with(&self, entry: Arc<Entry>, gone: Option<&Arc<Entry>>, limit: usize) -> Self {
        let mut entries = Vec::with_capacity(self.entries().len() + 1);
        let is_gone = |other: &Arc<Entry>| gone.is_some_and(|gone| Arc::ptr_eq(other, gone));
        let others = self.uses().filter(|(other, _)| !is_gone(other) && !other.selects_like(&entry));
        entries.extend(others.map(shared));
        if entries.len() >= limit.max(1) {
            let idlest = (0..entries.len()).min_by_key(|index| entries[*index].1);
            if let Some(idlest) = idlest {
                entries.remove(idlest);
            }
        }
        // A response that was fresh when it came could be shared; one that was not says nothing new.
        let is_shareable = entry.head.freshness.is_fresh(entry.head.received_at);
        let marks = if is_shareable { Marks::default() } else { self.marks() };
        let (key, received_at) = (entry.head.labels.key().clone(), entry.head.received_at);
        entries.insert(0, (entry, received_at));
        Self::new(&key, entries, marks)
    }

    /// These variants with `marks` as well.
    #[must_use]
    pub(super) fn marked(&self, key: &Key, marks: Marks) -> Self {
        Self::new(key, self.uses().map(shared).collect(), self.marks().and(marks))
    }

    /// These variants without one; `None`: nothing is left to know.
    pub(super) fn without(&self, entry: &Arc<Entry>) -> Option<Self> {
        let others = self.uses().filter(|(other, _)| !Arc::ptr_eq(other, entry));
        let left = Self::new(entry.head.labels.key(), others.map(shared).collect(), self.marks());
        (!matches!(left.0, Kept::Nothing)).then_some(left)
    }
}
