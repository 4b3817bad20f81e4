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
