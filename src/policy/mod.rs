//! The rule book: what HTTP allows, as pure functions of heads, rules and moments.
//!
//! Nothing here does I/O, reads a clock or takes a lock.

mod candidates;
pub mod conditional;
pub mod entity_tag;
pub mod hop;
pub mod invalidation;
pub mod key;
pub mod outcome;
pub mod pattern;
mod preference;
pub mod range;
pub mod route;
pub mod tag;
pub mod time;
pub mod treatment;
pub mod validation;
pub mod vary;
