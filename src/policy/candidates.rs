//! Which rules could match a request, without asking each of them?

use std::collections::HashMap;

use smallvec::SmallVec;

use super::route::{Host, HostPattern, Rule};

/// An index over the rules: by whole path, by the path's leading segments, or by host, whichever a rule pins down.
///
/// It only narrows the choice; whether a rule matches is asked of the rule. With hundreds of rules, a request asks a
/// handful.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Rules that match one path only.
    literals: Table,
    /// Rules whose paths begin with this, up to and with a slash.
    prefixes: Table,
    /// Slashes in the longest of those: deeper ones in a path are not looked up.
    depth: usize,
    /// Rules for this host, or host with port.
    hosts: Table,
    /// Rules that could match anything.
    others: Vec<usize>,
}

type Table = HashMap<Box<str>, Vec<usize>, foldhash::fast::RandomState>;

/// Numbers of rules, ascending, each once.
pub(super) type Numbers = SmallVec<[usize; 16]>;

impl Candidates {
    /// Indexes all rules but the unconditional ones.
    pub(super) fn of(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            if !rule.matcher.is_unconditional() {
                index.add(number, rule);
            }
        }
        index
    }

    /// Whether there is nothing to choose from.
    pub(super) fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.prefixes.is_empty() && self.hosts.is_empty() && self.others.is_empty()
    }

    /// The rules that could match, ascending.
    pub(super) fn select(&self, host: Host<'_>, path: &str) -> Numbers {
        let mut found = Numbers::from_slice(&self.others);
        let mut add = |table: &Table, text: &str| {
            if let Some(numbers) = table.get(text) {
                found.extend_from_slice(numbers);
            }
        };
        if !self.literals.is_empty() {
            add(&self.literals, path);
        }
        if !self.prefixes.is_empty() {
            for slash in memchr::memchr_iter(b'/', path.as_bytes()).take(self.depth) {
                add(&self.prefixes, &path[..=slash]);
            }
        }
        if !self.hosts.is_empty() {
            add(&self.hosts, host.name);
            if host.name.len() != host.authority.len() {
                add(&self.hosts, host.authority);
            }
        }
        if found.len() > self.others.len() {
            found.sort_unstable();
            // A rule with several paths or hosts may have been found by more than one.
            found.dedup();
        }
        found
    }

    /// Paths tell more than hosts: many rules share a host. A path that begins with a wildcard tells nothing.
    fn add(&mut self, number: usize, rule: &Rule) {
        let matcher = &rule.matcher;
        let by_path = |prefix: &str| prefix.len() > 1;
        if !matcher.paths.is_empty()
            && matcher.paths.iter().all(|path| path.as_literal().is_some() || by_path(path.literal_prefix()))
        {
            for path in &matcher.paths {
                if let Some(literal) = path.as_literal() {
                    self.literals.entry(literal.into()).or_default().push(number);
                } else {
                    let prefix = path.literal_prefix();
                    self.depth = self.depth.max(prefix.matches('/').count());
                    self.prefixes.entry(prefix.into()).or_default().push(number);
                }
            }
            return;
        }
        let hosts: Vec<String> =
            matcher.hosts.iter().map(|host| HostPattern::new(host.clone()).glob.pattern()).collect();
        if !hosts.is_empty() && hosts.iter().all(|host| !host.contains('*')) {
            for host in hosts {
                self.hosts.entry(host.into()).or_default().push(number);
            }
            return;
        }
        self.others.push(number);
    }
}
