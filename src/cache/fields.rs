//! The fields of a stored response: lines of its own, and those that many have in common, which are kept once.

use std::fmt;

use http::{HeaderMap, HeaderName};

use super::shared_lines::{self, SharedLines};
use crate::policy::fields::{FieldLines, Fields, Line, lines_of, map_of, values_of};

/// The fields of a stored response that clients get.
///
/// Most lines of an origin's responses are the same in many of them: types, directives, what frameworks add. Once shared,
/// each set of these is in memory once. The others, date and length among them, come first then; lines of one name stay
/// together and in their order, which is all that their order means (RFC 9110 §5.3).
#[derive(Clone, Default)]
pub struct StoredFields {
    own: FieldLines,
    shared: SharedLines,
}

impl StoredFields {
    /// Each line.
    pub fn iter(&self) -> impl Iterator<Item = Line<'_>> + Clone {
        self.own.iter().chain(lines_of(self.shared.as_bytes()))
    }

    /// All lines, ready to be sent one piece after the other.
    pub fn pieces(&self) -> [&[u8]; 2] {
        [self.own.as_bytes(), self.shared.as_bytes()]
    }

    /// Bytes of all lines.
    pub fn length(&self) -> usize {
        self.pieces().map(<[u8]>::len).iter().sum()
    }

    /// Bytes of the lines that are not shared.
    pub(super) fn own_length(&self) -> usize {
        self.own.as_bytes().len()
    }

    /// The same as a map, which does not hold on to this.
    pub fn to_map(&self) -> HeaderMap {
        map_of(&self.pieces().concat().into())
    }

    /// Changes them by way of a map.
    pub fn change(&mut self, change: impl FnOnce(&mut HeaderMap)) {
        let mut map = self.to_map();
        change(&mut map);
        *self = Self::from(&map);
    }

    /// Shares what many others have in common with it, if it does not yet; they are of a response with this URL.
    pub(super) fn share(&mut self, url: &str) {
        if self.shared.as_bytes().is_empty()
            && let Some(divided) = shared_lines::divide(&self.own, url)
        {
            (self.own, self.shared) = divided;
        }
    }
}

/// Fields that most stored responses have none of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RareFields(Option<Box<FieldLines>>);

impl RareFields {
    /// The lines.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], FieldLines::as_bytes)
    }

    /// Each line.
    pub fn iter(&self) -> impl Iterator<Item = Line<'_>> + Clone {
        lines_of(self.as_bytes())
    }

    /// The same as a map, which does not hold on to this.
    pub fn to_map(&self) -> HeaderMap {
        self.0.as_deref().map(FieldLines::to_map).unwrap_or_default()
    }
}

impl From<FieldLines> for RareFields {
    fn from(lines: FieldLines) -> Self {
        Self((!lines.as_bytes().is_empty()).then(|| Box::new(lines)))
    }
}

impl From<&HeaderMap> for RareFields {
    fn from(map: &HeaderMap) -> Self {
        Self::from(FieldLines::from(map))
    }
}

impl Fields for StoredFields {
    fn lines(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        values_of(self.iter(), name)
    }
}

impl From<&HeaderMap> for StoredFields {
    fn from(map: &HeaderMap) -> Self {
        Self::from(FieldLines::from(map))
    }
}

impl From<FieldLines> for StoredFields {
    fn from(own: FieldLines) -> Self {
        Self { own, shared: SharedLines::default() }
    }
}

impl fmt::Debug for StoredFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.iter().collect::<FieldLines>(), f)
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, DATE, HeaderValue};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const COMMON: &str =
        "x-frame-options: deny\r\ncontent-security-policy: default-src 'self'; img-src 'self' data:\r\n";

    /// Fields of these lines, in this order.
    fn fields(lines: &str) -> StoredFields {
        let line = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a field line");
            (HeaderName::try_from(name).expect("a name"), HeaderValue::from_str(value).expect("a value"))
        };
        StoredFields::from(&lines.lines().map(line).collect::<HeaderMap>())
    }

    /// The fields of the response with this number.
    fn shared(lines: &str, number: u32) -> StoredFields {
        let mut fields = fields(lines);
        fields.share(&number.to_string());
        fields
    }

    #[test]
    fn what_responses_have_in_common_is_kept_once() {
        let own = |number: u32| format!("date: Fri, 27 Nov 2026 10:00:00 GMT\r\netag: \"{number}\"\r\n");
        let first = shared(&(own(0) + COMMON), 0);
        assert_eq!(first.pieces(), [(own(0) + COMMON).as_bytes(), b""], "nobody else had any of it");
        let later = (1..20).map(|number| (number, shared(&(COMMON.to_owned() + &own(number)), number)));
        let others: Vec<_> = later.skip(10).collect();
        for (number, other) in &others {
            let own = own(*number);
            assert_eq!(other.pieces(), [own.as_bytes(), COMMON.as_bytes()]);
            assert_eq!(other.pieces()[1].as_ptr(), others[0].1.pieces()[1].as_ptr(), "the same memory");
            assert_eq!(other.length(), own.len() + COMMON.len());
            assert_eq!(other.only(&DATE), Some(&b"Fri, 27 Nov 2026 10:00:00 GMT"[..]));
            assert_eq!(other.only(&HeaderName::from_static("x-frame-options")), Some(&b"deny"[..]));
            assert_eq!(other.to_map(), fields(&(own + COMMON)).to_map());
        }
        let mut changed = others[0].1.clone();
        changed.change(|map| _ = map.remove("x-frame-options"));
        assert!(!changed.has(&HeaderName::from_static("x-frame-options")));
        assert!(others[0].1.has(&HeaderName::from_static("x-frame-options")), "the others keep what they had");
    }

    #[test]
    fn lines_of_one_name_keep_their_order() {
        let padding = "x-some-field-that-makes-it-worth-while: to-be-kept-in-one-place-for-all-of-them\r\n";
        for number in 0..20 {
            shared(&format!("cache-control: private=\"a\"\r\n{padding}"), number);
        }
        let both = shared(&format!("cache-control: max-age=1\r\ncache-control: private=\"a\"\r\n{padding}"), 20);
        assert_eq!(both.pieces()[1], padding.as_bytes());
        let values: Vec<_> = both.lines(&CACHE_CONTROL).collect();
        assert_eq!(values, [&b"max-age=1"[..], b"private=\"a\""]);
    }

    #[test]
    fn what_takes_little_is_not_shared() {
        let lines = "server: origin\r\n";
        assert!((0..20).all(|number| shared(lines, number).pieces() == [lines.as_bytes(), b""]));
    }

    proptest! {
        #[test]
        fn sharing_changes_nothing_but_where_lines_are(
            messages in vec(vec(("[a-d]", "[xy]{0,1}"), 0..8), 1..60),
        ) {
            let padding = format!("x-padding: {}\r\n", "p".repeat(64));
            for (message, number) in messages.iter().zip(0..) {
                let lines = message.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect::<String>();
                let lines = padding.clone() + &lines;
                let (plain, shared) = (fields(&lines), shared(&lines, number));
                prop_assert_eq!(shared.to_map(), plain.to_map());
                prop_assert_eq!(shared.length(), plain.length());
                prop_assert_eq!(shared.iter().count(), message.len() + 1);
            }
        }
    }
}
