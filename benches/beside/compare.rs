//! Each workload on each cache, in turn: are the answers right, and what do they cost?

use std::time::Duration;

use crate::arguments::Arguments;
use crate::client::Client;
use crate::load::{Load, Sample, median};
use crate::servers::{Kind, Options, Place, Server};
use crate::table::{self, Row};
use crate::workloads::{self, URLS, URLS_PREFIX, Urls, Workload};
use crate::{Failure, process, stampede};

/// The least that h2load takes; enough to see that answers are understood.
const SMOKE: Duration = Duration::from_secs(1);

/// A server that is busy for a smaller share of its time also falls asleep and wakes, which the others may not.
const BUSY: f64 = 0.95;

/// Runs what was asked for, and prints the tables.
pub(crate) fn all(arguments: &Arguments, place: &Place) -> Result<(), Failure> {
    let wanted: Vec<_> = workloads::all().into_iter().filter(|workload| arguments.wants(workload.name)).collect();
    let servers = started(arguments, place, !wanted.is_empty() || arguments.wants(stampede::NAME))?;
    let mut rows = Vec::new();
    for workload in &wanted {
        eprintln!("{}", workload.title);
        let row = compared(workload, &servers, arguments, place)?;
        eprintln!("    {}", table::processor(&row));
        rows.push(row);
    }
    if !arguments.smoke && !rows.is_empty() {
        table::say(&table::of_processor(&rows));
        table::say(&table::of_speed(&rows));
    }
    if arguments.wants(stampede::NAME) {
        stampede::all(arguments, place, &servers)?;
    }
    Ok(())
}

fn started(arguments: &Arguments, place: &Place, wanted: bool) -> Result<Vec<Server>, Failure> {
    let mut servers = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|_| wanted) {
        if kind.is_installed() {
            servers.push(Server::start(kind, &arguments.larder, place, &Options::default())?);
        } else {
            eprintln!("{} is not installed and is left out", kind.name());
        }
    }
    Ok(servers)
}

fn compared(workload: &Workload, servers: &[Server], arguments: &Arguments, place: &Place) -> Result<Row, Failure> {
    let load = workload.load(urls(arguments));
    let mut able = Vec::new();
    for server in servers {
        match checked(workload, server, arguments, place) {
            Ok(true) => able.push(server),
            Ok(false) => {}
            Err(failure) if server.kind == Kind::Larder => return Err(failure),
            Err(failure) => eprintln!("    {} cannot: {failure}", server.kind.name()),
        }
    }
    let mut samples: Vec<(Kind, Vec<Sample>)> = able.iter().map(|server| (server.kind, Vec::new())).collect();
    if arguments.smoke {
        if let Some(larder) = able.iter().find(|server| server.kind == Kind::Larder) {
            samples[0].1.push(asked_for(workload, place, || tried(&load, larder, place))?);
        }
    } else {
        for round in 0..arguments.rounds {
            // Whoever fails is left out from there on.
            for (server, (_, samples)) in
                able.iter().zip(&mut samples).filter(|(_, (_, samples))| samples.len() == round)
            {
                let duration = Duration::from_secs(arguments.seconds);
                let run = || asked_for(workload, place, || load.run(server, place, duration));
                // A shared machine may stand still for a second; who fails twice in a row fails.
                let again = |failure| {
                    eprintln!("    once more: {failure}");
                    run()
                };
                match run().or_else(again) {
                    Ok(sample) => samples.push(sample),
                    Err(failure) if server.kind == Kind::Larder => return Err(failure),
                    Err(failure) => eprintln!("    {} fails: {failure}", server.kind.name()),
                }
            }
        }
    }
    let rounds = if arguments.smoke { 1 } else { arguments.rounds };
    samples.retain(|(_, samples)| samples.len() == rounds);
    let medians: Vec<_> = samples.into_iter().map(|(kind, samples)| (kind, middle(&samples))).collect();
    for (kind, sample) in medians.iter().filter(|(_, sample)| !arguments.smoke && sample.busy() < BUSY) {
        eprintln!("    {} waited for its load: {:.0} % busy", kind.name(), 100.0 * sample.busy());
    }
    Ok(Row { title: workload.title, medians })
}

/// A load after which the origin must have been asked each time, or not at all.
fn asked_for(
    workload: &Workload,
    place: &Place,
    run: impl FnOnce() -> Result<Sample, Failure>,
) -> Result<Sample, Failure> {
    let before = place.origin.requests();
    let sample = run()?;
    let asked = place.origin.requests() - before;
    let is_right = if workload.is_hit { asked == 0 } else { asked as f64 >= sample.requests };
    if !is_right {
        return Err(format!("{} requests, of which {asked} came to the origin", sample.requests).into());
    }
    Ok(sample)
}

/// One load of the least length.
pub(crate) fn tried(load: &Load, server: &Server, place: &Place) -> Result<Sample, Failure> {
    if load.streams.is_none() || process::is_installed("h2load") {
        return load.run(server, place, SMOKE);
    }
    eprintln!("    h2load is not installed: the load is left out");
    Ok(Sample::default())
}

/// Each figure's median.
pub(crate) fn middle(samples: &[Sample]) -> Sample {
    let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
    Sample {
        requests: of(|s| s.requests),
        cpu: of(|s| s.cpu),
        rate: of(|s| s.rate),
        p50: of(|s| s.p50),
        p99: of(|s| s.p99),
    }
}

/// How many URLs a load over many is over.
fn urls(arguments: &Arguments) -> usize {
    if arguments.smoke { URLS / 10 } else { URLS }
}

/// Fills the cache, and looks whether it answers as the workload wants. `false`: it has no TLS.
fn checked(workload: &Workload, server: &Server, arguments: &Arguments, place: &Place) -> Result<bool, Failure> {
    if workload.secure && server.https.is_none() {
        return Ok(false);
    }
    let connect = || server.connect(place, workload.secure);
    if workload.urls == Urls::Many {
        connect()?.fetch((0..urls(arguments)).map(|number| format!("{URLS_PREFIX}{number}")))?;
    }
    // Filled by a request without the workload's fields: a range or a condition would not fill it.
    let _ = connect()?.get(workload.target, &[])?;
    right(workload, workload.target, &mut connect()?)?;
    let before = place.origin.requests();
    let last = workload.target.to_owned() + if workload.urls == Urls::New { "last" } else { "" };
    right(workload, &last, &mut connect()?)?;
    let asked = place.origin.requests() - before;
    if asked != u64::from(!workload.is_hit) {
        return Err(format!("the origin was asked {asked} times").into());
    }
    Ok(true)
}

fn right(workload: &Workload, target: &str, client: &mut Client) -> Result<(), Failure> {
    let fields: Vec<_> = workload.fields.iter().map(String::as_str).collect();
    let reply = client.get(target, &fields)?;
    let is_right = reply.body.len() == workload.length && reply.body.iter().all(|byte| *byte == b'x');
    if reply.status != workload.status || !is_right {
        let status = reply.head.lines().next().unwrap_or_default();
        return Err(format!("{}: {} bytes with {status}", workload.name, reply.body.len()).into());
    }
    Ok(())
}
