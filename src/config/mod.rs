//! The configuration: the file as written, what is wrong with it, and the settings as used.

pub mod settings;
