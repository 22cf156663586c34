//! The binary: hands over to [`larder::cli`].

use std::process::ExitCode;

/// Threads free what other threads allocated all day long here; the system's allocator keeps such memory, or locks.
#[cfg(not(feature = "callgrind"))]
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    larder::cli::main()
}
