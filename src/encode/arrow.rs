//! Arrow IPC streams (<https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format>).
//!
//! In: batches. Out: the schema, with the first record batch or the end; a record batch whenever [`BATCH_ROWS`] or
//! [`BATCH_TEXT_BYTES`] are together; then the end mark: a stream without it was cut. Cost: one look at each value, so calls with many
//! rows run on a blocking thread. Holds: one record batch, and once more while it is handed over.
//!
//! The columns are those of Parquet, and as there the bytes don't depend on how the rows were cut into batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::{Metadata, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use super::sink::Sink;
use super::{FileInfo, timestamp};
use crate::decode::Batch;
use crate::error::{Error, Result};
use crate::request::Field;

/// Most rows of a record batch.
const BATCH_ROWS: usize = 8_192;

/// A record batch ends with the row that reaches this many bytes of text. A row has at most 32 MiB, far from what a
/// column's offsets reach.
const BATCH_TEXT_BYTES: usize = 8 << 20;

/// An Arrow IPC stream in the making.
pub struct ArrowEncoder {
    schema: SchemaRef,
    writer: StreamWriter<Sink>,
    columns: Vec<Column>,
    /// Rows and bytes of text of the record batch, and all rows.
    batch_rows: usize,
    batch_text_bytes: usize,
    rows: u64,
    /// Whether there is more than the schema, which is there before anybody knows whether there will be rows.
    begun: bool,
}

impl std::fmt::Debug for ArrowEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrowEncoder")
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

enum Column {
    Times(TimestampMicrosecondBuilder),
    EventTypes(StringBuilder),
    /// One of `TEXT_COLUMNS`, by its place there.
    Text(usize, StringBuilder),
}

impl ArrowEncoder {
    pub(super) fn new(info: &FileInfo) -> Result<Self> {
        let key_values: Metadata = info.key_values().into_iter().collect();
        let schema = Schema::new_with_metadata(info.arrow_fields(), key_values);
        let column = |field| match field {
            Field::Timestamp => {
                let times = TimestampMicrosecondBuilder::new();
                Column::Times(times.with_timezone(info.timezone.as_str()))
            }
            Field::EventType => Column::EventTypes(StringBuilder::new()),
            Field::Text(place) => Column::Text(place, StringBuilder::new()),
        };
        Ok(Self {
            writer: StreamWriter::try_new(Sink::default(), &schema)
                .map_err(|error| failed("start", error))?,
            schema: Arc::new(schema),
            columns: info.fields.iter().map(column).collect(),
            batch_rows: 0,
            batch_text_bytes: 0,
            rows: 0,
            begun: false,
        })
    }

    pub(super) fn batch(&mut self, batch: &Batch<'_>) -> Result<()> {
        for row in 0..batch.rows() {
            let (ms, offset) = (batch.timestamps[row], batch.offsets[row]);
            if !timestamp::has_text(ms, offset) {
                return Err(timestamp::no_text(self.rows + 1, ms, offset));
            }
            for column in &mut self.columns {
                match column {
                    // Times that have a text fit microseconds as well.
                    Column::Times(times) => times.append_value(ms.wrapping_mul(1000)),
                    Column::EventTypes(types) => {
                        types.append_value(batch.event_types[row].as_str())
                    }
                    Column::Text(place, texts) => {
                        let text = batch.text[*place].get(row);
                        self.batch_text_bytes += text.len();
                        append(texts, text);
                    }
                }
            }
            self.rows += 1;
            self.batch_rows += 1;
            if self.batch_rows == BATCH_ROWS || self.batch_text_bytes >= BATCH_TEXT_BYTES {
                self.end_record_batch()?;
            }
        }
        Ok(())
    }

    fn end_record_batch(&mut self) -> Result<()> {
        self.begun = true;
        self.batch_rows = 0;
        self.batch_text_bytes = 0;
        let columns = self.columns.iter_mut().map(|column| -> ArrayRef {
            match column {
                Column::Times(times) => Arc::new(times.finish()),
                Column::EventTypes(texts) | Column::Text(_, texts) => Arc::new(texts.finish()),
            }
        });
        RecordBatch::try_new(self.schema.clone(), columns.collect())
            .and_then(|batch| self.writer.write(&batch))
            .map_err(|error| failed("go on with", error))
    }

    pub(super) fn take_chunk(&mut self) -> Option<Bytes> {
        if !self.begun {
            return None;
        }
        self.writer.get_mut().take()
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.begun = true;
        if self.batch_rows > 0 {
            self.end_record_batch()?;
        }
        self.writer.finish().map_err(|error| failed("end", error))
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

/// Adds a text; the empty one is null, and bytes that are not UTF-8 become U+FFFD.
fn append(texts: &mut StringBuilder, text: &[u8]) {
    if text.is_empty() {
        texts.append_null();
    } else if let Ok(text) = simdutf8::basic::from_utf8(text) {
        texts.append_value(text);
    } else {
        texts.append_value(String::from_utf8_lossy(text));
    }
}

fn failed(what: &str, error: ArrowError) -> Error {
    Error::internal(format!("could not {what} the Arrow stream")).with_source(error)
}
