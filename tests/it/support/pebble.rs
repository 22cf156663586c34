//! A real authority, Let's Encrypt's Pebble, on free ports of the loopback, which believes a name server of the test's; killed
//! when dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

use larder::accept::listener::bind;

use super::edge::Setup;
use super::tls::{Authority, Session, Tls};
use super::{eventually, wire};

/// An authority to be.
pub(crate) struct Plan {
    /// Whether it finds somebody where it looks by TLS, and where it asks over HTTP.
    tls: bool,
    http: bool,
    /// Seconds that a certificate lasts.
    lifetime: u32,
    /// Of a hundred nonces, how many it refuses for no reason.
    refused_nonces: u32,
    /// Seconds that it waits before it looks.
    hesitation: u32,
}

/// A port that nobody else gets: it is bound, and may be listened on by whoever is told of it.
struct Port(Socket);

/// A running authority, and the folder of the edge that it is for.
pub(crate) struct Pebble {
    process: Option<Child>,
    plan: Plan,
    /// Of its own listener.
    own: Authority,
    api: Port,
    management: Port,
    /// Of the edge.
    plain: Port,
    secure: Port,
    nowhere: Port,
    names: SocketAddr,
    _name_server: AbortOnDropHandle<()>,
}

impl Port {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("an option of sockets");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound").as_socket().expect("it is of the Internet")
    }
}

/// One that finds what it looks for, and takes no time.
pub(crate) fn authority() -> Plan {
    Plan { tls: true, http: true, lifetime: 1000, refused_nonces: 0, hesitation: 0 }
}

impl Plan {
    /// It finds nobody by TLS.
    pub(crate) fn without_tls(self) -> Self {
        Self { tls: false, ..self }
    }

    /// It finds nobody over HTTP.
    pub(crate) fn without_http(self) -> Self {
        Self { http: false, ..self }
    }

    /// Its certificates last for so many seconds.
    pub(crate) fn lasting(self, lifetime: u32) -> Self {
        Self { lifetime, ..self }
    }

    /// It refuses so many nonces of a hundred.
    pub(crate) fn refusing(self, refused_nonces: u32) -> Self {
        Self { refused_nonces, ..self }
    }

    /// It waits for up to so many seconds before it looks.
    pub(crate) fn hesitating(self, hesitation: u32) -> Self {
        Self { hesitation, ..self }
    }

    /// Not running yet.
    pub(crate) async fn prepare(self) -> Pebble {
        let own = Authority::new();
        own.put("api", &["127.0.0.1"]);
        let (names, name_server) = name_server().await;
        Pebble {
            process: None,
            plan: self,
            own,
            api: Port::new(),
            management: Port::new(),
            plain: Port::new(),
            secure: Port::new(),
            nowhere: Port::new(),
            names,
            _name_server: name_server,
        }
    }

    /// Running.
    pub(crate) async fn start(self) -> Pebble {
        let mut pebble = self.prepare().await;
        pebble.start().await;
        pebble
    }
}

impl Pebble {
    /// Starts it, with nothing of what it knew before.
    pub(crate) async fn start(&mut self) {
        let port = |open: bool, port: &Port| if open { port.address().port() } else { self.nowhere.address().port() };
        let config = serde_json::json!({ "pebble": {
            "listenAddress": self.api.address().to_string(),
            "managementListenAddress": self.management.address().to_string(),
            "certificate": self.own.path("api.pem"),
            "privateKey": self.own.path("api.key"),
            "httpPort": port(self.plan.http, &self.plain),
            "tlsPort": port(self.plan.tls, &self.secure),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "domainBlocklist": ["blocked.example"],
            "certificateValidityPeriod": self.plan.lifetime,
        }});
        let file = self.own.path("pebble.json");
        std::fs::write(&file, config.to_string()).expect("the folder is ours");
        let mut command = Command::new("pebble");
        command.arg("-config").arg(&file).args(["-dnsserver", &self.names.to_string()]);
        command.env("PEBBLE_AUTHZREUSE", "0").env("PEBBLE_WFE_NONCEREJECT", self.plan.refused_nonces.to_string());
        match self.plan.hesitation {
            0 => command.env("PEBBLE_VA_NOSLEEP", "1"),
            seconds => command.env("PEBBLE_VA_SLEEPTIME", seconds.to_string()),
        };
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(quiet.spawn().expect("pebble is installed: tests/run says how"));
        let address = self.management.address();
        eventually("an authority that answers", async || tokio::net::TcpStream::connect(address).await.ok()).await;
        let address = self.api.address();
        eventually("an authority that answers", async || tokio::net::TcpStream::connect(address).await.ok()).await;
    }

    /// Listens in its place, and lets nobody have an account: says so with these fields.
    pub(crate) fn busy(&self, fields: &str) -> AbortOnDropHandle<()> {
        let address = self.api.address();
        let listener = bind(address).expect("the port is kept for it");
        let acceptor = self.own.acceptor("api");
        let told = format!(
            "HTTP/1.1 429 Too Many Requests\r\n{fields}Content-Type: application/problem+json\r\nContent-Length: 82\r\n\r\n\
             {:82}",
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many accounts"}"#
        );
        let directory = ["newNonce", "newAccount", "newOrder"].map(|it| format!("\"{it}\":\"https://{address}/{it}\""));
        let directory = format!("{{{}}}", directory.join(","));
        AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = acceptor.accept(stream).await.expect("it is believed");
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.expect("a request");
                let answer = match &head[..length.min(5)] {
                    b"POST " => told.clone(),
                    b"HEAD " => "HTTP/1.1 200 OK\r\nReplay-Nonce: n\r\nContent-Length: 0\r\n\r\n".to_owned(),
                    _ => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{directory}", directory.len()),
                };
                stream.write_all(answer.as_bytes()).await.expect("it reads");
                stream.shutdown().await.expect("it reads");
            }
        }))
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            _ = process.wait();
        }
    }

    /// The table of an edge that has certificates for these hosts, kept in `cache`, and more lines of `[server.tls]`.
    pub(crate) fn table(&self, hosts: &[&str], cache: &Path, more: &str) -> String {
        format!(
            "[server.tls]\nlisten = [\"{}\"]\n{more}\n[server.tls.acme]\ndirectory = \"https://{}/dir\"\nca_file = \"{}\"\n\
             hosts = {hosts:?}\ncache = \"{}\"\nemail = \"ops@example.com\"\n",
            self.secure.address(),
            self.api.address(),
            self.own.path("ca.pem").display(),
            cache.display(),
        )
    }

    /// An edge with that table, where this authority looks.
    pub(crate) fn edge(&self, setup: Setup, hosts: &[&str], cache: &Path) -> Setup {
        self.edge_of(setup, &self.table(hosts, cache, ""))
    }

    /// An edge with this table, where this authority looks.
    pub(crate) fn edge_of(&self, setup: Setup, table: &str) -> Setup {
        setup.listen(self.plain.address()).table(table)
    }

    /// A client that believes what it issues.
    pub(crate) async fn client(&self) -> Tls {
        let client = self.own.client();
        let session = Session::begin(self.management.address(), "127.0.0.1", &client.config()).await;
        let mut connection = session.expect("it is its own certificate").http1().await;
        let reply = connection.send(wire::get("/roots/0"), "").await;
        client.trusting(CertificateDer::from_pem_slice(reply.text().as_bytes()).expect("a root"))
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The folder of the one authority in `cache`.
pub(crate) fn folder_in(cache: &Path) -> PathBuf {
    let folders: Vec<_> =
        std::fs::read_dir(cache).expect("it was made").map(|it| it.expect("it is ours").path()).collect();
    let [folder] = folders.as_slice() else { panic!("one authority: {folders:?}") };
    folder.clone()
}

/// Says of every name that it is 127.0.0.1, and nothing else of it.
async fn name_server() -> (SocketAddr, AbortOnDropHandle<()>) {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a free port"));
    let address = socket.local_addr().expect("it is bound");
    let serve = async move {
        let mut bytes = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut bytes).await {
            _ = socket.send_to(&answer(&bytes[..length]), peer).await;
        }
    };
    (address, AbortOnDropHandle::new(tokio::spawn(serve)))
}

/// RFC 1035 §4.1.
fn answer(query: &[u8]) -> Vec<u8> {
    let name = query[12..].iter().position(|&byte| byte == 0).expect("a name ends with the root") + 13;
    let question = &query[12..name + 4];
    let is_for_address = question.ends_with(&[0, 1, 0, 1]);
    let mut answer = [&query[..2], &[0x81, 0x80, 0, 1, 0, u8::from(is_for_address), 0, 0, 0, 0], question].concat();
    if is_for_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    answer
}
