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
        for pair in ending(&own, &obtained, now) {
            let (label, days) = (pair.label(), (pair.facts.not_after - now).max(0) / DAY);
            tracing::warn!("the certificate for {label} ends in {days} days, and was not renewed yet");
        }
    }
}

/// Those that end soon, of the operator's own and of the others.
fn ending<'p>(own: &'p [Arc<Pair>], obtained: &'p [Arc<Pair>], now: i64) -> impl Iterator<Item = &'p Arc<Pair>> {
    let overdue = |pair: &Pair| SOON.min((pair.facts.not_after - pair.facts.not_before) / OVERDUE);
    let own = own.iter().map(|pair| (pair, SOON));
    let obtained = obtained.iter().map(move |pair| (pair, overdue(pair)));
    own.chain(obtained).filter(move |(pair, soon)| pair.facts.not_after - now < *soon).map(|(pair, _)| pair)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prometheus_client::registry::Registry;
    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::tls::pair::Files;
    use crate::tls::serving::Wanted;

    /// 2027-01-15.
    const NOW: i64 = 1_800_000_000;

    /// A pair for `name` that began and ends so many days from now.
    fn text(name: &str, from: i64, until: i64) -> String {
        let at = |days: i64| {
            let seconds = std::time::Duration::from_secs((NOW + days * DAY).unsigned_abs());
            rcgen::date_time_ymd(1970, 1, 1) + seconds
        };
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (at(from), at(until));
        let key = KeyPair::generate().unwrap();
        key.serialize_pem() + &parameters.self_signed(&key).unwrap().pem()
    }

    fn pair(name: &str, from: i64, until: i64) -> Arc<Pair> {
        Arc::new(Pair::parse(text(name, from, until).as_bytes(), Path::new("x"), NOW).expect("a pair"))
    }

    #[test]
    fn who_has_two_weeks_left_is_told_and_who_renews_itself_a_sixth() {
        let cases = [
            (false, -300, 15, false, "a file that has time"),
            (false, -300, 13, true, "a file that has not"),
            (false, -1, 6, true, "a file that never had"),
            (true, -75, 15, false, "three months, nearly over"),
            (true, -77, 13, true, "three months, and should have been renewed weeks ago"),
            (true, -4, 3, false, "a week, about to be renewed"),
            (true, -6, 1, true, "a week, and should have been renewed"),
        ];
        for (is_obtained, from, until, want, why) in cases {
            let pairs = [pair("a.example", from, until)];
            let (own, obtained) = if is_obtained { (&[][..], &pairs[..]) } else { (&pairs[..], &[][..]) };
            assert_eq!(ending(own, obtained, NOW).count() == 1, want, "{why}");
        }
    }

    #[test]
    fn it_is_said_once_a_day() {
        let serving = Serving::start(&Wanted { certificates: Vec::new(), clients: None }, NOW).expect("none is needed");
        let mut reminder = Reminder::default();
        let cases = [
            (NOW, NOW, "at first"),
            (NOW + DAY - 1, NOW, "not again"),
            (NOW + DAY, NOW + DAY, "the next day"),
            (NOW, NOW, "a clock that was set back"),
        ];
        for (now, want, why) in cases {
            reminder.remind(&serving, now);
            assert_eq!(reminder.looked, Some(want), "{why}");
        }
    }

    #[test]
    fn the_first_end_is_told_of_each_list_of_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        std::fs::write(&path, text("a.example", -1, 30)).unwrap();
        let wanted = Wanted { certificates: vec![Files::of(&path, &path)], clients: None };
        let serving = Arc::new(Serving::start(&wanted, NOW).expect("a pair"));
        serving.show(vec![pair("a.example", -1, 20), pair("b.example", -1, 40)]);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Ends(serving)));
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &registry).expect("a page");
        for (names, days) in [("a.example", 20), ("b.example", 40)] {
            let line = format!("larder_tls_certificate_not_after_seconds{{names=\"{names}\"}} {}\n", NOW + days * DAY);
            assert_eq!(page.matches(&line).count(), 1, "{page}");
        }
        assert_eq!(page.matches("names=").count(), 2, "{page}");
    }
}
