//! What do the strings of `[[rules]]` mean, and which texts are refused?

use http::Method;

use super::refuse;
use crate::config::located::{Complaint, Leaf};
use crate::policy::route::PathPattern;
use crate::policy::treatment::StatusPattern;

/// Bytes that a compiled `match.path_regex` may take: a pattern that wants more would slow down every request.
const REGEX_BYTES: usize = 1024 * 1024;
/// Bytes of a tag that a purge can name.
const TAG_BYTES: usize = 1024;

impl Leaf for Method {
    const WANTED: &'static str = r#"a method such as "GET""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        Self::from_bytes(text.as_bytes())
            .map_err(|_| Complaint::new(format!("{text:?} is not a method"), format!("write {}", Self::WANTED)))
    }
}

impl Leaf for PathPattern {
    const WANTED: &'static str = r#"a path pattern such as "/", "/api/**" or "/users/*/avatar""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() {
            let write = r#"write "/**" for every path, or leave the key out"#;
            return Err(Complaint::new("the path pattern is empty", write));
        }
        Self::parse(text).map_err(|error| {
            let text = error.to_string();
            let (what, write) = text.split_once(": ").unwrap_or((&text, Self::WANTED));
            Complaint::new(what, write)
        })
    }
}

impl Leaf for regex::Regex {
    const WANTED: &'static str = r"a regular expression such as '^/(css|js)/'";

    fn read(text: &str) -> Result<Self, Complaint> {
        regex::RegexBuilder::new(text).size_limit(REGEX_BYTES).build().map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => Complaint::new(
                format!("the regular expression needs more than {limit} bytes"),
                "write a simpler one: fewer or smaller {n,m} repetitions",
            ),
            error => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Complaint::new(format!("the regular expression is wrong: {reason}"), format!("write {}", Self::WANTED))
            }
        })
    }
}

impl Leaf for StatusPattern {
    const WANTED: &'static str = "a status (404) or a class of them (5xx)";
    const PATTERN: Option<&'static str> = Some("[1-5](xx|[0-9][0-9])");

    fn read(text: &str) -> Result<Self, Complaint> {
        let complaint =
            || Complaint::new(format!("`{text}` is not a status"), format!("write {}", <Self as Leaf>::WANTED));
        if let Some(class) = text.strip_suffix("xx") {
            let hundred = class.parse().ok().filter(|hundred| (1..=5).contains(hundred) && class.len() == 1);
            return hundred.map(Self::Class).ok_or_else(complaint);
        }
        let code = text.parse().ok().filter(|code| (100..=599).contains(code) && text.len() == 3);
        code.map(Self::Exact).ok_or_else(complaint)
    }
}

/// A pattern over the names of query parameters, or over the value of a field; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GlobText;

impl Leaf for GlobText {
    const WANTED: &'static str = r#"a text in which * stands for any run of characters, such as "utm_*""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() {
            return Err(Complaint::new("the pattern is empty", format!("write {}", Self::WANTED)));
        }
        Ok(Self)
    }
}

/// One of the values to which `vary` normalises a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VaryValue;

impl Leaf for VaryValue {
    const WANTED: &'static str = r#"a value such as "en" or "br""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',' && byte != b';');
        if fits { Ok(Self) } else { Err(refuse(text, Self::WANTED, "one value, without commas, spaces or weights")) }
    }
}

/// The name of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CookieName;

impl Leaf for CookieName {
    const WANTED: &'static str = r#"the name of a cookie, such as "currency""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"=;,\"".contains(&byte));
        if fits { Ok(Self) } else { Err(refuse(text, Self::WANTED, "without =, comma, semicolon or space")) }
    }
}

/// A tag that a rule adds, with `{n}` for the n-th wildcard of the path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagTemplate {
    /// The largest n that is used; 0: none.
    pub(crate) highest: usize,
}

impl Leaf for TagTemplate {
    const WANTED: &'static str = r#"a tag such as "products" or "product:{1}""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        if text.is_empty() || text.len() > TAG_BYTES {
            let what = format!("a tag has 1 to {TAG_BYTES} bytes, this one {}", text.len());
            return Err(Complaint::new(what, format!("write {}", Self::WANTED)));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return Err(refuse(text, Self::WANTED, "visible ASCII, without spaces and commas: they part tags"));
        }
        let mut highest = 0;
        let mut rest = text;
        while let Some((_, after)) = rest.split_once('{') {
            let number = after.split_once('}').and_then(|(number, _)| number.parse::<usize>().ok());
            let Some(number) = number.filter(|number| *number > 0) else {
                let help = "write {1} for the first wildcard of match.path, {2} for the second";
                return Err(Complaint::new(format!("`{text}`: braces hold the number of a wildcard, from 1"), help));
            };
            highest = highest.max(number);
            rest = after;
        }
        Ok(Self { highest })
    }
}

/// The prefix that is taken off the path; empty: none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StripPrefix;

impl Leaf for StripPrefix {
    const WANTED: &'static str = r#"the beginning of a path, such as "/api""#;

    fn read(text: &str) -> Result<Self, Complaint> {
        let fits = text.is_empty() || (text.starts_with('/') && !text.contains(['?', '#', '*', ' ']));
        if fits { Ok(Self) } else { Err(refuse(text, Self::WANTED, "beginning with /, without wildcards or a query")) }
    }
}
