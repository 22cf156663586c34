//! The built binary, on ports of the system's choice, between the test's origin and the test's clients.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::watch;

use super::reply::Reply;
use super::wire::{self, Connection, Download};
use super::{DEADLINE, within};

/// What the edge is to be started with.
pub(crate) struct Setup {
    server: String,
    memory: String,
    origin: String,
    telemetry: String,
    more: String,
}

/// The edge in front of one origin called `app`, with the defaults of the contract and no access log.
pub(crate) fn before(origin: SocketAddr) -> Setup {
    Setup::before_urls(&[&format!("http://{origin}")])
}

impl Setup {
    /// The edge in front of one origin at several addresses.
    pub(crate) fn before_urls(urls: &[&str]) -> Self {
        Self {
            server: "listen = [\"127.0.0.1:0\"]\n".to_owned(),
            memory: String::new(),
            origin: format!("[[origins]]\nname = \"app\"\nurls = {urls:?}\n"),
            telemetry: "access_log = \"off\"\n".to_owned(),
            more: String::new(),
        }
    }

    /// Adds lines to `[server]`.
    pub(crate) fn server(mut self, lines: &str) -> Self {
        push(&mut self.server, lines);
        self
    }

    /// Listens here, in place of a free port.
    pub(crate) fn listen(mut self, address: SocketAddr) -> Self {
        self.server = self.server.replacen("127.0.0.1:0", &address.to_string(), 1);
        self
    }

    /// Adds lines to `[memory]`.
    pub(crate) fn memory(mut self, lines: &str) -> Self {
        push(&mut self.memory, lines);
        self
    }

    /// Adds lines to the origin `app`.
    pub(crate) fn origin(mut self, lines: &str) -> Self {
        push(&mut self.origin, lines);
        self
    }

    /// Replaces the lines of `[telemetry]`.
    pub(crate) fn telemetry(mut self, lines: &str) -> Self {
        self.telemetry.clear();
        push(&mut self.telemetry, lines);
        self
    }

    /// Adds a rule: the lines below `[[rules]]`.
    pub(crate) fn rule(mut self, lines: &str) -> Self {
        push(&mut self.more, "[[rules]]");
        push(&mut self.more, lines);
        self
    }

    /// Adds tables as they are.
    pub(crate) fn table(mut self, text: &str) -> Self {
        push(&mut self.more, text);
        self
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let Self { server, memory, origin, telemetry, more } = self;
        format!(
            "[server]\n{server}\n[admin]\nlisten = \"127.0.0.1:0\"\n\n[memory]\n{memory}\n[telemetry]\n{telemetry}\n{origin}\n{more}"
        )
    }

    /// Starts the edge and waits until it listens.
    pub(crate) async fn start(self) -> Edge {
        Edge::started(&self.text()).await
    }
}

fn push(to: &mut String, lines: &str) {
    to.push_str(lines);
    to.push('\n');
}

/// A running `larder serve`; killed when dropped.
pub(crate) struct Edge {
    process: Option<Child>,
    id: u32,
    folder: TempDir,
    public: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    errors: Output,
    output: Output,
}

impl Edge {
    /// Starts `larder serve` on a file with this text, and waits for nothing.
    pub(crate) fn spawn(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a file");
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, text).expect("the folder is ours");
        Self::run(&["serve", "--config", file.to_str().expect("the path is text")], folder)
    }

    /// Starts it on a file with this text, and waits until it listens.
    pub(crate) async fn started(text: &str) -> Self {
        let mut edge = Self::spawn(text);
        edge.public = Some(edge.errors.address("listening on http://", "admin listening on http://").await);
        edge.admin = Some(edge.errors.address("admin listening on http://", "\0").await);
        edge
    }

    /// Starts `larder` with these arguments.
    fn run(arguments: &[&str], folder: TempDir) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(arguments)
            .current_dir(folder.path())
            .env_remove("LARDER_ADMIN")
            .env_remove("LARDER_TOKEN")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let errors = Output::of(process.stderr.take().expect("stderr is piped"));
        let output = Output::of(process.stdout.take().expect("stdout is piped"));
        let id = process.id();
        Self { process: Some(process), id, folder, public: None, admin: None, errors, output }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The public listener.
    pub(crate) fn address(&self) -> SocketAddr {
        self.public.expect("the edge was started")
    }

    /// The admin listener.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin.expect("the edge was started")
    }

    /// The HTTPS listener.
    pub(crate) async fn tls_address(&self) -> SocketAddr {
        self.errors.address("listening on https://", "\0").await
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("proxy.toml")
    }

    /// Writes the configuration file anew, as an editor would: another file moved into its place.
    pub(crate) fn rewrite(&self, text: &str) {
        let fresh = self.folder.path().join("proxy.toml.new");
        std::fs::write(&fresh, text).expect("the folder is ours");
        std::fs::rename(fresh, self.file()).expect("the folder is ours");
    }

    /// Gets `target` over a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send(wire::get(target), Bytes::new()).await
    }

    /// Gets `target` with these fields.
    pub(crate) async fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(with_fields(wire::get(target), fields), Bytes::new()).await
    }

    /// Sends a request without a body over a connection of its own.
    pub(crate) async fn ask(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Reply {
        self.send(with_fields(wire::ask(method, target), fields), Bytes::new()).await
    }

    /// Sends a request over a connection of its own, and reads the whole answer.
    pub(crate) async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
        Connection::to(self.address()).await.send(request, body).await
    }

    /// Gets `target` and returns when the head is there. Dropping the pair leaves in the middle.
    pub(crate) async fn open(&self, target: &str) -> (Connection, Download) {
        self.open_with(target, &[]).await
    }

    /// The same with fields.
    pub(crate) async fn open_with(&self, target: &str, fields: &[(&str, &str)]) -> (Connection, Download) {
        let mut connection = Connection::to(self.address()).await;
        let download = connection.begin(with_fields(wire::get(target), fields), Bytes::new()).await;
        (connection, download)
    }

    /// Asks the admin listener.
    pub(crate) async fn admin(&self, target: &str) -> Reply {
        Connection::to(self.admin_address()).await.get(target).await
    }

    /// The sum of a metric's samples: `name` alone, or with some of its labels (`name{a="b"`).
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let reply = self.admin("/metrics").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply
            .text()
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{', ',', '}'])))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Sends a signal by name (`TERM`, `HUP`).
    pub(crate) fn signal(&self, name: &str) {
        // The shell's own `kill`: the program of that name is not everywhere.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id)]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} reaches {}", self.id);
    }

    /// Waits until the process has ended; its exit code, or -1 after a signal.
    pub(crate) async fn exit_code(&mut self) -> i32 {
        let mut process = self.process.take().expect("the process is waited for once");
        let ended = tokio::task::spawn_blocking(move || process.wait());
        let Ok(status) = tokio::time::timeout(DEADLINE + DEADLINE, ended).await else {
            self.signal("KILL");
            panic!("the process did not end; it said:\n{}", self.stderr());
        };
        self.errors.end().await;
        status.expect("the wait ends").expect("the process is ours").code().unwrap_or(-1)
    }

    /// What it said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.errors.text()
    }

    /// The access log so far.
    pub(crate) fn log(&self) -> String {
        self.output.text()
    }

    /// Waits for a line on standard error that holds `text`.
    pub(crate) async fn says(&self, text: &str) -> String {
        self.errors.line(text, "\0").await
    }

    /// Waits for a line on standard output (the access log) that holds `text`.
    pub(crate) async fn logs(&self, text: &str) -> String {
        self.output.line(text, "\0").await
    }

    /// A figure of `/proc/PID/status`, in bytes: `VmRSS`, `VmHWM`.
    pub(crate) fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).expect("the process runs");
        let line = status.lines().find(|line| line.starts_with(name)).expect("Linux tells the figure");
        let kibibytes = line.split_whitespace().nth(1).and_then(|figure| figure.parse::<u64>().ok());
        kibibytes.expect("the figure is a number") * 1024
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("the edge said:\n{}", self.stderr());
        }
    }
}

fn with_fields(mut request: http::request::Builder, fields: &[(&str, &str)]) -> http::request::Builder {
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request
}

/// The lines of one of the process's streams, as they come.
#[derive(Clone)]
struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<Option<usize>>,
}

impl Output {
    /// Reads in a thread of its own, which ends with the process: a full pipe would stop the edge.
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (told, count) = watch::channel(Some(0));
        let own = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let length = {
                    let mut lines = own.lock().expect("no test panics in here");
                    lines.push(line);
                    lines.len()
                };
                told.send_replace(Some(length));
            }
            told.send_replace(None);
        });
        Self { lines, count }
    }

    /// Waits until there will be no more.
    async fn end(&self) {
        let mut count = self.count.clone();
        _ = within("the end of what it says", count.wait_for(Option::is_none)).await;
    }

    fn text(&self) -> String {
        self.lines.lock().expect("no test panics in here").join("\n")
    }

    /// Waits for a line that holds `text` and not `but_not`.
    async fn line(&self, text: &str, but_not: &str) -> String {
        let mut count = self.count.clone();
        let what = format!("a line with {text:?}");
        let found = within(&what, async {
            loop {
                let ended = count.borrow_and_update().is_none();
                let line = {
                    let lines = self.lines.lock().expect("no test panics in here");
                    lines.iter().find(|line| line.contains(text) && !line.contains(but_not)).cloned()
                };
                if line.is_some() || ended {
                    return line;
                }
                let _ = count.changed().await;
            }
        });
        found.await.unwrap_or_else(|| panic!("no line with {text:?}; it said:\n{}", self.text()))
    }

    async fn address(&self, after: &str, but_not: &str) -> SocketAddr {
        let line = self.line(after, but_not).await;
        let at = line.find(after).expect("the line was found by this") + after.len();
        let address: String =
            line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:[]abcdef".contains(*c)).collect();
        address.parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
    }
}
