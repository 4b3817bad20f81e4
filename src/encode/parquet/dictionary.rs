//! The distinct texts of a column, numbered by first appearance.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use crate::decode::Span;
use crate::encode::rows::as_utf8;
use crate::encode::words::{difference, fold};

/// Slots of an empty dictionary; always a power of two and at most half full.
const MIN_SLOTS: usize = 256;

/// Bits of a slot that hold a code and one; a part of the hash is above.
const CODE_BITS: u32 = 18;

/// Most texts: as many as a page of 1 MiB can hold, and some.
const MAX_TEXTS: usize = (1 << CODE_BITS) - 2;

/// Texts of so many bytes are hashed and compared as a few numbers, without a look at how long they are: of texts whose lengths
/// vary, a processor guesses most wrongly, and that takes longer than the work itself.
const SHORT: usize = 32;

/// A short text as numbers, zeros behind it.
type Short = [u64; SHORT / 8];

/// Texts and their codes. Holds the dictionary page in the making, as Parquet has it, and 48 to 96 bytes an entry.
#[derive(Debug)]
pub(super) struct Dictionary {
    /// Each entry's length, 4 bytes little-endian, and its UTF-8.
    page: Vec<u8>,
    entries: Vec<Entry>,
    /// The code plus one, and bits of the hash above it; zero where free. Small, so that it stays in the cache.
    slots: Vec<u32>,
    /// Secret, so that no visitor can choose texts that all fall into one slot.
    keys: Short,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where the text lies in the page.
    span: Span,
    /// A short text itself, zeros behind it.
    short: Short,
}

impl Entry {
    /// Whether it is a short text, without a call.
    #[inline(always)]
    fn is(&self, short: Short, len: u32) -> bool {
        difference(&self.short, &short) | u64::from(self.span.len ^ len) == 0
    }
}

impl Dictionary {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self {
            page: Vec::new(),
            entries: Vec::new(),
            slots: vec![0; MIN_SLOTS],
            keys: std::array::from_fn(|place| random.hash_one(place)),
        }
    }

    /// Whether no other text has room. What is added then has a code that is another's: whoever adds looks first.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_TEXTS
    }

    /// How many texts there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The dictionary page.
    pub(super) fn page(&self) -> &[u8] {
        &self.page
    }

    /// The text of a code.
    pub(super) fn text(&self, code: u32) -> &[u8] {
        self.entries[code as usize].span.of(&self.page)
    }

    /// The dictionary page and how many texts it has; all are forgotten.
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        let texts = self.entries.len();
        self.entries.clear();
        self.slots.clear();
        self.slots.resize(MIN_SLOTS, 0);
        (std::mem::take(&mut self.page), texts)
    }

    /// The code of the text that lies there, a new one if it hasn't been seen. Bytes that are not UTF-8 count as U+FFFD.
    #[inline(always)]
    pub(super) fn code(&mut self, bytes: &[u8], span: Span) -> u32 {
        if span.len as usize <= SHORT {
            let short = short(bytes, span);
            let hash = self.hash_short(short, span.len);
            let is_it = |dictionary: &Self, code: u32| {
                let entry = &dictionary.entries[code as usize];
                entry.is(short, span.len)
            };
            self.find(bytes, span, hash, is_it)
        } else {
            self.code_of_long(bytes, span)
        }
    }

    fn code_of_long(&mut self, bytes: &[u8], span: Span) -> u32 {
        let text = span.of(bytes);
        let hash = self.hash_long(text);
        let is_it = |dictionary: &Self, code: u32| same(dictionary.text(code), text);
        self.find(bytes, span, hash, is_it)
    }

    #[inline(always)]
    fn find(
        &mut self,
        bytes: &[u8],
        span: Span,
        hash: u64,
        is_it: impl Fn(&Self, u32) -> bool,
    ) -> u32 {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let found = self.slots[slot];
            if found == 0 {
                return self.add(span.of(bytes), hash);
            }
            if found >> CODE_BITS == tag(hash) {
                let code = (found & CODES) - 1;
                if is_it(self, code) {
                    return code;
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    #[cold]
    fn add(&mut self, text: &[u8], hash: u64) -> u32 {
        if let Cow::Owned(text) = as_utf8(text) {
            return self.code(&text, whole(&text));
        }
        let code = self.entries.len() as u32;
        self.page
            .extend_from_slice(&(text.len() as u32).to_le_bytes());
        let span = Span {
            start: self.page.len() as u32,
            len: text.len() as u32,
        };
        self.page.extend_from_slice(text);
        let short = match text.len() {
            ..=SHORT => short(text, whole(text)),
            _ => Short::default(),
        };
        self.entries.push(Entry { span, short });
        self.insert(hash, code);
        if self.entries.len() * 2 > self.slots.len() {
            self.grow();
        }
        code
    }

    fn insert(&mut self, hash: u64, code: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = tag(hash) << CODE_BITS | (code + 1);
    }

    fn grow(&mut self) {
        let slots = self.slots.len() * 2;
        self.slots.clear();
        self.slots.resize(slots, 0);
        for code in 0..self.entries.len() {
            let Entry { span, short } = self.entries[code];
            let hash = match span.len as usize {
                ..=SHORT => self.hash_short(short, span.len),
                _ => self.hash_long(span.of(&self.page)),
            };
            self.insert(hash, code as u32);
        }
    }

    /// Each number meets a key of its own: with one key at two places, texts could be made whose products are equal, whatever the
    /// key is.
    #[inline(always)]
    fn hash_short(&self, [a, b, c, d]: Short, len: u32) -> u64 {
        let [first, second, third, fourth] = self.keys;
        let low = fold(a ^ self.seed(len), b ^ second);
        fold(low ^ fold(c ^ third, d ^ fourth), first)
    }

    #[inline(always)]
    fn hash_long(&self, text: &[u8]) -> u64 {
        let [key, other, ..] = self.keys;
        let mut hash = self.seed(text.len() as u32);
        let mut rest = text;
        while let Some((block, behind)) = rest.split_first_chunk::<16>() {
            let [low, high] = halves(*block);
            hash = fold(low ^ hash, high ^ other);
            rest = behind;
        }
        // The last sixteen bytes, whether or not they have been seen.
        let [low, high] = text.last_chunk::<16>().map_or([0; 2], |last| halves(*last));
        fold(fold(low ^ hash, high ^ other), key)
    }

    /// An odd multiple of the length, so that it cannot be made up for by the text's first byte.
    #[inline(always)]
    fn seed(&self, len: u32) -> u64 {
        self.keys[0] ^ u64::from(len).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// All of some bytes.
fn whole(bytes: &[u8]) -> Span {
    Span {
        start: 0,
        len: bytes.len() as u32,
    }
}

/// A text of at most [`SHORT`] bytes, zeros behind it.
#[inline(always)]
fn short(bytes: &[u8], span: Span) -> Short {
    let start = span.start as usize;
    let words = |block: &[u8; SHORT], mask: &Short| {
        let words = block.as_chunks().0;
        std::array::from_fn(|place| u64::from_le_bytes(words[place]) & mask[place])
    };
    match bytes[start..].first_chunk() {
        Some(block) => words(block, &MASKS[span.len as usize]),
        None => {
            let mut block = [0; SHORT];
            let text = span.of(bytes);
            block[..text.len()].copy_from_slice(text);
            words(&block, &[u64::MAX; SHORT / 8])
        }
    }
}

/// For each length of a short text ones where it has bytes.
const MASKS: [Short; SHORT + 1] = {
    let mut masks = [[0; SHORT / 8]; SHORT + 1];
    let mut len = 1;
    while len <= SHORT {
        masks[len] = masks[len - 1];
        let byte = len - 1;
        masks[len][byte / 8] |= 0xff << (8 * (byte % 8));
        len += 1;
    }
    masks
};

/// The bits of a slot that are a code and one.
const CODES: u32 = (1 << CODE_BITS) - 1;

/// The part of a hash that a slot holds. The lowest bits choose the slot.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> (32 + CODE_BITS)) as u32
}

/// Whether two texts that are not short are the same: without a call where they are not much longer.
#[inline(always)]
fn same(one: &[u8], other: &[u8]) -> bool {
    fn ends(text: &[u8]) -> Option<(&[u8; SHORT], &[u8; SHORT])> {
        text.first_chunk().zip(text.last_chunk())
    }
    match one.len() == other.len() {
        false => false,
        true if one.len() <= 2 * SHORT => ends(one) == ends(other),
        true => one == other,
    }
}

#[inline(always)]
fn halves(block: [u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(block);
    [both as u64, (both >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn code(dictionary: &mut Dictionary, text: &[u8]) -> u32 {
        dictionary.code(text, whole(text))
    }

    #[test]
    fn codes_count_by_first_appearance() {
        let mut dictionary = Dictionary::new();
        let codes = [&b"b"[..], b"a", b"b", b"c", b"a"].map(|text| code(&mut dictionary, text));
        assert_eq!(codes, [0, 1, 0, 2, 1]);
        assert_eq!(dictionary.page(), b"\x01\0\0\0b\x01\0\0\0a\x01\0\0\0c");
        let _ = dictionary.take();
        assert_eq!(dictionary.len(), 0);
        assert_eq!(code(&mut dictionary, b"a"), 0);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_the_text_that_replaces_them() {
        let mut dictionary = Dictionary::new();
        assert_eq!(code(&mut dictionary, b"a\xff"), 0);
        assert_eq!(code(&mut dictionary, b"a\xfe"), 0);
        assert_eq!(code(&mut dictionary, "a\u{fffd}".as_bytes()), 0);
        assert_eq!(dictionary.text(0), "a\u{fffd}".as_bytes());
        assert_eq!(dictionary.len(), 1);
    }

    #[test]
    fn what_replaces_bytes_that_are_not_utf8_may_be_longer_than_a_short_text() {
        let mut dictionary = Dictionary::new();
        // As many as there are, so that the table grows in between.
        for round in 0..2 {
            for len in 1..=20u32 {
                for first in 0..=20 {
                    let mut text = vec![0xff; len as usize];
                    text[0] = b'a' + first;
                    let of_first = code(&mut dictionary, &text);
                    assert_eq!(of_first, (len - 1) * 21 + u32::from(first), "{round}");
                    assert_eq!(
                        dictionary.text(of_first),
                        String::from_utf8_lossy(&text).as_bytes()
                    );
                }
            }
        }
    }

    fn hash(dictionary: &Dictionary, text: &[u8]) -> u64 {
        match text.len() {
            ..=SHORT => dictionary.hash_short(short(text, whole(text)), text.len() as u32),
            _ => dictionary.hash_long(text),
        }
    }

    #[test]
    fn hashes_of_texts_that_differ_little_differ() {
        let dictionary = Dictionary::new();
        let mut seen = HashMap::new();
        for len in 0..60usize {
            for at in 0..len.max(1) {
                for byte in [b'a', b'b', 0] {
                    let mut text = vec![b'x'; len];
                    if let Some(place) = text.get_mut(at) {
                        *place = byte;
                    }
                    let other = seen
                        .entry(hash(&dictionary, &text))
                        .or_insert_with(|| text.clone());
                    assert_eq!(*other, text);
                }
            }
        }
    }

    #[test]
    fn texts_whose_halves_are_made_for_one_another_have_hashes_of_their_own() {
        let dictionary = Dictionary::new();
        let seed = 32u64.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut hashes = HashSet::new();
        let mut texts = 0;
        for number in 0..1000u64 {
            let (one, other) = (number ^ 0x4d2a_5470_4a9f_a5e9, !number);
            // With the same key in both halves each of these would have the same product twice, or the same sum.
            for words in [
                [one, other, other, one ^ seed],
                [one, other, one ^ seed, other],
                [one ^ seed, other, one, other],
                [one, other, one, other],
                [one, other, other, one],
            ] {
                hashes.insert(dictionary.hash_short(words, 32));
                texts += 1;
            }
        }
        assert_eq!(hashes.len(), texts);
    }

    #[test]
    fn texts_that_differ_anywhere_are_not_the_same() {
        for len in SHORT + 1..70 {
            let text = vec![b'x'; len];
            assert!(same(&text, &text.clone()));
            assert!(!same(&text, &vec![b'x'; len + 1]));
            for at in 0..len {
                let mut other = text.clone();
                other[at] = b'y';
                assert!(!same(&text, &other));
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_has_its_own_code_whatever_stands_around_it(
            texts in prop::collection::vec("[ab\\x00]{0,9}|[a-z]{0,40}", 0..2000),
            around in "[a\\x00]{0,20}",
        ) {
            let mut dictionary = Dictionary::new();
            let mut known = HashMap::new();
            for text in &texts {
                let bytes = [around.as_bytes(), text.as_bytes(), around.as_bytes()].concat();
                let span = Span { start: around.len() as u32, len: text.len() as u32 };
                let code = dictionary.code(&bytes, span);
                let next = known.len() as u32;
                prop_assert_eq!(code, *known.entry(text).or_insert(next));
                prop_assert_eq!(dictionary.text(code), text.as_bytes());
            }
            prop_assert_eq!(dictionary.len(), known.len());
        }
    }
}
