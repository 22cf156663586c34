//! The operator's listener: is it alive, what is stored, what was counted, what would be done; and purge this.
//!
//! It stays up while the public listeners drain, and is bounded like everything that listens. A request passes the
//! `door`, finds its row in the `table`, has its query (`query`) or its body (`reading`) read, and is answered by its
//! page: `purging`, `looking`, `counting`, `asking`; `openapi` describes them all.

mod asking;
mod counting;
mod door;
mod listener;
mod looking;
mod openapi;
mod purging;
mod query;
mod reading;
mod reply;
mod table;

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::request::Parts;
use http::{Request, StatusCode};
use http_body::Body;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

pub use self::listener::serve;
use self::purging::Asked;
use self::query::Query;
use self::reply::{Fault, Reply};
use self::table::{Page, Route, View};
use crate::config::settings::Settings;
use crate::serve::Shared;
use crate::wire::purge::Purges;

/// What the metrics are written in.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process may take traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It may.
    Ready,
    /// It is ending.
    Draining,
    /// No origin can be asked.
    OriginsDown,
}

/// What the listener answers from.
pub struct Office {
    settings: Arc<ArcSwap<Settings>>,
    shared: Arc<Shared>,
    registry: Registry,
    readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    started: Instant,
    /// Held by whoever walks through what is stored.
    turn: Arc<Semaphore>,
}

impl Office {
    /// The token is read anew for every request; an empty one asks no question, which the configuration allows on
    /// loopback only.
    pub fn new(
        settings: Arc<ArcSwap<Settings>>,
        shared: Arc<Shared>,
        registry: Registry,
        readiness: impl Fn() -> Readiness + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (readiness, turn) = (Box::new(readiness), Arc::new(Semaphore::new(1)));
        Arc::new(Self { settings, shared, registry, readiness, started: Instant::now(), turn })
    }

    /// Answers one request of a client at this address.
    async fn answer<B>(&self, request: Request<B>, peer: IpAddr) -> Reply
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        self.page(&head, body, peer).await.unwrap_or_else(Fault::into_reply)
    }

    async fn page<B>(&self, head: &Parts, body: B, peer: IpAddr) -> Result<Reply, Fault>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (route, tag) = self.route(head)?;
        let query = match route.parameters {
            Some(known) => Query::read(head.uri.query(), known)?,
            None => Query::default(),
        };
        match route.page {
            Page::View(view) => self.view(view, &query).await,
            Page::Purge(purge) => {
                let body = reading::read(body).await?;
                let asked = Asked { headers: &head.headers, body, who: format!("{peer} admin") };
                purging::carry_out(self, asked.order(purge, tag, self)?).await
            }
        }
    }

    /// The row of the table that a request asks for, if it may, and what its path says of a tag.
    fn route<'a>(&self, head: &'a Parts) -> Result<(&'static Route, &'a str), Fault> {
        let settings = self.settings.load();
        let token = &settings.admin.token;
        let found: Vec<_> = table::fitting(head.uri.path()).collect();
        if !found.iter().any(|(route, _)| route.is_open) {
            door::admit(&head.headers, token)?;
        }
        let Some((first, _)) = found.first() else {
            return Err(Fault::new(
                StatusCode::NOT_FOUND,
                "there is nothing here: GET /openapi.json tells what there is",
            ));
        };
        let found = found.iter().find(|(route, _)| route.page.takes(&head.method));
        let (route, tag) = found.ok_or_else(|| Fault::method(first.page.methods()))?;
        if matches!(route.page, Page::Purge(_)) {
            door::guard_from_pages(&head.headers, token)?;
        }
        Ok((*route, *tag))
    }

    async fn view(&self, view: View, query: &Query) -> Result<Reply, Fault> {
        let ok = StatusCode::OK;
        Ok(match view {
            View::Live => reply::text(ok, "live\n"),
            View::Ready => self.ready(),
            View::Metrics => self.metrics()?,
            View::Stats => reply::json(ok, &counting::stats(self)),
            View::Objects => reply::json(ok, &looking::objects(self, query).await?),
            View::Explain => reply::json(ok, &asking::explanation(self, query).await?),
            View::Purges => reply::json(ok, &Purges { purges: self.shared.purger.recent(query.limit()?) }),
            View::OpenApi => reply::json(ok, openapi::document()),
        })
    }

    fn ready(&self) -> Reply {
        let (status, word) = match (self.readiness)() {
            Readiness::Ready => (StatusCode::OK, "ready"),
            Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
            Readiness::OriginsDown => (StatusCode::SERVICE_UNAVAILABLE, "every origin is down"),
        };
        // Told, and no reason to take traffic away: without Redis a node is a cache all the same.
        let redis = self.shared.elsewhere.as_ref().map(counting::state_of_redis);
        let redis = redis.map(|state| format!("redis: {}\n", state.as_str())).unwrap_or_default();
        reply::text(status, format!("{word}\n{redis}"))
    }

    fn metrics(&self) -> Result<Reply, Fault> {
        let mut page = String::new();
        let written = prometheus_client::encoding::text::encode(&mut page, &self.registry);
        written.map_err(|_| Fault::internal("the metrics could not be written"))?;
        Ok(reply::page(StatusCode::OK, OPENMETRICS, page))
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("Office").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
    use http_body_util::{BodyExt, Empty};
    use prometheus_client::metrics::counter::Counter;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::cache::flight::Flights;
    use crate::cache::ledger::Ledger;
    use crate::cache::memory::{Limits, Memory};
    use crate::clock::Clock;
    use crate::origin::{Context, Metrics, Origins};
    use crate::policy::route::Rules;
    use crate::purge::Purger;
    use crate::purge::gate::Gate;
    use crate::serve::Site;
    use crate::telemetry::Telemetry;

    async fn shared() -> Arc<Shared> {
        let (clock, ledger) = (Clock::System, Arc::new(Ledger::new()));
        let memory =
            Arc::new(Memory::new(Limits { capacity: 1 << 20, max_object: 1 << 20, max_variants: 2, threads: 1 }));
        let context = Context {
            clock: clock.clone(),
            metrics: Metrics::register(&mut Registry::default()),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let site = Site {
            rules: Rules::compile(Vec::new(), &[]),
            origins: Origins::start(&[], None, &context).await.expect("none to start"),
            tag_headers: Vec::new(),
            expose_hidden: false,
            gate: Gate::default(),
        };
        Arc::new(Shared {
            site: ArcSwap::from_pointee(site),
            purger: Arc::new(Purger::new(Arc::clone(&ledger), Arc::clone(&memory), clock.clone(), "node".into())),
            memory,
            ledger,
            elsewhere: None,
            flights: Arc::new(Flights::new()),
            clock,
            telemetry: Telemetry::silent(),
            metrics: crate::serve::Metrics::register(&mut Registry::default()),
            tasks: TaskTracker::new(),
            tunnels: TaskTracker::new(),
            tokens: Arc::default(),
            stop: CancellationToken::new(),
        })
    }

    /// An office in front of nothing.
    pub(super) async fn office(token: &str, readiness: Readiness) -> Arc<Office> {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        counter.inc();
        registry.register("larder_tests", "Tests", counter);
        let url = crate::config::parse_origin_url("http://127.0.0.1:3000").expect("a URL");
        let mut settings = crate::config::from_origin(url);
        token.clone_into(&mut settings.admin.token);
        Office::new(Arc::new(ArcSwap::from_pointee(settings)), shared().await, registry, move || readiness)
    }

    fn ask(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<Empty<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Empty::new()).expect("a request")
    }

    #[tokio::test]
    async fn each_page_has_its_status() {
        use Readiness::{Draining, OriginsDown, Ready};
        let bearer = [("authorization", "Bearer s3cret")];
        let cases = [
            ("", Ready, ask("GET", "/healthz", &[]), 200, "live"),
            ("", Draining, ask("GET", "/healthz", &[]), 200, "live while draining"),
            ("", Ready, ask("GET", "/readyz", &[]), 200, "ready"),
            ("", Draining, ask("GET", "/readyz", &[]), 503, "no traffic while draining"),
            ("", OriginsDown, ask("GET", "/readyz?from=balancer", &[]), 503, "nobody to ask"),
            ("", Ready, ask("HEAD", "/metrics", &[]), 200, "HEAD as GET"),
            ("", Ready, ask("POST", "/metrics", &[]), 405, "read only"),
            ("", Ready, ask("GET", "/purge", &[]), 405, "write only"),
            ("", Ready, ask("GET", "/nothing", &[]), 404, "no such page"),
            ("s3cret", Ready, ask("GET", "/healthz", &[]), 200, "open for load balancers"),
            ("s3cret", Ready, ask("GET", "/readyz", &[]), 200, "open for load balancers"),
            ("s3cret", Ready, ask("GET", "/metrics", &[]), 401, "no token"),
            ("s3cret", Ready, ask("GET", "/nothing", &[]), 401, "what exists is not told either"),
            ("s3cret", Ready, ask("DELETE", "/purge", &[]), 401, "nor by which method"),
            ("s3cret", Ready, ask("GET", "/metrics", &bearer), 200, "the token"),
            ("s3cret", Ready, ask("GET", "/metrics", &[("fastly-key", "s3cret")]), 200, "the other way to carry it"),
        ];
        for (token, readiness, request, want, why) in cases {
            let answer = office(token, readiness).await.answer(request, [127, 0, 0, 1].into()).await;
            assert_eq!(answer.status(), want, "{why}");
            assert_eq!(answer.headers().contains_key(WWW_AUTHENTICATE), want == 401, "{why}");
            assert_eq!(answer.headers().contains_key(ALLOW), want == 405, "{why}");
        }
    }

    #[tokio::test]
    async fn a_purge_that_was_read_is_carried_out_though_nobody_waits_for_it() {
        let office = office("", Readiness::Ready).await;
        let mut answer = Box::pin(office.answer(ask("POST", "/purge/a", &[]), [127, 0, 0, 1].into()));
        // What becomes of an answer whose connection breaks: it is dropped where it stands.
        let is_pending = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
        assert!(is_pending, "the purge is counted first");
        drop(answer);
        office.shared.tasks.close();
        office.shared.tasks.wait().await;
        assert_eq!(office.shared.ledger.position(), 1);
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let office = office("", Readiness::Ready).await;
        let answer = office.answer(ask("GET", "/metrics", &[]), [127, 0, 0, 1].into()).await;
        assert_eq!(answer.headers()[CONTENT_TYPE], OPENMETRICS);
        let page = answer.into_body().collect().await.expect("a body").to_bytes();
        let page = std::str::from_utf8(&page).expect("text");
        assert!(page.contains("larder_tests_total 1\n") && page.ends_with("# EOF\n"), "{page}");
    }
}
