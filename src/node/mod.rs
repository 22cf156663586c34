//! How are the rooms joined into a running node, and how is it wound up?

mod descriptors;
mod ends;
mod others;
mod secure;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::others::Others;
use self::secure::Secure;
use crate::accept::listener::{self, BindError};
use crate::accept::{Door, Handler};
use crate::admin::{self, Office, Readiness};
use crate::body::request::RequestBody;
use crate::cache::flight::Flights;
use crate::cache::ledger::Ledger;
use crate::cache::memory::{Limits, Memory};
use crate::cache::sweep::Sweep;
use crate::client::{Client, Plain};
use crate::clock::Clock;
use crate::config::reload::{Trigger, Watcher};
use crate::config::settings::{AccessLog, Server, Settings};
use crate::config::{Loaded, Source, needs_restart};
use crate::link::place::PlaceError;
use crate::origin::{self, Context, Origins, StartError};
use crate::policy::route::Rules;
use crate::purge::Purger;
use crate::purge::gate::Gate;
use crate::serve::{self, Answer, Serve, Shared, Site};
use crate::telemetry::{Telemetry, access};
use crate::tls::serving::ServingError;

/// What is under way when the last client has gone gets this long to end by itself.
const LAST_FILLS: Duration = Duration::from_secs(1);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// The access log cannot be opened.
    #[error("cannot open the access log (telemetry.access_log_file)")]
    AccessLog(#[source] io::Error),
    /// SIGHUP cannot be taken.
    #[error("signals cannot be taken")]
    Signals(#[source] io::Error),
    /// The origins cannot be set up.
    #[error(transparent)]
    Origins(#[from] StartError),
    /// `redis.url` cannot be read.
    #[error("redis.url cannot be used")]
    Redis(#[from] PlaceError),
    /// A certificate cannot be used.
    #[error("TLS cannot be served (server.tls)")]
    Tls(#[from] ServingError),
}

impl RunError {
    /// What the process ends with: 2 where the configuration is at fault, 1 where the machine is.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Origins(_) | Self::Redis(_) | Self::Tls(_) => 2,
            Self::Listen(_) | Self::AccessLog(_) | Self::Signals(_) => 1,
        }
    }
}

/// Runs a node until `stop`, and winds it up: no new connections, what is under way gets `server.drain_timeout`.
///
/// `source` is read again when it changes; `loaded` is what it says now.
///
/// # Errors
///
/// An address in use, an origin's name that does not resolve, a bad certificate, an access log that cannot be written.
pub async fn run(source: Source, loaded: Loaded, stop: CancellationToken) -> Result<(), RunError> {
    let settings = &loaded.settings;
    let public = bind_all(&settings.server.listen)?;
    let public_tls = bind_all(settings.tls.as_ref().map_or(&[], |tls| &tls.listen))?;
    let admin = listener::bind(settings.admin.listen)?;
    let mut registry = Registry::default();
    let node = Node::start(settings.clone(), &mut registry, &stop).await?;
    let ended = CancellationToken::new();
    // Before anybody is told that we run: an untaken SIGHUP would end the process.
    let watcher = Watcher::start(&source, &loaded, &node.shared.tasks, ended.clone()).map_err(RunError::Signals)?;
    let mut serving = JoinSet::new();
    for listener in public {
        say_address("listening on http", &listener.local_addr());
        serving.spawn(listener::serve(listener, node.door.clone(), None));
    }
    if let Some(secure) = &node.secure {
        for listener in public_tls {
            say_address("listening on https", &listener.local_addr());
            serving.spawn(listener::serve(listener, node.door.clone(), Some(Arc::clone(&secure.secured))));
        }
        node.shared.tasks.spawn(Arc::clone(secure).follow(Arc::clone(&node.settings), ended.clone()));
        // Authorities look at the listeners: from here on they are up, and when they are closed nothing can be proven.
        node.shared.tasks.spawn(Arc::clone(secure).obtain(Arc::clone(&node.settings), stop.clone()));
    }
    say_address("admin listening on http", &admin.local_addr());
    let admin = tokio::spawn(admin::serve(admin, node.office(registry, &stop), ended.clone()));
    let reload = tokio::spawn(node.clone().follow(source, watcher));
    stop.cancelled().await;
    tracing::info!("draining: no new connections; what is under way gets server.drain_timeout");
    let grace = node.settings.load().server.drain_timeout;
    let tunnels = &node.shared.tunnels;
    tunnels.close();
    let tunnels_end = tokio::time::timeout(grace, tunnels.wait());
    let connections_end = async { while serving.join_next().await.is_some() {} };
    let _ = tokio::join!(tunnels_end, connections_end);
    // The admin listener stays up while we drain.
    ended.cancel();
    let _ = tokio::join!(admin, reload);
    node.wind_up().await;
    Ok(())
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    addresses.iter().map(|address| listener::bind(*address)).collect()
}

fn say_address(what: &str, address: &io::Result<SocketAddr>) {
    if let Ok(address) = address {
        tracing::info!("{what}://{address}");
    }
}

/// The conductor, as the accepting side wants it.
impl Handler for Serve {
    type Answer = Answer;

    fn handle(&self, head: Parts, body: RequestBody, client: Client) -> Answer {
        self.answer(head, body, client)
    }

    fn at_once(&self, request: &Plain<'_>, answer: &mut Vec<u8>) -> Option<Bytes> {
        self.at_once(request, answer)
    }
}

/// The parts that live as long as the process.
#[derive(Clone)]
struct Node {
    shared: Arc<Shared>,
    origins: Arc<Context>,
    door: Door<Serve>,
    server: Arc<ArcSwap<Server>>,
    settings: Arc<ArcSwap<Settings>>,
    /// What joins it to other nodes.
    others: Option<Arc<Others>>,
    /// HTTPS.
    secure: Option<Arc<Secure>>,
}

impl Node {
    async fn start(settings: Settings, registry: &mut Registry, stop: &CancellationToken) -> Result<Self, RunError> {
        let clock = Clock::System;
        let telemetry = open_telemetry(&settings, clock.clone(), registry)?;
        let tasks = TaskTracker::new();
        let origins = Arc::new(Context {
            clock: clock.clone(),
            metrics: origin::Metrics::register(registry),
            tasks: tasks.clone(),
            stop: CancellationToken::new(),
        });
        let secure = match &settings.tls {
            Some(tls) => Some(Arc::new(Secure::start(tls, clock.clone(), registry).await?)),
            None => None,
        };
        let site = site(&settings, None, &origins).await?;
        let memory = Arc::new(Memory::new(Limits {
            capacity: settings.memory.capacity,
            max_object: settings.memory.max_object,
            max_variants: settings.memory.max_variants,
            threads: Handle::current().metrics().num_workers(),
        }));
        let name = node_name();
        let (others, ledger) = match &settings.redis {
            Some(redis) => {
                let others = Others::join(redis, &name, &clock, registry)?;
                let ledger = Arc::clone(&others.ledger);
                (Some(Arc::new(others)), ledger)
            }
            None => (None, Arc::new(Ledger::new())),
        };
        if let (Some(secure), Some(others)) = (&secure, &others) {
            secure.join(others.authorities.clone());
        }
        let sweep = Sweep::register(Arc::clone(&ledger), Arc::clone(&memory), registry);
        tasks.spawn(sweep.run(origins.stop.clone()));
        let mut purger = Purger::new(Arc::clone(&ledger), Arc::clone(&memory), clock.clone(), name);
        if let Some(others) = &others {
            purger = purger.among(Arc::clone(&others.fleet), others.timeout);
        }
        purger.register(registry);
        let shared = Arc::new(Shared {
            site: ArcSwap::from_pointee(site),
            memory,
            ledger,
            purger: Arc::new(purger),
            elsewhere: others.as_ref().map(|others| others.elsewhere()),
            flights: Arc::new(Flights::new()),
            clock,
            telemetry: Arc::clone(&telemetry),
            metrics: serve::Metrics::register(registry),
            tasks,
            tunnels: TaskTracker::new(),
            tokens: secure.as_ref().map(|secure| Arc::clone(&secure.tokens)).unwrap_or_default(),
            stop: origins.stop.clone(),
        });
        let server = Arc::new(ArcSwap::from_pointee(settings.server.clone()));
        let serve = Serve::new(Arc::clone(&shared));
        let door = Door::new(serve, Arc::clone(&server), telemetry, stop.clone());
        let door = door.of_at_most(descriptors::places(&settings));
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        if let Some(others) = &others {
            others.heard().await;
        }
        Ok(Self { shared, origins, door, server, settings, others, secure })
    }

    /// Takes changes of the configuration over until watching ends.
    async fn follow(self, source: Source, mut watcher: Watcher) {
        while let Some(trigger) = watcher.next().await {
            if trigger == Trigger::Signal {
                self.shared.telemetry.reopen();
                if let Some(secure) = &self.secure {
                    secure.hurry();
                }
            }
            self.reload(&source).await;
            // Also where the file was refused: the certificates in use may have changed, and are not its text.
            let wanted = self.settings.load().tls.as_ref().map(|tls| tls.wanted.clone());
            if let (Some(secure), Some(wanted)) = (&self.secure, wanted) {
                secure.renew(wanted, trigger == Trigger::Signal).await;
            }
        }
    }

    /// Takes the file over whole, or not at all. Nothing that is stored or under way is dropped.
    async fn reload(&self, source: &Source) {
        let metrics = self.shared.telemetry.metrics();
        let loaded = match source.load() {
            Ok(loaded) => loaded,
            Err(findings) => {
                metrics.reloads_rejected.inc();
                return tracing::error!("the configuration is wrong and was not taken over:\n{findings}");
            }
        };
        let site = match site(&loaded.settings, Some(&self.shared.site.load().origins), &self.origins).await {
            Ok(site) => site,
            Err(error) => {
                metrics.reloads_rejected.inc();
                return tracing::error!("the configuration was not taken over: {error}");
            }
        };
        for key in needs_restart(&self.settings.load(), &loaded.settings) {
            tracing::warn!("{key} has changed: it takes a restart to act");
        }
        self.shared.site.store(Arc::new(site));
        self.server.store(Arc::new(loaded.settings.server.clone()));
        self.settings.store(Arc::new(loaded.settings));
        metrics.reloads_applied.inc();
        tracing::info!("the configuration was taken over");
    }

    /// What the admin listener answers from.
    fn office(&self, registry: Registry, stop: &CancellationToken) -> Arc<Office> {
        let (shared, draining) = (Arc::clone(&self.shared), stop.clone());
        let readiness = move || match (draining.is_cancelled(), shared.site.load().origins.any_up()) {
            (true, _) => Readiness::Draining,
            (false, true) => Readiness::Ready,
            (false, false) => Readiness::OriginsDown,
        };
        Office::new(Arc::clone(&self.settings), Arc::clone(&self.shared), registry, readiness)
    }

    /// Ends what runs behind the clients' backs.
    async fn wind_up(self) {
        self.origins.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(LAST_FILLS, self.shared.tasks.wait()).await.is_err() {
            tracing::debug!(fills = self.shared.tasks.len(), "what is still being fetched is given up");
        }
        if let Some(others) = &self.others {
            others.leave().await;
        }
        self.shared.telemetry.close();
    }
}

/// What `settings` make of the proxy.
async fn site(settings: &Settings, previous: Option<&Origins>, context: &Context) -> Result<Site, StartError> {
    let origins = Origins::start(&settings.origins, previous, context).await?;
    let hosts: Vec<_> = settings.origins.iter().map(|origin| origin.hosts.clone()).collect();
    Ok(Site {
        rules: Rules::compile(settings.rules.clone(), &hosts),
        origins,
        tag_headers: settings.purge.tag_headers.clone(),
        expose_hidden: settings.server.expose_surrogate_headers,
        gate: Gate::new(settings.purge.allow.clone(), settings.admin.token.clone()),
    })
}

/// What this node is called in receipts: the machine, and four digits, since several nodes may share one.
fn node_name() -> Box<str> {
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{machine}-{:04x}", fastrand::u16(..)).into()
}

fn open_telemetry(settings: &Settings, clock: Clock, registry: &mut Registry) -> Result<Arc<Telemetry>, RunError> {
    let form = match settings.telemetry.access_log {
        AccessLog::Json => Some(access::Form::Json),
        AccessLog::Text => Some(access::Form::Text),
        AccessLog::Off => None,
    };
    Telemetry::new(form, settings.telemetry.access_log_file.as_deref(), clock, registry).map_err(RunError::AccessLog)
}
