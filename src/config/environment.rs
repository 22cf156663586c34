//! What does `"${NAME}"` in a string of the file become?

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::located::Complaint;

/// The variables that the file may name, read once.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// This process's variables; those that are not UTF-8 count as unset.
    pub fn of_process() -> Self {
        let readable =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(readable.collect())
    }

    /// The value of `name`.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Puts the environment into a text of the file.
    ///
    /// `${NAME}` is the value of NAME; `${NAME:-x}` is x where NAME is unset or empty; `$${` is `${`. Any other `$`
    /// stands for itself. Values are not looked through again.
    pub(crate) fn fill<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Complaint> {
        if !text.contains("${") {
            return Ok(Cow::Borrowed(text));
        }
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = after;
                continue;
            }
            filled.push_str(before);
            let Some((expression, after)) = after.split_once('}') else {
                return Err(Complaint::new(
                    "`${` is not closed",
                    "write ${NAME} or ${NAME:-default}; $${ for a literal ${",
                ));
            };
            filled.push_str(self.value_of(expression)?);
            rest = after;
        }
        filled.push_str(rest);
        Ok(Cow::Owned(filled))
    }

    /// The value of what stands between the braces.
    fn value_of<'v>(&'v self, expression: &'v str) -> Result<&'v str, Complaint> {
        let (name, default) = match expression.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (expression, None),
        };
        if !is_name(name) {
            let what = format!("`{name}` is not the name of an environment variable");
            return Err(Complaint::new(what, "write ${NAME} or ${NAME:-default}; $${ for a literal ${"));
        }
        match (self.variable(name), default) {
            (Some("") | None, Some(default)) => Ok(default),
            (Some(value), _) => Ok(value),
            (None, None) => Err(Complaint::new(
                format!("the environment variable {name} is not set"),
                format!("set {name}, or write ${{{name}:-default}}"),
            )),
        }
    }
}

/// For tests and embedders: exactly these variables.
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// Names only: values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_word) && !name.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_take_values_from_the_environment() {
        let environment = Environment::from([("HOST", "10.0.0.7"), ("EMPTY", ""), ("TRICK", "${HOST}")]);
        let cases = [
            // text                    want                            why
            ("plain", Ok("plain"), "nothing to do"),
            ("${HOST}", Ok("10.0.0.7"), "the value"),
            ("http://${HOST}:80", Ok("http://10.0.0.7:80"), "in the middle"),
            ("${HOST}${HOST}", Ok("10.0.0.710.0.0.7"), "twice"),
            ("${NONE:-x}", Ok("x"), "unset: the default"),
            ("${EMPTY:-x}", Ok("x"), "empty counts as unset for a default, as in a shell"),
            ("${EMPTY}", Ok(""), "empty is set"),
            ("${NONE:-}", Ok(""), "the default may be empty"),
            ("${NONE:-a:-b}", Ok("a:-b"), "the first :- parts"),
            ("$${HOST}", Ok("${HOST}"), "escaped"),
            ("^/x$", Ok("^/x$"), "a lone $ is itself"),
            ("$HOST", Ok("$HOST"), "no braces: itself"),
            ("${TRICK}", Ok("${HOST}"), "values are not looked through again"),
            ("${NONE}", Err("NONE is not set"), "the name is told"),
            ("${HOST", Err("not closed"), "unclosed"),
            ("${}", Err("not the name"), "no name"),
            ("${1A}", Err("not the name"), "no digit first"),
            ("${A B}", Err("not the name"), "no space"),
        ];
        for (text, want, why) in cases {
            match (environment.fill(text), want) {
                (Ok(filled), Ok(want)) => assert_eq!(filled, want, "{text}: {why}"),
                (Err(complaint), Err(words)) => assert!(complaint.what.contains(words), "{text}: {why}: {complaint}"),
                (got, want) => panic!("{text}: {why}: {got:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn values_are_not_shown_when_debugging() {
        let shown = format!("{:?}", Environment::from([("LARDER_TOKEN", "hush")]));
        assert!(shown.contains("LARDER_TOKEN") && !shown.contains("hush"), "{shown}");
    }
}
