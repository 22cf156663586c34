//! The rule book: what HTTP allows, as pure functions of heads, rules and moments.
//!
//! Nothing here does I/O, reads a clock or takes a lock.

mod candidates;
pub mod hop;
pub mod key;
pub mod outcome;
pub mod pattern;
pub mod route;
pub mod tag;
pub mod time;
pub mod treatment;
