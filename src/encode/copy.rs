//! Copying text while looking at it, sixteen bytes at a time.
//!
//! A row is copied as if nothing in it needed quoting or escaping, and what was copied is looked at on the way: without
//! a branch for each byte, and with one for the row at its end. Where a special byte was among them, the row is
//! written again with care.

use super::vector::{Block, STEP};
use crate::decode::Span;

/// Ones for the first n bytes.
const MASKS: [[u8; STEP]; STEP + 1] = {
    let mut masks = [[0; STEP]; STEP + 1];
    let mut n = 0;
    while n <= STEP {
        let mut i = 0;
        while i < n {
            masks[n][i] = 0xff;
            i += 1;
        }
        n += 1;
    }
    masks
};

/// The bytes that a format cannot write as they are.
pub(super) trait Special {
    /// Ones where a byte is one of them.
    fn among(block: Block) -> Block;
}

/// What was among the bytes copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    special: Block,
    any: Block,
}

impl Seen {
    #[inline(always)]
    pub(super) fn nothing() -> Self {
        Self {
            special: Block::zero(),
            any: Block::zero(),
        }
    }

    #[inline(always)]
    fn look<S: Special>(&mut self, block: Block) {
        self.special = self.special.or(S::among(block));
        self.any = self.any.or(block);
    }

    #[inline(always)]
    fn look_at_first<S: Special>(&mut self, block: Block, mask: Block) {
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

/// Copies a text to `out[at..]` and gives the offset behind it. `None` where there are not [`STEP`] bytes from the
/// text's last step on, in front or behind.
#[inline(always)]
pub(super) fn copy_text<S: Special>(
    bytes: &[u8],
    span: Span,
    out: &mut [u8],
    at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    let mut from = span.start as usize;
    let mut left = span.len as usize;
    let mut to = at;
    while left > STEP {
        let block = bytes.get(from..)?.first_chunk()?;
        *out.get_mut(to..)?.first_chunk_mut()? = *block;
        seen.look::<S>(Block::load(block));
        from += STEP;
        to += STEP;
        left -= STEP;
    }
    let block = bytes.get(from..)?.first_chunk()?;
    *out.get_mut(to..)?.first_chunk_mut()? = *block;
    seen.look_at_first::<S>(Block::load(block), Block::load(MASKS.get(left)?));
    Some(to + left)
}

/// Most bytes of a run: each byte of a block can count to 255.
const MAX_RUN_BYTES: usize = 255 * STEP;

/// Copies texts that lie one byte apart, as RowBinary has short ones, to `out[at..]`, with a comma in the place of that
/// byte: the whole run at once. Gives the offset behind it. `None` where they don't lie so, where a special byte
/// is among them, and where there are not [`STEP`] bytes from the last step on, in front or behind.
///
/// The bytes between are lengths, and may be special themselves. They are known, so special bytes are counted: if there
/// are as many as among the lengths, none is in a text.
#[inline(always)]
pub(super) fn copy_run<S: Special>(
    bytes: &[u8],
    spans: &[Span],
    special_lengths: &[u8; 128],
    out: &mut [u8],
    at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    let (first, others) = spans.split_first()?;
    let start = first.start;
    let mut end = start + first.len;
    let mut apart = 0;
    let mut expected = 0;
    for span in others {
        apart |= span.start.wrapping_sub(end).wrapping_sub(1);
        // A length that is not one byte long doesn't leave one byte between.
        expected += u32::from(special_lengths[span.len as usize & 127]);
        end = span.start.wrapping_add(span.len);
    }
    let mut left = end.wrapping_sub(start) as usize;
    if apart != 0 || left > MAX_RUN_BYTES {
        return None;
    }
    let mut from = start as usize;
    let mut to = at;
    let mut found = Block::zero();
    let mut any = Block::zero();
    while left > STEP {
        let block = bytes.get(from..)?.first_chunk()?;
        *out.get_mut(to..)?.first_chunk_mut()? = *block;
        let block = Block::load(block);
        found = found.count(S::among(block));
        any = any.or(block);
        from += STEP;
        to += STEP;
        left -= STEP;
    }
    let block = bytes.get(from..)?.first_chunk()?;
    *out.get_mut(to..)?.first_chunk_mut()? = *block;
    let block = Block::load(block);
    let mask = Block::load(MASKS.get(left)?);
    found = found.count(S::among(block).and(mask));
    seen.any = seen.any.or(any.or(block.and(mask)));
    if found.sum() != expected {
        return None;
    }
    let end = to + left;
    let run = out.get_mut(at..end)?;
    for span in others {
        *run.get_mut((span.start - start) as usize - 1)? = b',';
    }
    Some(end)
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
