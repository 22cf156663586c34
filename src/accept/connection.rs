//! What happens on one connection: which protocol it speaks, under which limits, and when it ends.

use std::future::Future;
use std::io;
use std::net::{self, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use http::HeaderValue;
use hyper::server::conn::http2 as library;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::clear::{self, Clear};
use super::drain::Drain;
use super::express::Express;
use super::meter::Meter;
use super::pulse::{Limits, Pulse, Watch};
use super::reception::Reception;
use super::secure::Secured;
use super::socket::Socket;
use super::{Door, Handler, http1, http2};
use crate::batch;
use crate::client::Scheme;
use crate::config::settings::Server;

/// What HTTP/2 clients send first. RFC 9113 §3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at once of a client's first bytes: most requests are shorter, and those who say nothing cost no more.
const OPENING_BYTES: usize = 1 << 10;

// HTTP/2, per connection: 128 streams, each with 64 KiB taken in and 256 KiB kept for sending at most. Bodies at hand are
// shared, so that what a slow client keeps is mostly the cache's own.
const STREAMS: u32 = 128;
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
const SEND_BUFFER: usize = 256 << 10;

/// Streams that the client has reset before we looked at them, and that errors of its own made us reset: beyond this the
/// connection ends (Rapid Reset, CVE-2023-44487; `MadeYouReset`, CVE-2025-8671).
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 100;

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// What is known of a connection before a request has come.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) ends: Ends,
    pub(crate) scheme: Scheme,
    /// The client's verified certificate, as the origin is told of it.
    pub(crate) certificate: Option<HeaderValue>,
}

/// What a connection shares with the others of its listener: the door, the word that it is to end, the tasks of HTTP/2.
type House<'h, H> = (&'h Arc<Door<H>>, &'h Drain, TaskTracker);

/// A socket with somebody at its other end.
struct Caller<I> {
    socket: I,
    facts: Facts,
    /// Known where TLS has settled it.
    is_http2: Option<bool>,
    pulse: Arc<Pulse>,
    meter: Meter,
}

/// Serves one connection in the clear to its end: the client's, a deadline's, or the drain's.
pub(crate) async fn run<H: Handler>(
    socket: net::TcpStream,
    ends: Ends,
    place: OwnedSemaphorePermit,
    (door, drain, streams): House<'_, H>,
) {
    let socket = Clear::new(socket);
    let pulse = Arc::new(Pulse::new(Arc::clone(&door.telemetry)));
    let meter = Meter::new(Arc::clone(&door.telemetry), place);
    let facts = Facts { ends, scheme: Scheme::Http, certificate: None };
    talk(Caller { socket, facts, is_http2: None, pulse, meter }, (door, drain, streams)).await;
}

/// The same over TLS. The handshake has `server.header_timeout`, and the first head has it again.
pub(crate) async fn run_secure<H: Handler>(
    socket: net::TcpStream,
    ends: Ends,
    place: OwnedSemaphorePermit,
    secured: &Secured,
    (door, drain, streams): House<'_, H>,
) {
    let Ok(socket) = clear::watch(socket) else { return };
    let pulse = Arc::new(Pulse::new(Arc::clone(&door.telemetry)));
    let meter = Meter::new(Arc::clone(&door.telemetry), place);
    let limit = door.settings.load().header_timeout;
    // In a box: a connection in the clear, which has the same type of task, would carry the room for it.
    let shaken = tokio::select! {
        shaken = Box::pin(secured.shake(socket, limit)) => shaken,
        () = drain.begun() => return,
    };
    let Some(socket) = shaken else { return };
    let facts = Facts { ends, scheme: Scheme::Https, certificate: socket.certificate.clone() };
    let is_http2 = Some(socket.is_http2);
    Box::pin(talk(Caller { socket, facts, is_http2, pulse, meter }, (door, drain, streams))).await;
}

async fn talk<H, I>(caller: Caller<I>, (door, drain, streams): House<'_, H>)
where
    H: Handler,
    I: Socket + Send + Sync + 'static,
{
    let Caller { mut socket, facts, is_http2, pulse, meter } = caller;
    let server = door.settings.load_full();
    let limits = Limits { head: server.header_timeout, idle: server.idle_timeout };
    let mut watch = Watch::new(Arc::clone(&pulse), limits);
    let turns = Arc::clone(&pulse);
    let mut talk = pin!(async {
        let (first, is_http1) = if let Some(is_http2) = is_http2 {
            (BytesMut::new(), !is_http2)
        } else {
            let opening = tokio::select! {
                // What has come is taken in first, and then nobody has to wait for the word.
                biased;
                opening = opening(&mut socket) => opening,
                () = drain.begun() => return,
            };
            let Ok(opening) = opening else { return };
            opening
        };
        let express = Express::new(Arc::clone(door), facts.clone());
        let reception = Reception::new(Arc::clone(door), facts, Arc::clone(&pulse));
        let most = server.max_header_bytes;
        if is_http1 {
            let staff = http1::Staff { express, reception, pulse, meter };
            speak_http1(http1::Connection::new(socket, first, staff, most), drain).await;
        } else {
            let wire = http2::Wire::new(socket, first.freeze(), express, most, Arc::clone(&pulse), meter);
            // In a box: connections that do not speak it would carry the room for it.
            Box::pin(speak_http2(TokioIo::new(wire), reception, &server, drain, streams)).await;
        }
    });
    let is_cut = std::future::poll_fn(|cx| {
        turns.begin_turn();
        batch::turn();
        if talk.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        watch.poll(cx).map(|()| true)
    })
    .await;
    if is_cut {
        door.telemetry.metrics().connection_timeouts.inc();
    }
}

/// Reads until it is known whether the client speaks HTTP/2; what was read, and whether it is HTTP/1.
///
/// # Errors
/// The client left without a byte, or the socket failed.
async fn opening(socket: &mut (impl AsyncRead + Unpin)) -> io::Result<(BytesMut, bool)> {
    let mut bytes = BytesMut::with_capacity(OPENING_BYTES);
    loop {
        let read = socket.read_buf(&mut bytes).await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let common = bytes.len().min(PREFACE.len());
        let may_be_preface = bytes[..common] == PREFACE[..common];
        // Half a preface is no HTTP/1 request either: that shows there.
        if !may_be_preface || common == PREFACE.len() || read == 0 {
            let is_http1 = !bytes.starts_with(PREFACE);
            return Ok((bytes, is_http1));
        }
    }
}

async fn speak_http1<H, I>(mut connection: http1::Connection<I, H>, drain: &Drain)
where
    H: Handler,
    I: Socket + Send + Sync + 'static,
{
    match drain.steer(&mut connection, |connection| connection.get_mut().end()).await {
        Ok(Some(upgrader)) => connection.hand_over(upgrader),
        Ok(None) => {}
        Err(error) => note(&error),
    }
}

async fn speak_http2<H, I>(
    wire: TokioIo<http2::Wire<I, H>>,
    reception: Reception<H>,
    server: &Server,
    drain: &Drain,
    streams: TaskTracker,
) where
    H: Handler,
    I: Socket + Send + 'static,
{
    let mut builder = library::Builder::new(Spawner(streams));
    builder.timer(TokioTimer::new());
    builder.max_concurrent_streams(STREAMS);
    builder.initial_stream_window_size(STREAM_WINDOW);
    builder.initial_connection_window_size(CONNECTION_WINDOW);
    builder.max_send_buf_size(SEND_BUFFER);
    builder.max_header_list_size(u32::try_from(server.max_header_bytes).unwrap_or(u32::MAX));
    builder.max_pending_accept_reset_streams(PENDING_RESETS);
    builder.max_local_error_reset_streams(LOCAL_RESETS);
    // No pings of ours: a client that is gone makes no progress, which the pulse sees, and ours would look like some.
    let connection = builder.serve_connection(wire, reception);
    if let Err(error) = drain.steer(connection, library::Connection::graceful_shutdown).await {
        note(&error);
    }
}

/// Broken connections are the clients' affair: only who looks for them is told.
fn note(error: &dyn std::fmt::Display) {
    tracing::debug!(%error, "a client connection broke off");
}

/// Runs the streams of HTTP/2 connections; the listener waits for them at its end.
///
/// Most answers are at hand: their streams end the first time that they are polled. That happens here, in the connection's own
/// poll, so that they cost no task, and all answers to what was read together are written together.
#[derive(Debug, Clone)]
struct Spawner(TaskTracker);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut stream = Box::pin(stream);
        // Nobody is woken by this poll; the task polls again, with a waker of its own.
        if stream.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.0.spawn(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_bytes_choose_the_protocol_and_none_is_lost() {
        let cases: [(&[u8], Option<bool>, &str); 6] = [
            (b"GET / HTTP/1.1\r\n", Some(true), "HTTP/1"),
            (b"P", Some(true), "a beginning that is cut off"),
            (b"PRI * HTTP/1.1\r\n\r\n", Some(true), "a method that looks like it"),
            (PREFACE, Some(false), "the preface"),
            (b"\r\nGET / HTTP/1.1", Some(true), "an empty line before the request"),
            (b"", None, "a client that leaves"),
        ];
        for (sent, want, why) in cases {
            let mut socket = sent;
            let found = opening(&mut socket).await;
            assert_eq!(found.as_ref().ok().map(|(_, is_http1)| *is_http1), want, "{why}");
            if let Ok((first, _)) = found {
                assert_eq!([&first[..], socket].concat(), sent, "{why}");
            }
        }
    }
}
