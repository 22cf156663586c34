//! What does Larder take that no peer is asked for: memory, starting, purging under load, rules, tags, more of everything?

use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::arguments::Arguments;
use crate::compare::{middle, tried};
use crate::generator::Targets;
use crate::load::{Load, Sample, median};
use crate::servers::{Kind, Options, Place, Server};
use crate::table::{self, Rows, mebibytes};

/// Names for the command line.
pub(crate) const NAMES: [&str; 8] = ["start", "memory", "purge", "rules", "tags", "cores", "objects", "connections"];

/// What takes minutes: a million objects to store, ten thousand connections.
const LONG: [&str; 2] = ["objects", "connections"];

type Measure = fn(&Arguments, &Place) -> Rows;

const MEASURES: [Measure; 8] = [start, memory, purge, rules, tags, cores, objects, connections];

/// Runs what was asked for, and prints one table.
pub(crate) fn all(arguments: &Arguments, place: &Place) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for (name, measure) in NAMES.into_iter().zip(MEASURES) {
        if arguments.wants(name) && (arguments.long || !LONG.contains(&name)) {
            eprintln!("{name}");
            rows.extend(measure(arguments, place)?);
        }
    }
    if !arguments.smoke && !rows.is_empty() {
        table::say(&table::of_larder(&rows));
    }
    Ok(())
}

fn larder(arguments: &Arguments, place: &Place, options: &Options) -> Result<Server, Failure> {
    Server::start(Kind::Larder, &arguments.larder, place, options)
}

/// As many as are measured, or few.
fn count(arguments: &Arguments, many: usize) -> usize {
    if arguments.smoke { many / 1000 } else { many }
}

/// Asks for one URL with 32 connections.
fn hits(target: &str) -> Load {
    let (targets, fields) = (Targets::One(target.to_owned()), Vec::new());
    Load { targets, fields, secure: false, connections: 32, closes: false, status: 200, length: 1024, streams: None }
}

/// Loads several servers in turn; their medians.
fn in_turn(loads: &[(&Server, &Load)], arguments: &Arguments, place: &Place) -> Result<Vec<Sample>, Failure> {
    let mut samples: Vec<Vec<Sample>> = loads.iter().map(|_| Vec::new()).collect();
    for _ in 0..if arguments.smoke { 1 } else { arguments.rounds } {
        for ((server, load), samples) in loads.iter().zip(&mut samples) {
            samples.push(if arguments.smoke {
                tried(load, server, place)?
            } else {
                load.run(server, place, Duration::from_secs(arguments.seconds))?
            });
        }
    }
    Ok(samples.iter().map(|samples| middle(samples)).collect())
}

/// Processor time of the first, and of the others as multiples of it.
fn multiples(samples: &[Sample]) -> String {
    let first = samples[0].cpu;
    let others = samples[1..].iter().map(|sample| format!("× {:.2}", sample.cpu / first));
    table::list([format!("{first:.2} µs")].into_iter().chain(others))
}

fn start(arguments: &Arguments, place: &Place) -> Rows {
    let mut waits = Vec::new();
    let mut idle = 0;
    for _ in 0..if arguments.smoke { 1 } else { 20 } {
        let begun = Instant::now();
        let server = larder(arguments, place, &Options::default())?;
        let reply = server.connect(place, false)?.get("/kib/1/a", &[])?;
        waits.push(begun.elapsed().as_secs_f64() * 1000.0);
        if reply.status != 200 {
            return Err(format!("the first answer is {}", reply.head).into());
        }
        idle = server.resident()?;
    }
    let size = std::fs::metadata(&arguments.larder)?.len();
    Ok(vec![
        (
            "from its start to its first answer, a miss, median of 20".to_owned(),
            format!("{:.0} ms", median(waits.into_iter())),
        ),
        ("resident when idle".to_owned(), mebibytes(idle)),
        ("size of the binary".to_owned(), mebibytes(size)),
    ])
}

fn memory(arguments: &Arguments, place: &Place) -> Rows {
    const BODY: u64 = 100;
    let objects = count(arguments, 200_000);
    let server = larder(arguments, place, &Options::default())?;
    let mut client = server.connect(place, false)?;
    // What the first requests take once is not the objects'.
    client.fetch((0..1000).map(|number| format!("/bytes/100/warm-{number}")))?;
    let before = server.resident()?;
    client.fetch((0..objects).map(|number| format!("/bytes/100/{number}")))?;
    let each = server.resident()?.saturating_sub(before) / objects as u64;
    Ok(vec![(
        format!("resident memory an object beyond its body, {objects} objects of {BODY} bytes with eight fields"),
        format!("{} bytes", each.saturating_sub(BODY)),
    )])
}

fn purge(arguments: &Arguments, place: &Place) -> Rows {
    let objects = count(arguments, 100_000);
    let server = larder(arguments, place, &Options::default())?;
    let mut client = server.connect(place, false)?;
    client.get("/kib/1/a", &[])?;
    let load = hits("/kib/1/a");
    let duration = Duration::from_secs(if arguments.smoke { 1 } else { arguments.seconds.max(2) });
    let (mut calm, mut purged, mut takes) = (Vec::new(), Vec::new(), Vec::new());
    // Filling takes its time: three rounds say enough.
    for round in 0..if arguments.smoke { 1 } else { arguments.rounds.min(3) } {
        client.fetch((0..objects).map(|number| format!("/all/{round}/{number}")))?;
        calm.push(in_turn(&[(&server, &load)], arguments, place)?[0].p99);
        let mut operator = crate::client::Client::connect(server.admin, None)?;
        let purging = thread::spawn(move || {
            // In the midst of the load.
            thread::sleep(duration / 3);
            let begun = Instant::now();
            let reply = operator.post("/purge", "{\"tags\":[\"all\"]}").map_err(|failure| failure.to_string())?;
            let took = begun.elapsed().as_secs_f64() * 1000.0;
            if reply.status == 200 { Ok(took) } else { Err(reply.head) }
        });
        purged.push(in_turn(&[(&server, &load)], &arguments.once(), place)?[0].p99);
        takes.push(purging.join().map_err(|_| "the purge panicked")??);
        let before = place.origin.requests();
        client.get(&format!("/all/{round}/0"), &[])?;
        if place.origin.requests() == before {
            return Err("what was purged was served".into());
        }
    }
    Ok(vec![(
        format!("purge of {objects} objects by one tag under full load: its receipt; p99 of hits meanwhile, without"),
        format!(
            "{:.1} ms; {:.2} ms, {:.2} ms",
            median(takes.into_iter()),
            median(purged.into_iter()),
            median(calm.into_iter())
        ),
    )])
}

fn rules(arguments: &Arguments, place: &Place) -> Rows {
    let mut servers = Vec::new();
    for number in [0, 10, 500] {
        let mut rules = String::new();
        for rule in 0..number {
            let _ = write!(rules, "[[rules]]\nmatch = {{ path = \"/section-{rule}/**\" }}\nttl = \"5m\"\n");
        }
        let server = larder(arguments, place, &Options { rules, ..Options::default() })?;
        server.connect(place, false)?.get("/kib/1/a", &[])?;
        servers.push(server);
    }
    let load = hits("/kib/1/a");
    let loads: Vec<_> = servers.iter().map(|server| (server, &load)).collect();
    let samples = in_turn(&loads, arguments, place)?;
    Ok(vec![("1 KiB hit with 0, 10, 500 rules on paths that do not match".to_owned(), multiples(&samples))])
}

fn tags(arguments: &Arguments, place: &Place) -> Rows {
    let server = larder(arguments, place, &Options::default())?;
    let loads = ["/tags/0/a", "/tags/64/a"].map(hits);
    for load in &loads {
        server.connect(place, false)?.get(&load.targets.first(), &[])?;
    }
    let samples = in_turn(&[(&server, &loads[0]), (&server, &loads[1])], arguments, place)?;
    Ok(vec![("1 KiB hit of an object with 0, 64 tags".to_owned(), multiples(&samples))])
}

fn cores(arguments: &Arguments, place: &Place) -> Rows {
    if place.cores.second.is_none() {
        return Ok(vec![("one core against two".to_owned(), "– (takes three cores)".to_owned())]);
    }
    let load = hits("/kib/1/a");
    let mut servers = Vec::new();
    for threads in [1, 2] {
        let server = larder(arguments, place, &Options { threads, ..Options::default() })?;
        server.connect(place, false)?.get("/kib/1/a", &[])?;
        servers.push(server);
    }
    let loads: Vec<_> = servers.iter().map(|server| (server, &load)).collect();
    let samples = in_turn(&loads, arguments, place)?;
    let (one, two) = (samples[0].rate, samples[1].rate);
    Ok(vec![(
        "1 KiB hits a second with one core, with two".to_owned(),
        format!("{one:.0}, {two:.0} (× {:.2})", two / one),
    )])
}

fn objects(arguments: &Arguments, place: &Place) -> Rows {
    let server = larder(arguments, place, &Options { capacity: "4GiB", ..Options::default() })?;
    let mut client = server.connect(place, false)?;
    let mut samples = Vec::new();
    let mut stored = 0;
    for objects in [1, 1000, 1_000_000] {
        let objects = if arguments.smoke { objects.min(1000) } else { objects };
        client.fetch((stored..objects).map(|number| format!("/bytes/100/{number}")))?;
        stored = objects;
        let load = Load { targets: Targets::Many("/bytes/100/".to_owned(), objects), length: 100, ..hits("/kib/1/a") };
        samples.extend(in_turn(&[(&server, &load)], arguments, place)?);
    }
    Ok(vec![("100 byte hits over 1, 1000, 1,000,000 stored objects, skewed".to_owned(), multiples(&samples))])
}

fn connections(arguments: &Arguments, place: &Place) -> Rows {
    let server = larder(arguments, place, &Options::default())?;
    server.connect(place, false)?.get("/kib/1/a", &[])?;
    let counts = if arguments.smoke { [1, 32, 100] } else { [1, 32, 10_000] };
    let loads = counts.map(|connections| Load { connections, ..hits("/kib/1/a") });
    let loads: Vec<_> = loads.iter().map(|load| (&server, load)).collect();
    let samples = in_turn(&loads, arguments, place)?;
    Ok(vec![("1 KiB hit over 1, 32, 10,000 connections".to_owned(), multiples(&samples))])
}
