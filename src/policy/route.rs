//! Which rules match a request, and which origin does it go to?

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};
use smallvec::SmallVec;

use super::candidates::Candidates;
use super::key::normalised_target;
use super::pattern::comparable;
pub use super::pattern::{PathPattern, PatternError};
use super::scope::{self, Scope};
use super::tag::RuleTags;
use super::treatment::{Changes, Glob, KeyRules, OriginId, Treatment};

/// One of `[[rules]]`, compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, for logs and `explain`; empty where the file gives none.
    pub name: String,
    /// The line of the file where it begins, from 1; 0: not from a file.
    pub line: usize,
    /// Which requests it applies to.
    pub matcher: Matcher,
    /// What it says of them.
    pub changes: Changes,
}

/// The `match` of a rule: every part given must fit; none given: every request.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// Hosts, in lower case; any of these. Compared without the port, or with it where the pattern has one.
    pub hosts: Vec<Glob>,
    /// Path patterns; any of these.
    pub paths: Vec<PathPattern>,
    /// A regular expression over the path (without the query), unanchored.
    pub path_regex: Option<regex::Regex>,
    /// Methods; any of these.
    pub methods: Vec<Method>,
    /// Request fields whose value fits, each of these. Letter case does not count.
    pub headers: Vec<(HeaderName, Glob)>,
}

impl Matcher {
    /// Whether it fits every request.
    pub fn is_unconditional(&self) -> bool {
        self.hosts.is_empty()
            && self.paths.is_empty()
            && self.path_regex.is_none()
            && self.methods.is_empty()
            && self.headers.is_empty()
    }
}

/// Numbers of rules, their places in `[[rules]]` from 0, in order.
pub type RuleNumbers = SmallVec<[usize; 4]>;

/// Where a request goes and how it is treated.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The origin that the rules name, else the first whose hosts fit; `None`: no origin fits.
    pub origin: Option<OriginId>,
    /// All rules that match, laid over one another.
    pub treatment: Arc<Treatment>,
    /// The rules that match.
    pub rules: RuleNumbers,
    /// The tags that the rules add to the response; rendered when it is stored, not on every hit.
    pub tags: RuleTags,
}

/// All rules and the hosts of the origins, ready to be asked.
///
/// Every rule that matches applies, top to bottom, and a later one overrides an earlier one key by key; `tags` too.
/// Nothing is parsed or merged per request: sets of rules that were merged once are remembered.
#[derive(Debug)]
pub struct Rules {
    all: Vec<Compiled>,
    /// The request fields that matchers name, each once.
    fields: Vec<HeaderName>,
    origins: Vec<Vec<HostPattern>>,
    candidates: Candidates,
    /// The rules that fit every request.
    unconditional: RuleNumbers,
    /// What those say.
    plain: Merged,
    /// What other sets of rules say.
    merged: papaya::HashMap<RuleNumbers, Merged, foldhash::fast::RandomState>,
}

/// Sets of rules that are remembered. More than that are met only where many rules match at random; merging costs a
/// microsecond then, and nothing grows.
const REMEMBERED: usize = 4096;

#[derive(Debug, Clone)]
struct Merged {
    treatment: Arc<Treatment>,
    tags: RuleTags,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    hosts: Vec<HostPattern>,
    headers: Vec<(HeaderName, Glob)>,
    tags: Option<RuleTags>,
}

/// A pattern of hosts, and what it is compared with.
#[derive(Debug, Clone)]
pub(super) struct HostPattern {
    pub(super) glob: Glob,
    with_port: bool,
}

/// The host of a request, with and without its port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    /// As it stands in the request's authority.
    pub(super) authority: &'a str,
    /// Without the port.
    pub(super) name: &'a str,
}

impl Rules {
    /// Compiles the rules, in the order of the file.
    ///
    /// `origin_hosts`: for each origin, in the order of the file, the hosts that go there (globs, lower case); an
    /// empty list takes any.
    pub fn compile(rules: Vec<Rule>, origin_hosts: &[Vec<String>]) -> Self {
        let hosts_of = |texts: &Vec<String>| texts.iter().map(|text| HostPattern::new(Glob::new(text))).collect();
        let unconditional: RuleNumbers =
            (0..rules.len()).filter(|&number| rules[number].matcher.is_unconditional()).collect();
        let candidates = Candidates::of(&rules);
        let rules: Vec<Compiled> = rules.into_iter().map(Compiled::new).collect();
        let plain = merge(&rules, &unconditional);
        Self {
            origins: origin_hosts.iter().map(hosts_of).collect(),
            fields: fields_of(&rules),
            all: rules,
            candidates,
            unconditional,
            plain,
            merged: papaya::HashMap::with_hasher(foldhash::fast::RandomState::default()),
        }
    }

    /// The request fields that it takes to know which rules match.
    pub fn fields(&self) -> &[HeaderName] {
        &self.fields
    }

    /// The rules, in order: what the numbers in [`Routed::rules`] mean.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.all.iter().map(|compiled| &compiled.rule)
    }

    /// The rule of this number.
    pub fn rule(&self, number: usize) -> Option<&Rule> {
        self.all.get(number).map(|compiled| &compiled.rule)
    }

    /// Finds where a request goes and how it is treated.
    ///
    /// `authority`: host and port, in lower case, without the scheme's default port. `path`: the bytes as they came,
    /// without the query. `headers`: the request's.
    pub fn route(&self, method: &Method, authority: &str, path: &str, headers: &HeaderMap) -> Routed {
        let host = Host::of(authority);
        let (rules, merged) = self.matching(method, host, path, headers);
        let (rules, Merged { treatment, tags }) = (rules.into_owned(), merged.into_owned());
        Routed { origin: self.origin_of(&treatment, host), treatment, rules, tags }
    }

    /// Of that what a stored response has to know, with nothing cloned where the rules look at no request: how it is
    /// treated, and whether an origin fits.
    pub fn treatment(
        &self,
        method: &Method,
        authority: &str,
        path: &str,
        headers: &HeaderMap,
    ) -> (Cow<'_, Arc<Treatment>>, bool) {
        let host = Host::of(authority);
        let treatment = match self.matching(method, host, path, headers).1 {
            Cow::Borrowed(merged) => Cow::Borrowed(&merged.treatment),
            Cow::Owned(merged) => Cow::Owned(merged.treatment),
        };
        let has_origin = self.origin_of(&treatment, host).is_some();
        (treatment, has_origin)
    }

    /// The forms, in keys, of a URL's path and query: as it stands, and as each rule that may apply to it by host and
    /// path normalises it. What a rule asks of methods and fields is left out: a purge of the URL is about all requests.
    ///
    /// At most one more than there are rules, each once.
    pub fn forms(&self, authority: &str, target: &str) -> SmallVec<[String; 2]> {
        let mut forms: SmallVec<[String; 2]> = SmallVec::from_iter([target.to_owned()]);
        for key in self.keys_for(authority, target) {
            let form = normalised_target(target, key);
            if !forms.iter().any(|known| *known == form) {
                forms.push(form.into_owned());
            }
        }
        forms
    }

    /// What names, in keys, every URL that begins with this scheme, authority and beginning of a path and query: the
    /// prefix itself; or, where it ends within a query that a rule may normalise, the URL of the path alone and all its
    /// queries.
    ///
    /// A parameter that is left out or moved is not where the prefix has it: `/a?utm=1&b` may be stored as `/a?b`, and
    /// `/a?utm` as `/a`. Better too much than too little.
    pub fn prefix_forms(&self, scheme: &str, authority: &str, target: &str) -> SmallVec<[Scope; 2]> {
        let prefix = |target: &str| Scope::Prefix(scope::absolute(scheme, authority, target).into());
        match target.find('?') {
            Some(at) if !self.keys_for(authority, target).all(KeyRules::query_is_plain) => {
                SmallVec::from_iter([Scope::url(scheme, authority, &target[..at]), prefix(&target[..=at])])
            }
            _ => SmallVec::from_iter([prefix(target)]),
        }
    }

    /// Whether no rule that may apply to this URL puts fields or cookies into its key: then each of its [`Rules::forms`]
    /// is one key, which can be built without a request.
    pub fn has_plain_keys(&self, authority: &str, target: &str) -> bool {
        self.keys_for(authority, target).all(|key| !key.names_any())
    }

    /// What the rules that may apply to a URL, by host and path, say of its key.
    fn keys_for<'a>(&'a self, authority: &'a str, target: &'a str) -> impl Iterator<Item = &'a KeyRules> {
        let (host, path) = (Host::of(authority), comparable(target.split('?').next().unwrap_or_default()));
        // Only a rule that says something of keys is asked whether it may apply: few do.
        let with_key = self.all.iter().filter_map(|compiled| Some((compiled, compiled.rule.changes.key.as_ref()?)));
        with_key.filter(move |(compiled, _)| compiled.may_match(host, &path)).map(|(_, key)| key)
    }

    /// The rules that match, and what they say.
    fn matching(
        &self,
        method: &Method,
        host: Host<'_>,
        path: &str,
        headers: &HeaderMap,
    ) -> (Cow<'_, RuleNumbers>, Cow<'_, Merged>) {
        let plain = (Cow::Borrowed(&self.unconditional), Cow::Borrowed(&self.plain));
        if self.candidates.is_empty() {
            return plain;
        }
        let path = comparable(path);
        let mut numbers = self.unconditional.clone();
        for number in self.candidates.select(host, &path) {
            if self.all[number].matches(method, host, &path, headers) {
                numbers.push(number);
            }
        }
        if numbers.len() == self.unconditional.len() {
            return plain;
        }
        if !self.unconditional.is_empty() {
            numbers.sort_unstable();
        }
        let merged = self.remember(&numbers);
        (Cow::Owned(numbers), Cow::Owned(merged))
    }

    /// What this set of rules says, merged at most once while there is room to remember it.
    fn remember(&self, numbers: &RuleNumbers) -> Merged {
        let known = self.merged.pin();
        if let Some(merged) = known.get(numbers) {
            return merged.clone();
        }
        let merged = merge(&self.all, numbers);
        if known.len() < REMEMBERED {
            known.insert(numbers.clone(), merged.clone());
        }
        merged
    }

    fn origin_of(&self, treatment: &Treatment, host: Host<'_>) -> Option<OriginId> {
        let fits = |hosts: &Vec<HostPattern>| hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(host));
        treatment.origin.or_else(|| self.origins.iter().position(fits).map(OriginId))
    }
}

/// The request fields that matchers name, each once.
fn fields_of(rules: &[Compiled]) -> Vec<HeaderName> {
    let mut fields = Vec::new();
    for (name, _) in rules.iter().flat_map(|compiled| &compiled.headers) {
        if !fields.contains(name) {
            fields.push(name.clone());
        }
    }
    fields
}

/// Lays rules over one another, in order.
fn merge(rules: &[Compiled], numbers: &[usize]) -> Merged {
    let mut treatment = Treatment::default();
    let mut tags = RuleTags::default();
    for &number in numbers {
        let compiled = &rules[number];
        compiled.rule.changes.apply(&mut treatment);
        if let Some(of_rule) = &compiled.tags {
            tags = of_rule.clone();
        }
    }
    Merged { treatment: Arc::new(treatment), tags }
}

impl Compiled {
    fn new(rule: Rule) -> Self {
        Self {
            hosts: rule.matcher.hosts.iter().cloned().map(HostPattern::new).collect(),
            headers: rule
                .matcher
                .headers
                .iter()
                .map(|(name, glob)| (name.clone(), glob.to_ascii_lowercase()))
                .collect(),
            tags: rule.changes.tags.as_ref().map(|templates| RuleTags::new(templates, &rule.matcher.paths)),
            rule,
        }
    }

    /// Whether a request for this host and path may fit, whatever its method and fields.
    fn may_match(&self, host: Host<'_>, path: &str) -> bool {
        let matcher = &self.rule.matcher;
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && (matcher.paths.is_empty() || matcher.paths.iter().any(|pattern| pattern.matches(path)))
            && matcher.path_regex.as_ref().is_none_or(|regex| regex.is_match(path))
    }

    /// Whether every part of the rule's `match` fits; the cheap ones are asked first.
    fn matches(&self, method: &Method, host: Host<'_>, path: &str, headers: &HeaderMap) -> bool {
        let matcher = &self.rule.matcher;
        (matcher.methods.is_empty() || matcher.methods.contains(method))
            && self.may_match(host, path)
            && self.headers.iter().all(|(name, glob)| header_fits(headers, name, glob))
    }
}

/// Whether a field is there and its value, lines combined (RFC 9110 §5.3) and in lower case, fits.
fn header_fits(headers: &HeaderMap, name: &HeaderName, glob: &Glob) -> bool {
    let mut lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes().trim_ascii()));
    let Some(mut value) = lines.next() else { return false };
    for line in lines {
        value.to_mut().push_str(", ");
        value.to_mut().push_str(&line);
    }
    if value.bytes().any(|byte| byte.is_ascii_uppercase()) {
        value = Cow::Owned(value.to_ascii_lowercase());
    }
    glob.matches(&value)
}

impl HostPattern {
    pub(super) fn new(glob: Glob) -> Self {
        let text = glob.pattern();
        Self { with_port: Host::of(&text).name.len() != text.len() || text.ends_with(":*"), glob }
    }

    fn matches(&self, host: Host<'_>) -> bool {
        self.glob.matches(if self.with_port { host.authority } else { host.name })
    }
}

impl<'a> Host<'a> {
    /// Divides an authority.
    pub(super) fn of(authority: &'a str) -> Self {
        Self { authority, name: scope::host_of(authority) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::{Labels, Tags};
    use super::super::treatment::Action;
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;
    use std::time::Duration;

    type Lines = &'static [(&'static str, &'static str)];

    fn rule(matcher: Matcher, changes: Changes) -> Rule {
        Rule { name: String::new(), line: 0, matcher, changes }
    }

    fn globs(texts: &[&str]) -> Vec<Glob> {
        texts.iter().map(|text| Glob::new(text)).collect()
    }

    fn paths(texts: &[&str]) -> Vec<PathPattern> {
        texts.iter().map(|text| PathPattern::parse(text).unwrap()).collect()
    }

    fn on_path(text: &str) -> Matcher {
        Matcher { paths: paths(&[text]), ..Matcher::default() }
    }

    fn ttl(seconds: u64) -> Changes {
        Changes { ttl: Some(Duration::from_secs(seconds)), ..Changes::default() }
    }

    fn get(rules: &Rules, authority: &str, path: &str) -> Routed {
        rules.route(&Method::GET, authority, path, &HeaderMap::new())
    }

    #[test]
    fn without_rules_everything_is_as_by_default() {
        let rules = Rules::compile(Vec::new(), &[vec![]]);
        let routed = get(&rules, "a.test", "/");
        assert_eq!((routed.origin, routed.rules.len()), (Some(OriginId(0)), 0));
        assert_eq!(*routed.treatment, Treatment::default());
        assert!(Arc::ptr_eq(&routed.treatment, &get(&rules, "b.test", "/x").treatment), "made once");
    }

    #[test]
    fn the_first_origin_whose_hosts_fit_wins() {
        let hosts = [
            vec!["shop.example".to_owned(), "*.shop.example".to_owned()],
            vec!["api.example:8080".to_owned(), "[::1]".to_owned(), "any.example:*".to_owned()],
            vec!["*.example".to_owned()],
        ];
        let cases = [
            ("shop.example", Some(0), "literal"),
            ("www.shop.example", Some(0), "glob; a later one fits too"),
            ("shop.example:8443", Some(0), "a pattern without a port takes any"),
            ("api.example:8080", Some(1), "with the port"),
            ("api.example", Some(2), "a pattern with a port asks for it"),
            ("any.example:1", Some(1), "any port"),
            ("[::1]:80", Some(1), "brackets"),
            ("other.test", None, "none fits"),
        ];
        let rules = Rules::compile(Vec::new(), &hosts);
        for (authority, want, why) in cases {
            assert_eq!(get(&rules, authority, "/").origin, want.map(OriginId), "{authority}: {why}");
        }
    }

    #[test]
    fn every_rule_that_matches_applies_and_a_later_one_overrides_key_by_key() {
        type Case = (&'static str, &'static [usize], usize, Action, u64, &'static str);
        let origin = Changes { origin: Some(OriginId(1)), action: Some(Action::Pass), ..Changes::default() };
        let rules = Rules::compile(
            vec![
                rule(on_path("/a/**"), origin),
                rule(Matcher::default(), ttl(10)),
                rule(on_path("/a/b"), ttl(20)),
                rule(on_path("/c"), ttl(30)),
            ],
            &[vec![], vec![]],
        );
        let cases: [Case; 4] = [
            ("/x", &[1], 0, Action::Cache, 10, "only the rule for all"),
            ("/a/x", &[0, 1], 1, Action::Pass, 10, "two, each with keys of its own"),
            ("/a/b", &[0, 1, 2], 1, Action::Pass, 20, "the later ttl"),
            ("/c", &[1, 3], 0, Action::Cache, 30, "the later ttl"),
        ];
        for round in ["first", "remembered"] {
            for (path, numbers, origin, action, seconds, why) in cases {
                let routed = get(&rules, "a.test", path);
                assert_eq!(routed.rules.as_slice(), numbers, "{round}, {path}: {why}");
                assert_eq!(routed.origin, Some(OriginId(origin)), "{round}, {path}: {why}");
                assert_eq!(routed.treatment.action, action, "{round}, {path}: {why}");
                assert_eq!(routed.treatment.ttl, Some(Duration::from_secs(seconds)), "{round}, {path}: {why}");
            }
        }
    }

    #[test]
    fn every_part_of_a_match_must_fit() {
        let matcher = Matcher {
            hosts: globs(&["a.test", "*.b.test"]),
            paths: paths(&["/x/**", "/y"]),
            path_regex: Some(regex::Regex::new("[0-9]$|y").unwrap()),
            methods: vec![Method::GET, Method::HEAD],
            headers: vec![
                (HeaderName::from_static("accept"), Glob::new("*JSON*")),
                (HeaderName::from_static("x-flag"), Glob::new("*")),
            ],
        };
        let rules = Rules::compile(vec![rule(matcher, ttl(1))], &[vec![]]);
        let json: Lines = &[("accept", "text/html"), ("accept", "Application/Json"), ("x-flag", "")];
        let cases: [(Method, &str, &str, Lines, bool, &str); 9] = [
            (Method::GET, "a.test", "/x/1", json, true, "all fit, case aside, on any line"),
            (Method::HEAD, "w.b.test:81", "/y", json, true, "others of each list"),
            (Method::POST, "a.test", "/x/1", json, false, "method"),
            (Method::GET, "c.test", "/x/1", json, false, "host"),
            (Method::GET, "b.test", "/x/1", json, false, "host, the glob has a dot"),
            (Method::GET, "a.test", "/z/1", json, false, "path"),
            (Method::GET, "a.test", "/x/a", json, false, "regular expression"),
            (Method::GET, "a.test", "/x/1", &[("accept", "text/html"), ("x-flag", "")], false, "value of a field"),
            (Method::GET, "a.test", "/x/1", &json[..2], false, "a field that is not there"),
        ];
        for (method, authority, path, lines, want, why) in cases {
            let headers: HeaderMap = lines
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(rules.route(&method, authority, path, &headers).rules.len(), usize::from(want), "{why}");
        }
    }

    #[test]
    fn tags_come_from_the_last_rule_that_sets_them() {
        let tags = |texts: &[&str]| Changes {
            tags: Some(texts.iter().map(|&text| text.to_owned()).collect()),
            ..Changes::default()
        };
        let rules = Rules::compile(
            vec![
                rule(Matcher::default(), tags(&["all"])),
                rule(on_path("/p/*/**"), tags(&["products", "product:{1}", "rest:{2}"])),
                rule(on_path("/p/1/x"), ttl(1)),
            ],
            &[vec![]],
        );
        let cases: [(&str, &[&str], &str); 3] = [
            ("/", &["all"], "the rule for all"),
            ("/p/7/a/b", &["products", "product:7", "rest:a/b"], "captures of the rule's own pattern"),
            ("/p/1/x", &["products", "product:1", "rest:x"], "a later rule without tags leaves them"),
        ];
        for (path, want, why) in cases {
            assert_eq!(get(&rules, "a.test", path).tags.render(path), want, "{why}");
        }
    }

    #[test]
    fn an_index_never_hides_a_rule() {
        // Each rule alone, without any index, says what the index has to find.
        let matchers = [
            on_path("/a/b"),
            on_path("/a/b/*"),
            on_path("/a/**"),
            on_path("/**/b"),
            on_path("/"),
            on_path("/a*"),
            Matcher { paths: paths(&["/a/b", "/a/b/**", "/c/**"]), ..Matcher::default() },
            Matcher { paths: paths(&["/a/b/c", "/*"]), ..Matcher::default() },
            Matcher { hosts: globs(&["a.test"]), ..Matcher::default() },
            Matcher { hosts: globs(&["a.test:81", "b.test"]), ..Matcher::default() },
            Matcher { hosts: globs(&["*.test"]), ..on_path("/a/b/**") },
            Matcher { methods: vec![Method::GET], ..Matcher::default() },
        ];
        let all = Rules::compile(matchers.iter().cloned().map(|matcher| rule(matcher, ttl(1))).collect(), &[vec![]]);
        for authority in ["a.test", "a.test:81", "b.test:81", "c"] {
            for path in ["/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d/e/f", "/c/", "/x/b", "/x"] {
                let host = Host::of(authority);
                let want: Vec<usize> = (0..all.all.len())
                    .filter(|&number| all.all[number].matches(&Method::GET, host, path, &HeaderMap::new()))
                    .collect();
                assert_eq!(get(&all, authority, path).rules.as_slice(), want, "{authority}{path}");
            }
        }
    }

    #[test]
    fn sets_of_rules_beyond_the_bound_are_merged_but_not_remembered() {
        // 13 rules, each of which a field switches on: 8192 sets.
        let switch = |number: usize| HeaderName::try_from(format!("x-{number}")).unwrap();
        let rules = (0..13)
            .map(|number| {
                let headers = vec![(switch(number), Glob::new("*"))];
                rule(Matcher { headers, ..Matcher::default() }, ttl(number as u64))
            })
            .collect();
        let rules = Rules::compile(rules, &[vec![]]);
        for set in 1..8192_u32 {
            let on = (0..13).filter(|number| set >> number & 1 == 1);
            let headers = on.map(|number| (switch(number), HeaderValue::from_static("1"))).collect();
            let routed = rules.route(&Method::GET, "a.test", "/", &headers);
            assert_eq!(routed.treatment.ttl, Some(Duration::from_secs(u64::from(set.ilog2()))));
        }
        assert_eq!(rules.merged.len(), REMEMBERED);
    }

    /// A rule on these paths that leaves parameters out of the key.
    fn without(matcher: Matcher, excluded: &[&str]) -> Rule {
        let key = KeyRules { query_exclude: globs(excluded), ..KeyRules::default() };
        rule(matcher, Changes { key: Some(key), ..Changes::default() })
    }

    fn sorted(matcher: Matcher) -> Rule {
        let key = KeyRules { query_sort: true, ..KeyRules::default() };
        rule(matcher, Changes { key: Some(key), ..Changes::default() })
    }

    fn only(matcher: Matcher, included: &[&str]) -> Rule {
        let key = KeyRules { query_include: globs(included), ..KeyRules::default() };
        rule(matcher, Changes { key: Some(key), ..Changes::default() })
    }

    fn by_header(matcher: Matcher) -> Rule {
        let key = KeyRules { headers: vec![http::header::ACCEPT], ..KeyRules::default() };
        rule(matcher, Changes { key: Some(key), ..Changes::default() })
    }

    fn by_cookie(matcher: Matcher) -> Rule {
        let key = KeyRules { cookies: vec!["tier".to_owned()], ..KeyRules::default() };
        rule(matcher, Changes { key: Some(key), ..Changes::default() })
    }

    fn on_host(text: &str) -> Matcher {
        Matcher { hosts: globs(&[text]), ..Matcher::default() }
    }

    /// Rules that ask for what only a request has: method and fields.
    fn on_request() -> Matcher {
        let headers = vec![(HeaderName::from_static("x-flag"), Glob::new("on"))];
        Matcher { methods: vec![Method::HEAD], headers, ..Matcher::default() }
    }

    #[test]
    fn a_url_has_the_forms_that_rules_on_its_host_and_path_may_give_it() {
        let all = Matcher::default;
        let regex = |text| Matcher { path_regex: Some(regex::Regex::new(text).unwrap()), ..Matcher::default() };
        let cases: [(Vec<Rule>, &str, &[&str], &str); 18] = [
            (vec![], "/a?b&a", &["/a?b&a"], "no rules: as it stands"),
            (vec![rule(all(), ttl(1))], "/a?b&a", &["/a?b&a"], "a rule that says nothing of keys"),
            (vec![without(all(), &["utm_*"])], "/a?utm_x=1&b", &["/a?utm_x=1&b", "/a?b"], "a parameter left out"),
            (vec![without(all(), &["utm_*"])], "/a?utm_x=1", &["/a?utm_x=1", "/a"], "the last one left out"),
            (vec![without(all(), &["utm_*"])], "/a?b", &["/a?b"], "nothing to leave out: each form once"),
            (vec![only(all(), &["b"])], "/a?b&c", &["/a?b&c", "/a?b"], "one that counts"),
            (vec![sorted(all())], "/a?b&a", &["/a?b&a", "/a?a&b"], "put in order"),
            (vec![sorted(all())], "/a", &["/a"], "no query"),
            (vec![without(on_request(), &["c"])], "/a?c", &["/a?c", "/a"], "a rule on methods and fields may apply"),
            (vec![without(on_host("b.test"), &["c"])], "/a?c", &["/a?c"], "another host's rule does not"),
            (vec![without(on_host("*.test"), &["c"])], "/a?c", &["/a?c", "/a"], "the host's does"),
            (vec![without(on_path("/b/**"), &["c"])], "/a?c", &["/a?c"], "another path's rule does not"),
            (vec![without(on_path("/a"), &["c"])], "/a?c", &["/a?c", "/a"], "the path's does"),
            (vec![without(on_path("/a"), &["c"])], "/%61?c", &["/%61?c", "/%61"], "also spelt otherwise"),
            (vec![without(regex("^/a$"), &["c"])], "/a?c", &["/a?c", "/a"], "a regular expression sees the path alone"),
            (vec![without(regex("c"), &["c"])], "/a?c", &["/a?c"], "and not the query"),
            (
                vec![without(all(), &["c"]), sorted(on_path("/a"))],
                "/a?c&b",
                &["/a?c&b", "/a?b", "/a?b&c"],
                "each of two: a later one replaces the whole key of an earlier one",
            ),
            (
                vec![sorted(all()), sorted(on_request()), sorted(on_path("/a"))],
                "/a?c&b",
                &["/a?c&b", "/a?b&c"],
                "three that say the same: each form once",
            ),
        ];
        for (all, target, want, why) in cases {
            let forms = Rules::compile(all, &[vec![]]).forms("a.test", target);
            assert_eq!(forms.as_slice(), want, "{target}: {why}");
        }
    }

    #[test]
    fn a_prefix_within_a_query_that_a_rule_may_normalise_names_all_queries() {
        let prefix = |target: &str| Scope::Prefix(format!("http://a.test{target}").into());
        let url = |target: &str| Scope::url("http", "a.test", target);
        let exact = |target: &str| vec![prefix(target)];
        let wide = |path: &str| vec![url(path), prefix(&format!("{path}?"))];
        let all = Matcher::default;
        let cases: [(Vec<Rule>, &str, Vec<Scope>, &str); 9] = [
            (vec![], "/a?b", exact("/a?b"), "no rules: as it stands"),
            (vec![sorted(all())], "/a", exact("/a"), "no query: keys keep the path"),
            (vec![sorted(all())], "/a?b", wide("/a"), "its parameters may have moved"),
            (vec![without(all(), &["b"])], "/a?", wide("/a"), "they may all be gone, and the question mark too"),
            (vec![without(all(), &["b"])], "/a?b=?c", wide("/a"), "the first question mark ends the path"),
            (vec![by_header(all())], "/a?b", exact("/a?b"), "a field in the key moves nothing"),
            (vec![sorted(on_path("/b"))], "/a?b", exact("/a?b"), "another path's rule"),
            (vec![sorted(on_host("b.test"))], "/a?b", exact("/a?b"), "another host's rule"),
            (vec![by_header(all()), sorted(on_request())], "/a?b", wide("/a"), "a rule on methods and fields"),
        ];
        for (all, target, want, why) in cases {
            let scopes = Rules::compile(all, &[vec![]]).prefix_forms("http", "a.test", target);
            assert_eq!(scopes.as_slice(), want, "{target}: {why}");
        }
    }

    #[test]
    fn keys_are_plain_unless_a_rule_may_put_fields_or_cookies_into_them() {
        let all = Matcher::default;
        let cases: [(Vec<Rule>, bool, &str); 8] = [
            (vec![], true, "no rules"),
            (vec![rule(all(), ttl(1))], true, "a rule that says nothing of keys"),
            (vec![sorted(all()), without(all(), &["b"])], true, "the query alone"),
            (vec![by_header(all())], false, "a field"),
            (vec![by_cookie(all())], false, "a cookie"),
            (vec![sorted(all()), by_cookie(on_request())], false, "a rule on methods and fields may apply"),
            (vec![by_cookie(on_path("/b"))], true, "another path's rule"),
            (vec![by_cookie(on_host("b.test"))], true, "another host's rule"),
        ];
        for (all, want, why) in cases {
            assert_eq!(Rules::compile(all, &[vec![]]).has_plain_keys("a.test", "/a?b"), want, "{why}");
        }
    }

    fn matchers() -> impl Strategy<Value = Matcher> {
        let patterns = prop_oneof![Just(vec![]), Just(vec!["/a"]), Just(vec!["/a/*", "/b"]), Just(vec!["/**/b"])];
        let hosts = prop_oneof![Just(vec![]), Just(vec!["a.test"]), Just(vec!["*.test", "b"]), Just(vec!["b:81"])];
        let methods = prop_oneof![Just(vec![]), Just(vec![Method::GET]), Just(vec![Method::HEAD, Method::POST])];
        let flag = prop_oneof![Just(None), Just(Some("on")), Just(Some("*"))];
        let regex = prop_oneof![Just(None), Just(Some("b$"))];
        (patterns, hosts, methods, flag, regex).prop_map(|(path, host, methods, flag, regex)| Matcher {
            hosts: globs(&host),
            paths: paths(&path),
            path_regex: regex.map(|text| regex::Regex::new(text).unwrap()),
            methods,
            headers: flag.map(|text| (HeaderName::from_static("x-flag"), Glob::new(text))).into_iter().collect(),
        })
    }

    fn key_rules() -> impl Strategy<Value = Option<KeyRules>> {
        let names = || prop_oneof![Just(vec![]), Just(vec!["a"]), Just(vec!["b*", "c"]), Just(vec!["*"])];
        let some =
            (names(), names(), any::<bool>(), any::<bool>()).prop_map(|(include, exclude, query_sort, by_field)| {
                let headers = if by_field { vec![http::header::ACCEPT] } else { vec![] };
                let (query_include, query_exclude) = (globs(&include), globs(&exclude));
                KeyRules { query_include, query_exclude, query_sort, headers, cookies: vec![] }
            });
        prop_oneof![1 => Just(None), 3 => some.prop_map(Some)]
    }

    fn rule_sets() -> impl Strategy<Value = Vec<Rule>> {
        let one =
            (matchers(), key_rules()).prop_map(|(matcher, key)| rule(matcher, Changes { key, ..Changes::default() }));
        prop::collection::vec(one, 0..5)
    }

    proptest! {
        /// What is asked of a purge: it reaches whatever any request for the URL was stored under.
        #[test]
        fn whatever_a_request_is_stored_under_is_one_of_the_forms(
            all in rule_sets(),
            method in prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::POST)],
            authority in prop_oneof![Just("a.test"), Just("b"), Just("b:81"), Just("c")],
            target in "/(a|%61|a/b|b|c)(\\?([abc]1?(=[12?])?&?){0,3})?",
            flag in prop_oneof![Just(None), Just(Some("on")), Just(Some("off"))],
            cut in 0_usize..20,
        ) {
            let count = all.len();
            let rules = Rules::compile(all, &[vec![]]);
            let mut headers = HeaderMap::new();
            if let Some(flag) = flag {
                headers.insert("x-flag", HeaderValue::from_static(flag));
            }
            let path = target.split('?').next().unwrap();
            let key = rules.route(&method, authority, path, &headers).treatment.key.clone();
            let stored = normalised_target(&target, &key);
            let forms = rules.forms(authority, &target);
            prop_assert!(forms.iter().any(|form| *form == stored), "{stored} is none of {forms:?}");
            prop_assert!(forms.contains(&target) && forms.len() <= count + 1, "{forms:?}");
            if rules.has_plain_keys(authority, &target) {
                prop_assert!(key.headers.is_empty() && key.cookies.is_empty());
            }
            // And whatever the URL begins with, as a prefix, reaches it too.
            let prefix = &target[..cut.clamp(1, target.len())];
            let labels = Labels::new("http", authority, &stored, Tags::default());
            let scopes = rules.prefix_forms("http", authority, prefix);
            prop_assert!(scopes.iter().any(|scope| scope.names(&labels)), "{labels:?} is in none of {scopes:?}");
        }
    }
}
