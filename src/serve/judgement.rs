//! What becomes of the head that an origin sent: a stored head, or nothing that others may see?
//!
//! The rule book decides; here its questions are put together for one fetch.

use std::sync::Arc;

use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;

use super::Shared;
use super::inquiry::Inquiry;
use super::through;
use crate::cache::entry::{Entry, Head, Part};
use crate::cache::fields::{RareFields, StoredFields};
use crate::cache::ledger::Stamp;
use crate::origin::Answer;
use crate::policy::admission::{self, Exchange};
use crate::policy::fields::Fields as _;
use crate::policy::freshness::Freshness;
use crate::policy::outcome::Detail;
use crate::policy::range::{self, ContentRange};
use crate::policy::scope::Labels;
use crate::policy::time::Timestamp;
use crate::policy::validation;
use crate::policy::vary::{self, Selecting};

/// One fetch, as far as what it brings is judged by it.
pub(super) struct Judgement {
    pub(super) shared: Arc<Shared>,
    pub(super) inquiry: Arc<Inquiry>,
    /// What was known of purges before the origin was asked.
    pub(super) stamp: Stamp,
    /// When it was asked.
    pub(super) requested_at: Timestamp,
}

/// What is to be stored of a new response, and goes to clients while it arrives.
pub(super) struct Admitted {
    pub(super) head: Head,
    /// The head's fields that clients get, once more, for the first of them.
    pub(super) fields: HeaderMap,
    /// Which part of the representation the body is.
    pub(super) part: Option<Part>,
    /// How many bytes of body there are to be, where a part says so.
    pub(super) length: Option<u64>,
}

/// A stored head with new fields. `refusal`: it may no longer be stored, and is spent on this one request.
pub(super) struct Renewed {
    pub(super) head: Head,
    pub(super) refusal: Option<Detail>,
    /// What it is known by once it is stored, where that is less than what the two are known by together.
    pub(super) settled: Option<Labels>,
}

impl Judgement {
    /// What is to be stored of a new response. Its fields are taken out of `answer`.
    ///
    /// # Errors
    ///
    /// Why nothing is; `answer` is as it was.
    pub(super) fn admit(&self, answer: &mut Answer) -> Result<Admitted, Detail> {
        let stated = match answer.status {
            StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE => return Err(Detail::Status),
            StatusCode::PARTIAL_CONTENT => Some(range::content_range(&answer.headers).ok_or(Detail::Range)?),
            _ => None,
        };
        let received_at = self.shared.clock.now();
        let freshness = self.lifetime(answer.status, &answer.headers, received_at)?;
        let selecting = vary::selecting(&answer.headers, &self.inquiry.headers).ok_or(Detail::VaryStar)?;
        if answer.body.size_hint().exact().unwrap_or(0) > self.shared.memory.max_object() {
            return Err(Detail::TooLarge);
        }
        let headers = std::mem::take(&mut answer.headers);
        let (head, fields) = self.head(answer.status, headers, freshness, selecting, received_at);
        let part = stated.map(|stated| Part { first: stated.first, complete: stated.complete });
        Ok(Admitted { head, fields, part, length: stated.map(ContentRange::length) })
    }

    /// A stored response with the fields of a 304, or of a HEAD's answer. RFC 9111 §3.2, §4.3.4.
    pub(super) fn freshened(&self, entry: &Entry, update: &HeaderMap) -> Renewed {
        self.renewed(entry, validation::freshen(&entry.head.all_fields(), update), entry.head.status)
    }

    /// The head of the whole that a stored part and the rest of it make. RFC 9111 §3.4.
    pub(super) fn completed(&self, part: &Entry, answer: &Answer) -> Renewed {
        let mut headers = validation::freshen(&part.head.all_fields(), &answer.headers);
        headers.remove(CONTENT_RANGE);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(part.complete_length()));
        self.renewed(part, headers, StatusCode::OK)
    }

    fn renewed(&self, entry: &Entry, headers: HeaderMap, status: StatusCode) -> Renewed {
        let received_at = self.shared.clock.now();
        // The new fields may select on others than the old ones did; this client is one for whom they hold.
        let selects_alike = headers.lines(&VARY).eq(entry.head.headers.lines(&VARY));
        let selecting = if selects_alike {
            Some(entry.head.selecting.clone())
        } else {
            vary::selecting(&headers, &self.inquiry.headers)
        };
        let judged = match &selecting {
            Some(_) => self.lifetime(status, &headers, received_at),
            None => Err(Detail::VaryStar),
        };
        let selecting = selecting.unwrap_or(Selecting::Any);
        let (freshness, refusal) = match judged {
            Ok(freshness) => (freshness, None),
            Err(why) => (entry.head.freshness.spent(), Some(why)),
        };
        let (mut head, _) = self.head(status, headers, freshness, selecting, received_at);
        // A purge that came while we asked was about the tags of what is stored, whatever the answer's are.
        let both = head.labels.with_tags_of(&entry.head.labels);
        let mut settled = (both != head.labels).then(|| std::mem::replace(&mut head.labels, both));
        if entry.part().is_some() {
            // The stored bytes are as old as they were, and their own tags remain theirs.
            head.stamp = entry.head.stamp.older(head.stamp);
            settled = None;
        }
        Renewed { head, refusal, settled }
    }

    fn lifetime(&self, status: StatusCode, headers: &HeaderMap, received_at: Timestamp) -> Result<Freshness, Detail> {
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

    /// A head that can be stored, and once more the fields of it that clients get.
    fn head(
        &self,
        status: StatusCode,
        mut headers: HeaderMap,
        freshness: Freshness,
        selecting: Selecting,
        received_at: Timestamp,
    ) -> (Head, HeaderMap) {
        let labels = self.inquiry.tagged_labels(&headers);
        let hidden = through::take_hidden(&mut headers, &self.inquiry);
        // It belongs to the message: what of it is true of the response, `freshness` has.
        headers.remove(AGE);
        let head = Head {
            status,
            headers: StoredFields::from(&headers),
            hidden: RareFields::from(&hidden),
            selecting,
            freshness,
            received_at,
            fetch_cost: received_at.since(self.requested_at).into(),
            labels,
            stamp: self.stamp,
        };
        (head, headers)
    }
}
