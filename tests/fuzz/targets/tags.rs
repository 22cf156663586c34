//! Can each tag be purged that a response has? Input: the response's fields, an empty line, the tags of rules.
#![no_main]

use http::HeaderName;
use larder::policy::scope::{Labels, Scope};
use larder::policy::tag_fields::{self, CACHE_GROUPS, MAX_TAG};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let [response, of_rules] = fuzz::sections(text);
    let response = fuzz::fields(response);
    let of_rules: Vec<String> = String::from_utf8_lossy(of_rules).split('\n').take(64).map(str::to_owned).collect();
    let names = ["surrogate-key", "xkey", "cache-tag", "x-tags"].map(HeaderName::from_static);
    let names = [&names[..], &[CACHE_GROUPS]].concat();
    let tags = tag_fields::tags(&response, &names, &of_rules);
    assert!(tags.iter().all(|tag| (1..=MAX_TAG).contains(&tag.len())), "{tags:?}");
    assert_eq!(tags.groups().len() + tags.others().len(), tags.iter().len());
    let labels = Labels::new("https", "a.test", "/", tags);
    for name in &names {
        // A purge request with the same field names the response.
        for tag in tag_fields::in_field(&response, name).into_iter().filter(|tag| tag.len() <= MAX_TAG) {
            assert!(labels.tags().iter().any(|known| known == &*tag), "{name}: {tag:?}");
            if *name != CACHE_GROUPS {
                assert!(Scope::Tag(tag).names(&labels));
            }
        }
    }
    assert!(tag_fields::invalidated_groups(&response).iter().all(|group| group.len() <= MAX_TAG));
});
