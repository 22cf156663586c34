//! What has to happen at once in Redis: comparing, and writing or deleting?
//!
//! A hash in Redis has these fields: `h` the head record, `d` the digest of the body, `0`, `1` … its chunks, `v` the names
//! of the selecting fields, `o` when it was stored, as [`order`] writes it.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Script, Value};

use crate::cache::entry::Head;
use crate::link::{Link, LinkError};

/// A script, with its hash once it is needed.
pub(super) type Code = LazyLock<Script>;

/// Both scripts that compare orders begin so. Equal width makes the order of the texts the order of the numbers, which
/// Lua could not hold: beyond 2^53 it rounds. What another type than a hash, or an order of another form, stands for is
/// not ours, and never later.
macro_rules! comparing {
    ($rest:literal) => {
        concat!(
            "
local function stored(key, field)
  return redis.call('TYPE', key).ok == 'hash' and redis.call('HGET', key, field)
end
local function is_later(key, order)
  local known = stored(key, 'o')
  if not known or #known ~= #order then return false end
  local from = known:sub(1, 16) == order:sub(1, 16) and 17 or 37
  return known:sub(from) > order:sub(from)
end
",
            $rest
        )
    };
}

/// Writes a response, or its head where the body is there already.
///
/// Keys: the name of its hash; where request fields select it, the primary name. Arguments: its order, the milliseconds
/// to keep it, the digest of its body, the names of its selecting fields, its head, `head` or `whole`, its chunks.
pub(super) static WRITE: Code = Code::new(|| {
    Script::new(comparing!(
        "
local name, primary = KEYS[1], KEYS[2]
local order, ttl, digest, names, head, extent = unpack(ARGV, 1, 6)
if is_later(name, order) then return 2 end
if extent == 'head' and stored(name, 'd') ~= digest then return 0 end
if primary then
  if stored(primary, 'v') ~= names then
    if is_later(primary, order) then return 2 end
    redis.call('DEL', primary)
    redis.call('HSET', primary, 'v', names, 'o', order)
  elseif not is_later(primary, order) then
    redis.call('HSET', primary, 'o', order)
  end
  if redis.call('PTTL', primary) < tonumber(ttl) then redis.call('PEXPIRE', primary, ttl) end
end
if extent == 'head' then
  redis.call('HSET', name, 'h', head, 'o', order)
else
  redis.call('DEL', name)
  redis.call('HSET', name, 'h', head, 'd', digest, 'o', order)
  for i = 7, #ARGV do redis.call('HSET', name, i - 7, ARGV[i]) end
end
redis.call('PEXPIRE', name, ttl)
return 1
"
    ))
});

/// [`WRITE`] wrote nothing: the head's body is not there.
pub(super) const BODY_GONE: i64 = 0;

/// [`WRITE`] wrote.
pub(super) const WRITTEN: i64 = 1;

/// [`WRITE`] wrote nothing: a later response is there.
pub(super) const LATE: i64 = 2;

/// Deletes a response unless it is later than this order.
pub(super) static REMOVE: Code = Code::new(|| {
    Script::new(comparing!(
        "
if not stored(KEYS[1], 'h') or is_later(KEYS[1], ARGV[1]) then return 0 end
return redis.call('UNLINK', KEYS[1])
"
    ))
});

/// Deletes a hash of which this field has this value, or, without a value, which does not have it; without a field, what
/// is no hash.
pub(super) static DISCARD: Code = Code::new(|| {
    Script::new(
        "
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' or (kind == 'hash') ~= (ARGV[1] ~= nil) then return 0 end
if kind == 'hash' and redis.call('HGET', KEYS[1], ARGV[1]) ~= (ARGV[2] or false) then return 0 end
return redis.call('UNLINK', KEYS[1])
",
    )
});

/// When a response was stored, as the scripts compare it: era, number, moment of receipt. It is later as
/// [`Head::is_later_than`] says: of one era by number and moment, of two by the moment alone.
pub(super) fn order(head: &Head) -> String {
    format!("{:016x}{:020}{:020}", head.stamp.era, head.stamp.of_log().number, head.received_at.as_millis())
}

/// Runs a script. `None`: it gave no number.
pub(super) async fn run(
    link: &Link,
    script: &Script,
    keys: &[&str],
    arguments: &[&[u8]],
    deadline: Duration,
) -> Result<Option<i64>, LinkError> {
    let answer = link.script(script, keys, arguments, deadline).await?;
    Ok(if let Value::Int(number) = answer { Some(number) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ledger::Stamp;
    use crate::cache::sample;

    #[test]
    fn an_order_is_56_characters_and_sorts_as_its_numbers_do() {
        let order = |number| {
            let stamp = Stamp { era: u64::MAX, number };
            order(&sample::entry(sample::labels("/", &[]), stamp, bytes::Bytes::new()).head)
        };
        let orders = [0, 9, 10, 1 << 53, (1 << 53) + 1, u64::MAX].map(order);
        assert!(orders.is_sorted() && orders.iter().all(|order| order.len() == 56), "{orders:?}");
    }
}
