//! How long is a chunk? RFC 9112 §7.1.

/// Digits of a chunk's size: as many as 64 bits have. More could only be zeros, or an overflow that others wrap.
const SIZE_DIGITS: usize = 16;

/// The bytes of the chunk that begins with `line`, given without its CR LF.
///
/// White space around the size is refused, which the grammar has for what was sent long ago. Extensions are of no meaning
/// to anybody, but are not to hide a line of their own.
///
/// # Errors
/// What is wrong with the line.
pub(super) fn size(line: &[u8]) -> Result<u64, &'static str> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extensions) = line.split_at(end);
    let size = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let Some(size) = size.filter(|_| digits.len() <= SIZE_DIGITS) else {
        return Err("a chunk's size is not a number");
    };
    let is_extended = extensions.first().is_none_or(|&byte| byte == b';');
    if !is_extended || extensions.iter().any(|&byte| byte != b'\t' && byte.is_ascii_control()) {
        return Err("a chunk's size is followed by something else than extensions");
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_hexadecimal_digits_and_perhaps_extensions() {
        let cases: &[(&[u8], Option<u64>, &str)] = &[
            (b"0", Some(0), "the last one"),
            (b"1aF", Some(0x1af), "either case"),
            (b"ffffffffffffffff", Some(u64::MAX), "as many digits as 64 bits have"),
            (b"4;name=\"a b\"\t", Some(4), "extensions"),
            (b"", None, "nothing, which is not 0"),
            (b";a", None, "extensions alone"),
            (b"00000000000000004", None, "more digits"),
            (b"+4", None, "a sign"),
            (b"0x4", None, "a prefix"),
            (b" 4", None, "a space before"),
            (b"4 ", None, "a space behind"),
            (b"4;a\rb", None, "a CR, which some take for the end"),
            (b"4;a\nb", None, "a LF"),
            (b"g", None, "no digit"),
        ];
        for (line, want, why) in cases {
            assert_eq!(size(line).ok(), *want, "{:?}: {why}", line.escape_ascii().to_string());
        }
    }
}
