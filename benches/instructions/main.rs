//! How many instructions does a hit take, or a miss, or what passes through, and is that within the budget?
//!
//! `benches/instructions/run` builds the binary that is counted, and runs this.
//!
//! The whole `larder serve` runs under `valgrind --tool=callgrind`, with one worker and the system's allocator and clocks
//! (feature `callgrind`), and answers with 1 KiB, most of it over one connection. Two runs that differ in their number of hits alone
//! give the cost of one: starting and ending cancel out. The kernel's part is not in it, and neither is waiting for memory. The counts are the same to
//! within a per cent from run to run, also on a busy machine, which no time is.
//!
//! **Above the budget** (`budget.txt`): look at what was added, with the command that is printed, and take it off the path
//! of a hit, or say in the commit what the instructions buy and raise the budget to 10 % above the new count: what goes into
//! which unit of the build, and the system's library, move counts by some per cent.
//! **Below it by more than 15 %**: lower it likewise, in the commit that earned it, so that nobody spends it unseen. Another
//! compiler moves the counts as well; that is a commit of its own.
//!
//! Without a binary to count (`cargo test --bench instructions`) each workload is only tried, without valgrind.

#[path = "../beside/origin.rs"]
mod origin;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use origin::{ETAG, Origin};
use rustix::process::{Pid, Signal, kill_process};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Names the binary that is counted.
const COUNTED: &str = "LARDER_COUNTED";

/// Hits of the two runs. The difference drowns what their starts differ by; a run takes a few seconds.
const HITS: [u32; 2] = [1_000, 6_000];

/// Starting takes a second or two under valgrind; whoever takes longer hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// A count this far below its budget asks for a lower one.
const SLACK: f64 = 0.85;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.7,de;q=0.3\r\nPriority: u=0, i\r\n\
    Connection: keep-alive\r\nCookie: session=0123456789abcdef; theme=dark\r\nReferer: https://shop.example/products\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\n\
    Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n";

struct Workload {
    name: &'static str,
    ask: Ask,
}

/// What is asked over and over.
enum Ask {
    /// With these fields, and answered with this status and so many bytes.
    Http1 { target: &'static str, fields: String, status: &'static str, body: u64 },
    /// Over a new connection each time.
    Last,
    /// What the origin is asked for: the target of each request, by its number.
    Origin(fn(u32) -> String),
    /// Answered with a head and one frame of so many bytes.
    Http2 { body: usize },
}

fn workloads() -> [Workload; 9] {
    let hit = |target, fields: &str, status, body| Ask::Http1 { target, fields: fields.to_owned(), status, body };
    [
        Workload { name: "plain", ask: hit(HIT, "", "200", 1024) },
        Workload { name: "browser", ask: hit(HIT, BROWSER, "200", 1024) },
        Workload { name: "not-modified", ask: hit(HIT, &format!("If-None-Match: {ETAG}\r\n"), "304", 0) },
        Workload { name: "range", ask: hit(HIT, "Range: bytes=100-199\r\n", "206", 100) },
        Workload { name: "ruled", ask: hit(RULED, "", "200", 1024) },
        Workload { name: "http2", ask: Ask::Http2 { body: 1024 } },
        Workload { name: "connection", ask: Ask::Last },
        Workload { name: "miss", ask: Ask::Origin(|number| format!("/kib/1/new-{number}")) },
        Workload { name: "pass", ask: Ask::Origin(|_| "/pass/a".to_owned()) },
    ]
}

fn main() -> ExitCode {
    let checked = std::env::var_os(COUNTED).map_or_else(try_each, |binary| count_each(Path::new(&binary)));
    checked.unwrap_or_else(|failure| {
        eprintln!("error: {failure}");
        ExitCode::FAILURE
    })
}

/// Each workload once, uncounted.
fn try_each() -> Result<ExitCode, Failure> {
    for workload in &workloads() {
        run(workload, 3, Command::new(env!("CARGO_BIN_EXE_larder")))?;
        eprintln!("{}: answers as it should", workload.name);
    }
    eprintln!("to count instructions: benches/instructions/run");
    Ok(ExitCode::SUCCESS)
}

/// Two at a time: what is counted does not depend on what else there is to do.
fn count_each(binary: &Path) -> Result<ExitCode, Failure> {
    let binary = &std::fs::canonicalize(binary)?;
    let mut code = ExitCode::SUCCESS;
    for pair in workloads().chunks(2) {
        let counts: Vec<_> = thread::scope(|scope| {
            let counting: Vec<_> = pair.iter().map(|workload| scope.spawn(|| count(workload, binary))).collect();
            counting.into_iter().map(|counting| counting.join().expect("counting does not panic")).collect()
        });
        for (workload, counted) in pair.iter().zip(counts) {
            let (each, allowed) = (counted?, budget(workload.name)?);
            let share = each as f64 / allowed as f64;
            let verdict = match share {
                _ if share > 1.0 => {
                    code = ExitCode::FAILURE;
                    "TOO MANY"
                }
                _ if share < SLACK => "fewer: lower the budget",
                _ => "within the budget",
            };
            let (name, percent) = (workload.name, share * 100.0);
            eprintln!("{name:<14}{each:>8} instructions each, {percent:>5.1} % of {allowed}: {verdict}");
            eprintln!("              callgrind_annotate --inclusive=yes {} | head -60", written(name).display());
        }
    }
    Ok(code)
}

/// Instructions of one hit.
fn count(workload: &Workload, binary: &Path) -> Result<u64, Failure> {
    let file = written(workload.name);
    let mut counts = [0; 2];
    for (count, hits) in counts.iter_mut().zip(HITS) {
        let mut program = Command::new("valgrind");
        program.args(["--tool=callgrind", "--quiet"]);
        program.arg(format!("--callgrind-out-file={}", file.display())).arg(binary);
        run(workload, hits, program)?;
        *count = total(&file)?;
    }
    Ok(counts[1].saturating_sub(counts[0]) / u64::from(HITS[1] - HITS[0]))
}

/// Where callgrind writes: what it wrote of the longer run stays, to be looked at.
fn written(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{name}"))
}

fn budget(name: &str) -> Result<u64, Failure> {
    let line = include_str!("budget.txt").lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.ok_or_else(|| format!("budget.txt has no line for {name}"))?.trim().parse()?)
}

/// Has `program` answer that many hits.
fn run(workload: &Workload, hits: u32, program: Command) -> Result<(), Failure> {
    let (origin, folder) = (Origin::start()?, tempfile::tempdir()?);
    let target = if let Ask::Http1 { target, .. } = workload.ask { target } else { HIT };
    let rule = if target == RULED { RULE } else { "" };
    let mut server = Server::start(origin.address, rule, program, folder.path())?;
    let whole = ("200", 1024);
    // What is hit has been stored over a connection of its own.
    over_http1(server.address, [request(target, "")], whole)?;
    match &workload.ask {
        Ask::Http1 { target, fields, status, body } => {
            let request = request(target, fields);
            over_http1(server.address, (0..hits).map(|_| &request), (status, *body))
        }
        Ask::Last => {
            let request = request(HIT, "Connection: close\r\n");
            (0..hits).try_for_each(|_| over_http1(server.address, [&request], whole))
        }
        Ask::Origin(target) => over_http1(server.address, (0..hits).map(|number| request(&target(number), "")), whole),
        Ask::Http2 { body } => over_http2(server.address, hits, *body),
    }
    .map_err(|failure| format!("{}: {failure}", workload.name))?;
    let want = if matches!(workload.ask, Ask::Origin(_)) { 1 + u64::from(hits) } else { 1 };
    if origin.requests() != want {
        return Err(format!("{}: the origin was asked {} times, not {want}", workload.name, origin.requests()).into());
    }
    server.stop()
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What is hit.
const HIT: &str = "/kib/1/a";

/// What is hit, and changed by a rule.
const RULED: &str = "/kib/1/ruled";

/// By this one; the others are counted without rules.
const RULE: &str = "[[rules]]\nmatch = { path = \"/kib/1/ruled\" }\nbrowser_ttl = \"1m\"\n\
    response_headers = { set = { x-frame-options = \"DENY\" }, remove = [\"server\"] }\n";

fn request(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")
}

/// These requests over one connection.
fn over_http1(
    address: SocketAddr,
    requests: impl IntoIterator<Item: AsRef<str>>,
    want: (&str, u64),
) -> Result<(), Failure> {
    let stream = connect(address)?;
    let mut reader = BufReader::new(&stream);
    for request in requests {
        let (status, body) = ask(&mut &stream, &mut reader, request.as_ref())?;
        if (&*status, body) != want {
            return Err(format!("{status} with {body} bytes").into());
        }
    }
    Ok(())
}

/// Kinds of frames, and what a request has.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WHOLE: u8 = 0x5;

/// `GET http://shop.example/kib/1/a` as a field block: of the static table, and two literals that are not kept.
const BLOCK: &[u8] = b"\x82\x86\x01\x0cshop.example\x04\x08/kib/1/a";

/// With prior knowledge, one request after the other, each on a stream of its own.
fn over_http2(address: SocketAddr, count: u32, want: usize) -> Result<(), Failure> {
    let mut stream = connect(address)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    // Settings: none. A window that the answers do not fill.
    stream.write_all(&frame(0x4, 0, 0, b""))?;
    stream.write_all(&frame(0x8, 0, 0, &(1_u32 << 30).to_be_bytes()))?;
    // What comes before the server's own settings goes another way.
    while read_frame(&mut reader)?.0 != 0x4 {}
    for stream_id in (1..).step_by(2).take(count as usize) {
        stream.write_all(&frame(HEADERS, WHOLE, stream_id, BLOCK))?;
        let mut body = None;
        while body.is_none() {
            let (kind, length) = read_frame(&mut reader)?;
            body = (kind == DATA).then_some(length);
        }
        if body != Some(want) {
            return Err(format!("{body:?} bytes").into());
        }
    }
    Ok(())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [.., length] = payload.len().to_be_bytes();
    let header = [0, 0, length, kind, flags];
    [&header[..], &stream.to_be_bytes(), payload].concat()
}

/// The kind of the next frame, and the length of its payload.
fn read_frame(from: &mut impl Read) -> Result<(u8, usize), Failure> {
    let mut header = [0; 9];
    from.read_exact(&mut header)?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
    io::copy(&mut from.take(length.into()), &mut io::sink())?;
    Ok((header[3], length as usize))
}

/// Sends a request and reads its answer; its status, and how long its body was.
fn ask(to: &mut impl Write, from: &mut impl BufRead, request: &str) -> Result<(String, u64), Failure> {
    to.write_all(request.as_bytes())?;
    let (mut status, mut length, mut line) = (String::new(), 0, String::new());
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Err("the server closed".into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if status.is_empty() {
            text.split(' ').nth(1).unwrap_or_default().clone_into(&mut status);
        } else if let Some(value) = text.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    if status == "304" {
        length = 0;
    }
    Ok((status, io::copy(&mut from.take(length), &mut io::sink())?))
}

/// The figure behind `totals:` in what callgrind wrote.
fn total(file: &Path) -> Result<u64, Failure> {
    let text = std::fs::read_to_string(file)?;
    let figure = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(figure.ok_or("callgrind wrote no total")?.trim().parse()?)
}

/// `larder serve`, under valgrind where it is counted; ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(origin: SocketAddr, rule: &str, mut command: Command, folder: &Path) -> Result<Self, Failure> {
        let file = folder.join("larder.toml");
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nthreads = 1\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [telemetry]\naccess_log = \"off\"\n[[origins]]\nname = \"app\"\nurls = [\"http://{origin}\"]\n{rule}"
        );
        std::fs::write(&file, text)?;
        command.args(["serve", "--config"]).arg(&file).env_remove("LARDER_TOKEN").env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let mut said = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let mut all = String::new();
        let address = said.find_map(|line| {
            all.push_str(&line);
            all.push('\n');
            let (before, after) = line.split_once("listening on http://")?;
            (!before.ends_with("admin ")).then(|| after.trim().parse().ok())?
        });
        // What else it says is read, so that it never waits for us.
        thread::spawn(move || said.for_each(drop));
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("the server did not start; it said:\n{all}").into());
        };
        Ok(Self { child, address })
    }

    /// Lets it end by itself, so that valgrind writes what it counted.
    fn stop(&mut self) -> Result<(), Failure> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) };
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err("the server did not end".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
