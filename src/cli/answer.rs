//! What does an answer of the admin listener mean for a command: a result, or which failure?

use std::process::ExitCode;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderName;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::client::{Answer, Unanswered};
use super::listener::{AdminUrl, DEFAULT, Listener};
use super::{UNUSABLE, print, say, visible};
use crate::wire::purge::Problem;

/// Set on everything that went through a public listener, and on nothing else.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The exit code of a failure that is no usage error.
const FAILED: u8 = 1;

/// Why a command that asks a running proxy has not succeeded.
#[derive(Debug)]
pub(super) struct Failure {
    /// The exit code.
    code: u8,
    /// For people; one line, safe on a terminal.
    reason: String,
    /// The status of the answer, where one came.
    status: Option<StatusCode>,
    /// The JSON that came, where some did.
    json: Option<Bytes>,
}

impl Failure {
    /// The arguments are wrong.
    pub(super) fn usage(reason: impl Into<String>) -> Self {
        Self { code: UNUSABLE, reason: reason.into(), status: None, json: None }
    }

    /// Adds to what is told to people.
    pub(super) fn and(mut self, more: &str) -> Self {
        self.reason.push_str(more);
        self
    }

    /// Tells people on standard error; with `--json` programs too, on standard output: the JSON that came, else an
    /// object with the `reason`, and with the `status` where there was an answer.
    pub(super) fn tell(self, json: bool) -> anyhow::Result<ExitCode> {
        say(&format!("error: {}\n", self.reason));
        match &self.json {
            _ if !json => {}
            Some(bytes) => print_json(bytes)?,
            None => print(&format!("{}\n", self.object()))?,
        }
        Ok(ExitCode::from(self.code))
    }

    fn object(&self) -> Value {
        let mut object = json!({ "reason": self.reason });
        if let Some(status) = self.status {
            object["status"] = status.as_u16().into();
        }
        object
    }
}

/// Prints JSON as it came, as a line.
fn print_json(bytes: &Bytes) -> anyhow::Result<()> {
    print(&format!("{}\n", String::from_utf8_lossy(bytes).trim_end()))
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        let code = if unanswered.is_usage() { UNUSABLE } else { FAILED };
        let reason = format!("{:#}", anyhow::Error::from(unanswered));
        Self { code, reason: visible(&reason).into_owned(), status: None, json: None }
    }
}

impl Answer {
    /// Prints its JSON as it came.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        print_json(&self.body)
    }

    /// Reads it as what was asked for.
    ///
    /// # Errors
    ///
    /// It is something else: not Larder, or not its admin listener.
    pub(super) fn read<T: DeserializeOwned>(&self, url: &AdminUrl) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|_| self.foreign(url))
    }

    /// The failure of an answer that is no success, whoever it comes from.
    pub(super) fn refusal(&self, listener: &Listener, path: &str) -> Failure {
        let url = &listener.admin;
        let problem = serde_json::from_slice::<Problem>(&self.body).ok();
        let said = problem.as_ref().map(|problem| visible(&problem.reason));
        let status = self.status.as_u16();
        match (status, said) {
            // A token is asked for also by what may stand before the listener.
            (401 | 403, _) if listener.token.is_given() => {
                self.failure(format!("{url} does not take the token ({status}): it must be its admin.token"))
            }
            (401 | 403, _) => {
                self.failure(format!("{url} wants the token ({status}): give it with LARDER_TOKEN or --token"))
            }
            (404 | 405, Some(said)) => {
                self.failure(format!("{url} has no {path} ({status}: {said}): is it the same version?"))
            }
            (400 | 413 | 414 | 431, Some(said)) => self.misuse(said.into_owned()),
            // Refused before anybody could say why: HTTP itself was in the way.
            (400 | 413 | 414 | 431, None) if self.body.is_empty() => {
                self.misuse(format!("what is asked is too long for {url}, or no HTTP ({status})"))
            }
            (_, Some(said)) => self.failure(format!("{said} ({status})")),
            (_, None) => self.foreign(url),
        }
    }

    /// The failure of an answer that Larder's admin listener does not give.
    pub(super) fn foreign(&self, url: &AdminUrl) -> Failure {
        let is_public = self.fields.get(CACHE_STATUS).is_some_and(|value| value.as_bytes().starts_with(b"larder"));
        let what = if is_public {
            "is a public listener, not the admin listener"
        } else {
            "does not look like Larder's admin listener"
        };
        let status = self.status.as_u16();
        self.failure(format!("{url} {what} (it answered {status}); by default that is {DEFAULT}"))
    }

    /// A failure for which this answer is the ground.
    pub(super) fn failure(&self, reason: String) -> Failure {
        let json = serde_json::from_slice::<IgnoredAny>(&self.body).is_ok().then(|| self.body.clone());
        Failure { code: FAILED, reason, status: Some(self.status), json }
    }

    /// The same, where the arguments are to blame.
    fn misuse(&self, reason: String) -> Failure {
        Failure { code: UNUSABLE, ..self.failure(reason) }
    }
}
