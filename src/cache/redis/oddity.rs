//! What can be odd about a value that is found in Redis, beyond what its bytes tell?

use crate::cache::codec::Flaw;

/// Why a value in Redis is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oddity {
    /// A record or a chunk is wrong.
    Flaw(Flaw),
    /// The name holds something else than a hash.
    WrongType,
    /// A body without a head.
    Headless,
    /// A response that every request selects, and the names of fields that select one.
    Contradiction,
    /// A response that other request fields select than those that led to it.
    Misplaced,
}

/// Those that are no flaw of a record.
const OWN: [&str; 4] = ["wrong_type", "headless", "contradiction", "misplaced"];

impl Oddity {
    /// Every label.
    pub(super) const LABELS: [&'static str; Flaw::LABELS.len() + OWN.len()] = {
        let mut labels = [""; Flaw::LABELS.len() + OWN.len()];
        let (flaws, own) = labels.split_at_mut(Flaw::LABELS.len());
        flaws.copy_from_slice(&Flaw::LABELS);
        own.copy_from_slice(&OWN);
        labels
    };

    /// Its place among the labels.
    pub(super) const fn place(self) -> usize {
        match self {
            Self::Flaw(flaw) => flaw.place(),
            Self::WrongType => Flaw::LABELS.len(),
            Self::Headless => Flaw::LABELS.len() + 1,
            Self::Contradiction => Flaw::LABELS.len() + 2,
            Self::Misplaced => Flaw::LABELS.len() + 3,
        }
    }
}

impl From<Flaw> for Oddity {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}
