//! How many requests does a server answer, and how fast, while wrk or h2load asks all the time?

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::servers::{Place, Server};
use crate::{Failure, process};

/// One load: who asks, and how.
#[derive(Clone, Default)]
pub(crate) struct Load {
    pub(crate) target: String,
    pub(crate) fields: Vec<String>,
    pub(crate) secure: bool,
    pub(crate) connections: usize,
    /// A script for wrk, which chooses targets.
    pub(crate) script: Option<PathBuf>,
    /// HTTP/2 with so many streams on each connection.
    pub(crate) streams: Option<usize>,
}

/// What came of it.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Processor time of the server for one request, in microseconds.
    pub(crate) cpu: f64,
    /// Requests in a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

struct Asked {
    requests: u64,
    rate: f64,
    quantiles: Quantiles,
}

/// The median and the 99th percentile of latencies, in milliseconds.
type Quantiles = (f64, f64);

impl Load {
    /// Loads the server for so long.
    pub(crate) fn run(&self, server: &Server, place: &Place, duration: Duration) -> Result<Sample, Failure> {
        // What h2load knows of latencies it writes to a file while it asks: so it is asked for them first.
        let quantiles = self.streams.map(|streams| self.latencies(server, place, streams)).transpose()?;
        let before = server.seconds();
        let asked = match self.streams.zip(quantiles) {
            None => self.wrk(server, place, duration)?,
            Some((streams, quantiles)) => {
                let (requests, rate) = self.h2load(server, place, duration, streams, None)?;
                Asked { requests, rate, quantiles }
            }
        };
        let used = server.seconds() - before;
        let Asked { requests, rate, quantiles: (p50, p99) } = asked;
        if requests == 0 {
            return Err(format!("{}: no answers to {}", server.kind.name(), self.target).into());
        }
        Ok(Sample { cpu: used * 1e6 / requests as f64, rate, p50, p99 })
    }

    fn wrk(&self, server: &Server, place: &Place, duration: Duration) -> Result<Asked, Failure> {
        let mut arguments = vec!["-t1".to_owned(), format!("-c{}", self.connections), "--latency".to_owned()];
        arguments.push(format!("-d{}s", duration.as_secs()));
        arguments.extend(self.fields.iter().flat_map(|field| ["-H".to_owned(), field.clone()]));
        if let Some(script) = &self.script {
            arguments.extend(["-s".to_owned(), script.display().to_string()]);
        }
        arguments.push(server.url(self.secure) + &self.target);
        let text = process::output(place.cores.load, "wrk", &arguments)?;
        let figure = |start: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(start));
            line.map(str::trim).ok_or_else(|| format!("wrk says nothing of {start}:\n{text}"))
        };
        let requests: u64 = text
            .lines()
            .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
            .ok_or_else(|| format!("wrk does not count:\n{text}"))?;
        let lost: u64 = text
            .lines()
            .filter(|line| line.contains("Socket errors:") || line.contains("Non-2xx"))
            .flat_map(|line| line.split(|c: char| !c.is_ascii_digit()))
            .filter_map(|word| word.parse::<u64>().ok())
            .sum();
        // Non-2xx has a 2 and a 3 of its own.
        if lost * 1000 > requests && text.contains("rrors:") || text.contains("Non-2xx") {
            return Err(format!("{} does not answer as it should:\n{text}", server.kind.name()).into());
        }
        let quantiles = (milliseconds(figure("50%")?)?, milliseconds(figure("99%")?)?);
        Ok(Asked { requests, rate: figure("Requests/sec:")?.parse()?, quantiles })
    }

    /// How long requests over HTTP/2 take, each of which h2load writes down: that takes half of its time, and the server has
    /// half as much to do. So nothing else is read off this.
    fn latencies(&self, server: &Server, place: &Place, streams: usize) -> Result<Quantiles, Failure> {
        let log = place.folder.path().join("h2load.log");
        self.h2load(server, place, Duration::from_secs(1), streams, Some(&log))?;
        // Start in microseconds, status, duration in microseconds.
        let lines = fs::read_to_string(&log)?;
        fs::remove_file(&log)?;
        let mut durations = Vec::new();
        for line in lines.lines() {
            let mut fields = line.split('\t').skip(1);
            match (fields.next(), fields.next()) {
                (Some("200"), Some(duration)) => durations.push(duration.trim().parse::<f64>()? / 1000.0),
                _ => return Err(format!("{} does not answer as it should: {line}", server.kind.name()).into()),
            }
        }
        Ok((percentile(&mut durations, 0.50), percentile(&mut durations, 0.99)))
    }

    /// Requests over HTTP/2 that were answered with 200, and how many in a second; with `log` each is written down there.
    fn h2load(
        &self,
        server: &Server,
        place: &Place,
        duration: Duration,
        streams: usize,
        log: Option<&Path>,
    ) -> Result<(u64, f64), Failure> {
        let mut arguments = vec!["-t1".to_owned(), format!("-c{}", self.connections), format!("-m{streams}")];
        arguments.push(format!("-D{}", duration.as_secs()));
        arguments.extend(log.map(|log| format!("--log-file={}", log.display())));
        arguments.extend(self.fields.iter().flat_map(|field| ["-H".to_owned(), field.clone()]));
        arguments.push(server.url(self.secure) + &self.target);
        let text = process::output(place.cores.load, "h2load", &arguments)?;
        let protocol = if self.secure { "Application protocol: h2" } else { "req/s" };
        if !text.contains(protocol) {
            return Err(format!("{} does not speak HTTP/2:\n{text}", server.kind.name()).into());
        }
        // "requests: 7 total, 9 started, 7 done, 7 succeeded, 0 failed, 0 errored, 0 timeout"
        let figures = text.lines().find_map(|line| line.strip_prefix("requests: ")).unwrap_or_default();
        let figure = |name: &str| -> Option<u64> {
            figures.split(", ").find_map(|figure| figure.strip_suffix(name)?.trim().parse().ok())
        };
        match (figure("succeeded"), figure("failed"), figure("errored")) {
            (Some(requests), Some(0), Some(0)) => Ok((requests, requests as f64 / duration.as_secs_f64())),
            _ => Err(format!("{} does not answer as it should:\n{text}", server.kind.name()).into()),
        }
    }
}

/// wrk's figures have units of their own: `640.00us`, `1.20ms`, `2.01s`.
fn milliseconds(text: &str) -> Result<f64, Failure> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        unit => return Err(format!("{unit} is no unit of time").into()),
    };
    Ok(digits.parse::<f64>()? * unit)
}

/// The value that this share of them does not exceed; 0 of none.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index, within the length")]
    let at = (last as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(0.0)
}

/// The middle one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    percentile(&mut values.collect::<Vec<_>>(), 0.5)
}
