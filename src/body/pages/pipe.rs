//! How do pages get to a socket? Through a pipe, which takes them where they lie.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::net::{self, SendFlags};
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, vmsplice};

use super::Held;
use super::trial::{Trial, Way, thread_time};

/// Bytes that go through a pipe at once.
const PIPE_SIZE: usize = 256 << 10;

/// Whether the kernel has said that it does not do this: one that only looks like Linux, or a filter of system calls.
static REFUSED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// What pages go through on their way to a socket; empty.
    static PIPE: Cell<Option<Pipe>> = const { Cell::new(None) };

    /// Which way costs this thread less.
    static TRIAL: Cell<Trial> = const { Cell::new(Trial::new()) };
}

impl Held<'_> {
    /// Sends a socket what it takes of them; how many. Without a copy, where that can be had and costs less.
    ///
    /// # Errors
    ///
    /// What the kernel says; `WouldBlock` where a socket that does not block takes none.
    pub fn send(self, socket: impl AsFd) -> io::Result<usize> {
        let mut trial = TRIAL.get();
        let before = trial.is_measured().then(thread_time);
        let lent = if trial.way() == Way::Lend { self.lend_to(&socket) } else { None };
        let outcome = lent.unwrap_or_else(|| net::send(&socket, self.0, SendFlags::NOSIGNAL));
        if let Ok(sent) = outcome {
            trial.sent(sent, before.map(|before| thread_time().saturating_sub(before)));
            TRIAL.set(trial);
        }
        outcome.map_err(io::Error::from)
    }

    /// As [`Held::send`]; `None`: it cannot be had, and nothing was sent.
    fn lend_to(self, socket: impl AsFd) -> Option<Result<usize, Errno>> {
        if REFUSED.load(Relaxed) {
            return None;
        }
        let pipe = PIPE.take().or_else(|| Pipe::new().ok())?;
        let sent = pipe.lend(self).and_then(|lent| {
            // The rest follows at once: no packet for this alone.
            let more = if lent < self.0.len() { SpliceFlags::MORE } else { SpliceFlags::empty() };
            Ok((lent, splice(&pipe.out, None, socket, None, lent, SpliceFlags::NONBLOCK | more)?))
        });
        match sent {
            Ok((lent, sent)) => {
                // One that is not empty is dropped: what is left in it is lent anew when the socket takes it.
                if sent == lent {
                    PIPE.set(Some(pipe));
                }
                Some(Ok(sent))
            }
            Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP) => {
                REFUSED.store(true, Relaxed);
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

struct Pipe {
    into: OwnedFd,
    out: OwnedFd,
}

impl Pipe {
    /// An empty one that does not block. One that the kernel makes small, for a user that has too many, is not worth it.
    fn new() -> Result<Self, Errno> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&into, PIPE_SIZE)?;
        Ok(Self { into, out })
    }

    /// Lends it bytes without copying them; how many it had room for.
    #[expect(unsafe_code, reason = "the kernel reads the memory after the call; what it gains is written in `pages`")]
    fn lend(&self, Held(bytes): Held<'_>) -> Result<usize, Errno> {
        // SAFETY: this end is the one that is written to, so the kernel does not write to the bytes. And nobody else does as
        // long as it refers to them: they lie in a sealed file, whose pages it gives to nobody else before it has done
        // with them itself, mapped or not.
        unsafe { vmsplice(&self.into, &[IoSliceRaw::from_slice(bytes)], SpliceFlags::NONBLOCK) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::{Mutex, PoisonError};

    use bytes::Bytes;

    use super::super::{held, join};
    use super::*;

    const LENGTH: usize = 1 << 20;

    /// Whether it is refused is true of all of a process.
    static REFUSING: Mutex<()> = Mutex::new(());

    /// Bytes that show where they are from.
    fn sample() -> Bytes {
        let bytes: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
        join(&[&bytes]).expect("a file")
    }

    #[test]
    fn what_is_sent_stays_what_it_was_when_its_file_is_gone() {
        let _alone = REFUSING.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, mut client) = UnixStream::pair().expect("sockets");
        let bytes = sample();
        let copy = bytes[3..1003].to_vec();
        for _ in 0..3 {
            let lent = held(&bytes[3..1003]).expect("ours").lend_to(&socket);
            assert_eq!(lent, Some(Ok(1000)), "without a copy");
        }
        drop(bytes);
        // What may come to lie where it was.
        let others: Vec<_> = (0..8).map(|_| join(&[&vec![0xff; LENGTH]]).expect("a file")).collect();
        let mut found = vec![0; 3000];
        client.read_exact(&mut found).expect("what was sent");
        assert_eq!(found, copy.repeat(3));
        drop(others);
    }

    #[test]
    fn a_socket_that_takes_a_part_gets_no_byte_twice() {
        let (socket, mut client) = UnixStream::pair().expect("sockets");
        socket.set_nonblocking(true).expect("a socket");
        let bytes = sample();
        let mut found = Vec::new();
        let (mut sent, mut waits) = (0, 0);
        while sent < bytes.len() {
            match held(&bytes[sent..]).expect("ours").send(&socket) {
                Ok(more) => sent += more,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let mut some = vec![0; 10_000];
                    let length = client.read(&mut some).expect("what was sent");
                    found.extend_from_slice(&some[..length]);
                    waits += 1;
                }
            }
        }
        drop(socket);
        client.read_to_end(&mut found).expect("the rest");
        assert!(found == bytes && waits > 1, "{waits} waits");
    }

    #[test]
    fn what_cannot_be_lent_is_written() {
        let _alone = REFUSING.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, mut client) = UnixStream::pair().expect("sockets");
        let bytes = sample();
        REFUSED.store(true, Relaxed);
        let sent = held(&bytes[..1000]).expect("ours").send(&socket);
        REFUSED.store(false, Relaxed);
        assert_eq!(sent.expect("room"), 1000);
        let mut found = vec![0; 1000];
        client.read_exact(&mut found).expect("what was sent");
        assert_eq!(found, bytes[..1000]);
    }

    #[test]
    fn an_end_of_the_connection_is_no_refusal() {
        let _alone = REFUSING.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, client) = UnixStream::pair().expect("sockets");
        drop(client);
        let bytes = sample();
        assert_eq!(held(&bytes).expect("ours").lend_to(&socket), Some(Err(Errno::PIPE)));
        let (socket, _client) = UnixStream::pair().expect("sockets");
        assert_eq!(held(&bytes[..9]).expect("ours").lend_to(&socket), Some(Ok(9)), "nothing of it is left in the way");
    }
}
