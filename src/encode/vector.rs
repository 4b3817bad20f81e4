//! Many bytes at once: 32 with AVX2 where the processor has it, else 16 with SSE2, which every x86-64 has, and plain loops
//! elsewhere.

/// Bytes of a [`Block16`], and of the largest block there is.
pub(super) const STEP: usize = 16;
pub(super) const MAX_STEP: usize = 32;

pub(super) use imp::{Block16, widest};

/// Some bytes side by side. What a comparison gives has ones where it holds.
pub(super) trait Block: Copy {
    /// How many.
    const STEP: usize;

    /// The first bytes of these, if there are so many.
    fn load(bytes: &[u8]) -> Option<Self>;

    /// Writes the bytes over the first ones of `out`. `None` where it has not so many.
    fn store(self, out: &mut [u8]) -> Option<()>;

    fn zero() -> Self;

    fn equals(self, byte: u8) -> Self;

    fn at_most(self, byte: u8) -> Self;

    /// Where a byte is one of these.
    fn any_of(self, four: &Four) -> Self;

    fn or(self, other: Self) -> Self;

    fn and(self, other: Self) -> Self;

    /// The highest bit of each byte, that of the first byte lowest.
    fn high_bits(self) -> u32;

    /// Ones for the first so many bytes. `None` where there are not so many.
    #[inline(always)]
    fn first(bytes: usize) -> Option<Self> {
        /// Any block that starts in it has ones up to the middle.
        const WINDOW: [u8; 2 * MAX_STEP] = {
            let mut window = [0; 2 * MAX_STEP];
            let mut i = 0;
            while i < MAX_STEP {
                window[i] = 0xff;
                i += 1;
            }
            window
        };
        if bytes > Self::STEP {
            return None;
        }
        Self::load(&WINDOW[MAX_STEP - bytes..])
    }
}

/// Four bytes of ASCII that differ in their lowest four bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Four {
    bytes: [u8; 4],
    /// At each place the one with these lowest bits, or what cannot be there; twice.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // looked up by AVX2 alone
    table: [u8; MAX_STEP],
}

impl Four {
    pub(super) const fn of(bytes: [u8; 4]) -> Self {
        let mut table = [0; MAX_STEP];
        let mut i = 0;
        while i < MAX_STEP {
            // No byte with other lowest bits is looked for here.
            table[i] = (i as u8 % 16) ^ 1;
            i += 1;
        }
        i = 0;
        while i < bytes.len() {
            let place = bytes[i] as usize % 16;
            assert!(bytes[i].is_ascii() && table[place] == place as u8 ^ 1);
            table[place] = bytes[i];
            table[place + 16] = bytes[i];
            i += 1;
        }
        Self { bytes, table }
    }
}

#[cfg(test)]
thread_local! {
    /// Whether this thread's work is done on the smallest blocks: as on a processor that has no others.
    static NARROW: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Does what is asked with all work on the smallest blocks.
#[cfg(test)]
pub(super) fn narrow<T>(of: impl FnOnce() -> T) -> T {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            NARROW.set(false);
        }
    }
    let _again = Again;
    NARROW.set(true);
    of()
}

/// Work on blocks of any size.
pub(super) trait OnBlocks {
    type Output;

    /// Does it. Has to be inlined, with all that it calls on blocks: only so are they what the processor has.
    fn on<B: Block>(self) -> Self::Output;
}

// Compilers don't reliably make vector instructions of the loops over arrays below: with them a row of NDJSON took 457 ns,
// with the intrinsics 139 (benches/encode.rs, page views). Reading and writing is through references to whole blocks only.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod imp {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_and_si128, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_setzero_si128, _mm_storeu_si128,
        _mm256_and_si256, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_storeu_si256,
    };

    use super::{Block, Four, MAX_STEP, OnBlocks, STEP};

    /// Does work on the largest blocks that the processor has.
    #[inline]
    pub(in crate::encode) fn widest<W: OnBlocks>(work: W) -> W::Output {
        #[target_feature(enable = "avx2,bmi1,bmi2")]
        fn with_avx2<W: OnBlocks>(work: W) -> W::Output {
            work.on::<Block32>()
        }
        let has = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
            && std::arch::is_x86_feature_detected!("bmi2");
        #[cfg(test)]
        let has = has && !super::NARROW.get();
        if has {
            // SAFETY: the processor has what the function is compiled for.
            unsafe { with_avx2(work) }
        } else {
            work.on::<Block16>()
        }
    }

    /// Sixteen bytes.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::encode) struct Block16(__m128i);

    impl Block for Block16 {
        const STEP: usize = STEP;

        #[inline(always)]
        fn load(bytes: &[u8]) -> Option<Self> {
            let bytes: &[u8; STEP] = bytes.first_chunk()?;
            // SAFETY: every x86-64 has SSE2, and the reference is to 16 bytes, which need not be aligned.
            Some(Self(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }))
        }

        #[inline(always)]
        fn store(self, out: &mut [u8]) -> Option<()> {
            let out: &mut [u8; STEP] = out.first_chunk_mut()?;
            // SAFETY: every x86-64 has SSE2, and the reference is to 16 bytes, which need not be aligned.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), self.0) };
            Some(())
        }

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_setzero_si128() })
        }

        #[inline(always)]
        fn equals(self, byte: u8) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_cmpeq_epi8(self.0, _mm_set1_epi8(byte as i8)) })
        }

        #[inline(always)]
        fn at_most(self, byte: u8) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_cmpeq_epi8(_mm_min_epu8(self.0, _mm_set1_epi8(byte as i8)), self.0) })
        }

        #[inline(always)]
        fn any_of(self, four: &Four) -> Self {
            let [a, b, c, d] = four.bytes;
            let one_half = self.equals(a).or(self.equals(b));
            one_half.or(self.equals(c).or(self.equals(d)))
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_or_si128(self.0, other.0) })
        }

        #[inline(always)]
        fn and(self, other: Self) -> Self {
            // SAFETY: every x86-64 has SSE2.
            Self(unsafe { _mm_and_si128(self.0, other.0) })
        }

        #[inline(always)]
        fn high_bits(self) -> u32 {
            // SAFETY: every x86-64 has SSE2.
            unsafe { _mm_movemask_epi8(self.0) as u32 }
        }
    }

    /// Thirty-two bytes. Nobody names it but [`widest`], which has seen that the processor has AVX2.
    #[derive(Clone, Copy, Debug)]
    struct Block32(__m256i);

    impl Block for Block32 {
        const STEP: usize = MAX_STEP;

        #[inline(always)]
        fn load(bytes: &[u8]) -> Option<Self> {
            let bytes: &[u8; MAX_STEP] = bytes.first_chunk()?;
            // SAFETY: see the type, and the reference is to 32 bytes, which need not be aligned.
            Some(Self(unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }))
        }

        #[inline(always)]
        fn store(self, out: &mut [u8]) -> Option<()> {
            let out: &mut [u8; MAX_STEP] = out.first_chunk_mut()?;
            // SAFETY: see the type, and the reference is to 32 bytes, which need not be aligned.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), self.0) };
            Some(())
        }

        #[inline(always)]
        fn zero() -> Self {
            // SAFETY: see the type.
            Self(unsafe { _mm256_setzero_si256() })
        }

        #[inline(always)]
        fn equals(self, byte: u8) -> Self {
            // SAFETY: see the type.
            Self(unsafe { _mm256_cmpeq_epi8(self.0, _mm256_set1_epi8(byte as i8)) })
        }

        #[inline(always)]
        fn at_most(self, byte: u8) -> Self {
            // SAFETY: see the type.
            Self(unsafe {
                _mm256_cmpeq_epi8(
                    _mm256_min_epu8(self.0, _mm256_set1_epi8(byte as i8)),
                    self.0,
                )
            })
        }

        #[inline(always)]
        fn any_of(self, four: &Four) -> Self {
            // By its lowest bits each byte finds the one that it may be; one that is no ASCII finds zero.
            // SAFETY: see the type, and the table has 32 bytes, which need not be aligned.
            unsafe {
                let table = _mm256_loadu_si256(four.table.as_ptr().cast());
                Self(_mm256_cmpeq_epi8(
                    _mm256_shuffle_epi8(table, self.0),
                    self.0,
                ))
            }
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            // SAFETY: see the type.
            Self(unsafe { _mm256_or_si256(self.0, other.0) })
        }

        #[inline(always)]
        fn and(self, other: Self) -> Self {
            // SAFETY: see the type.
            Self(unsafe { _mm256_and_si256(self.0, other.0) })
        }

        #[inline(always)]
        fn high_bits(self) -> u32 {
            // SAFETY: see the type.
            unsafe { _mm256_movemask_epi8(self.0) as u32 }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    use super::{Block, Four, OnBlocks, STEP};

    /// Does work on the largest blocks that there are.
    #[inline]
    pub(in crate::encode) fn widest<W: OnBlocks>(work: W) -> W::Output {
        work.on::<Block16>()
    }

    /// Sixteen bytes.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::encode) struct Block16([u8; STEP]);

    impl Block for Block16 {
        const STEP: usize = STEP;

        #[inline(always)]
        fn load(bytes: &[u8]) -> Option<Self> {
            bytes.first_chunk().copied().map(Self)
        }

        #[inline(always)]
        fn store(self, out: &mut [u8]) -> Option<()> {
            *out.first_chunk_mut()? = self.0;
            Some(())
        }

        #[inline(always)]
        fn zero() -> Self {
            Self([0; STEP])
        }

        #[inline(always)]
        fn equals(self, byte: u8) -> Self {
            Self(self.0.map(|own| if own == byte { 0xff } else { 0 }))
        }

        #[inline(always)]
        fn at_most(self, byte: u8) -> Self {
            Self(self.0.map(|own| if own <= byte { 0xff } else { 0 }))
        }

        #[inline(always)]
        fn any_of(self, four: &Four) -> Self {
            Self(
                self.0
                    .map(|own| if four.bytes.contains(&own) { 0xff } else { 0 }),
            )
        }

        #[inline(always)]
        fn or(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
        }

        #[inline(always)]
        fn and(self, other: Self) -> Self {
            Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
        }

        #[inline(always)]
        fn high_bits(self) -> u32 {
            let bit = |(i, byte): (usize, &u8)| u32::from(byte >> 7) << i;
            self.0.iter().enumerate().map(bit).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    /// What a block is held to: the same of each byte alone.
    struct Check;

    impl OnBlocks for Check {
        type Output = usize;

        #[inline(always)]
        fn on<B: Block>(self) -> usize {
            check::<B>();
            B::STEP
        }
    }

    #[inline(always)]
    fn check<B: Block>() {
        for first in 0..=u8::MAX {
            let bytes: [u8; MAX_STEP] =
                std::array::from_fn(|i| first.wrapping_add((i as u8).wrapping_mul(17)));
            let block = B::load(&bytes).unwrap();
            let bits = |holds: &dyn Fn(u8) -> bool| {
                (0..B::STEP)
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
            for four in [*b",\"\n\r", *b"abcd", [0, 1, 0x7e, 0x7f]] {
                let any = block.any_of(&Four::of(four)).high_bits();
                assert_eq!(any, bits(&|own| four.contains(&own)), "{four:?}");
            }
            assert_eq!(B::zero().high_bits(), 0);
            let mut out = [0xaa; MAX_STEP + 1];
            block.store(&mut out).unwrap();
            assert_eq!(out[..B::STEP], bytes[..B::STEP]);
            assert!(out[B::STEP..].iter().all(|&byte| byte == 0xaa));
        }
        for count in 0..=B::STEP {
            let ones = (0..count).map(|i| 1 << i).sum::<u32>();
            assert_eq!(B::first(count).unwrap().high_bits(), ones);
        }
        assert!(B::first(B::STEP + 1).is_none());
        let short = &mut [0; MAX_STEP][..B::STEP - 1];
        assert!(B::load(short).is_none());
        assert!(B::zero().store(short).is_none());
    }

    #[test]
    fn a_block_compares_each_byte_alone_whatever_its_size() {
        check::<Block16>();
        assert!([STEP, MAX_STEP].contains(&widest(Check)));
    }
}
