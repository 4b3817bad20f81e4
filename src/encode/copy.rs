//! Copying text while looking at it, a block at a time.
//!
//! Texts are copied as if nothing in them needed quoting or escaping, and what was copied is looked at on the way: without
//! a branch for each byte, and with one at the end of the row, or of the text where CSV quotes it at once. Where a special byte
//! was among them, the row, or the text, is written again with care.

use super::vector::Block;
use crate::decode::Span;

/// The bytes that a format cannot write as they are.
pub(super) trait Special {
    /// Ones where a byte is one of them.
    fn among<B: Block>(block: B) -> B;
}

/// What was among the bytes copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<B> {
    special: B,
    any: B,
}

impl<B: Block> Seen<B> {
    #[inline(always)]
    pub(super) fn nothing() -> Self {
        Self {
            special: B::zero(),
            any: B::zero(),
        }
    }

    #[inline(always)]
    fn look<S: Special>(&mut self, block: B) {
        self.special = self.special.or(S::among(block));
        self.any = self.any.or(block);
    }

    #[inline(always)]
    fn look_at_first<S: Special>(&mut self, block: B, mask: B) {
        self.special = self.special.or(S::among(block).and(mask));
        self.any = self.any.or(block.and(mask));
    }

    /// Adds the bytes of `other`, but not that they were special.
    #[inline(always)]
    pub(super) fn add_any(&mut self, other: &Self) {
        self.any = self.any.or(other.any);
    }

    /// Whether a special byte was among them.
    #[inline(always)]
    pub(super) fn special(&self) -> bool {
        self.special.high_bits() != 0
    }

    /// Whether `written`, which holds them, may stay as it is: nothing special was among them, and it is UTF-8.
    #[inline(always)]
    pub(super) fn may_stay(&self, written: &[u8]) -> bool {
        !self.special()
            && (self.any.high_bits() == 0 || simdutf8::basic::from_utf8(written).is_ok())
    }
}

/// Copies a text to `out[at..]` and gives the offset behind it. `None` where there is not a whole block
/// from the text's last step on, in front or behind.
#[inline(always)]
pub(super) fn copy_text<S: Special, B: Block>(
    bytes: &[u8],
    span: Span,
    out: &mut [u8],
    at: usize,
    seen: &mut Seen<B>,
) -> Option<usize> {
    let mut from = span.start as usize;
    let mut left = span.len as usize;
    let mut to = at;
    while left > B::STEP {
        let block = B::load(bytes.get(from..)?)?;
        block.store(out.get_mut(to..)?)?;
        seen.look::<S>(block);
        from += B::STEP;
        to += B::STEP;
        left -= B::STEP;
    }
    let block = B::load(bytes.get(from..)?)?;
    block.store(out.get_mut(to..)?)?;
    seen.look_at_first::<S>(block, B::first(left)?);
    Some(to + left)
}

/// Most blocks of a run: each byte of one can count to 255.
const MAX_RUN_BLOCKS: usize = 255;

/// Texts of a row that follow each other, as a wire of rows has them: each behind its length, which takes a byte or more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a, const TEXTS: usize> {
    pub(super) spans: &'a [Span; TEXTS],
    /// Bytes of the texts alone.
    pub(super) text_bytes: usize,
    /// How many of the lengths between them are special bytes, if each is one byte long.
    special_lengths: u32,
}

impl<'a, const TEXTS: usize> Run<'a, TEXTS> {
    /// A run of these texts; `special` has ones for the lengths whose byte is special.
    #[inline(always)]
    pub(super) fn of(spans: &'a [Span; TEXTS], special: &[u8; 128]) -> Self {
        let [first, others @ ..] = &spans[..] else {
            return Self {
                spans,
                text_bytes: 0,
                special_lengths: 0,
            };
        };
        let mut text_bytes = first.len as usize;
        let mut special_lengths = 0;
        for span in others {
            text_bytes += span.len as usize;
            special_lengths += u32::from(special[span.len as usize & 127]);
        }
        Self {
            spans,
            text_bytes,
            special_lengths,
        }
    }

    /// Copies the texts to `out[at..]` with a comma in the place of each length between them: all at once. Gives the offset
    /// behind them. `None` where a length is not one byte long, where a special byte is among the texts, where they have more than
    /// [`MAX_RUN_BLOCKS`], and where there is not a whole block from the last step on, in front or behind.
    ///
    /// The bytes between are lengths, and may be special themselves. They are known, so special bytes are counted: if there
    /// are as many as among the lengths, none is in a text.
    #[inline(always)]
    pub(super) fn copy<S: Special, B: Block>(
        &self,
        bytes: &[u8],
        out: &mut [u8],
        at: usize,
        seen: &mut Seen<B>,
    ) -> Option<usize> {
        let [first, others @ ..] = &self.spans[..] else {
            return None;
        };
        let start = first.start as usize;
        let last = others.last().unwrap_or(first);
        let len = (last.start as usize + last.len as usize).checked_sub(start)?;
        let steps = len.saturating_sub(1) / B::STEP;
        // No length takes less than a byte.
        if len != self.text_bytes + others.len() || steps >= MAX_RUN_BLOCKS {
            return None;
        }
        let from = bytes.get(start..)?.get(..(steps + 1) * B::STEP)?;
        let to = out.get_mut(at..)?.get_mut(..(steps + 1) * B::STEP)?;
        let mut found = B::zero();
        let mut any = B::zero();
        let (whole_from, last_from) = from.split_at(steps * B::STEP);
        let (whole_to, last_to) = to.split_at_mut(steps * B::STEP);
        let blocks = whole_from.chunks_exact(B::STEP);
        for (from, to) in blocks.zip(whole_to.chunks_exact_mut(B::STEP)) {
            let block = B::load(from)?;
            block.store(to)?;
            found = found.count(S::among(block));
            any = any.or(block);
        }
        let block = B::load(last_from)?;
        block.store(last_to)?;
        let mask = B::first(len - steps * B::STEP)?;
        found = found.count(S::among(block).and(mask));
        seen.any = seen.any.or(any.or(block.and(mask)));
        if found.sum() != self.special_lengths {
            return None;
        }
        for span in others {
            *to.get_mut(span.start as usize - start - 1)? = b',';
        }
        Some(at + len)
    }
}

/// Copies the first `len` bytes of a piece that has room behind them.
#[inline(always)]
pub(super) fn copy_piece<const N: usize>(
    piece: &[u8; N],
    len: usize,
    out: &mut [u8],
    at: usize,
) -> Option<usize> {
    *out.get_mut(at..)?.first_chunk_mut()? = *piece;
    Some(at + len)
}
