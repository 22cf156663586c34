//! What do hostile clients and origins get? Each row is bytes as they come; after each the edge answers others.

mod frames;
mod framing;
mod misbehaving;
mod overload;
mod paths;
mod poisoning;
mod slow;
mod smuggling;
mod target;

use std::sync::{Arc, Mutex};

use crate::support::edge::{Edge, Setup, before};
use crate::support::raw::{Line, RawOrigin, Visitor};

/// An edge in front of an origin that writes down every byte.
struct Kit {
    edge: Edge,
    origin: RawOrigin,
    /// Whole requests, in the order of their ends.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Kit {
    /// The edge as it is by default, in front of an origin that says what it was asked for, to be kept a minute.
    async fn new() -> Self {
        Self::with(|setup| setup).await
    }

    /// The edge in a setup of the test's.
    async fn with(setup: impl FnOnce(Setup) -> Setup) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let origin = RawOrigin::serve(move |visitor| write_down(visitor, Arc::clone(&log))).await;
        let edge = setup(before(origin.address())).start().await;
        Self { edge, origin, requests }
    }

    /// Sends bytes over a connection of their own; everything that comes back until the edge closes.
    async fn talk(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut line = Line::to(self.edge.address()).await;
        line.send(bytes).await;
        line.rest().await
    }

    /// Takes what the origin has got since it was last asked.
    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().expect("no test panics in here"))
    }

    /// The edge answers an ordinary request, and the origin gets that once.
    async fn is_well(&self, after: &str) {
        self.seen();
        let target = format!("/well/{}", self.origin.connections() + self.origin.hits());
        let answer = self.talk(format!("GET {target} HTTP/1.1\r\nHost: well.test\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&target), "after {after}: {answer}");
        let line = format!("GET {target} HTTP/1.1\r\n");
        // Somebody who left may still have been asked for; nobody's smuggled request may.
        let (ours, others): (Vec<_>, Vec<_>) = self.seen().into_iter().partition(|request| request.starts_with(&line));
        assert_eq!(ours.len(), 1, "after {after}: {ours:?}");
        assert!(!others.iter().any(|request| request.contains("evil")), "after {after}: {others:?}");
    }
}

/// Answers each request with its target, and writes it down once it is whole.
async fn write_down(mut visitor: Visitor, log: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = whole_request(&mut visitor).await {
        let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
        log.lock().expect("no test panics in here").push(request);
        let length = target.len();
        visitor
            .say(format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {length}\r\n\r\n{target}"))
            .await;
    }
}

/// A request with its body, as an origin reads them that knows nothing but its framing.
async fn whole_request(visitor: &mut Visitor) -> Option<String> {
    let mut request = visitor.request().await?;
    let lower = request.to_ascii_lowercase();
    if lower.contains("\r\ntransfer-encoding:") {
        loop {
            let line = visitor.line.through("\r\n").await?;
            request.push_str(&line);
            let size = usize::from_str_radix(line.trim_end(), 16).expect("the edge writes plain sizes");
            if size == 0 {
                break;
            }
            request.push_str(&String::from_utf8_lossy(&visitor.line.exactly(size + 2).await?));
        }
        loop {
            let line = visitor.line.through("\r\n").await?;
            request.push_str(&line);
            if line == "\r\n" {
                break;
            }
        }
    } else if let Some((_, rest)) = lower.split_once("\r\ncontent-length:") {
        let length = rest.split("\r\n").next().and_then(|length| length.trim().parse().ok()).expect("a length");
        request.push_str(&String::from_utf8_lossy(&visitor.line.exactly(length).await?));
    }
    Some(request)
}

/// The values of a field in a request or an answer as it went over the wire.
fn values<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

/// What must be true of every request that reaches an origin.
fn assert_sound(request: &str, why: &str) {
    assert!(request.lines().next().is_some_and(|line| line.ends_with(" HTTP/1.1")), "{why}: {request}");
    assert_eq!(values(request, "host").len(), 1, "{why}: one Host: {request}");
    let framings = values(request, "content-length").len() + values(request, "transfer-encoding").len();
    assert!(framings <= 1, "{why}: one framing: {request}");
    for name in ["keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "http2-settings", "expect"] {
        assert!(values(request, name).is_empty(), "{why}: {name} is not for the origin: {request}");
    }
    for name in ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-real-ip"] {
        assert!(values(request, name).is_empty(), "{why}: {name} misleads: {request}");
    }
    assert_eq!(values(request, "x-forwarded-for"), ["127.0.0.1"], "{why}: {request}");
    assert_eq!(values(request, "x-forwarded-proto"), ["http"], "{why}: {request}");
    assert!(!request.contains("evil"), "{why}: an attacker's word reached the origin: {request}");
}

/// The statuses of the answers in what came back, interim ones left out.
fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.match_indices("HTTP/1.").filter_map(|(at, _)| answers.get(at + 9..at + 12)?.parse().ok());
    heads.filter(|status| *status >= 200).collect()
}
