//! How many requests does a server answer, and how fast, while it is asked all the time?

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::generator::{Asked, Generator, Targets};
use crate::servers::{Place, Server};
use crate::{Failure, client, process};

/// One load: who asks, and how.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) targets: Targets,
    pub(crate) fields: Vec<String>,
    pub(crate) secure: bool,
    pub(crate) connections: usize,
    /// Whether each request has a connection of its own; the fields say so.
    pub(crate) closes: bool,
    /// That of each answer.
    pub(crate) status: u16,
    /// Bytes of the body of each answer.
    pub(crate) length: usize,
    /// HTTP/2 with so many streams on each connection.
    pub(crate) streams: Option<usize>,
}

/// What came of it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Answers.
    pub(crate) requests: f64,
    /// Processor time of the server for one request, in microseconds.
    pub(crate) cpu: f64,
    /// Requests in a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Sample {
    /// The share of the time in which the server was busy.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu * self.rate / 1e6
    }
}

impl Load {
    /// Loads the server for so long.
    pub(crate) fn run(&self, server: &Server, place: &Place, duration: Duration) -> Result<Sample, Failure> {
        let Some(streams) = self.streams else {
            let (to, secure) = match server.https.filter(|_| self.secure) {
                // No session is resumed: new connections are to be new.
                Some(https) => (https, Some(client::trusting(&place.certificate)?)),
                None => (server.http, None),
            };
            let mut generator = Generator::new(self, to, secure)?;
            return self.sample(server, || generator.run(duration));
        };
        // What h2load knows of latencies it writes to a file while it asks: so it is asked for them first.
        let quantiles = self.latencies(server, place, streams)?;
        self.sample(server, || {
            let requests = self.h2load(server, place, duration, streams, None)?;
            Ok(Asked { requests, seconds: duration.as_secs_f64(), quantiles })
        })
    }

    /// What the server takes while `ask` goes on.
    fn sample(&self, server: &Server, ask: impl FnOnce() -> Result<Asked, Failure>) -> Result<Sample, Failure> {
        let before = server.seconds();
        let Asked { requests, seconds, quantiles: (p50, p99) } =
            ask().map_err(|failure| format!("{}: {failure}", server.kind.name()))?;
        let used = server.seconds() - before;
        if requests == 0 {
            return Err(format!("{}: no answers to {}", server.kind.name(), self.targets.first()).into());
        }
        let requests = requests as f64;
        Ok(Sample { requests, cpu: used * 1e6 / requests, rate: requests / seconds, p50, p99 })
    }

    /// How long requests over HTTP/2 take, each of which h2load writes down: that takes half of its time, and the server has
    /// half as much to do. So nothing else is read off this.
    fn latencies(&self, server: &Server, place: &Place, streams: usize) -> Result<(f64, f64), Failure> {
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

    /// Requests over HTTP/2 that were answered with 200; with `log` each is written down there.
    fn h2load(
        &self,
        server: &Server,
        place: &Place,
        duration: Duration,
        streams: usize,
        log: Option<&Path>,
    ) -> Result<u64, Failure> {
        let mut arguments = vec!["-t1".to_owned(), format!("-c{}", self.connections), format!("-m{streams}")];
        arguments.push(format!("-D{}", duration.as_secs()));
        arguments.extend(log.map(|log| format!("--log-file={}", log.display())));
        arguments.extend(self.fields.iter().flat_map(|field| ["-H".to_owned(), field.clone()]));
        arguments.push(server.url(self.secure) + &self.targets.first());
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
            (Some(requests), Some(0), Some(0)) => Ok(requests),
            _ => Err(format!("{} does not answer as it should:\n{text}", server.kind.name()).into()),
        }
    }
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
