//! What does the head of an answer say? RFC 9112 §4 and §5.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use httparse::{ParserConfig, Response, Status};

use crate::body::http1::Copied;
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
    let headers = Copied::of(&input[..length]).fields(response.headers);
    let headers = headers.ok_or(Malformed::Parse(httparse::Error::HeaderValue))?;
    input.advance(length);
    Ok(Some(Head { status, is_current, headers }))
}
