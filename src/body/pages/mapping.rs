//! Memory that is asked of the kernel and given back to it by whole pages.
#![expect(unsafe_code, reason = "there is no other way to have such memory; what it gains is written in `pages`")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Bytes of a run: addresses, of which only those take memory that are written to.
pub(super) const RUN: usize = 64 << 20;

/// Where the next pages are taken from.
static RUN_UNDER_WAY: Mutex<Option<Pages>> = Mutex::new(None);

/// Mapped pages that have one owner.
pub(super) struct Pages {
    start: NonNull<u8>,
    /// Bytes; whole pages.
    length: usize,
}

// SAFETY: it owns memory, and shows it as a slice does.
unsafe impl Send for Pages {}
// SAFETY: as above: who shares it can only read.
unsafe impl Sync for Pages {}

impl Pages {
    /// So many bytes, whole pages, all zero.
    pub(super) fn take(length: usize) -> io::Result<Self> {
        let mut run = RUN_UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = match run.take() {
            Some(rest) if rest.length >= length => rest,
            _ => Self::map(length.max(RUN))?,
        };
        let (pages, rest) = rest.split_at(length);
        *run = rest;
        Ok(pages)
    }

    /// New ones, of which large pages are asked.
    fn map(length: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping, at an address that the kernel chooses: nothing that is there changes.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), length, protection, flags) }?;
        // SAFETY: the mapping is ours. Where there are no large pages, small ones do.
        _ = unsafe { madvise(start, length, Advice::LinuxHugepage) };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// The first `at` bytes, whole pages, and the others, if there are any.
    fn split_at(self, at: usize) -> (Self, Option<Self>) {
        let Self { start, length } = *std::mem::ManuallyDrop::new(self);
        assert!(at <= length, "within the pages");
        // SAFETY: within the mapping, or its end.
        let behind = unsafe { start.add(at) };
        let rest = (at < length).then(|| Self { start: behind, length: length - at });
        (Self { start, length: at }, rest)
    }

    /// Where they begin.
    pub(super) fn address(&self) -> usize {
        self.start.addr().get()
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: they are mapped as long as `self` is there, were zero at first, and nobody writes to them but
        // through `as_mut_slice`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above; `self` is borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: they are ours, and nobody can refer to them any more.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        if unmapped.is_err() {
            // A hole in a mapping makes two of it, for which there may be no place. The memory goes back even so.
            // SAFETY: as above.
            _ = unsafe { madvise(self.start.as_ptr().cast(), self.length, Advice::LinuxDontNeed) };
        }
    }
}
