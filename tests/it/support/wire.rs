//! HTTP clients, over HTTP/1.1 and HTTP/2, that show what came, how far it came, and whether it broke.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::reply::Reply;
use super::within;

/// Fields of a request or an answer, in a table of cases.
pub(crate) type Fields = &'static [(&'static str, &'static str)];

/// A `GET` of `target`, ready for more fields.
pub(crate) fn get(target: &str) -> http::request::Builder {
    Request::builder().method("GET").uri(target)
}

/// Any method on `target`, ready for more fields.
pub(crate) fn ask(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

/// One kept connection over HTTP/1.1.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the edge listens"), address).await
    }

    /// Over what leads to `address`.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
    ) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection is made");
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, address, _driver: AbortOnDropHandle::new(driver) }
    }

    /// Sends a request and returns when its head has been answered. `Host` is added where the test gives none.
    pub(crate) async fn begin(&mut self, request: http::request::Builder, body: impl Into<Bytes>) -> Download {
        let mut request = request.body(Full::new(body.into())).expect("the test makes a sound request");
        if !request.headers().contains_key("host") {
            let host = self.address.to_string().parse().expect("an address is a field value");
            request.headers_mut().insert("host", host);
        }
        let answer = within("the head of the answer", async {
            self.sender.ready().await.expect("the connection is open");
            self.sender.send_request(request).await.expect("the edge answers")
        })
        .await;
        Download { response: answer }
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn send(&mut self, request: http::request::Builder, body: impl Into<Bytes>) -> Reply {
        self.begin(request, body).await.finish().await
    }

    /// Gets `target`.
    pub(crate) async fn get(&mut self, target: &str) -> Reply {
        self.send(get(target), Bytes::new()).await
    }
}

/// One kept connection over HTTP/2, with prior knowledge or by ALPN.
#[derive(Clone)]
pub(crate) struct Multiplexed {
    sender: http2::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    scheme: &'static str,
}

impl Multiplexed {
    /// Connects.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the edge listens"), address, "http").await
    }

    /// Over what leads to `address`, under a scheme.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: SocketAddr,
        scheme: &'static str,
    ) -> Self {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("the edge speaks HTTP/2");
        // Ends when the last sender is dropped.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, address, scheme }
    }

    /// Sends a request to `target` (path and query) and reads its whole answer.
    pub(crate) async fn send(&mut self, method: &str, target: &str, body: impl Into<Bytes>) -> Reply {
        self.open(method, target, body).await.finish().await
    }

    /// The same; its body is still to be read.
    pub(crate) async fn open(&mut self, method: &str, target: &str, body: impl Into<Bytes>) -> Download {
        let uri = format!("{}://{}{target}", self.scheme, self.address);
        let request = ask(method, &uri).body(Full::new(body.into())).expect("the test makes a sound request");
        let response = within("the head of the answer", async {
            self.sender.ready().await.expect("the connection is open");
            self.sender.send_request(request).await.expect("the edge answers")
        })
        .await;
        Download { response }
    }
}

/// A response whose head is here and whose body is on its way.
pub(crate) struct Download {
    pub(crate) response: Response<Incoming>,
}

impl Download {
    /// The next piece of the body; `None` at its end, sound or broken.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        within("a piece of the body", async {
            loop {
                match self.response.frame().await {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data()
                            && !data.is_empty()
                        {
                            return Some(data);
                        }
                    }
                    Some(Err(_)) | None => return None,
                }
            }
        })
        .await
    }

    /// Reads so many bytes of body, at least; what came in one piece beyond them is kept too.
    pub(crate) async fn at_least(&mut self, length: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < length {
            let piece = self.piece().await;
            read.extend_from_slice(&piece.unwrap_or_else(|| panic!("the body ended after {} bytes", read.len())));
        }
        read
    }

    /// Reads the body to its end and counts it, without keeping it; whether it ended well.
    pub(crate) async fn drain(mut self) -> (u64, bool) {
        let mut total = 0;
        loop {
            match within("a piece of the body", self.response.frame()).await {
                Some(Ok(frame)) => total += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) => return (total, false),
                None => return (total, true),
            }
        }
    }

    /// Reads all the rest.
    pub(crate) async fn finish(self) -> Reply {
        let (head, mut incoming) = self.response.into_parts();
        let (mut body, mut trailers, mut broken) = (Vec::new(), None, false);
        within("the end of the body", async {
            while let Some(frame) = incoming.frame().await {
                match frame.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) => body.extend_from_slice(&data),
                    Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                    Err(_) => {
                        broken = true;
                        break;
                    }
                }
            }
        })
        .await;
        Reply { status: head.status, version: head.version, headers: head.headers, body: body.into(), trailers, broken }
    }
}
