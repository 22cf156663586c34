//! Which bytes does a string in Huffman's code stand for? (RFC 7541 §5.2, Appendix B)

use super::decode::Malformed;

const SYMBOLS: usize = 257;
/// The end of a string, which no string has in it.
const EOS: u16 = 256;
/// Bits of the shortest code, of the longest, and of the longest that is found at the first look.
const SHORTEST: u16 = 5;
const LONGEST: u16 = 30;
const LOOK: u16 = 10;

/// An index for each length.
const LENGTH_COUNT: usize = LONGEST as usize + 1;

/// How many bits each symbol's code has. Appendix B.
///
/// The codes follow from it, as in any canonical code: those of one length count up with the symbol, and those of the
/// next go on where they end.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

static CODE: Code = Code::new();
static FIRST_LOOK: [Found; 1 << LOOK] = first_look();

/// No code is missing, and none begins with another: whatever 30 bits there are begin with one.
const _: () = assert!(Code::new().ends[LONGEST as usize] == 1 << LONGEST);

/// The symbols by length of their code, and by themselves.
struct Code {
    symbols: [u16; SYMBOLS],
    /// By length: how many symbols have no longer code.
    counts: [u32; LENGTH_COUNT],
    /// By length: the code after the last of this length.
    ends: [u32; LENGTH_COUNT],
}

/// What some bits begin with. Of no length: nothing found.
#[derive(Clone, Copy)]
struct Found {
    symbol: u16,
    length: u16,
}

impl Code {
    const fn new() -> Self {
        let mut code = Self { symbols: [0; SYMBOLS], counts: [0; LENGTH_COUNT], ends: [0; LENGTH_COUNT] };
        let (mut length, mut count, mut end) = (1, 0, 0);
        while length <= LONGEST {
            end *= 2;
            let mut symbol = 0;
            while symbol <= EOS {
                if LENGTHS[symbol as usize] as u16 == length {
                    code.symbols[count as usize] = symbol;
                    count += 1;
                    end += 1;
                }
                symbol += 1;
            }
            code.counts[length as usize] = count;
            code.ends[length as usize] = end;
            length += 1;
        }
        code
    }

    /// Looks for a code at the beginning of 32 bits, from one length to another.
    const fn find(&self, bits: u32, from: u16, to: u16) -> Found {
        let mut length = from;
        while length <= to {
            let code = bits >> (32 - length);
            let end = self.ends[length as usize];
            if code < end {
                // Its place, counted from behind: the symbols of this length from this one on.
                let at = self.counts[length as usize] - (end - code);
                return Found { symbol: self.symbols[at as usize], length };
            }
            length += 1;
        }
        Found { symbol: 0, length: 0 }
    }
}

const fn first_look() -> [Found; 1 << LOOK] {
    let code = Code::new();
    let mut table = [Found { symbol: 0, length: 0 }; 1 << LOOK];
    let mut bits: u32 = 0;
    while bits < 1 << LOOK {
        table[bits as usize] = code.find(bits << (32 - LOOK), SHORTEST, LOOK);
        bits += 1;
    }
    table
}

/// Bits of a string, the next one first.
struct Bits<'a> {
    word: u64,
    /// How many of the word are the string's.
    count: u16,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Makes the word as full as it gets.
    fn fill(&mut self) {
        if let Some(next) = self.rest.first_chunk() {
            // Bits that fit beside whole bytes are put in, and not counted: the next time they come to the same place.
            self.word |= u64::from_be_bytes(*next) >> self.count;
            let taken = (64 - self.count) / 8;
            self.count += taken * 8;
            self.rest = &self.rest[usize::from(taken)..];
            return;
        }
        while self.count <= 56
            && let Some((&next, rest)) = self.rest.split_first()
        {
            self.word |= u64::from(next) << (56 - self.count);
            self.count += 8;
            self.rest = rest;
        }
    }

    fn first(&self) -> Found {
        let found = FIRST_LOOK[(self.word >> (64 - LOOK)) as usize];
        if found.length > 0 { found } else { CODE.find((self.word >> 32) as u32, LOOK + 1, LONGEST) }
    }
}

/// Puts what a string stands for behind what is there.
///
/// # Errors
///
/// EOS in the string, or an end that is not padding: more than 7 bits, or others than EOS begins with. §5.2.
pub(super) fn decode(string: &[u8], into: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = into.len();
    into.resize(start + string.len() * 8 / usize::from(SHORTEST), 0);
    let decoded = &mut into[start..];
    let mut length = 0;
    let mut bits = Bits { word: 0, count: 0, rest: string };
    loop {
        if bits.count < LONGEST {
            bits.fill();
        }
        let found = bits.first();
        // No code is as short as what is left: the string's end.
        if found.length > bits.count {
            break;
        }
        decoded[length] = u8::try_from(found.symbol).map_err(|_| Malformed::Huffman)?;
        length += 1;
        bits.word <<= found.length;
        bits.count -= found.length;
    }
    into.truncate(start + length);
    // EOS is nothing but ones.
    let is_padding = bits.count < 8 && bits.word.leading_ones() >= u32::from(bits.count);
    if is_padding { Ok(()) } else { Err(Malformed::Huffman) }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    /// Each symbol's code, and how many bits it has. Counted up by length and symbol.
    fn codes() -> Vec<(u32, u8)> {
        let mut symbols: Vec<usize> = (0..SYMBOLS).collect();
        symbols.sort_by_key(|symbol| LENGTHS[*symbol]);
        let (mut codes, mut next, mut length) = (vec![(0, 0); SYMBOLS], 0, LENGTHS[symbols[0]]);
        for symbol in symbols {
            next <<= LENGTHS[symbol] - length;
            length = LENGTHS[symbol];
            codes[symbol] = (next, length);
            next += 1;
        }
        codes
    }

    /// The bits of codes, and what is missing for whole bytes in ones.
    fn written(codes: impl IntoIterator<Item = (u32, u8)>) -> Vec<u8> {
        let bits = codes.into_iter().flat_map(|(code, length)| (0..length).rev().map(move |at| code >> at & 1 == 1));
        let mut bits: Vec<bool> = bits.collect();
        bits.resize(bits.len().next_multiple_of(8), true);
        bits.chunks(8).map(|byte| byte.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }

    /// A string in Huffman's code.
    pub(crate) fn encode(string: &[u8]) -> Vec<u8> {
        let codes = codes();
        written(string.iter().map(|byte| codes[usize::from(*byte)]))
    }

    fn decoded(string: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut into = b"before".to_vec();
        decode(string, &mut into).map(|()| into.strip_prefix(b"before").expect("nothing else is touched").to_vec())
    }

    #[test]
    fn the_codes_are_those_of_appendix_b() {
        let ends = [
            // bits, first symbol and its code, last symbol and its code
            (5, 48, 0x0, 116, 0x9),
            (6, 32, 0x14, 117, 0x2d),
            (7, 58, 0x5c, 122, 0x7b),
            (8, 38, 0xf8, 90, 0xfd),
            (10, 33, 0x3f8, 63, 0x3fc),
            (11, 39, 0x7fa, 124, 0x7fc),
            (12, 35, 0xffa, 62, 0xffb),
            (13, 0, 0x1ff8, 126, 0x1ffd),
            (14, 94, 0x3ffc, 125, 0x3ffd),
            (15, 60, 0x7ffc, 123, 0x7ffe),
            (19, 92, 0x7fff0, 208, 0x7fff2),
            (20, 128, 0xfffe6, 226, 0xfffed),
            (21, 153, 0x1f_ffdc, 230, 0x1f_ffe8),
            (22, 129, 0x3f_ffd2, 233, 0x3f_ffeb),
            (23, 1, 0x7f_ffd8, 239, 0x7f_fff4),
            (24, 9, 0xff_ffea, 237, 0xff_fff5),
            (25, 199, 0x1ff_ffec, 235, 0x1ff_ffef),
            (26, 192, 0x3ff_ffe0, 255, 0x3ff_ffee),
            (27, 203, 0x7ff_ffde, 254, 0x7ff_fff0),
            (28, 2, 0xfff_ffe2, 249, 0xfff_fffe),
            (30, 10, 0x3fff_fffc, 256, 0x3fff_ffff),
        ];
        let codes = codes();
        let of_length = |bits: u8| (0..SYMBOLS).filter(move |symbol| LENGTHS[*symbol] == bits);
        for (bits, first, first_code, last, last_code) in ends {
            assert_eq!((of_length(bits).min(), of_length(bits).max()), (Some(first), Some(last)), "{bits} bits");
            assert_eq!((codes[first], codes[last]), ((first_code, bits), (last_code, bits)), "{bits} bits");
        }
        let list: Vec<u8> =
            codes.iter().flat_map(|(code, bits)| [&code.to_be_bytes()[..], &[*bits]].concat()).collect();
        assert_eq!(xxh3_64(&list), 0x36a4_e11a_c8ef_5f29, "the checksum of another's table");
    }

    #[test]
    fn each_byte_is_decoded_wherever_it_begins() {
        for byte in 0..=255 {
            // A zero has 5 bits.
            for zeros in 0..16 {
                let string = ["0".repeat(zeros).as_bytes(), &[byte, b'0']].concat();
                assert_eq!(decoded(&encode(&string)), Ok(string), "{byte} behind {zeros} zeros");
            }
        }
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encode(&all)), Ok(all));
    }

    #[test]
    fn a_string_ends_with_less_than_a_byte_of_ones() {
        let zeros = (0, 5);
        let eos = codes()[usize::from(EOS)];
        let cases = [
            // codes,                            why
            (vec![(0xff, 8)], "padding of 8 bits, behind nothing"),
            (vec![zeros, zeros, zeros, (0x1, 1), (0xff, 8)], "padding of 9 bits"),
            (vec![zeros, (0x1fff, 11)], "padding of 11 bits"),
            (vec![(0xffff_ffff, 32)], "EOS, and padding"),
            (vec![eos, (0, 5), (0, 5)], "EOS, and a string"),
            (vec![zeros, eos, (0, 5)], "EOS inside of a string"),
            (vec![zeros, eos], "EOS at the end of a string"),
            (vec![(0x3fff_ffff >> 6, 24)], "the beginning of EOS"),
            (vec![zeros, (0x0, 3)], "zeros as padding"),
            (vec![zeros, (0x6, 3)], "padding that ends with a zero"),
            (vec![zeros, (0x3, 3)], "padding that begins with a zero"),
            (vec![(0x7_ffff, 19), zeros], "a code that is cut off"),
        ];
        for (codes, why) in cases {
            assert_eq!(decoded(&written(codes)), Err(Malformed::Huffman), "{why}");
        }
        for string in ["", "0", "00000000", "a0", "&", "aaa", "aaaaaa", "&0", "000"] {
            assert_eq!(decoded(&encode(string.as_bytes())), Ok(string.into()), "each length of padding: {string}");
        }
    }

    proptest! {
        #[test]
        fn any_string_comes_back(string in vec(any::<u8>(), 0..100), text in "[ -~]{0,100}") {
            prop_assert_eq!(decoded(&encode(&string)), Ok(string));
            prop_assert_eq!(decoded(&encode(text.as_bytes())), Ok(text.into_bytes()));
        }

        #[test]
        fn what_is_decoded_has_no_other_code(string in vec(prop_oneof![any::<u8>(), Just(0xff)], 0..12)) {
            if let Ok(decoded) = decoded(&string) {
                prop_assert_eq!(encode(&decoded), string);
            }
        }
    }
}
