//! The encoder and the writers that one would take otherwise: RowBinary (for the encoder Native too) in, a file out, its size given back. All give
//! their bytes away as they come, so that none pays for a growing copy of the whole.

#![allow(missing_docs, unreachable_pub)] // for benches only

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rowspout::decode::{Batch, Decoder, RowBinaryDecoder, Wire};
use rowspout::encode::{Encoder, FileInfo};
use rowspout::pushdown::columns::{COLUMNS, EVENT_DATA};
use rowspout::request::Format;
use serde::Serialize;
use serde_json::value::RawValue;

use super::support::Row;

/// A row's time in RFC 3339, for writers that take it as text.
pub fn time(row: &Row) -> String {
    let zone = chrono::FixedOffset::east_opt(i32::from(row.offset) * 60).unwrap();
    chrono::DateTime::from_timestamp_millis(row.timestamp)
        .unwrap()
        .with_timezone(&zone)
        .to_rfc3339_opts(chrono::SecondsFormat::AutoSi, false)
}

/// What the encoder is told of a file that nothing special was asked of.
pub fn info() -> FileInfo {
    FileInfo {
        site: "site_bench".into(),
        start: "2026-03-03".into(),
        end: "2026-03-03".into(),
        timezone: "Europe/Berlin".into(),
        utc: false,
        ..FileInfo::default()
    }
}

pub fn rowspout(wire: Wire, format: Format, chunks: &[Bytes]) -> usize {
    rowspout_as(wire, format, &info(), chunks)
}

pub fn rowspout_as(wire: Wire, format: Format, info: &FileInfo, chunks: &[Bytes]) -> usize {
    rowspout_by(Encoder::new(format, info).unwrap(), wire, chunks)
}

pub fn rowspout_by(mut encoder: Encoder, wire: Wire, chunks: &[Bytes]) -> usize {
    let mut decoder = Decoder::new(wire);
    let mut bytes = 0;
    for chunk in chunks {
        decoder.push(chunk.clone());
        while let Some(batch) = decoder.next_batch().unwrap() {
            encoder.batch(&batch).unwrap();
            while let Some(chunk) = encoder.take_chunk() {
                bytes += black_box(chunk).len();
            }
        }
    }
    encoder.finish().unwrap();
    while let Some(chunk) = encoder.take_chunk() {
        bytes += black_box(chunk).len();
    }
    bytes
}

/// A file that is only counted.
#[derive(Default)]
struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += black_box(bytes).len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Calls `write` with each batch and its first row's number.
fn each_batch(chunks: &[Bytes], mut write: impl FnMut(&Batch<'_>, usize)) {
    let mut decoder = RowBinaryDecoder::new();
    let mut first = 0;
    for chunk in chunks {
        decoder.push(chunk.clone());
        while let Some(batch) = decoder.next_batch().unwrap() {
            write(&batch, first);
            first += batch.rows();
        }
    }
}

pub fn csv_crate(chunks: &[Bytes], times: &[String]) -> usize {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::Any(b'\n'))
        .from_writer(Counted::default());
    writer.write_record(COLUMNS).unwrap();
    each_batch(chunks, |batch, first| {
        for row in 0..batch.rows() {
            writer.write_field(&times[first + row]).unwrap();
            writer.write_field(batch.event_types[row].as_str()).unwrap();
            for text in &batch.text {
                writer.write_field(text.get(row)).unwrap();
            }
            writer.write_record(None::<&[u8]>).unwrap();
        }
    });
    writer.flush().unwrap();
    writer.get_ref().0
}

#[derive(Serialize)]
struct Event<'a> {
    timestamp: &'a str,
    event_type: &'a str,
    url: Option<&'a str>,
    event_name: Option<&'a str>,
    event_data: Option<EventData<'a>>,
    visitor_id: Option<&'a str>,
    session_id: Option<&'a str>,
    country: Option<&'a str>,
    region: Option<&'a str>,
    city: Option<&'a str>,
    browser: Option<&'a str>,
    os: Option<&'a str>,
    device: Option<&'a str>,
    referrer: Option<&'a str>,
    utm_source: Option<&'a str>,
    utm_medium: Option<&'a str>,
    utm_campaign: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EventData<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

pub fn serde_json_crate(chunks: &[Bytes], times: &[String]) -> usize {
    let mut out = Vec::new();
    let mut bytes = 0;
    each_batch(chunks, |batch, first| {
        for row in 0..batch.rows() {
            let text = |column: usize| {
                let text = batch.text[column].get(row);
                (!text.is_empty()).then(|| std::str::from_utf8(text).unwrap_or("invalid"))
            };
            let event = Event {
                timestamp: &times[first + row],
                event_type: batch.event_types[row].as_str(),
                url: text(0),
                event_name: text(1),
                event_data: text(EVENT_DATA).map(|text| match serde_json::from_str(text) {
                    Ok(json) => EventData::Json(json),
                    Err(_) => EventData::Text(text),
                }),
                visitor_id: text(3),
                session_id: text(4),
                country: text(5),
                region: text(6),
                city: text(7),
                browser: text(8),
                os: text(9),
                device: text(10),
                referrer: text(11),
                utm_source: text(12),
                utm_medium: text(13),
                utm_campaign: text(14),
            };
            serde_json::to_writer(&mut out, &event).unwrap();
            out.push(b'\n');
        }
        bytes += black_box(&out).len();
        out.clear();
    });
    bytes
}

pub fn arrow_writer(chunks: &[Bytes]) -> usize {
    let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into()));
    let fields = COLUMNS.iter().enumerate().map(|(i, &name)| match i {
        0 => Field::new(name, zone.clone(), false),
        _ => Field::new(name, DataType::Utf8, true),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer =
        ArrowWriter::try_new(Counted::default(), Arc::clone(&schema), Some(properties)).unwrap();
    each_batch(chunks, |batch, _| {
        let times = batch.timestamps.iter().map(|ms| ms * 1000);
        let times =
            TimestampMicrosecondArray::from_iter_values(times).with_timezone("Europe/Berlin");
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(times)];
        let mut types = StringBuilder::new();
        for event_type in batch.event_types {
            types.append_value(event_type.as_str());
        }
        arrays.push(Arc::new(types.finish()));
        for column in &batch.text {
            let mut texts = StringBuilder::new();
            for row in 0..batch.rows() {
                let text = String::from_utf8_lossy(column.get(row));
                texts.append_option((!text.is_empty()).then_some(text));
            }
            arrays.push(Arc::new(texts.finish()));
        }
        writer
            .write(&RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap())
            .unwrap();
    });
    writer.finish().unwrap();
    writer.inner().0
}
