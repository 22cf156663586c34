//! A client's connection, once another protocol is spoken on it. RFC 9110 §7.8.

use std::fmt;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl fmt::Debug for dyn Duplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Duplex")
    }
}

/// Gives the connection when the 101 has gone out; nothing where there was none.
pub type Upgrade = oneshot::Receiver<Box<dyn Duplex>>;

/// The connection's side of it.
pub type Upgrader = oneshot::Sender<Box<dyn Duplex>>;
