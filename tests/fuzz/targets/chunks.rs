//! Do chunks say the same however they come? Input: a byte that says how many come at once, and what comes.
#![no_main]

use bytes::BytesMut;
use http::HeaderMap;
use larder::body::http1::content::{Content, Step};
use libfuzzer_sys::fuzz_target;

/// What was made of it: the body, the fields behind it, and where it ended, if it did; or why it broke off.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: Option<usize>,
    fault: Option<String>,
}

fn read(text: &[u8], at_once: usize) -> Read {
    let (mut content, mut input, mut read) = (Content::CHUNKED, BytesMut::new(), Read::default());
    let mut fed = 0;
    loop {
        match content.step(&mut input) {
            Ok(Step::Data(data)) => {
                assert!(!data.is_empty());
                read.body.extend_from_slice(&data);
            }
            Ok(Step::Trailers(trailers)) => read.trailers = Some(trailers),
            Ok(Step::End) => {
                read.end = Some(fed - input.len());
                return read;
            }
            Ok(Step::More) if fed < text.len() => {
                let piece = &text[fed..(fed + at_once).min(text.len())];
                input.extend_from_slice(piece);
                fed += piece.len();
            }
            Ok(Step::More) => {
                assert!(content.end_of_input().is_err(), "it is cut");
                return read;
            }
            Err(error) => {
                read.fault = Some(error.to_string());
                return read;
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&at_once, text)) = input.split_first() else { return };
    assert_eq!(read(text, usize::from(at_once).max(1)), read(text, text.len().max(1)));
});
