//! How is a purge's receipt told to people?

use super::{counted, visible};
use crate::wire::purge::{Matched, Receipt, Status};

/// One line: what was purged, under which number, and who has it.
pub(super) fn sentence(receipt: &Receipt) -> String {
    let softly = if receipt.soft { "softly " } else { "" };
    if receipt.status == Status::DryRun {
        let what = named(receipt.matched).unwrap_or_else(|| "no stored response".to_owned());
        return format!("would {softly}purge {what}; nothing was changed");
    }
    let what =
        named(receipt.matched).map_or_else(|| "; no stored response matched".to_owned(), |what| format!(" {what}"));
    let confirmed = match receipt.nodes.acked.as_slice() {
        [] => String::new(),
        nodes => format!("; confirmed by {}", listed(nodes)),
    };
    // Those that an answer did not have to wait for.
    let lagging = match receipt.nodes.lagging.as_slice() {
        [] => String::new(),
        nodes => format!("; not yet by {}", listed(nodes)),
    };
    format!("{softly}purged{what} (seq {}, {}){confirmed}{lagging}", receipt.seq, milliseconds(receipt.took_ms))
}

/// How many stored responses; `None`: none at all.
fn named(matched: Matched) -> Option<String> {
    match (matched.edge, matched.partial) {
        (0, false) => None,
        (0, true) => Some("stored responses that were not counted".to_owned()),
        (number, false) => Some(counted(number, "stored response")),
        (number, true) => Some(format!("at least {}", counted(number, "stored response"))),
    }
}

/// Names as one writes them in a sentence.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => visible(only).into_owned(),
        [before @ .., last] => {
            let before: Vec<_> = before.iter().map(|name| visible(name)).collect();
            format!("{} and {}", before.join(", "), visible(last))
        }
    }
}

fn milliseconds(number: f64) -> String {
    if number < 0.05 { "under 0.1 ms".to_owned() } else { format!("{number:.1} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::purge::Nodes;

    fn receipt(status: Status, edge: u64, partial: bool, soft: bool, nodes: [&[&str]; 2]) -> Receipt {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let matched = Matched { edge, partial };
        let nodes = Nodes { acked: names(nodes[0]), lagging: names(nodes[1]) };
        Receipt { status, id: "x".to_owned(), seq: 1842, soft, matched, nodes, took_ms: 1.23 }
    }

    #[test]
    fn a_receipt_is_one_sentence() {
        use Status::{DryRun, Ok};
        let one: [&[&str]; 2] = [&["e1"], &[]];
        let cases = [
            (
                receipt(Ok, 312, false, false, one),
                "purged 312 stored responses (seq 1842, 1.2 ms); confirmed by e1",
                "the usual one",
            ),
            (
                receipt(Ok, 1, false, true, one),
                "softly purged 1 stored response (seq 1842, 1.2 ms); confirmed by e1",
                "one, softly",
            ),
            (
                receipt(Ok, 0, false, false, one),
                "purged; no stored response matched (seq 1842, 1.2 ms); confirmed by e1",
                "none: it is a purge all the same",
            ),
            (
                receipt(Ok, 100_000, true, false, one),
                "purged at least 100000 stored responses (seq 1842, 1.2 ms); confirmed by e1",
                "counting ended early",
            ),
            (
                receipt(Ok, 0, true, false, one),
                "purged stored responses that were not counted (seq 1842, 1.2 ms); confirmed by e1",
                "counting did not begin",
            ),
            (
                receipt(Ok, 2, false, false, [&["e1", "e2"], &["e3", "e4", "e\u{1b}5"]]),
                "purged 2 stored responses (seq 1842, 1.2 ms); confirmed by e1 and e2; \
                 not yet by e3, e4 and e\\u{1b}5",
                "a fleet",
            ),
            (receipt(Ok, 2, false, false, [&[], &[]]), "purged 2 stored responses (seq 1842, 1.2 ms)", "no names"),
            (
                receipt(DryRun, 2, false, true, [&[], &[]]),
                "would softly purge 2 stored responses; nothing was changed",
                "a dry run",
            ),
            (
                receipt(DryRun, 0, false, false, [&[], &[]]),
                "would purge no stored response; nothing was changed",
                "a dry run that matches nothing",
            ),
            (
                receipt(DryRun, 1, true, false, [&[], &[]]),
                "would purge at least 1 stored response; nothing was changed",
                "a dry run that ended early",
            ),
        ];
        for (receipt, want, why) in cases {
            assert_eq!(sentence(&receipt), want, "{why}");
        }
        let quick = Receipt { took_ms: 0.02, ..receipt(Ok, 1, false, false, one) };
        assert!(sentence(&quick).contains("(seq 1842, under 0.1 ms)"), "{}", sentence(&quick));
    }
}
