//! What does Larder cost beside other caches, on this machine, today? `benches/beside/run` builds a release and runs this.
//!
//! Each server caches, with one worker, on one core; what loads it and the origin are on another. The servers take turns,
//! several rounds long, and medians are shown: a machine that is slower for a while is so for all of them. The figure that
//! counts is processor time per request. Neither waiting nor the load is in it, but what it takes to fall asleep and wake is:
//! so the load is faster than the servers. `--smoke`, and `cargo test --bench beside`, only check that everybody answers as
//! was meant.

mod alone;
mod arguments;
mod client;
mod compare;
mod cpu;
mod generator;
mod load;
mod origin;
mod process;
mod servers;
mod stampede;
mod table;
mod workloads;

use std::process::ExitCode;

use arguments::Arguments;
use origin::Origin;
use servers::Place;

/// What went wrong, in words.
pub(crate) type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments = match Arguments::of_process() {
        Ok(arguments) => arguments,
        Err(failure) => {
            eprintln!("error: {failure}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    process::end_with_signals();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let cores = cpu::Cores::divide()?;
    cores.take_the_load()?;
    let place = Place::new(Origin::start()?, cores)?;
    if !arguments.smoke {
        table::say(&table::circumstances(arguments, &place));
    }
    compare::all(arguments, &place)?;
    alone::all(arguments, &place)
}
