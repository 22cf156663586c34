//! The rule book: what HTTP allows, as pure functions of heads, rules and moments.
//!
//! Nothing here does I/O, reads a clock or takes a lock.

pub mod hop;
pub mod outcome;
pub mod route;
pub mod time;
pub mod treatment;
