//! The log of purges as a stream of Redis, in one slot with what belongs to it.
//!
//! Scripts keep together what must not come apart: an entry and its link to the one before it, a node's position and the
//! sign of its life. Times are those of Redis alone.

use std::time::Duration;

use bytes::Bytes;
use redis::{Script, Value};

use super::log::{Draft, Entry, KEPT, LogError, Member, Muster, PAGE, PurgeLog, State};
use super::position::Position;
use crate::cache::tier::Pending;
use crate::link::{Link, LinkError};

/// Time for one question beyond what it asks to wait. Nobody's request waits for the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The log of one namespace.
#[derive(Debug)]
pub struct RedisLog {
    keys: Keys,
    /// Waits for entries: nothing else may stand in its way, and it in nobody's.
    follows: Link,
    /// For everything else.
    asks: Link,
    scripts: Scripts,
    /// How long a node lives after it said so last.
    lease: Duration,
}

#[derive(Debug)]
struct Keys {
    log: String,
    meta: String,
    nodes: String,
    positions: String,
}

#[derive(Debug)]
struct Scripts {
    append: Script,
    beat: Script,
}

/// The two connections of a log.
#[derive(Debug, Clone)]
pub struct Links {
    /// Blocks while it waits for entries.
    pub follows: Link,
    /// Is asked everything else.
    pub asks: Link,
}

impl RedisLog {
    /// The log in this namespace. A node that has said nothing for `lease` counts as gone.
    pub fn new(namespace: &str, links: Links, lease: Duration) -> Self {
        // One hash tag: all of it lies in one slot of a cluster.
        let key = |name: &str| format!("{{{namespace}}}:{name}");
        Self {
            keys: Keys { log: key("log"), meta: key("meta"), nodes: key("nodes"), positions: key("positions") },
            follows: links.follows,
            asks: links.asks,
            scripts: Scripts {
                append: Script::new(include_str!("lua/append.lua")),
                beat: Script::new(include_str!("lua/beat.lua")),
            },
            lease,
        }
    }

    async fn ask_muster(&self, over: &Link, me: Option<&Member>, floor: Position, given_up: &str) -> Answered<Muster> {
        let (name, position) = me.map_or(Default::default(), |me| (me.name.as_str(), standing(me)));
        let Keys { log, meta, nodes, positions } = &self.keys;
        let [lease, era] = [self.lease.as_millis().to_string(), fastrand::u64(1..).to_string()];
        let [millis, order] = [floor.millis().to_string(), floor.order().to_string()];
        let arguments = [&*lease, name, &*position, &*era, &*millis, &*order, given_up].map(str::as_bytes);
        let keys = [&**log, &**meta, &**nodes, &**positions];
        muster(over.script(&self.scripts.beat, &keys, &arguments, PATIENCE).await?)
    }
}

type Answered<T> = Result<T, LogError>;

impl PurgeLog for RedisLog {
    fn append<'a>(
        &'a self,
        era: u64,
        floor: Position,
        draft: &'a Draft,
        patience: Duration,
    ) -> Pending<'a, Answered<Position>> {
        Box::pin(async move {
            let [era, id, kept] = [era.to_string(), draft.id.to_string(), KEPT.to_string()];
            let [millis, order] = [floor.millis().to_string(), floor.order().to_string()];
            let again = if draft.again { "1" } else { "0" };
            let arguments = [
                era.as_bytes(),
                millis.as_bytes(),
                order.as_bytes(),
                id.as_bytes(),
                &draft.payload,
                kept.as_bytes(),
                again.as_bytes(),
            ];
            let keys = [&*self.keys.log, &*self.keys.meta];
            match self.asks.script(&self.scripts.append, &keys, &arguments, patience).await? {
                Value::Nil => Err(LogError::OtherEra),
                value => text(&value).and_then(Position::read).ok_or(LogError::Garbled("no position of an entry")),
            }
        })
    }

    fn read(&self, after: Position, wait: Duration) -> Pending<'_, Answered<Vec<Entry>>> {
        Box::pin(async move {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(PAGE);
            if !wait.is_zero() {
                command.arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
            }
            command.arg("STREAMS").arg(&self.keys.log).arg(after.to_string());
            match self.follows.call(&command, wait + PATIENCE).await? {
                Value::Nil => Ok(Vec::new()),
                value => of_one_stream(value).and_then(entries).ok_or(LogError::Garbled("no entries of a stream")),
            }
        })
    }

    fn between(&self, first: Position, last: Position) -> Pending<'_, Answered<Vec<Entry>>> {
        Box::pin(async move {
            let mut command = redis::cmd("XRANGE");
            command.arg(&self.keys.log).arg(first.to_string()).arg(last.to_string()).arg("COUNT").arg(8 * PAGE);
            let value = self.asks.call(&command, PATIENCE).await?;
            entries(value).ok_or(LogError::Garbled("no range of a stream"))
        })
    }

    fn beat<'a>(&'a self, me: &'a Member, floor: Position) -> Pending<'a, Answered<Muster>> {
        // Over the connection that follows: a sign of life says that following works.
        Box::pin(self.ask_muster(&self.follows, Some(me), floor, ""))
    }

    fn muster(&self) -> Pending<'_, Answered<Muster>> {
        Box::pin(self.ask_muster(&self.asks, None, Position::default(), ""))
    }

    fn renew(&self, era: u64, floor: Position) -> Pending<'_, Answered<()>> {
        Box::pin(async move {
            let given_up = era.to_string();
            self.ask_muster(&self.asks, None, floor, &given_up).await.map(drop)
        })
    }

    fn leave<'a>(&'a self, name: &'a str) -> Pending<'a, Answered<()>> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            pipeline.cmd("ZREM").arg(&self.keys.nodes).arg(name);
            pipeline.cmd("HDEL").arg(&self.keys.positions).arg(name);
            self.asks.pipe(&pipeline, PATIENCE).await?;
            Ok(())
        })
    }
}

impl From<LinkError> for LogError {
    fn from(error: LinkError) -> Self {
        if matches!(error, LinkError::Closed) {
            return Self::Unasked;
        }
        let mut said = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(deeper) = cause {
            said.push_str(": ");
            said.push_str(&deeper.to_string());
            cause = deeper.source();
        }
        Self::Unreachable(said)
    }
}

/// A node's position as it is written: the era, and the id of the entry.
fn standing(member: &Member) -> String {
    format!("{} {}", member.era, member.position)
}

fn member(name: &Value, standing: &Value) -> Option<Member> {
    let (era, position) = text(standing)?.split_once(' ')?;
    Some(Member {
        name: text(name)?.to_owned(),
        era: era.parse().ok()?,
        // Where it knows nothing of the log yet, it has no position in it.
        position: Position::read(position).unwrap_or_default(),
    })
}

fn muster(value: Value) -> Answered<Muster> {
    let state = |parts: &[Value]| {
        let [era, base, last, tail, ..] = parts else { return None };
        Some(State {
            era: text(era)?.parse().ok()?,
            base: Position::read(text(base)?)?,
            last: Position::read(text(last)?)?,
            tail: text(tail)?.parse().ok()?,
        })
    };
    let Value::Array(parts) = value else { return Err(LogError::Garbled("no state of the log")) };
    let state = state(&parts).ok_or(LogError::Garbled("no state of the log"))?;
    // Whoever wrote something else into our keys is no node.
    let members = parts[4..].chunks_exact(2).filter_map(|pair| member(&pair[0], &pair[1])).collect();
    Ok(Muster { state, members })
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// The entries in the answer to `XREAD` of one stream.
fn of_one_stream(value: Value) -> Option<Value> {
    let Value::Array(streams) = value else { return None };
    let Value::Array(stream) = streams.into_iter().next()? else { return None };
    stream.into_iter().nth(1)
}

fn entries(value: Value) -> Option<Vec<Entry>> {
    let Value::Array(entries) = value else { return None };
    // An entry that somebody else added has no place in the chain: it is told as one that says nothing we can read.
    entries.into_iter().map(entry).collect()
}

fn entry(value: Value) -> Option<Entry> {
    let Value::Array(parts) = value else { return None };
    let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
    let position = Position::read(text(&id)?)?;
    let Value::Array(fields) = fields else { return None };
    let mut entry = Entry { position, id: 0, previous: 0, payload: Bytes::new() };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match (text(&name)?, value) {
            ("i", value) => entry.id = text(&value)?.parse().ok()?,
            ("c", value) => entry.previous = text(&value)?.parse().ok()?,
            ("p", Value::BulkString(bytes)) => entry.payload = bytes.into(),
            _ => {}
        }
    }
    Some(entry)
}
