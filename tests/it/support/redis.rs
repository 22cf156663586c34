//! Real servers of Redis, on free ports of the loopback and in folders of their own; killed when dropped.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo, TlsCertificates, Value};
use tempfile::TempDir;

use super::DEADLINE;

/// Time for one question of a test's own.
const ASK: Duration = Duration::from_secs(5);

/// Between two looks at something that a server does in the background.
const LOOK: Duration = Duration::from_millis(20);

/// One server.
pub(crate) struct Redis {
    folder: TempDir,
    program: Program,
    port: u16,
    arguments: Vec<String>,
    password: Option<String>,
    process: Option<Child>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Server,
    /// With TLS on its only port.
    TlsServer,
    Sentinel,
}

impl Redis {
    /// A server that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// A server with these arguments, as on its command line.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::launch(Program::Server, arguments, |_, _| {})
    }

    /// A server that speaks TLS alone, as `localhost` and 127.0.0.1, and the file of the certificate to trust.
    pub(crate) fn start_with_tls(arguments: &[&str]) -> (Self, PathBuf) {
        let server = Self::launch(Program::TlsServer, arguments, |folder, _| {
            let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
            let made = rcgen::generate_simple_self_signed(names).expect("names of a certificate");
            write(folder, "cert.pem", &made.cert.pem());
            write(folder, "key.pem", &made.signing_key.serialize_pem());
        });
        let certificate = server.folder.path().join("cert.pem");
        (server, certificate)
    }

    /// A replica of `master`, in step with it.
    pub(crate) fn replica_of(master: &Self) -> Self {
        Self::replica_with(master, &[])
    }

    fn replica_with(master: &Self, arguments: &[&str]) -> Self {
        let port = master.port.to_string();
        let replica = Self::start_with(&[&["--replicaof", "127.0.0.1", &port], arguments].concat());
        wait("a replica in step", || {
            replica.cli(&["INFO", "replication"]).contains("master_link_status:up").then_some(())
        });
        replica
    }

    /// `redis://127.0.0.1:…`, with the password where there is one.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.program == Program::TlsServer { "rediss" } else { "redis" };
        let login = self.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        format!("{scheme}://{login}127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What `redis-cli` would print: an array has a line for each element, nothing is `(nil)`, an error is its text.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        self.ask(command).unwrap_or_else(|error| error.to_string())
    }

    fn ask(&self, command: &[&str]) -> redis::RedisResult<String> {
        let host = "127.0.0.1".to_owned();
        let tls = self.program == Program::TlsServer;
        let address = if tls {
            ConnectionAddr::TcpTls { host, port: self.port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, self.port)
        };
        let mut settings = RedisConnectionInfo::default();
        if let Some(password) = &self.password {
            settings = settings.set_password(password);
        }
        let info = address.into_connection_info()?.set_redis_settings(settings);
        let client = if tls {
            _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let root = std::fs::read(self.folder.path().join("cert.pem"))?;
            Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(root) })?
        } else {
            Client::open(info)?
        };
        let mut connection = client.get_connection_with_timeout(ASK)?;
        connection.set_read_timeout(Some(ASK))?;
        let (name, arguments) = command.split_first().expect("a command has a name");
        let answer: Value = redis::cmd(name).arg(arguments).query(&mut connection)?;
        Ok(text(&answer))
    }

    /// Stops it where it stands (SIGSTOP): it takes connections, and answers nothing.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        wait("a stopped process", || (self.process_state() == Some('T')).then_some(()));
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            process.wait().expect("a process of ours can be waited for");
        }
    }

    /// Starts it again on the same port, with the data that it has on disk.
    pub(crate) fn restart(&mut self) {
        self.revive();
        self.wait_until_it_answers();
    }

    /// As [`Redis::restart`], without waiting until it has read its data.
    pub(crate) fn revive(&mut self) {
        self.kill();
        wait("a server on the port that it had", || self.spawn().then_some(()));
    }

    fn launch(program: Program, arguments: &[&str], prepare: impl Fn(&Path, u16)) -> Self {
        let password = arguments.windows(2).find(|pair| pair[0] == "--requirepass").map(|pair| pair[1].to_owned());
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let server = wait("a server on a free port", || {
            let folder = tempfile::tempdir().expect("a folder for a server");
            let (arguments, password) = (arguments.clone(), password.clone());
            let mut server = Self { folder, program, port: free_port(), arguments, password, process: None };
            prepare(server.folder.path(), server.port);
            server.spawn().then_some(server)
        });
        server.wait_until_it_answers();
        server
    }

    /// Starts the process. `false`: somebody else has the port.
    fn spawn(&mut self) -> bool {
        let at = |name: &str| self.folder.path().join(name);
        _ = std::fs::remove_file(at("pid"));
        // The kernel kills the server with the test's thread, whatever ends that one.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server"]);
        if self.program == Program::Sentinel {
            command.arg(at("sentinel.conf")).arg("--sentinel");
        }
        let port = self.port.to_string();
        let (plain, tls) = if self.program == Program::TlsServer { ("0", &*port) } else { (&*port, "0") };
        command.args(["--port", plain, "--bind", "127.0.0.1", "--loglevel", "notice"]);
        command.args([OsString::from("--dir"), self.folder.path().into(), "--logfile".into(), at("log").into()]);
        command.args([OsString::from("--pidfile"), at("pid").into()]);
        if self.program != Program::Sentinel {
            command.args(["--save", "", "--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]);
        }
        if self.program == Program::TlsServer {
            command.args(["--tls-port", tls, "--tls-auth-clients", "no", "--tls-cert-file"]).arg(at("cert.pem"));
            command.arg("--tls-key-file").arg(at("key.pem")).arg("--tls-ca-cert-file").arg(at("cert.pem"));
        }
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = command.spawn().expect("setpriv and redis-server can be started");
        // It writes its number once it listens: whoever else answers at the port is not taken for it.
        let listens = wait("a server that listens or has ended", || {
            let ended = process.try_wait().expect("a process of ours").is_some();
            let listens = std::fs::read_to_string(at("pid")).is_ok_and(|pid| pid.trim() == process.id().to_string());
            (ended || listens).then_some(!ended)
        });
        self.process = listens.then_some(process);
        listens
    }

    fn wait_until_it_answers(&self) {
        wait("a server that answers", || {
            let answer = self.cli(&["PING"]);
            (answer == "PONG").then_some(())
        });
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    /// The letter that the kernel has for what the process does.
    fn process_state(&self) -> Option<char> {
        let line = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        line.rsplit(") ").next()?.chars().next()
    }

    fn signal(&self, name: &str) {
        let id = self.id();
        // The shell's own `kill`: the program of that name is not everywhere.
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} to {id}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A master, two replicas of it, and three Sentinels who call it `mymaster`.
pub(crate) struct SentinelSetup {
    /// The master at first, then its replicas.
    pub(crate) servers: Vec<Redis>,
    pub(crate) sentinels: Vec<Redis>,
    password: Option<String>,
}

impl SentinelSetup {
    /// Starts it, and waits until the Sentinels know of everybody.
    pub(crate) fn start() -> Self {
        Self::start_as(None)
    }

    /// As [`SentinelSetup::start`]; everybody, the Sentinels too, asks for `password`.
    pub(crate) fn start_with_password(password: &str) -> Self {
        Self::start_as(Some(password))
    }

    fn start_as(password: Option<&str>) -> Self {
        let login = password.map(|password| ["--requirepass", password, "--masterauth", password]);
        let login = login.as_ref().map_or(&[][..], |login| &login[..]);
        let master = Redis::start_with(login);
        let replicas = [(); 2].map(|()| Redis::replica_with(&master, login));
        let sign_in = password.map_or(String::new(), |password| format!("sentinel auth-pass mymaster {password}\n"));
        let configuration = format!(
            "sentinel monitor mymaster 127.0.0.1 {} 2\nsentinel down-after-milliseconds mymaster 500\n\
             sentinel failover-timeout mymaster 2000\nsentinel parallel-syncs mymaster 2\n{sign_in}",
            master.port
        );
        let prepare = |folder: &Path, _| write(folder, "sentinel.conf", &configuration);
        let arguments = login.get(..2).unwrap_or_default();
        let sentinels: Vec<_> = (0..3).map(|_| Redis::launch(Program::Sentinel, arguments, prepare)).collect();
        for sentinel in &sentinels {
            wait("Sentinels who know of everybody", || {
                let facts = sentinel.cli(&["SENTINEL", "MASTER", "mymaster"]);
                (facts.contains("num-slaves\n2") && facts.contains("num-other-sentinels\n2")).then_some(())
            });
        }
        let servers = std::iter::once(master).chain(replicas).collect();
        Self { servers, sentinels, password: password.map(str::to_owned) }
    }

    pub(crate) fn url(&self) -> String {
        let sentinels: Vec<_> = self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        let login = self.password.as_ref().map_or(String::new(), |password| format!(":{password}@"));
        format!("redis+sentinel://{login}{}/mymaster", sentinels.join(","))
    }

    /// The port of the master, as the first Sentinel that answers has it.
    pub(crate) fn master_port(&self) -> u16 {
        let answer = self.sentinels[0].cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]);
        answer.lines().last().and_then(|port| port.parse().ok()).expect("a Sentinel knows the master")
    }
}

/// Three masters without replicas, a third of the slots each.
pub(crate) struct ClusterSetup {
    pub(crate) nodes: Vec<Redis>,
}

/// The first slot and the last of each node.
const SLOTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];

impl ClusterSetup {
    /// Starts it, and waits until every node says that it is well.
    pub(crate) fn start() -> Self {
        let nodes: Vec<_> = SLOTS
            .iter()
            .zip(["1", "2", "3"])
            .map(|([first, last], epoch)| {
                let node = Redis::start_with(&["--cluster-enabled", "yes"]);
                assert_eq!(node.cli(&["CLUSTER", "SET-CONFIG-EPOCH", epoch]), "OK");
                assert_eq!(node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
                node
            })
            .collect();
        for other in &nodes[1..] {
            assert_eq!(nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]), "OK");
        }
        for node in &nodes {
            wait("a cluster that is well", || {
                let facts = node.cli(&["CLUSTER", "INFO"]);
                (facts.contains("cluster_state:ok") && facts.contains("cluster_known_nodes:3")).then_some(())
            });
        }
        Self { nodes }
    }

    pub(crate) fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }

    /// Gives an empty slot to another node; who asks the old one is told to ask the new one.
    pub(crate) fn move_slot(&self, slot: u16, to: usize) {
        let id = self.nodes[to].cli(&["CLUSTER", "MYID"]);
        let others = self.nodes.iter().enumerate().filter(|(index, _)| *index != to).map(|(_, node)| node);
        for node in std::iter::once(&self.nodes[to]).chain(others) {
            assert_eq!(node.cli(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]), "OK");
        }
    }

    /// The slot of a key.
    pub(crate) fn slot(&self, key: &str) -> u16 {
        self.nodes[0].cli(&["CLUSTER", "KEYSLOT", key]).parse().expect("a slot is a number")
    }
}

/// A port that nobody has. Not one of those that the kernel gives away, and low enough for a cluster's second one,
/// which lies 10000 higher.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(12_000..22_000);
        if [port, port + 10_000].iter().all(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a folder of ours takes a file");
}

/// Looks until there is something; what a server does is seen by asking it alone.
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: nothing within {DEADLINE:?}");
        std::thread::park_timeout(LOOK);
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Nil => "(nil)".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Okay => "OK".to_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}
