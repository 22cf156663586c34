//! The whole of Larder over real sockets.
#![allow(clippy::panic, reason = "a test fails by panicking, also from the files that it stands on")]
mod architecture;
mod asking;
mod caching;
mod cli;
mod collapsing;
mod forwarding;
mod lifecycle;
mod memory;
mod proxying;
mod purge_load;
mod purge_model;
mod purge_pieces;
mod purge_races;
mod purging;
mod ranges;
mod rules;
mod sharing;
mod staling;
mod support;
mod validating;
mod varying;
