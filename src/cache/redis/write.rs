//! How is what waits in the queue carried out?

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{ETAG, LAST_MODIFIED};
use prometheus_client::metrics::counter::Counter;
use tokio_util::sync::CancellationToken;

use super::queue::{Evidence, LANES, Work};
use super::{RedisTier, name, script};
use crate::cache::codec::{self, Encoded};
use crate::cache::entry::{Entry, Head};
use crate::cache::tier::Extent;
use crate::link::LinkError;
use crate::policy::fields::Fields as _;
use crate::policy::key::Key;
use crate::policy::time::Timestamp;
use crate::policy::vary::Selecting;

/// How long a stale response stays for its validators: a 304 spares its body.
const TO_REVALIDATE: Duration = Duration::from_mins(10);

/// How long anything stays at most. What nobody has freshened for so long nobody asks for.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// Time for a write without its body. Nobody waits for it, so it may take longer than a look-up; without a limit, a
/// server that hangs would keep the queue full for ever.
const TO_WRITE: Duration = Duration::from_millis(250);

/// Bytes a second that a write is given time for: 4 MiB get another quarter of a second.
const LEAST_RATE: u64 = 16 * 1024 * 1024;

/// How long the queue is worked on after the stop: at shutdown, somebody waits for it.
const FAREWELL: Duration = Duration::from_millis(500);

impl RedisTier {
    /// Writes what is put, and deletes what is removed, until `stop`; then what waits is finished, within half a second,
    /// or dropped. The link for writes has to be up for so long.
    pub async fn run(&self, stop: CancellationToken) {
        let lanes = join_all((0..LANES).map(|lane| self.work(lane, &stop)));
        let farewell = async {
            stop.cancelled().await;
            tokio::time::sleep(FAREWELL).await;
        };
        tokio::select! {
            _ = lanes => {}
            () = farewell => {}
        }
        self.metrics.writes.dropped.inc_by(self.queue.close() as u64);
    }

    async fn work(&self, lane: usize, stop: &CancellationToken) {
        while let Some(job) = self.queue.next(lane, stop).await {
            match &job.work {
                Work::Write(key, entry, extent) => _ = self.write(key, entry, *extent).await.inc(),
                Work::Remove(name, order) => self.delete(&script::REMOVE, name, &[order.as_bytes()]).await,
                Work::Discard(name, Evidence::NoHash) => self.delete(&script::DISCARD, name, &[]).await,
                Work::Discard(name, Evidence::Field(field, value)) => {
                    let field = field.as_bytes();
                    let arguments = value.as_deref().map_or(vec![field], |value| vec![field, value]);
                    self.delete(&script::DISCARD, name, &arguments).await;
                }
            }
        }
    }

    async fn delete(&self, script: &redis::Script, name: &str, arguments: &[&[u8]]) {
        let deadline = deadline(self.settings.timeout, 0);
        if let Ok(Some(1)) = script::run(&self.links.writes, script, &[name], arguments, deadline).await {
            self.metrics.removals.inc();
        }
    }

    /// Writes a response; gives the counter of what became of it.
    async fn write(&self, key: &Key, entry: &Entry, extent: Extent) -> &Counter {
        let writes = &self.metrics.writes;
        let keep = time_to_keep(&entry.head, self.clock.now());
        if keep.as_millis() == 0 {
            return &writes.spent;
        }
        let Ok(encoded) = codec::encode(key, entry) else { return &writes.unfit };
        let writing = Writing { tier: self, key, head: &entry.head, encoded: &encoded, keep };
        let mut answer = Ok(Some(script::BODY_GONE));
        if extent == Extent::Head {
            answer = writing.write(Extent::Head).await;
            if let Ok(Some(script::WRITTEN)) = answer {
                return &writes.head;
            }
        }
        if let Ok(Some(script::BODY_GONE)) = answer {
            answer = writing.write(Extent::Whole).await;
        }
        match answer {
            Ok(Some(script::WRITTEN)) => &writes.whole,
            Ok(Some(script::LATE)) => &writes.late,
            Ok(_) | Err(_) => &writes.failed,
        }
    }
}

/// The time for a write of so many bytes.
pub(super) fn deadline(timeout: Duration, bytes: u64) -> Duration {
    TO_WRITE.max(timeout) + Duration::from_millis(bytes.saturating_mul(1000) / LEAST_RATE)
}

/// A response on its way into Redis.
struct Writing<'a> {
    tier: &'a RedisTier,
    key: &'a Key,
    head: &'a Head,
    encoded: &'a Encoded,
    keep: Duration,
}

impl Writing<'_> {
    async fn write(&self, extent: Extent) -> Result<Option<i64>, LinkError> {
        let primary = name::primary(&self.tier.settings.namespace, self.key);
        let selecting = &self.head.selecting;
        let (names, variant) = match selecting {
            Selecting::Any => (Vec::new(), None),
            Selecting::Fields(_) => {
                let names = codec::encode_names(self.key, name::sorted(selecting));
                (names.expect("a head with this key was written down"), Some(name::variant(&primary, selecting)))
            }
        };
        let keys: &[&str] = match &variant {
            None => &[&primary],
            Some(variant) => &[variant, &primary],
        };
        let order = script::order(self.head);
        let keep = self.keep.as_millis().to_string();
        let encoded = self.encoded;
        let (extent, chunks) = match extent {
            Extent::Head => ("head", &[][..]),
            Extent::Whole => ("whole", &*encoded.chunks),
        };
        let mut arguments: Vec<&[u8]> =
            vec![order.as_bytes(), keep.as_bytes(), &encoded.digest, &names, &encoded.head, extent.as_bytes()];
        arguments.extend(chunks.iter().map(|chunk| &**chunk));
        let bytes: usize = arguments.iter().map(|argument| argument.len()).sum();
        let deadline = deadline(self.tier.settings.timeout, bytes as u64);
        script::run(&self.tier.links.writes, &script::WRITE, keys, &arguments, deadline).await
    }
}

/// How long a response is of use: while it is fresh, while it may serve stale, and, where it has a validator, some time
/// to be revalidated in. Zero: it is of none.
fn time_to_keep(head: &Head, now: Timestamp) -> Duration {
    let freshness = &head.freshness;
    let window = freshness.stale_while_revalidate.max(freshness.stale_if_error);
    let has_validator = head.headers.has(&ETAG) || head.headers.has(&LAST_MODIFIED);
    let more = if has_validator { TO_REVALIDATE } else { Duration::ZERO };
    (freshness.fresh_until().plus(window).since(now) + more).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::cache::ledger::Stamp;
    use crate::cache::sample;
    use crate::policy::freshness::{Freshness, GREATEST};

    #[test]
    fn a_response_is_kept_while_it_is_of_use() {
        let secs = Duration::from_secs;
        let cases = [
            // lifetime, stale-while-revalidate, stale-if-error, validator, age, want
            (60, 0, 0, false, 0, secs(60), "fresh for a minute"),
            (60, 0, 0, false, 20, secs(40), "for what is left of it"),
            (60, 0, 0, false, 60, secs(0), "of no use"),
            (60, 30, 20, false, 70, secs(20), "stale, within the larger window"),
            (60, 20, 30, false, 70, secs(20), "the other one is the larger"),
            (60, 0, 0, true, 20, secs(640), "a validator: 10 minutes more"),
            (0, 0, 0, true, 3600, secs(600), "never fresh, but with a validator"),
            (GREATEST.as_secs(), 0, 0, true, 0, secs(30 * 86_400), "30 days at most"),
        ];
        for (lifetime, revalidate, error, validator, age, want, why) in cases {
            let born = Timestamp::from_millis(1_000_000);
            let mut head = sample::entry(sample::labels("/", &[]), Stamp::default(), bytes::Bytes::new()).head;
            head.freshness = Freshness {
                stale_while_revalidate: secs(revalidate).into(),
                stale_if_error: secs(error).into(),
                ..Freshness::new(born, Duration::ZERO, secs(lifetime))
            };
            if validator {
                let date = HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT");
                head.headers.change(|headers| _ = headers.insert(LAST_MODIFIED, date));
            }
            assert_eq!(time_to_keep(&head, born.plus(secs(age))), want, "{why}");
        }
    }
}
