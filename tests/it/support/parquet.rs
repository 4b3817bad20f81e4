//! Reads Parquet and Arrow back with their crates' own readers.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::ipc::reader::StreamReader;
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

/// A value of a file.
#[derive(Debug)]
pub(crate) enum Cell {
    /// Nothing.
    Null,
    /// An instant since 1970-01-01T00:00:00Z.
    Microseconds(i64),
    /// A text.
    Text(String),
}

/// The names of a file's columns, and the cells of all rows.
pub(crate) fn cells(file: Bytes) -> (Vec<String>, Vec<Vec<Cell>>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).expect("a Parquet file");
    let fields = builder.schema().fields().iter();
    let names = fields.map(|field| field.name().clone()).collect();
    let reader = builder.build().expect("a reader");
    let mut rows = Vec::new();
    for batch in reader {
        rows.extend(cells_of(&batch.expect("a batch")));
    }
    (names, rows)
}

/// The same of an Arrow IPC stream.
pub(crate) fn cells_of_stream(stream: &[u8]) -> (Vec<String>, Vec<Vec<Cell>>) {
    let reader = StreamReader::try_new(stream, None).expect("an Arrow stream");
    let fields = reader.schema();
    let names = fields.fields().iter().map(|field| field.name().clone());
    let mut rows = Vec::new();
    for batch in reader {
        rows.extend(cells_of(&batch.expect("a batch")));
    }
    (names.collect(), rows)
}

/// The cells of a batch.
fn cells_of(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let cell = |row: usize, column: usize| {
        let column = batch.column(column);
        match column.as_primitive_opt::<TimestampMicrosecondType>() {
            _ if column.is_null(row) => Cell::Null,
            Some(times) => Cell::Microseconds(times.value(row)),
            None => Cell::Text(column.as_string::<i32>().value(row).to_owned()),
        }
    };
    (0..batch.num_rows())
        .map(|row| {
            (0..batch.num_columns())
                .map(|column| cell(row, column))
                .collect()
        })
        .collect()
}
