//! Parquet.
//!
//! In: batches. Out: nothing until a row group ends, then all of it. Cost: encoding and ZSTD level 1, so calls run
//! on a blocking thread. Holds: the rows of one write ([`WRITE_ROWS`] or [`WRITE_TEXT_BYTES`]), one row group
//! ([`ROW_GROUP_ROWS`] or [`ROW_GROUP_BYTES`]) as encoded pages, and once more while it is handed over.
//!
//! The bytes don't depend on how the rows were cut into batches: the writer is fed the same rows at once, counted from
//! the row group's start, and a row group ends only between two such writes.

mod columns;
mod properties;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;

use self::columns::WriteColumns;
use super::{FileInfo, timestamp};
use crate::decode::Batch;
use crate::error::{Error, Result};
use crate::pushdown::columns::COLUMNS;

/// Most rows that the writer is fed at once.
const WRITE_ROWS: usize = 8_192;

/// A write ends with the row that reaches this many bytes of text.
const WRITE_TEXT_BYTES: usize = 8 << 20;

/// Most rows of a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// A row group ends with the write that reaches this many encoded bytes.
const ROW_GROUP_BYTES: usize = 48 << 20;

/// A Parquet file in the making.
#[derive(Debug)]
pub struct ParquetEncoder {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    columns: WriteColumns,
    /// Rows written to the row group.
    group_rows: usize,
    rows: u64,
}

impl ParquetEncoder {
    pub(super) fn new(info: &FileInfo) -> Result<Self> {
        let schema = schema(&info.timezone);
        let properties = properties::properties(info);
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))
            .map_err(|error| failed("start", error))?;
        Ok(Self {
            writer,
            columns: WriteColumns::new(&info.timezone),
            schema,
            group_rows: 0,
            rows: 0,
        })
    }

    pub(super) fn batch(&mut self, batch: &Batch<'_>) -> Result<()> {
        for (row, (&ms, &offset)) in batch.timestamps.iter().zip(batch.offsets).enumerate() {
            if !timestamp::has_text(ms, offset) {
                return Err(timestamp::no_text(self.rows + row as u64 + 1, ms, offset));
            }
        }
        let mut start = 0;
        while start < batch.rows() {
            let most = WRITE_ROWS.min(ROW_GROUP_ROWS - self.group_rows);
            let end = self.columns.append(batch, start, most, WRITE_TEXT_BYTES);
            self.rows += (end - start) as u64;
            start = end;
            if self.columns.rows() == most || self.columns.text_bytes() >= WRITE_TEXT_BYTES {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let rows = self.columns.rows();
        if rows == 0 {
            return Ok(());
        }
        let arrays = self
            .columns
            .take()
            .map_err(|error| failed("build", error.into()))?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| failed("build", error.into()))?;
        self.writer
            .write(&batch)
            .map_err(|error| failed("write", error))?;
        self.group_rows += rows;
        if self.group_rows >= ROW_GROUP_ROWS || self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer
                .flush()
                .map_err(|error| failed("end a row group of", error))?;
            self.group_rows = 0;
        }
        Ok(())
    }

    pub(super) fn take_chunk(&mut self) -> Option<Bytes> {
        let bytes = std::mem::take(self.writer.inner_mut());
        (!bytes.is_empty()).then(|| Bytes::from(bytes))
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.write()?;
        let rows = KeyValue::new("export.rows".to_owned(), self.rows.to_string());
        self.writer.append_key_value_metadata(rows);
        self.writer.finish().map_err(|error| failed("end", error))?;
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

/// The columns as Arrow has them: the zone is kept in the file's Arrow schema, the texts are plain UTF-8 whatever the
/// writer is fed.
fn schema(timezone: &str) -> SchemaRef {
    let fields = COLUMNS.iter().enumerate().map(|(index, &name)| {
        if index == 0 {
            Field::new(name, timestamp_type(timezone), false)
        } else {
            Field::new(name, DataType::Utf8, true)
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn timestamp_type(timezone: &str) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(timezone.into()))
}

fn failed(what: &str, error: ParquetError) -> Error {
    Error::internal(format!("could not {what} the Parquet file")).with_source(error)
}
