//! Slices that are read and written in whole blocks: as long as the largest one, and looked at once.
//!
//! What is left for each block is one comparison. Of plain slices the compiler kept up to four, which were a third of a row's
//! instructions.

#![allow(unsafe_code)]

use super::vector::{Block, MAX_STEP};

/// Bytes to read from.
#[derive(Clone, Copy)]
pub(super) struct Readable<'a> {
    bytes: &'a [u8],
    /// Where the last [`MAX_STEP`] bytes begin.
    last: usize,
}

impl<'a> Readable<'a> {
    /// `None` where there are fewer than [`MAX_STEP`] bytes.
    #[inline(always)]
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let last = bytes.len().checked_sub(MAX_STEP)?;
        Some(Self { bytes, last })
    }

    /// All bytes.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The block from `at` on. `None` where fewer than [`MAX_STEP`] bytes are there.
    #[inline(always)]
    pub(super) fn block<B: Block>(&self, at: usize) -> Option<B> {
        const { assert!(B::STEP <= MAX_STEP) };
        if at > self.last {
            return None;
        }
        // SAFETY: there are MAX_STEP bytes from `last` on, so there are as many from `at` on, and no block has more.
        Some(unsafe { B::read(self.bytes.as_ptr().add(at)) })
    }
}

/// Room to write to.
pub(super) struct Writable<'a> {
    out: &'a mut [u8],
    /// Where the last [`MAX_STEP`] bytes begin.
    last: usize,
}

impl<'a> Writable<'a> {
    /// `None` where there is room for fewer than [`MAX_STEP`] bytes.
    #[inline(always)]
    pub(super) fn new(out: &'a mut [u8]) -> Option<Self> {
        let last = out.len().checked_sub(MAX_STEP)?;
        Some(Self { out, last })
    }

    /// Writes a block from `at` on. `None`, here and below, where there is room for fewer than [`MAX_STEP`] bytes.
    #[inline(always)]
    pub(super) fn put_block<B: Block>(&mut self, block: B, at: usize) -> Option<()> {
        const { assert!(B::STEP <= MAX_STEP) };
        // SAFETY: there is room for MAX_STEP bytes, and no block has more.
        unsafe { block.write(self.place(at)?) };
        Some(())
    }

    /// Writes a piece from `at` on.
    #[inline(always)]
    pub(super) fn put<const N: usize>(&mut self, piece: &[u8; N], at: usize) -> Option<()> {
        const { assert!(N <= MAX_STEP) };
        // SAFETY: there is room for MAX_STEP bytes, and bytes are always aligned.
        unsafe { *self.place(at)?.cast::<[u8; N]>() = *piece };
        Some(())
    }

    /// The place from which on there are [`MAX_STEP`] bytes.
    #[inline(always)]
    fn place(&mut self, at: usize) -> Option<*mut u8> {
        if at > self.last {
            return None;
        }
        // SAFETY: `last` is inside of the slice, so `at` is.
        Some(unsafe { self.out.as_mut_ptr().add(at) })
    }

    /// What stands in front of `at`.
    #[inline(always)]
    pub(super) fn written(&mut self, at: usize) -> Option<&mut [u8]> {
        self.out.get_mut(..at)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;
    use crate::encode::vector::Block16;

    #[test]
    fn a_block_is_read_and_written_where_all_of_it_is_there() {
        let bytes: [u8; MAX_STEP + 2] = std::array::from_fn(|i| i as u8);
        let readable = Readable::new(&bytes).unwrap();
        for at in 0..=2 {
            let block: Block16 = readable.block(at).unwrap();
            let mut out = [0xaa; MAX_STEP + 2];
            let mut writable = Writable::new(&mut out).unwrap();
            writable.put_block(block, at).unwrap();
            assert_eq!(writable.put(&[7], at + 1).is_some(), at < 2);
            assert_eq!(writable.written(at).unwrap().len(), at);
            let end = at + Block16::STEP;
            for (i, &byte) in out.iter().enumerate() {
                let expected = match i {
                    _ if i == at + 1 && at < 2 => 7,
                    _ if (at..end).contains(&i) => i as u8,
                    _ => 0xaa,
                };
                assert_eq!(byte, expected, "{at} {i}");
            }
        }
        for at in [3, MAX_STEP, MAX_STEP + 2, usize::MAX] {
            assert!(readable.block::<Block16>(at).is_none());
            let mut out = [0; MAX_STEP + 2];
            let mut writable = Writable::new(&mut out).unwrap();
            assert!(writable.put(&[1; MAX_STEP], at).is_none());
            assert!(
                writable
                    .put_block(readable.block::<Block16>(0).unwrap(), at)
                    .is_none()
            );
            assert!(out.iter().all(|&byte| byte == 0));
        }
        assert!(Readable::new(&bytes[..MAX_STEP - 1]).is_none());
        assert!(Writable::new(&mut [0; MAX_STEP - 1]).is_none());
    }
}
