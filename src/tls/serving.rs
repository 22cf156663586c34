//! What is shown to clients, and asked of them; and how is it replaced while they come and go?

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CommonState, HandshakeKind, RootCertStore, ServerConfig};

use super::challenge::Challenges;
use super::choice::{Choice, Chooser};
use super::pair::{Files, Pair, PairError};
use super::pem::{self, FileError};

/// Sessions that are kept for clients that take no tickets. Each is some hundred bytes, or a few KiB with a client's
/// certificate: 256 are at most a MiB.
const SESSIONS: usize = 256;

/// What the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The pairs, in the order of the file; the first one is for clients that name none of them. Empty: all certificates
    /// are obtained.
    pub certificates: Vec<Files>,
    /// Who must or may show a certificate; `None`: nobody is asked.
    pub clients: Option<Clients>,
}

/// Whose certificates clients may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// A file of PEM certificates: the authorities that are believed.
    pub ca: PathBuf,
    /// Whether there is no handshake without one.
    pub is_required: bool,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// A pair cannot be used.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// `client_ca` cannot be used.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// No certificate is left to be shown.
    #[error("no certificate can be used")]
    None,
    /// The library refuses, for instance because the system has no random numbers.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}

/// Why clients' certificates cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate in it is none of an authority.
    #[error("a certificate in {path} cannot be used to verify clients")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The library refuses it.
    #[error("{path} cannot be used to verify clients")]
    Verifier {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

/// What became of a pair, or of `client_ca`, whose files changed.
#[derive(Debug)]
pub enum Renewal {
    /// New handshakes use it.
    Applied {
        /// The file.
        path: PathBuf,
        /// The names that it is for.
        label: String,
    },
    /// It cannot be used: what was there before goes on.
    Rejected {
        /// The file.
        path: PathBuf,
        /// Why.
        error: ServingError,
    },
}

/// By what a handshake goes.
#[derive(Debug, Clone)]
pub struct Terms {
    /// For the library.
    pub config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// The certificates in use, and the rules of handshakes. Reads files: everything but [`Serving::terms`] is not for a
/// thread that serves.
#[derive(Debug)]
pub struct Serving {
    chooser: Arc<Chooser>,
    terms: ArcSwap<Terms>,
    kept: Mutex<Kept>,
    challenges: Challenges,
}

/// What the files were when they were last read.
#[derive(Debug, Default)]
struct Kept {
    pairs: Vec<KeptPair>,
    /// Those that no file of the operator holds.
    obtained: Vec<Arc<Pair>>,
    clients: Option<Clients>,
    clients_print: Option<Print>,
    /// What the files were when they were last looked at.
    seen: Vec<Option<Print>>,
}

#[derive(Debug)]
struct KeptPair {
    files: Files,
    /// Those that were tried last, whether they could be used or not.
    tried: [Option<Print>; 2],
    pair: Arc<Pair>,
}

/// What changes when a file does, also when a link on the way to it is turned. `None` for a file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Print {
    fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            place: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    fn of_pair(files: &Files) -> [Option<Self>; 2] {
        [Self::of(&files.cert), Self::of(&files.key)]
    }
}

impl Serving {
    /// Reads everything. `now`: seconds since the Unix epoch.
    ///
    /// # Errors
    ///
    /// Something of it cannot be used.
    pub fn start(wanted: &Wanted, now: i64) -> Result<Self, ServingError> {
        let mut pairs = Vec::new();
        for files in &wanted.certificates {
            let tried = Print::of_pair(files);
            pairs.push(KeptPair { files: files.clone(), tried, pair: Arc::new(Pair::read(files, now)?) });
        }
        let chooser = Arc::new(Chooser(ArcSwap::from_pointee(choice(&pairs, &[]))));
        let clients_print = wanted.clients.as_ref().and_then(|clients| Print::of(&clients.ca));
        let terms = ArcSwap::from_pointee(Terms::new(&chooser, wanted.clients.as_ref())?);
        let clients = wanted.clients.clone();
        let kept = Kept { pairs, obtained: Vec::new(), clients, clients_print, seen: Vec::new() };
        Ok(Self { chooser, terms, kept: Mutex::new(kept), challenges: Challenges::default() })
    }

    /// Shows these pairs beside the operator's own, in the place of all that were given here before.
    pub fn show(&self, obtained: Vec<Arc<Pair>>) {
        let mut kept = self.lock();
        self.chooser.0.store(Arc::new(choice(&kept.pairs, &obtained)));
        kept.obtained = obtained;
    }

    /// Every pair in use: the operator's own, then the others.
    pub fn pairs(&self) -> (Vec<Arc<Pair>>, Vec<Arc<Pair>>) {
        let kept = self.lock();
        (kept.pairs.iter().map(|kept| Arc::clone(&kept.pair)).collect(), kept.obtained.clone())
    }

    /// The challenges of authorities that are answered by a handshake.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the next handshake goes by.
    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// Whether files have changed since they were read, and have come to rest since the last time that this was asked: a
    /// certificate is replaced before its key, or after it, and never with it.
    pub fn has_changed(&self, wanted: &Wanted) -> bool {
        let mut kept = self.lock();
        let files = wanted.certificates.iter().flat_map(Print::of_pair);
        let found: Vec<_> = files.chain(wanted.clients.iter().map(|clients| Print::of(&clients.ca))).collect();
        let read = kept.pairs.iter().flat_map(|kept| kept.tried);
        let read: Vec<_> = read.chain(kept.clients.iter().map(|_| kept.clients_print)).collect();
        let is_at_rest = kept.seen == found;
        let is_other = found != read;
        kept.seen = found;
        is_other && is_at_rest
    }

    /// Takes over what has changed: pair by pair, each whole or not at all. With `all`, every file is read again, changed or
    /// not. Connections that are open, and their sessions, go on.
    pub fn renew(&self, wanted: &Wanted, all: bool, now: i64) -> Vec<Renewal> {
        let mut kept = self.lock();
        let mut renewals = Vec::new();
        let mut pairs = Vec::new();
        for files in &wanted.certificates {
            let old = kept.pairs.iter().find(|kept| kept.files == *files);
            pairs.extend(renewed(files, old, all, now, &mut renewals));
        }
        if let (true, Some(first)) = (pairs.is_empty(), wanted.certificates.first()) {
            renewals.push(Renewal::Rejected { path: first.cert.clone(), error: ServingError::None });
            return renewals;
        }
        self.chooser.0.store(Arc::new(choice(&pairs, &kept.obtained)));
        kept.pairs = pairs;
        self.renew_clients(&mut kept, wanted.clients.as_ref(), all, &mut renewals);
        renewals
    }

    fn renew_clients(&self, kept: &mut Kept, wanted: Option<&Clients>, all: bool, renewals: &mut Vec<Renewal>) {
        let print = wanted.and_then(|clients| Print::of(&clients.ca));
        let is_same = kept.clients.as_ref() == wanted;
        if is_same && (wanted.is_none() || (kept.clients_print == print && !all)) {
            return;
        }
        let path = wanted.or(kept.clients.as_ref()).map(|clients| clients.ca.clone()).unwrap_or_default();
        kept.clients_print = print;
        match Terms::new(&self.chooser, wanted) {
            Ok(terms) => {
                // With a new ticketer and no sessions: who came in by the old rules must come in by the new ones.
                self.terms.store(Arc::new(terms));
                kept.clients = wanted.cloned();
                renewals.push(Renewal::Applied { path, label: "client_ca".to_owned() });
            }
            Err(error) => renewals.push(Renewal::Rejected { path, error }),
        }
    }
}

/// The pair that these files make now, or the one that they made before; `None`: they never made one.
fn renewed(
    files: &Files,
    old: Option<&KeptPair>,
    all: bool,
    now: i64,
    renewals: &mut Vec<Renewal>,
) -> Option<KeptPair> {
    // Before they are read: what changes while we read is seen the next time.
    let tried = Print::of_pair(files);
    let keep = |old: &KeptPair| KeptPair { files: files.clone(), tried, pair: Arc::clone(&old.pair) };
    if let Some(old) = old.filter(|old| old.tried == tried && !all) {
        return Some(keep(old));
    }
    let path = files.cert.clone();
    match (Pair::read(files, now), old) {
        (Ok(pair), Some(old)) if pair.is_same(&old.pair) => Some(keep(old)),
        (Ok(pair), _) => {
            renewals.push(Renewal::Applied { path, label: pair.label() });
            Some(KeptPair { files: files.clone(), tried, pair: Arc::new(pair) })
        }
        (Err(error), old) => {
            renewals.push(Renewal::Rejected { path, error: error.into() });
            old.map(keep)
        }
    }
}

fn choice(pairs: &[KeptPair], obtained: &[Arc<Pair>]) -> Choice {
    Choice::of(pairs.iter().map(|kept| &*kept.pair), obtained.iter().map(|pair| &**pair))
}

impl Terms {
    fn new(chooser: &Arc<Chooser>, clients: Option<&Clients>) -> Result<Self, ServingError> {
        let clients = clients.map(verifier).transpose()?;
        let builder = ServerConfig::builder_with_provider(super::provider());
        // TLS 1.3 and 1.2.
        let builder = builder.with_safe_default_protocol_versions().map_err(ServingError::Library)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(chooser) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Without one no ticket is ever given, and every connection pays for a whole handshake.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(ServingError::Library)?;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        // No early data: it can be sent again by anybody who saw it.
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), clients })
    }

    /// Whether a client that has shown its certificate in an earlier session may come in by it: a session outlives the
    /// certificate that it began with.
    ///
    /// # Errors
    ///
    /// It could not begin such a session today.
    pub fn check_resumed(&self, connection: &CommonState) -> Result<(), rustls::Error> {
        let Some(clients) = self.clients.as_ref().filter(|_| is_resumed(connection)) else { return Ok(()) };
        match connection.peer_certificates() {
            Some([certificate, chain @ ..]) => {
                clients.verify_client_cert(certificate, chain, UnixTime::now()).map(|_| ())
            }
            _ if clients.client_auth_mandatory() => Err(rustls::Error::NoCertificatesPresented),
            _ => Ok(()),
        }
    }
}

/// Whether a handshake went on with an earlier session.
pub fn is_resumed(connection: &CommonState) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// What verifies clients' certificates.
///
/// # Errors
///
/// The file cannot be used.
pub fn verifier(clients: &Clients) -> Result<Arc<dyn ClientCertVerifier>, ClientsError> {
    let path = || clients.ca.clone();
    let mut roots = RootCertStore::empty();
    for certificate in pem::certificates(&clients.ca)? {
        roots.add(certificate).map_err(|source| ClientsError::Authority { path: path(), source })?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider());
    if !clients.is_required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|source| ClientsError::Verifier { path: path(), source })
}
