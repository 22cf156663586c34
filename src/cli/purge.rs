//! `larder purge`: has what is stored taken away, and says who confirms it.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::answer::Failure;
use super::client::{self, Answer, Question};
use super::listener::Listener;
use super::print;
use super::receipt::{self, listed};
use crate::wire::purge::{PurgeRequest, Receipt, Status, UrlItem, Wait};

/// What is asked.
const PATH: &str = "/purge";

/// Takes stored responses away: by tag, URL, prefix, host, or all of them.
///
/// It asks the admin listener of a running proxy and prints its receipt. Once it is confirmed, nothing that was fetched
/// from the origin before is served as fresh. Everything that is named goes, in one purge. Nobody is asked whether they
/// are sure, not for --all either: --dry-run tells before. Where nothing stored matches, it is a success all the same: what is
/// on its way from the origin is purged too.
///
/// Exit code: 0 when it is confirmed as asked; 1 when it is not (nodes that lag are named), or the proxy cannot be
/// asked; 2 when the arguments are wrong. The receipt is printed on standard output, errors on standard error; with --json
/// standard output has one JSON value: the answer as it came, or an object with the `reason` of the failure. A command
/// line that cannot be read is told of on standard error alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  larder purge --tag product-17 --tag prices         everything with either tag
  larder purge --url 'https://shop.example/a?b=1'    every variant of it, for every method
  larder purge --prefix https://shop.example/api/    everything that begins so
  larder purge --host shop.example --soft            stale, not gone
  larder purge --all --dry-run                       how many would go
  larder purge --tag prices --wait all && deploy     when every node has it
  larder purge --all --admin http://edge-1:9080 --json | jq .seq")]
pub(super) struct Arguments {
    /// Responses that carry this tag; may be repeated
    // A tag may begin with any character.
    #[arg(long = "tag", value_name = "TAG", allow_hyphen_values = true)]
    tags: Vec<String>,
    /// This absolute URL, as clients use it; may be repeated
    #[arg(long = "url", value_name = "URL")]
    urls: Vec<String>,
    /// URLs that begin so: absolute, with at least the slash after the host; may be repeated
    #[arg(long = "prefix", value_name = "URL")]
    prefixes: Vec<String>,
    /// Responses of this host, on any port where none is named; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Make it stale rather than gone
    #[arg(long)]
    soft: bool,
    /// Say what would match, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Who has to confirm it: the node that is asked, or every live one
    #[arg(long, value_name = "WHO", default_value = "edge")]
    wait: Confirmation,
    /// Print the receipt as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    listener: Listener,
}

/// Who has to confirm a purge.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Confirmation {
    Edge,
    All,
}

impl Arguments {
    /// What is asked for.
    fn request(&self) -> Result<PurgeRequest, Failure> {
        let names = [&self.tags, &self.urls, &self.prefixes, &self.hosts];
        if !self.all && names.iter().all(|names| names.is_empty()) {
            let say =
                "nothing is named; say what with --tag, --url, --prefix or --host, or purge everything with --all";
            return Err(Failure::usage(say));
        }
        if let Some(tag) = self.tags.iter().find(|tag| is_option(tag)) {
            return Err(Failure::usage(format!("--tag is followed by the option {tag}; write the tag between them")));
        }
        Ok(PurgeRequest {
            tags: self.tags.clone(),
            urls: self.urls.iter().cloned().map(UrlItem::Url).collect(),
            prefixes: self.prefixes.clone(),
            hosts: self.hosts.clone(),
            everything: self.all,
            soft: self.soft,
            dry_run: self.dry_run,
            wait: match self.wait {
                Confirmation::Edge => Wait::Edge,
                Confirmation::All => Wait::All,
            },
        })
    }

    /// Asks for it; the answer, and the receipt in it.
    fn ask(&self, request: &PurgeRequest) -> Result<(Answer, Receipt), Failure> {
        let body = serde_json::to_vec(request).expect("strings and flags are JSON");
        let question = Question { method: Method::POST, target: PATH.to_owned(), body };
        let answer = client::ask(&self.listener, question).map_err(|unanswered| {
            let may_be_done = unanswered.may_be_done() && !self.dry_run;
            let failure = Failure::from(unanswered);
            if may_be_done { failure.and("; the purge may be done all the same: `GET /purges` tells") } else { failure }
        })?;
        let receipt = match answer.status {
            StatusCode::OK => answer.read(&self.listener.admin)?,
            StatusCode::ACCEPTED => self.read_unconfirmed(&answer)?,
            // With a receipt: done by the node that was asked. Without: not done.
            StatusCode::SERVICE_UNAVAILABLE => {
                self.read_unconfirmed(&answer).map_err(|_| answer.refusal(&self.listener, PATH))?
            }
            _ => return Err(answer.refusal(&self.listener, PATH)),
        };
        Ok((answer, receipt))
    }

    /// Reads a receipt that confirms nothing, whatever its word for that: the answer's own status says enough, and a
    /// proxy of another version may have more words.
    fn read_unconfirmed(&self, answer: &Answer) -> Result<Receipt, Failure> {
        let mut object: Map<String, Value> = answer.read(&self.listener.admin)?;
        object.insert("status".to_owned(), json!(Status::Ok));
        serde_json::from_value(object.into()).map_err(|_| answer.foreign(&self.listener.admin))
    }
}

/// Whether a tag is one of our options, whose value was forgotten: `--tag --soft` would purge what nobody meant, hard.
fn is_option(tag: &str) -> bool {
    let command = Arguments::augment_args(clap::Command::new("purge"));
    let name = tag.split_once('=').map_or(tag, |(name, _)| name);
    name.strip_prefix("--").is_some_and(|name| command.get_opts().any(|option| option.get_long() == Some(name)))
}

/// Purges, and tells.
pub(super) fn purge(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let told = arguments.request().and_then(|request| arguments.ask(&request));
    let (answer, receipt) = match told {
        Ok(told) => told,
        Err(failure) => return failure.tell(arguments.json),
    };
    if !arguments.json {
        print(&format!("{}\n", receipt::sentence(&receipt)))?;
    }
    match unconfirmed(&answer, &receipt, arguments.dry_run) {
        Some(reason) => answer.failure(reason).tell(arguments.json),
        None if arguments.json => answer.print().map(|()| ExitCode::SUCCESS),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Why a purge that has a receipt is not confirmed as asked; `None`: it is.
fn unconfirmed(answer: &Answer, receipt: &Receipt, dry_run: bool) -> Option<String> {
    let want = if dry_run { Status::DryRun } else { Status::Ok };
    if answer.status == StatusCode::OK && receipt.status == want {
        return None;
    }
    let status = answer.status.as_u16();
    let lagging = listed(&receipt.nodes.lagging);
    Some(match (answer.status, lagging.is_empty()) {
        (StatusCode::SERVICE_UNAVAILABLE, _) => {
            format!(
                "the other nodes could not be told ({status}): the one that was asked has purged it and keeps trying"
            )
        }
        (_, false) => {
            format!("not confirmed in time by {lagging} ({status}): until it is, what was purged may be served there")
        }
        _ => format!("the purge is not confirmed as asked ({status})"),
    })
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

    /// The request's JSON for these arguments, or the complaint.
    fn asked(line: &[&str]) -> Result<String, String> {
        let line = Line::try_parse_from([&["purge"], line].concat()).map_err(|error| error.to_string())?;
        let request = line.arguments.request().map_err(|failure| format!("{failure:?}"))?;
        Ok(serde_json::to_string(&request).expect("a request is JSON"))
    }

    #[test]
    fn arguments_become_one_request() {
        let edge = "\"wait\":\"edge\"";
        let cases: [(&[&str], &str, &str); 14] = [
            (&["--tag", "a"], "{\"tags\":[\"a\"],EDGE}", "a tag"),
            (&["--tag", "a", "--tag=b,c"], "{\"tags\":[\"a\",\"b,c\"],EDGE}", "two; a comma is part of a tag"),
            (&["--url", "http://h/?a=b"], "{\"urls\":[\"http://h/?a=b\"],EDGE}", "a URL, as it is"),
            (&["--prefix", "http://h/a"], "{\"prefixes\":[\"http://h/a\"],EDGE}", "a prefix"),
            (&["--host", "h:1", "--host", "i"], "{\"hosts\":[\"h:1\",\"i\"],EDGE}", "hosts"),
            (&["--all"], "{\"everything\":true,EDGE}", "everything"),
            (&["--all", "--tag", "a"], "{\"tags\":[\"a\"],\"everything\":true,EDGE}", "everything, and more"),
            (&["--all", "--soft"], "{\"everything\":true,\"soft\":true,EDGE}", "softly"),
            (&["--all", "--dry-run"], "{\"everything\":true,\"dry_run\":true,EDGE}", "not really"),
            (&["--all", "--wait", "all"], "{\"everything\":true,\"wait\":\"all\"}", "confirmed by all"),
            (&["--all", "--wait", "edge"], "{\"everything\":true,EDGE}", "the default, said"),
            (&["--tag", "-17"], "{\"tags\":[\"-17\"],EDGE}", "a tag may begin with a hyphen"),
            (&["--tag", "--sale"], "{\"tags\":[\"--sale\"],EDGE}", "or with two"),
            (&["--tag", ""], "{\"tags\":[\"\"],EDGE}", "an empty one is for the listener to judge"),
        ];
        for (line, want, why) in cases {
            assert_eq!(asked(line).as_deref(), Ok(want.replace("EDGE", edge).as_str()), "{line:?}: {why}");
        }
    }

    #[test]
    fn arguments_that_name_nothing_sound_are_refused() {
        let cases: [(&[&str], &str, &str); 10] = [
            (&[], "say what with --tag, --url, --prefix or --host", "nothing is named"),
            (&["--soft", "--dry-run"], "nothing is named", "how, but not what"),
            (&["--tag"], "a value is required", "no tag"),
            (&["--tag", "--soft"], "write the tag between", "a forgotten tag takes the next option"),
            (&["--tag", "--wait=all"], "write the tag between", "also one with its value"),
            (&["--tag", "--token"], "write the tag between", "also one of those that all commands have"),
            (&["--all", "--wait", "nobody"], "[possible values: edge, all]", "nobody confirms"),
            (&["--all", "--admin", "h:9080"], "must begin with http://", "no URL"),
            (&["http://h/a"], "unexpected argument", "what is it?"),
            (&["--everything"], "unexpected argument", "the name of the API"),
        ];
        for (line, want, why) in cases {
            let said = asked(line).expect_err(why);
            assert!(said.contains(want), "{line:?}: {why}: {said}");
        }
    }
}
