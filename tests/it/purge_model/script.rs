//! What does the simulated origin say, and as what is that known?

use std::time::{Duration, UNIX_EPOCH};

use fastrand::Rng;
use http::{HeaderName, Method};
use larder::policy::fields::Fields;
use larder::policy::scope::{Labels, Scope, Tags};
use larder::policy::time::Timestamp;

use super::account::{Fetch, Kind};
use crate::support::origin::{Asked, Pieces, Told, ok, status, streamed};

/// Hosts and targets that are asked for. Below `/v` the origin selects by language; `utm_*` is not in keys.
pub(super) const HOSTS: [&str; 2] = ["a.test", "b.test:8080"];
pub(super) const TARGETS: [&str; 6] = ["/s/1", "/s/2", "/v/1", "/q", "/q?utm_a=1", "/other"];
pub(super) const TAGS: [&str; 4] = ["t0", "t1", "t2", "t3"];

const LIFETIMES: [(&str, u64); 10] = [
    ("max-age=60", 60),
    ("max-age=600", 600),
    ("max-age=600", 600),
    ("max-age=60, stale-while-revalidate=300", 60),
    ("max-age=5, stale-while-revalidate=300, stale-if-error=300", 5),
    ("max-age=60, stale-if-error=300", 60),
    ("s-maxage=60", 60),
    ("no-store", 0),
    ("private", 0),
    ("no-cache", 0),
];

/// The tags of an answer: those that the origin gives it.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    groups: Vec<&'static str>,
    keys: Vec<&'static str>,
}

/// What is stored of what an origin is asked about.
pub(super) struct Base {
    pub(super) etag: String,
    pub(super) chain: Vec<usize>,
    pub(super) given: Given,
}

/// What is said to one question.
pub(super) struct Said {
    pub(super) fetch: Fetch,
    pub(super) given: Given,
    pub(super) told: Told,
    /// The body, where it comes later, and whether it is for more than one client.
    pub(super) body: Option<(Pieces, bool)>,
    /// What an unsafe request changes, from the moment of its answer on.
    pub(super) changes: Vec<Scope>,
}

/// A question, and when it was asked.
pub(super) struct Question {
    pub(super) id: usize,
    pub(super) asked: Asked,
    pub(super) step: u64,
    pub(super) now: Timestamp,
}

impl Question {
    pub(super) fn host(&self) -> String {
        self.asked.field("host").expect("every request names its host")
    }

    pub(super) fn url(&self) -> String {
        url_of(&self.host(), &self.asked.target)
    }

    pub(super) fn variant(&self) -> String {
        variant_of(&self.asked.target, &self.asked.field("x-language").unwrap_or_default())
    }
}

/// Settles what is said to a question; `base` is what is stored of it.
pub(super) fn say(question: &Question, base: Option<Base>, random: &mut Rng) -> Said {
    let kind = match question.asked.method {
        Method::POST => Kind::Change,
        Method::HEAD => Kind::Head,
        _ if base.is_some() && random.u32(..5) < 3 => Kind::Confirmation,
        _ => Kind::Response,
    };
    match (kind, base) {
        (Kind::Confirmation, Some(base)) => confirm(question, base, random),
        (Kind::Head, base) => head(question, base, random),
        (Kind::Change, _) => change(question, random),
        _ => respond(question, random),
    }
}

fn respond(question: &Question, random: &mut Rng) -> Said {
    if random.u32(..8) == 0 {
        let told = status(503, "trouble").with("x-chain", &question.id.to_string());
        return said(question, vec![question.id], Given::default(), (Kind::Response, None), told);
    }
    let given = some_tags(random);
    let (directives, seconds) = LIFETIMES[random.usize(..LIFETIMES.len())];
    let (body, told) = if random.bool() {
        let (pieces, told) = streamed();
        (Some((pieces, !["no-store", "private"].contains(&directives))), told)
    } else {
        (None, ok(body_of(question.id)))
    };
    let told = with_tags(told, &given).with("cache-control", directives).with("etag", &format!("\"{}\"", question.id));
    Said { body, ..said(question, vec![question.id], given, (Kind::Response, until(question, seconds)), told) }
}

fn confirm(question: &Question, base: Base, random: &mut Rng) -> Said {
    let (directives, seconds) = LIFETIMES[random.usize(..LIFETIMES.len())];
    let mut told = status(304, "").with("etag", &base.etag).with("cache-control", directives);
    let mut given = base.given;
    if random.bool() {
        given.keys = some_tags(random).keys;
        told = told.with("surrogate-key", &given.keys.join(" "));
    }
    let chain = [base.chain, vec![question.id]].concat();
    said(question, chain, given, (Kind::Confirmation, until(question, seconds)), told)
}

fn head(question: &Question, base: Option<Base>, random: &mut Rng) -> Said {
    let changed = random.u32(..4) == 0;
    let Some(base) = base.filter(|_| !changed) else {
        let told = ok(body_of(question.id)).with("etag", &format!("\"{}\"", question.id));
        return said(question, vec![question.id], Given::default(), (Kind::Head, None), told);
    };
    let mut told = ok(body_of(question.id)).with("cache-control", "max-age=60");
    if random.bool() {
        told = told.with("etag", &base.etag);
    }
    said(question, [base.chain, vec![question.id]].concat(), base.given, (Kind::Head, None), told)
}

fn change(question: &Question, random: &mut Rng) -> Said {
    let given = some_tags(random);
    let mut changes = vec![Scope::Url(question.url().into())];
    let mut told = with_tags(ok(body_of(question.id)), &given).with("cache-control", "max-age=60");
    if random.bool() {
        told = told.with("content-location", &question.asked.target);
    }
    if random.u32(..4) == 0 {
        told = told.with("cache-group-invalidation", "\"g0\"");
        let origin = format!("http://{}", question.host()).into();
        changes.push(Scope::Group { origin, name: (*b"g0").into() });
    }
    Said { changes, ..said(question, vec![question.id], given, (Kind::Change, None), told) }
}

fn said(
    question: &Question,
    chain: Vec<usize>,
    given: Given,
    (kind, fresh_until): (Kind, Option<Timestamp>),
    mut told: Told,
) -> Said {
    let list: Vec<_> = chain.iter().map(usize::to_string).collect();
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(question.now.as_millis()));
    told = told.with("x-chain", &list.join(" ")).with("date", &date);
    if question.asked.target.starts_with("/v") {
        told = told.with("vary", "x-language");
    }
    let section = question.asked.target.strip_prefix("/s/").map(|section| format!("section:{section}"));
    let keys = given.keys.iter().copied().chain(section.as_deref()).map(str::as_bytes);
    let tags = Tags::new(given.groups.iter().map(|group| group.as_bytes()), keys);
    let url = question.url();
    let host = question.host();
    let target = url.strip_prefix("http://").and_then(|rest| rest.strip_prefix(&*host)).expect("it begins with both");
    let fetch = Fetch {
        chain,
        labels: Labels::new("http", &host, target, tags),
        variant: question.variant(),
        kind,
        asked: question.step,
        landed: None,
        fresh_until,
    };
    Said { fetch, given, told, body: None, changes: Vec::new() }
}

/// The end of a lifetime less a tenth of it, in which an early refresh may be due.
fn until(question: &Question, seconds: u64) -> Option<Timestamp> {
    (seconds > 0).then(|| question.now.plus(Duration::from_secs(seconds) * 9 / 10))
}

fn some_tags(random: &mut Rng) -> Given {
    let keys = TAGS.into_iter().filter(|_| random.u32(..3) == 0).collect();
    Given { groups: if random.u32(..3) == 0 { vec!["g0"] } else { Vec::new() }, keys }
}

fn with_tags(told: Told, given: &Given) -> Told {
    let told = if given.keys.is_empty() { told } else { told.with("surrogate-key", &given.keys.join(" ")) };
    if given.groups.is_empty() { told } else { told.with("cache-groups", "\"g0\"") }
}

/// Always as long: what answers a `HEAD` must not be told apart by its length.
pub(super) fn body_of(id: usize) -> String {
    format!("fetch {id:06}")
}

/// The URL as keys have it.
pub(super) fn url_of(host: &str, target: &str) -> String {
    format!("http://{host}{}", target.split_once("?utm_").map_or(target, |(path, _)| path))
}

pub(super) fn variant_of(target: &str, language: &str) -> String {
    if target.starts_with("/v") { language.to_owned() } else { String::new() }
}

/// The fetches that a response comes from, as its origin told.
pub(super) fn chain_of(headers: &impl Fields) -> Vec<usize> {
    let list = headers
        .first(&HeaderName::from_static("x-chain"))
        .and_then(|list| str::from_utf8(list).ok())
        .unwrap_or_default();
    list.split_whitespace().map(|id| id.parse().expect("our origin lists numbers")).collect()
}
