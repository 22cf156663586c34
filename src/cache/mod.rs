//! Where stored responses live, which fills are under way, and what has been purged.

pub mod codec;
pub mod entry;
pub mod fields;
pub mod flight;
mod front;
pub mod ledger;
pub mod memory;
pub mod redis;
mod shared_lines;
pub mod sweep;
mod sync;
pub mod tier;
pub mod variants;

#[cfg(test)]
pub(crate) mod sample;
