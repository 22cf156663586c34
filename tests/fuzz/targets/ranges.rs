//! Is a part within the whole? Input: eight bytes of a length, fields of the request, an empty line, fields of the
//! stored response.
#![no_main]

use http::{HeaderMap, Method, header};
use larder::policy::range::{self, Wanted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((length, text)) = input.split_first_chunk::<8>() else { return };
    let length = u64::from_le_bytes(*length);
    let [request, stored] = fuzz::sections(text).map(fuzz::fields);
    if let Wanted::Parts(parts) = range::wanted(&Method::GET, &request, &stored, length) {
        assert!((1..=32).contains(&parts.len()), "{parts:?}");
        let mut ascending = parts.clone();
        ascending.sort_by_key(|part| part.start);
        assert!(ascending.iter().all(|part| part.start < part.end && part.end <= length), "{parts:?} of {length}");
        assert!(ascending.windows(2).all(|pair| pair[0].end <= pair[1].start), "{parts:?}");
    }
    assert_eq!(range::wanted(&Method::HEAD, &request, &stored, length), Wanted::Whole);
    if let Some(found) = range::content_range(&stored) {
        assert!(found.first <= found.last && found.complete.is_none_or(|complete| found.last < complete));
        assert_eq!(found.length(), found.last - found.first + 1);
        let written = HeaderMap::from_iter([(header::CONTENT_RANGE, found.to_value())]);
        assert_eq!(range::content_range(&written), Some(found));
    }
    if range::may_combine(&stored, &request) {
        assert!(range::may_combine(&request, &stored), "it is of both, or of neither");
    }
});
