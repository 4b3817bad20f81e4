//! Sixteen bytes at once: SSE2, which every x86-64 has, and plain loops elsewhere.

/// Bytes of a [`Block`].
pub(super) const STEP: usize = 16;

pub(super) use imp::Block;

/// The loops over arrays below are not reliably made into vector instructions: the intrinsics take 200 of the 450 ns
/// that a row of NDJSON took with them.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod imp {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_min_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_sad_epu8, _mm_set1_epi8, _mm_setzero_si128,
        _mm_sub_epi8, _mm_unpackhi_epi64,
    };

    use super::STEP;

    /// Sixteen bytes. What a comparison gives has ones where it holds.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::encode) struct Block(__m128i);

    impl Block {
        #[inline(always)]
        pub(in crate::encode) fn load(bytes: &[u8; STEP]) -> Self {
            // SAFETY: the reference is to 16 readable bytes, the load needs no alignment, and every x86-64 has SSE2.
            Self(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        }

        #[inline(always)]
        pub(in crate::encode) fn zero() -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_setzero_si128() })
        }

        #[inline(always)]
        pub(in crate::encode) fn equals(self, byte: u8) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8)) })
        }

        #[inline(always)]
        pub(in crate::encode) fn at_most(self, byte: u8) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_cmpeq_epi8(_mm_min_epu8(self.0, _mm_set1_epi8(byte as i8)), self.0) })
        }

        #[inline(always)]
        pub(in crate::encode) fn or(self, other: Self) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline(always)]
        pub(in crate::encode) fn and(self, other: Self) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_and_si128(self.0, other.0) })
        }

        /// Adds one to each byte for which `holds` has ones.
        #[inline(always)]
        pub(in crate::encode) fn count(self, holds: Self) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_sub_epi8(self.0, holds.0) })
        }

        /// The sum of the bytes.
        #[inline(always)]
        pub(in crate::encode) fn sum(self) -> u32 {
            // SAFETY: every x86-64 has SSE2.
            unsafe {
                let halves = _mm_sad_epu8(self.0, _mm_setzero_si128());
                let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(halves, halves));
                (_mm_cvtsi128_si64(halves) + high) as u32
            }
        }

        /// The highest bit of each byte, that of the first byte lowest.
        #[inline(always)]
        pub(in crate::encode) fn high_bits(self) -> u32 {
            // SAFETY: every x86-64 has SSE2.
            unsafe { _mm_movemask_epi8(self.0) as u32 }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    use super::STEP;

    /// Sixteen bytes. What a comparison gives has ones where it holds.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::encode) struct Block([u8; STEP]);

    impl Block {
        #[inline(always)]
        pub(in crate::encode) fn load(bytes: &[u8; STEP]) -> Self {
            Self(*bytes)
        }

        #[inline(always)]
        pub(in crate::encode) fn zero() -> Self {
            Self([0; STEP])
        }

        #[inline(always)]
        pub(in crate::encode) fn equals(self, byte: u8) -> Self {
            Self(self.0.map(|own| if own == byte { 0xff } else { 0 }))
        }

        #[inline(always)]
        pub(in crate::encode) fn at_most(self, byte: u8) -> Self {
            Self(self.0.map(|own| if own <= byte { 0xff } else { 0 }))
        }

        #[inline(always)]
        pub(in crate::encode) fn or(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
        }

        #[inline(always)]
        pub(in crate::encode) fn and(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
        }

        /// Adds one to each byte for which `holds` has ones.
        #[inline(always)]
        pub(in crate::encode) fn count(self, holds: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i].wrapping_sub(holds.0[i])))
        }

        /// The sum of the bytes.
        #[inline(always)]
        pub(in crate::encode) fn sum(self) -> u32 {
            self.0.iter().map(|&byte| u32::from(byte)).sum()
        }

        /// The highest bit of each byte, that of the first byte lowest.
        #[inline(always)]
        pub(in crate::encode) fn high_bits(self) -> u32 {
            let bit = |(i, byte): (usize, &u8)| u32::from(byte >> 7) << i;
            self.0.iter().enumerate().map(bit).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_compares_each_byte_alone() {
        for first in 0..=u8::MAX {
            let bytes: [u8; STEP] = std::array::from_fn(|i| first.wrapping_add(i as u8 * 17));
            let block = Block::load(&bytes);
            let bits = |holds: &dyn Fn(u8) -> bool| {
                (0..STEP)
                    .map(|i| u32::from(holds(bytes[i])) << i)
                    .sum::<u32>()
            };
            assert_eq!(block.high_bits(), bits(&|byte| byte >= 0x80));
            for byte in [0, 0x1f, b'"', b',', 0x80, 0xff] {
                assert_eq!(block.equals(byte).high_bits(), bits(&|own| own == byte));
                assert_eq!(block.at_most(byte).high_bits(), bits(&|own| own <= byte));
                let both = block.equals(byte).or(block.at_most(0x1f));
                assert_eq!(both.high_bits(), bits(&|own| own == byte || own <= 0x1f));
                let both = block.at_most(byte).and(block.at_most(0x20));
                assert_eq!(both.high_bits(), bits(&|own| own <= byte && own <= 0x20));
            }
            assert_eq!(Block::zero().high_bits(), 0);
            assert_eq!(
                block.sum(),
                bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>()
            );
            let counted = Block::zero()
                .count(block.at_most(0x7f))
                .count(block.at_most(0x1f));
            let expected = block.at_most(0x7f).high_bits().count_ones()
                + block.at_most(0x1f).high_bits().count_ones();
            assert_eq!(counted.sum(), expected);
        }
    }
}
