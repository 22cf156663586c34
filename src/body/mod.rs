//! The bodies that pass through: requests', responses', and the shared one that a fill writes and many read.

pub mod handover;
pub mod http1;
pub mod pages;
pub mod request;
pub mod response;
pub mod shared;
pub mod stored;
pub mod upgrade;

/// What may go wrong in a body, whoever sends it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
