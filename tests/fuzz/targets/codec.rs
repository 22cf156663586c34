//! Is what Redis holds read as what was written, or not at all? Input: the payload of a record; we put a version and a
//! checksum in front, as somebody would who knows the layout.
#![no_main]

use std::sync::LazyLock;

use http::HeaderMap;
use larder::cache::codec;
use larder::policy::key::Key;
use larder::policy::treatment::KeyRules;
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const MAX_BODY: u64 = 1024 * 1024;

static KEY: LazyLock<Key> =
    LazyLock::new(|| Key::of("http", "a.test", "/", &HeaderMap::new(), &KeyRules::default()));

fn sealed(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&[1][..], &xxh3_64_with_seed(payload, kind).to_le_bytes(), payload].concat()
}

fuzz_target!(|payload: &[u8]| {
    let _ = codec::decode(&KEY, payload, MAX_BODY);
    if let Ok(decoded) = codec::decode(&KEY, &sealed(1, payload), MAX_BODY) {
        assert!(decoded.chunks() as u64 <= MAX_BODY);
        if let Ok(entry) = decoded.with_body(Vec::new()) {
            let written = codec::encode(&KEY, &entry).expect("what was read can be written");
            let read = codec::decode(&KEY, &written.head, MAX_BODY).expect("what was written can be read");
            assert_eq!(
                (read.head.headers.to_map(), read.head.status),
                (entry.head.headers.to_map(), entry.head.status)
            );
        }
    }
    if let Ok(names) = codec::decode_names(&KEY, &sealed(2, payload)) {
        let written = codec::encode_names(&KEY, &names).expect("the key is ours");
        assert_eq!(codec::decode_names(&KEY, &written).ok(), Some(names));
    }
});
