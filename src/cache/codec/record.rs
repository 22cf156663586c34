//! What does the record of a head hold, and what of it is believed?

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::flaw::{Flaw, Unfit};
use super::outline::{Digest, Outline};
use crate::cache::entry::Head;
use crate::cache::fields::StoredFields;
use crate::cache::ledger::Stamp;
use crate::policy::fields::{FieldLines, Fields as _, Line};
use crate::policy::freshness::{Freshness, GREATEST};
use crate::policy::hop;
use crate::policy::key::{self, Key, Parts};
use crate::policy::scope::{self, Labels, Tags};
use crate::policy::time::{Micros, Timestamp};
use crate::policy::vary::Selecting;

/// Members of a list in a record at most: fields, tags, chunks. A body of 512 MiB, the largest that can be configured,
/// has 2048 chunks; and a map of fields that grows beyond 24,576 panics.
pub(super) const MAX_MEMBERS: usize = 4096;

/// What is written down of a head. Its URL is the key's: what purges know it by cannot be another one than what it is
/// looked up by.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    pub(super) key: Raw<'a>,
    status: u16,
    headers: List<(&'a str, Raw<'a>)>,
    hidden: List<(&'a str, Raw<'a>)>,
    selecting: List<(&'a str, Option<Raw<'a>>)>,
    times: Times,
    groups: List<Raw<'a>>,
    tags: List<Raw<'a>>,
    era: u64,
    number: u64,
    length: u64,
    digest: Digest,
    checksums: List<u64>,
}

/// Moments in milliseconds since the epoch, durations in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) received_at: u64,
    pub(super) fetch_cost: u64,
    pub(super) born: u64,
    pub(super) lifetime: u64,
    pub(super) stale_while_revalidate: u64,
    pub(super) stale_if_error: u64,
    pub(super) validate_always: bool,
    pub(super) must_revalidate: bool,
}

impl<'a> Record<'a> {
    /// The record of `head`, with this for its key.
    pub(super) fn of(key: &'a [u8], parts: &Parts, head: &'a Head, body: &Outline) -> Result<Self, Unfit> {
        if *head.labels.url() != scope::absolute(&parts.scheme, &parts.authority, &parts.target) {
            return Err(Unfit::Key);
        }
        if !is_status(head.status) {
            return Err(Unfit::Status);
        }
        let mut all = head.headers.iter().chain(head.hidden.iter());
        if all.any(|line| hop::is_hop_by_hop(line.name())) || !agrees(&head.headers, body.length()) {
            return Err(Unfit::Fields);
        }
        let tags = head.labels.tags();
        Ok(Self {
            key: Raw(key),
            status: head.status.as_u16(),
            headers: lines(head.headers.iter())?,
            hidden: lines(head.hidden.iter())?,
            selecting: list(head.selecting.parts().map(|(name, value)| (name.as_str(), value.map(Raw))))?,
            times: Times::of(head),
            groups: list(tags.groups().map(Raw))?,
            tags: list(tags.others().map(Raw))?,
            era: head.stamp.era,
            number: head.stamp.of_log().number,
            length: body.length(),
            digest: body.digest(),
            checksums: list(body.checksums().iter().copied())?,
        })
    }

    /// What it says of the body.
    pub(super) fn outline(&self, max_body: u64) -> Result<Outline, Flaw> {
        Outline::claimed(self.length, self.digest, self.checksums.0.clone(), max_body)
    }

    /// The head, for this key and a body of this length.
    pub(super) fn head(&self, key: &Key, length: u64) -> Result<Head, Flaw> {
        let status = StatusCode::from_u16(self.status).ok().filter(|status| is_status(*status));
        let headers = StoredFields::from(fields(&self.headers)?);
        // Whoever sends it believes the field: a wrong one would shift where the next response begins.
        if !agrees(&headers, length) {
            return Err(Flaw::Length);
        }
        let (freshness, received_at, fetch_cost) = self.times.read()?;
        let tags = Tags::new(self.groups.0.iter().map(|raw| raw.0), self.tags.0.iter().map(|raw| raw.0));
        Ok(Head {
            status: status.ok_or(Flaw::Status(self.status))?,
            headers,
            hidden: fields(&self.hidden)?.into(),
            selecting: self.selecting()?,
            freshness,
            received_at,
            fetch_cost,
            labels: Labels::of(key.clone(), tags),
            // Whoever wrote it knows nothing of the purges that this node alone knows.
            stamp: Stamp { era: self.era, number: self.number }.of_log(),
        })
    }

    fn selecting(&self) -> Result<Selecting, Flaw> {
        let field = |(name, value): &(&str, Option<Raw<'a>>)| Ok((field_name(name)?, value.map(|raw| raw.0)));
        let parts = self.selecting.0.iter().map(field).collect::<Result<Vec<_>, _>>()?;
        // What a client keeps to itself is never written, so nobody can have meant it.
        let has_secret = parts.iter().any(|(name, _)| key::is_secret(name.as_str()));
        Selecting::from_parts(parts).filter(|_| !has_secret).ok_or(Flaw::Selecting)
    }
}

impl Times {
    fn of(head: &Head) -> Self {
        // What lies beyond is not told from the greatest there is (RFC 9111 §1.2.2).
        let nanos = |duration: Duration| u64::try_from(duration.min(GREATEST).as_nanos()).unwrap_or(u64::MAX);
        let millis = |moment: Timestamp| moment.min(Timestamp::LATEST_DATE).as_millis();
        let freshness = &head.freshness;
        Self {
            received_at: millis(head.received_at),
            fetch_cost: nanos(head.fetch_cost.into()),
            born: millis(freshness.born),
            lifetime: nanos(freshness.lifetime.into()),
            stale_while_revalidate: nanos(freshness.stale_while_revalidate.into()),
            stale_if_error: nanos(freshness.stale_if_error.into()),
            validate_always: freshness.validate_always,
            must_revalidate: freshness.must_revalidate,
        }
    }

    /// Freshness, moment of receipt and cost of the fetch.
    fn read(&self) -> Result<(Freshness, Timestamp, Micros), Flaw> {
        let duration = |nanos| Some(Duration::from_nanos(nanos)).filter(|it| *it <= GREATEST).ok_or(Flaw::Time);
        let moment =
            |millis| Some(Timestamp::from_millis(millis)).filter(|it| *it <= Timestamp::LATEST_DATE).ok_or(Flaw::Time);
        let freshness = Freshness {
            born: moment(self.born)?,
            lifetime: duration(self.lifetime)?.into(),
            stale_while_revalidate: duration(self.stale_while_revalidate)?.into(),
            stale_if_error: duration(self.stale_if_error)?.into(),
            validate_always: self.validate_always,
            must_revalidate: self.must_revalidate,
        };
        Ok((freshness, moment(self.received_at)?, duration(self.fetch_cost)?.into()))
    }
}

/// Whether a stored response can have this status: an interim one answers nobody.
fn is_status(status: StatusCode) -> bool {
    !status.is_informational()
}

/// Whether there is no `Content-Length`, or one that is the body's.
fn agrees(headers: &StoredFields, length: u64) -> bool {
    let is_length = |stated| stated == itoa::Buffer::new().format(length).as_bytes();
    !headers.has(&CONTENT_LENGTH) || headers.only(&CONTENT_LENGTH).is_some_and(is_length)
}

fn list<T>(members: impl ExactSizeIterator<Item = T>) -> Result<List<T>, Unfit> {
    if members.len() > MAX_MEMBERS { Err(Unfit::TooManyMembers) } else { Ok(List(members.collect())) }
}

/// The lines of fields; those of one name in their order.
fn lines<'a>(lines: impl Iterator<Item = Line<'a>>) -> Result<List<(&'a str, Raw<'a>)>, Unfit> {
    let lines: Vec<_> = lines.map(|line| (line.name(), Raw(line.value))).collect();
    if lines.len() > MAX_MEMBERS { Err(Unfit::TooManyMembers) } else { Ok(List(lines)) }
}

/// The fields of these lines.
fn fields(lines: &List<(&str, Raw<'_>)>) -> Result<FieldLines, Flaw> {
    let mut headers = HeaderMap::with_capacity(lines.0.len());
    for (name, value) in &lines.0 {
        // Sent on, a field of a connection would change how a client reads what follows.
        let name = field_name(name).ok().filter(|name| !hop::is_hop_by_hop(name.as_str())).ok_or(Flaw::FieldName)?;
        headers.append(name, HeaderValue::from_bytes(value.0).map_err(|_| Flaw::FieldValue)?);
    }
    Ok(FieldLines::from(&headers))
}

/// A name as records have it: in lower case.
pub(super) fn field_name(name: &str) -> Result<HeaderName, Flaw> {
    HeaderName::from_lowercase(name.as_bytes()).map_err(|_| Flaw::FieldName)
}

/// Bytes, written at once: a slice would be a list of numbers to serde.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(Self)
    }
}

/// A list that takes memory as its members come, not as their number is claimed.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_MEMBERS} members")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<List<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_element()? {
            if list.len() == MAX_MEMBERS {
                return Err(A::Error::custom("too many members"));
            }
            list.push(member);
        }
        Ok(List(list))
    }
}
