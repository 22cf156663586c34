//! To the client: what a response says of us, and our own errors.

pub mod cache_status;
pub mod error;
