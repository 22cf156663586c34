//! What do other nodes have of this, or what did this one have before it was started anew; and who of them fetches it?
//!
//! Asked by a fill, once nothing in memory will do.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use tokio::time::Instant;

use super::Shared;
use super::inquiry::{self, Inquiry, Way};
use super::look_up::{self, Found, Need, Usable};
use crate::cache::entry::{Entry, Head};
use crate::cache::ledger::{Ledger, Stamp};
use crate::cache::tier::{Extent, Tier, Unreachable};
use crate::fleet::Fleet;
use crate::fleet::lease::{Lease, Leases, Taken};
use crate::link::Link;
use crate::policy::key::Key;
use crate::policy::outcome::{Detail, Forward, Outcome};

/// How long a fill waits for another node's to land before it goes by itself. Longer than most origins take; and short
/// enough that no client gives up for it.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How soon it is looked again whether it has landed, and how seldom.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// The second tier, and the nodes that share it.
#[derive(Debug)]
pub struct Elsewhere {
    /// Where stored responses are.
    pub tier: Arc<dyn Tier>,
    /// The nodes: what they store is used only once they were told of all that was purged here.
    pub fleet: Arc<Fleet>,
    /// Which of them fetches; `None`: each one does.
    pub leases: Option<Leases>,
    /// The connections to Redis: to tell how they fare.
    pub links: Vec<Link>,
}

impl Elsewhere {
    /// Whether what other nodes stored may be used.
    fn is_current(&self) -> bool {
        self.fleet.is_told()
    }

    /// What the second tier has for a request with these fields, as far as it may be used by a node with this ledger.
    pub(super) async fn find(
        &self,
        ledger: &Ledger,
        key: &Key,
        request: &HeaderMap,
    ) -> Result<Option<Arc<Entry>>, Unreachable> {
        if !self.is_current() {
            return Ok(None);
        }
        let known = ledger.stamp();
        let found = self.tier.get(key, request).await?;
        // Asked again: a purge may have come while Redis answered.
        Ok(found.filter(|_| self.is_current()).map(|entry| as_known_to(known, entry)))
    }
}

/// What comes of looking elsewhere.
pub(super) enum Sought {
    /// A stored response answers.
    Found(Usable),
    /// The origin must be asked, under this lease.
    Needed(Need, Option<Lease>),
}

/// Looks elsewhere for what `need` is about. `is_for_many`: others may wait for it here, and so may other nodes.
pub(super) async fn seek(shared: &Shared, inquiry: &Inquiry, need: Need, is_for_many: bool) -> Sought {
    match shared.elsewhere.as_ref().filter(|_| may_be_elsewhere(&need)) {
        // In a box: fetches without a second tier would carry the room for it.
        Some(elsewhere) => Box::pin(Search { shared, inquiry, elsewhere }.run(need, is_for_many)).await,
        None => Sought::Needed(need, None),
    }
}

/// A response that is stored elsewhere, and answers; the origin is not to be asked.
pub(super) async fn peek(shared: &Shared, inquiry: &Inquiry) -> Option<Usable> {
    let has_body = inquiry.headers.contains_key(CONTENT_LENGTH) || inquiry.headers.contains_key(TRANSFER_ENCODING);
    let is_looked_up = inquiry::way(&inquiry.method, &inquiry.headers, has_body, inquiry.treatment()) == Way::Cache;
    let elsewhere = shared.elsewhere.as_ref().filter(|_| is_looked_up)?;
    Search { shared, inquiry, elsewhere }.look(&mut Need::nothing_stored()).await.ok().flatten()
}

/// Whether what the second tier has would be used, for a request that memory leaves in need: to answer it, or to ask the
/// origin with.
pub(super) fn is_worth(shared: &Shared, inquiry: &Inquiry, need: &Need, entry: &Arc<Entry>) -> bool {
    let asked = inquiry.asked(shared.clock.now());
    let judged = look_up::judge(&shared.ledger, entry, &asked, inquiry.directives().as_ref());
    let is_usable = match judged {
        Found::Usable(_) => true,
        Found::Needed(of_entry) => of_entry.stored.is_some(),
    };
    may_be_elsewhere(need) && is_news(need, entry) && is_usable
}

/// Whether an entry is more recent than what memory has.
fn is_news(need: &Need, entry: &Entry) -> bool {
    need.stored.as_ref().is_none_or(|stored| entry.head.is_later_than(&stored.head))
}

/// Whether somebody else could have what is needed: not what the client, or the response itself, says to ask about every
/// time, nor what nobody can share.
fn may_be_elsewhere(need: &Need) -> bool {
    let is_always_asked = need.stored.is_some() && (need.forward == Forward::Request || need.why == Detail::NoCache);
    !need.unshareable && !is_always_asked
}

struct Search<'a> {
    shared: &'a Shared,
    inquiry: &'a Inquiry,
    elsewhere: &'a Elsewhere,
}

impl Search<'_> {
    /// Looks, and waits for its turn to ask the origin, where others may be about to.
    async fn run(&self, mut need: Need, is_for_many: bool) -> Sought {
        let began = Instant::now();
        match self.look(&mut need).await {
            Ok(Some(usable)) => return Sought::Found(usable),
            Ok(None) => {}
            // Who has waited once for a Redis that does not answer does not wait again.
            Err(Unreachable) => return Sought::Needed(need, None),
        }
        match self.elsewhere.leases.as_ref().filter(|_| is_for_many) {
            Some(leases) => self.take_turns(leases, began, need).await,
            None => Sought::Needed(need, None),
        }
    }

    /// Looks into the second tier. What is there goes into memory; what cannot answer may serve to ask the origin with.
    async fn look(&self, need: &mut Need) -> Result<Option<Usable>, Unreachable> {
        let Self { shared, inquiry, elsewhere } = self;
        let found = elsewhere.find(&shared.ledger, &inquiry.key, &inquiry.headers).await?;
        let Some(entry) = found.filter(|entry| is_news(need, entry)) else { return Ok(None) };
        let asked = inquiry.asked(shared.clock.now());
        match look_up::judge(&shared.ledger, &entry, &asked, inquiry.directives().as_ref()) {
            Found::Usable(usable) => {
                self.promote(&entry);
                let detail = usable.outcome.detail.or(Some(Detail::Redis));
                Ok(Some(Usable { outcome: Outcome { detail, ..usable.outcome }, ..usable }))
            }
            Found::Needed(of_entry) => {
                if of_entry.stored.is_some() {
                    self.promote(&entry);
                    *need = Need { alone: need.alone, ..of_entry };
                }
                Ok(None)
            }
        }
    }

    fn promote(&self, entry: &Arc<Entry>) {
        self.shared.memory.put(Arc::clone(entry), None);
    }

    /// Takes the lease, or waits for what its holder brings. Redis was asked for this request from `began` on.
    async fn take_turns(&self, leases: &Leases, began: Instant, mut need: Need) -> Sought {
        let deadline = began + LONGEST_WAIT;
        let (mut pause, mut asked) = (FIRST_PAUSE, began);
        loop {
            let taken = leases.take(&self.inquiry.key, asked).await;
            match taken {
                Taken::Unknown => return Sought::Needed(need, None),
                Taken::Theirs if Instant::now() + pause > deadline => return Sought::Needed(need, None),
                Taken::Theirs => tokio::time::sleep(pause).await,
                // After winning it, look again: its last holder may have landed in between.
                Taken::Ours(_) => {}
            }
            (pause, asked) = ((pause * 2).min(LONGEST_PAUSE), Instant::now());
            match (self.look(&mut need).await, taken) {
                (Ok(Some(usable)), _) => return Sought::Found(usable),
                (_, Taken::Ours(lease)) => return Sought::Needed(need, Some(lease)),
                (Err(Unreachable), _) => return Sought::Needed(need, None),
                (Ok(None), _) => {}
            }
        }
    }
}

/// A response of another node, as a node judges it that knew so much before it asked for it.
fn as_known_to(known: Stamp, entry: Arc<Entry>) -> Arc<Entry> {
    let stamp = entry.head.stamp.as_known_to(known);
    if stamp == entry.head.stamp {
        return entry;
    }
    let head = Head { stamp, ..entry.head.clone() };
    Arc::new(Entry::new(head, entry.body.clone(), entry.part()))
}

/// Stores a response elsewhere, too, in the background; other nodes that wait for `lease` find it there.
pub(super) fn store(shared: &Shared, key: &Key, entry: &Arc<Entry>, extent: Extent, lease: Option<Lease>) {
    let Some(elsewhere) = &shared.elsewhere else { return };
    let written = elsewhere.tier.put(key, entry, extent);
    if let Some(lease) = lease {
        shared.tasks.spawn(async move {
            written.await;
            drop(lease);
        });
    }
}

/// Takes a response out elsewhere, too, in the background.
pub(super) fn remove(shared: &Shared, key: &Key, entry: &Arc<Entry>) {
    if let Some(elsewhere) = &shared.elsewhere {
        elsewhere.tier.remove(key, entry);
    }
}
