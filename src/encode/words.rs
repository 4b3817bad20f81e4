//! Short texts as numbers: hashed and compared without a look at each byte, and without a call.

/// Multiplication to 128 bits, folded, after wyhash (<https://github.com/wangyi-fudan/wyhash>).
#[inline(always)]
pub(super) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Where numbers differ from others, ones; zero where they are the same.
#[inline(always)]
pub(super) fn difference<const N: usize>(some: &[u64; N], others: &[u64; N]) -> u64 {
    let pairs = some.iter().zip(others);
    pairs.fold(0, |differ, (one, other)| differ | (one ^ other))
}
