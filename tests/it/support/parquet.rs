//! Reads Parquet back with the parquet crate's own reader.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// A row of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub(crate) timestamp: i64,
    pub(crate) event_type: String,
    pub(crate) text: Vec<Option<String>>,
}

/// All rows of a file.
pub(crate) fn rows(file: Bytes) -> Vec<Row> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .expect("a Parquet file")
        .build()
        .expect("a reader");
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.expect("a batch");
        let stamps = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let text = |column: usize| {
                let column = batch.column(column).as_string::<i32>();
                (!column.is_null(row)).then(|| column.value(row).to_owned())
            };
            rows.push(Row {
                timestamp: stamps.value(row),
                event_type: text(1).expect("a type"),
                text: (2..batch.num_columns()).map(text).collect(),
            });
        }
    }
    rows
}
