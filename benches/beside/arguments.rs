//! What is to be measured, and for how long?

use std::path::PathBuf;

use crate::{Failure, alone, workloads};

pub(crate) const USAGE: &str =
    "usage: benches/beside/run [WORKLOAD …] [--rounds N] [--seconds S] [--long] [--smoke] [--list]";

/// The command line, and `LARDER`.
#[derive(Clone)]
pub(crate) struct Arguments {
    names: Vec<String>,
    /// Rounds, of which medians are taken.
    pub(crate) rounds: usize,
    /// Seconds of one load.
    pub(crate) seconds: u64,
    /// Nothing is measured; each workload is tried.
    pub(crate) smoke: bool,
    /// What takes minutes is measured, too.
    pub(crate) long: bool,
    /// The binary.
    pub(crate) larder: PathBuf,
}

impl Arguments {
    /// Without `--bench`, which `cargo bench` adds, it is a test: smoke.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let larder = std::env::var_os("LARDER").unwrap_or_else(|| env!("CARGO_BIN_EXE_larder").into());
        let larder = std::fs::canonicalize(&larder).map_err(|error| format!("{}: {error}", larder.display()))?;
        let mut own = Self { names: Vec::new(), rounds: 5, seconds: 3, smoke: true, long: false, larder };
        let mut smoke = false;
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => own.smoke = false,
                "--smoke" => smoke = true,
                "--long" => own.long = true,
                "--rounds" => own.rounds = number(&word, words.next())?.max(1),
                "--seconds" => own.seconds = number(&word, words.next())?.max(1) as u64,
                "--list" => {
                    names().for_each(|name| eprintln!("{name}"));
                    std::process::exit(0);
                }
                name if names().any(|known| known == name) => own.names.push(word),
                _ => return Err(format!("{word}: not a workload (--list names them), and no option").into()),
            }
        }
        own.smoke |= smoke;
        Ok(own)
    }

    /// The same for one round.
    pub(crate) fn once(&self) -> Self {
        Self { rounds: 1, ..self.clone() }
    }

    /// Whether this workload was named, or none.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}

fn number(option: &str, value: Option<String>) -> Result<usize, Failure> {
    let value = value.and_then(|value| value.parse().ok());
    Ok(value.ok_or_else(|| format!("{option} takes a number"))?)
}

fn names() -> impl Iterator<Item = &'static str> {
    let compared = workloads::all().into_iter().map(|workload| workload.name);
    compared.chain([crate::stampede::NAME]).chain(alone::NAMES)
}
