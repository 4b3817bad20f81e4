//! What neighbouring columns of few values have in a row, together.
//!
//! Where an event came from and what sent it are some columns side by side, and most rows have in all of them what one of the rows
//! shortly before had. Whoever asks once for all of them has one look at a row instead of one a column.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use super::rows::RowSpans;
use super::words::{difference, fold};

/// Columns side by side whose values go together, as places in [`TEXT_COLUMNS`](crate::pushdown::columns::TEXT_COLUMNS): where an
/// event came from, what sent it, and its campaign. The first two apart: of the two together, a website that is read everywhere
/// has more than can be kept.
pub(super) const NEIGHBOURS: [Range<usize>; 3] = [5..8, 8..11, 12..15];

/// Most columns that go together.
pub(super) const MOST_NEIGHBOURS: usize = 3;

const _: () = {
    let mut place = 0;
    while place < NEIGHBOURS.len() {
        let columns = &NEIGHBOURS[place];
        assert!(columns.end - columns.start <= MOST_NEIGHBOURS);
        place += 1;
    }
};

/// Combinations that are kept, a power of two. A new one takes the place of an older one.
const SLOTS: usize = 1 << 10;

/// Longest combination that is kept, in bytes on the wire.
const MAX_BYTES: usize = 64;

/// The combinations that some columns had last, and what was made of each. Holds [`SLOTS`] of them, once there is one.
#[derive(Debug)]
pub(super) struct Combinations<V> {
    columns: Range<usize>,
    slots: Vec<Slot<V>>,
    /// Secret, so that no visitor can choose combinations that all fall into one slot.
    keys: [u64; MAX_BYTES / 8],
}

#[derive(Clone, Debug, Default)]
struct Slot<V> {
    combination: Combination,
    made: V,
}

/// The bytes of a row from the first text of the columns to the end of the last one, zeros behind them. Each text but the first
/// one stands behind its own length there, so with the first one's length they say what the texts are.
#[derive(Clone, Copy, Debug, Default)]
struct Combination {
    words: [u64; MAX_BYTES / 8],
    /// How many bytes there are and one more, and above that the first text's length. Zero where there is no combination.
    lens: u64,
}

/// Where the combination of a row is kept.
pub(super) enum Place<'a, V> {
    /// It was there before, and this was made of it.
    Known(&'a V),
    /// It is kept from now on; this has to become what is made of it.
    New(&'a mut V),
    /// It is not kept.
    Nowhere,
}

impl Combination {
    /// Whether the other one is the same, without a call.
    #[inline(always)]
    fn is(&self, other: &Self) -> bool {
        difference(&self.words, &other.words) | (self.lens ^ other.lens) == 0
    }
}

impl<V: Clone + Default> Combinations<V> {
    /// Of these columns, at least two.
    pub(super) fn new(columns: Range<usize>) -> Self {
        let random = RandomState::new();
        Self {
            columns,
            slots: Vec::new(),
            keys: std::array::from_fn(|place| random.hash_one(place)),
        }
    }

    /// Forgets all combinations.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
    }

    /// Whether all of a row's texts are empty, as far as that can be seen at once: where it is false, they may be empty, too.
    #[inline(always)]
    pub(super) fn is_empty(&self, row: &RowSpans) -> bool {
        let (first, last) = (row[self.columns.start], row[self.columns.end - 1]);
        // Nothing but the lengths of the others, a byte each.
        first.len == 0
            && last.len == 0
            && last.start.wrapping_sub(first.start) as usize == self.columns.len() - 1
    }

    /// Looks for the combination of a row whose texts lie in `bytes`, each directly behind its length.
    #[inline(always)]
    pub(super) fn place(&mut self, bytes: &[u8], row: &RowSpans) -> Place<'_, V> {
        let Some(combination) = self.combination(bytes, row) else {
            return Place::Nowhere;
        };
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let place = self.hash(&combination) as usize % SLOTS;
        let slot = &mut self.slots[place];
        if slot.combination.is(&combination) {
            return Place::Known(&slot.made);
        }
        slot.combination = combination;
        Place::New(&mut slot.made)
    }

    #[inline(always)]
    fn combination(&self, bytes: &[u8], row: &RowSpans) -> Option<Combination> {
        let (first, last) = (row[self.columns.start], row[self.columns.end - 1]);
        let len = last.start.wrapping_sub(first.start).wrapping_add(last.len) as usize;
        let block: &[u8; MAX_BYTES] = bytes.get(first.start as usize..)?.first_chunk()?;
        // Ones for so many bytes, and zeros.
        let mask: &[u8; MAX_BYTES] = ONES_AND_ZEROS
            .get(MAX_BYTES.checked_sub(len)?..)?
            .first_chunk()?;
        let (block, mask) = (block.as_chunks::<8>().0, mask.as_chunks::<8>().0);
        let word =
            |place: usize| u64::from_le_bytes(block[place]) & u64::from_le_bytes(mask[place]);
        Some(Combination {
            words: std::array::from_fn(word),
            lens: (len as u64 + 1) | u64::from(first.len) << 32,
        })
    }

    #[inline(always)]
    fn hash(&self, Combination { words, lens }: &Combination) -> u64 {
        let words = words.as_chunks::<2>().0.iter();
        let keys = self.keys.as_chunks::<2>().0;
        words.zip(keys).fold(*lens, |hash, ([low, high], key)| {
            hash ^ fold(low ^ key[0], high ^ key[1])
        })
    }
}

const ONES_AND_ZEROS: [u8; 2 * MAX_BYTES] = {
    let mut bytes = [0; 2 * MAX_BYTES];
    let mut place = 0;
    while place < MAX_BYTES {
        bytes[place] = 0xff;
        place += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::decode::Span;
    use crate::decode::support::write_length;
    use crate::pushdown::columns::TEXT_COLUMNS;

    const COLUMNS: Range<usize> = 5..8;

    /// Rows with these texts in the columns, one behind the other, and so many bytes behind the last one.
    fn rows(texts: &[[Vec<u8>; 3]], behind: usize) -> (Vec<u8>, Vec<RowSpans>) {
        let mut bytes = Vec::new();
        let rows = texts.iter().map(|texts| {
            std::array::from_fn(|column| {
                let place = COLUMNS.clone().position(|of| of == column);
                let text = place.map_or(&b"x"[..], |place| &texts[place]);
                write_length(text.len() as u64, &mut bytes);
                let span = Span {
                    start: bytes.len() as u32,
                    len: text.len() as u32,
                };
                bytes.extend_from_slice(text);
                span
            })
        });
        let rows: Vec<[Span; TEXT_COLUMNS.len()]> = rows.collect();
        bytes.resize(bytes.len() + behind, b'x');
        (bytes, rows)
    }

    fn combination(texts: [&[u8]; 3]) -> [Vec<u8>; 3] {
        texts.map(<[u8]>::to_vec)
    }

    #[test]
    fn a_combination_is_known_when_it_comes_again() {
        let one = combination([b"DE", b"BY", b"M\xc3\xbcnchen"]);
        let other = combination([b"DE", b"BE", b"Berlin"]);
        let (bytes, rows) = rows(&[one.clone(), other, one], 0);
        let mut combinations = Combinations::new(COLUMNS);
        let mut new = 0;
        for row in &rows[..2] {
            if let Place::New(made) = combinations.place(&bytes, row) {
                new += 1;
                *made = new;
            }
        }
        assert_eq!(new, 2);
        // Nothing is behind the last one, so it cannot be read in a block.
        assert!(matches!(
            combinations.place(&bytes, &rows[2]),
            Place::Nowhere
        ));
        let bytes = [&bytes[..], &[0xaa; MAX_BYTES]].concat();
        assert!(matches!(
            combinations.place(&bytes, &rows[2]),
            Place::Known(1)
        ));
        combinations.clear();
        assert!(matches!(
            combinations.place(&bytes, &rows[2]),
            Place::New(0)
        ));
    }

    #[test]
    fn the_same_bytes_are_not_the_same_texts_where_the_first_one_is_longer() {
        let one = combination([b"a", b"\x01b", b"c"]);
        let other = combination([b"a\x02", b"b", b"c"]);
        let (bytes, rows) = rows(&[one, other], MAX_BYTES);
        let of = |row: &RowSpans| {
            let (start, end) = (row[5].start, row[7].start + row[7].len);
            &bytes[start as usize..end as usize]
        };
        assert_eq!(of(&rows[0]), of(&rows[1]));
        let mut combinations = Combinations::new(COLUMNS);
        for row in &rows {
            assert!(matches!(combinations.place(&bytes, row), Place::New(())));
        }
    }

    #[test]
    fn long_combinations_are_kept_nowhere() {
        for (len, kept) in [(MAX_BYTES - 2, true), (MAX_BYTES - 1, false), (200, false)] {
            let text = vec![b'a'; len];
            let (bytes, rows) = rows(&[[text, Vec::new(), Vec::new()]], MAX_BYTES);
            let mut combinations = Combinations::<()>::new(COLUMNS);
            let nowhere = matches!(combinations.place(&bytes, &rows[0]), Place::Nowhere);
            assert_eq!(nowhere, !kept, "{len}");
        }
    }

    #[test]
    fn nothing_is_a_combination_too() {
        let nothing = combination([b"", b"", b""]);
        let (bytes, rows) = rows(&[nothing.clone(), combination([b"", b"a", b""])], MAX_BYTES);
        let mut combinations = Combinations::<u8>::new(COLUMNS);
        assert!(combinations.is_empty(&rows[0]));
        assert!(!combinations.is_empty(&rows[1]));
        assert!(matches!(
            combinations.place(&bytes, &rows[0]),
            Place::New(_)
        ));
        assert!(matches!(
            combinations.place(&bytes, &rows[0]),
            Place::Known(_)
        ));
    }

    proptest! {
        #[test]
        fn what_is_known_was_made_of_the_same_texts(
            all in prop::collection::vec(("[a-c\\x01\\x02]{0,3}", "[a-c\\x01\\x02]{0,3}", "[a-c\\x01]{0,60}"), 1..400),
        ) {
            let all: Vec<_> = all.iter()
                .map(|(a, b, c)| combination([a.as_bytes(), b.as_bytes(), c.as_bytes()]))
                .collect();
            let (bytes, rows) = rows(&all, MAX_BYTES);
            let mut combinations = Combinations::<usize>::new(COLUMNS);
            let mut numbers = HashMap::new();
            for (texts, row) in all.iter().zip(&rows) {
                let next = numbers.len() + 1;
                let number = *numbers.entry(texts).or_insert(next);
                prop_assert!(!combinations.is_empty(row) || texts.iter().all(Vec::is_empty));
                match combinations.place(&bytes, row) {
                    Place::Known(made) => prop_assert_eq!(*made, number),
                    Place::New(made) => *made = number,
                    Place::Nowhere => prop_assert!(texts.concat().len() > MAX_BYTES - 3),
                }
            }
        }
    }
}
