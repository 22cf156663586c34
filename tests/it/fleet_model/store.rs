//! What is in the simulated Redis, and what do the scripts do to it? As `src/fleet/lua` has them, line by line.

use std::collections::BTreeMap;
use std::time::Duration;

use larder::fleet::log::{Draft, Entry, Member, Muster, PAGE, State};
use larder::fleet::position::Position;

/// Entries that are looked through for one that may be there already.
const LOOKED_THROUGH: usize = 2048;

/// Entries of one millisecond.
const PER_MILLI: u64 = 4096;

/// Everything that one master holds: a fail-over brings back an earlier one of these, whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) stream: Vec<Entry>,
    pub(super) meta: Option<State>,
    /// By name: when it was last heard of, and what it said.
    pub(super) nodes: BTreeMap<String, (u64, Member)>,
}

/// What a beat says.
pub(super) struct Beat<'a> {
    pub(super) now: u64,
    pub(super) lease: Duration,
    /// `None`: only looks.
    pub(super) me: Option<&'a Member>,
    pub(super) floor: Position,
    /// The era of a log that is begun.
    pub(super) era: u64,
    /// The era that is given up; zero: none.
    pub(super) given_up: u64,
}

impl Store {
    /// `append.lua`; `None`: it is another log.
    pub(super) fn append(
        &mut self,
        (now, kept): (u64, usize),
        era: u64,
        floor: Position,
        draft: &Draft,
    ) -> Option<Position> {
        let meta = self.meta.as_mut().filter(|meta| meta.era == era)?;
        let mut latest = self.stream.iter().rev().take(LOOKED_THROUGH);
        if draft.again
            && let Some(there) = latest.find(|entry| entry.id == draft.id)
        {
            return Some(there.position);
        }
        let behind = meta.last.max(floor);
        let (mut millis, mut order) = (behind.millis(), behind.order());
        if now > millis {
            (millis, order) = (now, 0);
        } else if order < PER_MILLI - 1 {
            order += 1;
        } else {
            (millis, order) = (millis + 1, 0);
        }
        let position = position(millis, order);
        self.stream.push(Entry { position, id: draft.id, previous: meta.tail, payload: draft.payload.clone() });
        (meta.last, meta.tail) = (position, draft.id);
        self.trim(kept);
        Some(position)
    }

    /// `MAXLEN`.
    pub(super) fn trim(&mut self, kept: usize) {
        self.stream.drain(..self.stream.len().saturating_sub(kept));
    }

    /// `beat.lua`.
    pub(super) fn beat(&mut self, beat: &Beat<'_>) -> Muster {
        let Beat { now, .. } = *beat;
        let last = self.stream.last().map(|entry| entry.position).or(self.meta.map(|meta| meta.base));
        let sound = self.meta.filter(|meta| last == Some(meta.last) && meta.era != beat.given_up);
        let state = sound.unwrap_or_else(|| {
            let behind = self.meta.map_or(0, |meta| meta.last.millis() + 1);
            let base = position(now.max(beat.floor.millis() + 1).max(behind), 0);
            self.stream.clear();
            State { era: beat.era, base, last: base, tail: 0 }
        });
        self.meta = Some(state);
        let lease = u64::try_from(beat.lease.as_millis()).expect("seconds");
        if let Some(me) = beat.me {
            self.nodes.insert(me.name.clone(), (now, me.clone()));
            self.nodes.retain(|_, (heard, _)| *heard > now.saturating_sub(10 * lease));
        }
        let living = self.nodes.values().filter(|(heard, _)| *heard >= now - lease);
        Muster { state, members: living.map(|(_, member)| member.clone()).collect() }
    }

    /// `XREAD`.
    pub(super) fn read(&self, after: Position) -> Vec<Entry> {
        self.stream.iter().filter(|entry| entry.position > after).take(PAGE).cloned().collect()
    }

    /// `XRANGE`.
    pub(super) fn between(&self, first: Position, last: Position) -> Vec<Entry> {
        let within = self.stream.iter().filter(|entry| (first..=last).contains(&entry.position));
        within.take(8 * PAGE).cloned().collect()
    }

    /// Whether the log has an entry of this id.
    pub(super) fn holds(&self, id: u64) -> bool {
        self.stream.iter().any(|entry| entry.id == id)
    }
}

pub(super) fn position(millis: u64, order: u64) -> Position {
    Position::new(millis, order).expect("the clock is between 2020 and 2089")
}
