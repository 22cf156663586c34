//! How does the node come by its certificates, and by new ones while it runs?

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::ends::{Ends, Reminder};
use crate::accept::secure::Secured;
use crate::acme::keeper::Keeper;
use crate::acme::sharing::Others;
use crate::acme::tokens::Tokens;
use crate::clock::Clock;
use crate::config::settings::{Settings, Tls};
use crate::tls::in_one_line;
use crate::tls::serving::{Renewal, Serving, ServingError, Wanted};

/// How often the files are looked at. What has changed is taken over when two looks find the same: after 6 s at most, and
/// 30 s are promised. A look is two `stat` calls a pair. No events of the system: they are not told of a link further up
/// that was turned, nor by network file systems.
const LOOK: Duration = Duration::from_secs(3);

/// HTTPS, as the node keeps it.
#[derive(Debug)]
pub(super) struct Secure {
    serving: Arc<Serving>,
    /// What the listeners share.
    pub(super) secured: Arc<Secured>,
    clock: Clock,
    applied: Counter,
    rejected: Counter,
    /// Obtains certificates.
    keeper: Keeper,
    /// What authorities look for.
    pub(super) tokens: Arc<Tokens>,
}

impl Secure {
    /// Reads the certificates, those too that were obtained by earlier runs.
    ///
    /// # Errors
    ///
    /// One of the operator's cannot be used.
    pub(super) async fn start(tls: &Tls, clock: Clock, registry: &mut Registry) -> Result<Self, ServingError> {
        let (now, wanted) = (seconds(&clock), tls.wanted.clone());
        let read = tokio::task::spawn_blocking(move || Serving::start(&wanted, now));
        let serving = Arc::new(read.await.expect("reading certificates does not panic")?);
        let reloads = Family::<[(&str, &str); 1], Counter>::default();
        registry.register("larder_tls_reloads", "Certificates read again after a change, by result", reloads.clone());
        let tokens = Arc::new(Tokens::default());
        let keeper = Keeper::register(Arc::clone(&serving), Arc::clone(&tokens), clock.clone(), registry);
        if let Some(acme) = &tls.acme {
            keeper.show_kept(acme).await;
        }
        registry.register_collector(Box::new(Ends(Arc::clone(&serving))));
        Ok(Self {
            keeper,
            tokens,
            secured: Arc::new(Secured::register(Arc::clone(&serving), registry)),
            serving,
            clock,
            applied: reloads.get_or_create_owned(&[("result", "applied")]),
            rejected: reloads.get_or_create_owned(&[("result", "rejected")]),
        })
    }

    /// Takes over what has changed, or with `all` whatever can be read; says and counts what became of it.
    pub(super) async fn renew(&self, wanted: Wanted, all: bool) {
        let (serving, now) = (Arc::clone(&self.serving), seconds(&self.clock));
        let read = tokio::task::spawn_blocking(move || serving.renew(&wanted, all, now));
        for renewal in read.await.expect("reading certificates does not panic") {
            match renewal {
                Renewal::Applied { path, label } => {
                    self.applied.inc();
                    tracing::info!("{} was taken over: {label}", path.display());
                }
                Renewal::Rejected { path, error } => {
                    self.rejected.inc();
                    let error = in_one_line(&error);
                    tracing::error!("{} was not taken over, what was there before stays: {error}", path.display());
                }
            }
        }
    }

    /// Obtains certificates together with other nodes, from here on.
    pub(super) fn join(&self, others: Others) {
        self.keeper.join(others);
    }

    /// Obtains certificates, until `stop`.
    pub(super) async fn obtain(self: Arc<Self>, settings: Arc<ArcSwap<Settings>>, stop: CancellationToken) {
        tokio::join!(self.keeper.run(&settings, &stop), self.keeper.lend(&settings, &stop));
    }

    /// Has certificates that could not be obtained be tried again at once.
    pub(super) fn hurry(&self) {
        self.keeper.hurry();
    }

    /// Looks at the files again and again, until `stop`; and says once a day what ends soon.
    pub(super) async fn follow(self: Arc<Self>, settings: Arc<ArcSwap<Settings>>, stop: CancellationToken) {
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reminder = Reminder::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            reminder.remind(&self.serving, seconds(&self.clock));
            // Taken out of the file: it is spoken until the restart that the operator was told of.
            let Some(wanted) = settings.load().tls.as_ref().map(|tls| tls.wanted.clone()) else { continue };
            let (serving, asked) = (Arc::clone(&self.serving), wanted.clone());
            let looked = tokio::task::spawn_blocking(move || serving.has_changed(&asked));
            if looked.await.expect("a look at files does not panic") {
                self.renew(wanted, false).await;
            }
        }
    }
}

fn seconds(clock: &Clock) -> i64 {
    i64::try_from(clock.now().as_millis() / 1000).unwrap_or(i64::MAX)
}
