//! What happened to one request, told once when its answer has gone out: the counters, and one line of the access log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use super::Telemetry;
use super::line::Line;
use super::metrics::Ended;
use crate::body::response::{End, Observer};
use crate::client::{Client, Plain, RequestId, Scheme};
use crate::policy::outcome::Outcome;

/// What is told of a request that is over.
struct Account<'a> {
    method: &'a Method,
    target: &'a str,
    authority: &'a str,
    scheme: Scheme,
    address: IpAddr,
    request_id: &'a RequestId,
    answer: Option<&'a Answered>,
    origin: Option<(SocketAddr, Duration)>,
    duration: Duration,
    bytes: u64,
    end: End,
}

impl Telemetry {
    /// Takes down a request that was answered where it was read: what an [`Exchange`] does for the others.
    pub fn answered_at_once(&self, request: &Plain<'_>, status: StatusCode, outcome: Outcome, bytes: u64) {
        let duration = request.received.elapsed();
        let request_id = request.request_id.map_or_else(RequestId::made, |given| RequestId::Given(given.clone()));
        self.metrics.request_began();
        self.tell(&Account {
            method: &Method::GET,
            target: request.target,
            authority: request.authority,
            scheme: request.scheme,
            address: request.address,
            request_id: &request_id,
            answer: Some(&Answered { status, outcome, after: duration }),
            origin: None,
            duration,
            bytes,
            end: End::Complete,
        });
    }

    /// Counts it, and writes it into the access log.
    fn tell(&self, account: &Account<'_>) {
        let outcome = account.answer.map(|answer| answer.outcome).unwrap_or_default();
        let status = account.answer.map(|answer| answer.status);
        self.metrics.request_ended(&Ended {
            result: outcome.result(),
            status,
            body_bytes: account.bytes,
            duration: account.duration,
            first_byte: account.answer.map(|answer| answer.after),
        });
        let Some(access) = &self.access else { return };
        access.write(&Line {
            received: self.clock.now().minus(account.duration),
            client: account.address,
            method: account.method.as_str(),
            scheme: account.scheme.as_str(),
            authority: account.authority,
            target: account.target,
            status: status.map(|status| status.as_u16()),
            bytes: account.bytes,
            duration: account.duration,
            result: outcome.result().token(),
            detail: outcome.detail.map(crate::policy::outcome::Detail::token),
            origin: account.origin,
            request_id: account.request_id,
            end: account.end,
        });
    }
}

/// One request, from its reception to the end of its answer.
///
/// Given to the response's body as its observer; one that is dropped without ever being told of an end is written
/// down as abandoned.
#[derive(Debug)]
pub struct Exchange {
    telemetry: Arc<Telemetry>,
    method: Method,
    target: PathAndQuery,
    address: IpAddr,
    scheme: Scheme,
    authority: Arc<str>,
    request_id: RequestId,
    received: std::time::Instant,
    answer: Option<Answered>,
    origin: Option<(SocketAddr, Duration)>,
    is_over: bool,
}

#[derive(Debug)]
struct Answered {
    status: StatusCode,
    outcome: Outcome,
    after: Duration,
}

impl Exchange {
    /// Begins the account of a request.
    pub fn begin(telemetry: &Arc<Telemetry>, method: &Method, target: &PathAndQuery, client: &Client) -> Box<Self> {
        telemetry.metrics.request_began();
        Box::new(Self {
            telemetry: Arc::clone(telemetry),
            method: method.clone(),
            target: target.clone(),
            address: client.address,
            scheme: client.scheme,
            authority: Arc::clone(&client.authority),
            request_id: client.request_id.clone(),
            received: client.received,
            answer: None,
            origin: None,
            is_over: false,
        })
    }

    /// The head of the final answer is ready.
    pub fn answered(&mut self, status: StatusCode, outcome: Outcome) {
        self.answer = Some(Answered { status, outcome, after: self.received.elapsed() });
    }

    /// An origin was asked: `address` answered with its first byte after `first_byte`.
    pub fn origin(&mut self, address: SocketAddr, first_byte: Duration) {
        self.origin = Some((address, first_byte));
    }

    fn finish(&mut self, bytes: u64, end: End) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.telemetry.tell(&Account {
            method: &self.method,
            target: self.target.as_str(),
            authority: &self.authority,
            scheme: self.scheme,
            address: self.address,
            request_id: &self.request_id,
            answer: self.answer.as_ref(),
            origin: self.origin,
            duration: self.received.elapsed(),
            bytes,
            end,
        });
    }
}

impl Observer for Exchange {
    fn ended(mut self: Box<Self>, bytes: u64, end: End) {
        self.finish(bytes, end);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Nobody answered: the client left while its request was being worked on.
        self.finish(0, End::Abandoned);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::clock::Clock;
    use crate::policy::outcome::CacheResult;
    use crate::policy::time::Timestamp;
    use crate::telemetry::access::Form;

    fn client() -> Client {
        Client {
            peer: ([192, 0, 2, 1], 4000).into(),
            local: ([127, 0, 0, 1], 80).into(),
            address: [192, 0, 2, 1].into(),
            scheme: Scheme::Http,
            authority: "shop.example".into(),
            certificate: None,
            request_id: RequestId::Made(7),
            received: std::time::Instant::now(),
            interim: None,
        }
    }

    #[test]
    fn a_request_is_counted_and_written_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        let clock = Clock::manual(Timestamp::from_millis(86_400_000 * 365));
        let telemetry =
            Telemetry::new(Some(Form::Json), Some(&path), clock, &mut Registry::default()).expect("telemetry");
        let target = PathAndQuery::from_static("/a?b=c");
        let mut exchange = Exchange::begin(&telemetry, &Method::GET, &target, &client());
        assert_eq!(telemetry.metrics().in_flight(), 1);
        exchange.origin(([127, 0, 0, 1], 3000).into(), Duration::from_millis(2));
        exchange.answered(StatusCode::OK, Outcome::fresh_hit(30));
        exchange.ended(12, End::Complete);
        drop(Exchange::begin(&telemetry, &Method::POST, &target, &client()));
        telemetry.close();

        let text = std::fs::read_to_string(&path).expect("the log");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(
            (&lines[0]["cache"], &lines[0]["bytes"], &lines[0]["status"]),
            (&"hit".into(), &12.into(), &200.into())
        );
        assert_eq!(
            (&lines[0]["origin"], &lines[0]["url"]),
            (&"127.0.0.1:3000".into(), &"http://shop.example/a?b=c".into())
        );
        assert_eq!((&lines[1]["end"], &lines[1]["method"]), (&"abandoned".into(), &"POST".into()));
        assert_eq!((telemetry.metrics().requests(CacheResult::Hit), telemetry.metrics().in_flight()), (1, 0));
    }
}
