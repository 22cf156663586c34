//! TLS, both ways: whom we trust, who we are to whom, and who a client is.
//!
//! Nothing here listens or connects: `accept`, `origin` and `cli` do, by these rules.

pub mod certificate;
pub mod challenge;
mod choice;
pub mod identity;
pub mod outgoing;
pub mod pair;
pub mod pem;
pub mod serving;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

/// The one crypto provider. Given explicitly wherever rustls asks: nobody has to install one for the process first, and
/// another library that brings its own cannot make rustls choose.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// An error with its causes, for where one line is all that is said of it.
pub(crate) fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
