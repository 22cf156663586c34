//! Does what the ledger promises hold however its readers and writers interleave? Under Shuttle.
//!
//! Shuttle takes every atomic operation for sequentially consistent: it finds wrong orders, not weak ones.

use std::sync::Arc;

use bytes::Bytes;
use shuttle::thread;

use super::*;
use crate::cache::entry::Entry;
use crate::cache::sample;
use crate::cache::sync::atomic::AtomicBool;
use crate::policy::reuse::Standing;

const NEVER: Timestamp = Timestamp::EPOCH;

/// Tries many random schedules, then many of those in which a few switches at the worst moments are enough.
fn try_all(test: fn()) {
    shuttle::check_random(test, 2000);
    shuttle::check_pct(test, 2000, 3);
}

fn tag(name: &str) -> Scope {
    Scope::Tag(name.as_bytes().into())
}

fn url(number: u64) -> Scope {
    Scope::Url(format!("http://a.test/{number}").into())
}

fn stored(ledger: &Ledger, target: &str, tags: &[&str]) -> Arc<Entry> {
    Arc::new(sample::entry(sample::labels(target, tags), ledger.stamp(), Bytes::new()))
}

/// Two who look again and again while `t` and others are purged: whoever looks after the purge has returned finds it.
fn look_while_purging(ledger: Ledger) {
    let entry = stored(&ledger, "/", &["t"]);
    let (ledger, is_purged) = (Arc::new(ledger), Arc::new(AtomicBool::new(false)));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (ledger, entry, is_purged) = (Arc::clone(&ledger), Arc::clone(&entry), Arc::clone(&is_purged));
            thread::spawn(move || {
                for _ in 0..3 {
                    let has_returned = is_purged.load(Ordering::SeqCst);
                    let standing = entry.standing(&ledger);
                    assert!(!has_returned || standing != Standing::Alive, "it is alive after its purge");
                }
            })
        })
        .collect();
    let other = thread::spawn({
        let ledger = Arc::clone(&ledger);
        move || ledger.purge(&[tag("other"), url(1)], Severity::Hard, NEVER)
    });
    ledger.purge(&[tag("t")], Severity::Hard, NEVER);
    is_purged.store(true, Ordering::SeqCst);
    assert_ne!(entry.standing(&ledger), Standing::Alive, "also by the one who purged");
    other.join().expect("it ends");
    for reader in readers {
        reader.join().expect("it ends");
    }
    assert_ne!(entry.standing(&ledger), Standing::Alive, "what was remembered of it does not bring it back");
}

#[test]
fn nobody_finds_alive_what_a_purge_that_has_returned_names() {
    try_all(|| look_while_purging(Ledger::new()));
}

#[test]
fn nobody_finds_it_alive_while_the_ledger_folds_either() {
    try_all(|| look_while_purging(Ledger::with(Limits { scopes: 1, bytes: 1 << 20 }, Hearing::alone())));
}

#[test]
fn what_is_folded_is_never_seen_alive_in_between() {
    try_all(|| {
        let ledger = Ledger::with(Limits { scopes: 4, bytes: 1 << 20 }, Hearing::alone());
        let entries = [stored(&ledger, "/0", &[]), stored(&ledger, "/x", &["t"]), stored(&ledger, "/p/x", &[])];
        let prefix = Scope::Prefix("http://a.test/p/".into());
        ledger.purge(&[url(0), tag("t"), prefix], Severity::Hard, NEVER);
        let ledger = Arc::new(ledger);
        let reader = thread::spawn({
            let ledger = Arc::clone(&ledger);
            move || {
                for entry in entries.iter().cycle().take(9) {
                    assert_ne!(entry.standing(&ledger), Standing::Alive, "{}", entry.head.labels.url());
                }
            }
        });
        // First into the host, then the hosts into everything.
        for number in 1..4 {
            ledger.purge(&[url(number), Scope::Host(format!("h{number}.test").into())], Severity::Hard, NEVER);
        }
        assert!(ledger.folds() > 0);
        reader.join().expect("it ends");
    });
}

#[test]
fn what_is_fetched_after_a_purge_is_alive() {
    try_all(|| {
        let ledger = Arc::new(Ledger::new());
        let purge = |name: &'static str| {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                let purged = ledger.purge(&[tag(name), url(0)], Severity::Hard, NEVER);
                let entry = stored(&ledger, "/", &[name]);
                assert!(entry.head.stamp.number >= purged.number && ledger.position() >= purged.number);
                assert_eq!(entry.standing(&ledger), Standing::Alive, "fetched after the purge of {name}");
                entry
            })
        };
        let fetched = [purge("t"), purge("u")].map(|thread| thread.join().expect("it ends"));
        assert!(fetched.iter().all(|entry| entry.standing(&ledger) == Standing::Alive), "and stays so");
    });
}

#[test]
fn two_purges_at_once_have_two_numbers_and_both_stick() {
    try_all(|| {
        let ledger = Arc::new(Ledger::new());
        let entries = [stored(&ledger, "/", &["t"]), stored(&ledger, "/", &["u"]), stored(&ledger, "/", &["both"])];
        let purge = |name: &'static str| {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || ledger.purge(&[tag(name), tag("both")], Severity::Hard, NEVER))
        };
        let numbers = [purge("t"), purge("u")].map(|thread| thread.join().expect("it ends").number);
        assert!(numbers == [1, 2] || numbers == [2, 1], "{numbers:?}");
        assert!(entries.iter().all(|entry| entry.standing(&ledger) == Standing::Dead));
        assert_eq!(ledger.position(), 2);
        let between = Stamp { number: 1, ..ledger.stamp() };
        assert_eq!(ledger.standing(&entries[2].head.labels, between), Standing::Dead, "the second one counts");
    });
}

#[test]
fn a_late_number_of_the_log_is_found_by_those_who_have_looked() {
    try_all(|| {
        let ledger = Arc::new(Ledger::new());
        let entry = stored(&ledger, "/", &["t"]);
        let position = |number| Stamp { number, ..ledger.stamp() };
        let apply = |number, name: &'static str| {
            let (ledger, position) = (Arc::clone(&ledger), position(number));
            thread::spawn(move || ledger.apply(position, &[tag(name)], Severity::Hard, NEVER).expect("its own era"))
        };
        let (early, late) = (apply(2, "other"), apply(1, "t"));
        entry.standing(&ledger);
        entry.standing(&ledger);
        late.join().expect("it ends");
        assert_eq!(entry.standing(&ledger), Standing::Dead);
        early.join().expect("it ends");
    });
}

#[test]
fn no_stamp_takes_a_number_of_one_log_for_one_of_another() {
    try_all(|| {
        let ledger = Arc::new(Ledger::new());
        let first = ledger.era();
        for _ in 0..5 {
            ledger.purge(&[tag("x")], Severity::Hard, NEVER);
        }
        let stamped = thread::spawn({
            let ledger = Arc::clone(&ledger);
            move || [ledger.stamp(), ledger.stamp()]
        });
        ledger.adopt(Stamp { era: first ^ 1, number: 1 });
        ledger.apply(Stamp { era: first ^ 1, number: 2 }, &[tag("x")], Severity::Hard, NEVER).expect("followed");
        let stamps = stamped.join().expect("it ends");
        assert!(stamps.iter().all(|stamp| stamp.era == first || stamp.number <= 2), "{stamps:?}");
    });
}
