//! Which small messages wait until their thread has taken in all that has come?
//!
//! Who is sent something while he sleeps is woken, and to wake a processor that sleeps costs more than the rest of the send. A
//! thread that reads a request, sends it on and reads the next one wakes the other end for each of them; one that reads
//! all that has come, and then sends all that came of it, wakes it once. So a message may be *left* to the thread's batch, which
//! is sent when the thread has nothing else to do, or after so much else that nobody should wait longer. A socket that is dropped
//! is closed once that has happened.
//!
//! Where there is little to do that would be wrong: while the other end works on the first message, the thread can work on the
//! second. So a thread has a batch only while it finds much to send each time, and if it is told to [`rest`] at all.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use rustix::io::{Errno, writev};
use rustix::net::{self, SendFlags, Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Bytes of a message that may be left.
const SMALL: usize = 4 << 10;
/// Messages of a batch: more are not held back, with 4 KiB each, and with what it takes to come to the last of them.
const MOST: usize = 32;
/// Turns of connections after which a batch is sent though the thread has not come to rest. Of what is read or written at once,
/// each [`SMALL`] counts as one.
const TURNS: usize = 64;

/// Messages that a thread must have had, between one rest and the next, for its next ones to be held back: with four clients
/// or fewer that costs more than it saves.
const MUCH: u32 = 6;

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch { is_busy: false, offered: 0, left: Vec::new(), turns: 0, spare: Vec::new() }) };
}

/// What a thread has been left.
struct Batch {
    /// There was much to send before the last rest.
    is_busy: bool,
    /// Messages since then, left or not.
    offered: u32,
    /// Whose messages.
    left: Vec<Arc<Outward>>,
    /// [`TURNS`] since the first of them.
    turns: usize,
    /// Buffers of messages that have gone out.
    spare: Vec<Vec<u8>>,
}

/// Sends what this thread has been left. To be called whenever it comes to rest.
pub fn rest() {
    send();
    BATCH.with_borrow_mut(|batch| batch.is_busy = std::mem::take(&mut batch.offered) >= MUCH);
}

fn send() {
    let taken = BATCH.with_borrow_mut(|batch| {
        batch.turns = 0;
        (!batch.left.is_empty()).then(|| (std::mem::take(&mut batch.left), std::mem::take(&mut batch.spare)))
    });
    let Some((mut left, mut spare)) = taken else { return };
    // What is dropped or woken here may leave messages of its own.
    for outward in left.drain(..) {
        match outward.send() {
            Ok(buffer) => spare.push(buffer),
            Err(waiting) => waiting.into_iter().for_each(Waker::wake),
        }
    }
    BATCH.with_borrow_mut(|batch| {
        if batch.left.is_empty() {
            (batch.left, batch.spare) = (left, spare);
        }
    });
}

/// Counts a turn of a connection: a thread that never comes to rest sends its batch all the same.
pub fn turn() {
    turns(1);
}

fn turns(count: usize) {
    let is_due = BATCH.with_borrow_mut(|batch| {
        batch.turns += if batch.left.is_empty() { 0 } else { count };
        batch.turns >= TURNS
    });
    if is_due {
        send();
    }
}

/// A TCP socket that is watched by the runtime, and may leave messages to its thread's batch.
#[derive(Debug)]
pub struct Socket {
    inward: OwnedReadHalf,
    outward: Arc<Outward>,
}

/// What a batch has to know of a socket.
#[derive(Debug)]
struct Outward {
    /// `Some` until it is dropped.
    stream: Option<OwnedWriteHalf>,
    /// One of those below; changes only with `left`.
    state: AtomicU8,
    left: Mutex<Left>,
}

/// What was left and has not gone out, and who is to know if it is late.
#[derive(Debug, Default)]
struct Left {
    bytes: Vec<u8>,
    waker: Option<Waker>,
}

/// Nothing is left.
const OUT: u8 = 0;
/// A batch has it.
const LEFT: u8 = 1;
/// The batch was sent, and the kernel did not take all of this.
const LATE: u8 = 2;
/// The kernel takes nothing more; what is sent from now on fails.
const BROKEN: u8 = 3;

impl Socket {
    /// Of a socket that the runtime watches.
    pub fn new(stream: TcpStream) -> Self {
        let (inward, stream) = stream.into_split();
        let outward = Outward { stream: Some(stream), state: AtomicU8::new(OUT), left: Mutex::default() };
        Self { inward, outward: Arc::new(outward) }
    }

    fn stream(&self) -> &TcpStream {
        self.inward.as_ref()
    }

    /// Sends something, by whichever call, as soon as the kernel takes it, behind what was left.
    ///
    /// # Errors
    /// Those of the socket, and of `write`.
    pub fn poll_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_out(cx))?;
        if self.outward.state() == BROKEN {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let stream = self.stream();
        loop {
            ready!(stream.poll_write_ready(cx))?;
            match stream.try_io(Interest::WRITABLE, || write(stream.as_fd())) {
                // It looked as if it did.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    turns(outcome.as_ref().map_or(0, |written| written / SMALL));
                    return Poll::Ready(outcome);
                }
            }
        }
    }

    /// Leaves a message to the batch; behind what was left before. `false`: it is not for that.
    pub fn leave(&self, cx: &Context<'_>, message: &[u8]) -> bool {
        if message.len() > SMALL {
            return false;
        }
        let count = BATCH.with_borrow_mut(|batch| {
            batch.offered = batch.offered.saturating_add(1);
            if !batch.is_busy {
                return None;
            }
            let mut left = self.outward.left();
            match self.outward.state.load(Ordering::Relaxed) {
                OUT => {
                    *left = Left { bytes: batch.spare.pop().unwrap_or_default(), waker: Some(cx.waker().clone()) };
                    self.outward.state.store(LEFT, Ordering::Release);
                    batch.left.push(Arc::clone(&self.outward));
                }
                LEFT if left.bytes.len() + message.len() <= SMALL => {}
                _ => return None,
            }
            left.bytes.extend_from_slice(message);
            Some(batch.left.len())
        });
        if count.is_some_and(|count| count >= MOST) {
            send();
        }
        count.is_some()
    }

    /// Whether nothing is left.
    pub fn is_out(&self) -> bool {
        matches!(self.outward.state(), OUT | BROKEN)
    }

    /// Sees to it that what was left has gone out.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn poll_out(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_out() {
            ready!(self.stream().poll_write_ready(cx))?;
            // Where it is not out now, the socket only looked as if it took more.
            let send = || self.outward.send().map_err(|_| io::ErrorKind::WouldBlock.into());
            let _ = self.stream().try_io(Interest::WRITABLE, send);
        }
        Poll::Ready(Ok(()))
    }
}

impl Outward {
    fn state(&self) -> u8 {
        self.state.load(Ordering::Acquire)
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has this task know if what was left is late; whether it is already.
    fn is_late_for(&self, waker: &Waker) -> bool {
        let mut left = self.left();
        let state = self.state();
        if state == LEFT && left.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            let known = left.waker.replace(waker.clone());
            drop(left);
            drop(known);
        }
        state == LATE
    }

    /// Sends what was left, and gives the buffer back that it was in. What fails is not tried again: who sends more, or reads,
    /// learns of it.
    ///
    /// # Errors
    /// The kernel does not take all of it now. Whoever is to know of that is no longer known here.
    fn send(&self) -> Result<Vec<u8>, Option<Waker>> {
        let mut left = self.left();
        let Some(stream) = &self.stream else { return Ok(Vec::new()) };
        let mut state = if self.state() == BROKEN { BROKEN } else { OUT };
        while !left.bytes.is_empty() {
            match net::send(stream.as_ref(), &left.bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(written @ 1..) => drop(left.bytes.drain(..written)),
                Err(Errno::WOULDBLOCK) => {
                    self.state.store(LATE, Ordering::Release);
                    return Err(left.waker.take());
                }
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => {
                    left.bytes.clear();
                    state = BROKEN;
                }
            }
        }
        self.state.store(state, Ordering::Release);
        let Left { bytes, waker } = std::mem::take(&mut *left);
        // With it a task may go.
        drop(left);
        drop(waker);
        Ok(bytes)
    }
}

impl Drop for Outward {
    fn drop(&mut self) {
        // The close says what there is to say: an end of our side before it might be taken for the end of an answer.
        if let Some(stream) = self.stream.take() {
            stream.forget();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Who waits for an answer sees to it that his question goes out.
        if !this.is_out() && this.outward.is_late_for(cx.waker()) {
            let _ = this.poll_out(cx);
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inward).poll_read(cx, buffer);
        turns((buffer.filled().len() - before) / SMALL);
        read
    }
}

/// Sends at once, behind what was left. A flush is done when nothing is late.
impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |socket| Ok(net::send(socket, bytes, SendFlags::NOSIGNAL)?))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |socket| Ok(writev(socket, pieces)?))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outward.state() == LATE { self.poll_out(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Poll::Ready(match shutdown(self.stream(), Shutdown::Write) {
            // The other end was first.
            Err(Errno::NOTCONN) => Ok(()),
            outcome => Ok(outcome?),
        })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::net;
    use std::thread;

    use futures_util::task::{ArcWake, waker};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Who was woken.
    struct Woken(AtomicU8);

    impl ArcWake for Woken {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.store(1, Ordering::Relaxed);
        }
    }

    /// A socket, and its client, who does not wait.
    fn pair() -> (Socket, net::TcpStream) {
        let listener = net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let client = net::TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
        let (socket, _) = listener.accept().expect("a client");
        for end in [&socket, &client] {
            end.set_nonblocking(true).expect("a socket");
        }
        (Socket::new(TcpStream::from_std(socket).expect("a runtime")), client)
    }

    fn leave(socket: &Socket, message: impl AsRef<[u8]>) -> bool {
        socket.leave(&Context::from_waker(Waker::noop()), message.as_ref())
    }

    /// This thread rests, after it had much to send.
    fn rest_from_much() {
        BATCH.with_borrow_mut(|batch| batch.offered = MUCH);
        rest();
    }

    /// What has come to a client.
    fn come(client: &mut net::TcpStream) -> String {
        let mut all = Vec::new();
        let error = client.read_to_end(&mut all).err().map(|error| error.kind());
        assert!(matches!(error, None | Some(io::ErrorKind::WouldBlock)), "{error:?}");
        String::from_utf8(all).expect("what was sent")
    }

    #[tokio::test]
    async fn what_is_left_goes_out_when_the_thread_comes_to_rest() {
        rest_from_much();
        let (first, mut client) = pair();
        let (second, mut other) = pair();
        assert!(leave(&first, "a") && leave(&second, "b") && leave(&first, "c"));
        assert_eq!((come(&mut client), come(&mut other)), (String::new(), String::new()));
        rest_from_much();
        assert_eq!((come(&mut client), come(&mut other)), ("ac".into(), "b".into()));
        rest_from_much();
        assert_eq!(come(&mut client), "", "it goes out once");
    }

    #[tokio::test]
    async fn nothing_waits_where_there_is_little_to_send() {
        let (socket, _client) = pair();
        (0..MUCH).for_each(|_| assert!(!leave(&socket, "a"), "nobody has told this thread to rest"));
        rest();
        assert!(leave(&socket, "a"));
        rest();
        assert!(!leave(&socket, "a"), "that was not much");
        rest_from_much();
        assert!(!leave(&socket, [0; SMALL + 1]), "that is no small one");
        assert!(leave(&socket, [0; SMALL]) && !leave(&socket, "a"), "there is too much of it");
    }

    #[tokio::test]
    async fn a_batch_is_no_longer_than_it_may_be_and_waits_for_no_more_turns() {
        rest_from_much();
        let mut pairs: Vec<_> = (0..MOST).map(|_| pair()).collect();
        for (socket, _) in &pairs[1..] {
            assert!(leave(socket, "a"));
        }
        assert!(pairs.iter_mut().all(|(_, client)| come(client).is_empty()));
        assert!(leave(&pairs[0].0, "a"));
        assert!(pairs.iter_mut().all(|(_, client)| come(client) == "a"));
        assert!(leave(&pairs[0].0, "b"));
        (1..TURNS).for_each(|_| turn());
        assert_eq!(come(&mut pairs[0].1), "");
        turn();
        assert_eq!(come(&mut pairs[0].1), "b");
        let [(small, client), (large, reader), ..] = &mut pairs[..] else { unreachable!("there are more") };
        assert!(leave(small, "c"));
        reader.set_nonblocking(false).expect("a socket");
        for _ in 0..TURNS / 2 {
            assert_eq!(come(client), "");
            large.write_all(&[0; 2 * SMALL]).await.expect("open");
            reader.read_exact(&mut [0; 2 * SMALL]).expect("all of it");
        }
        assert_eq!(come(client), "c", "what is large takes the time of several");
    }

    #[tokio::test]
    async fn what_is_sent_or_ended_comes_behind_what_was_left() {
        rest_from_much();
        let (mut socket, mut client) = pair();
        assert!(leave(&socket, "left, "));
        socket.write_all(b"sent, ").await.expect("open");
        assert_eq!(come(&mut client), "left, sent, ");
        assert!(leave(&socket, "last"));
        socket.shutdown().await.expect("open");
        assert_eq!(come(&mut client), "last");
        assert_eq!(client.read(&mut [0]).expect("an end"), 0);
        rest_from_much();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_leaves_something_may_go_to_another_thread_or_end() {
        rest_from_much();
        let (mut socket, mut client) = pair();
        assert!(leave(&socket, "here, "));
        let runtime = tokio::runtime::Handle::current();
        let there = thread::spawn(move || {
            runtime.block_on(socket.write_all(b"there, ")).expect("open");
            rest_from_much();
            assert!(leave(&socket, "lost if nobody holds it"));
            drop(socket);
            rest_from_much();
        });
        there.join().expect("no panic");
        assert_eq!(come(&mut client), "here, there, lost if nobody holds it");
        assert!(matches!(client.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock));
        rest_from_much();
        assert_eq!(client.read(&mut [0]).expect("an end"), 0, "the batch lets go of it");
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_take_is_late_and_its_task_is_told() {
        rest_from_much();
        let (mut socket, mut client) = pair();
        let woken = Arc::new(Woken(AtomicU8::new(0)));
        let waker = waker(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut count = 0;
        while woken.0.load(Ordering::Relaxed) == 0 {
            count += 1;
            assert!(socket.leave(&cx, format!("{count:>4095}.").as_bytes()));
            assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_ready(), "what is left is not waited for");
            rest_from_much();
        }
        assert!(!socket.leave(&cx, b"x"), "nothing is left behind what is late");
        assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_pending() && socket.poll_out(&mut cx).is_pending());
        client.set_nonblocking(false).expect("a socket");
        let reader = thread::spawn(move || {
            let mut all = String::new();
            client.read_to_string(&mut all).map(|_| all)
        });
        poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx)).await.expect("open");
        socket.shutdown().await.expect("open");
        let all = reader.join().expect("it reads").expect("no reset");
        let numbers = all.split_terminator('.').map(|number| number.trim().parse::<usize>().expect("a number"));
        assert!(numbers.eq(1..=count), "each comes once, in order");
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_has_his_late_question_go_out() {
        rest_from_much();
        let (mut socket, mut client) = pair();
        let (mut count, mut bytes) = (0, [0; 8]);
        while socket.outward.state() != LATE {
            count += 1;
            assert!(leave(&socket, format!("{count:>4095}.")));
            rest_from_much();
        }
        client.set_nonblocking(false).expect("a socket");
        let asked = thread::spawn(move || {
            let mut all = vec![0; 4096 * count];
            client.read_exact(&mut all).expect("all of it");
            client.write_all(b"answer").expect("open");
            client
        });
        let mut buffer = ReadBuf::new(&mut bytes);
        poll_fn(|cx| Pin::new(&mut socket).poll_read(cx, &mut buffer)).await.expect("open");
        assert_eq!(buffer.filled(), b"answer");
        asked.join().expect("it reads");
    }

    #[tokio::test]
    async fn who_goes_on_in_another_task_is_told_there() {
        rest_from_much();
        let (mut socket, _client) = pair();
        let woken = Arc::new(Woken(AtomicU8::new(0)));
        let waker = waker(Arc::clone(&woken));
        let mut bytes = [0; 8];
        while socket.outward.state() != LATE {
            assert!(leave(&socket, [0; SMALL]));
            let mut buffer = ReadBuf::new(&mut bytes);
            assert!(Pin::new(&mut socket).poll_read(&mut Context::from_waker(&waker), &mut buffer).is_pending());
            rest_from_much();
        }
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_client_that_has_left_is_an_error_for_the_next_who_sends() {
        rest_from_much();
        let (mut socket, client) = pair();
        drop(client);
        let mut count = 0;
        while leave(&socket, "answer") {
            rest_from_much();
            count += 1;
            assert!(count < 3, "the second answer to a client that has left fails");
        }
        let error = socket.write_all(b"answer").await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        socket.shutdown().await.expect("no error: the client was first");
    }
}
