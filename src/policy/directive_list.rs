//! What are the members of a comma list of directives, whatever the bytes?

/// Longer than every directive we know; a longer name is an unknown one.
const LONGEST_NAME: usize = 32;

/// The name of a directive in lower case, and its argument as it was written.
pub(super) struct Member<'a> {
    pub(super) name: Name,
    pub(super) argument: Option<&'a [u8]>,
}

impl<'a> Member<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        let (name, argument) = split_at_byte(text, b'=');
        let trimmed = name.trim_ascii_end();
        // No space is allowed around the equals sign. The name is understood all the same (`private =x` must not
        // become unknown), but what follows is no valid argument.
        let argument = if trimmed.len() == name.len() { argument } else { argument.map(|_| &b""[..]) };
        Self { name: Name::of(trimmed), argument }
    }
}

/// A name in lower case, in place.
pub(super) struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    fn of(text: &[u8]) -> Self {
        let mut bytes = [0; LONGEST_NAME];
        // A name too long to be known is the empty name, which is not known either.
        let length = if text.len() <= LONGEST_NAME { text.len() } else { 0 };
        bytes[..length].copy_from_slice(&text[..length]);
        bytes.make_ascii_lowercase();
        Self { bytes, length }
    }
}

impl std::ops::Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Parts a text at the first such byte that is not in a quoted string.
pub(super) fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    let mut quotes = Quotes::default();
    match text.iter().position(|&at| quotes.is_outside(at) && at == byte) {
        Some(place) => (&text[..place], Some(&text[place + 1..])),
        None => (text, None),
    }
}

/// The members of a comma list, without the space around them; empty ones are left out. A comma in a quoted string
/// is no comma, unless the string is never closed: then quotes are taken for nothing from there on.
pub(super) struct Members<'a> {
    rest: &'a [u8],
    /// Whether a quoted string was found that is never closed; known once every member has been taken.
    pub(super) is_broken: bool,
}

impl<'a> Members<'a> {
    pub(super) const fn of(line: &'a [u8]) -> Self {
        Self { rest: line, is_broken: false }
    }

    /// The place of the next comma, or the end.
    fn end_of_member(&mut self) -> usize {
        let plain = |text: &[u8]| memchr::memchr(b',', text).unwrap_or(text.len());
        if self.is_broken {
            return plain(self.rest);
        }
        let mut quotes = Quotes::default();
        if let Some(place) = self.rest.iter().position(|&at| quotes.is_outside(at) && at == b',') {
            return place;
        }
        self.is_broken = quotes.is_open;
        if self.is_broken { plain(self.rest) } else { self.rest.len() }
    }
}

impl<'a> Iterator for &mut Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (member, rest) = self.rest.split_at(self.end_of_member());
            self.rest = rest.get(1..).unwrap_or_default();
            let member = member.trim_ascii();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// Whether a walk over bytes is inside a quoted string (RFC 9110 §5.6.4).
#[derive(Default)]
struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    /// Takes the next byte; says whether it stands outside of quoted strings.
    fn is_outside(&mut self, byte: u8) -> bool {
        if self.is_escaped {
            self.is_escaped = false;
        } else if self.is_open && byte == b'\\' {
            self.is_escaped = true;
        } else if byte == b'"' {
            self.is_open = !self.is_open;
            return false;
        }
        !self.is_open
    }
}
