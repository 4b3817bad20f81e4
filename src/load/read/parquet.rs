//! Parquet, by the columns that it has.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::parquet_values::Values;
use super::source::{Sha256Hex, hash, unreadable};
use crate::error::{Error, ErrorKind, Position, Result};
use crate::load::batch::{Batch, Layout};
use crate::load::column::{self, Column};

/// Rows that are decoded at a time: few, since a dictionary of one text of 32 MiB may stand for every row.
const DECODED_ROWS: usize = 64;

/// Reads rows.
pub(in crate::load) struct ParquetReader {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    columns: Vec<Column>,
    /// The decoded rows, by column, and the next of them.
    values: Vec<Values>,
    next: usize,
    decoded: usize,
    /// Rows that were handed out, and rows and bytes of the file.
    rows: u64,
    all_rows: u64,
    bytes: u64,
}

impl ParquetReader {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    ///
    /// The file is not Parquet, or a column's name or type cannot be loaded.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let bytes = file
            .metadata()
            .map_err(|error| unreadable(path, error))?
            .len();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(not_parquet)?;
        let fields = builder.schema().fields().clone();
        let columns = column::header(fields.iter().map(|field| field.name().as_bytes()))?;
        for (column, field) in columns.iter().zip(&fields) {
            Values::check_type(*column, field.data_type()).map_err(|message| {
                Error::new(ErrorKind::Data, message).at(Position {
                    column: Some(column.name()),
                    ..Position::default()
                })
            })?;
        }
        let all_rows = builder.metadata().file_metadata().num_rows();
        Ok(Self {
            path: path.to_owned(),
            reader: builder
                .with_batch_size(DECODED_ROWS)
                .build()
                .map_err(not_parquet)?,
            columns,
            values: Vec::new(),
            next: 0,
            decoded: 0,
            rows: 0,
            all_rows: u64::try_from(all_rows).unwrap_or(0),
            bytes,
        })
    }

    pub(super) fn layout(&self) -> Layout {
        Layout {
            columns: self.columns.clone(),
            with_defaults: false,
        }
    }

    pub(super) fn position(&self) -> u64 {
        let share = self.rows as f64 / self.all_rows.max(1) as f64;
        (share * self.bytes as f64) as u64
    }

    pub(super) fn row(&mut self, batch: &mut Batch) -> Result<bool> {
        while self.next == self.decoded {
            let Some(decoded) = self.reader.next() else {
                return Ok(false);
            };
            let decoded = decoded.map_err(|error| {
                broken(error).at(Position {
                    row: Some(self.rows + 1),
                    ..Position::default()
                })
            })?;
            self.decoded = decoded.num_rows();
            self.next = 0;
            self.values.clear();
            for (column, array) in self.columns.iter().zip(decoded.columns()) {
                let values = Values::new(*column, array)
                    .map_err(|message| Error::new(ErrorKind::Data, message))?;
                self.values.push(values);
            }
        }
        batch.begin_row();
        for (column, values) in self.columns.iter().zip(&self.values) {
            values.push(self.next, batch).map_err(|message| {
                Error::new(ErrorKind::Data, message).at(Position {
                    row: Some(self.rows + 1),
                    column: Some(column.name()),
                    ..Position::default()
                })
            })?;
        }
        self.next += 1;
        self.rows += 1;
        Ok(true)
    }

    pub(super) fn finish(self) -> Result<Sha256Hex> {
        hash(&self.path)
    }
}

fn not_parquet(error: parquet::errors::ParquetError) -> Error {
    Error::new(
        ErrorKind::Data,
        "this is not a whole Parquet file: get it again, or name its format with --format",
    )
    .with_detail(error.to_string())
}

fn broken(error: ArrowError) -> Error {
    Error::new(
        ErrorKind::Data,
        "the file is damaged from about here on: get it again",
    )
    .with_detail(error.to_string())
}
