//! The rule book: what HTTP allows, as pure functions of heads, rules and moments.
//!
//! Nothing here does I/O, reads a clock or takes a lock.

pub mod admission;
mod directive_list;
pub mod directives;
pub mod freshness;
pub mod outcome;
pub mod reuse;
pub mod route;
mod semantics;
pub mod time;
pub mod treatment;
