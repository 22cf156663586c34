//! Which field does an index stand for? (RFC 7541 §2.3)
//!
//! The first 61 indices are the same for everybody (Appendix A). Those after them count what a client has put into its
//! table, the newest first.

use std::collections::VecDeque;

use super::fields::OVERHEAD;

/// A name, and a value behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) name_length: usize,
}

impl<'a> Pair<'a> {
    pub(super) fn name(self) -> &'a [u8] {
        &self.bytes[..self.name_length]
    }

    pub(super) fn value(self) -> &'a [u8] {
        &self.bytes[self.name_length..]
    }
}

/// What a client has put into its table.
#[derive(Debug)]
pub(super) struct Table {
    /// The pairs' bytes, the oldest first; before them, those of evicted ones.
    bytes: Vec<u8>,
    /// The newest first.
    places: VecDeque<Place>,
    size: usize,
    limit: usize,
}

/// Where a pair is in these bytes. It ends where the next newer one begins.
#[derive(Debug)]
struct Place {
    start: u16,
    name_length: u16,
    length: u16,
}

impl Place {
    fn size(&self) -> usize {
        usize::from(self.length) + OVERHEAD
    }
}

impl Table {
    /// The largest limit there may be: `SETTINGS_HEADER_TABLE_SIZE` where nothing is said. RFC 9113 §6.5.2.
    pub(super) const LARGEST: usize = 4096;

    /// An empty table, which has no memory yet.
    pub(super) const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), places: VecDeque::new(), size: 0, limit }
    }

    /// What an index stands for.
    pub(super) fn pair(&self, index: usize) -> Option<Pair<'_>> {
        let index = index.checked_sub(1)?;
        if let Some(pair) = STATIC.get(index) {
            return Some(*pair);
        }
        let place = self.places.get(index - STATIC.len())?;
        let bytes = &self.bytes[usize::from(place.start)..][..usize::from(place.length)];
        Some(Pair { bytes, name_length: usize::from(place.name_length) })
    }

    /// Puts in a pair, and evicts the oldest ones for it. One that is larger than the table empties it. RFC 7541 §4.4.
    pub(super) fn insert(&mut self, pair: Pair<'_>) {
        let size = pair.bytes.len() + OVERHEAD;
        let Some(room) = self.limit.checked_sub(size) else { return self.evict(0) };
        self.evict(room);
        self.make_room(pair.bytes.len());
        let short = |number| u16::try_from(number).expect("the memory is bounded by the limit");
        let (start, name_length, length) = (self.bytes.len(), pair.name_length, pair.bytes.len());
        self.places.push_front(Place { start: short(start), name_length: short(name_length), length: short(length) });
        self.bytes.extend_from_slice(pair.bytes);
        self.size += size;
    }

    /// Sets another limit. RFC 7541 §4.3.
    pub(super) fn limit(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    fn evict(&mut self, most: usize) {
        while self.size > most {
            self.size -= self.places.pop_back().expect("a table without pairs has no size").size();
        }
    }

    /// Makes room for so many bytes: in that of evicted pairs where it is a good part of all, so that no pair is moved
    /// again and again; else in new memory, half as much as the limit more than it at most.
    fn make_room(&mut self, more: usize) {
        if self.bytes.len() + more <= self.bytes.capacity() {
            return;
        }
        let gone = self.places.back().map_or(self.bytes.len(), |oldest| usize::from(oldest.start));
        let live = self.bytes.len() - gone;
        if gone >= live / 2 {
            self.bytes.drain(..gone);
            for place in &mut self.places {
                place.start -= u16::try_from(gone).expect("no pair starts before the oldest");
            }
        }
        let length = self.bytes.len() + more;
        let capacity = (2 * self.bytes.capacity()).min(self.limit + self.limit / 2).max(length);
        if length > self.bytes.capacity() {
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
    }
}

macro_rules! pairs {
    ($($name:literal $value:literal),* $(,)?) => {
        [$(Pair { bytes: concat!($name, $value).as_bytes(), name_length: $name.len() }),*]
    };
}

/// Appendix A.
pub(super) static STATIC: [Pair<'static>; 61] = pairs![
    ":authority" "", ":method" "GET", ":method" "POST", ":path" "/", ":path" "/index.html", ":scheme" "http",
    ":scheme" "https", ":status" "200", ":status" "204", ":status" "206", ":status" "304", ":status" "400",
    ":status" "404", ":status" "500", "accept-charset" "", "accept-encoding" "gzip, deflate", "accept-language" "",
    "accept-ranges" "", "accept" "", "access-control-allow-origin" "", "age" "", "allow" "", "authorization" "",
    "cache-control" "", "content-disposition" "", "content-encoding" "", "content-language" "", "content-length" "",
    "content-location" "", "content-range" "", "content-type" "", "cookie" "", "date" "", "etag" "", "expect" "",
    "expires" "", "from" "", "host" "", "if-match" "", "if-modified-since" "", "if-none-match" "", "if-range" "",
    "if-unmodified-since" "", "last-modified" "", "link" "", "location" "", "max-forwards" "", "proxy-authenticate" "",
    "proxy-authorization" "", "range" "", "referer" "", "refresh" "", "retry-after" "", "server" "", "set-cookie" "",
    "strict-transport-security" "", "transfer-encoding" "", "user-agent" "", "vary" "", "via" "", "www-authenticate" "",
];

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    impl Table {
        /// What a client has put in, the newest first.
        pub(crate) fn inserted(&self) -> Vec<Pair<'_>> {
            (STATIC.len() + 1..).map_while(|index| self.pair(index)).collect()
        }
    }

    fn sum(pairs: &[Pair<'_>]) -> usize {
        pairs.iter().map(|pair| pair.bytes.len() + OVERHEAD).sum()
    }

    #[test]
    fn the_first_indices_are_the_same_for_everybody() {
        let table = Table::new(Table::LARGEST);
        let cases = [
            // index, name, value
            (1, ":authority", ""),
            (2, ":method", "GET"),
            (7, ":scheme", "https"),
            (8, ":status", "200"),
            (14, ":status", "500"),
            (15, "accept-charset", ""),
            (16, "accept-encoding", "gzip, deflate"),
            (32, "cookie", ""),
            (38, "host", ""),
            (50, "range", ""),
            (58, "user-agent", ""),
            (61, "www-authenticate", ""),
        ];
        for (index, name, value) in cases {
            let pair = table.pair(index).expect("one of the first");
            assert_eq!((pair.name(), pair.value()), (name.as_bytes(), value.as_bytes()), "{index}");
        }
        assert_eq!((table.pair(0), table.pair(62)), (None, None));
        let line = |pair: &Pair<'_>| format!("{}: {}\n", pair.name().escape_ascii(), pair.value().escape_ascii());
        let lines: String = STATIC.iter().map(line).collect();
        assert_eq!(xxh3_64(lines.as_bytes()), 0x0169_b70c_224d_fa2b, "the checksum of another's table");
    }

    #[test]
    fn a_table_has_no_memory_before_its_first_pair() {
        let mut table = Table::new(Table::LARGEST);
        table.limit(0);
        table.insert(Pair { bytes: b"a", name_length: 1 });
        table.limit(Table::LARGEST);
        assert_eq!((table.bytes.capacity(), table.places.capacity()), (0, 0));
        table.insert(Pair { bytes: b"a", name_length: 1 });
        assert_eq!((table.inserted().len(), table.size), (1, 33));
    }

    #[test]
    fn pairs_go_by_their_size_the_oldest_first() {
        let cases = [
            // limit, lengths inserted, lengths left (the newest first), why
            (100, &[18, 18][..], &[18, 18][..], "the limit itself"),
            (100, &[18, 19], &[19], "a byte more"),
            (100, &[1, 2, 3, 4], &[4, 3], "33, 34, 35 and 36 bytes"),
            (100, &[1, 1, 68], &[68], "one as large as the table"),
            (100, &[1, 1, 69], &[], "one larger than the table empties it"),
            (100, &[69, 1], &[1], "and others come after it"),
            (31, &[0], &[], "no room for a pair of nothing"),
            (32, &[0, 0], &[0], "room for one of them"),
        ];
        for (limit, inserted, left, why) in cases {
            let mut table = Table::new(limit);
            for length in inserted {
                table.insert(Pair { bytes: &vec![b'a'; *length], name_length: *length });
            }
            let lengths: Vec<usize> = table.inserted().iter().map(|pair| pair.bytes.len()).collect();
            assert_eq!(lengths, left, "{why}");
            assert_eq!(table.size, sum(&table.inserted()), "{why}");
        }
    }

    proptest! {
        #[test]
        fn a_table_is_what_a_plain_list_would_be(
            steps in vec((0_u8..40, prop_oneof![0..100_usize, 0..1500_usize, 3900..4200_usize], 0..=255_u8), 0..400),
        ) {
            let mut table = Table::new(Table::LARGEST);
            let (mut list, mut limit): (Vec<Vec<u8>>, usize) = (Vec::new(), Table::LARGEST);
            for (step, number, byte) in steps {
                if step == 0 {
                    limit = number.min(Table::LARGEST);
                    table.limit(limit);
                } else {
                    list.insert(0, vec![byte; number]);
                    table.insert(Pair { bytes: &list[0], name_length: number / 3 });
                }
                while list.iter().map(|pair| pair.len() + OVERHEAD).sum::<usize>() > limit {
                    list.pop();
                }
                let want = list.iter().map(|bytes| Pair { bytes, name_length: bytes.len() / 3 });
                let inserted = table.inserted();
                prop_assert_eq!(table.size, sum(&inserted));
                prop_assert_eq!(inserted, want.collect::<Vec<_>>());
                prop_assert!(table.bytes.capacity() <= Table::LARGEST * 3 / 2);
                prop_assert!(table.places.capacity() <= Table::LARGEST / OVERHEAD);
            }
        }
    }
}
