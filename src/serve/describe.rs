//! How are stored responses, and the keys that they stand under, told to operators?

use crate::cache::entry::Entry;
use crate::cache::ledger::Ledger;
use crate::policy::key::{Key, Parts};
use crate::policy::reuse::{self, Standing};
use crate::policy::time::Timestamp;
use crate::wire::objects::{ObjectVariant, StoredPart};

/// A stored response as it stands now.
pub fn variant(entry: &Entry, ledger: &Ledger, now: Timestamp) -> ObjectVariant {
    let (head, standing) = (&entry.head, entry.standing(ledger));
    let selecting = head.selecting.values();
    ObjectVariant {
        status: head.status.as_u16(),
        selecting: selecting.map(|(name, value)| pair(name.as_str(), ": ", value.as_deref())).collect(),
        age: head.freshness.age(now).as_secs(),
        lifetime: head.freshness.lifetime.as_secs(),
        ttl: reuse::ttl(&head.freshness, standing, now),
        tags: head.labels.tags().iter().map(|tag| String::from_utf8_lossy(tag).into_owned()).collect(),
        size: entry.body.len(),
        part: entry.part().map(|part| StoredPart { first: part.first, complete: part.complete }),
        hits: entry.hits(),
        standing: match standing {
            Standing::Alive => "alive",
            Standing::Stale { .. } => "stale",
            Standing::Unheard => "unheard",
            Standing::Dead => "dead",
        }
        .to_owned(),
        era: format!("{:x}", head.stamp.era),
        stamp: ledger.seq(head.stamp.number),
    }
}

/// The fields, as `name: value`, and the cookies, as `name=value`, that a key holds beside the URL; those that the
/// request did not have are told by their names alone.
pub fn beside_url(key: &Key) -> (Vec<String>, Vec<String>) {
    let Parts { headers, cookies, .. } = key.parts().unwrap_or_default();
    let headers = headers.iter().map(|(name, value)| pair(name, ": ", value.as_deref()));
    let cookies = cookies.iter().flat_map(|(name, values)| match values.as_slice() {
        [] => vec![name.clone()],
        values => values.iter().map(|value| pair(name, "=", Some(value))).collect(),
    });
    (headers.collect(), cookies.collect())
}

/// A name with its value; without the sign between them where there is none.
pub(super) fn pair(name: &str, sign: &str, value: Option<&[u8]>) -> String {
    match value {
        Some(value) => [name, sign, &String::from_utf8_lossy(value)].concat(),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::cache::sample;
    use crate::policy::scope::{Scope, Severity};

    #[test]
    fn what_was_softly_purged_is_told_as_stale() {
        let ledger = Ledger::new();
        let entry = sample::entry(sample::labels("/", &["a", "b"]), ledger.stamp(), Bytes::from_static(b"body"));
        let at = |seconds| Timestamp::EPOCH.plus(Duration::from_secs(seconds));
        let told = variant(&entry, &ledger, at(20));
        assert_eq!((told.standing.as_str(), told.age, told.lifetime, told.ttl), ("alive", 20, 60, 40));
        assert_eq!((told.tags, told.size, told.part, told.stamp), (vec!["a".to_owned(), "b".to_owned()], 4, None, 0));
        ledger.purge(&[Scope::Tag(b"b".as_slice().into())], Severity::Soft, at(25));
        let told = variant(&entry, &ledger, at(30));
        assert_eq!((told.standing.as_str(), told.lifetime, told.ttl), ("stale", 60, -5), "since the purge");
        ledger.purge(&[Scope::Everything], Severity::Hard, at(30));
        assert_eq!(variant(&entry, &ledger, at(30)).standing, "dead");
    }
}
