//! Larder, an HTTP edge cache.

pub mod body;
pub mod cache;
pub mod client;
pub mod clock;
pub mod config;
pub mod policy;
pub mod respond;
pub mod serve;
pub mod telemetry;
