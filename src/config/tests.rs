//! Does each wrong file give the finding that a person needs, at the place where they look?

use std::path::Path;

use super::*;

/// An origin, so that nothing is said of its absence. Three lines: what follows begins at line 4.
const ORIGIN: &str = "[[origins]]\nname = \"app\"\nurls = [\"http://127.0.0.1:3000\"]\n";

fn check_with(text: &str, environment: Environment) -> Result<Loaded, Findings> {
    Source { environment, ..Source::default() }.check("proxy.toml", text, Path::new("/nowhere"))
}

fn check(text: &str) -> Result<Loaded, Findings> {
    check_with(text, Environment::from([("HOST", "10.0.0.7"), ("BAD", "a b"), ("PASSWORD", "hush")]))
}

/// The findings, whether or not there are errors among them.
fn findings(text: &str) -> Findings {
    check(text).map_or_else(|findings| findings, |loaded| loaded.warnings)
}

/// `(what follows an origin, place, words of the finding, words of the help, why)`
type Row = (&'static str, (usize, usize), &'static str, &'static str, &'static str);

fn assert_rows(severity: Severity, rows: &[Row]) {
    for (text, place, message, help, why) in rows {
        let findings = findings(&format!("{ORIGIN}{text}"));
        let found = findings.iter().find(|finding| {
            finding.severity == severity
                && (finding.line, finding.column) == *place
                && finding.message.contains(message)
                && finding.help.contains(help)
        });
        assert!(found.is_some(), "{text}\nat {place:?}: {message} / {help}: {why}; found:\n{findings}");
        assert_eq!(findings.iter().len(), 1, "{text}\nexactly one finding ({why}), not:\n{findings}");
    }
}

#[test]
fn wrong_values_of_tables_are_told_with_their_place_and_remedy() {
    assert_rows(
        Severity::Error,
        &[
            ("[sevrer]", (4, 2), "unknown key `sevrer`", "`server`", "the nearest table"),
            ("[server]\nmax_boddy = \"1MiB\"", (5, 1), "unknown key `max_boddy`", "`max_body`", "the nearest key"),
            ("[server]\ncolour = 1", (5, 1), "unknown key `colour`", "`listen`, `threads`", "nothing near: all keys"),
            ("[server]\nthreads = \"two\"", (5, 11), "wrong type", "from 0 to 1024", "a number, not a string"),
            ("[server]\nthreads = -1", (5, 11), "-1 is out of range", "from 0 to 1024", "below the range"),
            ("[server]\nthreads = 1.5", (5, 11), "wrong type", "whole number", "no fractions"),
            ("[server]\nheader_timeout = 10", (5, 18), "wrong type", "\"10s\"", "a duration has a unit"),
            ("[server]\nheader_timeout = \"10\"", (5, 18), "no unit", "\"10s\"", "a duration has a unit"),
            ("[server]\nheader_timeout = \"2h\"", (5, 18), "more than is allowed", "\"10m\"", "above the range"),
            ("[server]\nmax_body = \"1MB\"", (5, 12), "no unit that Larder knows", "\"1MiB\"", "1000 or 1024?"),
            ("[server]\nlisten = \"127.0.0.1:80\"", (5, 10), "wrong type", "a list", "a list, even of one"),
            ("[server]\nlisten = [\":8080\"]", (5, 11), "not an address", "\"0.0.0.0:8080\"", "Go's shorthand"),
            ("[server]\nlisten = [\"localhost:80\"]", (5, 11), "not an address", "127.0.0.1:80", "no names"),
            ("[server]\nlisten = [\"127.0.0.1\"]", (5, 11), "not an address", "port is missing", "no port"),
            ("[server]\nlisten = []", (5, 10), "no public listener", "127.0.0.1:8080", "nobody could ask"),
            ("[server]\nlisten = [\"0.0.0.0:1\", \"127.0.0.1:1\"]", (5, 24), "twice", "another port", "any covers one"),
            ("[server]\nlisten = [\"127.0.0.1:9080\"]", (5, 11), "twice (admin.listen", "another port", "a default"),
            ("[server]\ntrusted_proxies = [\"10.0.0.0/33\"]", (5, 20), "not a network", "10.0.0.0/8", "33 bits"),
            ("[server]\nexpose_surrogate_headers = 1", (5, 28), "wrong type", "true or false", "a flag"),
            ("[admin]\nlisten = \"0.0.0.0:9080\"", (5, 10), "no token", "LARDER_TOKEN", "open to everybody"),
            ("[admin]\ntoken = \"${BAD}\"", (5, 9), "no client can send", "without spaces", "from the environment"),
            ("[admin]\ntoken = \"${NONE}\"", (5, 9), "NONE is not set", "${NONE:-default}", "the name is told"),
            ("[purge]\ntag_headers = [\"a b\"]", (5, 16), "not the name of a field", "letters", "a space"),
            ("[memory]\ncapacity = \"1KiB\"", (5, 12), "less than is allowed", "\"1MiB\"", "below the range"),
            ("[telemetry]\naccess_log = \"jsn\"", (5, 14), "`jsn`", "\"json\"", "the nearest word"),
            ("[telemetry]\naccess_log = 5", (5, 14), "wrong type", "string", "not even a word"),
            ("[telemetry]\nlog = \"larder=loud\"", (5, 7), "not a filter", "debug", "no such level"),
            ("[telemetry]\nlog = \"verbose\"", (5, 7), "not a level", "mean \"debug\"", "another program's level"),
            ("[telemetry]\nlog = \"dbug\"", (5, 7), "not a level", "mean \"debug\"", "the nearest level"),
            ("[telemetry]\nlog = \"info,warning\"", (5, 7), "`warning`", "mean \"warn\"", "the second part"),
            ("[telemetry]\nlog = \"hyper\"", (5, 7), "not a level", "\"off\", \"error\"", "near none: all of them"),
            ("[telemetry]\naccess_log_file = \"x\"", (5, 19), "/nowhere does not", "folder", "no such folder"),
            ("[telemetry]\naccess_log_file = \"/proc/x\"", (5, 19), "cannot be written", "may write", "read-only"),
            ("[rules]\nttl = \"1s\"", (4, 1), "single table", "write [[rules]]", "single brackets"),
        ],
    );
}

#[test]
fn tables_of_later_versions_are_checked_already() {
    let cases: [Row; 7] = [
        (
            "[server.tls]\nlisten = [\"0.0.0.0:8443\"]\ncertificates = [{ cert = \"a\" }]",
            (6, 17),
            "`key` is missing",
            "key =",
            "a pair",
        ),
        ("[redis]\nurl = \"http://h\"", (5, 7), "scheme", "redis://", "not Redis"),
        ("[redis]\nurl = \"redis+sentinel://h:1\"", (5, 7), "the name of the master", "mymaster", "Sentinel"),
        ("[redis]\nurl = \"redis+cluster://h:1/0\"", (5, 7), "no databases", "redis+cluster", "a cluster"),
        ("[redis]\nurl = \"rediss+cluster://h:1/0\"", (5, 7), "no databases", "redis+cluster", "a cluster over TLS"),
        ("[redis]\nurl = \"redis+tunnel://h\"", (5, 7), "scheme", "redis://", "nothing of Redis"),
        (
            "[redis]\nurl = \"rediss://h\"\nca_file = \"no.pem\"",
            (6, 11),
            "/nowhere/no.pem cannot be read",
            "folder",
            "gone",
        ),
    ];
    for (text, place, message, help, why) in cases {
        let findings = findings(&format!("{ORIGIN}{text}"));
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        let [finding] = errors.as_slice() else { panic!("{text}\n{why}: exactly one error, not:\n{findings}") };
        assert_eq!((finding.line, finding.column), place, "{text}\n{why}:\n{findings}");
        assert!(finding.message.contains(message) && finding.help.contains(help), "{text}\n{why}:\n{findings}");
    }
}

#[test]
fn wrong_origins_are_told_with_their_place_and_remedy() {
    let url = |url: &str| format!("urls = [\"{url}\"]\n");
    let cases = [
        // an origin's lines                       place    message                  help                       why
        (url("http://h"), (1, 1), "`name` is missing", "name = \"app\"", "rules could not name it"),
        ("name = \"b\"\n".to_owned(), (1, 1), "has no urls", "urls = [", "nowhere to go"),
        ("name = \"b\"\nurls = []\n".to_owned(), (3, 8), "has no urls", "urls = [", "nowhere to go"),
        ("name = \"b\"\nurls = [5]\n".to_owned(), (3, 9), "wrong type", "\"http://", "and not `no urls` besides"),
        ("name = 5\n".to_owned() + &url("http://h"), (2, 8), "wrong type", "\"app\"", "and not `missing` besides"),
        ("name = \"b\"\n".to_owned() + &url("h:3000"), (3, 9), "no scheme", "\"http://h:3000\"", "the likely one"),
        ("name = \"b\"\n".to_owned() + &url("ftp://h"), (3, 9), "not `ftp`", "http://", "another protocol"),
        ("name = \"b\"\n".to_owned() + &url("http://h/x"), (3, 9), "no path", "\"http://h\"", "a path"),
        ("name = \"b\"\n".to_owned() + &url("http://h?x"), (3, 9), "no path", "\"http://h\"", "a query"),
        ("name = \"b\"\n".to_owned() + &url("http://h#x"), (3, 9), "no path", "\"http://h\"", "a fragment"),
        ("name = \"b\"\n".to_owned() + &url("http://u:p@h"), (3, 9), "no user", "\"http://h\"", "a password"),
        ("name = \"b\"\n".to_owned() + &url("http://h:0"), (3, 9), "port 0", "port", "nobody listens there"),
        ("name = \"b\"\n".to_owned() + &url("http://h:99999"), (3, 9), "not a URL", "http://", "no such port"),
        ("name = \"b\"\n".to_owned() + &url("http://h:"), (3, 9), "not a URL", "http://", "an empty port"),
        ("name = \"b\"\n".to_owned() + &url("http://"), (3, 9), "not a URL", "http://", "no host"),
        (
            "name = \"b\"\nhosts = [\"http://x/\"]\n".to_owned() + &url("http://h"),
            (3, 10),
            "not a host",
            "\"x\"",
            "a URL",
        ),
        (
            "name = \"b\"\nbalance = \"roundrobin\"\n".to_owned() + &url("http://h"),
            (3, 11),
            "`roundrobin`",
            "\"round-robin\"",
            "near",
        ),
        ("name = \"b\"\nretries = 11\n".to_owned() + &url("http://h"), (3, 11), "out of range", "0 to 10", "a storm"),
        (
            "name = \"b\"\nhealth = {}\n".to_owned() + &url("http://h"),
            (3, 10),
            "`path` is missing",
            "/healthz",
            "of what?",
        ),
        (
            "name = \"b\"\nhealth = { path = \"x\" }\n".to_owned() + &url("http://h"),
            (3, 19),
            "\"x\"",
            "beginning with /",
            "no slash",
        ),
        (
            "name = \"b\"\nca_file = \"no.pem\"\n".to_owned() + &url("https://h"),
            (3, 11),
            "/nowhere/no.pem cannot be read",
            "folder",
            "gone",
        ),
    ];
    for (lines, place, message, help, why) in cases {
        let text = format!("[[origins]]\n{lines}");
        let findings = check(&text).expect_err(why);
        let all: Vec<_> = findings.iter().collect();
        let [finding] = all.as_slice() else { panic!("{text}\n{why}: exactly one finding, not:\n{findings}") };
        assert_eq!((finding.line, finding.column), place, "{text}\n{why}:\n{findings}");
        assert!(finding.message.contains(message) && finding.help.contains(help), "{text}\n{why}:\n{findings}");
    }
}

#[test]
fn a_single_table_of_origins_is_told_of_and_checked_all_the_same() {
    /// `(the file, line and words of the help of each finding, why)`
    type Case = (&'static str, &'static [(usize, &'static str)], &'static str);
    let cases: [Case; 3] = [
        (
            "[origins]\nname = \"app\"\nurls = [\"http://h\"]\n",
            &[(1, "write [[origins]]")],
            "nothing else: it is one origin",
        ),
        (
            "[origins]\nname = \"app\"\nurls = [\"h\"]\n",
            &[(1, "write [[origins]]"), (3, "\"http://h\"")],
            "what is wrong in it, too",
        ),
        (
            "[rules]\norigin = \"ap\"\n[[origins]]\nname = \"app\"\nurls = [\"http://h\"]\n",
            &[(1, "write [[rules]]"), (2, "\"app\"")],
            "a rule in the same way",
        ),
    ];
    for (text, want, why) in cases {
        let findings = check(text).expect_err(why);
        let as_wanted =
            |(finding, (line, help)): (&Finding, &(usize, &str))| finding.line == *line && finding.help.contains(help);
        let fits = findings.iter().len() == want.len() && findings.iter().zip(want).all(as_wanted);
        assert!(fits, "{text}\n{why}:\n{findings}");
    }
}

#[test]
fn wrong_rules_are_told_with_their_place_and_remedy() {
    assert_rows(
        Severity::Error,
        &[
            ("[[rules]]\norigin = \"ap\"", (5, 10), "no origin is called `ap`", "\"app\"", "the nearest name"),
            ("[[rules]]\nttl = 5", (5, 7), "wrong type", "\"10s\"", "a duration has a unit"),
            ("[[rules]]\nactoin = \"pass\"", (5, 1), "unknown key `actoin`", "`action`", "the nearest key"),
            ("[[rules]]\naction = \"bypass\"", (5, 10), "`bypass`", "\"pass\"", "the nearest word"),
            ("[[rules]]\noverride = [\"no-stor\"]", (5, 13), "`no-stor`", "\"no-store\"", "the nearest word"),
            ("[[rules]]\nttl_by_status = { 4x4 = \"1s\" }", (5, 19), "not a status", "5xx", "no such class"),
            ("[[rules]]\nttl_by_status = { 600 = \"1s\" }", (5, 19), "not a status", "5xx", "beyond 599"),
            ("[[rules]]\nttl_by_status = { 404 = 1 }", (5, 25), "wrong type", "\"10s\"", "a duration has a unit"),
            (
                "[[rules]]\nttl = \"1s\"\nmatch = { path = \"api/**\" }",
                (6, 18),
                "begins with",
                "\"/api/**\"",
                "no slash",
            ),
            ("[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a?b\" }", (6, 18), "no query", "leave out", "a query"),
            ("[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a**\" }", (6, 18), "stands alone", "**", "mixed"),
            (
                "[[rules]]\nttl = \"1s\"\nmatch = { path = [\"/a\", 5] }",
                (6, 25),
                "wrong type",
                "path pattern",
                "one of a list",
            ),
            ("[[rules]]\nttl = \"1s\"\nmatch = { path = [] }", (6, 18), "is empty", "leave out", "any of none"),
            ("[[rules]]\nttl = \"1s\"\nmatch = { path_regex = \"(\" }", (6, 24), "unclosed group", "'^/", "a regex"),
            (
                "[[rules]]\nttl = \"1s\"\nmatch = { path_regex = '(a{999}){999}' }",
                (6, 24),
                "needs more than",
                "simpler",
                "a bomb",
            ),
            ("[[rules]]\nttl = \"1s\"\nmatch = { method = \"G T\" }", (6, 20), "not a method", "\"GET\"", "a space"),
            (
                "[[rules]]\nttl = \"1s\"\nmatch = { header = { \"a b\" = \"x\" } }",
                (6, 22),
                "not the name",
                "letters",
                "a space",
            ),
            ("[[rules]]\nttl = \"1s\"\nmatch = { hots = \"x\" }", (6, 11), "unknown key `hots`", "`host`", "nested"),
            (
                "[[rules]]\nmatch = { path = \"/a/*\" }\ntags = [\"t:{2}\"]",
                (6, 9),
                "has 1",
                "in each",
                "no second wildcard",
            ),
            ("[[rules]]\ntags = [\"t:{1}\"]", (5, 9), "no match.path", "match.path", "no wildcard at all"),
            ("[[rules]]\ntags = [\"t:{id}\"]", (5, 9), "number of a wildcard", "{1}", "names do not count"),
            ("[[rules]]\ntags = [\"a b\"]", (5, 9), "\"a b\"", "without spaces", "two tags"),
            ("[[rules]]\nvary = { Accept = [\"a\"], accept = [\"b\"] }", (5, 26), "twice", "take one out", "one field"),
            ("[[rules]]\nvary = { accept = [\"a\", \"A\"] }", (5, 25), "twice", "take one out", "one value"),
            ("[[rules]]\nvary = { accept = [] }", (5, 19), "no value", "best first", "to what?"),
            ("[[rules]]\nvary = { accept = [\"a;q=1\"] }", (5, 20), "\"a;q=1\"", "weights", "a weight"),
            ("[[rules]]\nkey = { query = { excluded = [] } }", (5, 19), "`excluded`", "`exclude`", "nested twice"),
            ("[[rules]]\nkey = { cookies = [\"a=b\"] }", (5, 20), "\"a=b\"", "cookie", "a cookie and its value"),
            ("[[rules]]\nstrip_prefix = \"api\"", (5, 16), "\"api\"", "beginning with /", "no slash"),
            ("[[rules]]\nrequest_headers = { set = { host = \"x\" } }", (5, 29), "`host`", "preserve_host", "Host"),
            (
                "[[rules]]\nresponse_headers = { remove = [\"Content-Length\"] }",
                (5, 32),
                "connection",
                "framing",
                "framing",
            ),
            (
                "[[rules]]\nrequest_headers = { set = { a = \"x\\ny\" } }",
                (5, 33),
                "value of a field",
                "one line",
                "smuggling",
            ),
            (
                "[[rules]]\nrequest_headers = { set = { A = \"x\", a = \"y\" } }",
                (5, 38),
                "twice",
                "take one out",
                "one field",
            ),
        ],
    );
}

/// What is valid, and does not do what it seems to.
const WITHOUT_EFFECT: &[Row] = &[
    ("[memory]\ncapacity = \"16MiB\"", (5, 12), "larger than capacity", "lower", "the default max_object"),
    ("[memory]\nmax_object = \"1GiB\"", (5, 14), "larger than capacity", "raise", "the default capacity"),
    ("[server]\ntrusted_proxies = [\"0.0.0.0/0\"]", (5, 20), "everybody", "name the networks", "a forger's gift"),
    ("[purge]\nallow = [\"::/0\"]", (5, 10), "may purge without a token", "name the networks", "a vandal's"),
    ("[purge]\nallow = [\"10.1.2.3/8\"]", (5, 10), "10.0.0.0/8", "10.0.0.0/8", "bits behind the prefix"),
    ("[server]\ntrusted_proxies = [\"10.0.0.1/8\"]", (5, 20), "whole of 10.0.0.0/8", "10.0.0.0/8", "the same"),
    ("[purge]\nallow = []", (5, 9), "nobody may PURGE", "admin.token", "no network, no token"),
    ("[purge]\ntag_headers = [\"xkey\", \"XKey\"]", (5, 24), "twice", "take one out", "one field"),
    ("[telemetry]\naccess_log = \"off\"\naccess_log_file = \"x\"", (6, 19), "no effect", "json", "off is off"),
    ("[[origins]]\nname = \"b\"\nurls = [\"http://b\"]", (5, 8), "no request goes", "hosts", "the first takes any"),
    ("[server]\nlisten = [\"0.0.0.0:3000\"]", (3, 9), "Larder itself", "where the origin", "a loop"),
    ("[[rules]]\nname = \"x\"", (4, 1), "changes nothing", "ttl", "says nothing"),
    (
        "[[rules]]\naction = \"pass\"\nttl = \"1s\"",
        (6, 7),
        "no effect beside action = \"pass\"",
        "take out",
        "not stored",
    ),
    (
        "[[rules]]\naction = \"deny\"\norigin = \"app\"",
        (6, 10),
        "no effect beside action = \"deny\"",
        "take out",
        "not asked",
    ),
    ("[[rules]]\nttl = \"1s\"\noverride = [\"set-cookie\"]", (6, 13), "one client's cookies", "remove", "a leak"),
    (
        "[[rules]]\ndefault_ttl = \"1s\"\noverride = [\"set-cookie\"]",
        (6, 13),
        "one client's cookies",
        "remove",
        "the same",
    ),
    (
        "[[rules]]\noverride = [\"set-cookie\"]\n[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a\" }",
        (5, 13),
        "cookies",
        "remove",
        "two rules",
    ),
    ("[[rules]]\nttl = \"1s\"\nmatch = { method = \"get\" }", (6, 20), "never matches", "\"GET\"", "lower case"),
    ("[[rules]]\naction = \"pass\"\nmatch = { method = \"TRACE\" }", (6, 20), "never matches", "take it out", "405"),
    ("[[rules]]\nttl = \"1s\"\nmatch = { method = \"POST\" }", (5, 7), "only GET and HEAD", "\"GET\"", "not stored"),
    ("[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a#b\" }", (6, 18), "never matches", "leave out", "a fragment"),
    ("[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a b\" }", (6, 18), "never matches", "\"/a%20b\"", "a space"),
    ("[[rules]]\nttl = \"1s\"\nmatch = { path = \"/ü/*\" }", (6, 18), "never matches", "\"/%C3%BC/*\"", "not ASCII"),
    ("[[rules]]\nttl = \"1s\"\nmatch = { path = '/a\\b' }", (6, 18), "never matches", "\"/a%5Cb\"", "a backslash"),
    ("[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a/../b\" }", (6, 18), "dot segments", "without", "answered 400"),
    ("[[rules]]\nttl = \"1s\"\ndefault_ttl = \"2s\"", (6, 15), "no effect beside ttl", "take out", "ttl counts"),
    (
        "[[rules]]\nttl = \"1s\"\nmatch = { header = { Host = \"x\" } }",
        (6, 22),
        "never matches",
        "match.host",
        "not seen",
    ),
    ("[[rules]]\nttl = \"1s\"\nmatch = { path_regex = '^api' }", (6, 24), "never matches", "'^/api'", "no slash"),
    ("[[rules]]\nttl = \"1s\"\nmatch = { path_regex = 'a\\?b' }", (6, 24), "query", "\\?", "a query"),
    (
        "[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a\", path_regex = 'b' }",
        (6, 37),
        "both fit",
        "two rules",
        "never both",
    ),
    (
        "[[rules]]\nmatch = { path = \"/api/**\" }\nstrip_prefix = \"/app\"",
        (6, 16),
        "no effect",
        "match.path",
        "another prefix",
    ),
    ("[[rules]]\nkey = { headers = [\"host\"] }", (5, 20), "every key already", "take it out", "the host"),
    (
        "[[rules]]\nkey = { query = { include = [\"a\"], exclude = [\"a*\"] } }",
        (5, 30),
        "does not count",
        "one of",
        "in, and out",
    ),
    (
        "[[rules]]\nrequest_headers = { set = { a = \"b\" }, remove = [\"A\"] }",
        (5, 50),
        "no effect",
        "set replaces",
        "set anyway",
    ),
    (
        "[[rules]]\nname = \"a\"\nttl = \"1s\"\nmatch = { path = \"/a/*\" }\n[[rules]]\nttl = \"2s\"",
        (5, 8),
        "a later one",
        "general rule first",
        "shadowed",
    ),
    (
        "[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a/b\", header = { a = \"1\" } }\n[[rules]]\nttl = \"2s\"\nmatch = { path = \"/a/**\" }",
        (4, 1),
        "a later one",
        "general",
        "narrower",
    ),
];

#[test]
fn what_has_no_effect_is_warned_of() {
    assert_rows(Severity::Warning, WITHOUT_EFFECT);
}

#[test]
fn what_has_an_effect_is_not_warned_of() {
    let cases = [
        ("[[rules]]\nttl = \"1s\"\n[[rules]]\nttl = \"2s\"\nmatch = { path = \"/a/*\" }", "the general rule first"),
        (
            "[[rules]]\nttl = \"1s\"\nmatch = { path = \"/a\" }\n[[rules]]\nttl = \"2s\"\nmatch = { path = \"/a\", method = \"GET\" }",
            "a narrower one after",
        ),
        (
            "[[rules]]\nttl = \"1s\"\ncollapse = false\nmatch = { path = \"/a\" }\n[[rules]]\nttl = \"2s\"",
            "one key is left",
        ),
        (
            "[[rules]]\nttl = \"1s\"\nmatch = { header = { a = \"x\" } }\n[[rules]]\nttl = \"2s\"\nmatch = { header = { a = \"y*\" } }",
            "other values",
        ),
        ("[[rules]]\noverride = [\"set-cookie\"]", "no lifetime of ours: as the RFC has it"),
        (
            "[[rules]]\nttl = \"1s\"\noverride = [\"set-cookie\"]\nresponse_headers = { remove = [\"set-cookie\"] }",
            "no cookie goes out",
        ),
        (
            "[[rules]]\naction = \"pass\"\nttl = \"1s\"\n[[rules]]\naction = \"cache\"\nmatch = { path = \"/a\" }",
            "the ttl counts where it is cached again",
        ),
        ("[[rules]]\naction = \"pass\"\nmatch = { method = \"POST\" }", "methods that are not stored may be passed"),
        ("[[rules]]\nmatch = { path = \"/**\" }\nstrip_prefix = \"/app\"", "some paths begin so"),
        ("[[rules]]\nmatch = { path = \"/app\" }\nstrip_prefix = \"/app/\"", "the prefix itself"),
        ("[server]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]", "two ports of the system's choice"),
        ("[telemetry]\nlog = \"off\"", "a level"),
        ("[telemetry]\nlog = \"INFO\"", "letter case does not count"),
        ("[telemetry]\nlog = \"larder=debug\"", "a filter of ours"),
        ("[telemetry]\nlog = \"info,larder::origin=trace,hyper=warn\"", "several parts"),
        ("[telemetry]\nlog = \"warn, larder::origin\"", "everything of one part"),
        ("[telemetry]\naccess_log_file = \"/dev/stderr\"", "a device"),
        ("[[rules]]\nmatch = { path = \"/a%20b/~x/*.tar.gz\" }\nttl = \"1s\"", "what paths hold"),
        (
            "[[rules]]\nmatch = { host = \"SHOP.example:8080\", path = \"/a/**\" }\nttl = \"1s\"\ntags = [\"t:{1}\"]",
            "all in order",
        ),
    ];
    for (text, why) in cases {
        let findings = findings(&format!("{ORIGIN}{text}"));
        assert!(findings.is_empty(), "{text}\n{why}:\n{findings}");
    }
}

#[test]
fn a_host_that_no_origin_takes_is_warned_of() {
    let text = |host: &str| {
        format!(
            "[[origins]]\nname = \"a\"\nurls = [\"http://a\"]\nhosts = [\"*.shop.example\"]\n[[rules]]\nttl = \"1s\"\nmatch = {{ host = \"{host}\" }}\n"
        )
    };
    let cases = [
        ("www.shop.example", true, "taken"),
        ("*.example", true, "taken in part"),
        ("www.shop.example:8080", true, "a port changes nothing"),
        ("shop.example", false, "the dot is missing"),
        ("other.example", false, "another host"),
    ];
    for (host, served, why) in cases {
        let findings = findings(&text(host));
        assert_eq!(findings.is_empty(), served, "{host}: {why}:\n{findings}");
    }
}

#[test]
fn all_findings_come_at_once_and_in_order() {
    let text = "[server]\nthreads = \"x\"\nmax_boddy = 1\nlisten = [\"x\", \"127.0.0.1:9080\"]\n[[origins]]\nname = 1\nurls = [\"h\"]\n[[rules]]\nttl = 1\norigin = \"nobody\"\n";
    let findings = check(text).expect_err("wrong all over");
    let lines: Vec<_> = findings.iter().map(|finding| finding.line).collect();
    // The origin's name was refused, so nobody knows whether the rule names it: one cause, one finding.
    assert_eq!(lines, [2, 3, 4, 4, 6, 7, 9], "{findings}");
}

#[test]
fn a_finding_shows_the_line_with_a_caret_and_the_remedy() {
    let shown = findings("[server]\nthreads = \"two\"\n").render(false);
    for part in
        ["error: wrong type", "--> proxy.toml:2:11", "2 | threads = \"two\"", "^^^^^", "= help: write a whole number"]
    {
        assert!(shown.contains(part), "{part} is missing from:\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colours unless asked for");
    assert!(findings("[server]\nthreads = \"two\"\n").render(true).contains('\u{1b}'), "colours where asked for");
}

#[test]
fn places_count_characters_and_are_those_of_the_file() {
    let cases = [
        // text                                                    place    why
        (
            "[server]\nlisten = [\"${HOST}:1\", \"ü\", \"x\"]",
            (5, 24),
            "after a value of another length from the environment",
        ),
        ("[server]\r\nthreads = \"x\"", (5, 11), "lines that end as on Windows"),
        ("[server]\n\"threads\" = \"x\"", (5, 13), "a key in quotes"),
        ("server.threads = \"x\"", (4, 1), "a dotted key belongs to the table above: there is no origins.server"),
    ];
    for (text, place, why) in cases {
        let findings = findings(&format!("{ORIGIN}{text}"));
        let places: Vec<_> = findings.iter().map(|finding| (finding.line, finding.column)).collect();
        assert!(places.contains(&place), "{text}: {why}:\n{findings}");
    }
}

#[test]
fn what_is_not_toml_is_told_with_its_place() {
    let cases = [
        // text                               place   words             why
        ("[server", (1, 8), "not TOML", "an open bracket"),
        ("a = \n", (1, 5), "not TOML", "no value"),
        ("[server]\nthreads = 1\nthreads = 2\n", (3, 1), "duplicate key", "a key twice"),
        ("[server]\nlisten = [127.0.0.1:80]\n", (2, 16), "not TOML", "quotes forgotten"),
    ];
    for (text, place, words, why) in cases {
        let findings = check(text).expect_err(why);
        let first = findings.iter().next().expect("a finding");
        assert!(first.message.contains(words), "{text}: {why}:\n{findings}");
        assert_eq!((first.line, first.column), place, "{text}: {why}:\n{findings}");
    }
}

#[test]
fn what_is_no_text_at_all_is_told_in_a_few_findings() {
    let line = format!("# {}\n", "\0".repeat(100));
    let cases =
        [(line.clone(), 1, "once a line"), (line.repeat(3), 3, "each line"), (line.repeat(100), 20, "the first")];
    for (text, want, why) in cases {
        let findings = check(&text).expect_err(why);
        assert_eq!(findings.iter().count(), want, "{why}");
    }
}

#[test]
fn secrets_are_not_shown_with_a_finding() {
    let cases = [
        ("[admin]\ntoken = \"hush hush\"", "the token, refused"),
        ("[admin]\ntoken = \"hushhush\"\nlsiten = 1", "the token, beside another finding"),
        ("[redis]\nurl = \"http://user:hush@h\"", "a password in a URL"),
        ("[redis]\nurl = \"redis://:${PASSWORD}@h:x\"", "a password from the environment"),
        (
            "[[rules]]\nrequest_headers = { set = { authorization = \"Basic hush\", host = \"x\" } }",
            "credentials on the line",
        ),
    ];
    for (text, why) in cases {
        let findings = findings(&format!("{ORIGIN}{text}"));
        assert!(findings.has_errors(), "{why}");
        let json = findings.to_json().to_string();
        assert!(!findings.to_string().contains("hush") && !json.contains("hush"), "{why}:\n{findings}\n{json}");
    }
}

#[test]
fn nothing_that_a_file_holds_makes_us_panic_or_hang() {
    let many = |line: &str, times: usize| line.repeat(times);
    let cases = [
        ("\u{feff}[server]\n".to_owned(), "a byte-order mark"),
        ("\0".to_owned(), "a NUL"),
        (many("[[rules]]\nx = 1\n", 2000), "a finding in each of very many rules"),
        (format!("{ORIGIN}{}", many("[[rules]]\nttl = \"1s\"\n", 5000)), "too many rules"),
        (format!("a = {}", many("[", 5000)), "deep nesting"),
        (format!("[server]\nlisten = [{}]", many("\"x\",", 5000)), "a finding in each of very many items"),
        ("[[rules]]\nmatch = [[1]]\n[rules.match.x]".to_owned(), "tables of tables"),
    ];
    for (text, why) in cases {
        assert!(check(&text).is_err(), "{why}");
    }
}

#[test]
fn an_origin_is_all_that_a_file_needs() {
    let loaded = check(ORIGIN).expect("valid");
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let without_file = from_origin(parse_origin_url("http://127.0.0.1:3000").expect("a URL"));
    assert_eq!(loaded.settings.server, without_file.server, "the same defaults");
    assert_eq!(loaded.settings.origins[0].urls, without_file.origins[0].urls);
}

#[test]
fn the_token_of_the_environment_counts_more_than_the_files() {
    let text = format!("{ORIGIN}[admin]\nlisten = \"0.0.0.0:1\"\ntoken = \"file\"\n");
    let cases = [
        (Environment::default(), "file", "none in the environment"),
        (Environment::from([("LARDER_TOKEN", "outside")]), "outside", "environment over file"),
        (Environment::from([("LARDER_TOKEN", "")]), "file", "empty is none"),
    ];
    for (environment, want, why) in cases {
        assert_eq!(check_with(&text, environment).expect("valid").settings.admin.token, want, "{why}");
    }
    let refused = check_with(ORIGIN, Environment::from([("LARDER_TOKEN", "a b")])).expect_err("cannot be sent");
    assert!(refused.to_string().contains("LARDER_TOKEN"), "{refused}");
}

#[test]
fn a_rule_says_what_is_written_and_nothing_else() {
    use crate::policy::treatment::{Action, OriginId, StatusPattern};
    use std::time::Duration;

    let text = format!(
        "{ORIGIN}\n[[rules]]\nname = \"n\"\nmatch = {{ host = \"Shop.Example\", method = [\"GET\", \"HEAD\"] }}\norigin = \"app\"\naction = \"pass\"\nbrowser_ttl = \"60s\"\nresponse_headers = {{ set = {{ X-A = \"b\" }} }}\n[[rules]]\nttl_by_status = {{ 4xx = \"1s\", 404 = \"2s\" }}\nstrip_prefix = \"/api/\"\nclient_cache_control = \"honour\"\n"
    );
    let rules = check(&text).expect("valid").settings.rules;
    let first = &rules[0];
    assert_eq!((first.name.as_str(), first.line), ("n", 5));
    assert!(first.matcher.hosts[0].matches("shop.example"), "hosts are in lower case");
    assert_eq!(first.matcher.methods, [http::Method::GET, http::Method::HEAD]);
    assert_eq!((first.changes.origin, first.changes.action), (Some(OriginId(0)), Some(Action::Pass)));
    assert_eq!(first.changes.browser_ttl, Some(Duration::from_mins(1)));
    assert_eq!(first.changes.response_headers.as_ref().map(|edits| edits.set.len()), Some(1));
    assert_eq!((first.changes.ttl, first.changes.collapse, &first.changes.vary), (None, None, &None), "not written");
    let second = &rules[1];
    let want = [(StatusPattern::Exact(404), 2), (StatusPattern::Class(4), 1)]
        .map(|(status, s)| (status, Duration::from_secs(s)));
    assert_eq!(second.changes.ttl_by_status.as_deref(), Some(&want[..]), "a status comes before its class");
    assert_eq!(second.changes.strip_prefix.as_deref(), Some("/api"), "whole segments");
    assert_eq!(second.changes.honour_client, Some(true));
}

mod shipped {
    //! The file that is shipped, against the schema.

    use super::*;

    const SHIPPED: &str = include_str!("../../proxy.toml");

    /// The shipped file with every key that is commented out put in.
    fn uncommented() -> String {
        let lines = SHIPPED.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with([' ', '#']) => rest,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn it_runs_as_it_is_with_the_defaults() {
        let loaded = check_with(SHIPPED, Environment::default()).expect("valid");
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        let defaults = from_origin(parse_origin_url("http://127.0.0.1:3000").expect("a URL"));
        let settings = loaded.settings;
        assert_eq!(settings.server, defaults.server, "what is written out is the default");
        assert_eq!(settings.admin, defaults.admin);
        assert_eq!(settings.purge, defaults.purge);
        assert_eq!(settings.memory, defaults.memory);
        assert_eq!(settings.telemetry, defaults.telemetry);
        let named = settings::Origin { name: "app".to_owned(), ..defaults.origins[0].clone() };
        assert_eq!(settings.origins, [named]);
        assert!(settings.rules.is_empty() && settings.redis.is_none() && settings.tls.is_none());
    }

    #[test]
    fn the_file_of_the_example_fleet_is_sound() {
        let text = include_str!("../../deploy/proxy.toml");
        let environment = Environment::from([("LARDER_TOKEN", "t")]);
        let source = Source { environment, ..Source::default() };
        let loaded = source.check("deploy/proxy.toml", text, Path::new("/nowhere")).expect("valid");
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert!(loaded.settings.redis.is_some());
    }

    #[test]
    fn every_key_that_is_commented_out_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tls")).unwrap();
        let pair = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
        for name in ["origin-ca.pem", "redis-ca.pem", "clients-ca.pem", "acme-ca.pem", "site.pem"] {
            std::fs::write(folder.path().join("tls").join(name), pair.cert.pem()).unwrap();
        }
        std::fs::write(folder.path().join("tls/site.key"), pair.signing_key.serialize_pem()).unwrap();
        let source = Source::default();
        let text = uncommented().replace("/var/log/larder/", "");
        let loaded = source.check("proxy.toml", &text, folder.path()).expect("valid");
        // All together they are more than one would write: ca_file without TLS (twice), a default_ttl beside a ttl, and
        // Redis beside an acme whose secret the environment lacks.
        assert_eq!(loaded.warnings.iter().len(), 4, "{}", loaded.warnings);
        let settings = loaded.settings;
        assert!(settings.redis.is_some() && settings.tls.is_some() && settings.origins[0].health.is_some());
        let defaults = from_origin(parse_origin_url("http://h").expect("a URL"));
        assert!(defaults.rules.is_empty());
        assert_eq!(settings.rules[0].changes.tags.as_ref().map(Vec::len), Some(2));
    }

    /// Collects the path of every key that a schema knows, as `server.tls.listen`.
    fn keys(schema: &serde_json::Value, root: &serde_json::Value, path: &str, found: &mut Vec<String>) {
        if let Some(name) = schema.get("$ref").and_then(|name| name.as_str()) {
            let name = name.trim_start_matches("#/definitions/");
            keys(&root["definitions"][name], root, path, found);
        }
        for one in schema.get("allOf").and_then(|list| list.as_array()).into_iter().flatten() {
            keys(one, root, path, found);
        }
        if let Some(items) = schema.get("items") {
            keys(items, root, path, found);
        }
        for (key, value) in schema.get("properties").and_then(|keys| keys.as_object()).into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            keys(value, root, &path, found);
            found.push(path);
        }
    }

    /// Whether the file has this key: a path through its tables, with arrays looked into.
    fn has(value: &toml::Value, path: &str) -> bool {
        let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
        match value {
            toml::Value::Array(items) => items.iter().any(|item| has(item, path)),
            toml::Value::Table(table) => table.get(key).is_some_and(|value| rest.is_none_or(|rest| has(value, rest))),
            _ => false,
        }
    }

    #[test]
    fn it_shows_every_key_of_the_schema() {
        let schema = schema();
        let mut known = Vec::new();
        keys(&schema, &schema, "", &mut known);
        assert!(known.len() > 80, "the schema was walked: {known:?}");
        let file: toml::Value = toml::from_str(&uncommented()).expect("TOML");
        let missing: Vec<_> = known.iter().filter(|path| !has(&file, path)).collect();
        assert!(missing.is_empty(), "not in proxy.toml: {missing:?}");
    }

    #[test]
    fn the_schema_describes_and_bounds_every_key() {
        let schema = schema();
        let pointer = |path: &str| schema.pointer(path).unwrap_or_else(|| panic!("{path} is not in {schema:#}"));
        assert_eq!(pointer("/definitions/Server/properties/threads/maximum"), 1024);
        assert_eq!(pointer("/definitions/Server/properties/header_timeout/default"), "10s");
        assert_eq!(pointer("/definitions/Server/additionalProperties"), false);
        assert_eq!(pointer("/definitions/Origin/required"), &serde_json::json!(["name", "urls"]));
        assert!(
            pointer("/definitions/Rule/properties/ttl/pattern").as_str().is_some_and(|it| it.contains("ms|s|m|h|d"))
        );
        assert!(!schema.to_string().contains("\"null\""), "TOML has no null");
        let definitions = pointer("/definitions").as_object().expect("a table");
        for (name, definition) in definitions {
            for (key, value) in definition.get("properties").and_then(|keys| keys.as_object()).into_iter().flatten() {
                assert!(value.get("description").is_some(), "{name}.{key} has no description");
            }
        }
    }
}
