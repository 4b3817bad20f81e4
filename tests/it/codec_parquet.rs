//! Parquet files: read back with the parquet crate's own reader, and byte for byte the same however the rows arrived.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit as ParquetTimeUnit};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use rowspout::decode::Wire;
use rowspout::pushdown::columns::COLUMNS;
use rowspout::request::Format;

use super::codec::expected::assert_first_rows;
use super::codec::support::native::{BLOCK_ROWS, MIXED, TABLE, native};
use super::codec::support::{Corpus, Random, Row, wire};
use super::codec::{cut, encode, encode_native, encode_on_cores, rows, sizes};

fn read(file: Vec<u8>) -> Vec<RecordBatch> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into()));
    assert_eq!(builder.schema().field(0).data_type(), &zone);
    for (field, name) in builder.schema().fields().iter().zip(COLUMNS) {
        assert_eq!(field.name(), name);
        if name != "timestamp" {
            assert_eq!(field.data_type(), &DataType::Utf8);
        }
        assert_eq!(field.is_nullable(), name != "timestamp");
    }
    builder
        .with_batch_size(1000)
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[track_caller]
fn assert_holds(file: Vec<u8>, rows: &[Row]) {
    let mut rest = rows;
    for batch in read(file) {
        rest = assert_first_rows(&batch, rest);
    }
    assert!(rest.is_empty());
}

fn key_values(file: &[u8]) -> BTreeMap<String, String> {
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(file)).unwrap();
    let pairs = reader
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .unwrap();
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), pair.value.clone().unwrap()))
        .collect()
}

#[test]
fn an_empty_export_is_a_file_of_no_rows() {
    let file = encode(Format::Parquet, false, []);
    assert_eq!(key_values(&file)["export.rows"], "0");
    assert_holds(file, &[]);
}

#[test]
fn the_corpora_read_back_as_their_rows() {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(20_000);
        assert_holds(
            encode(Format::Parquet, false, wire(&rows).chunks(100_000)),
            &rows,
        );
    }
}

#[test]
fn the_file_says_what_it_is() {
    let file = encode(
        Format::Parquet,
        false,
        [&wire(&Corpus::PageViews.rows(30))[..]],
    );
    let pairs = key_values(&file);
    for (key, value) in [
        ("export.site", "site_test"),
        ("export.start", "2026-03-03"),
        ("export.end", "2026-03-04"),
        ("export.timezone", "Europe/Berlin"),
        ("export.rows", "30"),
        ("export.version", env!("CARGO_PKG_VERSION")),
        ("event_data.format", "json"),
    ] {
        assert_eq!(pairs[key], value);
    }
    let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.file_metadata().version(), 1);
    let group = metadata.row_group(0);
    assert_eq!(group.sorting_columns().unwrap()[0].column_idx, 0);
    assert!(!group.sorting_columns().unwrap()[0].descending);
    for (column, name) in group.columns().iter().zip(COLUMNS) {
        let descriptor = column.column_descr();
        assert_eq!(column.column_path().string(), name);
        assert!(matches!(column.compression(), Compression::ZSTD(_)));
        assert!(column.bloom_filter_offset().is_none());
        let repetition = descriptor.self_type().get_basic_info().repetition();
        let logical = descriptor.logical_type_ref().cloned();
        if name == "timestamp" {
            assert_eq!(repetition, Repetition::REQUIRED);
            let Some(LogicalType::Timestamp(timestamp)) = logical else {
                panic!("{logical:?}")
            };
            assert!(timestamp.is_adjusted_to_u_t_c);
            assert_eq!(timestamp.unit, ParquetTimeUnit::MICROS);
        } else {
            assert_eq!(repetition, Repetition::OPTIONAL);
            assert_eq!(logical, Some(LogicalType::String));
        }
        let without = ["url", "event_data", "visitor_id", "session_id", "referrer"].contains(&name);
        assert_eq!(column.statistics().is_none(), without, "{name}");
    }
}

#[test]
fn the_bytes_do_not_depend_on_how_the_rows_were_cut() {
    for corpus in [Corpus::PageViews, Corpus::Hostile] {
        let rows = corpus.rows(30_000);
        let wire = wire(&rows);
        let whole = encode(Format::Parquet, false, [&wire[..]]);
        for size in [313, 70_000, 1 << 20] {
            assert!(
                encode(Format::Parquet, false, wire.chunks(size)) == whole,
                "{size}"
            );
        }
        let blocks = native(&rows, BLOCK_ROWS, &TABLE);
        assert!(encode_native(Format::Parquet, false, blocks.chunks(70_000)) == whole);
    }
}

#[test]
fn rows_of_a_mebibyte_are_written_and_their_cuts_do_not_matter() {
    let rows: Vec<_> = (0..70)
        .map(|i| {
            let mut row = Row::at(i, 0);
            row.text[i as usize % 15] = vec![b'a' + (i % 26) as u8; 1 << 20];
            row
        })
        .collect();
    let wire = wire(&rows);
    let whole = encode(Format::Parquet, false, [&wire[..]]);
    assert!(encode(Format::Parquet, false, wire.chunks(100_000)) == whole);
    assert_holds(whole, &rows);
}

/// Smallest and largest of the texts that are there, and how many are not.
fn bounds<'a>(texts: &[&'a [u8]]) -> (Option<&'a [u8]>, Option<&'a [u8]>, u64) {
    let there = || texts.iter().copied().filter(|text| !text.is_empty());
    let nulls = texts.len() - there().count();
    (there().min(), there().max(), nulls as u64)
}

/// Texts of hexadecimal digits that no compressor makes much of.
fn noise(random: &mut Random, words: usize) -> Vec<u8> {
    (0..words)
        .flat_map(|_| format!("{:016x}", random.next()).into_bytes())
        .collect()
}

#[test]
fn a_row_group_ends_at_its_limits_wherever_the_rows_were_cut() {
    let rows: Vec<_> = (0..1_100_000).map(|i| Row::at(i, 0)).collect();
    let wire_of_many = wire(&rows);
    let many = encode(Format::Parquet, false, [&wire_of_many[..]]);
    assert!(encode(Format::Parquet, false, wire_of_many.chunks(777_777)) == many);
    let mut random = Random(1);
    let rows: Vec<_> = (0..40_000)
        .map(|i| {
            let mut row = Row::at(i, 0);
            row.text[2] = noise(&mut random, 200);
            if i < 10_000 {
                row.text[3] = noise(&mut random, 2);
            }
            // First seen in another order in the second row group.
            row.text[7] = format!("city {}", i * i % 11).into_bytes();
            row.text[9] = format!("os {}", i / 7 % 5).into_bytes();
            row.text[13] = format!("medium {}", i / 3 % 4).into_bytes();
            row
        })
        .collect();
    let wire_of_large = wire(&rows);
    let large = encode(Format::Parquet, false, [&wire_of_large[..]]);
    assert!(encode(Format::Parquet, false, wire_of_large.chunks(333_333)) == large);
    let by_column = native(&rows, 1_000, &TABLE);
    assert!(encode_native(Format::Parquet, false, by_column.chunks(333_333)) == large);
    for (wire, bytes) in [
        (Wire::RowBinary, &wire_of_large),
        (Wire::Native, &by_column),
    ] {
        let on_cores = encode_on_cores(4, wire, bytes.chunks(333_333));
        assert!(on_cores == large, "{wire:?}");
    }
    for (file, least, first) in [(many, 1_048_576, 1_048_576), (large, 15_000, 40_000)] {
        let reader = SerializedFileReader::new(Bytes::from(file)).unwrap();
        let groups = reader.metadata().row_groups();
        assert_eq!(groups.len(), 2);
        let rows = groups[0].num_rows();
        assert!((least..=first).contains(&rows), "{rows}");
        assert!(groups[0].compressed_size() < 64 << 20);
        // The second row group knows nothing of the first one.
        let visitor_ids = groups[1].column(5);
        assert!(
            visitor_ids.uncompressed_size() < 10_000,
            "{}",
            visitor_ids.uncompressed_size()
        );
        let countries = groups[1].column(7).statistics().unwrap();
        assert_eq!(
            countries.null_count_opt(),
            Some(groups[1].num_rows() as u64)
        );
    }
}

#[test]
fn a_column_of_many_texts_gives_its_dictionary_up_and_keeps_its_bounds() {
    let mut random = Random(2);
    let rows: Vec<_> = (0..70_000)
        .map(|i| {
            let mut row = Row::at(i, 0);
            row.text[0] = noise(&mut random, 2);
            row.text[5] = noise(&mut random, 2);
            if i % 3 == 0 {
                row.text[6] = noise(&mut random, 1);
            }
            row.text[7] = if i == 69_999 {
                b"one".to_vec()
            } else {
                Vec::new()
            };
            row.text[9] = if i == 40_000 {
                vec![b'z'; 80]
            } else {
                b"b".to_vec()
            };
            row.text[8] = if i == 50_000 {
                noise(&mut random, 5)
            } else {
                b"b".to_vec()
            };
            row
        })
        .collect();
    let file = encode(Format::Parquet, false, wire(&rows).chunks(100_000));

    let mut metadata =
        ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    metadata.try_parse(&Bytes::from(file.clone())).unwrap();
    let metadata = metadata.finish().unwrap();
    let columns = metadata.row_group(0).columns();
    let both = [Encoding::RLE_DICTIONARY, Encoding::PLAIN];
    for column in [2, 7] {
        let found: Vec<_> = columns[column].encodings().collect();
        assert!(
            both.iter().all(|encoding| found.contains(encoding)),
            "{found:?}"
        );
    }
    for column in [10, 11] {
        assert!(
            columns[column].statistics().is_none(),
            "80 bytes are too long for statistics"
        );
    }
    for column in [7, 8, 9] {
        let texts: Vec<_> = rows.iter().map(|row| &row.text[column - 2][..]).collect();
        let statistics = columns[column].statistics().unwrap();
        let found = (
            statistics.min_bytes_opt(),
            statistics.max_bytes_opt(),
            statistics.null_count_opt().unwrap(),
        );
        assert_eq!(found, bounds(&texts));

        let page_index = metadata.page_index_for_row_group(0);
        let pages = page_index.offset_index(column).unwrap().page_locations();
        let Some(ColumnIndexMetaData::BYTE_ARRAY(index)) = page_index.column_index(column) else {
            panic!("no index of texts");
        };
        assert!(pages.len() > 3);
        let mut end = texts.len();
        for (i, page) in pages.iter().enumerate().rev() {
            let (min, max, nulls) = bounds(&texts[page.first_row_index as usize..end]);
            end = page.first_row_index as usize;
            assert_eq!(
                (index.min_value(i), index.max_value(i)),
                (min, max),
                "column {column}, page {i}"
            );
            assert_eq!(index.null_count(i), Some(nulls as i64));
        }
        assert_eq!(end, 0);
    }
    assert_holds(file, &rows);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rows_of_any_kind_read_back(rows in rows(), sizes in sizes()) {
        let wire = wire(&rows);
        let file = encode(Format::Parquet, false, cut(&wire, &sizes));
        prop_assert!(file == encode(Format::Parquet, false, [&wire[..]]));
        let blocks = native(&rows, 9, &MIXED);
        prop_assert!(file == encode_native(Format::Parquet, false, cut(&blocks, &sizes)));
        assert_holds(file, &rows);
    }
}
