//! How many stored responses does a purge name?
//!
//! Counted just before the purge, for its receipt alone: what counts is the purge. So it is bounded, in what it looks
//! at and in how long it waits.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::cache::entry::Entry;
use crate::cache::ledger::Ledger;
use crate::cache::memory::Memory;
use crate::policy::key::Key;
use crate::policy::reuse::Standing;
use crate::policy::scope::{Labels, Scope};
use crate::wire::purge::Matched;

/// Stored responses that one scan looks at. A purge must not take as long as the memory is large: this many take some
/// tens of milliseconds.
const MAX_LOOKS: usize = 100_000;

/// How long a purge waits for its turn to scan; then it goes without a count.
const TURN: Duration = Duration::from_millis(50);

/// Counts what purges name, one scan at a time.
#[derive(Debug)]
pub(super) struct Census {
    ledger: Arc<Ledger>,
    memory: Arc<Memory>,
    turn: Arc<Semaphore>,
}

impl Census {
    pub(super) fn new(ledger: Arc<Ledger>, memory: Arc<Memory>) -> Self {
        Self { ledger, memory, turn: Arc::new(Semaphore::new(1)) }
    }

    /// How many stored responses that are not dead have one of these keys.
    pub(super) fn under(&self, keys: &[Key]) -> Matched {
        let stored = keys.iter().filter_map(|key| self.memory.get(key.as_bytes()));
        let count = stored.map(|stored| stored.entries().iter().filter(|entry| is_there(entry, &self.ledger)).count());
        Matched { edge: count.sum::<usize>() as u64, partial: false }
    }

    /// How many stored responses that are not dead these scopes name, as far as a scan in bounds finds them.
    pub(super) async fn named(&self, scopes: &[Scope]) -> Matched {
        const UNKNOWN: Matched = Matched { edge: 0, partial: true };
        let turn = Arc::clone(&self.turn).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(TURN, turn).await else { return UNKNOWN };
        let (ledger, memory, names) = (Arc::clone(&self.ledger), Arc::clone(&self.memory), Names::of(scopes));
        // Nobody has to wait for it at the end of the process: it ends by itself, after MAX_LOOKS.
        let scan = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            scan(&ledger, &memory, &names, MAX_LOOKS)
        });
        scan.await.unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
impl Census {
    /// What it counts in.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Takes the turn, until what this gives is dropped.
    pub(super) async fn occupy(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.turn).acquire_owned().await.expect("it is never closed")
    }
}

/// Counts until `most` were looked at.
pub(super) fn scan(ledger: &Ledger, memory: &Memory, names: &Names, most: usize) -> Matched {
    let mut matched = Matched::default();
    let mut looks = 0;
    for (_, stored) in memory.iter() {
        for entry in stored.entries() {
            if looks == most {
                return Matched { partial: true, ..matched };
            }
            looks += 1;
            matched.edge += u64::from(names.name(&entry.head.labels) && is_there(entry, ledger));
        }
    }
    matched
}

/// A stale one is still there; a dead one only takes room.
fn is_there(entry: &Entry, ledger: &Ledger) -> bool {
    entry.standing(ledger) != Standing::Dead
}

/// Many scopes, ordered so that a response is held against all of them in a few look-ups.
#[derive(Debug, Default)]
pub(super) struct Names {
    everything: bool,
    hosts: HashSet<Box<str>>,
    /// In order; none begins with another one.
    prefixes: Vec<Box<str>>,
    tags: HashSet<Box<[u8]>>,
    groups: HashSet<(Box<str>, Box<[u8]>)>,
    urls: HashSet<Box<str>>,
}

impl Names {
    pub(super) fn of(scopes: &[Scope]) -> Self {
        let mut names = Self::default();
        for scope in scopes.iter().cloned() {
            match scope {
                Scope::Everything => names.everything = true,
                Scope::Host(host) => _ = names.hosts.insert(host),
                Scope::Prefix(prefix) => names.prefixes.push(prefix),
                Scope::Tag(tag) => _ = names.tags.insert(tag),
                Scope::Group { origin, name } => _ = names.groups.insert((origin, name)),
                Scope::Url(url) => _ = names.urls.insert(url),
            }
        }
        names.prefixes.sort_unstable();
        // The shorter one stands first, and names all that the longer one does.
        names.prefixes.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        names
    }

    /// Whether one of the scopes names a response with these labels: as [`Scope::names`].
    pub(super) fn name(&self, labels: &Labels) -> bool {
        self.everything
            || self.urls.contains(labels.url())
            || self.has_prefix(labels.url())
            || self.hosts.contains(labels.host())
            || self.hosts.contains(labels.authority())
            || (!self.tags.is_empty() && labels.tags().iter().any(|tag| self.tags.contains(tag)))
            || (!self.groups.is_empty() && self.has_group(labels))
    }

    /// Of prefixes that do not begin with one another, only the last that is not behind the URL can begin it.
    fn has_prefix(&self, url: &str) -> bool {
        let behind = self.prefixes.partition_point(|prefix| **prefix <= *url);
        behind > 0 && url.starts_with(&*self.prefixes[behind - 1])
    }

    fn has_group(&self, labels: &Labels) -> bool {
        let origin: Box<str> = labels.origin().into();
        labels.tags().groups().any(|group| self.groups.contains(&(origin.clone(), Box::from(group))))
    }
}
