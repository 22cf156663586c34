//! The load: asks over HTTP/1.1 on many connections, each time again as soon as the answer is there.
//!
//! It takes less of a processor for that than any server takes to answer. A load that is slower than a server leaves it
//! waiting, and measures what waiting costs.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use memchr::{memchr_iter, memmem};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::Failure;
use crate::load::percentile;

/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// Picks among many targets, after which they come again.
const PICKS: usize = 65_536;

/// Of so many requests one may be lost with its connection.
const LOST: u64 = 1000;

/// What is asked for.
#[derive(Clone)]
pub(crate) enum Targets {
    /// This, each time.
    One(String),
    /// So many that begin so and end with a number, skewed as traffic is: the share of each falls with its rank (Zipf with
    /// exponent 1). Of 10,000, the first ten get a quarter and the first hundred half.
    Many(String, usize),
    /// What begins so, and what nobody has asked for before.
    New(String),
}

impl Targets {
    /// One of them.
    pub(crate) fn first(&self) -> String {
        match self {
            Self::One(target) => target.clone(),
            Self::Many(prefix, _) | Self::New(prefix) => format!("{prefix}0"),
        }
    }
}

/// Who asks whom, for what, and how.
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) secure: Option<Arc<ClientConfig>>,
    pub(crate) connections: usize,
    pub(crate) targets: Targets,
    pub(crate) fields: Vec<String>,
    /// Whether each request has a connection of its own; the fields say so.
    pub(crate) closes: bool,
    pub(crate) status: u16,
}

/// What came of it.
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// The median and the 99th percentile of latencies, in milliseconds.
    pub(crate) quantiles: (f64, f64),
}

/// A load that goes on.
pub(crate) struct Generator {
    plan: Plan,
    requests: Requests,
    poll: Poll,
    links: Vec<Link>,
    buffer: Vec<u8>,
    /// Milliseconds of each answer.
    latencies: Vec<f64>,
    lost: u64,
}

/// One connection, and where it is with its request.
struct Link {
    wire: Wire,
    request: Vec<u8>,
    sent: usize,
    begun: Instant,
    /// The beginning of a head that is not there as a whole yet.
    head: Vec<u8>,
    /// What is still to come of the body, once the head is there.
    left: Option<usize>,
}

enum Wire {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Generator {
    /// Connects.
    pub(crate) fn new(plan: Plan) -> Result<Self, Failure> {
        let (poll, requests) = (Poll::new()?, Requests::of(&plan));
        let mut own =
            Self { plan, requests, poll, links: Vec::new(), buffer: vec![0; READ], latencies: Vec::new(), lost: 0 };
        for at in 0..own.plan.connections {
            // One after the other: ten thousand at once would not all get in.
            let stream = std::net::TcpStream::connect(own.plan.to)?;
            stream.set_nonblocking(true)?;
            let link = own.link(at, TcpStream::from_std(stream))?;
            own.links.push(link);
        }
        Ok(own)
    }

    /// Asks for so long.
    pub(crate) fn run(mut self, duration: Duration) -> Result<Asked, Failure> {
        let begun = Instant::now();
        let mut events = Events::with_capacity(1024);
        while let Some(left) = duration.checked_sub(begun.elapsed()) {
            self.poll.poll(&mut events, Some(left))?;
            for event in &events {
                self.go_on(event.token().0)?;
            }
        }
        let (seconds, requests) = (begun.elapsed().as_secs_f64(), self.latencies.len() as u64);
        if self.lost * LOST > requests {
            return Err(format!("{} of {requests} requests were lost with their connections", self.lost).into());
        }
        let quantiles = [0.50, 0.99].map(|share| percentile(&mut self.latencies, share));
        Ok(Asked { requests, seconds, quantiles: quantiles.into() })
    }

    /// A connection that will be asked over once it can be written to.
    fn link(&mut self, at: usize, mut stream: TcpStream) -> Result<Link, Failure> {
        stream.set_nodelay(true)?;
        self.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        let wire = match &self.plan.secure {
            None => Wire::Plain(stream),
            Some(config) => {
                let session = ClientConnection::new(Arc::clone(config), self.plan.to.ip().into())?;
                Wire::Secure(Box::new(StreamOwned::new(session, stream)))
            }
        };
        let mut link = Link { wire, request: Vec::new(), sent: 0, begun: Instant::now(), head: Vec::new(), left: None };
        self.requests.next(&mut link.request);
        Ok(link)
    }

    /// Puts another connection in the place of one.
    fn connect_anew(&mut self, at: usize) -> Result<(), Failure> {
        let stream = TcpStream::connect(self.plan.to)?;
        self.links[at] = self.link(at, stream)?;
        Ok(())
    }

    /// Sends what was not sent yet, reads what is there, and asks again once that is the answer.
    fn go_on(&mut self, at: usize) -> Result<(), Failure> {
        let link = &mut self.links[at];
        let went = match link.send().and_then(|()| link.receive(&mut self.buffer, self.plan.status)) {
            Ok(Received::Some) => Ok(()),
            Ok(Received::All) => {
                let now = Instant::now();
                self.latencies.push((now - link.begun).as_secs_f64() * 1000.0);
                if self.plan.closes {
                    return self.connect_anew(at);
                }
                (link.begun, link.sent) = (now, 0);
                self.requests.next(&mut link.request);
                link.send()
            }
            Err(error) => Err(error),
        };
        match went {
            Err(error) if is_lost(&error) => {
                self.lost += 1;
                self.connect_anew(at)
            }
            went => Ok(went?),
        }
    }
}

/// Whether a connection broke off.
fn is_lost(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// How much of an answer is there.
enum Received {
    Some,
    All,
}

impl Link {
    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.request.len() {
            match self.wire.write(&self.request[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], status: u16) -> io::Result<Received> {
        loop {
            let bytes = match self.wire.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Some),
                Err(error) => return Err(error),
            };
            self.left = match self.left {
                Some(left) => Some(left.checked_sub(bytes.len()).ok_or_else(too_much)?),
                None => self.left_after(bytes, status)?,
            };
            if self.left == Some(0) {
                self.left = None;
                return Ok(Received::All);
            }
        }
    }

    /// Bytes that are still to come, once the head ends in these.
    fn left_after(&mut self, bytes: &[u8], status: u16) -> io::Result<Option<usize>> {
        let begun = mem::take(&mut self.head);
        let bytes = if begun.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned([&begun, bytes].concat()) };
        let Some(length) = answer_length(&bytes, status)? else {
            self.head = bytes.into_owned();
            return Ok(None);
        };
        length.checked_sub(bytes.len()).map(Some).ok_or_else(too_much)
    }
}

fn too_much() -> io::Error {
    io::Error::other("more came than was asked for")
}

/// Bytes of the answer that begins so, head and body; `None`: the head does not end here.
fn answer_length(bytes: &[u8], status: u16) -> io::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    const LENGTH: &[u8] = b"content-length:";
    let Some(end) = memmem::find(bytes, END) else { return Ok(None) };
    let head = &bytes[..end];
    let wrong = |what: &str| io::Error::other(format!("{what}: {}", String::from_utf8_lossy(head)));
    if head.get(9..12).and_then(number) != Some(status.into()) {
        return Err(wrong("not the status that was meant"));
    }
    let length = memchr_iter(b'\n', head).find_map(|at| {
        let (name, value) = head[at + 1..].split_at_checked(LENGTH.len())?;
        name.eq_ignore_ascii_case(LENGTH).then(|| number(value.split(|byte| *byte == b'\r').next()?))?
    });
    match length {
        // It states the length of what it does not send.
        _ if status == 304 => Ok(Some(end + END.len())),
        Some(length) => Ok(Some(end + END.len() + length)),
        None => Err(wrong("a body without a length")),
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.trim().parse().ok()
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

/// The requests, one after the other.
struct Requests {
    before: Vec<u8>,
    after: Vec<u8>,
    numbers: Numbers,
}

/// What the targets end with.
enum Numbers {
    None,
    Picks(Vec<usize>, usize),
    Up(usize),
}

impl Requests {
    fn of(plan: &Plan) -> Self {
        let (target, numbers) = match &plan.targets {
            Targets::One(target) => (target.clone(), Numbers::None),
            Targets::Many(prefix, count) => (prefix.clone(), Numbers::Picks(picks(*count), 0)),
            // No two runs begin alike.
            Targets::New(prefix) => (format!("{prefix}{:x}-", fastrand::u64(..)), Numbers::Up(0)),
        };
        let fields: String = plan.fields.iter().flat_map(|field| [field, "\r\n"]).collect();
        let after = format!(" HTTP/1.1\r\nHost: {}\r\n{fields}\r\n", plan.to);
        Self { before: format!("GET {target}").into(), after: after.into(), numbers }
    }

    fn next(&mut self, request: &mut Vec<u8>) {
        let number = match &mut self.numbers {
            Numbers::None => None,
            Numbers::Picks(picks, at) => {
                *at = (*at + 1) % picks.len();
                Some(picks[*at])
            }
            Numbers::Up(number) => {
                *number += 1;
                Some(*number)
            }
        };
        request.clear();
        request.extend_from_slice(&self.before);
        if let Some(number) = number {
            request.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
        request.extend_from_slice(&self.after);
    }
}

/// The same picks in each run.
fn picks(count: usize) -> Vec<usize> {
    let mut random = fastrand::Rng::with_seed(7);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to the count")]
    let mut pick = || (count as f64).powf(random.f64()) as usize - 1;
    (0..PICKS).map(|_| pick()).collect()
}
