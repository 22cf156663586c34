//! How are the fields of a message asked for, and how are those of a stored response kept?

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields that can be asked for by name.
pub trait Fields {
    /// The values of the lines of this name, in their order.
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]>;

    /// The value of the first line of this name.
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// The value of a field that has exactly one line.
    fn only(&self, name: &HeaderName) -> Option<&[u8]> {
        let mut lines = self.lines(name);
        let first = lines.next()?;
        lines.next().is_none().then_some(first)
    }

    /// Whether there is a line of this name.
    fn has(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }
}

impl Fields for HeaderMap {
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// Fields in one piece of memory, ready to be sent: their lines as HTTP/1.1 has them, names in lower case.
///
/// A map of a response's fields costs more than a kibibyte, most of it for finding and changing them. Those of a stored
/// response are sent far more often than anything else is done to them.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct FieldLines(Box<[u8]>);

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The name, in lower case.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// All of it, with its end.
    pub whole: &'a [u8],
}

impl<'a> Line<'a> {
    /// The name as text.
    pub fn name(&self) -> &'a str {
        str::from_utf8(self.name).expect("names are ASCII")
    }
}

/// What stands between a name and its value, and at the end of a line.
const COLON: &[u8] = b": ";
const END: &[u8] = b"\r\n";

impl FieldLines {
    /// Whole lines out of others like this.
    pub fn of(lines: Vec<u8>) -> Self {
        Self(lines.into_boxed_slice())
    }

    /// The lines, ready to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Each line, those of one name in their order.
    pub fn iter(&self) -> impl Iterator<Item = Line<'_>> + Clone {
        lines_of(&self.0)
    }

    /// The same as a map, which does not hold on to this.
    pub fn to_map(&self) -> HeaderMap {
        self.clone().into_map()
    }

    /// The same as a map.
    pub fn into_map(self) -> HeaderMap {
        map_of(&self.0.into())
    }
}

/// These lines, which are as [`FieldLines`] has them, as a map.
pub fn map_of(lines: &Bytes) -> HeaderMap {
    // Some are added to every answer.
    let mut map = HeaderMap::with_capacity(memchr::memchr_iter(b'\n', lines).count().min(64) + 4);
    for Line { name, value, .. } in lines_of(lines) {
        let name = HeaderName::from_bytes(name).expect("it was a name");
        map.append(name, HeaderValue::from_maybe_shared(lines.slice_ref(value)).expect("it was a value"));
    }
    map
}

/// The values of those of `lines` that have this name.
pub fn values_of<'l>(lines: impl Iterator<Item = Line<'l>>, name: &HeaderName) -> impl Iterator<Item = &'l [u8]> {
    lines.filter(move |line| line.name == name.as_str().as_bytes()).map(|line| line.value)
}

/// Each of these lines, which are as [`FieldLines`] has them.
pub fn lines_of(mut rest: &[u8]) -> impl Iterator<Item = Line<'_>> + Clone {
    std::iter::from_fn(move || {
        let colon = memchr::memchr(b':', rest)?;
        // No value has a line's end in it.
        let end = memchr::memchr(b'\n', rest)? + 1;
        let (whole, others) = rest.split_at(end);
        rest = others;
        Some(Line { name: &whole[..colon], value: &whole[colon + COLON.len()..end - END.len()], whole })
    })
}

impl Fields for FieldLines {
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        values_of(self.iter(), name)
    }
}

impl From<&HeaderMap> for FieldLines {
    fn from(map: &HeaderMap) -> Self {
        let length =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + COLON.len() + value.len() + END.len();
        let mut lines = Vec::with_capacity(map.iter().map(length).sum());
        for (name, value) in map {
            for part in [name.as_str().as_bytes(), COLON, value.as_bytes(), END] {
                lines.extend_from_slice(part);
            }
        }
        Self::of(lines)
    }
}

impl<'a> FromIterator<Line<'a>> for FieldLines {
    fn from_iter<I: IntoIterator<Item = Line<'a>>>(lines: I) -> Self {
        let lines = lines.into_iter().map(|line| line.whole);
        Self::of(lines.collect::<Vec<_>>().concat())
    }
}

impl fmt::Debug for FieldLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.iter().map(|line| (line.name(), String::from_utf8_lossy(line.value)));
        f.debug_map().entries(lines).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn map(lines: &[(&str, &[u8])]) -> HeaderMap {
        let line = |(name, value): &(&str, &[u8])| {
            (HeaderName::try_from(*name).expect("a name"), HeaderValue::from_bytes(value).expect("a value"))
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn fields_are_kept_as_they_are_sent() {
        let lines = FieldLines::from(&map(&[("ETag", b"\"a\""), ("x-empty", b""), ("x-odd", b"a: b\xff\tc")]));
        assert_eq!(lines.as_bytes(), b"etag: \"a\"\r\nx-empty: \r\nx-odd: a: b\xff\tc\r\n");
        assert_eq!(lines.iter().count(), 3);
        let picked: FieldLines = lines.iter().filter(|line| line.name.starts_with(b"x-")).collect();
        assert_eq!(picked.as_bytes(), b"x-empty: \r\nx-odd: a: b\xff\tc\r\n");
        assert_eq!(format!("{picked:?}"), "{\"x-empty\": \"\", \"x-odd\": \"a: b\u{fffd}\\tc\"}");
        assert_eq!(FieldLines::from(&HeaderMap::new()), FieldLines::default());
    }

    #[test]
    fn a_field_is_found_by_its_whole_name_alone() {
        let lines = FieldLines::from(&map(&[("x-a", b"1"), ("x-ab", b"2"), ("x-a", b"3"), ("b", b"x-c: 4")]));
        let name = |name| HeaderName::from_static(name);
        assert_eq!(lines.lines(&name("x-a")).collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!((lines.first(&name("x-a")), lines.only(&name("x-a"))), (Some(&b"1"[..]), None));
        assert_eq!(lines.only(&name("x-ab")), Some(&b"2"[..]));
        assert!(!lines.has(&name("x-c")) && !lines.has(&name("x")) && lines.has(&name("b")));
    }

    proptest! {
        #[test]
        fn any_fields_come_back_as_they_were(
            lines in vec(("[a-zA-Z][!#$a-zA-Z0-9-]{0,20}", vec(prop_oneof![Just(b'\t'), 32_u8..127, 128_u8..], 0..30)), 0..20),
        ) {
            let lines: Vec<(&str, &[u8])> = lines.iter().map(|(name, value)| (&**name, &**value)).collect();
            let map = map(&lines);
            let kept = FieldLines::from(&map);
            prop_assert_eq!(kept.to_map(), map.clone());
            prop_assert_eq!(kept.iter().count(), map.len());
            for name in map.keys() {
                prop_assert_eq!(kept.lines(name).collect::<Vec<_>>(), map.lines(name).collect::<Vec<_>>());
                prop_assert_eq!(kept.only(name), map.only(name));
            }
        }
    }
}
