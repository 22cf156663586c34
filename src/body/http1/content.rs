//! Where does a body end, and what of it is there? RFC 9112 §6.3 and §7.1.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use httparse::Status;

use super::{Copied, chunk, has_whole_lines};

/// Bytes of a line with a chunk's size, extensions included: who needs more is not after their meaning.
const MAX_SIZE_LINE: usize = 128;
/// Bytes of the fields behind the last chunk.
const MAX_TRAILERS: usize = 16 * 1024;
/// Fields behind the last chunk.
const MAX_TRAILER_FIELDS: usize = 32;

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// All until the connection ends. Not in requests.
    UntilClose,
}

/// What the next byte among chunks belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// The line with its size.
    Size,
    /// So many bytes of it.
    Data(u64),
    /// The end of its line.
    End,
    /// What follows the last one.
    Trailers,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The connection failed.
    #[error("the connection failed")]
    Connection(#[from] io::Error),
    /// The connection ended before the body did.
    #[error("the connection ended before it did")]
    Ended,
    /// The chunks are none.
    #[error("{0}")]
    Chunks(&'static str),
}

/// What a look at the bytes gives.
pub enum Step {
    /// A piece.
    Data(Bytes),
    /// The fields behind the last one; then it ends.
    Trailers(HeaderMap),
    /// Nothing more.
    End,
    /// Nothing before more bytes come.
    More,
}

impl Content {
    /// Chunks, from the first one on.
    pub const CHUNKED: Self = Self::Chunked(Chunk::Size);

    /// Whether nothing is to come.
    pub const fn is_end(&self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }

    /// How many bytes are to come, where that is known.
    pub const fn exact(&self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// How many bytes it is worth to have room for, where that is known.
    pub fn at_most(&self) -> Option<usize> {
        match self {
            Self::Length(left) | Self::Chunked(Chunk::Data(left)) => Some(usize::try_from(*left).unwrap_or(usize::MAX)),
            Self::None | Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the whole of a body with a length off `input`, where all of it is there.
    pub fn take_whole(&mut self, input: &mut BytesMut) -> Option<Bytes> {
        let length = match self {
            Self::Length(left) => usize::try_from(*left).ok().filter(|left| *left <= input.len())?,
            Self::None | Self::Chunked(_) | Self::UntilClose => return None,
        };
        *self = Self::None;
        Some(input.split_to(length).freeze())
    }

    /// Takes what comes next off `input`.
    ///
    /// # Errors
    /// The chunks are none.
    pub fn step(&mut self, input: &mut BytesMut) -> Result<Step, ContentError> {
        loop {
            match self {
                Self::None | Self::Length(0) => return Ok(Step::End),
                _ if input.is_empty() => return Ok(Step::More),
                Self::Length(left) => return Ok(Step::Data(take(left, input))),
                Self::UntilClose => return Ok(Step::Data(input.split().freeze())),
                Self::Chunked(Chunk::Data(left)) => {
                    let data = take(left, input);
                    if *left == 0 {
                        *self = Self::Chunked(Chunk::End);
                    }
                    return Ok(Step::Data(data));
                }
                Self::Chunked(Chunk::End) => {
                    let is_end = b"\r\n".starts_with(&input[..input.len().min(2)]);
                    if !is_end {
                        return Err(ContentError::Chunks("a chunk is longer than its size"));
                    }
                    if input.len() < 2 {
                        return Ok(Step::More);
                    }
                    input.advance(2);
                    *self = Self::CHUNKED;
                }
                Self::Chunked(Chunk::Size) => {
                    let Some(size) = take_size(input)? else { return Ok(Step::More) };
                    *self = Self::Chunked(if size == 0 { Chunk::Trailers } else { Chunk::Data(size) });
                }
                Self::Chunked(Chunk::Trailers) => {
                    let Some(trailers) = take_trailers(input)? else { return Ok(Step::More) };
                    *self = Self::None;
                    return Ok(if trailers.is_empty() { Step::End } else { Step::Trailers(trailers) });
                }
            }
        }
    }

    /// The connection has ended: so does the body, or it is cut.
    ///
    /// # Errors
    /// It is cut.
    pub fn end_of_input(&mut self) -> Result<(), ContentError> {
        match self {
            Self::None | Self::UntilClose => {
                *self = Self::None;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(ContentError::Ended),
        }
    }
}

/// As much of what is `left` as is there.
fn take(left: &mut u64, input: &mut BytesMut) -> Bytes {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= taken as u64;
    input.split_to(taken).freeze()
}

/// The size of the next chunk, once its line is there.
fn take_size(input: &mut BytesMut) -> Result<Option<u64>, ContentError> {
    let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(MAX_SIZE_LINE)]) else {
        let is_too_long = input.len() >= MAX_SIZE_LINE;
        return if is_too_long {
            Err(ContentError::Chunks("the line with a chunk's size is too long"))
        } else {
            Ok(None)
        };
    };
    let line =
        input[..end].strip_suffix(b"\r").ok_or(ContentError::Chunks("a chunk's size is not followed by CR LF"))?;
    let size = chunk::size(line).map_err(ContentError::Chunks)?;
    input.advance(end + 1);
    Ok(Some(size))
}

/// The fields behind the last chunk, once all of them are there.
fn take_trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, ContentError> {
    let malformed = ContentError::Chunks("the fields behind the last chunk are malformed, or too many");
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let (length, fields) = match httparse::parse_headers(&input[..], &mut fields) {
        Ok(Status::Complete(found)) if found.0 <= MAX_TRAILERS && has_whole_lines(&input[..found.0]) => found,
        Ok(Status::Partial) if input.len() < MAX_TRAILERS => return Ok(None),
        Ok(_) | Err(_) => return Err(malformed),
    };
    let trailers = Copied::of(&input[..length]).fields(fields).ok_or(malformed)?;
    input.advance(length);
    Ok(Some(trailers))
}
