//! Which tags does a response, or a purge request, carry in its fields?

use http::{HeaderMap, HeaderName, HeaderValue};

use super::scope::Tags;

/// Longest tag that counts, in bytes: what a purge may name.
pub const MAX_TAG: usize = 1024;

/// `Cache-Groups` (RFC 9875 §2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// `Cache-Group-Invalidation` (RFC 9875 §3).
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The tags of a response: those of its `names` fields, each by its own syntax, and those that rules add.
pub fn tags(response: &HeaderMap, names: &[HeaderName], of_rules: &[String]) -> Tags {
    let groups = if names.contains(&CACHE_GROUPS) { in_field(response, &CACHE_GROUPS) } else { Vec::new() };
    let others = names.iter().filter(|name| **name != CACHE_GROUPS).flat_map(|name| in_field(response, name));
    let others: Vec<_> = others.collect();
    let of_rules = of_rules.iter().map(String::as_bytes);
    Tags::new(groups.iter().map(|tag| &**tag), others.iter().map(|tag| &**tag).chain(of_rules))
}

/// The tags in one field, all its lines, by its syntax.
pub fn in_field(headers: &HeaderMap, name: &HeaderName) -> Vec<Box<[u8]>> {
    let lines = headers.get_all(name);
    if *name == CACHE_GROUPS {
        return strings(lines.iter());
    }
    let is_comma_separated = matches!(name.as_str(), "cache-tag" | "edge-cache-tag");
    let mut tags = Vec::new();
    for line in lines {
        let pieces =
            line.as_bytes().split(|byte| if is_comma_separated { *byte == b',' } else { matches!(byte, b' ' | b'\t') });
        tags.extend(pieces.map(<[u8]>::trim_ascii).filter(|tag| (1..=MAX_TAG).contains(&tag.len())).map(Box::from));
    }
    tags
}

/// The groups that the answer to an unsafe request says have changed. RFC 9875 §3.
pub fn invalidated_groups(response: &HeaderMap) -> Vec<Box<[u8]>> {
    strings(response.get_all(CACHE_GROUP_INVALIDATION).iter())
}

/// The strings of a structured list; nothing of a list that does not parse (RFC 9651 §4.2).
fn strings<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Vec<Box<[u8]>> {
    let text = lines.map(HeaderValue::as_bytes).collect::<Vec<_>>().join(b",".as_slice());
    let Ok(list) = sfv::Parser::new(&text).parse::<sfv::List>() else { return Vec::new() };
    let items = list.into_iter().filter_map(|member| match member {
        sfv::ListEntry::Item(item) => item.bare_item.as_string().map(|string| Box::from(string.as_str().as_bytes())),
        sfv::ListEntry::InnerList(_) => None,
    });
    items.collect()
}
