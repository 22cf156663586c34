//! What does an entry of the log say, and how is that written?
//!
//! A byte for the version, then the record. What cannot be read was written by a later version, or by somebody else: it
//! may name anything.

use serde::{Deserialize, Serialize};

use crate::policy::scope::{Scope, Severity};
use crate::policy::time::Timestamp;

const VERSION: u8 = 1;

/// Bytes of an entry: the names of the largest purge there may be, and room to spare. A longer one is not ours.
const MAX_BYTES: usize = 80 << 20;

/// Bytes of `who`.
const MAX_WHO: usize = 128;

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What was purged; empty: nothing, it only marks a position.
    pub scopes: Vec<Scope>,
    /// How.
    pub effect: Effect,
    /// When, by the clock of the node that was asked. Numbers are compared, never this; the stale windows of soft purges
    /// begin with it.
    pub at: Timestamp,
    /// Who asked; empty: nobody, an unsafe method invalidated it.
    pub who: String,
}

/// What a purge does to what it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It is gone.
    Hard,
    /// It is stale.
    Soft,
    /// It is asked about before it is used: what exactly was purged is not known any more.
    Doubt,
}

impl From<Severity> for Effect {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Hard => Self::Hard,
            Severity::Soft => Self::Soft,
        }
    }
}

/// Why an entry cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoticeError {
    /// Another version wrote it.
    #[error("it is of version {0:?}, and this node reads version 1")]
    Version(Option<u8>),
    /// It is longer than any of ours.
    #[error("it has {0} bytes, more than any purge needs")]
    TooLong(usize),
    /// It is not what it should be.
    #[error("it is no record of a purge")]
    Malformed,
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    effect: Effect,
    at: u64,
    #[serde(borrow)]
    who: &'a str,
    #[serde(borrow)]
    scopes: Vec<Written<'a>>,
}

#[derive(Serialize, Deserialize)]
enum Written<'a> {
    Everything,
    Host(#[serde(borrow)] &'a str),
    Prefix(#[serde(borrow)] &'a str),
    Tag(#[serde(borrow)] &'a [u8]),
    Group(#[serde(borrow)] &'a str, #[serde(borrow)] &'a [u8]),
    Url(#[serde(borrow)] &'a str),
}

impl Notice {
    /// Writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut end = self.who.len().min(MAX_WHO);
        while !self.who.is_char_boundary(end) {
            end -= 1;
        }
        let record = Record {
            effect: self.effect,
            at: self.at.as_millis(),
            who: &self.who[..end],
            scopes: self.scopes.iter().map(written).collect(),
        };
        let bytes = postcard::to_extend(&record, vec![VERSION]);
        bytes.expect("a vector takes whatever is written to it")
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// It is not one of ours.
    pub fn decode(bytes: &[u8]) -> Result<Self, NoticeError> {
        if bytes.len() > MAX_BYTES {
            return Err(NoticeError::TooLong(bytes.len()));
        }
        let Some((&VERSION, rest)) = bytes.split_first() else {
            return Err(NoticeError::Version(bytes.first().copied()));
        };
        let (record, left) = postcard::take_from_bytes::<Record<'_>>(rest).map_err(|_| NoticeError::Malformed)?;
        if !left.is_empty() || record.who.len() > MAX_WHO {
            return Err(NoticeError::Malformed);
        }
        Ok(Self {
            scopes: record.scopes.iter().map(read).collect(),
            effect: record.effect,
            at: Timestamp::from_millis(record.at),
            who: record.who.to_owned(),
        })
    }
}

fn written(scope: &Scope) -> Written<'_> {
    match scope {
        Scope::Everything => Written::Everything,
        Scope::Host(host) => Written::Host(host),
        Scope::Prefix(prefix) => Written::Prefix(prefix),
        Scope::Tag(tag) => Written::Tag(tag),
        Scope::Group { origin, name } => Written::Group(origin, name),
        Scope::Url(url) => Written::Url(url),
    }
}

fn read(written: &Written<'_>) -> Scope {
    match *written {
        Written::Everything => Scope::Everything,
        Written::Host(host) => Scope::Host(host.into()),
        Written::Prefix(prefix) => Scope::Prefix(prefix.into()),
        Written::Tag(tag) => Scope::Tag(tag.into()),
        Written::Group(origin, name) => Scope::Group { origin: origin.into(), name: name.into() },
        Written::Url(url) => Scope::Url(url.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn notice(scopes: Vec<Scope>) -> Notice {
        Notice { scopes, effect: Effect::Soft, at: Timestamp::from_millis(7), who: "192.0.2.1 admin".to_owned() }
    }

    fn any_scope() -> impl Strategy<Value = Scope> {
        let text = || ".{0,20}".prop_map(String::into_boxed_str);
        let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Vec::into_boxed_slice);
        prop_oneof![
            Just(Scope::Everything),
            text().prop_map(Scope::Host),
            text().prop_map(Scope::Prefix),
            bytes().prop_map(Scope::Tag),
            (text(), bytes()).prop_map(|(origin, name)| Scope::Group { origin, name }),
            text().prop_map(Scope::Url),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(scopes in prop::collection::vec(any_scope(), 0..8), at in 0_u64..1 << 50, which in 0..3) {
            let effect = [Effect::Hard, Effect::Soft, Effect::Doubt][usize::try_from(which).unwrap()];
            let notice = Notice { effect, at: Timestamp::from_millis(at), ..notice(scopes) };
            prop_assert_eq!(Notice::decode(&notice.encode()), Ok(notice));
        }

        #[test]
        fn whatever_stands_in_the_log_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            drop(Notice::decode(&bytes));
            drop(Notice::decode(&[&[VERSION][..], &bytes].concat()));
        }

        #[test]
        fn a_notice_that_was_cut_is_refused(
            scopes in prop::collection::vec(any_scope(), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = notice(scopes).encode();
            prop_assert!(Notice::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let good = notice(vec![Scope::Everything]).encode();
        let cases = [
            (Vec::new(), NoticeError::Version(None), "nothing"),
            (vec![2], NoticeError::Version(Some(2)), "a later version"),
            (good[..good.len() - 1].to_vec(), NoticeError::Malformed, "cut"),
            ([&good[..], b"x"].concat(), NoticeError::Malformed, "more than there should be"),
            (
                vec![1, 0, 0, 0, 255, 255, 255, 255, 15],
                NoticeError::Malformed,
                "a count that promises 4 billion scopes",
            ),
        ];
        for (bytes, want, why) in cases {
            assert_eq!(Notice::decode(&bytes), Err(want), "{why}");
        }
    }

    #[test]
    fn who_asked_is_cut_to_what_there_is_room_for() {
        let long = Notice { who: "ä".repeat(100), ..notice(Vec::new()) };
        let read = Notice::decode(&long.encode()).expect("it is read");
        assert_eq!(read.who, "ä".repeat(64));
    }
}
