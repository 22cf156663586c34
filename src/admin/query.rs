//! What does the query of a request say, and does the page know each of its parameters?

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::reply::Fault;
use super::table::Parameter;

/// How many things a page lists where the query does not say.
const DEFAULT_LIMIT: usize = 100;

/// The most things that a page lists.
pub(super) const MAX_LIMIT: usize = 1000;

/// How many letters may be wrong in a name for us to guess the right one.
const NEAR: usize = 3;

/// The parameters of a query, each known to the page.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads a query for a page that knows these parameters.
    ///
    /// `%41` is a byte. `+` is itself, but a space where the parameter may hold one: in URLs and tags it never stands
    /// for a space, and forms write it so.
    ///
    /// # Errors
    ///
    /// 400 for a parameter that the page does not know (a typing error must not widen what is asked), one that comes
    /// twice where it may not, and bytes that are no text.
    pub(super) fn read(query: Option<&str>, known: &'static [Parameter]) -> Result<Self, Fault> {
        let mut read = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decoded(name)?;
            let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
                return Err(unknown(&name, known));
            };
            if !parameter.is_repeated && read.iter().any(|(other, _)| *other == parameter.name) {
                return Err(Fault::bad(format!("{} is given twice", parameter.name)));
            }
            let value =
                if parameter.may_hold_spaces { Cow::Owned(value.replace('+', " ")) } else { Cow::Borrowed(value) };
            read.push((parameter.name, decoded(&value)?));
        }
        Ok(Self(read))
    }

    /// The value of a parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// The values of a parameter that may be repeated.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// How many things to list, at most.
    ///
    /// # Errors
    ///
    /// 400: not a whole number from 1 to [`MAX_LIMIT`].
    pub(super) fn limit(&self) -> Result<usize, Fault> {
        let Some(text) = self.value("limit") else { return Ok(DEFAULT_LIMIT) };
        // `parse` alone would take a plus.
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_number { text.parse().ok() } else { None };
        number
            .filter(|number| (1..=MAX_LIMIT).contains(number))
            .ok_or_else(|| Fault::bad(format!("limit is a whole number from 1 to {MAX_LIMIT}, and not {text:?}")))
    }
}

fn decoded(text: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| Fault::bad(format!("{text} in the query is no UTF-8 when decoded")))
}

/// What is said of a parameter that the page does not know.
fn unknown(name: &str, known: &[Parameter]) -> Fault {
    let names = || known.iter().map(|parameter| parameter.name);
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_lowercase(), known);
    // The distance is quadratic: a megabyte of a name is nobody's typing error.
    let nearest = if name.len() <= 32 { names().min_by_key(|known| distance(known)) } else { None };
    let hint = match nearest.filter(|nearest| distance(nearest) <= NEAR.min(nearest.len() - 1)) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None if known.is_empty() => "this takes none".to_owned(),
        None => format!("this takes {}; a & within a value is written %26", names().collect::<Vec<_>>().join(", ")),
    };
    Fault::bad(format!("there is no query parameter {name:?} here: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Parameter] = &[
        Parameter {
            name: "url",
            is_repeated: false,
            may_hold_spaces: false,
            is_number: false,
            is_required: false,
            says: "",
        },
        Parameter {
            name: "header",
            is_repeated: true,
            may_hold_spaces: true,
            is_number: false,
            is_required: false,
            says: "",
        },
        Parameter {
            name: "limit",
            is_repeated: false,
            may_hold_spaces: false,
            is_number: true,
            is_required: false,
            says: "",
        },
    ];

    #[test]
    fn values_are_decoded_as_their_parameters_need_it() {
        let cases = [
            ("url=http%3A%2F%2Fa%2F%3Fx%3D1", "url", vec!["http://a/?x=1"], "percent-encoded"),
            ("url=http://a/?x=1", "url", vec!["http://a/?x=1"], "as it is: only the first = divides"),
            ("url=a+b", "url", vec!["a+b"], "no URL holds a space"),
            ("header=a:+b%2Bc", "header", vec!["a: b+c"], "a form's space"),
            ("header=a:1&&header=b:2", "header", vec!["a:1", "b:2"], "repeated"),
            ("url", "url", vec![""], "there, and empty"),
            ("", "url", vec![], "nothing"),
        ];
        for (text, name, want, why) in cases {
            let query = Query::read(Some(text), KNOWN).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(query.values(name).collect::<Vec<_>>(), want, "{why}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_ignored() {
        let long = "x".repeat(60_000);
        let cases = [
            ("ulr=x", "did you mean url?", "the nearest"),
            ("URL=x", "did you mean url?", "case counts"),
            ("zzzzzz=x", "this takes url, header, limit", "nothing near"),
            (&*long, "this takes url", "too long to be a typing error"),
            ("url=a&url=b", "url is given twice", "which one counts?"),
            ("url=%ff", "no UTF-8", "not text"),
        ];
        for (text, says, why) in cases {
            let fault = Query::read(Some(text), KNOWN).expect_err(why);
            assert!(format!("{fault:?}").contains(says), "{why}: {fault:?}");
        }
    }

    #[test]
    fn a_limit_is_a_whole_number_within_bounds() {
        let cases = [
            ("", Some(DEFAULT_LIMIT), "not given"),
            ("limit=1", Some(1), "the least"),
            ("limit=1000", Some(1000), "the most"),
            ("limit=0", None, "nothing"),
            ("limit=1001", None, "too much"),
            ("limit=%2B5", None, "a sign"),
            ("limit=-1", None, "negative"),
            ("limit=1e2", None, "not whole digits"),
            ("limit=", None, "empty"),
            ("limit=99999999999999999999999", None, "no number of ours"),
        ];
        for (text, want, why) in cases {
            let query = Query::read(Some(text), KNOWN).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
            assert_eq!(query.limit().ok(), want, "{why}");
        }
    }
}
