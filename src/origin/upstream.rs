//! One origin: its addresses, its connections, and how a request finds its way through them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use smallvec::SmallVec;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::address::{Address, Url};
use super::balance::{self, Candidate};
use super::error::OriginError;
use super::exchange::{Failure, Order, Try};
use super::metrics::Metrics;
use super::outbound::Template;
use super::pool::Pool;
use super::retry::{self, Failed, Next};
use super::upload::Upload;
use super::vitals::Fault;
use super::{Answer, Outbound};
use crate::config::settings;

/// Addresses that a request is tried at because the ones before could not be reached. Each may cost a
/// `connect_timeout`, and the client waits for all of them.
const MAX_UNREACHABLE: usize = 3;

/// One of `[[origins]]`, at work.
pub(super) struct Upstream {
    pub(super) name: Arc<str>,
    pub(super) spec: settings::Origin,
    pub(super) urls: Vec<Arc<Url>>,
    /// Never empty.
    pub(super) addresses: ArcSwap<Vec<Arc<Address>>>,
    pub(super) pool: Arc<Pool>,
    pub(super) metrics: Metrics,
    pub(super) tasks: TaskTracker,
    /// The number of the next request, for turns.
    turn: AtomicUsize,
}

/// An origin and the tasks that keep it up to date; they end when this is dropped.
pub(super) struct Running {
    pub(super) upstream: Arc<Upstream>,
    pub(super) stop: CancellationToken,
    _guard: DropGuard,
}

impl Running {
    pub(super) fn new(upstream: Arc<Upstream>, stop: CancellationToken) -> Self {
        Self { upstream, _guard: stop.clone().drop_guard(), stop }
    }
}

impl Upstream {
    /// An origin whose URLs have these addresses.
    pub(super) fn new(
        spec: &settings::Origin,
        urls: Vec<Arc<Url>>,
        addresses: Vec<Arc<Address>>,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        let name: Arc<str> = spec.name.as_str().into();
        let counts = metrics.of(&name);
        let pool = Pool::new(Arc::clone(&name), spec.max_connections, spec.first_byte_timeout, counts);
        Self {
            name,
            spec: spec.clone(),
            urls,
            addresses: ArcSwap::from_pointee(addresses),
            pool: Arc::new(pool),
            metrics,
            tasks,
            turn: AtomicUsize::new(0),
        }
    }

    /// Whether an address may be asked.
    pub(super) fn is_up(&self) -> bool {
        self.addresses.load().iter().any(|address| address.vitals.is_available())
    }

    /// Asks the origin: tries, and tries again where that is safe and allowed. No `async fn`, here and where it is called: that
    /// would carry its arguments twice, and a request is large.
    pub(super) fn fetch<'a>(
        self: &'a Arc<Self>,
        request: Outbound<'a>,
    ) -> impl Future<Output = Result<Answer, OriginError>> + Send + 'a {
        let affinity = request.affinity;
        let (template, body) = Template::of(request, self.spec.preserve_host);
        let upload = (!body.is_empty()).then(|| Upload::new(body));
        let mut order = Order { template, upload };
        async move { pin!(self.carry_out(&mut order, affinity)).await }
    }

    async fn carry_out(self: &Arc<Self>, order: &mut Order<'_>, affinity: u64) -> Result<Answer, OriginError> {
        if !self.is_up() {
            // Nobody waits in the queue for that.
            return Err(self.all_ejected());
        }
        let mut permit = Some(self.pool.permit().await.inspect_err(|error| self.count(error))?);
        let mut course = Course::new(self, affinity);
        let mut address = course.choose().ok_or_else(|| self.all_ejected())?;
        loop {
            let may_reuse = course.may_reuse;
            let held = match permit.take() {
                Some(permit) => permit,
                None => self.pool.permit().await.inspect_err(|error| self.count(error))?,
            };
            let failure = match pin!((Try { upstream: self, address: &address, order, may_reuse }).run(held)).await {
                Ok(answer) => {
                    self.succeeded(&address, &answer);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            self.failed(&address, &failure);
            match course.next(&address, &failure, order) {
                Some(next) => address = next,
                None => return Err(failure.error),
            }
            self.pool.metrics.retries.inc();
            permit = failure.permit;
        }
    }

    /// Makes room for a new connection: the one that is idle for the longest time, at whichever address, is closed.
    pub(super) fn close_an_idle_connection(&self) {
        let addresses = self.addresses.load();
        let idle = addresses.iter().filter_map(|address| Some((address.idle_since()?, address)));
        if let Some((_, address)) = idle.min_by_key(|(since, _)| *since) {
            address.close_oldest_idle();
        }
    }

    fn succeeded(&self, address: &Address, answer: &Answer) {
        self.pool.metrics.first_byte.observe(answer.first_byte);
        if address.vitals.succeeded() {
            tracing::info!(origin = %self.name, address = %address.socket, "the origin's address answers again");
            self.say_up(address, true);
        }
    }

    fn failed(&self, address: &Arc<Address>, failure: &Failure) {
        self.count(&failure.error);
        // A connection that the origin closed while it was idle says nothing of its health.
        let is_stale = failure.was_reused && matches!(failure.error, OriginError::Lost { .. });
        let Some(fault) = fault(&failure.error).filter(|_| !is_stale) else { return };
        let is_other = |other: &&Arc<Address>| !Arc::ptr_eq(other, address) && other.vitals.is_available();
        let is_last = self.addresses.load().iter().find(is_other).is_none();
        if let Some(ejected_for) = address.vitals.failed(fault, is_last, Instant::now()) {
            let error = &failure.error as &dyn std::error::Error;
            tracing::warn!(origin = %self.name, address = %address.socket, ?ejected_for, error, "ejected the origin's address");
            self.say_up(address, false);
        }
    }

    fn count(&self, error: &OriginError) {
        self.pool.metrics.errors(error.kind()).inc();
    }

    fn all_ejected(&self) -> OriginError {
        let error = OriginError::AllEjected { origin: Arc::clone(&self.name), addresses: self.addresses.load().len() };
        self.count(&error);
        error
    }

    pub(super) fn say_up(&self, address: &Address, up: bool) {
        self.metrics.set_up(&self.name, address.socket.to_string(), up);
    }

    /// Says of every address whether it may be asked.
    pub(super) fn say_all_up(&self) {
        self.addresses.load().iter().for_each(|address| self.say_up(address, address.vitals.is_available()));
    }

    /// Takes every address out of the metrics.
    pub(super) fn forget_all(&self) {
        self.addresses.load().iter().for_each(|address| self.metrics.forget(&self.name, address.socket.to_string()));
    }
}

/// Which faults are an address's own: not the client's, not our limits, and not an answer that we refuse.
fn fault(error: &OriginError) -> Option<Fault> {
    match error {
        OriginError::Connect { source, .. } if is_our_shortage(source) => None,
        OriginError::Connect { .. } | OriginError::ConnectTimeout { .. } | OriginError::Tls { .. } => {
            Some(Fault::Connect)
        }
        OriginError::Lost { .. } | OriginError::HeadCut { .. } | OriginError::FirstByteTimeout { .. } => {
            Some(Fault::Answer)
        }
        OriginError::AllEjected { .. }
        | OriginError::QueueFull { .. }
        | OriginError::QueueTimeout { .. }
        | OriginError::Malformed { .. }
        | OriginError::RequestBody(_) => None,
    }
}

/// Out of descriptors or ports: no address would do better.
fn is_our_shortage(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL].iter().any(|shortage| errno == Some(shortage.raw_os_error()))
}

/// Where a request has been, and where it may go.
struct Course<'a> {
    upstream: &'a Upstream,
    affinity: u64,
    turn: usize,
    retries: u32,
    tried: SmallVec<[Arc<Address>; 2]>,
    unreachable: usize,
    /// Whether a pooled connection will do. Where one was stale, others are likely to be, and each would cost a request
    /// that the origin may have seen.
    may_reuse: bool,
}

impl<'a> Course<'a> {
    fn new(upstream: &'a Upstream, affinity: u64) -> Self {
        let turn = upstream.turn.fetch_add(1, Ordering::Relaxed);
        let retries = upstream.spec.retries;
        Self { upstream, affinity, turn, retries, tried: SmallVec::new(), unreachable: 0, may_reuse: true }
    }

    /// An address that may be asked and was not tried yet.
    fn choose(&self) -> Option<Arc<Address>> {
        let addresses = self.upstream.addresses.load();
        let is_new = |address: &Arc<Address>| !self.tried.iter().any(|tried| Arc::ptr_eq(tried, address));
        let may_be_asked = addresses
            .iter()
            .enumerate()
            .filter(|(_, address)| is_new(address) && address.vitals.is_available())
            .map(|(index, address)| Candidate { index, under_way: address.under_way(), hash: address.hash });
        let mut candidates = SmallVec::<[Candidate; 8]>::new();
        candidates.extend(may_be_asked);
        let chosen = balance::choose(self.upstream.spec.balance, &candidates, self.affinity, self.turn)?;
        Some(Arc::clone(&addresses[chosen]))
    }

    /// Where to go after a failure at `address`.
    fn next(&mut self, address: &Arc<Address>, failure: &Failure, order: &Order<'_>) -> Option<Arc<Address>> {
        self.may_reuse &= !failure.was_reused;
        let failed = Failed {
            reached: failure.reached,
            was_reused: failure.was_reused,
            is_idempotent: order.template.is_idempotent(),
            body_begun: order.upload.as_ref().is_some_and(Upload::is_begun),
        };
        match retry::next(failed, self.retries) {
            Next::GiveUp => None,
            Next::NewConnection => Some(Arc::clone(address)),
            Next::OtherAddress => {
                self.tried.push(Arc::clone(address));
                self.unreachable += 1;
                (self.unreachable <= MAX_UNREACHABLE).then(|| self.choose()).flatten()
            }
            Next::Retry => {
                self.retries -= 1;
                self.tried.push(Arc::clone(address));
                Some(self.choose().unwrap_or_else(|| Arc::clone(address)))
            }
        }
    }
}
