//! Parquet.
//!
//! In: batches. Out: nothing until a row group ends, then all of it. Cost: one look at each value, so calls with many rows run on a
//! blocking thread. Where cores are free, others work on some of the columns meanwhile ([`Columns`]). Compression, ZSTD level 1
//! unless another was asked for, is done beside, once a page is not small ([`Compressor`](compressor::Compressor)). Holds: one row group
//! ([`ROW_GROUP_ROWS`] or [`ROW_GROUP_BYTES`]) as compressed pages and again while it is handed over, for each column a page in the
//! making and a dictionary, the combinations that neighbouring columns had last (some 100 KiB for each of three groups), the pages
//! that wait to be compressed, and where the columns are shared [`SHARED_BYTES`] of rows and a batch ([`Kept`]).
//!
//! The parquet crate writes the file: page headers, indexes, row groups, footer. The values of a page are put together
//! here, because its Arrow writer hashes, copies and compares every text several times; ours looks each one up in a
//! dictionary as it lies on the wire.
//!
//! The bytes don't depend on how the rows were cut into batches: everything is counted by the rows themselves.

mod chunks;
mod columns;
mod compressor;
mod dictionary;
mod hybrid;
mod neighbours;
mod pages;
mod plain;
mod properties;
mod rows;
mod share;
mod times;

use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use self::columns::Columns;
use self::rows::{Kept, RowTexts, Rows};
use super::helpers::Helpers;
use super::rows::{PlainRows, text_bytes};
use super::sink::Sink;
use super::{FileInfo, timestamp};
use crate::decode::{Batch, TextColumn};
use crate::error::{Error, Result};

/// Whether a row group is full is looked at when this many rows have been added since.
const STEP_ROWS: usize = 8_192;

/// And with the row that reaches this many bytes of text since.
const STEP_TEXT_BYTES: usize = 8 << 20;

/// Rows that came in small batches are handed to several threads when they have so many bytes: some milliseconds of work.
const SHARED_BYTES: usize = 1 << 20;

/// Most rows of a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// A row group ends when it is seen to have this many encoded bytes.
const ROW_GROUP_BYTES: usize = 48 << 20;

/// A Parquet file in the making.
#[derive(Debug)]
pub struct ParquetEncoder {
    writer: Writer,
    /// As the file says it.
    compression: Compression,
    columns: Columns,
    /// Rows that are counted already, and not yet in the columns.
    kept: Kept,
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
    /// A file at its start, whose columns are shared with those helpers.
    pub(super) fn new(info: &FileInfo, helpers: Option<Arc<Helpers>>) -> Result<Self> {
        let start = |error| failed("start", error);
        let schema = Arc::new(Schema::new(info.arrow_fields()));
        let properties = properties::properties(info);
        // The Arrow writer knows how to put the Arrow schema into the file, the zone with it.
        let writer =
            ArrowWriter::try_new(Sink::default(), schema, Some(properties)).map_err(start)?;
        let (writer, _) = writer.into_serialized_writer().map_err(start)?;
        let columns = writer.schema_descr().columns();
        let columns = Columns::new(&info.fields, columns, info.compression, helpers);
        Ok(Self {
            columns: columns.map_err(start)?,
            kept: Kept::default(),
            compression: properties::compression(info.compression).map_err(start)?,
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
            let (mut end, before) = (start, self.step_text_bytes);
            while end < most && self.step_text_bytes < STEP_TEXT_BYTES {
                self.step_text_bytes += match &plain {
                    Some(plain) => text_bytes(&plain.rows[end]),
                    None => self.text_bytes[end],
                };
                end += 1;
            }
            let bytes = self.step_text_bytes - before;
            self.take(&Rows::of(batch, plain.as_ref(), start..end, bytes));
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

    /// Adds rows, or keeps them until there are enough where several threads would share them.
    fn take(&mut self, rows: &Rows<'_>) {
        match rows.texts {
            RowTexts::SideBySide { bytes, spans }
                if rows.text_bytes < SHARED_BYTES
                    && (!self.kept.is_empty() || self.columns.are_shared()) =>
            {
                self.kept.push(rows, bytes, spans);
                if self.kept.bytes() >= SHARED_BYTES {
                    self.add_kept();
                }
            }
            _ => {
                self.add_kept();
                self.columns.add(rows);
            }
        }
    }

    /// Adds the rows that were kept.
    fn add_kept(&mut self) {
        if !self.kept.is_empty() {
            self.columns.add(&self.kept.rows());
            self.kept.clear();
        }
    }

    /// Looks whether the row group is full.
    fn look(&mut self) -> Result<()> {
        self.add_kept();
        self.group_rows += self.step_rows;
        self.step_rows = 0;
        self.step_text_bytes = 0;
        let bytes = self.columns.bytes();
        let bytes = bytes.map_err(|error| failed("write", error))?;
        if self.group_rows + STEP_ROWS > ROW_GROUP_ROWS || bytes >= ROW_GROUP_BYTES {
            self.end_row_group()?;
        }
        Ok(())
    }

    fn end_row_group(&mut self) -> Result<()> {
        self.group_rows = 0;
        self.write_row_group()
            .map_err(|error| failed("end a row group of", error))
    }

    fn write_row_group(&mut self) -> Result<(), ParquetError> {
        let columns = self.columns.end();
        let mut group = self.writer.0.next_row_group()?;
        let mut rooms = Vec::with_capacity(columns.len());
        for (place, column) in columns {
            let (bytes, close) = column.finish(self.compression)?;
            group.append_column(&bytes, close)?;
            rooms.push((place, bytes.into_room()));
        }
        group.close()?;
        for (place, room) in rooms {
            self.columns.reuse(place, room);
        }
        Ok(())
    }

    pub(super) fn take_chunk(&mut self) -> Option<Bytes> {
        self.writer.0.inner_mut().take()
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.add_kept();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;
    use crate::decode::support::native::{TABLE, native};
    use crate::decode::support::{Corpus, wire};
    use crate::decode::{Decoder, Wire};
    use crate::encode::{Encoder, whole};
    use crate::request::{Compression, Fields};

    const ALONE: usize = 1;

    /// The file as on so many cores, and the bytes of text whose columns were shared.
    fn file_and_shared(
        cores: usize,
        info: &FileInfo,
        kind: Wire,
        wire: &[u8],
        chunk: usize,
    ) -> (Vec<u8>, usize) {
        let mut encoder = Encoder::parquet_on(cores, info).unwrap();
        let file = whole::file_by(&mut encoder, kind, wire, chunk);
        let Encoder::Parquet(encoder) = encoder else {
            unreachable!("it is one of Parquet");
        };
        (file, encoder.columns.shared_bytes())
    }

    #[test]
    fn a_file_is_the_same_however_many_threads_work_on_it() {
        for corpus in Corpus::ALL {
            let rows = corpus.rows(12_000);
            let wires = [wire(&rows), native(&rows, 3_000, &TABLE)];
            for fields in ["", "event_data,city,country,event_type", "url"] {
                for compression in Compression::ALL {
                    let mut info = FileInfo {
                        compression,
                        ..FileInfo::default()
                    };
                    if !fields.is_empty() {
                        info.fields = Fields::parse(fields).unwrap();
                    }
                    for (kind, wire) in [Wire::RowBinary, Wire::Native].into_iter().zip(&wires) {
                        let (alone, shared) = file_and_shared(ALONE, &info, kind, wire, 128 << 10);
                        assert_eq!(shared, 0);
                        for (cores, chunk) in [(2, 128 << 10), (4, 128 << 10), (5, 9_000)] {
                            let (found, shared) = file_and_shared(cores, &info, kind, wire, chunk);
                            let what = format!(
                                "{} {fields} {compression:?} {kind:?} on {cores} cores",
                                corpus.name()
                            );
                            assert!(alone == found, "{what}");
                            // With two, one is for the pages.
                            let is_shared = cores > 2 || compression == Compression::None;
                            let is_shared = is_shared && fields != "url";
                            assert_eq!(shared > 0, is_shared, "{what}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rows_of_both_wires_are_in_order_where_some_were_kept() {
        let rows = Corpus::PageViews.rows(6_000);
        let (first, second) = rows.split_at(2_500);
        let info = FileInfo::default();
        let mut encoder = Encoder::parquet_on(4, &info).unwrap();
        let mut decoder = Decoder::new(Wire::RowBinary);
        for (kind, bytes) in [
            (Wire::RowBinary, wire(first)),
            (Wire::Native, native(second, 1_000, &TABLE)),
        ] {
            decoder.restart(kind, i64::MAX);
            decoder.push(bytes.into());
            while let Some(batch) = decoder.next_batch().unwrap() {
                encoder.batch(&batch).unwrap();
            }
        }
        assert_eq!(encoder.rows(), 6_000);
        encoder.finish().unwrap();
        let mut found = Vec::new();
        while let Some(chunk) = encoder.take_chunk() {
            found.extend_from_slice(&chunk);
        }
        let (expected, _) = file_and_shared(ALONE, &info, Wire::RowBinary, &wire(&rows), 128 << 10);
        assert!(found == expected);
    }
}
