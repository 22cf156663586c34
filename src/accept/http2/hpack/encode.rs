//! In which bytes is a field of ours sent? (RFC 7541 §6)
//!
//! Without a table of our own, and without Huffman's code: a field's bytes are the same on each connection, and at each
//! place in it, and writing them is copying them.

use http::StatusCode;

use super::table::STATIC;

/// Writes a field, whose name has to be in lower case already. A sensitive one says that no table may have it: §7.1.3.
pub(crate) fn write_field(block: &mut Vec<u8>, name: &[u8], value: &[u8], is_sensitive: bool) {
    let Slot { first, pairs } = SLOTS[usize::from(slot(name))];
    let (first, pairs) = (usize::from(first), &STATIC[usize::from(first)..][..usize::from(pairs)]);
    let is_named = pairs.first().is_some_and(|pair| pair.name() == name);
    if is_named
        && !is_sensitive
        && let Some(at) = pairs.iter().position(|pair| pair.value() == value)
    {
        return write_number(block, 0x80, 0x7f, first + at + 1);
    }
    let form = if is_sensitive { 0x10 } else { 0 };
    write_number(block, form, 0x0f, if is_named { first + 1 } else { 0 });
    if !is_named {
        write_string(block, name);
    }
    write_string(block, value);
}

/// Writes the `:status` of a response.
pub(crate) fn write_status(block: &mut Vec<u8>, status: StatusCode) {
    write_field(block, b":status", status.as_str().as_bytes(), false);
}

fn write_string(block: &mut Vec<u8>, string: &[u8]) {
    write_number(block, 0, 0x7f, string.len());
    block.extend_from_slice(string);
}

/// Writes a number behind the bits before it. RFC 7541 §5.1.
pub(super) fn write_number(block: &mut Vec<u8>, form: u8, mask: u8, number: usize) {
    let Some(mut rest) = number.checked_sub(usize::from(mask)) else {
        return block.push(form | low_bits(number));
    };
    block.push(form | mask);
    while rest >= 0x80 {
        block.push(0x80 | low_bits(rest));
        rest >>= 7;
    }
    block.push(low_bits(rest));
}

/// The lowest 7 bits of a number.
fn low_bits(number: usize) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

/// Which pairs of the static table may have a name: so many neighbours, from this one on.
#[derive(Clone, Copy)]
struct Slot {
    first: u8,
    pairs: u8,
}

/// By `slot` of the name.
static SLOTS: [Slot; 256] = slots();

/// Where a name is looked for. The factors are such that no two names of the static table meet.
const fn slot(name: &[u8]) -> u8 {
    let [first, .., last] = name else { return 0 };
    let [length, ..] = name.len().to_le_bytes();
    first.wrapping_add(last.wrapping_mul(95)).wrapping_add(length.wrapping_mul(2))
}

const fn slots() -> [Slot; 256] {
    let mut slots = [Slot { first: 0, pairs: 0 }; 256];
    let [mut at, ..] = STATIC.len().to_le_bytes();
    while at > 0 {
        at -= 1;
        let pair = &STATIC[at as usize];
        let (name, _) = pair.bytes.split_at(pair.name_length);
        let slot = &mut slots[slot(name) as usize];
        *slot = Slot { first: at, pairs: slot.pairs + 1 };
    }
    slots
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::decode::Decoder;
    use super::super::fields::FieldList;
    use super::*;

    fn written(name: &[u8], value: &[u8], is_sensitive: bool) -> Vec<u8> {
        let mut block = Vec::new();
        write_field(&mut block, name, value, is_sensitive);
        block
    }

    #[test]
    fn a_field_is_an_index_or_spelt_out() {
        let cases: [(&str, &str, bool, &[u8], &str); 11] = [
            // name, value, is sensitive, want, why
            (":path", "/sample/path", false, b"\x04\x0c/sample/path", "C.2.2"),
            ("password", "secret", true, b"\x10\x08password\x06secret", "C.2.3"),
            (":method", "GET", false, b"\x82", "C.2.4"),
            (":method", "HEAD", false, b"\x02\x04HEAD", "the first index of a name"),
            ("accept-encoding", "gzip, deflate", false, b"\x90", "a field of the static table"),
            (
                "accept-encoding",
                "gzip",
                false,
                b"\x0f\x01\x04gzip",
                "a name of the static table, the first beyond a byte",
            ),
            ("www-authenticate", "Basic", false, b"\x0f\x2e\x05Basic", "the last name of the static table"),
            ("set-cookie", "a", true, b"\x1f\x28\x01a", "a sensitive field whose name is in the static table"),
            (":scheme", "https", true, b"\x16\x05https", "a sensitive field which is in the static table"),
            ("", "", false, b"\0\0\0", "nothing"),
            ("x", "", false, b"\0\x01x\0", "no value"),
        ];
        for (name, value, is_sensitive, want, why) in cases {
            assert_eq!(written(name.as_bytes(), value.as_bytes(), is_sensitive), want, "{why}");
        }
        for (pair, index) in STATIC.iter().zip(0x81..) {
            assert_eq!(written(pair.name(), pair.value(), false), [index]);
        }
        assert_eq!(written(b"x", &[b'v'; 300], false)[..5], [0, 1, b'x', 0x7f, 0xad], "a length of two bytes more");
    }

    #[test]
    fn a_status_is_a_byte_where_it_is_usual() {
        let cases: [(u16, &[u8]); 6] = [
            (200, b"\x88"),
            (206, b"\x8a"),
            (304, b"\x8b"),
            (500, b"\x8e"),
            (103, b"\x08\x03103"),
            (999, b"\x08\x03999"),
        ];
        for (status, want) in cases {
            let mut block = Vec::new();
            write_status(&mut block, StatusCode::from_u16(status).expect("a status"));
            assert_eq!(block, want, "{status}");
        }
    }

    proptest! {
        #[test]
        fn any_fields_come_back_and_leave_no_trace(
            fields in vec((
                prop_oneof![(0..61_usize).prop_map(|at| STATIC[at].name().to_vec()), vec(any::<u8>(), 0..200)],
                prop_oneof![(0..61_usize).prop_map(|at| STATIC[at].value().to_vec()), vec(any::<u8>(), 0..400)],
                any::<bool>(),
            ), 0..10),
        ) {
            let mut block = Vec::new();
            for (name, value, is_sensitive) in &fields {
                write_field(&mut block, name, value, *is_sensitive);
            }
            let (mut decoder, mut list) = (Decoder::new(), FieldList::default());
            prop_assert_eq!(decoder.decode(&block, &mut list, usize::MAX), Ok(()));
            let got = list.iter().map(|field| (field.name.to_vec(), field.value.to_vec(), field.is_sensitive));
            prop_assert_eq!(got.collect::<Vec<_>>(), fields);
            prop_assert!(decoder.decode(b"\xbe", &mut list, usize::MAX).is_err(), "nothing is put into a table");
        }
    }
}
