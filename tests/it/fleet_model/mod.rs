//! Does the log of purges keep its promises, whatever becomes of Redis and of the nodes?
//!
//! A simulation: fleets, followers and ledgers as they are, on one thread and in a time that passes when it is told to,
//! before a Redis that does what the scripts do, loses requests and answers, fails over to a replica that lacks the end,
//! is flushed, trimmed and written to by others; and nodes that are cut off, frozen, and started anew. Beside it an
//! account of what was fetched and purged when, which knows nothing of stamps. Held against each other at every look-up:
//!
//! 1. once a purge was announced on a node, told to the log or not, that node never again uses unasked what was fetched
//!    before and is named by it: from its memory or from the second tier;
//! 2. nor does a node that was said to have it, nor, once all that live were said to have it, any node that lived then,
//!    cut off and frozen ones too. (Not so where the log has just been lost, and the node that says so began after that:
//!    it cannot know who followed the one before, and still uses what is stored, for `max_lag` at the most);
//! 3. nor does a node that began later, once it hears the log, if the log had the purge when it began, and no master
//!    went away meanwhile. Between a fail-over that loses a purge and the moment when a node that knows it has added it
//!    again, a node that begins cannot know it. Where all that knew it have ended before, nobody does;
//! 4. nor does anybody, once nothing has gone wrong for a while, if the log has the purge, or the node that was asked
//!    for it lives; and by then every node hears the log, and has told it all;
//! 5. where nothing goes wrong, what was fetched with all purges known that name it answers.
//!
//! It is assumed that a new master's clock is not behind the last number that the old one gave: that its clock is wrong by
//! less than the fail-over took. What holds where it is not has tests of its own.
//!
//! `LARDER_MODEL_SEED=7` runs one order again, `LARDER_MODEL_RUNS=5000` runs more of them.

mod account;
mod bench;
mod cases;
mod faults;
mod log;
mod node;
mod redis;
mod store;
mod world;

use self::world::World;

/// Orders that are run each time, and steps of each.
const RUNS: u64 = 100;
const STEPS: usize = 150;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn no_loss_of_the_log_brings_back_what_was_purged() {
    let seeds = match number("LARDER_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LARDER_MODEL_RUNS").unwrap_or(RUNS),
    };
    let mut all = world::Seen::default();
    for seed in seeds.clone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("the system gives a runtime");
        let (outcome, trace, seen) = runtime.block_on(async {
            let mut world = World::new(seed);
            let outcome = world.run(STEPS).await;
            (outcome, world.traced(), world.seen)
        });
        if let Err(violation) = outcome {
            panic!("how it came about:\n{trace}\n\nseed {seed}: {violation}");
        }
        all.add(seen);
    }
    // What never comes about is not tested.
    if seeds.end - seeds.start >= RUNS {
        assert!(all.is_varied(), "{all:?}");
    }
    eprintln!("{all:?}");
}
