//! Larder, an HTTP edge cache.

pub mod body;
pub mod client;
pub mod clock;
pub mod config;
pub mod origin;
pub mod policy;
pub mod respond;
pub mod telemetry;
