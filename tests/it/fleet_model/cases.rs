//! What goes wrong, one thing at a time.

use std::time::Duration;

use bytes::Bytes;
use larder::cache::ledger::STRIDE;
use larder::fleet::log::Entry;
use larder::policy::reuse::Standing::{Alive, Dead, Unheard};

use super::bench::{ASKED_ABOUT, Bench};
use super::node::{MAX_LAG, Node};
use super::store::{Store, position};

#[tokio::test(start_paused = true)]
async fn a_purge_that_a_fail_over_takes_is_added_again_once_though_two_nodes_know_it() {
    let mut bench = Bench::of(3, 1000).await;
    let (old, other) = (bench.fetched(2, "x"), bench.fetched(2, "y"));
    bench.nodes[2].cut(true);
    let purge = bench.purge(0, "x").await;
    bench.pass(Duration::from_millis(20)).await;
    let era = bench.era();
    let scripts = bench.redis.scripts_since(|store| store.holds(purge.id));
    bench.redis.fail_over(scripts, 0);
    assert_eq!(bench.count(&purge), 0, "it is lost");
    bench.nodes[2].cut(false);
    bench.settle().await;
    assert_eq!((bench.count(&purge), bench.era()), (1, era), "once, in the same log");
    assert_eq!(bench.standings(&old), [Dead, Dead, Dead]);
    assert_eq!(bench.standings(&other), [Alive, Alive, Alive], "nothing else is concerned");
    bench.restart(1);
    bench.settle().await;
    assert_eq!((bench.standing(1, &old), bench.standing(1, &other)), (Dead, Alive), "nor forgotten");
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_is_lost_before_its_own_node_has_read_it_is_added_again() {
    for is_followed in [false, true] {
        let bench = Bench::of(2, 1000).await;
        let old = bench.fetched(1, "x");
        // It is told, and its follower is not: that has asked already, and been answered.
        bench.nodes.iter().for_each(Node::freeze);
        bench.purge(1, "w").await;
        let purge = bench.purge(0, "x").await;
        let scripts = bench.redis.scripts_since(|store| store.holds(purge.id));
        bench.redis.fail_over(scripts, 5);
        bench.nodes[1].thaw();
        if is_followed {
            bench.pass(Duration::from_millis(5)).await;
            bench.purge(1, "y").await;
        }
        bench.nodes[0].thaw();
        bench.settle().await;
        assert_eq!(bench.count(&purge), 1, "followed by another: {is_followed}");
        assert_eq!(bench.standings(&old), [Dead, Dead], "followed by another: {is_followed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_so_large_that_it_alone_is_remembered_is_not_taken_for_trimmed() {
    let bench = Bench::of(2, 1000).await;
    let large = "x".repeat(17 << 20);
    let old = bench.fetched(1, &large);
    bench.purge(1, "w").await;
    bench.settle().await;
    bench.nodes[1].cut(true);
    let purge = bench.purge(0, &large).await;
    let scripts = bench.redis.scripts_since(|store| store.holds(purge.id));
    bench.redis.fail_over(scripts, 5);
    bench.pass(Duration::from_millis(10)).await;
    bench.nodes[0].freeze();
    bench.nodes[1].cut(false);
    bench.settle().await;
    bench.purge(1, "y").await;
    bench.nodes[0].thaw();
    bench.settle().await;
    assert_eq!(bench.count(&purge), 1, "it is added again");
    assert_eq!(bench.standings(&old), [Dead, Dead]);
}

#[tokio::test(start_paused = true)]
async fn a_position_behind_a_purge_that_was_lost_does_not_acknowledge_it() {
    let bench = Bench::of(2, 1000).await;
    bench.nodes[1].cut(true);
    let lost = bench.purge(0, "x").await;
    bench.nodes[0].freeze();
    let scripts = bench.redis.scripts_since(|store| store.holds(lost.id));
    bench.redis.fail_over(scripts, 5);
    bench.nodes[1].cut(false);
    bench.settle().await;
    let next = bench.purge(1, "y").await;
    bench.settle().await;
    assert!(next.place > lost.place);
    assert!(!bench.is_known_to_all(0, &lost).await, "the other node never heard of it");
    let place = lost.place.expect("it was told");
    assert!(!bench.nodes[0].fleet.acknowledged(place).by.contains(&"n1".to_owned()));
    bench.nodes[0].thaw();
    bench.settle().await;
    assert_eq!(bench.nodes[0].fleet.acknowledged(place).by, [""; 0], "it is elsewhere in the log now");
}

#[tokio::test(start_paused = true)]
async fn a_new_master_whose_clock_is_behind_has_everything_asked_about() {
    let bench = Bench::of(3, 1000).await;
    bench.nodes[2].cut(true);
    let lost = bench.purge(0, "x").await;
    // Fetched with the lost number known.
    let known = bench.fetched(0, "z");
    let scripts = bench.redis.scripts_since(|store| store.holds(lost.id));
    let era = bench.era();
    bench.redis.fail_over(scripts, -60_000);
    for node in [0, 1] {
        bench.nodes[node].cut(true);
    }
    // What was under way to it is lost.
    bench.pass(Duration::from_millis(10)).await;
    bench.nodes[2].cut(false);
    bench.pass(Duration::from_millis(700)).await;
    let purge = bench.purge(2, "z").await;
    assert!(purge.place.is_some_and(|place| Some(place) < lost.place), "its number is below the lost one");
    for node in [0, 1] {
        bench.nodes[node].cut(false);
    }
    bench.settle().await;
    bench.settle().await;
    assert!(bench.era() != era && bench.is_heard(), "another log");
    assert!(bench.standings(&known).iter().all(|standing| *standing == ASKED_ABOUT), "not alive anywhere");
    let fresh = bench.fetched(1, "z");
    assert_eq!(bench.standings(&fresh), [Alive; 3], "what is fetched since is");
}

#[tokio::test(start_paused = true)]
async fn a_log_of_an_older_era_that_a_fail_over_brings_back_is_given_up() {
    let bench = Bench::of(2, 1000).await;
    let old = bench.fetched(1, "x");
    let first = bench.era();
    let backup = bench.redis.look(Store::clone);
    bench.redis.change(|store| *store = Store::default());
    bench.settle().await;
    let second = bench.era();
    bench.nodes[1].cut(true);
    let purge = bench.purge(0, "x").await;
    bench.redis.change(|store| *store = backup);
    bench.nodes[1].cut(false);
    bench.settle().await;
    bench.settle().await;
    assert!(purge.place.is_some() && bench.is_heard());
    assert!(bench.era() != first && bench.era() != second, "neither of them");
    assert!(!bench.standings(&old).contains(&Alive), "the purge is in none of the logs, and is not missed");
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_everything_is_asked_about_and_what_is_fetched_again_is_alive() {
    let mut bench = Bench::of(3, 1000).await;
    let old = bench.fetched(0, "x");
    assert_eq!(bench.standings(&old), [Alive; 3]);
    bench.redis.change(|store| *store = Store::default());
    bench.settle().await;
    assert!(bench.is_heard());
    assert_eq!(bench.standings(&old), [ASKED_ABOUT; 3]);
    let fresh = bench.fetched(0, "x");
    assert_eq!(bench.standings(&fresh), [Alive; 3]);
    bench.restart(1);
    bench.settle().await;
    assert_eq!(bench.standings(&fresh), [Alive; 3], "after a restart, too");
}

#[tokio::test(start_paused = true)]
async fn a_purge_is_not_known_to_all_while_a_node_may_not_have_found_the_new_log() {
    let bench = Bench::of(2, 1000).await;
    let old = bench.fetched(1, "x");
    bench.nodes[1].cut(true);
    bench.redis.change(|store| *store = Store::default());
    bench.settle().await;
    let purge = bench.purge(0, "x").await;
    assert_eq!(bench.standing(1, &old), Alive, "it has not been silent for long enough");
    assert!(!bench.is_known_to_all(0, &purge).await);
    bench.pass(MAX_LAG).await;
    assert!(bench.is_known_to_all(0, &purge).await, "whoever is silent still uses nothing unasked");
    assert_eq!(bench.standing(1, &old), Unheard);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_not_found_the_new_log_does_not_say_that_all_have_a_purge_of_it() {
    let bench = Bench::of(2, 1000).await;
    let old = bench.fetched(0, "x");
    bench.nodes[0].freeze();
    bench.redis.change(|store| *store = Store::default());
    bench.settle().await;
    let purge = bench.purge(1, "x").await;
    assert_eq!(bench.standing(0, &old), Alive);
    assert!(!bench.is_known_to_all(0, &purge).await, "it has not heard of it itself");
}

#[tokio::test(start_paused = true)]
async fn a_node_counts_among_the_living_for_as_long_as_it_uses_what_is_stored() {
    let bench = Bench::of(2, 1000).await;
    let old = bench.fetched(1, "x");
    bench.nodes[1].cut(true);
    let purge = bench.purge(0, "x").await;
    let mut was_alive = false;
    while !bench.is_known_to_all(0, &purge).await {
        was_alive |= bench.standing(1, &old) == Alive;
        bench.pass(Duration::from_millis(50)).await;
    }
    assert!(was_alive && bench.standing(1, &old) == Unheard);
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_while_a_node_slept_makes_what_it_has_asked_about() {
    let bench = Bench::of(2, 4).await;
    let old = bench.fetched(1, "x");
    bench.purge(1, "w").await;
    bench.settle().await;
    bench.nodes[1].freeze();
    // The answer to the question that is under way.
    bench.purge(0, "w").await;
    bench.purge(0, "x").await;
    for _ in 0..6 {
        bench.purge(0, "y").await;
    }
    bench.pass(2 * MAX_LAG).await;
    bench.nodes[1].thaw();
    assert_eq!(bench.standing(1, &old), Unheard, "before any of its tasks has run");
    bench.settle().await;
    assert_eq!(bench.standings(&old), [Dead, ASKED_ABOUT], "it never heard which one it was");
    assert_eq!(bench.standings(&bench.fetched(1, "x")), [Alive; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_purge_whose_receipt_was_lost_is_untold_and_stands_in_the_log_once() {
    let bench = Bench::of(2, 1000).await;
    let old = bench.fetched(1, "x");
    bench.redis.lose_answers(true);
    let purge = bench.purge(0, "x").await;
    assert_eq!((purge.place, bench.count(&purge)), (None, 1), "it is there, and nobody knows");
    assert_eq!(bench.standing(0, &old), Dead, "here it acts");
    assert!(!bench.nodes[0].fleet.is_told());
    bench.redis.lose_answers(false);
    bench.settle().await;
    assert!(bench.nodes[0].fleet.is_told());
    assert_eq!((bench.standings(&old), bench.count(&purge)), (vec![Dead; 2], 1));
    let fresh = bench.fetched(0, "x");
    bench.settle().await;
    assert_eq!(bench.standings(&fresh), [Alive; 2], "what is fetched since is not purged again");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_slept_uses_nothing_unasked_before_it_has_caught_up() {
    let bench = Bench::of(2, 1000).await;
    let (old, other) = (bench.fetched(1, "x"), bench.fetched(1, "y"));
    assert_eq!((bench.standing(1, &old), bench.standing(1, &other)), (Alive, Alive));
    bench.nodes[1].freeze();
    // The answer to the question that is under way: it says nothing of what came later.
    bench.purge(0, "w").await;
    bench.pass(3 * MAX_LAG).await;
    let purge = bench.purge(0, "x").await;
    assert!(bench.is_known_to_all(0, &purge).await, "it does not count among the living any more");
    bench.nodes[1].thaw();
    assert_eq!((bench.standing(1, &old), bench.standing(1, &other)), (Unheard, Unheard));
    for _ in 0..100 {
        bench.pass(Duration::from_millis(1)).await;
        assert_ne!(bench.standing(1, &old), Alive);
    }
    bench.settle().await;
    assert_eq!((bench.standing(1, &old), bench.standing(1, &other)), (Dead, Alive));
}

#[tokio::test(start_paused = true)]
async fn more_purges_than_there_are_numbers_make_everything_asked_about_until_the_log_takes_them() {
    let bench = Bench::of(2, 10_000).await;
    let (old, other) = (bench.fetched(0, "x"), bench.fetched(0, "y"));
    let era = bench.era();
    bench.nodes[0].cut(true);
    bench.nodes[0].fleet.announce(&super::bench::notice("x"), Duration::from_millis(1)).await;
    for _ in 1..STRIDE {
        bench.nodes[0].fleet.announce(&super::bench::notice("z"), Duration::from_millis(1)).await;
    }
    assert!(bench.nodes[0].ledger.era() != era);
    let late = bench.fetched(0, "x");
    assert_ne!(bench.standing(0, &other), Alive);
    bench.nodes[0].cut(false);
    bench.pass(Duration::from_secs(30)).await;
    assert!(bench.is_heard() && bench.era() == era && bench.nodes[0].fleet.is_told());
    assert_eq!(bench.standings(&old), [Dead; 2]);
    assert_eq!(bench.standings(&other), [Alive; 2], "the log has all of them: nothing else was concerned");
    assert_eq!(bench.standings(&late), [ASKED_ABOUT; 2], "of no log that anybody follows");
}

#[tokio::test(start_paused = true)]
async fn numbers_do_not_go_back_when_the_log_is_followed_again_after_there_were_none_left() {
    let bench = Bench::of(2, 10_000).await;
    bench.nodes[0].cut(true);
    for _ in 2..STRIDE {
        bench.nodes[0].fleet.announce(&super::bench::notice("z"), Duration::from_millis(1)).await;
    }
    let old = bench.fetched(0, "x");
    for _ in 0..4 {
        bench.nodes[0].fleet.announce(&super::bench::notice("z"), Duration::from_millis(1)).await;
    }
    // The log is heard for a moment, and takes nothing.
    bench.redis.refuse_entries(true);
    bench.nodes[0].cut(false);
    bench.settle().await;
    bench.nodes[0].fleet.announce(&super::bench::notice("x"), Duration::from_millis(1)).await;
    assert_ne!(bench.standing(0, &old), Alive);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_somebody_took_out_makes_everything_asked_about() {
    let bench = Bench::of(2, 1000).await;
    let old = bench.fetched(1, "x");
    bench.nodes[1].freeze();
    // The answer to the question that is under way.
    bench.purge(0, "w").await;
    bench.purge(0, "x").await;
    bench.purge(0, "y").await;
    bench.redis.change(|store| store.stream.remove(1));
    bench.nodes[1].thaw();
    bench.settle().await;
    assert_eq!(bench.standings(&old), [Dead, ASKED_ABOUT]);
    assert_eq!(bench.standings(&bench.fetched(1, "x")), [Alive; 2]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_somebody_added_makes_everything_asked_about_and_stops_nobody() {
    for is_followed in [false, true] {
        let bench = Bench::of(2, 1000).await;
        let old = bench.fetched(1, "x");
        let now = bench.redis.now();
        bench.redis.change(|store| {
            store.stream.push(Entry { position: position(now, 0), id: 0, previous: 0, payload: Bytes::new() });
        });
        if is_followed {
            bench.pass(Duration::from_millis(5)).await;
            assert!(bench.purge(0, "y").await.place.is_some());
        }
        bench.settle().await;
        bench.settle().await;
        assert!(bench.is_heard(), "followed by another: {is_followed}");
        assert_eq!(bench.standings(&old), [ASKED_ABOUT; 2], "followed by another: {is_followed}");
        assert_eq!(bench.standings(&bench.fetched(1, "x")), [Alive; 2], "followed by another: {is_followed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_started_anew_reads_the_log_and_hits_stay_hits() {
    let mut bench = Bench::of(2, 1000).await;
    let (purged, kept) = (bench.fetched(1, "x"), bench.fetched(1, "y"));
    bench.purge(0, "x").await;
    let fresh = bench.fetched(0, "x");
    bench.restart(1);
    let standings = |bench: &Bench| [&purged, &kept, &fresh].map(|entry| entry.head.standing(&bench.nodes[1].ledger));
    assert_eq!(standings(&bench), [ASKED_ABOUT; 3], "it follows no log yet");
    tokio::time::timeout(MAX_LAG, bench.nodes[1].fleet.heard()).await.expect("it hears the log");
    bench.redis.tick();
    assert_eq!(standings(&bench), [Dead, Alive, Alive]);
}
