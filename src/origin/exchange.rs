//! One try: a request sent over one connection, and the head that comes back.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use super::address::{Address, UnderWay};
use super::error::{OriginError, Peer};
use super::http1::{self, Head};
use super::outbound::Template;
use super::pool::{Connection, IDLE_LIMIT, Permit};
use super::retry::Reached;
use super::stream::{Lease, OriginBody};
use super::upload::Upload;
use super::upstream::Upstream;
use super::{Answer, answer, connect, tunnel};
use crate::policy::hop;

/// A request that cannot be sent twice uses a connection only if the origin used it a moment ago: should the origin
/// be closing it just then, the client would have to hear of it.
const FRESH_ENOUGH: Duration = Duration::from_secs(1);

/// What is to be sent, in as many tries as it takes.
pub(super) struct Order<'a> {
    pub(super) template: Template<'a>,
    /// The body; a try takes it along, and brings it back if it fails.
    pub(super) upload: Option<Upload>,
}

/// A try that failed.
pub(super) struct Failure {
    pub(super) error: OriginError,
    pub(super) reached: Reached,
    pub(super) was_reused: bool,
    /// The permit, for the next try.
    pub(super) permit: Option<Permit>,
}

/// A try at one address.
pub(super) struct Try<'a, 'r> {
    pub(super) upstream: &'a Arc<Upstream>,
    pub(super) address: &'a Arc<Address>,
    pub(super) order: &'a mut Order<'r>,
    /// Whether a pooled connection will do.
    pub(super) may_reuse: bool,
}

impl Try<'_, '_> {
    /// Sends the request, and waits for the head of the final answer.
    ///
    /// # Errors
    ///
    /// What went wrong, and how far it came.
    pub(super) async fn run(mut self, permit: Permit) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let under_way = self.address.begin();
        let mut connection = match pin!(self.connection(begun)).await {
            Ok(connection) => connection,
            Err(error) => {
                let permit = Some(permit);
                return Err(Failure { error, reached: Reached::Nothing, was_reused: false, permit });
            }
        };
        connection.permit = Some(permit);
        let now = if connection.is_reused { begun } else { Instant::now() };
        let answered = pin!(self.over(&mut connection, now)).await;
        match answered {
            Ok((head, keep)) => Ok(self.answer(head, connection, under_way, keep, begun.elapsed())),
            Err((error, reached)) => {
                self.order.upload = connection.http.take_upload();
                let (was_reused, permit) = (connection.is_reused, connection.permit.take());
                Err(Failure { error, reached, was_reused, permit })
            }
        }
    }

    /// A pooled connection, or a new one.
    async fn connection(&self, now: Instant) -> Result<Box<Connection>, OriginError> {
        let is_repeatable = self.order.template.is_idempotent() && self.order.upload.is_none();
        let longest = if is_repeatable { IDLE_LIMIT } else { FRESH_ENOUGH };
        if self.may_reuse
            && let Some(connection) = self.address.take_idle(longest, now)
        {
            return Ok(connection);
        }
        if self.upstream.pool.is_full() {
            self.upstream.close_an_idle_connection();
        }
        let limit = self.upstream.spec.connect_timeout;
        // In a box: most requests find a connection, and would carry the room for this.
        Box::pin(connect::open(self.address, || self.peer(), limit, &self.upstream.pool)).await
    }

    /// Sends the request, as of now, over `connection`, which gives the head of the final answer, and for how long it may be
    /// kept.
    async fn over(
        &mut self,
        connection: &mut Connection,
        now: Instant,
    ) -> Result<(Head, Option<Duration>), (OriginError, Reached)> {
        let template = &self.order.template;
        let head = template.head(&self.address.url.authority);
        connection.http.begin(head, template.framing, self.order.upload.take(), template.is_idempotent());
        let limit = self.upstream.spec.first_byte_timeout;
        let mut from = now;
        let head = poll_fn(|cx| {
            let head = connection.http.poll_head(cx, |status, headers| self.pass_on(status, headers));
            if head.is_ready() {
                return head.map(Some);
            }
            connection.poll_overdue(&mut from, limit, cx).map(|()| None)
        });
        let mut head = match head.await {
            Some(Ok(head)) => head,
            Some(Err(failure)) => return Err(explain(failure, self.peer())),
            None => return Err((OriginError::FirstByteTimeout { peer: self.peer(), limit }, Reached::Answer)),
        };
        // Another protocol's bytes would end up within a request that is still going out.
        let asks_upgrade = template.upgrade && !connection.http.is_sending();
        let (content, keep) = answer::accept(&mut head, &template.method, asks_upgrade)
            .map_err(|source| (OriginError::Malformed { peer: self.peer(), source }, Reached::Answer))?;
        connection.http.expect(content);
        Ok((head, keep))
    }

    /// The answer that begins with `head`.
    fn answer(
        &self,
        head: Head,
        connection: Box<Connection>,
        under_way: UnderWay,
        keep: Option<Duration>,
        first_byte: Duration,
    ) -> Answer {
        let is_switch = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let (body, upgraded) = if is_switch {
            (OriginBody::default(), Some(Box::new(tunnel::over(connection))))
        } else {
            let (pool, limit) = (Arc::clone(&self.upstream.pool), self.upstream.spec.between_bytes_timeout);
            let is_wanted = head.status.is_success();
            (OriginBody::new(Lease { connection, under_way, pool, keep, limit, is_wanted }), None)
        };
        Answer { status: head.status, headers: head.headers, body, address: self.address.socket, first_byte, upgraded }
    }

    /// Has an interim answer sent to the client. 100 is between the origin and us.
    fn pass_on(&self, status: StatusCode, mut headers: HeaderMap) {
        if let Some(interim) = &self.order.template.client.interim
            && status != StatusCode::CONTINUE
        {
            hop::strip(&mut headers);
            headers.remove(http::header::CONTENT_LENGTH);
            interim.send(status, &headers);
        }
    }

    fn peer(&self) -> Peer {
        Peer { origin: Arc::clone(&self.upstream.name), address: self.address.socket }
    }
}

/// What a failure to send or to answer means.
pub(super) fn explain(failure: http1::Failure, peer: Peer) -> (OriginError, Reached) {
    match failure {
        http1::Failure::Upload(broken) => (OriginError::RequestBody(broken), Reached::Answer),
        http1::Failure::Unsent(source) => (OriginError::Lost { peer, source }, Reached::Connection),
        http1::Failure::Lost(source) => (OriginError::Lost { peer, source }, Reached::Request),
        http1::Failure::Cut(source) => (OriginError::HeadCut { peer, source }, Reached::Answer),
        http1::Failure::Malformed(source) => (OriginError::Malformed { peer, source }, Reached::Answer),
    }
}
