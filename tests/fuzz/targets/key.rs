//! Is a key all of what counts, and nothing else? Input: a target, fields of a request, patterns of the query's rules,
//! with empty lines between; or the bytes of a key.
#![no_main]

use http::HeaderName;
use larder::policy::key::{Key, KeyBuffer, normalised_target};
use larder::policy::treatment::{Glob, KeyRules};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(parts) = Key::from_bytes(input).parts() {
        // Whatever they are, they can be told, and asked for.
        let _ = (parts.hold_secrets(), parts.to_headers());
    }
    let [target, headers, globs] = fuzz::sections(input);
    let Ok(target) = std::str::from_utf8(target) else { return };
    let headers = fuzz::fields(headers);
    let globs = String::from_utf8_lossy(globs);
    let globs: Vec<Glob> = globs.split('\n').take(8).map(Glob::new).collect();
    let (include, exclude) = globs.split_at(globs.len() / 2);
    let rules = KeyRules {
        query_include: include.to_vec(),
        query_exclude: exclude.to_vec(),
        query_sort: input.len() % 2 == 0,
        headers: vec![HeaderName::from_static("x-device"), HeaderName::from_static("accept")],
        cookies: vec!["tier".to_owned()],
        ..KeyRules::default()
    };
    let once = normalised_target(target, &rules);
    assert_eq!(normalised_target(&once, &rules), once, "what was left out is gone, what is sorted stays");
    let key = Key::of("https", "a.test", target, &headers, &rules);
    let parts = key.parts().expect("a key tells its parts");
    let again = KeyBuffer::of(&parts.scheme, &parts.authority, &parts.target, &parts.to_headers(), &rules);
    assert_eq!(again.to_key(), key, "{parts:?}");
});
