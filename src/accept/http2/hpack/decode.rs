//! Which fields does a block of the client's carry? (RFC 7541 §3, §5, §6)

use super::fields::FieldList;
use super::huffman;
use super::table::{Pair, Table};

/// How often the table's size changes before a block's first field: to the smallest that it had since the block before,
/// and to the one that it has now. RFC 7541 §4.2.
const MOST_RESIZES: usize = 2;

/// Why a block, and with it the connection, cannot be read on: `COMPRESSION_ERROR`. RFC 9113 §4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the field block ends inside of a field")]
    Truncated,
    #[error("the field block refers to field {0}, which is in no table")]
    Index(u32),
    #[error("a number in the field block is larger than 32 bits, or longer than 6 bytes")]
    Number,
    #[error("a string in the field block has bits that are not Huffman's code")]
    Huffman,
    #[error("the field block makes its table {0} bytes large, and the limit is {limit}", limit = Table::LARGEST)]
    Size(u32),
    #[error("the field block changes the size of its table after a field, or more than {MOST_RESIZES} times")]
    Resize,
}

/// One direction of a connection: it has to see each block, and in their order.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    largest: usize,
}

impl Decoder {
    /// A connection before its first block.
    pub(crate) const fn new() -> Self {
        Self::with_table(Table::LARGEST)
    }

    const fn with_table(largest: usize) -> Self {
        Self { table: Table::new(largest), largest }
    }

    /// Decodes a whole field block, all its fragments put together, in the place of what the list has.
    ///
    /// Once the list's `size` is larger than `most`, no field is added: they only change the table. So whoever asks for
    /// the size afterwards finds it too large, and a block of nothing but references to one large field costs no more
    /// memory than `most` and two fields: the last that is kept, and one that is put together to be inserted. A field
    /// has no more than a table's 4 KiB, and 8/5 of the block.
    ///
    /// # Errors
    ///
    /// The block is malformed. The list has some of its fields then, and the decoder is of no use any more.
    pub(crate) fn decode(&mut self, block: &[u8], fields: &mut FieldList, most: usize) -> Result<(), Malformed> {
        fields.clear();
        let mut block = Block(block);
        self.resize(&mut block)?;
        while let Some(first) = block.next() {
            let is_kept = fields.size() <= most;
            if first < 0x80 {
                self.literal(first, &mut block, fields, is_kept)?;
                continue;
            }
            // An indexed field. §6.1.
            let pair = self.pair(block.number(first, 0x7f)?)?;
            if is_kept {
                fields.push(pair);
            }
        }
        Ok(())
    }

    /// Changes of the table's size, which come before the fields. RFC 7541 §4.2, §6.3.
    fn resize(&mut self, block: &mut Block<'_>) -> Result<(), Malformed> {
        for _ in 0..MOST_RESIZES {
            let Some(first @ 0x20..0x40) = block.0.first().copied() else { break };
            block.next();
            let size = block.number(first, 0x1f)?;
            let limit = usize::try_from(size).ok().filter(|size| *size <= self.largest);
            self.table.limit(limit.ok_or(Malformed::Size(size))?);
        }
        Ok(())
    }

    /// A field that is spelt out, at least its value. RFC 7541 §6.2.
    fn literal(
        &mut self,
        first: u8,
        block: &mut Block<'_>,
        fields: &mut FieldList,
        is_kept: bool,
    ) -> Result<(), Malformed> {
        let (mask, is_inserted, is_sensitive) = match first {
            0x40.. => (0x3f, true, false),
            0x20.. => return Err(Malformed::Resize),
            0x10.. => (0x0f, false, true),
            _ => (0x0f, false, false),
        };
        let start = fields.bytes.len();
        match block.number(first, mask)? {
            0 => block.string(&mut fields.bytes)?,
            index => fields.bytes.extend_from_slice(self.pair(index)?.name()),
        }
        let name_length = fields.bytes.len() - start;
        block.string(&mut fields.bytes)?;
        if is_inserted {
            // Its name may be that of a pair which it evicts: so it is put in from where it has been put together.
            self.table.insert(Pair { bytes: &fields.bytes[start..], name_length });
        }
        if is_kept {
            fields.keep(start, name_length, is_sensitive);
        } else {
            fields.bytes.truncate(start);
        }
        Ok(())
    }

    fn pair(&self, index: u32) -> Result<Pair<'_>, Malformed> {
        usize::try_from(index).ok().and_then(|index| self.table.pair(index)).ok_or(Malformed::Index(index))
    }
}

/// What is left of a block.
struct Block<'a>(&'a [u8]);

impl Block<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// The number whose first byte has been taken. RFC 7541 §5.1.
    fn number(&mut self, first: u8, mask: u8) -> Result<u32, Malformed> {
        let mut number = u64::from(first & mask);
        if first & mask < mask {
            return Ok(u32::from(first & mask));
        }
        // Zeros may fill a number up without end; 35 bits are more than any that means something.
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.next().ok_or(Malformed::Truncated)?;
            number += u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(number).map_err(|_| Malformed::Number);
            }
        }
        Err(Malformed::Number)
    }

    /// Puts a string behind what is there. RFC 7541 §5.2.
    fn string(&mut self, into: &mut Vec<u8>) -> Result<(), Malformed> {
        let first = self.next().ok_or(Malformed::Truncated)?;
        let length = usize::try_from(self.number(first, 0x7f)?).map_err(|_| Malformed::Truncated)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        if first < 0x80 {
            into.extend_from_slice(string);
            return Ok(());
        }
        huffman::decode(string, into)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::encode::write_number;
    use super::super::fields::{Field, OVERHEAD};
    use super::super::table::STATIC;
    use super::*;

    const NO_END: usize = usize::MAX;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let byte = |two: &[u8]| u8::from_str_radix(str::from_utf8(two).expect("digits"), 16).expect("a byte");
        digits.chunks(2).map(byte).collect()
    }

    fn lines<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> String {
        let line = |(name, value): (&[u8], &[u8])| format!("{}: {}\n", name.escape_ascii(), value.escape_ascii());
        fields.into_iter().map(line).collect()
    }

    fn list(fields: &FieldList) -> String {
        lines(fields.iter().map(|field| (field.name, field.value)))
    }

    fn table(decoder: &Decoder) -> String {
        lines(decoder.table.inserted().iter().map(|pair| (pair.name(), pair.value())))
    }

    /// A block of one decoder, in hex; the lines of its fields; those of the table then, and its size.
    type Example = (&'static str, &'static str, &'static str, usize);

    fn follow(mut decoder: Decoder, examples: &[Example]) {
        let mut fields = FieldList::default();
        for (block, want, want_table, size) in examples {
            assert_eq!(decoder.decode(&bytes(block), &mut fields, NO_END), Ok(()), "{block}");
            let pairs = decoder.table.inserted();
            assert_eq!(list(&fields), *want, "{block}");
            assert_eq!(table(&decoder), *want_table, "{block}");
            assert_eq!(pairs.iter().map(|pair| pair.bytes.len() + OVERHEAD).sum::<usize>(), *size, "{block}");
        }
    }

    #[test]
    fn numbers_are_those_of_appendix_c_1() {
        let cases: [(u32, u8, &str, &str); 8] = [
            // number, mask, bytes, why
            (10, 0x1f, "0a", "C.1.1"),
            (1337, 0x1f, "1f9a0a", "C.1.2"),
            (42, 0xff, "2a", "C.1.3"),
            (30, 0x1f, "1e", "the last in the first byte"),
            (31, 0x1f, "1f00", "the first behind it"),
            (158, 0x1f, "1f7f", "the last in two bytes"),
            (159, 0x1f, "1f8001", "the first in three"),
            (u32::MAX, 0x7f, "7f80ffffff0f", "the largest"),
        ];
        for (number, mask, want, why) in cases {
            let want = bytes(want);
            assert_eq!(Block(&want[1..]).number(want[0] | !mask, mask), Ok(number), "{why}");
            let mut written = Vec::new();
            write_number(&mut written, 0, mask, number as usize);
            assert_eq!(written, want, "{why}");
        }
    }

    #[test]
    fn fields_are_those_of_appendix_c_2() {
        let cases: [(&str, &str, bool, &str); 4] = [
            // block, field, is sensitive, table
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                "custom-key: custom-header\n",
                false,
                "custom-key: custom-header\n",
            ),
            ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path\n", false, ""),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password: secret\n", true, ""),
            ("82", ":method: GET\n", false, ""),
        ];
        for (block, want, is_sensitive, want_table) in cases {
            let (mut decoder, mut fields) = (Decoder::new(), FieldList::default());
            assert_eq!(decoder.decode(&bytes(block), &mut fields, NO_END), Ok(()), "{block}");
            assert_eq!((list(&fields), table(&decoder)), (want.into(), want_table.into()), "{block}");
            assert!(fields.iter().all(|field| field.is_sensitive == is_sensitive), "{block}");
        }
    }

    #[test]
    fn requests_are_those_of_appendix_c_3_and_c_4() {
        let requests = [
            (
                ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
                ":authority: www.example.com\n",
                57,
            ),
            (
                ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
                "cache-control: no-cache\n:authority: www.example.com\n",
                110,
            ),
            (
                ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
                 custom-key: custom-value\n",
                "custom-key: custom-value\ncache-control: no-cache\n:authority: www.example.com\n",
                164,
            ),
        ];
        let plain = [
            "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "8286 84be 5808 6e6f 2d63 6163 6865",
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        ];
        let coded = [
            "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
            "8286 84be 5886 a8eb 1064 9cbf",
            "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        ];
        for blocks in [plain, coded] {
            let examples = blocks.iter().zip(requests).map(|(block, (want, table, size))| (*block, want, table, size));
            follow(Decoder::new(), &examples.collect::<Vec<_>>());
        }
    }

    #[test]
    fn responses_are_those_of_appendix_c_5_and_c_6() {
        let responses = [
            (
                ":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
                 location: https://www.example.com\n",
                "location: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\ncache-control: private\n\
                 :status: 302\n",
                222,
            ),
            (
                ":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
                 location: https://www.example.com\n",
                ":status: 307\nlocation: https://www.example.com\ndate: Mon, 21 Oct 2013 20:13:21 GMT\n\
                 cache-control: private\n",
                222,
            ),
            (
                ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
                 location: https://www.example.com\ncontent-encoding: gzip\n\
                 set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
                "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\ncontent-encoding: gzip\n\
                 date: Mon, 21 Oct 2013 20:13:22 GMT\n",
                215,
            ),
        ];
        let plain = [
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 \
             3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 \
             7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 \
             6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        ];
        let coded = [
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad \
             1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            "4883 640e ffc1 c0bf",
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 \
             e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
        ];
        for blocks in [plain, coded] {
            let examples = blocks.iter().zip(responses).map(|(block, (want, table, size))| (*block, want, table, size));
            follow(Decoder::with_table(256), &examples.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_malformed_block_says_why() {
        let cases = [
            // block, want, why
            ("80", Malformed::Index(0), "index 0"),
            ("be", Malformed::Index(62), "the first index of an empty table"),
            ("82 4001 6101 62 bf", Malformed::Index(63), "the second index of a table of one"),
            ("ff80 ffff ff0f", Malformed::Index(u32::MAX), "the largest index"),
            ("ff80 8080 8000", Malformed::Index(127), "an index filled up with zeros"),
            ("7f00 00", Malformed::Index(63), "the name of a field to be inserted"),
            ("0f2f 00", Malformed::Index(62), "the name of a field"),
            ("1f2f 00", Malformed::Index(62), "the name of a sensitive field"),
            ("ff81 ffff ff0f", Malformed::Number, "2^32"),
            ("ffff ffff ff7f", Malformed::Number, "as large as six bytes get"),
            ("ff80 8080 8080 00", Malformed::Number, "zeros in the seventh byte"),
            ("ff", Malformed::Truncated, "an index without an end"),
            ("ff80", Malformed::Truncated, "an index that goes on"),
            ("40", Malformed::Truncated, "no name"),
            ("41", Malformed::Truncated, "no value behind an index"),
            ("0001 61", Malformed::Truncated, "no value behind a name"),
            ("0002 61", Malformed::Truncated, "a name beyond the block"),
            ("0001 6103 6162", Malformed::Truncated, "a value beyond the block"),
            ("007f 80ff ffff 0f", Malformed::Truncated, "a name of 4 GiB"),
            ("0082 1f", Malformed::Truncated, "a coded name beyond the block"),
            ("1001 6182 1f", Malformed::Truncated, "a coded value beyond the block"),
            ("3f", Malformed::Truncated, "a size without an end"),
            ("0081 ff00", Malformed::Huffman, "a name of padding"),
            ("4001 6184 ffff ffff", Malformed::Huffman, "EOS in a value"),
            ("3fe2 1f", Malformed::Size(4097), "a table larger than ours"),
            ("20 3fe2 1f", Malformed::Size(4097), "a table larger than ours, the second time"),
            ("82 20", Malformed::Resize, "a table's size behind a field"),
            ("20 82 3fe1 1f", Malformed::Resize, "another size behind a field"),
            ("20 20 20", Malformed::Resize, "three sizes"),
        ];
        for (block, want, why) in cases {
            for most in [NO_END, 0] {
                let (mut decoder, mut fields) = (Decoder::new(), FieldList::default());
                assert_eq!(decoder.decode(&bytes(block), &mut fields, most), Err(want), "{why}, {most}");
            }
        }
        for (block, count, why) in [
            ("", 0, "nothing"),
            ("20", 0, "a size alone"),
            ("20 3fe1 1f 82", 1, "two sizes"),
            ("00 00 00", 1, "an empty field"),
            ("0080 80", 1, "an empty field, coded"),
        ] {
            let (mut decoder, mut fields) = (Decoder::new(), FieldList::default());
            assert_eq!(decoder.decode(&bytes(block), &mut fields, NO_END), Ok(()), "{why}");
            assert_eq!(fields.iter().len(), count, "{why}");
        }
    }

    #[test]
    fn a_name_outlives_the_pair_that_it_is_taken_from() {
        let (mut decoder, mut fields) = (Decoder::with_table(256), FieldList::default());
        let name = [b'n'; 100];
        let first = [b"\x40\x64", &name[..], b"\x64", &[b'v'; 100]].concat();
        assert_eq!(decoder.decode(&first, &mut fields, NO_END), Ok(()));
        // Inserted under the first's name, which makes room for it.
        let second = [b"\x7e\x64", &[b'w'; 100][..], b"\xbe"].concat();
        assert_eq!(decoder.decode(&second, &mut fields, NO_END), Ok(()));
        let want = Field { name: &name, value: &[b'w'; 100], is_sensitive: false };
        assert_eq!(fields.iter().collect::<Vec<_>>(), [want, want]);
        assert_eq!(decoder.table.inserted().len(), 1);
        // Under the same name once more, too large for the table.
        let third = [b"\x7e\x7f\x01", &[b'x'; 128][..]].concat();
        assert_eq!(decoder.decode(&third, &mut fields, NO_END), Ok(()));
        let want = Field { name: &name, value: &[b'x'; 128], is_sensitive: false };
        assert_eq!(fields.iter().collect::<Vec<_>>(), [want]);
        assert_eq!(decoder.decode(b"\xbe", &mut fields, NO_END), Err(Malformed::Index(62)), "it is empty");
    }

    #[test]
    fn a_smaller_table_forgets() {
        let field = "4001 6101 62";
        follow(
            Decoder::new(),
            &[
                (field, "a: b\n", "a: b\n", 34),
                (field, "a: b\n", "a: b\na: b\n", 68),
                ("3f24", "", "a: b\n", 34),
                ("21 3fe1 1f", "", "", 0),
                (field, "a: b\n", "a: b\n", 34),
            ],
        );
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_list_and_a_field() {
        let mut bomb = vec![0x40];
        for byte in [b'a', b'b'] {
            write_number(&mut bomb, 0, 0x7f, 2000);
            bomb.resize(bomb.len() + 2000, byte);
        }
        bomb.resize(bomb.len() + 60_000, 0xbe);
        // The same name, a thousand times.
        bomb.extend(b"\x0f\x2f\0".repeat(1000));
        // The table is carried on, whatever is kept.
        bomb.extend_from_slice(b"\x40\x01c\x01d");
        let size = 4000 + OVERHEAD;
        for (most, want, why) in [
            (0, 1, "the first is kept, so that the list is seen to be too large"),
            (size - 1, 1, "a byte too little"),
            (size, 2, "a list that is as large as it may be has room for one more"),
            (65_536, 17, "what is usual"),
        ] {
            let (mut decoder, mut fields) = (Decoder::new(), FieldList::default());
            assert_eq!(decoder.decode(&bomb, &mut fields, most), Ok(()), "{why}");
            assert_eq!((fields.iter().len(), fields.size()), (want, want * size), "{why}");
            assert!(fields.size() > most && fields.bytes.capacity() <= 2 * (most + size), "{why}");
            assert_eq!(decoder.decode(b"\xbe", &mut fields, most), Ok(()), "{why}");
            assert_eq!(list(&fields), "c: d\n", "{why}");
        }
    }

    /// A field that a client sends.
    #[derive(Debug, Clone)]
    enum Sent {
        Indexed(usize),
        Literal { form: (u8, u8), name: Name, value: Vec<u8>, is_coded: bool },
    }

    #[derive(Debug, Clone)]
    enum Name {
        Indexed(usize),
        Literal(Vec<u8>),
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let string = || prop_oneof![8 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 0..3000)];
        let form = prop_oneof![3 => Just((0x40, 0x3f)), 1 => Just((0x10, 0x0f)), 1 => Just((0, 0x0f))];
        let name = prop_oneof![(1..100_usize).prop_map(Name::Indexed), string().prop_map(Name::Literal)];
        let literal = (form, name, string(), any::<bool>()).prop_map(|(form, name, value, is_coded)| Sent::Literal {
            form,
            name,
            value,
            is_coded,
        });
        prop_oneof![(1..100_usize).prop_map(Sent::Indexed), literal]
    }

    /// A client, which keeps its table in the plainest way.
    struct Client {
        inserted: Vec<(Vec<u8>, Vec<u8>)>,
        limit: usize,
        block: Vec<u8>,
    }

    impl Client {
        fn limit(&mut self, limit: usize) {
            write_number(&mut self.block, 0x20, 0x1f, limit);
            self.limit = limit;
            self.evict();
        }

        fn evict(&mut self) {
            let size = |(name, value): &(Vec<u8>, Vec<u8>)| name.len() + value.len() + OVERHEAD;
            while self.inserted.iter().map(size).sum::<usize>() > self.limit {
                self.inserted.pop();
            }
        }

        /// What an index stands for, or the last one.
        fn known(&self, index: usize) -> (usize, (Vec<u8>, Vec<u8>)) {
            let index = index.min(STATIC.len() + self.inserted.len());
            let first = STATIC.get(index - 1).map(|pair| (pair.name().to_vec(), pair.value().to_vec()));
            (index, first.unwrap_or_else(|| self.inserted[index - 1 - STATIC.len()].clone()))
        }

        fn string(&mut self, string: &[u8], is_coded: bool) {
            let (form, string) = if is_coded { (0x80, huffman::tests::encode(string)) } else { (0, string.to_vec()) };
            write_number(&mut self.block, form, 0x7f, string.len());
            self.block.extend(string);
        }

        fn send(&mut self, sent: Sent) -> (Vec<u8>, Vec<u8>, bool) {
            let ((form, mask), name, value, is_coded) = match sent {
                Sent::Indexed(index) => {
                    let (index, (name, value)) = self.known(index);
                    write_number(&mut self.block, 0x80, 0x7f, index);
                    return (name, value, false);
                }
                Sent::Literal { form, name, value, is_coded } => (form, name, value, is_coded),
            };
            let (index, name) = match name {
                Name::Indexed(index) => (self.known(index).0, self.known(index).1.0),
                Name::Literal(name) => (0, name),
            };
            write_number(&mut self.block, form, mask, index);
            if index == 0 {
                self.string(&name, is_coded);
            }
            self.string(&value, is_coded);
            if form == 0x40 {
                self.inserted.insert(0, (name.clone(), value.clone()));
                self.evict();
            }
            (name, value, form == 0x10)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_client_does_to_its_table_is_understood(
            blocks in vec((vec(0..=Table::LARGEST, 0..=2), vec(sent(), 0..30), 0..9000_usize), 1..6),
        ) {
            let (mut decoder, mut fields) = (Decoder::new(), FieldList::default());
            let mut client = Client { inserted: Vec::new(), limit: Table::LARGEST, block: Vec::new() };
            for (limits, block, most) in blocks {
                client.block.clear();
                for limit in limits {
                    client.limit(limit);
                }
                let (mut want, mut size) = (Vec::new(), 0);
                for sent in block {
                    let (name, value, is_sensitive) = client.send(sent);
                    if size <= most {
                        size += name.len() + value.len() + OVERHEAD;
                        want.push((name, value, is_sensitive));
                    }
                }
                prop_assert_eq!(decoder.decode(&client.block, &mut fields, most), Ok(()));
                prop_assert_eq!(fields.size(), size);
                let got = fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec(), field.is_sensitive));
                prop_assert_eq!(got.collect::<Vec<_>>(), want);
                let inserted = client.inserted.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
                prop_assert_eq!(table(&decoder), lines(inserted));
            }
        }
    }

    /// Bytes that mean something, for a while.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        let inserted =
            || (0..=120_u8).prop_map(|length| [&[0x40, length], &*vec![b'a'; length.into()], &[1, b'b']].concat());
        let spelt_out =
            (1..15_u8, 0..120_u8).prop_map(|(name, length)| [&[name, length], &*vec![b'c'; length.into()]].concat());
        let piece = prop_oneof![
            40 => (0x81..=0xbe_u8).prop_map(|byte| vec![byte]),
            10 => inserted(),
            10 => spelt_out,
            1 => vec(any::<u8>(), 0..8),
        ];
        (inserted(), vec(piece, 0..200)).prop_map(|(first, rest)| first.into_iter().chain(rest.concat()).collect())
    }

    proptest! {
        #[test]
        fn no_bytes_cost_more_than_they_may(blocks in vec(noise(), 1..5), most in 0..5000_usize) {
            let (mut decoder, mut fields) = (Decoder::new(), FieldList::default());
            for block in blocks {
                let decoded = decoder.decode(&block, &mut fields, most);
                let field = Table::LARGEST + block.len() * 8 / 5;
                prop_assert!(fields.size() <= most + field);
                // A vector that grows may be twice as large as it has to be.
                prop_assert!(fields.bytes.capacity() <= 2 * (most + 2 * field));
                fields.iter().for_each(drop);
                fields.rest();
                if decoded.is_err() {
                    break;
                }
            }
        }
    }
}
