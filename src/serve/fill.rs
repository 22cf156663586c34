//! One fetch, from the question to the stored response: ask, judge what comes, deliver it, store it.
//!
//! Runs in a task of its own. It outlives the client that started it as long as somebody reads, or the response is
//! to be stored.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use tokio::sync::oneshot;

use super::Shared;
use super::failure::Failure;
use super::inquiry::Inquiry;
use super::look_up::Need;
use super::miss::stale_fallback;
use super::pour::Pour;
use super::question::Question;
use super::through;
use crate::body::request::RequestBody;
use crate::body::response::ResponseBody;
use crate::body::shared::{Reader, shared_body};
use crate::cache::entry::{Entry, Head, Part};
use crate::cache::flight::{Landing, Lead};
use crate::cache::ledger::Stamp;
use crate::origin::{Answer, OriginError};
use crate::policy::admission::{self, Exchange};
use crate::policy::outcome::{Detail, Outcome};
use crate::policy::reuse::{self, Standing, Verdict};
use crate::policy::time::Timestamp;
use crate::policy::validation::{self, HeadEffect};
use crate::policy::{freshness::Freshness, range, vary};

/// How long requests do not queue for a key whose answer could not be shared.
const UNSHAREABLE_FOR: Duration = Duration::from_mins(1);

/// What the client that started the fetch is given.
pub(super) struct Delivery {
    pub(super) reply: Reply,
    /// Which address answered, and how soon.
    pub(super) origin: Option<(SocketAddr, Duration)>,
}

/// The answer for the client that started the fetch.
pub(super) enum Reply {
    /// A stored response.
    Stored(Arc<Entry>, Outcome),
    /// A response that is arriving.
    Streaming(Arc<Head>, Reader, Outcome),
    /// A response for this client alone.
    Through(Box<Response<ResponseBody>>, Outcome),
    /// None.
    Failed(Failure, Outcome),
}

/// A fetch under way.
pub(super) struct Fill {
    shared: Arc<Shared>,
    inquiry: Arc<Inquiry>,
    need: Need,
    lead: Option<Lead<Failure>>,
    stamp: Stamp,
    requested_at: Timestamp,
}

impl Fill {
    /// A fetch for `inquiry`. The stamp is taken here: before the origin is asked.
    pub(super) fn new(shared: Arc<Shared>, inquiry: Arc<Inquiry>, need: Need, lead: Option<Lead<Failure>>) -> Self {
        let (stamp, requested_at) = (shared.ledger.stamp(), shared.clock.now());
        Self { shared, inquiry, need, lead, stamp, requested_at }
    }

    /// Asks, and sees it through to the end. Without `reply` it is a refresh that no client waits for.
    pub(super) async fn run(mut self, reply: Option<oneshot::Sender<Delivery>>) {
        let mut question = Question::of(&self.inquiry, &self.need);
        let reply = Waiting(reply);
        loop {
            match self.put(&question).await {
                Err(error) => {
                    let failure = Failure::of_origin(&self.inquiry, &error);
                    return self.failed(&failure, reply);
                }
                Ok(answer) if question.is_missed_by(&answer) => question = Question::Whole,
                Ok(answer) => return self.answered(&question, answer, reply).await,
            }
        }
    }

    /// Stores the answer to a POST that says it is what a GET would get (RFC 9110 §9.3.3), if it may be.
    pub(super) async fn adopt(self, answer: Answer, reply: oneshot::Sender<Delivery>) {
        self.fresh(answer, Waiting(Some(reply))).await;
    }

    /// Puts the question to the origin.
    async fn put(&mut self, question: &Question) -> Result<Answer, OriginError> {
        let inquiry = &self.inquiry;
        let Some(origin) = inquiry.origin() else { unreachable!("a request without an origin is not fetched") };
        let outbound = inquiry.outbound(question.fields(&inquiry.headers), RequestBody::empty());
        self.requested_at = self.shared.clock.now();
        inquiry.site.origins.fetch(origin, outbound).await
    }

    /// The origin could not be asked, or did not answer.
    fn failed(self, failure: &Failure, reply: Waiting) {
        let fallback = if failure.is_request_fault { None } else { self.fallback() };
        let Some((entry, outcome)) = fallback else {
            self.land(|| Landing::Failed(Arc::new(failure.clone())));
            return reply.send(Reply::Failed(failure.clone(), self.need.outcome()), None);
        };
        self.land(|| Landing::Stored(Arc::clone(&entry), outcome.detail));
        reply.send(Reply::Stored(entry, outcome), None);
    }

    fn fallback(&self) -> Option<(Arc<Entry>, Outcome)> {
        stale_fallback(&self.shared, &self.inquiry, &self.need)
    }

    fn land(&self, landing: impl FnOnce() -> Landing<Failure>) {
        if let Some(lead) = &self.lead {
            lead.land(landing());
        }
    }

    /// Judges the origin's answer.
    async fn answered(self, question: &Question, answer: Answer, reply: Waiting) {
        let origin = Some((answer.address, answer.first_byte));
        match (question, answer.status) {
            (Question::Validate(entry), StatusCode::NOT_MODIFIED) => {
                let entry = self.freshened(entry, &answer.headers);
                self.validated(entry, origin, reply);
            }
            // RFC 5861 §4: an error is a 500, 502, 503 or 504.
            (_, status) if is_server_trouble(status) && self.fallback().is_some() => {
                let Some((entry, mut outcome)) = self.fallback() else { return };
                outcome.forward_status = Some(status);
                self.land(|| Landing::Stored(Arc::clone(&entry), outcome.detail));
                reply.send(Reply::Stored(entry, outcome), origin);
            }
            _ if self.inquiry.method == Method::HEAD => self.head(answer, reply),
            (Question::Rest(part), StatusCode::PARTIAL_CONTENT) => {
                let part = Arc::clone(part);
                self.complete(&part, answer, reply).await;
            }
            _ => self.fresh(answer, reply).await,
        }
    }

    /// The stored response, with the fields of the 304. RFC 9111 §3.2, §4.3.4.
    fn freshened(&self, entry: &Arc<Entry>, update: &HeaderMap) -> Arc<Entry> {
        let headers = validation::freshen(&entry.head.all_fields(), update);
        let (head, is_admitted) = self.renewed(entry, headers, entry.head.status);
        let fresh = Arc::new(Entry::new(head, entry.body.clone(), entry.part));
        if is_admitted {
            self.shared.memory.put(&self.inquiry.key, Arc::clone(&fresh));
        } else {
            self.shared.memory.remove_entry(&self.inquiry.key, entry);
        }
        fresh
    }

    /// The head of a stored response whose fields have changed, and whether it may still be stored. If not, it
    /// answers this request and is stale.
    fn renewed(&self, entry: &Entry, headers: HeaderMap, status: StatusCode) -> (Head, bool) {
        let received_at = self.shared.clock.now();
        let admitted = self.admit(status, &headers, received_at);
        let is_admitted = admitted.is_ok();
        let freshness = admitted.unwrap_or(Freshness { lifetime: Duration::ZERO, ..entry.head.freshness });
        (self.head_of(status, headers, freshness, entry.head.selecting.clone(), received_at), is_admitted)
    }

    /// A stored response was found good.
    fn validated(self, entry: Arc<Entry>, origin: Option<(SocketAddr, Duration)>, reply: Waiting) {
        let now = self.shared.clock.now();
        let outcome = Outcome {
            forward_status: Some(StatusCode::NOT_MODIFIED),
            stored: true,
            ttl: Some(entry.head.freshness.ttl(now)),
            ..self.need.outcome()
        };
        let shareable = is_shareable(&entry.head, now);
        self.learn(shareable, now);
        self.land(|| if shareable { Landing::Stored(Arc::clone(&entry), None) } else { Landing::Unshareable });
        reply.send(Reply::Stored(entry, outcome), origin);
    }

    /// The answer to a HEAD: never stored, but it tells of what is. RFC 9111 §4.3.5.
    fn head(self, answer: Answer, reply: Waiting) {
        if let Some(entry) = &self.need.stored {
            let head = &entry.head;
            match validation::head_effect(head.status, &head.headers, entry.body.len(), answer.status, &answer.headers)
            {
                HeadEffect::None => {}
                HeadEffect::Freshen => drop(self.freshened(entry, &answer.headers)),
                HeadEffect::Invalidate => self.shared.memory.remove_entry(&self.inquiry.key, entry),
            }
        }
        self.through(answer, Detail::Method, reply);
    }

    /// The answer is for this client alone; nobody queues for the like of it for a while.
    fn through(self, answer: Answer, why: Detail, reply: Waiting) {
        self.land(|| Landing::Unshareable);
        let outcome = Outcome {
            forward_status: Some(answer.status),
            detail: Some(if matches!(self.need.why, Detail::HitForMiss) || why == Detail::Method {
                self.need.why
            } else {
                why
            }),
            ..self.need.outcome()
        };
        let origin = Some((answer.address, answer.first_byte));
        let response = through::respond(answer, &self.inquiry, &outcome);
        reply.send(Reply::Through(Box::new(response), outcome), origin);
    }

    /// A new response: stored if it may be, or for this client alone.
    async fn fresh(self, answer: Answer, reply: Waiting) {
        let received_at = self.shared.clock.now();
        match self.judge(&answer, received_at) {
            Ok((freshness, selecting, part)) => {
                let head = self.head_of(answer.status, answer.headers.clone(), freshness, selecting, received_at);
                self.stream(head, part, answer, Vec::new(), reply).await;
            }
            Err(why) => {
                let is_part = matches!(answer.status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE);
                if !is_part && answer.status != StatusCode::NOT_MODIFIED {
                    self.mark_unshareable(received_at);
                }
                self.through(answer, why, reply);
            }
        }
    }

    /// A URL whose responses are stale as they come cannot be shared, though it is stored. Seen twice in a row, nobody
    /// queues for it.
    fn learn(&self, shareable: bool, now: Timestamp) {
        if !shareable && self.need.stored.is_some() {
            self.mark_unshareable(now);
        }
    }

    fn mark_unshareable(&self, now: Timestamp) {
        if self.inquiry.method == Method::GET && !self.need.alone && self.inquiry.treatment().collapse {
            self.shared.memory.mark_unshareable(&self.inquiry.key, now.plus(UNSHAREABLE_FOR));
        }
    }

    /// Whether an answer may be stored: by its head, its variant, its size, and as what part.
    fn judge(&self, answer: &Answer, now: Timestamp) -> Result<(Freshness, vary::Selecting, Option<Part>), Detail> {
        let part = match answer.status {
            StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE => return Err(Detail::Status),
            StatusCode::PARTIAL_CONTENT => {
                let stated = range::content_range(&answer.headers).ok_or(Detail::Range)?;
                Some(Part { first: stated.first, complete: stated.complete })
            }
            _ => None,
        };
        let freshness = self.admit(answer.status, &answer.headers, now)?;
        let selecting = vary::selecting(&answer.headers, &self.inquiry.headers).ok_or(Detail::VaryStar)?;
        let length = answer.body.size_hint().exact().unwrap_or(0);
        if length > self.shared.memory.max_object() {
            return Err(Detail::TooLarge);
        }
        Ok((freshness, selecting, part))
    }

    fn admit(&self, status: StatusCode, headers: &HeaderMap, received_at: Timestamp) -> Result<Freshness, Detail> {
        let is_post = self.inquiry.method == Method::POST;
        let (admit, method): (fn(&Exchange<'_>) -> _, _) =
            if is_post { (admission::admit_post, &Method::POST) } else { (admission::admit, &Method::GET) };
        admit(&Exchange {
            method,
            request: &self.inquiry.headers,
            status,
            response: headers,
            treatment: self.inquiry.treatment(),
            requested_at: self.requested_at,
            received_at,
        })
    }

    fn head_of(
        &self,
        status: StatusCode,
        mut headers: HeaderMap,
        freshness: Freshness,
        selecting: vary::Selecting,
        received_at: Timestamp,
    ) -> Head {
        let hidden = through::take_hidden(&mut headers, &self.inquiry);
        let tags = self.inquiry.routed.tags.render(self.inquiry.target.path());
        Head {
            status,
            headers,
            hidden,
            selecting,
            freshness,
            received_at,
            fetch_cost: received_at.since(self.requested_at),
            tags: tags.into_iter().map(|tag| tag.into_bytes().into_boxed_slice()).collect(),
            url: self.inquiry.url_scope(),
            stamp: self.stamp,
        }
    }

    /// What was stored of it, and what comes now, make the whole. RFC 9111 §3.4.
    async fn complete(self, stored: &Arc<Entry>, answer: Answer, reply: Waiting) {
        let mut headers = validation::freshen(&stored.head.all_fields(), &answer.headers);
        headers.remove(CONTENT_RANGE);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(stored.complete_length()));
        let (head, _) = self.renewed(stored, headers, StatusCode::OK);
        let before = stored.body.pieces().to_vec();
        self.stream(head, None, answer, before, reply).await;
    }

    /// Delivers a response while it arrives, and stores it when it is complete. `before` is what is there of it.
    async fn stream(self, head: Head, part: Option<Part>, answer: Answer, before: Vec<Bytes>, reply: Waiting) {
        let origin = Some((answer.address, answer.first_byte));
        let stored_before: u64 = before.iter().map(|piece| piece.len() as u64).sum();
        let expected = answer.body.size_hint().exact().map(|rest| rest + stored_before);
        let (mut writer, body) = shared_body(expected);
        for piece in before {
            writer.push(piece);
        }
        let head = Arc::new(head);
        let shareable = part.is_none() && is_shareable(&head, head.received_at);
        self.learn(shareable || part.is_some(), head.received_at);
        self.land(
            || {
                if shareable { Landing::Streaming(Arc::clone(&head), body.clone()) } else { Landing::Unshareable }
            },
        );
        if reply.is_awaited()
            && let Some(reader) = body.reader()
        {
            let outcome = Outcome {
                forward_status: Some(answer.status),
                stored: true,
                ttl: Some(head.freshness.ttl(head.received_at)),
                ..self.need.outcome()
            };
            reply.send(Reply::Streaming(Arc::clone(&head), reader, outcome), origin);
        }
        drop(body);
        let pour = Pour {
            shared: &self.shared,
            key: &self.inquiry.key,
            lead: self.lead.as_ref(),
            replaced: self.need.stored.as_ref(),
            head: &head,
            part,
        };
        pour.run(writer, answer.body).await;
    }
}

/// Whether a response may answer requests that came while it was being fetched. RFC 9111 §4: those that it could be
/// reused for.
fn is_shareable(head: &Head, now: Timestamp) -> bool {
    let verdict = reuse::judge(&head.freshness, Standing::Alive, None, now);
    matches!(verdict, Verdict::Fresh | Verdict::StaleWhileRevalidate)
}

fn is_server_trouble(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// The client that waits for the reply, if one does.
struct Waiting(Option<oneshot::Sender<Delivery>>);

impl Waiting {
    fn is_awaited(&self) -> bool {
        self.0.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// A client that has left is not told.
    fn send(self, reply: Reply, origin: Option<(SocketAddr, Duration)>) {
        if let Some(sender) = self.0 {
            drop(sender.send(Delivery { reply, origin }));
        }
    }
}
