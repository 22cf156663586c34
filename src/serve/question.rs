//! What is asked of the origin, beside the client's own request, and does the answer fit?

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;

use super::inquiry::Inquiry;
use super::look_up::Need;
use crate::cache::entry::Entry;
use crate::origin::Answer;
use crate::policy::{conditional, range, validation};

/// What the origin is asked for.
pub(super) enum Question {
    /// All of it.
    Whole,
    /// Whether a stored response is still good.
    Validate(Arc<Entry>),
    /// What is missing of a stored part.
    Rest(Arc<Entry>),
    /// What the client asked for: its range and conditions go along.
    AsAsked,
}

impl Question {
    /// What to ask, by what is needed and what is there.
    pub(super) fn of(inquiry: &Inquiry, need: &Need) -> Self {
        if let Some(entry) = &need.stored
            && !validation::conditions(&entry.head.headers).is_empty()
        {
            return Self::Validate(Arc::clone(entry));
        }
        if let Some(entry) = &need.part
            && !inquiry.wants_range()
            && inquiry.method == Method::GET
            && entry.part().is_some_and(|part| part.first == 0 && part.complete.is_some())
        {
            return Self::Rest(Arc::clone(entry));
        }
        if inquiry.wants_range() || need.unshareable || inquiry.method == Method::HEAD {
            return Self::AsAsked;
        }
        Self::Whole
    }

    /// The client's fields, with the range and the conditions that this question takes. The client's own ones go
    /// along only where the answer is for it alone: they must not narrow what is stored.
    pub(super) fn fields<'a>(&self, asked: &'a HeaderMap) -> Cow<'a, HeaderMap> {
        let mut headers = match self {
            Self::AsAsked => return Cow::Borrowed(asked),
            Self::Whole | Self::Validate(_) | Self::Rest(_) => conditional::without_conditions(asked),
        };
        match self {
            Self::AsAsked | Self::Whole => {}
            Self::Validate(entry) => validation::conditions(&entry.head.headers).apply(headers.to_mut()),
            Self::Rest(entry) => {
                let headers = headers.to_mut();
                headers.insert(RANGE, rest_of(entry));
                // RFC 9110 §13.1.5: a strong validator, or none.
                let etag = validation::conditions(&entry.head.headers).if_none_match;
                if let Some(etag) = etag.filter(|etag| !etag.as_bytes().starts_with(b"W/")) {
                    headers.insert(IF_RANGE, etag);
                }
            }
        }
        headers
    }

    /// Whether the answer fits nothing that we have: then all of it is asked for, once.
    pub(super) fn is_missed_by(&self, answer: &Answer) -> bool {
        match (self, answer.status) {
            // RFC 9111 §4.3.4: a 304 that does not select the stored response.
            (Self::Validate(entry), StatusCode::NOT_MODIFIED) => {
                !validation::confirms(&entry.head.headers, &answer.headers)
            }
            (Self::Rest(entry), StatusCode::PARTIAL_CONTENT) => !continues(entry, answer),
            (
                Self::Rest(_),
                StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED,
            ) => true,
            _ => false,
        }
    }
}

/// Everything from where the stored part ends.
fn rest_of(entry: &Entry) -> HeaderValue {
    HeaderValue::try_from(format!("bytes={}-", entry.body.len())).expect("digits and letters are a field value")
}

/// Whether a part that came begins where the stored one ends, ends with the whole, and is of the same representation.
fn continues(entry: &Entry, answer: &Answer) -> bool {
    let Some(stated) = range::content_range(&answer.headers) else { return false };
    let Some(part) = entry.part() else { return false };
    let whole = part.complete.is_some() && stated.complete == part.complete && Some(stated.last + 1) == part.complete;
    let is_complete = answer.body.size_hint().exact().is_none_or(|length| length == stated.length());
    whole
        && is_complete
        && stated.first == part.first + entry.body.len()
        && range::may_combine(&entry.head.headers, &answer.headers)
}
