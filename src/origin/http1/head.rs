//! What does the head of an answer say? RFC 9112 §4 and §5.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{ParserConfig, Response, Status};
use smallvec::SmallVec;

use crate::origin::error::Malformed;

/// Bytes of a head; larger ones are malformed. As much as clients may send us by default.
const MAX_HEAD: usize = 64 * 1024;
/// Fields of a head.
const MAX_FIELDS: usize = 100;

/// The head of an answer.
#[derive(Debug)]
pub(in crate::origin) struct Head {
    pub(in crate::origin) status: StatusCode,
    /// HTTP/1.1, not 1.0.
    pub(in crate::origin) is_current: bool,
    pub(in crate::origin) headers: HeaderMap,
}

impl Head {
    /// Whether another answer follows. After 101 there is none, but another protocol.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Takes a head off `input`, once all of it is there.
///
/// # Errors
///
/// It is none, or too large.
pub(super) fn take(input: &mut BytesMut) -> Result<Option<Head>, Malformed> {
    if input.is_empty() {
        return Ok(None);
    }
    let too_large = || Malformed::HeadTooLarge { limit: MAX_HEAD };
    let mut fields = [MaybeUninit::uninit(); MAX_FIELDS];
    let mut response = Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, &input[..], &mut fields);
    let length = match parsed {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(Status::Partial) if input.len() < MAX_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(too_large()),
        Err(error) => return Err(Malformed::Parse(error)),
    };
    let code = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| Malformed::Status(code))?;
    let is_current = response.version == Some(1);
    let start = input.as_ptr() as usize;
    let mut found: SmallVec<[(HeaderName, Range<usize>); 16]> = SmallVec::new();
    for field in &*response.headers {
        let name =
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed::Parse(httparse::Error::HeaderName))?;
        let at = field.value.as_ptr() as usize - start;
        found.push((name, at..at + field.value.len()));
    }
    let bytes = input.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(found.len());
    for (name, range) in found {
        let value = HeaderValue::from_maybe_shared(bytes.slice(range))
            .map_err(|_| Malformed::Parse(httparse::Error::HeaderValue))?;
        headers.append(name, value);
    }
    Ok(Some(Head { status, is_current, headers }))
}
