//! One fetch, from the question to the stored response: ask, judge what comes, deliver it, store it.
//!
//! It has two halves. The first one ends with an answer for the client that started it, the second one pours the body, where
//! there is one to be stored. For what others may join, both run in a task of their own; what is for one client alone ends
//! with it, up to its answer. The body goes on without it as long as somebody else reads or it is to be stored.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use http_body::Body as _;

use super::elsewhere::{self, Sought};
use super::failure::Failure;
use super::inquiry::Inquiry;
use super::judgement::{Admitted, Judgement, Renewed};
use super::look_up::{Need, Usable};
use super::miss::stale_fallback;
use super::pour::Pour;
use super::question::Question;
use super::{Shared, through};
use crate::body::request::RequestBody;
use crate::body::response::BoxResponse;
use crate::body::shared::{Reader, Writer, shared_body};
use crate::cache::entry::{Entry, Head, Part};
use crate::cache::flight::{Landing, Lead};
use crate::cache::ledger::Ledger;
use crate::cache::tier::Extent;
use crate::cache::variants::Marks;
use crate::fleet::lease::Lease;
use crate::origin::{Answer, OriginBody, OriginError};
use crate::policy::outcome::{Detail, Outcome};
use crate::policy::range;
use crate::policy::reuse::{self, Lesson, Standing, UNSHAREABLE_FOR};
use crate::policy::validation::{self, HeadEffect};

/// What the client that started the fetch is given.
pub(super) struct Delivery {
    pub(super) reply: Reply,
    /// Which address answered, and how soon.
    pub(super) origin: Option<Origin>,
}

/// An address that answered, and how soon.
type Origin = (SocketAddr, Duration);

/// The answer for the client that started the fetch.
pub(super) enum Reply {
    /// A stored response that was found elsewhere, and is in memory now.
    Promoted(Usable),
    /// A stored response.
    Stored(Arc<Entry>, Outcome),
    /// A response that is arriving; its fields once more, as a map.
    Streaming(Arc<Head>, HeaderMap, Box<Reader>, Outcome),
    /// A response for this client alone.
    Through(BoxResponse, Outcome),
    /// None.
    Failed(Failure, Outcome),
}

/// What the first half of a fetch came to: the client's answer, and what is left to do.
pub(super) type Fetched = (Delivery, Option<Rest>);

/// What is left of a fetch when its client has its answer: the body, which is to be stored.
pub(super) type Rest = BoxFuture<'static, ()>;

/// A fetch under way.
pub(super) struct Fill {
    judgement: Judgement,
    need: Need,
    lead: Option<Lead<Failure>>,
    /// Keeps other nodes waiting for what comes of it.
    lease: Option<Lease>,
}

impl Fill {
    /// A fetch for `inquiry`.
    pub(super) fn new(shared: Arc<Shared>, inquiry: Arc<Inquiry>, need: Need, lead: Option<Lead<Failure>>) -> Self {
        let (stamp, requested_at) = (shared.ledger.stamp(), shared.clock.now());
        Self::begun(Judgement { shared, inquiry, stamp, requested_at }, need, lead)
    }

    /// A fetch that has begun already.
    pub(super) fn begun(judgement: Judgement, mut need: Need, lead: Option<Lead<Failure>>) -> Self {
        forget_dead(&judgement.shared.ledger, &mut need);
        Self { judgement, need, lead, lease: None }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.judgement.shared
    }

    fn inquiry(&self) -> &Arc<Inquiry> {
        &self.judgement.inquiry
    }

    /// Asks, hands over what comes of it, and sees it through to the end.
    pub(super) async fn run(self, deliver: impl FnOnce(Delivery)) {
        let (delivery, rest) = pin!(self.ask()).await;
        // First: a place in the body that nobody reads from would hold it up.
        deliver(delivery);
        if let Some(rest) = rest {
            rest.await;
        }
    }

    /// Asks, and judges what comes.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` carries its arguments twice")]
    pub(super) fn ask(mut self) -> impl Future<Output = Fetched> + Send {
        async move {
            let need = std::mem::replace(&mut self.need, Need::nothing_stored());
            let sought = pin!(elsewhere::seek(self.shared(), self.inquiry(), need, self.lead.is_some())).await;
            match sought {
                Sought::Found(usable) => {
                    self.land(|| Landing::Promoted(Arc::clone(&usable.entry)));
                    return Self::end(Reply::Promoted(usable), None);
                }
                Sought::Needed(need, lease) => (self.need, self.lease) = (need, lease),
            }
            // The fetch begins now: purges that came meanwhile are known to it.
            self.judgement.stamp = self.shared().ledger.stamp();
            forget_dead(&self.judgement.shared.ledger, &mut self.need);
            self.shared().metrics.fills.inc();
            let mut question = Question::of(self.inquiry(), &self.need);
            loop {
                let answer = pin!(self.put(&question)).await;
                match answer {
                    Err(error) => {
                        let failure = Failure::of_origin(self.inquiry(), &error);
                        return self.failed(&failure);
                    }
                    Ok(answer) if question.is_missed_by(&answer) || self.is_spoilt(&question, &answer) => {
                        question = Question::Whole;
                    }
                    Ok(answer) => return self.answered(&question, answer),
                }
            }
        }
    }

    /// There is nothing left to do.
    fn end(reply: Reply, origin: Option<Origin>) -> Fetched {
        (Delivery { reply, origin }, None)
    }

    /// Puts the question to the origin.
    fn put<'f>(&'f mut self, question: &'f Question) -> impl Future<Output = Result<Answer, OriginError>> + Send + 'f {
        self.judgement.requested_at = self.shared().clock.now();
        let inquiry = self.inquiry();
        let Some(origin) = inquiry.origin() else { unreachable!("a request without an origin is not fetched") };
        let outbound = inquiry.outbound(question.fields(&inquiry.headers), RequestBody::empty());
        inquiry.site.origins.fetch(origin, outbound)
    }

    /// Whether the rest of a stored part came with fields that forbid storing the whole: then the whole is asked for,
    /// and judged on its own.
    fn is_spoilt(&self, question: &Question, answer: &Answer) -> bool {
        match (question, answer.status) {
            (Question::Rest(part), StatusCode::PARTIAL_CONTENT) => {
                self.judgement.completed(part, answer).refusal.is_some()
            }
            _ => false,
        }
    }

    /// The origin could not be asked, or did not answer.
    fn failed(self, failure: &Failure) -> Fetched {
        // Each follower stands by what is stored for it, or is told of the failure.
        self.land(|| Landing::Failed(Arc::new(failure.clone())));
        let reply = match self.fallback() {
            Some((entry, outcome)) => Reply::Stored(entry, outcome),
            None => Reply::Failed(failure.clone(), self.need.outcome()),
        };
        Self::end(reply, None)
    }

    fn fallback(&self) -> Option<(Arc<Entry>, Outcome)> {
        stale_fallback(self.shared(), self.inquiry(), &self.need)
    }

    fn land(&self, landing: impl FnOnce() -> Landing<Failure>) {
        if let Some(lead) = &self.lead {
            lead.land(landing());
        }
    }

    /// Judges the origin's answer.
    fn answered(self, question: &Question, answer: Answer) -> Fetched {
        let origin = Some((answer.address, answer.first_byte));
        if reuse::is_origin_trouble(answer.status)
            && let Some((entry, mut outcome)) = self.fallback()
        {
            outcome.forward_status = Some(answer.status);
            self.land(|| Landing::Troubled);
            return Self::end(Reply::Stored(entry, outcome), origin);
        }
        match (question, answer.status) {
            // We asked without a condition: there is nothing that it could confirm.
            (Question::Whole, StatusCode::NOT_MODIFIED) => self.failed(&Failure::unasked_304()),
            (Question::Validate(entry), StatusCode::NOT_MODIFIED) => self.validated(entry, &answer),
            _ if self.inquiry().method == Method::HEAD => self.head(answer),
            (Question::Rest(part), StatusCode::PARTIAL_CONTENT) => {
                let head = self.judgement.completed(part, &answer).head;
                let before = part.body.pieces().to_vec();
                let length = range::content_range(&answer.headers).map(|rest| part.body.len() + rest.length());
                let fields = head.headers.to_map();
                self.stream(Admitted { head, fields, part: None, length }, answer, before)
            }
            _ => self.fresh(answer),
        }
    }

    /// A stored response was found good.
    fn validated(mut self, entry: &Arc<Entry>, answer: &Answer) -> Fetched {
        let renewed = self.judgement.freshened(entry, &answer.headers);
        let is_stored = renewed.refusal.is_none();
        let fresh = self.keep(entry, renewed);
        let now = fresh.head.received_at;
        let ttl = Some(fresh.head.freshness.ttl(now));
        let forward_status = Some(StatusCode::NOT_MODIFIED);
        let outcome = Outcome { forward_status, stored: is_stored, ttl, ..self.need.outcome() };
        let shareable = is_stored && reuse::is_shareable(&fresh.head.freshness, now);
        self.learn_of_staleness(shareable);
        self.land(|| if shareable { Landing::Stored(Arc::clone(&fresh)) } else { Landing::Unshareable });
        Self::end(Reply::Stored(fresh, outcome), Some((answer.address, answer.first_byte)))
    }

    /// The stored response with its new head, in the place of the old one, if it may be stored at all.
    fn keep(&mut self, entry: &Arc<Entry>, renewed: Renewed) -> Arc<Entry> {
        let is_stored = renewed.refusal.is_none();
        let kept = self.replace(entry, renewed);
        if is_stored {
            let lease = self.lease.take();
            elsewhere::store(self.shared(), &self.inquiry().key, &kept, Extent::Head, lease);
        }
        kept
    }

    fn replace(&self, entry: &Arc<Entry>, renewed: Renewed) -> Arc<Entry> {
        let Renewed { head, refusal, settled } = renewed;
        let fresh = Arc::new(Entry::new(head, entry.body.clone(), entry.part()));
        let (shared, key) = (self.shared(), &self.inquiry().key);
        match refusal {
            None => shared.memory.replace(entry, Arc::clone(&fresh)),
            // The response itself says so. What one request's fields forbid is no word on what is stored.
            Some(why) if reuse::lesson(fresh.head.status, why) == Lesson::Everybody => {
                shared.memory.remove_entry(entry);
                elsewhere::remove(shared, key, entry);
            }
            Some(_) => {}
        }
        // No purge of the old tags came before it was stored: later ones are none of its business. In this order, none
        // can come in between.
        match settled.filter(|_| refusal.is_none() && fresh.standing(&shared.ledger) == Standing::Alive) {
            Some(labels) => {
                let head = Head { labels, ..fresh.head.clone() };
                let settled = Arc::new(Entry::new(head, fresh.body.clone(), fresh.part()));
                shared.memory.replace(&fresh, Arc::clone(&settled));
                settled
            }
            None => fresh,
        }
    }

    /// The answer to a HEAD: never stored, but it tells of what is. RFC 9111 §4.3.5.
    fn head(mut self, answer: Answer) -> Fetched {
        if let Some(entry) = &self.need.stored.clone() {
            let head = &entry.head;
            match validation::head_effect(head.status, &head.headers, entry.body.len(), answer.status, &answer.headers)
            {
                HeadEffect::None => {}
                HeadEffect::Freshen => {
                    let mut renewed = self.judgement.freshened(entry, &answer.headers);
                    // It says nothing of the bytes, and need not even have a validator: they are as old as they were.
                    renewed.head.stamp = entry.head.stamp.older(renewed.head.stamp);
                    drop(self.keep(entry, renewed));
                }
                HeadEffect::Invalidate => {
                    self.shared().memory.remove_entry(entry);
                    elsewhere::remove(self.shared(), &self.inquiry().key, entry);
                }
            }
        }
        let why = self.need.why;
        self.through(answer, why)
    }

    /// The answer is for this client alone.
    fn through(self, answer: Answer, why: Detail) -> Fetched {
        self.land(|| Landing::Unshareable);
        let outcome = Outcome { forward_status: Some(answer.status), detail: Some(why), ..self.need.outcome() };
        let origin = Some((answer.address, answer.first_byte));
        let response = through::respond(answer, self.inquiry(), &outcome);
        Self::end(Reply::Through(response, outcome), origin)
    }

    /// A new response: stored if it may be, or for this client alone.
    pub(super) fn fresh(self, mut answer: Answer) -> Fetched {
        match self.judgement.admit(&mut answer) {
            Ok(admitted) => self.stream(admitted, answer, Vec::new()),
            Err(why) => {
                self.learn(reuse::lesson(answer.status, why), why, answer.status);
                let known = self.need.why == Detail::HitForMiss;
                self.through(answer, if known { Detail::HitForMiss } else { why })
            }
        }
    }

    /// Remembers for whom it is no use to queue for this URL.
    fn learn(&self, lesson: Lesson, why: Detail, status: StatusCode) {
        // What answers one request's range or condition says nothing of the others.
        let is_of_one = matches!(
            status,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_MODIFIED
        );
        if is_of_one || self.inquiry().method != Method::GET || !self.inquiry().treatment().collapse {
            return;
        }
        let now = self.shared().clock.now();
        let until = now.plus(UNSHAREABLE_FOR);
        let marks = match lesson {
            Lesson::Everybody => Marks::for_everybody(until, why),
            Lesson::Authorized => Marks::for_authorized(until, why),
            Lesson::Nobody => return,
        };
        // Where nothing can be shared, each answer says so again: that is not worth a write each.
        if self.need.marks.tell(&marks, now) {
            return;
        }
        self.shared().memory.mark_unshareable(&self.inquiry().key, marks);
    }

    /// A URL whose responses are stale as they come cannot be shared, though it is stored. Seen twice in a row, nobody
    /// queues for it.
    fn learn_of_staleness(&self, shareable: bool) {
        if !shareable && self.need.stored.is_some() {
            self.learn(Lesson::Everybody, Detail::Expired, StatusCode::OK);
        }
    }

    /// Delivers a response while it arrives, to be stored when it is complete. `before` is what is there of it.
    fn stream(self, admitted: Admitted, answer: Answer, before: Vec<Bytes>) -> Fetched {
        let Admitted { head, fields, part, length } = admitted;
        let origin = Some((answer.address, answer.first_byte));
        let stored_before: u64 = before.iter().map(|piece| piece.len() as u64).sum();
        let expected = answer.body.size_hint().exact().map(|rest| rest + stored_before);
        let (mut writer, body) = shared_body(expected);
        for piece in before {
            writer.push(piece);
        }
        let head = Arc::new(head);
        let shareable = part.is_none() && reuse::is_shareable(&head.freshness, head.received_at);
        self.learn_of_staleness(shareable || part.is_some());
        self.land(
            || {
                if shareable { Landing::Streaming(Arc::clone(&head), body.clone()) } else { Landing::Unshareable }
            },
        );
        let Some(reader) = body.reader() else {
            unreachable!("a body that has just begun can be read from its beginning")
        };
        let ttl = Some(head.freshness.ttl(head.received_at));
        let outcome = Outcome { forward_status: Some(answer.status), stored: true, ttl, ..self.need.outcome() };
        let reply = Reply::Streaming(Arc::clone(&head), fields, Box::new(reader), outcome);
        (Delivery { reply, origin }, Some(Box::pin(self.pour(head, part, length, writer, answer.body))))
    }

    /// The second half: the body comes, goes to whoever reads it, and is stored.
    async fn pour(
        mut self,
        head: Arc<Head>,
        part: Option<Part>,
        length: Option<u64>,
        writer: Writer,
        body: OriginBody,
    ) {
        let lease = self.lease.take();
        let pour = Pour {
            shared: self.shared(),
            key: &self.inquiry().key,
            lead: self.lead.as_ref(),
            replaced: self.need.stored.as_ref(),
            head: &head,
            part,
            length,
        };
        pour.run(writer, body, lease).await;
    }
}

/// A purge may have come since it was looked up: what is dead lends neither its validators nor its bytes.
fn forget_dead(ledger: &Ledger, need: &mut Need) {
    let alive = |entry: &Arc<Entry>| entry.standing(ledger) != Standing::Dead;
    need.stored = need.stored.take().filter(alive);
    need.part = need.part.take().filter(alive);
}
