//! Parquet.
//!
//! In: batches. Out: nothing until a row group ends, then all of it. Cost: one look at each value, so calls with many rows run on a
//! blocking thread; compression, ZSTD level 1 unless another was asked for, on another one beside it, once a page is not small
//! ([`Compressor`]). Holds: one row group ([`ROW_GROUP_ROWS`] or [`ROW_GROUP_BYTES`]) as compressed pages and again while it is handed
//! over, for each column a page in the making and a dictionary, the
//! combinations that neighbouring columns had last (some 100 KiB for each of three groups), and the pages that wait to be compressed.
//!
//! The parquet crate writes the file: page headers, indexes, row groups, footer. The values of a page are put together
//! here, because its Arrow writer hashes, copies and compares every text several times; ours looks each one up in a
//! dictionary as it lies on the wire.
//!
//! The bytes don't depend on how the rows were cut into batches: everything is counted by the rows themselves.

mod chunks;
mod compressor;
mod dictionary;
mod hybrid;
mod neighbours;
mod pages;
mod plain;
mod properties;
mod times;

use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use self::chunks::TextChunk;
use self::compressor::Compressor;
use self::neighbours::Neighbours;
use self::properties::{WITH_STATISTICS, WITHOUT_DICTIONARY};
use self::times::TimeChunk;
use super::rows::{PlainRows, text_bytes};
use super::sink::Sink;
use super::{FileInfo, timestamp};
use crate::decode::{Batch, EventType, Span, TextColumn};
use crate::error::{Error, Result};
use crate::request::Field;

/// Whether a row group is full is looked at when this many rows have been added since.
const STEP_ROWS: usize = 8_192;

/// And with the row that reaches this many bytes of text since.
const STEP_TEXT_BYTES: usize = 8 << 20;

/// Rows that lie side by side are added so many at a time, column by column: they stay in the processor's first cache for all of
/// their columns.
const TILE_ROWS: usize = 256;

/// Most rows of a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// A row group ends when it is seen to have this many encoded bytes.
const ROW_GROUP_BYTES: usize = 48 << 20;

/// The names of the event types, and where they lie.
const EVENT_TYPES: &[u8] = b"pageviewevent";
const EVENT_TYPE_SPANS: [Span; 2] = {
    let pageview = EventType::Pageview.as_str().len() as u32;
    let event = EventType::Event.as_str().len() as u32;
    [
        Span {
            start: 0,
            len: pageview,
        },
        Span {
            start: pageview,
            len: event,
        },
    ]
};

/// A column of texts that the file has.
#[derive(Debug)]
struct Texts {
    /// Its place in the file, and that among `TEXT_COLUMNS`.
    place: usize,
    column: usize,
    chunk: TextChunk,
}

/// A Parquet file in the making.
#[derive(Debug)]
pub struct ParquetEncoder {
    writer: Writer,
    compressor: Compressor,
    /// As the file says it.
    compression: Compression,
    /// The columns that the file has, times and event types with their place in it.
    times: Option<(usize, TimeChunk)>,
    event_types: Option<(usize, TextChunk)>,
    text: Vec<Texts>,
    neighbours: Vec<Neighbours>,
    /// Rows and bytes of text since the row group was looked at, and the rows before.
    step_rows: usize,
    step_text_bytes: usize,
    group_rows: usize,
    rows: u64,
    /// Of each row of a batch that comes by column.
    text_bytes: Vec<usize>,
}

struct Writer(SerializedFileWriter<Sink>);

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl ParquetEncoder {
    pub(super) fn new(info: &FileInfo) -> Result<Self> {
        let start = |error| failed("start", error);
        let schema = Arc::new(Schema::new(info.arrow_fields()));
        let properties = properties::properties(info);
        // The Arrow writer knows how to put the Arrow schema into the file, the zone with it.
        let writer =
            ArrowWriter::try_new(Sink::default(), schema, Some(properties)).map_err(start)?;
        let (writer, _) = writer.into_serialized_writer().map_err(start)?;
        let columns = writer.schema_descr().columns();
        let (mut times, mut event_types, mut text) = (None, None, Vec::new());
        for (place, (field, column)) in info.fields.iter().zip(columns).enumerate() {
            let chunk = |name| {
                let dictionary = !WITHOUT_DICTIONARY.contains(&name);
                TextChunk::new(column, dictionary, WITH_STATISTICS.contains(&name))
            };
            match field {
                Field::Timestamp => times = Some((place, TimeChunk::new(column))),
                Field::EventType => event_types = Some((place, chunk(field.name()))),
                Field::Text(column) => text.push(Texts {
                    place,
                    column,
                    chunk: chunk(field.name()),
                }),
            }
        }
        Ok(Self {
            times,
            event_types,
            neighbours: Neighbours::all_of(&text),
            text,
            compression: properties::compression(info.compression).map_err(start)?,
            compressor: Compressor::new(info.compression).map_err(start)?,
            writer: Writer(writer),
            step_rows: 0,
            step_text_bytes: 0,
            group_rows: 0,
            rows: 0,
            text_bytes: Vec::new(),
        })
    }

    pub(super) fn batch(&mut self, batch: &Batch<'_>) -> Result<()> {
        for (row, (&ms, &offset)) in batch.timestamps.iter().zip(batch.offsets).enumerate() {
            if !timestamp::has_text(ms, offset) {
                return Err(timestamp::no_text(self.rows + row as u64 + 1, ms, offset));
            }
        }
        let plain = PlainRows::of(batch);
        if plain.is_none() {
            self.count_text(batch);
        }
        let mut start = 0;
        while start < batch.rows() {
            let most = batch.rows().min(start + STEP_ROWS - self.step_rows);
            let mut end = start;
            while end < most && self.step_text_bytes < STEP_TEXT_BYTES {
                self.step_text_bytes += match &plain {
                    Some(plain) => text_bytes(&plain.rows[end]),
                    None => self.text_bytes[end],
                };
                end += 1;
            }
            self.add(batch, plain.as_ref(), start, end);
            self.step_rows += end - start;
            self.rows += (end - start) as u64;
            start = end;
            if self.step_rows == STEP_ROWS || self.step_text_bytes >= STEP_TEXT_BYTES {
                self.look()?;
            }
        }
        Ok(())
    }

    /// Counts the bytes of text of each row, column by column.
    fn count_text(&mut self, batch: &Batch<'_>) {
        self.text_bytes.clear();
        self.text_bytes.resize(batch.rows(), 0);
        for text in &batch.text {
            let rows = self.text_bytes.iter_mut();
            match *text {
                TextColumn::Plain { spans, stride, .. } => {
                    let spans = spans.iter().step_by(stride);
                    rows.zip(spans)
                        .for_each(|(row, span)| *row += span.len as usize);
                }
                TextColumn::Dictionary { entries, codes, .. } => rows
                    .zip(codes)
                    .for_each(|(row, &code)| *row += entries[code as usize].len as usize),
            }
        }
    }

    /// Adds the rows from `start` to in front of `end`, column by column.
    fn add(&mut self, batch: &Batch<'_>, plain: Option<&PlainRows<'_>>, start: usize, end: usize) {
        let compressor = &self.compressor;
        if let Some((_, times)) = &mut self.times {
            for ms in &batch.timestamps[start..end] {
                // Times that have a text fit microseconds as well.
                times.push(ms.wrapping_mul(1000), compressor);
            }
        }
        if let Some((_, chunk)) = &mut self.event_types {
            let event_types = &batch.event_types[start..end];
            let code = |row: usize| match event_types[row] {
                EventType::Pageview => 0,
                EventType::Event => 1,
            };
            let (bytes, spans) = (EVENT_TYPES, &EVENT_TYPE_SPANS);
            chunk.extend_codes(bytes, spans, event_types.len(), code, compressor);
        }
        if let Some(plain) = plain {
            for rows in plain.rows[start..end].chunks(TILE_ROWS) {
                for neighbours in &mut self.neighbours {
                    neighbours.extend(plain.bytes, rows, &mut self.text, compressor);
                }
                for &mut Texts {
                    column,
                    ref mut chunk,
                    ..
                } in &mut self.text
                {
                    if self.neighbours.iter().any(|of| of.has(column)) {
                        continue;
                    }
                    let span = |row: usize| rows[row][column];
                    chunk.extend(plain.bytes, rows.len(), span, compressor);
                }
            }
            return;
        }
        for &mut Texts {
            column,
            ref mut chunk,
            ..
        } in &mut self.text
        {
            match batch.text[column] {
                TextColumn::Dictionary {
                    bytes,
                    entries,
                    codes,
                } => {
                    let code = |row: usize| codes[start + row] as usize;
                    chunk.extend_codes(bytes, entries, end - start, code, compressor);
                }
                TextColumn::Plain {
                    bytes,
                    spans,
                    stride,
                } => {
                    let span = |row: usize| spans[(start + row) * stride];
                    chunk.extend(bytes, end - start, span, compressor);
                }
            }
        }
    }

    /// Looks whether the row group is full.
    fn look(&mut self) -> Result<()> {
        self.group_rows += self.step_rows;
        self.step_rows = 0;
        self.step_text_bytes = 0;
        let bytes = self.bytes().map_err(|error| failed("write", error))?;
        if self.group_rows + STEP_ROWS > ROW_GROUP_ROWS || bytes >= ROW_GROUP_BYTES {
            self.end_row_group()?;
        }
        Ok(())
    }

    /// Encoded bytes of the row group so far.
    fn bytes(&mut self) -> Result<usize, ParquetError> {
        let mut bytes = 0;
        if let Some((_, times)) = &mut self.times {
            bytes += times.bytes()?;
        }
        if let Some((_, event_types)) = &mut self.event_types {
            bytes += event_types.bytes()?;
        }
        for texts in &mut self.text {
            bytes += texts.chunk.bytes()?;
        }
        Ok(bytes)
    }

    fn end_row_group(&mut self) -> Result<()> {
        self.group_rows = 0;
        self.write_row_group()
            .map_err(|error| failed("end a row group of", error))
    }

    fn write_row_group(&mut self) -> Result<(), ParquetError> {
        let compressor = &self.compressor;
        let times = self.times.iter_mut();
        let times = times.map(|(place, times)| (*place, times.end(compressor)));
        let event_types = self.event_types.iter_mut();
        let event_types = event_types.map(|(place, chunk)| (*place, chunk.end(compressor)));
        let texts = self.text.iter_mut();
        let texts = texts.map(|texts| (texts.place, texts.chunk.end(compressor)));
        // Their codes go with the dictionaries.
        self.neighbours.iter_mut().for_each(Neighbours::clear);
        // All of them end before the first is waited for.
        let mut columns: Vec<_> = times.chain(event_types).chain(texts).collect();
        columns.sort_by_key(|(place, _)| *place);
        let mut group = self.writer.0.next_row_group()?;
        let mut rooms = Vec::with_capacity(columns.len());
        for (place, column) in columns {
            let (bytes, close) = column.finish(self.compression)?;
            group.append_column(&bytes, close)?;
            rooms.push((place, bytes.into_room()));
        }
        group.close()?;
        for (place, room) in rooms {
            self.reuse(place, room);
        }
        Ok(())
    }

    /// Gives the room of a column to its next row group.
    fn reuse(&mut self, place: usize, room: Vec<u8>) {
        let times = self.times.iter_mut();
        let times = times.map(|(of, times)| (*of, times.pages()));
        let event_types = self.event_types.iter_mut();
        let event_types = event_types.map(|(of, chunk)| (*of, chunk.pages()));
        let texts = self.text.iter_mut();
        let texts = texts.map(|texts| (texts.place, texts.chunk.pages()));
        let mut columns = times.chain(event_types).chain(texts);
        if let Some((_, pages)) = columns.find(|(of, _)| *of == place) {
            pages.reuse(room);
        }
    }

    pub(super) fn take_chunk(&mut self) -> Option<Bytes> {
        self.writer.0.inner_mut().take()
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        if self.group_rows + self.step_rows > 0 {
            self.end_row_group()?;
        }
        let rows = KeyValue::new("export.rows".to_owned(), self.rows.to_string());
        self.writer.0.append_key_value_metadata(rows);
        self.writer
            .0
            .finish()
            .map_err(|error| failed("end", error))?;
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

fn failed(what: &str, error: ParquetError) -> Error {
    Error::internal(format!("could not {what} the Parquet file")).with_source(error)
}
