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

    /// The bytes from there on.
    ///
    /// # Safety
    ///
    /// There have to be so many.
    #[allow(unsafe_code)]
    unsafe fn read(from: *const u8) -> Self;

    /// Writes the bytes from there on.
    ///
    /// # Safety
    ///
    /// There has to be room for so many.
    #[allow(unsafe_code)]
    unsafe fn write(self, to: *mut u8);

    /// The first bytes of a slice, if it has so many.
    #[inline(always)]
    #[allow(unsafe_code)]
    fn first(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < Self::STEP {
            return None;
        }
        // SAFETY: there are so many.
        Some(unsafe { Self::read(bytes.as_ptr()) })
    }

    fn zero() -> Self;

    fn equals(self, byte: u8) -> Self;

    fn at_most(self, byte: u8) -> Self;

    /// Where a byte is one of these.
    fn any_of(self, four: &Four) -> Self;

    fn or(self, other: Self) -> Self;

    /// The highest bit of each byte, that of the first byte lowest.
    fn high_bits(self) -> u32;

    /// Eight bytes, those twice whose bit is set in `which`, that of the first byte lowest; and behind them anything.
    fn double(eight: [u8; 8], which: u8) -> [u8; 16];
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

/// For each choice of eight bytes, which byte stands where when those are written twice.
const DOUBLED: [[u8; 16]; 256] = {
    let mut table = [[0; 16]; 256];
    let mut which = 0;
    while which < 256 {
        let (mut from, mut to) = (0, 0);
        while from < 8 {
            table[which][to] = from;
            to += 1;
            if which >> from & 1 == 1 {
                table[which][to] = from;
                to += 1;
            }
            from += 1;
        }
        which += 1;
    }
    table
};

/// As [`Block::double`], byte by byte.
#[inline]
fn double_each(eight: [u8; 8], which: u8) -> [u8; 16] {
    if which == 0 {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&eight);
        return out;
    }
    DOUBLED[usize::from(which)].map(|from| eight[usize::from(from)])
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
// with the intrinsics 139 (benches/encode.rs, page views).
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod imp {
    use std::arch::x86_64::{
        __m128i, __m256i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
        _mm_or_si128, _mm_set1_epi8, _mm_set1_epi64x, _mm_setzero_si128, _mm_shuffle_epi8,
        _mm_storeu_si128, _mm256_cmpeq_epi8, _mm256_loadu_si256, _mm256_min_epu8,
        _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_storeu_si256,
    };

    use super::{Block, DOUBLED, Four, MAX_STEP, OnBlocks, STEP, double_each};

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
        unsafe fn read(from: *const u8) -> Self {
            // SAFETY: every x86-64 has SSE2, and 16 bytes are there, which need not be aligned.
            Self(unsafe { _mm_loadu_si128(from.cast()) })
        }

        #[inline(always)]
        unsafe fn write(self, to: *mut u8) {
            // SAFETY: every x86-64 has SSE2, and there is room for 16 bytes, which need not be aligned.
            unsafe { _mm_storeu_si128(to.cast(), self.0) };
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
        fn high_bits(self) -> u32 {
            // SAFETY: every x86-64 has SSE2.
            unsafe { _mm_movemask_epi8(self.0) as u32 }
        }

        #[inline(always)]
        fn double(eight: [u8; 8], which: u8) -> [u8; 16] {
            double_each(eight, which)
        }
    }

    /// Thirty-two bytes. Nobody names it but [`widest`], which has seen that the processor has AVX2.
    #[derive(Clone, Copy, Debug)]
    struct Block32(__m256i);

    impl Block for Block32 {
        const STEP: usize = MAX_STEP;

        #[inline(always)]
        unsafe fn read(from: *const u8) -> Self {
            // SAFETY: see the type, and 32 bytes are there, which need not be aligned.
            Self(unsafe { _mm256_loadu_si256(from.cast()) })
        }

        #[inline(always)]
        unsafe fn write(self, to: *mut u8) {
            // SAFETY: see the type, and there is room for 32 bytes, which need not be aligned.
            unsafe { _mm256_storeu_si256(to.cast(), self.0) };
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
        fn high_bits(self) -> u32 {
            // SAFETY: see the type.
            unsafe { _mm256_movemask_epi8(self.0) as u32 }
        }

        #[inline(always)]
        fn double(eight: [u8; 8], which: u8) -> [u8; 16] {
            let places = &DOUBLED[usize::from(which)];
            let mut out = [0; 16];
            // SAFETY: see the type, and both arrays have 16 bytes, which need not be aligned.
            unsafe {
                let eight = _mm_set1_epi64x(i64::from_le_bytes(eight));
                let places = _mm_loadu_si128(places.as_ptr().cast());
                _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_shuffle_epi8(eight, places));
            }
            out
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[allow(unsafe_code)]
mod imp {
    use super::{Block, Four, OnBlocks, STEP, double_each};

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
        unsafe fn read(from: *const u8) -> Self {
            // SAFETY: so many bytes are there, and bytes are always aligned.
            Self(unsafe { *from.cast::<[u8; STEP]>() })
        }

        #[inline(always)]
        unsafe fn write(self, to: *mut u8) {
            // SAFETY: there is room for so many bytes, and bytes are always aligned.
            unsafe { *to.cast::<[u8; STEP]>() = self.0 };
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
        fn high_bits(self) -> u32 {
            let bit = |(i, byte): (usize, &u8)| u32::from(byte >> 7) << i;
            self.0.iter().enumerate().map(bit).sum()
        }

        #[inline(always)]
        fn double(eight: [u8; 8], which: u8) -> [u8; 16] {
            double_each(eight, which)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;
    use crate::encode::margin::Readable;

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
            let block: B = Readable::new(&bytes).unwrap().block(0).unwrap();
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
            }
            for four in [*b",\"\n\r", *b"abcd", [0, 1, 0x7e, 0x7f]] {
                let any = block.any_of(&Four::of(four)).high_bits();
                assert_eq!(any, bits(&|own| four.contains(&own)), "{four:?}");
            }
            assert_eq!(B::zero().high_bits(), 0);
            let eight = std::array::from_fn(|i| b'a' + i as u8);
            let twice = |i: usize| 1 + usize::from(first >> i & 1);
            let doubled: Vec<u8> = (0..8)
                .flat_map(|i| std::iter::repeat_n(eight[i], twice(i)))
                .collect();
            assert_eq!(B::double(eight, first)[..doubled.len()], doubled);
        }
    }

    #[test]
    fn a_block_is_the_first_bytes_of_a_slice_that_has_as_many() {
        let bytes: [u8; STEP + 1] = std::array::from_fn(|i| 0x7e + i as u8);
        let high = |from: usize| Block16::first(&bytes[from..]).map(Block::high_bits);
        assert_eq!(
            [high(0), high(1), high(2)],
            [Some(0xfffc), Some(0xfffe), None]
        );
    }

    #[test]
    fn a_block_compares_each_byte_alone_whatever_its_size() {
        check::<Block16>();
        assert!([STEP, MAX_STEP].contains(&widest(Check)));
    }
}
