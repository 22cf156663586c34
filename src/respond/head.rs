//! What is added to, and taken from, the head of every answer?

use std::sync::LazyLock;
use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL, EXPIRES, Entry, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::cache_status;
use crate::policy::directives::{CDN_CACHE_CONTROL, SURROGATE_CONTROL};
use crate::policy::outcome::Outcome;
use crate::policy::treatment::Treatment;

/// We received what we send over HTTP/1.1 from the origin. RFC 9110 §7.6.3.
pub const VIA_LARDER: HeaderValue = HeaderValue::from_static("1.1 larder");

/// Ages up to this many seconds are written once, at start.
const READY_AGES: u64 = 3600;

static AGES: LazyLock<Vec<HeaderValue>> = LazyLock::new(|| (0..READY_AGES).map(HeaderValue::from).collect());

/// An `Age` field's value for `seconds`.
fn age_value(seconds: u64) -> HeaderValue {
    let ready = usize::try_from(seconds).ok().and_then(|index| AGES.get(index));
    ready.cloned().unwrap_or_else(|| HeaderValue::from(seconds))
}

/// Completes a head that is about to go to a client: `Age`, `Via`, `Cache-Status`, and what the rules say.
///
/// `age` in whole seconds; `None` keeps what the origin said.
pub fn finish(headers: &mut HeaderMap, age: Option<u64>, outcome: &Outcome, treatment: &Treatment) {
    if let Some(age) = age {
        headers.insert(AGE, age_value(age));
    }
    headers.append(VIA, VIA_LARDER);
    headers.append(cache_status::NAME, cache_status::value(outcome));
    if let Some(ttl) = treatment.browser_ttl {
        tell_browsers(headers, ttl);
    }
    if !treatment.response_headers.is_empty() {
        treatment.response_headers.apply(headers);
    }
}

/// Tells clients `ttl` in place of the lifetimes that were meant for us (`browser_ttl`).
///
/// The lifetime begins anew at the edge, so `Age` does too: a client that counted our age against `max-age` would
/// hold most answers for stale as they arrive.
fn tell_browsers(headers: &mut HeaderMap, ttl: Duration) {
    let told = browser_directives(headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes), ttl);
    if let Ok(value) = HeaderValue::try_from(told) {
        headers.insert(CACHE_CONTROL, value);
    }
    headers.remove(EXPIRES);
    headers.insert(AGE, age_value(0));
}

/// What `Cache-Control` tells clients then; `lines` are the origin's, of which those that are no text do not count.
pub fn browser_directives<'a>(lines: impl Iterator<Item = &'a [u8]>, ttl: Duration) -> String {
    let lifetimes = ["max-age", "s-maxage"];
    let is_text = |line: &&str| line.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    let mut told = String::new();
    for directive in lines.filter_map(|line| str::from_utf8(line).ok()).filter(is_text).flat_map(split_list) {
        let name = directive.split('=').next().unwrap_or_default().trim();
        if !lifetimes.iter().any(|lifetime| name.eq_ignore_ascii_case(lifetime)) {
            told.push_str(directive);
            told.push_str(", ");
        }
    }
    told.push_str("max-age=");
    told.push_str(itoa::Buffer::new().format(ttl.as_secs()));
    told
}

/// The members of a comma-separated list; commas within quotes do not separate.
fn split_list(line: &str) -> Vec<&str> {
    let (mut members, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                members.push(line[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(line[start..].trim());
    members.retain(|member| !member.is_empty());
    members
}

/// Takes the fields out that are meant for caches of ours, and gives them.
///
/// `Cache-Groups` stays: it is meant for caches further down, too (RFC 9875).
pub fn take_hidden(headers: &mut HeaderMap, tag_headers: &[HeaderName]) -> HeaderMap {
    static CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
    let is_for_us = |name: &HeaderName| {
        *name != CACHE_GROUPS
            && (*name == SURROGATE_CONTROL || *name == CDN_CACHE_CONTROL || tag_headers.contains(name))
    };
    let names: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| is_for_us(name)).cloned().collect();
    let mut hidden = HeaderMap::new();
    for name in names {
        if let Entry::Occupied(entry) = headers.entry(name) {
            let (name, values) = entry.remove_entry_mult();
            values.for_each(|value| _ = hidden.append(&name, value));
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn clients_are_told_the_browser_ttl_and_keep_the_other_directives() {
        let cases = [
            // stated                                        told                                     why
            ("public, max-age=600, s-maxage=900", "public, max-age=60", "both lifetimes go"),
            ("S-MaxAge=5", "max-age=60", "names are case-insensitive"),
            ("no-cache=\"a, max-age=3\", max-age=1", "no-cache=\"a, max-age=3\", max-age=60", "quotes hold together"),
            ("", "max-age=60", "nothing stated"),
        ];
        for (stated, told, why) in cases {
            let mut head = headers(&[("cache-control", stated), ("expires", "0"), ("age", "40")]);
            tell_browsers(&mut head, Duration::from_mins(1));
            assert_eq!(head[CACHE_CONTROL], told, "{why}");
            assert!(!head.contains_key(EXPIRES), "{why}");
            assert_eq!(head[AGE], "0", "{why}");
        }
    }

    #[test]
    fn fields_for_caches_are_taken_out_and_kept() {
        let mut head = headers(&[
            ("surrogate-key", "a b"),
            ("cdn-cache-control", "max-age=5"),
            ("cache-groups", "\"g\""),
            ("etag", "\"x\""),
        ]);
        let tags = [HeaderName::from_static("surrogate-key"), HeaderName::from_static("cache-groups")];
        let hidden = take_hidden(&mut head, &tags);
        assert_eq!(head.len(), 2, "{head:?}");
        assert_eq!(hidden.len(), 2, "{hidden:?}");
    }

    #[test]
    fn ages_are_written_as_digits_also_beyond_the_ready_ones() {
        for age in [0, 1, READY_AGES - 1, READY_AGES, 1 << 31] {
            assert_eq!(age_value(age), age.to_string().as_str());
        }
    }
}
