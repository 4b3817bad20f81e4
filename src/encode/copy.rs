//! Copying text while looking at it, a block at a time.
//!
//! Texts are copied as if nothing in them needed quoting or escaping, and what was copied is looked at on the way: without
//! a branch for each byte, and with one at the end of the row, or of the text where CSV quotes it at once. Where a special byte
//! was among them, the row, or the text, is written again with care.

use super::margin::{Readable, Writable};
use super::vector::Block;
use crate::decode::Span;

/// The bytes that a format cannot write as they are.
pub(super) trait Special {
    /// Ones where a byte is one of them.
    fn among<B: Block>(block: B) -> B;
}

/// No byte is special.
pub(super) struct Nothing;

impl Special for Nothing {
    #[inline(always)]
    fn among<B: Block>(_: B) -> B {
        B::zero()
    }
}

/// What was among the bytes copied: ones somewhere where it was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    special: u32,
    /// The highest bits of all bytes.
    high: u32,
}

impl Seen {
    /// Looks at the first bytes of a block.
    #[inline(always)]
    fn look<S: Special, B: Block>(&mut self, block: B, bytes: usize) {
        let first = first_bits(bytes);
        self.special |= S::among(block).high_bits() & first;
        self.high |= block.high_bits() & first;
    }

    /// Adds the bytes of `other`, but not that they were special.
    #[inline(always)]
    pub(super) fn add_plain(&mut self, other: Self) {
        self.high |= other.high;
    }

    /// Whether a special byte was among them.
    #[inline(always)]
    pub(super) fn special(self) -> bool {
        self.special != 0
    }

    /// Whether all of them were ASCII.
    #[inline(always)]
    pub(super) fn is_ascii(self) -> bool {
        self.high == 0
    }

    /// Whether `written`, which holds them, may stay as it is: nothing special was among them, and it is UTF-8.
    #[inline(always)]
    pub(super) fn may_stay(self, written: &[u8]) -> bool {
        !self.special() && (self.is_ascii() || simdutf8::basic::from_utf8(written).is_ok())
    }
}

/// The bits of the first so many bytes of a block, at most all.
#[inline(always)]
pub(super) fn first_bits(bytes: usize) -> u32 {
    ((1u64 << bytes) - 1) as u32
}

/// Copies a text to `out[at..]` and gives the offset behind it. `None` where there are fewer than
/// [`MAX_STEP`](super::vector::MAX_STEP) bytes from the text's last step on, in front or behind.
#[inline(always)]
pub(super) fn copy_text<S: Special, B: Block>(
    texts: Readable<'_>,
    span: Span,
    out: &mut Writable<'_>,
    at: usize,
    seen: &mut Seen,
) -> Option<usize> {
    let mut from = span.start as usize;
    let mut left = span.len as usize;
    let mut to = at;
    while left > B::STEP {
        let block: B = texts.block(from)?;
        out.put_block(block, to)?;
        seen.look::<S, B>(block, B::STEP);
        from += B::STEP;
        to += B::STEP;
        left -= B::STEP;
    }
    let block: B = texts.block(from)?;
    out.put_block(block, to)?;
    seen.look::<S, B>(block, left);
    Some(to + left)
}

/// Copies the first `len` bytes of a piece that has room behind them.
#[inline(always)]
pub(super) fn copy_piece<const N: usize>(
    piece: &[u8; N],
    len: usize,
    out: &mut Writable<'_>,
    at: usize,
) -> Option<usize> {
    out.put(piece, at)?;
    Some(at + len)
}

#[cfg(test)]
mod tests {
    use super::first_bits;

    #[test]
    fn so_many_bits_are_those_of_the_first_bytes() {
        for bytes in 0..=32 {
            let bits = (0..bytes).map(|i| 1 << i).sum::<u32>();
            assert_eq!(first_bits(bytes), bits, "{bytes}");
        }
    }
}
