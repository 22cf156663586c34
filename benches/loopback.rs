//! What does the whole proxy cost, over real sockets on loopback? One connection, one request after the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const KIB: usize = 1024;

/// Reads one message with a Content-Length; gives the bytes of its body.
fn read_message(from: &mut impl BufRead) -> Option<usize> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let copied = std::io::copy(&mut from.take(length), &mut std::io::sink()).ok()?;
    usize::try_from(copied).ok()
}

/// An origin whose path says how many KiB it gives, and whether they may be stored.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer(stream));
        }
    });
    address
}

fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut first = String::new();
    while reader.read_line(&mut first).is_ok_and(|count| count > 0) {
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        if read_message(&mut reader).is_none() {
            return;
        }
        let kib: usize = path.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(1);
        let control = if path.starts_with("/pass") { "no-store" } else { "max-age=3600" };
        let head = format!("HTTP/1.1 200 OK\r\ncache-control: {control}\r\ncontent-length: {}\r\n\r\n", kib * KIB);
        let mut message = head.into_bytes();
        message.resize(message.len() + kib * KIB, b'x');
        if stream.write_all(&message).is_err() {
            return;
        }
        first.clear();
    }
}

/// The built binary, ended when it is dropped.
struct Edge {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Edge {
    fn start(origin: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("proxy.toml");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[telemetry]\naccess_log = \"off\"\n\
             [[origins]]\nname = \"app\"\nurls = [\"http://{origin}\"]\n"
        );
        std::fs::write(&file, text).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["serve", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built");
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
        let address = said
            .find_map(|line| line.ok()?.split(" listening on http://").nth(1)?.trim().parse().ok())
            .expect("it says where it listens");
        // What else it says is read, so that it never waits for us.
        thread::spawn(move || said.for_each(drop));
        Self { child, address, _folder: folder }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn loopback(criterion: &mut Criterion) {
    let edge = Edge::start(origin());
    let mut group = criterion.benchmark_group("loopback");
    for (name, target, kib) in [
        ("hit, 1 KiB", "/hit/1", 1),
        ("hit, 100 KiB", "/hit/100", 100),
        ("hit, 1 MiB", "/hit/1024", 1024),
        ("pass, 1 KiB", "/pass/1", 1),
    ] {
        let mut stream = TcpStream::connect(edge.address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let mut reader = BufReader::with_capacity(64 * KIB, stream.try_clone().expect("a descriptor"));
        let request = format!("GET {target} HTTP/1.1\r\nhost: bench.test\r\n\r\n");
        let mut ask = || {
            stream.write_all(request.as_bytes()).expect("open");
            read_message(&mut reader).expect("an answer")
        };
        assert_eq!(ask(), kib * KIB);
        group.throughput(Throughput::Bytes((kib * KIB) as u64));
        group.bench_function(name, |bencher| bencher.iter(&mut ask));
    }
    group.finish();
}

criterion_group!(benches, loopback);
criterion_main!(benches);
