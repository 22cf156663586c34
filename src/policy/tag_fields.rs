//! Which tags does a response, or a purge request, carry in its fields?
//!
//! | field | its syntax | whose |
//! | --- | --- | --- |
//! | `Surrogate-Key` | words with white space between; a comma that ends a word goes | Fastly |
//! | `xkey` | words with white space or commas between | Varnish (varnish-modules) |
//! | `Cache-Tag`, `Edge-Cache-Tag` | commas between, white space around a tag goes | Cloudflare, Akamai |
//! | `Cache-Groups` | a structured list of strings | RFC 9875 §2 |
//! | any other in `purge.tag_headers` | words with white space or commas between | |
//!
//! All lines of a field count. A tag is its exact bytes: `Shoes` and `shoes` are two, though Cloudflare takes them for one.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::scope::Tags;

/// Longest tag that counts, in bytes: what a purge may name. It is Fastly's bound, and beyond Akamai's 128 and the 32 that
/// RFC 9875 §2 asks for. A longer one on a response is left out: no purge can name it.
pub const MAX_TAG: usize = 1024;

/// `Cache-Groups` (RFC 9875 §2).
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");

/// `Cache-Group-Invalidation` (RFC 9875 §3).
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// One tag, as a field has it.
type Piece<'a> = Cow<'a, [u8]>;

/// The tags of a response: those of its `names` fields, each by its own syntax, and those that rules add.
///
/// As many as there are: a response without one of its tags would outlive a purge of it. The 64 KiB that an origin's
/// head may have bound them: 32 Ki tags of one byte and a separator, kept in 1 + 4 bytes each, 160 KiB, which weigh in
/// what the memory may hold; and once for each purge that this response has not been looked at since, 32 Ki look-ups,
/// about a millisecond. Such a response harms its own site only, and little.
///
/// `Cache-Groups` gives groups only where `names` has it: to leave it out is how a host of many sites keeps one from
/// invalidating another's (RFC 9875 §5).
pub fn tags(response: &HeaderMap, names: &[HeaderName], of_rules: &[String]) -> Tags {
    let mut groups = Vec::new();
    let mut others = Vec::new();
    // Most responses have none of them.
    for name in names.iter().filter(|name| response.contains_key(*name)) {
        let into = if *name == CACHE_GROUPS { &mut groups } else { &mut others };
        into.extend(pieces(response, name).into_iter().filter(|tag| is_nameable(tag)));
    }
    let of_rules = of_rules.iter().map(String::as_bytes).filter(|tag| is_nameable(tag));
    Tags::new(groups.iter().map(|tag| &**tag), others.iter().map(|tag| &**tag).chain(of_rules))
}

/// The tags in one field, all its lines, by its syntax: none is empty, but one may be longer than [`MAX_TAG`], and one may
/// come twice.
///
/// What a purge request names is all of it: who left out what cannot be purged would confirm what was not done. They
/// are to be held against [`MAX_TAG`], not against `naming::tag`: a group may hold white space.
pub fn in_field(headers: &HeaderMap, name: &HeaderName) -> Vec<Box<[u8]>> {
    pieces(headers, name).into_iter().map(|tag| tag.into_owned().into_boxed_slice()).collect()
}

/// The groups that the answer to an unsafe request says have changed; those that no stored response can be in are left
/// out. RFC 9875 §3.
pub fn invalidated_groups(response: &HeaderMap) -> Vec<Box<[u8]>> {
    let groups = strings(response.get_all(CACHE_GROUP_INVALIDATION).iter());
    groups.into_iter().filter(|group| is_nameable(group)).map(|group| group.into_owned().into_boxed_slice()).collect()
}

/// Whether a purge can name it.
fn is_nameable(tag: &[u8]) -> bool {
    (1..=MAX_TAG).contains(&tag.len())
}

/// What stands between the tags of a field.
#[derive(Debug, Clone, Copy)]
enum Syntax {
    /// White space.
    Words,
    /// White space and commas.
    WordsAndCommas,
    /// Commas.
    Commas,
    /// RFC 9651 §3.1.
    Structured,
}

impl Syntax {
    fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            // Fastly: "space-separated purge keys". Its keys may hold commas, so `a,b` is one; but `a, b` is what people
            // write who think of a list, and nobody purges by `a,`.
            "surrogate-key" => Self::Words,
            // Cloudflare: "Use commas to separate the tags", white space around them and repeated commas do not count.
            // Akamai: "delimited by a comma (,). For example, casual, knits, fall-sale".
            "cache-tag" | "edge-cache-tag" => Self::Commas,
            "cache-groups" => Self::Structured,
            // Of varnish-modules some versions take both for `xkey`, and some blanks only; of a field we do not know it is the
            // reading that splits most, and so purges too much rather than too little.
            _ => Self::WordsAndCommas,
        }
    }

    const fn separates(self, byte: u8) -> bool {
        let is_blank = matches!(byte, b' ' | b'\t');
        match self {
            Self::Words => is_blank,
            Self::WordsAndCommas => is_blank || byte == b',',
            Self::Commas | Self::Structured => byte == b',',
        }
    }
}

/// What stands between separators, and is not empty.
fn pieces<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<Piece<'a>> {
    let lines = headers.get_all(name).iter();
    match Syntax::of(name) {
        Syntax::Structured => strings(lines),
        syntax => {
            let pieces = lines.flat_map(|line| line.as_bytes().split(move |&byte| syntax.separates(byte)));
            pieces.map(|piece| trimmed(piece, syntax)).filter(|tag| !tag.is_empty()).map(Cow::Borrowed).collect()
        }
    }
}

fn trimmed(piece: &[u8], syntax: Syntax) -> &[u8] {
    match syntax {
        Syntax::Words => {
            let end = piece.iter().rposition(|&byte| byte != b',').map_or(0, |last| last + 1);
            &piece[..end]
        }
        _ => piece.trim_ascii(),
    }
}

/// The strings of a structured list that are not empty; nothing of a list that does not parse (RFC 9651 §4.2).
///
/// RFC 9875 §2: "a List of Strings", "Unrecognised Parameters are to be ignored". A member of another type is none of
/// them, and takes no other with it.
fn strings<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Vec<Piece<'a>> {
    let text = lines.map(HeaderValue::as_bytes).collect::<Vec<_>>().join(b",".as_slice());
    let Ok(list) = sfv::Parser::new(&text).parse::<sfv::List>() else { return Vec::new() };
    let items = list.into_iter().filter_map(|member| match member {
        sfv::ListEntry::Item(item) => item.bare_item.as_string().map(|string| string.as_str().as_bytes().to_vec()),
        sfv::ListEntry::InnerList(_) => None,
    });
    items.filter(|group| !group.is_empty()).map(Cow::Owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Lines = &'static [&'static [u8]];

    fn field(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
        let value = |line: &&[u8]| HeaderValue::from_bytes(line).expect("a field value");
        lines.iter().map(|line| (name.clone(), value(line))).collect()
    }

    fn names(texts: &[&'static str]) -> Vec<HeaderName> {
        texts.iter().map(|text| HeaderName::from_static(text)).collect()
    }

    fn texts<'a>(tags: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        tags.map(|tag| tag.escape_ascii().to_string()).collect()
    }

    #[test]
    fn each_field_has_its_own_syntax() {
        let cases: [(&str, Lines, &[&str], &str); 37] = [
            ("surrogate-key", &[b"a b"], &["a", "b"], "a space between"),
            ("surrogate-key", &[b"a\tb"], &["a", "b"], "a tab"),
            ("surrogate-key", &[b"  a  \t b "], &["a", "b"], "runs, in front and behind too"),
            ("surrogate-key", &[b"a b", b"c"], &["a", "b", "c"], "several lines"),
            ("surrogate-key", &[b""], &[], "empty"),
            ("surrogate-key", &[b" \t "], &[], "only white space"),
            ("surrogate-key", &[b"a, b,, c"], &["a", "b", "c"], "commas that end a word"),
            ("surrogate-key", &[b", ,,"], &[], "nothing but those"),
            ("surrogate-key", &[b"a,b"], &["a,b"], "a comma within a word is part of it"),
            ("surrogate-key", &[b",a"], &[",a"], "and so is one in front"),
            ("surrogate-key", &[b"A a"], &["A", "a"], "letter case counts"),
            ("surrogate-key", &[b"\xe4 \xc3\xa4"], &["\\xe4", "\\xc3\\xa4"], "exact bytes"),
            ("surrogate-key", &[b"a a"], &["a", "a"], "twice: who counts them decides"),
            ("surrogate-key", &[b"\"a b\""], &["\\\"a", "b\\\""], "quotes are bytes like others"),
            ("xkey", &[b"a b"], &["a", "b"], "a space between"),
            ("xkey", &[b"a,b, c"], &["a", "b", "c"], "commas, as Varnish takes them"),
            ("xkey", &[b"a", b"b"], &["a", "b"], "several lines, as Varnish has them"),
            ("cache-tag", &[b"a,b"], &["a", "b"], "a comma between"),
            ("cache-tag", &[b" a ,\tb "], &["a", "b"], "white space around"),
            ("cache-tag", &[b"a,,,b,"], &["a", "b"], "repeated and trailing commas"),
            ("cache-tag", &[b"a b,c"], &["a b", "c"], "white space within"),
            ("cache-tag", &[b"a", b"b,c"], &["a", "b", "c"], "several lines"),
            ("cache-tag", &[b", ,"], &[], "only separators"),
            ("edge-cache-tag", &[b"casual, knits, fall-sale"], &["casual", "knits", "fall-sale"], "Akamai's example"),
            ("x-tags", &[b"a b,c\td"], &["a", "b", "c", "d"], "a field of the operator's choice"),
            ("cache-groups", &[b"\"scripts\""], &["scripts"], "a string"),
            ("cache-groups", &[b"\"a b\", \"c,d\""], &["a b", "c,d"], "white space and commas are the group's"),
            ("cache-groups", &[b"\"a\\\"b\\\\\""], &["a\\\"b\\\\"], "escapes"),
            ("cache-groups", &[b"\"a\";revalidate;x=1, \"b\""], &["a", "b"], "parameters do not count"),
            ("cache-groups", &[b"a, \"b\", 1, (\"c\")"], &["b"], "tokens, numbers and inner lists are no strings"),
            ("cache-groups", &[b"\"a\"", b"\"b\""], &["a", "b"], "a list over two lines"),
            ("cache-groups", &[b"\"a", b"b\""], &["a,b"], "a string over two lines: RFC 9651 joins them first"),
            ("cache-groups", &[b"\"a\", \"b"], &[], "a list that does not parse"),
            ("cache-groups", &[b"\"a\","], &[], "nor does one with a trailing comma"),
            ("cache-groups", &[b"\"a\"", b"b c"], &[], "one line spoils all"),
            ("cache-groups", &[b"\"\xe4\""], &[], "strings are ASCII"),
            ("cache-groups", &[b"\"\", \"a\""], &["a"], "no purge names the empty one"),
        ];
        for (name, lines, want, why) in cases {
            let name = HeaderName::from_static(name);
            let tags = in_field(&field(&name, lines), &name);
            assert_eq!(texts(tags.iter().map(|tag| &**tag)), want, "{name}: {why}");
        }
    }

    #[test]
    fn a_response_has_the_tags_of_all_named_fields_and_of_its_rules() {
        let longest = "x".repeat(MAX_TAG);
        let too_long = "y".repeat(MAX_TAG + 1);
        let mut response = HeaderMap::new();
        for (name, value) in [
            ("surrogate-key", format!("a b a {longest} {too_long}")),
            ("cache-tag", "b, c".to_owned()),
            ("cache-groups", format!("\"b\", \"g\", \"{too_long}\"")),
            ("x-other", "d".to_owned()),
        ] {
            response.append(HeaderName::from_static(name), HeaderValue::try_from(value).expect("a field value"));
        }
        let rules = ["e".to_owned(), String::new(), too_long, "a".to_owned()];
        let all = tags(&response, &names(&["surrogate-key", "cache-tag", "cache-groups"]), &rules);
        assert_eq!(texts(all.iter()), ["b", "g", "a", &longest, "c", "e"], "each once, none that no purge can name");
        assert_eq!(texts(all.groups()), ["b", "g"], "what Cache-Groups says is a group, whoever says it too");
        let few = tags(&response, &names(&["x-other"]), &[]);
        assert_eq!(texts(few.iter()), ["d"], "fields that are not named do not count, Cache-Groups neither");
    }

    #[test]
    fn what_is_too_long_is_told_to_who_reads_a_request() {
        let name = HeaderName::from_static("surrogate-key");
        let line = format!("a {}", "x".repeat(MAX_TAG + 1));
        let tags = in_field(&field(&name, &[line.as_bytes()]), &name);
        assert_eq!(tags.iter().map(|tag| tag.len()).collect::<Vec<_>>(), [1, MAX_TAG + 1]);
    }

    #[test]
    fn changed_groups_are_strings_that_a_response_can_have() {
        let line = format!("\"scripts\", \"a b\";x, token, \"{}\"", "x".repeat(MAX_TAG + 1));
        let groups = invalidated_groups(&field(&CACHE_GROUP_INVALIDATION, &[line.as_bytes()]));
        assert_eq!(texts(groups.iter().map(|group| &**group)), ["scripts", "a b"]);
    }

    #[test]
    fn a_head_full_of_tags_keeps_every_one() {
        let name = HeaderName::from_static("surrogate-key");
        let tags_of = |count: usize| (0..count).map(|number| format!("{number:x}")).collect::<Vec<_>>();
        let line = tags_of(12_000).join(" ");
        assert!(line.len() < 64 << 10, "a head can have it");
        let response = field(&name, &[line.as_bytes()]);
        assert_eq!(tags(&response, &[name], &[]).iter().len(), 12_000);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_no_tag_is_empty(
            line in proptest::collection::vec(any::<u8>(), 0..80),
            name in prop_oneof![
                Just("surrogate-key"), Just("xkey"), Just("cache-tag"), Just("cache-groups"), Just("x-tags"),
            ],
        ) {
            let name = HeaderName::from_static(name);
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                let headers = HeaderMap::from_iter([(name.clone(), value)]);
                prop_assert!(in_field(&headers, &name).iter().all(|tag| !tag.is_empty()));
                prop_assert!(tags(&headers, &[name], &[]).iter().all(|tag| (1..=MAX_TAG).contains(&tag.len())));
            }
        }

        #[test]
        fn words_without_commas_and_blanks_come_back_from_every_field_but_the_structured_one(
            words in proptest::collection::vec("[!-+\\--~]{1,8}", 1..6),
        ) {
            for (name, separator) in [("surrogate-key", " "), ("xkey", " "), ("cache-tag", ","), ("x-tags", ", ")] {
                let name = HeaderName::from_static(name);
                let tags = in_field(&field(&name, &[words.join(separator).as_bytes()]), &name);
                prop_assert_eq!(tags.iter().map(|tag| &**tag).collect::<Vec<_>>(), words.iter().map(String::as_bytes).collect::<Vec<_>>());
            }
        }
    }
}
