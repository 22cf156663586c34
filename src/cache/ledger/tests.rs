//! Does the ledger say of each stored response what the purges say, one by one, and when it is full not less?

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cache::sample;
use crate::policy::reuse::Standing;
use crate::policy::scope::Labels;
use crate::policy::scope::Tags;

const NEVER: Timestamp = Timestamp::EPOCH;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn labels(url: &str, groups: &[&[u8]], tags: &[&[u8]]) -> Labels {
    let (scheme, rest) = url.split_once("://").expect("a URL");
    let (authority, target) = rest.split_at(rest.find('/').expect("a path"));
    Labels::new(scheme, authority, target, Tags::new(groups.iter().copied(), tags.iter().copied()))
}

fn url(text: &str) -> Scope {
    Scope::Url(text.into())
}

fn prefix(text: &str) -> Scope {
    Scope::Prefix(text.into())
}

fn host(text: &str) -> Scope {
    Scope::Host(text.into())
}

fn tag(text: impl AsRef<[u8]>) -> Scope {
    Scope::Tag(text.as_ref().into())
}

fn group(origin: &str, name: &str) -> Scope {
    Scope::Group { origin: origin.into(), name: name.as_bytes().into() }
}

#[test]
fn a_purge_reaches_what_it_names_and_nothing_beside() {
    let page = labels("http://shop.example:8080/a/b?c=d", &[b"g"], &[b"news", b"\xff\x00", b"Sport"]);
    let address = labels("https://[2001:db8::1]:8443/", &[], &[]);
    let plain = labels("https://shop.example/", &[b"g"], &[]);
    let cases: &[(&Labels, Scope, bool, &str)] = &[
        (&page, Scope::Everything, true, "everything"),
        (&page, host("shop.example:8080"), true, "the host with its port"),
        (&page, host("shop.example"), true, "the host on every port"),
        (&page, host("shop.example:80"), false, "the same host on another port"),
        (&page, host("example"), false, "the end of the host's name"),
        (&page, host("shop.example:8080/"), false, "no host"),
        (&plain, host("shop.example"), true, "a host without a port"),
        (&plain, host("shop.example:443"), false, "the default port is never written"),
        (&address, host("[2001:db8::1]:8443"), true, "an IPv6 address with its port"),
        (&address, host("[2001:db8::1]"), true, "an IPv6 address on every port"),
        (&address, host("[2001:db8:"), false, "a colon within an address begins no port"),
        (&page, prefix("http://shop.example:8080/"), true, "the root"),
        (&page, prefix("http://shop.example:8080/a"), true, "a plain string prefix"),
        (&page, prefix("http://shop.example:8080/a/b?c=d"), true, "the whole URL is one"),
        (&page, prefix("http://shop.example:8080/a/b?c=de"), false, "longer than the URL"),
        (&page, prefix("http://shop.example:8080/A"), false, "paths have a case"),
        (&page, prefix("https://shop.example:8080/"), false, "another scheme"),
        (&page, prefix("http://shop.example/"), false, "another port"),
        (&page, url("http://shop.example:8080/a/b?c=d"), true, "its URL"),
        (&page, url("http://shop.example:8080/a/b"), false, "the URL without its query"),
        (&page, url("http://shop.example:8080/a/b?c=d&"), false, "another query"),
        (&page, tag("news"), true, "a tag"),
        (&page, tag("News"), false, "tags have a case"),
        (&page, tag("new"), false, "the beginning of a tag"),
        (&page, tag("news "), false, "not trimmed"),
        (&page, tag("newsSport"), false, "two tags side by side"),
        (&page, tag(b"\xff\x00"), true, "any bytes"),
        (&page, tag("g"), true, "a group is a tag, too"),
        (&page, group("http://shop.example:8080", "g"), true, "a group of its origin"),
        (&page, group("https://shop.example:8080", "g"), false, "the same group of another origin"),
        (&page, group("http://shop.example", "g"), false, "of another port"),
        (&page, group("http://shop.example:8080", "news"), false, "a tag is no group"),
        (&plain, group("https://shop.example", "g"), true, "a group of an origin without a port"),
        (&page, group("http://shop.example:8080\0", "g"), false, "no such origin"),
    ];
    for (labels, scope, reaches, why) in cases {
        for (severity, reached) in
            [(Severity::Hard, Standing::Dead), (Severity::Soft, Standing::Stale { since: at(7) })]
        {
            let ledger = Ledger::new();
            let before = ledger.stamp();
            let stamp = ledger.purge(std::slice::from_ref(scope), severity, at(7));
            let want = if *reaches { reached } else { Standing::Alive };
            assert_eq!(ledger.standing(labels, before), want, "{severity:?} {scope}: {why}");
            assert_eq!(ledger.standing(labels, stamp), Standing::Alive, "fetched after {scope}: {why}");
            assert_eq!(scope.names(labels), *reaches, "the plain definition of {scope}: {why}");
            let blame = Blame { number: 1, scope: scope.clone(), severity, folded: false };
            assert_eq!(ledger.blame(labels, before), reaches.then_some(blame), "{scope}: {why}");
        }
    }
}

#[test]
fn a_group_with_a_long_name_is_known_as_a_short_one_is() {
    let name = "n".repeat(1024);
    let ledger = Ledger::new();
    ledger.purge(&[group("http://a.test", &name)], Severity::Hard, NEVER);
    let before = Stamp { number: 0, ..ledger.stamp() };
    assert_eq!(ledger.standing(&labels("http://a.test/", &[name.as_bytes()], &[]), before), Standing::Dead);
    assert_eq!(ledger.standing(&labels("http://a.test/", &[&name.as_bytes()[1..]], &[]), before), Standing::Alive);
}

#[test]
fn a_prefix_longer_than_any_url_names_nothing_and_costs_nothing() {
    let ledger = Ledger::new();
    ledger.purge(&[prefix(&format!("http://a.test/{}", "x".repeat(1 << 20)))], Severity::Hard, NEVER);
    assert_eq!(ledger.scopes(), 0);
    let longest = format!("http://a.test/{}", "x".repeat((16 << 10) - 1));
    ledger.purge(&[prefix(&longest)], Severity::Hard, NEVER);
    let stamp = Stamp { number: 1, ..ledger.stamp() };
    assert_eq!(ledger.standing(&labels(&longest, &[], &[]), stamp), Standing::Dead, "as long as a URL may be");
}

/// A purge of `x`, `y`, … by tag, hard or soft, at so many seconds.
type Purge = (&'static str, Severity, u64);

#[test]
fn of_several_purges_the_hard_ones_kill_and_the_first_soft_one_counts() {
    use Severity::{Hard, Soft};
    let stale = |seconds| Standing::Stale { since: at(seconds) };
    let cases: &[(&[Purge], u64, Standing, &str)] = &[
        (&[("x", Soft, 1), ("x", Hard, 2)], 0, Standing::Dead, "soft then hard"),
        (&[("x", Soft, 1), ("x", Hard, 2)], 1, Standing::Dead, "fetched between: the hard one"),
        (&[("x", Soft, 1), ("x", Hard, 2)], 2, Standing::Alive, "fetched after both"),
        (&[("x", Hard, 1), ("x", Soft, 2)], 0, Standing::Dead, "hard then soft: gone is gone"),
        (&[("x", Hard, 1), ("x", Soft, 2)], 1, stale(2), "fetched between: the soft one"),
        (&[("x", Soft, 1), ("x", Soft, 2)], 0, stale(1), "soft twice: since the first"),
        (&[("x", Soft, 1), ("x", Soft, 2)], 1, stale(2), "fetched between: since the second"),
        (&[("x", Hard, 1), ("x", Hard, 2)], 1, Standing::Dead, "hard twice: the second one counts anew"),
        (&[("x", Soft, 1), ("y", Soft, 2)], 0, stale(1), "by two tags: since the first"),
        (&[("y", Soft, 1), ("x", Soft, 2)], 0, stale(1), "in either order"),
        (&[("x", Soft, 1), ("y", Hard, 2)], 0, Standing::Dead, "by two tags: the hard one counts"),
        (&[("z", Hard, 1)], 0, Standing::Alive, "another tag"),
    ];
    let labels = labels("http://a.test/", &[], &[b"x", b"y"]);
    for (purges, number, want, why) in cases {
        let ledger = Ledger::new();
        for (name, severity, seconds) in *purges {
            ledger.purge(&[tag(name)], *severity, at(*seconds));
        }
        let stamp = Stamp { number: *number, ..ledger.stamp() };
        assert_eq!(ledger.standing(&labels, stamp), *want, "{purges:?}: {why}");
        let blame = ledger.blame(&labels, stamp).map(|blame| blame.severity);
        let severity = match want {
            Standing::Alive => None,
            Standing::Stale { .. } => Some(Soft),
            Standing::Dead => Some(Hard),
            Standing::Unheard => unreachable!("this node is alone"),
        };
        assert_eq!(blame, severity, "{purges:?}: {why}");
    }
}

#[test]
fn blame_names_the_last_purge_that_counts() {
    use Severity::{Hard, Soft};
    let ledger = Ledger::new();
    let before = ledger.stamp();
    let labels = labels("http://a.test/x", &[], &[b"t"]);
    let purge = |scopes: &[Scope], severity, scope: Scope, known: Severity, number, why: &str| {
        ledger.purge(scopes, severity, at(1));
        let want = Blame { number, scope, severity: known, folded: false };
        assert_eq!(ledger.blame(&labels, before), Some(want), "{why}");
    };
    purge(&[tag("t")], Soft, tag("t"), Soft, 1, "the only one");
    purge(&[host("a.test")], Soft, host("a.test"), Soft, 2, "the last soft one");
    purge(&[prefix("http://a.test/")], Hard, prefix("http://a.test/"), Hard, 3, "a hard one");
    purge(&[Scope::Everything], Soft, prefix("http://a.test/"), Hard, 3, "a soft one after it changes nothing");
    purge(&[Scope::Everything, url("http://a.test/x")], Hard, url("http://a.test/x"), Hard, 5, "what names it closest");
    assert_eq!(ledger.blame(&labels, ledger.stamp()), None, "fetched after all of them");
}

#[test]
fn another_era_is_unknown_purges_stale_not_fresh_and_not_flushed() {
    let (ledger, labels) = (Ledger::new(), labels("http://a.test/", &[], &[]));
    ledger.purge(&[tag("x")], Severity::Hard, NEVER);
    let foreign = Stamp { era: ledger.stamp().era ^ 1, number: 9 };
    assert_eq!(ledger.standing(&labels, foreign), Standing::Stale { since: NEVER });
    let blame = ledger.blame(&labels, foreign).expect("it is not alive");
    assert_eq!((blame.scope, blame.severity, blame.folded), (Scope::Everything, Severity::Soft, true));
    let refused = ledger.apply(foreign, &[Scope::Everything], Severity::Hard, NEVER);
    assert_eq!(refused, Err(OtherEra { ours: ledger.stamp().era, theirs: foreign.era }));
    assert_eq!(ledger.standing(&labels, Stamp { number: 0, ..ledger.stamp() }), Standing::Alive, "it was not applied");
}

#[test]
fn the_log_of_a_fleet_may_repeat_itself_and_come_late() {
    let ledger = Ledger::new();
    let labels = labels("http://a.test/", &[], &[b"x", b"y"]);
    let position = |number| Stamp { number, ..ledger.stamp() };
    let stored = sample::entry(labels.clone(), position(2), bytes::Bytes::new());
    let apply = |number, name: &str, severity| {
        ledger.apply(position(number), &[tag(name)], severity, at(number)).expect("its own era");
    };
    apply(7, "z", Severity::Hard);
    assert_eq!(stored.standing(&ledger), Standing::Alive, "another tag; it remembers that");
    apply(5, "y", Severity::Soft);
    assert_eq!(ledger.position(), 7, "the position never goes back");
    assert_eq!(stored.standing(&ledger), Standing::Stale { since: at(5) }, "a lower number, told late, acts");
    apply(5, "y", Severity::Soft);
    assert_eq!(ledger.standing(&labels, position(4)), Standing::Stale { since: at(5) }, "twice is once");
    assert_eq!(ledger.standing(&labels, position(5)), Standing::Alive, "and concerns what it did");
    let own = ledger.purge(&[tag("x")], Severity::Hard, at(9));
    assert_eq!(own, position(8), "its own purges go on from there");
}

#[test]
fn a_purge_that_the_log_has_no_number_for_yet_comes_before_all_that_it_will_give() {
    let ledger = Ledger::shared(Clock::manual(at(1)), Duration::from_secs(5));
    let labels = labels("http://a.test/", &[], &[b"x"]);
    let position = |number| Stamp { number, ..ledger.stamp() };
    ledger.apply(position(3 * STRIDE), &[tag("z")], Severity::Hard, NEVER).expect("its own era");
    let before = ledger.stamp();
    let own = ledger.purge(&[tag("x")], Severity::Hard, NEVER);
    assert_eq!(own, position(3 * STRIDE + 1));
    let cases = [
        (before, Standing::Dead, "what this node fetched before"),
        (position(2 * STRIDE), Standing::Dead, "what another node fetched, knowing less"),
        (ledger.stamp(), Standing::Alive, "what this node fetched since"),
        (position(4 * STRIDE), Standing::Alive, "what knows a later number of the log"),
    ];
    for (stamp, want, why) in cases {
        assert_eq!(ledger.standing(&labels, stamp), want, "{why}");
    }
    let era = ledger.era();
    for _ in 2..STRIDE {
        ledger.purge(&[tag("y")], Severity::Hard, NEVER);
    }
    assert_eq!(ledger.era(), era, "as many as there is room for");
    let last = ledger.stamp();
    let own = ledger.purge(&[tag("x")], Severity::Hard, NEVER);
    assert!(own.era != era && own == ledger.stamp(), "no number is left: an era of its own");
    assert_eq!(ledger.standing(&labels, last), Standing::Stale { since: NEVER }, "what was stored is asked about");
    assert_eq!(ledger.standing(&labels, own), Standing::Alive, "what is fetched from now on is not");
}

#[test]
fn what_another_node_fetched_knowing_more_is_judged_as_if_it_knew_nothing() {
    let ledger = Ledger::shared(Clock::manual(at(1)), Duration::from_secs(5));
    let labels = labels("http://a.test/", &[], &[b"x"]);
    let position = |number| Stamp { number, ..ledger.stamp() };
    ledger.apply(position(3 * STRIDE), &[tag("z")], Severity::Hard, NEVER).expect("its own era");
    let known = ledger.stamp();
    let cases = [
        (position(3 * STRIDE), 3 * STRIDE, "as much as this node"),
        (position(4 * STRIDE), 0, "more than this node"),
        (Stamp { era: 7, number: STRIDE }, 0, "another log"),
    ];
    for (stamp, number, why) in cases {
        assert_eq!(stamp.as_known_to(known), Stamp { number, ..stamp }, "{why}");
    }
    ledger.purge(&[tag("x")], Severity::Hard, NEVER);
    for (stamp, _, why) in &cases[..2] {
        assert_eq!(ledger.standing(&labels, stamp.as_known_to(known)), Standing::Dead, "asked for before: {why}");
    }
}

#[test]
fn a_node_that_is_alone_gives_every_number() {
    let ledger = Ledger::new();
    let era = ledger.era();
    for number in 1..=2 * STRIDE {
        assert_eq!(ledger.purge(&[tag("y")], Severity::Hard, NEVER), Stamp { era, number });
    }
}

#[test]
fn what_belongs_to_no_log_that_is_followed_or_to_a_forgotten_part_of_it_is_asked_about() {
    let ledger = Ledger::shared(Clock::manual(at(1)), Duration::from_secs(5));
    let labels = labels("http://a.test/", &[], &[]);
    let entry = sample::entry(labels.clone(), ledger.stamp(), bytes::Bytes::new());
    ledger.hear(ledger.moment());
    assert_eq!((entry.standing(&ledger), entry.standing(&ledger)), (Standing::Alive, Standing::Alive));
    ledger.adopt(Stamp { era: 7, number: 1 });
    assert_eq!(ledger.stamp(), Stamp { era: 7, number: 1 });
    assert_eq!(entry.standing(&ledger), Standing::Stale { since: NEVER }, "though it was found alive before");
    let at_number = |number| ledger.standing(&labels, Stamp { era: 7, number });
    assert!(ledger.doubt(Stamp { era: 8, number: STRIDE }).is_err(), "another log");
    assert_eq!(at_number(1), Standing::Alive);
    ledger.doubt(Stamp { era: 7, number: STRIDE }).expect("the log that is followed");
    assert_eq!((at_number(STRIDE - 1), at_number(STRIDE)), (Standing::Stale { since: NEVER }, Standing::Alive));
    assert_eq!(ledger.position(), STRIDE, "what is fetched now has it behind it");
}

#[test]
fn what_is_stored_may_be_used_for_so_long_after_the_log_was_heard() {
    let clock = Clock::manual(at(100));
    let ledger = Ledger::shared(clock.clone(), Duration::from_secs(5));
    let entry = sample::entry(labels("http://a.test/", &[], &[b"t"]), ledger.stamp(), bytes::Bytes::new());
    assert_eq!(entry.standing(&ledger), Standing::Unheard, "nothing was heard yet");
    ledger.hear(Moment::from_millis(98_000));
    let cases = [
        (102_999, Standing::Alive, "within the lag"),
        (103_000, Standing::Unheard, "beyond it, though nobody has run meanwhile"),
        (102_000, Standing::Alive, "found alive, it is still looked at with the clock"),
    ];
    for (millis, want, why) in cases {
        clock.set(Timestamp::from_millis(millis));
        assert_eq!(entry.standing(&ledger), want, "{why}");
    }
    ledger.hear(Moment::from_millis(97_000));
    clock.set(Timestamp::from_millis(102_999));
    assert!(ledger.is_heard(), "what was heard before is not unheard");
    let (before, after) = (Moment::from_millis(102_999), Moment::from_millis(103_000));
    assert!(ledger.is_heard_as_at(before) && ledger.is_heard_as_at(after));
    clock.set(Timestamp::from_millis(104_000));
    assert!(!ledger.is_heard_as_at(before), "what began while it was heard");
    assert!(ledger.is_heard_as_at(after), "what began under the same doubt");
    ledger.purge(&[tag("t")], Severity::Soft, at(7));
    assert_eq!(entry.standing(&ledger), Standing::Stale { since: NEVER }, "no stale window: it may be gone by now");
    ledger.hear(Moment::from_millis(104_000));
    assert_eq!(entry.standing(&ledger), Standing::Stale { since: at(7) }, "its window, once that is known");
    clock.set(Timestamp::from_millis(109_000));
    ledger.purge(&[tag("t")], Severity::Hard, NEVER);
    assert_eq!(entry.standing(&ledger), Standing::Dead, "what is known counts, heard or not");
}

#[test]
fn what_one_ledger_found_alive_is_nothing_to_another() {
    let (one, other) = (Ledger::new(), Ledger::new());
    let stored = sample::entry(sample::labels("/", &[]), one.stamp(), bytes::Bytes::new());
    assert_eq!((stored.standing(&one), stored.standing(&one)), (Standing::Alive, Standing::Alive));
    assert_eq!(stored.standing(&other), Standing::Stale { since: NEVER }, "another era, at the same position");
}

#[test]
fn those_who_give_memory_back_are_told_of_hard_purges() {
    use futures_util::FutureExt as _;
    let ledger = Ledger::new();
    let told = || ledger.deaths().now_or_never().is_some();
    let cases = [
        (vec![url("http://a.test/")], Severity::Hard, true, "one of them is dead"),
        (vec![tag("x")], Severity::Soft, false, "nothing dies"),
        (vec![Scope::Everything], Severity::Hard, true, "all of them"),
    ];
    for (scopes, severity, want, why) in cases {
        ledger.purge(&scopes, severity, NEVER);
        assert_eq!(told(), want, "{why}");
        assert!(!told(), "once");
    }
}

fn small(scopes: usize, bytes: usize) -> Ledger {
    Ledger::with(Limits { scopes, bytes }, Hearing::alone())
}

const ROOM: usize = 1 << 30;

#[test]
fn the_older_half_folds_into_its_host_and_leaves_others_alone() {
    let (ledger, before) = (small(8, ROOM), |ledger: &Ledger| Stamp { number: 0, ..ledger.stamp() });
    let of = |host: &str, path: &str| labels(&format!("http://{host}{path}"), &[], &[]);
    for number in 0..8 {
        ledger.purge(&[url(&format!("http://a.test:8080/{number}"))], Severity::Hard, at(number));
    }
    assert_eq!((ledger.folds(), ledger.scopes()), (0, 8), "full, not over-full");
    let between = ledger.stamp();
    ledger.purge(&[url("http://b.test/")], Severity::Hard, at(9));
    assert_eq!(ledger.folds(), 1);
    assert!(ledger.scopes() <= 6, "a quarter of the room is free, {} scopes", ledger.scopes());
    let cases = [
        (
            of("a.test:8080", "/0"),
            before(&ledger),
            Standing::Stale { since: NEVER },
            "it was purged, now it is doubted",
        ),
        (of("a.test:8080", "/7"), before(&ledger), Standing::Dead, "purged lately: known still"),
        (of("a.test:8080", "/x"), before(&ledger), Standing::Stale { since: NEVER }, "never purged, doubted as well"),
        (of("a.test", "/x"), before(&ledger), Standing::Stale { since: NEVER }, "on every port"),
        (of("a.test:8080", "/0"), between, Standing::Alive, "fetched after it was purged"),
        (of("b.test", "/"), between, Standing::Dead, "the last one"),
        (of("b.test", "/x"), before(&ledger), Standing::Alive, "another host"),
        (of("c.test", "/"), before(&ledger), Standing::Alive, "yet another"),
    ];
    for (labels, stamp, want, why) in cases {
        assert_eq!(ledger.standing(&labels, stamp), want, "{} after {}: {why}", labels.url(), stamp.number);
    }
    let blame = ledger.blame(&of("a.test", "/0"), before(&ledger)).expect("it is doubted");
    assert_eq!((blame.scope, blame.folded), (host("a.test"), true));
}

#[test]
fn each_kind_folds_into_what_holds_all_that_it_names() {
    let cases = [
        (prefix("http://a.test/x"), "a.test", true, "a prefix into its host"),
        (group("http://a.test", "g"), "a.test", true, "a group into its origin's host"),
        (tag("t"), "b.test", true, "a tag into everything"),
        (prefix("http://a.te"), "a.test", true, "half a host's name into everything"),
        (prefix("http://a.test/x"), "b.test", false, "other hosts stay alive"),
        (group("http://a.test", "g"), "b.test", false, "other hosts stay alive"),
    ];
    for (scope, host, doubted, why) in cases {
        let ledger = small(4, ROOM);
        ledger.purge(std::slice::from_ref(&scope), Severity::Hard, NEVER);
        for number in 0..4 {
            ledger.purge(&[url(&format!("http://c.test/{number}"))], Severity::Hard, NEVER);
        }
        assert_eq!(ledger.folds(), 1);
        let other = labels(&format!("http://{host}/other"), &[], &[]);
        let want = if doubted { Standing::Stale { since: NEVER } } else { Standing::Alive };
        assert_eq!(ledger.standing(&other, Stamp { number: 0, ..ledger.stamp() }), want, "{scope}: {why}");
        assert_eq!(ledger.standing(&other, ledger.stamp()), Standing::Alive, "fetched after: {why}");
    }
}

#[test]
fn too_many_hosts_fold_into_everything_the_oldest_first() {
    let ledger = small(16, ROOM);
    for number in 1..=17 {
        ledger.purge(&[host(&format!("h{number}.test"))], Severity::Hard, NEVER);
    }
    let of = |number: u64| labels(&format!("http://h{number}.test/"), &[], &[]);
    let standing = |number, stamp| ledger.standing(&of(number), Stamp { number: stamp, ..ledger.stamp() });
    assert!((1..=12).contains(&ledger.scopes()), "{} scopes", ledger.scopes());
    assert_eq!(standing(1, 0), Standing::Stale { since: NEVER }, "folded");
    assert_eq!(standing(99, 0), Standing::Stale { since: NEVER }, "never purged, and doubted");
    assert_eq!(standing(17, 16), Standing::Dead, "the last one is known");
    assert_eq!(standing(99, 12), Standing::Alive, "fetched after those that were folded");
}

#[test]
fn long_names_fold_by_their_bytes() {
    let ledger = small(1 << 20, 20_000);
    for number in 0..100 {
        ledger.purge(&[tag(format!("{number:0>1000}"))], Severity::Hard, NEVER);
        let bytes = *ledger.writer.lock().expect("nobody panicked");
        assert!(bytes <= 20_000 && bytes >= ledger.tags.len() * 1000, "{bytes} bytes");
    }
    assert!(ledger.folds() > 0 && ledger.tags.len() < 20, "{} tags", ledger.tags.len());
    let carries = |number| labels("http://a.test/", &[], &[format!("{number:0>1000}").as_bytes()]);
    assert_eq!(ledger.standing(&carries(99), Stamp { number: 99, ..ledger.stamp() }), Standing::Dead);
    assert_eq!(ledger.standing(&carries(0), Stamp { number: 0, ..ledger.stamp() }), Standing::Stale { since: NEVER });
}

#[test]
fn lengths_of_prefixes_are_forgotten_with_them() {
    let ledger = small(64, ROOM);
    for length in 1..=1000 {
        ledger.purge(&[prefix(&format!("http://a.test/{}", "x".repeat(length)))], Severity::Hard, NEVER);
    }
    assert!(ledger.prefixes.lengths() <= 64, "{} lengths are looked for", ledger.prefixes.lengths());
    let url = labels(&format!("http://a.test/{}", "x".repeat(1000)), &[], &[]);
    assert_eq!(ledger.standing(&url, Stamp { number: 999, ..ledger.stamp() }), Standing::Dead);
}

#[test]
fn a_million_purges_take_no_more_room_than_there_is() {
    let limits = Limits { scopes: 200, bytes: 40_000 };
    let ledger = Ledger::with(limits, Hearing::alone());
    let mut random = fastrand::Rng::with_seed(42);
    let tracked = labels("http://h7.test/tracked", &[b"g7"], &[b"t7"]);
    let mut last = 0;
    for number in 1..=1_000_000 {
        let (name, host) = (random.u32(..10_000), random.u32(..50));
        let scope = match random.u8(..5) {
            0 => url(&format!("http://h{host}.test/{name}")),
            1 => prefix(&format!("http://h{host}.test/{name}/")),
            2 => tag(format!("t{name}")),
            3 => group(&format!("http://h{host}.test"), &format!("g{name}")),
            _ => Scope::Host(format!("h{name}.test").into()),
        };
        if scope.names(&tracked) {
            last = number;
        }
        let severity = if random.bool() { Severity::Hard } else { Severity::Soft };
        ledger.purge(&[scope], severity, at(number));
        if number % 1000 == 0 {
            let bytes = *ledger.writer.lock().expect("nobody panicked");
            assert!(ledger.scopes() <= limits.scopes && bytes <= limits.bytes, "{} scopes", ledger.scopes());
            let before = Stamp { number: last.max(1) - 1, ..ledger.stamp() };
            assert!(last == 0 || ledger.standing(&tracked, before) != Standing::Alive, "purge {last} is forgotten");
            assert_eq!(ledger.standing(&tracked, ledger.stamp()), Standing::Alive, "fetched now");
        }
    }
    assert!(last > 0, "the tracked one is named now and then");
    // Each fold frees a quarter: one purge in fifty or so pays for it, not each one.
    assert!(ledger.folds() < 1_000_000 / 40, "{} folds", ledger.folds());
}

/// What a ledger without bounds says: the purges, one by one.
struct Plain(Vec<(Vec<Scope>, Severity, Timestamp)>);

impl Plain {
    fn standing(&self, labels: &Labels, number: u64) -> Standing {
        let later = self.0.iter().skip(usize::try_from(number).expect("small"));
        let naming = later.filter(|(scopes, ..)| scopes.iter().any(|scope| scope.names(labels)));
        naming.fold(Standing::Alive, |standing, (_, severity, at)| match (standing, severity) {
            (Standing::Dead, _) | (_, Severity::Hard) => Standing::Dead,
            (Standing::Alive, Severity::Soft) => Standing::Stale { since: *at },
            (Standing::Stale { since }, Severity::Soft) => Standing::Stale { since: since.min(*at) },
            (Standing::Unheard, _) => unreachable!("there is no log"),
        })
    }

    /// The most soft purges that one scope has had: few are told apart.
    fn soft_purges_of_one_scope(&self) -> usize {
        let of = |scope: &Scope| {
            let softs =
                self.0.iter().filter(|(scopes, severity, _)| *severity == Severity::Soft && scopes.contains(scope));
            softs.count()
        };
        self.0.iter().flat_map(|(scopes, ..)| scopes).map(of).max().unwrap_or(0)
    }
}

/// How strict a standing is.
fn rank(standing: Standing) -> (u8, u64) {
    match standing {
        Standing::Alive => (0, 0),
        // The earlier the stale windows began, the less is left of them.
        Standing::Stale { since } => (1, u64::MAX - since.as_millis()),
        Standing::Dead => (2, 0),
        Standing::Unheard => unreachable!("there is no log"),
    }
}

fn any_authority() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a.test", "a.test:8080", "b.test", "[::1]", "[::1]:81"])
}

fn any_target() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/", "/x", "/x/y", "/x/y?z=1", "/x?"])
}

fn any_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["s", "t", "tt", "T", "ü"])
}

fn any_scope() -> impl Strategy<Value = Scope> {
    let hosts = prop::sample::select(vec!["a.test", "a.test:8080", "b.test", "[::1]", "[::1]:81", "c.test"]);
    prop_oneof![
        1 => Just(Scope::Everything),
        2 => hosts.prop_map(host),
        4 => (any_authority(), any_target()).prop_map(|(authority, target)| prefix(&format!("http://{authority}{target}"))),
        6 => any_name().prop_map(tag),
        4 => (any_authority(), any_name()).prop_map(|(authority, name)| group(&format!("http://{authority}"), name)),
        6 => (any_authority(), any_target()).prop_map(|(authority, target)| Scope::url("http", authority, target)),
    ]
}

fn any_labels() -> impl Strategy<Value = Labels> {
    let names = || vec(any_name(), 0..3);
    (any_authority(), any_target(), names(), names()).prop_map(|(authority, target, groups, tags)| {
        let bytes = |names: Vec<&'static str>| names.into_iter().map(str::as_bytes);
        Labels::new("http", authority, target, Tags::new(bytes(groups), bytes(tags)))
    })
}

fn any_purge() -> impl Strategy<Value = (Vec<Scope>, Severity, Timestamp)> {
    let severity = prop_oneof![1 => Just(Severity::Hard), 2 => Just(Severity::Soft)];
    (vec(any_scope(), 1..3), severity, (1_u64..100).prop_map(at))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_ledger_says_what_the_purges_say_one_by_one(
        purges in vec(any_purge(), 0..12),
        stored in vec((any_labels(), 0_u64..12), 1..20),
    ) {
        let (ledger, plain) = (Ledger::new(), Plain(purges));
        for (scopes, severity, at) in &plain.0 {
            ledger.purge(scopes, *severity, *at);
        }
        let is_exact = plain.soft_purges_of_one_scope() <= 4;
        for (labels, number) in stored {
            let stamp = Stamp { number, ..ledger.stamp() };
            let (found, want) = (ledger.standing(&labels, stamp), plain.standing(&labels, number));
            prop_assert!(found == want || (!is_exact && rank(found) > rank(want)), "{found:?}, not {want:?}");
            let same_kind = rank(found).0 == rank(want).0;
            prop_assert!(same_kind, "{found:?} is of another kind than {want:?}");
            prop_assert_eq!(ledger.blame(&labels, stamp).is_some(), found != Standing::Alive);
        }
    }

    #[test]
    fn a_full_ledger_is_never_less_strict(
        purges in vec(any_purge(), 0..60),
        stored in vec((any_labels(), 0_u64..60), 1..20),
        scopes in 1_usize..12,
    ) {
        let (ledger, plain) = (small(scopes, ROOM), Plain(purges));
        for (scopes, severity, at) in &plain.0 {
            ledger.purge(scopes, *severity, *at);
        }
        for (labels, number) in stored {
            let stamp = Stamp { number, ..ledger.stamp() };
            let (found, want) = (ledger.standing(&labels, stamp), plain.standing(&labels, number));
            // What was hard is a doubt once it is folded: asked about before it is used.
            let is_doubted = found == Standing::Stale { since: NEVER };
            prop_assert!(rank(found) >= rank(want) || is_doubted, "{found:?}, not {want:?}");
            prop_assert!(found != Standing::Dead || want == Standing::Dead, "{found:?}, not {want:?}");
            prop_assert_eq!(ledger.blame(&labels, stamp).is_some(), found != Standing::Alive);
        }
    }
}
