//! Why is there no certificate, and what does that say of the next attempt?

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use instant_acme::{Error, Problem};

use crate::tls::challenge::ChallengeError;
use crate::tls::in_one_line;
use crate::tls::outgoing::TrustError;
use crate::tls::pair::PairError;

/// Letters of what an authority says that are passed on: some sentences.
const MOST_LETTERS: usize = 600;

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The authority refused, or could not be reached. Its text is told here and not as a cause: it is somebody else's, and
    /// has to be cleaned.
    #[error("{}", said(.0))]
    Authority(Error),
    /// The authority looked, and did not find what it looked for.
    #[error("the authority did not find the host to be ours (by {by}): {said}")]
    Unproven {
        /// How it looked.
        by: &'static str,
        /// What it says.
        said: String,
        /// Whether it would have looked in the other way, too.
        has_other: bool,
    },
    /// The authority would look in no way that we can answer.
    #[error("the authority offers neither tls-alpn-01 nor http-01")]
    NothingOffered,
    /// There is nobody to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No challenge can be answered.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// No key or request can be made.
    #[error("no key can be made")]
    Key(#[from] rcgen::Error),
    /// What was issued cannot be used.
    #[error("what was issued cannot be used")]
    Issued(#[source] PairError),
    /// What was issued is for others.
    #[error("what was issued is for {0}")]
    OtherHost(String),
    /// The folder cannot be used: without it, every start would order anew.
    #[error("acme.cache cannot be used")]
    Folder(#[source] io::Error),
    /// It took too long.
    #[error("the authority took longer than {0:?}")]
    TimedOut(Duration),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Authority(error)
    }
}

impl Failure {
    /// Whether the authority said nothing: then it is asked again sooner, as no limit of its own counts that.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Authority(error) => !matches!(error, Error::Api(_)),
            Self::Trust(_) | Self::Folder(_) | Self::TimedOut(_) => true,
            _ => false,
        }
    }

    /// Whether another way to prove the host may do better.
    pub(super) fn is_of_the_way(&self) -> bool {
        matches!(self, Self::Unproven { has_other: true, .. })
    }

    /// Whether the authority has had enough of us for now. RFC 8555 §6.6.
    pub(super) fn is_limit(&self) -> bool {
        matches!(self, Self::Authority(error) if is_problem(error, "rateLimited"))
    }
}

/// Whether the authority named this error of RFC 8555 §6.7.
pub(super) fn is_problem(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref().and_then(|it| it.strip_prefix("urn:ietf:params:acme:error:")) == Some(kind)
}

fn said(error: &Error) -> String {
    match error {
        Error::Api(problem) => format!("the authority says: {}", in_words(problem)),
        Error::Other(error) => format!("the authority gave no answer: {}", plain(&in_one_line(&**error))),
        other => format!("the authority's answer is of no use: {}", plain(&other.to_string())),
    }
}

/// What an authority says, fit for one line.
pub(super) fn in_words(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_default();
    for part in &problem.subproblems {
        let _ = write!(text, "; {part}");
    }
    if let Some(kind) = &problem.r#type {
        let _ = write!(text, " ({kind})");
    }
    plain(&text)
}

fn plain(text: &str) -> String {
    let letters = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    letters.take(MOST_LETTERS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authority_says_is_told_once_and_cannot_forge_lines() {
        let problem = Problem {
            r#type: Some("urn:ietf:params:acme:error:rateLimited".to_owned()),
            detail: Some(format!("no\nERROR forged\u{1b}[31m{}", "x".repeat(2000))),
            status: None,
            subproblems: Vec::new(),
        };
        let failure = Failure::from(Error::Api(problem));
        let told = in_one_line(&failure);
        assert!(told.starts_with("the authority says: no ERROR forged [31mxxx"), "{told}");
        assert!(!told.contains(char::is_control) && told.len() < 700, "{told}");
        assert!(failure.is_limit() && !failure.is_silence());
    }
}
