//! Who is measured, how is each configured, and when is it ready?

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;

use crate::client::Client;
use crate::cpu::{self, Cores};
use crate::origin::Origin;
use crate::process::{self, Folder, Running};
use crate::{Failure, table};

/// A server that does not listen by then will not.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between a port's choice and its use somebody else may take it.
const ATTEMPTS: usize = 3;

/// Varnish's log lies in shared memory and costs a quarter of a hit. The others write none, so it writes none.
const UNLOGGED: &str = "-Begin,-End,-Link,-Timestamp,-ReqStart,-ReqMethod,-ReqURL,-ReqProtocol,-ReqHeader,-ReqUnset,-ReqAcct,\
    -RespProtocol,-RespStatus,-RespReason,-RespHeader,-RespUnset,-VCL_call,-VCL_return,-VCL_use,-Hit,-HitMiss,-HitPass,-TTL,\
    -SessOpen,-SessClose,-BereqMethod,-BereqURL,-BereqProtocol,-BereqHeader,-BereqUnset,-BereqAcct,-BerespProtocol,\
    -BerespStatus,-BerespReason,-BerespHeader,-BerespUnset,-BackendOpen,-BackendStart,-BackendReuse,-BackendClose,\
    -Fetch_Body,-Storage,-Length,-Filters,-VSL,-ExpBan";

/// What all servers share: the origin, the cores, the certificate.
pub(crate) struct Place {
    pub(crate) origin: Origin,
    pub(crate) cores: Cores,
    pub(crate) folder: Folder,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Place {
    /// Makes a certificate (ECDSA on P-256, as is usual) for 127.0.0.1.
    pub(crate) fn new(origin: Origin, cores: Cores) -> Result<Self, Failure> {
        let folder = Folder::new()?;
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        fs::write(folder.path().join("certificate.pem"), &certificate)?;
        fs::write(folder.path().join("key.pem"), &key)?;
        fs::write(folder.path().join("both.pem"), certificate + &key)?;
        Ok(Self { origin, cores, folder, certificate: cert.der().clone() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Larder,
    Nginx,
    Varnish,
    Haproxy,
}

impl Kind {
    /// Larder first.
    pub(crate) const ALL: [Self; 4] = [Self::Larder, Self::Nginx, Self::Varnish, Self::Haproxy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Larder => "Larder",
            Self::Nginx => "nginx",
            Self::Varnish => "Varnish",
            Self::Haproxy => "HAProxy",
        }
    }

    /// Its program, where that is a peer's.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Larder => "larder",
            Self::Nginx => "nginx",
            Self::Varnish => "varnishd",
            Self::Haproxy => "haproxy",
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        self == Self::Larder || process::is_installed(self.program())
    }

    fn template(self) -> &'static str {
        match self {
            Self::Larder => include_str!("larder.toml"),
            Self::Nginx => include_str!("nginx.conf"),
            Self::Varnish => include_str!("varnish.vcl"),
            Self::Haproxy => include_str!("haproxy.cfg"),
        }
    }
}

/// What Larder is started with, where that differs.
pub(crate) struct Options {
    pub(crate) threads: usize,
    pub(crate) capacity: &'static str,
    pub(crate) rules: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1, capacity: "2GiB", rules: String::new() }
    }
}

/// A running cache in front of the origin.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) http: SocketAddr,
    pub(crate) https: Option<SocketAddr>,
    pub(crate) admin: SocketAddr,
    running: Running,
}

impl Server {
    /// Starts one, and waits until it listens.
    pub(crate) fn start(kind: Kind, larder: &Path, place: &Place, options: &Options) -> Result<Self, Failure> {
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match Self::attempt(kind, larder, place, options) {
                Ok(server) => return Ok(server),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.expect("there was an attempt"))
    }

    fn attempt(kind: Kind, larder: &Path, place: &Place, options: &Options) -> Result<Self, Failure> {
        let [http, https, admin] = free_ports()?;
        let name = format!("{}-{}", kind.program(), http.port());
        let (folder, file, log) =
            (place.path(&name), place.path(&format!("{name}.conf")), place.path(&format!("{name}.log")));
        fs::create_dir(&folder)?;
        fs::write(
            &file,
            filled(
                kind.template(),
                &[
                    ("folder", &folder.display()),
                    ("http", &http),
                    ("https", &https),
                    ("admin", &admin),
                    ("origin", &place.origin.address),
                    ("origin_host", &place.origin.address.ip()),
                    ("origin_port", &place.origin.address.port()),
                    ("certificate", &place.path("certificate.pem").display()),
                    ("key", &place.path("key.pem").display()),
                    ("pem", &place.path("both.pem").display()),
                    // Its worker would become somebody who may not enter our folder.
                    ("user", &if rustix::process::getuid().is_root() { "user root;" } else { "" }),
                    ("threads", &options.threads),
                    ("capacity", &options.capacity),
                    ("rules", &options.rules),
                ],
            ),
        )?;
        let program: OsString = if kind == Kind::Larder { larder.into() } else { kind.program().into() };
        let cores = match place.cores.second {
            Some(second) if options.threads > 1 => format!("{},{second}", place.cores.server),
            _ => place.cores.server.to_string(),
        };
        let errors = fs::File::create(&log)?;
        let mut running = Running::start(&cores, &program, |command| {
            command.stderr(errors);
            arguments(kind, &file, &folder, http, command);
        })?;
        let begun = Instant::now();
        while TcpStream::connect(http).is_err() {
            if running.has_ended() || begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("{} does not listen; it said:\n{said}", kind.name()).into());
            }
            thread::sleep(Duration::from_micros(200));
        }
        let https = (kind != Kind::Varnish).then_some(https);
        Ok(Self { kind, http, https, admin, running })
    }

    /// A connection for checks.
    pub(crate) fn connect(&self, place: &Place, secure: bool) -> Result<Client, Failure> {
        match self.https.filter(|_| secure) {
            Some(https) => Client::connect(https, Some(&place.certificate)),
            None => Client::connect(self.http, None),
        }
    }

    /// The beginning of its URLs.
    pub(crate) fn url(&self, secure: bool) -> String {
        match self.https.filter(|_| secure) {
            Some(https) => format!("https://{https}"),
            None => format!("http://{}", self.http),
        }
    }

    /// Processor seconds of all its processes so far.
    pub(crate) fn seconds(&self) -> f64 {
        cpu::seconds(self.running.id())
    }

    /// Resident bytes of its first process.
    pub(crate) fn resident(&self) -> Result<u64, Failure> {
        cpu::resident(self.running.id())
    }
}

fn arguments(kind: Kind, file: &Path, folder: &Path, http: SocketAddr, command: &mut Command) {
    match kind {
        Kind::Larder => {
            command.args(["serve", "--config"]).arg(file).env_remove("LARDER_TOKEN").env("NO_COLOR", "1");
        }
        Kind::Nginx => {
            command.arg("-p").arg(folder).arg("-c").arg(file);
        }
        Kind::Varnish => {
            command.args(["-F", "-j", "none", "-s", "malloc,2g", "-T", "none", "-n"]).arg(folder);
            // One pool of threads; within it a thread a busy connection is how it works.
            command.args(["-p", "thread_pools=1", "-p", "listen_depth=4096", "-p"]).arg(format!("vsl_mask={UNLOGGED}"));
            command.arg("-a").arg(http.to_string()).arg("-f").arg(file);
        }
        Kind::Haproxy => {
            command.arg("-db").arg("-f").arg(file);
        }
    }
}

/// A template with its words in braces replaced.
fn filled(template: &str, words: &[(&str, &dyn std::fmt::Display)]) -> String {
    words
        .iter()
        .fold(template.to_owned(), |text, (word, value)| text.replace(&format!("{{{word}}}"), &value.to_string()))
}

/// Ports that nobody listens on: the system's choice.
fn free_ports() -> Result<[SocketAddr; 3], Failure> {
    let listen = || TcpListener::bind("127.0.0.1:0");
    // All are held until all are chosen, so that they differ.
    let held = [listen()?, listen()?, listen()?];
    Ok([held[0].local_addr()?, held[1].local_addr()?, held[2].local_addr()?])
}

/// The versions of the peers that are installed, and of Larder.
pub(crate) fn versions(larder: &Path) -> String {
    let first = |program: &Path, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        // Some say it on one stream, some on the other.
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        text.split(|c: char| c.is_whitespace() || "/-()".contains(c))
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
            .map(str::to_owned)
    };
    let version = |kind: Kind| match kind {
        Kind::Larder => first(larder, "--version"),
        Kind::Nginx => first(Path::new("nginx"), "-v"),
        Kind::Varnish => first(Path::new("varnishd"), "-V"),
        Kind::Haproxy => first(Path::new("haproxy"), "-v"),
    };
    let known = Kind::ALL.into_iter().filter_map(|kind| Some(format!("{} {}", kind.name(), version(kind)?)));
    table::list(known)
}
