//! A body that one fill writes and many clients read while it grows, each at its own pace.
//!
//! While the body is to be stored, all of it is kept and nobody waits for anybody. Once it turns out too large to
//! be stored, only a window of it is kept: the fill then waits for its readers, and a reader that would hold up the
//! others is cut off.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::stored::StoredBody;
use super::{BoxError, join_crumbs, pages};

/// Loose pieces are gathered into one of this size: few enough to send quickly (a mebibyte in four pieces took 3 to 5 %
/// longer), small enough to copy at once.
const PIECE: usize = 1024 * 1024;

/// What a reader takes of a growing body at once: the fewer, the sooner it shows that it moves on.
const TAKEN: usize = 256 * 1024;

/// A body of so many bytes at most is copied for the store, which then has it alone.
const COPIED: usize = 4 * 1024;

/// What a body keeps for its readers when it is too large to be stored.
const WINDOW: u64 = 4 * 1024 * 1024;

/// How long a reader that is a whole window behind may hold up others that wait for more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a shared body broke off, as each of its readers is told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SharedBodyError {
    /// The fill failed: the origin broke off, or was too slow.
    #[error("the origin's response broke off")]
    Source(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The fill was given up.
    #[error("the fill of this response was given up")]
    Abandoned,
    /// The reader was too far behind.
    #[error("the client read too slowly and held up others")]
    TooSlow,
}

/// Makes a body of `expected` bytes, where that is known, and the one writer of it.
pub fn shared_body(expected: Option<u64>) -> (Writer, SharedBody) {
    let inner =
        Arc::new(Inner { state: Mutex::new(State { expected, ..State::default() }), readers_moved: Notify::new() });
    (Writer { inner: Arc::clone(&inner) }, SharedBody { inner })
}

struct Inner {
    state: Mutex<State>,
    /// A reader moved on, or left.
    readers_moved: Notify,
}

#[derive(Default)]
struct State {
    expected: Option<u64>,
    /// Pieces still kept, each with its offset in the body.
    pieces: VecDeque<(u64, Bytes)>,
    /// How many of the last pieces are loose, and their bytes.
    loose: (usize, usize),
    written: u64,
    windowed: bool,
    end: Option<Result<Option<HeaderMap>, SharedBodyError>>,
    readers: Vec<Option<Place>>,
    /// What is given back when the last reader has left: the room that the pieces take.
    hold: Option<Box<dyn Any + Send>>,
}

#[derive(Debug, Default)]
struct Place {
    position: u64,
    waker: Option<Waker>,
    cut: bool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBody").field("written", &self.lock().written).finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let length = data.len();
        if !self.pieces.back_mut().is_some_and(|(_, last)| join_crumbs(last, &data)) {
            self.pieces.push_back((self.written, data));
            self.loose.0 += 1;
        }
        self.written += length as u64;
        self.loose.1 += length;
        if self.loose.1 >= PIECE && !self.windowed {
            self.gather();
        }
    }

    /// Makes one piece, of exact size, out of the loose ones. What the connection handed us are views into its
    /// read buffer; kept as they are, each would hold the whole buffer.
    fn gather(&mut self) {
        let (count, bytes) = std::mem::take(&mut self.loose);
        let first = self.pieces.len() - count;
        let Some(&(start, _)) = self.pieces.get(first) else { return };
        let loose: Vec<_> = self.pieces.drain(first..).map(|(_, piece)| piece).collect();
        let loose: Vec<&[u8]> = loose.iter().map(AsRef::as_ref).collect();
        let whole = pages::join(&loose).unwrap_or_else(|| loose.concat().into());
        debug_assert_eq!(whole.len(), bytes);
        self.pieces.push_back((start, whole));
    }

    fn slowest(&self) -> Option<u64> {
        self.readers.iter().flatten().filter(|place| !place.cut).map(|place| place.position).min()
    }

    /// Lets go of what every reader has.
    fn trim(&mut self) {
        let keep_from = self.slowest().unwrap_or(self.written);
        while self.pieces.front().is_some_and(|(start, piece)| start + piece.len() as u64 <= keep_from) {
            self.pieces.pop_front();
        }
    }

    fn wake_all(&mut self) {
        for place in self.readers.iter_mut().flatten() {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    /// The piece that begins at, or covers, `position`.
    fn piece_at(&self, position: u64) -> Option<Bytes> {
        let index = self.pieces.partition_point(|(start, piece)| start + piece.len() as u64 <= position);
        let (start, piece) = self.pieces.get(index)?;
        let skip = usize::try_from(position.checked_sub(*start)?).ok()?;
        Some(piece.slice(skip..))
    }
}

/// The one side that writes. Dropped before its end, it breaks the body off for every reader.
#[derive(Debug)]
pub struct Writer {
    inner: Arc<Inner>,
}

impl Writer {
    /// Hands `data` to the readers.
    pub fn push(&mut self, data: Bytes) {
        let mut state = self.inner.lock();
        state.append(data);
        state.wake_all();
    }

    /// Takes the last bytes without showing them yet, and gives the whole body.
    ///
    /// What is to be stored is stored before the readers see the end; whoever asks again afterwards finds it.
    pub fn seal(&mut self, last: Bytes) -> StoredBody {
        let mut state = self.inner.lock();
        state.append(last);
        state.gather();
        match state.pieces.make_contiguous() {
            // Its readers have theirs for a moment only; bytes that were ever shared keep a count beside them.
            [(_, piece)] if piece.len() <= COPIED => StoredBody::from_bytes(Bytes::copy_from_slice(piece)),
            pieces => StoredBody::from_pieces(pieces.iter().map(|(_, piece)| piece.clone()).collect()),
        }
    }

    /// Shows the end: the body is complete. `hold` is dropped with the last reader: slow ones keep the pieces.
    pub fn finish(self, trailers: Option<HeaderMap>, hold: impl Any + Send) {
        self.inner.lock().hold = Some(Box::new(hold));
        self.end(Ok(trailers));
    }

    /// Breaks the body off for everybody.
    pub fn fail(self, error: impl Into<BoxError>) {
        self.end(Err(SharedBodyError::Source(Arc::from(error.into()))));
    }

    fn end(&self, end: Result<Option<HeaderMap>, SharedBodyError>) {
        let mut state = self.inner.lock();
        state.end.get_or_insert(end);
        state.wake_all();
    }

    /// Bytes that are kept for readers.
    pub fn kept(&self) -> u64 {
        let state = self.inner.lock();
        state.pieces.front().map_or(0, |(start, _)| state.written - start)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.inner.lock().written
    }

    /// Keeps no more than a window from now on: the body will not be stored. Nobody can join any more.
    pub fn keep_window_only(&mut self) {
        let mut state = self.inner.lock();
        state.windowed = true;
        state.loose = (0, 0);
        state.trim();
    }

    /// Whether anybody still reads.
    pub fn has_readers(&self) -> bool {
        self.inner.lock().slowest().is_some()
    }

    /// Waits until there is room in the window. `false`: nobody reads any more.
    pub async fn room(&mut self) -> bool {
        loop {
            let moved = self.inner.readers_moved.notified();
            {
                let mut state = self.inner.lock();
                state.trim();
                match state.slowest() {
                    None => return false,
                    Some(slowest) if !state.windowed || state.written - slowest < WINDOW => return true,
                    Some(_) => {}
                }
            }
            if tokio::time::timeout(PATIENCE, moved).await.is_err() {
                self.cut_those_who_hold_up_others();
            }
        }
    }

    /// A slow client costs the bytes that were not yet stored, never the others' speed.
    fn cut_those_who_hold_up_others(&self) {
        let mut state = self.inner.lock();
        let written = state.written;
        let others_wait = state.readers.iter().flatten().any(|place| !place.cut && place.position == written);
        if !others_wait {
            return;
        }
        for place in state.readers.iter_mut().flatten() {
            place.cut |= written - place.position >= WINDOW;
        }
        state.wake_all();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(Err(SharedBodyError::Abandoned));
    }
}

/// A body that grows, for whoever wants to read it.
#[derive(Debug, Clone)]
pub struct SharedBody {
    inner: Arc<Inner>,
}

impl SharedBody {
    /// Takes a place at the beginning; `None` when that is no longer kept, or the body has broken off.
    pub fn reader(&self) -> Option<Reader> {
        let mut state = self.inner.lock();
        if state.windowed || matches!(state.end, Some(Err(_))) {
            return None;
        }
        let free = state.readers.iter().position(Option::is_none);
        let id = free.unwrap_or_else(|| {
            state.readers.push(None);
            state.readers.len() - 1
        });
        state.readers[id] = Some(Place::default());
        drop(state);
        Some(Reader { inner: Arc::clone(&self.inner), id, trailers: None, done: false })
    }
}

/// One client's place in a growing body.
#[derive(Debug)]
pub struct Reader {
    inner: Arc<Inner>,
    id: usize,
    trailers: Option<HeaderMap>,
    done: bool,
}

impl Reader {
    /// The next bytes, the trailers, the end, or what broke the body off.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        if self.done {
            return Poll::Ready(None);
        }
        let mut guard = self.inner.lock();
        let state = &mut *guard;
        let Some(place) = state.readers[self.id].as_ref() else { return Poll::Ready(None) };
        let (position, cut) = (place.position, place.cut);
        if cut {
            return Poll::Ready(Some(Err(SharedBodyError::TooSlow.into())));
        }
        // The last bytes are sealed first and shown with the end.
        let shown = state.end.is_some() || state.expected.is_none_or(|expected| state.written < expected);
        if position < state.written && shown {
            let mut piece = state.piece_at(position);
            if let Some(piece) = piece.as_mut().filter(|_| state.end.is_none()) {
                piece.truncate(TAKEN);
            }
            let next = position + piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if let Some(place) = state.readers[self.id].as_mut() {
                place.position = next;
            }
            let windowed = state.windowed;
            drop(guard);
            if windowed {
                self.inner.readers_moved.notify_one();
            }
            // Only a reader that was cut finds its bytes gone.
            return Poll::Ready(Some(piece.map(Frame::data).ok_or_else(|| SharedBodyError::TooSlow.into())));
        }
        match state.end.clone() {
            None => {
                if let Some(place) = state.readers[self.id].as_mut() {
                    place.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            Some(Ok(trailers)) => {
                drop(guard);
                self.done = true;
                self.trailers = trailers;
                self.poll_frame(cx)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    /// Whether all of it has been read, and it is complete.
    pub fn is_end(&self) -> bool {
        let state = self.inner.lock();
        let position = state.readers[self.id].as_ref().map_or(0, |place| place.position);
        self.trailers.is_none() && matches!(state.end, Some(Ok(None))) && position == state.written
    }

    /// What is known of the bytes still to come.
    pub fn size_hint(&self) -> SizeHint {
        let state = self.inner.lock();
        let position = state.readers[self.id].as_ref().map_or(0, |place| place.position);
        match (&state.end, state.expected) {
            (Some(Ok(None)), _) => SizeHint::with_exact(state.written - position),
            (_, Some(expected)) => SizeHint::with_exact(expected.saturating_sub(position)),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.inner.lock().readers[self.id] = None;
        self.inner.readers_moved.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::super::CRUMB;
    use super::*;

    async fn next(reader: &mut Reader) -> Option<Result<Bytes, BoxError>> {
        let frame = std::future::poll_fn(|cx| reader.poll_frame(cx)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// Takes so many bytes.
    async fn take(reader: &mut Reader, mut bytes: usize) {
        while bytes > 0 {
            bytes -= next(reader).await.expect("a piece").expect("data").len();
        }
    }

    async fn read_all(mut reader: Reader) -> Result<Vec<u8>, BoxError> {
        let mut all = Vec::new();
        while let Some(piece) = next(&mut reader).await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn crumbs_cost_little_more_than_their_bytes() {
        for is_windowed in [false, true] {
            let (mut writer, body) = shared_body(None);
            let mut reader = body.reader().expect("open");
            if is_windowed {
                writer.keep_window_only();
            }
            for _ in 0..CRUMB {
                writer.push("ab".into());
            }
            assert_eq!(writer.inner.lock().pieces.len(), 2, "windowed: {is_windowed}");
            assert_eq!(next(&mut reader).await.expect("a piece").expect("data"), "ab".repeat(CRUMB / 2));
            writer.push("c".into());
            writer.finish(None, ());
            let rest = read_all(reader).await.expect("complete");
            assert!(rest.len() == CRUMB + 1 && rest.ends_with(b"abc"), "windowed: {is_windowed}");
        }
    }

    #[tokio::test]
    async fn readers_follow_a_growing_body_at_their_own_pace() {
        let (mut writer, body) = shared_body(None);
        let mut early = body.reader().expect("open");
        writer.push("one".into());
        assert_eq!(next(&mut early).await.expect("a piece").expect("data"), "one");
        writer.push("two".into());
        let late = body.reader().expect("open");
        let stored = writer.seal("three".into());
        writer.finish(None, ());
        let single = stored.as_single().expect("gathered into one piece");
        assert!(*single == "onetwothree" && single.is_unique(), "nobody else has it");
        assert_eq!(read_all(early).await.expect("complete"), b"twothree");
        assert_eq!(read_all(late).await.expect("complete"), b"onetwothree");
    }

    #[tokio::test]
    async fn the_last_bytes_of_a_known_length_are_shown_with_the_end() {
        let (mut writer, body) = shared_body(Some(6));
        let mut reader = body.reader().expect("open");
        writer.push("abc".into());
        assert_eq!(next(&mut reader).await.expect("a piece").expect("data"), "abc");
        let _stored = writer.seal("def".into());
        let pending = std::future::poll_fn(|cx| Poll::Ready(reader.poll_frame(cx).is_pending())).await;
        assert!(pending, "sealed bytes are not shown before the body is stored");
        writer.finish(None, ());
        assert_eq!(read_all(reader).await.expect("complete"), b"def");
    }

    #[tokio::test]
    async fn a_dropped_writer_breaks_the_body_off_for_everybody() {
        let (mut writer, body) = shared_body(Some(10));
        let (first, second) = (body.reader().expect("open"), body.reader().expect("open"));
        writer.push("abc".into());
        drop(writer);
        for reader in [first, second] {
            let error = read_all(reader).await.expect_err("never shown as complete");
            assert!(error.to_string().contains("given up"), "{error}");
        }
    }

    #[tokio::test]
    async fn many_pieces_are_gathered_and_read_alike() {
        let (mut writer, body) = shared_body(None);
        let reader = body.reader().expect("open");
        let mut want = Vec::new();
        for i in 0..1000_u32 {
            let piece = Bytes::from(vec![u8::try_from(i % 251).expect("small"); 5000]);
            want.extend_from_slice(&piece);
            writer.push(piece);
        }
        let stored = writer.seal(Bytes::new());
        writer.finish(None, ());
        assert_eq!(stored.len(), 5_000_000);
        assert_eq!(stored.pieces().len(), 5, "{} pieces", stored.pieces().len());
        assert_eq!(read_all(reader).await.expect("complete"), want);
        assert_eq!(stored.pieces().concat(), want);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_waits_for_its_reader_and_keeps_no_more() {
        let (mut writer, body) = shared_body(None);
        let mut reader = body.reader().expect("open");
        writer.keep_window_only();
        assert!(body.reader().is_none(), "nobody joins a window");
        let piece = Bytes::from(vec![1; 1 << 20]);
        for _ in 0..4 {
            assert!(writer.room().await);
            writer.push(piece.clone());
        }
        let full = tokio::time::timeout(Duration::from_mins(1), writer.room()).await;
        assert!(full.is_err(), "a lone reader is waited for");
        next(&mut reader).await.expect("a piece").expect("data");
        assert!(writer.room().await);
        drop(reader);
        assert!(!writer.room().await, "nobody reads any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_moves_on_is_not_cut_for_the_size_of_the_pieces() {
        let (mut writer, body) = shared_body(None);
        let (mut quick, mut slow) = (body.reader().expect("open"), body.reader().expect("open"));
        for _ in 0..8 {
            writer.push(Bytes::from(vec![1; PIECE]));
        }
        writer.keep_window_only();
        let read = tokio::spawn(async move {
            let mut left = 8 * PIECE;
            while left > 0 {
                let taken = next(&mut slow).await.expect("a piece").expect("not cut").len();
                left -= taken;
                // Half a mebibyte a second.
                tokio::time::sleep(Duration::from_micros(2 * taken as u64)).await;
            }
        });
        take(&mut quick, 8 * PIECE).await;
        while !read.is_finished() {
            assert!(writer.room().await, "both read");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        read.await.expect("it reads to the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_holds_up_others_is_cut() {
        let (mut writer, body) = shared_body(None);
        let (mut quick, mut slow) = (body.reader().expect("open"), body.reader().expect("open"));
        writer.keep_window_only();
        for _ in 0..4 {
            writer.push(Bytes::from(vec![1; 1 << 20]));
            take(&mut quick, 1 << 20).await;
        }
        assert!(writer.room().await, "room was made");
        let error = next(&mut slow).await.expect("told").expect_err("cut");
        assert!(error.to_string().contains("too slowly"), "{error}");
    }
}
