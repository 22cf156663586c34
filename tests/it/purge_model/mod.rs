//! Does stamp and compare hold in whatever order things happen?
//!
//! A simulation: the conductor as it is, on one thread, before an origin whose heads and bodies come when a random
//! number says so, between requests, purges, evictions and the passing of time. Beside it an account of what was
//! fetched and purged when, which knows nothing of stamps. Held against each other at every answer:
//!
//! 1. nothing that was fetched before an acknowledged purge that names it answers a request that came after the purge:
//!    not at all after a hard one, nor what was revalidated by its validators; not as fresh after a soft one;
//! 2. what is fresh and what no purge names answers at once, and the origin is not asked;
//! 3. every request ends.
//!
//! `LARDER_MODEL_SEED=7` runs one order again, `LARDER_MODEL_RUNS=5000` runs more of them.

mod account;
mod answer;
mod conductor;
mod elsewhere;
mod orders;
mod promotion;
mod script;
mod world;

use self::world::World;

/// Orders that are run each time, and steps of each.
const RUNS: u64 = 80;
const STEPS: usize = 200;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

#[test]
fn no_order_of_events_brings_back_what_was_purged_or_loses_what_was_not() {
    let seeds = match number("LARDER_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LARDER_MODEL_RUNS").unwrap_or(RUNS),
    };
    let mut seen = answer::Seen::default();
    for seed in seeds.clone() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build();
        let runtime = runtime.expect("the system gives a runtime");
        let (outcome, trace) = runtime.block_on(async {
            let mut world = World::of(seed).await;
            let outcome = world.run(STEPS).await;
            seen.add(&world.seen);
            (outcome, world.trace.join("\n"))
        });
        if let Err(violation) = outcome {
            panic!("how it came about:\n{trace}\n\nseed {seed}: {violation}");
        }
    }
    // What never comes about is not tested.
    if seeds.end - seeds.start >= RUNS {
        assert!(seen.is_varied(), "{seen:?}");
    }
    eprintln!("{seen:?}");
}
