//! What does the client send, and who answers it: the library, or nobody needs to ask it?
//!
//! Frames are read as far as it takes to find requests. The client's encoder has one state for all its field blocks, so
//! they are decoded here; the library gets those of its requests written anew, without any state. It knows the window of the
//! connection in part, and nothing of the streams that were answered here: to it they are closed, as unused ones are
//! (RFC 9113 §5.1.1). Whatever breaks the rules ends the connection by its hand.

use std::time::Instant;

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::budget::Budget;
use super::frame::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, Fault, HEADER_BYTES, HEADER_TABLE_SIZE, HEADERS, Header,
    INITIAL_WINDOW_SIZE, MOST_PAYLOAD, PREFACE_BYTES, PRIORITY, RESET, SETTINGS, WINDOW_UPDATE, write_block,
    write_fault, write_window_update,
};
use super::hpack::{Decoder, FieldList, write_field};
use super::outbound::Outbound;
use super::question;
use crate::accept::Handler;
use crate::accept::express::Express;
use crate::accept::pulse::{Pulse, coarse_now};

/// What may wait for the library before more is looked at.
const MOST_PASSING: usize = 16 << 10;

/// A field block that has begun.
#[derive(Debug)]
struct Block {
    stream: u32,
    /// The request has no body.
    is_end: bool,
    bytes: Vec<u8>,
}

/// A client's frames, as far as they have come.
pub(super) struct Inbound<H> {
    express: Express<H>,
    /// The size from which on the library refuses a list of fields: as the connection began, whatever is set since.
    max_header_bytes: usize,
    decoder: Decoder,
    fields: FieldList,
    pub(super) budget: Budget,
    /// When what is looked at was read: all requests in it came then.
    received: Instant,
    /// What is on its way to the library.
    passing: BytesMut,
    /// Bytes that go to the library as they are: of the preface, or of a payload.
    left: usize,
    block: Option<Block>,
    /// The highest stream that the library knows.
    known: u32,
    has_settings: bool,
    /// What there was has been looked at, but for a frame that has not come whole.
    is_short: bool,
    /// Nothing more is read, because of the client.
    is_stopped: bool,
}

impl<H: Handler> Inbound<H> {
    /// Before the first byte.
    pub(super) fn new(express: Express<H>, max_header_bytes: usize) -> Self {
        Self {
            express,
            max_header_bytes,
            decoder: Decoder::new(),
            fields: FieldList::default(),
            budget: Budget::new(coarse_now()),
            received: Instant::now(),
            passing: BytesMut::new(),
            left: PREFACE_BYTES,
            block: None,
            known: 0,
            has_settings: false,
            is_short: false,
            is_stopped: false,
        }
    }

    /// Whether nothing of what comes is read any more.
    pub(super) const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Whether more bytes than there were the last time are needed to go on.
    pub(super) const fn is_short(&self) -> bool {
        self.is_short
    }

    /// Gives the library what is for it.
    pub(super) fn hand_over(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.passing.len().min(buffer.remaining());
        buffer.put_slice(&self.passing[..length]);
        self.passing.advance(length);
        if self.passing.is_empty() {
            // Its memory goes back: most connections are idle most of the time.
            self.passing = BytesMut::new();
        }
    }

    /// Whether the library needs more of the window, and can be told: what it reads next is the beginning of a frame.
    pub(super) fn can_make_up(&self, outbound: &Outbound) -> bool {
        self.left == 0 && outbound.window.is_library_short()
    }

    /// Gives the library more of the window, where it needs it and can be told.
    pub(super) fn make_up(&mut self, outbound: &mut Outbound) {
        if self.can_make_up(outbound)
            && let Some(more) = outbound.window.give_library()
        {
            write_window_update(0, more, &mut self.passing);
        }
    }

    /// Reads on, until the library has something to read, or `outbound` can take no more: how many of the bytes are done
    /// with, and how many requests were answered.
    pub(super) fn read(&mut self, bytes: &[u8], outbound: &mut Outbound, pulse: &Pulse) -> (usize, usize) {
        let (mut at, before) = (0, pulse.requests());
        (self.is_short, self.received) = (false, Instant::now());
        while !self.is_stopped && self.passing.len() < MOST_PASSING && !outbound.is_full() {
            self.make_up(outbound);
            let rest = &bytes[at..];
            if self.left > 0 {
                let length = self.left.min(rest.len());
                self.passing.extend_from_slice(&rest[..length]);
                (self.left, at) = (self.left - length, at + length);
                self.is_short = length == rest.len();
            } else if let Some(length) = self.frame(rest, outbound, pulse) {
                at += length;
            } else {
                self.is_short = true;
            }
            if self.is_short {
                break;
            }
        }
        let answered = pulse.requests().wrapping_sub(before);
        (at, answered as usize)
    }

    /// Reads the frame that `bytes` begin with, or its header where that is enough; how many bytes that is. `None`: not all of
    /// it has come.
    fn frame(&mut self, bytes: &[u8], outbound: &mut Outbound, pulse: &Pulse) -> Option<usize> {
        let header = Header::read(bytes)?;
        let is_ours = matches!(header.kind, HEADERS | CONTINUATION | PRIORITY | RESET | SETTINGS | WINDOW_UPDATE);
        // One that is too long is the library's to refuse.
        let is_whole = is_ours && header.length <= MOST_PAYLOAD;
        let length = if is_whole { HEADER_BYTES + header.length } else { HEADER_BYTES };
        let frame = bytes.get(..length)?;
        let payload = &frame[HEADER_BYTES..];
        if !self.budget.pay(header, coarse_now) {
            self.stop(Fault::TooMuch, outbound, pulse);
            return Some(length);
        }
        match header.kind {
            // RFC 9113 §6.10: nothing comes between the pieces of a block.
            CONTINUATION if is_whole && self.block.as_ref().is_some_and(|block| block.stream == header.stream) => {
                self.continuation(header, payload, outbound, pulse);
            }
            _ if self.block.is_some() => self.stop(Fault::Protocol, outbound, pulse),
            HEADERS if is_whole => self.headers(header, payload, outbound, pulse),
            SETTINGS if is_whole && !header.has(ACK) => self.settings(header, payload, outbound),
            WINDOW_UPDATE if header.stream == 0 && header.length == 4 => self.window_update(payload, outbound, pulse),
            PRIORITY | RESET | WINDOW_UPDATE if is_whole && self.is_answered(header.stream, outbound) => {}
            _ => {
                self.passing.extend_from_slice(frame);
                self.left = header.length - payload.len();
            }
        }
        Some(length)
    }

    /// Whether a stream was answered here, and the library would take it for one that is yet to come.
    fn is_answered(&self, stream: u32, outbound: &Outbound) -> bool {
        stream > self.known && stream <= outbound.answered()
    }

    /// Reads no more; the library ends the connection.
    fn stop(&mut self, fault: Fault, outbound: &mut Outbound, pulse: &Pulse) {
        outbound.name_fault(fault);
        write_fault(&mut self.passing);
        pulse.expect_surplus();
        self.is_stopped = true;
    }

    /// RFC 9113 §6.5. The library encodes its field blocks without a table, which is free to be: ours stand between them.
    fn settings(&mut self, header: Header, payload: &[u8], outbound: &mut Outbound) {
        let is_first = !std::mem::replace(&mut self.has_settings, true);
        let (settings, rest) = payload.as_chunks::<6>();
        let mut changed = Vec::with_capacity(payload.len() + 6);
        if is_first && rest.is_empty() {
            changed.extend_from_slice(&HEADER_TABLE_SIZE.to_be_bytes());
            changed.extend_from_slice(&[0; 4]);
        }
        for &[name_high, name_low, value @ ..] in settings {
            match u16::from_be_bytes([name_high, name_low]) {
                HEADER_TABLE_SIZE => continue,
                INITIAL_WINDOW_SIZE => outbound.window.set_stream(u32::from_be_bytes(value), is_first),
                _ => {}
            }
            changed.extend_from_slice(&[name_high, name_low]);
            changed.extend_from_slice(&value);
        }
        changed.extend_from_slice(rest);
        Header { length: changed.len(), ..header }.write(&mut self.passing);
        self.passing.extend_from_slice(&changed);
    }

    /// RFC 9113 §6.9. What the library gets of it, it gets when it needs it.
    fn window_update(&mut self, payload: &[u8], outbound: &mut Outbound, pulse: &Pulse) {
        let more = payload.first_chunk().map_or(0, |more| u32::from_be_bytes(*more) & super::frame::MOST);
        if more == 0 {
            self.stop(Fault::Protocol, outbound, pulse);
        } else if !outbound.window.widen(more) {
            self.stop(Fault::FlowControl, outbound, pulse);
        }
    }

    fn headers(&mut self, header: Header, payload: &[u8], outbound: &mut Outbound, pulse: &Pulse) {
        let is_clients = header.stream % 2 == 1;
        let Some(fragment) = header.fragment(payload).filter(|_| is_clients) else {
            return self.stop(Fault::Protocol, outbound, pulse);
        };
        let is_end = header.has(END_STREAM);
        if header.has(END_HEADERS) {
            self.request(header.stream, is_end, fragment, outbound, pulse);
        } else {
            self.block = Some(Block { stream: header.stream, is_end, bytes: fragment.to_vec() });
        }
    }

    fn continuation(&mut self, header: Header, payload: &[u8], outbound: &mut Outbound, pulse: &Pulse) {
        let Some(mut block) = self.block.take() else { return };
        // What is somewhat too large is looked at, and then refused by itself.
        if block.bytes.len() + payload.len() > 2 * self.max_header_bytes.max(MOST_PAYLOAD) {
            return self.stop(Fault::TooMuch, outbound, pulse);
        }
        block.bytes.extend_from_slice(payload);
        if header.has(END_HEADERS) {
            self.request(block.stream, block.is_end, &block.bytes, outbound, pulse);
        } else {
            self.block = Some(block);
        }
    }

    /// A field block is whole: a request, or what comes after the body of one.
    fn request(&mut self, stream: u32, is_end: bool, block: &[u8], outbound: &mut Outbound, pulse: &Pulse) {
        let most = self.max_header_bytes;
        let mut fields = std::mem::take(&mut self.fields);
        if self.decoder.decode(block, &mut fields, most).is_err() {
            self.stop(Fault::Compression, outbound, pulse);
        } else if self.is_answered(stream, outbound) {
            // Streams are opened in their order, once. RFC 9113 §5.1.1.
            self.stop(Fault::Protocol, outbound, pulse);
        } else if is_end && stream > self.known && fields.size() < most && self.answer(stream, &fields, outbound) {
            pulse.answered_at_once();
        } else {
            self.known = self.known.max(stream);
            let block = if fields.size() > most { too_large(&fields, most) } else { written(&fields) };
            write_block(stream, if is_end { END_STREAM } else { 0 }, &block, &mut self.passing);
        }
        fields.rest();
        self.fields = fields;
    }

    /// Answers a request without the library. Whether that could be done.
    fn answer(&mut self, stream: u32, fields: &FieldList, outbound: &mut Outbound) -> bool {
        let Some(room) = outbound.room() else { return false };
        let mut written = Vec::new();
        let body = question::ask(fields, (self.received, room), |question| self.express.answer(question, &mut written));
        if let Some(body) = &body {
            outbound.answer(stream, &written, body);
        }
        body.is_some()
    }
}

/// A field block of these fields.
fn written(fields: &FieldList) -> Vec<u8> {
    let mut block = Vec::with_capacity(fields.size());
    fields.iter().for_each(|field| write_field(&mut block, field.name, field.value, field.is_sensitive));
    block
}

/// A field block that the library finds too large, with what of these fields is not. All of them, written anew, may be longer than
/// any block that it looks at.
fn too_large(fields: &FieldList, most: usize) -> Vec<u8> {
    let (mut block, mut left) = (Vec::with_capacity(most), most);
    for field in fields.iter() {
        let Some(rest) = left.checked_sub(field.size()) else {
            write_field(&mut block, b"x", &vec![b'x'; left], false);
            break;
        };
        left = rest;
        write_field(&mut block, field.name, field.value, field.is_sensitive);
    }
    block
}

#[cfg(test)]
mod tests {
    use std::future::Ready;
    use std::sync::Arc;

    use arc_swap::ArcSwap;
    use bytes::Bytes;
    use http::request::Parts;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tokio_util::sync::CancellationToken;

    use super::super::frame::{DATA, GOAWAY};
    use super::*;
    use crate::accept::Door;
    use crate::accept::connection::{Ends, Facts};
    use crate::accept::tests::settings;
    use crate::body::request::RequestBody;
    use crate::body::response::BoxResponse;
    use crate::client::{Client, Plain, Scheme};
    use crate::telemetry::Telemetry;

    /// Answers `/at-once` and nothing else.
    #[derive(Clone)]
    struct AtOnce;

    impl Handler for AtOnce {
        type Answer = Ready<BoxResponse>;

        fn handle(&self, _: Parts, _: RequestBody, _: Client) -> Self::Answer {
            unreachable!("nobody asks it")
        }

        fn at_once(&self, request: &Plain<'_>, answer: &mut Vec<u8>) -> Option<Bytes> {
            (request.target == "/at-once").then_some(())?;
            answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n");
            Some(Bytes::from_static(&[b'x'; 3000][..request.room.min(3000)]))
        }
    }

    /// What the library and the client get of these bytes, when they come in pieces of this size.
    fn passed(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
        let telemetry = Telemetry::silent();
        let settings = Arc::new(ArcSwap::from_pointee(settings()));
        let door = Arc::new(Door::new(AtOnce, settings, Arc::clone(&telemetry), CancellationToken::new()));
        let ends = Ends { peer: ([192, 0, 2, 1], 9).into(), local: ([192, 0, 2, 2], 80).into() };
        let express = Express::new(door, Facts { ends, scheme: Scheme::Http, certificate: None });
        let (mut inbound, mut outbound, pulse) =
            (Inbound::new(express, 65_536), Outbound::new(), Pulse::new(telemetry));
        let mut settings = Vec::new();
        Header { length: 0, kind: SETTINGS, flags: 0, stream: 0 }.write(&mut settings);
        outbound.gather(&settings);
        let (mut unread, mut library, mut client) = (Vec::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            unread.extend_from_slice(piece);
            loop {
                let (taken, _) = inbound.read(&unread, &mut outbound, &pulse);
                unread.drain(..taken);
                let mut room = vec![0; 1 << 20];
                let mut buffer = ReadBuf::new(&mut room);
                inbound.hand_over(&mut buffer);
                library.extend_from_slice(buffer.filled());
                let gathered = outbound.gathered();
                let length = gathered.len();
                client.extend_from_slice(gathered);
                outbound.written(length);
                if inbound.is_short() || inbound.is_stopped() {
                    break;
                }
            }
        }
        (library, client)
    }

    /// Each frame in these bytes, and its payload.
    fn each(mut bytes: &[u8]) -> impl Iterator<Item = (Header, &[u8])> {
        std::iter::from_fn(move || {
            let Some(header) = Header::read(bytes) else {
                assert_eq!(bytes, b"", "half a frame");
                return None;
            };
            let (frame, rest) = bytes.split_at_checked(HEADER_BYTES + header.length).unwrap_or((bytes, &[]));
            bytes = rest;
            Some((header, &frame[HEADER_BYTES..]))
        })
    }

    fn frames(bytes: &[u8]) -> Vec<Header> {
        each(bytes).map(|(header, _)| header).collect()
    }

    /// By how much these frames widen the connection's window.
    fn widened(bytes: &[u8]) -> u64 {
        let updates = each(bytes).filter(|(header, _)| (header.kind, header.stream) == (WINDOW_UPDATE, 0));
        updates.map(|(_, more)| u64::from(u32::from_be_bytes(more.try_into().expect("four bytes")))).sum()
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        Header { length: payload.len(), kind, flags, stream }.write(&mut bytes);
        [&bytes, payload].concat()
    }

    /// One thing that a client does with a stream.
    fn step(step: u8, stream: u32, length: u16) -> Vec<u8> {
        let request = |method: &[u8], path: &[u8]| {
            let mut block = Vec::new();
            let fields: [(&[u8], &[u8]); 4] =
                [(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)];
            for (name, value) in fields {
                write_field(&mut block, name, value, false);
            }
            block
        };
        let get = request(b"GET", b"/at-once");
        let whole = END_HEADERS | END_STREAM;
        match step {
            0..4 => frame(HEADERS, whole, stream, &get),
            4 => frame(HEADERS, whole, stream, &request(b"GET", b"/other")),
            5 => [
                frame(HEADERS, END_HEADERS, stream, &request(b"POST", b"/at-once")),
                frame(DATA, END_STREAM, stream, &vec![b'd'; length.into()]),
            ]
            .concat(),
            6 => {
                let (first, second) = get.split_at(usize::from(length) % get.len());
                [frame(HEADERS, END_STREAM, stream, first), frame(CONTINUATION, END_HEADERS, stream, second)].concat()
            }
            7 => frame(WINDOW_UPDATE, 0, 0, &(u32::from(length) + 1).to_be_bytes()),
            8 => frame(WINDOW_UPDATE, 0, stream.saturating_sub(2).max(1), &(u32::from(length) + 1).to_be_bytes()),
            9 => frame(RESET, 0, stream.saturating_sub(2).max(1), &[0, 0, 0, 8]),
            10 => {
                let [high, low] = length.to_be_bytes();
                frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 9, 9, 0, 4, 0, 0, high, low])
            }
            _ => frame(0x6, 0, 0, b"abcdefgh"),
        }
    }

    fn opening() -> Vec<u8> {
        let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 16, 0]);
        [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0])].concat()
    }

    proptest! {
        #[test]
        fn what_anybody_gets_does_not_depend_on_the_pieces(
            steps in vec((0..12_u8, 0..9000_u16), 0..60),
            piece in 1..3000_usize,
            change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let steps = steps.iter().zip((1..).step_by(2)).map(|(&(kind, length), stream)| step(kind, stream, length));
            let mut bytes = [opening(), steps.collect::<Vec<_>>().concat()].concat();
            if let Some((at, byte)) = &change {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let (library, client) = passed(&bytes, bytes.len());
            prop_assert_eq!(&passed(&bytes, piece), &(library.clone(), client.clone()));
            let answers = frames(&client);
            prop_assert!(answers.iter().all(|frame| matches!(frame.kind, HEADERS | DATA | SETTINGS)), "{:?}", answers);
            if change.is_none() {
                let asked = frames(&library[PREFACE_BYTES..]);
                let opened = |frames: &[Header]| -> Vec<u32> {
                    frames.iter().filter(|frame| frame.kind == HEADERS).map(|frame| frame.stream).collect()
                };
                let (ours, theirs) = (opened(&answers), opened(&asked));
                prop_assert!(ours.is_sorted() && theirs.is_sorted(), "{:?} {:?}", ours, theirs);
                prop_assert!(ours.iter().all(|stream| !theirs.contains(stream)), "{:?} {:?}", ours, theirs);
                let first = frames(&library[PREFACE_BYTES..])[0];
                prop_assert_eq!((first.kind, first.length), (SETTINGS, 6));
                prop_assert!(library[PREFACE_BYTES..].starts_with(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]));
                prop_assert!(asked.iter().all(|frame| frame.kind != GOAWAY));
                // Of what the client takes, a part is the library's.
                let (given, taken) = (widened(&library[PREFACE_BYTES..]), widened(&bytes[PREFACE_BYTES..]));
                prop_assert!(given <= taken, "{} of {}", given, taken);
            }
        }

        #[test]
        fn whatever_comes_is_survived(bytes in vec(any::<u8>(), 0..3000), is_opened in any::<bool>()) {
            let bytes = if is_opened { [opening(), bytes].concat() } else { bytes };
            let (library, _) = passed(&bytes, 1 << 20);
            prop_assert!(library.len() <= bytes.len() + 100);
        }
    }
}
