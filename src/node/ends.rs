//! Until when are the certificates in use valid, and who is told in time?

use std::collections::BTreeMap;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::tls::pair::Pair;
use crate::tls::serving::Serving;

const DAY: i64 = 24 * 60 * 60;

/// Before a certificate's end, it is said each day.
const SOON: i64 = 14 * DAY;

/// What of its time is left when a certificate that renews itself should long have done so: half of what is left when it
/// first tries. Of one for 90 days these are 15.
const OVERDUE: i64 = 6;

/// The ends of certificates, as they are when somebody asks.
#[derive(Debug)]
pub(super) struct Ends(pub(super) Arc<Serving>);

impl Collector for Ends {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (own, obtained) = self.0.pairs();
        let mut ends = BTreeMap::new();
        for pair in own.iter().chain(&obtained) {
            // Two for the same names, of different kinds: the first end is the one to know of.
            let end = ends.entry(pair.label()).or_insert(pair.facts.not_after);
            *end = pair.facts.not_after.min(*end);
        }
        let help = "When a certificate in use ends, in seconds since the Unix epoch, by its names";
        let name = "larder_tls_certificate_not_after_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (names, end) in &ends {
            family.encode_family(&[("names", names.as_str())])?.encode_gauge(end)?;
        }
        Ok(())
    }
}

/// Says each day which certificates end soon.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    /// When it was last looked; seconds since the Unix epoch.
    looked: Option<i64>,
}

impl Reminder {
    /// Says what ends soon, if that was not said today.
    pub(super) fn remind(&mut self, serving: &Serving, now: i64) {
        if self.looked.is_some_and(|looked| (0..DAY).contains(&(now - looked))) {
            return;
        }
        self.looked = Some(now);
        let (own, obtained) = serving.pairs();
        let own = own.iter().map(|pair| (pair, SOON));
        let obtained = obtained.iter().map(|pair| (pair, overdue(pair)));
        for (pair, soon) in own.chain(obtained) {
            let left = pair.facts.not_after - now;
            if left < soon {
                let (label, days) = (pair.label(), left.max(0) / DAY);
                tracing::warn!("the certificate for {label} ends in {days} days, and was not renewed yet");
            }
        }
    }
}

fn overdue(pair: &Pair) -> i64 {
    SOON.min((pair.facts.not_after - pair.facts.not_before) / OVERDUE)
}
