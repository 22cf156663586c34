//! How are the fields of a block kept?

use super::table::Pair;

/// What a field costs beside its name and its value: in a list (RFC 9113 §6.5.2) and in a table (RFC 7541 §4.1).
pub(super) const OVERHEAD: usize = 32;

/// Memory that a list keeps from one block to the next: what browsers send fits, cookies and all.
const KEPT_BYTES: usize = 4096;
const KEPT_FIELDS: usize = 64;

/// The fields of one block in one piece of memory, which serves block after block.
#[derive(Debug, Default)]
pub(crate) struct FieldList {
    /// Names and values, one behind the other; at the end, perhaps, what is not a field yet.
    pub(super) bytes: Vec<u8>,
    fields: Vec<Ends>,
    size: usize,
}

/// Where a field ends in these bytes. It begins where the one before it ends.
#[derive(Debug)]
struct Ends {
    name: usize,
    value: usize,
    is_sensitive: bool,
}

/// A field as its client sent it: nothing says yet that its name is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    /// Whoever sends it on has to keep it out of tables, too. RFC 7541 §6.2.3.
    pub(crate) is_sensitive: bool,
}

impl Field<'_> {
    /// Name, value, and 32 bytes. RFC 9113 §6.5.2.
    pub(crate) fn size(self) -> usize {
        self.name.len() + self.value.len() + OVERHEAD
    }
}

impl FieldList {
    /// Each field, in their order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Field<'_>> {
        let mut start = 0;
        self.fields.iter().map(move |ends| {
            let (name, value) = (&self.bytes[start..ends.name], &self.bytes[ends.name..ends.value]);
            start = ends.value;
            Field { name, value, is_sensitive: ends.is_sensitive }
        })
    }

    /// The sizes of its fields together.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Empties the list; its memory stays.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.fields.clear();
        self.size = 0;
    }

    /// Empties the list, and gives back the memory that only a large block needs.
    pub(crate) fn rest(&mut self) {
        self.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.fields.shrink_to(KEPT_FIELDS);
    }

    /// Adds a field of a table.
    pub(super) fn push(&mut self, pair: Pair<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(pair.bytes);
        self.keep(start, pair.name_length, false);
    }

    /// Makes a field of all bytes from `start` on.
    pub(super) fn keep(&mut self, start: usize, name_length: usize, is_sensitive: bool) {
        let value = self.bytes.len();
        self.size += value - start + OVERHEAD;
        self.fields.push(Ends { name: start + name_length, value, is_sensitive });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_at_rest_keeps_what_a_usual_block_needs() {
        let mut list = FieldList::default();
        list.rest();
        assert_eq!((list.bytes.capacity(), list.fields.capacity()), (0, 0), "nothing is got in advance");
        for _ in 0..1000 {
            list.push(Pair { bytes: b"namevalue", name_length: 4 });
        }
        assert_eq!((list.iter().len(), list.size()), (1000, 41_000));
        let field = Field { name: b"name", value: b"value", is_sensitive: false };
        assert!(list.iter().all(|each| each == field));
        list.clear();
        assert!(list.iter().len() == 0 && list.size() == 0 && list.bytes.capacity() >= 9000);
        list.rest();
        assert_eq!((list.bytes.capacity(), list.fields.capacity()), (KEPT_BYTES, KEPT_FIELDS));
    }
}
