//! Is nobody left waiting, and does nobody lead beside a leader, however flights are boarded and land? Under Shuttle.

use shuttle::future::block_on;
use shuttle::thread;

use super::*;
use crate::body::shared::shared_body;
use crate::cache::ledger::Ledger;
use crate::cache::sample;
use crate::cache::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::clock::Moment;
use crate::policy::key::Key;
use crate::policy::reuse::Standing;
use crate::policy::scope::{Scope, Severity};
use crate::policy::time::Timestamp;
use crate::policy::treatment::KeyRules;

const BEGIN: Departure = Departure { stamp: Stamp { era: 1, number: 0 }, moment: Moment::FIRST };

/// Tries many random schedules, then many of those in which a few switches at the worst moments are enough. A
/// follower that is left waiting is a deadlock, which fails.
fn try_all(test: fn()) {
    shuttle::check_random(test, 2000);
    shuttle::check_pct(test, 2000, 3);
}

fn key() -> Key {
    Key::of("http", "a.test", "/", &http::HeaderMap::new(), &KeyRules::default())
}

/// How a leader's fetch ends.
#[derive(Clone, Copy)]
enum End {
    Lands,
    IsLost,
    Streams,
}

/// The flights of one key, and how many lead at this moment.
#[derive(Default)]
struct Airport {
    flights: Arc<Flights<()>>,
    leaders: AtomicUsize,
}

impl Airport {
    /// Boards until it has an answer, as a request does. Its own fetch ends as `end` says.
    fn request(&self, end: End) {
        // A lost leader sends its followers back; there are as many leaders as threads.
        for _ in 0..4 {
            let may_join = |_: Departure, landing: &Landing<()>| {
                assert!(matches!(landing, Landing::Pending | Landing::Streaming(..)), "it has landed: {landing:?}");
                true
            };
            match self.flights.board(&key(), BEGIN, may_join) {
                Seat::Leader(lead) => return self.lead(&lead, end),
                Seat::Follower(mut follow) => match block_on(follow.landed()) {
                    Landing::Pending => unreachable!("nothing has landed"),
                    Landing::Lost => {}
                    _ => return,
                },
            }
        }
        unreachable!("more leaders were lost than there are");
    }

    fn lead(&self, lead: &Lead<()>, end: End) {
        assert_eq!(self.leaders.fetch_add(1, Ordering::SeqCst), 0, "another one leads");
        let land = |landing| {
            self.leaders.fetch_sub(1, Ordering::SeqCst);
            lead.land(landing);
        };
        match end {
            End::Lands => land(Landing::Unshareable),
            End::IsLost => drop(self.leaders.fetch_sub(1, Ordering::SeqCst)),
            End::Streams => {
                let labels = sample::labels("/", &[]);
                let head = sample::entry(labels, Stamp::default(), bytes::Bytes::new()).head;
                let (writer, body) = shared_body(None);
                lead.land(Landing::Streaming(Arc::new(head), body));
                // While it streams it can be joined; it is still the only one.
                self.leaders.fetch_sub(1, Ordering::SeqCst);
                lead.leave_board();
                writer.finish(None, ());
            }
        }
    }
}

fn requests(ends: [End; 3]) {
    let airport = Arc::new(Airport::default());
    let request = |end| {
        let airport = Arc::clone(&airport);
        thread::spawn(move || airport.request(end))
    };
    ends.map(request).into_iter().for_each(|thread| thread.join().expect("it is answered"));
    assert!(airport.flights.is_empty(), "no flight is left on the board");
}

#[test]
fn everybody_is_answered_by_one_leader_at_a_time() {
    try_all(|| requests([End::Lands; 3]));
}

#[test]
fn a_lost_leader_leaves_nobody_waiting() {
    try_all(|| requests([End::IsLost; 3]));
    try_all(|| requests([End::IsLost, End::Lands, End::IsLost]));
}

#[test]
fn boarding_a_stream_that_ends_leaves_nobody_waiting() {
    try_all(|| requests([End::Streams, End::IsLost, End::Lands]));
}

#[test]
fn two_requests_are_tried_in_every_order() {
    shuttle::check_dfs(
        || {
            let airport = Arc::new(Airport::default());
            let other = thread::spawn({
                let airport = Arc::clone(&airport);
                move || airport.request(End::IsLost)
            });
            airport.request(End::Lands);
            other.join().expect("it is answered");
        },
        Some(20_000),
    );
}

#[test]
fn nobody_joins_a_flight_that_began_before_a_purge_that_has_returned() {
    try_all(|| {
        let (ledger, flights) = (Arc::new(Ledger::new()), Arc::new(Flights::<()>::new()));
        let labels = sample::labels("/", &[]);
        let is_purged = Arc::new(AtomicBool::new(false));
        let Seat::Leader(old) = flights.board(&key(), Departure::now(&ledger), |_, _| true) else {
            unreachable!("nobody leads yet")
        };
        let request = || {
            let (ledger, flights, labels) = (Arc::clone(&ledger), Arc::clone(&flights), labels.clone());
            let is_purged = Arc::clone(&is_purged);
            thread::spawn(move || {
                let has_returned = is_purged.load(Ordering::SeqCst);
                let may_join =
                    |departure: Departure, _: &_| ledger.standing(&labels, departure.stamp) == Standing::Alive;
                match flights.board(&key(), Departure::now(&ledger), may_join) {
                    Seat::Leader(lead) => lead.land(Landing::Unshareable),
                    // The old flight is the only one that is lost.
                    Seat::Follower(mut follow) => {
                        let is_old = matches!(block_on(follow.landed()), Landing::Lost);
                        assert!(!has_returned || !is_old, "it follows what began before the purge");
                    }
                }
            })
        };
        let others = [request(), request()];
        ledger.purge(&[Scope::url("http", "a.test", "/")], Severity::Hard, Timestamp::EPOCH);
        is_purged.store(true, Ordering::SeqCst);
        drop(old);
        for other in others {
            other.join().expect("it is answered");
        }
        assert!(flights.is_empty());
    });
}
