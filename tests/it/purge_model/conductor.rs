//! The conductor as it is, without sockets towards clients, on a clock that the test moves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use larder::cache::flight::Flights;
use larder::cache::ledger::Ledger;
use larder::cache::memory::{Limits, Memory};
use larder::client::{Client, RequestId, Scheme};
use larder::clock::Clock;
use larder::config::{self, Environment};
use larder::origin::{self, Context, Origins};
use larder::policy::route::Rules;
use larder::purge::Purger;
use larder::purge::gate::Gate;
use larder::serve::{Elsewhere, Metrics, Shared, Site};
use larder::telemetry::Telemetry;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const RULES: &str = r#"
[[rules]]
name = "everything"
client_cache_control = "honour"
key = { query = { exclude = ["utm_*"] } }

[[rules]]
name = "sections"
match = { path = "/s/*" }
tags = ["section:{1}"]
"#;

/// What requests share, before an origin at this address.
pub(super) async fn shared(origin: SocketAddr, clock: Clock) -> Arc<Shared> {
    shared_with(origin, clock, |_| None).await
}

/// The same, with a second tier that is made for this ledger.
pub(super) async fn shared_with(
    origin: SocketAddr,
    clock: Clock,
    elsewhere: impl FnOnce(&Arc<Ledger>) -> Option<Elsewhere>,
) -> Arc<Shared> {
    let folder = tempfile::tempdir().expect("there is room for a file");
    let file = folder.path().join("proxy.toml");
    let app = format!("[[origins]]\nname = \"app\"\nurls = [\"http://{origin}\"]\npreserve_host = true\nretries = 0\n");
    std::fs::write(&file, app + RULES).expect("the folder is ours");
    let settings = config::load(&file, &Environment::default()).expect("the file is sound").settings;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let metrics = origin::Metrics::register(&mut Registry::default());
    // Of their own: what is left in `tasks` are the fills.
    let context = Context { clock: clock.clone(), metrics, tasks: TaskTracker::new(), stop: stop.clone() };
    let origins = Origins::start(&settings.origins, None, &context).await.expect("the origin is an address");
    let hosts: Vec<_> = settings.origins.iter().map(|origin| origin.hosts.clone()).collect();
    let site = Site {
        rules: Rules::compile(settings.rules.clone(), &hosts),
        origins,
        tag_headers: settings.purge.tag_headers.clone(),
        expose_hidden: false,
        gate: Gate::default(),
    };
    let memory = Arc::new(Memory::new(Limits { capacity: 64 << 20, max_object: 1 << 20, max_variants: 8, threads: 1 }));
    let ledger = Arc::new(Ledger::new());
    let purger = Purger::new(Arc::clone(&ledger), Arc::clone(&memory), clock.clone(), "model".into());
    Arc::new(Shared {
        site: arc_swap::ArcSwap::from_pointee(site),
        memory,
        elsewhere: elsewhere(&ledger),
        ledger,
        purger: Arc::new(purger),
        flights: Arc::new(Flights::new()),
        clock,
        telemetry: Telemetry::silent(),
        metrics: Metrics::register(&mut Registry::default()),
        tasks,
        tunnels: TaskTracker::new(),
        tokens: Arc::default(),
        stop,
    })
}

/// A client of `host`.
pub(super) fn client(host: &str) -> Client {
    let address: SocketAddr = ([127, 0, 0, 1], 1).into();
    Client {
        peer: address,
        local: address,
        address: address.ip(),
        scheme: Scheme::Http,
        authority: host.into(),
        certificate: None,
        request_id: RequestId::Made(1),
        received: Instant::now(),
        interim: None,
    }
}
