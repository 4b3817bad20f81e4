//! The rows of one write, as Arrow columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray, TimestampMicrosecondArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

use crate::decode::{Batch, EventType, TextColumn};
use crate::pushdown::columns::TEXT_COLUMNS;

/// Columns that grow row by row until they are taken.
#[derive(Debug)]
pub(super) struct WriteColumns {
    timezone: Arc<str>,
    timestamps: Vec<i64>,
    event_types: TextBuilder,
    text: [TextBuilder; TEXT_COLUMNS.len()],
    text_bytes: usize,
}

impl WriteColumns {
    pub(super) fn new(timezone: &str) -> Self {
        Self {
            timezone: timezone.into(),
            timestamps: Vec::new(),
            event_types: TextBuilder::default(),
            text: Default::default(),
            text_bytes: 0,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.timestamps.len()
    }

    pub(super) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// Appends rows of `batch` from `start` on, until there are `most_rows` rows or `enough_bytes` bytes of
    /// text; gives the row behind the last one.
    pub(super) fn append(
        &mut self,
        batch: &Batch<'_>,
        start: usize,
        most_rows: usize,
        enough_bytes: usize,
    ) -> usize {
        let last = batch.rows().min(start + most_rows - self.rows());
        let mut end = start;
        while end < last && self.text_bytes < enough_bytes {
            self.text_bytes += batch
                .text
                .iter()
                .map(|text| text.get(end).len())
                .sum::<usize>();
            end += 1;
        }
        // The range was checked: a time of the years 0000 to 9999 in microseconds fits.
        let times = batch.timestamps[start..end].iter();
        self.timestamps
            .extend(times.map(|ms| ms.wrapping_mul(1000)));
        for event_type in &batch.event_types[start..end] {
            self.event_types
                .push(EventType::as_str(*event_type).as_bytes());
        }
        for (builder, text) in self.text.iter_mut().zip(&batch.text) {
            match *text {
                TextColumn::Plain { bytes, spans } => {
                    for span in &spans[start..end] {
                        builder.push(span.of(bytes));
                    }
                }
                TextColumn::Dictionary { .. } => {
                    for row in start..end {
                        builder.push(text.get(row));
                    }
                }
            }
        }
        end
    }

    /// The columns, in order; then there are no rows.
    pub(super) fn take(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.text_bytes = 0;
        let timestamps = TimestampMicrosecondArray::from(std::mem::take(&mut self.timestamps))
            .with_timezone(Arc::clone(&self.timezone));
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(timestamps)];
        arrays.push(self.event_types.take()?);
        for builder in &mut self.text {
            arrays.push(builder.take()?);
        }
        Ok(arrays)
    }
}

/// A column of texts in the making; the empty text is null.
#[derive(Debug, Default)]
struct TextBuilder {
    bytes: Vec<u8>,
    /// The end of each text.
    ends: Vec<i32>,
}

impl TextBuilder {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        // A write holds no more text than WRITE_TEXT_BYTES and one row.
        self.ends.push(self.bytes.len() as i32);
    }

    fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let bytes = Buffer::from_vec(std::mem::take(&mut self.bytes));
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        let nulls: NullBuffer = offsets.windows(2).map(|pair| pair[0] != pair[1]).collect();
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        // This is where it shows whether each text is UTF-8.
        match StringArray::try_new(offsets.clone(), bytes.clone(), nulls.clone()) {
            Ok(array) => Ok(Arc::new(array)),
            Err(_) => {
                let texts = offsets.windows(2).map(|pair| {
                    let text = &bytes[pair[0] as usize..pair[1] as usize];
                    (!text.is_empty()).then(|| String::from_utf8_lossy(text))
                });
                Ok(Arc::new(texts.collect::<StringArray>()))
            }
        }
    }
}
