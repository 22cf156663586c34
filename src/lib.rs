//! Larder, an HTTP edge cache.

pub mod accept;
pub mod admin;
pub mod body;
pub mod client;
pub mod clock;
pub mod config;
pub mod policy;
pub mod respond;
pub mod telemetry;
