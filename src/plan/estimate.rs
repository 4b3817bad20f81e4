//! How large a file will be, about.

use crate::request::{Compression, ExportRequest, Field, Format};

/// Bytes of a row's time and type, about: `2026-03-03T10:15:00Z` and `pageview`.
const TIME: u64 = 20;
const TYPE: u64 = 8;

/// Of a hundred bytes of text, how many are there in a file: quotes around and within `event_data` make some more, and
/// Parquet's dictionaries and compression far fewer. As measured on the demo's traffic.
const PERCENT_CSV: u64 = 103;
const PERCENT_JSON: u64 = 101;
const PERCENT_PARQUET: [(Compression, u64); 3] = [
    (Compression::Zstd, 15),
    (Compression::Snappy, 22),
    (Compression::None, 35),
];

/// Bytes of a row's time and type in Parquet.
const TIME_AND_TYPE_PARQUET: u64 = 4;

/// Bytes of a request's file of so many rows with so many bytes of text, before any Content-Encoding.
pub fn estimate(request: &ExportRequest, rows: u64, text: u64) -> u64 {
    let fields = request.fields.iter();
    let columns = fields.len() as u64;
    let names: u64 = fields.clone().map(|field| field.name().len() as u64).sum();
    let fixed = fields.map(|field| match field {
        Field::Timestamp => TIME,
        Field::EventType => TYPE,
        Field::Text(_) => 0,
    });
    let fixed: u64 = fixed.sum();
    // A column has a comma or the line's end behind it; in JSON also `"":` and mostly quotes, or `null`.
    let (each, percent) = match request.format {
        Format::Csv => (fixed + columns, PERCENT_CSV),
        Format::Json | Format::Ndjson => (fixed + names + columns * 7, PERCENT_JSON),
        // A time, and four bytes where each text ends.
        Format::Arrow => (8 + 4 * columns, 100),
        Format::Parquet => {
            let known = PERCENT_PARQUET.iter();
            let mut known = known.filter(|(compression, _)| *compression == request.compression);
            let percent = known.next().map_or(100, |&(_, percent)| percent);
            (TIME_AND_TYPE_PARQUET, percent)
        }
    };
    rows.saturating_mul(each)
        .saturating_add(text.saturating_mul(percent) / 100)
}
