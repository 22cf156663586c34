//! Are two entity tags the same?

use http::header::ETAG;

use super::fields::Fields;

/// An entity tag, as it stands in `ETag`, `If-None-Match` or `If-Range`. RFC 9110 §8.8.3.
///
/// What is no valid tag (`abc`, `w/"abc"`) is taken whole for a weak one: an origin that sends such a thing means
/// itself when it comes back, but nobody can tell how strict it is about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// Whether representations of the same tag may differ in their bytes.
    pub weak: bool,
    /// The tag with its quotes, without `W/`.
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// The tag of a response with these fields; `None`: it has none, or an empty one.
    pub fn of(response: &'a impl Fields) -> Option<Self> {
        response.first(&ETAG).and_then(Self::parse)
    }

    /// Reads a tag out of a field value; `None`: the value is empty.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = value.trim_ascii();
        if value.is_empty() {
            return None;
        }
        let (weak, opaque) = value.strip_prefix(b"W/").map_or((false, value), |opaque| (true, opaque));
        match opaque {
            [b'"', inner @ .., b'"'] if !inner.contains(&b'"') => Some(Self { weak, opaque }),
            _ => Some(Self { weak: true, opaque: value }),
        }
    }

    /// Reads the tags of a list; commas within quotes do not divide. A `*` comes out as a tag that equals no valid one.
    pub fn list(value: &'a [u8]) -> impl Iterator<Item = Self> {
        let mut rest = value;
        std::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let mut quoted = false;
                let end = rest.iter().position(|&byte| {
                    quoted ^= byte == b'"';
                    byte == b',' && !quoted
                });
                let (member, after) = end.map_or((rest, &rest[..0]), |end| (&rest[..end], &rest[end + 1..]));
                rest = after;
                if let Some(tag) = Self::parse(member) {
                    return Some(tag);
                }
            }
        })
    }

    /// Whether both stand for the same bytes. RFC 9110 §8.8.3.2, strong comparison.
    pub fn is_strongly(self, other: Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Whether one may stand for the other. RFC 9110 §8.8.3.2, weak comparison.
    pub fn is_weakly(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Bytes = &'static [u8];

    #[test]
    fn tags_are_compared_as_the_rfc_has_it() {
        let cases: [(Bytes, Bytes, bool, bool, &str); 12] = [
            (b"W/\"1\"", b"W/\"1\"", false, true, "RFC 9110 8.8.3.2, first row"),
            (b"W/\"1\"", b"W/\"2\"", false, false, "second row"),
            (b"W/\"1\"", b"\"1\"", false, true, "third row"),
            (b"\"1\"", b"\"1\"", true, true, "fourth row"),
            (b" \"1\"\t", b"\"1\"", true, true, "space around it"),
            (b"\"a\"", b"\"A\"", false, false, "case counts"),
            (b"\"\"", b"\"\"", true, true, "an empty tag is a tag"),
            (b"\"\xfc\"", b"\"\xfc\"", true, true, "bytes beyond ASCII"),
            (b"abc", b"abc", false, true, "no quotes: itself, but never strongly"),
            (b"abc", b"\"abc\"", false, false, "no quotes: not the quoted one"),
            (b"w/\"1\"", b"\"1\"", false, false, "the W is a capital"),
            (b"\"a", b"\"a", false, true, "an open quote: itself, but never strongly"),
        ];
        for (one, other, strongly, weakly, why) in cases {
            let [one, other] = [one, other].map(|value| EntityTag::parse(value).unwrap());
            assert_eq!((one.is_strongly(other), one.is_weakly(other)), (strongly, weakly), "{why}");
        }
        assert_eq!(EntityTag::parse(b" "), None);
    }

    #[test]
    fn lists_are_divided_outside_of_quotes() {
        let cases: [(Bytes, &[Bytes], &str); 6] = [
            (b"\"a\", W/\"b\",\"c\"", &[b"\"a\"", b"W/\"b\"", b"\"c\""], "a list"),
            (b", \"a\" ,, ", &[b"\"a\""], "empty members"),
            (b"\"a,b\", \"c\"", &[b"\"a,b\"", b"\"c\""], "a comma within quotes"),
            (b"a, b", &[b"a", b"b"], "without quotes"),
            (b"\"a, \"b\"", &[b"\"a, \"b\""], "an open quote swallows what follows"),
            (b"", &[], "nothing"),
        ];
        for (value, want, why) in cases {
            let want: Vec<_> = want.iter().map(|tag| EntityTag::parse(tag).unwrap()).collect();
            assert_eq!(EntityTag::list(value).collect::<Vec<_>>(), want, "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert!(EntityTag::list(&value).count() <= value.len());
        }
    }
}
