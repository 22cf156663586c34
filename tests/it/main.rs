//! The whole of Larder over real sockets.
#![allow(clippy::panic, reason = "a test fails by panicking, also from the files that it stands on")]
mod admin;
mod architecture;
mod asking;
mod caching;
mod cli;
mod collapsing;
mod commands;
mod explaining;
mod forwarding;
mod lifecycle;
mod memory;
mod openapi;
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
mod tagging;
mod validating;
mod varying;
