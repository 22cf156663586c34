//! What stands behind the caches? An origin whose paths say what it answers.
//!
//! `/kib/N/…` gives N KiB that may be stored, `/bytes/N/…` N bytes; `/pass/…` 1 KiB that may not be stored, `/slow/…` 1 KiB after
//! 100 ms, `/tags/N/…` 1 KiB with N tags, and `/all/…` 100 bytes with the tag `all`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The validator of everything that may be stored.
pub(crate) const ETAG: &str = "\"5f2b-62a1c4\"";

/// How long `/slow/` takes.
const SLOW: Duration = Duration::from_millis(100);

/// A running origin; it lasts as long as the process.
pub(crate) struct Origin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Origin {
    /// Listens on a port of the system's choice.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, requests) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                // A connection that breaks off is its client's affair.
                thread::spawn(move || drop(converse(&stream, &count)));
            }
        });
        Ok(Self { address, requests })
    }

    /// How many requests came so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The present date, as HTTP writes it.
#[expect(clippy::disallowed_methods, reason = "the origin is another program, whose clock is its own")]
pub(crate) fn today() -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now())
}

fn converse(stream: &TcpStream, count: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let (mut first, mut line, mut message) = (String::new(), String::new(), Vec::new());
    loop {
        first.clear();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        // No request of a bench has a body.
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
        answer(first.split(' ').nth(1).unwrap_or_default(), &mut message);
        writer.write_all(&message)?;
    }
}

fn answer(path: &str, message: &mut Vec<u8>) {
    let mut segments = path.split('/').skip(1);
    let kind = segments.next().unwrap_or_default();
    let number: usize = segments.next().and_then(|segment| segment.parse().ok()).unwrap_or(1);
    let (mut control, mut length, mut tags) = ("max-age=86400", 1024, String::new());
    match kind {
        "kib" => length = number * 1024,
        "bytes" => length = number,
        "pass" => control = "no-store",
        "slow" => thread::sleep(SLOW),
        "tags" => tags = (0..number).fold(tags, |tags, tag| tags + "product-" + &tag.to_string() + " "),
        "all" => (length, tags) = (100, "all".to_owned()),
        _ => {}
    }
    // What is stored by the hundred thousand has validators of its own, as it would have elsewhere.
    let etag = match segments.next().and_then(|segment| segment.parse().ok()) {
        Some(object) if kind == "bytes" => {
            format!("\"{:012x}\"", u64::wrapping_mul(object, 0x9e37_79b9_7f4a) % (1 << 48))
        }
        _ => ETAG.to_owned(),
    };
    if !tags.is_empty() {
        tags = format!("Surrogate-Key: {}\r\n", tags.trim_end());
    }
    message.clear();
    // Eight fields, as an API behind a framework sends them.
    let head = format!(
        "HTTP/1.1 200 OK\r\nDate: {}\r\nServer: origin\r\nContent-Type: application/json; \
         charset=utf-8\r\nContent-Length: {length}\r\nCache-Control: {control}\r\nETag: {etag}\r\nLast-Modified: Sat, 21 \
         Nov 2026 12:00:00 GMT\r\nX-Content-Type-Options: nosniff\r\n{tags}\r\n",
        today()
    );
    message.extend_from_slice(head.as_bytes());
    message.resize(message.len() + length, b'x');
}
