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

    /// Whether a byte of no ASCII character was among them.
    #[inline(always)]
    pub(super) fn not_ascii(&self) -> bool {
        self.any.high_bits() != 0
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
