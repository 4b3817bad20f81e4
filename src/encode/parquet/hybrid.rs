//! Parquet's run-length and bit-packed hybrid, which levels and dictionary codes are written in.
//!
//! Format: <https://parquet.apache.org/docs/file-format/data-pages/encodings/#RLE>.

/// Shortest run of one value that is written as a run, in values: below, eight packed values take less.
const MIN_RUN: usize = 16;

/// Bits that a code takes where there are `entries` of them; at least one.
pub(super) fn bit_width(entries: usize) -> u32 {
    (usize::BITS - entries.saturating_sub(1).leading_zeros()).max(1)
}

/// Appends `values`, each of at most `width` bits, at most 32.
pub(super) fn encode(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut packed_from = 0;
    let mut at = 0;
    while let Some(&value) = values.get(at + MIN_RUN - 1) {
        // A run that is long enough and starts in front of this value includes it.
        let same = |other: &&u32| **other == value;
        let before = values[at..at + MIN_RUN - 1].iter().rev();
        let before = before.take_while(same).count();
        let from_it = values[at + MIN_RUN - 1..].iter();
        let from_it = from_it.take_while(same).count();
        at += MIN_RUN - 1 - before;
        let mut run = before + from_it;
        // What is packed in front of a run must be a multiple of eight.
        let pad = (at - packed_from).wrapping_neg() % 8;
        if run >= MIN_RUN + pad {
            at += pad;
            run -= pad;
            pack(&values[packed_from..at], width, out);
            write_run(value, run, width, out);
            at += run;
            packed_from = at;
        } else {
            at += run;
        }
    }
    pack(&values[packed_from..], width, out);
}

/// Appends `count` times `value`.
pub(super) fn write_run(value: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    write_varint((count as u64) << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Appends values bit by bit; the last group of eight is filled up with zeros.
fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(8);
    write_varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    if width <= 16 {
        pack_narrow(values, width, out);
    } else {
        pack_wide(values, width, out);
    }
    out.resize(end, 0);
}

/// Values of at most 16 bits, eight at a time: they fill as many bytes as one has bits.
fn pack_narrow(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut at = out.len();
    let (eights, rest) = values.as_chunks();
    out.resize(
        at + eights.len() * width as usize + 2 * size_of::<u128>(),
        0,
    );
    let four = |values: [u32; 4]| {
        let [a, b, c, d] = values.map(u64::from);
        a | b << width | c << (2 * width) | d << (3 * width)
    };
    let mut put = |[a, b, c, d, e, f, g, h]: [u32; 8]| {
        let (low, high) = (four([a, b, c, d]), four([e, f, g, h]));
        let bits = u128::from(low) | u128::from(high) << (4 * width);
        if let Some(room) = out[at..].first_chunk_mut() {
            *room = bits.to_le_bytes();
        }
        at += width as usize;
    };
    eights.iter().for_each(|&eight| put(eight));
    if !rest.is_empty() {
        let mut eight = [0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        put(eight);
    }
}

/// Values of more bits.
fn pack_wide(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let mut bits = 0u64;
    let mut filled = 0;
    for &value in values {
        bits |= u64::from(value) << filled;
        filled += width;
        if filled >= 32 {
            out.extend_from_slice(&(bits as u32).to_le_bytes());
            bits >>= 32;
            filled -= 32;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes());
}

/// Appends a bit for each of `count` rows, those of `words` from the lowest on.
pub(super) fn pack_bits(words: &[u64], count: usize, out: &mut Vec<u8>) {
    let groups = count.div_ceil(8);
    write_varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups;
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.truncate(end);
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The format's own description, read as plainly as it is written there.
    fn decode(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut values = Vec::new();
        while values.len() < count {
            let (mut header, mut shift) = (0u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
            if header & 1 == 0 {
                let size = width.div_ceil(8) as usize;
                let mut value = [0; 4];
                value[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                let run = (header >> 1) as usize;
                values.extend(std::iter::repeat_n(u32::from_le_bytes(value), run));
            } else {
                let size = (header >> 1) as usize * width as usize;
                for i in 0..(header >> 1) as usize * 8 {
                    let bit = |b: usize| u32::from(bytes[b / 8] >> (b % 8) & 1);
                    let first = i * width as usize;
                    values.push((0..width as usize).map(|b| bit(first + b) << b).sum());
                }
                bytes = &bytes[size..];
            }
        }
        assert!(bytes.is_empty());
        values.truncate(count);
        values
    }

    #[test]
    fn a_width_holds_every_code() {
        for (entries, width) in [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 3),
            (256, 8),
            (257, 9),
            (1 << 20, 20),
        ] {
            assert_eq!(bit_width(entries), width);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn values_come_back(
            width in 1u32..=32,
            runs in prop::collection::vec((any::<u32>(), prop_oneof![Just(1usize), 1usize..40, 1usize..300]), 0..40),
        ) {
            let values: Vec<u32> = runs.iter()
                .flat_map(|&(value, count)| std::iter::repeat_n(value >> (32 - width), count))
                .collect();
            let mut out = Vec::new();
            encode(&values, width, &mut out);
            prop_assert_eq!(decode(&out, width, values.len()), values);
        }

        #[test]
        fn bits_come_back(bits in prop::collection::vec(any::<bool>(), 1..300)) {
            let mut words = vec![0u64; bits.len().div_ceil(64)];
            for (i, bit) in bits.iter().enumerate() {
                words[i / 64] |= u64::from(*bit) << (i % 64);
            }
            let mut out = Vec::new();
            pack_bits(&words, bits.len(), &mut out);
            let expected: Vec<_> = bits.iter().map(|&bit| u32::from(bit)).collect();
            prop_assert_eq!(decode(&out, 1, bits.len()), expected);
        }
    }
}
