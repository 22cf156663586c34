//! Who may be given a stored response? Input: the response's fields, a request's, another request's, and of which values
//! the rules know for Accept-Language, with empty lines between.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue, header};
use larder::policy::vary::{self, Selecting};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let [response, request, other, known] = fuzz::sections(text);
    let [response, mut request, other] = [response, request, other].map(fuzz::fields);
    if let Some(selecting) = vary::selecting(&response, &request) {
        assert!(selecting.matches(&request, &response), "who asked first is given it again");
        assert!(selecting.differing(&request, &response).is_empty());
        let differing = selecting.differing(&other, &response);
        assert_eq!(selecting.matches(&other, &response), differing.is_empty(), "{differing:?}");
        let parts = selecting.parts().map(|(name, value)| (name.clone(), value));
        assert_eq!(Selecting::from_parts(parts).as_ref(), Some(&selecting));
        let again: HeaderMap = selecting.values().filter_map(line).collect();
        assert!(selecting.matches(&again, &response), "{again:?} was made to be told the same: {selecting:?}");
    }
    // What the rules let through.
    let fits =
        |value: &&str| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !b",;".contains(&byte));
    let known = String::from_utf8_lossy(known).split('\n').filter(fits).take(16).map(str::to_owned).collect();
    let rules = [(header::ACCEPT_LANGUAGE, known)];
    vary::normalise(&mut request, &rules);
    let once = request.clone();
    vary::normalise(&mut request, &rules);
    assert_eq!(once, request, "what is in its normal form stays as it is");
});

fn line((name, value): (&HeaderName, Option<Vec<u8>>)) -> Option<(HeaderName, HeaderValue)> {
    Some((name.clone(), HeaderValue::from_bytes(&value?).expect("what fields were read from makes a field")))
}
