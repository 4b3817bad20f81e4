//! RowBinary or Native in, a file out: what the contract says about values holds in every format, however the bytes arrive.
//!
//! The oracles are programs of others: the csv crate, serde_json, chrono.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails

use bytes::Bytes;
use proptest::prelude::*;
use rowspout::decode::{Batch, Decoder, EventType, RowBinaryDecoder, Span, TextColumn, Wire};
use rowspout::encode::{Encoder, FileInfo};
use rowspout::pushdown::columns::{COLUMNS, TEXT_COLUMNS};
use rowspout::request::Format;

#[path = "../../benches/support/mod.rs"]
pub(crate) mod support;

#[path = "expected.rs"]
pub(crate) mod expected;

pub(crate) use expected::cut;
use expected::expected;
use support::native::{As, MIXED, TABLE, block, native};
use support::{Corpus, EVENT_DATA, HOSTILE, JSONISH, Row, wire};

pub(crate) fn info(utc: bool) -> FileInfo {
    FileInfo {
        site: "site_test".into(),
        start: "2026-03-03".into(),
        end: "2026-03-04".into(),
        timezone: if utc { "UTC" } else { "Europe/Berlin" }.into(),
        utc,
        ..FileInfo::default()
    }
}

/// Chunks through a decoder and an encoder.
pub(crate) fn try_encode_from<'a>(
    wire: Wire,
    format: Format,
    utc: bool,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> rowspout::error::Result<Vec<Bytes>> {
    try_encode_by(Encoder::new(format, &info(utc))?, wire, chunks)
}

fn try_encode_by<'a>(
    mut encoder: Encoder,
    wire: Wire,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> rowspout::error::Result<Vec<Bytes>> {
    let mut decoder = Decoder::new(wire);
    let mut file = Vec::new();
    let mut rows = 0;
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(batch) = decoder.next_batch()? {
            rows += batch.rows() as u64;
            encoder.batch(&batch)?;
            file.extend(encoder.take_chunk());
        }
    }
    decoder.finish()?;
    encoder.finish()?;
    while let Some(chunk) = encoder.take_chunk() {
        file.push(chunk);
    }
    assert_eq!(encoder.rows(), rows);
    Ok(file)
}

/// Rows of RowBinary through a decoder and an encoder.
pub(crate) fn try_encode<'a>(
    format: Format,
    utc: bool,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> rowspout::error::Result<Vec<Bytes>> {
    try_encode_from(Wire::RowBinary, format, utc, chunks)
}

pub(crate) fn encode<'a>(
    format: Format,
    utc: bool,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    try_encode(format, utc, chunks).unwrap().concat()
}

/// Blocks of Native to a file.
pub(crate) fn encode_native<'a>(
    format: Format,
    utc: bool,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let file = try_encode_from(Wire::Native, format, utc, chunks);
    file.unwrap().concat()
}

/// A wire's bytes to a Parquet file, as on a machine of so many cores.
pub(crate) fn encode_on_cores<'a>(
    cores: usize,
    wire: Wire,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let encoder = Encoder::parquet_on(cores, &info(false)).unwrap();
    try_encode_by(encoder, wire, chunks).unwrap().concat()
}

fn encode_rows(format: Format, rows: &[Row]) -> Vec<u8> {
    encode(format, true, [&wire(rows)[..]])
}

const TEXT_FORMATS: [Format; 3] = [Format::Csv, Format::Json, Format::Ndjson];

#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    if found != expected {
        let at = found
            .iter()
            .zip(expected)
            .take_while(|(a, b)| a == b)
            .count();
        let around = |bytes: &[u8]| {
            let part = &bytes[at.saturating_sub(200)..bytes.len().min(at + 100)];
            String::from_utf8_lossy(part).into_owned()
        };
        panic!(
            "{what}: byte {at}\nfound    {}\nexpected {}",
            around(found),
            around(expected)
        );
    }
}

#[test]
fn an_empty_export_is_a_header_an_empty_array_or_nothing() {
    let header = b"timestamp,event_type,url,event_name,event_data,visitor_id,session_id,country,region,city,browser,os,\
        device,referrer,utm_source,utm_medium,utm_campaign\n";
    assert_eq!(encode(Format::Csv, true, []), header);
    assert_eq!(encode(Format::Json, true, []), b"[]");
    assert_eq!(encode(Format::Ndjson, true, []), b"");
    for format in Format::ALL {
        let block_of_none = block(&[], &TABLE);
        assert_eq!(
            encode_native(format, true, [&block_of_none[..]]),
            encode(format, true, [])
        );
    }
}

#[test]
fn the_first_bytes_come_with_the_first_rows() {
    let rows = wire(&Corpus::PageViews.rows(2));
    for format in TEXT_FORMATS {
        let mut encoder = Encoder::new(format, &info(true)).unwrap();
        assert!(encoder.take_chunk().is_none());
        let mut decoder = RowBinaryDecoder::new();
        decoder.push(Bytes::from(rows.clone()));
        encoder
            .batch(&decoder.next_batch().unwrap().unwrap())
            .unwrap();
        let chunk = encoder.take_chunk().unwrap();
        assert_eq!(
            chunk.iter().filter(|&&byte| byte == b'\n').count(),
            match format {
                Format::Csv => 3,
                Format::Ndjson => 2,
                _ => 1,
            }
        );
        assert!(encoder.take_chunk().is_none());
    }
}

#[test]
fn a_row_is_written_as_the_contract_says() {
    let mut row = Row::at(1_772_532_900_250, 7);
    row.pageview = false;
    row.text[0] = b"/a,b".to_vec();
    row.text[1] = b"say \"hi\"".to_vec();
    row.text[2] = b"{\"n\": 9007199254740993,\n\"b\":[1]}".to_vec();
    row.text[7] = "Z\u{fc}rich\t/\u{7f}".into();
    row.text[8] = b"\xff".to_vec();
    let rows = [row, Row::at(1_772_532_901_000, 8)];
    assert_eq!(
        String::from_utf8(encode_rows(Format::Csv, &rows))
            .unwrap()
            .split_once('\n')
            .unwrap()
            .1,
        "2026-03-03T10:15:00.250Z,event,\"/a,b\",\"say \"\"hi\"\"\",\"{\"\"n\"\": 9007199254740993,\n\"\"b\"\":[1]}\",,,,,\
         Z\u{fc}rich\t/\u{7f},\u{fffd},,,,,,\n2026-03-03T10:15:01Z,pageview,,,,,,,,,,,,,,,\n"
    );
    let first = "{\"timestamp\":\"2026-03-03T10:15:00.250Z\",\"event_type\":\"event\",\"url\":\"/a,b\",\
        \"event_name\":\"say \\\"hi\\\"\",\"event_data\":{\"n\": 9007199254740993,\"b\":[1]},\"visitor_id\":null,\
        \"session_id\":null,\"country\":null,\"region\":null,\"city\":\"Z\u{fc}rich\\t/\u{7f}\",\"browser\":\"\u{fffd}\",\
        \"os\":null,\"device\":null,\"referrer\":null,\"utm_source\":null,\"utm_medium\":null,\"utm_campaign\":null}";
    let second = "{\"timestamp\":\"2026-03-03T10:15:01Z\",\"event_type\":\"pageview\",\"url\":null,\"event_name\":null,\
        \"event_data\":null,\"visitor_id\":null,\"session_id\":null,\"country\":null,\"region\":null,\"city\":null,\
        \"browser\":null,\"os\":null,\"device\":null,\"referrer\":null,\"utm_source\":null,\"utm_medium\":null,\
        \"utm_campaign\":null}";
    let text = |format| String::from_utf8(encode_rows(format, &rows)).unwrap();
    assert_eq!(text(Format::Ndjson), format!("{first}\n{second}\n"));
    assert_eq!(text(Format::Json), format!("[{first},\n{second}]"));
}

#[test]
fn the_corpora_are_written_as_other_writers_write_them() {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(2000);
        let wire = wire(&rows);
        for format in TEXT_FORMATS {
            let found = encode(format, false, wire.chunks(50_000));
            assert_same(
                &found,
                &expected(format, &rows, false),
                &format!("{format} {corpus:?}"),
            );
        }
    }
}

#[test]
fn both_wires_give_the_same_file() {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(2000);
        let packed = wire(&rows);
        let blocks = [
            native(&rows, 3000, &TABLE),
            native(&rows, 700, &MIXED),
            native(&rows, 1, &TABLE),
        ];
        for format in Format::ALL {
            let wanted = encode(format, false, packed.chunks(50_000));
            for (blocks, size) in blocks.iter().zip([1 << 20, 50_000, 9000]) {
                assert_same(
                    &encode_native(format, false, blocks.chunks(size)),
                    &wanted,
                    &format!("{format} {corpus:?}"),
                );
            }
        }
    }
}

#[test]
fn every_hostile_text_in_every_column_is_written_as_other_writers_write_it() {
    let mut rows = Vec::new();
    for (i, text) in HOSTILE.iter().chain(&JSONISH).enumerate() {
        for column in 0..15 {
            let mut row = Row::at(i as i64 * 250, column as u64);
            row.text[column] = text.to_vec();
            row.text[(column + 1) % 15] = b"beside".to_vec();
            rows.push(row);
        }
    }
    let wire = wire(&rows);
    for format in TEXT_FORMATS {
        let wanted = expected(format, &rows, true);
        for size in [wire.len(), 1000, 33] {
            assert_same(
                &encode(format, true, wire.chunks(size)),
                &wanted,
                format.as_str(),
            );
        }
        for ways in [[As::Strings; 15], [As::Narrow; 15]] {
            let blocks = native(&rows, 500, &ways);
            assert_same(
                &encode_native(format, true, blocks.chunks(1000)),
                &wanted,
                format.as_str(),
            );
        }
    }
}

#[test]
fn texts_of_every_length_around_a_step_are_copied_whole() {
    let mut rows = Vec::new();
    for len in (0..100usize)
        .chain(120..136)
        .chain([200, 255, 256, 300, 5000])
    {
        for (column, special) in [
            (0, b'x'),
            (14, b'x'),
            (2, b'"'),
            (5, b','),
            (9, b'\\'),
            (13, 0xff),
            (2, b'7'),
        ] {
            for at in [0, len / 2, len.saturating_sub(1)] {
                let mut row = Row::at(len as i64, rows.len() as u64);
                row.text[column] = vec![b'a'; len];
                if column == 2 && special == b'7' {
                    row.text[column] = vec![b'1'; len];
                }
                if let Some(byte) = row.text[column].get_mut(at) {
                    *byte = special;
                }
                rows.push(row);
            }
        }
    }
    // Texts with a length of two bytes among texts with one of one byte.
    for column in 0..15 {
        for len in [127usize, 128, 129, 300, 5000] {
            let mut row = Row::at(1_000_000, rows.len() as u64);
            row.text = std::array::from_fn(|i| vec![b'a'; if i == column { len } else { i }]);
            rows.push(row);
        }
    }
    // The first byte of a length that continues a character which the text in front of it has cut.
    let mut row = Row::at(1_000_001, 0);
    row.text[4] = b"a\xc3".to_vec();
    row.text[5] = vec![b'b'; 0xa9];
    rows.push(row);
    // Not the last one: that is written with care, for want of bytes behind it.
    rows.push(Row::at(1_000_002, 0));
    for row in &mut rows {
        if row.text[2].len() > 18 && row.text[2].iter().all(u8::is_ascii_digit) {
            row.text[2].truncate(18); // longer ones are strings
        }
    }
    let wire = wire(&rows);
    for format in TEXT_FORMATS {
        assert_same(
            &encode_rows(format, &rows),
            &expected(format, &rows, true),
            format.as_str(),
        );
        assert_same(
            &encode(format, true, wire.chunks(1)),
            &expected(format, &rows, true),
            "bytes",
        );
    }
}

#[test]
fn texts_of_a_mebibyte_are_written() {
    let mut rows = Vec::new();
    for (i, text) in [
        &b"x"[..],
        b"\"",
        b"\n",
        b"\xff",
        b"\\",
        b"a,b",
        "\u{1f600}".as_bytes(),
        b"\0",
    ]
    .iter()
    .enumerate()
    {
        let mut row = Row::at(i as i64, 0);
        for column in 0..3 {
            row.text[column * 5] = text.repeat((1 << 20) / text.len());
        }
        row.text[2] = [b"[\"", text.repeat(1 << 18).as_slice(), b"\"]"].concat();
        rows.push(row);
    }
    let wire = wire(&rows);
    for format in TEXT_FORMATS {
        assert_same(
            &encode(format, true, wire.chunks(8192)),
            &expected(format, &rows, true),
            format.as_str(),
        );
    }
}

#[test]
fn a_time_that_has_no_text_is_an_error_with_its_row() {
    let mut rows = Corpus::PageViews.rows(3);
    for (timestamp, offset) in [
        (253_402_300_800_000, 0),
        (253_402_300_799_999, 1),
        (i64::MAX, 0),
    ] {
        rows[2].timestamp = timestamp;
        rows[2].offset = offset;
        for format in Format::ALL {
            let error = try_encode(format, false, [&wire(&rows)[..]]).unwrap_err();
            let position = error.position().unwrap();
            assert_eq!(
                (position.row, position.column),
                (Some(3), Some("timestamp")),
                "{format}"
            );
        }
    }
}

/// A column of texts as a wire of columns brings it: the bytes, the distinct entries and their codes, and each row's
/// own span.
#[derive(Default)]
struct Column {
    bytes: Vec<u8>,
    entries: Vec<Span>,
    codes: Vec<u32>,
    spans: Vec<Span>,
}

impl Column {
    fn of<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut column = Self::default();
        for text in texts {
            let known = column
                .entries
                .iter()
                .position(|entry| entry.of(&column.bytes) == text);
            let code = known.unwrap_or_else(|| {
                let start = column.bytes.len() as u32;
                column.bytes.extend_from_slice(text);
                let len = text.len() as u32;
                column.entries.push(Span { start, len });
                column.entries.len() - 1
            });
            column.codes.push(code as u32);
            column.spans.push(column.entries[code]);
        }
        column
    }

    fn text(&self, dictionary: bool) -> TextColumn<'_> {
        let Self {
            bytes,
            entries,
            codes,
            spans,
        } = self;
        if dictionary {
            TextColumn::Dictionary {
                bytes,
                entries,
                codes,
            }
        } else {
            TextColumn::Plain {
                bytes,
                spans,
                stride: 1,
            }
        }
    }
}

#[test]
fn columns_with_dictionaries_are_written_like_rows() {
    let rows = Corpus::Hostile.rows(600);
    let wire = wire(&rows);
    for dictionaries in [0u32, 0x7fff, 0x2aaa, 4] {
        for format in Format::ALL {
            let mut encoder = Encoder::new(format, &info(false)).unwrap();
            let mut file = Vec::new();
            for rows in rows.chunks(250) {
                let timestamps: Vec<_> = rows.iter().map(|row| row.timestamp).collect();
                let event_ids: Vec<_> = rows.iter().map(|row| row.event_id).collect();
                let offsets: Vec<_> = rows.iter().map(|row| row.offset).collect();
                let event_type = |row: &Row| match row.pageview {
                    true => EventType::Pageview,
                    false => EventType::Event,
                };
                let event_types: Vec<_> = rows.iter().map(event_type).collect();
                let columns: [Column; 15] =
                    std::array::from_fn(|i| Column::of(rows.iter().map(|row| &row.text[i][..])));
                let text = std::array::from_fn(|i| columns[i].text(dictionaries >> i & 1 == 1));
                encoder
                    .batch(&Batch {
                        timestamps: &timestamps,
                        event_ids: &event_ids,
                        offsets: &offsets,
                        event_types: &event_types,
                        settled_rows: 0,
                        text,
                    })
                    .unwrap();
                file.extend(encoder.take_chunk());
            }
            encoder.finish().unwrap();
            while let Some(chunk) = encoder.take_chunk() {
                file.push(chunk);
            }
            assert_same(
                &file.concat(),
                &encode(format, false, [&wire[..]]),
                format.as_str(),
            );
        }
    }
}

/// Text with what breaks careless writers in it.
pub(crate) fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => "[a-zA-Z0-9 /._-]{0,40}".prop_map(String::into_bytes),
        2 => prop::sample::select(&HOSTILE[..]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => ".{0,20}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        5 => Just(Vec::new()),
        5 => "[a-z]{0,20}".prop_map(String::into_bytes),
        3 => prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat()),
        1 => prop::sample::select(&JSONISH[..]).prop_map(<[u8]>::to_vec),
    ]
}

pub(crate) fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        0i64..3000,
        -840i16..=840,
        any::<bool>(),
        any::<bool>(),
        prop::array::uniform15(text()),
    );
    (
        -1_000_000_000_000i64..4_000_000_000_000,
        prop::collection::vec(row, 0..30),
    )
        .prop_map(|(start, rows)| {
            let mut timestamp = start;
            let row = |(event_id, (step, offset, pageview, fresh, text))| {
                timestamp += step;
                Row {
                    timestamp,
                    event_id,
                    offset,
                    pageview,
                    fresh,
                    text,
                }
            };
            (0u64..).zip(rows).map(row).collect()
        })
}

pub(crate) fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..50, 1usize..3000, Just(100_000)], 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn rows_of_any_kind_are_written_as_other_writers_write_them(rows in rows(), sizes in sizes(), utc: bool) {
        let wire = wire(&rows);
        for format in TEXT_FORMATS {
            let found = encode(format, utc, cut(&wire, &sizes));
            assert_same(&found, &expected(format, &rows, utc), format.as_str());
        }
        let blocks = native(&rows, 9, &MIXED);
        for format in TEXT_FORMATS {
            let found = encode_native(format, utc, cut(&blocks, &sizes));
            assert_same(&found, &expected(format, &rows, utc), format.as_str());
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic(
        bytes in prop::collection::vec(prop_oneof![0u8..5, any::<u8>()], 0..3000),
        sizes in sizes(),
    ) {
        for format in Format::ALL {
            let _ = try_encode(format, true, cut(&bytes, &sizes));
        }
    }

    #[test]
    fn a_file_reads_back_as_its_rows(rows in rows()) {
        let csv = encode_rows(Format::Csv, &rows);
        let mut reader = csv::Reader::from_reader(&csv[..]);
        prop_assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
        let records: Vec<_> = reader.records().map(Result::unwrap).collect();
        prop_assert_eq!(records.len(), rows.len());
        for (record, row) in records.iter().zip(&rows) {
            for (column, text) in row.text.iter().enumerate() {
                prop_assert_eq!(&record[column + 2], &*String::from_utf8_lossy(text));
            }
        }

        let json = encode_rows(Format::Json, &rows);
        let array: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&json).unwrap();
        let ndjson = encode_rows(Format::Ndjson, &rows);
        let lines: Vec<serde_json::Map<String, serde_json::Value>> =
            ndjson.split_inclusive(|&byte| byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect();
        prop_assert_eq!(&array, &lines);
        prop_assert_eq!(array.len(), rows.len());
        for (object, row) in array.iter().zip(&rows) {
            prop_assert_eq!(object.len(), 17);
            for (column, text) in row.text.iter().enumerate() {
                if column != EVENT_DATA {
                    let text = (!text.is_empty()).then(|| String::from_utf8_lossy(text));
                    prop_assert_eq!(object[TEXT_COLUMNS[column]].as_str(), text.as_deref());
                }
            }
        }
    }
}
