//! How does the access log get to its file without a request ever waiting for it?
//!
//! A line is formatted on the request's thread and copied behind a short lock into a bounded buffer; a thread of the
//! log's own takes the buffer and writes it in one piece. When the reader of the log is too slow, lines are dropped
//! and counted: requests never wait.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::line::Line;
use super::metrics::Metrics;

/// Bytes that may wait for the writer: about 12,000 lines of 350 bytes. Without it a stalled pipe would eat memory.
const QUEUE_BYTES: usize = 4 << 20;

/// How long the writer collects after it was woken: at most 100 wake-ups and writes a second, whatever the load.
const LINGER: Duration = Duration::from_millis(10);

/// How long the end of the process waits for the last lines: a blocked pipe must not keep it alive.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON object.
    Json,
    /// One line of words.
    Text,
}

/// The access log: a bounded queue, and the thread that empties it.
#[derive(Debug)]
pub(crate) struct AccessLog {
    form: Form,
    queue: Arc<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    pub(crate) fn open(form: Form, file: Option<&Path>, metrics: &Metrics) -> io::Result<Self> {
        let sink = Sink::open(file.map(Path::to_owned))?;
        let queue = Arc::new(Queue {
            pending: Mutex::default(),
            changed: Condvar::new(),
            dropped: metrics.access_log_dropped.clone(),
        });
        let writer = thread::Builder::new().name("access-log".to_owned()).spawn({
            let queue = Arc::clone(&queue);
            move || queue.write_to(sink)
        })?;
        Ok(Self { form, queue, writer: Mutex::new(Some(writer)) })
    }

    /// Queues one line, or drops and counts it when the queue is full.
    pub(crate) fn write(&self, line: &Line<'_>) {
        thread_local! {
            /// One buffer per thread: a line is formatted outside the lock, and without an allocation.
            static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            match self.form {
                Form::Json => line.write_json(buffer),
                Form::Text => line.write_text(buffer),
            }
            self.queue.push(buffer);
        });
    }

    pub(crate) fn reopen(&self) {
        self.queue.lock().reopen = true;
        self.queue.changed.notify_all();
    }

    pub(crate) fn close(&self) {
        let mut pending = self.queue.lock();
        pending.closed = true;
        self.queue.changed.notify_all();
        let wait = self.queue.changed.wait_timeout_while(pending, CLOSE_WAIT, |pending| !pending.finished);
        let finished = wait.unwrap_or_else(PoisonError::into_inner).0.finished;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A writer that is stuck in its pipe ends with the process.
        if let Some(writer) = writer.filter(|_| finished) {
            let _ = writer.join();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
struct Queue {
    pending: Mutex<Pending>,
    changed: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    lines: u64,
    /// The writer has nothing to do and waits to be woken.
    idle: bool,
    reopen: bool,
    closed: bool,
    finished: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing is left half-done under this lock.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut pending = self.lock();
        if pending.closed || pending.bytes.len() + line.len() > QUEUE_BYTES {
            drop(pending);
            self.dropped.inc();
            return;
        }
        pending.bytes.extend_from_slice(line);
        pending.lines += 1;
        let wake = std::mem::take(&mut pending.idle);
        drop(pending);
        if wake {
            self.changed.notify_all();
        }
    }

    /// The writer's life: takes what is queued, writes it in one piece, until closed and empty.
    fn write_to(&self, mut sink: Sink) {
        let mut batch = Vec::new();
        loop {
            let (lines, reopen) = self.take(&mut batch);
            if reopen && let Err(error) = sink.reopen() {
                tracing::error!(%error, "the access log cannot be opened again; the old file is written on");
            }
            if lines == 0 && !reopen {
                break;
            }
            if let Err(error) = sink.write(&batch) {
                tracing::error!(%error, lines, "access-log lines are lost");
                self.dropped.inc_by(lines);
            }
            batch.clear();
            // A burst's buffer is given back.
            batch.shrink_to(QUEUE_BYTES / 16);
            let pending = self.lock();
            drop(self.changed.wait_timeout_while(pending, LINGER, |pending| !pending.closed));
        }
        self.lock().finished = true;
        self.changed.notify_all();
    }

    /// Waits for lines, a wish to reopen, or the end; zero lines and no wish is the end.
    fn take(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let mut pending = self.lock();
        while pending.bytes.is_empty() && !pending.reopen && !pending.closed {
            pending.idle = true;
            pending = self.changed.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        pending.idle = false;
        std::mem::swap(&mut pending.bytes, batch);
        (std::mem::take(&mut pending.lines), std::mem::take(&mut pending.reopen))
    }
}

/// Where the lines end up.
enum Sink {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Sink {
    fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let file = append(&path)?;
        Ok(Self::File { path, file })
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file } = self {
            *file = append(path)?;
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes)?;
                stdout.flush()
            }
            Self::File { file, .. } => file.write_all(bytes),
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::body::response::End;
    use crate::client::RequestId;
    use crate::policy::time::Timestamp;

    fn line(target: &str) -> Line<'_> {
        Line {
            received: Timestamp::EPOCH,
            client: [127, 0, 0, 1].into(),
            method: "GET",
            scheme: "http",
            authority: "a",
            target,
            status: Some(200),
            bytes: 0,
            duration: Duration::ZERO,
            result: "hit",
            detail: None,
            origin: None,
            request_id: &RequestId::Made(0),
            end: End::Complete,
        }
    }

    #[test]
    fn every_line_is_in_the_file_once_the_log_is_closed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        let metrics = Metrics::register(&mut Registry::default());
        let log = AccessLog::open(Form::Text, Some(&path), &metrics).expect("the log opens");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..250).for_each(|_| log.write(&line("/x"))));
            }
        });
        log.close();
        let text = std::fs::read_to_string(&path).expect("the file");
        assert_eq!(text.lines().filter(|line| line.contains("\"GET http://a/x\" 200")).count(), 1000);
        log.write(&line("/late"));
        assert_eq!(metrics.access_log_dropped.get(), 1, "a line after the end is counted, not kept");
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Metrics::register(&mut Registry::default());
        let dropped = metrics.access_log_dropped.clone();
        let queue = Queue { pending: Mutex::default(), changed: Condvar::new(), dropped };
        queue.push(&vec![b'x'; QUEUE_BYTES]);
        queue.push(b"one more\n");
        assert_eq!((queue.lock().bytes.len(), metrics.access_log_dropped.get()), (QUEUE_BYTES, 1));
    }

    #[test]
    fn a_rotated_file_is_opened_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, rotated) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        let metrics = Metrics::register(&mut Registry::default());
        let log = AccessLog::open(Form::Json, Some(&path), &metrics).expect("the log opens");
        std::fs::rename(&path, &rotated).expect("rotating");
        log.reopen();
        log.write(&line("/after"));
        log.close();
        let text = std::fs::read_to_string(&path).expect("a new file");
        assert!(text.contains("http://a/after"), "{text}");
    }
}
