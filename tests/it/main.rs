//! The whole of Larder over real sockets.
#![allow(clippy::panic, reason = "a test fails by panicking, also from the files that it stands on")]
mod admin;
mod architecture;
mod asking;
mod caching;
mod cli;
mod collapsing;
mod explaining;
mod forwarding;
mod lifecycle;
mod memory;
mod openapi;
mod proxying;
mod purging;
mod ranges;
mod rules;
mod sharing;
mod staling;
mod support;
mod validating;
mod varying;
