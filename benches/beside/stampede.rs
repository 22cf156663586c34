//! Five hundred clients ask for one URL that nobody has, all at once: how often is the origin asked, and who waits how long?

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Failure;
use crate::arguments::Arguments;
use crate::load::{median, percentile};
use crate::servers::{Kind, Place, Server};
use crate::table;

pub(crate) const NAME: &str = "stampede";

const CLIENTS: usize = 500;

/// The origin takes 100 ms; who has no answer by now gets none.
const PATIENCE: Duration = Duration::from_secs(20);

struct Rush {
    origin_requests: f64,
    p99: f64,
}

/// Rounds in turn; the table of it.
pub(crate) fn all(arguments: &Arguments, place: &Place, servers: &[Server]) -> Result<(), Failure> {
    eprintln!("stampede");
    let rounds = if arguments.smoke { 1 } else { arguments.rounds };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rushes: Vec<Vec<Rush>> = servers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (server, rushes) in servers.iter().zip(&mut rushes) {
            let before = settled(place);
            let mut waits = runtime.block_on(rush(server, &format!("/slow/{round}")))?;
            let origin_requests = place.origin.requests() - before;
            if server.kind == Kind::Larder && origin_requests != 1 {
                return Err(format!("a stampede reached the origin {origin_requests} times").into());
            }
            rushes.push(Rush { origin_requests: origin_requests as f64, p99: percentile(&mut waits, 0.99) });
        }
    }
    if arguments.smoke {
        return Ok(());
    }
    let middle = |rushes: &[Rush]| Rush {
        origin_requests: median(rushes.iter().map(|rush| rush.origin_requests)),
        p99: median(rushes.iter().map(|rush| rush.p99)),
    };
    let rows: Vec<_> = servers.iter().zip(&rushes).map(|(server, rushes)| (server.kind, middle(rushes))).collect();
    let cells =
        |figure: fn(&Rush) -> f64| -> Vec<_> { rows.iter().map(|(kind, rush)| (*kind, figure(rush))).collect() };
    table::say(&table::of_figures(
        "500 clients, one cold URL, origin takes 100 ms",
        &[("requests to the origin", cells(|rush| rush.origin_requests)), ("p99, ms", cells(|rush| rush.p99))],
    ));
    Ok(())
}

/// How often the origin was asked, once the last requests of the load before have reached it.
fn settled(place: &Place) -> u64 {
    let mut seen = place.origin.requests();
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(200));
        if place.origin.requests() == seen {
            break;
        }
        seen = place.origin.requests();
    }
    seen
}

/// How long each client waited, in milliseconds.
async fn rush(server: &Server, target: &str) -> Result<Vec<f64>, Failure> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.http);
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(TcpStream::connect(server.http).await?);
    }
    // Once all are there: it is the answers that are waited for, not places in the queue of connections.
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for mut stream in streams {
        let request = request.clone();
        clients.spawn(async move {
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::with_capacity(2048);
            stream.read_to_end(&mut answer).await?;
            let is_right = answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"xxxx");
            is_right.then(|| begun.elapsed()).ok_or_else(|| std::io::Error::other("not the answer that was meant"))
        });
    }
    let mut waits = Vec::new();
    while let Some(ended) = tokio::time::timeout(PATIENCE, clients.join_next()).await? {
        waits.push(ended??.as_secs_f64() * 1000.0);
    }
    Ok(waits)
}
