//! How many stored responses does a purge name?
//!
//! Counted when the purge is in force, for its receipt alone: what counts is the purge. So it is bounded, in what it
//! looks at and in how long it waits; and what is fetched anew or evicted meanwhile is not in it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::cache::entry::Entry;
use crate::cache::ledger::Ledger;
use crate::cache::memory::{MAX_LOOKS, Memory};
use crate::cache::variants::Variants;
use crate::policy::key::Key;
use crate::policy::scope::{Labels, Scope};
use crate::wire::purge::Matched;

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

    /// How many stored responses that the purge `number` found there have one of these keys.
    pub(super) fn under(&self, keys: &[Key], number: u64) -> Matched {
        let stored = keys.iter().filter_map(|key| self.memory.get(key.as_bytes()));
        let count = stored.map(|stored| count(&stored, |entry| was_there(entry, &self.ledger, number)));
        Matched { edge: count.sum(), partial: false }
    }

    /// How many stored responses that the purge `number` found there these scopes name, as far as a scan in bounds finds
    /// them.
    pub(super) async fn named(&self, scopes: &[Scope], number: u64) -> Matched {
        const UNKNOWN: Matched = Matched { edge: 0, partial: true };
        let turn = Arc::clone(&self.turn).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(TURN, turn).await else { return UNKNOWN };
        let (ledger, memory, names) = (Arc::clone(&self.ledger), Arc::clone(&self.memory), Names::of(scopes));
        // Nobody has to wait for it at the end of the process: it ends by itself, after MAX_LOOKS.
        let scan = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            scan((&ledger, &memory), &names, number, MAX_LOOKS)
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
pub(super) fn scan((ledger, memory): (&Ledger, &Memory), names: &Names, number: u64, most: usize) -> Matched {
    let mut edge = 0;
    let seen = memory.look_through(most, |_, stored| {
        edge += count(stored, |entry| names.name(&entry.head.labels) && was_there(entry, ledger, number));
        ControlFlow::Continue(())
    });
    Matched { edge, partial: seen.is_break() }
}

fn count(stored: &Variants, counts: impl Fn(&Entry) -> bool) -> u64 {
    stored.entries().iter().filter(|entry| counts(entry)).count() as u64
}

/// A stale one was still there; one that was dead already only took room.
fn was_there(entry: &Entry, ledger: &Ledger, number: u64) -> bool {
    let head = &entry.head;
    let is_only_one_since = head.stamp.number + 1 == number;
    head.stamp.number < number && (is_only_one_since || !ledger.was_dead(&head.labels, head.stamp, number))
}

/// Many scopes, ordered so that a response is held against all of them in a few look-ups.
#[derive(Debug, Default)]
pub(super) struct Names {
    hosts: HashSet<Box<str>>,
    /// In order; none begins with another one.
    prefixes: Vec<Box<str>>,
    tags: HashSet<Box<[u8]>>,
    urls: HashSet<Box<str>>,
    /// What orders hardly name more than once.
    others: Vec<Scope>,
}

impl Names {
    pub(super) fn of(scopes: &[Scope]) -> Self {
        let mut names = Self::default();
        for scope in scopes.iter().cloned() {
            match scope {
                Scope::Host(host) => _ = names.hosts.insert(host),
                Scope::Prefix(prefix) => names.prefixes.push(prefix),
                Scope::Tag(tag) => _ = names.tags.insert(tag),
                Scope::Url(url) => _ = names.urls.insert(url),
                Scope::Everything | Scope::Group { .. } => names.others.push(scope),
            }
        }
        names.prefixes.sort_unstable();
        // The shorter one stands first, and names all that the longer one does.
        names.prefixes.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        names
    }

    /// Whether one of the scopes names a response with these labels: as [`Scope::names`].
    pub(super) fn name(&self, labels: &Labels) -> bool {
        self.others.iter().any(|scope| scope.names(labels))
            // Where nothing is of a kind, what it would be held against is not read: most of a scan's time goes by
            // waiting for memory.
            || self.urls.contains(labels.url())
            || self.has_prefix(labels.url())
            || (!self.hosts.is_empty() && [labels.host(), labels.authority()].iter().any(|host| self.hosts.contains(*host)))
            || (!self.tags.is_empty() && labels.tags().iter().any(|tag| self.tags.contains(tag)))
    }

    /// Of prefixes that do not begin with one another, only the last that is not behind the URL can begin it.
    fn has_prefix(&self, url: &str) -> bool {
        let behind = self.prefixes.partition_point(|prefix| **prefix <= *url);
        behind > 0 && url.starts_with(&*self.prefixes[behind - 1])
    }
}
