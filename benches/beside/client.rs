//! What does one request get? A client of one connection, plain or TLS, for checks and for filling caches.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Failure;

/// Nothing on loopback takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many requests are sent before their answers are read.
const AHEAD: usize = 32;

/// TLS 1.3 with whoever shows this certificate, without sessions that are taken up again.
pub(crate) fn trusting(certificate: &CertificateDer<'static>) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A connection that stays open.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Stream>>,
    host: SocketAddr,
}

impl Client {
    /// Connects, over TLS where a certificate is given: the one that the server has to show.
    pub(crate) fn connect(to: SocketAddr, certificate: Option<&CertificateDer<'static>>) -> Result<Self, Failure> {
        let tcp = TcpStream::connect(to)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let stream: Box<dyn Stream> = match certificate {
            None => Box::new(tcp),
            Some(certificate) => {
                let config = trusting(certificate)?;
                Box::new(StreamOwned::new(ClientConnection::new(config, to.ip().into())?, tcp))
            }
        };
        Ok(Self { stream: BufReader::new(stream), host: to })
    }

    /// Asks for `target` with these fields.
    pub(crate) fn get(&mut self, target: &str, fields: &[&str]) -> Result<Reply, Failure> {
        self.send(&self.request("GET", target, fields, ""))?;
        self.read()
    }

    /// Sends a body of JSON.
    pub(crate) fn post(&mut self, target: &str, body: &str) -> Result<Reply, Failure> {
        let fields = [format!("Content-Length: {}", body.len()), "Content-Type: application/json".to_owned()];
        self.send(&self.request("POST", target, &fields.each_ref().map(String::as_str), body))?;
        self.read()
    }

    /// Asks for all of these, and wants 200 each time.
    pub(crate) fn fetch(&mut self, targets: impl Iterator<Item = String>) -> Result<(), Failure> {
        let mut targets = targets.peekable();
        while targets.peek().is_some() {
            let batch: Vec<_> = targets.by_ref().take(AHEAD).collect();
            self.send(&batch.iter().map(|target| self.request("GET", target, &[], "")).collect::<String>())?;
            for target in batch {
                let reply = self.read()?;
                if reply.status != 200 {
                    return Err(format!("{target} got {}", reply.head).into());
                }
            }
        }
        Ok(())
    }

    fn request(&self, method: &str, target: &str, fields: &[&str], body: &str) -> String {
        let fields: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
        format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{fields}\r\n{body}", self.host)
    }

    fn send(&mut self, bytes: &str) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_bytes())?;
        stream.flush()
    }

    fn read(&mut self) -> Result<Reply, Failure> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err("the server closed".into());
            }
        }
        let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
        let mut body = Vec::new();
        match length {
            _ if status == 304 => {}
            Some(length) => {
                body.resize(length.trim().parse()?, 0);
                self.stream.read_exact(&mut body)?;
            }
            None if lower.contains("\r\ntransfer-encoding: chunked") => self.read_chunks(&mut body)?,
            None => return Err(format!("a body without an end:\n{head}").into()),
        }
        Ok(Reply { status, head, body })
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Result<(), Failure> {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let length = u64::from_str_radix(line.trim(), 16)?;
            io::copy(&mut self.stream.by_ref().take(length), body)?;
            self.stream.read_line(&mut line)?;
            if length == 0 {
                return Ok(());
            }
        }
    }
}
