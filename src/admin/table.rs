//! What can be asked of the admin listener? One table, for whoever answers and for the document of it.

use http::Method;

/// One row: a page, by which path it is asked for, and what it takes.
#[derive(Debug)]
pub(super) struct Route {
    /// Segments divided by `/`. `{any}` is any one; `{tag}` stands last, and is all the rest.
    pub(super) pattern: &'static str,
    pub(super) page: Page,
    /// Whether it is open to those without the token.
    pub(super) is_open: bool,
    /// The query parameters that it knows; `None`: whatever comes is not looked at.
    pub(super) parameters: Option<&'static [Parameter]>,
    /// What it is, in one sentence.
    pub(super) says: &'static str,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// Something to be read: `GET`, and `HEAD` as `GET`.
    View(View),
    /// A purge: `POST`.
    Purge(Purge),
}

/// A page to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Live,
    Ready,
    Metrics,
    Stats,
    Objects,
    Explain,
    Purges,
    OpenApi,
}

/// A purge, by where it says what is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purge {
    /// In the body.
    Named,
    /// One tag, in the path.
    Tag,
    /// One tag, in the path, in Fastly's shape.
    ServiceTag,
    /// Tags, in a field or the body, in Fastly's shape.
    ServiceTags,
    /// Everything, in Fastly's shape.
    Service,
}

impl Page {
    pub(super) fn takes(self, method: &Method) -> bool {
        match self {
            Self::View(_) => matches!(*method, Method::GET | Method::HEAD),
            Self::Purge(_) => *method == Method::POST,
        }
    }

    /// The methods, for `Allow`.
    pub(super) const fn methods(self) -> &'static str {
        match self {
            Self::View(_) => "GET, HEAD",
            Self::Purge(_) => "POST",
        }
    }
}

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) is_repeated: bool,
    /// Whether a `+` is a space, as forms write it.
    pub(super) may_hold_spaces: bool,
    pub(super) is_number: bool,
    pub(super) is_required: bool,
    pub(super) says: &'static str,
}

/// Every page.
pub(super) const ROUTES: &[Route] = &[
    probe("/healthz", View::Live, "Whether the process is alive."),
    probe("/readyz", View::Ready, "Whether it may take traffic."),
    Route { is_open: false, ..probe("/metrics", View::Metrics, "What was counted, as OpenMetrics.") },
    view("/stats", View::Stats, &[], "What was counted, in short."),
    view("/objects", View::Objects, &[URL, TAG, PREFIX, LIMIT], "What is stored: all, or what a purge would name."),
    view("/explain", View::Explain, &[REQUEST, METHOD, HEADER], "What would be done with a request now, and why."),
    view("/purges", View::Purges, &[LIMIT], "Recent purges, the latest first."),
    view("/openapi.json", View::OpenApi, &[], "This document."),
    purge("/purge", Purge::Named, "Purges what the body names."),
    purge("/purge/{tag}", Purge::Tag, "Purges by one tag; a slash in it is written %2F."),
    purge("/service/{any}/purge", Purge::ServiceTags, "Purges by tags, as plug-ins for Fastly ask."),
    purge("/service/{any}/purge/{tag}", Purge::ServiceTag, "Purges by one tag, as plug-ins for Fastly ask."),
    purge("/service/{any}/purge_all", Purge::Service, "Purges everything, as plug-ins for Fastly ask."),
];

const URL: Parameter = Parameter {
    name: "url",
    is_repeated: false,
    may_hold_spaces: false,
    is_number: false,
    is_required: false,
    says: "An absolute URL: what a purge of it names.",
};
const REQUEST: Parameter =
    Parameter { says: "The request's absolute URL, as a client uses it.", is_required: true, ..URL };
const TAG: Parameter = Parameter { name: "tag", says: "A tag.", ..URL };
const PREFIX: Parameter = Parameter { name: "prefix", says: "The beginning of absolute URLs.", ..URL };
const METHOD: Parameter = Parameter { name: "method", says: "The request's method; GET where it is left out.", ..URL };
const LIMIT: Parameter = Parameter {
    name: "limit",
    is_number: true,
    says: "How many to list, from 1 to 1000; 100 where it is left out.",
    ..URL
};
const HEADER: Parameter = Parameter {
    name: "header",
    is_repeated: true,
    may_hold_spaces: true,
    says: "A field of the request, as `name: value`. A plus is a space; a plus itself is written %2B.",
    ..URL
};

/// A page for whoever comes. Load balancers and scrapers may add to the URL what they like.
const fn probe(pattern: &'static str, view: View, says: &'static str) -> Route {
    Route { pattern, page: Page::View(view), is_open: true, parameters: None, says }
}

const fn view(pattern: &'static str, view: View, parameters: &'static [Parameter], says: &'static str) -> Route {
    Route { pattern, page: Page::View(view), is_open: false, parameters: Some(parameters), says }
}

const fn purge(pattern: &'static str, purge: Purge, says: &'static str) -> Route {
    Route { pattern, page: Page::Purge(purge), is_open: false, parameters: Some(&[]), says }
}

/// The routes that a path fits, with the bytes, still percent-encoded, that `{tag}` stands for.
pub(super) fn fitting(path: &str) -> impl Iterator<Item = (&'static Route, &str)> {
    ROUTES.iter().filter_map(move |route| Some((route, rest(route.pattern, path)?)))
}

/// What `{tag}` stands for, empty where there is none; `None`: the path does not fit.
fn rest<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let mut path = path.strip_prefix('/')?;
    let mut pattern = pattern.strip_prefix('/')?;
    loop {
        if pattern == "{tag}" {
            return Some(path);
        }
        let (wanted, more_wanted) = pattern.split_once('/').map_or((pattern, None), |(one, more)| (one, Some(more)));
        let (given, more_given) = path.split_once('/').map_or((path, None), |(one, more)| (one, Some(more)));
        let fits = wanted == given || (wanted == "{any}" && !given.is_empty());
        (pattern, path) = match (fits, more_wanted, more_given) {
            (true, Some(more_wanted), Some(more_given)) => (more_wanted, more_given),
            (true, None, None) => return Some(""),
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_page_at_most() {
        let cases = [
            ("/purge", Some((Page::Purge(Purge::Named), "")), "words alone"),
            ("/purge/a%2Fb", Some((Page::Purge(Purge::Tag), "a%2Fb")), "not decoded"),
            ("/purge/a/b", Some((Page::Purge(Purge::Tag), "a/b")), "the rest, with its slashes"),
            ("/purge/", Some((Page::Purge(Purge::Tag), "")), "an empty tag, to be refused as one"),
            ("/service/x/purge", Some((Page::Purge(Purge::ServiceTags), "")), "any service"),
            ("/service/x/purge/a", Some((Page::Purge(Purge::ServiceTag), "a")), "and a tag"),
            ("/service/x/purge_all", Some((Page::Purge(Purge::Service), "")), "all of it"),
            ("/service//purge_all", None, "no service"),
            ("/service/x/y/purge_all", None, "any is one segment"),
            ("/purges", Some((Page::View(View::Purges), "")), "another word"),
            ("/purges/", None, "not this"),
            ("/PURGE", None, "case counts"),
            ("//purge", None, "not this"),
            ("/", None, "nothing here yet"),
            ("", None, "no path"),
            ("*", None, "no path"),
            ("purge", None, "no path"),
        ];
        for (path, want, why) in cases {
            let found: Vec<_> = fitting(path).map(|(route, rest)| (route.page, rest)).collect();
            assert_eq!(found, want.into_iter().collect::<Vec<_>>(), "{path}: {why}");
        }
    }
}
