//! A connection, once another protocol is spoken on it. RFC 9110 §7.8.

use std::fmt;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

impl fmt::Debug for dyn Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Duplex")
    }
}

/// A connection that has become another protocol's. It counts as what it was until it is dropped.
#[derive(Debug)]
pub struct Upgraded {
    /// What came behind the last head: the first bytes of the other protocol.
    pub first: Bytes,
    /// What follows them, and the way back.
    pub stream: Box<dyn Duplex>,
}

/// Gives the client's connection when the 101 has gone out; nothing where there was none.
pub type Upgrade = oneshot::Receiver<Upgraded>;

/// The connection's side of it.
pub type Upgrader = oneshot::Sender<Upgraded>;
