//! Which requests over HTTP/2 are answered where they are read, and do they and the library's share a connection well?

use std::collections::BTreeMap;

use super::*;
use crate::accept::http2::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADER_TABLE_SIZE, HEADERS, Header, INITIAL_WINDOW_SIZE,
    PRIORITY, RESET, SETTINGS, WINDOW_UPDATE,
};
use crate::accept::http2::hpack::{Decoder, FieldList, write_field};

const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

/// More than any answer's fields here.
const MANY: usize = 1 << 20;

type Lines<'a> = &'a [(&'a str, &'a str)];

fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = Vec::new();
    Header { length: payload.len(), kind, flags, stream }.write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

fn settings_frame(settings: &[(u16, u32)]) -> Vec<u8> {
    let each = settings.iter().map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, each.collect::<Vec<_>>().concat())
}

fn block(method: &str, path: &str, more: Lines<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "Shop.Example:80"), (":path", path)];
    for (name, value) in pseudo.iter().chain(more) {
        write_field(&mut block, name.as_bytes(), value.as_bytes(), false);
    }
    block
}

fn get(stream: u32, path: &str, more: Lines<'_>) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block("GET", path, more))
}

fn update(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, more.to_be_bytes())
}

/// What has come on a stream.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Got {
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    is_end: bool,
}

impl Got {
    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

/// A client that sees every frame.
struct Caller {
    socket: TcpStream,
    decoder: Decoder,
    block: Vec<u8>,
    streams: BTreeMap<u32, Got>,
    /// Last stream and error.
    goaway: Option<(u32, u32)>,
    /// The first byte of the first block.
    first: Option<u8>,
}

impl Caller {
    async fn to(edge: &Edge, settings: &[(u16, u32)]) -> Self {
        let mut socket = TcpStream::connect(edge.address).await.expect("the edge listens");
        let opening = [PREFACE.as_bytes(), &settings_frame(settings)].concat();
        socket.write_all(&opening).await.expect("sent");
        let mut caller = Self {
            socket,
            decoder: Decoder::new(),
            block: Vec::new(),
            streams: BTreeMap::new(),
            goaway: None,
            first: None,
        };
        // What comes before the edge's own settings has to go the long way.
        while caller.read().await != Some(SETTINGS) {}
        caller
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.expect("sent");
    }

    /// Reads a frame; its kind. `None`: the connection has ended.
    async fn read(&mut self) -> Option<u8> {
        let mut header = [0; 9];
        let read = async {
            self.socket.read_exact(&mut header).await.ok()?;
            let header = Header::read(&header).expect("nine bytes");
            let mut payload = vec![0; header.length];
            self.socket.read_exact(&mut payload).await.ok()?;
            Some((header, payload))
        };
        let (header, payload) = tokio::time::timeout(PATIENCE, read).await.expect("the edge says something")?;
        let got = self.streams.entry(header.stream).or_default();
        match header.kind {
            HEADERS | CONTINUATION => {
                self.block.extend_from_slice(&payload);
                got.is_end |= header.kind == HEADERS && header.has(END_STREAM);
                if header.has(END_HEADERS) {
                    self.first = self.first.or(self.block.first().copied());
                    let mut fields = FieldList::default();
                    self.decoder.decode(&self.block, &mut fields, MANY).expect("a block");
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    got.fields.extend(fields.iter().map(|field| (text(field.name), text(field.value))));
                    self.block.clear();
                }
            }
            DATA => {
                assert!(self.block.is_empty(), "in the middle of a block");
                got.body.extend_from_slice(&payload);
                got.is_end |= header.has(END_STREAM);
            }
            GOAWAY => {
                let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
                self.goaway = Some((number(0), number(4)));
            }
            RESET => got.is_end = true,
            SETTINGS if !header.has(ACK) => self.send(frame(SETTINGS, ACK, 0, "")).await,
            // The ping that comes before the last GOAWAY.
            0x6 if !header.has(ACK) => self.send(frame(0x6, ACK, 0, payload)).await,
            _ => {}
        }
        Some(header.kind)
    }

    /// Reads until the answer on a stream is whole.
    async fn answer(&mut self, stream: u32) -> Got {
        while !self.streams.get(&stream).is_some_and(|got| got.is_end) {
            assert!(self.read().await.is_some(), "the connection ended: {:?}", self.goaway);
        }
        self.streams[&stream].clone()
    }

    /// Reads to the end of the connection; the last GOAWAY.
    async fn end(mut self) -> (u32, u32) {
        while self.read().await.is_some() {}
        self.goaway.expect("it says why")
    }
}

#[tokio::test]
async fn only_plain_requests_are_answered_at_once() {
    let edge = Edge::start(settings(), echo);
    let mut caller = Caller::to(&edge, &[]).await;
    // All of the window is the library's until the client takes more.
    caller.send(update(0, 1 << 20)).await;
    let many = [("x", "y"); 40];
    let cases: [(&str, &str, Lines<'_>, bool, &str); 19] = [
        ("GET", "/at-once/3", &[], true, "nothing but a host"),
        ("GET", "/at-once/3", &[("user-agent", "x"), ("accept-encoding", "gzip, br"), ("cookie", "a=b")], true, "more"),
        ("GET", "/at-once/3", &[("cookie", "a=b"), ("cookie", "c=d")], true, "cookies in pieces"),
        ("GET", "/at-once/3", &[("x-forwarded-for", "6.6.6.6")], true, "nobody is believed"),
        ("GET", "/at-once/3", &[("if-none-match", "\"x\"")], true, "whether it has changed"),
        ("GET", "/at-once/3", &[("range", "bytes=0-0")], true, "a part"),
        ("GET", "/at-once/3", &[("te", "trailers")], false, "trailers"),
        ("GET", "/at-once/3", &[("authorization", "x")], false, "a secret"),
        ("GET", "/at-once/3", &[("expect", "100-continue")], false, "an expectation"),
        ("GET", "/at-once/3", &[("content-length", "0")], false, "a word about a body"),
        ("GET", "/at-once/3", &[("host", "shop.example")], false, "the host once more"),
        ("GET", "/at-once/3", &many, false, "more fields than anybody sends"),
        ("GET", "/at-once/.3", &[], false, "a dot at the beginning of a segment"),
        ("GET", "/at-once/65536", &[], false, "a larger body than a stream takes if nobody says otherwise"),
        ("GET", "/at-once/65535", &[], true, "one that just fits"),
        ("GET", "/at-once/0", &[], true, "nothing"),
        ("GET", "/other", &[], false, "what the handler does not have"),
        ("HEAD", "/at-once/3", &[], false, "another method"),
        ("POST", "/at-once/3", &[], false, "another one"),
    ];
    for (number, (method, path, more, want, why)) in (0..).zip(cases) {
        let stream = 2 * number + 1;
        caller.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block(method, path, more))).await;
        let got = caller.answer(stream).await;
        let word = format!("shop.example{path} 127.0.0.1");
        assert_eq!(got.field(":status"), "200", "{why}: {got:?}");
        assert_eq!(got.field("at-once") == word, want, "{why}: {:?}", got.fields);
        if want {
            let length: usize = path["/at-once/".len()..].parse().expect("a number");
            assert_eq!((got.body.len(), got.field("content-length")), (length, &*length.to_string()), "{why}");
        }
    }
    drop(caller);
    edge.stopped().await;
}

#[tokio::test]
async fn every_form_of_a_request_is_read_and_the_librarys_come_to_it_whole() {
    let edge = Edge::start(settings(), echo);
    let plain = block("GET", "/at-once/7", &[]);
    let long = block("GET", "/long", &[("te", "trailers"), ("x-long", &"z".repeat(20_000))]);
    let indexed = {
        // With names and values that the encoder remembers: RFC 7541 §6.2.1.
        let mut block = vec![0x82, 0x86, 0x84, 0x41, 12];
        block.extend_from_slice(b"Shop.Example");
        block
    };
    let again = [0x82, 0x86, 0x84, 0xbe];
    let post = [
        frame(HEADERS, END_HEADERS, 9, block("POST", "/post", &[])),
        frame(DATA, PADDED, 9, b"\x02hi.."),
        frame(DATA, 0, 9, b"!"),
    ];
    let flags = END_HEADERS | END_STREAM;
    let frames = [
        frame(HEADERS, flags | PADDED, 1, [&[3], &plain[..], b"..."].concat()),
        frame(HEADERS, flags | WITH_PRIORITY, 3, [&[0, 0, 0, 0, 9], &plain[..]].concat()),
        frame(HEADERS, END_STREAM, 5, &plain[..1]),
        frame(CONTINUATION, 0, 5, &plain[1..9]),
        frame(CONTINUATION, END_HEADERS, 5, &plain[9..]),
        frame(HEADERS, END_STREAM, 7, &long[..16_384]),
        frame(CONTINUATION, END_HEADERS, 7, &long[16_384..]),
        post.concat(),
        frame(HEADERS, flags, 11, &indexed),
        frame(HEADERS, flags, 13, again),
        frame(HEADERS, flags, 15, block("GET", "/at-once/1", &[])),
        // The end of the body, with a field after it.
        frame(HEADERS, flags, 9, [0x40, 1, b'x', 1, b'y']),
        frame(HEADERS, flags, 17, [&again[..3], &[0xbf]].concat()),
        frame(0xbe, 0, 0, "nobody knows this"),
        get(19, "/at-once/2", &[]),
    ]
    .concat();
    for piece in [1, 5, 9, 1000, frames.len()] {
        let mut caller = Caller::to(&edge, &[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
        caller.send(update(0, 1 << 20)).await;
        for piece in frames.chunks(piece) {
            caller.send(piece).await;
            tokio::task::yield_now().await;
        }
        for (stream, length) in [(1, 7), (3, 7), (5, 7), (15, 1), (19, 2)] {
            let got = caller.answer(stream).await;
            let want = format!("shop.example/at-once/{length} 127.0.0.1");
            assert_eq!((got.field("at-once"), got.body.len()), (&*want, length), "{stream}, in pieces of {piece}");
        }
        let text = async |caller: &mut Caller, stream| String::from_utf8(caller.answer(stream).await.body);
        let long = text(&mut caller, 7).await.expect("text");
        assert!(long.starts_with("GET http://shop.example/long ") && long.contains(&"z".repeat(20_000)), "{piece}");
        let post = text(&mut caller, 9).await.expect("text");
        assert!(post.starts_with("POST http://shop.example/post ") && post.ends_with("] 3 bytes"), "{piece}: {post}");
        for stream in [11, 13, 17] {
            let got = text(&mut caller, stream).await.expect("text");
            assert!(got.starts_with("GET http://shop.example/ "), "{stream}, in pieces of {piece}: {got}");
        }
    }
    edge.stopped().await;
}

#[tokio::test]
async fn windows_are_kept_whoever_answers() {
    let edge = Edge::start(settings(), echo);
    let mut caller = Caller::to(&edge, &[(INITIAL_WINDOW_SIZE, 100)]).await;
    caller.send([update(0, 1 << 20), get(1, "/at-once/100", &[]), get(3, "/at-once/101", &[])].concat()).await;
    assert_eq!(caller.answer(1).await.field("at-once"), "shop.example/at-once/100 127.0.0.1");
    assert_eq!(caller.answer(3).await.field("at-once"), "", "one byte more than a stream takes");
    // Before our word that we know it, the client need not know that it takes more.
    caller.send([settings_frame(&[(INITIAL_WINDOW_SIZE, 1000)]), get(5, "/at-once/101", &[])].concat()).await;
    assert_eq!(caller.answer(5).await.field("at-once"), "");
    caller.send([settings_frame(&[(INITIAL_WINDOW_SIZE, 10)]), get(7, "/at-once/11", &[])].concat()).await;
    caller.send(update(7, 1000)).await;
    assert_eq!(caller.answer(7).await.field("at-once"), "");
    drop(caller);
    edge.stopped().await;

    // The connection's: so many bytes and no more, in whatever parts, and all of them in the end.
    let edge = Edge::start(settings(), async |_, _| ok(vec![b'l'; 5000]));
    let mut caller = Caller::to(&edge, &[(INITIAL_WINDOW_SIZE, 1 << 30)]).await;
    let asked = (0..60_u32).map(|number| {
        let path = if number % 3 == 0 { "/other" } else { "/at-once/5000" };
        get(2 * number + 1, path, &[])
    });
    caller.send(asked.collect::<Vec<_>>().concat()).await;
    let mut window = 65_535;
    for more in [50_000, 1, 65_535, 20_000, 300_000] {
        let got = |caller: &Caller| caller.streams.values().map(|got| got.body.len()).sum::<usize>();
        while got(&caller) < window.min(60 * 5000) {
            assert!(caller.read().await.is_some(), "{:?}", caller.goaway);
        }
        while tokio::time::timeout(Duration::from_millis(50), caller.socket.peek(&mut [0])).await.is_ok() {
            assert!(caller.read().await.is_some(), "{:?}", caller.goaway);
        }
        assert!(got(&caller) <= window, "{} of {window}", got(&caller));
        window += more as usize;
        caller.send(update(0, more)).await;
    }
    for number in 0..60 {
        let got = caller.answer(2 * number + 1).await;
        let from = if got.field("at-once").is_empty() { b'l' } else { b'x' };
        assert_eq!(got.body, [from; 5000], "{number}");
    }
    caller.send(get(121, "/at-once/5000", &[])).await;
    let at_once = caller.answer(121).await;
    assert_eq!(at_once.field("at-once"), "shop.example/at-once/5000 127.0.0.1", "a share is kept for these");
    drop(caller);
    edge.stopped().await;
}

#[tokio::test]
async fn a_long_answer_goes_on_as_soon_as_the_client_takes_more() {
    let edge = Edge::start(settings(), async |_, _| ok(vec![b'l'; 300_000]));
    let mut caller = Caller::to(&edge, &[(INITIAL_WINDOW_SIZE, 1 << 30)]).await;
    caller.send(get(1, "/long", &[])).await;
    let mut got = 0;
    while got < 300_000 {
        assert!(caller.read().await.is_some(), "after {got} bytes");
        let now = caller.streams.get(&1).map_or(0, |got| got.body.len());
        // Not before it is nearly used up: all of a window is there to be used.
        if now / 60_000 > got / 60_000 {
            caller.send(update(0, 60_000)).await;
        }
        got = now;
    }
    drop(caller);
    edge.stopped().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_none_loses_a_part() {
    let edge = Edge::start(settings(), echo);
    let mut caller = Caller::to(&edge, &[]).await;
    caller.send(update(0, 1 << 20)).await;
    for (stream, length) in [(1, 66_000), (3, 82_000), (5, 110_000)] {
        let block = block("GET", "/at-once/1", &[("cookie", &"c".repeat(length)), ("x", "y")]);
        let (first, rest) = block.split_at(16_384);
        caller.send(frame(HEADERS, END_STREAM, stream, first)).await;
        let pieces: Vec<&[u8]> = rest.chunks(16_384).collect();
        for (at, piece) in pieces.iter().enumerate() {
            let flags = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
            caller.send(frame(CONTINUATION, flags, stream, piece)).await;
        }
        assert_eq!(caller.answer(stream).await.field(":status"), "431", "{length}");
    }
    // The limit of a connection is the one that it began with.
    edge.settings.store(Arc::new(Server { max_header_bytes: 1024, ..settings() }));
    let long = "z".repeat(3000);
    caller.send(get(7, "/at-once/1", &[("x-long", &long), ("authorization", "secret")])).await;
    let got = String::from_utf8(caller.answer(7).await.body).expect("text");
    assert!(got.contains(&long) && got.contains("authorization=\"secret\""), "{got}");
    drop(caller);
    edge.stopped().await;
}

const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const COMPRESSION_ERROR: u32 = 9;
const CALM: u32 = 11;

#[tokio::test]
async fn streams_that_were_answered_at_once_are_closed() {
    let edge = Edge::start(settings(), echo);
    let mut caller = Caller::to(&edge, &[]).await;
    caller.send([update(0, 1 << 20), get(1, "/at-once/1", &[]), get(9, "/at-once/1", &[])].concat()).await;
    caller.answer(9).await;
    // What was under way when the client learnt of the end does no harm.
    let late = [
        update(9, 100),
        update(1, 100),
        frame(RESET, 0, 9, [0, 0, 0, 8]),
        frame(PRIORITY, 0, 9, [0, 0, 0, 3, 1]),
        get(11, "/library", &[]),
        update(9, 100),
        get(13, "/at-once/1", &[]),
    ];
    caller.send(late.concat()).await;
    assert_eq!(caller.answer(13).await.field("at-once"), "shop.example/at-once/1 127.0.0.1");
    assert!(caller.answer(11).await.body.starts_with(b"GET http://shop.example/library "));
    drop(caller);
    let whole = |stream| get(stream, "/at-once/1", &[]);
    let cases: [(Vec<u8>, u32, &str); 14] = [
        (whole(9), PROTOCOL_ERROR, "the same stream again"),
        (whole(7), PROTOCOL_ERROR, "one before it"),
        (get(7, "/library", &[]), PROTOCOL_ERROR, "one before it, for the library"),
        (whole(10), PROTOCOL_ERROR, "one of ours"),
        (whole(0), PROTOCOL_ERROR, "none"),
        (frame(DATA, 0, 9, "x"), PROTOCOL_ERROR, "data on it"),
        (update(11, 1), PROTOCOL_ERROR, "one that has not begun"),
        (update(0, 0), PROTOCOL_ERROR, "a window that does not grow"),
        (update(0, i32::MAX as u32), FLOW_CONTROL_ERROR, "a window beyond its bound"),
        (frame(HEADERS, END_HEADERS | END_STREAM, 11, [0xff, 0x80, 1]), COMPRESSION_ERROR, "an index out of range"),
        ([frame(HEADERS, 0, 11, ""), whole(13)].concat(), PROTOCOL_ERROR, "a block within another"),
        (frame(CONTINUATION, END_HEADERS, 11, ""), PROTOCOL_ERROR, "the end of no block"),
        (frame(HEADERS, END_HEADERS | PADDED, 11, [9]), PROTOCOL_ERROR, "more padding than there is"),
        (
            [frame(HEADERS, 0, 11, ""), frame(CONTINUATION, 0, 11, vec![0; 16_384]).repeat(9)].concat(),
            CALM,
            "a block without end",
        ),
    ];
    for (bytes, error, why) in cases {
        let mut caller = Caller::to(&edge, &[]).await;
        caller.send([update(0, 1 << 20), whole(1), whole(9)].concat()).await;
        caller.answer(9).await;
        caller.send(bytes).await;
        assert_eq!(caller.end().await, (9, error), "{why}");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn the_last_stream_that_is_named_at_the_end_may_be_one_of_these() {
    let edge = Edge::start(settings(), echo);
    let mut caller = Caller::to(&edge, &[]).await;
    caller.send([update(0, 1 << 20), get(1, "/library", &[]), get(3, "/at-once/1", &[])].concat()).await;
    caller.answer(1).await;
    caller.answer(3).await;
    edge.stop.cancel();
    assert_eq!(caller.end().await, (3, 0));
    edge.stopped().await;
}

#[tokio::test]
async fn a_client_may_refuse_to_have_a_table() {
    let edge = Edge::start(settings(), echo);
    for first in ["/at-once/1", "/library"] {
        let mut caller = Caller::to(&edge, &[(HEADER_TABLE_SIZE, 0)]).await;
        caller.send([update(0, 1 << 20), get(1, first, &[])].concat()).await;
        caller.answer(1).await;
        assert_eq!(caller.first, Some(0x20), "{first}: RFC 7541 §4.2 asks for this word before anything else");
        caller.send([get(3, "/library", &[]), get(5, "/at-once/1", &[])].concat()).await;
        assert_eq!(caller.answer(3).await.field(":status"), "200");
        assert_eq!(caller.answer(5).await.field(":status"), "200");
    }
    edge.stopped().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_it_all_and_one_that_does_not_read_is_cut() {
    let edge = Edge::start(Server { idle_timeout: Duration::from_millis(500), ..settings() }, echo);
    let asked = |count: u32| (0..count).map(|number| get(2 * number + 1, "/at-once/60000", &[])).collect::<Vec<_>>();
    let settings = [(INITIAL_WINDOW_SIZE, 1 << 20)];
    let mut slow = Caller::to(&edge, &settings).await;
    slow.send([update(0, 1 << 30), asked(100).concat()].concat()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    for number in 0..100 {
        assert_eq!(slow.answer(2 * number + 1).await.body.len(), 60_000);
    }
    drop(slow);
    let mut deaf = Caller::to(&edge, &settings).await;
    let flood = async {
        deaf.send(update(0, 1 << 30)).await;
        let sent = deaf.socket.write_all(&asked(10_000).concat()).await;
        drop(sent);
        while edge.telemetry.metrics().connection_timeouts.get() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("it is cut");
    edge.stopped().await;
}

#[tokio::test]
async fn a_fault_of_the_handlers_is_counted_and_the_request_goes_the_long_way() {
    let edge = Edge::start(settings(), echo);
    let mut caller = Caller::to(&edge, &[]).await;
    caller.send([update(0, 1 << 20), get(1, "/panics", &[]), get(3, "/at-once/1", &[])].concat()).await;
    assert!(caller.answer(1).await.body.starts_with(b"GET http://shop.example/panics "));
    assert_eq!(caller.answer(3).await.body, b"x");
    drop(caller);
    assert_eq!(edge.telemetry.metrics().panics.get(), 1);
    edge.stopped().await;
}
