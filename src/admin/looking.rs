//! What is stored? `GET /objects`.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Office;
use super::query::Query;
use super::reply::Fault;
use crate::cache::entry::Entry;
use crate::cache::memory::MAX_LOOKS;
use crate::cache::variants::Variants;
use crate::policy::key::Key;
use crate::policy::scope::Scope;
use crate::purge::order::Order;
use crate::serve::{Shared, describe};
use crate::wire::objects::{Objects, StoredObject};
use crate::wire::purge::{PurgeRequest, UrlItem};

/// Bytes of an answer, about. 1000 keys of 32 variants, each with as many tags as a head can hold, would be gigabytes.
const MAX_BYTES: usize = 16 << 20;

/// Lists what a name fits: exactly what a purge by that name would name.
pub(super) async fn objects(office: &Office, query: &Query) -> Result<Objects, Fault> {
    let limit = query.limit()?;
    let wanted = Wanted::of(query, &office.shared)?;
    // One at a time: to look takes a processor, and clients need theirs. Those who wait are the listener's connections.
    let turn = Arc::clone(&office.turn).acquire_owned().await;
    let shared = Arc::clone(&office.shared);
    let looking = office.shared.tasks.spawn_blocking(move || {
        let _turn = turn;
        look(&shared, &wanted, limit)
    });
    looking.await.map_err(|_| Fault::internal("what is stored could not be listed"))
}

/// What is to be listed.
enum Wanted {
    Everything,
    /// All that is stored for a URL stands under these keys.
    Keys(Vec<Key>),
    Named(Vec<Scope>),
}

impl Wanted {
    fn of(query: &Query, shared: &Shared) -> Result<Self, Fault> {
        let text = |name| query.value(name).map(str::to_owned);
        let (url, tag, prefix) = (text("url"), text("tag"), text("prefix"));
        match [&url, &tag, &prefix].into_iter().flatten().count() {
            0 => return Ok(Self::Everything),
            1 => {}
            _ => return Err(Fault::bad("give one of url, tag and prefix")),
        }
        let request = PurgeRequest {
            urls: url.into_iter().map(UrlItem::Url).collect(),
            tags: tag.into_iter().collect(),
            prefixes: prefix.into_iter().collect(),
            ..PurgeRequest::default()
        };
        let order = Order::of(&request, &shared.site.load().rules, String::new())?;
        Ok(order.keys.map_or(Self::Named(order.scopes), Self::Keys))
    }

    fn fits(&self, entry: &Entry) -> bool {
        match self {
            Self::Everything | Self::Keys(_) => true,
            Self::Named(scopes) => scopes.iter().any(|scope| scope.names(&entry.head.labels)),
        }
    }
}

fn look(shared: &Shared, wanted: &Wanted, limit: usize) -> Objects {
    let mut list = List { objects: Vec::new(), scanned: 0, bytes: 0, limit };
    let now = shared.clock.now();
    let mut see = |key: &Key, stored: &Variants| {
        let fitting: Vec<_> = stored.entries().iter().filter(|entry| wanted.fits(entry)).collect();
        let object = fitting.first().map(|first| {
            let (headers, cookies) = describe::beside_url(key);
            let variants = fitting.iter().map(|entry| describe::variant(entry, &shared.ledger, now)).collect();
            StoredObject { url: first.head.labels.url().to_owned(), headers, cookies, variants }
        });
        list.add(stored.entries().len(), object)
    };
    let seen = match wanted {
        Wanted::Keys(keys) => keys.iter().try_for_each(|key| match shared.memory.get(key.as_bytes()) {
            Some(stored) => see(key, &stored),
            None => ControlFlow::Continue(()),
        }),
        Wanted::Everything | Wanted::Named(_) => shared.memory.look_through(MAX_LOOKS, see),
    };
    Objects { objects: list.objects, scanned: list.scanned, partial: seen.is_break() }
}

/// What was found so far.
struct List {
    objects: Vec<StoredObject>,
    scanned: u64,
    bytes: usize,
    limit: usize,
}

impl List {
    /// Takes down that so many stored responses were looked at, and the object that they are, where it is wanted and there
    /// is room for it.
    fn add(&mut self, looked_at: usize, object: Option<StoredObject>) -> ControlFlow<()> {
        let is_full = self.objects.len() == self.limit || self.bytes > MAX_BYTES;
        if is_full && object.is_some() {
            return ControlFlow::Break(());
        }
        self.scanned += looked_at as u64;
        self.bytes += object.as_ref().map_or(0, size);
        self.objects.extend(object);
        ControlFlow::Continue(())
    }
}

/// Bytes that an object takes in the answer, about: its texts are what has no bound of its own.
fn size(object: &StoredObject) -> usize {
    let texts = |texts: &[String]| -> usize { texts.iter().map(String::len).sum() };
    let variants = object.variants.iter().map(|one| 256 + texts(&one.tags) + texts(&one.selecting));
    object.url.len() + texts(&object.headers) + texts(&object.cookies) + variants.sum::<usize>()
}
