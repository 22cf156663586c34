//! One try: a request sent over one connection, and the head that comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::Answer;
use super::address::{Address, UnderWay};
use super::alarm::{self, Alarm};
use super::answer;
use super::connect;
use super::error::{Malformed, OriginError, Peer};
use super::outbound::Template;
use super::pool::{Connection, IDLE_LIMIT, Link, Permit};
use super::retry::Reached;
use super::stream::{Lease, OriginBody};
use super::upload::{Turn, Upload, UploadReader};
use super::upstream::Upstream;
use crate::client::Interim;
use crate::policy::hop;

/// Interim answers (1xx) to one request; more are an attack, or a loop.
const MAX_INTERIM: u32 = 32;
/// A request that cannot be sent twice uses a connection only if the origin used it a moment ago: should the origin
/// be closing it just then, the client would have to hear of it.
const FRESH_ENOUGH: Duration = Duration::from_secs(1);
/// After a complete answer the connection's task needs a moment, on another thread, to be ready again.
const GET_READY: Duration = Duration::from_millis(100);

/// What is to be sent, in as many tries as it takes.
pub(super) struct Order {
    pub(super) template: Template,
    pub(super) upload: Option<Arc<Upload>>,
    pub(super) interim: Option<Interim>,
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
pub(super) struct Try<'a> {
    pub(super) upstream: &'a Arc<Upstream>,
    pub(super) address: &'a Arc<Address>,
    pub(super) order: &'a Order,
    /// Whether a pooled connection will do.
    pub(super) may_reuse: bool,
}

impl Try<'_> {
    /// Sends the request, and waits for the head of the final answer.
    ///
    /// # Errors
    ///
    /// What went wrong, and how far it came.
    pub(super) async fn run(&self, permit: Permit) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let under_way = self.address.begin();
        let connection = match self.connection(begun).await {
            Ok(connection) => connection,
            Err(error) => {
                let permit = Some(permit);
                return Err(Failure { error, reached: Reached::Nothing, was_reused: false, permit });
            }
        };
        connection.link.occupy(permit);
        let was_reused = connection.is_reused;
        let link = Arc::clone(&connection.link);
        self.over(connection, under_way, begun).await.map_err(|(error, reached)| Failure {
            error,
            reached,
            was_reused,
            permit: link.release(),
        })
    }

    /// A pooled connection, or a new one.
    async fn connection(&self, now: Instant) -> Result<Connection, OriginError> {
        let is_repeatable = self.order.template.is_idempotent() && self.order.upload.is_none();
        let longest = if is_repeatable { IDLE_LIMIT } else { FRESH_ENOUGH };
        while self.may_reuse
            && let Some(mut connection) = self.address.take_idle(longest, now)
        {
            if is_ready(&mut connection).await {
                return Ok(connection);
            }
        }
        if self.upstream.pool.is_full() {
            self.upstream.close_an_idle_connection();
        }
        let limit = self.upstream.spec.connect_timeout;
        let upstream = self.upstream;
        connect::open(self.address, || self.peer(), limit, &upstream.pool, &upstream.tasks).await
    }

    async fn over(
        &self,
        mut connection: Connection,
        under_way: UnderWay,
        begun: Instant,
    ) -> Result<Answer, (OriginError, Reached)> {
        let response = self.send(&mut connection).await?;
        let first_byte = begun.elapsed();
        let (mut head, incoming) = response.into_parts();
        let keep = answer::accept(&mut head, &self.order.template.method, self.order.template.upgrade)
            .map_err(|source| (OriginError::Malformed { peer: self.peer(), source }, Reached::Answer))?;
        let mut answer = Answer {
            status: head.status,
            headers: head.headers,
            body: OriginBody::default(),
            address: self.address.socket,
            first_byte,
            upgraded: None,
        };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            answer.upgraded = head.extensions.remove();
            connection.let_go();
            return Ok(answer);
        }
        let lease = Lease {
            connection,
            under_way,
            pool: Arc::clone(&self.upstream.pool),
            upload: self.order.upload.clone(),
            peer: self.peer(),
            keep,
        };
        answer.body = OriginBody::new(incoming, lease, self.upstream.spec.between_bytes_timeout);
        Ok(answer)
    }

    /// Waits for the final answer's head, for too many interim ones, or for the end of our patience.
    async fn send(&self, connection: &mut Connection) -> Result<Response<Incoming>, (OriginError, Reached)> {
        let reader = self.order.upload.as_ref().map_or_else(UploadReader::default, Upload::read);
        let mut request = self.order.template.request(&self.address.url.authority, reader);
        let link = Arc::clone(&connection.link);
        pass_interim_on(&mut request, Arc::clone(&link), self.order.interim.clone());
        let limit = self.upstream.spec.first_byte_timeout;
        tokio::select! {
            biased;
            () = link.flooded.notified() => {
                let source = Malformed::TooManyInterim { limit: MAX_INTERIM };
                Err((OriginError::Malformed { peer: self.peer(), source }, Reached::Answer))
            }
            response = connection.sender.try_send_request(request) => response.map_err(|error| self.explain(error, &link)),
            () = overdue(&mut connection.alarm, self.order.upload.as_deref(), limit) => {
                Err((OriginError::FirstByteTimeout { peer: self.peer(), limit }, Reached::Answer))
            }
        }
    }

    /// What a failure to send or to answer means.
    fn explain(&self, mut error: TrySendError<Request<UploadReader>>, link: &Link) -> (OriginError, Reached) {
        let (peer, unsent) = (self.peer(), error.take_message().is_some());
        let source = error.into_error();
        if let Some(broken) = self.order.upload.as_ref().and_then(|upload| upload.take_error()) {
            return (OriginError::RequestBody(broken), Reached::Answer);
        }
        if unsent {
            return (OriginError::Lost { peer, source }, Reached::Connection);
        }
        if source.is_parse_too_large() {
            let source = Malformed::HeadTooLarge { limit: connect::MAX_HEAD };
            return (OriginError::Malformed { peer, source }, Reached::Answer);
        }
        if source.is_parse() {
            return (OriginError::Malformed { peer, source: Malformed::Parse(source) }, Reached::Answer);
        }
        if link.is_answered() {
            return (OriginError::HeadCut { peer, source }, Reached::Answer);
        }
        (OriginError::Lost { peer, source }, Reached::Request)
    }

    fn peer(&self) -> Peer {
        Peer { origin: Arc::clone(&self.upstream.name), address: self.address.socket }
    }
}

/// Whether a pooled connection can carry a request. What came after its last answer makes it useless.
async fn is_ready(connection: &mut Connection) -> bool {
    if connection.sender.is_ready() {
        return true;
    }
    tokio::time::timeout(GET_READY, connection.sender.ready()).await.is_ok_and(|ready| ready.is_ok())
}

/// Has interim answers sent to the client, as many as are sane. 100 is between the origin and us.
fn pass_interim_on(request: &mut Request<UploadReader>, link: Arc<Link>, interim: Option<Interim>) {
    hyper::ext::on_informational(request, move |response| {
        if link.interim.fetch_add(1, Ordering::Relaxed) >= MAX_INTERIM {
            link.flooded.notify_one();
            return;
        }
        if let Some(interim) = &interim
            && response.status() != StatusCode::CONTINUE
        {
            let mut headers = response.headers().clone();
            hop::strip(&mut headers);
            headers.remove(http::header::CONTENT_LENGTH);
            interim.send(response.status(), &headers);
        }
    });
}

/// Ends when the origin has had `limit` to answer.
///
/// The time runs from the sending of the request, and anew from each piece of its body that the origin takes. While
/// we wait for the client's next piece it does not run: that has a deadline of its own (`server.idle_timeout`).
/// Interim answers do not set it back: the bound would be theirs otherwise.
async fn overdue(alarm: &mut Alarm, upload: Option<&Upload>, limit: Duration) {
    let mut from = Instant::now();
    loop {
        alarm.wait_until(alarm::deadline(from.into(), limit)).await;
        match upload.map(Upload::turn) {
            Some(Turn::Client) => from = Instant::now(),
            Some(Turn::Origin(since)) if since > from => from = since,
            Some(Turn::Origin(_)) | None => return,
        }
    }
}
