#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on fails

use proptest::prelude::*;

use super::super::rowbinary::tests::support::{Corpus, Row, wire, write_length};
use super::super::{Decoder, Wire};
use super::*;

/// How the texts of a column are written.
#[derive(Clone, Copy, Debug)]
enum As {
    Strings,
    /// With codes of so many bytes, as a power of two.
    Codes(u64),
}

/// One block of rows, its text columns by turns in one of these ways.
fn block(rows: &[Row], ways: &[As]) -> Vec<u8> {
    let mut out = Vec::new();
    write_length(COLUMNS as u64, &mut out);
    write_length(rows.len() as u64, &mut out);
    let text = |text: &[u8], out: &mut Vec<u8>| {
        write_length(text.len() as u64, out);
        out.extend_from_slice(text);
    };
    for (column, (name, _)) in FIXED.iter().enumerate() {
        text(b"any name", &mut out);
        text(name, &mut out);
        for row in rows {
            let marker = if row.pageview { 1 } else { 2 } + if row.fresh { 2 } else { 0 };
            match column {
                0 => out.push(marker),
                1 => out.extend_from_slice(&row.timestamp.to_le_bytes()),
                2 => out.extend_from_slice(&row.event_id.to_le_bytes()),
                _ => out.extend_from_slice(&row.offset.to_le_bytes()),
            }
        }
    }
    for (column, name) in TEXT_COLUMNS.iter().enumerate() {
        text(name.as_bytes(), &mut out);
        match ways[column % ways.len()] {
            As::Strings => {
                text(STRING, &mut out);
                rows.iter()
                    .for_each(|row| text(&row.text[column], &mut out));
            }
            As::Codes(width) => {
                text(LOW_CARDINALITY, &mut out);
                if rows.is_empty() {
                    continue;
                }
                let mut entries: Vec<&[u8]> = vec![b""];
                let codes: Vec<usize> = rows
                    .iter()
                    .map(|row| {
                        let text = &row.text[column][..];
                        entries
                            .iter()
                            .position(|entry| *entry == text)
                            .unwrap_or_else(|| {
                                entries.push(text);
                                entries.len() - 1
                            })
                    })
                    .collect();
                out.extend_from_slice(&1u64.to_le_bytes());
                out.extend_from_slice(&(OWN_TEXTS | 1 << 10 | width).to_le_bytes());
                out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
                entries.iter().for_each(|entry| text(entry, &mut out));
                out.extend_from_slice(&(rows.len() as u64).to_le_bytes());
                for code in codes {
                    out.extend_from_slice(&(code as u64).to_le_bytes()[..1 << width]);
                }
            }
        }
    }
    out
}

const WAYS: [As; 5] = [
    As::Strings,
    As::Codes(1),
    As::Codes(2),
    As::Strings,
    As::Codes(3),
];

#[derive(Debug, Default)]
struct Decoded {
    rows: Vec<Row>,
    settled: u64,
    error: Option<Error>,
}

fn take(decoder: &mut Decoder, decoded: &mut Decoded) {
    loop {
        match decoder.next_batch() {
            Ok(Some(batch)) => {
                assert!(batch.rows() > 0 && batch.rows() <= MAX_BATCH_ROWS);
                decoded.settled += batch.settled_rows;
                for row in 0..batch.rows() {
                    decoded.rows.push(Row {
                        timestamp: batch.timestamps[row],
                        event_id: batch.event_ids[row],
                        offset: batch.offsets[row],
                        pageview: batch.event_types[row] == EventType::Pageview,
                        fresh: false,
                        text: std::array::from_fn(|column| batch.text[column].get(row).to_vec()),
                    });
                }
            }
            Ok(None) => return,
            Err(error) => {
                assert!(decoder.next_batch().is_err(), "an error stays one");
                decoded.error = Some(error);
                return;
            }
        }
    }
}

fn decode_with<'a>(
    mut decoder: Decoder,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Decoder, Decoded) {
    let mut decoded = Decoded::default();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        take(&mut decoder, &mut decoded);
        if decoded.error.is_some() {
            break;
        }
    }
    (decoder, decoded)
}

fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Decoder, Decoded) {
    decode_with(Decoder::new(Wire::Native), chunks)
}

#[test]
fn both_wires_give_the_same_rows() {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(2000);
        let packed = wire(&rows);
        let (_, expected) = decode_with(Decoder::new(Wire::RowBinary), packed.chunks(1 << 16));
        let mut blocks = Vec::new();
        for part in [&rows[..1], &[], &rows[1..700], &rows[700..]] {
            blocks.extend_from_slice(&block(part, &WAYS));
        }
        for size in [1 << 12, 1 << 16, 1 << 30] {
            let (decoder, decoded) = decode(blocks.chunks(size));
            assert!(decoded.error.is_none(), "{:?}", decoded.error);
            assert!(decoded.rows == expected.rows, "{}", corpus.name());
            assert_eq!(decoded.settled, expected.settled);
            decoder.finish().unwrap();
        }
    }
}

#[test]
fn a_block_cut_at_any_byte_decodes_the_same() {
    let rows = Corpus::Hostile.rows(4);
    let rows: Vec<Row> = rows
        .into_iter()
        .filter(|row| row.text.iter().all(|text| text.len() < 300))
        .collect();
    let bytes = [block(&rows, &WAYS), block(&[], &WAYS)].concat();
    let (_, whole) = decode([&bytes[..]]);
    assert!(!whole.rows.is_empty() && whole.error.is_none());
    for cut in 0..=bytes.len() {
        let (decoder, decoded) = decode([&bytes[..cut], &bytes[cut..]]);
        assert_eq!(decoded.rows, whole.rows, "cut at {cut}");
        decoder.finish().unwrap();
        // And where nothing follows, only a cut between blocks is an end.
        let (decoder, decoded) = decode([&bytes[..cut]]);
        assert!(decoded.error.is_none());
        let between = [0, block(&rows, &WAYS).len(), bytes.len()].contains(&cut);
        assert_eq!(decoder.finish().is_ok(), between, "cut at {cut}");
    }
}

#[test]
fn rows_behind_the_end_of_a_range_are_not_delivered() {
    let rows: Vec<Row> = (0..10).map(|at| Row::at(at / 2, at as u64)).collect();
    let (first, second) = rows.split_at(6);
    let bytes = [block(first, &WAYS), block(second, &WAYS)].concat();
    for until in 0..7 {
        let mut decoder = Decoder::new(Wire::Native);
        decoder.stop_at(until);
        let (mut decoder, decoded) = decode_with(decoder, bytes.chunks(100));
        assert_eq!(decoded.rows.len(), 10.min(2 * until as usize));
        assert_eq!(decoder.passed(), until < 5);
        // Another stream goes on from there, on either wire, and none goes back.
        let behind = Row::at(until, 100);
        let before = Row::at(until - 2, 100);
        for (row, fits) in [(behind, true), (before, false)] {
            for wire_of in Wire::ALL {
                decoder.restart(wire_of, i64::MAX);
                let bytes = match wire_of {
                    Wire::RowBinary => wire(std::slice::from_ref(&row)),
                    Wire::Native => block(std::slice::from_ref(&row), &WAYS),
                };
                let mut decoded = Decoded::default();
                decoder.push(bytes.into());
                take(&mut decoder, &mut decoded);
                assert_eq!(decoded.error.is_none(), fits, "{until} {wire_of:?}");
            }
        }
    }
}

#[test]
fn what_is_no_block_is_refused() {
    let rows = [Row::at(1, 1), Row::at(2, 2)];
    let good = block(&rows, &WAYS);
    let mut late = good.clone();
    late.extend_from_slice(b"Code: 241. DB::Exception: Memory limit exceeded\n");
    let (_, decoded) = decode([&late[..]]);
    assert_eq!(decoded.rows.len(), 2);
    assert!(
        decoded
            .error
            .unwrap()
            .to_string()
            .contains("broke off at row 3")
    );

    let changed = |from: &[u8], to: &[u8]| {
        let at = good
            .windows(from.len())
            .position(|found| found == from)
            .unwrap();
        let mut bytes = good.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        decode([&bytes[..]]).1
    };
    assert!(
        changed(b"UInt8\x01", b"UInt8\x07").error.is_some(),
        "a marker"
    );
    assert!(changed(b"Int64", b"Int65").error.is_some(), "a type");
    assert!(
        changed(b"LowCardinality(String)\x01", b"LowCardinality(String)\x02")
            .error
            .is_some()
    );
    assert!(changed(&[19], &[18]).error.is_some(), "columns");
    let swapped = block(&[Row::at(2, 2), Row::at(1, 1)], &WAYS);
    let (_, decoded) = decode([&swapped[..]]);
    assert!(
        decoded
            .error
            .unwrap()
            .to_string()
            .contains("row 2 comes before")
    );
    let mut many = Vec::new();
    write_length(COLUMNS as u64, &mut many);
    write_length(u64::from(u32::MAX), &mut many);
    assert!(decode([&many[..]]).1.error.is_some(), "rows");
}

#[test]
fn a_block_that_is_too_large_is_given_up_and_takes_no_more_room() {
    let mut row = Row::at(1, 1);
    row.text[0] = vec![b'x'; MAX_BLOCK_BYTES];
    let bytes = block(&[row], &WAYS);
    let mut decoder = Decoder::new(Wire::Native);
    for chunk in bytes.chunks(1 << 20) {
        decoder.push(Bytes::copy_from_slice(chunk));
        if decoder.overflows() {
            return;
        }
        assert!(decoder.next_batch().unwrap().is_none());
    }
    panic!("it was taken");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_blocks_never_panic(at in 0usize..4000, byte: u8, size in 1usize..500) {
        let mut bytes = block(&Corpus::PageViews.rows(30), &WAYS);
        let at = at % bytes.len();
        bytes[at] = byte;
        let (decoder, decoded) = decode(bytes.chunks(size));
        let (_, whole) = decode([&bytes[..]]);
        prop_assert_eq!(decoded.rows, whole.rows);
        let _ = decoder.finish();
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(19u8), 0u8..5], 0..400)) {
        let (decoder, _) = decode(bytes.chunks(7));
        let _ = decoder.finish();
    }
}
