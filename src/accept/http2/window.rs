//! How much does the client take, and how much of that may the library send? (RFC 9113 §5.2)
//!
//! A connection has one window for all that is sent on it: the library's bodies and those of hits that it never hears
//! of. The library is told of a part only, so that what it sends always fits; it is given more as it sends, and has to be
//! read to for that.

/// Less is not kept from the library.
const LEAST_KEPT: i64 = 4 << 10;

/// What the library is given at most.
const MOST_FOR_LIBRARY: i64 = 1 << 20;

/// The window of a connection before anybody has said anything, and of a stream.
const DEFAULT: i64 = 65_535;

/// A connection's window and its share-out.
#[derive(Debug)]
pub(super) struct Window {
    /// Bytes that the client takes.
    client: i64,
    /// Of these, those that the library may send.
    library: i64,
    /// Bytes that the client takes on a stream that begins.
    stream: i64,
}

impl Window {
    /// Before the first frame.
    pub(super) const fn new() -> Self {
        Self { client: DEFAULT, library: DEFAULT, stream: DEFAULT }
    }

    /// The client takes more. Whether that is still a window.
    pub(super) fn widen(&mut self, more: u32) -> bool {
        self.client += i64::from(more);
        self.client <= i64::from(super::frame::MOST)
    }

    /// What the client takes on every new stream. Who takes more than before may not know of it before we have said that we do; so
    /// that counts at the beginning only, where it is never used up.
    pub(super) fn set_stream(&mut self, bytes: u32, is_first: bool) {
        let bytes = bytes.into();
        self.stream = if is_first { bytes } else { self.stream.min(bytes) };
    }

    /// What can be sent on a new stream without asking the library.
    pub(super) fn ours(&self) -> usize {
        usize::try_from(self.stream.min(self.client - self.library)).unwrap_or(0)
    }

    /// So many bytes were sent without asking it.
    pub(super) fn spent(&mut self, bytes: usize) {
        self.client -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// The library sends so many.
    pub(super) fn library_sent(&mut self, bytes: usize) {
        self.spent(bytes);
        self.library -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }

    /// Whether the library is to be given more.
    pub(super) fn is_library_short(&self) -> bool {
        // What is left to it is made up when half of it is gone.
        2 * self.library < self.share()
    }

    /// What the library is to be given now; it has it then.
    pub(super) fn give_library(&mut self) -> Option<u32> {
        let share = self.share();
        let more = u32::try_from(share - self.library).ok().filter(|_| self.is_library_short())?;
        self.library = share;
        Some(more)
    }

    /// How much of the window the library should have: a quarter is kept for hits, unless it is too small for any.
    fn share(&self) -> i64 {
        let kept = Some(self.client / 4).filter(|&quarter| quarter >= LEAST_KEPT).unwrap_or(0);
        (self.client - kept).min(MOST_FOR_LIBRARY)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_is_the_librarys_until_there_is_more_than_it_knows_of() {
        let mut window = Window::new();
        assert_eq!((window.ours(), window.give_library()), (0, None), "it knows the default");
        assert!(window.widen(10_000_000));
        assert_eq!(window.ours(), 65_535, "no more than a stream takes");
        window.set_stream(20_000_000, true);
        assert_eq!(window.give_library(), Some((1 << 20) - 65_535));
        assert_eq!(window.ours(), 10_065_535 - (1 << 20));
        window.spent(9_000_000);
        assert_eq!(window.ours(), 1_065_535 - (1 << 20));
        assert_eq!(window.give_library(), None, "it has enough");
    }

    #[test]
    fn a_small_window_is_shared() {
        let mut window = Window::new();
        window.library_sent(65_535);
        assert_eq!((window.ours(), window.give_library()), (0, None), "nothing is left to give");
        assert!(window.widen(32_768));
        assert_eq!(window.give_library(), Some(24_576));
        assert_eq!(window.ours(), 8192);
    }

    #[test]
    fn more_than_31_bits_are_no_window() {
        let mut window = Window::new();
        assert!(window.widen(super::super::frame::MOST - 65_535));
        assert!(!window.widen(1));
    }

    proptest! {
        #[test]
        fn nobody_sends_more_than_the_client_takes(steps in vec((0..3_u8, 1..200_000_u32), 1..200)) {
            let mut window = Window::new();
            for (step, bytes) in steps {
                match step {
                    0 if window.client < 1 << 24 => prop_assert!(window.widen(bytes)),
                    1 => window.library_sent(usize::try_from(window.library).unwrap_or(0).min(bytes as usize)),
                    2 => window.spent(window.ours().min(bytes as usize)),
                    _ => {}
                }
                let given = window.give_library();
                prop_assert!((0..=window.client).contains(&window.library), "{:?}", window);
                prop_assert!(given.is_none() || window.library > 0);
                prop_assert!(window.library > 0 || window.client == 0, "it would wait for ever: {:?}", window);
            }
        }
    }
}
