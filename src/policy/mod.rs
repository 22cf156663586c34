//! The rule book: what HTTP allows, as pure functions of heads, rules and moments.
//!
//! Nothing here does I/O, reads a clock or takes a lock.

pub mod admission;
mod candidates;
pub mod conditional;
mod directive_list;
pub mod directives;
pub mod entity_tag;
pub mod fields;
pub mod forwarding;
pub mod freshness;
pub mod hop;
pub mod invalidation;
pub mod key;
pub mod naming;
pub mod outcome;
pub mod pattern;
mod preference;
pub mod range;
pub mod reuse;
pub mod route;
pub mod scope;
mod semantics;
pub mod tag;
pub mod tag_fields;
pub mod target;
pub mod time;
pub mod token;
pub mod treatment;
pub mod validation;
pub mod vary;
