//! How do pages get to a socket? Through a pipe, which takes them where they lie.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{self, SendFlags};
use rustix::pipe::{IoSliceRaw, PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, vmsplice};

use super::Held;

/// Bytes that go through a pipe at once.
const PIPE_SIZE: usize = 256 << 10;

impl Held<'_> {
    /// Sends a socket what it takes of them; how many.
    ///
    /// # Errors
    ///
    /// What the kernel says; `WouldBlock` where a socket that does not block takes none.
    pub fn send(self, socket: impl AsFd) -> io::Result<usize> {
        let pipe = PIPE.take().map_or_else(Pipe::new, Ok);
        let Ok(pipe) = pipe else { return Ok(net::send(socket, self.0, SendFlags::NOSIGNAL)?) };
        let lent = pipe.lend(self)?;
        let sent = splice(&pipe.out, None, socket, None, lent, SpliceFlags::NONBLOCK)?;
        // One that is not empty is dropped: what is left in it is lent anew when the socket takes it.
        if sent == lent {
            PIPE.set(Some(pipe));
        }
        Ok(sent)
    }
}

thread_local! {
    /// What pages go through on their way to a socket; empty.
    static PIPE: Cell<Option<Pipe>> = const { Cell::new(None) };
}

struct Pipe {
    into: OwnedFd,
    out: OwnedFd,
}

impl Pipe {
    /// An empty one that does not block.
    fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one does, too.
        _ = fcntl_setpipe_size(&into, PIPE_SIZE);
        Ok(Self { into, out })
    }

    /// Lends it bytes without copying them; how many it had room for.
    #[expect(unsafe_code, reason = "the kernel reads the memory after the call; what it gains is written in `pages`")]
    fn lend(&self, Held(bytes): Held<'_>) -> io::Result<usize> {
        // SAFETY: this end is the one that is written to, so the kernel does not write to the bytes. And nobody else does as
        // long as it refers to them: they lie in a region, which is written before it is shown to anybody, and never again; no
        // page belongs to two; when it goes, its pages are unmapped, not used anew, and the kernel gives them to nobody
        // before it has done with them itself.
        Ok(unsafe { vmsplice(&self.into, &[IoSliceRaw::from_slice(bytes)], SpliceFlags::NONBLOCK) }?)
    }
}
