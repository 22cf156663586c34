//! Is a field block a request that may be plain? (RFC 9113 §8.3)

use std::time::Instant;

use httparse::{EMPTY_HEADER, Header};

use super::hpack::{Field, FieldList};
use crate::accept::express::{MAX_FIELDS, Question};

/// What a request's fields are said to be before the first one that is not.
#[derive(Default)]
struct Pseudo<'a> {
    is_get: bool,
    has_scheme: bool,
    authority: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
}

impl<'a> Pseudo<'a> {
    /// Takes one in. Whether it may stand there and makes the request no other than plain.
    fn take(&mut self, field: Field<'a>) -> bool {
        match field.name {
            b":method" => !std::mem::replace(&mut self.is_get, true) && field.value == b"GET",
            b":scheme" => !std::mem::replace(&mut self.has_scheme, true) && matches!(field.value, b"http" | b"https"),
            b":authority" => self.authority.replace(field.value).is_none(),
            b":path" => self.path.replace(field.value).is_none(),
            _ => false,
        }
    }
}

/// Asks `answer` the question that `fields` are, which were received then; the body has so much room. `None`: they are no
/// question, or it has no answer.
pub(super) fn ask<A>(
    fields: &FieldList,
    (received, room): (Instant, usize),
    answer: impl FnOnce(&Question<'_>) -> Option<A>,
) -> Option<A> {
    let mut pseudo = Pseudo::default();
    let mut crumbs = Crumbs::default();
    let mut headers = [EMPTY_HEADER; MAX_FIELDS];
    let mut count = 0;
    for field in fields.iter() {
        let is_pseudo = field.name.first() == Some(&b':');
        if is_pseudo && count == 0 && !crumbs.has_any() {
            pseudo.take(field).then_some(())?;
        } else if field.name == b"cookie" && is_value(field.value) {
            crumbs.take(field.value);
        } else {
            *headers.get_mut(count)? = header(field)?;
            count += 1;
        }
    }
    let cookie = crumbs.joined();
    if let Some(value) = &cookie {
        *headers.get_mut(count)? = Header { name: "cookie", value };
        count += 1;
    }
    let Pseudo { is_get: true, has_scheme: true, authority: Some(host), path: Some(path) } = pseudo else {
        return None;
    };
    let target = str::from_utf8(path).ok()?;
    let (length, fields) = (fields.size(), &headers[..count]);
    let (is_last, takes_trailers) = (false, true);
    answer(&Question { host, target, fields, length, received, room, is_last, takes_trailers })
}

/// The field as HTTP/1.1 would have it, where it is well-formed and not about anything but the request (RFC 9113 §8.2).
fn header(field: Field<'_>) -> Option<Header<'_>> {
    let is_name = !field.name.is_empty() && field.name.iter().all(|&byte| is_name_byte(byte));
    let is_about_more = matches!(field.name, b"host" | b"connection" | b"keep-alive" | b"proxy-connection");
    if !is_name || is_about_more || !is_value(field.value) {
        return None;
    }
    Some(Header { name: str::from_utf8(field.name).ok()?, value: field.value })
}

const fn is_name_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

fn is_value(value: &[u8]) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_control = |byte: u8| u8::from(byte < b' ' && byte != b'\t' || byte == 0x7f);
    // Without an early end: so the compiler looks at many bytes at once.
    let has_controls = value.iter().fold(0, |has, &byte| has | is_control(byte)) != 0;
    !has_controls && !is_space(value.first()) && !is_space(value.last())
}

/// Cookies may come in pieces, each a field (RFC 9113 §8.2.3).
#[derive(Default)]
enum Crumbs<'a> {
    #[default]
    Nothing,
    One(&'a [u8]),
    More(Vec<u8>),
}

impl<'a> Crumbs<'a> {
    const fn has_any(&self) -> bool {
        !matches!(self, Self::Nothing)
    }

    fn take(&mut self, crumb: &'a [u8]) {
        *self = match std::mem::take(self) {
            Self::Nothing => Self::One(crumb),
            Self::One(first) => Self::More([first, b"; ", crumb].concat()),
            Self::More(mut crumbs) => {
                crumbs.extend_from_slice(b"; ");
                crumbs.extend_from_slice(crumb);
                Self::More(crumbs)
            }
        };
    }

    fn joined(&self) -> Option<&[u8]> {
        match self {
            Self::Nothing => None,
            Self::One(cookie) => Some(cookie),
            Self::More(crumbs) => Some(crumbs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hpack::{Decoder, write_field};
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    /// What is asked, and with which fields.
    fn asked(lines: Lines<'_>) -> Option<String> {
        let mut block = Vec::new();
        for (name, value) in lines {
            write_field(&mut block, name.as_bytes(), value.as_bytes(), false);
        }
        let mut fields = FieldList::default();
        Decoder::new().decode(&block, &mut fields, 10_000).expect("a block");
        ask(&fields, (Instant::now(), 7), |question| {
            assert_eq!(question.room, 7);
            let fields = question.fields.iter();
            let fields = fields.map(|field| format!(" {}={}", field.name, String::from_utf8_lossy(field.value)));
            let fields: String = fields.collect();
            Some(format!("{} {}{fields}", String::from_utf8_lossy(question.host), question.target))
        })
    }

    #[test]
    fn a_plain_get_is_asked_with_its_fields() {
        let full: Lines<'_> = &[(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/x?y")];
        let with = |more: Lines<'_>| asked(&[full, more].concat());
        assert_eq!(with(&[]).as_deref(), Some("a /x?y"));
        assert_eq!(with(&[("accept", "*/*"), ("x-empty", "")]).as_deref(), Some("a /x?y accept=*/* x-empty="));
        let crumbs = &[("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("cookie", "c")];
        assert_eq!(with(crumbs).as_deref(), Some("a /x?y accept=x cookie=a=1; b=2; c"));
        assert_eq!(with(&[("cookie", "a=1")]).as_deref(), Some("a /x?y cookie=a=1"));
        assert_eq!(with(&[("x", "y"); MAX_FIELDS]).map(|text| text.len()), Some(6 + 4 * MAX_FIELDS));
        assert_eq!(with(&[("x", "y"); MAX_FIELDS + 1]), None, "more than anybody sends");
    }

    #[test]
    fn whatever_is_not_just_so_is_not_asked() {
        let [method, scheme, authority, path] =
            [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];
        let full = [method, scheme, authority, path];
        let cases: [(Lines<'_>, &str); 24] = [
            (&[scheme, authority, path], "no method"),
            (&[method, authority, path], "no scheme"),
            (&[method, scheme, path], "no authority"),
            (&[method, scheme, authority], "no path"),
            (&[method, scheme, authority, path, path], "the path twice"),
            (&[method, method, scheme, authority, path], "the method twice"),
            (&[method, scheme, scheme, authority, path], "the scheme twice"),
            (&[method, scheme, authority, authority, path], "the authority twice"),
            (&[(":method", "HEAD"), scheme, authority, path], "another method"),
            (&[method, (":scheme", "ftp"), authority, path], "another scheme"),
            (&[method, scheme, authority, ("x", "y"), path], "a pseudo-field after a field"),
            (&[method, scheme, authority, ("cookie", "y"), path], "the same"),
            (&[method, scheme, authority, path, (":protocol", "x")], "one of another request"),
            (&[full[0], full[1], full[2], full[3], ("host", "a")], "a host besides"),
            (&[full[0], full[1], full[2], full[3], ("connection", "keep-alive")], "about the connection"),
            (&[full[0], full[1], full[2], full[3], ("keep-alive", "1")], "the same"),
            (&[full[0], full[1], full[2], full[3], ("proxy-connection", "x")], "the same"),
            (&[full[0], full[1], full[2], full[3], ("Accept", "x")], "upper case"),
            (&[full[0], full[1], full[2], full[3], ("", "x")], "no name"),
            (&[full[0], full[1], full[2], full[3], ("a b", "x")], "no name that is one"),
            (&[full[0], full[1], full[2], full[3], ("x", "a\r\nb: c")], "line ends"),
            (&[full[0], full[1], full[2], full[3], ("x", " y")], "white space before"),
            (&[full[0], full[1], full[2], full[3], ("x", "y\t")], "white space after"),
            (&[full[0], full[1], full[2], full[3], ("cookie", "a\0b")], "NUL"),
        ];
        for (lines, why) in cases {
            assert_eq!(asked(lines), None, "{why}");
        }
    }
}
