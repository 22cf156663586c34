//! Do purges do what they say, and say what they do?

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use super::count::{Names, scan};
use super::*;
use crate::cache::memory::Limits;
use crate::cache::sample;
use crate::policy::key::Key;
use crate::policy::route::Rules;
use crate::policy::scope::{Labels, Scope, Tags};
use crate::policy::time::Timestamp;
use crate::policy::treatment::KeyRules;
use crate::wire::purge::{Matched, Wait};

const NOW: Timestamp = Timestamp::from_millis(784_111_777_120);

fn key(target: &str) -> Key {
    Key::of("http", "a.test", target, &HeaderMap::new(), &KeyRules::default())
}

/// A node with nothing stored.
fn purger() -> Purger {
    purger_with(1 << 24)
}

fn purger_with(capacity: u64) -> Purger {
    let memory = Memory::new(Limits { capacity, max_object: 1 << 20, max_variants: 8, threads: 1 });
    Purger::new(Arc::new(Ledger::new()), Arc::new(memory), Clock::manual(NOW), "e1".into())
}

impl Purger {
    fn store(&self, target: &str, tags: &[&str]) {
        let entry = sample::entry(sample::labels(target, tags), self.ledger.stamp(), Bytes::from_static(b"x"));
        self.census.memory().put(Arc::new(entry), None);
    }

    fn is_stored(&self, target: &str) -> bool {
        self.census.memory().get(key(target).as_bytes()).is_some()
    }
}

fn tag(name: &str) -> Scope {
    Scope::Tag(name.as_bytes().into())
}

fn order(scopes: Vec<Scope>, severity: Severity) -> Order {
    Order { scopes, keys: None, severity, dry_run: false, wait: Wait::Edge, who: "192.0.2.1 admin".to_owned() }
}

fn url(target: &str, severity: Severity) -> Order {
    let rules = Rules::compile(Vec::new(), &[]);
    let order = Order::of_target(("http", "a.test", target), &HeaderMap::new(), &rules, "192.0.2.1 public".to_owned());
    Order { severity, ..order.expect("a URL") }
}

#[tokio::test]
async fn a_receipt_says_what_was_done_and_the_history_remembers_it() {
    let purger = purger();
    for (target, tags) in [("/1", &["t", "u"][..]), ("/2", &["t"]), ("/3", &["u"]), ("/4", &[])] {
        purger.store(target, tags);
    }
    let cases = [
        (order(vec![tag("t")], Severity::Soft), 1, 2, "two carry it"),
        (order(vec![tag("t")], Severity::Hard), 2, 2, "stale ones are still there"),
        (order(vec![tag("t")], Severity::Hard), 3, 0, "dead ones are not"),
        (order(vec![tag("u"), tag("t")], Severity::Hard), 4, 1, "each response counts once, by whichever tag"),
        (url("/4", Severity::Hard), 5, 1, "a URL"),
        (order(vec![tag("nobody's")], Severity::Hard), 6, 0, "nothing matched is no fault"),
    ];
    for (order, seq, edge, why) in cases {
        let soft = order.severity == Severity::Soft;
        let receipt = purger.purge(order.clone()).await;
        assert_eq!((receipt.status, receipt.seq, receipt.soft), (Status::Ok, seq, soft), "{why}");
        assert_eq!(receipt.matched, Matched { edge, partial: false }, "{why}");
        assert_eq!(receipt.nodes, Nodes { acked: vec!["e1".to_owned()], lagging: Vec::new() }, "{why}");
        let record = &purger.recent(1)[0];
        assert_eq!((&record.id, record.seq, record.matched), (&receipt.id, seq, receipt.matched), "{why}");
        assert_eq!((&record.who, &*record.when), (&order.who, "1994-11-06T08:49:37.120Z"), "{why}");
    }
    let seqs: Vec<_> = purger.recent(4).iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [6, 5, 4, 3], "the latest first");
}

#[tokio::test]
async fn fifty_thousand_under_one_tag_are_counted_to_the_last() {
    const MANY: u64 = 50_000;
    let purger = purger_with(1 << 30);
    for number in 0..MANY {
        purger.store(&format!("/many/{number}"), &["many", "common"]);
    }
    for number in 0..100 {
        purger.store(&format!("/few/{number}"), &["few", "common"]);
    }
    let cases = [("many", MANY, "all of them"), ("many", 0, "none is left"), ("common", 100, "their neighbours are")];
    for (name, edge, why) in cases {
        let dry = Order { dry_run: true, ..order(vec![tag(name)], Severity::Hard) };
        let told = [purger.purge(dry).await, purger.purge(order(vec![tag(name)], Severity::Hard)).await];
        assert_eq!(told.map(|receipt| receipt.matched), [Matched { edge, partial: false }; 2], "{why}");
    }
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let purger = purger();
    purger.store("/1", &["t"]);
    let stamp = purger.ledger.stamp();
    for order in [order(vec![tag("t")], Severity::Hard), url("/1", Severity::Hard)] {
        let receipt = purger.purge(Order { dry_run: true, ..order }).await;
        assert_eq!((receipt.status, receipt.seq, receipt.matched.edge), (Status::DryRun, 0, 1));
        assert_eq!(receipt.nodes, Nodes::default(), "nobody has what was not done");
    }
    assert_eq!(purger.ledger.stamp(), stamp);
    assert!(purger.is_stored("/1") && purger.recent(9).is_empty());
}

#[tokio::test]
async fn the_history_is_bounded_in_purges_scopes_and_bytes() {
    let purger = purger();
    let long = "t".repeat(1000);
    let many: Vec<_> = (0..100).map(|number| tag(&format!("{long}{number}"))).collect();
    purger.purge(order(many, Severity::Hard)).await;
    let record = &purger.recent(1)[0];
    assert_eq!((record.scopes.len(), record.scope_count), (16, 100));
    assert_eq!(record.scopes[0].name, format!("{}…", &long[..history::MAX_NAME]));
    for number in 0..1030 {
        purger.purge(url(&format!("/{number}"), Severity::Hard)).await;
    }
    let recent = purger.recent(usize::MAX);
    assert_eq!((recent.len(), recent[0].seq, recent[1023].seq), (1024, 1031, 8), "the oldest went");
}

#[test]
fn purges_that_overtake_one_another_are_remembered_in_the_order_of_their_numbers() {
    let history = History::default();
    let record = |seq| PurgeRecord {
        seq,
        id: String::new(),
        scopes: Vec::new(),
        scope_count: 0,
        soft: false,
        who: String::new(),
        when: String::new(),
        matched: Matched::default(),
        nodes: Nodes::default(),
    };
    for seq in [1, 3, 2, 5, 4] {
        history.remember(record(seq));
    }
    let seqs: Vec<_> = history.recent(9).iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [5, 4, 3, 2, 1]);
    for seq in 0..=6 {
        let found = history.record(seq).map(|record| record.seq);
        assert_eq!(found, (1..=5).contains(&seq).then_some(seq));
    }
}

#[test]
fn a_scan_that_has_looked_enough_says_that_there_may_be_more() {
    let purger = purger();
    for number in 0..5 {
        purger.store(&format!("/{number}"), &["t"]);
    }
    let names = Names::of(&[tag("t")]);
    let cases = [(4, 4, true, "one left"), (5, 5, false, "all seen"), (9, 5, false, "fewer than it may look at")];
    for (most, edge, partial, why) in cases {
        assert_eq!(scan((&purger.ledger, purger.census.memory()), &names, 1, most), Matched { edge, partial }, "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_get_a_turn_to_scan_purges_without_a_count() {
    let purger = purger();
    purger.store("/1", &["t"]);
    let turn = purger.census.occupy().await;
    let began = tokio::time::Instant::now();
    let receipt = purger.purge(order(vec![tag("t")], Severity::Hard)).await;
    assert_eq!((receipt.seq, receipt.matched), (1, Matched { edge: 0, partial: true }), "purged all the same");
    assert_eq!(began.elapsed(), Duration::from_millis(50));
    purger.store("/2", &[]);
    let receipt = purger.purge(url("/2", Severity::Hard)).await;
    assert_eq!(receipt.matched, Matched { edge: 1, partial: false }, "a URL needs no turn");
    drop(turn);
    purger.store("/3", &["t"]);
    assert_eq!(purger.purge(order(vec![tag("t")], Severity::Hard)).await.matched.edge, 1);
}

#[tokio::test]
async fn purges_are_counted_by_scope_and_severity() {
    let purger = purger();
    let mut registry = Registry::default();
    purger.register(&mut registry);
    purger.purge(order(vec![tag("t"), tag("u"), Scope::Host("a.test".into())], Severity::Soft)).await;
    purger.purge(order(vec![Scope::Everything], Severity::Hard)).await;
    purger.purge(Order { dry_run: true, ..order(vec![Scope::Everything], Severity::Hard) }).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("writing to a string");
    for line in [
        "larder_purges_total{scope=\"tag\",severity=\"soft\"} 1",
        "larder_purges_total{scope=\"host\",severity=\"soft\"} 1",
        "larder_purges_total{scope=\"everything\",severity=\"hard\"} 1",
        "larder_purges_total{scope=\"url\",severity=\"hard\"} 0",
        "larder_ledger_scopes 4",
        "larder_ledger_folds_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
}

fn scopes() -> impl Strategy<Value = Scope> {
    let text = "[ab/]{0,3}";
    prop_oneof![
        1 => Just(Scope::Everything),
        4 => prop_oneof!["a.test", "a.test:81", "b.test"].prop_map(|host| Scope::Host(host.into())),
        9 => text.prop_map(|path| Scope::Prefix(format!("http://a.test/{path}").into())),
        3 => "[ab]{1,2}".prop_map(|name| tag(&name)),
        3 => "[ab]{1,2}".prop_map(|name| Scope::Group { origin: "http://a.test".into(), name: name.as_bytes().into() }),
        9 => text.prop_map(|path| Scope::url("http", "a.test", &format!("/{path}"))),
    ]
}

proptest! {
    #[test]
    fn many_scopes_together_name_what_one_of_them_does(
        named in proptest::collection::vec(scopes(), 0..12),
        (authority, path) in ("a.test(:81)?", "/[ab/]{0,4}"),
        (group, tag) in ("[ab]{1,2}", "[ab]{1,2}"),
    ) {
        let labels = Labels::new("http", &authority, &path, Tags::new([group.as_bytes()], [tag.as_bytes()]));
        let want = named.iter().any(|scope| scope.names(&labels));
        prop_assert_eq!(Names::of(&named).name(&labels), want, "{:?} {:?}", named, labels);
    }
}
