//! Is a date read as what it says? Input: the text of a date.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use larder::policy::time::{Timestamp, format_http_date, format_rfc3339, parse_http_date};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fuzz_target!(|text: &[u8]| {
    if let Some(moment) = parse_http_date(text, NOW) {
        assert!(moment <= Timestamp::LATEST_DATE);
        assert_eq!(parse_http_date(&format_http_date(moment), NOW), Some(moment.whole_seconds()));
        assert_eq!(format_rfc3339(moment).len(), "1994-11-06T08:49:37.120Z".len());
    }
    // What another reader takes for a date and writes alike, we read alike.
    let Some(text) = std::str::from_utf8(text).ok() else { return };
    let Ok(theirs) = httpdate::parse_http_date(text) else { return };
    if httpdate::fmt_http_date(theirs) == text {
        let since = theirs.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        assert_eq!(parse_http_date(text.as_bytes(), NOW), Some(Timestamp::EPOCH.plus(since)), "{text}");
    }
});
