//! To the client: the head of every answer, stored ones whole or in parts, and our own errors.

pub mod cache_status;
pub mod error;
pub mod head;
pub mod stored;
pub mod written;
