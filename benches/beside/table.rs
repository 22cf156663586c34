//! How do the figures read, in Markdown?

use std::fmt::Write as _;
use std::io::Write as _;

use crate::arguments::Arguments;
use crate::load::Sample;
use crate::servers::{Kind, Place, versions};
use crate::{Failure, origin};

/// Medians of one workload.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) medians: Vec<(Kind, Sample)>,
}

/// Writes a table to standard output; what goes on is told on standard error.
pub(crate) fn say(text: &str) {
    // Nobody may be reading any more.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// When, on what, and how.
pub(crate) fn circumstances(arguments: &Arguments, place: &Place) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()))
        .unwrap_or_default();
    let date = origin::today();
    format!(
        "{}; {}; {processor}; Linux {}; load average at the start {}. Server on core {}, load and origin on core {}; {} rounds \
         in turn, {} s each, medians.\n",
        date.get(5..16).unwrap_or_default(),
        versions(&arguments.larder),
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        place.cores.server,
        place.cores.load,
        arguments.rounds,
        arguments.seconds,
    )
}

/// Processor time a request; the ratio is to the best of the others.
pub(crate) fn of_processor(rows: &[Row]) -> String {
    let mut text = "| processor µs a request | Larder | nginx | Varnish | HAProxy | Larder ÷ best |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        let cells = Kind::ALL.map(|kind| cell(row.of(kind).map(|sample| sample.cpu)));
        let _ = writeln!(text, "| {} | {} | {} |", row.title, cells.join(" | "), row.ratio());
    }
    text
}

/// Requests a second, and how long one takes with the server busy.
pub(crate) fn of_speed(rows: &[Row]) -> String {
    let mut text =
        "| requests/s · p50 ms · p99 ms | Larder | nginx | Varnish | HAProxy |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for row in rows {
        let cells = Kind::ALL.map(|kind| {
            row.of(kind).map_or_else(
                || "–".to_owned(),
                |sample| format!("{:.0} · {:.2} · {:.2}", sample.rate, sample.p50, sample.p99),
            )
        });
        let _ = writeln!(text, "| {} | {} |", row.title, cells.join(" | "));
    }
    text
}

/// Figures of one kind a row.
pub(crate) fn of_figures(title: &str, rows: &[(&str, Vec<(Kind, f64)>)]) -> String {
    let mut text = format!("| {title} | Larder | nginx | Varnish | HAProxy |\n| --- | --- | --- | --- | --- |\n");
    for (name, figures) in rows {
        let of = |wanted| figures.iter().find(|(kind, _)| *kind == wanted).map(|(_, figure)| *figure);
        let _ = writeln!(text, "| {name} | {} |", Kind::ALL.map(|kind| cell(of(kind))).join(" | "));
    }
    text
}

/// One workload in a line.
pub(crate) fn processor(row: &Row) -> String {
    let medians = row.medians.iter().map(|(kind, sample)| format!("{} {} µs", kind.name(), cell(Some(sample.cpu))));
    list(medians.chain([format!("ratio {}", row.ratio())]))
}

/// What Larder alone was measured for.
pub(crate) fn of_larder(rows: &[(String, String)]) -> String {
    let mut text = "| Larder alone | |\n| --- | --- |\n".to_owned();
    for (what, figure) in rows {
        let _ = writeln!(text, "| {what} | {figure} |");
    }
    text
}

/// Parts of a sentence.
pub(crate) fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Three figures that count.
fn cell(figure: Option<f64>) -> String {
    match figure {
        None => "–".to_owned(),
        Some(figure) if figure >= 100.0 || figure.fract() == 0.0 => format!("{figure:.0}"),
        Some(figure) if figure >= 10.0 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.2}"),
    }
}

/// As it is said of bytes.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

impl Row {
    fn of(&self, kind: Kind) -> Option<Sample> {
        self.medians.iter().find(|(known, _)| *known == kind).map(|(_, sample)| *sample)
    }

    fn ratio(&self) -> String {
        let others = self.medians.iter().filter(|(kind, _)| *kind != Kind::Larder);
        let best = others.map(|(_, sample)| sample.cpu).min_by(f64::total_cmp);
        match (self.of(Kind::Larder), best) {
            (Some(larder), Some(best)) => format!("{:.2}", larder.cpu / best),
            _ => "–".to_owned(),
        }
    }
}

/// A table that is whole or a failure.
pub(crate) type Rows = Result<Vec<(String, String)>, Failure>;
