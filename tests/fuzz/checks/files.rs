//! The encoders of text: their files are those that other writers write, and other readers read the rows in them.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use rowspout::decode::{Decoder, Wire};
use rowspout::encode::{Encoder, FileInfo};
use rowspout::pushdown::columns::{COLUMNS, TEXT_COLUMNS};
use rowspout::request::Format;

use super::super::expected::cut;
use super::super::expected::{expected, timestamp};
use super::super::support::{EVENT_DATA, Row, wire};
use super::input::{blocks, rows, sizes};

/// CSV, JSON and NDJSON.
pub fn text(input: &[u8]) {
    let _ = check(&mut Unstructured::new(input));
}

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    let format = *u.choose(&[Format::Csv, Format::Json, Format::Ndjson])?;
    let utc = u.arbitrary()?;
    let sizes = sizes(u)?;
    let rows = rows(u, true)?;
    let file = same_file(u, format, utc, &rows, &sizes)?;
    let Some(file) = file else {
        return Ok(());
    };
    let wanted = expected(format, &rows, utc);
    if file != wanted {
        let same = file.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
        let around = |file: &[u8]| {
            let around = same.saturating_sub(100)..file.len().min(same + 100);
            String::from_utf8_lossy(&file[around]).into_owned()
        };
        panic!(
            "{format}: byte {same}\nfound    {}\nexpected {}",
            around(&file),
            around(&wanted)
        );
    }
    match format {
        Format::Csv => reads_as_csv(&file, &rows, utc),
        Format::Json => reads_as_json(serde_json::from_slice(&file).unwrap(), &rows, utc),
        _ => {
            let lines = file.split_inclusive(|&byte| byte == b'\n');
            let objects = lines.map(|line| serde_json::from_slice(line).unwrap());
            reads_as_json(objects.collect(), &rows, utc);
        }
    }
    Ok(())
}

/// The file of these rows, which is the same from either wire and however the bytes arrive; `None` where a row has no time.
pub fn same_file(
    u: &mut Unstructured<'_>,
    format: Format,
    utc: bool,
    rows: &[Row],
    sizes: &[usize],
) -> Result<Option<Vec<u8>>> {
    let packed = wire(rows);
    let whole = encode(Wire::RowBinary, format, utc, [&packed[..]]);
    let pieces = encode(Wire::RowBinary, format, utc, cut(&packed, sizes));
    assert!(whole == pieces, "cut by {sizes:?}");
    let blocks = blocks(u, rows)?;
    let native = encode(Wire::Native, format, utc, cut(&blocks, sizes));
    assert!(whole == native, "over the other wire");
    let has_times = rows.iter().all(has_time);
    assert_eq!(whole.is_ok(), has_times);
    Ok(whole.ok())
}

/// Whether RFC 3339 has a text for a row's time.
fn has_time(row: &Row) -> bool {
    use chrono::Datelike as _;
    let local = row.timestamp.checked_add(i64::from(row.offset) * 60_000);
    let local = local.and_then(chrono::DateTime::from_timestamp_millis);
    row.offset.abs() < 1440 && local.is_some_and(|time| (0..=9999).contains(&time.year()))
}

fn encode<'a>(
    wire: Wire,
    format: Format,
    utc: bool,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> std::result::Result<Vec<u8>, String> {
    let info = FileInfo {
        site: "site_test".into(),
        start: "2026-03-03".into(),
        end: "2026-03-04".into(),
        timezone: if utc { "UTC" } else { "Europe/Berlin" }.into(),
        utc,
        ..FileInfo::default()
    };
    let mut decoder = Decoder::new(wire);
    let mut encoder = Encoder::new(format, &info).unwrap();
    let mut file = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(batch) = decoder.next_batch().unwrap() {
            encoder.batch(&batch).map_err(|error| error.to_string())?;
            file.extend(encoder.take_chunk());
        }
    }
    decoder.finish().unwrap();
    encoder.finish().unwrap();
    while let Some(chunk) = encoder.take_chunk() {
        file.push(chunk);
    }
    Ok(file.concat())
}

fn reads_as_csv(file: &[u8], rows: &[Row], utc: bool) {
    let mut reader = csv::Reader::from_reader(file);
    assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
    let records: Vec<_> = reader.records().map(|record| record.unwrap()).collect();
    assert_eq!(records.len(), rows.len());
    for (record, row) in records.iter().zip(rows) {
        assert_eq!(record[0], timestamp(row, utc));
        assert_eq!(&record[1], row.event_type());
        for (column, text) in row.text.iter().enumerate() {
            assert_eq!(record[column + 2], *String::from_utf8_lossy(text));
        }
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn reads_as_json(objects: Vec<Object>, rows: &[Row], utc: bool) {
    assert_eq!(objects.len(), rows.len());
    for (object, row) in objects.iter().zip(rows) {
        assert_eq!(object.len(), COLUMNS.len());
        assert_eq!(object["timestamp"], timestamp(row, utc));
        assert_eq!(object["event_type"], row.event_type());
        for (column, text) in row.text.iter().enumerate() {
            let found = &object[TEXT_COLUMNS[column]];
            let text = String::from_utf8_lossy(text);
            let is_json = || {
                serde_json::from_str(&text).is_ok_and(|value: serde_json::Value| value == *found)
            };
            let same = if text.is_empty() {
                found.is_null()
            } else {
                found.as_str() == Some(&*text)
            };
            assert!(
                same || column == EVENT_DATA && is_json(),
                "{text:?} {found}"
            );
        }
    }
}
