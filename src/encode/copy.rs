//! Copying text while looking at it, sixteen bytes at a time.
//!
//! A row is copied as if nothing in it needed quoting or escaping, and what was copied is looked at on the way: without
//! a branch for each byte, and with one for the row at its end. Where a special byte was among them, the row is
//! written again with care. The loops over arrays of sixteen compile to one vector instruction an operation.

use crate::decode::Span;

/// Bytes copied at once. As many are read and written behind a text's end at most, less one.
pub(super) const STEP: usize = 16;

type Block = [u8; STEP];

/// Ones for the first n bytes.
const MASKS: [Block; STEP + 1] = {
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
    /// Whether this is one of them. Compiled for a block at a time, so: comparisons and `|`, no branch.
    fn is_special(byte: u8) -> bool;
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
            special: [0; STEP],
            any: [0; STEP],
        }
    }

    #[inline(always)]
    fn look<S: Special>(&mut self, block: &Block, mask: &Block) {
        for i in 0..STEP {
            let byte = block[i] & mask[i];
            let special = u8::from(S::is_special(block[i])).wrapping_neg();
            self.special[i] |= special & mask[i];
            self.any[i] |= byte;
        }
    }

    /// Adds the bytes of `other`, but not that they were special.
    #[inline(always)]
    pub(super) fn add_any(&mut self, other: &Self) {
        for i in 0..STEP {
            self.any[i] |= other.any[i];
        }
    }

    /// Whether a special byte was among them.
    #[inline(always)]
    pub(super) fn special(&self) -> bool {
        u128::from_ne_bytes(self.special) != 0
    }

    /// Whether a byte of no ASCII character was among them.
    #[inline(always)]
    pub(super) fn not_ascii(&self) -> bool {
        const HIGHS: u128 = u128::from_ne_bytes([0x80; STEP]);
        u128::from_ne_bytes(self.any) & HIGHS != 0
    }
}

/// Copies a text to `out[at..]` and gives the offset behind it. `None` where there are not [`STEP`] - 1 bytes more
/// behind the text or the copy.
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
        let block: &Block = bytes.get(from..)?.first_chunk()?;
        *out.get_mut(to..)?.first_chunk_mut()? = *block;
        seen.look::<S>(block, &MASKS[STEP]);
        from += STEP;
        to += STEP;
        left -= STEP;
    }
    let block: &Block = bytes.get(from..)?.first_chunk()?;
    *out.get_mut(to..)?.first_chunk_mut()? = *block;
    seen.look::<S>(block, MASKS.get(left)?);
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
