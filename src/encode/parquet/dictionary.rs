//! The distinct texts of a column, numbered by first appearance.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use crate::encode::rows::as_utf8;

/// Slots of an empty dictionary; always a power of two and at most half full.
const MIN_SLOTS: usize = 256;

/// Bits of a slot that hold a code and one; a part of the hash is above.
const CODE_BITS: u32 = 18;

/// Most texts: as many as a page of 1 MiB can hold, and some.
const MAX_TEXTS: usize = (1 << CODE_BITS) - 2;

/// Texts and their codes. Holds the dictionary page in the making, as Parquet has it, and 16 to 24 bytes an entry.
#[derive(Debug)]
pub(super) struct Dictionary {
    /// Each entry's length, 4 bytes little-endian, and its UTF-8.
    page: Vec<u8>,
    /// Where each entry's text starts and ends in `page`.
    entries: Vec<(u32, u32)>,
    /// The code plus one, and bits of the hash above it; zero where free. Small, so that it stays in the cache.
    slots: Vec<u32>,
    /// Secret, so that no visitor can choose texts that all fall into one slot.
    keys: [u64; 2],
}

impl Dictionary {
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self {
            page: Vec::new(),
            entries: Vec::new(),
            slots: vec![0; MIN_SLOTS],
            keys: [random.hash_one(0), random.hash_one(1)],
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
        let (start, end) = self.entries[code as usize];
        &self.page[start as usize..end as usize]
    }

    /// The dictionary page and how many texts it has; all are forgotten.
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        let texts = self.entries.len();
        self.entries.clear();
        self.slots.clear();
        self.slots.resize(MIN_SLOTS, 0);
        (std::mem::take(&mut self.page), texts)
    }

    /// The code of a text, a new one if it hasn't been seen. Bytes that are not UTF-8 count as U+FFFD.
    #[inline]
    pub(super) fn code(&mut self, text: &[u8]) -> u32 {
        let hash = self.hash(text);
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let found = self.slots[slot];
            if found == 0 {
                return self.add(text, hash);
            }
            if found >> CODE_BITS == tag(hash) {
                let code = (found & CODES) - 1;
                if same(self.text(code), text) {
                    return code;
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    #[cold]
    fn add(&mut self, text: &[u8], hash: u64) -> u32 {
        if let Cow::Owned(text) = as_utf8(text) {
            return self.code(&text);
        }
        let code = self.entries.len() as u32;
        self.page
            .extend_from_slice(&(text.len() as u32).to_le_bytes());
        let start = self.page.len() as u32;
        self.page.extend_from_slice(text);
        self.entries.push((start, self.page.len() as u32));
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
        for code in 0..self.entries.len() as u32 {
            self.insert(self.hash(self.text(code)), code);
        }
    }

    /// Multiplication to 128 bits, folded, after wyhash (<https://github.com/wangyi-fudan/wyhash>).
    #[inline(always)]
    fn hash(&self, text: &[u8]) -> u64 {
        let [key, other] = self.keys;
        // An odd multiple of the length, so that it cannot be made up for by the text's first byte.
        let mut hash = key ^ (text.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (low, high) = if text.len() > 16 {
            let mut rest = text;
            while let Some((block, behind)) = rest.split_first_chunk::<16>() {
                let (low, high) = halves(*block);
                hash = fold(low ^ hash, high ^ other);
                rest = behind;
            }
            // The last sixteen bytes, whether or not they have been seen.
            text.last_chunk::<16>()
                .map_or((0, 0), |block| halves(*block))
        } else if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>())
        {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>())
        {
            (
                u32::from_le_bytes(*first).into(),
                u32::from_le_bytes(*last).into(),
            )
        } else {
            let bytes = text
                .iter()
                .fold(0, |bytes, &byte| bytes << 8 | u64::from(byte));
            (bytes, 0)
        };
        fold(fold(low ^ hash, high ^ other), key)
    }
}

/// The bits of a slot that are a code and one.
const CODES: u32 = (1 << CODE_BITS) - 1;

/// The part of a hash that a slot holds. The lowest bits choose the slot.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> (32 + CODE_BITS)) as u32
}

/// Whether two texts are the same: without a call where they are short, as most are.
#[inline(always)]
fn same(one: &[u8], other: &[u8]) -> bool {
    #[inline(always)]
    fn ends<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        text.first_chunk().zip(text.last_chunk())
    }
    if one.len() != other.len() {
        false
    } else if one.len() > 32 {
        one == other
    } else if one.len() >= 16 {
        ends::<16>(one) == ends::<16>(other)
    } else if one.len() >= 8 {
        ends::<8>(one) == ends::<8>(other)
    } else if one.len() >= 4 {
        ends::<4>(one) == ends::<4>(other)
    } else {
        one.iter().eq(other)
    }
}

#[inline(always)]
fn halves(block: [u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(block);
    (both as u64, (both >> 64) as u64)
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn codes_count_by_first_appearance() {
        let mut dictionary = Dictionary::new();
        let codes = [&b"b"[..], b"a", b"b", b"c", b"a"].map(|text| dictionary.code(text));
        assert_eq!(codes, [0, 1, 0, 2, 1]);
        assert_eq!(dictionary.page(), b"\x01\0\0\0b\x01\0\0\0a\x01\0\0\0c");
        let _ = dictionary.take();
        assert_eq!(dictionary.len(), 0);
        assert_eq!(dictionary.code(b"a"), 0);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_the_text_that_replaces_them() {
        let mut dictionary = Dictionary::new();
        assert_eq!(dictionary.code(b"a\xff"), 0);
        assert_eq!(dictionary.code(b"a\xfe"), 0);
        assert_eq!(dictionary.code("a\u{fffd}".as_bytes()), 0);
        assert_eq!(dictionary.text(0), "a\u{fffd}".as_bytes());
        assert_eq!(dictionary.len(), 1);
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
                        .entry(dictionary.hash(&text))
                        .or_insert_with(|| text.clone());
                    assert_eq!(*other, text);
                }
            }
        }
    }

    #[test]
    fn texts_that_differ_anywhere_are_not_the_same() {
        for len in 0..70 {
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
        fn every_text_has_its_own_code(texts in prop::collection::vec("[ab]{0,9}|[a-z]{0,40}", 0..2000)) {
            let mut dictionary = Dictionary::new();
            let mut known = HashMap::new();
            for text in &texts {
                let code = dictionary.code(text.as_bytes());
                let next = known.len() as u32;
                prop_assert_eq!(code, *known.entry(text).or_insert(next));
                prop_assert_eq!(dictionary.text(code), text.as_bytes());
            }
            prop_assert_eq!(dictionary.len(), known.len());
        }
    }
}
