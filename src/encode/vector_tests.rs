//! The files of the text formats are the same whatever the processor has: on one without AVX2 these tests show nothing.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use proptest::prelude::*;

use super::vector::narrow;
use super::*;
use crate::decode::Wire;
use crate::decode::support::native::{TABLE, native};
use crate::decode::support::{Corpus, Row, wire};
use crate::pushdown::columns::TEXT_COLUMNS;

fn file(format: Format, kind: Wire, bytes: &[u8], chunk: usize) -> Vec<u8> {
    whole::file(&FileInfo::default(), format, kind, bytes, chunk)
}

fn is_the_same(rows: &[Row], chunk: usize) {
    for (kind, bytes) in [
        (Wire::RowBinary, wire(rows)),
        (Wire::Native, native(rows, 1_000, &TABLE)),
    ] {
        for format in [Format::Csv, Format::Json, Format::Ndjson] {
            let wide = file(format, kind, &bytes, chunk);
            let narrow = narrow(|| file(format, kind, &bytes, chunk));
            assert!(wide == narrow, "{} over {kind:?}", format.as_str());
            assert!(!wide.is_empty());
        }
    }
}

#[test]
fn blocks_of_any_size_make_the_same_file() {
    for corpus in Corpus::ALL {
        for chunk in [700, 128 << 10] {
            is_the_same(&corpus.rows(300), chunk);
        }
    }
}

#[test]
fn as_many_special_bytes_as_a_blocks_counts_can_hold_are_seen() {
    for len in [16 * 255, 16 * 256, 16 * 257, 32 * 255, 32 * 256, 32 * 257] {
        for around in 0..40 {
            let mut row = Row::at(1_774_700_000_000, 1);
            // What is not one run is not counted so: every length is one byte.
            let commas = (len - around) / TEXT_COLUMNS.len();
            if commas < 128 {
                row.text = std::array::from_fn(|_| vec![b','; commas]);
            } else {
                row.text[0] = vec![b','; len - around];
            }
            let rows = [row, Row::at(1_774_700_000_001, 2)];
            is_the_same(&rows, 1 << 20);
            let bytes = wire(&rows);
            let file = file(Format::Csv, Wire::RowBinary, &bytes, bytes.len());
            let mut reader = ::csv::Reader::from_reader(&file[..]);
            let read: Vec<_> = reader.byte_records().map(Result::unwrap).collect();
            for (place, text) in rows[0].text.iter().enumerate() {
                assert_eq!(&read[0][place + 2], &text[..], "{len} {around}");
            }
        }
    }
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop_oneof![
        6 => "[a-z/?=.]{0,40}".prop_map(String::into_bytes),
        2 => "[a-z,\"\n\r]{0,3}".prop_map(String::into_bytes),
        1 => "\\PC{0,9}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop_oneof![
        3 => Just(Vec::new()),
        // Lengths that are special bytes themselves, and those around a block's.
        1 => prop::sample::select(vec![10usize, 13, 15, 16, 17, 31, 32, 33, 34, 44, 64, 127, 128, 300])
            .prop_map(|len| vec![b'x'; len]),
        3 => prop::collection::vec(pieces, 0..3).prop_map(|pieces| pieces.concat()),
        1 => Just(br#"{"plan": "pro", "n": [1, 2.5, null]}"#.to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn blocks_of_any_size_make_the_same_file_of_any_texts(
        texts in prop::collection::vec(prop::collection::vec(text(), 15), 1..20),
        chunk in 1usize..3_000,
    ) {
        let rows: Vec<_> = texts
            .into_iter()
            .enumerate()
            .map(|(at, texts)| {
                let mut row = Row::at(1_774_700_000_000 + at as i64 * 7_003, at as u64);
                row.pageview = at % 3 > 0;
                row.text = texts.try_into().unwrap();
                row
            })
            .collect();
        is_the_same(&rows, chunk);
    }
}
