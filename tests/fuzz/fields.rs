//! Heads out of whatever bytes the fuzzer comes up with.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields, one a line: a name, a colon, a value. What is no field is left out, as no parser would have let it through.
pub fn fields(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|&byte| byte == b'\n').take(256) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(line[..colon].trim_ascii());
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// What stands before, between and after the first `N - 1` empty lines.
pub fn sections<const N: usize>(text: &[u8]) -> [&[u8]; N] {
    let mut rest = text;
    std::array::from_fn(|index| match rest.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) if index + 1 < N => {
            let section = &rest[..at];
            rest = &rest[at + 2..];
            section
        }
        _ => std::mem::take(&mut rest),
    })
}
