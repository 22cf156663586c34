//! Which fields do the blocks of an HTTP/2 connection carry, and in which bytes are ours sent? (RFC 7541)
//!
//! What a client sends refers to a table of what it has sent before: its blocks are decoded in their order, each of
//! them, also where nobody wants the fields any more. What we send refers to nothing but the static table.

mod decode;
mod encode;
mod fields;
mod huffman;
mod table;

pub(crate) use decode::Decoder;
pub(crate) use encode::{write_field, write_status};
pub(crate) use fields::{Field, FieldList};
