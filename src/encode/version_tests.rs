//! The bytes of a small file in each format and with each option, pinned beside the version that ETags are made of.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use sha2::{Digest as _, Sha256};

use super::*;
use crate::decode::support::write_length;
use crate::decode::{EventType, Span, TextColumn};
use crate::pushdown::columns::TEXT_COLUMNS;
use crate::random;

/// [`VERSION`] when the hashes were written down.
const PINNED_VERSION: u32 = 2;

/// The beginning of each file's SHA-256. The program's own version is not in it: where that stands in a file, an ETag has it too.
const PINNED: [(&str, &str); 14] = [
    ("csv", "a711df28ef646e34"),
    ("csv, no rows", "d8a13db94c0e076c"),
    ("csv, spreadsheet", "1205a6992a87368e"),
    ("csv, fields", "d9e914606948228d"),
    ("json", "9bc144b1f3863900"),
    ("json, no rows", "4f53cda18c2baa0c"),
    ("json, event_data as string", "b4006d39ed429b9a"),
    ("ndjson", "51a07c509bc0d917"),
    ("ndjson, fields", "40489fd8c55f97eb"),
    ("parquet, zstd", "2aef51df75c4ceba"),
    ("parquet, snappy", "05241f52bbce3979"),
    ("parquet, none", "cf39219e05618e5b"),
    ("arrow", "329b4bfa3f4792cc"),
    ("arrow, fields", "306116b950ad14b6"),
];

/// Values of all kinds: absent, quoted, JSON and none, a formula, what is not UTF-8.
fn text(row: usize, column: &str) -> Vec<u8> {
    match (row, column) {
        (0, "event_data") => br#"{"a": [1, 2.50, null], "b": "x\"y"}"#.to_vec(),
        (1, "event_data") => b"no JSON".to_vec(),
        (1, "url") => b"=1+2, \"quoted\"\nand broken".to_vec(),
        (2, "city") => b"S\xc3\xa3o \xff\t".to_vec(),
        (2, _) => Vec::new(),
        _ => format!("{column} {}", row % 2).into_bytes(),
    }
}

fn file(name: &str) -> Vec<u8> {
    let (format, option) = name.split_once(", ").unwrap_or((name, ""));
    let format = Format::ALL
        .into_iter()
        .find(|known| known.as_str() == format)
        .unwrap();
    let compression = match option {
        "snappy" => Compression::Snappy,
        "none" => Compression::None,
        _ => Compression::Zstd,
    };
    let fields = match option {
        "fields" => Fields::parse("url,timestamp,event_data,event_type").unwrap(),
        _ => Fields::default(),
    };
    let info = FileInfo {
        site: "site_pinned".into(),
        start: "2026-03-28".into(),
        end: "2026-03-29".into(),
        timezone: "Europe/Berlin".into(),
        fields,
        compression,
        data_as_string: option == "event_data as string",
        spreadsheet: option == "spreadsheet",
        ..FileInfo::default()
    };
    let mut encoder = Encoder::new(format, &info).unwrap();
    let rows = if option == "no rows" { 0 } else { 40 };
    let texts: Vec<Vec<u8>> = (0..rows)
        .flat_map(|row| TEXT_COLUMNS.map(|column| text(row, column)))
        .collect();
    // As on a wire: behind its length.
    let mut bytes = Vec::new();
    let mut span = |text: &Vec<u8>| {
        write_length(text.len() as u64, &mut bytes);
        let start = bytes.len() as u32;
        bytes.extend_from_slice(text);
        let len = text.len() as u32;
        Span { start, len }
    };
    let spans: Vec<_> = texts.iter().map(&mut span).collect();
    let rows = 0..rows as i64;
    // Over the night that clocks went forward.
    let timestamps: Vec<_> = rows
        .clone()
        .map(|row| 1_774_700_000_000 + row * 3_600_007)
        .collect();
    let offsets: Vec<_> = timestamps
        .iter()
        .map(|at| if *at < 1_774_746_000_000 { 60 } else { 120 })
        .collect();
    let event_ids: Vec<_> = rows.clone().map(|row| row as u64).collect();
    let kinds = [EventType::Pageview, EventType::Event];
    let event_types: Vec<_> = rows.clone().map(|row| kinds[row as usize % 2]).collect();
    if !rows.is_empty() {
        let text = std::array::from_fn(|place| TextColumn::Plain {
            bytes: &bytes,
            spans: &spans[place..],
            stride: TEXT_COLUMNS.len(),
        });
        let batch = Batch {
            timestamps: &timestamps,
            event_ids: &event_ids,
            offsets: &offsets,
            event_types: &event_types,
            settled_rows: 0,
            text,
        };
        encoder.batch(&batch).unwrap();
    }
    encoder.finish().unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = encoder.take_chunk() {
        file.extend_from_slice(&chunk);
    }
    file
}

/// Without the program's version.
fn hash(file: &[u8]) -> String {
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let mut rest = file;
    let mut hash = Sha256::new();
    while let Some(at) = rest
        .windows(version.len())
        .position(|bytes| bytes == version)
    {
        hash.update(&rest[..at]);
        rest = &rest[at + version.len()..];
    }
    hash.update(rest);
    random::hex(&hash.finalize()[..8])
}

#[test]
fn bytes_change_only_with_the_version_that_etags_are_made_of() {
    let now: Vec<_> = PINNED.map(|(name, _)| (name, hash(&file(name)))).into();
    let pinned: Vec<_> = PINNED.map(|(name, hash)| (name, hash.to_owned())).into();
    assert!(
        now == pinned && VERSION == PINNED_VERSION,
        "bytes changed, so raise VERSION (unless it was raised since the last release) and pin these: {now:#?}"
    );
}
