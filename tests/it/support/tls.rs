//! Certificates of the tests' own authorities, and clients that speak TLS and see what was agreed upon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::edge::{Edge, Setup};
use super::reply::Reply;
use super::wire::{self, Connection, Multiplexed};
use super::within;

/// An authority, and the folder that its certificates are written into.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

/// A certificate that was issued, and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    /// A new one; its own certificate is `ca.pem`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("there is room for files");
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "The tests' authority");
        let key = KeyPair::generate().expect("a key is made");
        let own = parameters.self_signed(&key).expect("a certificate is made");
        std::fs::write(folder.path().join("ca.pem"), own.pem()).expect("the folder is ours");
        Self { folder, der: own.der().clone(), issuer: Issuer::new(parameters, key) }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The line of `[server.tls]` that has clients asked for this authority's certificates.
    pub(crate) fn client_ca(&self) -> String {
        format!("client_ca = \"{}\"", self.path("ca.pem").display())
    }

    /// Issues a certificate for a host of these names, or a client whose common name is the first one.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 4000)
    }

    /// The same, with a key that is not its own.
    pub(crate) fn issue_with_another_key(&self, names: &[&str]) -> Issued {
        Issued { key: self.issue(names).key, ..self.issue(names) }
    }

    /// The same as [`Authority::issue`], valid until the end of a year.
    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let list = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut parameters = CertificateParams::new(list).expect("these are names");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, names[0]);
        parameters.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key is made");
        let cert = parameters.signed_by(&key, &self.issuer).expect("a certificate is issued");
        let chain = cert.pem() + &std::fs::read_to_string(self.path("ca.pem")).expect("it was written");
        Issued { cert: chain, key: key.serialize_pem() }
    }

    /// Writes `NAME.pem` and `NAME.key`, as tools for renewal do: other files in their places.
    pub(crate) fn write(&self, name: &str, issued: &Issued) {
        for (ending, text) in [("pem", &issued.cert), ("key", &issued.key)] {
            replace(&self.path(&format!("{name}.{ending}")), text);
        }
    }

    /// Issues a certificate for these names, and writes it.
    pub(crate) fn put(&self, name: &str, names: &[&str]) {
        self.write(name, &self.issue(names));
    }

    /// The lines of `[server.tls]` with these pairs.
    pub(crate) fn table(&self, pairs: &[&str]) -> String {
        let path = |name: &str, ending: &str| self.path(&format!("{name}.{ending}")).display().to_string();
        let pair = |name: &&str| format!("{{ cert = {:?}, key = {:?} }}", path(name, "pem"), path(name, "key"));
        let pairs = pairs.iter().map(pair).collect::<Vec<_>>().join(", ");
        format!("[server.tls]\nlisten = [\"127.0.0.1:0\"]\ncertificates = [{pairs}]")
    }

    /// An edge that shows one certificate, for `a.example`.
    pub(crate) async fn edge(&self, setup: Setup) -> Edge {
        self.put("a", &["a.example"]);
        setup.table(&self.table(&["a"])).start().await
    }

    /// Accepts connections by a pair that was put.
    pub(crate) fn acceptor(&self, name: &str) -> TlsAcceptor {
        use rustls::pki_types::pem::PemObject;
        let chain = CertificateDer::pem_file_iter(self.path(&format!("{name}.pem"))).expect("it was put");
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).expect("it was put");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions that there are").with_no_client_auth();
        let chain = chain.collect::<Result<_, _>>().expect("PEM");
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("they fit")))
    }

    /// A client that believes this authority.
    pub(crate) fn client(&self) -> Tls {
        Tls {
            authority: Some(self.der.clone()),
            versions: rustls::ALL_VERSIONS,
            protocols: &["http/1.1"],
            certificate: None,
        }
    }
}

/// Puts a file with this text in the place of another.
pub(crate) fn replace(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text).expect("the folder is ours");
    std::fs::rename(fresh, path).expect("the folder is ours");
}

/// A client to be.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Whom it believes; `None`: everybody.
    authority: Option<CertificateDer<'static>>,
    versions: &'static [&'static SupportedProtocolVersion],
    protocols: &'static [&'static str],
    certificate: Option<(Vec<CertificateDer<'static>>, Arc<PrivateKeyDer<'static>>)>,
}

impl Tls {
    /// A client that looks at certificates, and does not judge them.
    pub(crate) fn believing_everybody() -> Self {
        Self { authority: None, versions: rustls::ALL_VERSIONS, protocols: &["http/1.1"], certificate: None }
    }

    /// Speaks this version only.
    pub(crate) fn only(mut self, version: &'static SupportedProtocolVersion) -> Self {
        const OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
        const NEW: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        self.versions = if version.version == ProtocolVersion::TLSv1_2 { OLD } else { NEW };
        self
    }

    /// Believes the owner of this certificate, and nobody else.
    pub(crate) fn trusting(mut self, authority: CertificateDer<'static>) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Offers these protocols.
    pub(crate) fn offering(mut self, protocols: &'static [&'static str]) -> Self {
        self.protocols = protocols;
        self
    }

    /// Shows a certificate.
    pub(crate) fn showing(mut self, issued: &Issued) -> Self {
        use rustls::pki_types::pem::PemObject;
        let chain = CertificateDer::pem_slice_iter(issued.cert.as_bytes()).collect::<Result<_, _>>().expect("PEM");
        let key = PrivatePkcs8KeyDer::from_pem_slice(issued.key.as_bytes()).expect("PEM");
        self.certificate = Some((chain, Arc::new(PrivateKeyDer::Pkcs8(key))));
        self
    }

    /// The configuration: connections that share one share sessions.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(self.versions).expect("versions that there are");
        let builder = match &self.authority {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.clone()).expect("an authority's certificate");
                builder.with_root_certificates(roots)
            }
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous)),
        };
        let mut config = match &self.certificate {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).expect("they fit"),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Connects to `edge` and names `host`.
    pub(crate) async fn to(&self, edge: &Edge, host: &str) -> Session {
        Session::begin(edge.tls_address().await, host, &self.config()).await.expect("hands are shaken")
    }

    /// Gets `target` of `a.example` over a connection of its own.
    pub(crate) async fn get(&self, edge: &Edge, target: &str) -> Reply {
        self.to(edge, "a.example").await.http1().await.send(asked(target), Bytes::new()).await
    }
}

/// Believes every certificate.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A request for `target` of `a.example`.
pub(crate) fn asked(target: &str) -> http::request::Builder {
    wire::get(target).header("host", "a.example")
}

/// A connection after its handshake.
pub(crate) struct Session {
    stream: TlsStream<TcpStream>,
    address: SocketAddr,
}

impl Session {
    /// Shakes hands.
    pub(crate) async fn begin(address: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await.expect("the edge listens");
        stream.set_nodelay(true).expect("TCP has no delay");
        let host = ServerName::try_from(host.to_owned()).expect("a name or an address");
        let connecting = TlsConnector::from(Arc::clone(config)).connect(host, stream);
        let stream = within("a handshake", connecting).await?;
        Ok(Self { stream, address })
    }

    fn connection(&self) -> &rustls::ClientConnection {
        self.stream.get_ref().1
    }

    /// What was agreed upon: the version, and the protocol.
    pub(crate) fn agreed(&self) -> (Option<ProtocolVersion>, Option<&str>) {
        let protocol = self.connection().alpn_protocol();
        (self.connection().protocol_version(), protocol.map(|it| std::str::from_utf8(it).expect("a protocol of ours")))
    }

    /// Whether an earlier session went on.
    pub(crate) fn is_resumed(&self) -> bool {
        self.connection().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificate that was shown.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.connection().peer_certificates().expect("servers show theirs")[0].to_vec()
    }

    /// Speaks HTTP/1.1 from here on.
    pub(crate) async fn http1(self) -> Connection {
        Connection::over(self.stream, self.address).await
    }

    /// Speaks HTTP/2 from here on.
    pub(crate) async fn http2(self) -> Multiplexed {
        Multiplexed::over(self.stream, self.address, "https").await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.expect("the edge reads");
        self.stream.flush().await.expect("the edge reads");
    }

    /// Reads what there is.
    pub(crate) async fn some(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; 4096];
        let length = within("bytes of the edge", self.stream.read(&mut bytes)).await?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Reads to the end: what came, and whether the edge said that this was all.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut bytes = Vec::new();
        let ended = within("the end of the connection", self.stream.read_to_end(&mut bytes)).await;
        (bytes, ended.is_ok())
    }
}
