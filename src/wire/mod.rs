//! What is said over the admin listener: by it, and by the commands that ask it.

pub mod explain;
pub mod objects;
pub mod purge;
