//! How is an explanation told to people? The verdict first, then what led to it, then what to change.

use std::borrow::Cow;
use std::fmt::Write;

use clap::builder::styling::{AnsiColor, Style};

use super::visible;
use crate::wire::explain::{AppliedRule, Explanation, KeyParts, PurgedBy, StoredVariant, Verdict};

/// Columns: what every terminal has.
const WIDTH: usize = 80;

/// Before everything below a heading.
const INDENT: usize = 2;

/// The page. No colours without `colour`.
pub(super) fn page(explanation: &Explanation, colour: bool) -> String {
    let mut page = Page { text: String::new(), colour };
    page.verdict(&explanation.request, &explanation.verdict);
    page.steps(explanation);
    page.rules(&explanation.rules);
    if let Some(origin) = &explanation.origin {
        page.heading("Origin");
        page.pair(0, "", origin);
    }
    // A request that is turned away at the door, or that purges, has none.
    if !explanation.key.normalised.is_empty() {
        page.key(&explanation.key);
    }
    // Whatever is there: for what is passed or refused it is not looked up.
    if !explanation.stored.is_empty() || explanation.verdict.result == "miss" {
        page.stored(&explanation.stored);
    }
    page.advice(&explanation.advice);
    page.text
}

struct Page {
    text: String,
    colour: bool,
}

impl Page {
    fn verdict(&mut self, request: &str, verdict: &Verdict) {
        let colour = match verdict.result.as_str() {
            "hit" => AnsiColor::Green,
            "refused" => AnsiColor::Red,
            _ => AnsiColor::Yellow,
        };
        self.styled(Style::new().bold(), &visible(request));
        self.text.push('\n');
        self.styled(colour.on_default().bold(), &visible(&verdict.result));
        self.text.push_str(": ");
        self.wrapped(verdict.result.chars().count() + 2, INDENT, &verdict.because);
        let status = verdict.status.map(|status| status.to_string());
        let parts = [("status", &status), ("fwd", &verdict.fwd), ("detail", &verdict.detail), ("by", &verdict.clause)];
        for (name, value) in parts {
            if let Some(value) = value {
                self.pair(6, name, value);
            }
        }
    }

    fn steps(&mut self, explanation: &Explanation) {
        // The verdict is the first line already.
        let steps = explanation.steps.iter().filter(|step| step.says != explanation.verdict.because);
        let steps: Vec<_> = steps.collect();
        if steps.is_empty() {
            return;
        }
        self.heading("Steps");
        let width = widest(steps.iter().map(|step| step.step.as_str()));
        for step in steps {
            self.pair(width, &step.step, &step.says);
        }
    }

    fn rules(&mut self, rules: &[AppliedRule]) {
        if rules.is_empty() {
            return;
        }
        self.heading("Rules");
        let places: Vec<_> = rules.iter().map(|rule| format!("line {}", rule.line)).collect();
        let width = widest(places.iter().map(String::as_str));
        for (rule, place) in rules.iter().zip(&places) {
            self.pair(width, place, if rule.name.is_empty() { "(without a name)" } else { &rule.name });
        }
    }

    fn key(&mut self, key: &KeyParts) {
        self.heading("Key");
        let width = "asked for".len();
        self.pair(width, "URL", &key.normalised);
        if key.url != key.normalised {
            self.pair(width, "asked for", &key.url);
        }
        for field in &key.headers {
            self.pair(width, "field", &told(field));
        }
        for cookie in &key.cookies {
            self.pair(width, "cookie", &told(cookie));
        }
    }

    fn stored(&mut self, stored: &[StoredVariant]) {
        let is_selected = stored.iter().any(|variant| variant.selected);
        self.heading(if is_selected { "Stored (* what the request selects)" } else { "Stored" });
        if stored.is_empty() {
            self.pair(0, "", "nothing under this key");
            return;
        }
        let heads = ["", "status", "age", "lifetime", "ttl", "size", "hits", "standing", "stamp"];
        let rows: Vec<_> = stored.iter().map(cells).collect();
        let widths: Vec<_> = heads
            .iter()
            .enumerate()
            .map(|(at, head)| widest(rows.iter().map(|row| row[at].as_str()).chain([*head])))
            .collect();
        self.row(&heads.map(str::to_owned), &widths);
        for (variant, row) in stored.iter().zip(&rows) {
            self.row(row, &widths);
            self.below(variant);
        }
    }

    /// What fits into no column.
    fn below(&mut self, variant: &StoredVariant) {
        let selecting: Vec<_> = variant.response.selecting.iter().map(|field| told(field)).collect();
        let lines = [("for", selecting.join("; ")), ("tags", variant.response.tags.join(" "))];
        let purge = variant.purged_by.as_ref().map(|purge| ("by", purged(purge)));
        for (name, value) in lines.into_iter().chain(purge).filter(|(_, value)| !value.is_empty()) {
            self.text.push_str("    ");
            self.pair(4, name, &value);
        }
    }

    fn row(&mut self, cells: &[String], widths: &[usize]) {
        let mut line = " ".repeat(INDENT);
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn advice(&mut self, advice: &[String]) {
        if advice.is_empty() {
            return;
        }
        self.heading("To make it a hit");
        for line in advice {
            self.pair(1, "-", line);
        }
    }

    fn heading(&mut self, words: &str) {
        self.text.push('\n');
        self.styled(Style::new().bold(), words);
        self.text.push('\n');
    }

    /// A name and what there is to say of it, below each other where there are several.
    fn pair(&mut self, width: usize, name: &str, value: &str) {
        let name = visible(name);
        let at = self.text.len() - self.text.rfind('\n').map_or(0, |at| at + 1) + INDENT;
        let _ = write!(self.text, "{:INDENT$}{name:width$}", "");
        let mut begin = at + width.max(name.chars().count());
        if begin > at {
            self.text.push_str("  ");
            begin += 2;
        }
        self.wrapped(begin, begin, value);
    }

    /// Words from elsewhere, from column `at` on; further lines begin at column `margin`.
    fn wrapped(&mut self, mut at: usize, margin: usize, words: &str) {
        let words = visible(words);
        let mut is_first = true;
        for word in words.split_whitespace() {
            let length = word.chars().count();
            if !is_first && at + 1 + length > WIDTH {
                let _ = write!(self.text, "\n{:margin$}", "");
                at = margin;
            } else if !is_first {
                self.text.push(' ');
                at += 1;
            }
            self.text.push_str(word);
            at += length;
            is_first = false;
        }
        self.text.push('\n');
    }

    fn styled(&mut self, style: Style, words: &str) {
        let _ = if self.colour { write!(self.text, "{style}{words}{style:#}") } else { self.text.write_str(words) };
    }
}

/// A row of the table of what is stored.
fn cells(variant: &StoredVariant) -> [String; 9] {
    let response = &variant.response;
    [
        if variant.selected { "*" } else { "" }.to_owned(),
        response.status.to_string(),
        seconds(response.age),
        seconds(response.lifetime),
        format!("{}{}", if response.ttl < 0 { "-" } else { "" }, seconds(response.ttl.unsigned_abs())),
        bytes(response.size),
        response.hits.to_string(),
        visible(&response.standing).into_owned(),
        response.stamp.to_string(),
    ]
}

/// A field or cookie with its value; one without a value is one that the request does not have.
fn told(pair: &str) -> Cow<'_, str> {
    if pair.contains([':', '=']) { Cow::Borrowed(pair) } else { Cow::Owned(format!("no {pair}")) }
}

/// The purge by which it is no longer what it was.
fn purged(purge: &PurgedBy) -> String {
    let softly = if purge.soft { "soft " } else { "" };
    let named = format!("{softly}purge {} of {} {}", purge.seq, purge.kind, purge.name);
    let who = purge.who.as_ref().map(|who| format!("asked by {who}"));
    let parts = [Some(named.trim_end().to_owned()), who, purge.when.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn widest<'t>(texts: impl Iterator<Item = &'t str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

/// The two largest units, as `proxy.toml` writes them.
fn seconds(number: u64) -> String {
    match number {
        0..120 => format!("{number}s"),
        120..7_200 => format!("{}m{}", number / 60, rest(number % 60, "s")),
        7_200..172_800 => format!("{}h{}", number / 3_600, rest(number % 3_600 / 60, "m")),
        _ => format!("{}d{}", number / 86_400, rest(number % 86_400 / 3_600, "h")),
    }
}

fn rest(number: u64, unit: &str) -> String {
    if number == 0 { String::new() } else { format!(" {number}{unit}") }
}

fn bytes(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1_024 {
        return format!("{number}B");
    }
    let mut scaled = number as f64 / 1_024.0;
    let mut unit = 0;
    while scaled >= 1_024.0 && unit + 1 < units.len() {
        scaled /= 1_024.0;
        unit += 1;
    }
    format!("{scaled:.1}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::explain::Step;
    use crate::wire::objects::ObjectVariant;

    fn response() -> ObjectVariant {
        ObjectVariant {
            status: 200,
            selecting: vec!["accept-language: de".to_owned()],
            age: 12,
            lifetime: 60,
            ttl: 48,
            tags: vec!["products".to_owned(), "product:17".to_owned()],
            size: 1_300,
            part: None,
            hits: 3,
            era: "a1".to_owned(),
            stamp: 1841,
            standing: "alive".to_owned(),
        }
    }

    fn variant() -> StoredVariant {
        StoredVariant { selected: true, response: response(), purged_by: None }
    }

    const BECAUSE: &str =
        "what is stored was purged, and the origin is asked for a new one as if nothing had been stored";

    fn explanation() -> Explanation {
        let step = |step: &str, says: &str| Step { step: step.to_owned(), says: says.to_owned() };
        let purge = PurgedBy {
            seq: 1842,
            kind: "tag".to_owned(),
            name: "products".to_owned(),
            soft: false,
            who: Some("127.0.0.1 admin".to_owned()),
            when: Some("2026-11-23T00:00:00.000Z".to_owned()),
        };
        let dead = StoredVariant {
            selected: false,
            response: ObjectVariant { ttl: -4_000, standing: "dead".to_owned(), ..response() },
            purged_by: Some(purge),
        };
        Explanation {
            request: "GET http://shop.example/api/products?utm_source=a".to_owned(),
            verdict: Verdict {
                result: "miss".to_owned(),
                detail: Some("purged".to_owned()),
                fwd: Some("uri-miss".to_owned()),
                status: None,
                clause: Some("RFC 9111 §4".to_owned()),
                because: BECAUSE.to_owned(),
            },
            steps: vec![
                step("route", "goes to app"),
                step(
                    "look-up",
                    "two variants are stored under the key, of which the request selects the first one there",
                ),
                step("verdict", BECAUSE),
            ],
            rules: vec![
                AppliedRule { name: "catalogue".to_owned(), line: 7 },
                AppliedRule { name: String::new(), line: 112 },
            ],
            origin: Some("app".to_owned()),
            key: KeyParts {
                url: "http://shop.example/api/products?utm_source=a".to_owned(),
                normalised: "http://shop.example/api/products".to_owned(),
                headers: vec!["x-tenant: a\u{1b}[2J".to_owned()],
                cookies: vec!["currency=eur".to_owned(), "tier".to_owned()],
            },
            stored: vec![variant(), dead],
            advice: vec!["leave utm_source out of the key: key.query.exclude".to_owned()],
        }
    }

    const PAGE: &str = "\
GET http://shop.example/api/products?utm_source=a
miss: what is stored was purged, and the origin is asked for a new one as if
  nothing had been stored
  fwd     uri-miss
  detail  purged
  by      RFC 9111 §4

Steps
  route    goes to app
  look-up  two variants are stored under the key, of which the request selects
           the first one there

Rules
  line 7    catalogue
  line 112  (without a name)

Origin
  app

Key
  URL        http://shop.example/api/products
  asked for  http://shop.example/api/products?utm_source=a
  field      x-tenant: a\\u{1b}[2J
  cookie     currency=eur
  cookie     no tier

Stored (* what the request selects)
     status  age  lifetime  ttl       size    hits  standing  stamp
  *  200     12s  60s       48s       1.3KiB  3     alive     1841
      for   accept-language: de
      tags  products product:17
     200     12s  60s       -66m 40s  1.3KiB  3     dead      1841
      for   accept-language: de
      tags  products product:17
      by    purge 1842 of tag products, asked by 127.0.0.1 admin,
            2026-11-23T00:00:00.000Z

To make it a hit
  -  leave utm_source out of the key: key.query.exclude
";

    #[test]
    fn a_page_says_the_verdict_and_then_how_it_came_about() {
        let page = page(&explanation(), false);
        assert_eq!(page, PAGE, "{page}");
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
    }

    #[test]
    fn a_page_in_colour_says_the_same() {
        let page = page(&explanation(), true);
        assert!(page.contains("\u{1b}[1m\u{1b}[33mmiss\u{1b}[0m: what"), "{page:?}");
        let mut plain = String::new();
        for part in page.split('\u{1b}') {
            plain.push_str(part.split_once('m').filter(|_| part.starts_with('[')).map_or(part, |(_, text)| text));
        }
        assert_eq!(plain, PAGE);
    }

    #[test]
    fn what_is_not_there_has_no_heading() {
        let bare = Explanation { request: "GET x".to_owned(), ..Explanation::default() };
        let page = page(&bare, false);
        for heading in ["Steps", "Rules", "Origin", "Key", "Stored", "hit"] {
            assert!(!page.contains(heading), "{heading}: {page}");
        }
        let mut missed = bare;
        missed.verdict.result = "miss".to_owned();
        let page = super::page(&missed, false);
        assert!(page.contains("Stored\n  nothing under this key\n"), "{page}");
    }

    #[test]
    fn figures_have_the_units_of_the_file() {
        let times = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m 20s"),
            (7_260, "2h 1m"),
            (90_000, "25h"),
            (183_600, "2d 3h"),
        ];
        for (number, want) in times {
            assert_eq!(seconds(number), want, "{number}");
        }
        let sizes =
            [(0, "0B"), (1_023, "1023B"), (1_024, "1.0KiB"), (5_242_880, "5.0MiB"), (u64::MAX, "16777216.0TiB")];
        for (number, want) in sizes {
            assert_eq!(bytes(number), want, "{number}");
        }
    }
}
