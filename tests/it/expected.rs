//! What files hold: those of text as written by programs of others (the csv crate, serde_json, chrono), and the values in those of
//! Parquet. Shared with the fuzz targets.

#![allow(unreachable_pub)] // each user has its own public surface

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use chrono::{DateTime, FixedOffset, SecondsFormat};
use rowspout::pushdown::columns::{COLUMNS, TEXT_COLUMNS};
use rowspout::request::Format;

use super::support::{EVENT_DATA, Row};

/// A row's time in RFC 3339.
pub fn timestamp(row: &Row, utc: bool) -> String {
    let zone = FixedOffset::east_opt(i32::from(row.offset) * 60).unwrap();
    let time = DateTime::from_timestamp_millis(row.timestamp)
        .unwrap()
        .with_timezone(&zone);
    let milliseconds = row.timestamp.rem_euclid(1000) != 0;
    let format = if milliseconds {
        SecondsFormat::Millis
    } else {
        SecondsFormat::Secs
    };
    time.to_rfc3339_opts(format, utc)
}

fn expected_csv(rows: &[Row], utc: bool) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .from_writer(Vec::new());
    writer.write_record(COLUMNS).unwrap();
    for row in rows {
        let mut record = vec![timestamp(row, utc), row.event_type().to_owned()];
        record.extend(
            row.text
                .iter()
                .map(|text| String::from_utf8_lossy(text).into_owned()),
        );
        writer.write_record(record).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Whether JSON that serde_json takes is refused by another reader, see `encode/json_text.rs`: for how deep it is, or for a number.
fn refused_by_some(json: &str) -> bool {
    let mut depth = 0;
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let mut len = first.len_utf8();
        match first {
            '"' => {
                let mut escaped = false;
                let end = rest[1..].find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                });
                len = end.unwrap() + 2;
            }
            '[' | '{' => {
                depth += 1;
                if depth > 125 {
                    return true;
                }
            }
            ']' | '}' => depth -= 1,
            '-' | '0'..='9' => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && !"+-.eE".contains(c));
                len = end.unwrap_or(rest.len());
                let (number, exponent) = rest[..len]
                    .split_once(['e', 'E'])
                    .unwrap_or((&rest[..len], ""));
                let whole = number.split('.').next().unwrap().trim_start_matches('-');
                let exponent = exponent.trim_start_matches('+').trim_start_matches('0');
                let large = exponent.len() > 3 || exponent.parse().unwrap_or(0) > 308;
                if whole.len() > 38 || !exponent.starts_with('-') && large {
                    return true;
                }
            }
            _ => {}
        }
        rest = &rest[len..];
    }
    false
}

fn expected_object(row: &Row, utc: bool) -> String {
    let mut object = format!(
        "{{\"timestamp\":\"{}\",\"event_type\":\"{}\"",
        timestamp(row, utc),
        row.event_type()
    );
    for (column, text) in row.text.iter().enumerate() {
        let text = String::from_utf8_lossy(text);
        let value = if text.is_empty() {
            "null".to_owned()
        } else if column == EVENT_DATA
            && serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok()
            && serde_json::from_str::<serde_json::Value>(&text).is_ok()
            && !refused_by_some(&text)
        {
            text.replace(['\r', '\n'], "")
        } else {
            serde_json::to_string(&text).unwrap()
        };
        object += &format!(",\"{}\":{value}", TEXT_COLUMNS[column]);
    }
    object + "}"
}

/// The file that a text format has of these rows.
pub fn expected(format: Format, rows: &[Row], utc: bool) -> Vec<u8> {
    let objects = rows.iter().map(|row| expected_object(row, utc));
    match format {
        Format::Csv => expected_csv(rows, utc),
        Format::Json => format!("[{}]", objects.collect::<Vec<_>>().join(",\n")).into_bytes(),
        Format::Ndjson => objects
            .map(|object| object + "\n")
            .collect::<String>()
            .into_bytes(),
        Format::Parquet | Format::Arrow => panic!("has its own tests"),
    }
}

/// Checks the values of the first of these rows, as many as the batch has; gives the others.
#[track_caller]
pub fn assert_first_rows<'a>(batch: &RecordBatch, rows: &'a [Row]) -> &'a [Row] {
    let (now, behind) = rows.split_at(batch.num_rows());
    let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
    let types = batch.column(1).as_string::<i32>();
    for (i, row) in now.iter().enumerate() {
        assert_eq!(times.value(i), row.timestamp * 1000);
        assert_eq!(types.value(i), row.event_type());
    }
    for column in 0..15 {
        let texts = batch.column(column + 2).as_string::<i32>();
        for (i, row) in now.iter().enumerate() {
            let text = &row.text[column];
            assert_eq!(texts.is_null(i), text.is_empty());
            assert_eq!(texts.value(i), String::from_utf8_lossy(text));
        }
    }
    behind
}

/// Bytes cut into chunks of these sizes, again and again; there may be empty ones among them.
pub fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut chunks = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at(rest.len().min(*size));
        chunks.push(chunk);
        rest = behind;
    }
    chunks
}
