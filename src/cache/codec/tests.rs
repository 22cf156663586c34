//! Is what is read what was written, and is nothing else ever read?

use std::iter;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;

use super::envelope::{Kind, MAX_RECORD, forge};
use super::record::MAX_MEMBERS;
use super::*;
use crate::cache::entry::Part;
use crate::cache::fields::{RareFields, StoredFields};
use crate::cache::ledger::{STRIDE, Stamp};
use crate::cache::sample;
use crate::policy::fields::FieldLines;
use crate::policy::freshness::{Freshness, GREATEST};
use crate::policy::key::Key;
use crate::policy::scope::{Labels, Tags};
use crate::policy::time::{Span, Timestamp};
use crate::policy::treatment::KeyRules;

const MAX_BODY: u64 = 4 * 1024 * 1024;

fn key(target: &str) -> Key {
    Key::of("http", "a.test", target, &HeaderMap::new(), &KeyRules::default())
}

fn entry(body: &[u8]) -> Entry {
    let mut entry =
        sample::entry(sample::labels("/", &["t"]), Stamp { era: 7, number: 9 * STRIDE }, Bytes::copy_from_slice(body));
    entry.head.headers.change(|headers| _ = headers.insert("etag", HeaderValue::from_static("\"1\"")));
    entry
}

/// A field of so many lines.
fn field(name: &'static str, value: &[u8], lines: usize) -> FieldLines {
    let line = (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    FieldLines::from(&iter::repeat_n(line, lines).collect::<HeaderMap>())
}

fn read(key: &Key, written: &Encoded) -> Result<Entry, Flaw> {
    decode(key, &written.head, MAX_BODY)?.with_body(written.chunks.clone())
}

fn assert_same(one: &Entry, other: &Entry) {
    let facts = |entry: &Entry| {
        let head = entry.head.clone();
        let body = entry.body.pieces().concat();
        let labels = (head.freshness, head.received_at, head.fetch_cost, head.labels, head.stamp);
        (head.status, head.headers.to_map(), head.hidden, head.selecting, labels, body)
    };
    assert_eq!(facts(one), facts(other));
}

/// What it would weigh if no other had anything in common with it.
fn unshared_weight(entry: &Entry) -> u64 {
    let headers = &entry.head.headers;
    entry.weight() + (headers.length() - headers.own_length()) as u64
}

/// A head record as its fields stand in it; those that a case wants otherwise are changed.
#[derive(Clone, Serialize)]
struct Forged {
    key: Vec<u8>,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    hidden: Vec<(String, Vec<u8>)>,
    selecting: Vec<(String, Option<Vec<u8>>)>,
    times: (u64, u64, u64, u64, u64, u64, bool, bool),
    groups: Vec<Vec<u8>>,
    tags: Vec<Vec<u8>>,
    stamp: (u64, u64),
    length: u64,
    digest: Digest,
    checksums: Vec<u64>,
}

impl Forged {
    fn new() -> Self {
        Self {
            key: key("/").as_bytes().to_vec(),
            status: 200,
            headers: vec![("etag".into(), b"\"1\"".to_vec())],
            hidden: vec![],
            selecting: vec![],
            times: (1, 2, 3, 4, 5, 6, false, true),
            groups: vec![],
            tags: vec![b"t".to_vec()],
            stamp: (7, 9),
            length: 0,
            digest: Outline::of(&[]).digest(),
            checksums: vec![],
        }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut forged = Self::new();
        change(&mut forged);
        forge::record(Kind::Head, &forged)
    }
}

fn line(name: &str, value: &[u8]) -> (String, Vec<u8>) {
    (name.to_owned(), value.to_vec())
}

#[test]
fn what_nobody_would_have_written_is_refused() {
    type Change = fn(&mut Forged);
    let cases: Vec<(Change, Flaw, &str)> = vec![
        (|it| it.key = b"larder1".to_vec(), Flaw::ForeignKey, "a key of no parts"),
        (|it| it.key = key("/x").as_bytes().to_vec(), Flaw::ForeignKey, "another key"),
        (|it| it.key.clear(), Flaw::ForeignKey, "no key"),
        (|it| it.status = 0, Flaw::Status(0), "no status"),
        (|it| it.status = 101, Flaw::Status(101), "an interim status answers nobody"),
        (|it| it.status = 1000, Flaw::Status(1000), "four digits"),
        (|it| it.headers = vec![line("a b", b"")], Flaw::FieldName, "a space in a name"),
        (|it| it.headers = vec![line("Etag", b"")], Flaw::FieldName, "names are written in lower case"),
        (|it| it.headers = vec![line("", b"")], Flaw::FieldName, "no name"),
        (|it| it.headers = vec![line("x\r\ny", b"")], Flaw::FieldName, "a line break in a name"),
        (|it| it.headers = vec![line("transfer-encoding", b"chunked")], Flaw::FieldName, "framing is ours"),
        (|it| it.hidden = vec![line("connection", b"x")], Flaw::FieldName, "a connection's"),
        (|it| it.headers = vec![line("x", b"a\r\nb: c")], Flaw::FieldValue, "a line break in a value"),
        (|it| it.hidden = vec![line("x", b"\0")], Flaw::FieldValue, "a NUL"),
        (|it| it.headers = vec![line("content-length", b"1")], Flaw::Length, "a length that is not the body's"),
        (|it| it.headers = vec![line("content-length", b"+0")], Flaw::Length, "a sign"),
        (|it| it.headers = vec![line("content-length", b"0"); 2], Flaw::Length, "two lengths"),
        (|it| it.selecting = vec![("*".into(), None)], Flaw::Selecting, "a star selects nothing"),
        (|it| it.selecting = vec![("x".into(), None); 2], Flaw::Selecting, "one name twice"),
        (|it| it.selecting = vec![("cookie".into(), None)], Flaw::Selecting, "a secret"),
        (|it| it.selecting = (0..33).map(|i| (format!("x-{i}"), None)).collect(), Flaw::Selecting, "too many names"),
        (|it| it.selecting = vec![("a b".into(), None)], Flaw::FieldName, "what is no name"),
        (|it| it.times.0 = u64::MAX, Flaw::Time, "received at the end of time"),
        (|it| it.times.1 = u64::MAX, Flaw::Time, "a fetch of 584 years"),
        (|it| it.times.2 = Timestamp::LATEST_DATE.as_millis() + 1, Flaw::Time, "born in the year 10000"),
        (|it| it.times.3 = u64::MAX, Flaw::Time, "a lifetime beyond the greatest"),
        (|it| it.times.4 = u64::MAX, Flaw::Time, "a window beyond the greatest"),
        (|it| it.times.5 = u64::MAX, Flaw::Time, "the other window"),
        (|it| it.length = MAX_BODY + 1, Flaw::TooLarge { length: MAX_BODY + 1, limit: MAX_BODY }, "too large"),
        (|it| it.length = u64::MAX, Flaw::TooLarge { length: u64::MAX, limit: MAX_BODY }, "absurdly large"),
        (|it| it.length = 1, Flaw::Length, "a body without chunks"),
        (|it| it.checksums = vec![1], Flaw::Length, "a chunk of nothing"),
        (|it| it.length = CHUNK as u64 + 1, Flaw::Length, "too few chunks"),
        (|it| it.tags = vec![vec![]; MAX_MEMBERS + 1], Flaw::TooManyMembers, "too many tags"),
        (|it| it.headers = vec![line("x", b""); MAX_MEMBERS + 1], Flaw::TooManyMembers, "too many lines"),
        (|it| it.tags = vec![vec![0; MAX_RECORD]], Flaw::TooLong(0), "longer than any record"),
    ];
    for (change, want, why) in cases {
        let got = decode(&key("/"), &Forged::with(change), MAX_BODY).expect_err(why);
        assert_eq!(got.label(), want.label(), "{why}: {got}");
        if !matches!(want, Flaw::TooLong(_)) {
            assert_eq!(got, want, "{why}");
        }
    }
    assert!(decode(&key("/"), &Forged::with(|_| ()), MAX_BODY).is_ok(), "unchanged it is read");
    let most: fn(&mut Forged) = |it| it.headers = vec![line("x", b""); MAX_MEMBERS];
    assert!(decode(&key("/"), &Forged::with(most), MAX_BODY).is_ok(), "as many lines as there may be");
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    let written = encode(&key("/"), &entry(b"body")).unwrap().head;
    let payload = &written[9..];
    let head = |payload: &[u8]| forge::sealed(Kind::Head, payload);
    let changed = |at: usize, to: u8| {
        let mut bytes = written.clone();
        bytes[at] = to;
        bytes
    };
    let cases: [(Vec<u8>, Flaw, &str); 13] = [
        (vec![], Flaw::Truncated, "nothing"),
        (vec![1], Flaw::Truncated, "a version alone"),
        (vec![1; 8], Flaw::Truncated, "half a checksum"),
        (changed(0, 0), Flaw::UnknownVersion(0), "an unknown version"),
        (changed(0, 2), Flaw::UnknownVersion(2), "a later version"),
        (changed(1, written[1] ^ 1), Flaw::WrongChecksum, "another checksum"),
        (changed(20, written[20] ^ 1), Flaw::WrongChecksum, "another payload"),
        (written[..written.len() - 1].to_vec(), Flaw::WrongChecksum, "cut off"),
        (forge::sealed(Kind::Names, payload), Flaw::WrongChecksum, "a record of another kind"),
        (head(&payload[..payload.len() - 1]), Flaw::Truncated, "cut off before it was written"),
        (head(&[payload, b"x"].concat()), Flaw::Malformed, "something behind it"),
        (head(&[0xff; 16]), Flaw::Malformed, "a length that does not end"),
        (head(&[&[0xff, 0xff, 0xff, 0xff, 0x0f], payload].concat()), Flaw::Truncated, "a length of 4 GiB"),
    ];
    for (bytes, want, why) in cases {
        assert_eq!(decode(&key("/"), &bytes, MAX_BODY).expect_err(why), want, "{why}");
    }
    // A key of no bytes, a status, and a list that claims 2^32 members: it is read until its bytes end.
    let list = [0, 200, 1, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(decode(&key("/"), &head(&list), MAX_BODY).unwrap_err(), Flaw::Truncated);
    let not_text = [0, 200, 1, 1, 1, 0xff, 0];
    assert_eq!(decode(&key("/"), &head(&not_text), MAX_BODY).unwrap_err(), Flaw::Malformed, "a name that is no text");
}

#[test]
fn only_the_chunks_that_were_written_are_the_body() {
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(CHUNK * 2 + 10).collect();
    let written = encode(&key("/"), &entry(&body)).unwrap();
    let [a, b, c] = <[Bytes; 3]>::try_from(written.chunks.clone()).unwrap();
    let other = Bytes::from(vec![1; CHUNK]);
    let cases = [
        (vec![a.clone(), b.clone(), c.clone()], None, "all of them"),
        (vec![], Some(Flaw::Chunk(0)), "none"),
        (vec![a.clone(), b.clone()], Some(Flaw::Chunk(2)), "the last is missing"),
        (vec![a.clone(), other.clone(), c.clone()], Some(Flaw::Chunk(1)), "another one"),
        (vec![a.clone(), b.clone(), c.slice(1..)], Some(Flaw::Chunk(2)), "the last is shorter"),
        (vec![a.clone(), b.clone(), c.clone(), Bytes::new()], Some(Flaw::Chunk(3)), "one too many"),
    ];
    for (chunks, want, why) in cases {
        let got = decode(&key("/"), &written.head, MAX_BODY).unwrap().with_body(chunks);
        assert_eq!(got.err(), want, "{why}");
    }
    let mixed = Outline::of(&[a.clone(), other.clone(), c.clone()]);
    let digest = Outline::of(&[a.clone(), b, c.clone()]).digest();
    let claimed = Outline::claimed(mixed.length(), digest, mixed.checksums().to_vec(), MAX_BODY).unwrap();
    assert_eq!(claimed.check(&[a, other, c]), Err(Flaw::WrongDigest), "right chunks of another body");
}

#[test]
fn bodies_are_cut_at_256_kib_wherever_their_pieces_end() {
    let cases = [
        (0, 0, "nothing has no chunk"),
        (1, 1, "a byte"),
        (CHUNK, 1, "exactly one chunk"),
        (CHUNK + 1, 2, "a byte more"),
        (CHUNK * 4, 4, "1 MiB"),
    ];
    for (length, chunks, why) in cases {
        let bytes = Bytes::from((0..=250).cycle().take(length).collect::<Vec<u8>>());
        let mut single = entry(b"");
        single.body = StoredBody::from_bytes(bytes.clone());
        let mut pieces = entry(b"");
        pieces.body = StoredBody::from_pieces(bytes.chunks(16 * 1024 + 1).map(Bytes::copy_from_slice).collect());
        let [single, pieces] = [single, pieces].map(|entry| {
            let written = encode(&key("/"), &entry).unwrap();
            assert_same(&read(&key("/"), &written).unwrap(), &entry);
            written
        });
        assert_eq!(single.chunks.len(), chunks, "{why}");
        assert_eq!((single.head, single.digest), (pieces.head, pieces.digest), "{why}: pieces make no difference");
        if let Some(first) = single.chunks.first() {
            assert_eq!(first.as_ptr(), bytes.as_ptr(), "{why}: what lies in one piece is not copied");
        }
    }
}

#[test]
fn what_is_not_for_other_nodes_is_not_written() {
    type Change<'a> = &'a dyn Fn(&mut Entry);
    let by = |name: &'static str| {
        let request = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("hush"))]);
        Selecting::by([HeaderName::from_static(name)], &request)
    };
    let cases: [(Change<'_>, Unfit, &str); 10] = [
        (&|it| it.part = Some(Box::new(Part { first: 0, complete: None })), Unfit::Part, "a part"),
        (&|it| it.head.selecting = by("cookie"), Unfit::Secret, "selected by a cookie"),
        (&|it| it.head.selecting = by("authorization"), Unfit::Secret, "selected by credentials"),
        (&|it| it.head.selecting = by("proxy-authorization"), Unfit::Secret, "by those for a proxy"),
        (&|it| it.head.labels = sample::labels("/x", &[]), Unfit::Key, "labelled with another URL"),
        (&|it| it.head.status = StatusCode::EARLY_HINTS, Unfit::Status, "an interim response"),
        (&|it| it.head.headers = field("te", b"x", 1).into(), Unfit::Fields, "a connection's"),
        (&|it| it.head.headers = field("content-length", b"9", 1).into(), Unfit::Fields, "not the body's length"),
        (&|it| it.head.headers = field("content-length", b"4", 2).into(), Unfit::Fields, "the body's length twice"),
        (&|it| it.head.hidden = field("x", b"", MAX_MEMBERS + 1).into(), Unfit::TooManyMembers, "too many lines"),
    ];
    for (change, want, why) in cases {
        let mut entry = entry(b"body");
        change(&mut entry);
        assert_eq!(encode(&key("/"), &entry).expect_err(why), want, "{why}");
    }
    let mut large = entry(b"body");
    large.head.hidden = field("x", &vec![b'x'; MAX_RECORD], 1).into();
    assert_eq!(encode(&key("/"), &large).unwrap_err(), Unfit::TooLong);
    assert_eq!(encode(&Key::from_bytes(b"x"), &entry(b"")).unwrap_err(), Unfit::Key, "no key of ours");
}

#[test]
fn a_key_with_secrets_stands_in_no_record() {
    let request = HeaderMap::from_iter([(http::header::COOKIE, HeaderValue::from_static("session=hush-hush"))]);
    let rules = KeyRules { cookies: vec!["session".to_owned()], ..KeyRules::default() };
    let key = Key::of("http", "a.test", "/", &request, &rules);
    let other = Key::of("http", "a.test", "/", &HeaderMap::new(), &rules);
    let written = encode(&key, &entry(b"body")).unwrap();
    let names = encode_names(&key, [&http::header::ACCEPT]).unwrap();
    for record in [&written.head, &names] {
        assert_eq!(memchr::memmem::find(record, b"hush-hush"), None);
    }
    assert_same(&read(&key, &written).unwrap(), &entry(b"body"));
    assert_eq!(decode(&other, &written.head, MAX_BODY).unwrap_err(), Flaw::ForeignKey);
    assert_eq!(decode_names(&other, &names).unwrap_err(), Flaw::ForeignKey);
}

#[test]
fn the_names_of_selecting_fields_are_read_as_they_were_written() {
    let names = [http::header::ACCEPT, http::header::ACCEPT_LANGUAGE];
    let written = encode_names(&key("/"), &names).unwrap();
    assert_eq!(decode_names(&key("/"), &written).unwrap(), names);
    let record = |names: &[&str]| forge::record(Kind::Names, &(key("/").as_bytes(), names));
    let cases = [
        (encode(&key("/"), &entry(b"")).unwrap().head, Flaw::WrongChecksum, "a head"),
        (encode_names(&key("/x"), &names).unwrap(), Flaw::ForeignKey, "another key's"),
        (record(&[]), Flaw::Selecting, "none: then nothing is selected"),
        (record(&["x", "x"]), Flaw::Selecting, "one twice"),
        (record(&["*"]), Flaw::Selecting, "a star"),
        (record(&["a b"]), Flaw::FieldName, "no name"),
        (record(&vec!["x"; MAX_MEMBERS + 1]), Flaw::TooManyMembers, "too many"),
    ];
    for (bytes, want, why) in cases {
        assert_eq!(decode_names(&key("/"), &bytes).expect_err(why), want, "{why}");
    }
}

#[test]
fn other_nodes_are_not_told_of_purges_that_one_alone_knows() {
    let mut entry = entry(b"");
    entry.head.stamp.number += 3;
    let again = read(&key("/"), &encode(&key("/"), &entry).unwrap()).unwrap();
    assert_eq!(again.head.stamp, Stamp { era: 7, number: 9 * STRIDE });
    let claimed = Forged::with(|it| it.stamp = (7, u64::MAX));
    let read = decode(&key("/"), &claimed, MAX_BODY).unwrap();
    assert_eq!(read.head.stamp.number, u64::MAX / STRIDE * STRIDE, "nor believed to know of our own");
}

#[test]
fn times_beyond_the_greatest_are_written_as_the_greatest() {
    let mut endless = entry(b"");
    endless.head.freshness.lifetime = Duration::MAX.into();
    endless.head.received_at = Timestamp::from_millis(u64::MAX);
    let again = read(&key("/"), &encode(&key("/"), &endless).unwrap()).unwrap();
    assert_eq!((again.head.freshness.lifetime, again.head.received_at), (GREATEST.into(), Timestamp::LATEST_DATE));
}

#[test]
fn every_flaw_has_a_label_of_its_own() {
    let labels: std::collections::HashSet<_> = Flaw::LABELS.into_iter().collect();
    assert_eq!(labels.len(), Flaw::LABELS.len());
}

fn field_lines() -> impl Strategy<Value = HeaderMap> {
    let name = prop::sample::select(vec!["etag", "x-a", "x-b", "cache-tag", "content-type", "set-cookie"]);
    let value = vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..40);
    vec((name, value), 0..12).prop_map(|lines| {
        let line = |(name, value): (&'static str, Vec<u8>)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(&value).unwrap())
        };
        let mut headers = HeaderMap::new();
        lines.into_iter().map(line).for_each(|(name, value)| _ = headers.append(name, value));
        headers
    })
}

fn freshness() -> impl Strategy<Value = Freshness> {
    let duration = || (0..GREATEST.as_secs() * 1000).prop_map(|millis| Span::from(Duration::from_millis(millis)));
    let born = 0..=Timestamp::LATEST_DATE.as_millis();
    (born, [duration(), duration(), duration()], any::<[bool; 2]>()).prop_map(|(born, durations, flags)| Freshness {
        born: Timestamp::from_millis(born),
        lifetime: durations[0],
        stale_while_revalidate: durations[1],
        stale_if_error: durations[2],
        validate_always: flags[0],
        must_revalidate: flags[1],
    })
}

fn entries() -> impl Strategy<Value = (Key, Entry)> {
    let selecting = prop::sample::subsequence(vec!["accept", "accept-language", "x-a"], 0..=3).prop_flat_map(|names| {
        let count = names.len();
        let values = vec(prop::option::of(vec(any::<u8>(), 0..12)), count);
        values.prop_map(move |values| {
            let fields = names.iter().map(|name| HeaderName::from_static(name));
            Selecting::from_parts(fields.zip(values.iter().map(Option::as_deref))).expect("distinct names")
        })
    });
    let names = || vec(vec(any::<u8>(), 0..9), 0..6);
    let head = (200_u16..=999, field_lines(), field_lines(), selecting, freshness());
    let rest = (any::<[u64; 2]>(), names(), names(), "/[!-~]{0,20}", vec(vec(any::<u8>(), 0..300), 0..4));
    (head, rest).prop_map(|((status, headers, hidden, selecting, freshness), rest)| {
        let ([era, number], groups, tags, target, pieces) = rest;
        let tags = Tags::new(groups.iter().map(Vec::as_slice), tags.iter().map(Vec::as_slice));
        let head = Head {
            status: StatusCode::from_u16(status).unwrap(),
            headers: StoredFields::from(&headers),
            hidden: RareFields::from(&hidden),
            selecting,
            freshness,
            received_at: freshness.born,
            fetch_cost: Duration::from(freshness.stale_if_error).into(),
            labels: Labels::new("http", "a.test", &target, tags),
            // As a log of several nodes numbers them.
            stamp: Stamp { era, number }.of_log(),
        };
        let body = StoredBody::from_pieces(pieces.into_iter().map(Bytes::from).collect());
        (key(&target), Entry::new(head, body, None))
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_as_it_was((key, entry) in entries()) {
        let written = encode(&key, &entry).unwrap();
        let again = read(&key, &written).unwrap();
        assert_same(&again, &entry);
        let pieces = (entry.body.pieces().len() - again.body.pieces().len()) as u64 * 32;
        prop_assert_eq!(unshared_weight(&again), unshared_weight(&entry) - pieces);
        prop_assert!(again.part().is_none());
    }

    #[test]
    fn no_flipped_bit_is_ever_read((key, entry) in entries(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut written = encode(&key, &entry).unwrap();
        let body: usize = written.chunks.iter().map(Bytes::len).sum();
        let at = at.index(written.head.len() + body);
        match at.checked_sub(written.head.len()) {
            None => written.head[at] ^= 1_u8 << bit,
            Some(at) => {
                let mut chunk = written.chunks[0].to_vec();
                chunk[at] ^= 1_u8 << bit;
                written.chunks[0] = chunk.into();
            }
        }
        prop_assert!(read(&key, &written).is_err());
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..400), names in any::<bool>()) {
        let kind = if names { Kind::Names } else { Kind::Head };
        let own = key("/").as_bytes().to_vec();
        let keyed = [&[u8::try_from(own.len()).unwrap()], &own[..], &bytes].concat();
        for sealed in [forge::sealed(kind, &bytes), forge::sealed(kind, &keyed), bytes] {
            if let Ok(decoded) = decode(&key("/"), &sealed, MAX_BODY) {
                _ = decoded.with_body(vec![]);
            }
            _ = decode_names(&key("/"), &sealed);
        }
    }

    #[test]
    fn a_record_with_a_changed_byte_and_a_right_checksum_does_no_harm(
        (key, entry) in entries(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let written = encode(&key, &entry).unwrap();
        let mut payload = written.head[9..].to_vec();
        let at = at.index(payload.len());
        payload[at] = byte;
        if let Ok(decoded) = decode(&key, &forge::sealed(Kind::Head, &payload), MAX_BODY)
            && let Ok(read) = decoded.with_body(written.chunks)
        {
            // Whatever it says, it is reckoned with: nothing overflows, and it is written down again.
            let now = Timestamp::from_millis(1);
            _ = (read.head.freshness.ttl(now), read.head.freshness.age(now), read.weight());
            _ = read.head.selecting.values().count();
            prop_assert!(encode(&key, &read).is_ok() || read.head.selecting.parts().len() > 0);
        }
    }
}
