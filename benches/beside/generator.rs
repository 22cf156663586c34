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
use crate::load::{Load, percentile};

/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// Events that are looked at at once.
const EVENTS: usize = 1024;

/// Picks among many targets, after which they come again: of 10,000, some 7,700 are among them.
const PICKS: usize = 65_536;

/// So long a connection, or the last answer, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

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

/// What came of it.
pub(crate) struct Asked {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// The median and the 99th percentile of latencies, in milliseconds.
    pub(crate) quantiles: (f64, f64),
}

/// A load that goes on.
pub(crate) struct Generator {
    load: Load,
    to: SocketAddr,
    secure: Option<Arc<ClientConfig>>,
    requests: Requests,
    poll: Poll,
    links: Vec<Link>,
    buffer: Vec<u8>,
    /// Whoever has an answer asks again.
    goes_on: bool,
    /// Milliseconds of each answer.
    latencies: Vec<f64>,
    lost: u64,
}

/// One connection, and where it is with its request.
struct Link {
    wire: Wire,
    request: Vec<u8>,
    sent: usize,
    /// Since when an answer is waited for; `None`: nothing was asked.
    asked: Option<Instant>,
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
    /// Connects, over TLS where there is a configuration for it. Where connections are for more than one request, each has had
    /// an answer then: what it costs to accept it is over.
    pub(crate) fn new(load: &Load, to: SocketAddr, secure: Option<Arc<ClientConfig>>) -> Result<Self, Failure> {
        let mut own = Self {
            load: load.clone(),
            to,
            secure,
            requests: Requests::of(load, to),
            poll: Poll::new()?,
            links: Vec::new(),
            buffer: vec![0; READ],
            goes_on: false,
            latencies: Vec::new(),
            lost: 0,
        };
        for at in 0..load.connections {
            // One after the other: ten thousand at once would not all get in.
            let stream = std::net::TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_nonblocking(true)?;
            let link = own.link(at, TcpStream::from_std(stream))?;
            own.links.push(link);
        }
        if !load.closes {
            own.ask_all()?;
            own.drain(&mut Events::with_capacity(EVENTS))?;
        }
        Ok(own)
    }

    /// Asks for so long, and waits for the last answers.
    pub(crate) fn run(&mut self, duration: Duration) -> Result<Asked, Failure> {
        let mut events = Events::with_capacity(EVENTS);
        let begun = Instant::now();
        (self.lost, self.goes_on) = (0, true);
        self.latencies.clear();
        self.ask_all()?;
        while let Some(left) = duration.checked_sub(begun.elapsed()) {
            self.turn(&mut events, left)?;
        }
        self.goes_on = false;
        self.drain(&mut events)?;
        let (seconds, requests) = (begun.elapsed().as_secs_f64(), self.latencies.len() as u64);
        if self.lost * LOST > requests {
            return Err(format!("{} of {requests} requests were lost with their connections", self.lost).into());
        }
        let quantiles = [0.50, 0.99].map(|share| percentile(&mut self.latencies, share));
        Ok(Asked { requests, seconds, quantiles: quantiles.into() })
    }

    fn ask_all(&mut self) -> Result<(), Failure> {
        (0..self.links.len()).try_for_each(|at| self.ask(at))
    }

    /// Waits for what is under way.
    fn drain(&mut self, events: &mut Events) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let under_way = self.links.iter().filter(|link| link.asked.is_some()).count();
            if under_way == 0 {
                return Ok(());
            }
            let Some(left) = PATIENCE.checked_sub(begun.elapsed()) else {
                return Err(format!("{under_way} answers did not come within {PATIENCE:?}").into());
            };
            self.turn(events, left)?;
        }
    }

    /// Goes on with whoever can, once somebody can.
    fn turn(&mut self, events: &mut Events, most: Duration) -> Result<(), Failure> {
        match self.poll.poll(events, Some(most)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled?,
        }
        events.iter().try_for_each(|event| self.go_on(event.token().0))
    }

    /// A connection that will be asked over once it can be written to.
    fn link(&mut self, at: usize, mut stream: TcpStream) -> Result<Link, Failure> {
        stream.set_nodelay(true)?;
        self.poll.registry().register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
        let wire = match &self.secure {
            None => Wire::Plain(stream),
            Some(config) => {
                let session = ClientConnection::new(Arc::clone(config), self.to.ip().into())?;
                Wire::Secure(Box::new(StreamOwned::new(session, stream)))
            }
        };
        Ok(Link { wire, request: Vec::new(), sent: 0, asked: None, head: Vec::new(), left: None })
    }

    /// Puts another connection in the place of one, where there is more to ask for.
    fn connect_anew(&mut self, at: usize) -> Result<(), Failure> {
        if self.goes_on {
            let stream = TcpStream::connect(self.to)?;
            self.links[at] = self.link(at, stream)?;
            self.prepare(at);
        }
        Ok(())
    }

    /// Begins a request.
    fn ask(&mut self, at: usize) -> Result<(), Failure> {
        self.prepare(at);
        self.links[at].send().or_else(|error| self.lose(at, error))
    }

    /// Begins a request that is sent once its connection can be written to.
    fn prepare(&mut self, at: usize) {
        let link = &mut self.links[at];
        self.requests.next(&mut link.request);
        (link.sent, link.asked) = (0, Some(Instant::now()));
    }

    /// Sends what was not sent yet, reads what is there, and asks again once that is the answer.
    fn go_on(&mut self, at: usize) -> Result<(), Failure> {
        let link = &mut self.links[at];
        let Some(asked) = link.asked else { return Ok(()) };
        match link.send().and_then(|()| link.receive(&mut self.buffer, &self.load)) {
            Ok(Received::Some) => Ok(()),
            Ok(Received::All) => {
                link.asked = None;
                self.latencies.push(asked.elapsed().as_secs_f64() * 1000.0);
                if self.load.closes {
                    return self.connect_anew(at);
                }
                if self.goes_on { self.ask(at) } else { Ok(()) }
            }
            Err(error) => self.lose(at, error),
        }
    }

    /// What it means that a connection failed: a request is lost, or the load.
    fn lose(&mut self, at: usize, error: io::Error) -> Result<(), Failure> {
        if !is_lost(&error) {
            return Err(error.into());
        }
        self.lost += 1;
        self.links[at].asked = None;
        self.connect_anew(at)
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

    fn receive(&mut self, buffer: &mut [u8], load: &Load) -> io::Result<Received> {
        loop {
            let bytes = match self.wire.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Received::Some),
                Err(error) => return Err(error),
            };
            self.left = match self.left {
                Some(left) => Some(left.checked_sub(bytes.len()).ok_or_else(too_much)?),
                None => self.left_after(bytes, load)?,
            };
            if self.left == Some(0) {
                self.left = None;
                return Ok(Received::All);
            }
        }
    }

    /// Bytes that are still to come, once the head ends in these.
    fn left_after(&mut self, bytes: &[u8], load: &Load) -> io::Result<Option<usize>> {
        let begun = mem::take(&mut self.head);
        let bytes = if begun.is_empty() { Cow::Borrowed(bytes) } else { Cow::Owned([&begun, bytes].concat()) };
        let Some(length) = answer_length(&bytes, load)? else {
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
fn answer_length(bytes: &[u8], load: &Load) -> io::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    const LENGTH: &[u8] = b"content-length:";
    let Some(end) = memmem::find(bytes, END) else { return Ok(None) };
    let head = &bytes[..end];
    let wrong = |what: &str| io::Error::other(format!("{what}: {}", String::from_utf8_lossy(head)));
    if head.get(9..12).and_then(number) != Some(load.status.into()) {
        return Err(wrong("not the status that was meant"));
    }
    let length = memchr_iter(b'\n', head).find_map(|at| {
        let (name, value) = head[at + 1..].split_at_checked(LENGTH.len())?;
        name.eq_ignore_ascii_case(LENGTH).then(|| number(value.split(|byte| *byte == b'\r').next()?))?
    });
    // A 304 states the length of what it does not send.
    if load.status != 304 && length != Some(load.length) {
        return Err(wrong("not the length that was meant"));
    }
    Ok(Some(end + END.len() + load.length))
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
    fn of(load: &Load, to: SocketAddr) -> Self {
        let (target, numbers) = match &load.targets {
            Targets::One(target) => (target.clone(), Numbers::None),
            Targets::Many(prefix, count) => (prefix.clone(), Numbers::Picks(picks(*count), 0)),
            // No two runs begin alike.
            Targets::New(prefix) => (format!("{prefix}{:x}-", fastrand::u64(..)), Numbers::Up(0)),
        };
        let fields: String = load.fields.iter().flat_map(|field| [field, "\r\n"]).collect();
        let after = format!(" HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n");
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
