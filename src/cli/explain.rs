//! `larder explain`: what would the running proxy do with this request, and why?

use std::fmt::Write;
use std::io;
use std::process::ExitCode;

use clap::Args;
use http::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::Failure;
use super::client::{self, Answer, Question};
use super::listener::Listener;
use super::{explanation, print, shows_colour};
use crate::wire::explain::Explanation;

/// What is asked.
const PATH: &str = "/explain";

/// What a query's value may not hold as it is: everything but the unreserved characters of RFC 3986 §2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Says what the running proxy would do with a request now, and why.
///
/// Nothing is fetched, stored or changed. The proxy decides as it would for a client: which rules apply, under which key it
/// looks, what is stored there, which purge took it away, and what the smallest change is that would make it a hit.
///
/// Exit code: 0 when it is explained, whatever the verdict; 1 when the proxy cannot be asked; 2 when the arguments are wrong.
/// With --json standard output has one JSON value: the explanation, or an object with the `reason` of the failure. A command
/// line that cannot be read is told of on standard error alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder explain https://shop.example/api/products
  larder explain 'https://shop.example/a?b=1' -H 'accept-language: de' -H 'cookie: session=1'
  larder explain https://shop.example/api/orders --method POST
  larder explain https://shop.example/ --json | jq -r .verdict.result")]
pub(super) struct Arguments {
    /// The absolute URL, as clients use it
    url: String,
    /// The method
    #[arg(short, long, default_value = "GET")]
    method: Method,
    /// A field of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<String>,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    listener: Listener,
}

/// A field as curl takes it; the listener judges what it says.
fn field(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if http::HeaderName::try_from(name).is_ok() => Ok(text.to_owned()),
        _ => Err("write it like 'accept-language: de'".to_owned()),
    }
}

impl Arguments {
    /// Path and query of the question.
    fn target(&self) -> String {
        let mut target = format!("{PATH}?url={}", encoded(&self.url));
        let method = ("method", self.method.as_str());
        for (name, value) in std::iter::once(method).chain(self.headers.iter().map(|field| ("header", field.as_str())))
        {
            let _ = write!(target, "&{name}={}", encoded(value));
        }
        target
    }

    fn ask(&self) -> Result<(Answer, Explanation), Failure> {
        let question = Question { method: Method::GET, target: self.target(), body: Vec::new() };
        let answer = client::ask(&self.listener, question)?;
        if answer.status != StatusCode::OK {
            return Err(answer.refusal(&self.listener, PATH));
        }
        let explanation = answer.read(&self.listener.admin)?;
        Ok((answer, explanation))
    }
}

fn encoded(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, ENCODED)
}

/// Asks, and tells.
pub(super) fn explain(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match arguments.ask() {
        Ok((answer, _)) if arguments.json => answer.print()?,
        Ok((_, explanation)) => print(&explanation::page(&explanation, shows_colour(&io::stdout())))?,
        Err(failure) => return failure.tell(arguments.json),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn asked(line: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from([&["explain"], line].concat()).map_err(|error| error.to_string())?;
        Ok(line.arguments.target())
    }

    #[test]
    fn arguments_become_a_query_that_means_the_same() {
        let cases: [(&[&str], &str, &str); 6] = [
            (&["http://h/a"], "/explain?url=http%3A%2F%2Fh%2Fa&method=GET", "GET unless said otherwise"),
            (&["http://h/?a=%20&b"], "/explain?url=http%3A%2F%2Fh%2F%3Fa%3D%2520%26b&method=GET", "its own query"),
            (&["http://h/", "-m", "HEAD"], "/explain?url=http%3A%2F%2Fh%2F&method=HEAD", "another method"),
            (&["http://h/", "--method", "PURGE"], "/explain?url=http%3A%2F%2Fh%2F&method=PURGE", "one of no standard"),
            (
                &["x", "-H", "cookie: a=b; c=d+e", "--header", "x:"],
                "/explain?url=x&method=GET&header=cookie%3A%20a%3Db%3B%20c%3Dd%2Be&header=x%3A",
                "fields in their order",
            ),
            (&["ü"], "/explain?url=%C3%BC&method=GET", "what is no URL is for the listener to judge"),
        ];
        for (line, want, why) in cases {
            assert_eq!(asked(line).as_deref(), Ok(want), "{line:?}: {why}");
        }
    }

    #[test]
    fn arguments_that_are_no_request_are_refused() {
        let cases: [(&[&str], &str, &str); 5] = [
            (&[], "<URL>", "no URL"),
            (&["http://h/", "-H", "accept"], "write it like", "no value"),
            (&["http://h/", "-H", ": de"], "write it like", "no name"),
            (&["http://h/", "-H", "a b: c"], "write it like", "no name either"),
            (&["http://h/", "--method", "A B"], "--method", "no method"),
        ];
        for (line, want, why) in cases {
            let said = asked(line).expect_err(why);
            assert!(said.contains(want), "{line:?}: {why}: {said}");
        }
    }
}
