//! How large a file will be, about.

use crate::pushdown::columns::COLUMNS;
use crate::request::Format;

/// Bytes of a row's time and type, about: `2026-03-03T10:15:00Z` and `pageview`.
const TIME_AND_TYPE: u64 = 20 + 8;

/// Of a hundred bytes of text, how many are there in a file: quotes around and within `event_data` make some more, and
/// Parquet's dictionaries and compression far fewer. As measured on the demo's traffic.
const PERCENT_CSV: u64 = 103;
const PERCENT_JSON: u64 = 101;
const PERCENT_PARQUET: u64 = 15;

/// Bytes of a file of so many rows with so many bytes of text, before any Content-Encoding.
pub fn estimate(format: Format, rows: u64, text: u64) -> u64 {
    let columns = COLUMNS.len() as u64;
    let names: u64 = COLUMNS.iter().map(|name| name.len() as u64).sum();
    // A column has a comma or the line's end behind it; in JSON also `"":` and mostly quotes, or `null`.
    let (each, percent) = match format {
        Format::Csv => (TIME_AND_TYPE + columns, PERCENT_CSV),
        Format::Json | Format::Ndjson => (TIME_AND_TYPE + names + columns * 7, PERCENT_JSON),
        Format::Parquet => (4, PERCENT_PARQUET),
    };
    rows.saturating_mul(each)
        .saturating_add(text.saturating_mul(percent) / 100)
}
