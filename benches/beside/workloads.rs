//! What is every cache asked for?

use crate::generator::Targets;
use crate::load::Load;
use crate::origin::ETAG;

/// Connections of a load, but where connections are what it is about.
const CONNECTIONS: usize = 32;

/// URLs of the load over many.
pub(crate) const URLS: usize = 10_000;

/// Where they begin.
pub(crate) const URLS_PREFIX: &str = "/kib/1/url-";

const BROWSER: [&str; 12] = [
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
    "Priority: u=0, i",
    "Cookie: session=0123456789abcdef; theme=dark",
    "DNT: 1",
    "Referer: https://shop.example/products",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
];

/// Which URLs a load asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urls {
    /// Its target, which was asked for before.
    One,
    /// Many, which were all asked for before.
    Many,
    /// Another one each time, which begins with its target.
    New,
}

/// A load, and what its answers have to be.
pub(crate) struct Workload {
    /// For the command line.
    pub(crate) name: &'static str,
    /// For the table.
    pub(crate) title: &'static str,
    pub(crate) target: &'static str,
    pub(crate) fields: Vec<String>,
    pub(crate) secure: bool,
    /// Whether each request has a connection of its own; the fields say so.
    pub(crate) closes: bool,
    pub(crate) streams: Option<usize>,
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) length: usize,
    /// Whether the origin must not be asked; else it must be, each time.
    pub(crate) is_hit: bool,
    pub(crate) urls: Urls,
}

impl Workload {
    fn new(name: &'static str, title: &'static str, target: &'static str) -> Self {
        Self {
            name,
            title,
            target,
            fields: Vec::new(),
            secure: false,
            closes: false,
            streams: None,
            status: 200,
            length: 1024,
            is_hit: true,
            urls: Urls::One,
        }
    }

    fn with(self, fields: &[&str]) -> Self {
        Self { fields: fields.iter().map(|field| (*field).to_owned()).collect(), ..self }
    }

    fn secure(self) -> Self {
        Self { secure: true, ..self }
    }

    fn length(self, length: usize) -> Self {
        Self { length, ..self }
    }

    fn closing(self) -> Self {
        Self { closes: true, ..self.with(&["Connection: close"]) }
    }

    /// The load on a server; where it is over many URLs, over so many.
    pub(crate) fn load(&self, urls: usize) -> Load {
        let targets = match self.urls {
            Urls::One => Targets::One(self.target.to_owned()),
            Urls::Many => Targets::Many(URLS_PREFIX.to_owned(), urls),
            Urls::New => Targets::New(self.target.to_owned()),
        };
        // Ten streams on each of eight connections keep the server as busy as 32 connections do.
        let connections = if self.streams.is_some() { 8 } else { CONNECTIONS };
        let Self { secure, closes, streams, status, length, .. } = *self;
        Load { targets, fields: self.fields.clone(), secure, connections, closes, status, length, streams }
    }
}

/// All that caches are compared by, but for the stampede.
pub(crate) fn all() -> Vec<Workload> {
    vec![
        Workload::new("hit", "1 KiB hit, one URL, keep-alive", "/kib/1/a"),
        Workload::new("browser", "the same with 12 browser-like request fields", "/kib/1/a").with(&BROWSER),
        Workload { urls: Urls::Many, ..Workload::new("spread", "1 KiB hits over 10,000 URLs, skewed", "/kib/1/url-0") },
        Workload::new("hit-100k", "100 KiB hit", "/kib/100/a").length(102_400),
        Workload::new("hit-1m", "1 MiB hit", "/kib/1024/a").length(1_048_576),
        Workload { status: 304, ..Workload::new("not-modified", "304 to If-None-Match", "/kib/1/a") }
            .with(&[&format!("If-None-Match: {ETAG}")])
            .length(0),
        Workload { status: 206, ..Workload::new("range", "10 KiB range of 100 KiB", "/kib/100/a") }
            .with(&["Range: bytes=20480-30719"])
            .length(10_240),
        Workload::new("tls", "1 KiB hit, TLS 1.3", "/kib/1/a").secure(),
        Workload::new("tls-100k", "100 KiB hit, TLS 1.3", "/kib/100/a").length(102_400).secure(),
        Workload { streams: Some(10), ..Workload::new("h2", "1 KiB hit, HTTP/2 over TLS, 10 streams", "/kib/1/a") }
            .secure(),
        Workload::new("connect", "1 KiB hit, a new TCP connection each", "/kib/1/a").closing(),
        Workload::new("connect-tls", "1 KiB hit, a new TLS connection each, tickets offered", "/kib/1/a")
            .closing()
            .secure(),
        Workload { is_hit: false, urls: Urls::New, ..Workload::new("miss", "1 KiB miss, stored", "/kib/1/new-") },
        Workload { is_hit: false, ..Workload::new("pass", "1 KiB passed through, not storable", "/pass/a") },
    ]
}
